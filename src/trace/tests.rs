use super::*;
use crate::atomic::{AtomicU64, Ordering};
use crate::ids::{PartitionId, PcpuId, VcpuId};
use crate::sched::Slot;
use proptest::prelude::*;

/// Number of records of the rings here.
const CAPACITY: usize = 8;

fn memory(records: usize) -> Vec<AtomicU64> {
    let words = HEAD_WORDS + 2 * records;
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

/// Copies memory as a debugger does: word by word from the front, while others write.
fn copy(words: &[AtomicU64]) -> Vec<u8> {
    let load = |word: &AtomicU64| word.load(Ordering::Acquire).to_le_bytes();
    words.iter().flat_map(load).collect()
}

fn residents() -> impl Iterator<Item = (PartitionId, VcpuId)> {
    [(0, 0), (1, 0), (1, 1), (2, 0), (3, 15)]
        .into_iter()
        .map(|(partition, vcpu)| (PartitionId(partition), VcpuId(vcpu)))
}

fn put(writer: &mut Writer<'_>, record: Record) {
    let [ticks, word] = record.words();
    writer.put(ticks, word);
}

fn writer(words: &[AtomicU64]) -> Writer<'_> {
    Writer::new(words, PcpuId(3), 62_500_000, residents()).unwrap()
}

/// A record that carries its number twice, so that a torn one shows.
fn numbered(number: u64) -> Record {
    Record {
        ticks: number,
        slot: Some(Slot((number % 60) as u8)),
        what: What::Trap {
            syndrome: number as u32,
            call: (number >> 3) as u16,
        },
    }
}

#[test]
fn the_last_records_of_a_slot_come_newest_first() {
    let words = memory(CAPACITY);
    let mut writer = writer(&words);
    let mut found = [[0; 2]; 3];
    assert_eq!(writer.last_of(Slot(0), &mut found), 0, "an empty ring");
    let record = |ticks, slot| Record {
        ticks,
        slot,
        what: What::Wake,
    };
    for ticks in 1..20 {
        put(&mut writer, record(ticks, Some(Slot((ticks % 2) as u8))));
        put(&mut writer, record(ticks, None));
    }
    assert_eq!(
        writer.last_of(Slot(1), &mut found),
        2,
        "of four in the ring"
    );
    let ticks = found.map(|[ticks, _]| ticks);
    assert_eq!(ticks, [19, 17, 0]);
    assert_eq!(writer.last_of(Slot(1), &mut found[..1]), 1, "no more room");
    let taken = What::Interrupt {
        intid: 40,
        late: UNKNOWN,
    };
    put(
        &mut writer,
        Record {
            what: taken,
            ..record(20, Some(Slot(1)))
        },
    );
    assert_eq!(writer.last_of(Slot(1), &mut found), 2, "all but that one");
    assert_eq!(
        found[0][0], 19,
        "whose interrupt it was is not the slot's to know"
    );
}

#[test]
fn a_record_has_the_documented_words() {
    let record = Record {
        ticks: 0x1234_5678_9abc,
        slot: Some(Slot(5)),
        what: What::Trap {
            syndrome: 0x5a00_0000,
            call: 0x4001,
        },
    };
    assert_eq!(record.words(), [0x1234_5678_9abc, 0x5a00_0000_4001_0505]);
    let idle = Record {
        ticks: 1,
        slot: None,
        what: What::Idle,
    };
    assert_eq!(idle.words(), [1, 0xff03]);
    assert_eq!(Record::from_words([1, 0]), None);
    assert_eq!(Record::from_words([1, 0x0d]), None);
    assert_eq!(Record::from_words([1, 0x2_000c]), None);
}

#[test]
fn a_call_is_known_by_owner_and_number() {
    assert_eq!(call(0x8400_0003), 4 << 10 | 3);
    assert_eq!(call(0xffff_ffff_c600_ff01), 6 << 10 | 0x301);
}

#[test]
fn every_kind_is_read_as_it_was_written() {
    let intid = 27;
    let late = 4711;
    let call = 9;
    let syndrome = 0x93c0_8007;
    let left = UNKNOWN;
    let kinds = [
        What::Run,
        What::Load,
        What::Idle,
        What::Awake { intid },
        What::Trap { syndrome, call },
        What::Interrupt { intid, late },
        What::SError,
        What::Enter,
        What::Inject { intid, late },
        What::Wake,
        What::Block,
        What::Budget {
            event: BudgetEvent::Exhausted,
            left,
        },
        What::Budget {
            event: BudgetEvent::Replenished,
            left,
        },
    ];
    for what in kinds {
        for slot in [None, Some(Slot(63))] {
            let record = Record {
                ticks: u64::MAX,
                slot,
                what,
            };
            assert_eq!(Record::from_words(record.words()), Some(record));
        }
    }
}

#[test]
fn the_head_says_whose_ring_it_is() {
    let words = memory(CAPACITY);
    writer(&words);
    let bytes = copy(&words);
    assert_eq!(
        bytes.len() as u64,
        ring_bytes(CAPACITY as u64 * RECORD_BYTES)
    );
    let ring = Ring::new(&bytes).unwrap();
    assert_eq!(
        (ring.pcpu, ring.frequency, ring.written),
        (PcpuId(3), 62_500_000, 0)
    );
    assert_eq!(ring.size(), bytes.len());
    let slots: Vec<_> = (0..5)
        .map(|slot| ring.resident(Slot(slot)).unwrap())
        .collect();
    assert_eq!(slots, residents().collect::<Vec<_>>());
    assert_eq!(ring.resident(Slot(5)), None);
    assert_eq!(ring.resident(Slot(63)), None);
    assert_eq!(ring.resident(Slot(200)), None);
}

#[test]
fn what_is_no_ring_is_refused() {
    assert_eq!(
        Ring::new(&[0; 8]).unwrap_err(),
        RingError::Magic { found: 0 }
    );
    assert!(matches!(Ring::new(&[1; 7]), Err(RingError::Short { .. })));
    let words = memory(CAPACITY);
    writer(&words);
    let bytes = copy(&words);
    for end in 8..bytes.len() {
        let short = Ring::new(&bytes[..end]).unwrap_err();
        assert!(matches!(short, RingError::Short { found, .. } if found == end));
    }
    for shape in [0, 7 << 32, 8 << 32 | 16, u64::MAX] {
        let mut bytes = bytes.clone();
        bytes[SHAPE * 8..][..8].copy_from_slice(&shape.to_le_bytes());
        assert_eq!(
            Ring::new(&bytes).unwrap_err(),
            RingError::Shape { found: shape }
        );
    }
    assert!(Writer::new(&memory(7), PcpuId(0), 1, residents()).is_none());
    assert!(Writer::new(&[], PcpuId(0), 1, residents()).is_none());
}

#[test]
fn a_full_ring_loses_its_oldest_records_and_says_how_many() {
    let words = memory(CAPACITY);
    let mut writer = writer(&words);
    for number in 0..20 {
        put(&mut writer, numbered(number));
    }
    let bytes = copy(&words);
    let ring = Ring::new(&bytes).unwrap();
    let still = ring.since(0, ring.written);
    assert_eq!((still.lost, still.next), (12, 20));
    let numbers: Vec<_> = still.map(|record| record.ticks).collect();
    assert_eq!(numbers, (12..20).collect::<Vec<_>>());
    // Two more were written while it was copied, and a third was begun.
    let running = ring.since(15, 23);
    assert_eq!(running.lost, 0);
    assert_eq!(running.map(|record| record.ticks).next(), Some(15));
    assert_eq!(ring.since(10, 23).lost, 5);
    let overrun = ring.since(15, 40);
    assert_eq!((overrun.lost, overrun.count()), (5, 0));
}

#[test]
fn words_that_no_record_has_count_as_lost() {
    let words = memory(CAPACITY);
    let mut writer = writer(&words);
    for number in 0..3 {
        put(&mut writer, numbered(number));
    }
    words[HEAD_WORDS + 3].store(0, Ordering::Relaxed);
    let bytes = copy(&words);
    let mut read = Ring::new(&bytes).unwrap().since(0, 3);
    let numbers: Vec<_> = read.by_ref().map(|record| record.ticks).collect();
    assert_eq!((numbers, read.lost), (vec![0, 2], 1));
}

#[test]
fn why_bytes_are_no_ring_is_said_in_words() {
    let (found, needed) = (8, 384);
    let says = [
        RingError::Short { found, needed }.to_string(),
        RingError::Magic { found: 0x10 }.to_string(),
        RingError::Shape { found: 7 << 32 }.to_string(),
    ];
    let wanted = [
        "a ring of 384 bytes is cut off after 8",
        "no ring begins with 0x10",
        "no ring has the shape 0x700000000",
    ];
    assert_eq!(says, wanted);
}

#[test]
fn turning_to_the_same_again_is_not_said_twice() {
    let words = memory(CAPACITY);
    let mut writer = writer(&words);
    let mut turn = |ticks, slot, what: What| writer.turn_to(ticks, what.word(slot));
    turn(1, Some(Slot(4)), What::Run);
    turn(2, Some(Slot(4)), What::Run);
    turn(3, Some(Slot(4)), What::Load);
    turn(4, None, What::Idle);
    turn(5, None, What::Idle);
    let bytes = copy(&words);
    let ring = Ring::new(&bytes).unwrap();
    let ticks: Vec<_> = ring.since(0, ring.written).map(|r| r.ticks).collect();
    assert_eq!(ticks, [1, 3, 4]);
}

#[test]
fn an_interrupt_is_new_when_its_guest_did_not_leave_it_pending() {
    let words = memory(CAPACITY);
    let mut writer = writer(&words);
    let (pending, active, both) = (1 << 62 | 27, 2 << 62 | 27, 3 << 62 | 27);
    assert_eq!(writer.newly_pending(Slot(1), 0, pending), Some(27));
    writer.leave(Some(Slot(1)), 0b11, |index| {
        [pending, active][usize::from(index)]
    });
    assert_eq!(writer.newly_pending(Slot(1), 0, pending), None);
    assert_eq!(writer.newly_pending(Slot(1), 0, pending ^ 1), Some(26));
    assert_eq!(writer.newly_pending(Slot(1), 1, pending), Some(27));
    for value in [0, active, both] {
        assert_eq!(writer.newly_pending(Slot(1), 1, value), None);
    }
    assert_eq!(writer.newly_pending(Slot(2), 0, pending), Some(27));
    assert_eq!(writer.newly_pending(Slot(2), 99, pending), Some(27));
    // What is in no list register was not left pending, whatever it held before.
    writer.leave(Some(Slot(1)), 0b10, |_| active);
    assert_eq!(writer.newly_pending(Slot(1), 0, pending), Some(27));
    writer.leave(Some(Slot(1)), 0b10, |_| pending);
    assert_eq!(writer.newly_pending(Slot(1), 1, pending), None);
    assert_eq!(bits(0b1000_0000_0000_0101).collect::<Vec<_>>(), [0, 2, 15]);
    assert_eq!(bits(0).count(), 0);
}

#[test]
fn sizes_are_powers_of_two_within_bounds() {
    for good in [4 << 10, 16 << 10, 256 << 10, 2 << 20] {
        assert!(is_valid_size(good));
    }
    for bad in [0, 16, 2 << 10, 12 << 10, 4 << 20] {
        assert!(!is_valid_size(bad));
    }
    assert_eq!(ring_bytes(0), 0);
    assert_eq!(ring_bytes(4096), 4096 + 256);
}

/// Reads while another thread writes as fast as it can: what is returned is whole, in order, and what is missing is
/// counted.
#[test]
fn a_reader_copes_with_being_overrun() {
    const RECORDS: u64 = if cfg!(miri) { 300 } else { 300_000 };
    let words = memory(64);
    let mut seen = 0;
    let mut lost = 0;
    std::thread::scope(|scope| {
        let mut writer = writer(&words);
        scope.spawn(move || (0..RECORDS).for_each(|number| put(&mut writer, numbered(number))));
        let mut next = 0;
        while next < RECORDS {
            let bytes = copy(&words);
            let begun = words[WRITTEN].load(Ordering::Acquire) + 1;
            let ring = Ring::new(&bytes).unwrap();
            let mut read = ring.since(next, begun);
            let mut number = next + read.lost;
            lost += read.lost;
            for record in read.by_ref() {
                assert_eq!(record, numbered(number));
                number += 1;
                seen += 1;
            }
            assert_eq!(number, read.next);
            next = read.next;
        }
    });
    assert_eq!(seen + lost, RECORDS);
}

proptest! {
    #[test]
    fn any_words_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..700), from: u64, begun: u64) {
        let mut bytes = bytes;
        if let Some(first) = bytes.first_chunk_mut::<8>() {
            *first = MAGIC.to_le_bytes();
        }
        if let Some(shape) = bytes.get_mut(SHAPE * 8..SHAPE * 8 + 8) {
            shape.copy_from_slice(&(8u64 << 32).to_le_bytes());
        }
        if let Ok(ring) = Ring::new(&bytes) {
            prop_assert!(ring.since(from, begun).count() <= CAPACITY);
        }
    }
}
