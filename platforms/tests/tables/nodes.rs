//! Nodes of passed-through devices in a guest's tree.

use bulkhead_platforms::{Rule, System};
use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};

use crate::board::Board;
use crate::system::{cells, good, read, texts, tree};
use crate::{Bench, qemu_virt};

/// A partition with some devices.
fn table(devices: &str) -> String {
    format!(
        "[[partition]]\nname = \"one\"\nimage = {{ guest = \"hello\" }}\nmemory = \"2M\"\n\
         vcpus = [{{ pcpu = 0, priority = 1 }}]\ndevices = [{devices}]\n"
    )
}

/// Returns the guest's tree.
fn guest_tree(system: &System) -> DeviceTree {
    read(system, |payload, all| {
        tree(payload, &payload.partitions()[0], all)
    })
}

/// Returns a node that has to be there.
fn at<'a>(tree: &'a DeviceTree, path: &str) -> &'a DeviceTreeNode {
    tree.find_node(path).unwrap_or_else(|| panic!("no {path}"))
}

/// Returns the node with a handle, which only one has.
fn by_handle(tree: &DeviceTree, handle: u32) -> DeviceTreeNode {
    fn all(node: &DeviceTreeNode) -> Vec<&DeviceTreeNode> {
        let below = node.children().flat_map(all);
        std::iter::once(node).chain(below).collect()
    }
    let found: Vec<_> = all(&tree.root)
        .into_iter()
        .filter(|node| node.property("phandle").is_some() && cells(node, "phandle") == [handle])
        .collect();
    assert_eq!(found.len(), 1, "handle {handle}");
    found[0].clone()
}

/// The disk, with a rate for the clock that the tree is silent about.
const DISK: &str = r#"{ path = "/disk@b006000", clocks = [200_000_000, 16_000_000] }"#;

#[test]
fn clocks_of_a_controller_become_fixed() {
    let tree = guest_tree(&good("fixed-clocks", &table(DISK)));
    let disk = at(&tree, "/disk@b006000");
    assert_eq!(texts(disk, "clock-names"), ["core", "bus"]);
    let rates: Vec<u32> = cells(disk, "clocks")
        .into_iter()
        .flat_map(|handle| {
            let clock = by_handle(&tree, handle);
            assert_eq!(texts(&clock, "compatible"), ["fixed-clock"]);
            assert_eq!(cells(&clock, "#clock-cells"), [0]);
            cells(&clock, "clock-frequency")
        })
        .collect();
    assert_eq!(rates, [200_000_000, 16_000_000]);
}

#[test]
fn message_knows_the_rates_that_the_tree_says() {
    let mut bench = Bench::new("rates");
    let head = "[system]\nversion = 1\nplatform = \"qemu-virt\"\n";
    let text = format!("{head}{}", table("\"/disk@b006000\""));
    let file = bench.put("table.toml", text.as_bytes());
    let list = bench
        .compile(&file, &qemu_virt(), &Board::default())
        .unwrap_err();
    let found = list.iter().find(|found| found.rule == Rule::DeviceClocks);
    let help = &found.expect("the rule").help[0];
    assert!(help.contains("clocks = [HZ, 16000000]"), "{help}");
}

#[test]
fn clocks_are_left_out_on_demand() {
    let devices = DISK.replace("200_000_000, 16_000_000", "");
    let system = good("no-clocks", &table(&devices));
    let tree = guest_tree(&system);
    let disk = at(&tree, "/disk@b006000");
    assert!(disk.property("clocks").is_none() && disk.property("clock-names").is_none());
    assert!(
        system.report().contains("without clocks"),
        "{}",
        system.report()
    );
}

#[test]
fn what_a_guest_does_not_have_is_not_referred_to() {
    let system = good("dropped", &table(DISK));
    let tree = guest_tree(&system);
    let disk = at(&tree, "/disk@b006000");
    for name in ["resets", "reset-names", "cd-gpios"] {
        assert!(disk.property(name).is_none(), "{name}");
    }
    assert_eq!(cells(disk, "bus-width"), [4]);
    assert_eq!(texts(disk, "interrupt-names"), ["done"]);
    assert_eq!(cells(disk, "interrupts"), [0, 70, 4]);
    let report = system.report();
    assert!(report.contains("without resets, cd-gpios"), "{report}");
    assert!(
        report.contains("core at 200000000 Hz, bus at 16000000 Hz"),
        "{report}"
    );
}

#[test]
fn handles_follow_what_is_copied() {
    let tree = guest_tree(&good("handles", &table(DISK)));
    let disk = at(&tree, "/disk@b006000");
    let part = at(&tree, "/disk@b006000/part@c");
    assert_eq!(cells(disk, "phy-handle"), cells(part, "phandle"));
    assert_eq!(cells(part, "reg"), [12]);
    // A number that looks like a handle and is none.
    assert_eq!(cells(disk, "part-handle"), [7]);
    by_handle(&tree, cells(part, "phandle")[0]);
}

#[test]
fn parts_that_are_not_in_use_stay_so() {
    let tree = guest_tree(&good("status", &table(DISK)));
    assert_eq!(
        texts(at(&tree, "/disk@b006000/part@d"), "status"),
        ["disabled"]
    );
}

#[test]
fn regulator_of_one_voltage_becomes_fixed() {
    let tree = guest_tree(&good("regulator", &table(DISK)));
    let supply = by_handle(&tree, cells(at(&tree, "/disk@b006000"), "vmmc-supply")[0]);
    assert_eq!(texts(&supply, "compatible"), ["regulator-fixed"]);
    assert_eq!(texts(&supply, "regulator-name"), ["vmmc"]);
    assert_eq!(cells(&supply, "regulator-max-microvolt"), [3_300_000]);
    assert!(supply.property("gpio").is_none());
}

#[test]
fn devices_of_one_partition_refer_to_each_other() {
    let devices = format!(
        "{}, \"/controller@b005000\", \"/pl061@9030000\"",
        DISK.replace("clocks = [200_000_000, 16_000_000]", "gpa = 0x0c00_6000")
    );
    let tree = guest_tree(&good("together", &table(&devices)));
    let disk = at(&tree, "/disk@c006000");
    let handle = cells(at(&tree, "/controller@b005000"), "phandle")[0];
    let lines = cells(at(&tree, "/pl061@9030000"), "phandle")[0];
    assert_eq!(cells(disk, "reg"), [0, 0x0c00_6000, 0, 0x1000]);
    assert_eq!(cells(disk, "resets"), [handle, 1]);
    assert_eq!(texts(disk, "reset-names"), ["whole"]);
    assert_eq!(cells(disk, "cd-gpios"), [lines, 5, 1]);
    let clocks = cells(disk, "clocks");
    assert_eq!(clocks[..2], [handle, 3]);
    assert_eq!(
        cells(&by_handle(&tree, clocks[2]), "clock-frequency"),
        [16_000_000]
    );
}

#[test]
fn interrupts_of_a_controller_that_the_guest_has_stay() {
    let tree = guest_tree(&good(
        "lines",
        &table("\"/led@b004000\", \"/pl061@9030000\""),
    ));
    let led = at(&tree, "/led@b004000");
    let lines = cells(at(&tree, "/pl061@9030000"), "phandle");
    assert_eq!(cells(led, "interrupt-parent"), lines);
    assert_eq!(cells(led, "interrupts"), [3, 4]);
}

#[test]
fn children_of_a_bus_come_by_their_own_paths() {
    let system = good(
        "bus",
        &table("{ path = \"/wrapper@b007000\", dma = \"none\" }, \"/wrapper@b007000/core@1000\""),
    );
    let tree = guest_tree(&system);
    let wrapper = at(&tree, "/wrapper@b007000");
    assert_eq!(wrapper.children().count(), 1);
    assert_eq!(cells(wrapper, "#address-cells"), [2]);
    assert!(
        wrapper
            .property("ranges")
            .expect("ranges")
            .value()
            .is_empty()
    );
    let core = at(&tree, "/wrapper@b007000/core@b009000");
    assert_eq!(cells(core, "reg"), [0, 0x0b00_9000, 0, 0x1000]);
    assert_eq!(cells(core, "interrupts"), [0, 72, 4]);
    assert_eq!(
        cells(core, "interrupt-parent"),
        cells(at(&tree, "/intc@8000000"), "phandle")
    );
    assert!(core.property("dma-coherent").is_some());
    assert!(
        system.report().contains("without core@0"),
        "{}",
        system.report()
    );
}

/// Compiles a table that is refused, and returns what is said about its overlay.
fn refused(name: &str, overlay: &str) -> String {
    let mut bench = Bench::new(name);
    let head = "[system]\nversion = 1\nplatform = \"qemu-virt\"\n";
    let devices = table("\"/pl031@9010000\"");
    let text = format!("{head}{devices}dtb = {{ overlay = \"{overlay}\" }}\n");
    let file = bench.put("table.toml", text.as_bytes());
    let list = bench
        .compile(&file, &qemu_virt(), &Board::default())
        .unwrap_err();
    list.render(false)
}

#[test]
fn overlay_adds_to_the_generated_tree() {
    let text = format!(
        "{}dtb = {{ overlay = \"clock.dtbo\" }}\n",
        table("\"/pl031@9010000\"")
    );
    let tree = guest_tree(&good("overlay", &text));
    let clock = at(&tree, "/pl031@9010000");
    let added = at(&tree, "/pl031@9010000/added");
    assert_eq!(cells(added, "link"), cells(clock, "phandle"));
    let part = at(&tree, "/pl031@9010000/added/part");
    assert_eq!(cells(added, "part"), cells(part, "phandle"));
    by_handle(&tree, cells(part, "phandle")[0]);
    by_handle(&tree, cells(clock, "phandle")[0]);
    assert!(tree.find_node("/__symbols__").is_none() && tree.find_node("/fragment@0").is_none());
    assert!(at(&tree, "/chosen").property("rng-seed").is_some());
}

#[test]
fn overlay_for_what_is_not_there_is_refused() {
    let shown = refused("wrong-path", "wrong-path.dtbo");
    assert!(
        shown.contains("changes `/pl013@9010000`") && shown.contains("`/pl031@9010000`"),
        "{shown}"
    );
    let shown = refused("wrong-label", "wrong-label.dtbo");
    assert!(
        shown.contains("refers to `&rtc1`") && shown.contains("`&rtc0`, `&gic`"),
        "{shown}"
    );
}

#[test]
fn part_of_a_path_without_an_address_means_the_first_node() {
    let tree = guest_tree(&good("short", &table("\"/pl031\"")));
    assert_eq!(texts(at(&tree, "/aliases"), "rtc0"), ["/pl031@9010000"]);
}

#[test]
fn bus_that_leaves_addresses_as_they_are_is_none_to_refuse() {
    let devices = table(r#"{ path = "/wrapper@b007000/core@0", dma = "identity" }"#);
    let text = devices
        .replace(
            "{ guest = \"hello\" }",
            "{ raw = \"program.bin\", load = 0x5000_0000 }",
        )
        .replace(
            "\"2M\"",
            "[{ gpa = 0x5000_0000, size = \"2M\", hpa = \"identity\" }]",
        );
    let report = good("same-addresses", &text).report();
    assert!(
        report.contains("DMA: no SMMU confines it, it reaches all memory"),
        "{report}"
    );
}

#[test]
fn pci_host_bridge_is_refused() {
    let mut bench = Bench::new("pci");
    let head = "[system]\nversion = 1\nplatform = \"qemu-virt\"\n";
    let devices = r#"{ path = "/bus/pcie@b00d000", dma = "none" }"#;
    let file = bench.put("table.toml", format!("{head}{}", table(devices)).as_bytes());
    let list = bench
        .compile(&file, &qemu_virt(), &Board::default())
        .unwrap_err();
    let shown = list.render(false);
    assert!(
        shown.contains("`/bus/pcie@b00d000` cannot be passed through: it is a PCI host bridge"),
        "{shown}"
    );
}

#[test]
fn child_of_a_bus_alone_stands_at_the_root() {
    let tree = guest_tree(&good("alone", &table("\"/wrapper@b007000/core@0\"")));
    let core = at(&tree, "/core@b008000");
    assert!(core.property("dma-coherent").is_some());
    assert!(core.property("interrupt-parent").is_none());
    assert!(tree.find_node("/wrapper@b007000").is_none());
}
