//! Records of channels.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Text;
use crate::addr::{BLOCK_2M_BYTES, PAGE_BYTES};

/// Number of channels that a system can have.
pub const MAX_CHANNELS: usize = 64;
/// Number of channels that one partition can have: what follows a stop is bounded by it.
pub const MAX_CHANNELS_OF_ONE: usize = 8;
/// Most bytes that a channel's memory can have.
pub const MAX_CHANNEL_BYTES: u64 = 256 << 20;

/// Memory that two partitions share, and a doorbell each way.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ChannelRecord {
    /// Its name.
    pub name: Text,
    /// Bytes of the shared memory, a multiple of the page.
    pub size: u64,
    /// Who shares it, in the order of the table: two different partitions.
    pub sides: [SideRecord; 2],
    /// [`channel_flags`] bits.
    pub flags: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bits of [`ChannelRecord::flags`].
pub mod channel_flags {
    /// The memory may be cached. Without it stage 2 makes it uncached for both sides, however they map it.
    pub const CACHED: u32 = 1 << 0;
}

/// One side of a channel.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SideRecord {
    /// Position of the partition.
    pub partition: u32,
    /// [`super::access`] bits; never [`super::access::EXECUTE`].
    pub access: u32,
    /// GPA of the shared memory; the two sides' agree modulo [`ChannelRecord::modulus`].
    pub gpa: u64,
    /// GPA of the page of doorbell registers. A partition's pages follow each other in the order of its channels.
    pub registers: u64,
    /// INTID of the interrupt that the partner raises: edge-triggered, with nothing physical behind it.
    pub intid: u32,
    /// Zero.
    pub reserved: u32,
}

impl ChannelRecord {
    /// Returns what guest and host addresses agree modulo: large memory is mapped by blocks.
    pub const fn modulus(&self) -> u64 {
        channel_modulus(self.size)
    }
}

/// Returns [`ChannelRecord::modulus`] of a size.
pub const fn channel_modulus(size: u64) -> u64 {
    if size >= BLOCK_2M_BYTES {
        BLOCK_2M_BYTES
    } else {
        PAGE_BYTES
    }
}
