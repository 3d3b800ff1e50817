//! Both kinds of channel, in every order of accesses that the memory model allows.

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::vec::Vec;

use crate::{Error, Link, Memory, Presence, Reader, State, Writer};

/// Memory that loom watches.
#[derive(Clone, Copy)]
struct Words(&'static [AtomicU64]);

impl Words {
    /// Room for two rings of 64 bytes.
    fn new() -> Self {
        let words: Vec<_> = (0..32).map(|_| AtomicU64::new(0)).collect();
        Self(words.leak())
    }
}

impl Memory for Words {
    fn size(&self) -> usize {
        self.0.len() * 8
    }

    fn acquire(&self, offset: usize) -> u64 {
        self.0[offset / 8].load(Ordering::Acquire)
    }

    fn release(&self, offset: usize, value: u64) {
        self.0[offset / 8].store(value, Ordering::Release);
    }

    fn read(&self, offset: usize) -> u64 {
        self.0[offset / 8].load(Ordering::Relaxed)
    }

    fn write(&self, offset: usize, value: u64) {
        self.0[offset / 8].store(value, Ordering::Relaxed);
    }
}

/// A partner that runs, in its first life.
const LIFE: Presence = Presence {
    generation: 1,
    runs: true,
};

/// Three words that are alike: a message of half a ring.
fn message(n: u64) -> Vec<u8> {
    let word = n.to_le_bytes();
    [word, word, word].concat()
}

#[test]
fn one_way_a_message_is_whole_or_lost() {
    loom::model(|| {
        let memory = Words::new();
        let mut writer = Writer::new(memory, 0, 1).unwrap();
        let mut reader = Reader::new(memory, 1).unwrap();
        assert!(reader.meet(LIFE));
        for n in 1..=2 {
            writer.send(&message(n)).unwrap();
        }
        let other = thread::spawn(move || writer.send(&message(3)));
        let mut buffer = [0; 24];
        match reader.receive(&mut buffer) {
            Ok(Some(24)) => assert_eq!(buffer[..], message(1)[..], "torn"),
            Err(Error::Lost) => {}
            found => panic!("{found:?}"),
        }
        other.join().unwrap().unwrap();
    });
}

#[test]
fn a_link_passes_messages_in_order_and_a_place_is_not_written_before_it_is_read() {
    loom::model(|| {
        let memory = Words::new();
        let mut sender = Link::new(memory, 0, 1).unwrap();
        let mut receiver = Link::new(memory, 1, 1).unwrap();
        assert_eq!(sender.meet(LIFE), State::Waiting);
        assert_eq!(receiver.meet(LIFE), State::Opened);
        assert_eq!(sender.meet(LIFE), State::Opened);
        for n in 1..=2 {
            sender.send(&message(n)).unwrap();
        }
        let other = thread::spawn(move || match sender.send(&message(3)) {
            Ok(()) => 3,
            Err(Error::Full) => 2,
            Err(error) => panic!("{error:?}"),
        });
        let mut received = 0;
        let mut buffer = [0; 24];
        while received < 2 {
            assert_eq!(receiver.receive(&mut buffer), Ok(Some(24)));
            received += 1;
            assert_eq!(buffer[..], message(received)[..]);
        }
        let sent = other.join().unwrap();
        if sent == 3 {
            assert_eq!(receiver.receive(&mut buffer), Ok(Some(24)));
            assert_eq!(buffer[..], message(3)[..]);
        }
        assert_eq!(receiver.receive(&mut buffer), Ok(None));
    });
}
