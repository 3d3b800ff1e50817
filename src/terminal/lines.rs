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
    /// Bit n: partition n does not run, but could; once anybody asked.
    pub descheduled: Cell<Option<u64>>,
}

impl Lines<'_> {
    fn partition(&self, source: usize) -> Option<&'static Partition> {
        self.system.partitions.get(source.checked_sub(1)?)
    }

    /// Finds the partitions of this pCPU that would run if nobody else did.
    fn find_descheduled(&self) -> u64 {
        let ready = self.vcpus.iter().zip(0..).filter(|(vcpu, slot)| {
            vcpu.activity == Activity::Ready && self.current != Some(Slot(*slot))
        });
        ready.fold(0, |set, (vcpu, _)| set | bit(vcpu.partition.id.0.into()))
    }
}

/// Returns the bit of a partition.
fn bit(partition: usize) -> u64 {
    1u64.wrapping_shl(partition as u32)
}

impl Sources for Lines<'_> {
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

    fn speaking(&self) -> u64 {
        self.system.console.speaking.load(Ordering::SeqCst)
    }

    fn fell_silent(&self, source: usize) {
        if let Some(partition) = self.partition(source) {
            self.system.console.forget(partition);
        }
    }

    fn is_descheduled(&self, source: usize) -> bool {
        // Those that live elsewhere are taken to run: at worst a line is shown in two steps.
        let Some(partition) = source.checked_sub(1) else {
            return false;
        };
        let known = self.descheduled.get();
        let set = known.unwrap_or_else(|| self.find_descheduled());
        self.descheduled.set(Some(set));
        set & bit(partition) != 0
    }

    fn focus(&self) -> usize {
        self.system.console.focus.load(Ordering::Relaxed) as usize + 1
    }
}

impl Consoles for System {
    fn count(&self) -> u8 {
        self.partitions.len() as u8
    }

    // Not inlined: it has many callers.
    #[inline(never)]
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
