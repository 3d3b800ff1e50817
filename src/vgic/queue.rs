//! The lists of interrupts that wait for a list register: one list for each kind and priority, a bit for each list
//! that is not empty, so that the most urgent one is found without a search.
//!
//! The links lie in the interrupts' banks, for an SPI moves between vCPUs and waits in one list at most.

use super::bank::{Bank, Irq, NIL, UNLISTED, at, put};
use super::senders::Senders;
use super::{MAX_LIST_REGISTERS, Vgic};

/// Priority levels: five bits.
const LEVELS: usize = 32;
/// Lists of a vCPU.
const LISTS: usize = 3 * LEVELS;

/// What the interrupts of a list wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Pending, group 0: to be signalled.
    Group0 = 0,
    /// Pending, group 1: to be signalled.
    Group1 = 1,
    /// Active and out of the list registers: for the guest's deactivation.
    Spilled = 2,
}

/// The list of active interrupts that nobody took. None that was taken is at this priority, where five bits exist: the
/// guest's mask is not above it. Where more exist, those that were taken come first.
pub(super) const MARKED: u8 = list_of(Kind::Spilled, 0xf8);

/// Number of the list that holds interrupts of a kind and priority.
pub(super) const fn list_of(kind: Kind, priority: u8) -> u8 {
    (kind as u8) << 5 | priority >> 3
}

/// The virtual CPU interface and redistributor of one vCPU.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct CpuInterface {
    /// SGIs and PPIs.
    pub(super) private: Bank,
    /// GICR_WAKER.ProcessorSleep.
    pub(super) asleep: bool,
    /// What is or may be signalled to the vCPU.
    pub(super) stage: Stage,
    /// Who sent its SGIs, with GICv2.
    pub(super) senders: Senders,
}

impl CpuInterface {
    /// Makes the interface of a vCPU after power-on, without interrupts.
    pub const fn new() -> Self {
        Self {
            private: Bank::new(),
            asleep: true,
            stage: Stage::new(),
            senders: Senders::new(),
        }
    }

    /// Returns to the power-on state; what the guest owns stays. All list registers are to be written.
    pub(super) fn reset(&mut self) {
        self.private.reset();
        self.asleep = true;
        self.stage.reset();
        self.senders = Senders::new();
    }
}

/// INTIDs at the two ends of a list, [`NIL`] when it is empty.
#[derive(Clone, Copy, Debug)]
struct Ends {
    first: u16,
    last: u16,
}

/// The ends of an empty list.
const EMPTY: Ends = Ends {
    first: NIL,
    last: NIL,
};

/// Bits of [`Stage::flags`]: together, so that one test finds that there is nothing special.
pub(super) mod flag {
    /// The hardware may be ahead of the model: from `refill` to `fold`.
    pub const LIVE: u8 = 1 << 0;
    /// The list registers must be compared with the state.
    pub const RESTAGE: u8 = 1 << 1;
    /// Something was listed while the vCPU was live.
    pub const PULL: u8 = 1 << 2;
    /// Pending interrupts wait outside of the list registers though they could be signalled.
    pub const SPILLING: u8 = 1 << 3;
    /// A list is not empty.
    pub const WAITING: u8 = 1 << 4;
    /// Physical interrupts are not linked to their list registers, for good: see [`super::super::gicv2`].
    pub const UNLINKED: u8 = 1 << 5;
    /// A piece of a refill is done, at least: the list registers were compared with the state, and are being filled.
    pub const BEGUN: u8 = 1 << 6;
}

/// The list registers of a vCPU, and the lists of what waits for one.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// What the list registers hold, or held when the guest was entered.
    pub list_registers: [u64; MAX_LIST_REGISTERS],
    /// List registers that hold an interrupt.
    pub used: u16,
    /// List registers to be written before the guest runs.
    pub changed: u16,
    /// [`flag`] bits.
    pub flags: u8,
    /// The list register in which an interrupt was delivered last: the next one is often the same.
    pub recent: u8,
    /// While [`flag::BEGUN`]: list registers that the refill has filled.
    pub filled: u8,
    /// For each [`Kind`], the priority levels whose list is not empty.
    pub levels: [u32; 3],
    ends: [Ends; LISTS],
}

impl Stage {
    const fn new() -> Self {
        Self {
            list_registers: [0; MAX_LIST_REGISTERS],
            used: 0,
            changed: 0,
            flags: 0,
            recent: 0,
            filled: 0,
            levels: [0; 3],
            ends: [EMPTY; LISTS],
        }
    }

    /// Empties all.
    fn reset(&mut self) {
        self.list_registers = [0; MAX_LIST_REGISTERS];
        self.used = 0;
        self.changed = u16::MAX;
        self.flags = 0;
        self.recent = 0;
        self.filled = 0;
        self.levels = [0; 3];
        self.ends = [EMPTY; LISTS];
    }

    /// Returns the priority levels at which interrupts of a kind wait.
    pub fn waiting(&self, kind: Kind) -> u32 {
        let [group0, group1, spilled] = self.levels;
        match kind {
            Kind::Group0 => group0,
            Kind::Group1 => group1,
            Kind::Spilled => spilled,
        }
    }

    /// Says whether any of some [`flag`] bits is set.
    #[inline]
    pub fn is(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Returns the INTID that waits longest at the most urgent level of a kind.
    pub fn first(&self, kind: Kind) -> Option<u16> {
        let level = self.waiting(kind).trailing_zeros() as usize;
        if level >= LEVELS {
            return None;
        }
        let ends = self.ends.get(kind as usize * LEVELS + level)?;
        Some(ends.first)
    }

    /// Notes whether a list has members; called when its first one comes or its last one goes.
    fn mark(&mut self, list: usize, filled: bool) {
        if let Some(levels) = self.levels.get_mut(list / LEVELS) {
            super::bank::set(levels, 1 << (list % LEVELS), filled);
        }
        let [group0, group1, spilled] = self.levels;
        self.flags &= !flag::WAITING;
        if group0 | group1 | spilled != 0 {
            self.flags |= flag::WAITING;
        }
    }
}

impl Default for CpuInterface {
    fn default() -> Self {
        Self::new()
    }
}

impl Vgic<'_> {
    /// Returns the list registers and lists of a vCPU.
    pub(super) fn stage(&mut self, vcpu: u8) -> Option<&mut Stage> {
        self.cpus.get_mut(vcpu as usize).map(|cpu| &mut cpu.stage)
    }

    /// Puts an unlisted interrupt into a list of a vCPU, at its end or, `first`, at its front.
    #[inline(never)]
    pub(super) fn link(&mut self, irq: Irq, vcpu: u8, list: u8, first: bool) {
        let Some(stage) = self.stage(vcpu) else {
            return;
        };
        let Some(ends) = stage.ends.get_mut(list as usize) else {
            return;
        };
        let old = *ends;
        let (previous, next) = if first {
            ends.first = irq.intid;
            (NIL, old.first)
        } else {
            ends.last = irq.intid;
            (old.last, NIL)
        };
        if old.first == NIL {
            (ends.first, ends.last) = (irq.intid, irq.intid);
            stage.mark(list as usize, true);
        }
        if let Some(bank) = self.bank_of(irq) {
            let index = irq.index();
            put(&mut bank.list, index, list);
            put(&mut bank.home, index, vcpu);
            put(&mut bank.next, index, next);
            put(&mut bank.previous, index, previous);
        }
        self.set_next(vcpu, previous, irq.intid);
        self.set_previous(vcpu, next, irq.intid);
    }

    /// Takes an interrupt out of the list that it is in, if any, and returns that.
    #[inline(never)]
    pub(super) fn unlink(&mut self, irq: Irq) -> u8 {
        let index = irq.index();
        let Some(bank) = self.bank_of(irq) else {
            return UNLISTED;
        };
        let list = at(&bank.list, index);
        if list == UNLISTED {
            return UNLISTED;
        }
        put(&mut bank.list, index, UNLISTED);
        let vcpu = at(&bank.home, index);
        let (next, previous) = (at(&bank.next, index), at(&bank.previous, index));
        self.set_next(vcpu, previous, next);
        self.set_previous(vcpu, next, previous);
        let Some(stage) = self.stage(vcpu) else {
            return list;
        };
        let Some(ends) = stage.ends.get_mut(list as usize) else {
            return list;
        };
        if previous == NIL {
            ends.first = next;
        }
        if next == NIL {
            ends.last = previous;
        }
        if next == NIL && previous == NIL {
            stage.mark(list as usize, false);
        }
        list
    }

    /// Sets what comes behind an interrupt in a vCPU's list, unless that is the list's end.
    #[inline]
    fn set_next(&mut self, vcpu: u8, intid: u16, next: u16) {
        let irq = Irq { vcpu, intid };
        if intid != NIL
            && let Some(bank) = self.bank_of(irq)
        {
            put(&mut bank.next, irq.index(), next);
        }
    }

    /// Sets what comes before an interrupt in a vCPU's list, unless that is the list's end.
    #[inline]
    fn set_previous(&mut self, vcpu: u8, intid: u16, previous: u16) {
        let irq = Irq { vcpu, intid };
        if intid != NIL
            && let Some(bank) = self.bank_of(irq)
        {
            put(&mut bank.previous, irq.index(), previous);
        }
    }
}
