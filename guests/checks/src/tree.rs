//! The device tree names what is there, and nothing else.

use guest_runtime::exception::catch;
use guest_runtime::mmio::Mmio;
use guest_runtime::smccc::is_hypervised;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::tree::{self, Property};
use guest_runtime::{expect, expect_eq, gic, layout, skip, tests};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_device_tree_names_memory_as_far_as_it_goes,
    c_device_tree_names_every_vcpu_and_no_other,
    c_device_tree_names_devices_that_answer,
    c_device_tree_names_psci_timers_and_console,
];

/// Skips where there is no tree, or where the tree is the whole machine's.
fn needs_tree() -> Outcome {
    if tree::bytes().is_empty() || !is_hypervised() {
        skip!("no tree that a hypervisor made");
    }
    Ok(())
}

/// Lists address and size of each register block of a child of the root.
fn blocks(property: Property) -> impl Iterator<Item = (u64, u64)> {
    // The root has two cells for an address and two for a size.
    let count = property.value.len() / 16;
    (0..count)
        .filter_map(move |block| Some((property.long(block * 4)?, property.long(block * 4 + 2)?)))
}

/// Says whether a load from an address is answered.
fn answers(address: u64) -> bool {
    // SAFETY: a load; whatever lies there is not written.
    let place = unsafe { Mmio::new(address as usize) };
    catch(|| place.read32(0)).1.is_none()
}

fn c_device_tree_names_memory_as_far_as_it_goes() -> Outcome {
    needs_tree()?;
    let memory = |property: &Property| {
        property.depth == 1 && property.name == "reg" && property.node.starts_with("memory@")
    };
    let mut count = 0;
    for (address, size) in tree::properties().filter(memory).flat_map(blocks) {
        count += 1;
        expect!(
            answers(address) && answers(address + size / 2) && answers(address + size - 4),
            "{size:#x} bytes of memory at {address:#x}: not all of it is there"
        );
        expect!(
            !answers(address + size),
            "there is more than {size:#x} bytes of memory at {address:#x}"
        );
    }
    expect!(count >= 1, "no memory is named");
    Ok(())
}

fn c_device_tree_names_every_vcpu_and_no_other() -> Outcome {
    needs_tree()?;
    let cpu = |property: &Property| {
        property.parent == "cpus" && property.name == "reg" && property.node.starts_with("cpu@")
    };
    let named = tree::properties()
        .filter(cpu)
        .filter_map(|property| match property.value.len() {
            4 => property.cell(0).map(u64::from),
            _ => property.long(0),
        });
    let mut count = 0;
    for affinity in named {
        count += 1;
        expect!(
            gic::redistributor_affinities().any(|own| own == affinity),
            "CPU {affinity:#x} of the tree has no redistributor"
        );
    }
    expect_eq!(
        count,
        gic::redistributor_affinities().count(),
        "CPUs of the tree"
    );
    Ok(())
}

fn c_device_tree_names_devices_that_answer() -> Outcome {
    needs_tree()?;
    let device = |property: &Property| {
        property.depth == 1 && property.name == "reg" && !property.node.starts_with("memory@")
    };
    for property in tree::properties().filter(device) {
        for (address, size) in blocks(property) {
            let node = property.node;
            expect!(size != 0, "{node} is empty");
            expect!(answers(address), "{node}: nothing answers at {address:#x}");
            let last = address + size - 4;
            expect!(answers(last), "{node}: nothing answers at {last:#x}");
        }
    }
    Ok(())
}

/// Returns a property of the root's child that has this among its `compatible` strings.
fn of_compatible(compatible: &str, name: &str) -> Option<Property> {
    let node = tree::properties()
        .find(|property| property.name == "compatible" && property.has(compatible))?
        .node;
    tree::properties().find(|property| property.node == node && property.name == name)
}

fn c_device_tree_names_psci_timers_and_console() -> Outcome {
    needs_tree()?;
    let method = of_compatible("arm,psci-1.0", "method");
    expect!(
        method.is_some_and(|method| method.has("hvc") || method.has("smc")),
        "no method of PSCI"
    );
    let timers = of_compatible("arm,armv8-timer", "interrupts");
    // Of secure, non-secure, virtual, hypervisor: PPIs 14 and 11 are INTIDs 30 and 27.
    let ppi = |place: usize| timers.and_then(|timers| timers.cell(place * 3 + 1));
    expect!(
        ppi(1) == Some(14) && ppi(2) == Some(11),
        "the timers' PPIs are {:?} and {:?}",
        ppi(1),
        ppi(2)
    );
    let console = of_compatible("arm,pl011", "reg").and_then(|reg| reg.long(0));
    expect!(
        console == Some(layout::UART as u64),
        "the console's address is {console:x?}"
    );
    let compatible = match gic::is_v2() {
        false => "arm,gic-v3",
        true => "arm,cortex-a15-gic",
    };
    let frames = of_compatible(compatible, "reg").and_then(|reg| reg.long(0));
    expect!(
        frames == Some(layout::GICD as u64),
        "the distributor's address is {frames:x?}"
    );
    Ok(())
}
