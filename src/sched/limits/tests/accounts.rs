//! Who pays for what EL2 does.

use super::super::{Front, Limits};
use crate::ids::Priority;
use crate::sched::{Budget, Deadlines, RunQueue, Slot};

#[test]
fn forgiven_time_moves_the_slice() {
    let budgets = [Some(Budget::new(10, 100))];
    set_up!(limits, front, [2], budgets, 0, None);
    limits.make_ready(Slot(0), &mut front);
    limits.run(Some(Slot(0)), 50);
    assert_eq!(limits.charged(), Some(Slot(0)));
    limits.forgive(5);
    assert_eq!(limits.ends(), 65);
    assert_eq!(limits.settle(65, &mut front), Some(Slot(0)));
    assert_eq!(front.deadlines.earliest(), 155);
    assert_eq!(limits.charged(), None);
}

#[test]
fn time_spent_for_others_during_a_choice_is_not_on_the_next_slice() {
    let budgets = [Some(Budget::new(10, 100)), Some(Budget::new(10, 100))];
    set_up!(limits, front, [2, 1], budgets, 0, None);
    limits.make_ready(Slot(0), &mut front);
    limits.run(Some(Slot(0)), 50);
    for (chosen, begins, now) in [(0, 57, 52), (1, 62, 58)] {
        limits.settle(now, &mut front);
        assert_eq!(limits.charged(), None, "nobody is chosen yet");
        limits.forgive(begins - now);
        limits.run(Some(Slot(chosen)), now);
        assert_eq!(limits.charged(), Some(Slot(chosen)));
        assert_eq!(limits.running, Some((Slot(chosen), begins)));
    }
    limits.run(Some(Slot(1)), 70);
    assert_eq!(limits.running, Some((Slot(1), 70)), "forgiven once");
}

#[test]
fn a_choice_that_begins_anew_charges_once() {
    let mut budgets = [Some(Budget::new(10, 100))];
    let queue = || RunQueue::new([Priority(2)]);
    let mut limits = Limits::new(&mut budgets, 0, None, queue(), 0);
    let (mut queue, mut deadlines) = (queue(), Deadlines::default());
    let mut front = Front {
        queue: &mut queue,
        deadlines: &mut deadlines,
    };
    limits.make_ready(Slot(0), &mut front);
    limits.run(Some(Slot(0)), 50);
    assert_eq!(limits.settle(54, &mut front), None);
    limits.forgive(1);
    assert_eq!(limits.settle(57, &mut front), None);
    limits.run(Some(Slot(0)), 57);
    assert_eq!(limits.ends(), 63, "6 of 10 are left");
}
