//! What can keep memory from being placed.

use core::fmt;

use super::Owner;
use crate::addr::Range;
use crate::board::{Reserved, ReservedBy};

/// Why a demand cannot have the place that the table fixes, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation<'a> {
    /// The fixed place is empty or goes past the end of the address space.
    NoRange {
        /// Whose.
        owner: Owner<'a>,
        /// The fixed address.
        hpa: u64,
        /// Bytes.
        size: u64,
    },
    /// The fixed place does not agree with the guest's address.
    Incongruent {
        /// Whose.
        owner: Owner<'a>,
        /// The fixed address.
        hpa: u64,
        /// The guest's address.
        gpa: u64,
        /// What they have to agree modulo.
        modulus: u64,
    },
    /// The fixed place is not all RAM.
    OutsideMemory {
        /// Whose.
        owner: Owner<'a>,
        /// The place.
        range: Range,
    },
    /// The fixed place overlaps EL2's image or the payload.
    OverlapsHypervisor {
        /// Whose.
        owner: Owner<'a>,
        /// The place.
        range: Range,
        /// EL2's image and the payload.
        hypervisor: Range,
    },
    /// The fixed place overlaps what the board's tree reserves.
    OverlapsReserved {
        /// Whose.
        owner: Owner<'a>,
        /// The place.
        range: Range,
        /// The reservation.
        reserved: Reserved<'a>,
    },
    /// Two fixed places overlap.
    OverlapsOther {
        /// Whose, later in the table.
        owner: Owner<'a>,
        /// Its place.
        range: Range,
        /// Whose, earlier in the table.
        other: Owner<'a>,
        /// Its place.
        other_range: Range,
    },
    /// No gap is large enough.
    NoRoom {
        /// Whose.
        owner: Owner<'a>,
        /// Bytes needed.
        size: u64,
        /// Bytes of the largest gap that is left, whatever its alignment.
        largest: u64,
    },
    /// More demands than the caller has room for.
    TooMany {
        /// How many.
        found: usize,
        /// How many may be.
        limit: usize,
    },
}

impl fmt::Display for Violation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoRange { owner, hpa, size } => {
                write!(f, "{owner} cannot be {size:#x} bytes at {hpa:#x}")
            }
            Self::Incongruent {
                owner,
                hpa,
                gpa,
                modulus,
            } => write!(
                f,
                "{owner} is fixed at {hpa:#x}, which must agree with its guest address {gpa:#x} modulo {modulus:#x}"
            ),
            Self::OutsideMemory { owner, range } => {
                write!(
                    f,
                    "{owner} is fixed at {range}, which is not all RAM of this board"
                )
            }
            Self::OverlapsHypervisor {
                owner,
                range,
                hypervisor,
            } => write!(
                f,
                "{owner} is fixed at {range}, which overlaps bulkhead's image and payload at {hypervisor}"
            ),
            Self::OverlapsReserved {
                owner,
                range,
                reserved,
            } => {
                write!(
                    f,
                    "{owner} is fixed at {range}, which overlaps {} ",
                    reserved.range
                )?;
                match reserved.by {
                    ReservedBy::Block => f.write_str("(/memreserve/ of the device tree)"),
                    ReservedBy::Node(name) => write!(f, "(/reserved-memory/{name})"),
                    ReservedBy::Tree => f.write_str("(the device tree itself)"),
                }
            }
            Self::OverlapsOther {
                owner,
                range,
                other,
                other_range,
            } => write!(
                f,
                "{owner} is fixed at {range}, which overlaps {other} at {other_range}"
            ),
            Self::NoRoom {
                owner,
                size,
                largest,
            } => write!(
                f,
                "no room for {owner}: {size:#x} bytes, the largest gap left has {largest:#x}"
            ),
            Self::TooMany { found, limit } => write!(
                f,
                "{found} ranges of memory are to be placed, {limit} at most can be"
            ),
        }
    }
}
