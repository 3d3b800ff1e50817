//! A ring that is read while it is written, in every order of accesses that the memory model allows.

use super::{HEAD_WORDS, Ring, WRITTEN, What, Writer};
use crate::atomic::{AtomicU64, Ordering, fence};
use crate::ids::PcpuId;
use loom::thread;

/// Records of the ring.
const RECORDS: usize = 2;

/// Writes a record whose words belong together.
fn put(writer: &mut Writer<'_>, number: u64) {
    let what = What::Awake {
        intid: number as u16,
    };
    writer.put(number, what.word(None));
}

/// Copies the ring as somebody does who can only read: the head first, then the records, then the count again.
fn copy(words: &[AtomicU64]) -> (Vec<u8>, u64) {
    let written = words[WRITTEN].load(Ordering::Acquire);
    let mut bytes = Vec::new();
    for (word, index) in words.iter().zip(0..) {
        let value = match index {
            WRITTEN => written,
            _ => word.load(Ordering::Relaxed),
        };
        bytes.extend(value.to_le_bytes());
    }
    fence(Ordering::Acquire);
    (bytes, words[WRITTEN].load(Ordering::Relaxed) + 1)
}

#[test]
fn what_is_read_is_whole() {
    loom::model(|| {
        let count = HEAD_WORDS + 2 * RECORDS;
        let words: Vec<_> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let words: &'static [AtomicU64] = words.leak();
        let mut writer = Writer::new(words, PcpuId(0), 1, core::iter::empty()).unwrap();
        (0..3).for_each(|number| put(&mut writer, number));
        let writer = thread::spawn(move || {
            put(&mut writer, 3);
            put(&mut writer, 4);
        });
        let (bytes, begun) = copy(words);
        let ring = Ring::new(&bytes).unwrap();
        for record in ring.since(0, begun) {
            let intid = record.ticks as u16;
            assert_eq!(record.what, What::Awake { intid }, "two records in one");
        }
        writer.join().unwrap();
    });
}
