//! Looking up one device by its path or alias: what the host checks a table against, and EL2 the payload.

use heapless::Vec;

use super::Board;
use super::error::BoardError;
use super::interrupt::{Controller, Interrupt, Line, Lines};
use super::key::Key;
use super::node::{Node, Then, pass, strings};
use super::tree::{Token, Tree, text};
use crate::addr::Range;

/// Number of register ranges, and of interrupts, that one device may have.
pub const MAX_DEVICE_PARTS: usize = 16;

/// A device of the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device<'a> {
    /// Name of its node, with the unit address.
    pub name: &'a [u8],
    /// Its `compatible` list, strings with zeros between: see [`Device::compatible`].
    compatible: &'a [u8],
    /// Where its registers are on the board's bus, translated through all buses above.
    pub registers: Vec<Range, MAX_DEVICE_PARTS>,
    /// Its interrupts at the GIC, in the order of the tree.
    pub interrupts: Vec<Interrupt, MAX_DEVICE_PARTS>,
    /// Number of further interrupts that go to another controller than the GIC.
    pub foreign_interrupts: u32,
    /// False when the node or one above it has a `status` other than `okay`.
    pub enabled: bool,
    /// Place of its node in the tree: two paths that mean one device have the same, and only they.
    pub ordinal: u32,
}

impl<'a> Device<'a> {
    /// Returns the `compatible` strings, the most specific first.
    pub fn compatible(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        strings(self.compatible)
    }

    /// Gathers what a node says.
    pub(super) fn of(
        node: &Node<'a, '_>,
        tree: &Tree<'a>,
        gic: Controller,
    ) -> Result<Self, BoardError<'a>> {
        let large = BoardError::LargeDevice {
            node: node.name,
            limit: MAX_DEVICE_PARTS,
        };
        let mut device = Self {
            name: node.name,
            compatible: node.facts.value(Key::Compatible),
            registers: Vec::new(),
            interrupts: Vec::new(),
            foreign_interrupts: 0,
            enabled: node.is_enabled(),
            ordinal: node.ordinal,
        };
        node.registers(&mut |range| device.registers.push(range).map_err(|_| large))?;
        Lines::of(node).read(tree, gic, &mut |line| {
            match line {
                Line::Gic(interrupt) => device.interrupts.push(interrupt).map_err(|_| large)?,
                Line::Foreign(_) => device.foreign_interrupts += 1,
            }
            Ok(())
        })?;
        Ok(device)
    }
}

/// Shows `found` the node at a full path, and says whether there is one. A part of the path without a unit address
/// stands for the first node of that name.
pub(super) fn find<'a>(
    tree: &Tree<'a>,
    path: &[u8],
    found: &mut dyn FnMut(&Node<'a, '_>) -> Result<(), BoardError<'a>>,
) -> Result<bool, BoardError<'a>> {
    let mut seen = false;
    let depth = parts(path).count();
    // Only what is on the way is entered, so a node that is shown has all parts of the path up to its own. The part for
    // a level is looked for once: siblings ask one after the other.
    let mut wanted = (0, None);
    let mut on_the_way = |name: &[u8], at: usize| {
        if at != wanted.0 {
            let above = at.checked_sub(1);
            wanted = (at, above.and_then(|above| parts(path).nth(above)));
        }
        at == 0 || wanted.1.is_some_and(|part| is_named(name, part))
    };
    pass(tree, &mut on_the_way, &mut |node| {
        if node.buses.len() < depth {
            return Ok(Then::Descend);
        }
        seen = true;
        found(node)?;
        Ok(Then::Stop)
    })?;
    Ok(seen)
}

/// Returns the parts of a full path.
fn parts(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
}

/// Says whether a part of a path means a node of that name.
fn is_named(name: &[u8], part: &[u8]) -> bool {
    name == part
        || (!part.contains(&b'@')
            && name
                .strip_prefix(part)
                .is_some_and(|rest| rest.first() == Some(&b'@')))
}

/// Returns the full path that an alias stands for, or `None` when there is none of that name.
pub(super) fn alias<'a>(
    tree: &Tree<'a>,
    wanted: &[u8],
) -> Result<Option<&'a [u8]>, BoardError<'a>> {
    let mut walk = tree.walk();
    let mut inside = false;
    let mut root = true;
    loop {
        match walk.token()? {
            Token::Begin(_) if root => root = false,
            Token::Begin(b"aliases") => inside = true,
            Token::Begin(_) => walk.skip()?,
            Token::Property { name, value } => {
                if inside && tree.name(name)? == wanted {
                    return Ok(text(value));
                }
            }
            Token::End | Token::Finish => return Ok(None),
        }
    }
}

impl<'a> Board<'a> {
    /// Looks up a device by full path (`/soc/serial@7e201000`) or by its name under `/aliases`.
    ///
    /// `tree` is the one that the board was read from.
    ///
    /// # Errors
    /// [`BoardError::NoDevice`], [`BoardError::LargeDevice`], and what is wrong with its `reg` and `interrupts`.
    pub fn find_device(
        &self,
        tree: &Tree<'a>,
        path: &'a str,
    ) -> Result<Device<'a>, BoardError<'a>> {
        let missing = BoardError::NoDevice { path };
        let full = if path.starts_with('/') {
            path.as_bytes()
        } else {
            alias(tree, path.as_bytes())?.ok_or(missing)?
        };
        let mut device = None;
        find(tree, full, &mut |node| {
            device = Some(Device::of(node, tree, self.gic.controller)?);
            Ok(())
        })?;
        device.ok_or(missing)
    }
}
