//! The mail, in every order of accesses that the memory model allows: what is posted is taken, or its pCPU is called.

use super::*;
use loom::sync::Arc;
use loom::thread;

/// Takes all that is heard, as a pCPU does before it runs anybody, and returns the slots.
fn take_all(mail: &Mail, heard: Heard) -> u64 {
    let mut taken = 0;
    mail.publish(heard);
    while mail.has(heard) {
        taken |= mail.take_first(heard).map_or(0, bit);
        if mail.take_console(heard) {
            taken |= 1 << 63;
        }
    }
    taken
}

/// Everybody down to slot 1.
fn two() -> Heard {
    Heard::new(Slot(2), false)
}

#[test]
fn nothing_is_lost_while_a_pcpu_turns_to_others() {
    loom::model(|| {
        let here = Arc::new(Mail::new());
        here.publish(Heard::NOBODY);
        let there = Arc::clone(&here);
        let sender = thread::spawn(move || there.post(Slot(1)));
        let taken = take_all(&here, two());
        let called = sender.join().unwrap();
        let waits = here.has(two());
        assert_ne!(taken & 2 != 0, waits, "there once");
        assert!(called || !waits, "posted, and nobody looks");
    });
}

#[test]
fn of_two_that_post_one_calls() {
    loom::model(|| {
        let here = Arc::new(Mail::new());
        here.publish(Heard::NOBODY);
        let senders = [0, 1].map(|slot| {
            let there = Arc::clone(&here);
            thread::spawn(move || there.post(Slot(slot)))
        });
        let taken = take_all(&here, two());
        let called = senders.map(|sender| sender.join().unwrap());
        let left = here.first(two()) < 2;
        assert!(!left || called.contains(&true), "taken {taken:#b}");
    });
}

#[test]
fn the_console_is_not_lost() {
    loom::model(|| {
        let here = Arc::new(Mail::new());
        here.publish(Heard::NOBODY);
        let there = Arc::clone(&here);
        let sender = thread::spawn(move || there.post_console());
        let taken = take_all(&here, Heard::ALL);
        let called = sender.join().unwrap();
        assert!(called || taken != 0 || !here.has(Heard::ALL));
    });
}

#[test]
fn a_pcpu_that_hears_nobody_is_not_called() {
    loom::model(|| {
        let here = Arc::new(Mail::new());
        here.publish(Heard::new(Slot(1), false));
        let there = Arc::clone(&here);
        let sender = thread::spawn(move || (there.post(Slot(1)), there.post_console()));
        let taken = take_all(&here, Heard::new(Slot(1), false));
        assert_eq!(sender.join().unwrap(), (false, false));
        assert_eq!(taken, 0);
        // Kept for when it hears them.
        assert_eq!(take_all(&here, Heard::ALL), 2 | 1 << 63);
    });
}
