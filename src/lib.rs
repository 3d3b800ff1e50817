//! Bulkhead: a bare-metal Type 1 hypervisor for embedded AArch64 boards.
//!
//! Pure logic lives here and is tested on the host; what touches hardware builds for bare metal only.
#![cfg_attr(not(test), no_std)]

pub mod addr;
pub mod board;
pub mod config;
pub mod console;
pub mod device;
pub mod ids;
pub mod partition;
pub mod sched;
pub mod smccc;
pub mod stage2;
pub mod trap;
pub mod vcpu;
pub mod vgic;
