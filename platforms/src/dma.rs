//! Which devices reach memory by themselves, as far as a device tree shows it.

use dtoolkit::model::DeviceTreeNode;
use dtoolkit::{Node, Property};

use crate::node::index::{Index, first_cell, parent, texts, words};

/// How a device reaches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dma {
    /// The guest lets it not.
    None,
    /// By the board's addresses.
    Identity,
}

/// What the board's tree shows of a device's transfers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Why the device looks as if it reached memory by itself.
    pub reaches: Option<String>,
    /// The bus behind which memory lies at other addresses.
    pub translated: Option<String>,
}

/// Properties that only devices with transfers of their own have.
const PROPERTIES: [&str; 3] = ["iommus", "dma-coherent", "dma-noncoherent"];
/// Names that the specification recommends for kinds of devices which usually have some.
///
/// # Source
/// Devicetree Specification v0.4, section "Generic Names Recommendation".
const NAMES: [&str; 15] = [
    "crypto",
    "display",
    "display-controller",
    "dma",
    "dma-controller",
    "ethernet",
    "gpu",
    "mmc",
    "nand-controller",
    "pci",
    "pcie",
    "sata",
    "usb",
    "video-codec",
    "vpu",
];

/// Looks at a device's node.
pub fn signs(path: &str, index: &Index<'_>) -> Signs {
    let Some(node) = index.at(path) else {
        return Signs::default();
    };
    Signs {
        reaches: reaches(node),
        translated: translated(path, index),
    }
}

/// Says why a device looks as if it reached memory by itself.
fn reaches(node: &DeviceTreeNode) -> Option<String> {
    if let Some(name) = PROPERTIES.iter().find(|name| node.property(name).is_some()) {
        return Some(format!("its node has `{name}`"));
    }
    if texts(node, "compatible")
        .iter()
        .any(|it| it == "virtio,mmio")
    {
        return Some("it is a virtio transport".to_owned());
    }
    let stem = node.name().split('@').next()?;
    let known = NAMES.contains(&stem);
    known.then(|| format!("its node is called `{stem}`"))
}

/// Returns the bus above a device behind which memory lies at other addresses than the CPUs have for it.
fn translated(path: &str, index: &Index<'_>) -> Option<String> {
    let bus = index.above(path).find(|(path, bus)| {
        let Some(ranges) = bus.property("dma-ranges") else {
            return false;
        };
        let above = parent(path).and_then(|path| index.at(path));
        let cells = |node: &DeviceTreeNode, name| first_cell(node, name).unwrap_or(2) as usize;
        let own = cells(bus, "#address-cells");
        let theirs = above.map_or(2, |above| cells(above, "#address-cells"));
        let entry = own + theirs + cells(bus, "#size-cells");
        let list = words(ranges.value());
        let number = |cells: &[u32]| {
            cells
                .iter()
                .fold(0u128, |all, cell| all << 32 | u128::from(*cell))
        };
        list.chunks(entry.max(1)).any(|entry| {
            let parts = entry.get(..own).zip(entry.get(own..own + theirs));
            parts.is_none_or(|(own, theirs)| number(own) != number(theirs))
        })
    });
    bus.map(|(path, _)| path.to_owned())
}
