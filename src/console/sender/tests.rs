use super::*;
use crate::console::multiplexer::QUIET_NS;
use crate::device::ring::{Reader, TxRing};
use std::cell::Cell;

/// A PL011's transmitter as the manual has it: the interrupt rises when the FIFO falls to its trigger level, and falls when
/// it is filled beyond.
struct Uart {
    depth: usize,
    level: usize,
    fifo: Cell<usize>,
    risen: Cell<bool>,
    sent: Cell<usize>,
    /// Bytes after which somebody wants the CPU, in each turn.
    patience: usize,
    since: Cell<usize>,
}

impl Uart {
    fn new(depth: usize, level: usize, patience: usize) -> Self {
        Self {
            depth,
            level,
            fifo: Cell::new(0),
            risen: Cell::new(false),
            sent: Cell::new(0),
            patience,
            since: Cell::new(0),
        }
    }

    /// Lets a byte go out on the line.
    fn drain(&self) {
        let left = self.fifo.get().saturating_sub(1);
        if self.fifo.replace(left) == self.level + 1 {
            self.risen.set(true);
        }
    }
}

impl Wire for &Uart {
    fn has_room(self) -> bool {
        self.fifo.get() < self.depth
    }

    fn try_send(self, _: u8) -> bool {
        if !self.has_room() {
            return false;
        }
        self.fifo.set(self.fifo.get() + 1);
        if self.fifo.get() > self.level {
            self.risen.set(false);
        }
        self.sent.set(self.sent.get() + 1);
        self.since.set(self.since.get() + 1);
        true
    }

    fn has_risen(self) -> bool {
        self.risen.get()
    }

    fn is_interrupted(self) -> bool {
        self.since.get() >= self.patience
    }
}

/// Partitions that all have the name `a`.
struct Lines(Vec<TxRing<64>>);

impl Lines {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| TxRing::new()).collect())
    }
}

impl Sources for Lines {
    fn name(&self, _: usize) -> &[u8] {
        b"a"
    }

    fn reader(&self, source: usize) -> Option<Reader<'_>> {
        Some(self.0.get(source.checked_sub(1)?)?.reader())
    }

    fn speaking(&self) -> u64 {
        (1 << self.0.len()) - 1
    }

    fn fell_silent(&self, _: usize) {}

    fn is_descheduled(&self, _: usize) -> bool {
        false
    }

    fn focus(&self) -> usize {
        1
    }
}

/// Sends lines of a length, called by the interrupt alone from when that is reliable; returns how often it was called by
/// time.
fn polls(uart: &Uart, bytes: usize, lines: usize) -> usize {
    let (source, state) = (Lines::new(1), AtomicU8::new(IDLE));
    let mut sender = Sender::new();
    let mut polls = 0;
    for _ in 0..lines {
        (1..bytes).for_each(|_| _ = source.0[0].push(b'x'));
        source.0[0].push(b'\n');
        loop {
            uart.since.set(0);
            if sender.take_turn(0, &source, uart, &state, false) != Rest::More {
                break;
            }
            if !sender.is_called(uart) {
                polls += 1;
                continue;
            }
            while !uart.has_risen() {
                assert!(
                    uart.fifo.get() > 0,
                    "waits for an interrupt that never comes"
                );
                uart.drain();
            }
        }
        // As slow as the next line comes, the line is quicker.
        (0..uart.depth).for_each(|_| uart.drain());
    }
    assert_eq!(uart.sent.get(), lines * (bytes + 4));
    polls
}

#[test]
fn what_ends_early_is_never_forgotten() {
    for (depth, level) in [(16, 8), (32, 16), (32, 4), (32, 28)] {
        for patience in 1..=STEPS {
            for bytes in [1, 2, 7, 12, 20, 33, 60] {
                let polls = polls(&Uart::new(depth, level, patience), bytes, 3);
                assert!(polls <= 3 * (bytes + 4), "{polls}");
            }
        }
    }
}

#[test]
fn an_interrupt_that_stands_is_relied_on() {
    let uart = Uart::new(32, 16, 1);
    uart.risen.set(true);
    assert_eq!(polls(&uart, 60, 3), 0);
    let uart = Uart::new(32, 16, STEPS);
    assert_eq!(polls(&uart, 60, 3), 0, "full at once");
}

#[test]
fn a_turn_ends_where_somebody_is_to_be_told_of_room() {
    let (lines, state) = (Lines::new(9), AtomicU8::new(IDLE));
    for ring in &lines.0 {
        while ring.push(b'\n') {}
        assert!(!ring.wait_for_room(1));
    }
    let uart = Uart::new(usize::MAX, 0, usize::MAX);
    let mut sender = Sender::new();
    let mut told = Vec::new();
    loop {
        let rest = sender.take_turn(0, &lines, &uart, &state, false);
        told.extend(sender.take_room());
        if rest != Rest::More {
            break;
        }
        assert_eq!(state.load(Ordering::SeqCst), SENDING);
    }
    told.sort();
    assert_eq!(told, (1..=9).collect::<Vec<_>>());
}

#[test]
fn silence_is_announced_and_looked_for_once_more() {
    let (lines, state) = (Lines::new(1), AtomicU8::new(IDLE));
    let uart = Uart::new(usize::MAX, 0, usize::MAX);
    let mut sender = Sender::new();
    assert!(!sender.is_mid_line());
    assert_eq!(
        sender.take_turn(0, &lines, &uart, &state, false),
        Rest::Until(None)
    );
    assert_eq!(state.load(Ordering::SeqCst), IDLE);
    lines.0[0].push(b'>');
    let rest = sender.take_turn(0, &lines, &uart, &state, false);
    assert_eq!(rest, Rest::Until(Some(QUIET_NS)));
    assert_eq!(state.load(Ordering::SeqCst), WAITING);
    sender.take_turn(QUIET_NS, &lines, &uart, &state, false);
    assert!(sender.is_mid_line());
    assert_eq!((uart.sent.get(), state.load(Ordering::SeqCst)), (4, IDLE));
}

/// A partition that says something as soon as the state is [`IDLE`], and what the state was when its name was sent.
struct Late<'s> {
    lines: Lines,
    state: &'s AtomicU8,
    text: Cell<&'static [u8]>,
    named_in: Cell<u8>,
}

impl<'s> Late<'s> {
    fn new(state: &'s AtomicU8, text: &'static [u8]) -> Self {
        Self {
            lines: Lines::new(1),
            state,
            text: Cell::new(text),
            named_in: Cell::new(u8::MAX),
        }
    }
}

impl Sources for Late<'_> {
    fn name(&self, _: usize) -> &[u8] {
        self.named_in.set(self.state.load(Ordering::SeqCst));
        b"a"
    }

    fn reader(&self, source: usize) -> Option<Reader<'_>> {
        self.lines.reader(source)
    }

    fn speaking(&self) -> u64 {
        if self.state.load(Ordering::SeqCst) == IDLE {
            self.lines.0[0].push_all(self.text.take());
        }
        1
    }

    fn fell_silent(&self, _: usize) {}

    fn is_descheduled(&self, _: usize) -> bool {
        false
    }

    fn focus(&self) -> usize {
        1
    }
}

#[test]
fn who_sends_says_so_from_the_first_byte_on() {
    let state = AtomicU8::new(IDLE);
    let late = Late::new(&state, b"");
    late.lines.0[0].push_all(b"x\n");
    let uart = Uart::new(usize::MAX, 0, usize::MAX);
    let rest = Sender::new().take_turn(0, &late, &uart, &state, false);
    assert_eq!((rest, uart.sent.get()), (Rest::Until(None), 6));
    assert_eq!(late.named_in.get(), SENDING);
}

#[test]
fn what_comes_while_silence_is_announced_is_found() {
    let state = AtomicU8::new(SENDING);
    let late = Late::new(&state, b"x\n");
    let uart = Uart::new(usize::MAX, 0, usize::MAX);
    let rest = Sender::new().take_turn(0, &late, &uart, &state, false);
    assert_eq!((rest, uart.sent.get()), (Rest::Until(None), 6));
    assert_eq!(state.load(Ordering::SeqCst), IDLE);
    // More than a turn takes.
    let late = Late::new(&state, &[b'x'; 60]);
    let rest = Sender::new().take_turn(0, &late, &uart, &state, false);
    assert_eq!(rest, Rest::More);
    assert_eq!(state.load(Ordering::SeqCst), SENDING);
}

#[test]
fn news_makes_a_pass_under_way_begin_anew() {
    let (lines, state) = (Lines::new(60), AtomicU8::new(IDLE));
    let uart = Uart::new(usize::MAX, 0, usize::MAX);
    let mut sender = Sender::new();
    for now_ns in [0, 1] {
        let rest = sender.take_turn(now_ns, &lines, &uart, &state, false);
        assert_eq!(rest, Rest::More);
    }
    assert_eq!(state.load(Ordering::SeqCst), IDLE);
    sender.hear();
    let rest = sender.take_turn(2, &lines, &uart, &state, false);
    assert_ne!(rest, Rest::Until(None));
}

#[test]
fn silence_stays_announced_while_the_last_pass_takes_several_turns() {
    let (lines, state) = (Lines::new(60), AtomicU8::new(IDLE));
    let uart = Uart::new(usize::MAX, 0, usize::MAX);
    let mut sender = Sender::new();
    // A turn makes six looks, and a pass takes eight.
    let turns = [0; 3].map(|now_ns| {
        let rest = sender.take_turn(now_ns, &lines, &uart, &state, false);
        (rest, state.load(Ordering::SeqCst))
    });
    let wanted = [
        (Rest::More, SENDING),
        (Rest::More, IDLE),
        (Rest::Until(None), IDLE),
    ];
    assert_eq!(turns, wanted);
}

/// Returns how many bytes the first turn sends of some text, said by the source `a`.
fn first_turn(text: &[u8], other: bool) -> usize {
    let (lines, state) = (Lines::new(1), AtomicU8::new(IDLE));
    lines.0[0].push_all(text);
    let uart = Uart::new(usize::MAX, 0, usize::MAX);
    let _ = Sender::new().take_turn(0, &lines, &uart, &state, other);
    uart.sent.get()
}

#[test]
fn a_turn_sends_less_where_bytes_cost_more_or_other_work_was_done() {
    let empty = b"\n\n\n\n\n\n\n";
    let long = [vec![b'x'; 50], vec![b'\n']].concat();
    // A byte is a step; the beginning of a line counts 10, each run 2, CR and LF 4 each. The last run may be too long.
    assert!((STEPS / 2..=STEPS).contains(&first_turn(&long, false)));
    assert!((BURST..=STEPS / 2).contains(&first_turn(&long, true)));
    assert!((1..STEPS / 3).contains(&first_turn(empty, false)));
}
