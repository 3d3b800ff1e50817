//! A copy of a ring's memory, read.

use super::{
    FREQUENCY, HEAD_WORDS, MAGIC, NOBODY, RECORD_BYTES, RESIDENTS, Record, SHAPE, WRITTEN,
};
use crate::ids::{MAX_PCPUS, PartitionId, PcpuId, VcpuId};
use crate::sched::Slot;
use core::fmt;

/// A vCPU that lives on a pCPU.
pub type Resident = (PartitionId, VcpuId);

/// Why bytes are no ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// There are fewer than the head, or the records, need.
    Short {
        /// Bytes that there are.
        found: usize,
        /// Bytes that a ring has.
        needed: usize,
    },
    /// They do not begin as a ring does: it is somewhere else, or tracing is off.
    Magic {
        /// The first word.
        found: u64,
    },
    /// The head says what cannot be.
    Shape {
        /// Word 3 of the head.
        found: u64,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short { found, needed } => {
                write!(f, "a ring of {needed} bytes is cut off after {found}")
            }
            Self::Magic { found } => write!(f, "no ring begins with {found:#x}"),
            Self::Shape { found } => write!(f, "no ring has the shape {found:#x}"),
        }
    }
}

/// A ring, copied while its pCPU may have been writing.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'a> {
    /// The head and the records.
    bytes: &'a [u8],
    /// Whose it is.
    pub pcpu: PcpuId,
    /// Ticks in a second.
    pub frequency: u64,
    /// Records that had been written when the copy began: the head is copied first.
    pub written: u64,
    capacity: u64,
}

/// What a copy of a ring has that was not read before.
#[derive(Clone, Debug)]
pub struct Read<'a> {
    /// Records that were overwritten before anybody read them.
    pub lost: u64,
    /// The next record's number, for the next copy.
    pub next: u64,
    ring: Ring<'a>,
    from: u64,
}

impl<'a> Ring<'a> {
    /// Finds a ring at the front of `bytes`.
    ///
    /// # Errors
    /// Any [`RingError`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, RingError> {
        let head = HEAD_WORDS * 8;
        let found = bytes.len();
        let short = |needed| RingError::Short { found, needed };
        let magic = word(bytes, 0).ok_or(short(head))?;
        if magic != MAGIC {
            return Err(RingError::Magic { found: magic });
        }
        let shape = word(bytes, SHAPE).ok_or(short(head))?;
        let (pcpu, capacity) = (shape as u32, shape >> 32);
        if pcpu >= MAX_PCPUS as u32 || !capacity.is_power_of_two() {
            return Err(RingError::Shape { found: shape });
        }
        let needed = head + (capacity * RECORD_BYTES) as usize;
        let bytes = bytes.get(..needed).ok_or(short(needed))?;
        Ok(Self {
            bytes,
            pcpu: PcpuId(pcpu as u8),
            frequency: word(bytes, FREQUENCY).unwrap_or(0),
            written: word(bytes, WRITTEN).unwrap_or(0),
            capacity,
        })
    }

    /// Returns the ring's bytes, head and all: the next ring follows them.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns who lives in a slot.
    pub fn resident(&self, slot: Slot) -> Option<Resident> {
        let four = word(self.bytes, RESIDENTS + slot.index() / 4)?;
        let pair = (four >> (slot.index() % 4 * 16)) as u16;
        let [partition, vcpu] = pair.to_le_bytes();
        (pair != NOBODY).then_some((PartitionId(partition), VcpuId(vcpu)))
    }

    /// Returns what is new since record number `from`. `begun` is the number of records whose writing may have begun when
    /// the copy was complete: they may have been written over older ones in it. That is [`Self::written`] of a pCPU that
    /// stood still, and one more than what a running one's head says afterwards.
    pub fn since(&self, from: u64, begun: u64) -> Read<'a> {
        let next = self.written.max(from);
        let whole = begun.max(self.written).saturating_sub(self.capacity);
        let first = from.max(whole).min(next);
        Read {
            lost: first - from,
            next,
            ring: *self,
            from: first,
        }
    }
}

impl Iterator for Read<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while self.from < self.next {
            let place = (self.from & (self.ring.capacity - 1)) as usize;
            self.from += 1;
            let at = HEAD_WORDS + 2 * place;
            let words = [word(self.ring.bytes, at)?, word(self.ring.bytes, at + 1)?];
            if let Some(record) = Record::from_words(words) {
                return Some(record);
            }
            // Words that no record has: the memory is not what the head says.
            self.lost += 1;
        }
        None
    }
}

/// Returns a word.
fn word(bytes: &[u8], index: usize) -> Option<u64> {
    let word = bytes.get(index * 8..)?.first_chunk()?;
    Some(u64::from_le_bytes(*word))
}
