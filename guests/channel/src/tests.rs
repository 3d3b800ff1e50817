use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::vec::Vec;
use std::{format, thread, vec};

use super::*;

/// Bytes of the memory in the tests: two halves with rings of 192 bytes.
const BYTES: usize = 512;

/// Memory that both ends of a test share; `side` is who uses this handle.
#[derive(Clone, Debug)]
struct Fake {
    words: Rc<Vec<Cell<u64>>>,
    side: usize,
}

impl Fake {
    fn pair() -> [Self; 2] {
        let words = Rc::new(vec![Cell::new(0); BYTES / 8]);
        [0, 1].map(|side| Self {
            words: Rc::clone(&words),
            side,
        })
    }

    /// Writes what an honest end would not.
    fn scribble(&self, offset: usize, value: u64) {
        self.words[offset / 8].set(value);
    }
}

impl Memory for Fake {
    fn size(&self) -> usize {
        BYTES
    }
    fn acquire(&self, offset: usize) -> u64 {
        assert_eq!(offset % 8, 0);
        self.words[offset / 8].get()
    }
    fn release(&self, offset: usize, value: u64) {
        let own = self.side * BYTES / 2..(self.side + 1) * BYTES / 2;
        assert!(
            offset.is_multiple_of(8) && own.contains(&offset),
            "{offset:#x}"
        );
        self.words[offset / 8].set(value);
    }
    fn read(&self, offset: usize) -> u64 {
        self.acquire(offset)
    }
    fn write(&self, offset: usize, value: u64) {
        self.release(offset, value);
    }
}

/// Says that a partition runs in its n-th life.
fn life(generation: u32) -> Presence {
    Presence {
        generation,
        runs: true,
    }
}

fn link(memory: &Fake, own: u32) -> Link<Fake> {
    Link::new(memory.clone(), memory.side as u8, own).unwrap()
}

/// Two ends that have met.
fn met() -> ([Fake; 2], Link<Fake>, Link<Fake>) {
    let memory = Fake::pair();
    let (mut a, mut b) = (link(&memory[0], 1), link(&memory[1], 1));
    assert_eq!(a.meet(life(1)), State::Waiting);
    assert_eq!(b.meet(life(1)), State::Opened);
    assert_eq!(a.meet(life(1)), State::Opened);
    assert_eq!(a.meet(life(1)), State::Up);
    (memory, a, b)
}

/// Receives one message.
fn receive(link: &mut Link<Fake>) -> Result<Option<Vec<u8>>, Error> {
    let mut buffer = [0; 256];
    let length = link.receive(&mut buffer)?;
    Ok(length.map(|length| buffer[..length].to_vec()))
}

/// Random numbers, always the same.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % end
    }
}

#[test]
fn nothing_goes_before_both_have_met() {
    let memory = Fake::pair();
    let (mut a, mut b) = (link(&memory[0], 1), link(&memory[1], 1));
    assert_eq!(a.send(b"x"), Err(Error::Down));
    assert_eq!(a.meet(Presence::default()), State::Down);
    assert_eq!(a.meet(life(1)), State::Waiting);
    assert_eq!(a.send(b"x"), Err(Error::Down));
    assert_eq!(receive(&mut b), Err(Error::Down));
}

#[test]
fn messages_come_once_whole_and_in_order_both_ways() {
    let (_, mut a, mut b) = met();
    let mut queues = [VecDeque::new(), VecDeque::new()];
    let mut random = Random(1);
    let mut full = 0;
    for step in 0..20_000_u32 {
        let forth = random.below(2) == 0;
        let (from, to) = if forth {
            (&mut a, &mut b)
        } else {
            (&mut b, &mut a)
        };
        let queue = &mut queues[usize::from(forth)];
        if random.below(2) == 0 {
            let length = random.below(40) as usize;
            let message: Vec<u8> = (0..length).map(|n| (step as usize + n) as u8).collect();
            match from.send(&message) {
                Ok(()) => queue.push_back(message),
                Err(Error::Full) => full += 1,
                Err(other) => panic!("{other:?}"),
            }
        } else {
            assert_eq!(receive(to), Ok(queue.pop_front()));
        }
    }
    assert!(full > 100);
}

#[test]
fn the_longest_message_fits_and_a_longer_one_is_refused() {
    let (_, mut a, mut b) = met();
    let longest = vec![7; a.longest()];
    assert_eq!(longest.len(), 184);
    a.send(&longest).unwrap();
    assert_eq!(a.send(b""), Err(Error::Full));
    let mut small = [0; 8];
    assert_eq!(b.receive(&mut small), Err(Error::TooLong { length: 184 }));
    assert_eq!(receive(&mut b), Ok(Some(longest)));
    let length = 185;
    assert_eq!(a.send(&[0; 185]), Err(Error::TooLong { length }));
}

#[test]
fn a_restarted_partner_is_noticed_and_nothing_old_is_received() {
    let (memory, mut a, mut b) = met();
    a.send(b"old").unwrap();
    b.send(b"old").unwrap();
    // Side 1 starts anew: its memory of the session is gone, the shared memory is not.
    let mut b = link(&memory[1], 2);
    assert_eq!(b.meet(life(1)), State::Waiting);
    assert_eq!(receive(&mut a), Err(Error::Down));
    assert_eq!(a.meet(life(2)), State::Opened);
    assert_eq!(b.meet(life(1)), State::Opened);
    assert_eq!(receive(&mut a), Ok(None));
    assert_eq!(receive(&mut b), Ok(None));
    a.send(b"new").unwrap();
    assert_eq!(receive(&mut b), Ok(Some(b"new".to_vec())));
}

#[test]
fn a_partner_that_stops_and_comes_again_takes_the_link_down_and_up() {
    let (memory, mut a, _) = met();
    let gone = Presence {
        generation: 1,
        runs: false,
    };
    assert_eq!(a.meet(gone), State::Down);
    assert_eq!(a.send(b"x"), Err(Error::Down));
    assert_eq!(a.meet(life(2)), State::Waiting);
    let mut b = link(&memory[1], 2);
    assert_eq!(b.meet(life(1)), State::Opened);
    assert_eq!(a.meet(life(2)), State::Opened);
}

#[test]
fn another_owner_of_the_same_end_goes_on_where_the_first_stopped() {
    let (memory, mut a, mut b) = met();
    for n in 0..20_u8 {
        a.send(&[n; 30]).unwrap();
        b.send(&[n; 20]).unwrap();
        assert_eq!(receive(&mut b), Ok(Some(vec![n; 30])));
        let mut other = link(&memory[0], 1);
        assert_eq!(other.meet(life(1)), State::Opened);
        assert_eq!(receive(&mut other), Ok(Some(vec![n; 20])));
        a = other;
    }
}

#[test]
fn counts_that_make_no_sense_break_the_link_until_the_next_life() {
    let cases: [(usize, u64); 5] = [
        (field::WRITTEN, 200),
        (field::WRITTEN, 4),
        (field::WRITTEN, u64::MAX - 7),
        (field::READ, 8),
        (field::READ, u64::MAX),
    ];
    for (at, value) in cases {
        let (memory, mut a, _) = met();
        memory[1].scribble(BYTES / 2 + at, value);
        let found = if at == field::READ {
            a.send(b"x")
        } else {
            receive(&mut a).map(|_| ())
        };
        assert_eq!(found, Err(Error::Corrupt), "{at:#x} {value:#x}");
        assert_eq!(a.meet(life(1)), State::Broken);
        assert_eq!(a.send(b"x"), Err(Error::Down));
        assert_eq!(a.meet(life(2)), State::Waiting);
    }
}

#[test]
fn a_length_beyond_what_was_written_breaks_the_link() {
    for length in [9, 185, 1 << 40, u64::MAX] {
        let (memory, mut a, mut b) = met();
        b.send(&[1; 8]).unwrap();
        memory[1].scribble(BYTES / 2 + field::RING, length);
        assert_eq!(receive(&mut a), Err(Error::Corrupt), "{length:#x}");
    }
}

#[test]
fn a_hostile_partner_never_makes_this_end_leave_its_memory() {
    // `Fake` panics at an access outside, and at a write outside of this end's half.
    let mut random = Random(7);
    let mut outcomes = [0_u32; 4];
    for round in 0..2_000_u32 {
        let (memory, mut a, _) = met();
        let mut reader = Reader::new(memory[0].clone(), 0).unwrap();
        for _ in 0..20 {
            let at = BYTES / 2 + random.below(BYTES as u64 / 16) as usize * 8;
            let value = match random.below(4) {
                0 => random.below(400),
                1 => random.below(50) * 8,
                2 => u64::from(random.below(3) as u32) << 32 | random.below(3),
                _ => random.below(u64::MAX).rotate_left(round % 64),
            };
            memory[1].scribble(at, value);
            match receive(&mut a) {
                Ok(_) => outcomes[0] += 1,
                Err(Error::Corrupt) => outcomes[1] += 1,
                Err(_) => outcomes[2] += 1,
            }
            outcomes[3] += u32::from(a.send(&[0xaa; 20]).is_ok());
            a.meet(life(1 + random.below(2) as u32));
            reader.meet(life(1));
            let _ = reader.receive(&mut [0; 64]);
        }
    }
    assert!(outcomes.iter().all(|count| *count > 100), "{outcomes:?}");
}

#[test]
fn one_way_the_reader_gets_all_it_can_keep_up_with_and_is_told_of_losses() {
    let memory = Fake::pair();
    let mut writer = Writer::new(memory[0].clone(), 0, 3).unwrap();
    let mut reader = Reader::new(memory[1].clone(), 1).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(reader.receive(&mut buffer), Err(Error::Down));
    writer.send(b"first").unwrap();
    assert!(!reader.meet(life(2)) && reader.meet(life(3)));
    assert_eq!(reader.receive(&mut buffer), Ok(Some(5)));
    assert_eq!(reader.receive(&mut buffer), Ok(None));
    for n in 0..50_u8 {
        writer.send(&[n; 16]).unwrap();
    }
    assert_eq!(reader.receive(&mut buffer), Err(Error::Lost));
    writer.send(b"next").unwrap();
    assert_eq!(reader.receive(&mut buffer), Ok(Some(4)));
    assert_eq!(&buffer[..4], b"next");
    // A new life of the writer.
    let mut writer = Writer::new(memory[0].clone(), 0, 4).unwrap();
    writer.send(b"again").unwrap();
    assert_eq!(reader.receive(&mut buffer), Err(Error::Down));
    assert!(reader.meet(life(4)));
    assert_eq!(reader.receive(&mut buffer), Ok(Some(5)));
    assert_eq!(writer.send(&[0; 96]), Err(Error::TooLong { length: 96 }));
}

/// Words that two threads share.
fn window() -> Window {
    // Held for good where Miri sees it.
    static HELD: Mutex<Vec<Vec<AtomicU64>>> = Mutex::new(Vec::new());
    let mut words: Vec<AtomicU64> = (0..64).map(|_| AtomicU64::new(0)).collect();
    let base = words.as_mut_ptr().cast();
    HELD.lock().unwrap().push(words);
    // SAFETY: held, and never changed in size, so they stay; atomics; 64 words are 512 bytes.
    unsafe { Window::new(base, 512) }
}

#[test]
fn two_threads_exchange_messages() {
    let memory = window();
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let end = move |side: u8| {
        let mut link = Link::new(memory, side, 1).unwrap();
        while !matches!(link.meet(life(1)), State::Opened | State::Up) {
            thread::yield_now();
        }
        let (mut sent, mut received) = (0_u64, 0_u64);
        while received < rounds {
            if sent < rounds && link.send(&sent.to_le_bytes()).is_ok() {
                sent += 1;
            }
            let mut buffer = [0; 8];
            match link.receive(&mut buffer) {
                Ok(Some(8)) => {
                    assert_eq!(u64::from_le_bytes(buffer), received);
                    received += 1;
                }
                Ok(None) => thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
        while sent < rounds {
            sent += u64::from(link.send(&sent.to_le_bytes()).is_ok());
        }
    };
    let other = thread::spawn(move || end(1));
    end(0);
    other.join().unwrap();
}

#[test]
fn one_way_a_torn_message_is_never_delivered() {
    let memory = window();
    let rounds = if cfg!(miri) { 50 } else { 200_000_u64 };
    let writer = thread::spawn(move || {
        let mut writer = Writer::new(memory, 0, 1).unwrap();
        for n in 0..rounds {
            let word = n.to_le_bytes();
            writer.send(&[word, word, word].concat()).unwrap();
        }
    });
    let mut reader = Reader::new(memory, 1).unwrap();
    let (mut last, mut count) = (0, 0_u64);
    while !writer.is_finished() {
        let mut buffer = [0; 24];
        reader.meet(life(1));
        if let Ok(Some(24)) = reader.receive(&mut buffer) {
            let (words, _) = buffer.as_chunks::<8>();
            assert!(words[0] == words[1] && words[1] == words[2], "{buffer:?}");
            let n = u64::from_le_bytes(words[0]);
            assert!(count == 0 || n > last);
            (last, count) = (n, count + 1);
        }
    }
    writer.join().unwrap();
}

#[test]
fn memory_too_small_for_rings_is_refused() {
    // SAFETY: nothing is accessed.
    let tiny = unsafe { Window::new(core::ptr::null_mut(), 128) };
    assert!(Link::new(tiny, 0, 1).is_none());
    assert!(Writer::new(tiny, 0, 1).is_none());
    assert!(Reader::new(tiny, 0).is_none());
}

/// A tree by hand: the header, then `/ { memory { a = "x"; }; channel@c0000000 { ... }; }`.
fn sample_tree() -> Vec<u8> {
    let mut names = Vec::new();
    let mut body: Vec<u8> = Vec::new();
    let word = |body: &mut Vec<u8>, value: u32| body.extend(value.to_be_bytes());
    let begin = |body: &mut Vec<u8>, name: &str| {
        word(body, 1);
        body.extend(name.as_bytes());
        body.push(0);
        body.resize(body.len().next_multiple_of(4), 0);
    };
    let mut property = |body: &mut Vec<u8>, name: &str, value: &[u8]| {
        word(body, 3);
        word(body, value.len() as u32);
        word(body, names.len() as u32);
        names.extend(name.as_bytes());
        names.push(0);
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    };
    let cells = |cells: &[u32]| -> Vec<u8> { cells.iter().flat_map(|c| c.to_be_bytes()).collect() };
    begin(&mut body, "");
    property(&mut body, "compatible", b"bulkhead,channel\0");
    begin(&mut body, "memory@40000000");
    property(&mut body, "reg", &cells(&[0, 0x4000_0000, 0, 0x20_0000]));
    word(&mut body, 2);
    word(&mut body, 4);
    begin(&mut body, "channel@c0000000");
    property(&mut body, "compatible", b"bulkhead,channel\0generic-uio\0");
    property(
        &mut body,
        "reg",
        &cells(&[0, 0xc000_0000, 0, 0x1_0000, 0, 0x0b80_0000, 0, 0x1000]),
    );
    property(&mut body, "interrupts", &cells(&[0, 8, 1]));
    property(&mut body, "label", b"talk\0");
    property(&mut body, "bulkhead,channel-index", &cells(&[3]));
    property(&mut body, "bulkhead,side", &cells(&[1]));
    property(&mut body, "bulkhead,peer", b"linux\0");
    property(&mut body, "bulkhead,access", b"rw\0");
    word(&mut body, 2);
    begin(&mut body, "manager@b900000");
    property(&mut body, "compatible", b"bulkhead,manager\0generic-uio\0");
    property(&mut body, "reg", &cells(&[0, 0x0b90_0000, 0, 0x3000]));
    property(&mut body, "bulkhead,manages", b"one\0two\0");
    word(&mut body, 2);
    word(&mut body, 2);
    word(&mut body, 9);
    let strings = 40 + body.len() as u32;
    let total = strings + names.len() as u32;
    let header = [
        0xd00d_feed,
        total,
        40,
        strings,
        40,
        17,
        16,
        0,
        names.len() as u32,
        0,
    ];
    [cells(&header), body, names].concat()
}

#[test]
fn channels_are_found_in_a_tree() {
    let tree = sample_tree();
    assert_eq!(tree::total_size(&tree), Some(tree.len()));
    let found: Vec<_> = tree::channels(&tree).collect();
    let wanted = tree::Found {
        name: "talk",
        peer: "linux",
        index: 3,
        side: 1,
        writes: true,
        memory: 0xc000_0000,
        size: 0x1_0000,
        registers: 0x0b80_0000,
        intid: 40,
    };
    assert_eq!(found, [wanted]);
    assert_eq!(tree::manager(&tree), Some((0x0b90_0000, 0x3000)));
    assert_eq!(tree::manager(&tree[..100]), None);
}

#[test]
fn a_damaged_tree_has_channels_or_none() {
    let tree = sample_tree();
    for at in 0..tree.len() {
        for bit in 0..8 {
            let mut damaged = tree.clone();
            damaged[at] ^= 1 << bit;
            assert!(tree::channels(&damaged).count() <= 2, "{}", format!("{at}"));
            let _ = tree::manager(&damaged); // whatever it says, it ends
        }
        assert!(tree::channels(&tree[..at]).count() <= 1);
    }
}
