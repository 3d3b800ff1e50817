//! What EL2 itself stands on: the memory that holds it, its console, its interrupt controller. A tree that is wrong
//! about one of these would end in an exception at EL2 or in a system that says nothing.

use super::super::payload::Payload;
use super::super::record::system_flags;
use super::mismatch::{El2Owned, Spi};
use super::{Actual, each_register_of_el2, spin_tables};
use crate::addr::{PAGE_BYTES, Range};
use crate::board::{Board, GicVersion, Interrupt, Trigger};
use crate::display_by_show;
use crate::message::{Escaped, Form, Out, Show, put};
use crate::uart::Model;

/// What the frames of a GICv3 are aligned to.
const FRAME_BYTES: u64 = 1 << 16;
/// Bytes of a GICv2's CPU interface: its last register lies in the second page.
const INTERFACE_BYTES: u64 = 2 * PAGE_BYTES;

/// Why EL2 cannot stand on what the tree says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault<'a> {
    /// The tree's memory does not hold the image.
    Image {
        /// The image with its payload.
        image: Range,
    },
    /// Registers of EL2's lie in RAM.
    InMemory {
        /// What they are.
        what: El2Owned,
        /// The registers.
        registers: Range,
        /// The RAM.
        memory: Range,
    },
    /// A word that EL2 would write to, for starting a CPU, lies among registers of EL2's.
    SpinTable {
        /// The page of the word.
        words: Range,
        /// What the registers are.
        what: El2Owned,
        /// The registers.
        registers: Range,
    },
    /// The distributor's registers overlap a redistributor's.
    Frames {
        /// The distributor.
        distributor: Range,
        /// The redistributors.
        redistributors: Range,
    },
    /// A frame of the GIC starts where none can.
    FrameStart {
        /// First address.
        start: u64,
        /// What it should be a multiple of, in KiB.
        kib: u64,
    },
    /// The registers of the CPU interface of a GICv2 are too few.
    InterfaceSize {
        /// Where they are.
        cpu: Range,
    },
    /// The table was made for another version of the GIC.
    GicVersion {
        /// The tree's.
        tree: u32,
        /// The table's.
        table: u32,
    },
    /// The table was made for a UART that EL2 knows, and the tree has no console.
    NoConsole {
        /// The table's UART.
        model: Model,
        /// Where it was.
        table: u64,
    },
    /// The table was made for a UART that EL2 knows, and the tree has a console that it does not know.
    ConsoleKind {
        /// Name of its node.
        node: &'a [u8],
        /// First `compatible` string.
        compatible: &'a str,
        /// The table's UART.
        model: Model,
        /// Where it was.
        table: u64,
    },
    /// The tree has the table's UART with another interrupt.
    ConsoleLine {
        /// What the tree says.
        tree: Option<Interrupt>,
        /// What the table says.
        table: Option<Interrupt>,
    },
}

/// Checks all of it.
pub(super) fn check<'a>(
    payload: &Payload<'a>,
    actual: &Actual<'_, 'a>,
    report: &mut dyn FnMut(Fault<'a>),
) {
    let board = actual.board;
    if let Some(image) = actual.image
        && !board.memory.iter().any(|memory| memory.contains(image))
    {
        report(Fault::Image { image });
    }
    each_register_of_el2(board, &mut |what, registers| {
        let inside = board
            .memory
            .iter()
            .find(|memory| memory.overlaps(registers));
        if let Some(memory) = inside.copied() {
            report(Fault::InMemory {
                what,
                registers,
                memory,
            });
        }
    });
    for words in spin_tables(board) {
        each_register_of_el2(board, &mut |what, registers| {
            if registers.align_out(PAGE_BYTES).overlaps(words) {
                report(Fault::SpinTable {
                    words,
                    what,
                    registers,
                });
            }
        });
    }
    let (tree, table) = (board.gic.version.number(), table_version(payload));
    if tree != table {
        report(Fault::GicVersion { tree, table });
    }
    check_frames(board, report);
    check_console(payload, board, report);
}

/// Returns the version of the GIC that the table was made for.
fn table_version(payload: &Payload<'_>) -> u32 {
    match payload.header().flags & system_flags::GICV2 {
        0 => 3,
        _ => 2,
    }
}

/// Checks where the frames of the GIC lie.
fn check_frames<'a>(board: &Board<'a>, report: &mut dyn FnMut(Fault<'a>)) {
    let distributor = board.gic.distributor;
    let mut aligned = |frame: Range, bytes: u64| {
        if !frame.start().is_multiple_of(bytes) {
            let (start, kib) = (frame.start(), bytes >> 10);
            report(Fault::FrameStart { start, kib });
        }
    };
    let redistributors = match &board.gic.version {
        GicVersion::V3 { redistributors, .. } => redistributors,
        GicVersion::V2 {
            cpu,
            hypervisor,
            virtual_cpu,
        } => {
            for frame in [distributor, *cpu, *hypervisor, *virtual_cpu] {
                aligned(frame, PAGE_BYTES);
            }
            if cpu.size() < INTERFACE_BYTES {
                report(Fault::InterfaceSize { cpu: *cpu });
            }
            return;
        }
    };
    for frame in redistributors.iter().copied().chain([distributor]) {
        aligned(frame, FRAME_BYTES);
    }
    for redistributors in redistributors.iter().copied() {
        if redistributors.overlaps(distributor) {
            report(Fault::Frames {
                distributor,
                redistributors,
            });
        }
    }
}

/// Compares the console with the table's: a table that was made for no known UART takes any.
fn check_console<'a>(payload: &Payload<'a>, board: &Board<'a>, report: &mut dyn FnMut(Fault<'a>)) {
    let header = payload.header();
    let table = header.uart_hpa;
    let Some(model) = Model::from_code(header.uart_kind) else {
        return;
    };
    match &board.console {
        None => report(Fault::NoConsole { model, table }),
        Some(console) if console.model().is_some() => {
            let wanted = (header.uart_intid != 0).then_some(Interrupt {
                intid: header.uart_intid,
                trigger: match header.uart_edge {
                    0 => Trigger::Level,
                    _ => Trigger::Edge,
                },
            });
            if console.registers.start() == table && console.interrupt != wanted {
                report(Fault::ConsoleLine {
                    tree: console.interrupt,
                    table: wanted,
                });
            }
        }
        Some(console) => report(Fault::ConsoleKind {
            node: console.node,
            compatible: console.compatible,
            model,
            table,
        }),
    }
}

display_by_show!(Fault<'_>);

impl Show for Fault<'_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self {
            Self::Image { image } => put(
                out,
                "the image with its payload at {} is not all in memory that the device tree knows",
                &[image],
            ),
            Self::InMemory {
                what,
                registers,
                memory,
            } => put(
                out,
                "the device tree has {} at {}, in its memory at {}",
                &[&what.words(), registers, memory],
            ),
            Self::SpinTable {
                words,
                what,
                registers,
            } => put(
                out,
                "the device tree has a spin table at {}, which EL2 would write to, among the registers of {} at {}",
                &[words, &what.words(), registers],
            ),
            Self::Frames {
                distributor,
                redistributors,
            } => put(
                out,
                "the device tree has the GIC's distributor at {}, among the redistributors at {}",
                &[distributor, redistributors],
            ),
            Self::FrameStart { start, kib } => put(
                out,
                "the device tree has registers of the GIC at {x}, which is not on a multiple of {} KiB",
                &[start, kib],
            ),
            Self::InterfaceSize { cpu } => put(
                out,
                "the device tree has the GIC's CPU interface at {}, and it needs 8 KiB",
                &[cpu],
            ),
            Self::GicVersion { tree, table } => put(
                out,
                "the board has a GICv{}, the table was made for a GICv{}",
                &[tree, table],
            ),
            Self::NoConsole { model, table } => put(
                out,
                "the device tree has no console, the table was made for a {} at {x}",
                &[&model.name(), table],
            ),
            Self::ConsoleKind {
                node,
                compatible,
                model,
                table,
            } => put(
                out,
                "the console is {}, of a kind that bulkhead does not know ({}), the table was made for a {} at {x}",
                &[&Escaped(node), compatible, &model.name(), table],
            ),
            Self::ConsoleLine { tree, table } => {
                put(
                    out,
                    "the console has {} in the device tree, ",
                    &[&Line(*tree)],
                );
                put(out, "{} in the table", &[&Line(*table)])
            }
        }
    }
}

/// An interrupt, or none.
struct Line(Option<Interrupt>);

display_by_show!(Line);

impl Show for Line {
    fn show(&self, out: &mut dyn Out, _: Form) {
        let Some(interrupt) = self.0 else {
            return out.bytes(b"no interrupt");
        };
        let trigger = match interrupt.trigger {
            Trigger::Edge => "edge-triggered",
            Trigger::Level => "level-sensitive",
        };
        put(out, "{}, {}", &[&Spi(interrupt.intid), &trigger])
    }
}
