//! The physical console: its server on one pCPU, and what the other pCPUs share with it.
//!
//! Partitions put output into rings of their own; the server moves a few bytes at a time from them to the UART, called
//! by the UART's interrupt, by a pCPU that has news, or by the 20 ms after which an unfinished line is shown. Nothing
//! waits for the UART, and no turn is taken while somebody more urgent than `console_priority` runs there.

mod input;
mod lines;

use crate::arch::aarch64::cpu;
use crate::events::{Event, Queue};
use crate::hw::pl011::Uart;
use crate::hw::timer;
use crate::pcpu::Pcpu;
use crate::report::{Cursor, Next, Piece, Speech};
use crate::system::System;
use bulkhead::console::keyboard::Keyboard;
use bulkhead::console::multiplexer::{Multiplexer, Step};
use bulkhead::device::ring::TxRing;
use bulkhead::ids::{PartitionId, PcpuId};
use bulkhead::sched::Slot;
use bulkhead::sched::deadlines::NEVER;
use core::cell::Cell;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, fence};
use lines::Lines;
use spin::mutex::TicketMutex;

/// Bytes of EL2's own ring.
const LOG_BYTES: usize = 2048;
/// Steps of the multiplexer in one turn: half a FIFO of bytes.
const STEPS: usize = 16;
/// Pieces of EL2's own lines in one turn.
const PIECES: usize = 2;
/// PSCI SYSTEM_OFF.
const SYSTEM_OFF: u32 = 0x8400_0008;

/// Nothing to send and no line unfinished.
const IDLE: u8 = 0;
/// An unfinished line waits for its deadline.
const WAITING: u8 = 1;
/// The UART's interrupt continues.
const SENDING: u8 = 2;

/// What all pCPUs share of the console.
pub struct Shared {
    /// The UART, when the board has one that we know.
    uart: Option<Uart>,
    /// Who serves it.
    pcpu: PcpuId,
    /// What EL2 says.
    log: TxRing<LOG_BYTES>,
    events: TicketMutex<Queue>,
    /// [`IDLE`], [`WAITING`] or [`SENDING`].
    state: AtomicU8,
    /// Input waits for room in the UART of the partition with the focus.
    input_waits: AtomicBool,
    /// The machine goes off when everything is sent.
    off: AtomicBool,
    /// Partition that has the focus.
    focus: AtomicU32,
    /// Somebody asked for the list of partitions.
    listing: AtomicBool,
}

impl Shared {
    /// Makes the shared half.
    pub fn new(uart: Option<Uart>, pcpu: PcpuId, focus: u32) -> Self {
        Self {
            uart,
            pcpu,
            log: TxRing::new(),
            events: TicketMutex::new(Queue::new()),
            state: AtomicU8::new(IDLE),
            input_waits: AtomicBool::new(false),
            off: AtomicBool::new(false),
            focus: AtomicU32::new(focus),
            listing: AtomicBool::new(false),
        }
    }

    /// Records an event, and says whether the server should be called for it.
    pub fn record(&self, event: Event) -> bool {
        self.events.lock().push(event, window());
        fence(Ordering::SeqCst);
        self.state.load(Ordering::SeqCst) != SENDING
    }

    /// Says that the machine goes off when everything is sent.
    pub fn power_off(&self) {
        self.off.store(true, Ordering::SeqCst);
    }

    /// Returns who serves the UART.
    pub fn pcpu(&self) -> PcpuId {
        self.pcpu
    }
}

/// The server's own half, on the pCPU that serves the console.
pub struct Server {
    multiplexer: Multiplexer,
    keyboard: Keyboard,
    intid: u32,
    /// When to look again, in ticks.
    deadline: u64,
    /// The server was called while somebody more urgent ran: it is due as soon as its priority is reached.
    due: bool,
    /// A byte that its partition had no room for.
    kept: Option<input::Kept>,
    /// A partition that did not take its byte in time: further ones are not kept for it.
    deaf: Option<PartitionId>,
    /// What EL2 is saying.
    speech: Option<Cursor>,
    clock: timer::Clock,
}

impl Server {
    /// Makes the server; it begins with the start-up table.
    pub fn new(intid: u32, focus: PartitionId) -> Self {
        Self {
            multiplexer: Multiplexer::new(),
            keyboard: Keyboard::new(focus),
            intid,
            deadline: NEVER,
            due: false,
            kept: None,
            deaf: None,
            speech: Some(Cursor::new(Speech::StartUp(0))),
            clock: timer::Clock::new(),
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
    pub fn output_arrived(&mut self, line_ended: bool) {
        fence(Ordering::SeqCst);
        match self.system.console.state.load(Ordering::SeqCst) {
            SENDING => {}
            WAITING if !line_ended => {}
            _ => self.call_console(),
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
    pub fn call_console(&mut self) {
        if self.console.is_some() {
            self.serve_console();
        } else if let Some(mailbox) = self
            .system
            .mailboxes
            .get(usize::from(self.system.console.pcpu.0))
        {
            mailbox.post_console();
        }
    }

    /// Serves the console for one turn, or, while somebody more urgent runs, notes that it is due; the UART waits too.
    pub fn serve_console(&mut self) {
        if !self.is_above_console(self.current) {
            self.take_console_turn();
            return;
        }
        let shared = &self.system.console;
        if let Some(server) = self.console.as_mut() {
            server.due = true;
            server.deadline = NEVER;
            if let Some(uart) = shared.uart {
                uart.listen(false, false);
            }
            // Whoever has news need not call again.
            shared.state.store(SENDING, Ordering::SeqCst);
        }
    }

    /// A guest looks whether its full ring has room again. One that is more urgent than the console would look for
    /// ever: it pays for the turn.
    pub fn output_is_awaited(&mut self) {
        if self.console.as_ref().is_some_and(|server| server.due) {
            self.take_console_turn();
            self.serve_console();
        }
    }

    /// Takes one turn: some input, some of what EL2 has to say, some output.
    fn take_console_turn(&mut self) {
        let Some(server) = self.console.take() else {
            return;
        };
        server.due = false;
        if let Some(uart) = self.system.console.uart {
            self.receive(server, uart);
            speak(server, self.system);
            self.transmit(server, uart);
        }
        self.console = Some(server);
        self.reschedule = true; // the deadline may have changed
    }

    /// Says whether a vCPU is more urgent than the console.
    fn is_above_console(&self, running: Option<Slot>) -> bool {
        let vcpu = running
            .filter(|slot| self.queue.is_ready(*slot))
            .and_then(|slot| self.vcpus.get(slot.index()));
        vcpu.is_some_and(|vcpu| !vcpu.yields_to_console)
    }

    /// Serves the console when that is due, now that `running` is about to run; silences the UART when `running` is
    /// more urgent.
    pub fn settle_console(&mut self, running: Option<Slot>) {
        let Some(server) = self.console.as_ref() else {
            return;
        };
        if server.due != self.is_above_console(running) {
            self.serve_console();
        }
    }

    /// Sends what fits, and arranges for the next turn.
    fn transmit(&mut self, server: &mut Server, uart: Uart) {
        let system = self.system;
        let lines = Lines {
            system,
            vcpus: self.vcpus,
            current: self.current,
            rooms: Cell::new(0),
        };
        let shared = &system.console;
        shared.state.store(SENDING, Ordering::SeqCst);
        server.deadline = NEVER;
        let mut more = true;
        for _ in 0..STEPS {
            if !uart.has_room() {
                break;
            }
            match server.multiplexer.next(server.clock.now_ns(), &lines) {
                Step::Byte(byte) => {
                    uart.try_send(byte);
                }
                Step::Again => {}
                Step::Idle { deadline } => {
                    let state = if deadline.is_some() { WAITING } else { IDLE };
                    if shared.state.swap(state, Ordering::SeqCst) == SENDING {
                        // Once more, for what came before the others could see that we are idle.
                        continue;
                    }
                    server.deadline = deadline.map_or(NEVER, |ns| server.clock.ticks_at(ns));
                    more = false;
                    break;
                }
            }
        }
        if more {
            shared.state.store(SENDING, Ordering::SeqCst);
        }
        let rooms = lines.rooms.get();
        uart.listen(
            server.kept.is_none(),
            more || server.speech.is_some() || shared.has_events(),
        );
        if !more
            && server.deadline == NEVER
            && shared.off.load(Ordering::SeqCst)
            && server.speech.is_none()
            && !shared.has_events()
        {
            // SAFETY: every partition has stopped; nothing is left to lose.
            unsafe { cpu::smc(SYSTEM_OFF, [0; 3]) };
        }
        if let Some(kept) = &server.kept {
            server.deadline = server.deadline.min(kept.deadline());
        }
        self.tell_of_room(rooms);
    }

    /// Raises the transmit interrupt of partitions whose rings have room again.
    fn tell_of_room(&mut self, mut rooms: u64) {
        while rooms != 0 {
            let index = rooms.trailing_zeros() as usize;
            rooms &= rooms - 1;
            let Some(partition) = self.system.partitions.get(index) else {
                continue;
            };
            let mut state = partition.state.lock();
            state.uart.transmit_room();
            let line = state.uart.take_line_change();
            drop(state);
            if let Some(level) = line {
                self.drive_uart(partition, level);
            }
        }
    }
}

impl Shared {
    /// Says whether EL2 has something to say.
    fn has_events(&self) -> bool {
        self.listing.load(Ordering::Relaxed) || !self.events.lock().is_empty(window())
    }

    /// Takes what EL2 is to say next.
    fn next_speech(&self) -> Option<Speech> {
        let mut events = self.events.lock();
        if let Some(event) = events.pop() {
            return Some(Speech::Event(event));
        }
        match events.take_lost(window()) {
            0 => self
                .listing
                .swap(false, Ordering::Relaxed)
                .then_some(Speech::Partitions(0)),
            lost => Some(Speech::Lost(lost)),
        }
    }
}

/// Returns the second that events are counted in.
fn window() -> u64 {
    timer::now() / timer::frequency()
}

/// Says the next pieces of what EL2 has to say, as far as there is room.
fn speak(server: &mut Server, system: &System) {
    let shared = &system.console;
    for _ in 0..PIECES {
        if shared.log.room() < Piece::BYTES {
            return;
        }
        let Some(cursor) = server.speech.as_mut() else {
            server.speech = shared.next_speech().map(Cursor::new);
            continue;
        };
        match cursor.next(system) {
            Next::Piece(piece) => piece.spell(|bytes| {
                for byte in bytes {
                    shared.log.push(*byte);
                }
            }),
            Next::LineEnd => {
                shared.log.push(b'\n');
            }
            Next::Silence => server.speech = None,
        }
    }
}
