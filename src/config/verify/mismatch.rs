//! How a payload and a board can disagree.

use core::fmt;

use crate::addr::Range;
use crate::board::BoardError;
use crate::ids::{Mpidr, PcpuId, VcpuId};

/// What of the board is EL2's alone to use or give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum El2Owned {
    /// The console's UART.
    Console,
    /// The interrupt controller, its ITS and MSI frames included.
    Gic,
    /// RAM: it goes to guests as memory, never as a device.
    Memory,
}

/// Why the payload does not fit the board. `name` is the partition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// The CPU that serves the console is not there.
    ConsolePcpu {
        /// Its position.
        pcpu: u32,
        /// CPUs that there are.
        cpus: usize,
    },
    /// A vCPU's pCPU, named by position, is not there.
    NoPcpu {
        /// The partition.
        name: &'a str,
        /// Which vCPU.
        vcpu: VcpuId,
        /// The position.
        pcpu: u32,
        /// CPUs that there are.
        cpus: usize,
    },
    /// A vCPU's pCPU, named by affinity, is not there.
    NoMpidr {
        /// The partition.
        name: &'a str,
        /// Which vCPU.
        vcpu: VcpuId,
        /// The affinity.
        mpidr: u64,
    },
    /// A vCPU's pCPU failed, or there is no way to start it.
    DeadPcpu {
        /// The partition.
        name: &'a str,
        /// Which vCPU.
        vcpu: VcpuId,
        /// Its pCPU.
        pcpu: PcpuId,
        /// That one's affinity.
        mpidr: Mpidr,
    },
    /// The tree has no such device, or what it says of it is of no use.
    Device {
        /// The partition.
        name: &'a str,
        /// The device.
        path: &'a str,
        /// What is wrong.
        error: BoardError<'a>,
    },
    /// The tree has the device switched off.
    DeviceDisabled {
        /// The partition.
        name: &'a str,
        /// The device.
        path: &'a str,
    },
    /// The device has no such registers.
    Window {
        /// The partition.
        name: &'a str,
        /// The device.
        path: &'a str,
        /// What the payload says.
        window: Range,
        /// The first range that the tree says, when it has one.
        first: Option<Range>,
    },
    /// The device has another number of register ranges.
    WindowCount {
        /// The partition.
        name: &'a str,
        /// The device.
        path: &'a str,
        /// How many the payload has.
        wanted: usize,
        /// How many the tree has.
        found: usize,
    },
    /// The device has an interrupt that the partition is not given.
    InterruptNotGranted {
        /// The partition.
        name: &'a str,
        /// The device.
        path: &'a str,
        /// The interrupt.
        intid: u32,
    },
    /// A device's pages hold something of EL2's, or RAM.
    WindowTaken {
        /// The partition.
        name: &'a str,
        /// The device's registers.
        window: Range,
        /// What else is there.
        what: El2Owned,
        /// Where that is.
        taken: Range,
    },
    /// Two partitions' devices lie in one page.
    WindowShared {
        /// The partition later in the table.
        name: &'a str,
        /// Its device's registers.
        window: Range,
        /// The earlier partition.
        other: &'a str,
        /// That one's device's registers.
        other_window: Range,
    },
    /// The GIC has no such interrupt.
    NoInterrupt {
        /// The partition.
        name: &'a str,
        /// The interrupt.
        intid: u32,
        /// The first that the GIC has not.
        end: u32,
    },
    /// The interrupt is that of EL2's console.
    ConsoleInterrupt {
        /// The partition.
        name: &'a str,
        /// The interrupt.
        intid: u32,
    },
    /// The interrupt belongs to another partition too, or to this one's emulated UART.
    InterruptTwice {
        /// The partition.
        name: &'a str,
        /// The interrupt.
        intid: u32,
        /// The other partition, or the same one.
        other: &'a str,
    },
    /// The tree has the interrupt level-sensitive and the payload edge-triggered, or the other way round.
    Trigger {
        /// The partition.
        name: &'a str,
        /// The interrupt.
        intid: u32,
        /// True when the payload says edge.
        edge: bool,
    },
    /// No device of the partition has the interrupt.
    InterruptOfNothing {
        /// The partition.
        name: &'a str,
        /// The interrupt.
        intid: u32,
    },
}

impl fmt::Display for Mismatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ConsolePcpu { pcpu, cpus } => {
                write!(f, "console_pcpu is {pcpu}, this board has {cpus} CPUs")
            }
            Self::NoPcpu {
                name,
                vcpu,
                pcpu,
                cpus,
            } => write!(
                f,
                "{name}: vCPU {} wants pCPU {pcpu}, this board has {cpus} CPUs, counted from 0",
                vcpu.0
            ),
            Self::NoMpidr { name, vcpu, mpidr } => write!(
                f,
                "{name}: vCPU {} wants the CPU with MPIDR {mpidr:#x}, this board has none",
                vcpu.0
            ),
            Self::DeadPcpu {
                name,
                vcpu,
                pcpu,
                mpidr,
            } => write!(
                f,
                "{name}: vCPU {} wants pCPU {} (MPIDR {mpidr}), which failed or cannot be started by PSCI (SMC)",
                vcpu.0, pcpu.0
            ),
            _ => self.fmt_device(f),
        }
    }
}

impl Mismatch<'_> {
    /// Writes what is wrong with a device.
    fn fmt_device(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Device { name, path, error } => write!(f, "{name}: device {path}: {error}"),
            Self::DeviceDisabled { name, path } => write!(
                f,
                "{name}: device {path} is switched off in the device tree (status)"
            ),
            Self::Window {
                name,
                path,
                window,
                first,
            } => {
                write!(f, "{name}: device {path} has no registers at {window}")?;
                match first {
                    Some(first) => write!(f, ", but at {first}"),
                    None => Ok(()),
                }
            }
            Self::WindowCount {
                name,
                path,
                wanted,
                found,
            } => write!(
                f,
                "{name}: device {path} has {found} register ranges, the table was built for {wanted}"
            ),
            Self::WindowTaken {
                name,
                window,
                what,
                taken,
            } => {
                let what = match what {
                    El2Owned::Console => "the console's UART",
                    El2Owned::Gic => "the interrupt controller",
                    El2Owned::Memory => "RAM",
                };
                write!(
                    f,
                    "{name}: device registers {window} share a page with {what} at {taken}"
                )
            }
            Self::WindowShared {
                name,
                window,
                other,
                other_window,
            } => write!(
                f,
                "{name}: device registers {window} share a page with {other}'s at {other_window}"
            ),
            _ => self.fmt_interrupt(f),
        }
    }

    /// Writes what is wrong with an interrupt.
    fn fmt_interrupt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::InterruptNotGranted { name, path, intid } => write!(
                f,
                "{name}: device {path} has {}, which the table does not give it",
                Spi(intid)
            ),
            Self::NoInterrupt { name, intid, end } => write!(
                f,
                "{name}: {} is not there, this board's INTIDs end at {end}",
                Spi(intid)
            ),
            Self::ConsoleInterrupt { name, intid } => write!(
                f,
                "{name}: {} is that of the console's UART, which is bulkhead's",
                Spi(intid)
            ),
            Self::InterruptTwice { name, intid, other } if name == other => write!(
                f,
                "{name}: {} is passed through, and its emulated UART has it too",
                Spi(intid)
            ),
            Self::InterruptTwice { name, intid, other } => {
                write!(f, "{name}: {} is {other}'s already", Spi(intid))
            }
            Self::Trigger { name, intid, edge } => {
                let (table, tree) = match edge {
                    true => ("edge-triggered", "level-sensitive"),
                    false => ("level-sensitive", "edge-triggered"),
                };
                write!(
                    f,
                    "{name}: {} is {table} in the table and {tree} in the device tree",
                    Spi(intid)
                )
            }
            Self::InterruptOfNothing { name, intid } => write!(
                f,
                "{name}: {} belongs to none of its devices in the device tree",
                Spi(intid)
            ),
            _ => Ok(()),
        }
    }
}

/// A shared interrupt, in both ways of counting.
struct Spi(u32);

impl fmt::Display for Spi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "INTID {} (SPI {})", self.0, self.0.saturating_sub(32))
    }
}
