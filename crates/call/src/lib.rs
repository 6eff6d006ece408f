//! What to do with a call: B2BUA, registrar, router, observer.
