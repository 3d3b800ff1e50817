//! The lock, in every order of accesses that the memory model allows.

use super::*;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// A count that loom watches: two that use it at once are found.
type Count = Arc<Lock<UnsafeCell<u32>>>;

/// Returns a count that is zero.
fn count() -> Count {
    Arc::new(Lock::new(UnsafeCell::new(0)))
}

/// Adds one under the lock.
fn add(count: &Count) {
    let guard = count.lock();
    // SAFETY: the guard excludes others; loom says so when it does not.
    guard.with_mut(|value| unsafe { *value += 1 });
}

/// Adds one as somebody who queues.
fn add_from_the_queue(count: &Count) {
    let turn = count.turns.queue();
    let guard = Guard { lock: count, turn };
    // SAFETY: as in `add`.
    guard.with_mut(|value| unsafe { *value += 1 });
}

/// Returns the count, when all others are done.
fn total(count: &Count) -> u32 {
    let guard = count.lock();
    // SAFETY: as in `add`.
    guard.with(|value| unsafe { *value })
}

#[test]
fn two_take_turns() {
    loom::model(|| {
        let here = count();
        let there = Arc::clone(&here);
        let other = thread::spawn(move || {
            add(&there);
            add(&there);
        });
        add(&here);
        other.join().unwrap();
        assert_eq!(total(&here), 3);
    });
}

/// Lets two take the lock at once, each in its way.
fn both_take(one: fn(&Count), other: fn(&Count)) {
    loom::model(move || {
        let here = count();
        let there = Arc::clone(&here);
        let thread = thread::spawn(move || other(&there));
        one(&here);
        thread.join().unwrap();
        assert_eq!(total(&here), 2);
        assert_eq!(here.turns.queued.load(Ordering::Relaxed), 0);
    });
}

#[test]
fn one_who_queues_and_a_newcomer_exclude_each_other() {
    both_take(add_from_the_queue, add);
}

#[test]
fn two_who_queue_exclude_each_other() {
    both_take(add_from_the_queue, add_from_the_queue);
}
