//! The atomics of what pCPUs share. In an image, and in every other build but one, they are the CPU's own; with
//! `--cfg loom` they are loom's, which tries every order of accesses that the memory model allows
//! (`cargo xtask test --only loom`).
#![forbid(unsafe_code)]

#[cfg_attr(loom, path = "atomic/tried.rs")]
mod real;

pub use real::*;
