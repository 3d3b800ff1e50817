//! The state of 32 interrupts side by side: one bit of each word belongs to one interrupt.

use crate::ids::VcpuId;

/// Interrupts in a bank, as in one 32-bit register of the distributor.
pub(super) const PER_BANK: usize = 32;
/// `list` of an interrupt that waits nowhere.
pub(super) const UNLISTED: u8 = u8::MAX;
/// `target` of an interrupt that is routed to a CPU that does not exist.
pub(super) const NOBODY: u8 = u8::MAX;
/// The end of a list.
pub(super) const NIL: u16 = u16::MAX;

/// One interrupt: its INTID and, for INTIDs below 32, whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Irq {
    /// The vCPU that a private interrupt belongs to; without meaning for an SPI.
    pub vcpu: u8,
    /// 0..=1019.
    pub intid: u16,
}

impl Irq {
    /// Returns the interrupt's bit in the words of its bank.
    pub const fn bit(self) -> u32 {
        1 << (self.intid & 31)
    }

    /// Returns the interrupt's place in the arrays of its bank.
    pub const fn index(self) -> usize {
        (self.intid & 31) as usize
    }

    /// Says whether each vCPU has its own interrupt of this INTID (SGI or PPI).
    pub const fn is_private(self) -> bool {
        self.intid < PER_BANK as u16
    }
}

/// Which bank: the private one of a vCPU, or the `index`-th one of SPIs (INTIDs 32 + 32 x `index` and up).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BankId {
    /// SGIs and PPIs of a vCPU.
    Private(VcpuId),
    /// 32 SPIs.
    Shared(u8),
}

impl BankId {
    /// Returns the first INTID of the bank.
    pub const fn first(self) -> u16 {
        match self {
            Self::Private(_) => 0,
            Self::Shared(index) => ((index & 31) as u16 + 1) * PER_BANK as u16,
        }
    }

    /// Returns the interrupt at a bit of the bank.
    pub const fn irq(self, bit: u32) -> Irq {
        let vcpu = match self {
            Self::Private(vcpu) => vcpu.0,
            Self::Shared(_) => 0,
        };
        Irq {
            vcpu,
            intid: self.first() | (bit & 31) as u16,
        }
    }
}

/// State of 32 interrupts.
///
/// Invariants, outside of a call: `resident` and listed exclude each other; `physical` implies `latch` or
/// `active` (but for a private interrupt that its running vCPU has yet to release); `marked` implies `active`; nothing is
/// set outside of `owned`.
///
/// The words come first, where two of them are loaded by one instruction.
#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Bank {
    /// The guest has this interrupt; every other reads as zero and ignores writes.
    pub owned: u32,
    /// A physical interrupt of the same INTID stands behind it.
    pub hardware: u32,
    /// `edge` after a reset.
    pub edge_at_reset: u32,
    /// Set by ISENABLER.
    pub enabled: u32,
    /// Group 1 instead of group 0.
    pub group: u32,
    /// Edge-triggered instead of level-sensitive.
    pub edge: u32,
    /// The line of an emulated device; of a hardware interrupt only what ISPENDR shows.
    pub level: u32,
    /// Pending by an edge, by software, or by an acknowledged physical interrupt. Stays set while a list register
    /// presents the interrupt, until the guest is seen to have acknowledged it.
    pub latch: u32,
    /// Pended anew while a list register that the guest may have acknowledged meanwhile presents it.
    pub again: u32,
    /// Active.
    pub active: u32,
    /// Active by the guest's word alone: nobody took it, so no end of an interrupt means it.
    pub marked: u32,
    /// Group in which the guest took an active interrupt that has left its list register.
    pub taken_group: u32,
    /// Made active by the guest's word while a live vCPU's list register holds it: wins over what that one says.
    pub forced: u32,
    /// Made inactive likewise.
    pub dropped: u32,
    /// In a list register of vCPU `home`.
    pub resident: u32,
    /// The physical interrupt is active and waits for the deactivation of this one.
    pub physical: u32,
    /// Five bits used; a smaller number is more urgent.
    pub priority: [u8; PER_BANK],
    /// vCPU whose list register or list holds the interrupt.
    pub home: [u8; PER_BANK],
    /// List of that vCPU, or [`UNLISTED`].
    pub list: [u8; PER_BANK],
    /// Neighbours in that list.
    pub next: [u16; PER_BANK],
    /// Neighbours in that list.
    pub previous: [u16; PER_BANK],
}

impl Bank {
    /// Makes a bank without interrupts.
    pub const fn new() -> Self {
        Self {
            owned: 0,
            hardware: 0,
            edge_at_reset: 0,
            enabled: 0,
            group: 0,
            edge: 0,
            level: 0,
            latch: 0,
            again: 0,
            active: 0,
            marked: 0,
            taken_group: 0,
            forced: 0,
            dropped: 0,
            resident: 0,
            physical: 0,
            priority: [0; PER_BANK],
            home: [0; PER_BANK],
            list: [UNLISTED; PER_BANK],
            next: [NIL; PER_BANK],
            previous: [NIL; PER_BANK],
        }
    }

    /// Returns to the power-on state; what the guest owns stays.
    pub fn reset(&mut self) {
        *self = Self {
            owned: self.owned,
            hardware: self.hardware,
            edge_at_reset: self.edge_at_reset,
            edge: self.edge_at_reset,
            ..Self::new()
        };
    }

    /// Returns what ISPENDR shows.
    pub const fn pending(&self) -> u32 {
        self.latch | (self.level & !self.edge)
    }

    /// Returns the interrupts that an emulated device's line keeps pending.
    pub const fn line_driven(&self) -> u32 {
        self.level & !self.edge & !self.hardware
    }

    /// Returns the interrupts that are pending for delivery. The line of a hardware interrupt does not count: it
    /// comes as a physical interrupt, and so as a latch.
    pub const fn deliverable(&self) -> u32 {
        self.latch | self.line_driven()
    }

    /// Gives the guest an interrupt.
    pub fn own(&mut self, bit: u32, edge: bool, hardware: bool) {
        self.owned |= bit;
        set(&mut self.edge_at_reset, bit, edge);
        set(&mut self.edge, bit, edge);
        set(&mut self.hardware, bit, hardware);
    }
}

/// 32 SPIs: what all interrupts have, and their routes.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct SpiBank {
    pub(super) bank: Bank,
    /// vCPU that takes the interrupt, or [`NOBODY`].
    pub(super) target: [u8; PER_BANK],
    /// Affinity as the guest wrote it, packed as in `GICR_TYPER`.
    pub(super) router: [u32; PER_BANK],
}

impl SpiBank {
    /// Makes a bank without interrupts.
    pub const fn new() -> Self {
        Self {
            bank: Bank::new(),
            target: [0; PER_BANK],
            router: [0; PER_BANK],
        }
    }

    /// Returns to the power-on state, in which every SPI is routed to affinity 0.
    pub(super) fn reset(&mut self) {
        self.bank.reset();
        self.target = [0; PER_BANK];
        self.router = [0; PER_BANK];
    }
}

impl Default for SpiBank {
    fn default() -> Self {
        Self::new()
    }
}

/// Sets or clears a bit of a word.
#[inline]
pub(super) fn set(word: &mut u32, bit: u32, value: bool) {
    *word = if value { *word | bit } else { *word & !bit };
}

/// Reads a place of a bank's array.
#[inline]
pub(super) fn at<T: Copy + Default>(array: &[T; PER_BANK], index: usize) -> T {
    array.get(index & 31).copied().unwrap_or_default()
}

/// Writes a place of a bank's array.
#[inline]
pub(super) fn put<T>(array: &mut [T; PER_BANK], index: usize, value: T) {
    if let Some(place) = array.get_mut(index & 31) {
        *place = value;
    }
}

/// Iterates over the positions of the bits that are set, lowest first.
#[inline]
pub(super) fn bits(word: u32) -> impl Iterator<Item = u32> {
    let mut rest = word;
    core::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let bit = rest.trailing_zeros();
        rest &= rest - 1;
        Some(bit)
    })
}

/// Returns a vCPU's bit in a mask of vCPUs.
pub(super) const fn vcpu_bit(vcpu: u8) -> u16 {
    1 << (vcpu & 15)
}
