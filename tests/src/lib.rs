//! Integration tests: systems under QEMU.
//!
//! A scenario is a file `tests/scenarios/NAME.toml`: a partition table, a machine, what to wait for and to type, and
//! what must stand on the console at the end. This crate reads scenarios and judges consoles; `cargo xtask test`
//! builds the systems and drives QEMU. `tests/skips.toml` lists all that may be skipped, and why;
//! `tests/rows.toml` what all of it is to show.

pub mod budgets;
pub mod claims;
pub mod figures;
pub mod judge;
pub mod rows;
pub mod scenario;
pub mod skips;
pub mod witnesses;
