//! A ring of bytes between one producer and one consumer on any two pCPUs: what a partition has sent and the
//! physical UART has not.
//!
//! The producer is whoever holds the partition's console lock, the consumer is the console's server. Plain loads
//! and stores, no read-modify-write: the indices have one writer each and run freely, so that `head - tail` is the
//! number of bytes inside.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

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
    /// The last byte put in was no line end. Written by the producer.
    mid_line: AtomicBool,
    /// Bytes ever taken out. Written by the consumer.
    tail: AtomicU32,
    /// Line ends ever taken out. Written by the consumer.
    lines_out: AtomicU32,
    /// The producer waits to hear of room. Set by the producer, cleared by the consumer.
    waiting: AtomicBool,
}

impl<const N: usize> TxRing<N> {
    /// Returns an empty ring.
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two() && N >= 64 && N <= 1 << 30) };
        Self {
            indices: Indices {
                head: AtomicU32::new(0),
                lines_in: AtomicU32::new(0),
                dropped: AtomicU32::new(0),
                mid_line: AtomicBool::new(false),
                tail: AtomicU32::new(0),
                lines_out: AtomicU32::new(0),
                waiting: AtomicBool::new(false),
            },
            bytes: [const { AtomicU8::new(0) }; N],
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
        self.store(byte);
        Some(left)
    }

    /// Puts a byte in, where there is a place for it.
    #[inline]
    fn store(&self, byte: u8) {
        let indices = &self.indices;
        let head = indices.head.load(Ordering::Relaxed);
        if let Some(place) = self.bytes.get(head as usize & (N - 1)) {
            place.store(byte, Ordering::Relaxed);
        }
        // First the bytes, then the line: who sees a line counted finds it inside.
        indices.head.store(head.wrapping_add(1), Ordering::Release);
        let line_end = byte == b'\n';
        indices.mid_line.store(!line_end, Ordering::Relaxed);
        if line_end {
            let lines = indices.lines_in.load(Ordering::Relaxed);
            indices
                .lines_in
                .store(lines.wrapping_add(1), Ordering::Release);
        }
    }

    /// Puts the pieces of one line in and ends it, or leaves the ring alone and returns false when they do not all
    /// fit. The pieces hold no line end. Producer.
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

    /// Ends an unfinished line, as when its partition stops, even when there is no room. Producer.
    pub fn finish_line(&self) {
        // The place that `room` keeps is free in the middle of a line: only here is it taken, by an end.
        if self.indices.mid_line.load(Ordering::Relaxed) {
            self.store(b'\n');
        }
    }

    /// Returns the number of bytes that found no room, modulo 2^32. Anyone.
    pub fn dropped(&self) -> u32 {
        self.indices.dropped.load(Ordering::Relaxed)
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
