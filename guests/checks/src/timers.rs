//! Both timers of EL1 and their interrupts.

use guest_runtime::smccc::is_hypervised;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{
    console, expect, expect_eq, gic, layout, read_sysreg, recorder, sysreg, tests, timer,
    write_sysreg,
};

const VIRTUAL: u32 = layout::VIRTUAL_TIMER_INTID;
const PHYSICAL: u32 = layout::PHYSICAL_TIMER_INTID;
const MS: u64 = 1_000_000;

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_virtual_timer_interrupts_at_its_deadline,
    c_virtual_timer_wakes_from_wfi,
    c_virtual_timer_with_a_passed_deadline_interrupts_at_once,
    c_virtual_timer_by_timer_value,
    c_physical_timer_interrupts_at_its_deadline,
    c_both_timers_interrupt_side_by_side,
    c_masked_timer_does_not_interrupt,
    c_far_deadline_does_not_interrupt,
    b10_timer_level_shows_in_the_pending_state,
    b10_timer_level_that_falls_is_not_delivered,
    b10_timer_level_that_stays_is_delivered_again,
    b11_timer_mask_is_never_set_behind_the_guests_back,
    b11_timer_needs_only_a_new_compare_value,
    b11_timer_keeps_compare_value_over_a_wait,
    b1_timer_disabled_while_active_comes_again,
    b7_timer_pended_by_software_leaves_the_timer_itself_alone,
    b8_deadlines_that_pass_during_traps_come_once,
];

fn c_virtual_timer_interrupts_at_its_deadline() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    let deadline = timer::now() + timer::ns_to_ticks(MS);
    timer::set_virtual(deadline);
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "no interrupt after the deadline"
    );
    expect_eq!(recorder::intid(0), VIRTUAL, "INTID");
    let entered = recorder::entered();
    expect!(
        entered >= deadline,
        "it came {} ticks early",
        deadline - entered
    );
    recorder::settle();
    expect_eq!(recorder::taken(), 1, "interrupts taken");
    Ok(())
}

fn c_virtual_timer_wakes_from_wfi() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    for round in 1..=200 {
        let deadline = timer::now() + timer::ns_to_ticks(100_000);
        timer::set_virtual(deadline);
        while recorder::taken() < round {
            sysreg::wfi();
            sysreg::unmask_irqs();
            sysreg::isb();
            sysreg::mask_irqs();
        }
        expect!(
            recorder::entered() >= deadline,
            "round {round} woke before its deadline"
        );
    }
    Ok(())
}

fn c_virtual_timer_with_a_passed_deadline_interrupts_at_once() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    timer::set_virtual(timer::now() - 1);
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "no interrupt for a deadline that has passed"
    );
    Ok(())
}

fn c_virtual_timer_by_timer_value() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    let ticks = timer::ns_to_ticks(MS);
    let before = timer::now();
    // SAFETY: a timer changes no memory; its interrupt has a handler.
    unsafe {
        write_sysreg!("cntv_tval_el0", ticks);
        write_sysreg!("cntv_ctl_el0", timer::CTL_ENABLE);
    }
    sysreg::isb();
    let compare = read_sysreg!("cntv_cval_el0");
    expect!(
        compare >= before + ticks && compare <= timer::now() + ticks,
        "CNTV_CVAL_EL0 is not count plus value"
    );
    expect!(recorder::wait(1, timer::PATIENCE_NS), "no interrupt");
    expect!(recorder::entered() >= compare, "it came early");
    Ok(())
}

fn c_physical_timer_interrupts_at_its_deadline() -> Outcome {
    crate::fresh_gic();
    gic::enable(PHYSICAL, 0x80);
    for round in 1..=20 {
        let deadline = timer::physical_now() + timer::ns_to_ticks(MS / 2);
        timer::set_physical(deadline);
        expect!(
            recorder::wait(round, timer::PATIENCE_NS),
            "no interrupt {round}"
        );
        expect_eq!(recorder::intid(round - 1), PHYSICAL, "INTID");
        expect!(timer::physical_now() >= deadline, "it came early");
    }
    recorder::settle();
    expect_eq!(recorder::taken(), 20, "interrupts taken");
    Ok(())
}

fn c_both_timers_interrupt_side_by_side() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    gic::enable(PHYSICAL, 0x40);
    timer::set_virtual(timer::now());
    timer::set_physical(timer::physical_now());
    timer::spin(MS);
    expect!(
        recorder::wait(2, timer::PATIENCE_NS),
        "only {} interrupts",
        recorder::taken()
    );
    expect_eq!(recorder::intid(0), PHYSICAL, "the first, more urgent INTID");
    expect_eq!(recorder::intid(1), VIRTUAL, "the second INTID");
    Ok(())
}

fn c_masked_timer_does_not_interrupt() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    let deadline = timer::now() + timer::ns_to_ticks(100_000);
    let control = timer::CTL_ENABLE | timer::CTL_IMASK;
    // Masked from the start: were it unmasked first, the deadline might pass before it is masked.
    // SAFETY: a timer changes no memory.
    unsafe {
        write_sysreg!("cntv_cval_el0", deadline);
        write_sysreg!("cntv_ctl_el0", control);
    }
    recorder::settle();
    expect_eq!(recorder::taken(), 0, "interrupts of a masked timer");
    // QEMU's main loop sets ISTATUS, late when the host is busy.
    let shown = timer::wait_until(timer::PATIENCE_NS, || {
        timer::virtual_control() == control | timer::CTL_ISTATUS
    });
    expect!(
        shown,
        "CNTV_CTL_EL0 is {:#x} after the deadline",
        timer::virtual_control()
    );
    // SAFETY: as above; unmasked now, its interrupt has a handler.
    unsafe { write_sysreg!("cntv_ctl_el0", timer::CTL_ENABLE) };
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "no interrupt after unmasking"
    );
    Ok(())
}

fn c_far_deadline_does_not_interrupt() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    timer::set_virtual(u64::MAX);
    recorder::settle();
    let far = recorder::taken();
    timer::stop_virtual();
    expect_eq!(far, 0, "interrupts for a deadline of 2^64 - 1");
    Ok(())
}

fn b10_timer_level_shows_in_the_pending_state() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    expect!(
        !gic::read_bit(gic::ISPENDR, VIRTUAL),
        "pending before the deadline"
    );
    timer::set_virtual(timer::now());
    let shown = timer::wait_until(timer::PATIENCE_NS, || gic::read_bit(gic::ISPENDR, VIRTUAL));
    timer::stop_virtual();
    expect!(shown, "the level does not show in GICR_ISPENDR0");
    let gone = timer::wait_until(timer::PATIENCE_NS, || !gic::read_bit(gic::ISPENDR, VIRTUAL));
    expect!(
        gone,
        "GICR_ISPENDR0 still shows the timer after it was stopped"
    );
    Ok(())
}

fn b10_timer_level_that_falls_is_not_delivered() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    timer::set_virtual(timer::now());
    timer::spin(100_000);
    timer::stop_virtual();
    timer::spin(100_000);
    recorder::settle();
    // The timer's control is the guest's own, so a hypervisor that had the interrupt on its way does not learn that it was
    // stopped: once it may still come, as drivers know (they look at ISTATUS). It must not come again, nor hold up others.
    let most = usize::from(is_hypervised());
    expect!(
        recorder::taken() <= most,
        "{} interrupts for a level that fell",
        recorder::taken()
    );
    timer::set_virtual(timer::now());
    expect!(
        recorder::wait(recorder::taken() + 1, timer::PATIENCE_NS),
        "the next deadline's interrupt does not come"
    );
    Ok(())
}

fn b10_timer_level_that_stays_is_delivered_again() -> Outcome {
    crate::fresh_gic();
    recorder::set_hook(|intid| {
        if recorder::taken() == 5 {
            recorder::quiet(intid);
        }
    });
    timer::set_virtual(timer::now());
    gic::enable(VIRTUAL, 0x80);
    expect!(
        recorder::wait(5, timer::PATIENCE_NS),
        "only {} of 5 deliveries of a high level",
        recorder::taken()
    );
    recorder::settle();
    expect_eq!(recorder::taken(), 5, "interrupts taken");
    Ok(())
}

fn b11_timer_mask_is_never_set_behind_the_guests_back() -> Outcome {
    crate::fresh_gic();
    recorder::set_hook(|_| {
        if timer::virtual_control() & timer::CTL_IMASK == 0 {
            timer::set_virtual(timer::now() + timer::ns_to_ticks(20_000));
        }
    });
    timer::set_virtual(timer::now());
    gic::enable(VIRTUAL, 0x80);
    let came = recorder::wait(1000, timer::PATIENCE_NS);
    let control = timer::virtual_control();
    timer::stop_virtual();
    expect!(came, "only {} of 1000 ticks", recorder::taken());
    expect_eq!(control & timer::CTL_IMASK, 0, "IMASK");
    expect!(
        gic::read_bit(gic::ISENABLER, VIRTUAL),
        "PPI 27 is no longer enabled"
    );
    expect_eq!(
        gic::bank(VIRTUAL).read8(gic::IPRIORITYR + VIRTUAL as usize),
        0x80,
        "priority of PPI 27"
    );
    Ok(())
}

fn b11_timer_needs_only_a_new_compare_value() -> Outcome {
    crate::fresh_gic();
    recorder::set_hook(|_| {
        let next = timer::now() + timer::ns_to_ticks(20_000);
        // SAFETY: a timer changes no memory.
        unsafe { write_sysreg!("cntv_cval_el0", next) };
        sysreg::isb();
    });
    timer::set_virtual(timer::now());
    gic::enable(VIRTUAL, 0x80);
    let came = recorder::wait(100, timer::PATIENCE_NS);
    timer::stop_virtual();
    expect!(came, "only {} of 100 ticks", recorder::taken());
    Ok(())
}

fn b11_timer_keeps_compare_value_over_a_wait() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    let deadline = timer::now() + timer::ns_to_ticks(5 * MS);
    timer::set_virtual(deadline);
    sysreg::wfi();
    let compare = read_sysreg!("cntv_cval_el0");
    let control = timer::virtual_control();
    timer::stop_virtual();
    expect_eq!(compare, deadline, "CNTV_CVAL_EL0 after WFI");
    expect_eq!(control & 3, timer::CTL_ENABLE, "CNTV_CTL_EL0 after WFI");
    Ok(())
}

fn b1_timer_disabled_while_active_comes_again() -> Outcome {
    crate::fresh_gic();
    recorder::set_hook(|intid| {
        gic::disable(intid);
        recorder::quiet(intid);
    });
    for round in 1..=10 {
        timer::set_virtual(timer::now());
        gic::enable(VIRTUAL, 0x80);
        expect!(
            recorder::wait(round, timer::PATIENCE_NS),
            "no interrupt in round {round}"
        );
        expect!(
            !gic::read_bit(gic::ISACTIVER, VIRTUAL),
            "still active after its end in round {round}"
        );
    }
    Ok(())
}

fn b7_timer_pended_by_software_leaves_the_timer_itself_alone() -> Outcome {
    for round in 0..50 {
        crate::fresh_gic();
        gic::enable(VIRTUAL, 0x80);
        // Nothing physical behind it: its end must not deactivate what is not active.
        gic::write_bit(gic::ISPENDR, VIRTUAL);
        expect!(
            recorder::wait(1, timer::PATIENCE_NS),
            "round {round}: pended by software it does not come"
        );
        expect!(
            !gic::read_bit(gic::ISACTIVER, VIRTUAL),
            "round {round}: active after its end"
        );
        timer::set_virtual(timer::now());
        expect!(
            recorder::wait(2, timer::PATIENCE_NS),
            "round {round}: the timer's own interrupt does not come any more"
        );
        // Both at once: pended by software while the timer's own is active.
        recorder::set_hook(|intid| {
            recorder::quiet(intid);
            if recorder::taken() == 3 {
                gic::write_bit(gic::ISPENDR, intid);
            }
        });
        timer::set_virtual(timer::now());
        expect!(
            recorder::wait(4, timer::PATIENCE_NS),
            "round {round}: pended while active it does not come again"
        );
        recorder::settle();
        expect_eq!(recorder::taken(), 4, "interrupts taken");
    }
    Ok(())
}

fn b8_deadlines_that_pass_during_traps_come_once() -> Outcome {
    crate::fresh_gic();
    gic::enable(VIRTUAL, 0x80);
    for round in 1..=2000 {
        let distance = timer::ns_to_ticks(20) * (round % 100) as u64;
        sysreg::unmask_irqs();
        timer::set_virtual(timer::now() + distance);
        // Traps of several kinds, one after the other, until it has come.
        let came = timer::wait_until(timer::PATIENCE_NS, || {
            gic::DISTRIBUTOR.read32(gic::GICD_CTLR);
            console::UART.read32(console::FR);
            gic::write_bit(gic::ISENABLER, 6);
            recorder::taken() >= round
        });
        sysreg::mask_irqs();
        expect!(came, "round {round}: its interrupt is lost");
        expect_eq!(recorder::taken(), round, "interrupts taken");
    }
    Ok(())
}
