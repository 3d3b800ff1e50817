//! Reads, checks and compiles partition tables.
