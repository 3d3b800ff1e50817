//! What EL2 itself stands on.

use super::*;

/// Lets a payload name the PL011 of the sample of a board.
fn made_for_pl011(sample: &mut Sample) {
    sample.header.uart_kind = Model::Pl011.code();
    (sample.header.uart_hpa, sample.header.uart_intid) = (0x900_0000, 33);
}

#[test]
fn wants_memory_that_holds_the_image() {
    let elsewhere = |tree: &mut samples::Sample| {
        tree.set(
            "/memory@40000000",
            "reg",
            &cells(&[0, 0x8000_0000, 0, 0x800_0000]),
        );
    };
    assert_eq!(
        mismatches(|_| {}, elsewhere),
        [
            "the image with its payload at 0x40200000..=0x4023ffff is not all in memory that the device tree knows"
        ]
    );
}

#[test]
fn wants_its_own_registers_outside_memory() {
    let large = |tree: &mut samples::Sample| {
        tree.set("/memory@40000000", "reg", &cells(&[0, 0, 0, 0x4800_0000]));
    };
    let found = mismatches(|_| {}, large);
    assert_eq!(
        found[0],
        "the device tree has the console's UART at 0x9000000..=0x9000fff, in its memory at 0x0..=0x47ffffff"
    );
    assert_eq!(
        found[1],
        "the device tree has the interrupt controller at 0x8000000..=0x800ffff, in its memory at 0x0..=0x47ffffff"
    );
}

#[test]
fn wants_frames_where_they_can_be() {
    let gic = |distributor: u32| {
        move |tree: &mut samples::Sample| {
            let reg = cells(&[0, distributor, 0, 0x1_0000, 0, 0x80a_0000, 0, 0xf6_0000]);
            tree.set("/intc@8000000", "reg", &reg);
        }
    };
    assert_eq!(
        mismatches(|_| {}, gic(0x800_1000)),
        [
            "the device tree has registers of the GIC at 0x8001000, which is not on a multiple of 64 KiB"
        ]
    );
    assert_eq!(
        mismatches(|_| {}, gic(0x80b_0000)),
        [
            "the device tree has the GIC's distributor at 0x80b0000..=0x80bffff, among the redistributors at 0x80a0000..=0x8ffffff"
        ]
    );
}

#[test]
fn wants_frames_of_a_gicv2_on_pages_and_two_for_the_cpu() {
    let made_for_v2 = |sample: &mut Sample| sample.header.flags = system_flags::GICV2;
    let gic = |cpu: u32, size: u32| {
        move |tree: &mut samples::Sample| {
            let frames = [(0x801_0000, 0x1000), (cpu, size), (0x803_0000, 0x1000)];
            let frames = frames.into_iter().chain([(0x804_0000, 0x2000)]);
            let reg: Vec<u32> = frames.flat_map(|(at, size)| [0, at, 0, size]).collect();
            tree.set("/intc@8000000", "compatible", &text(&["arm,gic-400"]));
            tree.set("/intc@8000000", "reg", &cells(&reg));
        }
    };
    assert_eq!(mismatches(made_for_v2, gic(0x802_0000, 0x2000)), [""; 0]);
    assert_eq!(mismatches(made_for_v2, gic(0x802_0000, 0x3000)), [""; 0]);
    assert_eq!(
        mismatches(made_for_v2, gic(0x802_0000, 0x1fff)),
        [
            "the device tree has the GIC's CPU interface at 0x8020000..=0x8021ffe, and it needs 8 KiB"
        ]
    );
    assert_eq!(
        mismatches(made_for_v2, gic(0x802_0800, 0x2000)),
        [
            "the device tree has registers of the GIC at 0x8020800, which is not on a multiple of 4 KiB"
        ]
    );
}

#[test]
fn wants_the_console_that_the_table_was_made_for() {
    assert_eq!(mismatches(made_for_pl011, |_| {}), [""; 0]);
    let foreign = |tree: &mut samples::Sample| {
        tree.set("/pl011@9000000", "compatible", &text(&["acme,uart"]));
    };
    assert_eq!(mismatches(|_| {}, foreign), [""; 0]);
    assert_eq!(
        mismatches(made_for_pl011, foreign),
        [
            "the console is pl011@9000000, of a kind that bulkhead does not know (acme,uart), the table was made for a PL011 at 0x9000000"
        ]
    );
    let none = |tree: &mut samples::Sample| {
        foreign(tree);
        tree.set("/chosen", "stdout-path", &text(&[""]));
    };
    assert_eq!(
        mismatches(made_for_pl011, none),
        ["the device tree has no console, the table was made for a PL011 at 0x9000000"]
    );
}

#[test]
fn wants_the_consoles_interrupt() {
    let other = |tree: &mut samples::Sample| {
        tree.set("/pl011@9000000", "interrupts", &cells(&[0, 8, 1]));
    };
    assert_eq!(
        mismatches(made_for_pl011, other),
        [
            "the console has INTID 40 (SPI 8), edge-triggered in the device tree, INTID 33 (SPI 1), level-sensitive in the table"
        ]
    );
    let none = |tree: &mut samples::Sample| tree.set("/pl011@9000000", "interrupts", &[]);
    assert_eq!(
        mismatches(made_for_pl011, none),
        [
            "the console has no interrupt in the device tree, INTID 33 (SPI 1), level-sensitive in the table"
        ]
    );
    // Another UART has another interrupt.
    let moved = |tree: &mut samples::Sample| {
        other(tree);
        tree.set("/pl011@9000000", "reg", &cells(&[0, 0x904_0000, 0, 0x1000]));
    };
    assert_eq!(mismatches(made_for_pl011, moved), [""; 0]);
}
