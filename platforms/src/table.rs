//! A partition table as types, with the place of every value; nothing is checked against a board yet.
//!
//! Keys that are absent or wrong are `None` or their default; what was wrong is in the diagnostics, and the rest is
//! checked all the same, so that one run shows every violation.

mod channel;
mod image;
mod memory;
mod partition;
mod system;
mod vcpu;
mod window;

use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::dma::Dma;
use crate::keys;
use crate::reader::{At, Keys, Span};
use crate::rule::Rule;

/// A partition table.
#[derive(Clone, Debug)]
pub struct Table {
    /// `[system]`.
    pub system: System,
    /// `[[pcpu]]`.
    pub pcpus: Vec<Pcpu>,
    /// `[[partition]]`, in order.
    pub partitions: Vec<Partition>,
    /// `[[channel]]`, in order.
    pub channels: Vec<Channel>,
}

/// `[[channel]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: At<String>,
    /// The names of the two partitions.
    pub between: [At<String>; 2],
    /// Bytes of the shared memory.
    pub size: At<u64>,
    /// Bits of [`bulkhead::config::record::access`], by side.
    pub access: [u32; 2],
    /// Whether the memory may be cached.
    pub cached: bool,
    /// Where the table says so.
    pub span: Span,
}

/// `[system]`.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// The board's name.
    pub platform: Option<At<String>>,
    /// The partition that has the keyboard at start.
    pub focus: Option<At<String>>,
    /// The CPU that serves the physical UART.
    pub console_pcpu: Option<At<CpuName>>,
    /// The urgency of that service.
    pub console_priority: u8,
    /// Whether a panic resets the board.
    pub reset_on_panic: bool,
    /// Whether memory is zeroed before the first start.
    pub scrub_at_boot: bool,
    /// Bytes of every CPU's trace ring.
    pub trace: Option<At<u64>>,
}

/// How a table names a CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuName {
    /// By its position under `/cpus`.
    Position(u64),
    /// By its affinity.
    Mpidr(u64),
}

impl CpuName {
    /// Returns the affinity that it is named by.
    pub fn mpidr(self) -> Option<u64> {
        match self {
            Self::Mpidr(mpidr) => Some(mpidr),
            Self::Position(_) => None,
        }
    }
}

/// `[[pcpu]]`.
#[derive(Clone, Debug)]
pub struct Pcpu {
    /// Which one.
    pub id: At<CpuName>,
    /// Whether only one partition may use it, and where that is said.
    pub exclusive: Option<Span>,
    /// Whether more work than there is time for is accepted.
    pub allow_overload: bool,
    /// Time after which its windows come again.
    pub major_frame_ns: Option<At<u64>>,
    /// Its windows, in table order.
    pub windows: Vec<Window>,
    /// Where the table says so.
    pub span: Span,
}

/// A time window of a CPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where it begins in the major frame.
    pub start_ns: u64,
    /// How long it is.
    pub length_ns: u64,
    /// The partitions that may run in it.
    pub partitions: Vec<At<String>>,
    /// Where the table says so.
    pub span: Span,
}

/// `[[partition]]`.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Its name; something like `#3` when the table gives none.
    pub name: At<String>,
    /// Its image.
    pub image: Option<At<Image>>,
    /// Its memory.
    pub memory: Vec<Region>,
    /// Its vCPUs.
    pub vcpus: Vec<Vcpu>,
    /// Its console.
    pub console: Option<Console>,
    /// Devices that are passed through.
    pub devices: Vec<Device>,
    /// Whether the virtual GIC and RAM lie where the board has its own.
    pub board_layout: bool,
    /// Its device tree.
    pub tree: At<Tree>,
    /// What a fault does.
    pub on_fault: OnFault,
    /// Where the table says that it does not start with the system.
    pub stopped: Option<Span>,
    /// The names of those that it manages.
    pub manages: Vec<At<String>>,
    /// Its watchdog.
    pub watchdog: Option<Watchdog>,
    /// Whether its cycle counter may count while EL2 works for it.
    pub counts_el2: bool,
}

/// A watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// The longest time between two kicks.
    pub timeout_ns: u64,
    /// Whether it restarts the partition rather than stopping it.
    pub restarts: bool,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// A crate under `guests/`.
    Guest(At<String>),
    /// A recipe under `guests/recipes/`.
    Recipe {
        /// Its name.
        name: At<String>,
        /// The command line instead of the recipe's own.
        cmdline: Option<At<String>>,
    },
    /// An arm64 `Image`.
    Kernel {
        /// Its file.
        kernel: At<String>,
        /// The initial RAM disk's file.
        initrd: Option<At<String>>,
        /// The command line.
        cmdline: Option<At<String>>,
    },
    /// An ELF file.
    Elf(At<String>),
    /// Bytes.
    Raw {
        /// Their file.
        file: At<String>,
        /// Where they go.
        load: At<u64>,
        /// Where the first instruction is.
        entry: At<u64>,
    },
}

/// A piece of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where the guest sees it; `None`: where the layout has RAM.
    pub gpa: Option<u64>,
    /// Bytes.
    pub size: u64,
    /// Where the board has it.
    pub hpa: Place,
    /// Bits of [`bulkhead::config::record::access`].
    pub access: u32,
    /// Where the table says so.
    pub span: Span,
}

/// Where memory lies on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Where there is room.
    Anywhere,
    /// There.
    Fixed(u64),
    /// Where the guest sees it.
    Identity,
}

/// A vCPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Its CPU.
    pub pcpu: Option<At<CpuName>>,
    /// Its urgency.
    pub priority: Option<At<u8>>,
    /// Time after which it yields to its equals, 0 for none.
    pub time_slice_ns: u64,
    /// Time that it may run in every period, 0 for any.
    pub budget_ns: u64,
    /// Period of its budget, or of its work for the report; 0 when not said.
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
    /// Where the guest sees the UART; `None`: where the layout has it.
    pub gpa: Option<At<u64>>,
    /// Its interrupt; `None`: that of the layout.
    pub intid: Option<At<u64>>,
    /// Whether output that finds the ring full is dropped.
    pub drop: bool,
    /// Where the table says so, or the partition's name.
    pub span: Span,
}

/// A device that is passed through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which one.
    pub source: DeviceSource,
    /// Where the guest sees its first register window.
    pub gpa: Option<At<u64>>,
    /// How it reaches memory, and where that is said.
    pub dma: Option<At<Dma>>,
    /// The rates of its clocks in Hz.
    pub clocks: Option<At<Vec<u32>>>,
    /// Where the table says so.
    pub span: Span,
}

/// How a table names a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceSource {
    /// By its path or alias in the board's tree.
    Path(String),
    /// By what it is made of.
    Parts {
        /// Register windows: host address and bytes.
        reg: Vec<(u64, u64)>,
        /// Interrupts.
        intid: Vec<At<u64>>,
        /// `compatible` for the guest's tree.
        compatible: Option<String>,
    },
}

/// A guest's device tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Made from the table.
    Generated {
        /// A file with what to change in it: flattened, or source.
        overlay: Option<At<String>>,
    },
    /// None: x0 is 0.
    None,
    /// A file, at a guest address.
    File {
        /// The file.
        file: At<String>,
        /// Where it goes.
        at: At<u64>,
    },
}

/// What a fault does to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFault {
    /// It stays stopped.
    Stop,
    /// It starts again.
    Restart,
    /// It starts again so often.
    Limited {
        /// How often.
        restarts: u32,
        /// Within which time.
        within_ns: u64,
    },
}

impl Table {
    /// Reads a table; what is wrong with it goes to `out`.
    pub fn read(text: &str, out: &mut Diagnostics) -> Self {
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            out.push(Diagnostic::new(
                Rule::Syntax,
                "this is not TOML",
                span,
                error.message(),
            ));
        }
        // After a syntax error the rest is a guess: what it seems to say is not judged.
        let mut ignored = Diagnostics::default();
        let out = if errors.is_empty() { out } else { &mut ignored };
        let root = Keys::root(root.get_ref(), &keys::ROOT, out);
        Self {
            system: system::read(&root, out),
            pcpus: system::read_pcpus(&root, out),
            partitions: partition::read_all(&root, out),
            channels: channel::read_all(&root, out),
        }
    }
}
