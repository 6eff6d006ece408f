//! Databases of a test's own, on both engines.
