//! The tables that ship.

use bulkhead::config::payload::Payload;
use bulkhead_platforms::{cpus_needed, platform_named_in};

use crate::board::Board;
use crate::{Bench, qemu_virt};

/// Copies bytes to an address that is a multiple of 8, as EL2 has them.
pub fn aligned(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.collect()
}

#[test]
fn every_table_that_ships_is_good_on_small_and_large_boards() {
    let mut bench = Bench::new("shipped");
    let platform = qemu_virt();
    let tables = platform.tables();
    assert!(tables.len() >= 10, "{tables:?}");
    for name in tables {
        let table = platform.table(&name);
        let cpus = cpus_needed(&table).unwrap_or(2);
        let mut payloads = Vec::new();
        for memory in [512 << 20, 1 << 30, 8 << 30] {
            let board = Board {
                cpus,
                memory,
                ..Board::default()
            };
            let system = match bench.compile(&table, &platform, &board) {
                Ok(system) => system,
                Err(list) => panic!("{name}: {}", list.render(false)),
            };
            let words = aligned(system.payload());
            let bytes = zerocopy::IntoBytes::as_bytes(words.as_slice());
            let payload = Payload::new(bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert_eq!(payload.partitions().len(), system.partition_names().len());
            assert_eq!(payload.platform(), "qemu-virt");
            assert_eq!(platform_named_in(&table).as_deref(), Some("qemu-virt"));
            payloads.push(system.payload().to_vec());
        }
        payloads.dedup();
        assert_eq!(
            payloads.len(),
            1,
            "{name}: the image depends on how much RAM there is"
        );
    }
}

#[test]
fn default_table_is_reported_in_narrow_lines() {
    let mut bench = Bench::new("report");
    let platform = qemu_virt();
    let system = bench
        .compile(&platform.table("default"), &platform, &Board::default())
        .unwrap_or_else(|list| panic!("{}", list.render(false)));
    let report = system.report();
    // How wide a column is depends on what else stands in it.
    let words: Vec<&str> = report.split_whitespace().collect();
    let squeezed = words.join(" ");
    let has = |line: &str| assert!(squeezed.contains(line), "no {line:?} in\n{report}");
    has("2 CPUs, 1 GiB of RAM, GICv3; 2 partitions");
    has("shared by loop and linux");
    has("0x40200000..=0x4023ffff 256 KiB EL2: image");
    has("INTID 34 (SPI 2) level linux: /pl031@9010000");
    has("Partition `linux` sees");
    has("64 KiB channel pendulum: shared memory");
    assert!(report.lines().all(|line| line.chars().count() <= 110));
}
