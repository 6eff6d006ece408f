//! A small softphone for tests, the demonstration and load runs.
