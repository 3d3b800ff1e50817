//! A board's device tree.

use bulkhead::addr::HostPhysAddr;
use bulkhead::board::{Board, MAX_MEMORY, Tree};

use super::board;

/// Reads a tree as start-up does, checks what it is promised, and looks devices up.
pub fn run(bytes: &[u8]) {
    let at = HostPhysAddr(0x4400_0000);
    let tree = match Tree::new(bytes) {
        Ok(tree) => tree,
        Err(error) => return drop(error.to_string()),
    };
    let board = match Board::read(tree, Some(at)) {
        Ok(board) => board,
        Err(error) => return drop(error.to_string()),
    };
    assert!(!board.cpus.is_empty());
    assert!(board.memory.len() <= MAX_MEMORY);
    for pair in board.memory.windows(2) {
        let [one, next] = pair else { continue };
        // Sorted, and joined where they touch.
        assert!(one.last() < next.start() - 1, "{one:?} {next:?}");
    }
    for (cpu, position) in board.cpus.iter().zip(0..) {
        let found = board.pcpu_of(cpu.mpidr);
        assert!(found.is_some_and(|found| found.0 <= position));
    }
    for path in [
        "rtc0",
        "/soc/dma@1000",
        "/soc/dma",
        "/pl031@9010000",
        "/",
        "",
        "//",
        "x",
    ] {
        match board.find_device(&tree, path) {
            Ok(device) => drop(format!("{device:?}")),
            Err(error) => drop(error.to_string()),
        }
    }
}

/// Makes boards of several kinds, and cut ones.
pub fn seeds() -> Vec<Vec<u8>> {
    let trees = [
        board::tree(1, 1 << 29),
        board::tree(2, 1 << 30),
        board::tree(8, 8 << 30),
        board::with_bus(),
    ];
    let mut seeds: Vec<Vec<u8>> = trees.iter().map(|tree| tree.to_dtb()).collect();
    let mut cut = seeds[0].clone();
    cut.truncate(seeds[0].len() / 2);
    seeds.push(cut);
    seeds
}
