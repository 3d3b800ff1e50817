//! How a payload and a board can disagree.

use super::super::record::{BY_POSITION, PcpuRecord};
use super::foundation::Fault;
use crate::addr::Range;
use crate::board::BoardError;
use crate::display_by_show;
use crate::ids::{Mpidr, PcpuId, VcpuId};
use crate::message::{Form, Out, Show, put};

/// What of the board is EL2's alone to use or give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum El2Owned {
    /// The console's UART.
    Console,
    /// The interrupt controller, its ITS and MSI frames included.
    Gic,
    /// RAM: it goes to guests as memory, never as a device.
    Memory,
    /// The page of words that CPUs poll until they are started.
    SpinTable,
}

impl El2Owned {
    /// Names it.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Console => "the console's UART",
            Self::Gic => "the interrupt controller",
            Self::Memory => "RAM",
            Self::SpinTable => "a spin table",
        }
    }
}

/// A pCPU as the table names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuName {
    /// By its position under `/cpus`.
    Position(u32),
    /// By its affinity.
    Mpidr(u64),
}

impl CpuName {
    /// Returns the name that a record has for its pCPU.
    pub(super) fn of(record: &PcpuRecord) -> Self {
        Self::new(record.pcpu, record.mpidr)
    }

    /// Returns the one of both names that counts.
    pub(super) fn new(position: u32, mpidr: u64) -> Self {
        match mpidr {
            BY_POSITION => Self::Position(position),
            mpidr => Self::Mpidr(mpidr),
        }
    }
}

display_by_show!(CpuName);

impl Show for CpuName {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self {
            Self::Position(position) => put(out, "pCPU {}", &[position]),
            Self::Mpidr(mpidr) => put(out, "the CPU with MPIDR {x}", &[mpidr]),
        }
    }
}

/// Who is to run on a pCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client<'a> {
    /// The console's server.
    Console,
    /// A vCPU of a partition.
    Vcpu(&'a str, VcpuId),
}

display_by_show!(Client<'_>);

impl Show for Client<'_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self {
            Self::Console => out.bytes(b"the console"),
            Self::Vcpu(name, vcpu) => put(out, "{}: vCPU {}", &[name, &vcpu.0]),
        }
    }
}

/// Why the payload does not fit the board. `name` is the partition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch<'a> {
    /// What EL2 itself stands on is not there.
    Foundation(Fault<'a>),
    /// A CPU that is named is not there.
    NoPcpu {
        /// Who is to run there.
        client: Client<'a>,
        /// The CPU.
        cpu: CpuName,
        /// CPUs that there are.
        cpus: usize,
    },
    /// The table says two things about one pCPU, that it names by position and by affinity.
    PcpuTwice {
        /// The pCPU.
        pcpu: PcpuId,
        /// Both names.
        names: [CpuName; 2],
    },
    /// A time window is open for a partition that has no vCPU there.
    WindowWithoutVcpu {
        /// The partition.
        partition: &'a str,
        /// The pCPU, as the table names it.
        name: CpuName,
    },
    /// A vCPU's pCPU has time windows and its partition is in none of them.
    NoTimeWindow {
        /// The partition.
        name: &'a str,
        /// Which vCPU.
        vcpu: VcpuId,
        /// Its pCPU.
        pcpu: PcpuId,
    },
    /// A CPU failed, or there is no way to start it.
    DeadPcpu {
        /// Who is to run there.
        client: Client<'a>,
        /// The CPU.
        pcpu: PcpuId,
        /// Its affinity.
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

display_by_show!(Mismatch<'_>);

impl Show for Mismatch<'_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self {
            Self::Foundation(fault) => fault.show(out, Form::Decimal),
            Self::NoPcpu { client, cpu, cpus } => {
                put(out, "{} wants {}, this board has ", &[client, cpu]);
                match cpu {
                    CpuName::Position(_) => put(out, "{} CPUs, counted from 0", &[cpus]),
                    CpuName::Mpidr(_) => out.bytes(b"none"),
                }
            }
            Self::PcpuTwice { pcpu, names } => put(
                out,
                "the table describes pCPU {} twice: as {} and as {}",
                &[&pcpu.0, &names[0], &names[1]],
            ),
            Self::WindowWithoutVcpu { partition, name } => put(
                out,
                "{}: a time window of {} waits for it, and it has no vCPU there",
                &[partition, name],
            ),
            Self::NoTimeWindow { name, vcpu, pcpu } => put(
                out,
                "{}: vCPU {} is in no time window of pCPU {}",
                &[name, &vcpu.0, &pcpu.0],
            ),
            Self::DeadPcpu {
                client,
                pcpu,
                mpidr,
            } => put(
                out,
                "{} wants pCPU {} (MPIDR {}), which failed or cannot be started by PSCI (SMC) or a spin table",
                &[client, &pcpu.0, mpidr],
            ),
            _ => self.fmt_device(out),
        }
    }
}

impl Mismatch<'_> {
    /// Writes what is wrong with a device.
    fn fmt_device(&self, out: &mut dyn Out) {
        match self {
            Self::Device { name, path, error } => {
                put(out, "{}: device {}: {}", &[name, path, error])
            }
            Self::DeviceDisabled { name, path } => put(
                out,
                "{}: device {} is switched off in the device tree (status)",
                &[name, path],
            ),
            Self::Window {
                name,
                path,
                window,
                first,
            } => {
                put(
                    out,
                    "{}: device {} has no registers at {}",
                    &[name, path, window],
                );
                if let Some(first) = first {
                    put(out, ", but at {}", &[first]);
                }
            }
            Self::WindowCount {
                name,
                path,
                wanted,
                found,
            } => put(
                out,
                "{}: device {} has {} register ranges, the table was built for {}",
                &[name, path, found, wanted],
            ),
            Self::WindowTaken {
                name,
                window,
                what,
                taken,
            } => {
                let what = what.words();
                put(
                    out,
                    "{}: device registers {} share a page with {} at {}",
                    &[name, window, &what, taken],
                )
            }
            Self::WindowShared {
                name,
                window,
                other,
                other_window,
            } => put(
                out,
                "{}: device registers {} share a page with {}'s at {}",
                &[name, window, other, other_window],
            ),
            _ => self.fmt_interrupt(out),
        }
    }

    /// Writes what is wrong with an interrupt.
    fn fmt_interrupt(&self, out: &mut dyn Out) {
        match self {
            Self::InterruptNotGranted { name, path, intid } => put(
                out,
                "{}: device {} has {}, which the table does not give it",
                &[name, path, &Spi(*intid)],
            ),
            Self::NoInterrupt { name, intid, end } => put(
                out,
                "{}: {} is not there, this board's INTIDs end at {}",
                &[name, &Spi(*intid), end],
            ),
            Self::ConsoleInterrupt { name, intid } => put(
                out,
                "{}: {} is that of the console's UART, which is bulkhead's",
                &[name, &Spi(*intid)],
            ),
            Self::InterruptTwice { name, intid, other } if name == other => put(
                out,
                "{}: {} is passed through, and its emulated UART has it too",
                &[name, &Spi(*intid)],
            ),
            Self::InterruptTwice { name, intid, other } => {
                put(out, "{}: {} is {}'s already", &[name, &Spi(*intid), other])
            }
            Self::Trigger { name, intid, edge } => {
                let (table, tree) = match edge {
                    true => ("edge-triggered", "level-sensitive"),
                    false => ("level-sensitive", "edge-triggered"),
                };
                put(
                    out,
                    "{}: {} is {} in the table and {} in the device tree",
                    &[name, &Spi(*intid), &table, &tree],
                )
            }
            Self::InterruptOfNothing { name, intid } => put(
                out,
                "{}: {} belongs to none of its devices in the device tree",
                &[name, &Spi(*intid)],
            ),
            _ => {}
        }
    }
}

/// A shared interrupt, in both ways of counting.
pub(super) struct Spi(pub(super) u32);

display_by_show!(Spi);

impl Show for Spi {
    fn show(&self, out: &mut dyn Out, _: Form) {
        put(
            out,
            "INTID {} (SPI {})",
            &[&self.0, &self.0.saturating_sub(32)],
        )
    }
}
