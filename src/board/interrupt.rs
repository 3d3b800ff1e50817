//! Interrupts as a device tree writes them: specifiers of three or four cells that a GIC understands.

use super::error::BoardError;
use super::key::Key;
use super::node::{Node, Then, pass, take};
use super::tree::Tree;

/// How an interrupt line says that it wants attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By staying high.
    Level,
    /// By rising.
    Edge,
}

/// An interrupt of the board's GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// INTID: 16..32 private, 32..1020 shared, 1056..1120 and 4096..5120 the extended ranges.
    pub intid: u32,
    /// Level or edge.
    pub trigger: Trigger,
}

/// The interrupt controller that specifiers are read for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Controller {
    pub(super) phandle: u32,
    pub(super) cells: u32,
}

/// A node's interrupts, not read yet: the controller may stand further down in the tree.
#[derive(Clone, Copy, Default)]
pub(super) struct Lines<'a> {
    pub(super) node: &'a [u8],
    pub(super) interrupts: &'a [u8],
    pub(super) extended: &'a [u8],
    pub(super) parent: u32,
}

/// One interrupt of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Goes to the GIC.
    Gic(Interrupt),
    /// Goes to the controller with this phandle.
    Foreign(u32),
}

impl<'a> Lines<'a> {
    /// Takes a node's interrupt properties.
    // Not inlined: it has many callers.
    #[inline(never)]
    pub(super) fn of(node: &Node<'a, '_>) -> Self {
        Self {
            node: node.name,
            interrupts: node.facts.value(Key::Interrupts),
            extended: node.facts.value(Key::InterruptsExtended),
            parent: node.interrupt_parent(),
        }
    }

    /// Shows every interrupt, in the order of the property. `interrupts-extended` goes before `interrupts`, as the
    /// specification has it.
    ///
    /// # Errors
    /// [`BoardError::Specifier`], [`BoardError::InterruptParent`] for a controller that is not in the tree, and what
    /// `each` returns.
    #[inline(never)]
    pub(super) fn read(
        &self,
        tree: &Tree<'a>,
        gic: Controller,
        each: &mut dyn FnMut(Line) -> Result<(), BoardError<'a>>,
    ) -> Result<(), BoardError<'a>> {
        if self.extended.is_empty() && self.parent != gic.phandle {
            if !self.interrupts.is_empty() {
                each(Line::Foreign(self.parent))?;
            }
            return Ok(());
        }
        let mut rest = if self.extended.is_empty() {
            self.interrupts
        } else {
            self.extended
        };
        while !rest.is_empty() {
            let phandle = if self.extended.is_empty() {
                gic.phandle
            } else {
                take(&mut rest, 1).ok_or(self.bad(0, 0))? as u32
            };
            if phandle == gic.phandle {
                each(Line::Gic(self.specifier(&mut rest, gic)?))?;
            } else {
                self.skip(tree, phandle, &mut rest)?;
                each(Line::Foreign(phandle))?;
            }
        }
        Ok(())
    }

    /// Takes another controller's specifier off the front.
    fn skip(
        &self,
        tree: &Tree<'a>,
        phandle: u32,
        rest: &mut &'a [u8],
    ) -> Result<(), BoardError<'a>> {
        let mut cells = None;
        pass(tree, &mut |_, _| true, &mut |node| {
            if node.facts.cell(Key::Phandle).unwrap_or(0) == phandle {
                cells = node.facts.cell(Key::InterruptCells);
                return Ok(Then::Stop);
            }
            Ok(Then::Descend)
        })?;
        let cells = cells.ok_or(BoardError::InterruptParent {
            node: self.node,
            phandle,
        })?;
        *rest = rest
            .get((cells as usize).saturating_mul(4)..)
            .ok_or(self.bad(0, 0))?;
        Ok(())
    }

    /// Takes one GIC specifier off the front.
    ///
    /// # Source
    /// Linux `Documentation/devicetree/bindings/interrupt-controller/arm,gic-v3.yaml`, "#interrupt-cells"; the same
    /// meaning in `arm,gic.yaml` without the extended ranges.
    fn specifier(&self, rest: &mut &'a [u8], gic: Controller) -> Result<Interrupt, BoardError<'a>> {
        let short = self.bad(0, 0);
        let kind = take(rest, 1).ok_or(short)? as u32;
        let number = take(rest, 1).ok_or(short)? as u32;
        let flags = take(rest, 1).ok_or(short)? as u32;
        for _ in 3..gic.cells {
            take(rest, 1).ok_or(short)?;
        }
        let (first, count) = match kind {
            0 => (32, 988),
            1 => (16, 16),
            2 => (4096, 1024),
            3 => (1056, 64),
            _ => return Err(self.bad(kind, number)),
        };
        if number >= count {
            return Err(self.bad(kind, number));
        }
        // Bits 3:0: 1 rising, 2 falling, 4 high, 8 low. A GIC inverts nothing, so falling and low mean that the board
        // inverts the line, and edge or level is all that is left to say.
        let trigger = if flags & 0b0011 != 0 {
            Trigger::Edge
        } else {
            Trigger::Level
        };
        Ok(Interrupt {
            intid: first + number,
            trigger,
        })
    }

    /// Returns the error for a specifier.
    fn bad(&self, kind: u32, number: u32) -> BoardError<'a> {
        BoardError::Specifier {
            node: self.node,
            kind,
            number,
        }
    }
}
