//! How many tables a partition needs, before anything is placed: start-up sizes its pool by it.

use core::ops::ControlFlow;

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
    count_tables(&|each| extents.clone().try_for_each(each))
}

/// Shows extents as long as it is told to go on, in the same order each time. A value and no type, so that there is one
/// copy of the walk.
pub type Extents<'w> = &'w dyn Fn(&mut dyn FnMut(Extent) -> ControlFlow<()>) -> ControlFlow<()>;

/// [`tables_needed`] for extents that are shown.
pub fn count_tables(extents: Extents<'_>) -> usize {
    let mut tables = 1;
    let mut position = 0;
    // Whether all were shown is of no interest, here and below: who looks knows when it has seen enough.
    let _ = extents(&mut |extent| {
        let earlier = |unit: Range| {
            let (mut seen, mut left) = (false, position);
            let _ = extents(&mut |other| {
                if left == 0 || seen {
                    return ControlFlow::Break(());
                }
                left -= 1;
                seen = other.range.overlaps(unit);
                ControlFlow::Continue(())
            });
            seen
        };
        let range = extent.range.align_out(PAGE_BYTES);
        // A level-2 table for every GiB touched, a level-3 table for every 2 MiB that no block can cover: counted
        // with the first extent that touches it. Only at its ends can an extent share one with others.
        tables += fresh(range, BLOCK_1G_BYTES, true, &earlier);
        tables += fresh(range, BLOCK_2M_BYTES, !extent.blocks, &earlier);
        position += 1;
        ControlFlow::Continue(())
    });
    tables
}

/// Counts the units of `bytes` that `range` touches (`whole`: all of them; else those it covers in part) and that no
/// earlier range touches.
fn fresh(range: Range, bytes: u64, whole: bool, earlier: &dyn Fn(Range) -> bool) -> usize {
    let first = range.start() / bytes;
    let last = range.last() / bytes;
    let counts = |unit: u64| {
        let Some(unit) = Range::new(unit * bytes, bytes) else {
            return false;
        };
        (whole || !range.contains(unit)) && !earlier(unit)
    };
    let ends = usize::from(counts(first)) + usize::from(last > first && counts(last));
    let between = if whole {
        (last - first).saturating_sub(1) as usize
    } else {
        0
    };
    ends + between
}
