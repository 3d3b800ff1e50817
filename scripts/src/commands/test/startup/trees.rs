//! Damaged and foreign device trees.

use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use super::super::gates::sum;
use super::places::{TREE_AT, with_tree};
use super::{Boot, check_refusal, found, own_lines, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::Outcome;
use crate::session::{Ending, Finished};
use crate::workspace::root;

/// Trees with flipped bits that are tried; each has the seed of its number. `--long` tries more.
const SEEDS: u64 = 40;
const LONG_SEEDS: u64 = 400;
/// Bits that are flipped anywhere in every other tree: its structure is mostly refused.
const FLIPS: usize = 30;
/// Bits that are flipped in values of properties in the others: what they say is mostly believed or refused one by one.
const VALUE_FLIPS: usize = 4;
/// Longest time of a start.
const SECONDS: u64 = 20;
/// Offsets in the header of a flattened tree (Devicetree Specification, "Header").
const TOTAL_SIZE_AT: usize = 4;
const STRUCTURE_AT: usize = 8;
const STRINGS_AT: usize = 12;
const RESERVATIONS_AT: usize = 16;
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
const DAMAGES: [Damage; 21] = [
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
    Damage {
        name: "start-tree-foreign-console",
        reason: "the console is pl011@9000000, of a kind that bulkhead does not know (arm,pl099)",
        at: TREE_AT,
        how: |tree| replace(tree, b"arm,pl011", b"arm,pl099"),
    },
    Damage {
        name: "start-tree-console-elsewhere",
        reason: "no PL011 answers at 0xb000000, where the device tree has the console pl011@9000000",
        at: TREE_AT,
        how: |tree| move_registers(tree, (0x900_0000, 0x1000), (0xb00_0000, 0x1000)),
    },
    Damage {
        name: "start-tree-console-in-memory",
        reason: "the console's UART at 0x49000000..=0x49000fff",
        at: TREE_AT,
        how: |tree| move_registers(tree, (0x900_0000, 0x1000), (0x4900_0000, 0x1000)),
    },
    Damage {
        name: "start-tree-console-interrupt",
        reason: "the console has INTID 36 (SPI 4), level-sensitive",
        at: TREE_AT,
        how: |tree| replace(tree, &cells([0, 1, 4]), &cells([0, 4, 4])),
    },
    Damage {
        name: "start-tree-memory-elsewhere",
        reason: "the image with its payload at 0x50000000..=",
        at: TREE_AT,
        how: |tree| move_registers(tree, (0x4000_0000, 0x4000_0000), (0x8000_0000, 0x4000_0000)),
    },
    // The image fits, and hardly anything more: EL2's pool does not.
    Damage {
        name: "start-tree-little-memory",
        reason: "no room for bulkhead's own memory: ",
        at: TREE_AT,
        how: |tree| move_registers(tree, (0x4000_0000, 0x4000_0000), (0x5000_0000, 0x5_0000)),
    },
    Damage {
        name: "start-tree-invented-memory",
        reason: "no memory answers at 0x30000000, where bulkhead's own memory is to be",
        at: TREE_AT,
        how: |tree| move_registers(tree, (0x4000_0000, 0x4000_0000), (0x3000_0000, 0x5000_0000)),
    },
    // A page of the image itself.
    Damage {
        name: "start-tree-reserves-image",
        reason: " overlap 0x50001000..=0x50001fff (/memreserve/ of the device tree): load the image elsewhere",
        at: TREE_AT,
        how: |tree| reserve(tree, 0x5000_1000, 0x1000),
    },
    Damage {
        name: "start-tree-spin-table-in-image",
        reason: " overlap 0x50001000..=0x50001fff (a spin table): load the image elsewhere",
        at: TREE_AT,
        how: |tree| add_poller(tree, 0x5000_1fd8),
    },
    Damage {
        name: "start-tree-spin-table-in-distributor",
        reason: "among the registers of the interrupt controller at 0x8000000..=0x800ffff",
        at: TREE_AT,
        how: |tree| add_poller(tree, 0x800_0008),
    },
    Damage {
        name: "start-tree-distributor-nowhere",
        reason: "no GICv3 distributor answers at 0xf000000",
        at: TREE_AT,
        how: |tree| move_registers(tree, (0x800_0000, 0x1_0000), (0xf00_0000, 0x1_0000)),
    },
    Damage {
        name: "start-tree-distributor-in-memory",
        reason: "the interrupt controller at 0x48000000..=0x4800ffff",
        at: TREE_AT,
        how: |tree| move_registers(tree, (0x800_0000, 0x1_0000), (0x4800_0000, 0x1_0000)),
    },
    Damage {
        name: "start-tree-redistributors-nowhere",
        reason: "no GICv3 redistributor answers at 0xf0a0000",
        at: TREE_AT,
        how: |tree| move_registers(tree, (0x80a_0000, 0xf6_0000), (0xf0a_0000, 0xf6_0000)),
    },
];

/// Memory that is invented in front of the board's, and parted from it: a channel's memory fits there, EL2's pool does not.
const INVENTED_CHANNEL: Damage = Damage {
    name: "start-tree-invented-channel",
    reason: "no memory answers at 0x3ffff000, where channel bell is to be",
    at: TREE_AT,
    how: |tree| {
        move_registers(tree, (0x4000_0000, 0x4000_0000), (0x3fff_f000, 0x4000_1000));
        reserve(tree, 0x4000_0000, 0x1000);
    },
};

/// Starts with each damage.
pub fn refused(args: &Test) -> Outcome<Found> {
    let channels = root().join("tests/systems/bells-one.toml");
    Ok(sum([
        start_with(args, "hello", &DAMAGES)?,
        start_with(args, &channels.to_string_lossy(), &[INVENTED_CHANNEL])?,
    ]))
}

/// Starts a table's system with each damage.
fn start_with(args: &Test, table: &str, damages: &[Damage]) -> Outcome<Found> {
    let built = system(args, table)?;
    let good = built.qemu_board()?.device_tree()?;
    let names = built.names();
    let mut all = Vec::new();
    for damage in damages {
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
    (0..used_end(tree)).collect()
}

/// Returns where the strings end, behind which QEMU's tree has nothing.
fn used_end(tree: &[u8]) -> usize {
    (get(tree, STRINGS_AT) + get(tree, STRINGS_SIZE_AT)) as usize
}

/// Gives the tree another memory reservation block, with one entry.
fn reserve(tree: &mut [u8], address: u32, size: u32) {
    let at = used_end(tree).next_multiple_of(8);
    for (word, value) in cells([0, address, 0, size]).chunks_exact(4).enumerate() {
        if let Some(place) = tree.get_mut(at + 4 * word..at + 4 * word + 4) {
            place.copy_from_slice(value);
        }
    }
    put(tree, RESERVATIONS_AT, at as u32);
}

/// Gives the tree one more CPU, which polls a word.
fn add_poller(tree: &mut Vec<u8>, word: u64) {
    let Ok(read) = Fdt::new(tree) else {
        return;
    };
    let mut nodes = DeviceTree::from_fdt(&read);
    let mut poller = DeviceTreeNode::new_unchecked("cpu@f");
    for (name, value) in [
        ("device_type", b"cpu\0".as_slice()),
        ("compatible", b"arm,cortex-a53\0".as_slice()),
        ("reg", cells([15]).as_slice()),
        ("enable-method", b"spin-table\0".as_slice()),
        ("cpu-release-addr", word.to_be_bytes().as_slice()),
    ] {
        poller.add_property(DeviceTreeProperty::new_unchecked(name, value));
    }
    if let Some(cpus) = nodes.root.child_mut("cpus") {
        cpus.add_child(poller);
    }
    *tree = nodes.to_dtb();
}

/// Returns the places of the bytes of all properties' values (Devicetree Specification, "Structure block").
fn value_bytes(tree: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = get(tree, STRUCTURE_AT) as usize;
    loop {
        match get(tree, at) {
            // A node: its name follows, with a zero at its end.
            1 => {
                let name = tree.get(at + 4..).unwrap_or_default();
                at += 4 + name.iter().take_while(|byte| **byte != 0).count() + 1;
            }
            2 | 4 => at += 4,
            // A property: length, name, value.
            3 => {
                let length = get(tree, at + 4) as usize;
                places.extend(at + 12..at + 12 + length);
                at += 12 + length;
            }
            _ => return places,
        }
        at = at.next_multiple_of(4);
    }
}

/// Returns the next number of a sequence (SplitMix64).
pub fn random(state: &mut u64) -> u64 {
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

/// Returns numbers as a tree's cells.
fn cells<const N: usize>(cells: [u32; N]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

/// Moves registers or memory, address and size of two cells each, to another place.
pub fn move_registers(tree: &mut [u8], from: (u32, u32), to: (u32, u32)) {
    let words = |(address, size)| cells([0, address, 0, size]);
    replace(tree, &words(from), &words(to));
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
