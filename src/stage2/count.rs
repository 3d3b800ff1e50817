//! How many tables a partition needs, before anything is placed: start-up sizes its pool by it.

use crate::addr::{BLOCK_1G_BYTES, BLOCK_2M_BYTES, PAGE_BYTES, Range};

/// A guest range to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The guest addresses; whole pages are counted.
    pub range: Range,
    /// True when guest and host agree modulo 2 MiB, so that 2 MiB blocks serve for whatever they fit. Memory does; a
    /// device window need not.
    pub blocks: bool,
}

/// Returns the most tables that mapping the extents takes, the root included. Extents do not overlap. The bound is
/// met unless 1 GiB blocks can be used, which only the placement decides.
pub fn tables_needed(extents: impl Iterator<Item = Extent> + Clone) -> usize {
    let mut tables = 1;
    for (position, extent) in extents.clone().enumerate() {
        let earlier = || extents.clone().take(position).map(|other| other.range);
        let range = extent.range.align_out(PAGE_BYTES);
        // A level-2 table for every GiB touched, a level-3 table for every 2 MiB that no block can cover: counted
        // with the first extent that touches it. Only at its ends can an extent share one with others.
        tables += fresh(range, BLOCK_1G_BYTES, true, earlier);
        tables += fresh(range, BLOCK_2M_BYTES, !extent.blocks, earlier);
    }
    tables
}

/// Counts the units of `bytes` that `range` touches (`whole`: all of them; else those it covers in part) and that no
/// earlier range touches.
fn fresh<I: Iterator<Item = Range>>(
    range: Range,
    bytes: u64,
    whole: bool,
    earlier: impl Fn() -> I,
) -> usize {
    let first = range.start() / bytes;
    let last = range.last() / bytes;
    let counts = |unit: u64| {
        let Some(unit) = Range::new(unit * bytes, bytes) else {
            return false;
        };
        (whole || !range.contains(unit)) && !earlier().any(|other| other.overlaps(unit))
    };
    let ends = usize::from(counts(first)) + usize::from(last > first && counts(last));
    let between = if whole {
        (last - first).saturating_sub(1) as usize
    } else {
        0
    };
    ends + between
}
