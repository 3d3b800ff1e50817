//! SGIs between vCPUs, routes of an SPI, and another vCPU's redistributor.

use crate::team;
use core::sync::atomic::{AtomicU32, Ordering};
use guest_runtime::exception::catch;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{console, expect, expect_eq, gic, layout, skip, smp, tests, timer};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    b6_sgis_from_all_to_all_arrive,
    b6_sgi_to_all_others_arrives_once_at_each,
    b6_sgi_to_a_list_arrives_at_the_listed,
    a6_sgi_targets_that_do_not_exist_reach_nobody,
    a7_target_lists_past_the_last_vcpu_reach_the_others_once,
    b5_route_moves_an_spi,
    b5_route_moves_an_spi_that_is_pending,
    b10_a_line_that_two_vcpus_move_is_as_the_uart_shows,
];

/// Those that need a GICv3.
pub const V3_TESTS: &[Test] = tests![
    a5_every_vcpu_reads_all_frames_at_once,
    b5_redistributor_of_another_pends_there,
    b5_redistributor_of_another_shows_its_state,
    b5_route_to_any_vcpu_reaches_one,
];

const UART: u32 = layout::UART_INTID;
/// SGIs that each vCPU sends to each other one.
const ROUNDS: u32 = 50;

static LOST: AtomicU32 = AtomicU32::new(0);

fn received(index: usize, intid: u32) -> u32 {
    team::RECEIVED[index][intid as usize].load(Ordering::Acquire)
}

/// Sends to every other vCPU, under the sender's index as INTID, each time waiting for the arrival.
fn send_to_all() {
    let own = smp::index();
    for target in (0..team::size()).filter(|target| *target != own) {
        let before = received(target, own as u32);
        for round in 1..=ROUNDS {
            gic::send_sgi(own as u32, team::affinity(target));
            if !team::wait(|| received(target, own as u32) >= before + round) {
                LOST.fetch_add(1, Ordering::AcqRel);
                return;
            }
        }
        if received(target, own as u32) != before + ROUNDS {
            LOST.fetch_add(1, Ordering::AcqRel);
        }
    }
}

fn b6_sgis_from_all_to_all_arrive() -> Outcome {
    team::needs(2)?;
    LOST.store(0, Ordering::Release);
    team::together(send_to_all)?;
    expect_eq!(
        LOST.load(Ordering::Acquire),
        0,
        "senders whose SGIs were lost or came twice"
    );
    Ok(())
}

/// Waits until vCPU `index` took `intid` more often than `before`, then a little for a second time; returns how often.
fn arrivals(index: usize, intid: u32, before: u32) -> u32 {
    team::wait(|| received(index, intid) > before);
    for _ in 0..5 {
        team::rest();
    }
    received(index, intid) - before
}

fn b6_sgi_to_all_others_arrives_once_at_each() -> Outcome {
    team::needs(2)?;
    for _ in 0..20 {
        let before: [u32; smp::MAX_VCPUS] = core::array::from_fn(|index| received(index, 9));
        gic::send_sgi_to_others(9);
        for index in 1..team::size() {
            let count = arrivals(index, 9, before[index]);
            expect!(count == 1, "vCPU {index} took it {count} times");
        }
        expect_eq!(received(0, 9), before[0], "interrupts at the sender");
    }
    Ok(())
}

fn b6_sgi_to_a_list_arrives_at_the_listed() -> Outcome {
    team::needs(2)?;
    // The first cluster's list: vCPUs whose upper affinity fields are those of the first one.
    let cluster = team::affinity(0) & !0xff;
    let listed = |index: usize| {
        team::affinity(index) & !0xff == cluster && team::affinity(index) & 0xff < 16
    };
    let list = (0..team::size())
        .filter(|index| listed(*index))
        .fold(0_u64, |list, index| list | 1 << team::affinity(index));
    let fields =
        (cluster >> 32 & 0xff) << 48 | (cluster >> 16 & 0xff) << 32 | (cluster >> 8 & 0xff) << 16;
    let before: [u32; smp::MAX_VCPUS] = core::array::from_fn(|index| received(index, 10));
    gic::write_sgi1r(fields | 10 << 24 | list | 0x8000 & !list);
    for index in (0..team::size()).filter(|index| listed(*index)) {
        let count = arrivals(index, 10, before[index]);
        expect!(count == 1, "vCPU {index} took it {count} times");
    }
    Ok(())
}

fn a6_sgi_targets_that_do_not_exist_reach_nobody() -> Outcome {
    let before: [u32; smp::MAX_VCPUS] = core::array::from_fn(|index| received(index, 11));
    let beyond = !((1_u64 << team::size()) - 1) & 0xffff;
    for value in [
        0,
        beyond,
        0xffff | 0x7f << 16,
        0xffff | 0x7f << 32,
        0xffff | 0x7f << 48,
    ] {
        gic::write_sgi1r(value | 11 << 24);
    }
    for _ in 0..20 {
        team::rest();
    }
    for index in 0..team::size() {
        expect_eq!(received(index, 11), before[index], "interrupts taken");
    }
    Ok(())
}

fn a7_target_lists_past_the_last_vcpu_reach_the_others_once() -> Outcome {
    for intid in 0..16_u32 {
        let before: [u32; smp::MAX_VCPUS] = core::array::from_fn(|index| received(index, intid));
        // All sixteen of the first range, though there are fewer; then all of ranges where nobody is.
        gic::write_sgi1r(u64::from(intid) << 24 | 0xffff);
        for range in 1..16_u64 {
            gic::write_sgi1r(range << 44 | u64::from(intid) << 24 | 0xffff);
        }
        for index in 0..team::size() {
            let wanted = u32::from(team::affinity(index) < 16);
            let count = arrivals(index, intid, before[index]);
            expect!(
                count == wanted,
                "SGI {intid}: vCPU {index} took it {count} times"
            );
        }
    }
    Ok(())
}

/// Returns the frame of SGIs and PPIs of vCPU `index`.
fn private_frame(index: usize) -> guest_runtime::mmio::Mmio {
    let position =
        gic::redistributor_affinities().position(|affinity| affinity == team::affinity(index));
    let base = gic::redistributor_at(position.unwrap_or(0)).base() + gic::SGI_FRAME;
    // SAFETY: the second frame of a redistributor that exists.
    unsafe { guest_runtime::mmio::Mmio::new(base) }
}

/// Words of the GIC's frames that were refused, and holes that did not read as zero.
static WRONG: AtomicU32 = AtomicU32::new(0);

/// Reads every word of the distributor and of all redistributors; writes to holes alone, for others use the rest meanwhile.
fn read_all_frames() {
    let redistributors = (0..team::size()).flat_map(|position| {
        let base = gic::redistributor_at(position).base();
        [(1, base), (2, base + gic::SGI_FRAME)]
    });
    for (number, base) in redistributors.chain([(0, layout::GICD)]) {
        // SAFETY: a frame of the GIC.
        let frame = unsafe { guest_runtime::mmio::Mmio::new(base) };
        for offset in (0..gic::SGI_FRAME).step_by(4) {
            let hole = gic::is_hole(number, offset);
            let (value, fault) = catch(|| {
                if hole {
                    frame.write32(offset, u32::MAX);
                }
                frame.read32(offset)
            });
            if fault.is_some() || hole && value != 0 {
                WRONG.fetch_add(1, Ordering::AcqRel);
            }
        }
    }
}

fn a5_every_vcpu_reads_all_frames_at_once() -> Outcome {
    if !team::is_hypervised() {
        skip!("the machine's own GIC answers as it likes");
    }
    WRONG.store(0, Ordering::Release);
    team::together(read_all_frames)?;
    expect_eq!(
        WRONG.load(Ordering::Acquire),
        0,
        "words that were refused, and holes that are not zero"
    );
    Ok(())
}

fn b5_redistributor_of_another_pends_there() -> Outcome {
    team::needs(2)?;
    for index in 0..team::size() {
        let before = received(index, 12);
        let others: u32 = (0..team::size())
            .filter(|other| *other != index)
            .map(|other| received(other, 12))
            .sum();
        private_frame(index).write32(gic::ISPENDR, 1 << 12);
        let count = arrivals(index, 12, before);
        expect!(count == 1, "vCPU {index} took it {count} times");
        let after: u32 = (0..team::size())
            .filter(|other| *other != index)
            .map(|other| received(other, 12))
            .sum();
        expect_eq!(after, others, "interrupts at the other vCPUs");
    }
    Ok(())
}

fn b5_redistributor_of_another_shows_its_state() -> Outcome {
    team::needs(2)?;
    let frame = private_frame(1);
    frame.write32(gic::ICENABLER, 1 << 13);
    expect_eq!(
        frame.read32(gic::ISENABLER) >> 13 & 1,
        0,
        "enable bit after it was cleared"
    );
    let before = received(1, 13);
    frame.write32(gic::ISPENDR, 1 << 13);
    for _ in 0..10 {
        team::rest();
    }
    expect_eq!(received(1, 13), before, "interrupts taken while disabled");
    expect_eq!(frame.read32(gic::ISPENDR) >> 13 & 1, 1, "pending bit");
    frame.write8(gic::IPRIORITYR + 13, 0x60);
    expect_eq!(frame.read8(gic::IPRIORITYR + 13), 0x60, "priority");
    frame.write32(gic::ISENABLER, 1 << 13);
    expect_eq!(
        arrivals(1, 13, before),
        1,
        "interrupts taken after it was enabled"
    );
    Ok(())
}

/// Prepares the UART's interrupt for being pended by register.
fn spi_ready() {
    gic::disable(UART);
    gic::write_bit(gic::ICPENDR, UART);
    gic::enable(UART, 0x80);
}

/// Returns how many times all vCPUs together took the UART's interrupt.
fn all_received() -> u32 {
    (0..team::size()).map(|index| received(index, UART)).sum()
}

fn b5_route_moves_an_spi() -> Outcome {
    team::needs(2)?;
    spi_ready();
    for round in 0..20 {
        for index in 0..team::size() {
            gic::route(UART, team::affinity(index));
            let (before, all) = (received(index, UART), all_received());
            gic::write_bit(gic::ISPENDR, UART);
            let count = arrivals(index, UART, before);
            expect!(
                count == 1,
                "round {round}: vCPU {index} took it {count} times"
            );
            expect_eq!(all_received(), all + 1, "times that anyone took it");
        }
    }
    Ok(())
}

fn b5_route_moves_an_spi_that_is_pending() -> Outcome {
    team::needs(2)?;
    spi_ready();
    for _ in 0..20 {
        gic::disable(UART);
        gic::route(UART, team::affinity(0));
        gic::write_bit(gic::ISPENDR, UART);
        let (before, all) = (received(1, UART), all_received());
        gic::route(UART, team::affinity(1));
        gic::write_bit(gic::ISENABLER, UART);
        expect_eq!(
            arrivals(1, UART, before),
            1,
            "times that the new target took it"
        );
        expect_eq!(all_received(), all + 1, "times that anyone took it");
    }
    gic::route(UART, team::affinity(0));
    Ok(())
}

/// Times that two vCPUs move a line at the same time.
const MEETINGS: u32 = 5_000;

static MET: AtomicU32 = AtomicU32::new(0);

/// Waits until the first two vCPUs have come here `times` times.
fn meet(times: u32) -> bool {
    MET.fetch_add(1, Ordering::AcqRel);
    let all = || MET.load(Ordering::Acquire) >= 2 * times;
    (0..1000).any(|_| all()) || team::wait(all)
}

/// Raises or lowers the UART's line while the other vCPU does the opposite, then lets the first one look.
fn move_line() {
    let own = smp::index() as u32;
    for round in 0..MEETINGS {
        let raised = (round + own).is_multiple_of(2);
        let met = meet(3 * round + 1);
        console::UART.write32(console::IMSC, console::INT_TX * u32::from(raised));
        if !met || !meet(3 * round + 2) {
            WRONG.fetch_add(1, Ordering::AcqRel);
            return;
        }
        if own == 0 {
            let shown = console::UART.read32(console::MIS) != 0;
            if gic::read_bit(gic::ISPENDR, UART) != shown {
                WRONG.fetch_add(1, Ordering::AcqRel);
            }
        }
        meet(3 * round + 3);
    }
}

fn b10_a_line_that_two_vcpus_move_is_as_the_uart_shows() -> Outcome {
    team::needs(2)?;
    console::flush();
    gic::disable(UART);
    WRONG.store(0, Ordering::Release);
    MET.store(0, Ordering::Release);
    team::give(1, move_line);
    move_line();
    team::finish()?;
    console::UART.write32(console::IMSC, 0);
    expect_eq!(
        WRONG.load(Ordering::Acquire),
        0,
        "times that the distributor showed another level than the UART"
    );
    Ok(())
}

fn b5_route_to_any_vcpu_reaches_one() -> Outcome {
    team::needs(2)?;
    if gic::DISTRIBUTOR.read32(gic::GICD_TYPER) >> 25 & 1 != 0 {
        skip!("GICD_TYPER.No1N: there is no such route");
    }
    spi_ready();
    gic::route(UART, 1 << 31);
    let all = all_received();
    for round in 1..=20 {
        gic::write_bit(gic::ISPENDR, UART);
        expect!(
            team::wait(|| all_received() >= all + round),
            "nobody took it in round {round}"
        );
    }
    timer::spin(100_000);
    gic::route(UART, team::affinity(0));
    expect_eq!(all_received(), all + 20, "times that anyone took it");
    Ok(())
}
