//! What can keep memory from being placed.

use super::Owner;
use crate::addr::Range;
use crate::board::{Reserved, ReservedBy};
use crate::display_by_show;
use crate::message::{Form, Out, Show, put};

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
    /// The loader put EL2's image or the payload on what the board's tree reserves.
    HypervisorReserved {
        /// EL2's image and the payload.
        hypervisor: Range,
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

display_by_show!(Violation<'_>);

impl Show for Violation<'_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self {
            Self::NoRange { owner, hpa, size } => {
                put(out, "{} cannot be {x} bytes at {x}", &[owner, size, hpa])
            }
            Self::Incongruent {
                owner,
                hpa,
                gpa,
                modulus,
            } => put(
                out,
                "{} is fixed at {x}, which must agree with its guest address {x} modulo {x}",
                &[owner, hpa, gpa, modulus],
            ),
            Self::OutsideMemory { owner, range } => put(
                out,
                "{} is fixed at {}, which is not all RAM of this board",
                &[owner, range],
            ),
            Self::OverlapsHypervisor {
                owner,
                range,
                hypervisor,
            } => put(
                out,
                "{} is fixed at {}, which overlaps bulkhead's image and payload at {}",
                &[owner, range, hypervisor],
            ),
            Self::OverlapsReserved {
                owner,
                range,
                reserved,
            } => put(
                out,
                "{} is fixed at {}, which overlaps {}",
                &[owner, range, &Named(reserved)],
            ),
            Self::HypervisorReserved {
                hypervisor,
                reserved,
            } => {
                let what = match reserved.by {
                    ReservedBy::Tree => "one of them",
                    _ => "the image",
                };
                put(
                    out,
                    "bulkhead's image and payload at {} overlap {}: load {} elsewhere",
                    &[hypervisor, &Named(reserved), &what],
                )
            }
            Self::OverlapsOther {
                owner,
                range,
                other,
                other_range,
            } => put(
                out,
                "{} is fixed at {}, which overlaps {} at {}",
                &[owner, range, other, other_range],
            ),
            Self::NoRoom {
                owner,
                size,
                largest,
            } => put(
                out,
                "no room for {}: {x} bytes, the largest gap left has {x}",
                &[owner, size, largest],
            ),
            Self::TooMany { found, limit } => put(
                out,
                "{} ranges of memory are to be placed, {} at most can be",
                &[found, limit],
            ),
        }
    }
}

/// A reservation, with who made it.
struct Named<'r, 'a>(&'r Reserved<'a>);

impl Show for Named<'_, '_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        put(out, "{} ", &[&self.0.range]);
        match self.0.by {
            ReservedBy::Block => out.bytes(b"(/memreserve/ of the device tree)"),
            ReservedBy::Node(name) => put(out, "(/reserved-memory/{})", &[&name]),
            ReservedBy::Tree => out.bytes(b"(the device tree itself)"),
            ReservedBy::SpinTable => out.bytes(b"(a spin table)"),
        }
    }
}
