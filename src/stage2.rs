//! Stage 2: the tables that turn a partition's guest-physical addresses into the board's.
//!
//! 4 KiB granule, 39-bit guest addresses, so the walk starts at level 1 with one root page; levels are numbered as
//! Arm numbers them (1: 1 GiB an entry, 2: 2 MiB, 3: 4 KiB). Everything here is pure: tables are reached through a
//! [`TableStore`], registers are values, and what the TLB needs is a [`Maintenance`] for the caller to carry out.
//!
//! Tables are filled at start-up, when no CPU walks them. A valid entry is never changed into another valid one, so
//! break-before-make has nothing to break; taking a partition's memory away clears its root at once.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod count;
mod descriptor;
mod registers;
#[cfg(test)]
mod tests;
mod walk;

pub use count::{Extent, count_tables, tables_needed};
pub use descriptor::Attributes;
pub use registers::{guest_bits, vtcr, vttbr};
pub use walk::{Stage2, Translation};

use crate::addr::{GuestPhysAddr, HostPhysAddr};
use crate::display_by_show;
use crate::message::{Form, Out, Show, put};

/// Bits of a guest-physical address that one root page translates.
pub const GUEST_BITS: u32 = 39;
/// Entries of a table.
pub const TABLE_ENTRIES: usize = 512;

/// Where tables live. A table is named by its own host-physical address, as descriptors name it.
pub trait TableStore {
    /// Returns a page of zeros, or `None` when the pool is used up.
    fn allocate(&mut self) -> Option<HostPhysAddr>;

    /// Reads entry `index` (below [`TABLE_ENTRIES`]) of a table that [`TableStore::allocate`] returned.
    fn read(&self, table: HostPhysAddr, index: usize) -> u64;

    /// Writes entry `index` (below [`TABLE_ENTRIES`]) of a table that [`TableStore::allocate`] returned, as one
    /// 64-bit store.
    fn write(&mut self, table: HostPhysAddr, index: usize, descriptor: u64);
}

/// What the caller does after entries were written, before it relies on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Maintenance {
    /// Entries went from invalid to valid, which no TLB holds: make the writes seen by table walks (`DSB ISHST`, then
    /// `ISB` on a CPU whose VTTBR holds the root).
    Publish,
    /// Entries went from valid to invalid: `DSB ISHST`; with the partition's VMID in VTTBR, `TLBI VMALLS12E1IS`;
    /// `DSB ISH`; `ISB`. Both stages at once, because TLBs may hold them combined.
    ///
    /// # Source
    /// Arm DDI 0487, "Invalidation of TLB entries from stage 2 translations".
    InvalidatePartition,
}

/// Why a range cannot be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// An address or the size is no multiple of the page, or the size is 0.
    Misaligned {
        /// First guest address.
        gpa: GuestPhysAddr,
        /// First host address.
        hpa: HostPhysAddr,
        /// Bytes.
        size: u64,
    },
    /// The guest range ends beyond what is translated, or the host range beyond 48 bits.
    OutOfRange {
        /// First guest address.
        gpa: GuestPhysAddr,
        /// First host address.
        hpa: HostPhysAddr,
        /// Bytes.
        size: u64,
    },
    /// Something is mapped there already.
    Overlap {
        /// First guest address that is taken.
        gpa: GuestPhysAddr,
    },
    /// The pool has no page left for a table.
    NoTable {
        /// Guest address whose mapping needed one.
        gpa: GuestPhysAddr,
    },
}

display_by_show!(MapError);

impl Show for MapError {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self {
            Self::Misaligned { gpa, hpa, size } => put(
                out,
                "cannot map guest {} to {}, {x} bytes: all three must be multiples of 0x1000",
                &[gpa, hpa, size],
            ),
            Self::OutOfRange { gpa, hpa, size } => put(
                out,
                "cannot map guest {} to {}, {x} bytes: guest addresses have {} bits",
                &[gpa, hpa, size, &GUEST_BITS],
            ),
            Self::Overlap { gpa } => put(
                out,
                "guest address {} is mapped twice (memory and device windows must not overlap)",
                &[gpa],
            ),
            Self::NoTable { gpa } => put(
                out,
                "no page left for the tables of guest address {}",
                &[gpa],
            ),
        }
    }
}
