//! A ring of bytes between one producer and one consumer on any two pCPUs: what a partition has sent and the
//! physical UART has not.
//!
//! The producer is whoever holds the partition's console lock, the consumer is the console's server. Plain loads
//! and stores, no read-modify-write: the indices have one writer each and run freely, so that `head - tail` is the
//! number of bytes inside.

use crate::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering, line_ends, where_constant};

/// Bytes in a partition's ring.
pub const DEFAULT_BYTES: usize = 2048;

/// The ring; `N` is a power of two from 64 to 2^30.
pub struct TxRing<const N: usize = DEFAULT_BYTES> {
    indices: Indices,
    bytes: [AtomicU8; N],
}

/// Everything but the bytes.
struct Indices {
    /// Bytes ever put in. Written by the producer.
    head: AtomicU32,
    /// Line ends ever put in, written after `head`. Written by the producer.
    lines_in: AtomicU32,
    /// Bytes that found no room. Written by the producer.
    dropped: AtomicU32,
    /// Bytes ever taken out. Written by the consumer.
    tail: AtomicU32,
    /// Line ends ever taken out. Written by the consumer.
    lines_out: AtomicU32,
    /// The producer waits to hear of room. Set by the producer, cleared by the consumer.
    waiting: AtomicBool,
    /// The consumer has been told to look here. Set by either, cleared by the consumer.
    known: AtomicBool,
}

impl<const N: usize> TxRing<N> {
    where_constant! {
        /// Returns an empty ring.
        pub fn new() -> Self {
            const { assert!(N.is_power_of_two() && N >= 64 && N <= 1 << 30) };
            Self {
                indices: Indices {
                    head: AtomicU32::new(0),
                    lines_in: AtomicU32::new(0),
                    dropped: AtomicU32::new(0),
                    tail: AtomicU32::new(0),
                    lines_out: AtomicU32::new(0),
                    waiting: AtomicBool::new(false),
                    known: AtomicBool::new(false),
                },
                bytes: line_ends(),
            }
        }
    }

    /// Returns the number of bytes that fit now; the consumer can only make it grow. One byte more is kept for
    /// [`Self::finish_line`]. Producer.
    pub fn room(&self) -> u32 {
        let head = self.indices.head.load(Ordering::Relaxed);
        let tail = self.indices.tail.load(Ordering::Acquire);
        (N as u32 - 1).saturating_sub(head.wrapping_sub(tail))
    }

    /// Puts a byte in, or counts it as dropped and returns false when there is no room. Producer.
    pub fn push(&self, byte: u8) -> bool {
        self.put(byte).is_some()
    }

    /// Puts a byte in and returns how many fit after it, or counts it as dropped and returns `None` when there is no
    /// room. Producer.
    #[inline]
    pub fn put(&self, byte: u8) -> Option<u32> {
        let indices = &self.indices;
        let Some(left) = self.room().checked_sub(1) else {
            let dropped = indices.dropped.load(Ordering::Relaxed);
            indices
                .dropped
                .store(dropped.wrapping_add(1), Ordering::Relaxed);
            return None;
        };
        self.store(byte, self.indices.head.load(Ordering::Relaxed));
        Some(left)
    }

    /// Puts a byte in, if as many as `least` fit after it. Producer.
    #[inline(always)]
    pub fn put_leaving(&self, byte: u8, least: u32) -> bool {
        let head = self.indices.head.load(Ordering::Relaxed);
        let inside = head.wrapping_sub(self.indices.tail.load(Ordering::Acquire));
        let fits = inside < (N as u32 - 1).saturating_sub(least);
        if fits {
            self.store(byte, head);
        }
        fits
    }

    /// Says whether the last byte that was put in is this one; before the first it was a line end. Producer.
    pub fn ends_in(&self, byte: u8) -> bool {
        let last = self.indices.head.load(Ordering::Relaxed).wrapping_sub(1);
        let place = self.bytes.get(last as usize & (N - 1));
        place.is_some_and(|place| place.load(Ordering::Relaxed) == byte)
    }

    /// Puts a byte in at `head`, where there is a place for it.
    #[inline(always)]
    fn store(&self, byte: u8, head: u32) {
        let indices = &self.indices;
        if let Some(place) = self.bytes.get(head as usize & (N - 1)) {
            place.store(byte, Ordering::Relaxed);
        }
        // First the bytes, then the line: who sees a line counted finds it inside.
        indices.head.store(head.wrapping_add(1), Ordering::Release);
        if byte == b'\n' {
            let lines = indices.lines_in.load(Ordering::Relaxed);
            indices
                .lines_in
                .store(lines.wrapping_add(1), Ordering::Release);
        }
    }

    /// Puts as many bytes in as fit, and counts the others as dropped: [`Self::push`] for each, in fewer steps. Producer.
    pub fn push_all(&self, bytes: &[u8]) {
        let indices = &self.indices;
        let fitting = bytes.len().min(self.room() as usize);
        let lost = bytes.len().saturating_sub(fitting) as u32;
        let mut head = indices.head.load(Ordering::Relaxed);
        let mut lines = indices.lines_in.load(Ordering::Relaxed);
        for byte in bytes.iter().take(fitting) {
            if let Some(place) = self.bytes.get(head as usize & (N - 1)) {
                place.store(*byte, Ordering::Relaxed);
            }
            head = head.wrapping_add(1);
            lines = lines.wrapping_add(u32::from(*byte == b'\n'));
        }
        // First the bytes, then the lines, as for a single one.
        indices.head.store(head, Ordering::Release);
        indices.lines_in.store(lines, Ordering::Release);
        let dropped = indices.dropped.load(Ordering::Relaxed);
        indices
            .dropped
            .store(dropped.wrapping_add(lost), Ordering::Relaxed);
    }

    /// Puts the pieces of one line in and ends it, or leaves the ring alone and returns false when they do not all
    /// fit. The pieces hold no line end. Producer.
    // Not inlined: it has many callers.
    #[inline(never)]
    pub fn push_line(&self, pieces: &[&[u8]]) -> bool {
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        if bytes >= self.room() as usize {
            return false;
        }
        for byte in pieces.iter().copied().flatten() {
            self.push(*byte);
        }
        self.push(b'\n')
    }

    /// Ends an unfinished line, as when its partition stops, even when there is no room, and with it the wait for room: the
    /// partition's next life has not asked to be told. Producer.
    pub fn finish_line(&self) {
        self.indices.waiting.store(false, Ordering::Relaxed);
        // The place that `room` keeps is free in the middle of a line: only here is it taken, by an end.
        if !self.ends_in(b'\n') {
            self.store(b'\n', self.indices.head.load(Ordering::Relaxed));
        }
    }

    /// Returns the number of bytes that found no room, modulo 2^32. Anyone.
    pub fn dropped(&self) -> u32 {
        self.indices.dropped.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes that were ever put in, modulo 2^32. The last `N` of them are kept. Anyone.
    pub fn written(&self) -> u32 {
        self.indices.head.load(Ordering::Acquire)
    }

    /// Returns eight bytes, the first one in the lowest bits, from the place on where byte number `position` of all was put
    /// in. Exact for bytes that are kept while the producer puts nothing in. Anyone.
    // Not inlined: it has many callers.
    #[inline(never)]
    pub fn word_at(&self, position: u32) -> u64 {
        let byte = |position: u32| {
            let place = self.bytes.get(position as usize & (N - 1));
            u64::from(place.map_or(0, |place| place.load(Ordering::Relaxed)))
        };
        (0..8)
            .rev()
            .fold(0, |word, n| word << 8 | byte(position.wrapping_add(n)))
    }

    /// Asks to be told when at least half the ring is free, and returns false; or returns true when `wanted` bytes
    /// fit already. Producer.
    pub fn wait_for_room(&self, wanted: u32) -> bool {
        if self.room() >= wanted {
            return true;
        }
        // Both sides store, then load what the other stores: with `SeqCst` at least one of them sees the other.
        self.indices.waiting.store(true, Ordering::SeqCst);
        let tail = self.indices.tail.load(Ordering::SeqCst);
        let head = self.indices.head.load(Ordering::Relaxed);
        let emptied = head.wrapping_sub(tail) <= N as u32 / 2;
        if emptied {
            self.indices.waiting.store(false, Ordering::Relaxed);
        }
        emptied
    }

    /// Says whether the consumer looks here. A producer asks behind a fence of `SeqCst` after what it put in, and where the
    /// answer is no, tells the consumer and then says so by [`Self::set_known`]. Producer.
    #[inline(always)]
    pub fn is_known(&self) -> bool {
        self.indices.known.load(Ordering::SeqCst)
    }

    /// Notes whether the consumer looks here. A consumer that turns its back looks once more behind a fence of `SeqCst`: so
    /// either it or the producer finds what came meanwhile.
    pub fn set_known(&self, known: bool) {
        self.indices.known.store(known, Ordering::SeqCst);
    }

    /// Returns the consumer's end. There must be one consumer at a time.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            indices: &self.indices,
            bytes: &self.bytes,
        }
    }
}

impl<const N: usize> Default for TxRing<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The consumer's end of a ring of any size.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    indices: &'a Indices,
    bytes: &'a [AtomicU8],
}

impl Reader<'_> {
    /// Returns the number of bytes that the ring can hold.
    pub fn capacity(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// Returns the number of bytes inside.
    pub fn available(&self) -> u32 {
        let tail = self.indices.tail.load(Ordering::Relaxed);
        self.indices.head.load(Ordering::Acquire).wrapping_sub(tail)
    }

    /// Says whether a line end is among the bytes that a later [`Self::available`] counts.
    pub fn has_line(&self) -> bool {
        self.indices.lines_in.load(Ordering::Acquire)
            != self.indices.lines_out.load(Ordering::Relaxed)
    }

    /// Returns the byte at a distance from the oldest one; the distance is less than [`Self::available`].
    pub fn peek(&self, distance: u32) -> u8 {
        let tail = self.indices.tail.load(Ordering::Relaxed);
        let place = tail.wrapping_add(distance) as usize & self.bytes.len().wrapping_sub(1);
        self.bytes
            .get(place)
            .map_or(0, |byte| byte.load(Ordering::Relaxed))
    }

    /// Returns the bytes from a distance on, as far as they lie in one piece; those below [`Self::available`] are inside.
    pub fn from(&self, distance: u32) -> &[AtomicU8] {
        let tail = self.indices.tail.load(Ordering::Relaxed);
        let place = tail.wrapping_add(distance) as usize & self.bytes.len().wrapping_sub(1);
        self.bytes.get(place..).unwrap_or_default()
    }

    /// Takes out the `count` oldest bytes, of which `lines` are line ends, and says whether the producer is to be
    /// told of room: once for each time it waits.
    pub fn advance(&self, count: u32, lines: u32) -> bool {
        let indices = self.indices;
        let out = indices.lines_out.load(Ordering::Relaxed);
        indices
            .lines_out
            .store(out.wrapping_add(lines), Ordering::Relaxed);
        let tail = indices.tail.load(Ordering::Relaxed).wrapping_add(count);
        // See `wait_for_room` for the order.
        indices.tail.store(tail, Ordering::SeqCst);
        if !indices.waiting.load(Ordering::SeqCst) || self.available() > self.capacity() / 2 {
            return false;
        }
        indices.waiting.store(false, Ordering::Relaxed);
        true
    }
}

#[cfg(all(test, loom))]
mod orders;

#[cfg(test)]
mod tests {
    use super::*;

    fn take(reader: Reader<'_>) -> Option<u8> {
        (reader.available() > 0).then(|| {
            let byte = reader.peek(0);
            reader.advance(1, u32::from(byte == b'\n'));
            byte
        })
    }

    #[test]
    fn bytes_come_out_in_order_over_many_turns() {
        let ring = TxRing::<64>::new();
        let mut next = 0u8;
        for turn in 0..1000u32 {
            for n in 0..turn % 64 {
                assert!(ring.push((turn + n) as u8));
            }
            for n in 0..turn % 64 {
                assert_eq!(take(ring.reader()), Some((turn + n) as u8));
                next = next.wrapping_add(1);
            }
            assert_eq!(take(ring.reader()), None);
        }
    }

    #[test]
    fn many_bytes_at_once_are_as_one_by_one() {
        let (one, all) = (TxRing::<64>::new(), TxRing::<64>::new());
        for turn in 0..200usize {
            let bytes: Vec<u8> = (0..turn % 79)
                .map(|n| [b'\n', b'a'][(n * turn % 3) & 1])
                .collect();
            bytes.iter().for_each(|byte| _ = one.push(*byte));
            all.push_all(&bytes);
            for _ in 0..=turn % 31 {
                let lines =
                    |ring: &TxRing<64>| (ring.reader().has_line(), ring.room(), ring.dropped());
                assert_eq!(lines(&one), lines(&all), "turn {turn}");
                assert_eq!(take(one.reader()), take(all.reader()));
            }
            one.finish_line();
            all.finish_line();
        }
    }

    #[test]
    fn what_was_taken_out_can_be_read_until_it_is_overwritten() {
        let ring = TxRing::<64>::new();
        assert_eq!(ring.written(), 0);
        assert_eq!(ring.word_at(0), u64::from_le_bytes([b'\n'; 8]));
        for n in 0..100u8 {
            ring.push(n);
            take(ring.reader());
        }
        assert_eq!(ring.written(), 100);
        assert_eq!(ring.word_at(36), u64::from_le_bytes(*b"$%&'()*+"));
        assert_eq!(ring.word_at(92), u64::from_le_bytes(*b"\\]^_`abc"));
        let ends = [96, 97, 98, 99, 36, 37, 38, 39];
        assert_eq!(ring.word_at(96), u64::from_le_bytes(ends), "over the end");
    }

    #[test]
    fn full_ring_refuses_and_counts() {
        let ring = TxRing::<64>::new();
        assert!((0..63).all(|n| ring.push(n)));
        assert_eq!(ring.room(), 0);
        assert!(!ring.push(0));
        assert_eq!(ring.dropped(), 1);
        assert_eq!(take(ring.reader()), Some(0));
        assert!(ring.push(64));
    }

    #[test]
    fn line_is_ended_in_a_full_ring() {
        let ring = TxRing::<64>::new();
        while ring.push(b'a') {}
        ring.finish_line();
        ring.finish_line();
        assert_eq!((ring.room(), ring.reader().available()), (0, 64));
        assert!(ring.reader().has_line() && !ring.push(b'b'));
        ring.reader().advance(64, 1);
        assert_eq!(ring.room(), 63);
    }

    #[test]
    fn whoever_stopped_waits_for_no_room() {
        let ring = TxRing::<64>::new();
        while ring.push(b'a') {}
        assert!(!ring.wait_for_room(32));
        ring.finish_line();
        assert!(!ring.reader().advance(64, 1), "there is nobody to be told");
    }

    #[test]
    fn lines_are_counted_both_ways() {
        let ring = TxRing::<64>::new();
        ring.push(b'a');
        assert!(!ring.reader().has_line());
        ring.push(b'\n');
        assert!(ring.reader().has_line());
        ring.reader().advance(2, 1);
        assert!(!ring.reader().has_line());
    }

    #[test]
    fn lines_go_in_whole_or_not_at_all() {
        let ring = TxRing::<64>::new();
        assert!(ring.push_line(&[b"keyboard: ", b"linux"]));
        assert_eq!(ring.reader().available(), 16);
        assert!(!ring.push_line(&[&[b'x'; 47]]));
        assert_eq!(ring.reader().available(), 16);
        assert!(ring.push_line(&[&[b'x'; 46]]));
        ring.finish_line();
        assert_eq!(ring.room(), 0);
    }

    #[test]
    fn unfinished_line_is_ended_once() {
        let ring = TxRing::<64>::new();
        ring.finish_line();
        ring.push(b'>');
        ring.finish_line();
        ring.finish_line();
        assert_eq!(ring.reader().available(), 2);
    }

    #[test]
    fn waiting_producer_is_told_once_at_half() {
        let ring = TxRing::<64>::new();
        (0..64).for_each(|n| {
            ring.push(n);
        });
        assert!(!ring.wait_for_room(1));
        assert!(!ring.reader().advance(30, 0));
        assert!(ring.wait_for_room(30), "what fits needs no waiting");
        assert!(!ring.wait_for_room(31));
        assert!(ring.reader().advance(1, 0));
        assert!(!ring.reader().advance(1, 0));
        assert!(ring.wait_for_room(1));
    }

    #[test]
    fn nobody_waits_for_more_than_half_while_half_is_free() {
        let ring = TxRing::<64>::new();
        (0..32).for_each(|n| _ = ring.push(n));
        assert!(ring.wait_for_room(60), "nobody would tell of it");
        ring.push(32);
        assert!(!ring.wait_for_room(60));
        assert!(ring.reader().advance(1, 0));
    }

    #[test]
    fn a_consumer_is_known_to_look_or_not() {
        let ring = TxRing::<64>::new();
        let answers = [true, false].map(|known| {
            ring.set_known(known);
            ring.is_known()
        });
        assert_eq!(answers, [true, false]);
        assert!(!TxRing::<64>::new().is_known());
    }

    #[test]
    fn two_threads_lose_nothing() {
        let ring = TxRing::<64>::new();
        let rounds = if cfg!(miri) { 200 } else { 200_000u32 };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..rounds {
                    while ring.room() == 0 {
                        std::thread::yield_now();
                    }
                    ring.push(n as u8);
                }
            });
            for n in 0..rounds {
                let byte = loop {
                    let line = ring.reader().has_line();
                    let available = ring.reader().available();
                    if line {
                        let seen = (0..available).any(|at| ring.reader().peek(at) == b'\n');
                        assert!(seen, "a counted line is inside");
                    }
                    match take(ring.reader()) {
                        Some(byte) => break byte,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(byte, n as u8);
            }
        });
        assert_eq!(ring.dropped(), 0);
    }
}
