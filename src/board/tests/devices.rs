//! Looking devices up by path and alias.

use super::*;

pub(super) fn add_bus(sample: &mut Sample) {
    sample.node("/soc", &["simple-bus"], &[]);
    sample.set("/soc", "#address-cells", &cells(&[1]));
    sample.set("/soc", "#size-cells", &cells(&[1]));
    let ranges = [
        0x7e00_0000,
        0,
        0xfe00_0000,
        0x180_0000,
        0x4000_0000,
        0x1,
        0,
        0x1000,
    ];
    sample.set("/soc", "ranges", &cells(&ranges));
    sample.node(
        "/soc/dma@7e007000",
        &["brcm,dma"],
        &[0x7e00_7000, 0xb00, 0x4000_0000, 0x10],
    );
    let lines = [0x8003, 0, 80, 4, 0x55, 1, 2, 0x8003, 2, 5, 1];
    sample.set("/soc/dma@7e007000", "interrupts-extended", &cells(&lines));
    sample.node("/soc/gpio@7e200000", &["brcm,gpio"], &[0x7e20_0000, 0xb4]);
    sample.set("/soc/gpio@7e200000", "phandle", &cells(&[0x55]));
    sample.set("/soc/gpio@7e200000", "#interrupt-cells", &cells(&[2]));
    sample.node("/aliases", &[], &[]);
    sample.set("/aliases", "dma0", &text(&["/soc/dma@7e007000"]));
}

#[test]
fn finds_devices_behind_buses_by_path_and_alias() {
    with(add_bus, |tree, board| {
        let board = board.unwrap();
        let device = board.find_device(&tree, "/soc/dma@7e007000").unwrap();
        let wanted = [range(0xfe00_7000, 0xb00), range(0x1_0000_0000, 0x10)];
        assert_eq!(device.registers.as_slice(), wanted);
        let espi = Interrupt {
            intid: 4101,
            trigger: Trigger::Edge,
        };
        assert_eq!(device.interrupts.as_slice(), [level(112), espi]);
        assert_eq!(device.foreign_interrupts, 1);
        assert!(device.enabled && device.compatible().eq([b"brcm,dma"]));
        assert_eq!(board.find_device(&tree, "dma0").unwrap(), device);
        assert_eq!(board.find_device(&tree, "/soc/dma").unwrap(), device);
        let rtc = board.find_device(&tree, "/pl031@9010000").unwrap();
        assert_eq!(rtc.interrupts.as_slice(), [level(34)]);
        let compatible: Vec<&[u8]> = rtc.compatible().collect();
        assert_eq!(compatible, [b"arm,pl031".as_slice(), b"arm,primecell"]);
        assert_ne!(rtc.ordinal, device.ordinal);
        let uart = board.find_device(&tree, "/pl011@9000000").unwrap();
        assert_eq!(board.console.unwrap().ordinal, uart.ordinal);
    });
}

#[test]
fn names_devices_that_are_not_there() {
    with(add_bus, |tree, board| {
        let board = board.unwrap();
        for path in ["/soc/dma@7e008000", "dma1", "/soc/dma@7e007000/x", ""] {
            let error = board.find_device(&tree, path).unwrap_err();
            assert_eq!(error, BoardError::NoDevice { path }, "{path}");
        }
    });
}

#[test]
fn devices_below_a_disabled_bus_are_disabled() {
    let change = |sample: &mut Sample| {
        add_bus(sample);
        sample.set("/soc", "status", &text(&["disabled"]));
    };
    with(change, |tree, board| {
        let device = board.unwrap().find_device(&tree, "dma0").map(|d| d.enabled);
        assert_eq!(device, Ok(false));
    });
}

#[test]
fn devices_outside_their_bus_are_refused() {
    let change = |sample: &mut Sample| {
        add_bus(sample);
        sample.set("/soc/dma@7e007000", "reg", &cells(&[0x7f7f_ffff, 2]));
        sample.unset("/soc/gpio@7e200000", "#interrupt-cells");
    };
    with(change, |tree, board| {
        let error = board.unwrap().find_device(&tree, "dma0").unwrap_err();
        let wanted = BoardError::NotOnBus {
            node: b"dma@7e007000",
            address: 0x7f7f_ffff,
            size: 2,
        };
        assert_eq!(error, wanted);
    });
}

#[test]
fn buses_without_addresses_end_the_search() {
    let change = |sample: &mut Sample| {
        add_bus(sample);
        sample.set("/soc", "#address-cells", &cells(&[0]));
        sample.set("/soc", "#size-cells", &cells(&[0]));
    };
    with(change, |tree, board| {
        let error = board.unwrap().find_device(&tree, "dma0").unwrap_err();
        let node = b"dma@7e007000";
        assert_eq!(error, BoardError::Reg { node });
    });
    let change = |sample: &mut Sample| {
        add_bus(sample);
        sample.set("/soc", "#address-cells", &cells(&[0]));
        sample.node("/soc/bus", &[], &[]);
        sample.set("/soc/bus", "#address-cells", &cells(&[0]));
        sample.set("/soc/bus", "#size-cells", &cells(&[0]));
        sample.set("/soc/bus", "ranges", &cells(&[0, 0]));
        sample.node("/soc/bus/sub", &["simple-bus"], &[]);
        sample.set("/soc/bus/sub", "#address-cells", &cells(&[1]));
        sample.set("/soc/bus/sub", "ranges", &[]);
        sample.node("/soc/bus/sub/x", &[], &[1, 1]);
    };
    with(change, |tree, board| {
        let error = board.unwrap().find_device(&tree, "/soc/bus/sub/x");
        assert!(matches!(error, Err(BoardError::NotOnBus { .. })));
    });
}
