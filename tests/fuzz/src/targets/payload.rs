//! A payload's records.

use std::mem::offset_of;

use bulkhead::addr::Range;
use bulkhead::board::{Board, Tree};
use bulkhead::config::payload::Payload;
use bulkhead::config::placement::{Ground, each_demand, place_shown, pool_bytes};
use bulkhead::config::record::{ANYWHERE, Header, record_checksum};
use bulkhead::config::verify::{Actual, verify};
use zerocopy::IntoBytes;

use super::table;

/// The first byte of an input: the sum in the header is made right.
const SIGNED: u8 = 1;
/// The first byte of an input: the payload meets a board.
const VERIFIED: u8 = 2;

/// Checks a payload, reads all of it, compares it with a board and places what it asks for.
pub fn run(bytes: &[u8]) {
    let [flags, bytes @ ..] = bytes else { return };
    let mut words = words(bytes);
    if flags & SIGNED != 0 {
        sign(&mut words);
    }
    let payload = match Payload::new(words.as_bytes()) {
        Ok(payload) => payload,
        Err(error) => return drop(error.to_string()),
    };
    read_all(&payload);
    if flags & VERIFIED != 0 {
        plan(&payload);
    }
}

/// Copies bytes to where a word may lie.
fn words(bytes: &[u8]) -> Vec<u64> {
    let mut words = vec![0u64; bytes.len().div_ceil(8)];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(bytes);
    words
}

/// Makes the sum right, if the length in the header can be.
fn sign(words: &mut [u64]) {
    let at = offset_of!(Header, record_bytes) / 8;
    let length = words
        .get(at)
        .and_then(|length| usize::try_from(*length).ok());
    let Some(records) = length.and_then(|length| words.as_bytes().get(..length)) else {
        return;
    };
    let sum = record_checksum(records);
    if let Some(place) = words.get_mut(offset_of!(Header, checksum) / 8) {
        *place = sum;
    }
}

/// Reads everything; each list is as long as its record says.
fn read_all(payload: &Payload<'_>) {
    let mut vcpus = 0;
    payload.each_vcpu(&mut |_, _| vcpus += 1);
    let mut counted = 0;
    for (partition, position) in payload.partitions().iter().zip(0..) {
        assert!(!payload.name(partition).is_empty());
        assert_eq!(
            payload.regions(partition).len(),
            partition.regions.count as usize
        );
        assert_eq!(
            payload.vcpus(partition).len(),
            partition.vcpus.count as usize
        );
        assert_eq!(
            payload.interrupts(partition).len(),
            partition.interrupts.count as usize
        );
        assert_eq!(
            payload.segments(partition).len(),
            partition.segments.count as usize
        );
        assert_eq!(
            payload.seeds(partition).len(),
            partition.seeds.count as usize
        );
        counted += payload.vcpus(partition).len();
        for device in payload.devices(partition) {
            assert_eq!(payload.windows(device).len(), device.windows.count as usize);
            assert_eq!(payload.text(device.path).len(), device.path.length as usize);
        }
        for (channel, side) in payload.channels_of(position) {
            assert_eq!(channel.sides[side].partition as usize, position);
        }
        payload.is_managed(position);
    }
    for pcpu in payload.pcpus() {
        let windows = payload.time_windows(pcpu);
        for pair in windows.windows(2) {
            let end = pair[0].start_ns + pair[0].length_ns;
            assert!(end <= pair[1].start_ns);
        }
        let end = windows
            .last()
            .map_or(0, |last| last.start_ns + last.length_ns);
        assert!(end <= pcpu.major_frame_ns);
    }
    assert_eq!(vcpus, counted);
    drop(payload.platform().to_owned());
}

/// Compares a payload with the board and places its memory. What is placed without a violation lies apart, in RAM.
fn plan(payload: &Payload<'_>) {
    let tree = Tree::new(&table::TREE).expect("a tree");
    let board = Board::read(tree, None).expect("a board");
    let actual = Actual {
        board: &board,
        tree: &tree,
        boot_cpu: board.cpus.first().map(|cpu| cpu.mpidr),
        intid_end: 288,
        image: Range::new(0x4020_0000, 0x8_0000),
    };
    let mut said = 0;
    let wrong = verify(payload, &actual, &mut |mismatch| {
        said += usize::from(!mismatch.to_string().is_empty());
    });
    assert_eq!(said, wrong);
    let ground = Ground {
        memory: &board.memory,
        reserved: &board.reserved,
        hypervisor: Range::new(0x4020_0000, 0x8_0000).expect("a range"),
    };
    let pool = pool_bytes(payload, board.cpus.len(), board.cpus.len());
    let demands = |each: &mut dyn FnMut(_)| each_demand(payload, pool, each);
    let mut places = [0; 160];
    let violations = place_shown(&ground, &demands, &mut places, &mut |violation| {
        drop(violation.to_string());
    });
    if violations > 0 {
        return;
    }
    let mut taken: Vec<Range> = vec![ground.hypervisor];
    let mut places = places.iter();
    each_demand(payload, pool, &mut |demand| {
        let place = *places.next().expect("a place for each");
        assert_ne!(place, ANYWHERE);
        let range = Range::new(place, demand.size).expect("a range");
        assert!(ground.memory.iter().any(|memory| memory.contains(range)));
        assert!(
            taken.iter().all(|other| !other.overlaps(range)),
            "{range:?}"
        );
        taken.push(range);
    });
}

/// Returns the records of the tables that ship, as they are and to be signed anew.
pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for payload in table::payloads() {
        let at = offset_of!(Header, record_bytes);
        let length = payload[at..at + 8]
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        if length < 8192 {
            let records = &payload[..length];
            let flags = SIGNED | VERIFIED;
            seeds.push([flags].into_iter().chain(records.iter().copied()).collect());
        }
    }
    seeds
}
