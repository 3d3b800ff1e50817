//! Who speaks on the line, as the multiplexer and the keyboard see them.

use crate::pcpu::{Activity, Vcpu};
use crate::system::{Partition, System};
use bulkhead::console::OWN_NAME;
use bulkhead::console::keyboard::Consoles;
use bulkhead::console::multiplexer::{OWN, Sources};
use bulkhead::device::ring::Reader;
use bulkhead::ids::PartitionId;
use bulkhead::sched::Slot;
use core::cell::Cell;
use core::sync::atomic::Ordering;

/// The speakers on the line, as the multiplexer sees them.
pub(super) struct Lines<'a> {
    pub system: &'static System,
    pub vcpus: &'a [Vcpu],
    pub current: Option<Slot>,
    /// Bit n: partition n waits for room and has it now.
    pub rooms: Cell<u64>,
}

impl Lines<'_> {
    fn partition(&self, source: usize) -> Option<&'static Partition> {
        self.system.partitions.get(source.checked_sub(1)?)
    }
}

impl Sources for Lines<'_> {
    fn count(&self) -> usize {
        self.system.partitions.len() + 1
    }

    fn name(&self, source: usize) -> &[u8] {
        self.partition(source)
            .map_or(OWN_NAME, |partition| partition.name.as_bytes())
    }

    fn reader(&self, source: usize) -> Option<Reader<'_>> {
        if source == OWN {
            return Some(self.system.console.log.reader());
        }
        let partition = self.partition(source)?;
        partition.uart.map(|_| partition.output.reader())
    }

    fn is_descheduled(&self, source: usize) -> bool {
        // Those that live elsewhere are taken to run: at worst a line is shown in two steps.
        let Some(partition) = self.partition(source) else {
            return false;
        };
        self.vcpus.iter().zip(0..).any(|(vcpu, slot)| {
            vcpu.partition.id == partition.id
                && vcpu.activity == Activity::Ready
                && self.current != Some(Slot(slot))
        })
    }

    fn focus(&self) -> usize {
        self.system.console.focus.load(Ordering::Relaxed) as usize + 1
    }

    fn room(&self, source: usize) {
        let bit = source
            .checked_sub(1)
            .and_then(|index| 1u64.checked_shl(index as u32))
            .unwrap_or(0);
        self.rooms.set(self.rooms.get() | bit);
    }
}

impl Consoles for System {
    fn count(&self) -> u8 {
        self.partitions.len() as u8
    }

    fn has_console(&self, partition: PartitionId) -> bool {
        self.partitions
            .get(usize::from(partition.0))
            .is_some_and(|partition| partition.uart.is_some())
    }

    fn name(&self, partition: PartitionId) -> &[u8] {
        self.partitions
            .get(usize::from(partition.0))
            .map_or(b"?", |partition| partition.name.as_bytes())
    }
}
