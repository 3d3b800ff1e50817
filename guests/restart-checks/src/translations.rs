//! A window that each life maps elsewhere, and reads before it drops a single translation.
//!
//! A reset CPU holds no translations; one of a former life that was kept would show that life's page. QEMU drops all of them
//! at the writes that turn the MMU on, so there this test can only be passed; on a CPU it can fail.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::mmu::{self, Table};
use guest_runtime::smccc::{self, psci};
use guest_runtime::suite::Outcome;
use guest_runtime::{expect, expect_eq, read_sysreg, smp, sysreg, timer, write_sysreg};

// translation_probe: reads a word by a map, with the MMU on and caches off, and drops no translation before.
// x0: TTBR0_EL1, x1: address, x2: TCR_EL1; returns the word.
//
// translation_entry: does so on a vCPU that was just started, with what lies at its context, and stops.
global_asm!(
    ".section .text.translations, \"ax\"",
    ".global translation_probe",
    "translation_probe:",
    "    ldr x3, ={mair}",
    "    msr mair_el1, x3",
    "    msr tcr_el1, x2",
    "    msr ttbr0_el1, x0",
    "    isb",
    "    mrs x4, sctlr_el1",
    "    orr x3, x4, #1",
    "    msr sctlr_el1, x3",
    "    isb",
    "    ldr x0, [x1]",
    "    msr sctlr_el1, x4",
    "    isb",
    "    ret",
    ".global translation_entry",
    "translation_entry:",
    "    mov x19, x0",
    "    ldp x0, x1, [x19]",
    "    ldr x2, [x19, #16]",
    "    bl translation_probe",
    "    str x0, [x19, #24]",
    "    dsb sy",
    "    ldr x0, =0x84000002", // CPU_OFF
    "    hvc #0",
    "    b .",
    "    .ltorg",
    mair = const mmu::MAIR,
);

unsafe extern "C" {
    fn translation_probe(root: u64, address: u64, control: u64) -> u64;
    fn translation_entry();
}

/// Pages that a window may show.
const PAGES: usize = 8;

/// A page that says which it is.
#[repr(align(4096))]
struct Page([AtomicU64; 512]);

static PAGE: [Page; PAGES] = [const { Page([const { AtomicU64::new(0) }; 512]) }; PAGES];
static ROOT: Table = Table::new();
static MIDDLE: Table = Table::new();
static LEAF: Table = Table::new();

/// What a started vCPU is given, and its answer.
#[repr(align(256))]
struct Order([AtomicU64; 4]);

static ORDER: Order = Order([const { AtomicU64::new(0) }; 4]);

/// The window of this life: its page's mark, and what the first vCPU read there.
static WANTED: AtomicU64 = AtomicU64::new(0);
static FOUND: AtomicU64 = AtomicU64::new(0);

const WINDOW: u64 = (mmu::WINDOW_GIB << 30) as u64;
/// Descriptor bits of a page of normal memory that is not global, and of a table.
const LEAF_BITS: u64 = 1 << 54 | 1 << 11 | 1 << 10 | 3 << 8 | 1 << 2 | 3;
const TABLE_BITS: u64 = 3;
/// The address space that every life uses.
const ASID: u64 = 1 << 48;

fn mark(page: usize) -> u64 {
    0x7a6e_0000_0000_0000 | page as u64
}

/// Returns `TCR_EL1` for this CPU, as the runtime sets it.
fn control() -> u64 {
    mmu::TCR | (read_sysreg!("id_aa64mmfr0_el1") & 7).min(5) << 32
}

fn root() -> u64 {
    ROOT.address() | ASID
}

/// Maps the window to a page that differs from life to life and reads it. The MMU is off.
pub fn look() {
    let page = (timer::physical_now() >> 10) as usize % PAGES;
    for (number, place) in PAGE.iter().enumerate() {
        place.0[0].store(mark(number), Ordering::Relaxed);
    }
    ROOT.copy_identity();
    // SAFETY: nothing of Rust's lies in the window.
    unsafe {
        LEAF.write(0, PAGE[page].0.as_ptr() as u64 | LEAF_BITS);
        MIDDLE.write(0, LEAF.address() | TABLE_BITS);
        ROOT.write(mmu::WINDOW_GIB, MIDDLE.address() | TABLE_BITS);
    }
    WANTED.store(mark(page), Ordering::Relaxed);
    // SAFETY: the map holds the identity map, and the window.
    let found = unsafe { translation_probe(root(), WINDOW, control()) };
    FOUND.store(found, Ordering::Relaxed);
}

/// Reads the window as the last thing of a life, so that its translation is there when the next one begins.
pub fn leave_behind() {
    let before = read_sysreg!("ttbr0_el1");
    // SAFETY: a copy of the identity map that is in force, with the window besides.
    unsafe {
        write_sysreg!("ttbr0_el1", root());
        sysreg::isb();
        core::ptr::with_exposed_provenance::<u64>(WINDOW as usize).read_volatile();
        write_sysreg!("ttbr0_el1", before);
    }
    sysreg::isb();
}

/// What this life's first vCPU read is its own page.
pub fn first_reads_its_own() -> Outcome {
    expect_eq!(
        FOUND.load(Ordering::Relaxed),
        WANTED.load(Ordering::Relaxed),
        "mark of the page in the window"
    );
    Ok(())
}

/// And so does every other one.
pub fn others_read_their_own(affinities: &[u64]) -> Outcome {
    for affinity in affinities {
        for (slot, value) in ORDER.0.iter().zip([root(), WINDOW, control(), 0]) {
            slot.store(value, Ordering::Relaxed);
        }
        drop_lines();
        let order = ORDER.0.as_ptr() as u64;
        let entry = translation_entry as *const () as u64;
        let answer = psci(smccc::CPU_ON, [*affinity, entry, order]);
        expect!(answer == 0, "CPU_ON of {affinity:#x} is {answer}");
        let stopped = timer::wait_until(timer::PATIENCE_NS, || smp::state(*affinity) == 1);
        expect!(stopped, "{affinity:#x} does not stop again");
        drop_lines();
        expect_eq!(
            ORDER.0[3].load(Ordering::Relaxed),
            WANTED.load(Ordering::Relaxed),
            "mark of the page in another vCPU's window"
        );
    }
    Ok(())
}

/// Writes what a vCPU without caches reads, and drops what it wrote.
fn drop_lines() {
    let lines = [&raw const ORDER as usize, &raw const ROOT as usize];
    let more = [&raw const MIDDLE as usize, &raw const LEAF as usize];
    for start in lines.into_iter().chain(more) {
        for line in (start..start + 4096).step_by(16) {
            // SAFETY: cache upkeep of this guest's own memory.
            unsafe { core::arch::asm!("dc civac, {a}", a = in(reg) line, options(nostack)) };
        }
    }
    for page in &PAGE {
        // SAFETY: as above.
        unsafe { core::arch::asm!("dc civac, {a}", a = in(reg) page.0.as_ptr(), options(nostack)) };
    }
    sysreg::dsb();
}
