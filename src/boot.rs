//! Start-up: from the device tree and the payload to a running system. What is wrong is said in full before anything
//! runs; after it, nothing is allocated any more.
//!
//! 1. [`inputs`] maps and reads the payload and the board's tree.
//! 2. [`plan`] checks one against the other and places memory, or refuses.
//! 3. [`build`] carves the pool: stage-2 tables, partitions, vCPUs, pCPUs.
//! 4. [`audit`] walks EL2's own tables: nothing writable is executable, no guest's memory is mapped.
//! 5. [`pcpus`] starts the other pCPUs; each comes to [`enter`].
//!
//! Each step that is done is told by a letter, [`bulkhead::console::steps`].
//!
//! # What follows when something is wrong
//!
//! *Refused* is a line `refused: ...` for each reason and `not started: N violations`, before any guest runs. Each row is
//! tested by faults that are made on purpose (`cargo xtask test`, the case in brackets).
//!
//! | fault | what follows |
//! | --- | --- |
//! | the payload's header or records are damaged, or of another version | refused; in silence only where neither payload nor tree names a UART that answers (`start-bad-payload`) |
//! | its values make no sense, though its checksum is right | refused, or believed where they have a meaning (`start-flipped-payload`) |
//! | what a partition loads is damaged | it is not summed: the guest goes wrong and harms itself alone (`start-flipped-payload`) |
//! | payload or pool are larger than EL2 can map | refused (`start-bad-payload`) |
//! | the board has too little memory for the image, EL2's pool or a partition | refused (`start-bad-tree`, `start-other-board`) |
//! | the tree is damaged | refused, or believed (`start-bad-tree`, `start-flipped-bits`) |
//! | the tree is another board's than the table's | refused, each mismatch in a line of its own (`start-other-board`) |
//! | the tree invents memory, or has it where the image is not | refused: memory is tried before it is used (`start-bad-tree`) |
//! | image or payload were loaded over what the tree reserves, or over the tree; a spin table's word lies in them, or among registers of EL2's or a guest's | refused (`start-bad-tree`) |
//! | nothing answers at the GIC's registers, or no GICv3 | refused (`start-bad-tree`) |
//! | the console does not answer, or is of an unknown kind though the table was made for one that is known | refused, at the table's UART (`start-bad-tree`) |
//! | the board has no console that EL2 drives, and the table was made for that | starts, silent: what partitions print is dropped, what EL2 says is in `MEMORY_LOG` alone (`start-silent`) |
//! | the loader enters below EL2 | refused (`start-other-board`) |
//! | a CPU does not come up, refused by the firmware or lost | told within a second by the console's server; where that one is missing, the first CPU tells at once and serves in its place, even where the table leaves it unused; its vCPUs do not run, the others do, and their partitions stop and start without them (`start-missing-cpu`) |
//! | nobody runs for long | the start-up table is shown all the same (`late-window`) |
//! | the UART never drains | a guest whose UART waits for room waits, all others go on; the machine is not turned off with something unsaid (`start-deaf-console`) |
//! | a flood of EL2's own interrupts | they wait while somebody more urgent runs (`keys`); one that nobody owns is turned off when it comes |
//! | EL2 takes an exception, or its stack overflows | last words; the other CPUs stop, and the board parks or resets (`start-crash`, `start-stack-overflow`) |

mod arena;
mod audit;
mod build;
mod channels;
mod gic;
mod inputs;
mod limits;
mod pcpus;
mod plan;
mod rings;
mod sizes;
mod spin_table;

use crate::arch::aarch64::mmu::Tables;
use crate::arch::aarch64::sysreg::{read, write};
use crate::arch::aarch64::{cpu, switch, tlb};
use crate::panic::{done, say};
use crate::pcpu::Home;
use crate::{hw, run};
use bulkhead::addr::HostPhysAddr;
use bulkhead::console::steps::Step;
use bulkhead::message::{Filled, Show};
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
    let plan = plan::make(&inputs, &plan::check(&inputs));
    done(Step::Planned);
    match build::system(&mut tables, &inputs, &plan) {
        Some(home) => enter(home),
        None => pcpus::turn_off(inputs.board.psci.is_some()),
    }
}

/// Makes a pCPU ready for guests and starts scheduling on it.
fn enter(home: &'static Home) -> ! {
    let parange = read::id_aa64mmfr0_el1() & 0xf;
    write::vpidr_el2(read::midr_el1());
    write::cntvoff_el2(0);
    write::cnthctl_el2(controls::CNTHCTL_EL2);
    write::hstr_el2(controls::HSTR_EL2);
    if !hw::gic::is_memory_mapped() {
        write::icc_sre_el2(controls::ICC_SRE_EL2);
    }
    write::cptr_el2(controls::CPTR_GUEST | controls::CPTR_TFP);
    let fine_grained = read::id_aa64mmfr0_el1() >> 56 & 0xf;
    if fine_grained >= 1 {
        refuse_newer_features();
    }
    if fine_grained >= 2 {
        refuse_newest_features();
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
        write::hcr_el2(controls::HCR_GUEST);
    }
    cpu::isb();
    tlb::invalidate_all_guests();
    hw::timer::arm(u64::MAX);
    // SAFETY: this pCPU's own block, before its first trap.
    unsafe { home.settle() };
    run::trace_traps();
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

/// The same for features that are newer still: their traps have registers of their own.
fn refuse_newest_features() {
    write::hfgrtr2_el2(controls::FINE_GRAINED_TRAPS);
    write::hfgwtr2_el2(controls::FINE_GRAINED_TRAPS);
    write::hfgitr2_el2(controls::FINE_GRAINED_TRAPS);
    write::hdfgrtr2_el2(controls::FINE_GRAINED_TRAPS);
    write::hdfgwtr2_el2(controls::FINE_GRAINED_TRAPS);
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
    say("not started: {} violation{}", &[&violations, &plural]);
    cpu::park()
}

/// Refuses to start for one reason, in the words of [`put`].
///
/// [`put`]: bulkhead::message::put
#[cold]
#[inline(never)]
fn refuse(template: &str, values: &[&dyn Show]) -> ! {
    say("refused: {}", &[&Filled(template, values)]);
    not_started(1)
}
