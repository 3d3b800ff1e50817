//! The fences between accesses to shared memory: the CPU's own, or with `--cfg loom` loom's, which tries every order.

#[cfg_attr(loom, path = "atomic/tried.rs")]
mod real;

pub use real::*;
