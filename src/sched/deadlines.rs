//! Deadlines of the slots of one pCPU, as a tournament tree over ranks: setting one and asking for the earliest of
//! the most urgent ranks both take as many steps as the tree is deep, whatever the number of vCPUs.

use super::{MAX_SLOTS, Slot};

/// Says that nothing is due.
pub const NEVER: u64 = u64::MAX;

/// The earliest wake-up of each slot, in counter ticks.
pub struct Deadlines {
    /// Node 1 is the root, node n has the children 2n and 2n + 1, the leaves start at [`MAX_SLOTS`].
    nodes: [u64; 2 * MAX_SLOTS],
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            nodes: [NEVER; 2 * MAX_SLOTS],
        }
    }
}

impl Deadlines {
    /// Sets a slot's deadline; [`NEVER`] takes it out.
    pub fn set(&mut self, slot: Slot, deadline: u64) {
        let mut at = MAX_SLOTS + slot.index() % MAX_SLOTS;
        let Some(leaf) = self.nodes.get_mut(at) else {
            return;
        };
        *leaf = deadline;
        while at > 1 {
            let earliest = self.node(at).min(self.node(at ^ 1));
            at /= 2;
            match self.nodes.get_mut(at) {
                Some(node) if *node != earliest => *node = earliest,
                _ => return,
            }
        }
    }

    /// Returns a slot's deadline.
    pub fn of(&self, slot: Slot) -> u64 {
        self.node(MAX_SLOTS + slot.index() % MAX_SLOTS)
    }

    /// Returns the earliest deadline of all.
    pub fn earliest(&self) -> u64 {
        self.node(1)
    }

    /// Returns the earliest deadline among the ranks before `slot`, which are at least as urgent.
    pub fn earliest_before(&self, slot: Slot) -> u64 {
        let mut at = MAX_SLOTS + slot.index() % MAX_SLOTS;
        let mut earliest = NEVER;
        while at > 1 {
            if at & 1 == 1 {
                earliest = earliest.min(self.node(at ^ 1));
            }
            at /= 2;
        }
        earliest
    }

    /// Returns the most urgent slot whose deadline is not later than `now`.
    pub fn expired(&self, now: u64) -> Option<Slot> {
        if self.node(1) > now {
            return None;
        }
        let mut at = 1;
        while at < MAX_SLOTS {
            at *= 2;
            if self.node(at) > now {
                at += 1;
            }
        }
        Some(Slot((at - MAX_SLOTS) as u8))
    }

    fn node(&self, at: usize) -> u64 {
        self.nodes.get(at).copied().unwrap_or(NEVER)
    }
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
        fn agrees_with_a_plain_array(steps in prop::collection::vec((0u8..64, 0u64..100), 1..100), probe in 0u8..64) {
            let mut deadlines = Deadlines::default();
            let mut model = [NEVER; MAX_SLOTS];
            for (slot, deadline) in steps {
                let deadline = if deadline > 90 { NEVER } else { deadline };
                deadlines.set(Slot(slot), deadline);
                model[slot as usize] = deadline;
                prop_assert_eq!(deadlines.earliest(), *model.iter().min().unwrap());
                let before = model[..probe as usize].iter().min().copied().unwrap_or(NEVER);
                prop_assert_eq!(deadlines.earliest_before(Slot(probe)), before);
                let expired = model.iter().position(|at| *at <= 40).map(|slot| Slot(slot as u8));
                prop_assert_eq!(deadlines.expired(40), expired);
            }
        }
    }
}
