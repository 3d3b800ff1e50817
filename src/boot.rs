//! Start-up: from the device tree and the payload to a running system. What is wrong is said in full before anything
//! runs; after it, nothing is allocated any more.
//!
//! 1. [`inputs`] maps and reads the payload and the board's tree.
//! 2. [`plan`] checks one against the other and places memory, or refuses.
//! 3. [`build`] carves the pool: stage-2 tables, partitions, vCPUs, pCPUs.
//! 4. [`pcpus`] starts the other pCPUs; each comes to [`enter`].

mod arena;
mod build;
mod gic;
mod inputs;
mod pcpus;
mod plan;

use crate::arch::aarch64::mmu::Tables;
use crate::arch::aarch64::sysreg::{read, write};
use crate::arch::aarch64::{cpu, switch, tlb};
use crate::panic::say;
use crate::pcpu::Home;
use crate::{hw, run};
use bulkhead::addr::HostPhysAddr;
use bulkhead::stage2;
use bulkhead::trap::controls;

/// `MPAMIDR_EL1.HAS_HCR`.
const MPAMIDR_HAS_HCR: u64 = 1 << 17;

/// Called by the start-up code on the first pCPU: `tree` is what the loader left in x0, `image` where we are.
#[unsafe(no_mangle)]
extern "C" fn primary_start(tree: u64, image: u64) -> ! {
    // SAFETY: the first thing that runs, once.
    let mut tables = unsafe { Tables::new(HostPhysAddr(image)) };
    // SAFETY: no block is set yet; the register's reset value is unknown.
    unsafe { write::tpidr_el2(0) };
    let inputs = inputs::read(&mut tables, HostPhysAddr(tree), HostPhysAddr(image));
    let plan = plan::make(&inputs);
    let home = build::system(&mut tables, &inputs, &plan);
    enter(home)
}

/// Makes a pCPU ready for guests and starts scheduling on it.
fn enter(home: &'static Home) -> ! {
    let parange = read::id_aa64mmfr0_el1() & 0xf;
    write::vpidr_el2(read::midr_el1());
    write::cntvoff_el2(0);
    write::cnthctl_el2(controls::CNTHCTL_EL2);
    write::hstr_el2(controls::HSTR_EL2);
    write::cptr_el2(controls::cptr::GUEST | controls::cptr::TFP);
    if read::id_aa64mmfr0_el1() >> 56 & 0xf != 0 {
        refuse_newer_features();
    }
    if read::id_aa64mmfr1_el1() >> 40 & 0xf != 0 {
        // SAFETY: hides features from guests; EL2 uses none of them.
        unsafe { write::hcrx_el2(controls::HCRX_EL2) };
    }
    if read::id_aa64pfr0_el1() >> 28 & 0xf != 0 {
        write::vsesr_el2(0);
    }
    limit_partitioning();
    switch::start_debug();
    // SAFETY: our own tables' shape; no guest runs yet.
    unsafe {
        write::vtcr_el2(stage2::vtcr(parange));
        write::hcr_el2(controls::hcr::GUEST);
    }
    cpu::isb();
    tlb::invalidate_all_guests();
    hw::timer::arm(u64::MAX);
    // SAFETY: this pCPU's own block, before its first trap.
    unsafe { home.settle() };
    run::start()
}

/// Traps the registers of features that are newer than this code, where the CPU has fine-grained traps.
fn refuse_newer_features() {
    write::hfgrtr_el2(controls::FINE_GRAINED_TRAPS);
    write::hfgwtr_el2(controls::FINE_GRAINED_TRAPS);
    write::hfgitr_el2(controls::FINE_GRAINED_TRAPS);
    write::hdfgrtr_el2(controls::FINE_GRAINED_TRAPS);
    write::hdfgwtr_el2(controls::FINE_GRAINED_TRAPS);
    if read::id_aa64pfr0_el1() >> 44 & 0xf != 0 {
        write::hafgrtr_el2(controls::FINE_GRAINED_TRAPS);
    }
}

/// Keeps guests off memory partitioning, where the CPU has it.
fn limit_partitioning() {
    let (major, minor) = (
        read::id_aa64pfr0_el1() >> 40 & 0xf,
        read::id_aa64pfr1_el1() >> 16 & 0xf,
    );
    if major | minor == 0 {
        return;
    }
    write::mpam2_el2(controls::MPAM2_EL2);
    if read::mpamidr_el1() & MPAMIDR_HAS_HCR != 0 {
        write::mpamhcr_el2(controls::MPAMHCR_EL2);
    }
}

/// Ends start-up after `violations` were printed.
fn not_started(violations: usize) -> ! {
    let plural = if violations == 1 { "" } else { "s" };
    say!("not started: {violations} violation{plural}");
    cpu::park()
}

/// Refuses to start for one reason.
fn refuse(why: core::fmt::Arguments<'_>) -> ! {
    say!("refused: {why}");
    not_started(1)
}
