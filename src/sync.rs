//! The lock for what pCPUs share: whoever finds it free takes it, and nobody waits for ever.
//!
//! One who waits and sees the lock pass by [`PATIENCE`] times queues. As long as anybody queues no newcomer takes the
//! lock, and those who queue have it in order. With n pCPUs a wait is over after `PATIENCE + 2 (n - 1)` holds of others: those
//! seen before queueing, one of each that was about to take it, one of each that queued earlier.
//!
//! # Decisions
//! * Not a ticket lock, where every hand-over waits for one certain CPU. Where CPUs are threads of a busy host, that one
//!   often does not run, and all others wait with it: eight vCPUs on two cores took four times as long to start Linux.
//! * Not a plain test-and-set lock, which has no bound.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};

use crate::atomic::{AtomicU32, Ordering, spin_loop, where_constant};

/// Hand-overs to others that a waiter sees before it queues.
pub const PATIENCE: u32 = 8;

/// A value that one pCPU at a time may use.
pub struct Lock<T> {
    turns: Turns,
    value: UnsafeCell<T>,
}

/// What a lock knows of those who take it, whatever it guards: EL2 has one copy of the waiting and not one for each type.
struct Turns {
    /// Odd while the lock is held; grows by one when it is taken and when it is given back.
    now: AtomicU32,
    /// How many queue.
    queued: AtomicU32,
    /// The ticket of the next one to queue.
    next: AtomicU32,
    /// The ticket of the one that is first in the queue.
    first: AtomicU32,
}

// SAFETY: a `Guard` is the only way to the value, and `take` makes one at a time.
unsafe impl<T: Send> Sync for Lock<T> {}

impl<T> Lock<T> {
    where_constant! {
        /// Makes a lock that is free.
        pub fn new(value: T) -> Self {
            let turns = Turns {
                now: AtomicU32::new(0),
                queued: AtomicU32::new(0),
                next: AtomicU32::new(0),
                first: AtomicU32::new(0),
            };
            Self {
                turns,
                value: UnsafeCell::new(value),
            }
        }
    }

    /// Takes the lock, after waiting where it must.
    #[inline(always)]
    pub fn lock(&self) -> Guard<'_, T> {
        Guard {
            lock: self,
            turn: self.turns.enter_here(),
        }
    }

    /// [`Self::lock`] where time is not short: the fifteen instructions for a free lock are not repeated there.
    #[inline(always)]
    pub fn lock_by_call(&self) -> Guard<'_, T> {
        Guard {
            lock: self,
            turn: self.turns.enter(),
        }
    }

    /// Takes the lock if that is possible at once, which it may not be even while it is free.
    #[inline(always)]
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let turns = &self.turns;
        let turn = turns.now.load(Ordering::Relaxed);
        (turns.is_open(turn) && turns.take(turn)).then(|| Guard { lock: self, turn })
    }

    /// Says whether somebody holds the lock.
    #[inline(always)]
    pub fn is_locked(&self) -> bool {
        self.turns.now.load(Ordering::Relaxed) & 1 != 0
    }
}

impl Turns {
    /// Takes the lock, after waiting where it must; returns the turn.
    #[inline(never)]
    fn enter(&self) -> u32 {
        self.enter_here()
    }

    /// The same, in the caller's own text.
    #[inline(always)]
    fn enter_here(&self) -> u32 {
        let turn = self.now.load(Ordering::Relaxed);
        if self.is_open(turn) && self.take(turn) {
            return turn;
        }
        self.wait()
    }

    /// Says whether somebody who does not queue may take the lock.
    #[inline(always)]
    fn is_open(&self, turn: u32) -> bool {
        turn & 1 == 0 && self.queued.load(Ordering::Relaxed) == 0
    }

    /// Takes the lock if it is free and nobody took it since `turn` was read.
    #[inline(always)]
    fn take(&self, turn: u32) -> bool {
        let next = turn.wrapping_add(1);
        turn & 1 == 0
            && self
                .now
                .compare_exchange_weak(turn, next, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    /// Waits for the lock and takes it; returns the turn in which that was.
    #[cold]
    #[inline(never)]
    fn wait(&self) -> u32 {
        let begin = self.now.load(Ordering::Relaxed);
        loop {
            let turn = self.now.load(Ordering::Relaxed);
            if self.is_open(turn) && self.take(turn) {
                return turn;
            }
            if turn.wrapping_sub(begin) / 2 >= PATIENCE {
                return self.queue();
            }
            spin_loop();
        }
    }

    /// Takes the lock in the order of those who queue.
    fn queue(&self) -> u32 {
        self.queued.fetch_add(1, Ordering::Relaxed);
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        while self.first.load(Ordering::Relaxed) != ticket {
            spin_loop();
        }
        loop {
            let turn = self.now.load(Ordering::Relaxed);
            if self.take(turn) {
                self.first.store(ticket.wrapping_add(1), Ordering::Relaxed);
                self.queued.fetch_sub(1, Ordering::Relaxed);
                return turn;
            }
            spin_loop();
        }
    }
}

/// The right to use a locked value; gives the lock back when it is dropped.
pub struct Guard<'l, T> {
    lock: &'l Lock<T>,
    turn: u32,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: this guard's turn excludes every other guard; the value is behind the lock that it borrows.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and the guard is borrowed alone.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        let next = self.turn.wrapping_add(2);
        self.lock.turns.now.store(next, Ordering::Release);
    }
}

#[cfg(all(test, loom))]
mod orders;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn a_value_is_changed_by_one_at_a_time() {
        const THREADS: u32 = 4;
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        let lock = Lock::new((0u32, 0u32));
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let mut pair = lock.lock();
                        pair.0 += 1;
                        assert_eq!(pair.0, pair.1 + 1);
                        pair.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (THREADS * rounds, THREADS * rounds));
        assert_eq!(lock.turns.queued.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_held_lock_says_so() {
        let lock = Lock::new(());
        let guard = lock.lock();
        assert!(lock.is_locked());
        assert!(lock.try_lock().is_none());
        assert!(lock.is_locked(), "to try changes nothing");
        drop(guard);
        assert!(!lock.is_locked());
        // One try may fail, as Miri and CPUs have it.
        assert!((0..100).any(|_| lock.try_lock().is_some()));
        assert!(!lock.is_locked());
    }

    #[test]
    fn who_has_the_lock_holds_it() {
        let lock = Lock::new(7);
        let guard = lock.lock_by_call();
        assert!(lock.is_locked() && *guard == 7);
        drop(guard);
        assert!(!lock.is_locked());
        let tried = (0..100).find_map(|_| lock.try_lock());
        assert!(tried.is_some() && lock.is_locked());
    }

    #[test]
    fn nobody_tries_past_one_who_queues() {
        let lock = Lock::new(());
        lock.turns.queued.store(1, Ordering::Relaxed);
        assert!((0..100).all(|_| lock.try_lock().is_none()));
    }

    #[test]
    fn turns_may_wrap() {
        let lock = Lock::new(7);
        lock.turns.now.store(u32::MAX - 1, Ordering::Relaxed);
        assert_eq!(*lock.lock(), 7);
        assert_eq!(lock.turns.now.load(Ordering::Relaxed), 0);
        assert_eq!(*lock.lock(), 7);
    }

    #[test]
    fn nobody_overtakes_one_who_queues() {
        let lock = Lock::new(());
        let done = AtomicBool::new(false);
        let guard = lock.lock();
        thread::scope(|scope| {
            scope.spawn(|| {
                // As `wait` does after its patience.
                let turn = lock.turns.queue();
                done.store(true, Ordering::Relaxed);
                drop(Guard { lock: &lock, turn });
            });
            while lock.turns.queued.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
            drop(guard);
            let _later = lock.lock();
            assert!(done.load(Ordering::Relaxed), "a newcomer went first");
        });
    }

    #[test]
    fn patience_is_for_eight_hand_overs() {
        let lock = Lock::new(());
        let turns = &lock.turns;
        let queued = || turns.queued.load(Ordering::Relaxed);
        let pause = || thread::sleep(std::time::Duration::from_millis(20));
        turns.now.store(1, Ordering::Relaxed); // somebody holds it
        thread::scope(|scope| {
            scope.spawn(|| drop(lock.lock()));
            pause();
            assert_eq!(queued(), 0, "it has seen none");
            turns.now.fetch_add(2 * (PATIENCE - 1), Ordering::Relaxed);
            pause();
            assert_eq!(queued(), 0, "it has seen seven");
            while queued() == 0 {
                turns.now.fetch_add(2, Ordering::Relaxed);
                thread::yield_now();
            }
            turns.now.fetch_add(1, Ordering::Relaxed); // given back
        });
        assert_eq!(queued(), 0);
    }

    #[test]
    fn patience_ends() {
        let lock = Lock::new(());
        let waits = AtomicBool::new(false);
        let had = AtomicBool::new(false);
        thread::scope(|scope| {
            let held = lock.lock();
            scope.spawn(|| {
                waits.store(true, Ordering::Relaxed);
                drop(lock.lock());
                had.store(true, Ordering::Relaxed);
            });
            while !waits.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            drop(held);
            while !had.load(Ordering::Relaxed) {
                drop(lock.lock());
            }
        });
    }
}
