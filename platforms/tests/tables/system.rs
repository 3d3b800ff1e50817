//! What a compiled table holds, read back by EL2's own reader and a device-tree reader.

use bulkhead::config::payload::Payload;
use bulkhead::config::record::{PartitionRecord, SegmentRecord, access};
use bulkhead::sched::Levels;
use bulkhead_platforms::{Rule, System};
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};
use zerocopy::IntoBytes;

use crate::board::Board;
use crate::shipped::aligned;
use crate::{Bench, images, qemu_virt};

/// The first lines of every table here.
const HEAD: &str = "[system]\nversion = 1\nplatform = \"qemu-virt\"\n";

/// Compiles a table that has to be good.
pub fn good(name: &str, text: &str) -> System {
    let mut bench = Bench::new(name);
    let table = bench.put("table.toml", format!("{HEAD}{text}").as_bytes());
    match bench.compile(&table, &qemu_virt(), &Board::default()) {
        Ok(system) => system,
        Err(list) => panic!("{}", list.render(false)),
    }
}

/// Reads the payload of a system, and calls `then` with it and the payload's bytes.
pub fn read<T>(system: &System, then: impl FnOnce(&Payload<'_>, &[u8]) -> T) -> T {
    let words = aligned(system.payload());
    let payload = Payload::new(words.as_bytes()).expect("a payload that EL2 accepts");
    then(&payload, system.payload())
}

/// Returns the bytes of a segment.
fn bytes<'a>(segment: &SegmentRecord, payload: &'a [u8]) -> &'a [u8] {
    let start = segment.offset as usize;
    &payload[start..start + segment.file_bytes as usize]
}

/// Returns the device tree of a partition.
pub fn tree(payload: &Payload<'_>, of: &PartitionRecord, all: &[u8]) -> DeviceTree {
    let segments = payload.segments(of);
    let tree = segments.iter().find(|segment| segment.gpa == of.dtb);
    let tree = Fdt::new(bytes(tree.expect("a tree"), all)).expect("a tree that can be read");
    DeviceTree::from_fdt(&tree)
}

/// Returns a property's cells.
pub fn cells(node: &DeviceTreeNode, name: &str) -> Vec<u32> {
    let property = node.property(name).unwrap_or_else(|| panic!("no {name}"));
    let (words, rest) = property.value().as_chunks::<4>();
    assert!(rest.is_empty(), "{name} is not made of cells");
    words.iter().map(|word| u32::from_be_bytes(*word)).collect()
}

/// Returns a property's texts.
pub fn texts(node: &DeviceTreeNode, name: &str) -> Vec<String> {
    let property = node.property(name).unwrap_or_else(|| panic!("no {name}"));
    let text = String::from_utf8(property.value().to_vec()).expect("a text");
    text.trim_end_matches('\0')
        .split('\0')
        .map(str::to_owned)
        .collect()
}

/// Linux with two vCPUs, a clock and a RAM disk.
const LINUX: &str = r#"
[[partition]]
name    = "linux"
image   = { recipe = "debian-linux", cmdline = "console=ttyAMA0" }
memory  = "256M"
vcpus   = [{ pcpu = 1, priority = 10 }, { pcpu = 0, priority = 11, time_slice = "2ms" }]
devices = ["/pl031@9010000"]
"#;

/// The vCPUs in it.
const LINUX_VCPUS: &str =
    r#"{ pcpu = 1, priority = 10 }, { pcpu = 0, priority = 11, time_slice = "2ms" }"#;

#[test]
fn linux_lies_as_its_boot_protocol_wants() {
    read(&good("linux", LINUX), |payload, all| {
        let of = &payload.partitions()[0];
        let [kernel, initrd, tree] = payload.segments(of) else {
            panic!("three segments");
        };
        assert_eq!((of.entry, kernel.gpa), (0x4000_0000, 0x4000_0000));
        assert_eq!(
            (kernel.file_bytes, kernel.memory_bytes),
            (1 << 20, 34 << 20)
        );
        assert_eq!(bytes(kernel, all), images::kernel(34 << 20, 1 << 20));
        assert_eq!((initrd.gpa, initrd.file_bytes), (0x4220_0000, 1 << 20));
        assert_eq!(tree.gpa, of.dtb);
        assert!(tree.gpa + tree.file_bytes <= 0x5000_0000 && tree.gpa > 0x4fff_0000);
        assert!(tree.gpa.is_multiple_of(4096));
    });
}

#[test]
fn kernel_goes_behind_the_next_2_mib_boundary() {
    let text = r#"
[[partition]]
name   = "one"
image  = { kernel = "offset.img" }
memory = [{ gpa = 0x4010_0000, size = "8M" }]
vcpus  = [{ pcpu = 0, priority = 10 }]
"#;
    read(&good("boundary", text), |payload, _| {
        let of = &payload.partitions()[0];
        assert_eq!(of.entry, 0x4028_0000);
        assert_eq!(payload.segments(of)[0].gpa, 0x4028_0000);
    });
}

#[test]
fn interrupt_shared_by_two_devices_of_a_partition_is_one() {
    let text = LINUX.replace("/pl031@9010000\"", "/twin@b000000\", \"/twin@b001000\"");
    read(&good("shared", &text), |payload, all| {
        let of = &payload.partitions()[0];
        let [interrupt] = payload.interrupts(of) else {
            panic!("one interrupt");
        };
        assert_eq!(interrupt.intid, 92);
        let tree = tree(payload, of, all);
        for path in ["/twin@b000000", "/twin@b001000"] {
            let node = tree.find_node(path).expect("a device");
            assert_eq!(cells(node, "interrupts"), [0, 60, 4]);
        }
    });
}

#[test]
fn memory_that_is_read_alone_is_not_shown_as_memory() {
    let text = LINUX.replace(
        "\"256M\"",
        "[{ gpa = 0x4000_0000, size = \"256M\" }, { gpa = 0x6000_0000, size = \"1M\", access = \"r\" }]",
    );
    read(&good("reading", &text), |payload, all| {
        let tree = tree(payload, &payload.partitions()[0], all);
        assert!(tree.find_node("/memory@40000000").is_some());
        assert!(tree.find_node("/memory@60000000").is_none());
    });
}

#[test]
fn cpu_that_failed_is_not_there() {
    let mut bench = Bench::new("failed");
    let table = bench.put("table.toml", format!("{HEAD}{LINUX}").as_bytes());
    let board = Board {
        failed: Some(1),
        ..Board::default()
    };
    let list = bench.compile(&table, &qemu_virt(), &board).unwrap_err();
    assert!(list.iter().any(|found| found.rule == Rule::UnknownPcpu));
}

#[test]
fn a_gicv2_has_room_for_eight_vcpus_of_a_partition() {
    let mut bench = Bench::new("gicv2");
    let mut compiled = |vcpus: usize, gicv2| {
        let vcpus = "{ pcpu = 0, priority = 10, time_slice = \"1ms\" },".repeat(vcpus);
        let partition = format!(
            "[[partition]]\nname = \"many\"\nmemory = \"2M\"\nimage = {{ guest = \"hello\" }}\nvcpus = [{vcpus}]\n"
        );
        let table = bench.put("table.toml", format!("{HEAD}{partition}").as_bytes());
        let board = Board {
            gicv2,
            ..Board::default()
        };
        bench.compile(&table, &qemu_virt(), &board)
    };
    assert!(compiled(8, true).is_ok());
    assert!(compiled(9, false).is_ok());
    let list = compiled(9, true).unwrap_err();
    let found: Vec<_> = list.iter().map(|found| found.rule).collect();
    assert_eq!(found, [Rule::TooManyVcpus]);
}

#[test]
fn tree_shows_what_is_there_and_nothing_else() {
    read(&good("tree", LINUX), |payload, all| {
        let tree = tree(payload, &payload.partitions()[0], all);
        let names: Vec<&str> = tree.root.children().map(|node| node.name()).collect();
        let wanted = [
            "memory@40000000",
            "cpus",
            "psci",
            "timer",
            "intc@8000000",
            "apb-pclk",
            "pl011@9000000",
            "apb-pclk-3",
            "pl031@9010000",
            "aliases",
            "chosen",
        ];
        assert_eq!(names, wanted);
        let at = |path: &str| tree.find_node(path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(
            cells(at("/memory@40000000"), "reg"),
            [0, 0x4000_0000, 0, 0x1000_0000]
        );
        assert_eq!(
            cells(at("/intc@8000000"), "reg"),
            [0, 0x0800_0000, 0, 0x1_0000, 0, 0x080a_0000, 0, 0x4_0000]
        );
        assert_eq!(cells(at("/pl011@9000000"), "interrupts"), [0, 1, 4]);
        let timers = [[1, 13, 4], [1, 14, 4], [1, 11, 4], [1, 10, 4]].concat();
        assert_eq!(cells(at("/timer"), "interrupts"), timers);
        assert_eq!(texts(at("/psci"), "method"), ["hvc"]);
        assert_eq!(texts(at("/cpus/cpu@1"), "compatible"), ["arm,cortex-a53"]);
        assert_eq!(texts(at("/cpus/cpu@1"), "enable-method"), ["psci"]);
        assert_eq!(texts(at("/chosen"), "bootargs"), ["console=ttyAMA0"]);
        assert_eq!(texts(at("/chosen"), "stdout-path"), ["/pl011@9000000"]);
        assert_eq!(cells(at("/chosen"), "linux,initrd-start"), [0, 0x4220_0000]);
        assert_eq!(cells(at("/chosen"), "linux,initrd-end"), [0, 0x4230_0000]);
    });
}

#[test]
fn passed_through_device_keeps_its_clock_and_its_alias() {
    read(&good("device", LINUX), |payload, all| {
        let of = &payload.partitions()[0];
        let tree = tree(payload, of, all);
        let clock = tree.find_node("/pl031@9010000").expect("the device");
        assert_eq!(texts(clock, "compatible"), ["arm,pl031", "arm,primecell"]);
        assert_eq!(cells(clock, "reg"), [0, 0x0901_0000, 0, 0x1000]);
        assert_eq!(cells(clock, "interrupts"), [0, 2, 4]);
        assert_eq!(texts(clock, "clock-names"), ["apb_pclk"]);
        let source = tree.find_node("/apb-pclk-3").expect("its clock");
        assert_eq!(cells(clock, "clocks"), cells(source, "phandle"));
        assert_eq!(cells(source, "clock-frequency"), [24_000_000]);
        // Linux refuses a second clock of the name that the UART's has.
        assert!(source.property("clock-output-names").is_none());
        let aliases = tree.find_node("/aliases").expect("aliases");
        assert_eq!(texts(aliases, "rtc0"), ["/pl031@9010000"]);
        let [device] = payload.devices(of) else {
            panic!("one device");
        };
        assert_eq!(payload.text(device.path), "/pl031@9010000");
        let [window] = payload.windows(device) else {
            panic!("one window");
        };
        assert_eq!(
            (window.gpa, window.hpa, window.size),
            (0x0901_0000, 0x0901_0000, 0x1000)
        );
        let [interrupt] = payload.interrupts(of) else {
            panic!("one interrupt");
        };
        assert_eq!((interrupt.intid, interrupt.edge), (34, 0));
    });
}

#[test]
fn seeds_point_at_their_properties() {
    read(&good("seeds", LINUX), |payload, all| {
        let of = &payload.partitions()[0];
        let segments = payload.segments(of);
        let segment = segments.iter().find(|s| s.gpa == of.dtb).expect("a tree");
        let mut filled = bytes(segment, all).to_vec();
        let seeds = payload.seeds(of);
        assert_eq!(
            seeds.iter().map(|seed| seed.bytes).collect::<Vec<_>>(),
            [64, 8]
        );
        for (fill, seed) in [0xc3u8, 0x3c].iter().zip(seeds) {
            let start = (seed.gpa - of.dtb) as usize;
            filled[start..start + seed.bytes as usize].fill(*fill);
        }
        let tree = DeviceTree::from_fdt(&Fdt::new(&filled).expect("still a tree"));
        let chosen = tree.find_node("/chosen").expect("chosen");
        let value = |name: &str| chosen.property(name).expect("a seed").value().to_vec();
        assert_eq!(value("rng-seed"), [0xc3; 64]);
        assert_eq!(value("kaslr-seed"), [0x3c; 8]);
    });
}

#[test]
fn records_say_what_the_table_says() {
    let text = format!(
        "focus = \"quiet\"\nconsole_pcpu = {{ mpidr = 0x1 }}\nconsole_priority = 7\non_panic = \"reset\"\nscrub_at_boot = true\n{LINUX}\n{}",
        r#"
[[partition]]
name      = "quiet"
image     = { raw = "program.bin", load = 0x5000_1000, entry = 0x5000_1010 }
memory    = [{ gpa = 0x5000_0000, size = "64K", hpa = 0x6000_0000 }, { gpa = 0x6000_0000, size = "1M", access = "r" }]
vcpus     = [{ pcpu = { mpidr = 0x1 }, priority = 255, fp = "eager", period = "1ms" }]
console   = { model = "pl011", gpa = 0x0a00_0000, intid = 40, overflow = "drop" }
dtb       = "none"
on_fault  = { restart = 3, within = "10s" }
autostart = false
"#
    );
    read(&good("records", &text), |payload, _| {
        let header = payload.header();
        assert_eq!(
            (header.focus, header.console_pcpu, header.console_priority),
            (1, 1, 7)
        );
        assert_eq!((header.console_mpidr, header.trace_bytes), (1, 0));
        assert_eq!((header.on_panic, header.flags), (1, 1));
        assert_eq!((header.uart_kind, header.uart_hpa), (1, 0x0900_0000));
        assert_eq!((header.uart_intid, header.uart_edge), (33, 0));
        let [linux, quiet] = payload.partitions() else {
            panic!("two partitions");
        };
        let [first, second] = payload.vcpus(linux) else {
            panic!("two vCPUs");
        };
        assert_eq!((first.pcpu, first.priority, first.mpidr), (1, 10, u64::MAX));
        assert_eq!(
            (second.pcpu, second.time_slice_ns, second.fp_eager),
            (0, 2_000_000, 0)
        );
        assert_eq!(
            (linux.flags, linux.on_fault, linux.console_overflow),
            (1, 0, 0)
        );
        let [vcpu] = payload.vcpus(quiet) else {
            panic!("one vCPU");
        };
        assert_eq!((vcpu.pcpu, vcpu.mpidr, vcpu.fp_eager), (1, 1, 1));
        assert_eq!((vcpu.priority, vcpu.period_ns), (255, 1_000_000));
        let [code, data] = payload.regions(quiet) else {
            panic!("two regions");
        };
        assert_eq!(
            (code.gpa, code.size, code.hpa),
            (0x5000_0000, 0x1_0000, 0x6000_0000)
        );
        assert_eq!((data.hpa, data.access), (u64::MAX, access::READ));
        assert_eq!((quiet.console_gpa, quiet.console_intid), (0x0a00_0000, 40));
        assert_eq!((quiet.console_model, quiet.console_overflow), (1, 1));
        assert_eq!((quiet.entry, quiet.dtb, quiet.flags), (0x5000_1010, 0, 0));
        assert_eq!((quiet.on_fault, quiet.restart_limit), (2, 3));
        assert_eq!(quiet.restart_within_ns, 10_000_000_000);
        assert_eq!(payload.name(quiet), "quiet");
    });
}

#[test]
fn the_same_image_is_in_the_payload_once() {
    let one = |name: &str| {
        format!(
            "\n[[partition]]\nname = \"{name}\"\nimage = {{ guest = \"hello\" }}\nmemory = \"2M\"\nvcpus = [{{ pcpu = 0, priority = 10 }}]\n"
        )
    };
    let text: String = (0..16).map(|n| one(&format!("hello-{n}"))).collect();
    let few = good("once", &one("hello-0")).payload().len();
    let many = good("sixteen", &text).payload().len();
    assert!(
        many < few + 0x4000,
        "one takes {few} bytes, sixteen take {many}"
    );
}

#[test]
fn payload_beyond_the_end_of_memory_is_refused() {
    let mut bench = Bench::new("beyond");
    let table = bench.put("table.toml", format!("{HEAD}{LINUX}").as_bytes());
    let board = Board {
        memory: 3 << 20,
        ..Board::default()
    };
    let list = bench.compile(&table, &qemu_virt(), &board).unwrap_err();
    let shown = list.render(false);
    assert!(
        shown.contains("EL2 with its payload takes 2312 KiB at 0x40200000..="),
        "{shown}"
    );
}

#[test]
fn board_layout_follows_the_board() {
    let text = LINUX.replace("devices", "layout  = \"board\"\ndevices");
    read(&good("layout", &text), |payload, _| {
        let of = &payload.partitions()[0];
        assert_eq!((of.gicd, of.gicr), (0x0800_0000, 0x080a_0000));
        assert_eq!(payload.regions(of)[0].gpa, 0x4000_0000);
    });
}

#[test]
fn managers_find_whom_they_manage() {
    let other = |name: &str, keys: &str| {
        format!(
            "[[partition]]\nname = \"{name}\"\nimage = {{ guest = \"hello\" }}\nmemory = \"2M\"\n\
             vcpus = [{{ pcpu = 0, priority = 1 }}]\n{keys}\n"
        )
    };
    let watchdog = "watchdog = { timeout = \"50ms\", action = \"restart\" }";
    let text = [
        other("one", watchdog),
        other("two", "autostart = false"),
        LINUX.replace("devices", "manages = [\"two\", \"one\"]\ndevices"),
    ];
    let system = good("managers", &text.concat());
    assert_eq!(
        system.warnings().iter().count(),
        0,
        "`linux` can start `two`"
    );
    read(&system, |payload, whole| {
        let [one, two, linux] = payload.partitions() else {
            panic!("three partitions")
        };
        assert_eq!((one.watchdog_ns, one.flags), (50_000_000, 3));
        assert_eq!((two.watchdog_ns, two.flags, two.manages), (0, 0, 0));
        assert_eq!((linux.manages, linux.manager_gpa), (3, 0x0b90_0000));
        assert!(payload.is_managed(0) && payload.is_managed(1) && !payload.is_managed(2));
        let segments = payload.segments(linux);
        let tree = segments.iter().find(|segment| segment.gpa == linux.dtb);
        let tree = bytes(tree.expect("a tree"), whole);
        let tree = DeviceTree::from_fdt(&Fdt::new(tree).expect("a tree"));
        let node = tree.root.child("manager@b900000").expect("a node");
        let reg = node.property("reg").expect("registers");
        assert_eq!(
            reg.value(),
            [0, 0, 0, 0, 0x0b, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0]
        );
        let names = node.property("bulkhead,manages").expect("names");
        assert_eq!(names.value(), b"one\0two\0", "in the order of the table");
    });
    let report = system.report();
    for line in [
        "one    has a watchdog  restarts it when it is not kicked for 50 ms",
        "linux  manages         one, two",
    ] {
        assert!(report.contains(line), "{report}");
    }
    let json: serde_json::Value = serde_json::from_str(&system.report_json()).expect("JSON");
    assert_eq!(json["partitions"][2]["manager"], "0xb900000");
    assert_eq!(json["partitions"][0]["watchdog"]["timeout_ns"], 50_000_000);
}

#[test]
fn nobody_counts_el2_unless_the_table_says_so() {
    for (key, flags) in [
        ("", 1),
        ("counts_el2 = false\n", 1),
        ("counts_el2 = true\n", 5),
    ] {
        let text = LINUX.replace("devices", &format!("{key}devices"));
        let system = good("counts-el2", &text);
        read(&system, |payload, _| {
            assert_eq!(payload.partitions()[0].flags, flags, "{key:?}");
        });
        let told = system.report().contains("counts EL2");
        assert_eq!(told, flags == 5, "{}", system.report());
    }
}

#[test]
fn report_is_json_too() {
    let system = good("json", LINUX);
    let report: serde_json::Value = serde_json::from_str(&system.report_json()).expect("JSON");
    assert_eq!(report["partitions"][0]["name"], "linux");
    assert_eq!(report["partitions"][0]["memory"][0]["gpa"], "0x40000000");
    assert_eq!(report["cpus"][1]["vcpus"][0]["priority"], 10);
    let places = report["memory"].as_array().expect("a list");
    assert!(places.iter().any(|place| place["use"] == "linux: memory"));
}

#[test]
fn report_says_who_shares_an_interrupt_level() {
    // Sixteen distinct priorities, the first of them twice.
    let vcpus = (0..16).map(|index| {
        let priority = 100 - i32::max(index - 1, 0);
        format!("{{ pcpu = 0, priority = {priority}, time_slice = \"1ms\" }}")
    });
    let more = "[[partition]]\nname = \"other\"\nimage = { guest = \"hello\" }\nmemory = \"2M\"\n\
                vcpus = [{ pcpu = 0, priority = 1 }]\nconsole = \"none\"\n";
    let vcpus: Vec<String> = vcpus.collect();
    let of = |usable| {
        let mut platform = qemu_virt();
        platform.levels = Levels::from_usable(usable).expect("levels");
        let mut bench = Bench::new(&format!("levels-{usable}"));
        let text = LINUX.replace(LINUX_VCPUS, &vcpus.join(", "));
        let table = bench.put("table.toml", format!("{HEAD}{text}{more}").as_bytes());
        let compiled = bench.compile(&table, &platform, &Board::default());
        compiled.unwrap_or_else(|list| panic!("{}", list.render(false)))
    };
    let sharers = |system: &System| {
        let report = system.report();
        let lines = report.lines();
        let sharers = lines.filter(|line| line.contains("shares the last interrupt level"));
        let priority = |line: &str| line.split_whitespace().nth(1).map(str::to_owned);
        sharers.filter_map(priority).collect::<Vec<_>>()
    };
    assert_eq!(sharers(&of(15)), ["87", "86", "1"]);
    assert!(sharers(&of(31)).is_empty());
    let json: serde_json::Value = serde_json::from_str(&of(15).report_json()).expect("JSON");
    assert_eq!(json["cpus"][0]["interrupt_levels"], 14);
    assert_eq!(json["cpus"][0]["vcpus"][16]["shares_interrupt_level"], true);
    assert_eq!(json["cpus"][0]["vcpus"][0]["shares_interrupt_level"], false);
}
