//! What the compiler makes of a table, step by step, before the payload is written.

use std::sync::Arc;

use bulkhead::addr::{PAGE_BYTES, Range};
use bulkhead::config::record::{access, gic, system_flags};
use dtoolkit::model::DeviceTreeNode;

use crate::dma::{Dma, Signs};
use crate::reader::{At, Span};
use crate::table::{OnFault, Watchdog};

/// A partition as it will be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// Where the table names it.
    pub span: Span,
    /// Where things lie in its address space.
    pub layout: Layout,
    /// Its memory, in table order.
    pub regions: Vec<Region>,
    /// Its vCPUs.
    pub vcpus: Vec<Vcpu>,
    /// Its console.
    pub console: Option<Console>,
    /// Its devices.
    pub devices: Vec<Device>,
    /// What its tree has of them.
    pub nodes: Nodes,
    /// Its sides of channels.
    pub channels: Vec<Side>,
    /// What is loaded into its memory.
    pub loads: Vec<Load>,
    /// Its first instruction.
    pub entry: u64,
    /// Its device tree; 0 for none.
    pub dtb: u64,
    /// Places in the tree that get random bytes: address and bytes.
    pub seeds: Vec<(u64, u64)>,
    /// What a fault does.
    pub on_fault: OnFault,
    /// Whether it starts with the system.
    pub autostart: bool,
    /// Bit n: it manages partition n.
    pub manages: u64,
    /// The names of those, in the order of the table.
    pub managed: Vec<String>,
    /// Where it sees the registers of those, a page each; 0 when there are none.
    pub manager: u64,
    /// Its watchdog.
    pub watchdog: Option<Watchdog>,
    /// Whether its cycle counter may count while EL2 works for it.
    pub counts_el2: bool,
}

impl Plan {
    /// Returns the bytes of its pages of registers of those that it manages.
    pub fn manager_bytes(&self) -> u64 {
        u64::from(self.manages.count_ones()) * PAGE_BYTES
    }
}

/// Where a guest sees its RAM, its interrupt controller and its console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Start of RAM.
    pub ram: u64,
    /// The distributor.
    pub gicd: u64,
    /// The first redistributor, or the CPU interface of a GICv2.
    pub gicr: u64,
    /// The interrupt controller is a GICv2.
    pub gicv2: bool,
    /// The emulated UART.
    pub uart: u64,
    /// Its interrupt.
    pub uart_intid: u32,
}

/// Bytes of the emulated UART's window.
pub const UART_BYTES: u64 = 0x1000;

impl Layout {
    /// The layout of QEMU's machine `virt`.
    pub const VIRT: Self = Self {
        ram: 0x4000_0000,
        gicd: 0x0800_0000,
        gicr: 0x080a_0000,
        gicv2: false,
        uart: 0x0900_0000,
        uart_intid: 33,
    };
    /// The same with a GICv2.
    pub const VIRT_GICV2: Self = Self {
        gicr: 0x0801_0000,
        gicv2: true,
        ..Self::VIRT
    };

    /// Returns the bytes of the virtual distributor's window.
    pub const fn gicd_bytes(&self) -> u64 {
        gic::distributor_bytes(self.flags())
    }

    /// Returns the bytes of the redistributors' window with a number of vCPUs, or of the CPU interface's.
    pub const fn gicr_bytes(&self, vcpus: usize) -> u64 {
        gic::interface_bytes(self.flags(), vcpus as u64)
    }

    /// Returns the interrupt controller's part of the header's flags.
    pub const fn flags(&self) -> u32 {
        if self.gicv2 { system_flags::GICV2 } else { 0 }
    }
}

/// A piece of a partition's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where the guest sees it.
    pub guest: Range,
    /// Where the board has it, when the table fixes that.
    pub hpa: Option<u64>,
    /// Where the board with the given device tree has it; the report shows that.
    pub placed: u64,
    /// Bits of [`access`].
    pub access: u32,
    /// Where the table says so.
    pub span: Span,
}

impl Region {
    /// Says whether the guest may execute there.
    pub fn is_executable(&self) -> bool {
        self.access & access::EXECUTE != 0
    }

    /// Returns the access rights as letters.
    pub fn rights(&self) -> String {
        let letters = [
            (access::READ, 'r'),
            (access::WRITE, 'w'),
            (access::EXECUTE, 'x'),
        ];
        let mark = |(bit, letter)| if self.access & bit != 0 { letter } else { '-' };
        letters.map(mark).iter().collect()
    }
}

/// A CPU that the table describes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pcpu {
    /// Its position.
    pub position: u32,
    /// Its affinity, when the table names it so.
    pub mpidr: Option<u64>,
    /// Whether more work than there is time for is accepted.
    pub allow_overload: bool,
    /// Time after which its windows come again; 0 when it has none.
    pub major_frame_ns: u64,
    /// Its windows, by start.
    pub windows: Vec<TimeWindow>,
    /// Where the table says so.
    pub span: Span,
}

impl Pcpu {
    /// Says whether two partitions, by position in the table, are ever able to run here at the same time.
    pub fn may_meet(&self, one: usize, other: usize) -> bool {
        let both = 1 << one | 1 << other;
        let mut windows = self.windows.iter();
        self.windows.is_empty() || windows.any(|window| window.partitions & both == both)
    }
}

/// A window of a CPU's major frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeWindow {
    /// Where it begins.
    pub start_ns: u64,
    /// How long it is.
    pub length_ns: u64,
    /// Bit n: partition n may run in it.
    pub partitions: u64,
    /// Where the table says so.
    pub span: Span,
}

/// A vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Position of its CPU.
    pub pcpu: u32,
    /// Affinity that the table names the CPU by.
    pub mpidr: Option<u64>,
    /// Its urgency.
    pub priority: u8,
    /// Time after which it yields to its equals, 0 for none.
    pub time_slice_ns: u64,
    /// Time that it may run in every period, 0 for any.
    pub budget_ns: u64,
    /// Period of its budget or its work, 0 when not said.
    pub period_ns: u64,
    /// Whether it runs below every priority when its budget is used up.
    pub background: bool,
    /// Whether FP registers are switched at every world switch.
    pub fp_eager: bool,
    /// Where the table says so.
    pub span: Span,
}

/// A console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console {
    /// Where the guest sees the UART.
    pub gpa: u64,
    /// Its interrupt.
    pub intid: u32,
    /// Whether output that finds the ring full is dropped.
    pub drop: bool,
    /// Where the table says so.
    pub span: Span,
}

/// A passed-through device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its path in the board's tree; empty when it is in none.
    pub path: String,
    /// `compatible` of a device that is in no tree.
    pub compatible: Option<String>,
    /// Its register windows.
    pub windows: Vec<Window>,
    /// Its interrupts.
    pub interrupts: Vec<Interrupt>,
    /// How it reaches memory, and where that is said.
    pub dma: Option<At<Dma>>,
    /// What the board's tree shows of that.
    pub signs: Signs,
    /// The rates of its clocks in Hz, where the table says them.
    pub clocks: Option<At<Vec<u32>>>,
    /// The clocks that its node has in place of the board's, in words.
    pub fixed: Vec<String>,
    /// What its node lacks, for the guest does not have what it refers to: names of properties and nodes.
    pub left_out: Vec<String>,
    /// Where the table says so.
    pub span: Span,
}

/// What a guest's tree has of passed-through devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// Nodes below the root.
    pub nodes: Vec<DeviceTreeNode>,
    /// Aliases of the board for them: the alias, and a path in the guest's tree.
    pub aliases: Vec<(String, String)>,
    /// Labels of the board's source, where its tree has them: the label, and a path in the guest's tree.
    pub labels: Vec<(String, String)>,
}

impl Device {
    /// Returns what to call it in messages.
    pub fn label(&self) -> String {
        match (self.path.as_str(), self.windows.first()) {
            ("", Some(window)) => format!("device at {:#x}", window.host.start()),
            ("", None) => "device without registers".to_owned(),
            (path, _) => path.to_owned(),
        }
    }
}

/// A register window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where the guest sees it.
    pub gpa: u64,
    /// Where the board has it.
    pub host: Range,
}

/// An interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// Its number.
    pub intid: u32,
    /// Whether an edge raises it.
    pub edge: bool,
}

/// Memory that two partitions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Whether it may be cached.
    pub cached: bool,
    /// Positions of the two partitions.
    pub parties: [usize; 2],
    /// Where the board with the given device tree has it.
    pub placed: u64,
    /// Where the table says so.
    pub span: Span,
}

/// A partition's side of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// Position of the channel among all.
    pub channel: usize,
    /// Its name.
    pub name: String,
    /// Which side this is, 0 or 1.
    pub number: usize,
    /// The other partition's name.
    pub peer: String,
    /// Bytes of the shared memory.
    pub size: u64,
    /// Bits of [`access`].
    pub access: u32,
    /// Where the guest sees the memory.
    pub gpa: u64,
    /// Where it sees the doorbell's registers.
    pub registers: u64,
    /// The doorbell's interrupt.
    pub intid: u32,
    /// Where the table says so.
    pub span: Span,
}

impl Side {
    /// Returns the access rights as a table has them.
    pub fn rights(&self) -> &'static str {
        if self.access & access::WRITE == 0 {
            "r"
        } else {
            "rw"
        }
    }
}

/// Bytes that are loaded into a partition's memory at every start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// What they are.
    pub what: String,
    /// Where they go.
    pub gpa: u64,
    /// The bytes.
    pub bytes: Arc<[u8]>,
    /// Bytes in memory, at least as many; the rest is zeroed.
    pub memory_bytes: u64,
}

impl Load {
    /// Returns the guest memory that is filled, if there is any and it does not wrap.
    pub fn range(&self) -> Option<Range> {
        Range::new(self.gpa, self.memory_bytes)
    }
}
