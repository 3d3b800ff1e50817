//! What only the instruction set can do: start-up, vectors, system registers, barriers, EL2's own page tables.
//!
//! The only folder with `asm!`. It knows nothing of partitions.

pub mod aarch64;
