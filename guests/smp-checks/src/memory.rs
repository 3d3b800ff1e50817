//! Memory between vCPUs: locks, atomics, and translations that must not be taken for one another's.

use crate::team;
use core::arch::asm;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use guest_runtime::exception::catch;
use guest_runtime::mmu::Table;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, mmu, read_sysreg, smp, sysreg, tests, write_sysreg};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_atomic_additions_are_not_lost,
    c_a_lock_keeps_others_out,
    a14_exclusives_beside_plain_stores_end,
    a18_a_page_that_was_unmapped_is_gone_for_every_vcpu,
    a27_vcpus_with_their_own_tables_read_their_own_page,
    c_broadcast_tlb_invalidation_reaches_every_vcpu,
    c_broadcast_of_a_fetch_change_reaches_every_vcpu,
];

const ADDITIONS: u64 = 5_000;
const TURNS: u64 = 1_000;

static SUM: AtomicU64 = AtomicU64::new(0);

fn c_atomic_additions_are_not_lost() -> Outcome {
    SUM.store(0, Ordering::Release);
    team::together(|| {
        for _ in 0..ADDITIONS {
            SUM.fetch_add(1, Ordering::Relaxed);
        }
    })?;
    expect_eq!(
        SUM.load(Ordering::Acquire),
        ADDITIONS * team::size() as u64,
        "sum"
    );
    Ok(())
}

static HELD: AtomicBool = AtomicBool::new(false);

struct Guarded(UnsafeCell<[u64; 2]>);

// SAFETY: touched only by whoever set `HELD`.
unsafe impl Sync for Guarded {}

static GUARDED: Guarded = Guarded(UnsafeCell::new([0; 2]));

fn take_turns() {
    for _ in 0..TURNS {
        let mut tries = 0_u32;
        while HELD.swap(true, Ordering::Acquire) {
            tries += 1;
            // A sibling on this pCPU may hold it.
            if tries.is_multiple_of(1000) {
                team::rest();
            }
        }
        // SAFETY: `HELD` was set by this vCPU; volatile, so that the two steps stay two.
        unsafe {
            let pair = GUARDED.0.get();
            (&raw mut (*pair)[0]).write_volatile((&raw const (*pair)[0]).read_volatile() + 1);
            (&raw mut (*pair)[1]).write_volatile((&raw const (*pair)[1]).read_volatile() + 1);
        }
        HELD.store(false, Ordering::Release);
    }
}

fn c_a_lock_keeps_others_out() -> Outcome {
    // SAFETY: no other vCPU has a job now.
    unsafe { GUARDED.0.get().write_volatile([0; 2]) };
    team::together(take_turns)?;
    // SAFETY: as above.
    let [first, second] = unsafe { GUARDED.0.get().read_volatile() };
    expect_eq!(first, TURNS * team::size() as u64, "first counter");
    expect_eq!(second, first, "second counter");
    Ok(())
}

/// Two words of one exclusives reservation granule.
#[repr(align(64))]
struct Granule([AtomicU64; 2]);

static GRANULE: Granule = Granule([const { AtomicU64::new(0) }; 2]);
/// Tries that an exclusive addition needs at most, far more than any neighbour's stores make fail in a row.
const TRIES: u64 = 1_000_000;
static WORST: AtomicU64 = AtomicU64::new(0);

/// Adds to the first word by exclusives, and stores to its neighbour without.
fn add_and_store() {
    for turn in 0..ADDITIONS {
        let mut tries = 1;
        while tries < TRIES {
            let failed: u32;
            // SAFETY: the word is an atomic.
            unsafe {
                asm!("ldxr {v}, [{w}]", "add {v}, {v}, #1", "stxr {failed:w}, {v}, [{w}]", v = out(reg) _,
                    w = in(reg) GRANULE.0[0].as_ptr(), failed = out(reg) failed, options(nostack));
            }
            if failed == 0 {
                break;
            }
            tries += 1;
        }
        WORST.fetch_max(tries, Ordering::Relaxed);
        GRANULE.0[1].store(turn, Ordering::Relaxed);
    }
}

fn a14_exclusives_beside_plain_stores_end() -> Outcome {
    GRANULE.0[0].store(0, Ordering::Release);
    WORST.store(0, Ordering::Release);
    team::together(add_and_store)?;
    let worst = WORST.load(Ordering::Acquire);
    expect!(worst < TRIES, "an addition took {worst} tries");
    expect_eq!(
        GRANULE.0[0].load(Ordering::Acquire),
        ADDITIONS * team::size() as u64,
        "sum"
    );
    Ok(())
}

/// A page that is reached by other addresses than its own.
#[repr(align(4096))]
struct Page([AtomicU64; 512]);

static PAGES: [Page; smp::MAX_VCPUS] =
    [const { Page([const { AtomicU64::new(0) }; 512]) }; smp::MAX_VCPUS];
static ROOTS: [Table; smp::MAX_VCPUS] = [const { Table::new() }; smp::MAX_VCPUS];
static MIDDLES: [Table; smp::MAX_VCPUS] = [const { Table::new() }; smp::MAX_VCPUS];
static LEAVES: [Table; smp::MAX_VCPUS] = [const { Table::new() }; smp::MAX_VCPUS];

/// Descriptor bits of a page of normal memory that is not global.
const PAGE: u64 = 1 << 54 | 1 << 11 | 1 << 10 | 3 << 8 | 1 << 2 | 3;
const TABLE: u64 = 3;
/// The first address of the window.
const WINDOW: usize = mmu::WINDOW_GIB << 30;

/// Returns the number that page `index` holds.
fn mark(index: usize) -> u64 {
    0xb01d_0000_0000_0000 | index as u64
}

fn mark_pages() {
    for (index, page) in PAGES.iter().enumerate() {
        page.0[0].store(mark(index), Ordering::Relaxed);
    }
    sysreg::dsb();
}

/// Reads the first word of the window.
fn read_window() -> u64 {
    let value: u64;
    // SAFETY: the window is mapped to a page of `PAGES` while this is called.
    unsafe { asm!("ldr {v}, [{a}]", v = out(reg) value, a = in(reg) WINDOW, options(nostack)) };
    value
}

/// Sets `TTBR0_EL1`, ASID included.
///
/// # Safety
/// The table maps all that the identity map does.
unsafe fn set_root(value: u64) {
    // SAFETY: the caller vouches for the table.
    unsafe { write_sysreg!("ttbr0_el1", value) };
    sysreg::isb();
}

static WRONG: AtomicU32 = AtomicU32::new(0);

/// Runs with tables of its own, under an ASID that all vCPUs use, and counts reads of somebody else's page.
fn read_own_page() {
    const ASID: u64 = 1 << 48;
    let own = smp::index();
    ROOTS[own].copy_identity();
    // SAFETY: the tables are this vCPU's own, and the window holds nothing of Rust's.
    unsafe {
        LEAVES[own].write(0, PAGES[own].0.as_ptr() as u64 | PAGE);
        MIDDLES[own].write(0, LEAVES[own].address() | TABLE);
        ROOTS[own].write(mmu::WINDOW_GIB, MIDDLES[own].address() | TABLE);
    }
    let before = read_sysreg!("ttbr0_el1");
    // SAFETY: a copy of the identity map, with the window besides.
    unsafe { set_root(ROOTS[own].address() | ASID) };
    for round in 0..2_000 {
        if read_window() != mark(own) {
            WRONG.fetch_add(1, Ordering::AcqRel);
        }
        if round % 20 == 0 {
            team::rest();
        }
    }
    // SAFETY: the table that was there before; then the translations of this vCPU's own are dropped.
    unsafe {
        set_root(before);
        asm!("tlbi aside1, {a}", "dsb nsh", "isb", a = in(reg) ASID, options(nostack));
    }
}

fn a27_vcpus_with_their_own_tables_read_their_own_page() -> Outcome {
    team::needs(2)?;
    mark_pages();
    WRONG.store(0, Ordering::Release);
    team::together(read_own_page)?;
    expect_eq!(
        WRONG.load(Ordering::Acquire),
        0,
        "reads of another vCPU's page"
    );
    Ok(())
}

static READ: [AtomicU64; smp::MAX_VCPUS] = [const { AtomicU64::new(0) }; smp::MAX_VCPUS];

fn read_shared() {
    READ[smp::index()].store(read_window(), Ordering::Release);
}

fn c_broadcast_tlb_invalidation_reaches_every_vcpu() -> Outcome {
    team::needs(2)?;
    mark_pages();
    // SAFETY: tables of the window alone.
    unsafe { MIDDLES[0].write(0, LEAVES[0].address() | TABLE) };
    let window = mmu::set_window(0, MIDDLES[0].address() | TABLE);
    expect_eq!(window, WINDOW, "address of the window");
    let mut outcome = Ok(());
    for round in 0..200 {
        let page = round % smp::MAX_VCPUS;
        // SAFETY: the window alone changes, by break before make; nobody reads it now.
        unsafe {
            LEAVES[0].write(0, 0);
            asm!("dsb ishst", "tlbi vaae1is, {a}", "dsb ish", "isb", a = in(reg) WINDOW >> 12, options(nostack));
            LEAVES[0].write(0, PAGES[page].0.as_ptr() as u64 | PAGE);
        }
        outcome = team::together(read_shared).and_then(|()| all_read(page));
        if outcome.is_err() {
            break;
        }
    }
    mmu::set_window(0, 0);
    outcome
}

/// What a read of the window that faulted counts as.
const FAULTED: u64 = 0xfa17_ed00;

fn try_window() {
    let (value, fault) = catch(read_window);
    let seen = if fault.is_some() { FAULTED } else { value };
    READ[smp::index()].store(seen, Ordering::Release);
}

fn a18_a_page_that_was_unmapped_is_gone_for_every_vcpu() -> Outcome {
    mark_pages();
    // SAFETY: tables of the window alone.
    unsafe { MIDDLES[0].write(0, LEAVES[0].address() | TABLE) };
    mmu::set_window(0, MIDDLES[0].address() | TABLE);
    let mut outcome = Ok(());
    for round in 0..100 {
        let page = round % smp::MAX_VCPUS;
        // SAFETY: the window alone changes, from nothing to a page.
        unsafe { LEAVES[0].write(0, PAGES[page].0.as_ptr() as u64 | PAGE) };
        outcome = team::together(try_window).and_then(|()| all_have(mark(page)));
        // SAFETY: the window alone changes; nobody reads it now.
        unsafe {
            LEAVES[0].write(0, 0);
            asm!("dsb ishst", "tlbi vaae1is, {a}", "dsb ish", "isb", a = in(reg) WINDOW >> 12, options(nostack));
        }
        outcome = outcome
            .and_then(|()| team::together(try_window))
            .and_then(|()| all_have(FAULTED));
        if outcome.is_err() {
            break;
        }
    }
    mmu::set_window(0, 0);
    outcome
}

fn all_read(page: usize) -> Outcome {
    all_have(mark(page))
}

fn all_have(wanted: u64) -> Outcome {
    for index in 0..team::size() {
        let found = READ[index].load(Ordering::Acquire);
        expect!(
            found == wanted,
            "vCPU {index} read {found:#x}, wanted {wanted:#x}"
        );
    }
    Ok(())
}

/// `mov w0, #n`, `ret`: code that the first vCPU changes and all run.
#[repr(align(64))]
struct Code([AtomicU32; 2]);

static CODE: Code = Code([const { AtomicU32::new(0) }; 2]);

fn run_code() {
    let value: u64;
    // SAFETY: the code is one MOV and a return; the context is synchronized after the change was published.
    unsafe {
        asm!("isb", "blr {a}", a = in(reg) CODE.0.as_ptr(), out("x0") value, out("x30") _, clobber_abi("C"));
    }
    READ[smp::index()].store(value & 0xffff_ffff, Ordering::Release);
}

fn c_broadcast_of_a_fetch_change_reaches_every_vcpu() -> Outcome {
    team::needs(2)?;
    for round in 0..100_u32 {
        CODE.0[0].store(0x5280_0000 | round << 5, Ordering::Relaxed);
        CODE.0[1].store(0xd65f_03c0, Ordering::Relaxed);
        // SAFETY: cache upkeep of the code that was just written.
        unsafe {
            asm!("dc cvau, {a}", "dsb ish", "ic ivau, {a}", "dsb ish", "isb", a = in(reg) CODE.0.as_ptr(), options(nostack));
        }
        team::together(run_code)?;
        for index in 0..team::size() {
            let found = READ[index].load(Ordering::Acquire);
            expect!(
                found == u64::from(round),
                "vCPU {index} ran the code of round {found} in round {round}"
            );
        }
    }
    Ok(())
}
