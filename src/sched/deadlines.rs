//! Deadlines of the slots of one pCPU, in a tree of fixed shape over ranks: the earliest of all, of each group of eight
//! slots, of each slot. What setting one costs does not depend on how many there are; the most urgent are found first.
//!
//! A slot's deadline changes twice in a period of its timer: when it goes to sleep, and when it wakes. One that becomes
//! later leaves what is kept of its group as it is: too early. That is found out by whoever looks next, when the one that
//! woke has run, so a wake-up is not delayed by it.

use super::{MAX_SLOTS, Slot};

/// Says that nothing is due.
pub const NEVER: u64 = u64::MAX;

/// Slots in a group, and groups.
const WIDTH: usize = 8;
const _: () = assert!(MAX_SLOTS == WIDTH * WIDTH);

/// The earliest wake-up of each slot, in counter ticks.
pub struct Deadlines {
    /// Not later than any of [`Self::groups`].
    earliest: u64,
    /// Not later than any slot of the group.
    groups: [u64; WIDTH],
    /// Groups whose entry may be too early, as a mask.
    stale: u8,
    slots: [[u64; WIDTH]; WIDTH],
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            earliest: NEVER,
            groups: [NEVER; WIDTH],
            stale: 0,
            slots: [[NEVER; WIDTH]; WIDTH],
        }
    }
}

impl Deadlines {
    /// Sets a slot's deadline; [`NEVER`] takes it out.
    #[inline(always)]
    pub fn set(&mut self, slot: Slot, deadline: u64) {
        let own = self.slots.as_flattened_mut().get_mut(place_of(slot));
        if let Some(own) = own
            && *own != deadline
        {
            *own = deadline;
            let group = place_of(slot) / WIDTH;
            let Some(least) = self.groups.get_mut(group) else {
                return;
            };
            if deadline < *least {
                *least = deadline;
                self.earliest = self.earliest.min(deadline);
            } else {
                self.stale |= 1 << group;
            }
        }
    }

    /// Returns a slot's deadline.
    #[inline(always)]
    pub fn of(&self, slot: Slot) -> u64 {
        let own = self.slots.as_flattened().get(place_of(slot));
        own.copied().unwrap_or(NEVER)
    }

    /// Says whether a deadline may not be later than `now`: [`Self::expired`] knows. If not, none is.
    #[inline(always)]
    pub fn may_be_over(&self, now: u64) -> bool {
        self.earliest <= now
    }

    /// Returns the earliest deadline of all.
    pub fn earliest(&self) -> u64 {
        self.find_before(Slot(MAX_SLOTS as u8))
    }

    /// Returns the earliest deadline among the ranks before `slot`, which are at least as urgent.
    #[inline(always)]
    pub fn earliest_before(&self, slot: Slot) -> u64 {
        match slot.index() {
            0 => NEVER,
            1 => self.of(Slot(0)),
            _ => self.find_before(slot),
        }
    }

    #[inline(never)]
    fn find_before(&self, slot: Slot) -> u64 {
        let (group, place) = (slot.index() / WIDTH, slot.index() % WIDTH);
        let mut earliest = NEVER;
        for ((bound, slots), index) in self.groups.iter().zip(&self.slots).zip(0..group) {
            let stale = self.stale >> index & 1 != 0;
            let least = if stale { earliest_of(slots) } else { *bound };
            earliest = earliest.min(least);
        }
        let slots = self.slots.get(group).map_or(&[][..], |slots| &slots[..]);
        let before = slots.iter().take(place);
        before.fold(earliest, |earliest, deadline| earliest.min(*deadline))
    }

    /// Returns the most urgent slot whose deadline is not later than `now`.
    #[inline(always)]
    pub fn expired(&mut self, now: u64) -> Option<Slot> {
        if !self.may_be_over(now) {
            return None;
        }
        let [[first, ..], ..] = &self.slots;
        match *first <= now {
            true => Some(Slot(0)),
            false => self.find_expired(now),
        }
    }

    /// [`Self::expired`] when there may be one. Puts right what it finds to be too early.
    #[inline(never)]
    fn find_expired(&mut self, now: u64) -> Option<Slot> {
        for ((bound, slots), group) in self.groups.iter_mut().zip(&self.slots).zip(0..) {
            if *bound > now {
                continue;
            }
            if let Some(place) = slots.iter().position(|deadline| *deadline <= now) {
                return Some(Slot((group * WIDTH + place) as u8));
            }
            *bound = earliest_of(slots);
            self.stale &= !(1 << group);
        }
        self.earliest = earliest_of(&self.groups);
        None
    }
}

/// Returns the place of a slot among all.
#[inline(always)]
const fn place_of(slot: Slot) -> usize {
    slot.index() % MAX_SLOTS
}

/// Returns the earliest of eight.
#[inline(always)]
fn earliest_of([a, b, c, d, e, f, g, h]: &[u64; WIDTH]) -> u64 {
    let (first, second) = (
        (*a).min(*b).min((*c).min(*d)),
        (*e).min(*f).min((*g).min(*h)),
    );
    first.min(second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_due_at_first() {
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.earliest(), NEVER);
        assert!(!deadlines.may_be_over(NEVER - 1));
        assert_eq!(deadlines.expired(NEVER - 1), None);
    }

    #[test]
    fn one_that_became_later_may_be_over_until_somebody_has_looked() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Slot(9), 20);
        assert!(deadlines.may_be_over(20) && !deadlines.may_be_over(19));
        deadlines.set(Slot(9), 50);
        assert!(deadlines.may_be_over(20));
        assert_eq!(deadlines.expired(20), None);
        assert!(!deadlines.may_be_over(49) && deadlines.may_be_over(50));
    }

    #[test]
    fn ranks_before_a_slot_leave_it_out() {
        let mut deadlines = Deadlines::default();
        deadlines.set(Slot(3), 50);
        deadlines.set(Slot(7), 20);
        assert_eq!(deadlines.earliest(), 20);
        assert_eq!(deadlines.earliest_before(Slot(7)), 50);
        assert_eq!(deadlines.earliest_before(Slot(3)), NEVER);
        assert_eq!(deadlines.expired(60), Some(Slot(3)));
        assert_eq!(deadlines.expired(20), Some(Slot(7)));
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_array(count in 1u8..=64, steps in prop::collection::vec((0u8..64, 0u64..100), 1..300), probe in 0u8..=64) {
            let mut deadlines = Deadlines::default();
            let mut model = [NEVER; MAX_SLOTS];
            let probe = probe.min(count);
            for (slot, deadline) in steps {
                let slot = slot % count;
                let deadline = if deadline > 90 { NEVER } else { deadline };
                deadlines.set(Slot(slot), deadline);
                model[slot as usize] = deadline;
                prop_assert_eq!(deadlines.of(Slot(slot)), deadline);
                prop_assert_eq!(deadlines.earliest(), *model.iter().min().unwrap());
                let before = model[..probe as usize].iter().min().copied().unwrap_or(NEVER);
                prop_assert_eq!(deadlines.earliest_before(Slot(probe)), before);
                let over = deadlines.may_be_over(40);
                prop_assert!(over || model.iter().all(|at| *at > 40));
                let expired = model.iter().position(|at| *at <= 40).map(|slot| Slot(slot as u8));
                prop_assert_eq!(deadlines.expired(40), expired);
            }
        }
    }
}
