//! The physical console: its server on one pCPU, and what the other pCPUs share with it.
//!
//! Partitions put output into rings of their own; the server moves a few bytes at a time from them to the UART, called
//! by the UART's interrupt, by a pCPU that has news, or by the 20 ms after which an unfinished line is shown. Nothing
//! waits for the UART, and no turn is taken while somebody more urgent than `console_priority` runs there: the UART's
//! interrupt has that priority, and so has a call for the server.

mod input;
mod lines;
mod shared;

use crate::arch::aarch64::cpu;
use crate::events::Event;
use crate::hw::uart::Uart;
use crate::hw::{gic, timer};
use crate::pcpu::Pcpu;
use crate::report::{Cursor, Next, Piece, Speech};
use crate::system::{Partition, System};
use bulkhead::console::keyboard::Keyboard;
use bulkhead::console::multiplexer::QUIET_NS;
use bulkhead::console::sender::{IDLE, Rest, SENDING, Sender, WAITING, Wire};
use bulkhead::ids::PartitionId;
use bulkhead::partition::Phase;
use bulkhead::sched::deadlines::NEVER;
use bulkhead::uart::Driver;
use core::cell::Cell;
use core::sync::atomic::{Ordering, fence};
use lines::Lines;
pub use shared::Shared;

/// Pieces of EL2's own lines in one turn; one, if that is longer than [`SHORT`].
const PIECES: usize = 2;
/// Bytes of a short piece.
const SHORT: u32 = 24;
/// PSCI SYSTEM_OFF.
const SYSTEM_OFF: u32 = 0x8400_0008;

/// The server's own half, on the pCPU that serves the console.
pub struct Server {
    sender: Sender,
    keyboard: Keyboard,
    intid: u32,
    /// When to look again, in ticks.
    deadline: u64,
    /// The server was called while somebody more urgent ran: it is due as soon as its priority is reached.
    due: bool,
    /// The UART's interrupt came while somebody more urgent ran, and stays active until the next turn.
    interrupted: bool,
    /// A byte that its partition had no room for.
    kept: Option<input::Kept>,
    /// A partition that did not take its byte in time: further ones are not kept for it.
    deaf: Option<PartitionId>,
    /// What EL2 is saying.
    speech: Option<Cursor>,
    /// When to see whether all pCPUs have come up, in ticks; not any more when that is done.
    roll_call: u64,
    clock: timer::Clock,
    /// [`QUIET_NS`] in ticks.
    quiet_ticks: u64,
}

impl Server {
    /// Makes the server; it begins with the start-up table, and calls the roll a second later when there are `others`.
    pub fn new(intid: u32, focus: PartitionId, others: bool) -> Self {
        Self {
            sender: Sender::new(),
            keyboard: Keyboard::new(focus),
            intid,
            deadline: NEVER,
            due: false,
            interrupted: false,
            kept: None,
            deaf: None,
            speech: Some(Cursor::new(Speech::StartUp(0))),
            roll_call: match others {
                true => timer::now().saturating_add(timer::frequency()),
                false => NEVER,
            },
            clock: timer::Clock::new(),
            quiet_ticks: timer::ticks(QUIET_NS),
        }
    }

    /// Returns the UART's INTID.
    pub fn intid(&self) -> u32 {
        self.intid
    }

    /// Returns when the server wants to be called, in ticks.
    pub fn deadline(&self) -> u64 {
        self.deadline
    }
}

impl Pcpu {
    /// A byte went into a ring: calls the server when it would not find it by itself.
    #[inline]
    pub fn output_arrived(&mut self, partition: &Partition, line_ended: bool) {
        if self.system.console.wants_call(partition, line_ended) {
            self.call_for_output(line_ended);
        }
    }

    /// Calls the server for a byte that it would not find by itself.
    // Not inlined: most bytes need no call.
    #[inline(never)]
    pub fn call_for_output(&mut self, line_ended: bool) {
        if line_ended || !self.begin_line() {
            self.call_console();
        }
    }

    /// The first byte of a line came while the server, this pCPU's, had nothing to do: it looks when the line has had time
    /// to end. Returns false when there is more to it.
    fn begin_line(&mut self) -> bool {
        let Some(server) = &mut self.console else {
            return false;
        };
        let state = &self.system.console.state;
        if server.sender.is_mid_line()
            || state
                .compare_exchange(IDLE, WAITING, Ordering::SeqCst, Ordering::Relaxed)
                .is_err()
        {
            return false;
        }
        let deadline = timer::now().saturating_add(server.quiet_ticks);
        server.deadline = server.deadline.min(deadline);
        server.sender.hear();
        self.arm_for_console();
        true
    }

    /// Arms EL2's timer for the server's deadline, where it may interrupt who runs. A deadline that has become later or
    /// gone leaves the timer as it is.
    fn arm_for_console(&self) {
        if let Some(server) = &self.console
            && self.gate.heard.console()
            && server.deadline != NEVER
        {
            timer::arm_by(server.deadline);
        }
    }

    /// A guest took a byte of input: there may be room for one that waits.
    #[inline]
    pub fn input_taken(&mut self) {
        if self.system.console.input_waits.load(Ordering::Relaxed) {
            self.call_console();
        }
    }

    /// Calls the server, wherever it is.
    // Not inlined: whoever writes, ends a line or gives room may have to call.
    #[inline(never)]
    pub fn call_console(&mut self) {
        if self.console.is_some() {
            self.serve_console();
        } else if let Some(mailbox) = self
            .system
            .mailboxes
            .get(usize::from(self.system.console.pcpu().0))
        {
            mailbox.post_console();
        }
    }

    /// Calls the server, wherever it is, for a turn that comes behind the next choice: for what is no more than a part of its
    /// trap, which may have other long parts, such as a fault that ends a life. Whoever woke meanwhile goes first.
    #[inline(never)]
    pub fn call_console_later(&mut self) {
        if self.console.is_some() {
            self.defer_console();
            self.reschedule = true;
        } else {
            self.call_console();
        }
    }

    /// Serves the console for one turn, or, while somebody more urgent runs, notes that it is due.
    pub fn serve_console(&mut self) {
        if !self.gate.heard.console() {
            self.defer_console();
        } else if self.hear_console() {
            self.take_console_turn();
        }
    }

    /// Notes that the console is due: it gets its turn when nobody more urgent is about to run.
    // Not inlined: it has many callers.
    #[inline(never)]
    pub fn defer_console(&mut self) {
        if self.hear_console()
            && let Some(server) = self.console.as_mut()
        {
            server.due = true;
            // Whoever has news need not call again.
            self.system.console.state.store(SENDING, Ordering::SeqCst);
        }
    }

    /// Looks what the console was called for. Says whether this pCPU serves it.
    fn hear_console(&mut self) -> bool {
        let Some(server) = self.console.as_mut() else {
            return false;
        };
        server.sender.hear();
        if timer::now() >= server.roll_call {
            server.roll_call = NEVER;
            self.call_roll();
        }
        true
    }

    /// The UART's interrupt. It comes while somebody more urgent runs only where the two share a level of priority, and
    /// then stays active, so that it comes once.
    pub fn take_console_interrupt(&mut self, intid: u32) {
        if self.gate.heard.console() {
            self.take_console_turn();
            gic::deactivate(intid);
        } else if let Some(server) = self.console.as_mut() {
            server.due = true;
            server.interrupted = true;
        }
    }

    /// A guest looks whether its ring, full or nearly so, has room again. One that is more urgent than the console would look for
    /// ever: it pays for the turn.
    pub fn output_is_awaited(&mut self) {
        if self.console.is_some() && !self.gate.heard.console() {
            self.take_console_turn();
        }
    }

    /// Takes one turn: some input, some of what EL2 has to say, some output.
    #[inline(never)]
    fn take_console_turn(&mut self) {
        let Some(server) = self.console.take() else {
            return;
        };
        server.due = false;
        match self.system.console.uart {
            // A driver of its own: a turn looks at the UART once a byte.
            Uart::Pl011(uart) => self.converse(server, uart),
            uart => self.converse_slowly(server, uart),
        }
        if core::mem::take(&mut server.interrupted) {
            gic::deactivate(server.intid);
        }
        self.console = Some(server);
        self.arm_for_console();
    }

    /// Serves the console before the pCPU sleeps, if it has something to say: at the start perhaps nobody calls for long.
    #[inline(never)]
    pub fn break_silence(&mut self) {
        let server = self.console.as_ref();
        if server.is_some_and(|server| server.speech.is_some() && server.deadline == NEVER) {
            self.serve_console();
        }
    }

    /// Tells of the pCPUs that the table uses and that have not come up.
    #[inline(never)]
    fn call_roll(&self) {
        for (mailbox, pcpu) in self.system.mailboxes.iter().zip(0..) {
            if mailbox.used && !mailbox.online.load(Ordering::Relaxed) {
                self.system.console.record(Event::Missing { pcpu });
            }
        }
    }

    /// Says whether the console wants its turn.
    #[inline(always)]
    pub fn console_is_due(&self) -> bool {
        self.console.as_ref().is_some_and(|server| server.due)
    }

    /// Serves the console when that is due and nobody more urgent is about to run.
    pub fn settle_console(&mut self) {
        if self.console_is_due() && self.gate.heard.console() {
            self.on_account_of(None, Self::take_console_turn);
        }
    }

    /// Receives, speaks and transmits by a driver.
    #[inline(always)]
    fn converse<D: Driver>(&mut self, server: &mut Server, uart: D) {
        // Each of these may be long: a turn does one of them, and half as much of the sending.
        let other = self.receive(server, uart) || speak(server, self.system);
        self.transmit(server, uart, other);
    }

    /// [`Self::converse`] by any driver.
    #[inline(never)]
    fn converse_slowly(&mut self, server: &mut Server, uart: Uart) {
        self.converse(server, uart);
    }

    /// Sends what fits by a driver, less where this turn did some `other` work, and arranges for the next turn.
    #[inline(always)]
    fn transmit<D: Driver>(&mut self, server: &mut Server, uart: D, other: bool) {
        let shared = &self.system.console;
        let lines = Lines {
            system: self.system,
            vcpus: self.vcpus,
            current: self.current,
            descheduled: Cell::new(None),
        };
        let (sender, now_ns) = (&mut server.sender, server.clock.now_ns());
        let rest = sender.take_turn(now_ns, &lines, Line(uart), &shared.state, other);
        server.deadline = match rest {
            Rest::Until(Some(ns)) => server.clock.ticks_at(ns),
            _ => server.roll_call,
        };
        // Who notes an event stores it and then looks at `state`; we do the reverse.
        fence(Ordering::SeqCst);
        let speaks = server.speech.is_some() || shared.has_events();
        let goes_on = rest == Rest::More || speaks;
        uart.listen(server.kept.is_none(), goes_on);
        if !speaks && shared.is_eventful() {
            // What was lost since it was told last is told in another second.
            let later = timer::now().saturating_add(timer::frequency());
            server.deadline = server.deadline.min(later);
        }
        if goes_on && !sender.is_called(Line(uart)) {
            server.deadline = server.deadline.min(match rest {
                Rest::More => 0,
                Rest::Until(_) => timer::now().saturating_add(server.quiet_ticks),
            });
        }
        if goes_on && uart.may_miss() {
            let later = timer::now().saturating_add(server.quiet_ticks);
            server.deadline = server.deadline.min(later);
        }
        if rest == Rest::Until(None) && !speaks && shared.off.load(Ordering::SeqCst) {
            // SAFETY: every partition has stopped; nothing is left to lose.
            unsafe { cpu::smc(SYSTEM_OFF, [0; 3]) };
        }
        if let Some(kept) = &server.kept {
            server.deadline = server.deadline.min(kept.deadline());
        }
        if let Some(source) = server.sender.take_room() {
            self.tell_of_room(source);
        }
    }

    /// Raises the transmit interrupt of a partition whose ring has room again, unless it has stopped since it asked.
    fn tell_of_room(&mut self, source: usize) {
        let index = source.wrapping_sub(1);
        let Some(partition) = self.system.partitions.get(index) else {
            return;
        };
        let mut state = partition.state.lock();
        if state.life.phase() != Phase::Running {
            return;
        }
        state.uart.transmit_room();
        let changed = state.uart.take_line_change().is_some();
        drop(state);
        if changed {
            self.drive_uart(partition);
        }
    }
}

/// A UART as the sender's wire.
#[derive(Clone, Copy)]
struct Line<D>(D);

impl<D: Driver> Wire for Line<D> {
    #[inline(always)]
    fn has_room(self) -> bool {
        self.0.has_room()
    }

    #[inline(always)]
    fn try_send(self, byte: u8) -> bool {
        self.0.try_send(byte)
    }

    fn has_risen(self) -> bool {
        self.0.has_risen()
    }

    #[inline(always)]
    fn is_interrupted(self) -> bool {
        cpu::interrupt_is_pending()
    }
}

/// Says the next pieces of what EL2 has to say, as far as there is room. Says whether there are any.
fn speak(server: &mut Server, system: &System) -> bool {
    let shared = &system.console;
    let speaks = server.speech.is_some() || shared.has_events();
    if speaks {
        speak_pieces(server, system);
    }
    speaks
}

/// Does [`speak`]'s work.
// Not inlined: most turns have nothing of EL2's to say.
#[inline(never)]
fn speak_pieces(server: &mut Server, system: &System) {
    let shared = &system.console;
    let room = shared.log.room();
    for _ in 0..PIECES {
        let left = shared.log.room();
        if left < Piece::BYTES || room > left + SHORT {
            return;
        }
        let Some(cursor) = server.speech.as_mut() else {
            server.speech = shared.next_speech().map(Cursor::new);
            continue;
        };
        match cursor.next(system) {
            Next::Piece(piece) => piece.spell(&mut |bytes| shared.say(bytes)),
            Next::LineEnd => shared.say(b"\n"),
            Next::Silence => server.speech = None,
        }
    }
}
