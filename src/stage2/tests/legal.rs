//! Every state that tables pass through while they are filled, as a walk by hardware would find it: nothing but what was
//! asked for, nothing that changes, break-before-make kept.

use std::collections::BTreeMap;

use super::super::descriptor::{Entry, decode, entry_bytes};
use super::*;

/// What was asked for: guest page, host page, pages, attributes.
type Asked = (u64, u64, u64, Attributes);

/// Tables that look at each write as it is done.
struct Watched {
    pages: Pages,
    /// Tables that a walk reaches: level, and the guest address that they begin with.
    reached: BTreeMap<u64, (u8, u64)>,
    /// What a walk finds: guest address of each block or page, with its bytes.
    found: BTreeMap<u64, u64>,
    asked: Vec<Asked>,
    /// Everything is taken away.
    tears: bool,
}

impl Watched {
    fn new(limit: usize) -> (Self, Stage2) {
        let mut watched = Self {
            pages: Pages::new(limit),
            reached: BTreeMap::new(),
            found: BTreeMap::new(),
            asked: Vec::new(),
            tears: false,
        };
        let stage2 = Stage2::new(&mut watched).unwrap();
        watched.reached.insert(stage2.root().0, (1, 0));
        (watched, stage2)
    }

    /// An entry that a walk reaches says something new.
    fn appears(&mut self, level: u8, gpa: u64, descriptor: u64) {
        match decode(descriptor, level) {
            Entry::Invalid => {}
            Entry::Table(next) => {
                assert!(Pages::position(next) < self.pages.tables.len());
                let before = self.reached.insert(next.0, (level + 1, gpa));
                assert_eq!(before, None, "a table with two parents");
                for (index, below) in self.pages.tables[Pages::position(next)]
                    .into_iter()
                    .enumerate()
                {
                    let gpa = gpa + index as u64 * entry_bytes(level + 1);
                    self.appears(level + 1, gpa, below);
                }
            }
            Entry::Leaf(hpa, attributes) => self.maps(level, gpa, hpa.0, attributes),
        }
    }

    /// A walk finds a block or page: it was asked for, as it is, and lies nowhere twice.
    fn maps(&mut self, level: u8, gpa: u64, hpa: u64, attributes: Attributes) {
        let bytes = entry_bytes(level);
        assert_eq!((gpa % bytes, hpa % bytes), (0, 0), "misaligned");
        let is_asked = self.asked.iter().any(|(to, from, count, wanted)| {
            let (to, from) = (to * PAGE_BYTES, from * PAGE_BYTES);
            let inside = to <= gpa && gpa + bytes <= to + count * PAGE_BYTES;
            inside && hpa.wrapping_sub(gpa) == from.wrapping_sub(to) && attributes == *wanted
        });
        assert!(is_asked, "{gpa:#x} leads to {hpa:#x}, for nobody");
        self.found.insert(gpa, bytes);
    }

    /// Returns the pages of a range that a walk finds, from its start to the first that is missing, and how many it finds.
    fn front(&self, first: u64, count: u64) -> (u64, u64) {
        let (start, end) = (first * PAGE_BYTES, (first + count) * PAGE_BYTES);
        let (mut next, mut sum) = (start, 0);
        for (gpa, bytes) in self.found.range(start..end) {
            sum += bytes;
            if *gpa == next {
                next += bytes;
            }
        }
        ((next - start) / PAGE_BYTES, sum / PAGE_BYTES)
    }
}

impl TableStore for Watched {
    fn allocate(&mut self) -> Option<HostPhysAddr> {
        self.pages.allocate()
    }

    fn read(&self, table: HostPhysAddr, index: usize) -> u64 {
        self.pages.read(table, index)
    }

    fn write(&mut self, table: HostPhysAddr, index: usize, descriptor: u64) {
        let before = self.pages.read(table, index);
        let both = before & descriptor & 1 != 0;
        assert!(!both, "{before:#x} becomes {descriptor:#x} without a break");
        let gone = before & 1 != 0;
        assert!(!gone || self.tears, "{before:#x} is taken away");
        self.pages.write(table, index, descriptor);
        let Some((level, base)) = self.reached.get(&table.0).copied() else {
            return;
        };
        let gpa = base + index as u64 * entry_bytes(level);
        if gone {
            let end = gpa + entry_bytes(level);
            self.found.retain(|at, _| !(gpa..end).contains(at));
        } else {
            self.appears(level, gpa, descriptor);
        }
    }
}

/// Returns one of the kinds of mapping.
fn kind(bits: u32) -> Attributes {
    match bits {
        0..8 => Attributes::memory(bits),
        8 => Attributes::device(),
        9 => Attributes::shared(RWX, true),
        _ => Attributes::shared(RWX, false),
    }
}

/// Ranges close to each other, to borders of 2 MiB and of 1 GiB, some of them as large.
fn asked() -> impl Strategy<Value = Vec<Asked>> {
    const BLOCK: u64 = BLOCK_2M_BYTES / PAGE_BYTES;
    const GIGABYTE: u64 = BLOCK_1G_BYTES / PAGE_BYTES;
    let border = prop_oneof![
        (0..4_u64).prop_map(|n| n * BLOCK),
        (0..4_u64).prop_map(|n| n * GIGABYTE),
        Just(2 * GIGABYTE - BLOCK),
    ];
    let near = || (border.clone(), 0..6_u64, prop::bool::ANY);
    let near = move || near().prop_map(|(at, off, page)| if page { at + off } else { at });
    let count = prop_oneof![
        1..4_u64,
        Just(BLOCK),
        Just(2 * BLOCK),
        BLOCK - 2..BLOCK + 3,
        Just(GIGABYTE),
        GIGABYTE - 1..GIGABYTE + 2,
    ];
    let one = (near(), near(), count, (0..11_u32).prop_map(kind));
    prop::collection::vec(one, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_state_on_the_way_is_legal(asked in asked(), limit in 1..40_usize) {
        let (mut watched, stage2) = Watched::new(limit);
        for (gpa, hpa, count, attributes) in asked {
            let taken = (0..count).find(|n| {
                let at = (gpa + n) * PAGE_BYTES;
                let before = watched.found.range(..=at).next_back();
                before.is_some_and(|(start, bytes)| at < start + bytes)
            });
            watched.asked.push((gpa, hpa, count, attributes));
            let (g, h) = (GuestPhysAddr(gpa * PAGE_BYTES), HostPhysAddr(hpa * PAGE_BYTES));
            let done = stage2.map(&mut watched, g, h, count * PAGE_BYTES, attributes);
            let (front, all) = watched.front(gpa, taken.unwrap_or(count));
            match done {
                Ok(maintenance) => {
                    prop_assert_eq!(maintenance, Maintenance::Publish);
                    prop_assert_eq!(taken, None);
                    prop_assert_eq!(front, count);
                }
                Err(MapError::Overlap { gpa: at }) => {
                    prop_assert_eq!(Some(at.0 / PAGE_BYTES - gpa), taken);
                    prop_assert_eq!(front, all, "not a front part");
                }
                Err(MapError::NoTable { gpa: at }) => {
                    prop_assert_eq!(watched.pages.tables.len(), limit);
                    prop_assert!(at.0 / PAGE_BYTES >= gpa + front);
                    prop_assert_eq!(front, all, "not a front part");
                }
                Err(error) => prop_assert!(false, "{}", error),
            }
            // What lies behind the front stays unasked.
            let last = watched.asked.len() - 1;
            watched.asked[last].2 = front;
            let found = watched.found.clone();
            for (at, bytes) in found {
                let there = stage2.translate(&watched, GuestPhysAddr(at + bytes - 1));
                prop_assert!(there.is_some_and(|there| there.bytes == 1));
            }
        }
        watched.tears = true;
        prop_assert_eq!(stage2.unmap_all(&mut watched), Maintenance::InvalidatePartition);
        prop_assert!(watched.found.is_empty());
    }
}
