//! An invented dealership.
