//! Nodes of passed-through devices: copied from the board's tree, without what refers to things that are not there.

use std::collections::BTreeMap;

use dtoolkit::Node;
use dtoolkit::Property;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};

use super::{CLOCK_HANDLE, cells, node, put, specifier};
use crate::plan::{Device, Plan};

/// Properties whose meaning is made anew, or that point to nodes which the guest does not have.
const DROPPED: [&str; 24] = [
    "reg",
    "interrupts",
    "interrupts-extended",
    "interrupt-parent",
    "interrupt-names",
    "phandle",
    "linux,phandle",
    "clocks",
    "clock-names",
    "assigned-clocks",
    "assigned-clock-parents",
    "assigned-clock-rates",
    "resets",
    "reset-names",
    "power-domains",
    "power-domain-names",
    "iommus",
    "iommu-map",
    "dmas",
    "dma-names",
    "interconnects",
    "interconnect-names",
    "memory-region",
    "status",
];

/// Clock nodes that have been copied: handle in the board's tree, handle in the guest's.
type Clocks = BTreeMap<u32, u32>;

/// Adds the devices of a plan and the aliases that the board has for them.
pub fn add_all(
    root: &mut DeviceTreeNode,
    aliases: &mut DeviceTreeNode,
    plan: &Plan,
    board: &DeviceTree,
) {
    let mut clocks = Clocks::new();
    for device in &plan.devices {
        let Some(window) = device.windows.first() else {
            continue;
        };
        let source = board
            .find_node(&device.path)
            .filter(|_| !device.path.is_empty());
        let base = source.map_or("device", |node| stem(node.name()));
        let name = format!("{base}@{:x}", window.gpa);
        let mut copy = match source {
            Some(source) => copied(source, &name, true),
            None => node(name.clone()),
        };
        if let Some(compatible) = &device.compatible {
            put(&mut copy, "compatible", compatible.as_str());
        }
        add_parts(&mut copy, device);
        if let Some(source) = source {
            add_clocks(root, &mut copy, source, board, &mut clocks);
        }
        add_aliases(aliases, board, &device.path, &name);
        root.add_child(copy);
    }
}

/// Returns a node's name without its unit address.
fn stem(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

/// Copies a node and its children without the properties that point elsewhere; `top` leaves `reg` out too.
fn copied(source: &DeviceTreeNode, name: &str, top: bool) -> DeviceTreeNode {
    let mut copy = node(name);
    for property in source.properties() {
        let keep_reg = !top && property.name() == "reg";
        if keep_reg || !points_elsewhere(property.name()) {
            copy.add_property(property.clone());
        }
    }
    for child in source.children() {
        copy.add_child(copied(child, child.name(), false));
    }
    copy
}

/// Says whether a property is dropped or refers to another node by its handle.
fn points_elsewhere(name: &str) -> bool {
    DROPPED.contains(&name)
        || name.starts_with("pinctrl-")
        || ["-supply", "-gpio", "-gpios"]
            .iter()
            .any(|end| name.ends_with(end))
}

/// Adds registers and interrupts as the guest has them.
fn add_parts(copy: &mut DeviceTreeNode, device: &Device) {
    let windows = device.windows.iter();
    let reg: Vec<u64> = windows.flat_map(|w| [w.gpa, w.host.size()]).collect();
    put(copy, "reg", cells(&reg));
    if !device.interrupts.is_empty() {
        let interrupts = device.interrupts.iter();
        let list: Vec<u32> = interrupts
            .flat_map(|i| specifier(i.intid, i.edge))
            .collect();
        put(copy, "interrupts", list);
    }
}

/// Copies the clocks of a device if all of them have a fixed rate; a part of the list would mislead the driver.
fn add_clocks(
    root: &mut DeviceTreeNode,
    copy: &mut DeviceTreeNode,
    source: &DeviceTreeNode,
    board: &DeviceTree,
    clocks: &mut Clocks,
) {
    let Some(list) = source.property("clocks") else {
        return;
    };
    let handles: Vec<u32> = words(list.value());
    let mut copies = Vec::new();
    for handle in handles {
        let Some(clock) = by_handle(&board.root, handle).filter(|clock| is_fixed(clock)) else {
            return;
        };
        let next = CLOCK_HANDLE + 1 + clocks.len() as u32;
        let new = *clocks.entry(handle).or_insert(next);
        if new == next {
            let mut clock = copied(clock, &format!("{}-{new}", stem(clock.name())), true);
            // Linux refuses a second clock of the same name, and the guest's UART may have one. Without this it takes the
            // node's name.
            clock.remove_property("clock-output-names");
            put(&mut clock, "phandle", new);
            root.add_child(clock);
        }
        copies.push(new);
    }
    put(copy, "clocks", copies);
    if let Some(names) = source.property("clock-names") {
        copy.add_property(names.clone());
    }
}

/// Reads big-endian words.
fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| u32::from_be_bytes(*word)).collect()
}

/// Says whether a node is a clock of one rate, which takes no argument.
fn is_fixed(clock: &DeviceTreeNode) -> bool {
    let compatible = clock.property("compatible");
    compatible.is_some_and(|list| list.value() == b"fixed-clock\0")
}

/// Finds a node by its handle.
fn by_handle(within: &DeviceTreeNode, handle: u32) -> Option<&DeviceTreeNode> {
    let own = within.property("phandle");
    if own.is_some_and(|p| words(p.value()) == [handle]) {
        return Some(within);
    }
    within.children().find_map(|child| by_handle(child, handle))
}

/// Adds the board's aliases for a device, where the guest has no such alias yet.
fn add_aliases(aliases: &mut DeviceTreeNode, board: &DeviceTree, path: &str, name: &str) {
    let Some(list) = board.root.child("aliases") else {
        return;
    };
    for alias in list.properties() {
        let means = alias.value().strip_suffix(b"\0") == Some(path.as_bytes());
        if means && aliases.property(alias.name()).is_none() {
            put(aliases, alias.name(), format!("/{name}"));
        }
    }
}
