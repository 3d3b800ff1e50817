mod foundation;

use zerocopy::IntoBytes;

use super::super::payload::samples::{Sample, name};
use super::super::record::{
    DeviceRecord, InterruptRecord, Span, Text, VcpuRecord, WindowRecord, system_flags,
};
use super::*;
use crate::board::samples::{self, cells, text};
use crate::uart::Model;

/// A sample that fits the sample of a board: `linux` has the clock at INTID 34.
fn sample() -> Sample {
    let mut sample = Sample::new();
    sample.partitions[0].console_intid = 40;
    sample.pcpus.clear();
    sample
}

/// Gives pCPU 0 a time window that is open for the partitions of a mask, beside a partition `loop` there.
fn windows(sample: &mut Sample, partitions: u64) {
    let mut second = sample.partitions[0];
    second.name = name("loop");
    second.devices = Span::default();
    second.interrupts = Span::default();
    sample.partitions.push(second);
    sample.pcpus = Sample::new().pcpus;
    sample.time_windows[0].partitions = partitions;
}

/// Has the tree list the CPUs the other way round.
fn swap_cpus(tree: &mut samples::Sample) {
    tree.set("/cpus/cpu@0", "reg", &cells(&[1]));
    tree.set("/cpus/cpu@1", "reg", &cells(&[0]));
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
        image: Range::new(0x4020_0000, 0x4_0000),
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
        "the console wants pCPU 3, this board has 2 CPUs, counted from 0",
        "linux: vCPU 1 wants pCPU 2, this board has 2 CPUs, counted from 0",
        "linux: vCPU 2 wants the CPU with MPIDR 0x100, this board has none",
    ];
    assert_eq!(mismatches(change, |_| {}), wanted);
}

#[test]
fn the_console_is_served_where_the_board_has_the_named_cpu() {
    let by_affinity = |mpidr| {
        move |sample: &mut Sample| {
            (sample.header.console_pcpu, sample.header.console_mpidr) = (9, mpidr)
        }
    };
    assert_eq!(mismatches(by_affinity(1), |_| {}), [""; 0]);
    let wanted = ["the console wants the CPU with MPIDR 0x100, this board has none"];
    assert_eq!(mismatches(by_affinity(0x100), |_| {}), wanted);
    let failed = |tree: &mut samples::Sample| tree.set("/cpus/cpu@1", "status", &text(&["fail"]));
    let wanted = [
        "the console wants pCPU 1 (MPIDR 0x1), which failed or cannot be started by PSCI (SMC) or a spin table",
    ];
    assert_eq!(mismatches(by_affinity(1), failed), wanted);
}

#[test]
fn wants_a_way_to_start_a_pcpu_but_the_first() {
    let change = |sample: &mut Sample| {
        let vcpu = sample.vcpus[0];
        sample.vcpus = vec![vcpu; 2];
        sample.vcpus[1].mpidr = 1;
        sample.partitions[0].vcpus.count = 2;
    };
    let wanted = [
        "linux: vCPU 1 wants pCPU 1 (MPIDR 0x1), which failed or cannot be started by PSCI (SMC) or a spin table",
    ];
    let by_hvc = |tree: &mut samples::Sample| tree.set("/psci", "method", &text(&["hvc"]));
    assert_eq!(mismatches(change, by_hvc), wanted);
    let failed = |tree: &mut samples::Sample| tree.set("/cpus/cpu@1", "status", &text(&["fail"]));
    assert_eq!(mismatches(change, failed), wanted);
    assert_eq!(mismatches(change, |_| {}), [""; 0]);
    let waits_at = |release| {
        move |tree: &mut samples::Sample| {
            tree.set("/cpus/cpu@1", "enable-method", &text(&["spin-table"]));
            tree.set("/cpus/cpu@1", "cpu-release-addr", &cells(&[0, release]));
        }
    };
    assert_eq!(mismatches(change, waits_at(0xd8)), [""; 0]);
    assert_eq!(mismatches(change, waits_at(0xdc)), wanted);
}

#[test]
fn wants_a_time_window_for_every_vcpu_where_there_are_windows() {
    let wanted = ["loop: vCPU 0 is in no time window of pCPU 0"];
    assert_eq!(mismatches(|sample| windows(sample, 1), |_| {}), wanted);
    assert_eq!(mismatches(|sample| windows(sample, 3), |_| {}), [""; 0]);
    let elsewhere = |sample: &mut Sample| {
        windows(sample, 1);
        let mut other = sample.vcpus[0];
        other.pcpu = 1;
        sample.vcpus.push(other);
        sample.partitions[1].vcpus.first = 1;
    };
    assert_eq!(mismatches(elsewhere, |_| {}), [""; 0]);
}

#[test]
fn time_windows_follow_their_cpu_by_its_affinity() {
    let by_affinity = |sample: &mut Sample| {
        windows(sample, 1);
        sample.pcpus[0].mpidr = 0;
        sample.vcpus[0].mpidr = 0;
    };
    // Position 0 where the table was made, position 1 on this board.
    let wanted = ["loop: vCPU 0 is in no time window of pCPU 1"];
    assert_eq!(mismatches(by_affinity, swap_cpus), wanted);
    let both = |sample: &mut Sample| {
        by_affinity(sample);
        sample.time_windows[0].partitions = 3;
    };
    assert_eq!(mismatches(both, swap_cpus), [""; 0]);
}

#[test]
fn refuses_time_windows_that_lost_their_vcpus() {
    let half = |sample: &mut Sample| {
        windows(sample, 3);
        sample.pcpus[0].mpidr = 0;
    };
    assert_eq!(mismatches(half, |_| {}), [""; 0]);
    let wanted = ["linux", "loop"].map(|name| {
        format!(
            "{name}: a time window of the CPU with MPIDR 0x0 waits for it, and it has no vCPU there"
        )
    });
    assert_eq!(mismatches(half, swap_cpus), wanted);
    let by_position = |sample: &mut Sample| {
        windows(sample, 3);
        sample.vcpus[0].mpidr = 0;
    };
    let wanted = ["linux", "loop"].map(|name| {
        format!("{name}: a time window of pCPU 0 waits for it, and it has no vCPU there")
    });
    assert_eq!(mismatches(by_position, swap_cpus), wanted);
}

#[test]
fn refuses_two_descriptions_of_one_pcpu() {
    let change = |sample: &mut Sample| {
        windows(sample, 3);
        let mut second = sample.pcpus[0];
        (second.pcpu, second.mpidr) = (1, 1);
        second.major_frame_ns = 0;
        second.windows.count = 0;
        sample.pcpus.push(second);
    };
    assert_eq!(mismatches(change, |_| {}), [""; 0]);
    let wanted = ["the table describes pCPU 0 twice: as pCPU 0 and as the CPU with MPIDR 0x1"];
    assert_eq!(mismatches(change, swap_cpus), wanted);
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

/// Has the second CPU poll a word.
fn polls(address: u32) -> impl Fn(&mut samples::Sample) {
    move |tree| {
        tree.set("/cpus/cpu@1", "enable-method", &text(&["spin-table"]));
        tree.set("/cpus/cpu@1", "cpu-release-addr", &cells(&[0, address]));
    }
}

#[test]
fn keeps_spin_tables_from_guests_and_from_its_own_registers() {
    let change = |sample: &mut Sample| {
        sample.text = "";
        let (gpa, hpa, size) = (0x0a00_0000, 0x0a00_0000, 0x100);
        sample.windows[0] = WindowRecord { gpa, hpa, size };
    };
    assert_eq!(
        mismatches(change, polls(0x0a00_0fd8)),
        [
            "linux: device registers 0xa000000..=0xa0000ff share a page with a spin table at 0xa000000..=0xa000fff"
        ]
    );
    assert_eq!(
        mismatches(|_| {}, polls(0x0900_0008)),
        [
            "the device tree has a spin table at 0x9000000..=0x9000fff, which EL2 would write to, among the registers of the console's UART at 0x9000000..=0x9000fff"
        ]
    );
    // In memory, and where nothing is.
    for address in [0x4000_00d8, 0x0b00_00d8] {
        assert_eq!(mismatches(change, polls(address)), [""; 0]);
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
fn compares_each_device_with_its_own_node() {
    // Two devices of one partition, and two interrupts, in an order that changes devices with each.
    let change = |sample: &mut Sample| {
        sample.text = "/pl031@9010000/timer@9020000";
        let path = |offset, length| Text { offset, length };
        sample.devices[0].path = path(0, 14);
        sample.devices.push(DeviceRecord {
            path: path(14, 14),
            windows: Span { first: 1, count: 1 },
        });
        let (gpa, hpa, size) = (0x0902_0000, 0x0902_0000, 0x1000);
        sample.windows.push(WindowRecord { gpa, hpa, size });
        sample.partitions[0].devices.count = 2;
        let edge = 0;
        sample.interrupts.push(InterruptRecord { intid: 36, edge });
        sample.partitions[0].interrupts.count = 2;
    };
    let timer = |tree: &mut samples::Sample| {
        let path = "/timer@9020000";
        tree.node(path, &["arm,sp804"], &[0, 0x902_0000, 0, 0x1000]);
        tree.set(path, "interrupts", &cells(&[0, 4, 4]));
    };
    assert_eq!(mismatches(change, timer), [""; 0]);
}

#[test]
fn two_partitions_may_have_different_interrupts() {
    let change = |sample: &mut Sample| {
        sample.text = "";
        let mut second = sample.partitions[0];
        second.name = name("loop");
        second.interrupts = Span { first: 1, count: 1 };
        second.devices = Span { first: 1, count: 1 };
        sample.partitions.push(second);
        let mut device = sample.devices[0];
        device.windows = Span { first: 1, count: 1 };
        sample.devices.push(device);
        let (gpa, hpa, size) = (0x0902_0000, 0x0902_0000, 0x1000);
        sample.windows.push(WindowRecord { gpa, hpa, size });
        let edge = 0;
        sample.interrupts.push(InterruptRecord { intid: 36, edge });
    };
    assert_eq!(mismatches(change, |_| {}), [""; 0]);
}

#[test]
fn names_a_pcpu_only_where_the_board_has_one() {
    let words = sample().build();
    let payload = Payload::new(words.as_bytes()).unwrap();
    let bytes = samples::Sample::virt().flatten();
    let board = Board::read(Tree::new(&bytes).unwrap(), None).unwrap();
    let vcpu = *payload.vcpus(&payload.partitions()[0]).first().unwrap();
    let of = |pcpu| pcpu_of(&board, &VcpuRecord { pcpu, ..vcpu });
    assert_eq!(
        [of(0), of(1), of(2)],
        [Some(PcpuId(0)), Some(PcpuId(1)), None]
    );
    assert_eq!(console_pcpu(&board, &payload), Some(PcpuId(0)));
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
