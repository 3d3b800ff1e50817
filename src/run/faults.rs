//! What follows a partition's fault or silence, and telling people.

use crate::events::Event;
use crate::hw::timer;
use crate::pcpu::Pcpu;
use crate::system::Partition;
use bulkhead::config::record::{on_fault, partition_flags};
use bulkhead::partition::After;

impl Pcpu {
    /// Returns what the table wants after a fault, and counts it.
    pub fn after_fault(&self, partition: &'static Partition) -> After {
        let record = partition.record;
        match record.on_fault {
            on_fault::RESTART => After::Restart,
            on_fault::RESTART_LIMITED => counted_restart(partition),
            _ => After::Stop,
        }
    }

    /// Returns what the table wants when a partition's watchdog was not kicked. A restart counts as one after a fault where
    /// those are limited: a partition that hangs in every life ends like one that faults in every life.
    pub fn after_silence(&self, partition: &'static Partition) -> After {
        let record = partition.record;
        let restarts = record.flags & partition_flags::WATCHDOG_RESTARTS != 0;
        match (restarts, record.on_fault) {
            (true, on_fault::RESTART_LIMITED) => counted_restart(partition),
            (true, _) => After::Restart,
            (false, _) => After::Stop,
        }
    }

    /// Records a health event; the console shows it when it has time.
    pub fn report(&mut self, event: Event) {
        if self.system.console.record(event) {
            self.call_console_later();
        }
    }
}

/// Counts a restart, and returns whether it is one too many in the time that the table says.
// Not inlined: it has two callers, and is for rare events.
#[inline(never)]
fn counted_restart(partition: &'static Partition) -> After {
    let record = partition.record;
    let (now, within) = (timer::now(), timer::ticks(record.restart_within_ns));
    let state = &mut *partition.state.lock_by_call();
    let life = state.life.starts();
    state
        .restarts
        .count(life, now, within, record.restart_limit)
}
