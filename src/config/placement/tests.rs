use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::super::payload::{
    Payload,
    samples::{Sample, name},
};
use super::*;
use crate::addr::BLOCK_2M_BYTES;
use crate::board::ReservedBy;
use crate::config::record::{ChannelRecord, SideRecord};
use crate::ids::PartitionId;

const MIB: u64 = 1 << 20;

fn range(start: u64, size: u64) -> Range {
    Range::new(start, size).unwrap()
}

/// The n-th partition's only region.
fn demand(partition: u8, gpa: u64, size: u64, hpa: u64) -> Demand<'static> {
    Demand {
        owner: owner(partition),
        size,
        hpa,
        gpa,
        modulus: BLOCK_2M_BYTES,
    }
}

fn all_demands<'a>(payload: &Payload<'a>, pool_bytes: u64) -> Vec<Demand<'a>> {
    let mut all = Vec::new();
    each_demand(payload, pool_bytes, &mut |demand| all.push(demand));
    all
}

fn owner(partition: u8) -> Owner<'static> {
    Owner::Region {
        partition: PartitionId(partition),
        name: ["a", "b", "c", "d"][usize::from(partition) % 4],
        region: 0,
    }
}

fn pool(size: u64) -> Demand<'static> {
    Demand {
        owner: Owner::Pool,
        size,
        hpa: ANYWHERE,
        gpa: 0,
        modulus: PAGE_BYTES,
    }
}

/// 128 MiB at 1 GiB, the image 2 MiB in, a reservation of a page and a bit at 64 MiB.
const MEMORY: [Range; 1] = [match Range::new(0x4000_0000, 128 * MIB) {
    Some(range) => range,
    None => panic!(),
}];

fn reserved() -> [Reserved<'static>; 1] {
    [Reserved {
        range: range(0x4400_0000, 0x1e4f),
        by: ReservedBy::Tree,
    }]
}

/// Places on that ground.
fn placed_on_virt(demands: &[Demand<'static>]) -> (Vec<u64>, Vec<String>) {
    let reserved = reserved();
    let ground = Ground {
        memory: &MEMORY,
        reserved: &reserved,
        hypervisor: range(0x4020_0000, 0x3f_f000),
    };
    let mut places = vec![0; demands.len()];
    let mut violations = Vec::new();
    let count = place(
        &ground,
        demands.iter().copied(),
        &mut places,
        &mut |violation| {
            violations.push(violation.to_string());
        },
    );
    assert_eq!(count, violations.len());
    (places, violations)
}

#[test]
fn fills_gaps_from_the_lowest_address() {
    let demands = [
        pool(0x1_0000),
        demand(0, 0x4000_0000, 2 * MIB, ANYWHERE),
        demand(1, 0x4000_0000, 60 * MIB, ANYWHERE),
        demand(2, 0x4000_0000, 16 * MIB, ANYWHERE),
    ];
    let (places, violations) = placed_on_virt(&demands);
    assert_eq!(violations, [""; 0]);
    // The image ends at 0x405f_efff, so 0x4060_0000 is next; 60 MiB fit behind the tree alone.
    assert_eq!(places, [0x4000_0000, 0x4060_0000, 0x4420_0000, 0x4080_0000]);
}

#[test]
fn keeps_the_guest_address_modulo_2_mib() {
    let demands = [
        demand(0, 0x4000_3000, 0x1000, ANYWHERE),
        demand(1, 0x401f_f000, 0x2000, ANYWHERE),
        demand(2, 0x4010_0000, 0x1000, ANYWHERE),
    ];
    let (places, violations) = placed_on_virt(&demands);
    assert_eq!(violations, [""; 0]);
    assert_eq!(places, [0x4000_3000, 0x405f_f000, 0x4010_0000]);
}

#[test]
fn fixed_places_go_first() {
    let demands = [
        pool(0x1000),
        demand(0, 0, 2 * MIB, ANYWHERE),
        demand(1, 0, 2 * MIB, 0x4000_0000),
    ];
    let (places, violations) = placed_on_virt(&demands);
    assert_eq!(violations, [""; 0]);
    assert_eq!(places, [0x405f_f000, 0x4060_0000, 0x4000_0000]);
}

#[test]
fn reports_every_violation_with_both_parties() {
    let demands = [
        demand(0, 0, 4 * MIB, 0x3fe0_0000),
        demand(1, 0, 4 * MIB, 0x4020_0000),
        demand(2, 0, 4 * MIB, 0x4040_0000),
        demand(3, 0, 2 * MIB, 0x4400_0000),
        demand(0, 0x1000, 0x1000, 0x4700_0000),
        demand(1, 0, 0x1000, !0x1fff),
        demand(2, 0, 0x2000, !0xfff),
        demand(3, 0, 120 * MIB, ANYWHERE),
    ];
    let (places, violations) = placed_on_virt(&demands);
    let wanted = [
        "a's memory 0 is fixed at 0x3fe00000..=0x401fffff, which is not all RAM of this board",
        "b's memory 0 is fixed at 0x40200000..=0x405fffff, which overlaps bulkhead's image and payload at 0x40200000..=0x405fefff",
        "c's memory 0 is fixed at 0x40400000..=0x407fffff, which overlaps bulkhead's image and payload at 0x40200000..=0x405fefff",
        "c's memory 0 is fixed at 0x40400000..=0x407fffff, which overlaps b's memory 0 at 0x40200000..=0x405fffff",
        "d's memory 0 is fixed at 0x44000000..=0x441fffff, which overlaps 0x44000000..=0x44001e4e (the device tree itself)",
        "a's memory 0 is fixed at 0x47000000, which must agree with its guest address 0x1000 modulo 0x200000",
        "b's memory 0 is fixed at 0xffffffffffffe000, which must agree with its guest address 0x0 modulo 0x200000",
        "b's memory 0 is fixed at 0xffffffffffffe000..=0xffffffffffffefff, which is not all RAM of this board",
        "c's memory 0 cannot be 0x2000 bytes at 0xfffffffffffff000",
        "no room for d's memory 0: 0x7800000 bytes, the largest gap left has 0x3800000",
    ];
    assert_eq!(violations, wanted);
    assert_eq!(places[7], ANYWHERE);
}

#[test]
fn the_image_is_refused_where_something_is_reserved() {
    let hypervisor = range(0x4020_0000, 0x1_0000);
    let says = |start, size, by| {
        let ground = Ground {
            memory: &MEMORY,
            reserved: &[Reserved {
                range: range(start, size),
                by,
            }],
            hypervisor,
        };
        let mut said = Vec::new();
        let count = place(&ground, core::iter::empty(), &mut [], &mut |violation| {
            said.push(violation.to_string());
        });
        assert_eq!(count, said.len());
        said
    };
    let overlaps = "bulkhead's image and payload at 0x40200000..=0x4020ffff overlap ";
    let cases = [
        (
            (0x4020_0000, 1, ReservedBy::Block),
            "0x40200000..=0x40200000 (/memreserve/ of the device tree): load the image elsewhere",
        ),
        (
            (0x4000_0000, 8 * MIB, ReservedBy::Node("secure@40000000")),
            "0x40000000..=0x407fffff (/reserved-memory/secure@40000000): load the image elsewhere",
        ),
        (
            (0x4020_f000, 0x1000, ReservedBy::SpinTable),
            "0x4020f000..=0x4020ffff (a spin table): load the image elsewhere",
        ),
        (
            (0x4020_ffff, 0x2000, ReservedBy::Tree),
            "0x4020ffff..=0x40211ffe (the device tree itself): load one of them elsewhere",
        ),
    ];
    for ((start, size, by), words) in cases {
        assert_eq!(says(start, size, by), [format!("{overlaps}{words}")]);
    }
    // What lies just before and just behind it.
    for (start, size) in [(0x401f_f000, 0x1000), (0x4021_0000, 0x1000)] {
        assert_eq!(says(start, size, ReservedBy::Block), [""; 0]);
    }
}

#[test]
fn reports_more_demands_than_there_is_room_for() {
    let ground = Ground {
        memory: &MEMORY,
        reserved: &[],
        hypervisor: range(0x4020_0000, 0x1000),
    };
    let demands = [pool(0x1000), pool(0x1000)];
    let mut violations = Vec::new();
    let count = place(&ground, demands.into_iter(), &mut [0], &mut |violation| {
        violations.push(violation);
    });
    let (found, limit) = (2, 1);
    assert_eq!(violations, [Violation::TooMany { found, limit }]);
    assert_eq!(count, 1);
}

#[test]
fn demands_follow_the_table() {
    let mut sample = Sample::new();
    let mut second = sample.partitions[0];
    second.name = name("loop");
    sample.partitions.push(second);
    let words = sample.build();
    let payload = Payload::new(words.as_bytes()).unwrap();
    // Two pCPUs, of which one needs a stack; limits, for there is a time window: 2 * 1792 for them, 2 * 320 for the vCPUs, 32
    // for it. Each partition: itself, one vCPU, a region, banks up to its device's interrupt, and four tables: the root,
    // level 2 for memory, level 2 and 3 for the window. In whole pages.
    let bytes = pool_bytes(&payload, 2, 1);
    let fixed = 7168 + 2 * 1536 + 8192 + 2 * 1792 + 2 * 320 + 32;
    let each = 3072 + 2560 + 32 + 2 * 448 + 4 * 4096;
    assert_eq!(
        bytes,
        (fixed + 2 * each as u64).next_multiple_of(PAGE_BYTES)
    );
    let all = all_demands(&payload, bytes);
    assert_eq!(all.len(), 3);
    assert_eq!((all[0].owner, all[0].size), (Owner::Pool, bytes));
    let owner = Owner::Region {
        partition: PartitionId(1),
        name: "loop",
        region: 0,
    };
    assert_eq!((all[2].owner, all[2].size), (owner, 0x20_0000));
    assert_eq!((all[2].gpa, all[2].hpa), (0x4000_0000, ANYWHERE));
}

#[test]
fn the_pool_of_a_table_with_channels_is_whole_pages_too() {
    let mut sample = Sample::new();
    let mut second = sample.partitions[0];
    second.name = name("loop");
    sample.partitions.push(second);
    let side = |partition| SideRecord {
        partition,
        access: 3,
        gpa: 0xc000_0000,
        registers: 0x0b80_0000,
        intid: 40,
        reserved: 0,
    };
    sample.channels.push(ChannelRecord {
        size: 0x1000,
        sides: [side(0), side(1)],
        ..ChannelRecord::default()
    });
    let words = sample.build();
    let payload = Payload::new(words.as_bytes()).unwrap();
    assert_eq!(pool_bytes(&payload, 2, 1) % PAGE_BYTES, 0);
    let last = all_demands(&payload, 0).pop().unwrap();
    assert_eq!((last.size, last.modulus), (0x1000, PAGE_BYTES));
}

#[test]
fn interrupts_of_high_numbers_have_room() {
    let bytes = |intid| {
        let mut sample = Sample::new();
        sample.interrupts[0].intid = intid;
        let words = sample.build();
        pool_bytes(&Payload::new(words.as_bytes()).unwrap(), 1, 0)
    };
    let more = bytes(1019) - bytes(64);
    let banks = 31 - 2;
    assert!(
        more >= banks * size_of::<crate::vgic::SpiBank>() as u64 - PAGE_BYTES,
        "{more}"
    );
}

#[test]
fn limits_fit_what_is_counted_for_them() {
    use crate::sched::{Budget, Limits, windows::Window};
    assert!(size_of::<Limits<'_>>() as u64 <= demand::LIMITS_BYTES);
    assert!(size_of::<Option<Budget>>() as u64 <= demand::BUDGET_BYTES);
    assert!(size_of::<Window>() as u64 <= demand::TIME_WINDOW_BYTES);
}

/// Ranges within 64 pages, so that they meet.
fn small() -> impl Strategy<Value = Range> {
    (0..64_u64, 1..16_u64).prop_map(|(start, pages)| range(start * PAGE_BYTES, pages * PAGE_BYTES))
}

/// Demands of a few pages, some fixed.
fn small_demands() -> impl Strategy<Value = Vec<Demand<'static>>> {
    let one = (0..64_u64, 1..8_u64, prop::option::of(0..64_u64), 0..3_u32);
    prop::collection::vec(one, 0..12).prop_map(|all| {
        let each = all.into_iter().map(|(gpa, pages, fixed, shift)| Demand {
            owner: Owner::Pool,
            size: pages * PAGE_BYTES,
            hpa: fixed.map_or(ANYWHERE, |page| page * PAGE_BYTES),
            gpa: gpa * PAGE_BYTES,
            modulus: PAGE_BYTES << shift,
        });
        each.collect()
    })
}

proptest! {
    #[test]
    fn places_never_overlap_and_the_lowest_is_taken(
        memory in prop::collection::vec(small(), 1..4),
        held in prop::collection::vec(small(), 0..4),
        hypervisor in small(),
        demands in small_demands(),
    ) {
        let reserved: Vec<Reserved<'_>> =
            held.iter().map(|range| Reserved { range: *range, by: ReservedBy::Block }).collect();
        let ground = Ground { memory: &memory, reserved: &reserved, hypervisor };
        let mut places = vec![0; demands.len()];
        let mut seen = Vec::new();
        place(&ground, demands.iter().copied(), &mut places, &mut |violation| seen.push(violation));
        // The oracle: one owner a page.
        let is_memory = |page: u64| memory.iter().any(|range| range.holds(page * PAGE_BYTES));
        let is_held = |page: u64| {
            hypervisor.holds(page * PAGE_BYTES) || held.iter().any(|range| range.holds(page * PAGE_BYTES))
        };
        let mut free: Vec<bool> = (0..96).map(|page| is_memory(page) && !is_held(page)).collect();
        let pages = |at: u64, demand: &Demand<'_>| (at / PAGE_BYTES) as usize..((at + demand.size) / PAGE_BYTES) as usize;
        let mut sound = !held.iter().any(|range| range.overlaps(hypervisor));
        for demand in demands.iter().filter(|demand| demand.hpa != ANYWHERE) {
            let all = pages(demand.hpa, demand);
            sound &= all.clone().all(|page| free[page]);
            sound &= (demand.hpa ^ demand.gpa) & (demand.modulus - 1) == 0;
            free[all].fill(false);
        }
        for (demand, at) in demands.iter().zip(&places).filter(|(demand, _)| demand.hpa == ANYWHERE) {
            let fits = |page: &u64| {
                let at = page * PAGE_BYTES;
                (at ^ demand.gpa) & (demand.modulus - 1) == 0
                    && pages(at, demand).all(|page| free.get(page) == Some(&true))
                    && memory.iter().any(|range| range.contains(Range::new(at, demand.size).unwrap()))
            };
            // Memory may be given in any order, and the first range with room is taken.
            let candidates: Vec<u64> = (0..96).filter(fits).map(|page| page * PAGE_BYTES).collect();
            if *at == ANYWHERE {
                prop_assert!(candidates.is_empty());
                sound = false;
            } else {
                prop_assert!(candidates.contains(at));
                free[pages(*at, demand)].fill(false);
            }
        }
        // A fixed place across two ranges of memory that touch is refused, though the oracle sees one: a board's are
        // joined.
        prop_assert!(sound == seen.is_empty() || memory.len() > 1);
    }
}
