//! Who comes first: priorities, masks, preemption, and more interrupts than list registers.

use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, gicv2, read_sysreg, recorder, sysreg, tests, timer};

const MS: u64 = 1_000_000;

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    b2_sixteen_pending_come_in_order_of_priority,
    b2_sixteen_pending_of_one_priority_all_come,
    b2_pending_behind_many_active_comes_when_more_urgent,
    b13_sixteen_active_are_deactivated_in_any_order,
    b13_sixteen_nested_end_in_reverse,
    b13_end_of_what_changed_its_priority_while_active,
    b13_end_leaves_what_software_made_active,
    b14_priority_mask_holds_back_what_is_not_more_urgent,
    b14_more_urgent_preempts,
    b14_equal_priority_does_not_preempt,
    b14_binary_point_stops_preemption_within_a_group,
    b14_settings_survive_a_wait,
    b2_highest_pending_shows_without_acknowledging,
];

/// Priority of SGI `intid`: the larger the INTID, the more urgent; 16 different levels of 5 bits.
const fn priority(intid: u32) -> u8 {
    0xf0 - 8 * intid as u8
}

/// Enables all sixteen SGIs, each with its own priority.
fn enable_all() {
    for intid in 0..16 {
        gic::enable(intid, priority(intid));
    }
}

/// Pends all sixteen SGIs with one write.
fn pend_all() {
    gic::write_bits(gic::ISPENDR, 0, 0xffff);
}

fn b2_sixteen_pending_come_in_order_of_priority() -> Outcome {
    for _ in 0..20 {
        crate::fresh_gic();
        enable_all();
        pend_all();
        expect_eq!(
            gic::bank(0).read32(gic::ISPENDR) & 0xffff,
            0xffff,
            "GICR_ISPENDR0"
        );
        expect!(
            recorder::wait(16, timer::PATIENCE_NS),
            "only {} of 16 came",
            recorder::taken()
        );
        for place in 0..16 {
            expect_eq!(
                recorder::intid(place),
                15 - place as u32,
                "INTID in its place"
            );
        }
        recorder::settle();
        expect_eq!(recorder::taken(), 16, "interrupts taken");
    }
    Ok(())
}

fn b2_sixteen_pending_of_one_priority_all_come() -> Outcome {
    crate::fresh_gic();
    for intid in 0..16 {
        gic::enable(intid, 0x80);
    }
    for round in 1..=50 {
        pend_all();
        expect!(
            recorder::wait(16 * round, timer::PATIENCE_NS),
            "round {round}: {} came",
            recorder::taken()
        );
        let mut seen = 0_u32;
        for place in 16 * (round - 1)..16 * round {
            seen |= 1 << recorder::intid(place);
        }
        expect_eq!(seen, 0xffff, "INTIDs that came");
    }
    Ok(())
}

fn b2_pending_behind_many_active_comes_when_more_urgent() -> Outcome {
    crate::fresh_gic();
    enable_all();
    gic::split_end(true);
    // Fifteen that were acknowledged and ended, but not deactivated: more than any GIC has list registers for.
    gic::write_bits(gic::ISPENDR, 0, 0x7fff);
    recorder::wait(15, timer::PATIENCE_NS);
    let before = recorder::taken();
    gic::write_bit(gic::ISPENDR, 15);
    let came = recorder::wait(16, timer::PATIENCE_NS);
    for intid in 0..16 {
        gic::deactivate(intid);
    }
    gic::split_end(false);
    expect_eq!(before, 15, "interrupts taken and left active");
    expect!(
        came,
        "the sixteenth did not come behind fifteen active ones"
    );
    expect_eq!(
        gic::bank(0).read32(gic::ISACTIVER) & 0xffff,
        0,
        "GICR_ISACTIVER0 after deactivation"
    );
    Ok(())
}

fn b13_sixteen_active_are_deactivated_in_any_order() -> Outcome {
    crate::fresh_gic();
    enable_all();
    gic::split_end(true);
    pend_all();
    recorder::wait(16, timer::PATIENCE_NS);
    let mut expected = 0xffff;
    let mut wrong = gic::bank(0).read32(gic::ISACTIVER) ^ expected;
    for step in 0..16 {
        let intid = (step * 7 + 3) % 16;
        gic::deactivate(intid);
        expected &= !(1 << intid);
        wrong |= gic::bank(0).read32(gic::ISACTIVER) ^ expected;
    }
    // Deactivated, all of them can come again.
    pend_all();
    let again = recorder::wait(32, timer::PATIENCE_NS);
    for intid in 0..16 {
        gic::deactivate(intid);
    }
    gic::split_end(false);
    expect_eq!(wrong & 0xffff, 0, "bits of GICR_ISACTIVER0 that were wrong");
    expect!(again, "{} of 32 came", recorder::taken());
    Ok(())
}

/// Sends the next more urgent SGI and lets it interrupt the handler.
fn nest(intid: u32) {
    if intid < 15 {
        gic::write_bit(gic::ISPENDR, intid + 1);
        sysreg::unmask_irqs();
        timer::wait_until(timer::PATIENCE_NS, || {
            recorder::taken() > intid as usize + 1
        });
    }
}

fn b13_sixteen_nested_end_in_reverse() -> Outcome {
    crate::fresh_gic();
    enable_all();
    recorder::set_hook(nest);
    gic::write_bit(gic::ISPENDR, 0);
    expect!(
        recorder::wait(16, timer::PATIENCE_NS),
        "only {} of 16 nested",
        recorder::taken()
    );
    for place in 0..16 {
        expect_eq!(recorder::intid(place), place as u32, "INTID in its place");
        expect_eq!(
            recorder::end(place),
            15 - place as u32,
            "INTID in the order of ends"
        );
    }
    expect_eq!(
        gic::bank(0).read32(gic::ISACTIVER),
        0,
        "GICR_ISACTIVER0 after all ends"
    );
    expect_eq!(
        gic::running_priority(),
        0xff,
        "running priority after all ends"
    );
    Ok(())
}

/// [`nest`], and the last one turns the priorities of all upside down before any of them ends.
fn nest_and_turn_over(intid: u32) {
    nest(intid);
    if intid == 15 {
        for other in 0..16 {
            gic::set_priority(other, priority(15 - other));
        }
    }
}

fn b13_end_of_what_changed_its_priority_while_active() -> Outcome {
    crate::fresh_gic();
    enable_all();
    recorder::set_hook(nest_and_turn_over);
    gic::write_bit(gic::ISPENDR, 0);
    let nested = recorder::wait(16, timer::PATIENCE_NS);
    let left = gic::bank(0).read32(gic::ISACTIVER) & 0xffff;
    crate::fresh_gic();
    expect!(nested, "not all of 16 nested");
    expect_eq!(left, 0, "GICR_ISACTIVER0 after all ends");
    Ok(())
}

/// [`nest`] of all but the most urgent one, which software makes active behind them.
fn nest_beside_a_marked_one(intid: u32) {
    match intid {
        14 => gic::write_bit(gic::ISACTIVER, 15),
        _ => nest(intid),
    }
}

fn b13_end_leaves_what_software_made_active() -> Outcome {
    crate::fresh_gic();
    enable_all();
    recorder::set_hook(nest_beside_a_marked_one);
    gic::write_bit(gic::ISPENDR, 0);
    let nested = recorder::wait(15, timer::PATIENCE_NS);
    let left = gic::bank(0).read32(gic::ISACTIVER) & 0xffff;
    gic::write_bit(gic::ICACTIVER, 15);
    crate::fresh_gic();
    expect!(nested, "not all of 15 nested");
    expect_eq!(left, 1 << 15, "GICR_ISACTIVER0 after all ends");
    Ok(())
}

fn b14_priority_mask_holds_back_what_is_not_more_urgent() -> Outcome {
    crate::fresh_gic();
    gic::enable(1, 0x80);
    gic::set_mask(0x80);
    expect_eq!(gic::mask(), 0x80, "ICC_PMR_EL1 as read back");
    gic::write_bit(gic::ISPENDR, 1);
    recorder::settle();
    let held = recorder::taken();
    gic::set_mask(0x88);
    let came = recorder::wait(1, timer::PATIENCE_NS);
    gic::set_mask(gic::MASK_NONE);
    expect_eq!(held, 0, "interrupts taken at the mask's own priority");
    expect!(came, "it did not come below the mask");
    Ok(())
}

/// Runs SGI 1 at priority `low` and, in its handler, pends SGI 2 at priority `high`; returns the INTID that ended first.
fn first_to_end(low: u8, high: u8) -> u32 {
    gic::enable(1, low);
    gic::enable(2, high);
    recorder::set_hook(|intid| {
        if intid == 1 {
            gic::write_bit(gic::ISPENDR, 2);
            sysreg::unmask_irqs();
            // It needs no time, only a chance: what comes at all comes within a few instructions.
            for _ in 0..1000 {
                if recorder::taken() == 2 {
                    break;
                }
            }
        }
    });
    gic::write_bit(gic::ISPENDR, 1);
    recorder::wait(2, timer::PATIENCE_NS);
    recorder::end(0)
}

fn b14_more_urgent_preempts() -> Outcome {
    crate::fresh_gic();
    expect_eq!(first_to_end(0x80, 0x78), 2, "INTID that ended first");
    expect_eq!(recorder::taken(), 2, "interrupts taken");
    Ok(())
}

fn b14_equal_priority_does_not_preempt() -> Outcome {
    crate::fresh_gic();
    expect_eq!(first_to_end(0x80, 0x80), 1, "INTID that ended first");
    expect_eq!(recorder::taken(), 2, "interrupts taken");
    Ok(())
}

fn b14_binary_point_stops_preemption_within_a_group() -> Outcome {
    crate::fresh_gic();
    gic::set_binary_point(7);
    let point = gic::binary_point();
    let first = first_to_end(0xb0, 0x90);
    gic::set_binary_point(0);
    expect_eq!(point, 7, "ICC_BPR1_EL1 as read back");
    expect_eq!(first, 1, "INTID that ended first");
    expect_eq!(recorder::taken(), 2, "interrupts taken");
    Ok(())
}

/// Returns the rest of the CPU interface's controls: whether the group that is not in use is on.
fn other_group() -> u64 {
    match gic::is_v2() {
        false => read_sysreg!("icc_igrpen0_el1"),
        true => gicv2::INTERFACE.read32(gicv2::GICC_CTLR).into(),
    }
}

fn b14_settings_survive_a_wait() -> Outcome {
    crate::fresh_gic();
    gic::set_mask(0xa0);
    gic::split_end(true);
    gic::set_binary_point(5);
    gic::enable(guest_runtime::layout::VIRTUAL_TIMER_INTID, 0x80);
    let read = || {
        [
            gic::mask(),
            gic::binary_point(),
            gic::ends_are_split().into(),
            gic::is_on().into(),
            other_group(),
        ]
    };
    let before = read();
    timer::set_virtual(timer::now() + timer::ns_to_ticks(3 * MS));
    sysreg::wfi();
    timer::stop_virtual();
    let after = read();
    gic::split_end(false);
    crate::fresh_gic();
    expect_eq!(before[0], 0xa0, "ICC_PMR_EL1");
    expect_eq!(before[1], 5, "ICC_BPR1_EL1");
    expect!(
        before == after,
        "a setting of the CPU interface changed over WFI: {before:x?} {after:x?}"
    );
    Ok(())
}

fn b2_highest_pending_shows_without_acknowledging() -> Outcome {
    crate::fresh_gic();
    enable_all();
    gic::write_bits(gic::ISPENDR, 0, 1 << 3 | 1 << 9 | 1 << 6);
    expect_eq!(gic::highest_pending(), 9, "ICC_HPPIR1_EL1");
    expect_eq!(gic::highest_pending(), 9, "ICC_HPPIR1_EL1, read again");
    expect!(read_sysreg!("isr_el1") & 0x80 != 0, "ISR_EL1 shows no IRQ");
    for wanted in [9, 6, 3] {
        let intid = gic::acknowledge();
        gic::end(intid);
        expect_eq!(intid, wanted, "acknowledged INTID");
    }
    expect_eq!(
        gic::highest_pending(),
        1023,
        "ICC_HPPIR1_EL1 when nothing is pending"
    );
    Ok(())
}
