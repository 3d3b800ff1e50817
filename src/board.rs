//! The board as its flattened device tree describes it: memory, CPUs, interrupt controller, timers, console, firmware.
//!
//! [`Tree::new`] checks the header, [`Board::read`] takes one pass over the tree. Nothing is copied out of the tree
//! but numbers: names and seeds are borrowed from it. Whatever is wrong is a [`BoardError`]; a damaged, truncated or
//! foreign tree is never a panic.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod device;
mod error;
mod gic;
mod interrupt;
mod key;
mod node;
mod reader;
mod role;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod tree;

use heapless::Vec;

pub use device::{Device, MAX_DEVICE_PARTS};
pub use error::BoardError;
pub use gic::{Gic, GicVersion, MAX_GIC_RANGES};
pub use interrupt::{Interrupt, Trigger};
pub use node::MAX_DEPTH;
pub use tree::{HEADER_BYTES, Token, Tree, TreeError, Walk, total_bytes};

use crate::addr::Range;
use crate::ids::{MAX_PCPUS, Mpidr, PcpuId};
use crate::uart::Model;

/// Number of separate ranges of RAM that are used; further ones are counted in [`Ignored::memory`].
pub const MAX_MEMORY: usize = 16;
/// Number of reserved ranges of RAM; more are an error, because none may be forgotten.
pub const MAX_RESERVED: usize = 32;

/// What a device tree says about a board.
#[derive(Clone, Debug)]
pub struct Board<'a> {
    /// `model` of the root node, empty when there is none.
    pub model: &'a str,
    /// First `compatible` string of the root node, empty when there is none.
    pub compatible: &'a str,
    /// RAM, sorted by address; ranges that touch or overlap are joined.
    pub memory: Vec<Range, MAX_MEMORY>,
    /// RAM that is not ours to use, in the order found. Ranges may overlap and need not lie in RAM.
    pub reserved: Vec<Reserved<'a>, MAX_RESERVED>,
    /// CPUs in the order of their nodes under `/cpus`: the position is the [`PcpuId`]. Never empty.
    pub cpus: Vec<Cpu<'a>, MAX_PCPUS>,
    /// The interrupt controller.
    pub gic: Gic<'a>,
    /// Interrupts of the Arm generic timer.
    pub timer: Timer,
    /// The firmware's power interface, when there is one.
    pub psci: Option<Psci>,
    /// The UART that `/chosen` names, or the first that we know.
    pub console: Option<Console<'a>>,
    /// `/chosen` `rng-seed`: fresh random bytes from the firmware, empty when it gives none.
    pub rng_seed: &'a [u8],
    /// `/chosen` `kaslr-seed`: eight random bytes, or empty.
    pub kaslr_seed: &'a [u8],
    /// What the tree has beyond the capacities above.
    pub ignored: Ignored,
}

/// A range of RAM that is not ours to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved<'a> {
    /// The bytes.
    pub range: Range,
    /// Who reserves it.
    pub by: ReservedBy<'a>,
}

/// Who reserves a range of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedBy<'a> {
    /// An entry of the memory reservation block (`/memreserve/`).
    Block,
    /// A node of this name under `/reserved-memory`.
    Node(&'a str),
    /// The device tree itself, as far as it is used.
    Tree,
    /// A CPU waits there, at a spin table: the page of its `cpu-release-addr`.
    SpinTable,
}

/// A physical CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu<'a> {
    /// Its affinity, which PSCI and the GIC know it by.
    pub mpidr: Mpidr,
    /// First `compatible` string, such as `arm,cortex-a53`; empty when there is none.
    pub core: &'a str,
    /// How it is started.
    pub start: CpuStart,
    /// False when `status` says that it failed or must not be used.
    pub usable: bool,
}

/// How a CPU is started: its `enable-method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuStart {
    /// By PSCI CPU_ON.
    Psci,
    /// By writing an entry address to this physical address.
    SpinTable(u64),
    /// By nothing that we know.
    Unknown,
}

/// Interrupts of the Arm generic timer, all private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// EL1 physical timer (non-secure), PPI 30 by convention.
    pub physical: Interrupt,
    /// Virtual timer, PPI 27 by convention.
    pub virtual_timer: Interrupt,
    /// EL2 physical timer, PPI 26 by convention.
    pub hypervisor: Interrupt,
}

/// The firmware's power interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Psci {
    /// How to call it.
    pub conduit: Conduit,
    /// What it follows.
    pub version: PsciVersion,
}

/// The instruction that calls the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// `SMC #0`.
    Smc,
    /// `HVC #0`: from EL2 that would call ourselves, so such firmware is of no use to us.
    Hvc,
}

/// The version of PSCI that the tree claims; the call PSCI_VERSION tells more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciVersion {
    /// 0.1: function numbers differ from firmware to firmware; that of CPU_ON, when given.
    V0_1(Option<u32>),
    /// 0.2.
    V0_2,
    /// 1.0 or later.
    V1_0,
}

/// The UART that people read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Console<'a> {
    /// What programs it.
    pub kind: UartKind,
    /// First `compatible` string.
    pub compatible: &'a str,
    /// Name of its node.
    pub node: &'a [u8],
    /// Its registers.
    pub registers: Range,
    /// Its interrupt, when it has one at the GIC.
    pub interrupt: Option<Interrupt>,
    /// Distance between registers, as a power of two (`reg-shift`).
    pub reg_shift: u32,
    /// Bytes to an access (`reg-io-width`), 1 when the tree is silent.
    pub io_width: u32,
    /// Speed that `stdout-path` asks for behind a colon, in baud.
    pub baud: Option<u32>,
    /// Place of its node in the tree, comparable with [`Device::ordinal`].
    pub ordinal: u32,
}

/// Kinds of UART.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UartKind {
    /// Arm PL011.
    Pl011,
    /// The part of a PL011 that the Server Base System Architecture asks for.
    Sbsa,
    /// 16550 and its kin: `ns16550a`, Synopsys.
    Ns16550,
    /// The auxiliary UART of Broadcom's BCM2835: a 16550 whose place of registers its tree does not say.
    Auxiliary,
    /// Freescale i.MX.
    Imx,
    /// Cadence.
    Cadence,
    /// Another.
    Unknown,
}

/// Things that the tree has and that find no room here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Ranges of RAM.
    pub memory: u32,
    /// CPUs.
    pub cpus: u32,
}

impl Console<'_> {
    /// Returns what drives it, if anything here does.
    #[inline(never)]
    pub fn model(&self) -> Option<Model> {
        match self.kind {
            UartKind::Pl011 => Some(Model::Pl011),
            UartKind::Imx => Some(Model::Imx),
            UartKind::Cadence => Some(Model::Cadence),
            UartKind::Ns16550 => Model::ns16550(self.reg_shift, self.io_width),
            UartKind::Auxiliary => Model::ns16550(2, 4),
            UartKind::Sbsa | UartKind::Unknown => None,
        }
    }
}

impl Board<'_> {
    /// Returns the position of the CPU with an affinity.
    pub fn pcpu_of(&self, mpidr: Mpidr) -> Option<PcpuId> {
        let position = self.cpus.iter().position(|cpu| cpu.mpidr == mpidr)?;
        Some(PcpuId(position as u8))
    }
}

/// Returns tree text as a string; what is not UTF-8 becomes a question mark.
// Not inlined: it has many callers.
#[inline(never)]
fn as_str(bytes: &[u8]) -> &str {
    core::str::from_utf8(bytes).unwrap_or("?")
}
