//! Of what a tree has several of: which count.

use super::*;

#[test]
fn of_two_nodes_of_a_kind_the_first_counts() {
    let change = |sample: &mut Sample| {
        sample.unset("/chosen", "stdout-path");
        sample.node("/uart@9040000", &["arm,pl011"], &[0, 0x904_0000, 0, 0x1000]);
        sample.node("/firmware", &["arm,psci-0.2"], &[]);
        sample.set("/firmware", "method", &text(&["hvc"]));
        sample.node("/clock", &["arm,armv8-timer"], &[]);
        let ppis = cells(&[1, 3, 4, 1, 4, 4, 1, 5, 4, 1, 6, 4]);
        sample.set("/clock", "interrupts", &ppis);
        let reg = [0, 0x700_0000, 0, 0x1_0000, 0, 0x70a_0000, 0, 0xf6_0000];
        sample.node("/gic@7000000", &["arm,gic-v3"], &reg);
    };
    with(change, |_, board| {
        let board = board.unwrap();
        assert_eq!(board.console.unwrap().node, b"pl011@9000000");
        assert_eq!(board.psci.unwrap().conduit, Conduit::Smc);
        assert_eq!(board.timer.virtual_timer, level(27));
        assert_eq!(board.gic.node, b"intc@8000000");
    });
}

#[test]
fn a_uart_that_is_switched_off_is_no_console() {
    let change = |sample: &mut Sample| {
        sample.unset("/chosen", "stdout-path");
        sample.set("/pl011@9000000", "status", &text(&["disabled"]));
    };
    with(change, |_, board| {
        assert_eq!(board.unwrap().console, None);
    });
}

#[test]
fn the_console_has_the_whole_path_that_is_asked_for() {
    let change = |sample: &mut Sample| {
        sample.remove("pl011@9000000");
        for (bus, at) in [("/soc", 0xa00_0000), ("", 0x900_0000)] {
            if !bus.is_empty() {
                sample.node(bus, &["simple-bus"], &[]);
                sample.set(bus, "#size-cells", &cells(&[2]));
                sample.set(bus, "ranges", &[]);
            }
            let path = format!("{bus}/pl011@9000000");
            sample.node(&path, &["arm,pl011"], &[0, at, 0, 0x1000]);
        }
    };
    with(change, |_, board| {
        let console = board.unwrap().console.unwrap();
        assert_eq!(console.registers, range(0x900_0000, 0x1000));
    });
}

#[test]
fn reserves_each_page_with_spin_tables_once() {
    let change = |sample: &mut Sample| {
        sample.reserve(0x1000, 0x1000);
        // One cell or two.
        let words = [cells(&[0xd8]), cells(&[0, 0xe0]), cells(&[0, 0x10d8])];
        for (cpu, release) in words.iter().enumerate() {
            let path = format!("/cpus/cpu@{cpu}");
            if cpu > 1 {
                sample.node(&path, &[], &[cpu as u32]);
            }
            sample.set(&path, "enable-method", &text(&["spin-table"]));
            sample.set(&path, "cpu-release-addr", release);
        }
    };
    with(change, |_, board| {
        let board = board.unwrap();
        let starts: Vec<CpuStart> = board.cpus.iter().map(|cpu| cpu.start).collect();
        assert_eq!(starts, [0xd8, 0xe0, 0x10d8].map(CpuStart::SpinTable));
        let reserved: Vec<_> = board.reserved.iter().map(|it| (it.by, it.range)).collect();
        let wanted = [
            (ReservedBy::Block, range(0x1000, 0x1000)),
            (ReservedBy::SpinTable, range(0, 0x1000)),
            (ReservedBy::SpinTable, range(0x1000, 0x1000)),
        ];
        assert_eq!(reserved, wanted);
    });
}

#[test]
fn keeps_what_stands_behind_the_redistributors_of_a_gicv3() {
    let change = |sample: &mut Sample| {
        let reg = [
            0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000, 0, 0x801_0000, 0, 0x2000,
        ];
        sample.set("/intc@8000000", "reg", &cells(&reg));
    };
    with(change, |_, board| {
        let gic = board.unwrap().gic;
        let GicVersion::V3 { redistributors, .. } = &gic.version else {
            panic!("{gic:?}");
        };
        assert_eq!(redistributors.as_slice(), [range(0x80a_0000, 0xf6_0000)]);
        let frames = [range(0x801_0000, 0x2000), range(0x808_0000, 0x2_0000)];
        assert_eq!(gic.frames.as_slice(), frames);
    });
}
