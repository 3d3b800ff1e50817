//! A board whose CPUs stand in two clusters, as a big.LITTLE has them: the affinity fields count, not the numbers.

use bulkhead::board::{Board, Tree};

use super::places::{TREE_AT, with_tree};
use super::{Boot, found, machine, target};
use crate::args::{Machine, Test};
use crate::commands::test::Found;
use crate::failure::{Failure, Outcome};
use crate::session::Ending;
use crate::system::build_for;
use crate::workspace::root;

/// CPUs of QEMU's board, sixteen to a cluster, and those that the tree keeps: two of each cluster.
const CPUS: u32 = 18;
const LEFT_OUT: std::ops::Range<u32> = 2..16;
/// The affinities of those.
const LEFT: [u64; 4] = [0, 1, 0x100, 0x101];
/// Tokens and the property of a device tree that say what is a CPU (Devicetree Specification, "Flattened Devicetree
/// (DTB) Format").
const BEGIN_NODE: u32 = 1;
const PROPERTY: u32 = 3;
const CPU: &[u8] = b"cpu\0";
/// What the four vCPUs say that see each other and wake each other, and the line of the table that EL2 prints.
const UNTIL: &str = "smp:^DONE \\d+ passed 0 failed";
const PCPUS: &str = "pCPUs 0 1 2 3";
/// Longest time.
const SECONDS: u64 = 120;

/// Runs the checks of four vCPUs, two in each cluster.
pub fn two(args: &Test) -> Outcome<Found> {
    let name = "start-two-clusters";
    let table = root().join("tests/systems/smp-4.toml");
    let target = target(args, &table.to_string_lossy());
    let machine = Machine {
        cpus: Some(CPUS),
        ..machine(args)
    };
    let built = build_for(&target, &machine, &|tree| {
        leave_out(tree);
    })?;
    let mut tree = built.qemu_board()?.device_tree()?;
    leave_out(&mut tree);
    let left = affinities(&tree);
    if left != LEFT {
        let what = format!("the tree has CPUs {left:x?}, not {LEFT:x?}");
        return Err(Failure::failed(&what));
    }
    let names = built.names();
    let finished = Boot {
        until: Some(UNTIL),
        seconds: SECONDS,
        ..Boot::new(name, with_tree(&built, name, &tree, TREE_AT)?, &names)
    }
    .run(args)?;
    let mut wrong = Vec::new();
    if finished.ending != Ending::Matched {
        wrong.push(format!("its checks did not pass: {:?}", finished.ending));
    }
    let lines = &finished.transcript.lines;
    if !lines.iter().any(|line| line.text.contains(PCPUS)) {
        wrong.push(format!("EL2 does not say `{PCPUS}`"));
    }
    Ok(found(name, &finished, wrong))
}

/// Makes the CPUs in the middle something else.
fn leave_out(tree: &mut [u8]) {
    for cpu in LEFT_OUT {
        // What was not found is still there, as who counts sees.
        let _ = hide(tree, cpu);
    }
}

/// Returns the affinities of the CPUs that EL2 finds in a tree.
fn affinities(tree: &[u8]) -> Vec<u64> {
    let board = Tree::new(tree)
        .ok()
        .and_then(|tree| Board::read(tree, None).ok());
    let cpus = board.iter().flat_map(|board| &board.cpus);
    cpus.map(|cpu| cpu.mpidr.raw()).collect()
}

/// Makes the node of one CPU that of something else. QEMU numbers them.
fn hide(tree: &mut [u8], cpu: u32) -> Option<()> {
    let mut node = BEGIN_NODE.to_be_bytes().to_vec();
    node.extend(format!("cpu@{cpu}\0").bytes());
    let start = position(tree, &node, 0)?;
    *tree.get_mut(start + BEGIN_NODE.to_be_bytes().len())? = b'x';
    // `device_type` alone has this value of four bytes.
    let mut from = start;
    loop {
        let value = position(tree, CPU, from)?;
        let length = value.checked_sub(8).and_then(|at| tree.get(at..at + 4));
        let token = value.checked_sub(12).and_then(|at| tree.get(at..at + 4));
        if length == Some(&4_u32.to_be_bytes()) && token == Some(&PROPERTY.to_be_bytes()) {
            *tree.get_mut(value)? = b'x';
            return Some(());
        }
        from = value + 1;
    }
}

/// Returns where a pattern stands behind a place.
fn position(tree: &[u8], pattern: &[u8], from: usize) -> Option<usize> {
    let rest = tree.get(from..)?;
    let at = rest.windows(pattern.len()).position(|at| at == pattern)?;
    Some(from + at)
}
