mod damage;
mod devices;
mod messages;
mod several;

use std::vec::Vec;

use super::samples::{Sample, cells, text};
use super::*;
use crate::addr::HostPhysAddr;

/// Reads a changed sample and hands the result over, because it borrows from the bytes.
fn with<R>(
    change: impl FnOnce(&mut Sample),
    then: impl FnOnce(Tree<'_>, Result<Board<'_>, BoardError<'_>>) -> R,
) -> R {
    let mut sample = Sample::virt();
    change(&mut sample);
    let bytes = sample.flatten();
    let tree = Tree::new(&bytes).unwrap();
    then(tree, Board::read(tree, None))
}

/// Checks a changed sample's error.
fn refused(change: impl FnOnce(&mut Sample), wanted: BoardError<'_>) {
    with(change, |_, board| {
        let error = board.map(|_| ()).unwrap_err();
        assert_eq!(error, wanted);
        assert!(error.to_string().len() > 20);
    });
}

fn range(start: u64, size: u64) -> Range {
    Range::new(start, size).unwrap()
}

fn level(intid: u32) -> Interrupt {
    let trigger = Trigger::Level;
    Interrupt { intid, trigger }
}

#[test]
fn reads_what_qemu_writes() {
    with(
        |_| {},
        |_, board| {
            let board = board.unwrap();
            assert_eq!(board.model, "linux,dummy-virt");
            assert_eq!(board.memory.as_slice(), [range(0x4000_0000, 0x800_0000)]);
            assert!(board.reserved.is_empty());
            assert_eq!(board.cpus.len(), 2);
            assert_eq!(board.cpus[1].mpidr, Mpidr::from_raw(1));
            assert_eq!(board.cpus[1].core, "arm,cortex-a53");
            assert_eq!(board.cpus[1].start, CpuStart::Psci);
            assert!(board.cpus[1].usable);
            let timer = board.timer;
            assert_eq!(timer.physical, level(30));
            assert_eq!(timer.virtual_timer, level(27));
            assert_eq!(timer.hypervisor, level(26));
            let psci = board.psci.unwrap();
            assert_eq!(psci.conduit, Conduit::Smc);
            assert_eq!(psci.version, PsciVersion::V1_0);
            assert_eq!(board.rng_seed, [7; 32]);
            assert_eq!(board.kaslr_seed, [9; 8]);
            assert_eq!(board.ignored, Ignored::default());
        },
    );
}

#[test]
fn reads_a_gicv3_and_its_frames() {
    with(
        |_| {},
        |_, board| {
            let gic = board.unwrap().gic;
            assert_eq!(gic.distributor, range(0x800_0000, 0x1_0000));
            assert_eq!(gic.maintenance, Some(level(25)));
            assert_eq!(gic.frames.as_slice(), [range(0x808_0000, 0x2_0000)]);
            let GicVersion::V3 {
                redistributors,
                stride,
            } = &gic.version
            else {
                panic!("{gic:?}");
            };
            assert_eq!(redistributors.as_slice(), [range(0x80a_0000, 0xf6_0000)]);
            assert_eq!(*stride, 0);
            assert_eq!(gic.ranges().count(), 3);
        },
    );
}

#[test]
fn reads_a_gicv2() {
    let change = |sample: &mut Sample| {
        let gic = "/intc@8000000";
        sample.set(gic, "compatible", &text(&["arm,gic-400"]));
        let reg = [0x800_0000, 0x801_0000, 0x803_0000, 0x804_0000];
        let reg: Vec<u32> = reg.iter().flat_map(|at| [0, *at, 0, 0x1_0000]).collect();
        sample.set(gic, "reg", &cells(&reg));
    };
    with(change, |_, board| {
        let version = board.unwrap().gic.version;
        let wanted = GicVersion::V2 {
            cpu: range(0x801_0000, 0x1_0000),
            hypervisor: range(0x803_0000, 0x1_0000),
            virtual_cpu: range(0x804_0000, 0x1_0000),
        };
        assert_eq!(version, wanted);
    });
}

#[test]
fn reads_two_redistributor_regions_with_a_stride() {
    let change = |sample: &mut Sample| {
        let gic = "/intc@8000000";
        sample.set(gic, "#redistributor-regions", &cells(&[2]));
        sample.set(gic, "redistributor-stride", &cells(&[0, 0x4_0000]));
        let reg = [
            0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000, 0x40, 0, 0, 0x400_0000,
        ];
        sample.set(gic, "reg", &cells(&reg));
    };
    with(change, |_, board| {
        let GicVersion::V3 {
            redistributors,
            stride,
        } = board.unwrap().gic.version
        else {
            panic!("no GICv3");
        };
        assert_eq!(redistributors[1], range(0x40_0000_0000, 0x400_0000));
        assert_eq!(stride, 0x4_0000);
    });
}

#[test]
fn joins_touching_memory_and_leaves_out_empty_and_disabled() {
    let change = |sample: &mut Sample| {
        for (path, at, size) in [
            ("/memory@80000000", 0x8000_0000, 0x1000_0000),
            ("/memory@48000000", 0x4800_0000, 0x800_0000),
            ("/memory@0", 0, 0),
            ("/secram@e000000", 0xe00_0000, 0x100_0000),
        ] {
            sample.node(path, &[], &[0, at, 0, size]);
            sample.set(path, "device_type", &text(&["memory"]));
        }
        sample.set("/secram@e000000", "status", &text(&["disabled"]));
    };
    with(change, |_, board| {
        let memory = board.unwrap().memory;
        let wanted = [
            range(0x4000_0000, 0x1000_0000),
            range(0x8000_0000, 0x1000_0000),
        ];
        assert_eq!(memory.as_slice(), wanted);
    });
}

#[test]
fn counts_memory_and_cpus_beyond_the_capacity() {
    let change = |sample: &mut Sample| {
        let mut reg = Vec::new();
        for at in 0..MAX_MEMORY as u32 + 3 {
            reg.extend([at + 1, 0, 0, 0x1000]);
        }
        sample.set("/memory@40000000", "reg", &cells(&reg));
        for cpu in 2..MAX_PCPUS as u32 + 1 {
            sample.node(&format!("/cpus/cpu@{cpu:x}"), &[], &[cpu]);
        }
    };
    with(change, |_, board| {
        let board = board.unwrap();
        assert_eq!(board.ignored, Ignored { memory: 3, cpus: 1 });
        assert_eq!(board.cpus.len(), MAX_PCPUS);
        assert_eq!(board.memory[0].start(), 1 << 32);
    });
}

#[test]
fn gathers_reserved_ranges_of_all_three_kinds() {
    let change = |sample: &mut Sample| {
        sample.reserve(0x4100_0000, 0x1000);
        sample.node("/reserved-memory", &[], &[]);
        sample.set("/reserved-memory", "#address-cells", &cells(&[2]));
        sample.set("/reserved-memory", "#size-cells", &cells(&[2]));
        sample.set("/reserved-memory", "ranges", &[]);
        sample.node(
            "/reserved-memory/secure@42000000",
            &[],
            &[0, 0x4200_0000, 0, 0x2000],
        );
        sample.node("/reserved-memory/cma", &[], &[]);
        sample.set("/reserved-memory/cma", "size", &cells(&[0, 0x100_0000]));
    };
    let mut sample = Sample::virt();
    change(&mut sample);
    let mut bytes = sample.flatten();
    let used = bytes.len() as u64;
    // As QEMU does it: much more room than is used.
    bytes.resize(0x10_0000, 0);
    bytes[4..8].copy_from_slice(&0x10_0000_u32.to_be_bytes());
    let tree = Tree::new(&bytes).unwrap();
    let board = Board::read(tree, Some(HostPhysAddr(0x4400_0000))).unwrap();
    let reserved: Vec<(Range, ReservedBy<'_>)> = board
        .reserved
        .iter()
        .map(|entry| (entry.range, entry.by))
        .collect();
    let wanted = [
        (range(0x4400_0000, used), ReservedBy::Tree),
        (range(0x4100_0000, 0x1000), ReservedBy::Block),
        (
            range(0x4200_0000, 0x2000),
            ReservedBy::Node("secure@42000000"),
        ),
    ];
    assert_eq!(reserved.as_slice(), wanted);
}

#[test]
fn finds_the_console_by_alias_with_options() {
    let change = |sample: &mut Sample| {
        sample.node(
            "/uart@9040000",
            &["snps,dw-apb-uart"],
            &[0, 0x904_0000, 0, 0x100],
        );
        sample.set("/uart@9040000", "interrupts", &cells(&[0, 8, 1]));
        sample.set("/uart@9040000", "reg-shift", &cells(&[2]));
        sample.set("/uart@9040000", "reg-io-width", &cells(&[4]));
        sample.node("/aliases", &[], &[]);
        sample.set("/aliases", "serial1", &text(&["/uart@9040000"]));
        sample.set("/chosen", "stdout-path", &text(&["serial1:115200n8"]));
    };
    with(change, |_, board| {
        let console = board.unwrap().console.unwrap();
        assert_eq!(console.kind, UartKind::Ns16550);
        assert_eq!(console.registers, range(0x904_0000, 0x100));
        let trigger = Trigger::Edge;
        assert_eq!(console.interrupt, Some(Interrupt { intid: 40, trigger }));
        assert_eq!((console.reg_shift, console.io_width), (2, 4));
        assert_eq!(console.baud, Some(115_200));
    });
}

#[test]
fn knows_what_drives_a_console() {
    let model = |kind, reg_shift, io_width| {
        let console = Console {
            kind,
            compatible: "",
            node: b"uart",
            registers: range(0x900_0000, 0x1000),
            interrupt: None,
            reg_shift,
            io_width,
            baud: None,
            ordinal: 0,
        };
        console.model()
    };
    let ns16550 = |shift, wide| Some(Model::Ns16550 { shift, wide });

    assert_eq!(model(UartKind::Pl011, 0, 1), Some(Model::Pl011));
    assert_eq!(model(UartKind::Imx, 0, 1), Some(Model::Imx));
    assert_eq!(model(UartKind::Cadence, 0, 1), Some(Model::Cadence));
    assert_eq!(model(UartKind::Ns16550, 0, 1), ns16550(0, false));
    assert_eq!(model(UartKind::Ns16550, 3, 4), ns16550(3, true));
    assert_eq!(model(UartKind::Ns16550, 1, 4), None);
    assert_eq!(model(UartKind::Ns16550, 0, 2), None);
    assert_eq!(model(UartKind::Auxiliary, 0, 1), ns16550(2, true));
    assert_eq!(model(UartKind::Sbsa, 0, 1), None);
    assert_eq!(model(UartKind::Unknown, 0, 1), None);
}

#[test]
fn takes_the_first_known_uart_without_a_stdout_path() {
    with(
        |sample| sample.unset("/chosen", "stdout-path"),
        |_, board| {
            let console = board.unwrap().console.unwrap();
            assert_eq!(console.kind, UartKind::Pl011);
            assert_eq!(console.interrupt, Some(level(33)));
            assert_eq!(console.baud, None);
        },
    );
}

#[test]
fn reads_timers_by_name() {
    let change = |sample: &mut Sample| {
        sample.set(
            "/timer",
            "interrupt-names",
            &text(&["virt", "hyp-phys", "phys"]),
        );
        sample.set(
            "/timer",
            "interrupts",
            &cells(&[1, 11, 8, 1, 10, 8, 3, 1, 8]),
        );
    };
    with(change, |_, board| {
        let timer = board.unwrap().timer;
        assert_eq!(timer.virtual_timer, level(27));
        assert_eq!(timer.hypervisor, level(26));
        assert_eq!(timer.physical, level(1057));
    });
}

#[test]
fn reads_spin_tables_and_failed_cpus() {
    let change = |sample: &mut Sample| {
        sample.set("/cpus/cpu@0", "enable-method", &text(&["spin-table"]));
        sample.set("/cpus/cpu@0", "cpu-release-addr", &cells(&[0, 0xd8]));
        sample.set("/cpus/cpu@1", "status", &text(&["fail"]));
        sample.set("/psci", "compatible", &text(&["arm,psci"]));
        sample.set("/psci", "method", &text(&["hvc"]));
        sample.set("/psci", "cpu_on", &cells(&[0x9500_0003]));
    };
    with(change, |_, board| {
        let board = board.unwrap();
        assert_eq!(board.cpus[0].start, CpuStart::SpinTable(0xd8));
        let table = board
            .reserved
            .iter()
            .find(|it| it.by == ReservedBy::SpinTable);
        assert_eq!(table.unwrap().range, Range::new(0, 0x1000).unwrap());
        assert!(!board.cpus[1].usable);
        let psci = board.psci.unwrap();
        assert_eq!(psci.version, PsciVersion::V0_1(Some(0x9500_0003)));
        assert_eq!(psci.conduit, Conduit::Hvc);
        assert_eq!(board.pcpu_of(Mpidr::from_raw(1)), Some(PcpuId(1)));
        assert_eq!(board.pcpu_of(Mpidr::from_raw(2)), None);
    });
}

/// A bus like the Raspberry Pi's: one cell to an address, moved on the way to the CPUs.
#[test]
fn says_what_a_tree_lacks() {
    refused(|s| s.remove("memory@40000000"), BoardError::NoMemory);
    refused(|s| s.remove("cpus"), BoardError::NoCpus);
    refused(|s| s.remove("intc@8000000"), BoardError::NoGic);
    refused(|s| s.remove("timer"), BoardError::NoTimer);
    let node = b"timer";
    let timer = "EL2 physical";
    refused(
        |s| {
            s.set(
                "/timer",
                "interrupts",
                &cells(&[1, 13, 4, 1, 14, 4, 1, 11, 4]),
            )
        },
        BoardError::TimerInterrupt { node, timer },
    );
    refused(
        |s| s.set("/timer", "interrupt-parent", &cells(&[5])),
        BoardError::InterruptParent { node, phandle: 5 },
    );
}

#[test]
fn says_what_is_wrong_with_a_node() {
    let node = b"memory@40000000";
    let three = cells(&[0, 0x4000_0000, 0]);
    refused(
        |s| s.set("/memory@40000000", "reg", &three),
        BoardError::Reg { node },
    );
    refused(
        |s| s.set("/cpus/cpu@1", "reg", &cells(&[0])),
        BoardError::CpuTwice {
            node: b"cpu@1",
            mpidr: 0,
        },
    );
    let node = b"intc@8000000";
    refused(
        |s| {
            s.set(
                "/intc@8000000",
                "reg",
                &cells(&[0, 0x800_0000, 0, 0x1_0000]),
            )
        },
        BoardError::GicRegisters {
            node,
            needed: 2,
            found: 1,
        },
    );
    refused(
        |s| s.set("/intc@8000000", "#interrupt-cells", &cells(&[1])),
        BoardError::GicCells { node, cells: 1 },
    );
    let (kind, number) = (1, 16);
    refused(
        |s| s.set("/pl011@9000000", "interrupts", &cells(&[1, 16, 4])),
        BoardError::Specifier {
            node: b"pl011@9000000",
            kind,
            number,
        },
    );
    refused(
        |s| s.set("/chosen", "stdout-path", &text(&["/pl011@0:9600"])),
        BoardError::ConsolePath { path: b"/pl011@0" },
    );
}

#[test]
fn refuses_more_reservations_than_fit() {
    let change = |sample: &mut Sample| {
        for at in 0..MAX_RESERVED as u64 + 1 {
            sample.reserve(0x4000_0000 + at * 0x2000, 0x1000);
        }
    };
    let limit = MAX_RESERVED;
    refused(change, BoardError::ManyReserved { limit });
}
