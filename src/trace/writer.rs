//! A pCPU's end of its ring.

use super::record::INTERRUPT;
use super::{FREQUENCY, HEAD_WORDS, MAGIC, NOBODY, RESIDENTS, SHAPE, WRITTEN};
use crate::atomic::{AtomicU64, Ordering, fence};
use crate::ids::{PartitionId, PcpuId, VcpuId};
use crate::sched::{MAX_SLOTS, Slot};

/// Records that are looked at for the last ones about a slot.
const LOOKS_BACK: u64 = 48;
/// Most list registers that a CPU has.
const LIST_REGISTERS: usize = 16;
/// `ICH_LR<n>_EL2.State`, and in it: pending, not active.
const STATE: u64 = 0b11 << 62;
const PENDING: u64 = 0b01 << 62;
/// `ICH_LR<n>_EL2.vINTID`.
const INTID: u64 = 0xffff_ffff;

/// Writes a ring. Its pCPU alone has it.
#[derive(Debug)]
pub struct Writer<'a> {
    records: &'a [[AtomicU64; 2]],
    published: &'a AtomicU64,
    /// Records written so far.
    written: u64,
    /// What the pCPU was last said to do: the second word.
    doing: u64,
    /// The list registers as a guest left them, those that were not empty.
    shown: [u64; LIST_REGISTERS],
    /// Which were not.
    used: u16,
    /// Whose they are.
    left: Option<Slot>,
}

impl<'a> Writer<'a> {
    /// Makes a ring of the words, all zero, and its writer. `None` when they are too few, or the records are no power of
    /// two.
    pub fn new(
        words: &'a [AtomicU64],
        pcpu: PcpuId,
        frequency: u64,
        residents: impl Iterator<Item = (PartitionId, VcpuId)>,
    ) -> Option<Self> {
        let (head, rest) = words.split_at_checked(HEAD_WORDS)?;
        let (records, _) = rest.as_chunks::<2>();
        if !records.len().is_power_of_two() {
            return None;
        }
        let set = |index: usize, value| {
            if let Some(word) = head.get(index) {
                word.store(value, Ordering::Relaxed);
            }
        };
        set(FREQUENCY, frequency);
        set(SHAPE, (records.len() as u64) << 32 | u64::from(pcpu.0));
        let mut slots = [NOBODY; MAX_SLOTS];
        for (slot, (partition, vcpu)) in slots.iter_mut().zip(residents) {
            *slot = u16::from_le_bytes([partition.0, vcpu.0]);
        }
        for (index, four) in slots.as_chunks::<4>().0.iter().enumerate() {
            let word = four
                .iter()
                .rev()
                .fold(0, |word, slot| word << 16 | u64::from(*slot));
            set(RESIDENTS + index, word);
        }
        let published = head.get(WRITTEN)?;
        head.first()?.store(MAGIC, Ordering::Release);
        Some(Self {
            records,
            published,
            written: 0,
            doing: 0,
            shown: [0; LIST_REGISTERS],
            used: 0,
            left: None,
        })
    }

    /// Writes a record over the oldest one, by its two words: the counter, and [`What::word`](super::What::word).
    #[inline(never)]
    pub fn put(&mut self, ticks: u64, word: u64) {
        // No byte of this record may be seen before the number of those before it.
        fence(Ordering::Release);
        let place = self.written as usize & (self.records.len() - 1);
        if let Some([at, what]) = self.records.get(place) {
            at.store(ticks, Ordering::Relaxed);
            what.store(word, Ordering::Relaxed);
        }
        self.written = self.written.wrapping_add(1);
        self.published.store(self.written, Ordering::Release);
    }

    /// Copies the last records about a slot, the newest first, as far as there is room, and returns how many. Older ones
    /// than the last 48 of the ring are not looked for; nor are interrupts, which are filed with who ran when they came,
    /// whosever they are.
    pub fn last_of(&self, slot: Slot, to: &mut [[u64; 2]]) -> usize {
        let last = self.written.min(self.records.len() as u64).min(LOOKS_BACK);
        let records = (1..=last).filter_map(|back| {
            let place = self.written.wrapping_sub(back) as usize & (self.records.len() - 1);
            let [at, what] = self.records.get(place)?;
            let what = what.load(Ordering::Relaxed);
            let own = (what >> 8) as u8 == slot.0;
            (own && !matches!(what as u8, 0 | INTERRUPT))
                .then(|| [at.load(Ordering::Relaxed), what])
        });
        let mut count = 0;
        for (to, record) in to.iter_mut().zip(records) {
            *to = record;
            count += 1;
        }
        count
    }

    /// Writes what the pCPU turns to, unless it is what it did already.
    pub fn turn_to(&mut self, ticks: u64, word: u64) {
        if core::mem::replace(&mut self.doing, word) != word {
            self.put(ticks, word);
        }
    }

    /// Notes the list registers that a guest left: bit n of `used` says that the n-th is not empty.
    pub fn leave(&mut self, slot: Option<Slot>, used: u16, read: impl Fn(u8) -> u64) {
        self.left = slot;
        self.used = used;
        for index in bits(used) {
            if let Some(shown) = self.shown.get_mut(usize::from(index)) {
                *shown = read(index);
            }
        }
    }

    /// Returns the interrupt that a list register shows a guest as pending, unless it was so when that guest left.
    pub fn newly_pending(&self, slot: Slot, index: u8, value: u64) -> Option<u16> {
        let same = self.left == Some(slot) && self.used >> (index % 16) & 1 != 0;
        let before = self.shown.get(usize::from(index)).filter(|_| same);
        let before = before.copied().unwrap_or(0);
        let is_new = before & STATE != PENDING || (before ^ value) & INTID != 0;
        (value & STATE == PENDING && is_new).then_some(value as u16)
    }
}

/// Returns the positions of the bits that are set.
#[inline(always)]
pub fn bits(mut mask: u16) -> impl Iterator<Item = u8> {
    core::iter::from_fn(move || {
        let index = mask.trailing_zeros() as u8;
        (mask != 0).then(|| {
            mask &= mask - 1;
            index
        })
    })
}
