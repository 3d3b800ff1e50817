//! Who pays for what EL2 does.

use super::super::{CROSS_AT_ONCE, Front, Gate, Limits, NEVER};
use crate::ids::Priority;
use crate::sched::windows::{Window, Windows};
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

/// What may interrupt the second slot, of the first one.
fn hears_first(limits: &Limits) -> bool {
    limits.gate(Slot(1), Gate::OPEN).heard.slots & 1 != 0
}

#[test]
fn what_is_done_for_a_sleeper_is_on_its_budget() {
    let budgets = [Some(Budget::new(10, 100)), None];
    set_up!(limits, front, [2, 1], budgets, 0, None);
    limits.make_ready(Slot(1), &mut front);
    limits.run(Some(Slot(1)), 50);
    assert!(limits.pays_apart(Slot(0)) && !limits.pays_apart(Slot(1)));
    limits.charge(Slot(0), 60, 66, &mut front);
    assert!(hears_first(&limits), "4 of 10 are left");
    assert_eq!(front.deadlines.earliest(), NEVER);
    limits.charge(Slot(0), 70, 76, &mut front);
    assert!(!hears_first(&limits));
    assert_eq!(
        front.deadlines.earliest(),
        160,
        "it is to be heard again, though it sleeps"
    );
    assert_eq!(limits.replenish(Slot(0), 160, &mut front), Some(4));
    assert!(hears_first(&limits));
    assert_eq!(front.deadlines.earliest(), NEVER);
}

#[test]
fn a_sleeper_whose_budget_went_on_its_own_work_is_heard_once() {
    let budgets = [Some(Budget::new(10, 100)), None];
    set_up!(limits, front, [2, 1], budgets, 0, None);
    limits.make_ready(Slot(0), &mut front);
    limits.make_ready(Slot(1), &mut front);
    limits.run(Some(Slot(0)), 50);
    assert_eq!(limits.settle(60, &mut front), Some(Slot(0)));
    limits.block(Slot(0), &mut front);
    limits.run(Some(Slot(1)), 60);
    assert!(hears_first(&limits), "or nothing would wake it");
    assert_eq!(front.deadlines.earliest(), NEVER, "it wants nothing");
    limits.charge(Slot(0), 70, 71, &mut front);
    assert!(!hears_first(&limits));
    assert_eq!(
        front.deadlines.earliest(),
        150,
        "what was left is replenished first"
    );
}

#[test]
fn nobody_is_heard_while_its_window_is_closed() {
    let windows =
        [(0, 50, 0b01), (50, 100, 0b10)].map(|(start, end, slots)| Window { start, end, slots });
    let windows = Some(Windows::new(100, &windows));
    set_up!(limits, front, [2, 1], [None, None], 0, windows);
    limits.make_ready(Slot(1), &mut front);
    limits.settle(60, &mut front);
    limits.run(Some(Slot(1)), 60);
    assert!(!hears_first(&limits), "though it sleeps");
    limits.settle(110, &mut front);
    limits.run(None, 110);
    assert!(hears_first(&limits));
}

#[test]
fn an_edge_moves_a_few_at_a_time() {
    let windows =
        [(0, 50, 1), (50, 100, u64::MAX)].map(|(start, end, slots)| Window { start, end, slots });
    let windows = Some(Windows::new(100, &windows));
    set_up!(limits, front, [9; 60], [const { None }; 60], 0, windows);
    for slot in 1..60 {
        limits.make_ready(Slot(slot), &mut front);
    }
    assert_eq!(front.queue.most_urgent(), None);
    limits.settle(50, &mut front);
    let mut pieces = 1;
    while limits.is_crossing() {
        limits.go_on_crossing(&mut front);
        pieces += 1;
    }
    assert_eq!(pieces, 59usize.div_ceil(CROSS_AT_ONCE));
    assert!((1..60).all(|slot| front.queue.is_ready(Slot(slot))));
}
