//! What side 1 does: it answers each message, and does what the first byte asks for.
//!
//! | first byte | does |
//! | --- | --- |
//! | `w` | tries to write the memory of `show`; answers `w1` when that aborted and changed nothing, else `w0` |
//! | `s` | rings a hundred times, then answers |
//! | `r` | waits a while, so that doorbells come that it does not take, and restarts |
//! | `h` | writes nonsense over its half of the memory, then restarts |
//! | `o` | turns its partition off |
//! | another | answers with the same bytes |
//!
//! The first message of each life is `l1` when the doorbell was pending at its beginning, else `l0`.

use guest_runtime::channel::{self, Channel, Error, Link, Memory, State, Window};
use guest_runtime::{exception, println, smccc, sysreg, timer};

use crate::bell;

/// Longest message that is answered.
const LONGEST: usize = 1024;

/// Serves for ever.
pub fn serve(talk: Channel, stale: bool) -> ! {
    println!("life {} begins", talk.own().generation);
    let Some(mut link) = talk.link() else {
        println!("FAIL channel: no room for rings");
        smccc::system_off()
    };
    loop {
        let seen = bell::rung();
        match link.meet(talk.peer()) {
            State::Opened => {
                let greeting = [b'l', b'0' + u8::from(stale)];
                say(&talk, &mut link, &greeting);
                continue;
            }
            State::Waiting => talk.ring(),
            State::Down | State::Up | State::Broken => {}
        }
        answer_all(&talk, &mut link);
        bell::wait(seen);
    }
}

/// Answers what is in the ring.
fn answer_all(talk: &Channel, link: &mut Link<Window>) {
    let mut buffer = [0; LONGEST];
    loop {
        match link.receive(&mut buffer) {
            Ok(Some(length)) => obey(talk, link, &mut buffer[..length]),
            Ok(None) | Err(Error::Down) => return,
            Err(error) => {
                println!("the partner's message: {error:?}");
                return;
            }
        }
    }
}

/// Does what a message asks for.
fn obey(talk: &Channel, link: &mut Link<Window>, message: &mut [u8]) {
    match message.first() {
        Some(b'w') => {
            let refused = is_read_only();
            say(talk, link, &[b'w', b'0' + u8::from(refused)]);
        }
        Some(b's') => {
            for _ in 0..100 {
                talk.ring();
            }
            say(talk, link, message);
        }
        Some(b'r') => {
            sysreg::mask_irqs();
            timer::spin(2_000_000);
            restart()
        }
        Some(b'h') => scribble(talk),
        Some(b'o') => smccc::system_off(),
        _ => say(talk, link, message),
    }
}

/// Sends a message and rings; waits while the ring is full.
fn say(talk: &Channel, link: &mut Link<Window>, message: &[u8]) {
    loop {
        let seen = bell::rung();
        let sent = link.send(message);
        talk.ring();
        if sent != Err(Error::Full) {
            return;
        }
        bell::wait(seen);
    }
}

/// Tries to write what this side may only read.
fn is_read_only() -> bool {
    let Some(show) = channel::find("show") else {
        return false;
    };
    let before = show.memory.read(0);
    let ((), fault) = exception::catch(|| show.memory.write(0, !before));
    !show.writes && fault.is_some() && show.memory.read(0) == before
}

/// Rounds of nonsense.
const ROUNDS: u32 = 50;

/// Writes nonsense into this side's half and rings, each time that the partner rings; then restarts.
fn scribble(talk: &Channel) -> ! {
    let half = talk.memory.size() / 2;
    let mut value = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..ROUNDS {
        let seen = bell::rung();
        for offset in (0..half).step_by(8) {
            value = value
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // SESSION stays for a while, so that the rest is looked at.
            if offset >= 8 || round > ROUNDS / 2 {
                talk.memory.write(half + offset, value);
            }
        }
        talk.ring();
        bell::wait(seen);
    }
    restart()
}

fn restart() -> ! {
    smccc::psci(smccc::SYSTEM_RESET, [0; 3]);
    println!("FAIL channel: SYSTEM_RESET came back");
    smccc::system_off()
}
