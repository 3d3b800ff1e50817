//! CPUs that wait at a spin table, where the firmware has no PSCI: each polls a word in memory, by `cpu-release-addr`, until
//! that holds an address to go to.
//!
//! They come with nothing in their registers, so that each looks up what it is to find ([`SecondaryStart`]) by its affinity,
//! once its MMU is on.
//!
//! Source: Linux `Documentation/arm64/booting.rst` ("spin-table"); Devicetree Specification 0.4, "cpu-release-addr".

use super::pcpus::SecondaryStart;
use crate::arch::aarch64::cache::clean_and_invalidate;
use crate::arch::aarch64::cpu;
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::mmu::{Window, is_physical};
use crate::arch::aarch64::probe;
use crate::hw::gic::PAGE;
use bulkhead::addr::{HostPhysAddr, HypVirtAddr, PAGE_BYTES};
use bulkhead::ids::{MAX_PCPUS, Mpidr};
use core::sync::atomic::{AtomicU64, Ordering};

/// What a CPU is to find; a start of 0 is nobody's. The start-up code reads both.
#[repr(C)]
struct Place {
    mpidr: AtomicU64,
    start: AtomicU64,
}

#[unsafe(no_mangle)]
static SPIN_TABLE_STARTS: [Place; MAX_PCPUS] = [const {
    Place {
        mpidr: AtomicU64::new(0),
        start: AtomicU64::new(0),
    }
}; MAX_PCPUS];

unsafe extern "C" {
    /// Where such CPUs are sent.
    pub fn spin_table_entry();
}

/// Lets the CPU with an affinity find what it is to start with; before [`release`].
pub fn register(position: usize, mpidr: Mpidr, start: &'static SecondaryStart) {
    if let Some(place) = SPIN_TABLE_STARTS.get(position) {
        place.mpidr.store(mpidr.raw(), Ordering::Relaxed);
        let start = core::ptr::from_ref(start) as u64;
        place.start.store(start, Ordering::Release);
    }
}

/// Sends who polls the word at `release` to `entry`. Where nothing answers, nothing is done: the console's server tells of a
/// pCPU that does not come.
pub fn release(window: &mut Window, release: HostPhysAddr, entry: HostPhysAddr) {
    if !is_physical(release) {
        return;
    }
    let offset = release.0 % PAGE_BYTES;
    let set = |page: HypVirtAddr| {
        // SAFETY: the page is mapped as device memory, the offset that of a word; reading memory changes nothing.
        if unsafe { probe::word(HypVirtAddr(page.0 + offset)) }.is_none() {
            return;
        }
        // SAFETY: mapped as device memory while this runs, past the caches, as those read it who have none on.
        let words = unsafe { Registers::<PAGE>::new(page) };
        let word = HypVirtAddr(page.0 + offset);
        // What the firmware left of it in a cache would be written over the entry, and hides it from who polls with caches on.
        clean_and_invalidate(word, size_of::<u64>() as u64);
        words.write64(offset as u32, entry.0);
        clean_and_invalidate(word, size_of::<u64>() as u64);
    };
    cpu::dsb_sy();
    // SAFETY: the tree says that this is the firmware's word, and the board's reader keeps its page from everybody else.
    unsafe { window.with_device_page(release, set) };
    cpu::send_event();
}
