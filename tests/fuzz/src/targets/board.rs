//! A board like QEMU's `virt`, as far as tables are concerned with it.

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

/// Handle of the interrupt controller.
const GIC: u32 = 0x8003;

/// Encodes cells.
fn cells(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

/// Encodes texts.
fn texts(texts: &[&str]) -> Vec<u8> {
    let ended = texts.iter().flat_map(|text| text.bytes().chain([0]));
    ended.collect()
}

/// Makes a node; all names are valid.
fn node(name: &str, properties: &[(&str, Vec<u8>)]) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new(name).expect("a node's name");
    set(&mut node, properties);
    node
}

/// Adds properties to a node.
fn set(node: &mut DeviceTreeNode, properties: &[(&str, Vec<u8>)]) {
    for (name, value) in properties {
        let property = DeviceTreeProperty::new(*name, value.as_slice());
        node.add_property(property.expect("a property's name"));
    }
}

/// Makes a device with a page of registers and an SPI.
fn device(name: &str, kind: &str, address: u32, spi: u32) -> DeviceTreeNode {
    let compatible = texts(&[kind, "arm,primecell"]);
    let (reg, interrupts) = (cells(&[0, address, 0, 0x1000]), cells(&[0, spi, 4]));
    let properties = [
        ("compatible", compatible),
        ("reg", reg),
        ("interrupts", interrupts),
    ];
    node(name, &properties)
}

/// Makes the CPUs.
fn cpus(count: u32) -> DeviceTreeNode {
    let sizes = [
        ("#address-cells", cells(&[1])),
        ("#size-cells", cells(&[0])),
    ];
    let mut cpus = node("cpus", &sizes);
    for index in 0..count {
        let properties = [
            ("device_type", texts(&["cpu"])),
            ("compatible", texts(&["arm,cortex-a53"])),
            ("reg", cells(&[index])),
            ("enable-method", texts(&["psci"])),
        ];
        cpus.add_child(node(&format!("cpu@{index:x}"), &properties));
    }
    cpus
}

/// Makes the interrupt controller.
fn gic() -> DeviceTreeNode {
    let frames = [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x00f6_0000];
    let properties = [
        ("compatible", texts(&["arm,gic-v3"])),
        ("#interrupt-cells", cells(&[3])),
        ("interrupt-controller", vec![]),
        ("reg", cells(&frames)),
        ("interrupts", cells(&[1, 9, 4])),
        ("phandle", cells(&[GIC])),
    ];
    node("intc@8000000", &properties)
}

/// Makes a tree of a board with this many CPUs and bytes of RAM.
pub fn tree(cpu_count: u32, memory: u64) -> DeviceTree {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    let properties = [
        ("#address-cells", cells(&[2])),
        ("#size-cells", cells(&[2])),
        ("interrupt-parent", cells(&[GIC])),
        ("compatible", texts(&["linux,dummy-virt"])),
    ];
    set(root, &properties);
    let psci = [
        ("compatible", texts(&["arm,psci-1.0"])),
        ("method", texts(&["smc"])),
    ];
    root.add_child(node("psci", &psci));
    let range = [0, 0x4000_0000, (memory >> 32) as u32, memory as u32];
    let ram = [("device_type", texts(&["memory"])), ("reg", cells(&range))];
    root.add_child(node("memory@40000000", &ram));
    root.add_child(device("pl011@9000000", "arm,pl011", 0x0900_0000, 1));
    root.add_child(device("pl031@9010000", "arm,pl031", 0x0901_0000, 2));
    root.add_child(gic());
    root.add_child(cpus(cpu_count));
    let ppis = cells(&[1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);
    let timer = [
        ("compatible", texts(&["arm,armv8-timer"])),
        ("interrupts", ppis),
    ];
    root.add_child(node("timer", &timer));
    let aliases = [("rtc0", texts(&["/pl031@9010000"]))];
    root.add_child(node("aliases", &aliases));
    let chosen = [
        ("stdout-path", texts(&["/pl011@9000000:115200"])),
        ("rng-seed", vec![7; 32]),
        ("kaslr-seed", vec![9; 8]),
    ];
    root.add_child(node("chosen", &chosen));
    tree
}

/// A bus with other sizes of cells, translated addresses, and an interrupt of another controller.
pub fn with_bus() -> DeviceTree {
    let mut tree = tree(1, 1 << 30);
    let sizes = [
        ("#address-cells", cells(&[1])),
        ("#size-cells", cells(&[1])),
    ];
    let mut bus = node("soc", &sizes);
    let ranges = cells(&[0, 0, 0x0a00_0000, 0x10_0000]);
    set(
        &mut bus,
        &[("ranges", ranges), ("compatible", texts(&["simple-bus"]))],
    );
    let properties = [
        ("compatible", texts(&["x,dma"])),
        ("reg", cells(&[0x1000, 0x1000, 0x4000, 0x200])),
        ("interrupts-extended", cells(&[GIC, 0, 9, 1, GIC, 0, 10, 4])),
        ("status", texts(&["okay"])),
    ];
    bus.add_child(node("dma@1000", &properties));
    tree.root.add_child(bus);
    let sizes = [
        ("#address-cells", cells(&[2])),
        ("#size-cells", cells(&[2])),
        ("ranges", vec![]),
    ];
    let mut reserved = node("reserved-memory", &sizes);
    let hole = [
        ("reg", cells(&[0, 0x4800_0000, 0, 0x10_0000])),
        ("no-map", vec![]),
    ];
    reserved.add_child(node("hole@48000000", &hole));
    tree.root.add_child(reserved);
    tree
}
