//! Deadlines of the slots of one pCPU, in a tree of fixed shape over ranks: the earliest of all, of each group of eight
//! slots, of each slot. What setting one costs does not depend on how many there are; the most urgent are found first.
//!
//! A slot's deadline changes twice in a period of its timer: when it goes to sleep, and when it wakes.

use super::{MAX_SLOTS, Slot};

/// Says that nothing is due.
pub const NEVER: u64 = u64::MAX;

/// Slots in a group, and groups.
const WIDTH: usize = 8;
const _: () = assert!(MAX_SLOTS == WIDTH * WIDTH);

/// The earliest wake-up of each slot, in counter ticks.
pub struct Deadlines {
    earliest: u64,
    groups: [u64; WIDTH],
    slots: [[u64; WIDTH]; WIDTH],
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            earliest: NEVER,
            groups: [NEVER; WIDTH],
            slots: [[NEVER; WIDTH]; WIDTH],
        }
    }
}

impl Deadlines {
    /// Sets a slot's deadline; [`NEVER`] takes it out.
    #[inline(always)]
    pub fn set(&mut self, slot: Slot, deadline: u64) {
        if self.of(slot) != deadline {
            self.replace(slot, deadline);
        }
    }

    /// [`Self::set`] for one that is not the same.
    #[inline(never)]
    fn replace(&mut self, slot: Slot, deadline: u64) {
        let (group, place) = place_of(slot);
        let (Some(slots), Some(least)) = (self.slots.get_mut(group), self.groups.get_mut(group))
        else {
            return;
        };
        if let Some(own) = slots.get_mut(place) {
            *own = deadline;
        }
        let earliest = earliest_of(slots);
        if *least != earliest {
            *least = earliest;
            self.earliest = earliest_of(&self.groups);
        }
    }

    /// Returns a slot's deadline.
    #[inline(always)]
    pub fn of(&self, slot: Slot) -> u64 {
        let (group, place) = place_of(slot);
        let slots = self.slots.get(group);
        slots
            .and_then(|slots| slots.get(place))
            .copied()
            .unwrap_or(NEVER)
    }

    /// Returns the earliest deadline of all.
    #[inline(always)]
    pub fn earliest(&self) -> u64 {
        self.earliest
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
        if slot.index() >= MAX_SLOTS {
            return self.earliest;
        }
        let (group, place) = place_of(slot);
        let slots = self.slots.get(group).map_or(&[][..], |slots| &slots[..]);
        let groups = self.groups.iter().take(group);
        groups
            .chain(slots.iter().take(place))
            .fold(NEVER, |earliest, deadline| earliest.min(*deadline))
    }

    /// Returns the most urgent slot whose deadline is not later than `now`.
    #[inline(always)]
    pub fn expired(&self, now: u64) -> Option<Slot> {
        match self.earliest <= now {
            true => self.find_expired(now),
            false => None,
        }
    }

    /// [`Self::expired`] when there is one.
    #[inline(always)]
    fn find_expired(&self, now: u64) -> Option<Slot> {
        let is_over = |deadline: &u64| *deadline <= now;
        let group = self.groups.iter().position(is_over)?;
        let place = self.slots.get(group)?.iter().position(is_over)?;
        Some(Slot((group * WIDTH + place) as u8))
    }
}

/// Returns the group of a slot, and its place there.
#[inline(always)]
const fn place_of(slot: Slot) -> (usize, usize) {
    (slot.index() / WIDTH % WIDTH, slot.index() % WIDTH)
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
        let deadlines = Deadlines::default();
        assert_eq!(deadlines.earliest(), NEVER);
        assert_eq!(deadlines.expired(NEVER - 1), None);
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
                let expired = model.iter().position(|at| *at <= 40).map(|slot| Slot(slot as u8));
                prop_assert_eq!(deadlines.expired(40), expired);
            }
        }
    }
}
