//! The interrupt controller as the device tree describes it.

use heapless::Vec;

use super::error::BoardError;
use super::interrupt::{Controller, Interrupt};
use super::key::Key;
use super::node::{Node, cells};
use super::role::{Role, role};
use crate::addr::Range;

/// Number of redistributor regions, and of further register ranges, that are kept.
pub const MAX_GIC_RANGES: usize = 8;

/// The board's Arm Generic Interrupt Controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gic<'a> {
    /// Name of its node.
    pub node: &'a [u8],
    /// Registers of the distributor.
    pub distributor: Range,
    /// What depends on the version.
    pub version: GicVersion,
    /// Maintenance interrupt of the list registers, PPI 25 by convention.
    pub maintenance: Option<Interrupt>,
    /// Its other registers: memory-mapped CPU interface beside GICv3's, ITS, MSI frames. None may go to a guest.
    pub frames: Vec<Range, MAX_GIC_RANGES>,
    /// How other nodes refer to it.
    pub(super) controller: Controller,
}

/// What depends on the GIC's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GicVersion {
    /// GICv3 or v4.
    V3 {
        /// Regions of redistributors, one redistributor after the other in each.
        redistributors: Vec<Range, MAX_GIC_RANGES>,
        /// Bytes from one redistributor to the next; 0: as GICR_TYPER tells.
        stride: u64,
    },
    /// GICv2 with virtualization extensions.
    V2 {
        /// CPU interface (GICC).
        cpu: Range,
        /// Virtual interface control (GICH).
        hypervisor: Range,
        /// Virtual CPU interface (GICV).
        virtual_cpu: Range,
    },
}

impl GicVersion {
    /// Returns the version's number; a GICv4 is a GICv3.
    pub const fn number(&self) -> u32 {
        match self {
            Self::V3 { .. } => 3,
            Self::V2 { .. } => 2,
        }
    }
}

impl<'a> Gic<'a> {
    /// Reads the node of a GIC.
    pub(super) fn of(node: &Node<'a, '_>) -> Result<Self, BoardError<'a>> {
        let mut gic = Self {
            node: node.name,
            distributor: Range::new(0, 1).ok_or(BoardError::NoGic)?,
            version: GicVersion::V3 {
                redistributors: Vec::new(),
                stride: 0,
            },
            maintenance: None,
            frames: Vec::new(),
            controller: Controller {
                phandle: node.facts.cell(Key::Phandle).unwrap_or(0),
                cells: node.facts.cell(Key::InterruptCells).unwrap_or(3),
            },
        };
        if !(3..=4).contains(&gic.controller.cells) {
            return Err(BoardError::GicCells {
                node: node.name,
                cells: gic.controller.cells,
            });
        }
        match role(node.facts.value(Key::Compatible)) {
            Role::GicV2 => gic.read_v2(node)?,
            _ => gic.read_v3(node)?,
        }
        Ok(gic)
    }

    /// Reads the registers of a GICv3: distributor, redistributor regions, then the optional GICv2 interfaces.
    fn read_v3(&mut self, node: &Node<'a, '_>) -> Result<(), BoardError<'a>> {
        let regions = node.facts.cell(Key::RedistributorRegions).unwrap_or(1) as usize;
        let many = self.many();
        let mut redistributors = Vec::new();
        let mut found = 0;
        node.registers(&mut |range| {
            match found {
                0 => self.distributor = range,
                n if n <= regions => redistributors.push(range).map_err(|_| many)?,
                _ => self.frames.push(range).map_err(|_| many)?,
            }
            found += 1;
            Ok(())
        })?;
        self.want(regions.max(1).saturating_add(1), found)?;
        self.version = GicVersion::V3 {
            redistributors,
            stride: cells(node.facts.value(Key::RedistributorStride)).unwrap_or(0),
        };
        Ok(())
    }

    /// Reads the registers of a GICv2: GICD, GICC, GICH, GICV.
    fn read_v2(&mut self, node: &Node<'a, '_>) -> Result<(), BoardError<'a>> {
        let many = self.many();
        let mut ranges: Vec<Range, MAX_GIC_RANGES> = Vec::new();
        node.registers(&mut |range| ranges.push(range).map_err(|_| many))?;
        self.want(4, ranges.len())?;
        if let [distributor, cpu, hypervisor, virtual_cpu, ..] = *ranges.as_slice() {
            self.distributor = distributor;
            self.version = GicVersion::V2 {
                cpu,
                hypervisor,
                virtual_cpu,
            };
        }
        Ok(())
    }

    /// Checks the number of register ranges.
    fn want(&self, needed: usize, found: usize) -> Result<(), BoardError<'a>> {
        if found >= needed {
            return Ok(());
        }
        Err(BoardError::GicRegisters {
            node: self.node,
            needed,
            found,
        })
    }

    /// Returns the error for too many ranges.
    pub(super) fn many(&self) -> BoardError<'a> {
        BoardError::ManyGicRanges {
            node: self.node,
            limit: MAX_GIC_RANGES,
        }
    }

    /// Shows every register range of the GIC: none may go to a guest.
    pub fn ranges(&self) -> impl Iterator<Item = Range> + '_ {
        let (several, single): (&[Range], [Option<Range>; 3]) = match &self.version {
            GicVersion::V3 { redistributors, .. } => (redistributors, [None; 3]),
            GicVersion::V2 {
                cpu,
                hypervisor,
                virtual_cpu,
            } => (&[], [Some(*cpu), Some(*hypervisor), Some(*virtual_cpu)]),
        };
        core::iter::once(self.distributor)
            .chain(several.iter().copied())
            .chain(single.into_iter().flatten())
            .chain(self.frames.iter().copied())
    }
}
