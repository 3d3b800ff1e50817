//! Enable, pending, active: the state of one interrupt as its registers show it.

use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{
    console, expect, expect_eq, gic, layout, read_sysreg, recorder, skip, sysreg, tests, timer,
};

const UART: u32 = layout::UART_INTID;
const SGI: u32 = 5;

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    b1_disabled_while_active_ends_and_comes_again,
    b3_pended_while_disabled_comes_when_enabled,
    b3_pending_cleared_while_disabled_does_not_come,
    b3_registers_show_pending_then_active,
    b3_pended_again_while_active_comes_twice,
    b3_active_set_by_register_holds_it_back,
    b4_nothing_comes_before_the_cpu_interface_is_on,
    b4_nothing_comes_before_the_distributor_is_on,
    b10_uart_level_comes_once_when_it_falls_in_the_handler,
    b10_uart_level_that_stays_comes_again,
    b10_uart_level_that_falls_before_delivery_does_not_come,
    b10_uart_level_stays_pending_against_a_clear,
    b13_split_end_leaves_active_until_deactivated,
    b13_uart_split_end_then_deactivate_comes_again,
    b8_self_sgi_comes_each_time,
];

/// Pends an SGI or SPI by register.
fn pend(intid: u32) {
    gic::write_bit(gic::ISPENDR, intid);
}

fn b1_disabled_while_active_ends_and_comes_again() -> Outcome {
    crate::fresh_gic();
    recorder::set_hook(gic::disable);
    for round in 1..=10 {
        gic::enable(SGI, 0x80);
        pend(SGI);
        expect!(
            recorder::wait(round, timer::PATIENCE_NS),
            "no interrupt in round {round}"
        );
        expect!(
            !gic::read_bit(gic::ISACTIVER, SGI),
            "still active after its end in round {round}"
        );
    }
    Ok(())
}

fn b3_pended_while_disabled_comes_when_enabled() -> Outcome {
    for intid in [SGI, UART] {
        if gic::is_v2() && intid == SGI {
            continue; // enabled for good
        }
        crate::fresh_gic();
        pend(intid);
        expect!(
            gic::read_bit(gic::ISPENDR, intid),
            "INTID {intid} is not shown as pending"
        );
        recorder::settle();
        expect_eq!(recorder::taken(), 0, "interrupts taken while disabled");
        gic::enable(intid, 0x80);
        expect!(
            recorder::wait(1, timer::PATIENCE_NS),
            "INTID {intid} did not come when enabled"
        );
        expect_eq!(recorder::intid(0), intid, "INTID");
        recorder::settle();
        expect_eq!(recorder::taken(), 1, "interrupts taken");
    }
    Ok(())
}

fn b3_pending_cleared_while_disabled_does_not_come() -> Outcome {
    for intid in [SGI, UART] {
        crate::fresh_gic();
        pend(intid);
        gic::write_bit(gic::ICPENDR, intid);
        expect!(
            !gic::read_bit(gic::ISPENDR, intid),
            "INTID {intid} is still shown as pending"
        );
        gic::enable(intid, 0x80);
        recorder::settle();
        expect_eq!(recorder::taken(), 0, "interrupts taken");
        // And the same for one that is already on its way to the CPU.
        pend(intid);
        timer::spin(100_000);
        gic::write_bit(gic::ICPENDR, intid);
        recorder::settle();
        expect_eq!(
            recorder::taken(),
            0,
            "interrupts taken after an enabled one was cleared"
        );
    }
    Ok(())
}

fn b3_registers_show_pending_then_active() -> Outcome {
    crate::fresh_gic();
    gic::enable(SGI, 0x80);
    pend(SGI);
    expect!(
        gic::read_bit(gic::ISPENDR, SGI),
        "not pending after it was pended"
    );
    expect!(
        !gic::read_bit(gic::ISACTIVER, SGI),
        "active before it was acknowledged"
    );
    expect_eq!(gic::acknowledge(), SGI, "acknowledged INTID");
    let (pending, active) = (
        gic::read_bit(gic::ISPENDR, SGI),
        gic::read_bit(gic::ISACTIVER, SGI),
    );
    let priority = gic::running_priority();
    gic::end(SGI);
    expect!(
        !pending && active,
        "acknowledged: pending {pending}, active {active}"
    );
    expect_eq!(priority, 0x80, "running priority");
    expect!(!gic::read_bit(gic::ISACTIVER, SGI), "active after its end");
    expect_eq!(gic::running_priority(), 0xff, "idle running priority");
    expect_eq!(
        gic::acknowledge(),
        gic::SPURIOUS,
        "INTID when nothing is pending"
    );
    Ok(())
}

fn b3_pended_again_while_active_comes_twice() -> Outcome {
    crate::fresh_gic();
    recorder::set_hook(|intid| {
        if recorder::taken() == 1 {
            pend(intid);
        }
    });
    gic::enable(SGI, 0x80);
    pend(SGI);
    expect!(
        recorder::wait(2, timer::PATIENCE_NS),
        "pended while active: {} interrupts",
        recorder::taken()
    );
    recorder::settle();
    expect_eq!(recorder::taken(), 2, "interrupts taken");
    Ok(())
}

fn b3_active_set_by_register_holds_it_back() -> Outcome {
    for intid in [SGI, UART] {
        crate::fresh_gic();
        gic::write_bit(gic::ISACTIVER, intid);
        expect!(
            gic::read_bit(gic::ISACTIVER, intid),
            "INTID {intid} is not shown as active"
        );
        gic::enable(intid, 0x80);
        pend(intid);
        recorder::settle();
        expect_eq!(recorder::taken(), 0, "interrupts taken while active");
        gic::write_bit(gic::ICACTIVER, intid);
        expect!(
            recorder::wait(1, timer::PATIENCE_NS),
            "INTID {intid} did not come after its active state was cleared"
        );
    }
    Ok(())
}

fn b4_nothing_comes_before_the_cpu_interface_is_on() -> Outcome {
    crate::fresh_gic();
    gic::turn(false);
    gic::enable(SGI, 0x80);
    pend(SGI);
    recorder::settle();
    expect_eq!(recorder::taken(), 0, "interrupts with the group off");
    expect_eq!(
        read_sysreg!("isr_el1") & 0x80,
        0,
        "IRQ in ISR_EL1 with the group off"
    );
    gic::turn(true);
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "it did not come when the group was turned on"
    );
    Ok(())
}

fn b4_nothing_comes_before_the_distributor_is_on() -> Outcome {
    crate::fresh_gic();
    gic::turn_distributor(false);
    gic::enable(SGI, 0x80);
    pend(SGI);
    recorder::settle();
    let early = recorder::taken();
    gic::turn_distributor(true);
    expect_eq!(early, 0, "interrupts with the distributor's group off");
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "it did not come when the distributor was turned on"
    );
    Ok(())
}

/// Makes the UART raise its transmit interrupt: sends something, so that the FIFO's level passes the mark.
fn raise_uart() -> bool {
    console::flush();
    console::UART.write32(console::IMSC, console::INT_TX);
    for byte in b"\r\n" {
        console::UART.write32(console::DR, u32::from(*byte));
    }
    console::flush();
    timer::wait_until(timer::PATIENCE_NS, || {
        console::UART.read32(console::MIS) & console::INT_TX != 0
    })
}

fn b10_uart_level_comes_once_when_it_falls_in_the_handler() -> Outcome {
    crate::fresh_gic();
    expect!(
        raise_uart(),
        "the UART does not raise its transmit interrupt"
    );
    gic::enable(UART, 0x80);
    expect!(
        recorder::wait(1, timer::PATIENCE_NS),
        "the UART's interrupt did not come"
    );
    expect_eq!(recorder::intid(0), UART, "INTID");
    recorder::settle();
    expect_eq!(recorder::taken(), 1, "interrupts taken");
    Ok(())
}

fn b10_uart_level_that_stays_comes_again() -> Outcome {
    crate::fresh_gic();
    recorder::set_hook(|intid| {
        if recorder::taken() >= 5 {
            recorder::quiet(intid);
        }
    });
    expect!(
        raise_uart(),
        "the UART does not raise its transmit interrupt"
    );
    gic::enable(UART, 0x80);
    expect!(
        recorder::wait(5, timer::PATIENCE_NS),
        "only {} of 5 deliveries of a high level",
        recorder::taken()
    );
    recorder::settle();
    expect_eq!(recorder::taken(), 5, "interrupts taken");
    Ok(())
}

fn b10_uart_level_that_falls_before_delivery_does_not_come() -> Outcome {
    crate::fresh_gic();
    gic::enable(UART, 0x80);
    expect!(
        raise_uart(),
        "the UART does not raise its transmit interrupt"
    );
    expect!(
        gic::read_bit(gic::ISPENDR, UART),
        "the level does not show in GICD_ISPENDR1"
    );
    console::UART.write32(console::IMSC, 0);
    expect!(
        !gic::read_bit(gic::ISPENDR, UART),
        "the fallen level still shows in GICD_ISPENDR1"
    );
    recorder::settle();
    expect_eq!(recorder::taken(), 0, "interrupts taken");
    Ok(())
}

fn b10_uart_level_stays_pending_against_a_clear() -> Outcome {
    crate::fresh_gic();
    expect!(
        raise_uart(),
        "the UART does not raise its transmit interrupt"
    );
    gic::write_bit(gic::ICPENDR, UART);
    let pending = gic::read_bit(gic::ISPENDR, UART);
    console::UART.write32(console::IMSC, 0);
    expect!(pending, "GICD_ICPENDR1 cleared a level that is still high");
    Ok(())
}

fn b13_split_end_leaves_active_until_deactivated() -> Outcome {
    crate::fresh_gic();
    gic::enable(SGI, 0x80);
    gic::split_end(true);
    expect!(gic::ends_are_split(), "EOImode as read back");
    pend(SGI);
    let acknowledged = gic::acknowledge();
    gic::end(SGI);
    let active = gic::read_bit(gic::ISACTIVER, SGI);
    let priority = gic::running_priority();
    pend(SGI);
    recorder::settle();
    let taken = recorder::taken();
    gic::deactivate(SGI);
    let after = gic::read_bit(gic::ISACTIVER, SGI);
    let next = gic::acknowledge();
    gic::end(next);
    gic::deactivate(next);
    gic::split_end(false);
    expect_eq!(acknowledged, SGI, "acknowledged INTID");
    expect!(active, "its end deactivated it");
    expect_eq!(priority, 0xff, "running priority after its end");
    expect_eq!(taken, 0, "interrupts taken while active");
    expect!(!after, "active after it was deactivated");
    expect_eq!(next, SGI, "INTID that was pended while active");
    Ok(())
}

fn b13_uart_split_end_then_deactivate_comes_again() -> Outcome {
    crate::fresh_gic();
    gic::split_end(true);
    recorder::set_hook(|_| {});
    expect!(
        raise_uart(),
        "the UART does not raise its transmit interrupt"
    );
    gic::enable(UART, 0x80);
    for round in 1..=10 {
        if !recorder::wait(round, timer::PATIENCE_NS) {
            break;
        }
        gic::deactivate(UART);
    }
    console::UART.write32(console::IMSC, 0);
    recorder::settle();
    gic::deactivate(UART);
    gic::split_end(false);
    expect!(
        recorder::taken() >= 10,
        "only {} of 10 deliveries",
        recorder::taken()
    );
    Ok(())
}

fn b8_self_sgi_comes_each_time() -> Outcome {
    crate::fresh_gic();
    gic::enable(SGI, 0x80);
    if sysreg::affinity() & 0xff > 15 {
        skip!("this vCPU's Aff0 does not fit a target list");
    }
    for round in 1..=1000 {
        gic::send_sgi(SGI, sysreg::affinity());
        expect!(
            recorder::wait(round, timer::PATIENCE_NS),
            "SGI {round} of 1000 was lost"
        );
    }
    expect_eq!(recorder::taken(), 1000, "interrupts taken");
    Ok(())
}
