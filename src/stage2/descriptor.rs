//! Descriptors of stage-2 tables, 4 KiB granule.
//!
//! # Source
//! Arm DDI 0487, "VMSAv8-64 translation table format descriptors" and "Stage 2 memory region attributes".

use crate::addr::{BLOCK_1G_BYTES, BLOCK_2M_BYTES, HostPhysAddr, PAGE_BYTES};
use crate::config::record::access;

/// Bit 0: the entry is valid.
const VALID: u64 = 1 << 0;
/// Bit 1: at level 1 and 2 a table rather than a block; at level 3 a page, always set.
const TABLE_OR_PAGE: u64 = 1 << 1;
/// Bits 47:12: output address or next table.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// Bits 5:2 MemAttr = 1111: Normal, write-back cacheable, inner and outer. The guest's own attributes may only make
/// it weaker in caching.
const NORMAL: u64 = 0b1111 << 2;
/// Bits 5:2 MemAttr = 0101: Normal, non-cacheable, inner and outer, whatever the guest says.
const NON_CACHEABLE: u64 = 0b0101 << 2;
/// Bits 5:2 MemAttr = 0001: Device-nGnRE. A guest that maps Normal over it still gets device memory.
const DEVICE_NGNRE: u64 = 0b0001 << 2;
/// Bits 5:2.
const MEMORY_TYPE: u64 = 0b1111 << 2;
/// Bit 6 of S2AP: reads allowed.
const READ: u64 = 1 << 6;
/// Bit 7 of S2AP: writes allowed.
const WRITE: u64 = 1 << 7;
/// Bits 9:8 SH = 11: inner shareable.
const INNER_SHAREABLE: u64 = 0b11 << 8;
/// Bit 10 AF: set, so that no access-flag fault ever reaches EL2.
const ACCESSED: u64 = 1 << 10;
/// Bits 54:53 XN = 10: no execution at EL1 and EL0. Bit 53 stays 0, as CPUs without FEAT_XNX want it.
const EXECUTE_NEVER: u64 = 1 << 54;

/// What a mapping grants and how its memory behaves: the attribute bits of a leaf descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes(u64);

impl Attributes {
    /// Returns the attributes of guest memory. `bits` are those of [`access`]; others are ignored.
    pub const fn memory(bits: u32) -> Self {
        let mut attributes = NORMAL | INNER_SHAREABLE | ACCESSED;
        if bits & access::READ != 0 {
            attributes |= READ;
        }
        if bits & access::WRITE != 0 {
            attributes |= WRITE;
        }
        if bits & access::EXECUTE == 0 {
            attributes |= EXECUTE_NEVER;
        }
        Self(attributes)
    }

    /// Returns the attributes of a window of device registers: read, write, never execute.
    pub const fn device() -> Self {
        Self(DEVICE_NGNRE | READ | WRITE | ACCESSED | EXECUTE_NEVER)
    }

    /// Returns the attributes of memory that two guests share: as [`Attributes::memory`], never executed. Without `cached`
    /// neither guest's accesses are cached, so that they agree even where one maps it as device memory.
    pub const fn shared(bits: u32, cached: bool) -> Self {
        let memory = Self::memory(bits & !access::EXECUTE);
        if cached {
            memory
        } else {
            Self(memory.0 & !MEMORY_TYPE | NON_CACHEABLE)
        }
    }

    /// Returns the [`access`] bits granted.
    pub const fn access(self) -> u32 {
        let mut bits = 0;
        if self.0 & READ != 0 {
            bits |= access::READ;
        }
        if self.0 & WRITE != 0 {
            bits |= access::WRITE;
        }
        if self.0 & EXECUTE_NEVER == 0 {
            bits |= access::EXECUTE;
        }
        bits
    }

    /// Says whether it is device memory or shared uncached: EL2 never reads or writes either for a guest.
    pub const fn is_device(self) -> bool {
        self.0 & MEMORY_TYPE != NORMAL
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing is mapped.
    Invalid,
    /// The next level's table.
    Table(HostPhysAddr),
    /// A block or page.
    Leaf(HostPhysAddr, Attributes),
}

/// Returns the number of bytes that an entry of a level (1 to 3) covers.
pub(super) const fn entry_bytes(level: u8) -> u64 {
    match level {
        1 => BLOCK_1G_BYTES,
        2 => BLOCK_2M_BYTES,
        _ => PAGE_BYTES,
    }
}

/// Encodes a pointer to the next level's table.
pub(super) const fn table(next: HostPhysAddr) -> u64 {
    next.0 & ADDRESS | TABLE_OR_PAGE | VALID
}

/// Encodes a block (level 1, 2) or page (level 3).
pub(super) const fn leaf(hpa: HostPhysAddr, attributes: Attributes, level: u8) -> u64 {
    let kind = if level == 3 { TABLE_OR_PAGE } else { 0 };
    hpa.0 & ADDRESS | attributes.0 | kind | VALID
}

/// Decodes an entry of a level (1 to 3).
pub(super) const fn decode(descriptor: u64, level: u8) -> Entry {
    if descriptor & VALID == 0 {
        return Entry::Invalid;
    }
    let address = HostPhysAddr(descriptor & ADDRESS);
    if level < 3 && descriptor & TABLE_OR_PAGE != 0 {
        return Entry::Table(address);
    }
    Entry::Leaf(
        address,
        Attributes(descriptor & !ADDRESS & !(TABLE_OR_PAGE | VALID)),
    )
}
