//! What other pCPUs tell one pCPU, and whether it has to be called for it at once.
//!
//! A pCPU publishes whom it *hears*: the slots that are at least as urgent as what it runs. Who posts sets a bit, then
//! looks whom the pCPU hears, and calls it only for a slot that it hears, and only when nobody called it before. A pCPU
//! that comes to hear others publishes that first, then looks for bits that it hears now. All of this is sequentially
//! consistent, so one of the two sees what the other did; `no_order_of_steps_loses_anything` tries every order.
//!
//! A call that was on its way when the pCPU turned to somebody more urgent still reaches it: at most one from each other
//! pCPU.

use super::Slot;
use crate::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst, where_constant};

/// Whom a pCPU hears. Whole words, since it is copied and compared at each choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Bit n: slot n.
    pub slots: u64,
    /// 1 when the console is heard too.
    console: u64,
}

impl Heard {
    /// Everybody: what an idle pCPU hears.
    pub const ALL: Self = Self {
        slots: u64::MAX,
        console: 1,
    };

    /// Nobody.
    pub const NOBODY: Self = Self {
        slots: 0,
        console: 0,
    };

    /// Those before `behind`, and the console when it is as urgent.
    pub const fn new(behind: Slot, console: bool) -> Self {
        let slots = match 1u64.checked_shl(behind.0 as u32) {
            Some(bit) => bit - 1,
            None => u64::MAX,
        };
        Self {
            slots,
            console: console as u64,
        }
    }

    /// Says whether the console is heard.
    #[inline(always)]
    pub const fn console(self) -> bool {
        self.console != 0
    }
}

/// What other pCPUs tell one pCPU.
pub struct Mail {
    /// Bit n: somebody changed something that slot n must look at.
    slots: AtomicU64,
    /// The console has something to send.
    console: AtomicBool,
    /// Whom the pCPU hears of the slots.
    heard: AtomicU64,
    /// It hears the console.
    hears_console: AtomicBool,
}

impl Mail {
    where_constant! {
        /// Makes an empty one, whose pCPU hears everybody.
        pub fn new() -> Self {
            Self {
                slots: AtomicU64::new(0),
                console: AtomicBool::new(false),
                heard: AtomicU64::new(u64::MAX),
                hears_console: AtomicBool::new(true),
            }
        }
    }

    /// Tells the pCPU to look at a slot. Returns whether it must be called.
    #[must_use]
    pub fn post(&self, slot: Slot) -> bool {
        let before = self.mark(slot);
        self.must_call(slot, before)
    }

    /// Tells the pCPU that the console has something to send. Returns whether it must be called.
    #[must_use]
    pub fn post_console(&self) -> bool {
        !self.console.swap(true, SeqCst) && self.hears_console.load(SeqCst)
    }

    /// Sets a slot's bit, and returns those that were set before.
    fn mark(&self, slot: Slot) -> u64 {
        self.slots.fetch_or(bit(slot), SeqCst)
    }

    /// Says whether the pCPU must be called for a slot that was marked. It was called already when a bit that it hears
    /// stood there before: whoever set that one called, or the pCPU has yet to look.
    fn must_call(&self, slot: Slot, before: u64) -> bool {
        let heard = self.heard.load(SeqCst);
        bit(slot) & heard != 0 && before & heard == 0
    }

    /// Says whom the pCPU hears from now on; it calls [`Self::has`] next.
    pub fn publish(&self, heard: Heard) {
        self.heard.store(heard.slots, SeqCst);
        self.hears_console.store(heard.console(), SeqCst);
    }

    /// Says whether there is anything that the pCPU hears.
    #[inline]
    pub fn has(&self, heard: Heard) -> bool {
        self.slots.load(SeqCst) & heard.slots != 0 || heard.console() && self.console.load(SeqCst)
    }

    /// Returns the number of the most urgent slot to look at, of those that are heard; 64 when there is none.
    #[inline]
    pub fn first(&self, heard: Heard) -> u32 {
        (self.slots.load(SeqCst) & heard.slots).trailing_zeros()
    }

    /// Takes the most urgent slot to look at, of those that are heard; the pCPU asks [`Self::has`] for more before it runs
    /// anybody.
    pub fn take_first(&self, heard: Heard) -> Option<Slot> {
        let told = self.slots.load(SeqCst) & heard.slots;
        let slot = Slot(told.trailing_zeros() as u8);
        (told != 0).then(|| {
            self.slots.fetch_and(!bit(slot), SeqCst); // nobody else takes
            slot
        })
    }

    /// Keeps slots that the pCPU itself is to look at once it hears them.
    pub fn keep(&self, slots: u64) {
        self.slots.fetch_or(slots, SeqCst);
    }

    /// Takes the console's request, if that is heard.
    pub fn take_console(&self, heard: Heard) -> bool {
        heard.console() && self.console.load(SeqCst) && self.console.swap(false, SeqCst)
    }
}

impl Default for Mail {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a slot's bit.
const fn bit(slot: Slot) -> u64 {
    match 1u64.checked_shl(slot.0 as u32) {
        Some(bit) => bit,
        None => 0,
    }
}

#[cfg(all(test, loom))]
mod orders;
#[cfg(test)]
mod tests;
