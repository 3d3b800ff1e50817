//! The run queue: one FIFO list a level, and a bit for each level that has somebody ready.

use super::{MAX_SLOTS, Slot};
use crate::ids::Priority;

/// Marks the end of a list.
const NOBODY: u8 = u8::MAX;

/// Links of one slot.
#[derive(Clone, Copy)]
struct Node {
    next: u8,
    previous: u8,
    level: u8,
    ready: bool,
}

/// First and last slot of one level.
#[derive(Clone, Copy)]
struct List {
    head: u8,
    tail: u8,
}

/// The ready vCPUs of one pCPU. The running one stays in the queue, at the head of its level.
pub struct RunQueue {
    /// Bit n: level n has somebody ready. Level 63 is the most urgent one.
    levels: u64,
    lists: [List; MAX_SLOTS],
    nodes: [Node; MAX_SLOTS],
}

impl RunQueue {
    /// Makes an empty queue for slots whose priorities are given in rank order, the most urgent first.
    ///
    /// Priorities past [`MAX_SLOTS`] are left out; start-up refuses such a table.
    pub fn new(priorities: impl IntoIterator<Item = Priority>) -> Self {
        let node = Node {
            next: NOBODY,
            previous: NOBODY,
            level: 0,
            ready: false,
        };
        let list = List {
            head: NOBODY,
            tail: NOBODY,
        };
        let mut queue = Self {
            levels: 0,
            lists: [list; MAX_SLOTS],
            nodes: [node; MAX_SLOTS],
        };
        let mut level = MAX_SLOTS as u8 - 1;
        let mut last: Option<Priority> = None;
        for (node, priority) in queue.nodes.iter_mut().zip(priorities) {
            if last.is_some_and(|last| last != priority) {
                level = level.saturating_sub(1);
            }
            last = Some(priority);
            node.level = level;
        }
        queue
    }

    /// Returns the slot to run: the head of the most urgent level that has one.
    pub fn most_urgent(&self) -> Option<Slot> {
        let level = self.levels.checked_ilog2()?;
        self.lists.get(level as usize).map(|list| Slot(list.head))
    }

    /// Says whether a slot is in the queue.
    pub fn is_ready(&self, slot: Slot) -> bool {
        self.nodes.get(slot.index()).is_some_and(|node| node.ready)
    }

    /// Says whether an equal of the slot waits behind it.
    pub fn has_waiting_equal(&self, slot: Slot) -> bool {
        self.nodes
            .get(slot.index())
            .is_some_and(|node| node.ready && node.next != NOBODY)
    }

    /// Adds a slot behind its equals; a slot that is there already stays where it is.
    #[inline(never)]
    pub fn make_ready(&mut self, slot: Slot) {
        self.make_ready_here(slot);
    }

    /// [`Self::make_ready`] for the one caller that must be fast.
    #[inline(always)]
    pub fn make_ready_here(&mut self, slot: Slot) {
        let Some(node) = self.nodes.get_mut(slot.index()) else {
            return;
        };
        if node.ready {
            return;
        }
        node.ready = true;
        node.next = NOBODY;
        let level = node.level;
        let bit = 1u64.checked_shl(level.into()).unwrap_or(0);
        let Some(list) = self.lists.get_mut(level as usize) else {
            return;
        };
        if self.levels & bit == 0 {
            self.levels |= bit;
            node.previous = NOBODY;
            (list.head, list.tail) = (slot.0, slot.0);
            return;
        }
        let previous = core::mem::replace(&mut list.tail, slot.0);
        node.previous = previous;
        if let Some(node) = self.nodes.get_mut(previous as usize) {
            node.next = slot.0;
        }
    }

    /// Takes a slot out: it blocks or stops.
    pub fn block(&mut self, slot: Slot) {
        let Some(node) = self.nodes.get_mut(slot.index()) else {
            return;
        };
        if !node.ready {
            return;
        }
        node.ready = false;
        let Node {
            next,
            previous,
            level,
            ..
        } = *node;
        let Some(list) = self.lists.get_mut(level as usize) else {
            return;
        };
        if list.head == slot.0 {
            list.head = next;
        }
        if list.tail == slot.0 {
            list.tail = previous;
        }
        if list.head == NOBODY {
            self.levels &= !1u64.checked_shl(level.into()).unwrap_or(0);
        }
        if let Some(node) = self.nodes.get_mut(previous as usize) {
            node.next = next;
        }
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = previous;
        }
    }

    /// Moves a ready slot behind its equals: its time slice is over, or it yields.
    #[inline(always)]
    pub fn rotate(&mut self, slot: Slot) {
        let Some(node) = self.nodes.get_mut(slot.index()) else {
            return;
        };
        let Node {
            next,
            previous,
            level,
            ready,
        } = *node;
        if next == NOBODY || !ready {
            return; // it is the last one, or not there
        }
        let Some(list) = self.lists.get_mut(level as usize) else {
            return;
        };
        let last = core::mem::replace(&mut list.tail, slot.0);
        (node.next, node.previous) = (NOBODY, last);
        if previous == NOBODY {
            list.head = next;
        } else if let Some(node) = self.nodes.get_mut(previous as usize) {
            node.next = next;
        }
        if let Some(node) = self.nodes.get_mut(next as usize) {
            node.previous = previous;
        }
        if let Some(node) = self.nodes.get_mut(last as usize) {
            node.next = slot.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn queue(priorities: &[u8]) -> RunQueue {
        RunQueue::new(priorities.iter().map(|priority| Priority(*priority)))
    }

    #[test]
    fn runs_the_most_urgent_first() {
        let mut queue = queue(&[200, 10, 10]);
        assert_eq!(queue.most_urgent(), None);
        queue.make_ready(Slot(1));
        assert_eq!(queue.most_urgent(), Some(Slot(1)));
        queue.make_ready(Slot(0));
        assert_eq!(queue.most_urgent(), Some(Slot(0)));
        queue.block(Slot(0));
        assert_eq!(queue.most_urgent(), Some(Slot(1)));
    }

    #[test]
    fn equals_run_first_in_first_out() {
        let mut queue = queue(&[10, 10, 10]);
        for slot in [2, 0, 1] {
            queue.make_ready(Slot(slot));
        }
        assert_eq!(queue.most_urgent(), Some(Slot(2)));
        assert!(queue.has_waiting_equal(Slot(2)));
        queue.rotate(Slot(2));
        assert_eq!(queue.most_urgent(), Some(Slot(0)));
        queue.block(Slot(0));
        queue.block(Slot(1));
        assert!(!queue.has_waiting_equal(Slot(2)));
    }

    #[test]
    fn preempted_slot_keeps_its_place() {
        let mut queue = queue(&[200, 10, 10]);
        queue.make_ready(Slot(2));
        queue.make_ready(Slot(1));
        queue.make_ready(Slot(0));
        queue.block(Slot(0));
        assert_eq!(queue.most_urgent(), Some(Slot(2)));
    }

    proptest! {
        #[test]
        fn agrees_with_plain_lists(
            mut priorities in prop::collection::vec(0u8..5, 1..=MAX_SLOTS),
            steps in prop::collection::vec((0u8..3, 0u8..64), 0..200),
        ) {
            priorities.sort_by(|a, b| b.cmp(a));
            let mut queue = queue(&priorities);
            let mut model: Vec<VecDeque<u8>> = vec![VecDeque::new(); 256];
            for (act, slot) in steps {
                let slot = slot % priorities.len() as u8;
                let list = &mut model[priorities[slot as usize] as usize];
                let ready = list.contains(&slot);
                match act {
                    0 => { queue.make_ready(Slot(slot)); if !ready { list.push_back(slot) } }
                    1 => { queue.block(Slot(slot)); list.retain(|other| *other != slot) }
                    _ => {
                        queue.rotate(Slot(slot));
                        if ready { list.retain(|other| *other != slot); list.push_back(slot) }
                    }
                }
                let expected = model.iter().rev().find_map(|list| list.front()).map(|slot| Slot(*slot));
                prop_assert_eq!(queue.most_urgent(), expected);
            }
        }
    }
}
