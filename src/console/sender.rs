//! Turns of the console's server: bytes for the UART, until that is full, there is nothing more to say, or something else is
//! to be done first.
//!
//! # Who calls for the next turn
//! The UART's transmit interrupt does, once it can be relied on. It does not rise because the FIFO is empty, but when the
//! FIFO falls to its trigger level, and then stands until the FIFO is filled beyond that level again or the interrupt is
//! cleared, which nobody does. Hence, from the first time that it stands or that the FIFO is full, it comes whenever there is
//! room. Who sent less than that before might wait for ever: until then the server looks again by time.
//!
//! # Who is told what
//! Whoever puts something into a ring calls the server only if it would not look by itself: [`IDLE`], [`WAITING`],
//! [`SENDING`]. He writes the ring and then reads the state; the server writes the state and then reads the rings, with a
//! fence of `SeqCst` between the two on both sides, so that one of them sees what the other did.
//!
//! # Source
//! Arm DDI 0183, "PrimeCell UART (PL011) Technical Reference Manual", "UARTTXINTR".

use super::multiplexer::{Multiplexer, Sources, Step};
use crate::atomic::{AtomicU8, Ordering, fence};

/// Steps in one turn, of some twenty instructions each: a byte of a run is one.
const STEPS: usize = 56;
/// Bytes between two looks whether the turn is over.
const BURST: usize = 16;
/// What a run counts in steps, beside its bytes.
const RUN: usize = 2;
/// What a byte that is not one of a run counts in steps.
const SINGLE: usize = 4;
/// What a look at several sources counts in steps.
const SEARCH: usize = 10;

/// Nothing to send and no line unfinished.
pub const IDLE: u8 = 0;
/// An unfinished line waits for its deadline.
pub const WAITING: u8 = 1;
/// The server goes on by itself.
pub const SENDING: u8 = 2;

/// The UART as a turn sees it, and whether the turn may go on.
pub trait Wire: Copy {
    /// Says whether the transmit FIFO has room.
    fn has_room(self) -> bool;

    /// Sends a byte when there is room, and says whether there was.
    fn try_send(self, byte: u8) -> bool;

    /// Says whether the transmit interrupt stands, masked or not.
    fn has_risen(self) -> bool;

    /// Says whether somebody else wants the CPU.
    fn is_interrupted(self) -> bool;
}

/// What is left to send after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// More, as soon as there is room.
    More,
    /// Nothing until a ring changes or, in nanoseconds, an unfinished line is due.
    Until(Option<u64>),
}

/// The server's sending half.
#[derive(Clone, Debug)]
pub struct Sender {
    multiplexer: Multiplexer,
    /// Nobody had anything to say, and the state says so; the pass that finds what came meanwhile has not ended. It may take
    /// several turns.
    announced: bool,
    /// The transmit interrupt comes whenever there is room.
    reliable: bool,
}

impl Sender {
    /// Returns a sender that has sent nothing.
    pub const fn new() -> Self {
        Self {
            multiplexer: Multiplexer::new(),
            announced: false,
            reliable: false,
        }
    }

    /// Says whether the wire is in the middle of a line.
    pub fn is_mid_line(&self) -> bool {
        self.multiplexer.is_mid_line()
    }

    /// Hears that there is news: a pass under way begins anew.
    pub const fn hear(&mut self) {
        self.announced = false;
    }

    /// Takes a turn, and keeps `state` up to date; half of one where the `other` half was spent on something else. It ends
    /// early when a source is to be told of room: that costs, so there is one in a turn.
    #[inline(always)]
    pub fn take_turn<S: Sources, W: Wire>(
        &mut self,
        now_ns: u64,
        sources: &S,
        wire: W,
        state: &AtomicU8,
        other: bool,
    ) -> Rest {
        if !self.announced {
            state.store(SENDING, Ordering::SeqCst);
        }
        let mut steps = if other { STEPS / 2 } else { STEPS };
        while steps != 0 {
            if !wire.has_room() {
                self.reliable = true;
                break;
            }
            let within = self.multiplexer.is_mid_line();
            // An interrupt may be somebody's deadline: it waits for no byte more.
            let run = |byte| !wire.is_interrupted() && wire.try_send(byte);
            let spent = match self.multiplexer.run(sources, BURST, run) {
                0 => match self.multiplexer.next(now_ns, sources) {
                    Step::Byte(byte) => {
                        self.announced = false;
                        wire.try_send(byte);
                        if within { SINGLE } else { SEARCH }
                    }
                    Step::Again => SEARCH,
                    Step::Idle { deadline } => {
                        if !self.announce(deadline, state) {
                            return Rest::Until(deadline);
                        }
                        SEARCH
                    }
                },
                sent => sent + RUN,
            };
            steps = steps.saturating_sub(spent);
            if wire.is_interrupted() || self.multiplexer.owes_room() {
                break;
            }
        }
        if !self.announced {
            state.store(SENDING, Ordering::SeqCst);
        }
        Rest::More
    }

    /// Tells the others that nobody has anything to say. Returns false when they knew: otherwise it takes one more pass, for
    /// what came before they could see it.
    fn announce(&mut self, deadline: Option<u64>, state: &AtomicU8) -> bool {
        let idle = if deadline.is_some() { WAITING } else { IDLE };
        self.announced = state.swap(idle, Ordering::SeqCst) == SENDING;
        fence(Ordering::SeqCst); // the loads of that pass are of lesser kinds
        self.announced
    }

    /// Returns the source that is to be told that its ring has room again, once.
    pub const fn take_room(&mut self) -> Option<usize> {
        self.multiplexer.take_room()
    }

    /// Says whether the transmit interrupt, unmasked, calls as soon as there is room. Otherwise look again by time.
    #[inline(always)]
    pub fn is_called<W: Wire>(&mut self, wire: W) -> bool {
        self.reliable = self.reliable || wire.has_risen();
        self.reliable
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
