//! Nodes as the passes over a tree see them: the properties that matter, gathered while they stream by, and the buses
//! above the node, which translate its addresses to the board's.

use super::error::BoardError;
use super::key::{Key, Keys};
use super::tree::{Token, Tree, TreeError, text};
use crate::addr::Range;

/// Deepest nesting that is followed; Linux's own trees stay below eleven.
pub const MAX_DEPTH: usize = 16;

/// The properties of one node that this module reads, as they stand in the tree.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// By [`Key`]. Missing and empty differ: an empty `ranges` translates everything to itself, a missing one nothing.
    values: [Option<&'a [u8]>; Key::COUNT],
}

impl<'a> Facts<'a> {
    /// Knows nothing yet.
    const fn new() -> Self {
        Self {
            values: [None; Key::COUNT],
        }
    }

    /// Keeps the value of a property.
    fn keep(&mut self, key: Key, value: &'a [u8]) {
        if let Some(place) = self.values.get_mut(key as usize) {
            *place = Some(value);
        }
    }

    /// Returns the value of a property, if the node has it.
    pub(super) fn get(&self, key: Key) -> Option<&'a [u8]> {
        *self.values.get(key as usize)?
    }

    /// Returns the value of a property, empty when it is missing.
    #[inline(never)]
    pub(super) fn value(&self, key: Key) -> &'a [u8] {
        self.get(key).unwrap_or(&[])
    }

    /// Returns the value of a property of one cell.
    #[inline(never)]
    pub(super) fn cell(&self, key: Key) -> Option<u32> {
        cell(self.get(key)?)
    }

    /// Says whether the node is there and meant to be used: no `status`, `ok` or `okay`.
    #[inline(never)]
    pub(super) fn is_enabled(&self) -> bool {
        matches!(first(self.value(Key::Status)), b"" | b"ok" | b"okay")
    }
}

/// Returns the strings of a string list.
pub(super) fn strings(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value
        .split(|byte| *byte == 0)
        .filter(|entry| !entry.is_empty())
}

/// Returns the first string of a string list, empty when there is none.
#[inline(never)]
pub(super) fn first(value: &[u8]) -> &[u8] {
    text(value).unwrap_or(value)
}

/// Returns the value of a property of one cell.
pub(super) fn cell(value: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*value.as_array::<4>()?))
}

/// Returns the value of a property of one or two cells.
pub(super) fn cells(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 => Some(u64::from(cell(value)?)),
        8 => Some(u64::from_be_bytes(*value.as_array::<8>()?)),
        _ => None,
    }
}

/// Takes a number of `count` cells (0 to 2) off the front of a value.
#[inline(never)]
pub(super) fn take(value: &mut &[u8], count: u32) -> Option<u64> {
    let mut number = 0;
    if count > 2 {
        return None;
    }
    for _ in 0..count {
        let (cell, rest) = value.split_first_chunk::<4>()?;
        *value = rest;
        number = number << 32 | u64::from(u32::from_be_bytes(*cell));
    }
    Some(number)
}

/// A node that is open, as its children see it: the bus they are on.
#[derive(Clone, Copy)]
pub struct Bus<'a> {
    pub(super) name: &'a [u8],
    pub(super) address_cells: u32,
    pub(super) size_cells: u32,
    pub(super) ranges: Option<&'a [u8]>,
    pub(super) interrupt_parent: u32,
    /// False when the node or one above it is disabled.
    pub(super) enabled: bool,
}

/// A node with everything above it.
pub struct Node<'a, 'b> {
    /// Its name with the unit address.
    pub(super) name: &'a [u8],
    /// Its properties.
    pub(super) facts: &'b Facts<'a>,
    /// The nodes above it, the root first; empty for the root itself.
    pub(super) buses: &'b [Bus<'a>],
    /// Where it starts, in bytes of the structure block: no other node has the same.
    pub(super) ordinal: u32,
}

/// What a pass does behind a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Goes on with its first child.
    Descend,
    /// Goes on with its next sibling.
    Skip,
    /// Ends.
    Stop,
}

impl<'a> Node<'a, '_> {
    /// Returns the bus that the node is on. The root counts as being on itself.
    fn bus(&self) -> Bus<'a> {
        self.buses
            .last()
            .copied()
            .unwrap_or_else(|| self.as_bus(None))
    }

    /// Returns the name of the node above, empty at the root.
    pub(super) fn parent(&self) -> &'a [u8] {
        self.buses.last().map_or(b"", |bus| bus.name)
    }

    /// Says whether the node and all above it are enabled.
    pub(super) fn is_enabled(&self) -> bool {
        self.facts.is_enabled() && self.buses.last().is_none_or(|bus| bus.enabled)
    }

    /// Returns the phandle that the node's interrupts go to, 0 when the tree names none.
    pub(super) fn interrupt_parent(&self) -> u32 {
        let inherited = self.buses.last().map_or(0, |bus| bus.interrupt_parent);
        self.facts.cell(Key::InterruptParent).unwrap_or(inherited)
    }

    /// Returns the node as the bus of its children.
    #[inline(never)]
    fn as_bus(&self, above: Option<&Bus<'a>>) -> Bus<'a> {
        Bus {
            name: self.name,
            address_cells: self.facts.cell(Key::AddressCells).unwrap_or(2),
            size_cells: self.facts.cell(Key::SizeCells).unwrap_or(1),
            ranges: self.facts.get(Key::Ranges),
            interrupt_parent: self
                .facts
                .cell(Key::InterruptParent)
                .unwrap_or(above.map_or(0, |bus| bus.interrupt_parent)),
            enabled: self.facts.is_enabled() && above.is_none_or(|bus| bus.enabled),
        }
    }

    /// Returns the first address of `reg`, untranslated: what a CPU is called by.
    pub(super) fn address(&self) -> Result<u64, BoardError<'a>> {
        let node = self.name;
        let mut rest = self.facts.value(Key::Reg);
        take(&mut rest, self.bus().address_cells).ok_or(BoardError::Reg { node })
    }

    /// Shows the node's `reg` entries as the board's CPUs see them. Entries of no bytes are left out.
    // Not inlined: there are many callers, and start-up has to be small.
    #[inline(never)]
    pub(super) fn registers(
        &self,
        each: &mut dyn FnMut(Range) -> Result<(), BoardError<'a>>,
    ) -> Result<(), BoardError<'a>> {
        let bad = BoardError::Reg { node: self.name };
        let bus = self.bus();
        let mut rest = self.facts.value(Key::Reg);
        while !rest.is_empty() {
            // Without an address nothing would be taken off `rest`.
            if bus.address_cells == 0 {
                return Err(bad);
            }
            let address = take(&mut rest, bus.address_cells).ok_or(bad)?;
            let size = take(&mut rest, bus.size_cells).ok_or(bad)?;
            if size != 0 {
                each(self.translate(address, size)?)?;
            }
        }
        Ok(())
    }

    /// Translates an address on the node's bus to the board's, through the `ranges` of every bus above.
    fn translate(&self, address: u64, size: u64) -> Result<Range, BoardError<'a>> {
        let outside = BoardError::NotOnBus {
            node: self.name,
            address,
            size,
        };
        let mut range = Range::new(address, size).ok_or(outside)?;
        for (bus, above) in self.buses.iter().zip(self.buses.iter().skip(1)).rev() {
            // `above` is the nearer one to the node: its children are translated to addresses on `bus`.
            range = through(above, bus.address_cells, range).ok_or(outside)?;
        }
        Ok(range)
    }
}

/// Translates a range on a bus to the bus above, whose addresses have `parent_cells` cells.
fn through(bus: &Bus<'_>, parent_cells: u32, range: Range) -> Option<Range> {
    let mut rest = bus.ranges?;
    if rest.is_empty() {
        return Some(range);
    }
    // Without an address nothing would be taken off `rest`.
    while !rest.is_empty() && bus.address_cells != 0 {
        let child = take(&mut rest, bus.address_cells)?;
        let parent = take(&mut rest, parent_cells)?;
        let size = take(&mut rest, bus.size_cells)?;
        if Range::new(child, size).is_some_and(|window| window.contains(range)) {
            return Range::new(parent.checked_add(range.start() - child)?, range.size());
        }
    }
    None
}

/// The nodes that are open during a pass, the root first.
struct Stack<'a> {
    buses: [Bus<'a>; MAX_DEPTH],
    depth: usize,
}

impl<'a> Stack<'a> {
    fn new() -> Self {
        let empty = Bus {
            name: &[],
            address_cells: 2,
            size_cells: 1,
            ranges: None,
            interrupt_parent: 0,
            enabled: true,
        };
        Self {
            buses: [empty; MAX_DEPTH],
            depth: 0,
        }
    }

    fn open(&self) -> &[Bus<'a>] {
        self.buses.get(..self.depth).unwrap_or(&[])
    }

    fn push(&mut self, bus: Bus<'a>) -> Result<(), TreeError> {
        let limit = MAX_DEPTH;
        let slot = self.buses.get_mut(self.depth);
        *slot.ok_or(TreeError::Deep { limit })? = bus;
        self.depth += 1;
        Ok(())
    }
}

/// Walks the tree once and shows nodes to `visit`, in the tree's order, with their properties complete. `want` is asked
/// before: nodes of no interest (by name, and number of nodes above) are skipped with all that is in them, unread.
///
/// # Errors
/// What the tree shows to be damaged, and what `visit` returns.
pub(super) fn pass<'a>(
    tree: &Tree<'a>,
    want: &mut dyn FnMut(&[u8], usize) -> bool,
    visit: &mut dyn FnMut(&Node<'a, '_>) -> Result<Then, BoardError<'a>>,
) -> Result<(), BoardError<'a>> {
    let mut walk = tree.walk();
    let mut stack = Stack::new();
    let mut keys = Keys::new();
    let mut seen = false;
    let mut token = walk.token()?;
    loop {
        match token {
            Token::Begin(name) => {
                if !want(name, stack.depth) {
                    walk.skip()?;
                    token = walk.token()?;
                    continue;
                }
                let ordinal = walk.offset() as u32;
                let mut facts = Facts::new();
                token = walk.token()?;
                while let Token::Property { name, value } = token {
                    facts.keep(keys.of(tree, name)?, value);
                    token = walk.token()?;
                }
                let node = Node {
                    name,
                    facts: &facts,
                    buses: stack.open(),
                    ordinal,
                };
                seen = true;
                let then = visit(&node)?;
                let bus = node.as_bus(node.buses.last());
                stack.push(bus)?;
                match then {
                    Then::Descend => continue,
                    Then::Stop => return Ok(()),
                    Then::Skip => {
                        // The token read ahead is this node's own end, or the start of its first child.
                        if let Token::Begin(_) = token {
                            walk.skip()?;
                            walk.skip()?;
                            token = Token::End;
                        }
                    }
                }
            }
            Token::End => {
                stack.depth = stack.depth.checked_sub(1).ok_or(TreeError::Unbalanced)?;
                token = walk.token()?;
            }
            // Properties of a node stand before its children; a stray one has no meaning that we know.
            Token::Property { .. } => return Err(TreeError::Unbalanced.into()),
            Token::Finish if stack.depth == 0 && seen => return Ok(()),
            Token::Finish => return Err(TreeError::Unbalanced.into()),
        }
    }
}
