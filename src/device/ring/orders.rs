//! The ring, in every order of accesses that the memory model allows.

use super::*;
use crate::atomic::fence;
use loom::sync::Arc;
use loom::thread;

type Ring = TxRing<64>;

/// Puts so many bytes in.
fn fill(ring: &Ring, count: u8) {
    (0..count).for_each(|n| assert!(ring.push(n | 0x80)));
}

#[test]
fn bytes_come_whole_and_a_counted_line_is_inside() {
    loom::model(|| {
        let here = Arc::new(Ring::new());
        // The places are not fresh: a byte that is seen too early is an old one.
        fill(&here, 62);
        here.reader().advance(62, 0);
        let there = Arc::clone(&here);
        let producer = thread::spawn(move || {
            there.push(b'a');
            there.push(b'\n');
        });
        let reader = here.reader();
        let line = reader.has_line();
        let inside = reader.available();
        assert!(!line || inside == 2);
        for (at, wanted) in (0..inside).zip(*b"a\n") {
            assert_eq!(reader.peek(at), wanted);
        }
        reader.advance(inside, 0);
        producer.join().unwrap();
    });
}

#[test]
fn a_place_is_not_written_before_it_is_read() {
    loom::model(|| {
        let here = Arc::new(Ring::new());
        fill(&here, 63);
        let there = Arc::clone(&here);
        let producer = thread::spawn(move || there.push(1) && there.push(2));
        let reader = here.reader();
        let first = reader.peek(0);
        reader.advance(1, 0);
        let second = reader.peek(0);
        reader.advance(1, 0);
        assert_eq!((first, second), (0x80, 0x81));
        producer.join().unwrap();
    });
}

#[test]
fn one_who_waits_for_room_is_told() {
    loom::model(|| {
        let here = Arc::new(Ring::new());
        fill(&here, 40);
        let there = Arc::clone(&here);
        let producer = thread::spawn(move || there.wait_for_room(32));
        let told = [10, 10].map(|count| here.reader().advance(count, 0));
        let has_room = producer.join().unwrap();
        assert!(has_room || told.contains(&true), "asleep for ever");
    });
}

#[test]
fn either_the_consumer_looks_or_it_is_told() {
    loom::model(|| {
        let here = Arc::new(Ring::new());
        here.set_known(true);
        let there = Arc::clone(&here);
        let producer = thread::spawn(move || {
            there.push(b'a');
            fence(Ordering::SeqCst);
            !there.is_known()
        });
        here.set_known(false);
        fence(Ordering::SeqCst);
        let seen = here.reader().available() != 0;
        let told = producer.join().unwrap();
        assert!(seen || told, "a byte that nobody sends");
    });
}
