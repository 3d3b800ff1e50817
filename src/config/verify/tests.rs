use zerocopy::IntoBytes;

use super::super::payload::samples::{Sample, name};
use super::super::record::{InterruptRecord, Span, WindowRecord};
use super::*;
use crate::board::samples::{self, cells, text};

/// A sample that fits the sample of a board: `linux` has the clock at INTID 34.
fn sample() -> Sample {
    let mut sample = Sample::new();
    sample.partitions[0].console_intid = 40;
    sample
}

/// Verifies a payload against a board and returns the messages.
fn mismatches(
    change: impl FnOnce(&mut Sample),
    board: impl FnOnce(&mut samples::Sample),
) -> Vec<String> {
    let mut payload = sample();
    change(&mut payload);
    let words = payload.build();
    let payload = Payload::new(words.as_bytes()).unwrap();
    let mut tree = samples::Sample::virt();
    board(&mut tree);
    let bytes = tree.flatten();
    let tree = Tree::new(&bytes).unwrap();
    let board = Board::read(tree, None).unwrap();
    let actual = Actual {
        board: &board,
        tree: &tree,
        boot_cpu: Some(Mpidr::from_raw(0)),
        intid_end: 288,
    };
    let mut messages = Vec::new();
    let count = verify(&payload, &actual, &mut |mismatch| {
        messages.push(mismatch.to_string());
    });
    assert_eq!(count, messages.len());
    messages
}

#[test]
fn accepts_a_payload_that_fits() {
    assert_eq!(mismatches(|_| {}, |_| {}), [""; 0]);
}

#[test]
fn wants_every_pcpu() {
    let change = |sample: &mut Sample| {
        sample.header.console_pcpu = 3;
        let vcpu = sample.vcpus[0];
        sample.vcpus = vec![vcpu; 3];
        sample.vcpus[1].pcpu = 2;
        sample.vcpus[2].mpidr = 0x100;
        sample.partitions[0].vcpus.count = 3;
    };
    let wanted = [
        "console_pcpu is 3, this board has 2 CPUs",
        "linux: vCPU 1 wants pCPU 2, this board has 2 CPUs, counted from 0",
        "linux: vCPU 2 wants the CPU with MPIDR 0x100, this board has none",
    ];
    assert_eq!(mismatches(change, |_| {}), wanted);
}

#[test]
fn wants_a_way_to_start_a_pcpu_but_the_first() {
    let change = |sample: &mut Sample| {
        let vcpu = sample.vcpus[0];
        sample.vcpus = vec![vcpu; 2];
        sample.vcpus[1].mpidr = 1;
        sample.partitions[0].vcpus.count = 2;
    };
    let wanted =
        ["linux: vCPU 1 wants pCPU 1 (MPIDR 0x1), which failed or cannot be started by PSCI (SMC)"];
    let by_hvc = |tree: &mut samples::Sample| tree.set("/psci", "method", &text(&["hvc"]));
    assert_eq!(mismatches(change, by_hvc), wanted);
    let failed = |tree: &mut samples::Sample| tree.set("/cpus/cpu@1", "status", &text(&["fail"]));
    assert_eq!(mismatches(change, failed), wanted);
    assert_eq!(mismatches(change, |_| {}), [""; 0]);
}

#[test]
fn names_a_device_that_the_board_lacks() {
    let wanted = [
        "linux: device /pl031@9010000: the device tree has no node or alias \"/pl031@9010000\" (full paths start with /)",
    ];
    assert_eq!(
        mismatches(|_| {}, |tree| tree.remove("pl031@9010000")),
        wanted
    );
}

#[test]
fn compares_registers_and_interrupts() {
    let moved = |tree: &mut samples::Sample| {
        let reg = [0, 0x902_0000, 0, 0x1000, 0, 0x903_0000, 0, 0x1000];
        tree.set("/pl031@9010000", "reg", &cells(&reg));
        tree.set("/pl031@9010000", "interrupts", &cells(&[0, 3, 4]));
        tree.set("/pl031@9010000", "status", &text(&["disabled"]));
    };
    let wanted = [
        "linux: device /pl031@9010000 is switched off in the device tree (status)",
        "linux: device /pl031@9010000 has no registers at 0x9010000..=0x9010fff, but at 0x9020000..=0x9020fff",
        "linux: device /pl031@9010000 has 2 register ranges, the table was built for 1",
        "linux: device /pl031@9010000 has INTID 35 (SPI 3), which the table does not give it",
        "linux: INTID 34 (SPI 2) belongs to none of its devices in the device tree",
    ];
    assert_eq!(mismatches(|_| {}, moved), wanted);
    let edge = |tree: &mut samples::Sample| {
        tree.set("/pl031@9010000", "interrupts", &cells(&[0, 2, 1]));
    };
    let wanted = [
        "linux: INTID 34 (SPI 2) is level-sensitive in the table and edge-triggered in the device tree",
    ];
    assert_eq!(mismatches(|_| {}, edge), wanted);
}

#[test]
fn keeps_what_is_el2s() {
    let windows = [
        (0x0900_0800, "the console's UART at 0x9000000..=0x9000fff"),
        (
            0x0800_0000,
            "the interrupt controller at 0x8000000..=0x800ffff",
        ),
        (
            0x080c_0000,
            "the interrupt controller at 0x80a0000..=0x8ffffff",
        ),
        (
            0x0809_f000,
            "the interrupt controller at 0x8080000..=0x809ffff",
        ),
        (0x47ff_f000, "RAM at 0x40000000..=0x47ffffff"),
    ];
    for (hpa, what) in windows {
        let change = |sample: &mut Sample| {
            sample.text = "";
            let (gpa, size) = (hpa, 4);
            sample.windows[0] = WindowRecord { gpa, hpa, size };
        };
        let last = hpa + 3;
        let wanted =
            format!("linux: device registers {hpa:#x}..={last:#x} share a page with {what}");
        assert_eq!(mismatches(change, |_| {}), [wanted]);
    }
}

#[test]
fn keeps_the_rest_of_a_page_that_is_el2s() {
    let change = |sample: &mut Sample| {
        sample.text = "";
        let (gpa, hpa, size) = (0x0900_0800, 0x0900_0800, 4);
        sample.windows[0] = WindowRecord { gpa, hpa, size };
    };
    let small = |tree: &mut samples::Sample| {
        tree.set("/pl011@9000000", "reg", &cells(&[0, 0x900_0000, 0, 0x100]));
    };
    let wanted = [
        "linux: device registers 0x9000800..=0x9000803 share a page with the console's UART at 0x9000000..=0x90000ff",
    ];
    assert_eq!(mismatches(change, small), wanted);
}

#[test]
fn gives_an_interrupt_once_and_only_what_is_there() {
    let change = |sample: &mut Sample| {
        sample.text = "";
        sample.windows[0].hpa = 0x0a00_0000;
        sample.interrupts = [33, 40, 288]
            .map(|intid| InterruptRecord { intid, edge: 0 })
            .to_vec();
        sample.partitions[0].interrupts.count = 3;
        let mut second = sample.partitions[0];
        second.name = name("loop");
        second.devices = Span::default();
        second.interrupts = Span { first: 1, count: 1 };
        second.console_intid = 33;
        sample.partitions.push(second);
    };
    let wanted = [
        "linux: INTID 33 (SPI 1) is that of the console's UART, which is bulkhead's",
        "linux: INTID 40 (SPI 8) is passed through, and its emulated UART has it too",
        "linux: INTID 288 (SPI 256) is not there, this board's INTIDs end at 288",
        "loop: INTID 40 (SPI 8) is linux's already",
        "loop: INTID 40 (SPI 8) belongs to none of its devices in the device tree",
    ];
    assert_eq!(mismatches(change, |_| {}), wanted);
}

#[test]
fn gives_a_page_of_registers_to_one_partition() {
    let change = |sample: &mut Sample| {
        let mut second = sample.partitions[0];
        second.name = name("loop");
        second.devices = Span { first: 1, count: 1 };
        second.interrupts = Span::default();
        sample.partitions.push(second);
        let mut device = sample.devices[0];
        device.windows = Span { first: 1, count: 1 };
        sample.devices.push(device);
        let (gpa, hpa, size) = (0x0901_0800, 0x0901_0800, 8);
        sample.windows.push(WindowRecord { gpa, hpa, size });
    };
    let messages = mismatches(change, |_| {});
    let wanted = "loop: device registers 0x9010800..=0x9010807 share a page with linux's at 0x9010000..=0x9010fff";
    assert!(
        messages.iter().any(|message| message == wanted),
        "{messages:?}"
    );
}
