//! The device tree that was handed over: its properties, one after the other.
//!
//! # Source
//! Devicetree Specification, "Flattened Devicetree (DTB) Format".

use guest_channel::tree::total_size;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;
/// Deepest node that is told of.
const DEPTH: usize = 8;

/// Returns the device tree's bytes, none when there is no tree.
pub fn bytes() -> &'static [u8] {
    let at = crate::start::device_tree() as usize as *const u8;
    if at.is_null() {
        return &[];
    }
    // SAFETY: x0 held the address of a tree at entry, whose header is 40 bytes; this program does not write there.
    let first = unsafe { core::slice::from_raw_parts(at, 8) };
    match total_size(first) {
        // SAFETY: as above; the header tells the tree's size.
        Some(bytes) => unsafe { core::slice::from_raw_parts(at, bytes) },
        None => &[],
    }
}

/// A property of a node.
#[derive(Clone, Copy, Debug)]
pub struct Property {
    /// The node's name, its address included.
    pub node: &'static str,
    /// The name of the node that it lies in.
    pub parent: &'static str,
    /// How deep the node lies: 0 is the root.
    pub depth: usize,
    /// The property's name.
    pub name: &'static str,
    /// Its value.
    pub value: &'static [u8],
}

impl Property {
    /// Returns the 32-bit cell at `index`.
    pub fn cell(&self, index: usize) -> Option<u32> {
        word(self.value, index * 4)
    }

    /// Returns the 64-bit number in the cells at `index` and behind it.
    pub fn long(&self, index: usize) -> Option<u64> {
        Some(u64::from(self.cell(index)?) << 32 | u64::from(self.cell(index + 1)?))
    }

    /// Says whether one of the value's strings is `text`.
    pub fn has(&self, text: &str) -> bool {
        self.value
            .split(|byte| *byte == 0)
            .any(|one| one == text.as_bytes())
    }
}

/// Lists all properties in the order of the tree, as far as it can be read.
pub fn properties() -> impl Iterator<Item = Property> {
    let tree = bytes();
    let mut names = [""; DEPTH + 1];
    // The depth of the node that is open, plus 1.
    let mut depth = 0;
    let mut at = word(tree, 8).unwrap_or(0) as usize;
    let strings = word(tree, 12).unwrap_or(0) as usize;
    core::iter::from_fn(move || {
        loop {
            let token = word(tree, at)?;
            at += 4;
            match token {
                BEGIN_NODE => {
                    let name = text(tree, at)?;
                    at = (at + name.len() + 1).next_multiple_of(4);
                    *names.get_mut(depth)? = name;
                    depth += 1;
                }
                END_NODE => depth = depth.checked_sub(1)?,
                PROPERTY => {
                    let length = word(tree, at)? as usize;
                    let name = text(tree, strings + word(tree, at + 4)? as usize)?;
                    let value = tree.get(at + 8..at + 8 + length)?;
                    at = (at + 8 + length).next_multiple_of(4);
                    let depth = depth.checked_sub(1)?;
                    return Some(Property {
                        node: names.get(depth)?,
                        parent: depth
                            .checked_sub(1)
                            .and_then(|up| names.get(up))
                            .unwrap_or(&""),
                        depth,
                        name,
                        value,
                    });
                }
                NOTHING => {}
                _ => return None,
            }
        }
    })
}

/// Reads a big-endian word.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

/// Reads a text up to its zero.
fn text(bytes: &'static [u8], at: usize) -> Option<&'static str> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    core::str::from_utf8(rest.get(..end)?).ok()
}
