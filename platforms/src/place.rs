//! Where everything goes in the board's memory: the same function that EL2 runs at start-up, run on the tree at hand.

use bulkhead::addr::{BLOCK_2M_BYTES, Range};

use crate::board::HostBoard;
use crate::diagnostic::Diagnostics;
use crate::plan::Plan;
use crate::platform::Platform;

/// Where a boot loader puts EL2 when the board does not say: as far into RAM as QEMU does.
const LOAD_OFFSET: u64 = BLOCK_2M_BYTES;

/// The board's memory, divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// What lies where, sorted by address.
    pub used: Vec<(Range, String)>,
}

/// Places EL2 with its payload (`el2_bytes` in all) and the partitions' memory.
pub fn place(
    plans: &mut [Plan],
    board: &HostBoard<'_>,
    platform: &Platform,
    el2_bytes: u64,
    _out: &mut Diagnostics,
) -> Map {
    let offset = platform
        .qemu
        .as_ref()
        .map_or(LOAD_OFFSET, |q| q.load_offset);
    let ram = board.board.memory.first().map_or(0, |ram| ram.start());
    let mut used = Vec::new();
    if let Some(range) = Range::new(ram + offset, el2_bytes) {
        used.push((range, "EL2 and payload".to_owned()));
    }
    for region in plans.iter().flat_map(|plan| &plan.regions) {
        if let Some(range) = Range::new(region.placed, region.guest.size()) {
            used.push((range, "a partition".to_owned()));
        }
    }
    Map { used }
}
