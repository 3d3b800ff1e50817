//! The GIC's register space: holes, odd widths, what this partition does not own, SGI values that name nobody.

use guest_runtime::exception::catch;
use guest_runtime::mmio::Mmio;
use guest_runtime::smccc::is_hypervised;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{
    expect, expect_eq, gic, gicv2, layout, println, recorder, skip, sysreg, tests, timer,
};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    a5_gic_reads_of_every_offset_and_width,
    a5_gic_writes_of_every_offset_and_width,
    a6_sgi_values_that_name_nobody_do_nothing,
    b11_interrupts_of_others_read_as_zero,
    b11_enables_and_priorities_read_back,
    b11_configuration_reads_back,
    b11_distributor_says_what_it_has,
];

/// Those that need a GICv3.
pub const V3_TESTS: &[Test] = tests![
    a6_distributor_sgi_register_does_nothing,
    b5_router_reads_back_what_was_written,
    b9_legacy_target_registers_read_as_zero,
    b9_private_bank_in_the_distributor_reads_as_zero,
];

/// Returns the frames of the GIC that is there.
fn frames() -> [(usize, usize); 3] {
    match gic::is_v2() {
        false => [
            (layout::GICD, 0x1_0000),
            (layout::GICR, 0x1_0000),
            (layout::GICR + gic::SGI_FRAME, 0x1_0000),
        ],
        // Of the CPU interface what EL2 emulates; the rest is hardware's to answer for.
        true => [
            (layout::GICD, 0x1000),
            (layout::GICC + gicv2::GICC_DIR, 0x1000),
            (layout::GICD, 0x1000),
        ],
    }
}

fn frame(base: usize) -> Mmio {
    // SAFETY: one of the GIC's frames; without an ITS it writes no memory.
    unsafe { Mmio::new(base) }
}

fn a5_gic_reads_of_every_offset_and_width() -> Outcome {
    crate::fresh_gic();
    for (base, bytes) in frames() {
        let registers = frame(base);
        let mut faults = 0_u32;
        for offset in 0..bytes {
            let (_, fault) = catch(|| {
                registers.read8(offset);
                if offset % 2 == 0 {
                    registers.read16(offset);
                }
                if offset % 4 == 0 {
                    registers.read32(offset);
                }
                if offset % 8 == 0 {
                    registers.read64(offset);
                }
            });
            faults += u32::from(fault.is_some());
        }
        println!("reads at {base:#x}: {faults} offsets with an abort");
    }
    crate::fresh_gic();
    Ok(())
}

fn a5_gic_writes_of_every_offset_and_width() -> Outcome {
    if !is_hypervised() {
        skip!("the machine's own GIC would be given wild tables");
    }
    for value in [u64::MAX, 0x5555_5555_5555_5555, 0] {
        for (base, bytes) in frames() {
            let registers = frame(base);
            for offset in 0..bytes {
                catch(|| {
                    registers.write8(offset, value as u8);
                    if offset % 2 == 0 {
                        registers.write16(offset, value as u16);
                    }
                    if offset % 4 == 0 {
                        registers.write32(offset, value as u32);
                    }
                    if offset % 8 == 0 {
                        registers.write64(offset, value);
                    }
                });
            }
        }
    }
    crate::fresh_gic();
    gic::enable(3, 0x80);
    gic::write_bit(gic::ISPENDR, 3);
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "no interrupt comes after the sweep"
    );
    Ok(())
}

fn a6_sgi_values_that_name_nobody_do_nothing() -> Outcome {
    crate::fresh_gic();
    for intid in 0..16 {
        gic::enable(intid, 0x80);
    }
    let own = sysreg::affinity();
    let target = 1_u64 << (own & 15);
    let values = [
        0,                                // no target
        0xffff & !target & !1,            // targets past the last vCPU (a guest with one)
        1 << 40,                          // all others: there are none
        1 << 40 | 0xffff,                 // the list counts for nothing then
        target | 1 << 16,                 // another Aff1
        target | 1 << 32,                 // another Aff2
        target | 1 << 48,                 // another Aff3
        target | 0xff << 16 | 0xff << 32, // clusters far away
        0xffff | 1 << 16,                 // every vCPU of another cluster
    ];
    for value in values {
        for intid in [0, 7, 15] {
            gic::write_sgi1r(value | intid << 24);
        }
    }
    recorder::settle();
    expect_eq!(recorder::taken(), 0, "interrupts taken");
    // Reserved bits beside a good target change nothing: the SGI comes, once.
    gic::write_sgi1r(target | 3 << 24 | 7 << 28 | 7 << 41);
    recorder::wait(1, timer::PATIENCE_NS);
    recorder::settle();
    expect_eq!(
        recorder::taken(),
        1,
        "interrupts taken of a value with reserved bits"
    );
    Ok(())
}

fn a6_distributor_sgi_register_does_nothing() -> Outcome {
    crate::fresh_gic();
    for intid in 0..16 {
        gic::enable(intid, 0x80);
    }
    for filter in 0..4_u32 {
        for targets in [0, 1, 0x55, 0xff] {
            gic::DISTRIBUTOR.write32(0xf00, filter << 24 | targets << 16 | 5);
        }
    }
    recorder::settle();
    expect_eq!(
        recorder::taken(),
        0,
        "interrupts taken by GICD_SGIR under affinity routing"
    );
    Ok(())
}

fn b5_router_reads_back_what_was_written() -> Outcome {
    crate::fresh_gic();
    let offset = gic::IROUTER + layout::UART_INTID as usize * 8;
    let own = sysreg::affinity();
    let distributor = gic::DISTRIBUTOR;
    // QEMU's GIC keeps reserved bits, so that all ones can be asked of a hypervisor only.
    let last = if is_hypervised() {
        u64::MAX
    } else {
        0xff_80ff_ffff
    };
    for value in [
        own,
        1 << 31,
        own | 1 << 31,
        0x01_0000_0000,
        0x00_0001_0200,
        last,
    ] {
        distributor.write64(offset, value);
        let found = distributor.read64(offset);
        let wanted = value & 0xff_80ff_ffff;
        // A GIC without 1-of-N routing, or without Aff3, may keep those bits zero; it may not invent any.
        expect_eq!(
            found & !wanted,
            0,
            "bits of GICD_IROUTER33 that were not written"
        );
        expect_eq!(
            found & 0xff_ffff,
            wanted & 0xff_ffff,
            "Aff2 to Aff0 of GICD_IROUTER33"
        );
        expect_eq!(
            u64::from(distributor.read32(offset)),
            found & 0xffff_ffff,
            "lower half"
        );
        expect_eq!(
            u64::from(distributor.read32(offset + 4)),
            found >> 32,
            "upper half"
        );
    }
    distributor.write32(offset + 4, 0);
    distributor.write32(offset, own as u32);
    expect_eq!(
        distributor.read64(offset),
        own & 0xffff_ffff,
        "after two writes of 32 bits"
    );
    Ok(())
}

fn b9_legacy_target_registers_read_as_zero() -> Outcome {
    crate::fresh_gic();
    for word in 0..8 {
        let offset = 0x800 + word * 4;
        gic::DISTRIBUTOR.write32(offset, u32::MAX);
        expect_eq!(
            gic::DISTRIBUTOR.read32(offset),
            0,
            "GICD_ITARGETSR under affinity routing"
        );
    }
    Ok(())
}

fn b9_private_bank_in_the_distributor_reads_as_zero() -> Outcome {
    crate::fresh_gic();
    gic::enable(4, 0x80);
    for register in [
        gic::ISENABLER,
        gic::ICENABLER,
        gic::ISPENDR,
        gic::ISACTIVER,
        gic::IGROUPR,
    ] {
        gic::DISTRIBUTOR.write32(register, u32::MAX);
        expect_eq!(
            gic::DISTRIBUTOR.read32(register),
            0,
            "a register of INTIDs 0 to 31 in the distributor"
        );
    }
    expect!(
        gic::read_bit(gic::ISENABLER, 4),
        "the distributor's register changed the redistributor's"
    );
    Ok(())
}

fn b11_interrupts_of_others_read_as_zero() -> Outcome {
    if !is_hypervised() {
        skip!("the machine's own GIC belongs to the guest");
    }
    crate::fresh_gic();
    let own =
        |intid: usize| intid == layout::UART_INTID as usize || intid == layout::RTC_INTID as usize;
    for register in [gic::ISENABLER, gic::ISPENDR, gic::ISACTIVER] {
        for word in 1..32 {
            gic::DISTRIBUTOR.write32(register + word * 4, !0);
            let mut bits = gic::DISTRIBUTOR.read32(register + word * 4);
            gic::DISTRIBUTOR.write32(register + 0x80 + word * 4, !0);
            if word == 1 {
                bits &= !(1 << (layout::UART_INTID % 32) | 1 << (layout::RTC_INTID % 32));
            }
            expect!(
                bits == 0,
                "offset {:#x}: {bits:#x} of others",
                register + word * 4
            );
        }
    }
    for intid in (32..1020).filter(|intid| !own(*intid)) {
        gic::DISTRIBUTOR.write8(gic::IPRIORITYR + intid, 0xf8);
        let priority = gic::DISTRIBUTOR.read8(gic::IPRIORITYR + intid);
        expect!(
            priority == 0,
            "priority of INTID {intid} of others reads as {priority:#x}"
        );
        if gic::is_v2() {
            gic::DISTRIBUTOR.write8(gicv2::ITARGETSR + intid, 1);
            let targets = gic::DISTRIBUTOR.read8(gicv2::ITARGETSR + intid);
            expect!(
                targets == 0,
                "targets of INTID {intid} of others read as {targets:#x}"
            );
            continue;
        }
        gic::DISTRIBUTOR.write64(gic::IROUTER + intid * 8, 1);
        let route = gic::DISTRIBUTOR.read64(gic::IROUTER + intid * 8);
        expect!(
            route == 0,
            "route of INTID {intid} of others reads as {route:#x}"
        );
    }
    crate::fresh_gic();
    Ok(())
}

fn b11_enables_and_priorities_read_back() -> Outcome {
    crate::fresh_gic();
    for intid in [
        0,
        9,
        15,
        layout::VIRTUAL_TIMER_INTID,
        layout::PHYSICAL_TIMER_INTID,
        layout::UART_INTID,
    ] {
        for priority in [0, 0x80, 0xa8, 0xf8] {
            gic::set_priority(intid, priority);
            let bank = gic::bank(intid);
            let found = bank.read8(gic::IPRIORITYR + intid as usize);
            expect!(
                found == priority,
                "INTID {intid}: priority {found:#x}, written {priority:#x}"
            );
            let word = bank.read32(gic::IPRIORITYR + intid as usize / 4 * 4);
            expect_eq!(
                (word >> (8 * (intid % 4))) as u8,
                priority,
                "priority read by word"
            );
        }
        gic::enable(intid, 0x80);
        expect!(
            gic::read_bit(gic::ISENABLER, intid),
            "INTID {intid} is not shown as enabled"
        );
        expect!(
            gic::read_bit(gic::ICENABLER, intid),
            "INTID {intid}: GICD_ICENABLER differs"
        );
        gic::disable(intid);
        // With GICv2 SGIs are enabled for good.
        let for_good = gic::is_v2() && intid < 16;
        expect!(
            gic::read_bit(gic::ISENABLER, intid) == for_good,
            "INTID {intid} is still shown as enabled, or not any more"
        );
    }
    timer::spin(1000);
    Ok(())
}

fn b11_configuration_reads_back() -> Outcome {
    crate::fresh_gic();
    let offset = gic::ICFGR + layout::UART_INTID as usize / 16 * 4;
    let shift = 2 * (layout::UART_INTID % 16);
    let before = gic::DISTRIBUTOR.read32(offset);
    expect_eq!(before >> shift & 3, 0, "the UART's interrupt is a level");
    expect_eq!(
        gic::bank(0).read32(gic::ICFGR),
        0xaaaa_aaaa,
        "SGIs are edges"
    );
    Ok(())
}

fn b11_distributor_says_what_it_has() -> Outcome {
    let typer = gic::DISTRIBUTOR.read32(gic::GICD_TYPER);
    expect!(typer & 0x1f >= 1, "GICD_TYPER {typer:#x} has no SPIs");
    if gic::is_v2() {
        expect_eq!(
            gic::DISTRIBUTOR.read32(0xfe8) >> 4 & 0xf,
            2,
            "architecture version in ICPIDR2"
        );
        expect_eq!(typer >> 5 & 7, 0, "CPUs of a guest with one vCPU, less 1");
        return Ok(());
    }
    expect_eq!(
        gic::DISTRIBUTOR.read32(0xffe8) >> 4 & 0xf,
        3,
        "architecture version in GICD_PIDR2"
    );
    expect_eq!(
        gic::redistributor().read32(0xffe8) >> 4 & 0xf,
        3,
        "architecture version in GICR_PIDR2"
    );
    if is_hypervised() {
        expect_eq!(typer >> 17 & 1, 0, "LPIs in GICD_TYPER");
        expect_eq!(
            gic::redistributor_affinities().count(),
            1,
            "redistributors of a guest with one vCPU"
        );
    }
    Ok(())
}
