//! What follows a partition's fault, and telling people.

use crate::events::Event;
use crate::hw::timer;
use crate::pcpu::Pcpu;
use crate::system::Partition;
use bulkhead::config::record::on_fault;
use bulkhead::partition::After;

impl Pcpu {
    /// Returns what the table wants after a fault, and counts it.
    pub fn after_fault(&self, partition: &'static Partition) -> After {
        let record = partition.record;
        match record.on_fault {
            on_fault::RESTART => After::Restart,
            on_fault::RESTART_LIMITED => {
                let now = timer::now();
                let mut state = partition.state.lock_by_call();
                let restarts = &mut state.restarts;
                if now.wrapping_sub(restarts.since) > timer::ticks(record.restart_within_ns) {
                    restarts.since = now;
                    restarts.count = 0;
                }
                restarts.count = restarts.count.saturating_add(1);
                if restarts.count > record.restart_limit {
                    After::Stop
                } else {
                    After::Restart
                }
            }
            _ => After::Stop,
        }
    }

    /// Records a health event; the console shows it when it has time.
    pub fn report(&mut self, event: Event) {
        if self.system.console.record(event) {
            self.call_console();
        }
    }
}
