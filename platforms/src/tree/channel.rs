//! Nodes of channels: shared memory, doorbell registers and interrupt, in a form that Linux's `uio_pdrv_genirq` takes
//! (`of_id=bulkhead,channel`).
//!
//! | property | meaning |
//! | --- | --- |
//! | `compatible` | `bulkhead,channel`, `generic-uio` |
//! | `reg`, `reg-names` | `memory`, the shared memory; `registers`, the page of doorbell registers |
//! | `interrupts` | the doorbell, edge-triggered |
//! | `label`, `linux,uio-name` | the channel's name |
//! | `bulkhead,channel-index` | what `channel_signal` and `channel_status` call it |
//! | `bulkhead,side` | which half of the memory is this side's to write, 0 or 1 |
//! | `bulkhead,peer` | the other partition's name |
//! | `bulkhead,access` | `r` or `rw` |
//!
//! Debian 12's kernel is built without `uio_pdrv_genirq`, but with a driver that hands interrupts to user space as events of
//! a key: so each doorbell is described as a key without a GPIO too (`gpio-keys`, pressed and released at every ring). Linux
//! lists it as an input device called `bulkhead NAME`.

use bulkhead::addr::PAGE_BYTES;
use dtoolkit::model::DeviceTreeNode;

use super::{cells, node, put, specifier};
use crate::plan::{Plan, Side};

/// Adds the channels of a plan.
pub fn add_all(root: &mut DeviceTreeNode, plan: &Plan) {
    for (index, side) in plan.channels.iter().enumerate() {
        let mut channel = node(format!("channel@{:x}", side.gpa));
        let compatible: &[&str] = &["bulkhead,channel", "generic-uio"];
        put(&mut channel, "compatible", compatible);
        let reg = [side.gpa, side.size, side.registers, PAGE_BYTES];
        put(&mut channel, "reg", cells(&reg));
        let names: &[&str] = &["memory", "registers"];
        put(&mut channel, "reg-names", names);
        let interrupt = specifier(side.intid, true).to_vec();
        put(&mut channel, "interrupts", interrupt);
        put(&mut channel, "label", side.name.as_str());
        put(&mut channel, "linux,uio-name", side.name.as_str());
        put(&mut channel, "bulkhead,channel-index", index as u32);
        put(&mut channel, "bulkhead,side", side.number as u32);
        put(&mut channel, "bulkhead,peer", side.peer.as_str());
        put(&mut channel, "bulkhead,access", side.rights());
        root.add_child(channel);
        root.add_child(key(side));
    }
}

/// Describes a doorbell as a key.
fn key(side: &Side) -> DeviceTreeNode {
    /// Linux's `BTN_0`: a button without a meaning.
    const BUTTON: u32 = 0x100;
    let mut button = node("ring");
    put(&mut button, "label", format!("bulkhead {}", side.name));
    put(&mut button, "linux,code", BUTTON);
    put(
        &mut button,
        "interrupts",
        specifier(side.intid, true).to_vec(),
    );
    put(&mut button, "debounce-interval", 0u32);
    let mut keys = node(format!("doorbell-{}", side.name));
    put(&mut keys, "compatible", "gpio-keys");
    put(&mut keys, "label", format!("bulkhead {}", side.name));
    keys.add_child(button);
    keys
}
