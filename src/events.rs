//! Health events: recorded in fixed size where they happen, put into words where there is time for it.

use crate::report::Piece;
use crate::system::System;
use bulkhead::ids::{PartitionId, VcpuId};
use bulkhead::partition::After;
use bulkhead::trap::syndrome;
use heapless::Deque;

use Piece::{Decimal, Hex, Text};

/// Events that wait to be shown; further ones are counted.
const WAITING: usize = 16;
/// Events of one partition in one window of time; further ones are counted.
const PER_WINDOW: u8 = 8;

/// Something that people want to know.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A partition started for the nth time.
    Started {
        /// Whose.
        partition: PartitionId,
        /// How often so far.
        starts: u32,
    },
    /// A partition is about to stop or to restart.
    Leaving {
        /// Whose.
        partition: PartitionId,
        /// What follows.
        after: After,
        /// What made it.
        why: &'static str,
    },
    /// A partition has stopped.
    Stopped {
        /// Whose.
        partition: PartitionId,
    },
    /// A guest touched what is not there, and took an external abort.
    Abort {
        /// Whose.
        partition: PartitionId,
        /// Which vCPU.
        vcpu: VcpuId,
        /// Its program counter.
        pc: u64,
        /// `ESR_EL2`.
        esr: u32,
        /// `FAR_EL2`.
        far: u64,
        /// The guest-physical address, where the hardware reports it.
        gpa: u64,
    },
    /// A guest did what the architecture has no answer to.
    Fault {
        /// Whose.
        partition: PartitionId,
        /// Which vCPU.
        vcpu: VcpuId,
        /// Its program counter.
        pc: u64,
        /// `ESR_EL2`.
        esr: u32,
        /// What it did.
        why: &'static str,
    },
    /// A vCPU used up its budget, for the first time since its partition started.
    Exhausted {
        /// Whose.
        partition: PartitionId,
        /// Which vCPU.
        vcpu: VcpuId,
    },
    /// A CPU that the table uses did not come up in time.
    Missing {
        /// Its position.
        pcpu: u8,
    },
    /// The board gave no random seed.
    NoSeed,
}

impl Event {
    fn partition(&self) -> Option<PartitionId> {
        match self {
            Self::Started { partition, .. }
            | Self::Leaving { partition, .. }
            | Self::Stopped { partition }
            | Self::Abort { partition, .. }
            | Self::Exhausted { partition, .. }
            | Self::Fault { partition, .. } => Some(*partition),
            Self::Missing { .. } | Self::NoSeed => None,
        }
    }

    /// Returns a piece of the event in words, or `None` behind the last one.
    pub fn piece(&self, system: &System, index: usize) -> Option<Piece> {
        let name = |id: &PartitionId| {
            let partition = system.partitions.get(usize::from(id.0));
            Text(partition.map_or("?", |partition| partition.name))
        };
        match self {
            Self::Started {
                partition,
                starts: 1,
            } => [name(partition), Text(": started")].get(index).copied(),
            Self::Started { partition, starts } => {
                let starts = Decimal((*starts).into());
                [name(partition), Text(": started again, start "), starts]
                    .get(index)
                    .copied()
            }
            Self::Leaving {
                partition,
                after,
                why,
            } => {
                let act = if *after == After::Restart {
                    ": restarting: "
                } else {
                    ": stopping: "
                };
                [name(partition), Text(act), Text(why)].get(index).copied()
            }
            Self::Stopped { partition } => [name(partition), Text(": stopped")].get(index).copied(),
            Self::Abort {
                partition,
                vcpu,
                pc,
                esr,
                far,
                gpa,
            } => {
                let esr = u64::from(*esr);
                let pieces = [
                    name(partition),
                    Text(" vCPU "),
                    Decimal(vcpu.0.into()),
                    Text(": "),
                    Text(syndrome::describe(esr)),
                    Text(" at pc "),
                    Hex(*pc),
                    Text(", "),
                    Text(syndrome::describe_fault(esr).unwrap_or("fault")),
                    Text(" at address "),
                    Hex(*far),
                    Text(" (guest-physical "),
                    Hex(*gpa),
                    Text("): nothing is there, the guest takes an abort"),
                ];
                pieces.get(index).copied()
            }
            Self::Fault {
                partition,
                vcpu,
                pc,
                esr,
                why,
            } => {
                let pieces = [
                    name(partition),
                    Text(" vCPU "),
                    Decimal(vcpu.0.into()),
                    Text(": fault at pc "),
                    Hex(*pc),
                    Text(": "),
                    Text(why),
                    Text(" (last trap: "),
                    Text(syndrome::describe(u64::from(*esr))),
                    Text(")"),
                ];
                pieces.get(index).copied()
            }
            Self::Exhausted { partition, vcpu } => {
                let vcpu = Decimal(vcpu.0.into());
                [
                    name(partition),
                    Text(" vCPU "),
                    vcpu,
                    Text(": its budget is exhausted (said once in its life)"),
                ]
                .get(index)
                .copied()
            }
            Self::Missing { pcpu } => {
                let pcpu = Decimal((*pcpu).into());
                [
                    Text("pCPU "),
                    pcpu,
                    Text(" has not come up within a second: its vCPUs do not run"),
                ]
                .get(index)
                .copied()
            }
            Self::NoSeed => [Text(
                "warning: the board gives no random seed; what guests get can be guessed",
            )]
            .get(index)
            .copied(),
        }
    }
}

/// Events on their way to the console.
pub struct Queue {
    waiting: Deque<Event, WAITING>,
    lost: u32,
    /// Events of each partition in this window.
    counts: [u8; bulkhead::ids::MAX_PARTITIONS],
    window: u64,
    /// The window in which the number of lost events was shown last.
    told: u64,
}

impl Queue {
    /// Makes an empty queue.
    pub const fn new() -> Self {
        Self {
            waiting: Deque::new(),
            lost: 0,
            counts: [0; bulkhead::ids::MAX_PARTITIONS],
            window: 0,
            told: 0,
        }
    }

    /// Adds an event, or counts it as lost. `window` changes once a second. Says whether there is something to show for it
    /// now, or later for the first time: who floods shall not call the console each time.
    pub fn push(&mut self, event: Event, window: u64) -> bool {
        if window != self.window {
            self.window = window;
            self.counts = [0; bulkhead::ids::MAX_PARTITIONS];
        }
        let mut many = false;
        if let Some(count) = event
            .partition()
            .and_then(|id| self.counts.get_mut(usize::from(id.0)))
        {
            *count = count.saturating_add(1);
            many = *count > PER_WINDOW;
        }
        if !many && self.waiting.push_back(event).is_ok() {
            return true;
        }
        self.lost = self.lost.saturating_add(1);
        self.told != window || self.lost == 1
    }

    /// Takes the oldest event.
    pub fn pop(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }

    /// Says whether there is anything to show, now or in a later window.
    pub fn is_eventful(&self) -> bool {
        !self.waiting.is_empty() || self.lost != 0
    }

    /// Says whether nothing is to be shown now. The number of lost events waits for a new window, so that a flood
    /// makes one line a second.
    pub fn is_empty(&self, window: u64) -> bool {
        self.waiting.is_empty() && (self.lost == 0 || self.told == window)
    }

    /// Takes the number of events that found no room, once a window.
    pub fn take_lost(&mut self, window: u64) -> u32 {
        if self.told == window {
            return 0;
        }
        self.told = window;
        core::mem::take(&mut self.lost)
    }
}
