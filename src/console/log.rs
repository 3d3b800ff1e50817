//! EL2's own lines in memory, for a debugger: a board whose UART nobody drives says them nowhere else.
//!
//! A ring that overwrites what is old. Writers claim their places first, so that pCPUs that write at the same time mix their
//! bytes but lose none of each other's.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// The log; `N` is a power of two. Its layout is fixed: bytes ever written, the size, the bytes.
#[repr(C)]
pub struct MemoryLog<const N: usize> {
    /// Bytes ever written, modulo 2^32: the next goes to this number modulo `N`.
    written: AtomicU32,
    /// `N`, from the first byte on; before that 0.
    capacity: AtomicU32,
    bytes: [AtomicU8; N],
}

impl<const N: usize> MemoryLog<N> {
    /// Returns an empty log, all zeros.
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two() && N <= 1 << 30) };
        Self {
            written: AtomicU32::new(0),
            capacity: AtomicU32::new(0),
            bytes: [const { AtomicU8::new(0) }; N],
        }
    }

    /// Appends bytes. Any pCPU.
    // Not inlined: it has many callers.
    #[inline(never)]
    pub fn append(&self, bytes: &[u8]) {
        self.capacity.store(N as u32, Ordering::Relaxed);
        let at = self
            .written
            .fetch_add(bytes.len() as u32, Ordering::Relaxed);
        for (offset, byte) in (0..).zip(bytes) {
            let place = at.wrapping_add(offset) as usize % N;
            if let Some(slot) = self.bytes.get(place) {
                slot.store(*byte, Ordering::Relaxed);
            }
        }
    }
}

impl<const N: usize> Default for MemoryLog<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the text of a log, the oldest byte first, from a dump of its memory. `None`: it is no log's.
pub fn text(dump: &[u8]) -> Option<impl Iterator<Item = u8> + '_> {
    let word = |at: usize| {
        let field = dump.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*field))
    };
    let (written, capacity) = (word(0)?, word(4)?);
    let bytes = dump.get(8..)?.get(..capacity as usize)?;
    if !capacity.is_power_of_two() {
        return None;
    }
    // Bytes that were never written are zeros, and so are no text.
    let start = written.checked_rem(capacity)? as usize;
    let old = bytes.get(start..)?.iter();
    Some(
        old.chain(bytes.get(..start)?)
            .copied()
            .filter(|byte| *byte != 0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a log's memory as a debugger dumps it.
    fn dump<const N: usize>(log: &MemoryLog<N>) -> Vec<u8> {
        let words = [&log.written, &log.capacity].map(|word| word.load(Ordering::Relaxed));
        let bytes = log.bytes.iter().map(|byte| byte.load(Ordering::Relaxed));
        words
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .chain(bytes)
            .collect()
    }

    fn said<const N: usize>(log: &MemoryLog<N>) -> String {
        let dump = dump(log);
        String::from_utf8(text(&dump).unwrap().collect()).unwrap()
    }

    #[test]
    fn what_was_written_is_read_in_order() {
        let log = MemoryLog::<64>::new();
        assert!(text(&dump(&log)).is_none(), "nobody wrote to it");
        log.append(b"bulkhead| one\n");
        log.append(b"bulkhead| two\n");
        assert_eq!(said(&log), "bulkhead| one\nbulkhead| two\n");
    }

    #[test]
    fn the_oldest_is_overwritten() {
        let log = MemoryLog::<16>::new();
        log.append(b"0123456789");
        log.append(b"abcdefghij");
        assert_eq!(said(&log), "456789abcdefghij");
        log.append(&[b'x'; 40]);
        assert_eq!(said(&log), "x".repeat(16));
        log.written.store(u32::MAX, Ordering::Relaxed);
        log.append(b"yz");
        assert!(said(&log).ends_with("yz"));
    }

    #[test]
    fn other_memory_is_no_log() {
        for dump in [
            &[][..],
            &[1; 7],
            &[0; 64],
            &[3, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3],
        ] {
            assert!(text(dump).is_none());
        }
    }
}
