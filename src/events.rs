//! Health events: recorded in fixed size where they happen, put into words where there is time for it.

use crate::system::{Partition, System};
use bulkhead::ids::{PartitionId, VcpuId};
use bulkhead::partition::After;
use bulkhead::trap::syndrome;
use core::fmt::{self, Write};
use heapless::Deque;

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
    /// A CPU that the table uses did not come up.
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
            | Self::Fault { partition, .. } => Some(*partition),
            Self::Missing { .. } | Self::NoSeed => None,
        }
    }

    /// Puts the event into words.
    pub fn describe(&self, system: &System, out: &mut impl Write) -> fmt::Result {
        let name = |id: &PartitionId| {
            system
                .partitions
                .get(usize::from(id.0))
                .map_or("?", |p: &Partition| p.name)
        };
        match self {
            Self::Started {
                partition,
                starts: 1,
            } => write!(out, "{}: started", name(partition)),
            Self::Started { partition, starts } => {
                write!(out, "{}: started again, start {starts}", name(partition))
            }
            Self::Leaving {
                partition,
                after,
                why,
            } => {
                let act = if *after == After::Restart {
                    "restarting"
                } else {
                    "stopping"
                };
                write!(out, "{}: {act}: {why}", name(partition))
            }
            Self::Stopped { partition } => write!(out, "{}: stopped", name(partition)),
            Self::Abort {
                partition,
                vcpu,
                pc,
                esr,
                far,
                gpa,
            } => {
                let esr = u64::from(*esr);
                let fault = syndrome::describe_fault(esr).unwrap_or("fault");
                write!(
                    out,
                    "{} vCPU {}: {} at pc {pc:#x}: {fault} ",
                    name(partition),
                    vcpu.0,
                    syndrome::describe(esr)
                )?;
                write!(
                    out,
                    "at address {far:#x} (guest-physical {gpa:#x}): nothing is there; the guest takes an abort"
                )
            }
            Self::Fault {
                partition,
                vcpu,
                pc,
                esr,
                why,
            } => {
                let words = syndrome::describe(u64::from(*esr));
                write!(
                    out,
                    "{} vCPU {}: fault at pc {pc:#x}: {why} (last trap: {words})",
                    name(partition),
                    vcpu.0
                )
            }
            Self::Missing { pcpu } => {
                write!(out, "pCPU {pcpu} did not come up: its vCPUs do not run")
            }
            Self::NoSeed => write!(
                out,
                "warning: the board gives no random seed; what guests get can be guessed"
            ),
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
}

impl Queue {
    /// Makes an empty queue.
    pub const fn new() -> Self {
        Self {
            waiting: Deque::new(),
            lost: 0,
            counts: [0; bulkhead::ids::MAX_PARTITIONS],
            window: 0,
        }
    }

    /// Adds an event, or counts it as lost. `window` changes once a second.
    pub fn push(&mut self, event: Event, window: u64) {
        if window != self.window {
            self.window = window;
            self.counts = [0; bulkhead::ids::MAX_PARTITIONS];
        }
        if let Some(count) = event
            .partition()
            .and_then(|id| self.counts.get_mut(usize::from(id.0)))
        {
            *count = count.saturating_add(1);
            if *count > PER_WINDOW {
                self.lost = self.lost.saturating_add(1);
                return;
            }
        }
        if self.waiting.push_back(event).is_err() {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// Takes the oldest event.
    pub fn pop(&mut self) -> Option<Event> {
        self.waiting.pop_front()
    }

    /// Says whether nothing waits to be shown.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.lost == 0
    }

    /// Takes the number of events that found no room.
    pub fn take_lost(&mut self) -> u32 {
        core::mem::take(&mut self.lost)
    }
}
