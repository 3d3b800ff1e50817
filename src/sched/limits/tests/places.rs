//! In front, in the background or out: who moves where, and what is looked at there.

use super::super::{Front, Gate, Limits, NEVER};
use crate::ids::Priority;
use crate::sched::windows::{Window, Windows};
use crate::sched::{Budget, Deadlines, RunQueue, Slot};

/// A window for these slots in each half of a frame of 100.
fn halves(first: u64, second: u64) -> [Window; 2] {
    let window = |start, end, slots| Window { start, end, slots };
    [window(0, 50, first), window(50, 100, second)]
}

/// Whether the last of three slots hears another.
fn hears(limits: &Limits, slot: u8) -> bool {
    limits.gate(Slot(2), Gate::OPEN).heard.slots >> slot & 1 != 0
}

fn full() -> Option<Budget> {
    Some(Budget::new(10, 100))
}

#[test]
fn a_replenishment_is_for_one_sleeper() {
    set_up!(limits, front, [3, 2, 1], [full(), full(), None], 0, None);
    limits.make_ready(Slot(2), &mut front);
    limits.run(Some(Slot(2)), 0);
    limits.charge(Slot(0), 50, 60, &mut front);
    limits.charge(Slot(1), 60, 70, &mut front);
    assert!(!hears(&limits, 0) && !hears(&limits, 1));
    assert_eq!(limits.replenish(Slot(0), 150, &mut front), Some(10));
    assert!(hears(&limits, 0) && !hears(&limits, 1));
    // What it spends on its own work from now on is as if nobody had charged it.
    limits.make_ready(Slot(0), &mut front);
    limits.settle(150, &mut front);
    limits.run(Some(Slot(0)), 150);
    limits.block(Slot(0), &mut front);
    let cut = limits.settle(160, &mut front);
    assert_eq!(cut, None, "it would not go on");
    limits.run(Some(Slot(2)), 160);
    assert!(hears(&limits, 0) && !hears(&limits, 1));
}

#[test]
fn one_that_wants_to_run_is_not_drained_by_what_is_done_for_it() {
    set_up!(limits, front, [3, 2, 1], [None, full(), None], 0, None);
    limits.make_ready(Slot(1), &mut front);
    limits.run(Some(Slot(0)), 0);
    limits.charge(Slot(1), 50, 60, &mut front);
    assert!(!hears(&limits, 1));
    assert_eq!(front.deadlines.earliest(), 150);
    limits.block(Slot(1), &mut front);
    assert!(hears(&limits, 1));
    assert_eq!(front.deadlines.earliest(), NEVER);
}

#[test]
fn an_edge_moves_nobody_who_wants_nothing() {
    let windows = halves(1, u64::MAX);
    let windows = Some(Windows::new(100, &windows));
    set_up!(limits, front, [9; 60], [const { None }; 60], 0, windows);
    limits.set_wake(Slot(0), 500, &mut front);
    limits.set_wake(Slot(0), NEVER, &mut front);
    limits.settle(50, &mut front);
    assert!(!limits.is_crossing());
}

#[test]
fn an_edge_moves_nobody_whose_window_stays_open() {
    let windows = halves(u64::MAX, u64::MAX - 1);
    let windows = Some(Windows::new(100, &windows));
    set_up!(limits, front, [9; 60], [const { None }; 60], 0, windows);
    for slot in 0..60 {
        limits.make_ready(Slot(slot), &mut front);
    }
    limits.settle(50, &mut front);
    assert!(!limits.is_crossing());
    assert_eq!(front.queue.most_urgent(), Some(Slot(1)));
}

#[test]
fn an_idle_pcpu_waits_for_the_window_of_one_that_is_to_be_woken() {
    let windows = halves(0b01, 0b10);
    let windows = Some(Windows::new(100, &windows));
    set_up!(limits, front, [2, 1], [None, None], 0, windows);
    limits.set_wake(Slot(0), 40, &mut front);
    assert_eq!(limits.idle_due(), NEVER, "its window is open");
    assert_eq!(front.deadlines.earliest(), 40);
    limits.set_wake(Slot(1), 10, &mut front);
    assert_eq!(limits.idle_due(), 50);
    limits.set_wake(Slot(1), 70, &mut front);
    assert_eq!(limits.idle_due(), 70);
}

#[test]
fn only_who_has_a_budget_that_is_left_is_charged() {
    set_up!(limits, front, [2, 1], [full(), None], 0b1, None);
    limits.make_ready(Slot(0), &mut front);
    limits.run(Some(Slot(1)), 0);
    assert_eq!(limits.charged(), None, "no budget");
    assert!(limits.pays_apart(Slot(0)) && !limits.pays_apart(Slot(1)));
    limits.run(Some(Slot(0)), 10);
    assert_eq!(limits.charged(), Some(Slot(0)));
    assert!(!limits.pays_apart(Slot(0)) && !limits.pays_apart(Slot(1)));
    assert_eq!(limits.settle(20, &mut front), Some(Slot(0)));
    limits.run(Some(Slot(0)), 20);
    assert_eq!(limits.charged(), None, "in the background");
}

#[test]
fn equals_take_turns_in_front_and_in_the_background() {
    set_up!(limits, front, [1, 1], [full(), full()], 0b11, None);
    for slot in [0, 1] {
        limits.make_ready(Slot(slot), &mut front);
    }
    let waits = |limits: &Limits, front: &Front| {
        [0, 1].map(|slot| limits.has_waiting_equal(Slot(slot), front.queue))
    };
    assert_eq!(waits(&limits, &front), [true, false]);
    limits.rotate(Slot(0), &mut front);
    assert_eq!(front.queue.most_urgent(), Some(Slot(1)));
    assert_eq!(waits(&limits, &front), [false, true]);
    for (slot, now) in [(0, 0), (1, 10)] {
        limits.settle(now, &mut front);
        limits.run(Some(Slot(slot)), now);
    }
    limits.settle(20, &mut front);
    assert_eq!(front.queue.most_urgent(), None);
    assert_eq!(limits.most_urgent(), Some(Slot(0)));
    assert_eq!(waits(&limits, &front), [true, false]);
    limits.rotate(Slot(0), &mut front);
    assert_eq!(limits.most_urgent(), Some(Slot(1)));
}

#[test]
fn nobody_behind_the_equals_in_the_background_is_woken() {
    set_up!(limits, front, [2, 1], [full(), full()], 0b11, None);
    for (slot, now) in [(0, 0), (1, 10)] {
        limits.make_ready(Slot(slot), &mut front);
        limits.run(Some(Slot(slot)), now);
        limits.settle(now + 10, &mut front);
    }
    limits.block(Slot(1), &mut front);
    limits.set_wake(Slot(1), 40, &mut front);
    assert_eq!(limits.expired(40, |_| Slot(1)), None);
    assert_eq!(limits.expired(40, |_| Slot(2)), Some(Slot(1)));
}
