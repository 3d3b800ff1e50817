mod long;
mod prompts;

use super::*;
use crate::device::ring::TxRing;
use proptest::prelude::*;
use std::cell::Cell;

const MS: u64 = 1_000_000;
const RING: usize = 256;

/// EL2 (source 0) and partitions `a`, `b`, `c`.
struct Board<const N: usize = RING> {
    rings: [TxRing<N>; 4],
    descheduled: [Cell<bool>; 4],
    focus: usize,
    speaking: Cell<u64>,
}

impl Board {
    fn new() -> Self {
        Self::of_size()
    }
}

impl<const N: usize> Board<N> {
    /// Each ring has `N` bytes.
    fn of_size() -> Self {
        Self {
            rings: Default::default(),
            descheduled: Default::default(),
            focus: 1,
            speaking: Cell::new(0),
        }
    }

    fn say(&self, source: usize, text: &[u8]) {
        assert!(text.iter().all(|byte| self.put(source, *byte)));
    }

    fn put(&self, source: usize, byte: u8) -> bool {
        self.speaks(source);
        self.rings[source].push(byte)
    }

    fn finish_line(&self, source: usize) {
        self.speaks(source);
        self.rings[source].finish_line();
    }

    fn speaks(&self, source: usize) {
        self.speaking.set(self.speaking.get() | (1 << source) >> 1);
    }
}

impl<const N: usize> Sources for Board<N> {
    fn speaking(&self) -> u64 {
        self.speaking.get()
    }

    fn fell_silent(&self, source: usize) {
        self.speaking
            .set(self.speaking.get() & !((1 << source) >> 1));
    }

    fn name(&self, source: usize) -> &[u8] {
        [b"bulkhead".as_slice(), b"a", b"b", b"c"][source]
    }

    fn reader(&self, source: usize) -> Option<Reader<'_>> {
        Some(self.rings[source].reader())
    }

    fn is_descheduled(&self, source: usize) -> bool {
        self.descheduled[source].get()
    }

    fn focus(&self) -> usize {
        self.focus
    }
}

/// Sends until idle; returns what was sent and the deadline.
fn drain<const N: usize>(
    mux: &mut Multiplexer,
    now_ns: u64,
    board: &Board<N>,
) -> (String, Option<u64>) {
    let mut wire = Vec::new();
    for _ in 0..100_000 {
        runs_as_steps(mux, now_ns, board, &mut wire);
        match mux.next(now_ns, board) {
            Step::Byte(byte) => wire.push(byte),
            Step::Again => {}
            Step::Idle { deadline } => return (String::from_utf8(wire).unwrap(), deadline),
        }
    }
    panic!("never idle")
}

/// Sends a run, each byte of which single steps would have sent too.
fn runs_as_steps<const N: usize>(
    mux: &mut Multiplexer,
    now_ns: u64,
    board: &Board<N>,
    wire: &mut Vec<u8>,
) {
    let mut steps = mux.clone();
    let from = wire.len();
    let ran = mux.run(board, 5, |byte| {
        wire.push(byte);
        true
    });
    assert_eq!(ran, wire.len() - from);
    for byte in &wire[from..] {
        assert_eq!(steps.next(now_ns, board), Step::Byte(*byte));
    }
    assert_eq!((mux.stage, mux.shown), (steps.stage, steps.shown));
    assert_eq!(mux.begun, steps.begun);
}

fn sent<const N: usize>(mux: &mut Multiplexer, now_ns: u64, board: &Board<N>) -> String {
    drain(mux, now_ns, board).0
}

#[test]
fn complete_lines_go_out_whole_with_their_prefix() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b"one\ntwo\r\n");
    board.say(2, b"\n");
    assert_eq!(
        drain(&mut mux, 0, &board),
        ("a| one\r\nb| \r\na| two\r\n".into(), None)
    );
    assert!(!mux.is_mid_line());
}

#[test]
fn runs_end_where_they_are_told_and_at_control_characters() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(OWN, b"one two\x1b[0m\n");
    let run = |mux: &mut Multiplexer, most| {
        let mut wire = Vec::new();
        let count = mux.run(&board, most, |byte| {
            wire.push(byte);
            true
        });
        assert_eq!(count, wire.len());
        String::from_utf8(wire).unwrap()
    };
    assert_eq!(run(&mut mux, 100), "", "between lines");
    assert_eq!(mux.next(0, &board), Step::Byte(b'b'));
    assert_eq!(run(&mut mux, 3), "ulk");
    assert_eq!(run(&mut mux, 100), "head| one two");
    assert_eq!(run(&mut mux, 100), "");
    assert_eq!(mux.next(0, &board), Step::Byte(0x1b));
    assert_eq!(run(&mut mux, 2), "[0");
}

#[test]
fn own_lines_go_first() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b"x\ny\n");
    assert_eq!(mux.next(0, &board), Step::Byte(b'a'));
    assert!(board.rings[0].push_line(&[b"keyboard: ", b"a"]));
    let wire = sent(&mut mux, 0, &board);
    assert_eq!(wire, "| x\r\nbulkhead| keyboard: a\r\na| y\r\n");
}

#[test]
fn unfinished_line_waits_twenty_milliseconds() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b"login");
    assert_eq!(
        drain(&mut mux, 5 * MS, &board),
        (String::new(), Some(25 * MS))
    );
    board.say(1, b": ");
    assert_eq!(
        drain(&mut mux, 24 * MS, &board),
        (String::new(), Some(44 * MS))
    );
    assert_eq!(
        drain(&mut mux, 44 * MS, &board),
        ("a| login: ".into(), None)
    );
    board.say(1, b"ro");
    assert_eq!(sent(&mut mux, 45 * MS, &board), "ro", "at once");
    board.say(1, b"ot\n");
    assert_eq!(sent(&mut mux, 45 * MS, &board), "ot\r\n");
}

#[test]
fn stopped_in_the_middle_is_no_prompt() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b"half");
    board.descheduled[1].set(true);
    assert_eq!(drain(&mut mux, 0, &board).1, Some(20 * MS));
    assert_eq!(
        drain(&mut mux, 500 * MS, &board),
        (String::new(), Some(520 * MS))
    );
    board.descheduled[1].set(false);
    assert_eq!(drain(&mut mux, 519 * MS, &board).1, Some(520 * MS));
    assert_eq!(sent(&mut mux, 520 * MS, &board), "a| half");
}

#[test]
fn carriage_returns_never_uncover_the_prefix() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b"10%\r\r20%\rbulkhead| PANIC\r\r\n\r# \n");
    assert_eq!(
        sent(&mut mux, 0, &board),
        "a| 10%\ra| 20%\ra| bulkhead| PANIC\r\na| # \r\n"
    );
}

#[test]
fn line_end_in_two_halves_is_one() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b"x\r");
    drain(&mut mux, 0, &board);
    assert_eq!(sent(&mut mux, 20 * MS, &board), "a| x");
    board.say(1, b"\n");
    assert_eq!(sent(&mut mux, 21 * MS, &board), "\r\n");
}

#[test]
fn what_was_said_before_does_not_follow_a_return_at_the_end() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    // Fills the ring once: behind what comes next old text is left.
    for bytes in [200, RING - 202] {
        board.say(1, &vec![b'z'; bytes]);
        board.say(1, b"\n");
        sent(&mut mux, 0, &board);
    }
    board.say(1, b"x\r");
    drain(&mut mux, 0, &board);
    assert_eq!(sent(&mut mux, 20 * MS, &board), "a| x");
}

#[test]
fn guests_cannot_fake_a_cut() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    board.say(1, b"se\0cret\0\n\0\n");
    assert_eq!(sent(&mut mux, 0, &board), "a| secret\r\na| \r\n");
}

#[test]
fn waiting_source_hears_of_room() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    while board.put(1, b'x') {}
    assert!(!board.rings[1].wait_for_room(1));
    sent(&mut mux, 0, &board);
    assert_eq!((mux.take_room(), mux.take_room()), (Some(1), None), "once");
}

#[test]
fn lines_take_turns() {
    let (mut mux, board) = (Multiplexer::new(), Board::new());
    for source in 1..4 {
        board.say(source, b"1\n2\n3\n");
    }
    let wire = sent(&mut mux, 0, &board);
    let names: Vec<_> = wire.lines().map(|line| &line[..1]).collect();
    assert_eq!(names, ["a", "b", "c", "a", "b", "c", "a", "b", "c"]);
}

/// Reads the wire as the host does: lines without cut pieces, by source.
fn received(wire: &str) -> [Vec<String>; 4] {
    let mut lines: [Vec<String>; 4] = Default::default();
    let mut rest: Vec<&str> = wire.split("\r\n").collect();
    let open = rest.pop().unwrap();
    let cut = |line: &&str| line.contains('\0');
    for line in rest.into_iter().filter(|line| !cut(line)).chain([open]) {
        for (source, name) in ["bulkhead| ", "a| ", "b| ", "c| "].into_iter().enumerate() {
            if let Some(text) = line.strip_prefix(name) {
                lines[source].push(text.replace(&format!("\r{name}"), "\r"));
            }
        }
    }
    lines
}

#[derive(Clone, Debug)]
enum Event {
    Say(usize, Vec<u8>),
    Send(u16),
    Pass(u64),
    Deschedule(usize, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let text = prop::collection::vec(
        prop_oneof![4 => b'a'..=b'e', 2 => Just(b'\n'), 1 => Just(b' ')],
        0..24,
    );
    prop_oneof![
        4 => (0..4usize, text).prop_map(|(source, text)| Event::Say(source, text)),
        3 => (0..80u16).prop_map(Event::Send),
        2 => (0..30 * MS).prop_map(Event::Pass),
        1 => (1..4usize, any::<bool>()).prop_map(|(source, off)| Event::Deschedule(source, off)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 512 }))]

    /// Whatever is said when: every source's lines arrive whole, in order, once.
    #[test]
    fn nothing_is_lost_and_order_is_kept(events in prop::collection::vec(event(), 1..120)) {
        let (mut mux, board) = (Multiplexer::new(), Board::new());
        let mut said: [String; 4] = Default::default();
        let (mut now, mut wire) = (0, Vec::new());
        for event in events {
            match event {
                Event::Say(source, text) => {
                    for byte in text {
                        // Short lines: long ones are broken, which has its own test.
                        let column = said[source].len() - said[source].rfind('\n').map_or(0, |at| at + 1);
                        let byte = if column > 40 { b'\n' } else { byte };
                        if board.rings[source].room() > 0 {
                            board.put(source, byte);
                            said[source].push(byte.into());
                        }
                    }
                }
                Event::Send(steps) => for _ in 0..steps {
                    runs_as_steps(&mut mux, now, &board, &mut wire);
                    if let Step::Byte(byte) = mux.next(now, &board) {
                        wire.push(byte);
                    }
                },
                Event::Pass(ns) => now += ns,
                Event::Deschedule(source, off) => board.descheduled[source].set(off),
            }
        }
        for (source, text) in said.iter_mut().enumerate() {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            board.finish_line(source);
        }
        wire.extend(sent(&mut mux, now + 100 * MS, &board).bytes());
        let wire = String::from_utf8(wire).unwrap();
        prop_assert!(wire.is_empty() || wire.ends_with("\r\n"));
        for (source, lines) in received(&wire).into_iter().enumerate() {
            let expected: Vec<&str> = said[source].lines().collect();
            prop_assert_eq!(lines, expected, "source {}", source);
        }
    }

    /// Any bytes from anybody, drained now and then: every step is bounded, and the ring always empties.
    #[test]
    fn any_bytes_are_drained(
        texts in prop::collection::vec((0..4usize, prop::collection::vec(any::<u8>(), 0..300)), 0..20)
    ) {
        let (mut mux, board) = (Multiplexer::new(), Board::new());
        let mut now = 0;
        for (source, text) in texts {
            for byte in text {
                board.put(source, byte);
            }
            let mut steps = 0;
            while !matches!(mux.next(now, &board), Step::Idle { .. }) {
                steps += 1;
                prop_assert!(steps < 20 * RING, "settles");
            }
            now += 20 * MS;
        }
        for source in 0..4 {
            board.finish_line(source);
        }
        // A pass that was under way does not know of all that speak: one more does.
        for _ in 0..2 {
            while !matches!(mux.next(now, &board), Step::Idle { .. }) {}
        }
        for ring in &board.rings {
            prop_assert!(!ring.reader().has_line());
        }
    }
}

/// EL2 and sixty-four partitions, who all have the same to say.
struct Crowd {
    speaking: u64,
    ring: TxRing<RING>,
    readers: Cell<usize>,
}

impl Sources for Crowd {
    fn speaking(&self) -> u64 {
        self.speaking
    }

    fn fell_silent(&self, _: usize) {}

    fn name(&self, _: usize) -> &[u8] {
        b"one"
    }

    fn reader(&self, _: usize) -> Option<Reader<'_>> {
        self.readers.set(self.readers.get() + 1);
        Some(self.ring.reader())
    }

    fn is_descheduled(&self, _: usize) -> bool {
        false
    }

    fn focus(&self) -> usize {
        1
    }
}

#[test]
fn steps_look_at_a_few_of_many_sources() {
    let mut mux = Multiplexer::new();
    let crowd = Crowd {
        speaking: u64::MAX,
        ring: TxRing::new(),
        readers: Cell::new(0),
    };
    crowd.ring.push(b'>');
    let mut steps = 0;
    for now_ns in [0, 10 * MS, 20 * MS, 30 * MS] {
        for _ in 0..200 {
            crowd.readers.set(0);
            let step = mux.next(now_ns, &crowd);
            assert!(crowd.readers.get() <= LOOKS + 3, "{step:?}");
            steps += 1;
            if matches!(step, Step::Idle { .. }) {
                break;
            }
        }
    }
    assert!(steps > 4 * MAX_SOURCES / LOOKS);
}

/// The last of as many partitions as there can be speaks, and nobody else has a ring.
struct Last(TxRing<RING>);

impl Sources for Last {
    fn speaking(&self) -> u64 {
        1 << 63
    }

    fn fell_silent(&self, _: usize) {}

    fn name(&self, _: usize) -> &[u8] {
        b"last"
    }

    fn reader(&self, source: usize) -> Option<Reader<'_>> {
        (source == 64).then(|| self.0.reader())
    }

    fn is_descheduled(&self, _: usize) -> bool {
        false
    }

    fn focus(&self) -> usize {
        1
    }
}

#[test]
fn the_last_of_as_many_partitions_as_there_can_be_is_heard() {
    let (mut mux, last) = (Multiplexer::new(), Last(TxRing::new()));
    assert!(last.0.push(b'>') && last.0.push(b'\n'));
    let mut steps = (0..200).map(|_| mux.next(0, &last));
    assert!(steps.any(|step| step == Step::Byte(b'l')));
}

#[test]
fn as_many_as_one_step_looks_at_need_no_second() {
    let idle_at_once = |partitions: u32| {
        let crowd = Crowd {
            speaking: (1 << partitions) - 1,
            ring: TxRing::new(),
            readers: Cell::new(0),
        };
        Multiplexer::new().next(0, &crowd) == Step::Idle { deadline: None }
    };
    assert!(idle_at_once(LOOKS as u32));
    assert!(!idle_at_once(LOOKS as u32 + 1));
}
