//! What can be wrong with a payload.

use crate::display_by_show;
use crate::message::{Form, Out, Show, put};

/// A table of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Partitions.
    Partitions,
    /// Memory regions.
    Regions,
    /// vCPUs.
    Vcpus,
    /// Passed-through devices.
    Devices,
    /// Windows of device registers.
    Windows,
    /// Passed-through interrupts.
    Interrupts,
    /// Segments to load.
    Segments,
    /// Places for random bytes.
    Seeds,
    /// Descriptions of pCPUs.
    Pcpus,
    /// Windows of time.
    TimeWindows,
    /// Channels.
    Channels,
    /// Texts.
    Texts,
}

impl Part {
    /// Returns the table's name for messages.
    fn name(self) -> &'static str {
        match self {
            Self::Partitions => "partitions",
            Self::Regions => "memory regions",
            Self::Vcpus => "vCPUs",
            Self::Devices => "devices",
            Self::Windows => "device windows",
            Self::Interrupts => "interrupts",
            Self::Segments => "segments",
            Self::Seeds => "seeds",
            Self::Pcpus => "pCPUs",
            Self::TimeWindows => "time windows",
            Self::Channels => "channels",
            Self::Texts => "texts",
        }
    }
}

/// Why a payload is refused. The compiler of the table writes none of these: the image is damaged, or its two parts
/// come from different versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// Fewer bytes than needed.
    Short {
        /// Bytes that there are.
        found: u64,
        /// Bytes that the header or its own size ask for.
        needed: u64,
    },
    /// The bytes do not start at a multiple of 8.
    Misaligned,
    /// Something else lies where the payload should be.
    Magic {
        /// The first eight bytes.
        found: u64,
    },
    /// Another layout.
    Version {
        /// Its version.
        found: u32,
        /// Bytes in its header.
        header_bytes: u32,
    },
    /// The lengths in the header contradict each other or the limits.
    Lengths {
        /// Bytes of records.
        record_bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
    /// The record area was changed on its way here.
    Checksum {
        /// Its sum.
        found: u64,
        /// The sum in its header.
        wanted: u64,
    },
    /// A table does not lie in the record area.
    Table {
        /// Which.
        part: Part,
        /// Its offset.
        offset: u32,
        /// Number of its records.
        count: u32,
    },
    /// A partition has too many of something, or none where it needs one; or the payload has of partitions.
    Count {
        /// Position of the partition.
        partition: usize,
        /// Of what.
        part: Part,
        /// How many.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A partition or device names records that are not in the table.
    Span {
        /// Position of the partition.
        partition: usize,
        /// Which table.
        part: Part,
    },
    /// A partition's name is not 1 to 31 of a-z, 0-9 and -, padded with zeros, or belongs to an earlier one.
    Name {
        /// Position of the partition.
        partition: usize,
    },
    /// A channel holds a value that has no meaning there.
    Channel {
        /// Position of the channel.
        channel: usize,
        /// Field of the record.
        field: &'static str,
        /// The value.
        value: u64,
    },
    /// A record holds a value that has no meaning there.
    Value {
        /// Position of the partition; `usize::MAX`: the header.
        partition: usize,
        /// Field of the record.
        field: &'static str,
        /// The value.
        value: u64,
    },
}

display_by_show!(PayloadError);

impl Show for PayloadError {
    fn show(&self, out: &mut dyn Out, _: Form) {
        out.bytes(b"the payload is damaged or of another version (build the image again): ");
        match self {
            Self::Short { found, needed } => put(out, "{} bytes, {} are needed", &[found, needed]),
            Self::Misaligned => out.bytes(b"its address is no multiple of 8"),
            Self::Magic { found } => put(out, "it starts with {x16}", &[found]),
            Self::Version {
                found,
                header_bytes,
            } => put(
                out,
                "version {}, header of {} bytes",
                &[found, header_bytes],
            ),
            Self::Lengths {
                record_bytes,
                total_bytes,
            } => put(
                out,
                "{} bytes of records in {} bytes",
                &[record_bytes, total_bytes],
            ),
            Self::Checksum { found, wanted } => {
                put(out, "checksum {x16}, {x16} is expected", &[found, wanted])
            }
            Self::Table {
                part,
                offset,
                count,
            } => put(out, "{} {} at {x}", &[count, &part.name(), offset]),
            Self::Count {
                partition,
                part,
                found,
                limit,
            } => put(
                out,
                "{}: {} {}, 1 to {} may be",
                &[&Place(*partition), found, &part.name(), limit],
            ),
            Self::Span { partition, part } => put(
                out,
                "{}: {} out of bounds",
                &[&Place(*partition), &part.name()],
            ),
            Self::Name { partition } => put(out, "{}: bad name", &[&Place(*partition)]),
            Self::Channel {
                channel,
                field,
                value,
            } => put(out, "channel {}: {} is {x}", &[channel, field, value]),
            Self::Value {
                partition,
                field,
                value,
            } => put(out, "{}: {} is {x}", &[&Place(*partition), field, value]),
        }
    }
}

/// Whose records are wrong: a partition's, or for `usize::MAX` nobody's.
struct Place(usize);

display_by_show!(Place);

impl Show for Place {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self.0 {
            usize::MAX => out.bytes(b"header"),
            partition => put(out, "partition {}", &[&partition]),
        }
    }
}
