//! Device trees for tests, built in code: one like QEMU's `virt`, changed by each test as it needs.

use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

/// A tree under construction.
pub(crate) struct Sample(pub(crate) DeviceTree);

/// Returns big-endian cells.
pub(crate) fn cells(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Returns a string list.
pub(crate) fn text(strings: &[&str]) -> Vec<u8> {
    strings
        .iter()
        .flat_map(|text| [text.as_bytes(), b"\0"].concat())
        .collect()
}

impl Sample {
    /// A tree with two cells to an address and a size, and nothing else.
    pub(crate) fn empty() -> Self {
        let mut sample = Self(DeviceTree::new());
        sample.set("/", "#address-cells", &cells(&[2]));
        sample.set("/", "#size-cells", &cells(&[2]));
        sample
    }

    /// What QEMU 7.2 writes for `-machine virt,gic-version=3,virtualization=on -smp 2`, shortened.
    pub(crate) fn virt() -> Self {
        let mut sample = Self::empty();
        sample.set("/", "interrupt-parent", &cells(&[0x8003]));
        sample.set("/", "model", &text(&["linux,dummy-virt"]));
        sample.set("/", "compatible", &text(&["linux,dummy-virt"]));
        sample.node("/psci", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"], &[]);
        sample.set("/psci", "method", &text(&["smc"]));
        sample.node("/memory@40000000", &[], &[0, 0x4000_0000, 0, 0x800_0000]);
        sample.set("/memory@40000000", "device_type", &text(&["memory"]));
        sample.node(
            "/pl031@9010000",
            &["arm,pl031", "arm,primecell"],
            &[0, 0x901_0000, 0, 0x1000],
        );
        sample.set("/pl031@9010000", "interrupts", &cells(&[0, 2, 4]));
        sample.node(
            "/pl011@9000000",
            &["arm,pl011", "arm,primecell"],
            &[0, 0x900_0000, 0, 0x1000],
        );
        sample.set("/pl011@9000000", "interrupts", &cells(&[0, 1, 4]));
        sample.add_gic();
        sample.add_cpus();
        sample.node("/timer", &["arm,armv8-timer", "arm,armv7-timer"], &[]);
        let ppis = cells(&[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
        sample.set("/timer", "interrupts", &ppis);
        sample.node("/chosen", &[], &[]);
        sample.set("/chosen", "stdout-path", &text(&["/pl011@9000000"]));
        sample.set("/chosen", "rng-seed", &[7; 32]);
        sample.set("/chosen", "kaslr-seed", &[9; 8]);
        sample
    }

    fn add_gic(&mut self) {
        let gic = "/intc@8000000";
        self.node(
            gic,
            &["arm,gic-v3"],
            &[0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000],
        );
        self.set(gic, "phandle", &cells(&[0x8003]));
        self.set(gic, "interrupts", &cells(&[1, 9, 4]));
        self.set(gic, "#redistributor-regions", &cells(&[1]));
        self.set(gic, "#interrupt-cells", &cells(&[3]));
        self.set(gic, "#address-cells", &cells(&[2]));
        self.set(gic, "#size-cells", &cells(&[2]));
        self.set(gic, "ranges", &[]);
        self.node(
            "/intc@8000000/its@8080000",
            &["arm,gic-v3-its"],
            &[0, 0x808_0000, 0, 0x2_0000],
        );
    }

    fn add_cpus(&mut self) {
        self.node("/cpus", &[], &[]);
        self.set("/cpus", "#address-cells", &cells(&[1]));
        self.set("/cpus", "#size-cells", &cells(&[0]));
        self.node("/cpus/cpu-map", &[], &[]);
        for (path, reg) in [("/cpus/cpu@0", 0), ("/cpus/cpu@1", 1)] {
            self.node(path, &["arm,cortex-a53"], &[reg]);
            self.set(path, "device_type", &text(&["cpu"]));
            self.set(path, "enable-method", &text(&["psci"]));
        }
    }

    /// Adds a node with `compatible` and `reg`, each left out when empty.
    pub(crate) fn node(&mut self, path: &str, compatible: &[&str], reg: &[u32]) {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() { "/" } else { parent };
        let node = DeviceTreeNode::new(name).unwrap();
        self.0.find_node_mut(parent).unwrap().add_child(node);
        if !compatible.is_empty() {
            self.set(path, "compatible", &text(compatible));
        }
        if !reg.is_empty() {
            self.set(path, "reg", &cells(reg));
        }
    }

    /// Sets a property.
    pub(crate) fn set(&mut self, path: &str, name: &str, value: &[u8]) {
        let property = DeviceTreeProperty::new(name, value).unwrap();
        self.0.find_node_mut(path).unwrap().add_property(property);
    }

    /// Takes a property away.
    pub(crate) fn unset(&mut self, path: &str, name: &str) {
        self.0
            .find_node_mut(path)
            .unwrap()
            .remove_property(name)
            .unwrap();
    }

    /// Takes a child of the root away.
    pub(crate) fn remove(&mut self, name: &str) {
        self.0.root.remove_child(name).unwrap();
    }

    /// Adds an entry to the memory reservation block.
    pub(crate) fn reserve(&mut self, address: u64, size: u64) {
        self.0
            .memory_reservations
            .push(MemoryReservation::new(address, size));
    }

    /// Returns the flattened tree.
    pub(crate) fn flatten(&self) -> Vec<u8> {
        self.0.to_dtb()
    }
}
