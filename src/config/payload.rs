//! The payload as typed, checked views: [`Payload::new`] checks everything once, so that what reads it later cannot
//! fail. Only the record area is needed; blobs (guest images) are neither read nor summed.

mod channels;
mod check;
mod error;
#[cfg(test)]
pub(super) mod samples;

use zerocopy::{FromBytes, Immutable, KnownLayout};

pub use error::{Part, PayloadError};

use super::record::{
    self, ChannelRecord, DeviceRecord, Header, InterruptRecord, MAGIC, PartitionRecord, PcpuRecord,
    RegionRecord, SeedRecord, SegmentRecord, Span, Table, Text, TimeWindowRecord, VERSION,
    VcpuRecord, WindowRecord,
};

/// Number of regions of memory that one partition can have.
pub const MAX_REGIONS: usize = 16;
/// Number of windows that the major frame of one pCPU can have.
pub const MAX_TIME_WINDOWS: usize = 64;
/// Longest period and major frame, in nanoseconds: an hour. EL2 turns them into ticks without overflow.
pub const MAX_PERIOD_NS: u64 = 3_600_000_000_000;
/// First guest-physical address that no partition can use: 39 bits of them are translated.
pub const GUEST_END: u64 = 1 << crate::stage2::GUEST_BITS;
/// Most bytes that the record area may have.
pub const MAX_RECORD_BYTES: u64 = 1 << 20;

/// A payload whose records are checked.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    header: &'a Header,
    partitions: &'a [PartitionRecord],
    regions: &'a [RegionRecord],
    vcpus: &'a [VcpuRecord],
    devices: &'a [DeviceRecord],
    windows: &'a [WindowRecord],
    interrupts: &'a [InterruptRecord],
    segments: &'a [SegmentRecord],
    seeds: &'a [SeedRecord],
    pcpus: &'a [PcpuRecord],
    time_windows: &'a [TimeWindowRecord],
    channels: &'a [ChannelRecord],
}

/// Returns the header if the bytes start a payload of our layout: how to learn `record_bytes` before the rest is
/// mapped or read.
///
/// # Errors
/// [`PayloadError::Short`], [`PayloadError::Misaligned`], [`PayloadError::Magic`], [`PayloadError::Version`],
/// [`PayloadError::Lengths`].
pub fn header(bytes: &[u8]) -> Result<&Header, PayloadError> {
    let needed = size_of::<Header>() as u64;
    let found = bytes.len() as u64;
    if found < needed {
        return Err(PayloadError::Short { found, needed });
    }
    if !bytes.as_ptr().addr().is_multiple_of(align_of::<Header>()) {
        return Err(PayloadError::Misaligned);
    }
    let Ok((header, _)) = Header::ref_from_prefix(bytes) else {
        return Err(PayloadError::Misaligned);
    };
    if header.magic != MAGIC {
        return Err(PayloadError::Magic {
            found: header.magic,
        });
    }
    if header.version != VERSION || u64::from(header.header_bytes) != needed {
        return Err(PayloadError::Version {
            found: header.version,
            header_bytes: header.header_bytes,
        });
    }
    let sensible = needed..=MAX_RECORD_BYTES.min(header.total_bytes);
    if !sensible.contains(&header.record_bytes) {
        return Err(PayloadError::Lengths {
            record_bytes: header.record_bytes,
            total_bytes: header.total_bytes,
        });
    }
    Ok(header)
}

impl<'a> Payload<'a> {
    /// Checks the record area at the front of `bytes`, which lie on an address that is a multiple of 8.
    ///
    /// # Errors
    /// The first [`PayloadError`] found. The compiler of the table writes none of them, so each means damage or a
    /// payload of another version.
    // Not inlined: its frame is gone when the system is built.
    #[inline(never)]
    pub fn new(bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let header = header(bytes)?;
        let needed = header.record_bytes;
        let found = bytes.len() as u64;
        let bytes = bytes
            .get(..needed as usize)
            .ok_or(PayloadError::Short { found, needed })?;
        let sum = record::record_checksum(bytes);
        if sum != header.checksum {
            return Err(PayloadError::Checksum {
                found: sum,
                wanted: header.checksum,
            });
        }
        let payload = Self {
            bytes,
            header,
            partitions: table(bytes, header.partitions, Part::Partitions)?,
            regions: table(bytes, header.regions, Part::Regions)?,
            vcpus: table(bytes, header.vcpus, Part::Vcpus)?,
            devices: table(bytes, header.devices, Part::Devices)?,
            windows: table(bytes, header.windows, Part::Windows)?,
            interrupts: table(bytes, header.interrupts, Part::Interrupts)?,
            segments: table(bytes, header.segments, Part::Segments)?,
            seeds: table(bytes, header.seeds, Part::Seeds)?,
            pcpus: table(bytes, header.pcpus, Part::Pcpus)?,
            time_windows: table(bytes, header.time_windows, Part::TimeWindows)?,
            channels: table(bytes, header.channels, Part::Channels)?,
        };
        payload.check()?;
        Ok(payload)
    }

    /// Returns the header.
    pub fn header(&self) -> &'a Header {
        self.header
    }

    /// Returns the partitions in table order: 1 to [`crate::ids::MAX_PARTITIONS`].
    pub fn partitions(&self) -> &'a [PartitionRecord] {
        self.partitions
    }

    /// Returns a partition's memory: 1 to [`MAX_REGIONS`].
    pub fn regions(&self, of: &PartitionRecord) -> &'a [RegionRecord] {
        span(self.regions, of.regions)
    }

    /// Returns a partition's vCPUs: 1 to [`crate::ids::MAX_VCPUS`].
    pub fn vcpus(&self, of: &PartitionRecord) -> &'a [VcpuRecord] {
        span(self.vcpus, of.vcpus)
    }

    /// Shows all vCPUs in table order, each with the positions of its partition and in it.
    // Not inlined: many look at all vCPUs, and start-up has to be small.
    #[inline(never)]
    pub fn each_vcpu(&self, each: &mut dyn FnMut((usize, usize), &'a VcpuRecord)) {
        for (partition, record) in self.partitions.iter().enumerate() {
            for (vcpu, record) in self.vcpus(record).iter().enumerate() {
                each((partition, vcpu), record);
            }
        }
    }

    /// Returns a partition's passed-through devices.
    pub fn devices(&self, of: &PartitionRecord) -> &'a [DeviceRecord] {
        span(self.devices, of.devices)
    }

    /// Returns a device's register windows.
    pub fn windows(&self, of: &DeviceRecord) -> &'a [WindowRecord] {
        span(self.windows, of.windows)
    }

    /// Says whether another partition, or it itself, manages the partition at a position.
    pub fn is_managed(&self, position: usize) -> bool {
        let bit = 1u64.checked_shl(position as u32).unwrap_or(0);
        self.partitions.iter().any(|by| by.manages & bit != 0)
    }

    /// Returns a partition's passed-through interrupts.
    pub fn interrupts(&self, of: &PartitionRecord) -> &'a [InterruptRecord] {
        span(self.interrupts, of.interrupts)
    }

    /// Returns what is loaded into a partition at every start.
    pub fn segments(&self, of: &PartitionRecord) -> &'a [SegmentRecord] {
        span(self.segments, of.segments)
    }

    /// Returns the places in a partition's memory that get random bytes at every start.
    pub fn seeds(&self, of: &PartitionRecord) -> &'a [SeedRecord] {
        span(self.seeds, of.seeds)
    }

    /// Returns the pCPUs that the table describes, each position once.
    pub fn pcpus(&self) -> &'a [PcpuRecord] {
        self.pcpus
    }

    /// Returns a pCPU's windows by start, at most [`MAX_TIME_WINDOWS`]; empty when fixed priorities alone rule it.
    pub fn time_windows(&self, of: &PcpuRecord) -> &'a [TimeWindowRecord] {
        span(self.time_windows, of.windows)
    }

    /// Returns the channels, in table order.
    pub fn channels(&self) -> &'a [ChannelRecord] {
        self.channels
    }

    /// Returns the channels of the partition at a position, each with the number of the partition's own side (0 or 1).
    pub fn channels_of(
        &self,
        partition: usize,
    ) -> impl Iterator<Item = (&'a ChannelRecord, usize)> + Clone + use<'a> {
        // The two sides are two partitions.
        self.channels.iter().filter_map(move |channel| {
            let mut sides = channel.sides.iter();
            let side = sides.position(|side| side.partition as usize == partition)?;
            Some((channel, side))
        })
    }

    /// Returns a text, such as a device's path.
    pub fn text(&self, text: Text) -> &'a str {
        self.text_checked(text).unwrap_or("")
    }

    /// Returns a partition's name.
    pub fn name(&self, of: &'a PartitionRecord) -> &'a str {
        let length = of.name.iter().position(|byte| *byte == 0);
        let name = of.name.get(..length.unwrap_or(of.name.len()));
        core::str::from_utf8(name.unwrap_or(&[])).unwrap_or("")
    }

    /// Returns the name of the platform that the table was compiled for.
    pub fn platform(&self) -> &'a str {
        self.text(self.header.platform)
    }

    /// Returns where a segment's blob starts, in bytes from the payload's first one.
    pub fn segment_offset(&self, of: &SegmentRecord) -> u64 {
        of.offset
    }

    /// Returns a text if it lies in the record area.
    #[inline(never)]
    fn text_checked(&self, text: Text) -> Option<&'a str> {
        let end = (text.offset as usize).checked_add(text.length as usize)?;
        core::str::from_utf8(self.bytes.get(text.offset as usize..end)?).ok()
    }
}

/// Returns a table's records.
fn table<T: FromBytes + Immutable + KnownLayout>(
    bytes: &[u8],
    table: Table,
    part: Part,
) -> Result<&[T], PayloadError> {
    let outside = PayloadError::Table {
        part,
        offset: table.offset,
        count: table.count,
    };
    // Multiples of 8 alone, so that the cast cannot meet a misaligned record.
    if !table.offset.is_multiple_of(8) {
        return Err(outside);
    }
    let rest = bytes.get(table.offset as usize..).ok_or(outside)?;
    <[T]>::ref_from_prefix_with_elems(rest, table.count as usize)
        .map(|(records, _)| records)
        .map_err(|_| outside)
}

/// Returns a span's records; the span was checked.
fn span<T>(table: &[T], span: Span) -> &[T] {
    span_checked(table, span).unwrap_or(&[])
}

/// Returns a span's records if they lie in the table.
fn span_checked<T>(table: &[T], span: Span) -> Option<&[T]> {
    let end = (span.first as usize).checked_add(span.count as usize)?;
    table.get(span.first as usize..end)
}

#[cfg(test)]
mod tests;
