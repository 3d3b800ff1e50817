//! The records of all rings, joined from one copy of the memory to the next.

use bulkhead::sched::{MAX_SLOTS, Slot};
use bulkhead::trace::{Record, Ring, RingError};

/// What stands in a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A record.
    Record(Record),
    /// So many records were overwritten before they were read.
    Lost(u64),
}

/// One pCPU's records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// The pCPU.
    pub pcpu: u8,
    /// Who lives in which slot: partition and vCPU.
    pub residents: Vec<Option<(u8, u8)>>,
    /// What it did, in order.
    pub entries: Vec<Entry>,
    /// Number of the next record.
    pub next: u64,
}

impl Track {
    /// Returns who lives in a slot.
    pub fn resident(&self, slot: Slot) -> Option<(u8, u8)> {
        self.residents.get(slot.index()).copied().flatten()
    }

    /// Takes what is new of a copied ring.
    fn add(&mut self, ring: &Ring<'_>, begun: u64) {
        let mut read = ring.since(self.next, begun);
        let records: Vec<_> = read.by_ref().map(Entry::Record).collect();
        // What was found damaged on the way counts too.
        if read.lost != 0 {
            self.entries.push(Entry::Lost(read.lost));
        }
        self.entries.extend(records);
        self.next = read.next;
    }
}

/// All records of a system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    /// Ticks of the counter in a second.
    pub frequency: u64,
    /// The partitions' names.
    pub names: Vec<String>,
    /// INTIDs that partitions own.
    pub passed: Vec<u16>,
    /// The pCPUs.
    pub tracks: Vec<Track>,
}

impl Recording {
    /// Makes an empty recording.
    pub fn new(names: Vec<String>, passed: Vec<u16>) -> Self {
        Self {
            names,
            passed,
            ..Self::default()
        }
    }

    /// Takes what is new of a copy of all rings. `begun` gets the position of a ring in the copy and says how many of its
    /// records may have been begun by the end of it; `None` when the pCPUs stood still.
    ///
    /// # Errors
    /// The bytes are no rings.
    pub fn add(
        &mut self,
        mut area: &[u8],
        mut begun: impl FnMut(usize) -> Option<u64>,
    ) -> Result<(), RingError> {
        let mut at = 0;
        while !area.is_empty() {
            let ring = Ring::new(area)?;
            let begun = begun(at).unwrap_or(ring.written);
            self.frequency = ring.frequency.max(1);
            self.track(&ring).add(&ring, begun);
            at += ring.size();
            area = area.get(ring.size()..).unwrap_or_default();
        }
        Ok(())
    }

    /// Returns the track of a ring, made at its first record.
    fn track(&mut self, ring: &Ring<'_>) -> &mut Track {
        let pcpu = ring.pcpu.0;
        let at = self.tracks.binary_search_by_key(&pcpu, |track| track.pcpu);
        let at = at.unwrap_or_else(|at| {
            let slots = (0..MAX_SLOTS as u8).map(Slot);
            let residents = slots.map(|slot| ring.resident(slot).map(|(p, v)| (p.0, v.0)));
            let track = Track {
                pcpu,
                residents: residents.collect(),
                ..Track::default()
            };
            self.tracks.insert(at, track);
            at
        });
        &mut self.tracks[at]
    }

    /// Returns the number of records.
    pub fn records(&self) -> usize {
        self.tracks.iter().map(|track| track.entries.len()).sum()
    }

    /// Returns the number of records that were lost.
    pub fn lost(&self) -> u64 {
        let entries = self.tracks.iter().flat_map(|track| &track.entries);
        let lost = entries.map(|entry| match entry {
            Entry::Lost(count) => *count,
            Entry::Record(_) => 0,
        });
        lost.sum()
    }

    /// Turns ticks into nanoseconds.
    pub fn ns(&self, ticks: u64) -> u64 {
        let ns = u128::from(ticks) * 1_000_000_000 / u128::from(self.frequency.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// Returns a partition's name.
    pub fn name(&self, partition: u8) -> String {
        let name = self.names.get(usize::from(partition)).cloned();
        name.unwrap_or_else(|| format!("partition {partition}"))
    }

    /// Returns what to call a vCPU: its partition's name, with its number where there are several.
    pub fn vcpu_name(&self, (partition, vcpu): (u8, u8)) -> String {
        let name = self.name(partition);
        let residents = self.tracks.iter().flat_map(|track| &track.residents);
        let siblings = residents.flatten().filter(|(of, _)| *of == partition);
        match siblings.count() {
            0 | 1 => name,
            _ => format!("{name}.{vcpu}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bulkhead::ids::{PartitionId, PcpuId, VcpuId};
    use bulkhead::trace::{What, Writer};
    use std::sync::atomic::{AtomicU64, Ordering};

    fn bytes(words: &[AtomicU64]) -> Vec<u8> {
        let load = |word: &AtomicU64| word.load(Ordering::Relaxed).to_le_bytes();
        words.iter().flat_map(load).collect()
    }

    #[test]
    fn copies_are_joined_and_gaps_counted() {
        let words: Vec<_> = (0..2 * (32 + 16)).map(|_| AtomicU64::new(0)).collect();
        let (first, second) = words.split_at(48);
        let home = |vcpu| [(PartitionId(vcpu), VcpuId(0))].into_iter();
        let mut one = Writer::new(first, PcpuId(1), 1000, home(1)).unwrap();
        Writer::new(second, PcpuId(0), 1000, home(0)).unwrap();
        let mut recording = Recording::new(vec!["a".into()], Vec::new());
        let slot = Some(Slot(0));
        for ticks in 0..30 {
            one.put(ticks, What::Wake.word(slot));
            if ticks % 6 == 0 || ticks == 29 {
                recording.add(&bytes(&words), |_| None).unwrap();
            }
        }
        assert_eq!((recording.records(), recording.lost()), (30, 0));
        for ticks in 30..40 {
            one.put(ticks, What::Block.word(slot));
        }
        recording.add(&bytes(&words), |_| None).unwrap();
        assert_eq!((recording.records(), recording.lost()), (39, 2));
        assert_eq!(recording.tracks[1].entries[30], Entry::Lost(2));
        assert_eq!(recording.tracks[1].pcpu, 1);
        assert_eq!(recording.vcpu_name((0, 0)), "a");
        assert_eq!(recording.vcpu_name((1, 0)), "partition 1");
        assert!(recording.add(&bytes(&words)[..99], |_| None).is_err());
    }
}
