//! What a guest does that ends up at EL2: decoded into typed values, and what the guest is to see of it.
//!
//! * [`syndrome`] turns `ESR_EL2` into a [`syndrome::Trap`] and into words.
//! * [`access`] says what a device access of the guest was, and finishes a load.
//! * [`policy`] lists every trap that EL2 takes, with what is done and why; [`controls`] is the same as register values;
//!   [`sysreg`] goes on for every trapped system register.
//! * [`id_registers`] is the CPU as a guest sees it; [`debug`] and [`timer`] are the registers kept in software.
//! * [`inject`] makes the guest take an exception; [`serror`] knows whose one is that comes late.
//! * [`quick`] recognises the plain cases, for the short ways through a trap.
//!
//! Pure: register values come in, values go out. Nothing here touches hardware.
//!
//! # Decisions
//! * A guest executes AArch64 alone. AArch32 at EL0 is hidden in the ID registers; a guest that enters it all the
//!   same on a CPU that has it gets an undefined-instruction exception for whatever traps there.
//! * Guests are little-endian: `BigEnd` is hidden, and device accesses are emulated as little-endian.
//! * Cache maintenance by set and way is not trapped. `HCR_EL2.VM` and `SWIO` turn every invalidation into a
//!   clean-and-invalidate, so no neighbour loses data, and a pinned vCPU gets what it asked of its own CPU.
//! * The PMU stays off and trapped until a guest first writes one of its registers; then one event counter and
//!   the cycle counter are switched with the vCPU.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod access;
pub mod controls;
pub mod debug;
pub mod id_registers;
pub mod inject;
pub mod policy;
pub mod quick;
pub mod serror;
pub mod syndrome;
pub mod sysreg;
pub mod timer;
