//! What can be wrong with a payload.

use core::fmt;

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

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the payload is damaged or of another version (build the image again): ")?;
        match *self {
            Self::Short { found, needed } => {
                write!(f, "{found} bytes, {needed} are needed")
            }
            Self::Misaligned => f.write_str("its address is no multiple of 8"),
            Self::Magic { found } => write!(f, "it starts with {found:#018x}"),
            Self::Version {
                found,
                header_bytes,
            } => write!(f, "version {found}, header of {header_bytes} bytes"),
            Self::Lengths {
                record_bytes,
                total_bytes,
            } => write!(f, "{record_bytes} bytes of records in {total_bytes} bytes"),
            Self::Checksum { found, wanted } => {
                write!(f, "checksum {found:#018x}, {wanted:#018x} is expected")
            }
            Self::Table {
                part,
                offset,
                count,
            } => write!(f, "{count} {} at {offset:#x}", part.name()),
            Self::Count {
                partition,
                part,
                found,
                limit,
            } => write!(
                f,
                "partition {partition}: {found} {}, 1 to {limit} may be",
                part.name()
            ),
            Self::Span { partition, part } => {
                write!(f, "partition {partition}: {} out of bounds", part.name())
            }
            Self::Name { partition } => write!(f, "partition {partition}: bad name"),
            Self::Value {
                partition: usize::MAX,
                field,
                value,
            } => write!(f, "header: {field} is {value:#x}"),
            Self::Value {
                partition,
                field,
                value,
            } => write!(f, "partition {partition}: {field} is {value:#x}"),
        }
    }
}
