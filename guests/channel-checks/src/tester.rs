//! What side 0 tests.

use core::sync::atomic::{AtomicU64, Ordering};

use guest_runtime::channel::{self, Channel, Error, Link, Memory, State, Window};
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, fail, sysreg, tests, timer};

use crate::bell;

/// The tests. They share one link, so their order counts.
pub const TESTS: &[Test] = tests![
    channel_is_in_the_tree,
    channel_registers_say_what_the_tree_says,
    channel_calls_reach_own_channels_alone,
    channel_memory_is_zero_at_the_start,
    channel_opens,
    channel_carries_messages_both_ways,
    channel_doorbells_merge,
    channel_side_that_reads_cannot_write,
    channel_partner_that_restarts_is_noticed,
    channel_survives_a_hostile_partner,
    channel_partner_that_stops_is_noticed,
];

/// What the tests share: the suite runs plain functions, one after the other.
struct Shared(core::cell::UnsafeCell<Option<Link<Window>>>);

// SAFETY: one vCPU runs the tests, and interrupt handlers do not touch it.
unsafe impl Sync for Shared {}

static LINK: Shared = Shared(core::cell::UnsafeCell::new(None));
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// Returns the channel and the link.
fn talk() -> (Channel, &'static mut Link<Window>) {
    let channel = channel::find("talk").expect("`main` found it");
    // SAFETY: each test calls this once, and none outlives its call.
    let link = unsafe { &mut *LINK.0.get() };
    let link = link.get_or_insert_with(|| channel.link().expect("room for rings"));
    (channel, link)
}

/// Waits for the doorbell until `done` says so.
fn wait(mut done: impl FnMut() -> bool) -> bool {
    timer::wait_until(timer::PATIENCE_NS, &mut done)
}

/// Waits for a message.
fn hear(link: &mut Link<Window>, buffer: &mut [u8]) -> Result<usize, Error> {
    let mut heard = Ok(0);
    let came = wait(|| match link.receive(buffer) {
        Ok(None) => false,
        Ok(Some(length)) => {
            heard = Ok(length);
            true
        }
        Err(error) => {
            heard = Err(error);
            true
        }
    });
    if came { heard } else { Err(Error::Full) }
}

/// Waits until the link is open with a partner of another life than before, and hears its greeting: whether its doorbell
/// was pending when it began.
fn open() -> Result<u8, &'static str> {
    let (channel, link) = talk();
    let before = GENERATION.load(Ordering::Relaxed);
    let opened = wait(|| {
        let peer = channel.peer();
        if !peer.runs || u64::from(peer.generation) == before {
            return false;
        }
        // No ring before it has opened its end: it looks at its doorbell first.
        matches!(link.meet(peer), State::Opened | State::Up)
    });
    if !opened {
        return Err("it did not open");
    }
    channel.ring();
    GENERATION.store(channel.peer().generation.into(), Ordering::Relaxed);
    let mut greeting = [0xff; 2];
    match hear(link, &mut greeting) {
        Ok(2) if greeting[0] == b'l' => Ok(greeting[1].wrapping_sub(b'0')),
        _ => Err("no greeting"),
    }
}

fn channel_is_in_the_tree() -> Outcome {
    let mut all = channel::all();
    let Some(found) = all.find(|found| found.name == "talk") else {
        fail!("no channel `talk`");
    };
    expect!(!found.peer.is_empty(), "no partner's name");
    expect_eq!(found.side, 0, "side");
    expect!(found.writes, "this side should write");
    expect!(
        channel::number(found.index).is_some(),
        "not found by number"
    );
    expect!(channel::find("nothing").is_none(), "found `nothing`");
    Ok(())
}

fn channel_registers_say_what_the_tree_says() -> Outcome {
    let mut all = channel::all();
    let found = all.find(|found| found.name == "talk").unwrap_or_default();
    let registers = talk().0.registers;
    expect_eq!(registers.read32(0x18), 0x0003_0001, "INFO");
    expect_eq!(registers.read64(0x20), found.size, "SIZE");
    expect_eq!(registers.read32(0x00), 0, "SIGNAL");
    expect_eq!(registers.read64(0xff8), 0, "the last word");
    expect_eq!(registers.read64(0x10), 1 << 32 | 1, "OWN");
    expect_eq!(registers.read32(0x14), 1, "OWN's upper half");
    registers.write64(0x08, u64::MAX);
    registers.write8(0x10, 0xff);
    expect_eq!(registers.read64(0x10), 1 << 32 | 1, "OWN after a store");
    Ok(())
}

fn channel_calls_reach_own_channels_alone() -> Outcome {
    let count = channel::all().count() as u64;
    for index in [count, 63, u64::from(u32::MAX), u64::MAX] {
        for function in [channel::CHANNEL_SIGNAL, channel::CHANNEL_STATUS] {
            let wide = function | 1 << 30;
            let [x0, ..] = smccc::call(Conduit::Hvc, wide, [index, 0, 0]);
            expect!(x0 as i64 == -2, "channel {index}: {x0:#x}");
        }
    }
    let (channel, _) = talk();
    let [x0, peer, own, info] = smccc::call(
        Conduit::Smc,
        channel::CHANNEL_STATUS,
        [u64::from(channel.index), 0, 0],
    );
    expect_eq!(x0, 0, "channel_status");
    expect_eq!(own, channel.registers.read64(0x10), "OWN");
    expect_eq!(info, channel.registers.read64(0x18), "INFO");
    expect!(
        peer >> 32 <= 1,
        "the partner's generation is {:#x}",
        peer >> 32
    );
    let [features, ..] = smccc::call(Conduit::Hvc, 0x8600_0000, [0; 3]);
    expect_eq!(features >> 16 & 3, 3, "features");
    Ok(())
}

fn channel_memory_is_zero_at_the_start() -> Outcome {
    let Some(show) = channel::find("show") else {
        fail!("no channel `show`");
    };
    expect!(show.writes, "this side should write");
    for offset in (0..show.memory.size()).step_by(8) {
        let word = show.memory.read(offset);
        expect!(word == 0, "{word:#x} at {offset:#x}");
    }
    show.memory.write(8, 0x1234);
    expect_eq!(show.memory.read(8), 0x1234, "what was written");
    Ok(())
}

fn channel_opens() -> Outcome {
    match open() {
        // The doorbell may have rung for this side's start already.
        Ok(_) => Ok(()),
        Err(why) => fail!("{why}"),
    }
}

fn channel_carries_messages_both_ways() -> Outcome {
    let (channel, link) = talk();
    let (mut buffer, before) = ([0; 64], bell::rung());
    for number in 0..1000_u64 {
        let rung = bell::rung();
        let mut message = [b'e'; 40];
        message[1..9].copy_from_slice(&number.to_le_bytes());
        let message = &message[..9 + number as usize % 30];
        expect!(link.send(message).is_ok(), "message {number} was not sent");
        channel.ring();
        match hear(link, &mut buffer) {
            Ok(length) => expect!(buffer[..length] == *message, "answer {number} is another"),
            Err(error) => fail!("answer {number}: {error:?}"),
        }
        // In step: the next question would let its answer's doorbell merge with one that is still on its way.
        expect!(
            wait(|| bell::rung() != rung),
            "answer {number} without a doorbell"
        );
    }
    // That of the partner's greeting may be among them.
    let rung = bell::rung() - before;
    expect!(
        (1000..=1001).contains(&rung),
        "{rung} doorbells for 1000 answers"
    );
    let signalled = channel.signal();
    expect_eq!(signalled, 0, "channel_signal");
    Ok(())
}

fn channel_doorbells_merge() -> Outcome {
    let (channel, link) = talk();
    let mut buffer = [0; 8];
    sysreg::mask_irqs();
    let before = bell::rung();
    let sent = link.send(b"s").is_ok();
    channel.ring();
    let heard = hear(link, &mut buffer);
    // The last ring comes behind the message, on a pCPU of its own perhaps much later.
    timer::spin(1_000_000);
    sysreg::unmask_irqs();
    sysreg::isb();
    timer::spin(1_000_000);
    expect!(sent && heard == Ok(1), "no answer: {heard:?}");
    let rung = bell::rung() - before;
    expect!((1..=2).contains(&rung), "{rung} interrupts for 101 rings");
    Ok(())
}

fn channel_side_that_reads_cannot_write() -> Outcome {
    let (channel, link) = talk();
    let mut buffer = [0; 8];
    expect!(link.send(b"w").is_ok(), "not sent");
    channel.ring();
    let heard = hear(link, &mut buffer);
    expect!(heard == Ok(2) && buffer[0] == b'w', "no answer: {heard:?}");
    expect_eq!(buffer[1], b'1', "the partner's store aborted");
    Ok(())
}

fn channel_partner_that_restarts_is_noticed() -> Outcome {
    let (channel, link) = talk();
    let before = channel.peer();
    let show = channel::find("show");
    let rung = bell::rung();
    expect!(link.send(b"r").is_ok(), "not sent");
    channel.ring();
    // Doorbells that the partner does not take before it restarts.
    for _ in 0..10 {
        channel.ring();
    }
    let noticed = wait(|| bell::rung() != rung);
    expect!(noticed, "no doorbell");
    match open() {
        Ok(0) => {}
        Ok(_) => fail!("the new life begins with a doorbell of the former one"),
        Err(why) => fail!("{why}"),
    }
    let after = channel.peer();
    expect_eq!(after.generation, before.generation + 1, "generation");
    let kept = show.map(|show| show.memory.read(8));
    expect!(
        kept == Some(0x1234),
        "shared memory did not stay: {kept:x?}"
    );
    Ok(())
}

fn channel_survives_a_hostile_partner() -> Outcome {
    let (channel, link) = talk();
    let mut buffer = [0; 64];
    expect!(link.send(b"h").is_ok(), "not sent");
    channel.ring();
    let before = GENERATION.load(Ordering::Relaxed) as u32;
    let mut corrupt = 0;
    let over = wait(|| {
        let found = link.receive(&mut buffer).map(|_| ());
        let sent = link.send(&buffer);
        corrupt += u32::from([found, sent].contains(&Err(Error::Corrupt)));
        // The next life is `open`'s to meet.
        let peer = channel.peer();
        if peer.generation == before {
            link.meet(peer);
        }
        channel.ring();
        peer.generation != before
    });
    expect!(over, "the partner did not restart");
    expect!(corrupt == 1, "{corrupt} times corrupt in one life");
    if let Err(why) = open() {
        fail!("after that: {why}");
    }
    Ok(())
}

fn channel_partner_that_stops_is_noticed() -> Outcome {
    let (channel, link) = talk();
    let rung = bell::rung();
    expect!(link.send(b"o").is_ok(), "not sent");
    channel.ring();
    let noticed = wait(|| !channel.peer().runs);
    expect!(noticed, "it still runs");
    expect!(wait(|| bell::rung() != rung), "no doorbell");
    expect_eq!(channel.signal(), -3, "channel_signal");
    channel.ring();
    expect!(link.meet(channel.peer()) == State::Down, "not down");
    Ok(())
}
