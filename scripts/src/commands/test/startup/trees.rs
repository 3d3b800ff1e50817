//! Damaged and foreign device trees.

use super::super::gates::sum;
use super::places::{TREE_AT, with_tree};
use super::{Boot, check_refusal, found, own_lines, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::Outcome;
use crate::session::{Ending, Finished};

/// Trees with flipped bits that are tried; each has the seed of its number. `--long` tries more.
const SEEDS: u64 = 36;
const LONG_SEEDS: u64 = 400;
/// Bits that are flipped in each.
const FLIPS: usize = 30;
/// Longest time of a start.
const SECONDS: u64 = 20;
/// Offsets in the header of a flattened tree (Devicetree Specification, "Header").
const TOTAL_SIZE_AT: usize = 4;
const STRINGS_AT: usize = 12;
const VERSION_AT: usize = 20;
const COMPATIBLE_VERSION_AT: usize = 24;
const STRINGS_SIZE_AT: usize = 32;

/// A way to damage a tree.
struct Damage {
    name: &'static str,
    /// What the refusal says.
    reason: &'static str,
    /// Where x0 points.
    at: u64,
    how: fn(&mut Vec<u8>),
}

/// All damages that have a refusal of their own.
const DAMAGES: [Damage; 7] = [
    Damage {
        name: "start-tree-of-zeros",
        reason: "it starts with 0x00000000 instead of 0xd00dfeed",
        at: TREE_AT,
        how: |tree| tree.fill(0),
    },
    Damage {
        name: "start-tree-wrong-magic",
        reason: "it starts with 0xd00dfeec instead of 0xd00dfeed",
        at: TREE_AT,
        how: |tree| put(tree, 0, 0xd00d_feec),
    },
    Damage {
        name: "start-tree-misaligned",
        reason: "the device tree at 0x61000004 is not on a multiple of 8 bytes",
        at: TREE_AT + 4,
        how: |_| {},
    },
    Damage {
        name: "start-tree-cut-off",
        reason: "the device tree is damaged: unexpected token",
        at: TREE_AT,
        how: |tree| {
            if let Some(rest) = tree.get_mut(1200..) {
                rest.fill(0);
            }
        },
    },
    Damage {
        name: "start-tree-too-short",
        reason: "does not fit into its 0x4b0 bytes",
        at: TREE_AT,
        how: |tree| put(tree, TOTAL_SIZE_AT, 1200),
    },
    Damage {
        name: "start-tree-too-new",
        reason: "the device tree has version 99 (compatible with 99), 17 is needed",
        at: TREE_AT,
        how: |tree| {
            put(tree, VERSION_AT, 99);
            put(tree, COMPATIBLE_VERSION_AT, 99);
        },
    },
    Damage {
        name: "start-tree-without-gic",
        reason: "the device tree has no interrupt controller that Bulkhead knows",
        at: TREE_AT,
        how: |tree| replace(tree, b"arm,gic-v3", b"arm,gic-v9"),
    },
];

/// Starts with each damage.
pub fn refused(args: &Test) -> Outcome<Found> {
    let built = system(args, "hello")?;
    let good = built.qemu_board()?.device_tree()?;
    let names = built.names();
    let mut all = Vec::new();
    for damage in &DAMAGES {
        let mut tree = good.clone();
        (damage.how)(&mut tree);
        let command = with_tree(&built, damage.name, &tree, damage.at)?;
        let finished = Boot::new(damage.name, command, &names).run(args)?;
        let wrong = check_refusal(&finished, &[damage.reason]);
        all.push(found(damage.name, &finished, wrong));
    }
    Ok(sum(all))
}

/// Starts with flipped bits.
pub fn flipped(args: &Test) -> Outcome<Found> {
    let built = system(args, "hello")?;
    let good = built.qemu_board()?.device_tree()?;
    let names = built.names();
    let mut all = Vec::new();
    for seed in 0..if args.long { LONG_SEEDS } else { SEEDS } {
        let mut tree = good.clone();
        flip(&mut tree, seed);
        let name = format!("start-flipped-{seed}");
        let mut boot = Boot::new(&name, with_tree(&built, &name, &tree, TREE_AT)?, &names);
        (boot.until, boot.seconds) = (Some("hello:^line 1 of 100$"), SECONDS);
        let finished = boot.run(args)?;
        all.push(found(&name, &finished, check_either(&finished)));
    }
    Ok(sum(all))
}

/// Says what is wrong with a start that may be refused.
fn check_either(finished: &Finished) -> Vec<String> {
    match finished.ending {
        Ending::Matched => Vec::new(),
        Ending::NotStarted => check_refusal(finished, &[]),
        _ => {
            let last = own_lines(finished).last().map(|line| (*line).to_owned());
            vec![format!(
                "neither started nor refused: {:?}, {last:?}",
                finished.ending
            )]
        }
    }
}

/// Flips bits of the tree's used part.
fn flip(tree: &mut [u8], seed: u64) {
    let end = get(tree, STRINGS_AT) + get(tree, STRINGS_SIZE_AT);
    let mut state = seed;
    for _ in 0..FLIPS {
        let at = random(&mut state) % (u64::from(end) * 8);
        if let Some(byte) = tree.get_mut((at / 8) as usize) {
            *byte ^= 1 << (at % 8);
        }
    }
}

/// Returns the next number of a sequence (SplitMix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Returns a word of the header.
fn get(tree: &[u8], at: usize) -> u32 {
    let word = tree.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    word.map_or(0, u32::from_be_bytes)
}

/// Changes a word of the header.
fn put(tree: &mut [u8], at: usize, word: u32) {
    if let Some(place) = tree.get_mut(at..at + 4) {
        place.copy_from_slice(&word.to_be_bytes());
    }
}

/// Replaces a text by one of the same length, wherever it stands.
fn replace(tree: &mut [u8], old: &[u8], new: &[u8]) {
    for at in 0..tree.len() {
        if let Some(place) = tree.get_mut(at..at + old.len())
            && place == old
        {
            place.copy_from_slice(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header whose strings end at byte 64.
    fn tree() -> Vec<u8> {
        let mut tree = vec![0; 256];
        put(&mut tree, STRINGS_AT, 40);
        put(&mut tree, STRINGS_SIZE_AT, 24);
        tree
    }

    #[test]
    fn a_seed_flips_the_same_bits_of_the_used_part() {
        let good = tree();
        let flipped = |seed| {
            let mut tree = good.clone();
            flip(&mut tree, seed);
            tree
        };
        assert_eq!(flipped(1), flipped(1));
        assert_ne!(flipped(1), flipped(2));
        assert_ne!(flipped(1)[..64], good[..64]);
        assert_eq!(flipped(1)[64..], good[64..]);
    }

    #[test]
    fn a_text_is_replaced_wherever_it_stands() {
        let mut tree = b"a,gic\0b,gic\0gi".to_vec();
        replace(&mut tree, b"gic", b"GIC");
        assert_eq!(tree, b"a,GIC\0b,GIC\0gi");
    }
}
