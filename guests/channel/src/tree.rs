//! Finds a partition's channels in its device tree, children of the root with `compatible = "bulkhead,channel"`, and the
//! registers of those that it manages, `bulkhead,manager`.
//!
//! # Source
//! Devicetree Specification, "Flattened Devicetree (DTB) Format".

/// What the tree says about a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its name.
    pub name: &'a str,
    /// The partner's name.
    pub peer: &'a str,
    /// What calls name it by.
    pub index: u32,
    /// Which half of the memory is this side's, 0 or 1.
    pub side: u8,
    /// This side may write the memory.
    pub writes: bool,
    /// Address of the shared memory.
    pub memory: u64,
    /// Its bytes.
    pub size: u64,
    /// Address of the doorbell registers.
    pub registers: u64,
    /// INTID of the doorbell.
    pub intid: u32,
}

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOTHING: u32 = 4;
/// First INTID of a shared peripheral interrupt.
const FIRST_SPI: u32 = 32;

/// Returns the bytes of a tree that its header says there are, `None` when it is no tree. `first` has 8 bytes at least.
pub fn total_size(first: &[u8]) -> Option<usize> {
    (word(first, 0)? == 0xd00d_feed).then_some(word(first, 4)? as usize)
}

/// Lists the channels of a partition, in the order of their numbers. A tree that cannot be read has none.
pub fn channels(tree: &[u8]) -> impl Iterator<Item = Found<'_>> {
    let mut walk = Walk::new(tree);
    core::iter::from_fn(move || walk.as_mut()?.next_like("bulkhead,channel"))
}

/// Returns the address of the registers of those that a partition manages, and their bytes: a page each. `None` for one
/// that manages nobody.
pub fn manager(tree: &[u8]) -> Option<(u64, u64)> {
    let found = Walk::new(tree)?.next_like("bulkhead,manager")?;
    Some((found.memory, found.size))
}

/// A walk over the tree's structure.
struct Walk<'a> {
    tree: &'a [u8],
    strings: usize,
    at: usize,
    depth: u32,
}

impl<'a> Walk<'a> {
    fn new(tree: &'a [u8]) -> Option<Self> {
        total_size(tree)?;
        Some(Self {
            tree,
            at: word(tree, 8)? as usize,
            strings: word(tree, 12)? as usize,
            depth: 0,
        })
    }

    /// Goes on to the end of the next child of the root of a kind.
    fn next_like(&mut self, compatible: &str) -> Option<Found<'a>> {
        let mut found = None;
        loop {
            let token = word(self.tree, self.at)?;
            self.at += 4;
            match token {
                BEGIN_NODE => {
                    self.at = (self.at + text(self.tree, self.at)?.len() + 1).next_multiple_of(4);
                    self.depth += 1;
                    if self.depth == 2 {
                        found = Some((Found::default(), false));
                    }
                }
                END_NODE => {
                    self.depth = self.depth.checked_sub(1)?;
                    if let (1, Some((channel, true))) = (self.depth, found.take()) {
                        return Some(channel);
                    }
                }
                PROPERTY => {
                    let length = word(self.tree, self.at)? as usize;
                    let name = self
                        .strings
                        .checked_add(word(self.tree, self.at + 4)? as usize)?;
                    let start = self.at + 8;
                    let value = self.tree.get(start..start.checked_add(length)?)?;
                    self.at = (start + length).next_multiple_of(4);
                    if let (2, Some((channel, is_channel))) = (self.depth, &mut found) {
                        *is_channel |= channel.take(text(self.tree, name)?, value, compatible);
                    }
                }
                NOTHING => {}
                _ => return None,
            }
        }
    }
}

impl<'a> Found<'a> {
    /// Takes a property; says whether it marks the node as one of the kind.
    fn take(&mut self, name: &str, value: &'a [u8], compatible: &str) -> bool {
        let number = |at| word(value, at).unwrap_or(0);
        let long = |at| u64::from(number(at)) << 32 | u64::from(number(at + 4));
        match name {
            "compatible" => return text(value, 0) == Some(compatible),
            "label" => self.name = text(value, 0).unwrap_or(""),
            "bulkhead,peer" => self.peer = text(value, 0).unwrap_or(""),
            "bulkhead,channel-index" => self.index = number(0),
            "bulkhead,side" => self.side = number(0) as u8 & 1,
            "bulkhead,access" => self.writes = text(value, 0) == Some("rw"),
            "interrupts" => self.intid = number(4).wrapping_add(FIRST_SPI),
            "reg" => {
                self.memory = long(0);
                self.size = long(8);
                self.registers = long(16);
            }
            _ => {}
        }
        false
    }
}

/// Reads a big-endian word.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(word.try_into().ok()?))
}

/// Reads a text up to its zero.
fn text(bytes: &[u8], at: usize) -> Option<&str> {
    let rest = bytes.get(at..)?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    core::str::from_utf8(rest.get(..end)?).ok()
}
