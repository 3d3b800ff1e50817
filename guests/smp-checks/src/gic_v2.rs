//! What several vCPUs have of a GICv2: SGIs with senders, and targets by number.

use crate::team;
use core::sync::atomic::Ordering;
use guest_runtime::gicv2::{self, ITARGETSR, SPENDSGIR};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, layout, smp, sysreg, tests};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    b6_an_sgi_names_its_sender,
    b6_an_sgi_has_an_instance_for_each_sender,
    b9_targets_of_absent_cpus_read_as_zero,
    b9_targets_of_private_interrupts_are_ones_own,
];

/// An SGI.
const SGI: u32 = 14;

fn received(index: usize) -> u32 {
    team::RECEIVED[index][SGI as usize].load(Ordering::Acquire)
}

/// Sends to the first vCPU, and waits until that has it.
fn send_to_first() {
    let before = received(0);
    gic::send_sgi(SGI, team::affinity(0));
    team::wait(|| received(0) > before);
}

fn b6_an_sgi_names_its_sender() -> Outcome {
    team::needs(2)?;
    for sender in 1..team::size() {
        let before = received(0);
        team::give(sender, send_to_first);
        team::finish()?;
        expect!(
            team::wait(|| received(0) > before),
            "nothing came of vCPU {sender}"
        );
        expect_eq!(
            u64::from(gicv2::sender(SGI)),
            team::affinity(sender),
            "sender in GICC_IAR"
        );
    }
    Ok(())
}

fn b6_an_sgi_has_an_instance_for_each_sender() -> Outcome {
    team::needs(2)?;
    let all = (1u32 << team::size()) - 1;
    for round in 0..50 {
        let before = received(0);
        sysreg::mask_irqs();
        gic::DISTRIBUTOR.write8(SPENDSGIR + SGI as usize, all as u8);
        let shown = gic::DISTRIBUTOR.read8(SPENDSGIR + SGI as usize);
        sysreg::unmask_irqs();
        let size = team::size() as u32;
        team::wait(|| received(0) >= before + size);
        for _ in 0..2 {
            team::rest();
        }
        expect_eq!(u32::from(shown), all, "GICD_SPENDSGIR");
        let count = received(0) - before;
        expect!(count == size, "round {round}: taken {count} times");
    }
    Ok(())
}

fn b9_targets_of_absent_cpus_read_as_zero() -> Outcome {
    team::needs(2)?;
    let all = (1u32 << team::size()) - 1;
    let at = ITARGETSR + layout::UART_INTID as usize;
    for written in [0xff, 0xf0 | all, 0] {
        gic::DISTRIBUTOR.write8(at, written as u8);
        expect_eq!(
            u32::from(gic::DISTRIBUTOR.read8(at)),
            written & all,
            "GICD_ITARGETSR"
        );
    }
    // By word, its neighbours being others'.
    gic::DISTRIBUTOR.write32(at & !3, u32::MAX);
    let word = gic::DISTRIBUTOR.read32(at & !3);
    gic::route(layout::UART_INTID, team::affinity(0));
    expect_eq!(word >> (at % 4 * 8) & 0xff, all, "GICD_ITARGETSR by word");
    Ok(())
}

/// Fails the test on a vCPU whose private targets are not its own.
fn look_at_targets() {
    let own = 1u32 << sysreg::affinity();
    gic::DISTRIBUTOR.write32(ITARGETSR, u32::MAX);
    let found = gic::DISTRIBUTOR.read32(ITARGETSR);
    if found != own * 0x0101_0101 {
        team::RECEIVED[smp::index()][63].fetch_add(1, Ordering::AcqRel);
    }
}

fn b9_targets_of_private_interrupts_are_ones_own() -> Outcome {
    team::together(look_at_targets)?;
    for index in 0..team::size() {
        let wrong = team::RECEIVED[index][63].load(Ordering::Acquire);
        expect!(wrong == 0, "vCPU {index} finds others in GICD_ITARGETSR0");
    }
    Ok(())
}
