//! Who runs on one pCPU, and until when: fixed priorities, first in first out among equals.
//!
//! A pCPU knows its vCPUs as *slots*, numbered by rank: slot 0 is the most urgent one, and equals keep the order of
//! the partition table. A *level* is one distinct priority. Choosing, readying and blocking cost the same whatever
//! the number of vCPUs; the deadline queries walk a tree of fixed depth.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod deadlines;
pub mod queue;

pub use deadlines::Deadlines;
pub use queue::RunQueue;

/// Number of vCPUs that one pCPU can hold.
pub const MAX_SLOTS: usize = 64;

/// A vCPU's place on its pCPU, by rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u8);

impl Slot {
    /// Returns the slot as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
