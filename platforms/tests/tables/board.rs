//! Device trees of boards, built for the tests: QEMU's `virt` machine as far as tables are concerned with it.

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

/// What differs from board to board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// Number of CPUs.
    pub cpus: u32,
    /// Bytes of RAM at 0x4000_0000.
    pub memory: u64,
    /// Whether `/chosen` has a random seed.
    pub seed: bool,
    /// Whether there is a GIC.
    pub gic: bool,
    /// Whether that is a GICv2.
    pub gicv2: bool,
    /// Position of a CPU whose `status` says that it failed.
    pub failed: Option<u32>,
    /// How the firmware is called.
    pub conduit: &'static str,
}

impl Default for Board {
    fn default() -> Self {
        Self {
            cpus: 2,
            memory: 1 << 30,
            seed: true,
            gic: true,
            gicv2: false,
            failed: None,
            conduit: "smc",
        }
    }
}

/// Handle of the interrupt controller.
const GIC: u32 = 0x8003;
/// Handle of a controller of other interrupts.
const GPIO: u32 = 0x8005;
/// Handle of the clock.
const CLOCK: u32 = 0x8000;
/// Handle of a controller of clocks and resets.
const CONTROLLER: u32 = 0x8010;
/// Handle of a clock that follows the first one.
const DOUBLE: u32 = 0x8011;
/// Handle of a regulator.
const SUPPLY: u32 = 0x8012;
/// Handle of a part of the disk.
const PART: u32 = 0x8013;

/// Makes a node.
fn node(name: &str, properties: &[(&str, Vec<u8>)]) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new(name).expect("a node's name");
    for (name, value) in properties {
        let property = DeviceTreeProperty::new(*name, value.as_slice());
        node.add_property(property.expect("a property's name"));
    }
    node
}

/// Encodes cells.
fn cells(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

/// Encodes texts.
fn texts(texts: &[&str]) -> Vec<u8> {
    texts
        .iter()
        .flat_map(|text| [text.as_bytes(), &[0]].concat())
        .collect()
}

/// Makes a device with registers of `size` bytes at `address` and one SPI, if `spi` is one.
fn device(
    name: &str,
    compatible: &[&str],
    address: u32,
    size: u32,
    spi: Option<[u32; 3]>,
) -> DeviceTreeNode {
    let mut properties = vec![
        ("compatible", texts(compatible)),
        ("reg", cells(&[0, address, 0, size])),
    ];
    if let Some(spi) = spi {
        properties.push(("interrupts", cells(&spi)));
    }
    node(name, &properties)
}

/// Makes the CPUs.
fn cpus(board: &Board) -> DeviceTreeNode {
    let mut cpus = node(
        "cpus",
        &[
            ("#address-cells", cells(&[1])),
            ("#size-cells", cells(&[0])),
        ],
    );
    for index in 0..board.cpus {
        let mut properties = vec![
            ("device_type", texts(&["cpu"])),
            ("compatible", texts(&["arm,cortex-a53"])),
            ("reg", cells(&[index])),
        ];
        // QEMU names no way to start the only CPU of a board.
        if board.cpus > 1 {
            properties.push(("enable-method", texts(&["psci"])));
        }
        if board.failed == Some(index) {
            properties.push(("status", texts(&["fail"])));
        }
        cpus.add_child(node(&format!("cpu@{index:x}"), &properties));
    }
    cpus
}

/// Makes the interrupt controller.
fn gic(board: &Board) -> DeviceTreeNode {
    let distributor = [0, 0x0800_0000, 0, 0x1_0000];
    let interfaces = [0x0801_0000, 0x0803_0000, 0x0804_0000].map(|at| [0, at, 0, 0x1_0000]);
    let (compatible, others) = match board.gicv2 {
        true => ("arm,cortex-a15-gic", interfaces.concat()),
        false => ("arm,gic-v3", vec![0, 0x080a_0000, 0, 0x00f6_0000]),
    };
    let reg = [&distributor[..], &others].concat();
    node(
        "intc@8000000",
        &[
            ("compatible", texts(&[compatible])),
            ("#interrupt-cells", cells(&[3])),
            ("interrupt-controller", vec![]),
            ("#redistributor-regions", cells(&[1])),
            ("reg", cells(&reg)),
            ("interrupts", cells(&[1, 9, 4])),
            ("phandle", cells(&[GIC])),
        ],
    )
}

/// Adds the devices.
fn add_devices(root: &mut DeviceTreeNode) {
    let clocked = |mut node: DeviceTreeNode, names: &[&str]| {
        let clocks = cells(&vec![CLOCK; names.len()]);
        for (name, value) in [("clocks", clocks), ("clock-names", texts(names))] {
            let property = DeviceTreeProperty::new(name, value.as_slice());
            node.add_property(property.expect("a property's name"));
        }
        node
    };
    let uart = device(
        "pl011@9000000",
        &["arm,pl011", "arm,primecell"],
        0x0900_0000,
        0x1000,
        Some([0, 1, 4]),
    );
    root.add_child(clocked(uart, &["uartclk", "apb_pclk"]));
    let clock = device(
        "pl031@9010000",
        &["arm,pl031", "arm,primecell"],
        0x0901_0000,
        0x1000,
        Some([0, 2, 4]),
    );
    root.add_child(clocked(clock, &["apb_pclk"]));
    let mut gpio = device(
        "pl061@9030000",
        &["arm,pl061", "arm,primecell"],
        0x0903_0000,
        0x1000,
        Some([0, 7, 4]),
    );
    for (name, value) in [
        ("interrupt-controller", vec![]),
        ("#interrupt-cells", cells(&[2])),
        ("#gpio-cells", cells(&[2])),
        ("phandle", cells(&[GPIO])),
    ] {
        let property = DeviceTreeProperty::new(name, value.as_slice());
        gpio.add_property(property.expect("a property's name"));
    }
    root.add_child(clocked(gpio, &["apb_pclk"]));
    for index in 0..16 {
        let address = 0x0a00_0000 + 0x200 * index;
        let name = format!("virtio_mmio@{address:x}");
        let spi = Some([0, 16 + index, 1]);
        root.add_child(device(&name, &["virtio,mmio"], address, 0x200, spi));
    }
}

/// Adds devices that QEMU does not have, for the rules about them.
fn add_odd_devices(root: &mut DeviceTreeNode) {
    root.add_child(device(
        "twin@b000000",
        &["test,twin"],
        0x0b00_0000,
        0x1000,
        Some([0, 60, 4]),
    ));
    root.add_child(device(
        "twin@b001000",
        &["test,twin"],
        0x0b00_1000,
        0x1000,
        Some([0, 60, 4]),
    ));
    root.add_child(device(
        "private@b002000",
        &["test,private"],
        0x0b00_2000,
        0x1000,
        Some([1, 5, 4]),
    ));
    let mut led = device("led@b004000", &["test,led"], 0x0b00_4000, 0x1000, None);
    let parent = DeviceTreeProperty::new("interrupt-parent", cells(&[GPIO]).as_slice());
    led.add_property(parent.expect("a property's name"));
    let line = DeviceTreeProperty::new("interrupts", cells(&[3, 4]).as_slice());
    led.add_property(line.expect("a property's name"));
    root.add_child(led);
    root.add_child(node("nothing", &[("compatible", texts(&["test,nothing"]))]));
    let mut off = device("off@b003000", &["test,off"], 0x0b00_3000, 0x1000, None);
    let status = DeviceTreeProperty::new("status", texts(&["disabled"]).as_slice());
    off.add_property(status.expect("a property's name"));
    root.add_child(off);
}

/// Adds a disk with what such a device depends on: a controller of its clocks and resets, a supply, a part of its own, and
/// a bus with another device on it.
fn add_disk(root: &mut DeviceTreeNode) {
    let made = |mut node: DeviceTreeNode, properties: &[(&str, Vec<u8>)]| {
        for (name, value) in properties {
            let property = DeviceTreeProperty::new(*name, value.as_slice());
            node.add_property(property.expect("a property's name"));
        }
        node
    };
    let controller = device(
        "controller@b005000",
        &["test,controller"],
        0x0b00_5000,
        0x1000,
        None,
    );
    root.add_child(made(
        controller,
        &[
            ("#clock-cells", cells(&[1])),
            ("#reset-cells", cells(&[1])),
            ("phandle", cells(&[CONTROLLER])),
        ],
    ));
    let double = [
        ("compatible", texts(&["fixed-factor-clock"])),
        ("#clock-cells", cells(&[0])),
        ("clocks", cells(&[CLOCK])),
        ("clock-mult", cells(&[2])),
        ("clock-div", cells(&[3])),
        ("phandle", cells(&[DOUBLE])),
    ];
    root.add_child(node("double", &double));
    let supply = [
        ("compatible", texts(&["regulator-fixed"])),
        ("regulator-name", texts(&["vmmc"])),
        ("regulator-min-microvolt", cells(&[3_300_000])),
        ("regulator-max-microvolt", cells(&[3_300_000])),
        ("gpio", cells(&[GPIO, 3, 0])),
        ("phandle", cells(&[SUPPLY])),
    ];
    root.add_child(node("supply", &supply));
    let disk = device("disk@b006000", &["test,disk"], 0x0b00_6000, 0x1000, None);
    let mut disk = made(
        disk,
        &[
            ("clocks", cells(&[CONTROLLER, 3, DOUBLE])),
            ("clock-names", texts(&["core", "bus"])),
            ("interrupts-extended", cells(&[GIC, 0, 70, 4])),
            ("interrupt-names", texts(&["done"])),
            ("resets", cells(&[CONTROLLER, 1])),
            ("reset-names", texts(&["whole"])),
            ("vmmc-supply", cells(&[SUPPLY])),
            ("cd-gpios", cells(&[GPIO, 5, 1])),
            ("part-handle", cells(&[7])),
            ("phy-handle", cells(&[PART])),
            ("bus-width", cells(&[4])),
            ("#address-cells", cells(&[1])),
            ("#size-cells", cells(&[0])),
        ],
    );
    let part = [("reg", cells(&[12])), ("phandle", cells(&[PART]))];
    disk.add_child(node("part@c", &part));
    let off = [("reg", cells(&[13])), ("status", texts(&["disabled"]))];
    disk.add_child(node("part@d", &off));
    root.add_child(disk);
    let wrapper = device(
        "wrapper@b007000",
        &["test,wrapper"],
        0x0b00_7000,
        0x1000,
        None,
    );
    let ranges = cells(&[0, 0, 0x0b00_8000, 0x2000]);
    let mut wrapper = made(
        wrapper,
        &[
            ("#address-cells", cells(&[1])),
            ("#size-cells", cells(&[1])),
            ("ranges", ranges),
            ("dma-ranges", cells(&[0, 0, 0, 0x8000_0000])),
            ("dma-coherent", vec![]),
        ],
    );
    for (name, start, line) in [("core@0", 0, 71), ("core@1000", 0x1000, 72)] {
        let core = [
            ("compatible", texts(&["test,core"])),
            ("reg", cells(&[start, 0x1000])),
            ("interrupts", cells(&[0, line, 4])),
        ];
        wrapper.add_child(node(name, &core));
    }
    root.add_child(wrapper);
    let ethernet = device(
        "ethernet@b00c000",
        &["test,ethernet"],
        0x0b00_c000,
        0x1000,
        None,
    );
    let mut bus = node(
        "bus",
        &[
            ("compatible", texts(&["simple-bus"])),
            ("#address-cells", cells(&[2])),
            ("#size-cells", cells(&[2])),
            ("ranges", vec![]),
            (
                "dma-ranges",
                cells(&[0, 0xc000_0000, 0, 0x4000_0000, 0, 0x4000_0000]),
            ),
        ],
    );
    bus.add_child(ethernet);
    let mut pci = device("pcie@b00d000", &["test,pci"], 0x0b00_d000, 0x1000, None);
    let kind = DeviceTreeProperty::new("device_type", texts(&["pci"]).as_slice());
    pci.add_property(kind.expect("a property's name"));
    bus.add_child(pci);
    root.add_child(bus);
}

/// Flattens the tree of a board.
pub fn tree(board: &Board) -> Vec<u8> {
    let mut tree = DeviceTree::new();
    let top = node(
        "",
        &[
            ("interrupt-parent", cells(&[GIC])),
            ("model", texts(&["linux,dummy-virt"])),
            ("compatible", texts(&["linux,dummy-virt"])),
            ("#address-cells", cells(&[2])),
            ("#size-cells", cells(&[2])),
        ],
    );
    tree.root = top;
    let root = &mut tree.root;
    let psci = [
        ("compatible", texts(&["arm,psci-1.0"])),
        ("method", texts(&[board.conduit])),
    ];
    root.add_child(node("psci", &psci));
    let size = [
        0,
        0x4000_0000,
        (board.memory >> 32) as u32,
        board.memory as u32,
    ];
    let memory = [("device_type", texts(&["memory"])), ("reg", cells(&size))];
    root.add_child(node("memory@40000000", &memory));
    add_devices(root);
    add_odd_devices(root);
    add_disk(root);
    if board.gic {
        root.add_child(gic(board));
    }
    root.add_child(cpus(board));
    let lines = [[1, 13, 4], [1, 14, 4], [1, 11, 4], [1, 10, 4]].concat();
    let timer = [
        ("compatible", texts(&["arm,armv8-timer"])),
        ("interrupts", cells(&lines)),
    ];
    root.add_child(node("timer", &timer));
    let clock = [
        ("compatible", texts(&["fixed-clock"])),
        ("#clock-cells", cells(&[0])),
        ("clock-frequency", cells(&[24_000_000])),
        ("clock-output-names", texts(&["clk24mhz"])),
        ("phandle", cells(&[CLOCK])),
    ];
    root.add_child(node("apb-pclk", &clock));
    root.add_child(node(
        "aliases",
        &[
            ("rtc0", texts(&["/pl031@9010000"])),
            ("serial0", texts(&["/pl011@9000000"])),
        ],
    ));
    let mut chosen = vec![("stdout-path", texts(&["/pl011@9000000"]))];
    if board.seed {
        chosen.push(("rng-seed", vec![7; 32]));
    }
    root.add_child(node("chosen", &chosen));
    tree.to_dtb()
}
