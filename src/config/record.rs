//! The payload: what the host's partition-table compiler hands to EL2, as fixed-layout little-endian records.
//!
//! The payload follows EL2's own image in memory, at the first page boundary behind it. It starts with a
//! [`Header`]; behind it come the record tables and strings (together `record_bytes`, covered by one checksum),
//! then, page-aligned, the blobs: guest images and guest device trees. Everything is found by offsets from the
//! first byte of the header, so the payload works at any load address. A [`Span`] selects consecutive records of
//! one table, a [`Text`] consecutive UTF-8 bytes.
//!
//! Host addresses that the table leaves open are [`ANYWHERE`]; EL2 places them on the tree it was really given.

use core::mem::offset_of;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

mod channel;
pub mod gic;
pub use channel::{
    ChannelRecord, MAX_CHANNEL_BYTES, MAX_CHANNELS, MAX_CHANNELS_OF_ONE, SideRecord, channel_flags,
    channel_modulus,
};

/// First eight bytes of every payload.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BULKHEAD");
/// Layout version; any other is refused.
pub const VERSION: u32 = 1;
/// `hpa` of a region that the placement function puts where there is room.
pub const ANYWHERE: u64 = u64::MAX;
/// `mpidr` of a vCPU or the console that name their pCPU, or of a pCPU that is named, by position.
pub const BY_POSITION: u64 = u64::MAX;
/// Bytes kept for a partition's name, padded with zeros; a name has at most 31.
pub const NAME_BYTES: usize = 32;

/// A table of records of one type.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Table {
    /// Bytes from the start of the payload, a multiple of 8.
    pub offset: u32,
    /// Number of records.
    pub count: u32,
}

/// Consecutive records of one table.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Span {
    /// Index of the first record.
    pub first: u32,
    /// Number of records.
    pub count: u32,
}

/// UTF-8 text inside the record area.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Text {
    /// Bytes from the start of the payload.
    pub offset: u32,
    /// Length in bytes.
    pub length: u32,
}

/// The first record of a payload.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Bytes in this header.
    pub header_bytes: u32,
    /// Bytes in the whole payload, blobs included.
    pub total_bytes: u64,
    /// Bytes of header, tables and strings; the checksum covers them, with its own field read as zero.
    pub record_bytes: u64,
    /// [`checksum`] of the first `record_bytes` bytes.
    pub checksum: u64,
    /// [`PartitionRecord`]s, at most [`crate::ids::MAX_PARTITIONS`].
    pub partitions: Table,
    /// [`RegionRecord`]s.
    pub regions: Table,
    /// [`VcpuRecord`]s.
    pub vcpus: Table,
    /// [`DeviceRecord`]s.
    pub devices: Table,
    /// [`WindowRecord`]s.
    pub windows: Table,
    /// [`InterruptRecord`]s.
    pub interrupts: Table,
    /// [`SegmentRecord`]s.
    pub segments: Table,
    /// [`SeedRecord`]s.
    pub seeds: Table,
    /// [`PcpuRecord`]s: the pCPUs that the table describes, each once.
    pub pcpus: Table,
    /// [`TimeWindowRecord`]s.
    pub time_windows: Table,
    /// [`ChannelRecord`]s, at most [`MAX_CHANNELS`].
    pub channels: Table,
    /// Name of the platform that the table was compiled for.
    pub platform: Text,
    /// Partition that has the keyboard at start-up.
    pub focus: u32,
    /// Position of the pCPU that serves the physical UART, when `console_mpidr` is [`BY_POSITION`].
    pub console_pcpu: u32,
    /// Urgency of that service, 0..=255.
    pub console_priority: u32,
    /// [`on_panic`] value.
    pub on_panic: u32,
    /// [`system_flags`] bits.
    pub flags: u32,
    /// [`crate::uart::Model::code`] of the board's console, for messages about a device tree that cannot be read or is not
    /// believed; 0 when nothing drives it.
    pub uart_kind: u32,
    /// Where that UART's registers are. A tree may have the console at another place, if one answers there.
    pub uart_hpa: u64,
    /// That UART's INTID, 0 when it has none at the GIC.
    pub uart_intid: u32,
    /// 1 when that interrupt is edge-triggered, else 0.
    pub uart_edge: u32,
    /// Bytes of records in every pCPU's trace ring, see [`crate::trace`]; 0 when nothing is traced.
    pub trace_bytes: u64,
    /// Affinity of the pCPU that serves the physical UART, or [`BY_POSITION`].
    pub console_mpidr: u64,
    /// Where a byte is written so that this UART sends it; 0 when nothing drives it.
    pub uart_out: u64,
}

/// Values of [`Header::on_panic`].
pub mod on_panic {
    /// Stop all CPUs and wait for a person.
    pub const PARK: u32 = 0;
    /// Reset the board.
    pub const RESET: u32 = 1;
}

/// A pCPU that the table says something about.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PcpuRecord {
    /// Its position under `/cpus`, when `mpidr` is [`BY_POSITION`].
    pub pcpu: u32,
    /// [`pcpu_flags`] bits.
    pub flags: u32,
    /// Its affinity, or [`BY_POSITION`].
    pub mpidr: u64,
    /// Time after which its windows come again; 0 when it has none.
    pub major_frame_ns: u64,
    /// Its windows, [`TimeWindowRecord`]s, by start; they do not overlap and end within the frame.
    pub windows: Span,
}

/// Bits of [`PcpuRecord::flags`].
pub mod pcpu_flags {
    /// The table insists on more work than the analysis finds time for.
    pub const ALLOW_OVERLOAD: u32 = 1 << 0;
}

/// A part of a pCPU's major frame. Outside of all windows nobody runs there.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct TimeWindowRecord {
    /// Where it begins, counted from the start of the frame.
    pub start_ns: u64,
    /// How long it is, at least 1.
    pub length_ns: u64,
    /// Bit n: partition n may run; at least one.
    pub partitions: u64,
}

/// Bits of [`Header::flags`].
pub mod system_flags {
    /// Zero every partition's memory before its first start too, not only at a restart.
    pub const SCRUB_AT_BOOT: u32 = 1 << 0;
    /// The board that the table was compiled for has a GICv2, and so have its guests.
    pub const GICV2: u32 = 1 << 1;
    /// Every step of start-up is shown at [`super::Header::uart_out`], see [`crate::console::steps`].
    pub const LETTERS: u32 = 1 << 2;
    /// All of them.
    pub const KNOWN: u32 = SCRUB_AT_BOOT | GICV2 | LETTERS;
}

/// One partition.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct PartitionRecord {
    /// UTF-8 name, padded with zeros.
    pub name: [u8; NAME_BYTES],
    /// Its memory, [`RegionRecord`]s.
    pub regions: Span,
    /// Its vCPUs in order, [`VcpuRecord`]s.
    pub vcpus: Span,
    /// Passed-through devices, [`DeviceRecord`]s.
    pub devices: Span,
    /// Passed-through interrupts, [`InterruptRecord`]s.
    pub interrupts: Span,
    /// What is loaded into its memory at every start, [`SegmentRecord`]s, the device tree included.
    pub segments: Span,
    /// Places in the device tree that get fresh random bytes at every start, [`SeedRecord`]s.
    pub seeds: Span,
    /// GPA of vCPU 0's first instruction.
    pub entry: u64,
    /// GPA of the device tree, handed over in x0; 0 when there is none.
    pub dtb: u64,
    /// GPA of the virtual distributor, [`gic::distributor_bytes`].
    pub gicd: u64,
    /// GPA of the first virtual redistributor (the others follow), or with [`system_flags::GICV2`] of the CPU interface;
    /// [`gic::interface_bytes`] in all.
    pub gicr: u64,
    /// GPA of the emulated UART (4 KiB) when `console_model` names one.
    pub console_gpa: u64,
    /// [`console_model`] value.
    pub console_model: u32,
    /// INTID of the emulated UART's interrupt.
    pub console_intid: u32,
    /// 0: a full ring shows as a full UART ("wait"); 1: output is dropped and counted ("drop").
    pub console_overflow: u32,
    /// [`on_fault`] value.
    pub on_fault: u32,
    /// `RESTART_LIMITED`: number of restarts allowed within `restart_within_ns`.
    pub restart_limit: u32,
    /// [`partition_flags`] bits.
    pub flags: u32,
    /// Window of `restart_limit`.
    pub restart_within_ns: u64,
    /// Time in which the watchdog wants to be kicked, 0 for none.
    pub watchdog_ns: u64,
    /// Bit n: may manage partition n.
    pub manages: u64,
    /// GPA of the first page of [`crate::device::manager`], one for each partition that it manages, consecutive.
    pub manager_gpa: u64,
}

/// Shortest time of a watchdog, in nanoseconds: with less, EL2's work for restarts would be most of what runs.
pub const MIN_WATCHDOG_NS: u64 = 100_000;
/// Longest time of a watchdog: a day.
pub const MAX_WATCHDOG_NS: u64 = 86_400 * 1_000_000_000;

/// Values of [`PartitionRecord::console_model`].
pub mod console_model {
    /// No console.
    pub const NONE: u32 = 0;
    /// Arm PL011.
    pub const PL011: u32 = 1;
}

/// Values of [`PartitionRecord::on_fault`].
pub mod on_fault {
    /// The partition stays stopped.
    pub const STOP: u32 = 0;
    /// The partition starts again, always.
    pub const RESTART: u32 = 1;
    /// The partition starts again `restart_limit` times within `restart_within_ns`, then stays stopped.
    pub const RESTART_LIMITED: u32 = 2;
}

/// Bits of [`PartitionRecord::flags`].
pub mod partition_flags {
    /// Starts with the system.
    pub const AUTOSTART: u32 = 1 << 0;
    /// The watchdog restarts it rather than stopping it.
    pub const WATCHDOG_RESTARTS: u32 = 1 << 1;
    /// Its cycle counter may count while EL2 works for it.
    pub const COUNTS_EL2: u32 = 1 << 2;
    /// All of them.
    pub const KNOWN: u32 = AUTOSTART | WATCHDOG_RESTARTS | COUNTS_EL2;
}

/// A piece of a partition's memory.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct RegionRecord {
    /// First guest-physical address, page-aligned.
    pub gpa: u64,
    /// Bytes, a multiple of the page.
    pub size: u64,
    /// First host-physical address, or [`ANYWHERE`]. Agrees with `gpa` modulo 2 MiB.
    pub hpa: u64,
    /// [`access`] bits.
    pub access: u32,
    /// Zero.
    pub reserved: u32,
}

/// Bits of [`RegionRecord::access`].
pub mod access {
    /// The guest may read.
    pub const READ: u32 = 1 << 0;
    /// The guest may write.
    pub const WRITE: u32 = 1 << 1;
    /// The guest may execute.
    pub const EXECUTE: u32 = 1 << 2;
}

/// One vCPU.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct VcpuRecord {
    /// Position of its pCPU under `/cpus`, when `mpidr` is [`BY_POSITION`].
    pub pcpu: u32,
    /// Urgency, 0..=255, larger is more urgent.
    pub priority: u32,
    /// Affinity of its pCPU, or [`BY_POSITION`].
    pub mpidr: u64,
    /// Time after which it yields to its equals, 0 for none.
    pub time_slice_ns: u64,
    /// Budget in every period, at most `period_ns`; 0 for none.
    pub budget_ns: u64,
    /// Period of the budget, or of the guest's own work where the table says so.
    pub period_ns: u64,
    /// 0: FP registers switched at first use; 1: at every world switch.
    pub fp_eager: u32,
    /// What follows when the budget is used up. 0: throttled; 1: runs below every priority.
    pub background: u32,
}

/// A passed-through device.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DeviceRecord {
    /// Full path in the board's device tree; empty for a device that is in no tree.
    pub path: Text,
    /// Its register windows, [`WindowRecord`]s.
    pub windows: Span,
}

/// A window of device registers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct WindowRecord {
    /// Where the guest sees it; agrees with `hpa` modulo the page.
    pub gpa: u64,
    /// Where the board has it, as the tree says.
    pub hpa: u64,
    /// Bytes, as the tree says; EL2 maps whole pages.
    pub size: u64,
}

/// A passed-through shared peripheral interrupt.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct InterruptRecord {
    /// Physical INTID, and the virtual one: they are the same.
    pub intid: u32,
    /// 0: level-sensitive; 1: edge-triggered.
    pub edge: u32,
}

/// Something to load into a partition's memory at every start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SegmentRecord {
    /// Where it goes in guest memory.
    pub gpa: u64,
    /// Bytes from the start of the payload to the blob, page-aligned. Partitions may share a blob.
    pub offset: u64,
    /// Bytes copied from the blob.
    pub file_bytes: u64,
    /// Bytes in memory, at least `file_bytes`; the rest is zeroed.
    pub memory_bytes: u64,
}

/// A property value in a generated device tree that EL2 fills with random bytes at every start.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SeedRecord {
    /// GPA of the first byte.
    pub gpa: u64,
    /// Number of bytes.
    pub bytes: u64,
}

/// Sums bytes so that a flipped, lost or moved one shows: 64-bit FNV-1a over little-endian words, the last one
/// padded with zeros, then the length.
pub fn checksum(bytes: &[u8]) -> u64 {
    sum(bytes, usize::MAX)
}

/// Sums a payload's record area as its header wants it: [`checksum`] with [`Header::checksum`] itself read as zero.
pub fn record_checksum(records: &[u8]) -> u64 {
    sum(records, offset_of!(Header, checksum) / 8)
}

/// Sums bytes with the word at one position, counted in words, read as zero.
fn sum(bytes: &[u8], zero: usize) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut tail = [0; 8];
    for (to, from) in tail.iter_mut().zip(rest) {
        *to = *from;
    }
    let sum = words
        .iter()
        .enumerate()
        .fold(OFFSET_BASIS, |sum, (at, word)| {
            let word = if at == zero {
                0
            } else {
                u64::from_le_bytes(*word)
            };
            mix(sum, word)
        });
    mix(mix(sum, u64::from_le_bytes(tail)), bytes.len() as u64)
}

/// One step of [`checksum`].
fn mix(sum: u64, word: u64) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let product = (sum ^ word).wrapping_mul(PRIME);
    product ^ (product >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_no_padding_and_keep_eight_byte_alignment() {
        assert_eq!(size_of::<Header>() % 8, 0);
        assert_eq!(size_of::<PartitionRecord>() % 8, 0);
        assert_eq!(size_of::<VcpuRecord>(), 48);
        assert_eq!(size_of::<PcpuRecord>(), 32);
        assert_eq!(size_of::<ChannelRecord>(), 88);
    }

    /// The format, as numbers: by their names both sides would agree on other ones too.
    #[test]
    fn bits_and_limits_have_fixed_values() {
        assert_eq!(pcpu_flags::ALLOW_OVERLOAD, 1);
        use system_flags::{GICV2, LETTERS, SCRUB_AT_BOOT};
        assert_eq!((SCRUB_AT_BOOT, GICV2, LETTERS), (1, 2, 4));
        assert_eq!(system_flags::KNOWN, 7);
        use partition_flags::{AUTOSTART, COUNTS_EL2, WATCHDOG_RESTARTS};
        assert_eq!((AUTOSTART, WATCHDOG_RESTARTS, COUNTS_EL2), (1, 2, 4));
        assert_eq!(partition_flags::KNOWN, 7);
        assert_eq!((access::READ, access::WRITE, access::EXECUTE), (1, 2, 4));
        assert_eq!(MAX_WATCHDOG_NS, 86_400_000_000_000);
    }

    #[test]
    fn checksum_sees_every_byte_and_the_length() {
        let bytes: Vec<u8> = (0..=40).collect();
        let sum = checksum(&bytes);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_ne!(checksum(&changed), sum, "byte {at}");
        }
        assert_ne!(checksum(&[0; 8]), checksum(&[0; 9]));
    }

    /// Values that were not computed by this code: both sides of a payload agree on them.
    #[test]
    fn checksum_has_fixed_values() {
        assert_eq!(checksum(&[]), 0x6885_3b6a_3912_cca3);
        assert_eq!(checksum(b"BULKHEAD"), 0xf5f6_b92b_f3c7_cf00);
        assert_eq!(checksum(b"twelve bytes"), 0x3d3d_11c6_a45d_ddfb);
    }

    #[test]
    fn record_checksum_leaves_out_its_own_field_alone() {
        let mut bytes: Vec<u8> = (0..=80).collect();
        let sum = record_checksum(&bytes);
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            let own = (32..40).contains(&at);
            assert_eq!(record_checksum(&bytes) == sum, own, "byte {at}");
            bytes[at] ^= 1;
        }
    }
}
