//! The console: what comes over the wire, line by line and partition by partition, and scripts that answer it.

pub mod ansi;
pub mod screen;
pub mod script;
pub mod transcript;
pub mod wire;
