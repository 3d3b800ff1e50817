//! What every bare-metal guest of Bulkhead needs.
//!
//! A guest is entered as Linux's `Documentation/arch/arm64/booting.rst` says: at EL1, MMU off, interrupts masked, x0 the
//! address of a device tree or 0. It is linked at the start of RAM of QEMU's `virt` machine, which is Bulkhead's default
//! layout too, so the same ELF file runs in a partition and on plain QEMU:
//!
//! ```text
//! qemu-system-aarch64 -machine virt,gic-version=3 -cpu cortex-a53 -nographic -nic none -kernel GUEST
//! ```
//!
//! A guest names its first function with [`entry!`]; that function runs on the first vCPU with a stack, zeroed statics, FP
//! enabled and exceptions reported, MMU still off. [`mmu::enable`] turns the MMU on, which atomics and several vCPUs need.
//!
//! # Rules
//! * Interrupt handlers do not print: the console's lock may be held by what they interrupted.
//! * Waiting is bounded: use [`timer::wait_until`] and report what did not come.
//! * A crash prints what is known and powers the partition off.
//!
//! [`esr`] and [`stats`] are plain arithmetic and are tested on the host; everything else exists on the target alone.
#![cfg_attr(target_os = "none", no_std)]

pub mod esr;
pub mod stats;

#[cfg(target_os = "none")]
#[macro_use]
pub mod sysreg;
#[cfg(target_os = "none")]
#[macro_use]
pub mod console;
#[cfg(target_os = "none")]
pub mod channel;
#[cfg(target_os = "none")]
pub mod el0;
#[cfg(target_os = "none")]
pub mod exception;
#[cfg(target_os = "none")]
pub mod gic;
#[cfg(target_os = "none")]
pub mod gicv2;
#[cfg(target_os = "none")]
pub mod layout;
#[cfg(target_os = "none")]
pub mod made;
#[cfg(target_os = "none")]
pub mod manage;
#[cfg(target_os = "none")]
pub mod mmio;
#[cfg(target_os = "none")]
pub mod mmu;
#[cfg(target_os = "none")]
pub mod pmu;
#[cfg(target_os = "none")]
pub mod queue;
#[cfg(target_os = "none")]
pub mod random;
#[cfg(target_os = "none")]
pub mod recorder;
#[cfg(target_os = "none")]
pub mod round;
#[cfg(target_os = "none")]
pub mod smccc;
#[cfg(target_os = "none")]
pub mod smp;
#[cfg(target_os = "none")]
pub mod start;
#[cfg(target_os = "none")]
pub mod suite;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(target_os = "none")]
pub mod tree;
