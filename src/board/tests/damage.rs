//! Trees that are cut, flipped or foreign: an error or a strange board, never a panic.

use proptest::prelude::*;

use super::super::samples::Sample;
use super::super::{Board, BoardError, MAX_DEPTH, Tree, TreeError};
use super::devices::add_bus;
use super::refused;
use crate::addr::HostPhysAddr;

#[test]
fn refuses_foreign_and_short_bytes() {
    let header = |bytes: &[u8]| Tree::new(bytes).map(|_| ()).unwrap_err();
    assert_eq!(header(&[]), TreeError::Short { bytes: 0 });
    assert_eq!(header(&[0; 64]), TreeError::Magic { found: 0 });
    let mut bytes = Sample::virt().flatten();
    assert_eq!(header(&bytes[..39]), TreeError::Short { bytes: 39 });
    let cut = bytes.len() - 1;
    assert!(matches!(header(&bytes[..cut]), TreeError::Block { .. }));
    bytes[27] = 18;
    let wanted = TreeError::Version {
        version: 17,
        compatible: 18,
    };
    assert_eq!(header(&bytes), wanted);
}

/// Returns what is wrong with a tree whose structure starts with these words.
fn with_structure(words: &[u32]) -> BoardError<'static> {
    let mut bytes = Sample::virt().flatten();
    for (chunk, word) in bytes[56..].as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *chunk = word.to_be_bytes();
    }
    match Board::read(Tree::new(&bytes).unwrap(), None) {
        Err(BoardError::Tree(error)) => BoardError::Tree(error),
        other => panic!("{other:?}"),
    }
}

#[test]
fn refuses_trees_that_end_within_a_node_or_without_one() {
    let (begin, finish) = (1, 9);
    let wanted = BoardError::Tree(TreeError::Unbalanced);
    assert_eq!(with_structure(&[finish]), wanted);
    assert_eq!(with_structure(&[begin, 0, finish]), wanted);
}

#[test]
fn says_where_a_tree_is_damaged() {
    let token = |found, offset| BoardError::Tree(TreeError::Token { found, offset });
    assert_eq!(with_structure(&[7]), token(7, 0));
    assert_eq!(with_structure(&[1, 0, 8]), token(8, 8));
}

#[test]
fn refuses_trees_that_nest_too_deep() {
    let change = |sample: &mut Sample| {
        let mut path = String::new();
        for _ in 0..MAX_DEPTH {
            path.push_str("/a");
            sample.node(&path, &[], &[]);
        }
    };
    let limit = MAX_DEPTH;
    refused(change, BoardError::Tree(TreeError::Deep { limit }));
}

/// Reads all that can be read from bytes that may be anything.
fn read_all(bytes: &[u8]) {
    let Ok(tree) = Tree::new(bytes) else {
        return;
    };
    let at = Some(HostPhysAddr(0x4400_0000));
    match Board::read(tree, at) {
        Ok(board) => {
            for path in ["dma0", "/soc/dma", "/pl011@9000000", "/"] {
                let _ = board
                    .find_device(&tree, path)
                    .map_err(|error| error.to_string());
            }
        }
        Err(error) => drop(error.to_string()),
    }
}

#[test]
fn truncated_trees_never_panic() {
    let mut sample = Sample::virt();
    add_bus(&mut sample);
    let bytes = sample.flatten();
    for length in 0..bytes.len() {
        read_all(&bytes[..length]);
        // The same with a header that agrees, so that the structure itself is cut.
        let mut cut = bytes[..length].to_vec();
        if let Some(structure) = cut.get_mut(36..40) {
            structure.copy_from_slice(&(length as u32).saturating_sub(56).to_be_bytes());
            read_all(&cut);
        }
    }
}

#[test]
fn flipped_bits_never_panic() {
    let mut sample = Sample::virt();
    add_bus(&mut sample);
    let bytes = sample.flatten();
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        read_all(&damaged);
    }
}

proptest! {
    #[test]
    fn damaged_trees_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut sample = Sample::virt();
        add_bus(&mut sample);
        let mut bytes = sample.flatten();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read_all(&bytes);
    }

    #[test]
    fn foreign_structures_never_panic(words in prop::collection::vec(0_u32..10, 0..200)) {
        let mut bytes = Sample::virt().flatten();
        for (chunk, word) in bytes[56..].as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *chunk = word.to_be_bytes();
        }
        read_all(&bytes);
    }
}
