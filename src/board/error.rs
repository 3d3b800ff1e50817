//! What can be wrong with a board's device tree, in words that say what to mend.

use super::tree::TreeError;
use crate::display_by_show;
use crate::message::{Escaped, Form, Out, Show, put};

/// Why a device tree does not describe a board that we can run on, or a device in it that we can use.
///
/// Names and paths are those of the tree, as bytes: a damaged tree may hold anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoardError<'a> {
    /// The tree itself is damaged or foreign.
    Tree(TreeError),
    /// A `reg` property is no whole number of entries, or an entry has more than two cells to a number.
    Reg {
        /// The node.
        node: &'a [u8],
    },
    /// The buses above a node do not pass its registers on to the CPUs.
    NotOnBus {
        /// The node.
        node: &'a [u8],
        /// First address, as the node says.
        address: u64,
        /// Bytes.
        size: u64,
    },
    /// No enabled `/memory` node has a range.
    NoMemory,
    /// More reserved ranges than there is room for; none may be forgotten.
    ManyReserved {
        /// How many there may be.
        limit: usize,
    },
    /// No node under `/cpus` describes a CPU.
    NoCpus,
    /// Two CPUs have one affinity.
    CpuTwice {
        /// The second one's node.
        node: &'a [u8],
        /// `reg` of both.
        mpidr: u64,
    },
    /// No interrupt controller that we know.
    NoGic,
    /// The interrupt controller has too few register ranges.
    GicRegisters {
        /// Its node.
        node: &'a [u8],
        /// How many `reg` must hold.
        needed: usize,
        /// How many it holds.
        found: usize,
    },
    /// The interrupt controller has more register ranges than there is room for.
    ManyGicRanges {
        /// Its node.
        node: &'a [u8],
        /// How many there may be.
        limit: usize,
    },
    /// The interrupt controller takes specifiers of other than 3 or 4 cells.
    GicCells {
        /// Its node.
        node: &'a [u8],
        /// `#interrupt-cells`.
        cells: u32,
    },
    /// No `arm,armv8-timer` node.
    NoTimer,
    /// The timer node lacks the interrupt of a timer that we need.
    TimerInterrupt {
        /// Its node.
        node: &'a [u8],
        /// Which timer.
        timer: &'static str,
    },
    /// An interrupt specifier names no interrupt that a GIC has, or is cut short.
    Specifier {
        /// The node.
        node: &'a [u8],
        /// First cell: 0 shared, 1 private, 2 and 3 the extended ranges.
        kind: u32,
        /// Second cell: the number in that range.
        number: u32,
    },
    /// An interrupt goes to another controller than the GIC.
    InterruptParent {
        /// The node.
        node: &'a [u8],
        /// The other controller's phandle; 0 when the tree names none.
        phandle: u32,
    },
    /// `/chosen` names a console that is not in the tree.
    ConsolePath {
        /// What `stdout-path` says, without options.
        path: &'a [u8],
    },
    /// The console has no registers.
    ConsoleRegisters {
        /// Its node.
        node: &'a [u8],
    },
    /// The tree has no such node or alias.
    NoDevice {
        /// What was looked for.
        path: &'a str,
    },
    /// A device has more registers or interrupts than there is room for.
    LargeDevice {
        /// Its node.
        node: &'a [u8],
        /// How many register ranges, and how many interrupts, there may be.
        limit: usize,
    },
}

impl From<TreeError> for BoardError<'_> {
    fn from(error: TreeError) -> Self {
        Self::Tree(error)
    }
}

display_by_show!(BoardError<'_>);

impl Show for BoardError<'_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self {
            Self::Tree(error) => error.show(out, Form::Decimal),
            Self::NoMemory => out.bytes(b"the device tree has no memory: an enabled /memory node with a range is needed (a tree from a file may leave it to the firmware)"),
            Self::ManyReserved { limit } => {
                put(out, "the device tree reserves more than {} ranges of memory", &[limit])
            }
            Self::NoCpus => out.bytes(b"the device tree has no CPU under /cpus"),
            Self::NoGic => out.bytes(b"the device tree has no interrupt controller that Bulkhead knows (arm,gic-v3, arm,gic-400); QEMU wants gic-version=3"),
            Self::NoTimer => out.bytes(b"the device tree has no arm,armv8-timer node"),
            Self::ConsolePath { path } => put(out, "/chosen: stdout-path names \"{}\", which is not in the tree", &[&Escaped(path)]),
            Self::NoDevice { path } => put(out, "the device tree has no node or alias \"{}\" (full paths start with /)", &[path]),
            Self::Reg { node }
            | Self::NotOnBus { node, .. }
            | Self::CpuTwice { node, .. }
            | Self::GicRegisters { node, .. }
            | Self::ManyGicRanges { node, .. }
            | Self::GicCells { node, .. }
            | Self::TimerInterrupt { node, .. }
            | Self::Specifier { node, .. }
            | Self::InterruptParent { node, .. }
            | Self::ConsoleRegisters { node }
            | Self::LargeDevice { node, .. } => {
                put(out, "device tree node {}: ", &[&Escaped(node)]);
                self.write_detail(out)
            }
        }
    }
}

impl BoardError<'_> {
    /// Writes what is wrong with the node that the message started with.
    fn write_detail(&self, out: &mut dyn Out) {
        match self {
            Self::Reg { .. } => out.bytes(
                b"reg does not fit #address-cells and #size-cells of the node above (0 to 2 each)",
            ),
            Self::NotOnBus { address, size, .. } => put(
                out,
                "its {x} bytes at {x} are not passed on by the ranges of the buses above",
                &[size, address],
            ),
            Self::CpuTwice { mpidr, .. } => put(out, "an earlier CPU has reg {x} too", &[mpidr]),
            Self::GicRegisters { needed, found, .. } => put(
                out,
                "{} register ranges, {} are needed (distributor first)",
                &[found, needed],
            ),
            Self::ManyGicRanges { limit, .. } => {
                put(out, "more than {} register ranges of one kind", &[limit])
            }
            Self::GicCells { cells, .. } => {
                put(out, "#interrupt-cells is {}, 3 or 4 is needed", &[cells])
            }
            Self::TimerInterrupt { timer, .. } => {
                put(out, "interrupts lacks the {} timer's", &[timer])
            }
            Self::Specifier { kind, number, .. } => put(
                out,
                "interrupts is cut short or names what a GIC has not: <{} {} ..>",
                &[kind, number],
            ),
            Self::InterruptParent { phandle: 0, .. } => {
                out.bytes(b"neither it nor a node above has an interrupt-parent")
            }
            Self::InterruptParent { phandle, .. } => put(
                out,
                "its interrupt goes to phandle {x}, which is not the GIC",
                &[phandle],
            ),
            Self::ConsoleRegisters { .. } => out.bytes(b"a console needs registers (reg)"),
            Self::LargeDevice { limit, .. } => put(
                out,
                "more than {} register ranges or more than {} interrupts",
                &[limit, limit],
            ),
            _ => {}
        }
    }
}
