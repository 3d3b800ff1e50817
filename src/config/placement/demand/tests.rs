use zerocopy::IntoBytes;

use super::super::super::payload::samples::{Sample, name};
use super::super::super::record::{ChannelRecord, SideRecord, Span};
use super::*;

/// Shows the payload of a changed sample.
fn with<R>(change: impl FnOnce(&mut Sample), then: impl FnOnce(&Payload<'_>) -> R) -> R {
    let mut sample = Sample::new();
    change(&mut sample);
    let words = sample.build();
    then(&Payload::new(words.as_bytes()).unwrap())
}

/// Adds a partition `loop` and channels of a size between the two, 4 MiB apart.
fn connect(sample: &mut Sample, count: u32, size: u64) {
    let mut second = sample.partitions[0];
    second.name = name("loop");
    sample.partitions.push(second);
    let side = |partition, index: u32| SideRecord {
        partition,
        access: 3,
        gpa: 0xc000_0000 + u64::from(index) * 0x40_0000,
        registers: 0x0b80_0000 + u64::from(index) * PAGE_BYTES,
        intid: 40 + index,
        reserved: 0,
    };
    sample
        .channels
        .extend((0..count).map(|index| ChannelRecord {
            size,
            sides: [side(0, index), side(1, index)],
            ..ChannelRecord::default()
        }));
}

#[test]
fn limits_take_room_where_a_budget_or_a_window_is() {
    let bytes = |change: fn(&mut Sample)| with(change, |payload| limits_bytes(payload, 3));
    let no_windows = |sample: &mut Sample| sample.pcpus.clear();
    assert_eq!(bytes(no_windows), 0);
    // Three pCPUs, two vCPUs, no window or two.
    let budget = |sample: &mut Sample| {
        sample.pcpus.clear();
        sample.vcpus = vec![sample.vcpus[0]; 2];
        sample.partitions[0].vcpus.count = 2;
        (sample.vcpus[0].budget_ns, sample.vcpus[0].period_ns) = (1_000, 2_000);
    };
    assert_eq!(bytes(budget), 3 * 1792 + 2 * 320);
    let windows = |sample: &mut Sample| {
        sample.vcpus = vec![sample.vcpus[0]; 2];
        sample.partitions[0].vcpus.count = 2;
        let mut second = sample.time_windows[0];
        second.start_ns = 5_000;
        sample.time_windows.push(second);
        sample.pcpus[0].windows.count = 2;
    };
    assert_eq!(bytes(windows), 3 * 1792 + 2 * 320 + 2 * 32);
}

/// 3 KiB, vCPUs, regions, a bank (INTID 34), and tables: the root, level 2 for a GiB with memory, level 2 and 3 for the window.
#[test]
fn a_partition_takes_room_for_all_that_it_has() {
    let bytes = |change: fn(&mut Sample), position: usize| {
        with(change, |payload| {
            partition_bytes(payload, position, &payload.partitions()[position])
        })
    };
    let several = |sample: &mut Sample| {
        sample.vcpus = vec![sample.vcpus[0]; 4];
        sample.partitions[0].vcpus.count = 4;
        for index in 1..3 {
            let mut region = sample.regions[0];
            region.gpa += index << 22;
            sample.regions.push(region);
        }
        sample.partitions[0].regions.count = 3;
    };
    assert_eq!(
        bytes(several, 0),
        3072 + 4 * 2560 + 3 * 32 + 448 + 4 * PAGE_BYTES
    );
    let managed = |sample: &mut Sample| {
        connect(sample, 0, 0);
        sample.partitions[1].manages = 1;
    };
    let plain = 3072 + 2560 + 32 + 448 + 4 * PAGE_BYTES;
    assert_eq!(bytes(managed, 0), plain + 1280);
    assert_eq!(bytes(managed, 1), plain);
    // Memory of whole blocks needs level 2 alone, a page needs level 3 too.
    let blocks = |sample: &mut Sample| connect(sample, 1, 4 << 20);
    let page = |sample: &mut Sample| connect(sample, 1, PAGE_BYTES);
    assert_eq!(bytes(blocks, 1), plain + PAGE_BYTES);
    assert_eq!(bytes(page, 1), plain + 2 * PAGE_BYTES);
}

#[test]
fn a_distributor_reaches_to_the_highest_interrupt_that_is_there() {
    let banks = |change: fn(&mut Sample)| {
        with(change, |payload| {
            spi_banks(payload, 0, &payload.partitions()[0])
        })
    };
    assert_eq!(banks(|_| ()), 1);
    assert_eq!(banks(|sample| sample.partitions[0].console_intid = 64), 2);
    let no_console = |sample: &mut Sample| {
        sample.partitions[0].console_intid = 1000;
        sample.partitions[0].console_model = console_model::NONE;
    };
    assert_eq!(banks(no_console), 1);
    let doorbell = |sample: &mut Sample| {
        connect(sample, 1, PAGE_BYTES);
        sample.channels[0].sides[0].intid = 96;
        sample.channels[0].sides[1].intid = 1019;
    };
    assert_eq!(banks(doorbell), 3);
}

#[test]
fn the_pool_has_room_for_all_in_whole_pages() {
    let change = |sample: &mut Sample| {
        connect(sample, 8, PAGE_BYTES);
        sample.header.trace_bytes = 0x1_0000;
        sample.partitions[1].devices = Span::default();
    };
    with(change, |payload| {
        let partitions: u64 = (0..2)
            .map(|at| partition_bytes(payload, at, &payload.partitions()[at]))
            .sum();
        // From page to page each term is the one that decides, for some number of pCPUs.
        for pcpus in 1..=16 {
            let stacks = pcpus - 1;
            let fixed = 7168 + pcpus * (1536 + ring_bytes(0x1_0000)) + stacks * 8192 + 8 * 64;
            let wanted = fixed + limits_bytes(payload, pcpus) + partitions;
            assert_eq!(
                pool_bytes(payload, pcpus as usize, stacks as usize),
                wanted.next_multiple_of(PAGE_BYTES)
            );
        }
    });
}
