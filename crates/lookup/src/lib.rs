//! Who is calling, and what follows from it.
