//! Whose an SError is that is taken later than it came.
//!
//! A physical SError that is pending when a vCPU leaves its pCPU is that one's, but it is taken when the next guest is
//! entered. Others may come and leave again before that: they did nothing, and the SError is still the first one's.

use crate::sched::Slot;

/// Whose the SError is that is pending on a pCPU, if that has been found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner(Option<Whose>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// The vCPU's in a slot.
    Of(Slot),
    /// Of a life that has ended.
    Nobodys,
}

impl Owner {
    /// Notes that a vCPU leaves its pCPU while an SError is pending.
    pub const fn leaves(&mut self, slot: Slot) {
        if self.0.is_none() {
            self.0 = Some(Whose::Of(slot));
        }
    }

    /// Notes that the life of the vCPU in a slot has ended: what it left is nobody's.
    pub fn ends(&mut self, slot: Slot) {
        if self.0 == Some(Whose::Of(slot)) {
            self.0 = Some(Whose::Nobodys);
        }
    }

    /// Returns whose the SError is that is taken now, while `current` runs.
    pub const fn take(&mut self, current: Option<Slot>) -> Option<Slot> {
        match self.0.take() {
            None => current,
            Some(Whose::Of(slot)) => Some(slot),
            Some(Whose::Nobodys) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Slot = Slot(0);
    const SECOND: Slot = Slot(1);

    #[test]
    fn whoever_runs_has_it_when_nobody_left() {
        let mut owner = Owner::default();
        assert_eq!(owner.take(Some(SECOND)), Some(SECOND));
        assert_eq!(owner.take(None), None);
    }

    #[test]
    fn whoever_left_with_it_has_it_once() {
        let mut owner = Owner::default();
        owner.leaves(FIRST);
        assert_eq!(owner.take(Some(SECOND)), Some(FIRST));
        assert_eq!(owner.take(Some(SECOND)), Some(SECOND), "the next one");
    }

    #[test]
    fn whoever_came_and_left_before_it_was_taken_has_nothing_to_do_with_it() {
        let mut owner = Owner::default();
        owner.leaves(FIRST);
        owner.leaves(SECOND);
        assert_eq!(owner.take(Some(Slot(2))), Some(FIRST));
    }

    #[test]
    fn another_ones_end_leaves_it_where_it_is() {
        let mut owner = Owner::default();
        owner.leaves(FIRST);
        owner.ends(SECOND);
        assert_eq!(owner.take(None), Some(FIRST));
        owner.ends(FIRST);
        assert_eq!(owner.take(Some(SECOND)), Some(SECOND), "nobody left");
    }

    #[test]
    fn the_next_life_does_not_have_the_former_ones() {
        let mut owner = Owner::default();
        owner.leaves(FIRST);
        owner.ends(SECOND);
        owner.ends(FIRST);
        owner.leaves(SECOND);
        assert_eq!(owner.take(Some(FIRST)), None);
    }
}
