//! Damaged and foreign device trees.

use super::super::gates::sum;
use super::places::{TREE_AT, with_tree};
use super::{Boot, check_refusal, found, own_lines, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::Outcome;
use crate::session::{Ending, Finished};

/// Trees with flipped bits that are tried; each has the seed of its number. `--long` tries more.
const SEEDS: u64 = 40;
const LONG_SEEDS: u64 = 400;
/// Bits that are flipped anywhere in every other tree: its structure is mostly refused.
const FLIPS: usize = 30;
/// Bits that are flipped in values of properties in the others: what they say is mostly believed or refused one by one.
const VALUE_FLIPS: usize = 4;
/// Nodes whose values stay: the console's and the one that points at it, since a tree that names another console leaves
/// nobody to complain to; the GIC's and the memory's, since an address where nothing answers ends EL2 with an exception.
const SPARED: [&[u8]; 4] = [b"pl011@", b"chosen\0", b"intc@", b"memory@"];
/// Longest time of a start.
const SECONDS: u64 = 20;
/// Offsets in the header of a flattened tree (Devicetree Specification, "Header").
const TOTAL_SIZE_AT: usize = 4;
const STRUCTURE_AT: usize = 8;
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
const DAMAGES: [Damage; 8] = [
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
        name: "start-tree-nowhere",
        reason: "cannot map its inputs",
        // More than the 40 bits of a cortex-a53's physical addresses.
        at: 1 << 44,
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
    let (used, values) = (used_bytes(&good), value_bytes(&good));
    for seed in 0..if args.long { LONG_SEEDS } else { SEEDS } {
        let mut tree = good.clone();
        match seed % 2 {
            0 => flip(&mut tree, &used, seed, FLIPS),
            _ => flip(&mut tree, &values, seed, VALUE_FLIPS),
        }
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

/// Flips bits of the bytes at `places`.
fn flip(tree: &mut [u8], places: &[usize], seed: u64, flips: usize) {
    let mut state = seed;
    for _ in 0..flips {
        let bit = random(&mut state) % (places.len() as u64 * 8).max(1);
        let place = places.get((bit / 8) as usize);
        if let Some(byte) = place.and_then(|at| tree.get_mut(*at)) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

/// Returns the places of all bytes that mean something.
fn used_bytes(tree: &[u8]) -> Vec<usize> {
    (0..(get(tree, STRINGS_AT) + get(tree, STRINGS_SIZE_AT)) as usize).collect()
}

/// Returns the places of the bytes of all properties' values, but for [`SPARED`] nodes (Devicetree Specification, "Structure block").
fn value_bytes(tree: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut spared = false;
    let mut at = get(tree, STRUCTURE_AT) as usize;
    loop {
        match get(tree, at) {
            // A node: its name follows, with a zero at its end.
            1 => {
                let name = tree.get(at + 4..).unwrap_or_default();
                spared = SPARED.iter().any(|spared| name.starts_with(spared));
                at += 4 + name.iter().take_while(|byte| **byte != 0).count() + 1;
            }
            2 | 4 => at += 4,
            // A property: length, name, value.
            3 => {
                let length = get(tree, at + 4) as usize;
                if !spared {
                    places.extend(at + 12..at + 12 + length);
                }
                at += 12 + length;
            }
            _ => return places,
        }
        at = at.next_multiple_of(4);
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

    #[test]
    fn a_seed_flips_the_same_bits_where_it_may() {
        let flipped = |seed| {
            let mut tree = [0; 64];
            flip(&mut tree, &[8, 9, 10, 11, 12], seed, 5);
            tree
        };
        assert_eq!(flipped(1), flipped(1));
        assert_ne!(flipped(1), flipped(2));
        assert_ne!(flipped(1)[8..13], [0; 5]);
        assert_eq!([&flipped(1)[..8], &flipped(1)[13..]].concat(), [0; 59]);
    }

    #[test]
    fn values_are_told_from_structure() {
        let mut tree = vec![0; 80];
        put(&mut tree, STRUCTURE_AT, 40);
        // A node without a name, a property of five bytes, the node's end, the end.
        for (at, word) in [(40, 1), (48, 3), (52, 5), (68, 2), (72, 9)] {
            put(&mut tree, at, word);
        }
        assert_eq!(value_bytes(&tree), [60, 61, 62, 63, 64]);
    }

    #[test]
    fn a_text_is_replaced_wherever_it_stands() {
        let mut tree = b"a,gic\0b,gic\0gi".to_vec();
        replace(&mut tree, b"gic", b"GIC");
        assert_eq!(tree, b"a,GIC\0b,GIC\0gi");
    }
}
