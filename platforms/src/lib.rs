//! Reads, checks and compiles partition tables.
//!
//! A table is a TOML file that a person edits. [`compile()`] turns it, the board's device tree and the guests' images
//! into a [`System`]: the payload that follows EL2's image in memory, and a report of who owns what. A table that
//! breaks a rule yields [`Diagnostics`] instead: every violation of the table in one go, each with its place in the
//! file, the parties, and what to do. [`Rule`] lists the rules.
//!
//! The way of a table through the crate: `reader` (TOML with the place of every key and value) -> `table` (typed, still
//! with places) -> `check` (rules within the table; `analysis`: response times) -> `resolve` (what it names, found on the `board`) -> `image` (guest
//! images, inflated and placed) -> `tree` (guest device trees) -> `payload`, `report`.
#![forbid(unsafe_code)]

mod analysis;
mod board;
mod channel;
mod check;
mod compile;
mod diagnostic;
mod dma;
mod fit;
mod image;
mod keys;
mod manager;
mod nearest;
mod node;
mod overlay;
mod payload;
mod place;
mod plan;
mod platform;
mod reader;
mod report;
mod resolve;
mod rule;
mod table;
mod tree;
mod units;

pub use compile::{Images, RecipeImage, Request, System, compile};
pub use diagnostic::{Diagnostic, Diagnostics, Label, Severity};
pub use image::{kernel, program};
pub use platform::{
    BootMedium, El2Costs, Platform, PlatformError, QemuBoard, TreeFacts, cpus_needed, memory_range,
    partition_names, platform_named_in, platforms,
};
pub use rule::Rule;
pub use units::{QuantityError, size, time_ns};
