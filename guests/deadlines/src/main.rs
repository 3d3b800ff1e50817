//! Lets a timer's deadline fall at every offset of every kind of trap, and checks that its interrupt comes once each time.
//!
//! For each kind of trap, and each offset up to [`TICKS`] ticks and [`PHASES`] instructions of a tick, it sets a deadline that far
//! ahead, makes the trap, and waits for the interrupt. Under icount, where an instruction is a fixed time, the deadline so
//! comes at every instruction of EL2's path. A neighbour on the pCPU that never waits makes world switches part of it.
//!
//! Names and lines are those of the guest `checks`.
#![no_std]
#![no_main]

use guest_runtime::exception::catch;
use guest_runtime::mmio::Mmio;
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::suite::{self, Outcome};
use guest_runtime::{
    console, entry, expect, expect_eq, gic, layout, mmu, read_sysreg, recorder, sysreg, tests,
    timer, write_sysreg,
};

/// Ticks that deadlines lie ahead at most: longer than any of the paths below, at a tick of 16 instructions.
const TICKS: u64 = 120;
/// Offsets within a tick, each two instructions further.
const PHASES: u64 = 8;
/// Our own call: to the tail of one's priority.
const YIELD: u32 = 0x8600_0001;

/// An SGI that nobody takes.
const SGI: u32 = 7;

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    recorder::start();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    suite::run(&[tests![
        a16_deadline_within_a_call_that_is_served_quickly,
        a16_deadline_within_a_call_that_takes_the_lock,
        a16_deadline_within_a_call_that_is_refused,
        a16_deadline_within_a_yield,
        a16_deadline_within_a_read_of_the_distributor,
        a16_deadline_within_a_write_of_the_distributor,
        a16_deadline_within_the_pending_of_an_interrupt,
        a16_deadline_within_an_sgi,
        a16_deadline_within_a_read_of_the_uart,
        a16_deadline_within_an_identification_register,
        a16_deadline_within_an_undefined_register,
        a16_deadline_within_an_abort,
        a16_deadline_within_a_wait,
        a16_deadline_within_the_other_timers_control,
        a16_deadline_without_a_trap,
        a16_handler_that_yields_while_the_line_is_high,
        a16_deadline_that_is_taken_back,
    ]])
}

/// Spends two instructions and two more for each phase.
#[inline(always)]
fn advance(phase: u64) {
    timer::spend(phase + 1);
}

/// Makes a trap with a deadline at every offset of it.
fn sweep(trap: fn()) -> Outcome {
    sysreg::unmask_irqs();
    let mut rounds = recorder::taken();
    for ticks in 0..TICKS {
        for phase in 0..PHASES {
            timer::set_virtual(timer::now() + ticks);
            advance(phase);
            trap();
            rounds += 1;
            let came = timer::wait_until(timer::PATIENCE_NS, || recorder::taken() >= rounds);
            expect!(came, "{ticks} ticks, phase {phase}: it does not come");
        }
        // One too many would show by now.
        expect_eq!(recorder::taken(), rounds, "interrupts taken");
    }
    sysreg::mask_irqs();
    let active = gic::read_bit(gic::ISACTIVER, layout::VIRTUAL_TIMER_INTID);
    expect!(!active, "the timer's interrupt is left active");
    expect_eq!(recorder::spurious(), 0, "interrupts without an INTID");
    Ok(())
}

fn a16_deadline_within_a_call_that_is_served_quickly() -> Outcome {
    sweep(|| {
        smccc::call(Conduit::Hvc, smccc::PSCI_VERSION, [0; 3]);
    })
}

fn a16_deadline_within_a_call_that_takes_the_lock() -> Outcome {
    sweep(|| {
        smccc::call(Conduit::Smc, smccc::AFFINITY_INFO, [0; 3]);
    })
}

fn a16_deadline_within_a_call_that_is_refused() -> Outcome {
    sweep(|| {
        smccc::call(Conduit::Hvc, 0x8600_7abc, [0; 3]);
    })
}

fn a16_deadline_within_a_yield() -> Outcome {
    sweep(|| {
        smccc::call(Conduit::Hvc, YIELD, [0; 3]);
    })
}

fn a16_deadline_within_a_read_of_the_distributor() -> Outcome {
    sweep(|| {
        gic::DISTRIBUTOR.read32(gic::ISPENDR + 4);
    })
}

fn a16_deadline_within_a_write_of_the_distributor() -> Outcome {
    sweep(|| gic::write_bit(gic::ICENABLER, layout::UART_INTID))
}

fn a16_deadline_within_the_pending_of_an_interrupt() -> Outcome {
    // It is disabled: it stays pending, or is taken back.
    sweep(|| {
        gic::write_bit(gic::ISPENDR, layout::UART_INTID);
        gic::write_bit(gic::ICPENDR, layout::UART_INTID);
    })
}

fn a16_deadline_within_an_sgi() -> Outcome {
    // It stays pending: disabled, and with GICv2, where it is enabled for good, masked.
    gic::set_priority(SGI, 0xf0);
    gic::set_mask(0xf0);
    let outcome = sweep(|| gic::send_sgi(SGI, sysreg::affinity()));
    gic::write_bit(gic::ICPENDR, SGI);
    gic::set_mask(gic::MASK_NONE);
    outcome
}

fn a16_deadline_within_a_read_of_the_uart() -> Outcome {
    sweep(|| {
        console::UART.read32(console::RIS);
    })
}

fn a16_deadline_within_an_identification_register() -> Outcome {
    sweep(|| {
        read_sysreg!("id_aa64mmfr0_el1");
    })
}

fn a16_deadline_within_an_undefined_register() -> Outcome {
    sweep(|| {
        catch(|| read_sysreg!("actlr_el1"));
        catch(|| read_sysreg!("s3_0_c1_c2_0"));
    })
}

fn a16_deadline_within_an_abort() -> Outcome {
    sweep(|| {
        // SAFETY: nothing is there.
        let hole = unsafe { Mmio::new(layout::DEVICE_HOLE) };
        catch(|| hole.read32(0));
    })
}

fn a16_deadline_within_a_wait() -> Outcome {
    sweep(|| {
        // Masked, so that no interrupt comes between the look and the wait.
        sysreg::mask_irqs();
        if timer::virtual_control() & timer::CTL_ENABLE != 0 {
            sysreg::wfi();
        }
        sysreg::unmask_irqs();
    })
}

fn a16_deadline_within_the_other_timers_control() -> Outcome {
    let outcome = sweep(|| {
        // SAFETY: a timer changes no memory, and its interrupt is disabled.
        unsafe {
            write_sysreg!("cntp_cval_el0", timer::physical_now() + 50);
            write_sysreg!("cntp_ctl_el0", 1);
        }
    });
    timer::stop_physical();
    outcome
}

fn a16_deadline_without_a_trap() -> Outcome {
    sweep(|| timer::spend(100))
}

fn a16_handler_that_yields_while_the_line_is_high() -> Outcome {
    // The interrupt is active while the neighbour runs, and its line falls before it is ended: it comes once.
    recorder::set_hook(|intid| {
        smccc::call(Conduit::Hvc, YIELD, [0; 3]);
        recorder::quiet(intid);
    });
    let outcome = sweep(|| timer::spend(50));
    recorder::set_hook(recorder::quiet);
    outcome
}

fn a16_deadline_that_is_taken_back() -> Outcome {
    sysreg::unmask_irqs();
    for ticks in 0..TICKS {
        for phase in 0..PHASES {
            let before = recorder::taken();
            timer::set_virtual(timer::now() + ticks);
            advance(phase);
            smccc::call(Conduit::Hvc, YIELD, [0; 3]);
            timer::stop_virtual();
            // It may have come, once; the next one comes for sure.
            let early = recorder::taken() - before;
            expect!(early <= 1, "{ticks} ticks, phase {phase}: {early} came");
            timer::set_virtual(timer::now());
            let came = timer::wait_until(timer::PATIENCE_NS, || recorder::taken() > before + early);
            expect!(came, "{ticks} ticks, phase {phase}: none comes any more");
        }
    }
    sysreg::mask_irqs();
    Ok(())
}
