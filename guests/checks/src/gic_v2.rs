//! What a GICv2 has that a GICv3 has not: SGIs with senders, targets by number, a CPU interface in memory.

use guest_runtime::gicv2::{
    CPENDSGIR, GICC_BPR, GICC_CTLR, GICC_DIR, GICC_IAR, GICC_PMR, INTERFACE, ITARGETSR, SGIR,
    SPENDSGIR, SPLIT_END,
};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, layout, recorder, sysreg, tests, timer};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    a6_filters_and_targets_that_name_nobody_do_nothing,
    a7_targets_past_the_last_vcpu_get_nothing,
    b3_senders_are_set_and_cleared_by_byte,
    b3_pending_states_of_sgis_are_not_the_bit_registers,
    b9_targets_of_a_single_vcpu_read_as_zero,
    b13_deactivation_is_ignored_without_a_split_end,
    b14_groups_go_by_their_own_enables,
    b14_the_interface_reads_back_what_was_written,
    c_an_acknowledged_sgi_names_its_sender,
];

/// An SGI.
const SGI: u32 = 5;

fn a6_filters_and_targets_that_name_nobody_do_nothing() -> Outcome {
    crate::fresh_gic();
    // A list without targets, all others where there are none, and the filter that is reserved.
    for value in [
        0,
        1 << 24,
        1 << 24 | 0xff << 16,
        3 << 24,
        3 << 24 | 0xff << 16,
    ] {
        gic::DISTRIBUTOR.write32(SGIR, value | SGI);
    }
    recorder::settle();
    expect_eq!(recorder::taken(), 0, "interrupts taken");
    // To itself, with a list that counts for nothing then, and with every bit that means nothing.
    for value in [2 << 24, 2 << 24 | 0xff << 16, 2 << 24 | 0xfc00_fff0] {
        let before = recorder::taken();
        gic::DISTRIBUTOR.write32(SGIR, value | SGI);
        expect!(
            recorder::wait(before + 1, timer::PATIENCE_NS),
            "{value:#x} sent nothing"
        );
    }
    expect_eq!(recorder::taken(), 3, "interrupts taken");
    Ok(())
}

fn a7_targets_past_the_last_vcpu_get_nothing() -> Outcome {
    crate::fresh_gic();
    gic::DISTRIBUTOR.write32(SGIR, 0xfe << 16 | SGI);
    recorder::settle();
    expect_eq!(recorder::taken(), 0, "interrupts taken");
    gic::DISTRIBUTOR.write32(SGIR, 0xff << 16 | SGI);
    recorder::wait(1, timer::PATIENCE_NS);
    recorder::settle();
    expect_eq!(recorder::taken(), 1, "interrupts taken of a list of all");
    Ok(())
}

fn b3_senders_are_set_and_cleared_by_byte() -> Outcome {
    crate::fresh_gic();
    gic::DISTRIBUTOR.write8(SPENDSGIR + SGI as usize, 0xff);
    let word = gic::DISTRIBUTOR.read32(SPENDSGIR + 4);
    let clear = gic::DISTRIBUTOR.read8(CPENDSGIR + SGI as usize);
    let shown = gic::read_bit(gic::ISPENDR, SGI);
    gic::DISTRIBUTOR.write32(CPENDSGIR + 4, 0xff << 8);
    let after = gic::read_bit(gic::ISPENDR, SGI);
    expect_eq!(word, 1 << 8, "GICD_SPENDSGIR1: senders that do not exist");
    expect_eq!(clear, 1, "GICD_CPENDSGIR1");
    expect!(shown, "GICD_ISPENDR0 does not show it");
    expect!(!after, "GICD_ISPENDR0 still shows it");
    recorder::settle();
    expect_eq!(
        recorder::taken(),
        0,
        "interrupts taken after it was cleared"
    );
    Ok(())
}

fn b3_pending_states_of_sgis_are_not_the_bit_registers() -> Outcome {
    crate::fresh_gic();
    gic::DISTRIBUTOR.write32(gic::ISPENDR, 0xffff);
    expect_eq!(
        gic::DISTRIBUTOR.read32(gic::ISPENDR) & 0xffff,
        0,
        "SGIs pended by GICD_ISPENDR0"
    );
    gic::DISTRIBUTOR.write8(SPENDSGIR, 1);
    gic::DISTRIBUTOR.write32(gic::ICPENDR, 0xffff);
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "GICD_ICPENDR0 took an SGI back"
    );
    Ok(())
}

fn b9_targets_of_a_single_vcpu_read_as_zero() -> Outcome {
    crate::fresh_gic();
    for intid in [0, 27, layout::UART_INTID as usize] {
        gic::DISTRIBUTOR.write8(ITARGETSR + intid, 0xff);
        expect_eq!(
            gic::DISTRIBUTOR.read8(ITARGETSR + intid),
            0,
            "targets with one vCPU"
        );
    }
    Ok(())
}

fn b13_deactivation_is_ignored_without_a_split_end() -> Outcome {
    crate::fresh_gic();
    gic::write_bit(gic::ISPENDR, SGI);
    let acknowledged = gic::acknowledge();
    INTERFACE.write32(GICC_DIR, SGI);
    let active = gic::read_bit(gic::ISACTIVER, SGI);
    gic::end(SGI);
    expect_eq!(acknowledged, SGI, "acknowledged INTID");
    expect!(active, "GICC_DIR deactivated it");
    expect!(!gic::read_bit(gic::ISACTIVER, SGI), "active after its end");
    Ok(())
}

fn b14_groups_go_by_their_own_enables() -> Outcome {
    crate::fresh_gic();
    let group1 = 1 << SGI;
    gic::DISTRIBUTOR.write32(gic::IGROUPR, group1);
    gic::write_bit(gic::ISPENDR, SGI);
    recorder::settle();
    let off = recorder::taken();
    sysreg::mask_irqs();
    // Both groups on; group 1 is acknowledged in the same way by AckCtl.
    gic::DISTRIBUTOR.write32(gic::GICD_CTLR, 3);
    INTERFACE.write32(GICC_CTLR, 3);
    let other = INTERFACE.read32(GICC_IAR) & gic::SPURIOUS;
    INTERFACE.write32(GICC_CTLR, 7);
    let own = gic::acknowledge();
    gic::end(own);
    let groups = gic::DISTRIBUTOR.read32(gic::IGROUPR);
    crate::fresh_gic();
    expect_eq!(off, 0, "interrupts of a group that is off");
    expect_eq!(other, 1022, "INTID of the other group, without AckCtl");
    expect_eq!(own, SGI, "INTID with AckCtl");
    expect_eq!(groups, group1, "GICD_IGROUPR0 as read back");
    Ok(())
}

fn b14_the_interface_reads_back_what_was_written() -> Outcome {
    crate::fresh_gic();
    for value in [0, 0x78, 0xa0, 0xf8] {
        INTERFACE.write32(GICC_PMR, value);
        expect_eq!(INTERFACE.read32(GICC_PMR), value, "GICC_PMR");
    }
    for value in 3..8 {
        INTERFACE.write32(GICC_BPR, value);
        expect_eq!(INTERFACE.read32(GICC_BPR), value, "GICC_BPR");
    }
    for value in [0, 1, 2, 3, SPLIT_END | 1] {
        INTERFACE.write32(GICC_CTLR, value);
        expect_eq!(INTERFACE.read32(GICC_CTLR), value, "GICC_CTLR");
    }
    crate::fresh_gic();
    Ok(())
}

fn c_an_acknowledged_sgi_names_its_sender() -> Outcome {
    crate::fresh_gic();
    gic::send_sgi(SGI, sysreg::affinity());
    sysreg::dsb();
    let read = INTERFACE.read32(GICC_IAR);
    INTERFACE.write32(guest_runtime::gicv2::GICC_EOIR, read);
    expect_eq!(read, SGI, "GICC_IAR: sender 0 and the INTID");
    Ok(())
}
