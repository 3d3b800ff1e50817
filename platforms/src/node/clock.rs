//! Clocks of passed-through devices. A guest owns no clock controller: in place of each clock stands one of a fixed rate,
//! which is the rate that the firmware left it with.

use dtoolkit::model::DeviceTreeNode;
use dtoolkit::{Node, Property};

use super::index::{Index, first_cell, texts, words};

/// A clock as a device asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// What the device calls it, or `clock N`.
    pub name: String,
    /// The handle of its controller.
    pub handle: u32,
    /// Which of that controller's clocks.
    pub cells: Vec<u32>,
    /// Its rate in Hz, where the tree says it.
    pub hz: Option<u32>,
}

/// How many clocks may stand behind each other.
const MAX_FACTORS: usize = 8;

/// Returns the clocks of a node; `None` when the list cannot be read.
pub fn of(node: &DeviceTreeNode, index: &Index<'_>) -> Option<Vec<Clock>> {
    let list = entries(node, "clocks", index)?;
    let names = texts(node, "clock-names");
    let assigned = assigned(node, index);
    let clock = |(position, (handle, cells)): (usize, (u32, Vec<u32>))| {
        let assigned = assigned.iter().find(|it| it.0 == handle && it.1 == cells);
        let name = names.get(position).cloned();
        Clock {
            name: name.unwrap_or_else(|| format!("clock {position}")),
            hz: assigned.map_or_else(|| rate(handle, index, MAX_FACTORS), |it| Some(it.2)),
            handle,
            cells,
        }
    };
    Some(list.into_iter().enumerate().map(clock).collect())
}

/// Reads a list of handles with their cells.
fn entries(node: &DeviceTreeNode, name: &str, index: &Index<'_>) -> Option<Vec<(u32, Vec<u32>)>> {
    let list = words(node.property(name)?.value());
    let mut rest = list.as_slice();
    let mut entries = Vec::new();
    while let Some((handle, more)) = rest.split_first() {
        let (_, controller) = index.of(*handle)?;
        let count = first_cell(controller, "#clock-cells").unwrap_or(0) as usize;
        let (cells, behind) = more.split_at_checked(count)?;
        entries.push((*handle, cells.to_vec()));
        rest = behind;
    }
    Some(entries)
}

/// Returns the clocks that the tree asks to be set, with their rates.
fn assigned(node: &DeviceTreeNode, index: &Index<'_>) -> Vec<(u32, Vec<u32>, u32)> {
    let clocks = entries(node, "assigned-clocks", index).unwrap_or_default();
    let rates = node.property("assigned-clock-rates");
    let rates = rates.map_or_else(Vec::new, |rates| words(rates.value()));
    let pairs = clocks.into_iter().zip(rates);
    // 0 leaves a clock as it is.
    let pairs = pairs.filter(|(_, hz)| *hz != 0);
    pairs
        .map(|((handle, cells), hz)| (handle, cells, hz))
        .collect()
}

/// Returns the rate of a clock that never changes.
fn rate(handle: u32, index: &Index<'_>, depth: usize) -> Option<u32> {
    let (_, clock) = index.of(handle)?;
    let is = |kind: &str| texts(clock, "compatible").iter().any(|text| text == kind);
    if is("fixed-clock") {
        return first_cell(clock, "clock-frequency");
    }
    if !is("fixed-factor-clock") {
        return None;
    }
    let source = first_cell(clock, "clocks")?;
    let hz = u64::from(rate(source, index, depth.checked_sub(1)?)?);
    let times = u64::from(first_cell(clock, "clock-mult")?);
    let hz = hz
        .checked_mul(times)?
        .checked_div(u64::from(first_cell(clock, "clock-div")?))?;
    u32::try_from(hz).ok()
}
