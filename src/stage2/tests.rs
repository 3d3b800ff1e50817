use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::addr::{BLOCK_1G_BYTES, BLOCK_2M_BYTES, PAGE_BYTES, Range};
use crate::config::record::access;
use crate::ids::Vmid;

mod legal;

const RWX: u32 = access::READ | access::WRITE | access::EXECUTE;

/// Tables in host memory: the n-th one has address `BASE + n` pages.
struct Pages {
    tables: Vec<[u64; TABLE_ENTRIES]>,
    limit: usize,
}

const BASE: u64 = 0x8000_0000;

impl Pages {
    fn new(limit: usize) -> Self {
        let tables = Vec::new();
        Self { tables, limit }
    }

    fn position(table: HostPhysAddr) -> usize {
        ((table.0 - BASE) / PAGE_BYTES) as usize
    }
}

impl TableStore for Pages {
    fn allocate(&mut self) -> Option<HostPhysAddr> {
        if self.tables.len() == self.limit {
            return None;
        }
        self.tables.push([0; TABLE_ENTRIES]);
        let position = self.tables.len() as u64 - 1;
        Some(HostPhysAddr(BASE + position * PAGE_BYTES))
    }

    fn read(&self, table: HostPhysAddr, index: usize) -> u64 {
        self.tables[Self::position(table)][index]
    }

    fn write(&mut self, table: HostPhysAddr, index: usize, descriptor: u64) {
        self.tables[Self::position(table)][index] = descriptor;
    }
}

/// Maps one range into fresh tables.
fn mapped(gpa: u64, hpa: u64, size: u64, attributes: Attributes) -> (Pages, Stage2) {
    let mut pages = Pages::new(100);
    let stage2 = Stage2::new(&mut pages).unwrap();
    let done = stage2.map(
        &mut pages,
        GuestPhysAddr(gpa),
        HostPhysAddr(hpa),
        size,
        attributes,
    );
    assert_eq!(done, Ok(Maintenance::Publish));
    (pages, stage2)
}

#[test]
fn maps_a_page_by_three_tables() {
    let (pages, stage2) = mapped(0x4000_1000, 0x8765_4000, 0x1000, Attributes::memory(RWX));
    assert_eq!(pages.tables.len(), 3);
    assert_eq!(stage2.root(), HostPhysAddr(0x8000_0000));
    assert_eq!(pages.tables[0][1], 0x8000_1003);
    assert_eq!(pages.tables[1][0], 0x8000_2003);
    assert_eq!(pages.tables[2][1], 0x8765_47ff);
}

#[test]
fn maps_blocks_of_2_mib_and_1_gib() {
    let (pages, _) = mapped(0x4020_0000, 0x8060_0000, 0x40_0000, Attributes::memory(RWX));
    assert_eq!(pages.tables[1][1..4], [0x8060_07fd, 0x8080_07fd, 0]);
    let (pages, _) = mapped(
        0x8000_0000,
        0x1_4000_0000,
        0x4000_0000,
        Attributes::memory(RWX),
    );
    assert_eq!(pages.tables.len(), 1);
    assert_eq!(pages.tables[0][2], 0x1_4000_07fd);
}

#[test]
fn grants_access_as_asked() {
    let first = |attributes| mapped(0, 0x20_0000, 0x20_0000, attributes).0.tables[1][0];
    assert_eq!(
        first(Attributes::memory(access::READ)),
        0x0040_0000_0020_077d
    );
    let read_execute = Attributes::memory(access::READ | access::EXECUTE);
    assert_eq!(first(read_execute), 0x0000_0000_0020_077d);
    let read_write = Attributes::memory(access::READ | access::WRITE);
    assert_eq!(first(read_write), 0x0040_0000_0020_07fd);
}

#[test]
fn maps_device_registers_as_device_memory_never_executable() {
    let (pages, stage2) = mapped(0x901_0000, 0x901_0000, 0x1000, Attributes::device());
    assert_eq!(pages.tables[2][0x10], 0x0040_0000_0901_04c7);
    let found = stage2.translate(&pages, GuestPhysAddr(0x901_0fff)).unwrap();
    assert_eq!((found.hpa, found.bytes), (HostPhysAddr(0x901_0fff), 1));
    assert!(found.attributes.is_device());
    assert_eq!(found.attributes.access(), access::READ | access::WRITE);
}

#[test]
fn shares_memory_never_executable_and_uncached_unless_asked() {
    let shared = |cached| {
        let attributes = Attributes::shared(RWX, cached);
        let (pages, stage2) = mapped(0x20_0000, 0x20_0000, 0x20_0000, attributes);
        let at = stage2.translate(&pages, GuestPhysAddr(0x20_0000)).unwrap();
        (pages.tables[1][1], at.attributes.is_device())
    };
    assert_eq!(shared(true), (0x0040_0000_0020_07fd, false));
    assert_eq!(shared(false), (0x0040_0000_0020_07d5, true));
}

#[test]
fn uses_pages_up_to_the_first_block_and_behind_the_last() {
    let (pages, stage2) = mapped(0x401f_f000, 0x901f_f000, 0x20_2000, Attributes::memory(RWX));
    assert_eq!(pages.tables.len(), 4);
    assert_eq!(pages.tables[1][1], 0x9020_07fd);
    let at = |gpa| stage2.translate(&pages, GuestPhysAddr(gpa));
    assert_eq!(
        at(0x401f_f123).map(|t| t.hpa),
        Some(HostPhysAddr(0x901f_f123))
    );
    assert_eq!(at(0x4020_0010).map(|t| t.bytes), Some(0x1f_fff0));
    assert_eq!(at(0x4040_0000).map(|t| t.bytes), Some(0x1000));
    assert_eq!(at(0x4040_1000), None);
    assert_eq!(at(0x401f_efff), None);
}

#[test]
fn addresses_past_39_bits_lead_nowhere() {
    let end = 1 << 39;
    let (pages, stage2) = mapped(end - 0x1000, 0, 0x1000, Attributes::memory(RWX));
    assert!(stage2.translate(&pages, GuestPhysAddr(end - 1)).is_some());
    for gpa in [
        end,
        end | 0x40_0000,
        (1 << 48) - 0x1000,
        (1 << 48) + (end - 1),
        u64::MAX,
    ] {
        assert_eq!(
            stage2.translate(&pages, GuestPhysAddr(gpa)),
            None,
            "{gpa:#x}"
        );
    }
}

#[test]
fn refuses_misaligned_and_far_ranges() {
    let mut pages = Pages::new(10);
    let stage2 = Stage2::new(&mut pages).unwrap();
    let mut map = |gpa, hpa, size| {
        let (gpa, hpa) = (GuestPhysAddr(gpa), HostPhysAddr(hpa));
        stage2.map(&mut pages, gpa, hpa, size, Attributes::device())
    };
    for (gpa, hpa, size) in [
        (0x800, 0, 0x1000),
        (0, 0x10, 0x1000),
        (0, 0, 0),
        (0, 0, 0xfff),
    ] {
        let (g, h) = (GuestPhysAddr(gpa), HostPhysAddr(hpa));
        let wanted = MapError::Misaligned {
            gpa: g,
            hpa: h,
            size,
        };
        assert_eq!(map(gpa, hpa, size), Err(wanted));
    }
    let far = [
        (1 << 39, 0),
        ((1 << 39) - 0x1000, 0),
        (0, 1 << 48),
        (!0xfff, 0),
    ];
    for (gpa, hpa) in far {
        let size = 0x2000;
        let (g, h) = (GuestPhysAddr(gpa), HostPhysAddr(hpa));
        let wanted = MapError::OutOfRange {
            gpa: g,
            hpa: h,
            size,
        };
        assert_eq!(map(gpa, hpa, size), Err(wanted));
    }
}

#[test]
fn refuses_to_map_twice() {
    let (mut pages, stage2) = mapped(0x4000_0000, 0, 0x20_1000, Attributes::memory(RWX));
    for gpa in [0x4000_0000, 0x401f_f000, 0x4020_0000] {
        let gpa = GuestPhysAddr(gpa);
        let twice = stage2.map(
            &mut pages,
            gpa,
            HostPhysAddr(0),
            0x1000,
            Attributes::device(),
        );
        assert_eq!(twice, Err(MapError::Overlap { gpa }));
    }
    // A block over a table that holds pages.
    let gpa = GuestPhysAddr(0x4020_0000);
    let over = stage2.map(
        &mut pages,
        gpa,
        HostPhysAddr(0),
        0x20_0000,
        Attributes::device(),
    );
    assert_eq!(over, Err(MapError::Overlap { gpa }));
}

#[test]
fn says_when_the_pool_is_used_up() {
    let mut pages = Pages::new(2);
    let stage2 = Stage2::new(&mut pages).unwrap();
    let gpa = GuestPhysAddr(0x1000);
    let full = stage2.map(
        &mut pages,
        gpa,
        HostPhysAddr(0),
        0x1000,
        Attributes::device(),
    );
    assert_eq!(full, Err(MapError::NoTable { gpa }));
    assert_eq!(Stage2::new(&mut pages), None);
}

#[test]
fn unmapping_leaves_nothing_and_asks_for_invalidation() {
    let (mut pages, stage2) = mapped(0x4000_0000, 0, 0x20_1000, Attributes::memory(RWX));
    assert_eq!(
        stage2.unmap_all(&mut pages),
        Maintenance::InvalidatePartition
    );
    assert_eq!(stage2.translate(&pages, GuestPhysAddr(0x4000_0000)), None);
    assert_eq!(pages.tables[0], [0; TABLE_ENTRIES]);
}

#[test]
fn register_values_are_those_of_the_manual() {
    // Cortex-A53: PARange 2, 40 bits. T0SZ 25, SL0 1, IRGN0 1, ORGN0 1, SH0 3, PS 2, bit 31.
    assert_eq!(vtcr(2), 0x8002_3559);
    // Cortex-A72: PARange 4, 44 bits.
    assert_eq!(vtcr(4), 0x8004_3559);
    // 52 bits are used as 48.
    assert_eq!(vtcr(6), 0x8005_3559);
    // 36 bits: T0SZ 28.
    assert_eq!(vtcr(1), 0x8001_355c);
    assert_eq!([guest_bits(0), guest_bits(1), guest_bits(2)], [32, 36, 39]);
    assert_eq!(
        vttbr(HostPhysAddr(0x4765_4000), Vmid(3)),
        0x0003_0000_4765_4000
    );
}

#[test]
fn counts_tables_by_hand() {
    let extent = |start, size, blocks| Extent {
        range: Range::new(start, size).unwrap(),
        blocks,
    };
    let count = |extents: &[Extent]| tables_needed(extents.iter().copied());
    assert_eq!(count(&[]), 1);
    let memory = extent(0x4000_0000, 0x1000_0000, true);
    assert_eq!(count(&[memory]), 2);
    let uart = extent(0x900_0000, 0x1000, false);
    let rtc = extent(0x901_0000, 0x1000, false);
    assert_eq!(count(&[memory, uart, rtc]), 4);
    assert_eq!(count(&[extent(0x4000_1000, 0x40_0000, true)]), 4);
    assert_eq!(count(&[extent(0x3fff_f000, 0x2000, true)]), 5);
    assert_eq!(count(&[extent(0, 0x60_0000, false)]), 5);
    assert_eq!(count(&[extent(0, 0x1_0000_0000, true)]), 5);
}

/// A range to map: guest page, host page, pages, access.
type Piece = (u64, u64, u64, u32);

/// Ranges that lie close to each other and to the borders of blocks.
fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let near = |blocks: u64| {
        (0..blocks, 0..6_u64, prop::bool::ANY).prop_map(|(block, off, page)| {
            let base = block * BLOCK_2M_BYTES / PAGE_BYTES;
            if page { base + off } else { base }
        })
    };
    let pages = prop_oneof![1..4_u64, Just(512), Just(1024), 510..515_u64];
    prop::collection::vec((near(1100), near(1100), pages, 0..8_u32), 1..12)
}

proptest! {
    #[test]
    fn agrees_with_a_map_of_pages(pieces in pieces()) {
        let mut pages = Pages::new(1000);
        let stage2 = Stage2::new(&mut pages).unwrap();
        let mut oracle: BTreeMap<u64, (u64, u32)> = BTreeMap::new();
        let mut extents = Vec::new();
        for (gpa, hpa, count, bits) in pieces {
            if (gpa..gpa + count).any(|page| oracle.contains_key(&page)) {
                continue;
            }
            let attributes = Attributes::memory(bits);
            let (g, h) = (GuestPhysAddr(gpa * PAGE_BYTES), HostPhysAddr(hpa * PAGE_BYTES));
            let done = stage2.map(&mut pages, g, h, count * PAGE_BYTES, attributes);
            prop_assert_eq!(done, Ok(Maintenance::Publish));
            oracle.extend((0..count).map(|n| (gpa + n, (hpa + n, bits))));
            let blocks = g.0 % BLOCK_2M_BYTES == h.0 % BLOCK_2M_BYTES;
            let range = Range::new(g.0, count * PAGE_BYTES).unwrap();
            extents.push(Extent { range, blocks });
        }
        for page in oracle.keys().flat_map(|page| [page.saturating_sub(1), *page, page + 1]) {
            let found = stage2.translate(&pages, GuestPhysAddr(page * PAGE_BYTES));
            let found = found.map(|t| (t.hpa.0 / PAGE_BYTES, t.attributes.access()));
            prop_assert_eq!(found, oracle.get(&page).copied());
        }
        prop_assert!(pages.tables.len() <= tables_needed(extents.iter().copied()));
    }

    #[test]
    fn whole_gigabytes_stay_within_the_count(start in 0..4_u64, count in 1..3_u64, shift in 0..3_u64) {
        let mut pages = Pages::new(1000);
        let stage2 = Stage2::new(&mut pages).unwrap();
        let gpa = start * BLOCK_1G_BYTES;
        let hpa = gpa + shift * BLOCK_2M_BYTES;
        let size = count * BLOCK_1G_BYTES;
        let attributes = Attributes::memory(RWX);
        let done = stage2.map(&mut pages, GuestPhysAddr(gpa), HostPhysAddr(hpa), size, attributes);
        prop_assert_eq!(done, Ok(Maintenance::Publish));
        let range = Range::new(gpa, size).unwrap();
        let needed = tables_needed([Extent { range, blocks: true }].into_iter());
        let wanted = if shift == 0 { 1 } else { 1 + count as usize };
        prop_assert_eq!(pages.tables.len(), wanted);
        prop_assert!(wanted <= needed);
    }
}

#[test]
fn errors_name_the_addresses() {
    let (gpa, hpa, size) = (GuestPhysAddr(0x1800), HostPhysAddr(0x2000), 0x3000);
    let cases = [
        (MapError::Misaligned { gpa, hpa, size }, "multiples"),
        (MapError::OutOfRange { gpa, hpa, size }, "39 bits"),
        (MapError::Overlap { gpa }, "twice"),
        (MapError::NoTable { gpa }, "no page left"),
    ];
    for (error, why) in cases {
        let text = error.to_string();
        assert!(text.contains("0x1800") && text.contains(why), "{text}");
    }
}
