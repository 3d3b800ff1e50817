//! The flattened device tree as a stream of tokens: bounds are checked at every step, nothing is copied, and one
//! pass over the tree both checks and reads it.
//!
//! # Source
//! Devicetree Specification v0.4, chapter "Flattened Devicetree (DTB) Format".

use crate::display_by_show;
use crate::message::{Form, Out, Show, put};

/// First word of every flattened device tree.
const MAGIC: u32 = 0xd00d_feed;
/// Bytes of the header, version 17.
pub const HEADER_BYTES: usize = 40;
/// The layout that this reader knows; a tree names the oldest layout that it still agrees with.
const VERSION: u32 = 17;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Why a flattened device tree cannot be read. Offsets are bytes from the start of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeError {
    /// Fewer bytes than a header has.
    Short {
        /// Bytes that there are.
        bytes: usize,
    },
    /// The first word is something else: this is no device tree.
    Magic {
        /// The word found.
        found: u32,
    },
    /// The layout is newer than version 17 and not compatible with it.
    Version {
        /// Version of the tree.
        version: u32,
        /// Oldest version it is compatible with.
        compatible: u32,
    },
    /// A block that the header names does not lie inside the tree.
    Block {
        /// First byte that the header gives.
        offset: u32,
        /// Bytes that the header gives.
        size: u32,
        /// Bytes that there are.
        bytes: usize,
    },
    /// The structure block ends in the middle of something, or a name in it has no end.
    Truncated {
        /// Where reading stopped, from the start of the structure block.
        offset: usize,
    },
    /// The structure block holds a word that is no token, or a token that may not stand there.
    Token {
        /// The word found.
        found: u32,
        /// Where, from the start of the structure block.
        offset: usize,
    },
    /// A property's name does not lie in the strings block.
    Name {
        /// Offset into the strings block.
        offset: u32,
    },
    /// Nodes do not nest: one ends that never started, or a property stands behind its node's children.
    Unbalanced,
    /// Nodes nest deeper than this reader follows.
    Deep {
        /// Deepest nesting that is followed.
        limit: usize,
    },
}

display_by_show!(TreeError);

impl Show for TreeError {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self {
            Self::Short { bytes } => put(
                out,
                "the device tree has {} bytes, fewer than its header ({})",
                &[bytes, &HEADER_BYTES],
            ),
            Self::Magic { found } => put(
                out,
                "no device tree: it starts with {x8} instead of {x8}; was its address handed over in x0?",
                &[found, &MAGIC],
            ),
            Self::Version {
                version,
                compatible,
            } => put(
                out,
                "the device tree has version {} (compatible with {}), {} is needed: compile it with a current dtc",
                &[version, compatible, &VERSION],
            ),
            Self::Block {
                offset,
                size,
                bytes,
            } => put(
                out,
                "the device tree is damaged: a block of {x} bytes at {x} does not fit into its {x} bytes",
                &[size, offset, bytes],
            ),
            Self::Truncated { offset } => put(
                out,
                "the device tree is cut off: structure block, offset {x}",
                &[offset],
            ),
            Self::Token { found, offset } => put(
                out,
                "the device tree is damaged: unexpected token {x} in the structure block at offset {x}",
                &[found, offset],
            ),
            Self::Name { offset } => put(
                out,
                "the device tree is damaged: a property's name lies at {x}, outside the strings block",
                &[offset],
            ),
            Self::Unbalanced => put(
                out,
                "the device tree is damaged: its nodes do not nest",
                &[],
            ),
            Self::Deep { limit } => {
                put(out, "the device tree nests deeper than {} nodes", &[limit])
            }
        }
    }
}

/// A flattened device tree whose header and blocks are in bounds. Tokens are checked as they are read.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    structure: &'a [u8],
    strings: &'a [u8],
    reservations: &'a [u8],
    used_bytes: usize,
}

/// One step of a walk through the structure block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// A node starts; its name with the unit address, empty for the root.
    Begin(&'a [u8]),
    /// A property of the node that started last.
    Property {
        /// Where its name starts in the strings block, see [`Tree::name`].
        name: u32,
        /// Value as it stands in the tree, big-endian.
        value: &'a [u8],
    },
    /// The node that started last and is still open ends.
    End,
    /// The tree ends.
    Finish,
}

/// Returns the big-endian word at an offset.
fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let word = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

/// Returns the bytes before the first zero, or `None` when there is no zero.
#[inline(never)]
pub(super) fn text(bytes: &[u8]) -> Option<&[u8]> {
    // Eight bytes at once, for names are most of a tree: the lowest set bit stands for the first byte that is zero.
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let zeros = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
        if zeros != 0 {
            return bytes.get(..at * 8 + (zeros.trailing_zeros() / 8) as usize);
        }
    }
    let end = words.len() * 8 + rest.iter().position(|byte| *byte == 0)?;
    bytes.get(..end)
}

/// Returns a block that the header names by two words, and the offset of its end.
fn block(
    bytes: &[u8],
    offset_at: usize,
    size_at: Option<usize>,
) -> Result<(&[u8], usize), TreeError> {
    let short = TreeError::Short { bytes: bytes.len() };
    let offset = word(bytes, offset_at).ok_or(short)?;
    let rest = bytes.len().saturating_sub(offset as usize) as u32;
    let size = match size_at {
        Some(at) => word(bytes, at).ok_or(short)?,
        None => rest,
    };
    let outside = TreeError::Block {
        offset,
        size,
        bytes: bytes.len(),
    };
    let end = (offset as usize)
        .checked_add(size as usize)
        .ok_or(outside)?;
    let block = bytes.get(offset as usize..end).ok_or(outside)?;
    Ok((block, end))
}

/// Returns the number of bytes that a tree says it takes (`totalsize`), from its header alone. QEMU says 1 MiB with
/// 7 KB used, so this bounds what to look at and is not what to keep.
///
/// # Errors
/// [`TreeError::Short`] and [`TreeError::Magic`].
pub fn total_bytes(header: &[u8]) -> Result<u32, TreeError> {
    let short = TreeError::Short {
        bytes: header.len(),
    };
    let found = word(header, 0).ok_or(short)?;
    if found != MAGIC {
        return Err(TreeError::Magic { found });
    }
    word(header, 4).ok_or(short)
}

impl<'a> Tree<'a> {
    /// Checks the header and the blocks. `bytes` starts at the tree's first byte and may go on behind its end.
    ///
    /// # Errors
    /// Every [`TreeError`] that the header can show; damage further inside shows when that place is read.
    pub fn new(bytes: &'a [u8]) -> Result<Self, TreeError> {
        let total = total_bytes(bytes)?;
        let short = TreeError::Short { bytes: bytes.len() };
        if bytes.len() < HEADER_BYTES {
            return Err(short);
        }
        // A tree cut short is still read as far as its blocks reach.
        let bytes = bytes.get(..total as usize).unwrap_or(bytes);
        let version = word(bytes, 20).ok_or(short)?;
        let compatible = word(bytes, 24).ok_or(short)?;
        if version < VERSION || compatible > VERSION {
            return Err(TreeError::Version {
                version,
                compatible,
            });
        }
        let (structure, structure_end) = block(bytes, 8, Some(36))?;
        let (strings, strings_end) = block(bytes, 12, Some(32))?;
        let (reservations, _) = block(bytes, 16, None)?;
        Ok(Self {
            structure,
            strings,
            reservations,
            used_bytes: structure_end.max(strings_end),
        })
    }

    /// Returns the number of bytes in use from the first one: header, structure and strings.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Returns the memory reservation block: address and size of every entry.
    pub fn reservations(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let (entries, _) = self.reservations.as_chunks::<16>();
        entries
            .iter()
            .map(|entry| {
                let both = u128::from_be_bytes(*entry);
                ((both >> 64) as u64, both as u64)
            })
            .take_while(|entry| *entry != (0, 0))
    }

    /// Starts a walk at the root.
    pub fn walk(&self) -> Walk<'a> {
        Walk {
            tree: *self,
            rest: self.structure,
        }
    }

    /// Returns a property's name, without the closing zero, given its offset into the strings block.
    ///
    /// # Errors
    /// [`TreeError::Name`].
    pub fn name(&self, offset: u32) -> Result<&'a [u8], TreeError> {
        let name = self.strings.get(offset as usize..).and_then(text);
        name.ok_or(TreeError::Name { offset })
    }
}

/// A position in the structure block.
#[derive(Clone)]
pub struct Walk<'a> {
    tree: Tree<'a>,
    rest: &'a [u8],
}

impl<'a> Walk<'a> {
    /// Returns the next token. Behind [`Token::Finish`] the answer is an error.
    ///
    /// # Errors
    /// [`TreeError::Truncated`], [`TreeError::Token`].
    pub fn token(&mut self) -> Result<Token<'a>, TreeError> {
        loop {
            let offset = self.offset();
            match self.word()? {
                BEGIN_NODE => {
                    let name = text(self.rest).ok_or(TreeError::Truncated { offset })?;
                    self.bytes(name.len() + 1)?;
                    return Ok(Token::Begin(name));
                }
                PROPERTY => {
                    let (name, value) = self.property()?;
                    return Ok(Token::Property { name, value });
                }
                END_NODE => return Ok(Token::End),
                NOP => {}
                END => return Ok(Token::Finish),
                found => return Err(TreeError::Token { found, offset }),
            }
        }
    }

    /// Skips what is left of the node that is open, its end included, without looking at names.
    ///
    /// # Errors
    /// [`TreeError::Truncated`], [`TreeError::Token`].
    pub fn skip(&mut self) -> Result<(), TreeError> {
        let mut depth = 1_usize;
        while depth > 0 {
            let offset = self.offset();
            match self.word()? {
                BEGIN_NODE => {
                    let name = text(self.rest).ok_or(TreeError::Truncated { offset })?;
                    self.bytes(name.len() + 1)?;
                    depth += 1;
                }
                PROPERTY => {
                    self.property()?;
                }
                END_NODE => depth -= 1,
                NOP => {}
                found => return Err(TreeError::Token { found, offset }),
            }
        }
        Ok(())
    }

    /// Returns the number of bytes of the structure block read so far.
    pub(super) fn offset(&self) -> usize {
        self.tree.structure.len() - self.rest.len()
    }

    /// Takes what follows a property's token: offset of the name, value.
    #[inline]
    fn property(&mut self) -> Result<(u32, &'a [u8]), TreeError> {
        let Some((words, rest)) = self.rest.split_first_chunk::<8>() else {
            let offset = self.offset();
            return Err(TreeError::Truncated { offset });
        };
        self.rest = rest;
        let words = u64::from_be_bytes(*words);
        let value = self.bytes((words >> 32) as usize)?;
        Ok((words as u32, value))
    }

    /// Takes one word.
    #[inline]
    fn word(&mut self) -> Result<u32, TreeError> {
        let Some((word, rest)) = self.rest.split_first_chunk::<4>() else {
            let offset = self.offset();
            return Err(TreeError::Truncated { offset });
        };
        self.rest = rest;
        Ok(u32::from_be_bytes(*word))
    }

    /// Takes `count` bytes, at most 2^32, and the padding up to the next word.
    #[inline]
    fn bytes(&mut self, count: usize) -> Result<&'a [u8], TreeError> {
        let padded = count.wrapping_add(3) & !3;
        match self.rest.split_at_checked(padded) {
            // Wrapped around, `padded` would be smaller than `count`.
            Some((padded, rest)) if padded.len() >= count => {
                self.rest = rest;
                Ok(padded.get(..count).unwrap_or(&[]))
            }
            _ => Err(TreeError::Truncated {
                offset: self.offset(),
            }),
        }
    }
}
