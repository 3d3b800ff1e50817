//! Who runs on one pCPU, and until when: fixed priorities, first in first out among equals.
//!
//! A pCPU knows its vCPUs as *slots*, numbered by rank: slot 0 is the most urgent one, and equals keep the order of
//! the partition table. A *level* is one distinct priority. Choosing, readying and blocking cost the same whatever
//! the number of vCPUs; the deadline queries walk a tree of six steps at most. Where the table has budgets or time windows,
//! [`limits`] decides who is in the queue at all.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod budget;
pub mod deadlines;
pub mod levels;
pub mod limits;
pub mod mail;
pub mod queue;
pub mod windows;

pub use budget::Budget;
pub use deadlines::Deadlines;
pub use levels::Levels;
pub use limits::Limits;
pub use mail::{Heard, Mail};
pub use queue::RunQueue;

/// Number of vCPUs that one pCPU can hold.
pub const MAX_SLOTS: usize = 64;

/// What may interrupt a pCPU while somebody runs there: what is at least as urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The mask of physical interrupts.
    pub mask: u64,
    /// Whose mail comes through.
    pub heard: Heard,
}

impl Gate {
    /// Lets everything through: while nobody runs.
    pub const OPEN: Self = Self {
        mask: levels::OPEN as u64,
        heard: Heard::ALL,
    };

    /// Hears these slots, of all.
    pub const fn with_slots(mut self, slots: u64) -> Self {
        self.heard.slots = slots;
        self
    }
}

/// A vCPU's place on its pCPU, by rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u8);

impl Slot {
    /// Returns the slot as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
