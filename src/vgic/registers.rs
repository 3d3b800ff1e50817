//! The registers that distributor and redistributor have in common: a bit, two bits or a byte for each interrupt.

use super::bank::{Bank, BankId, at, bits, put};
use super::{Effects, SgiGroup, Vgic};
use crate::ids::VcpuId;

/// Priority bits that exist: five.
const PRIORITY_MASK: u8 = 0xf8;
/// Interrupts that one piece of a write moves between list registers and lists.
const AT_ONCE: usize = 4;
/// The same where each may change places with one that waits.
const FEW_AT_ONCE: usize = 3;

/// What is left of a write to a register of many interrupts, or of an SGI to many vCPUs: [`Vgic::continue_write`] does the
/// next piece. For the caller it has no parts.
///
/// A piece is a write of the same register that names fewer interrupts, so the model is whole between pieces; others see
/// a register that changes bit by bit, as the architecture allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    /// A register with one bit for each interrupt.
    #[doc(hidden)]
    Bits(BitsLeft),
    /// An SGI.
    #[doc(hidden)]
    Sgi {
        intid: u16,
        group: SgiGroup,
        /// vCPUs that do not have it yet.
        targets: u32,
    },
    /// An SGI of GICv2.
    #[doc(hidden)]
    SentSgi {
        intid: u16,
        from: u8,
        /// vCPUs that do not have it yet.
        targets: u32,
    },
    /// The targets of SPIs, GICv2's: one interrupt is a piece.
    #[doc(hidden)]
    Targets {
        intid: u16,
        /// The bytes that are left.
        bytes: u8,
        value: u32,
    },
    /// Who sent SGIs to a vCPU, GICv2's: one SGI is a piece.
    #[doc(hidden)]
    Senders {
        vcpu: VcpuId,
        /// Whether they are made pending, or taken back.
        pends: bool,
        sgi: u8,
        /// The bytes that are left.
        bytes: u8,
        value: u32,
    },
}

/// What is left of a write to a register with one bit for each interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitsLeft {
    bank: BankId,
    register: BitRegister,
    value: u32,
    /// Interrupts that are still to be written.
    pub(super) mask: u32,
}

/// A register with one bit for each interrupt of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BitRegister {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
    /// The trigger: ICFGR, gathered to one bit for each interrupt.
    Edge,
}

/// What is to be looked at one by one: in this piece, and in further ones.
pub(super) struct Moved {
    pub now: u32,
    pub later: u32,
}

impl Moved {
    /// Splits a mask after a piece's worth of interrupts.
    #[inline(always)]
    pub fn of(mask: u32) -> Self {
        Self::after(AT_ONCE, mask)
    }

    /// Splits a mask after so many interrupts.
    #[inline(always)]
    pub fn after(count: usize, mask: u32) -> Self {
        let mut later = mask;
        if mask != 0 {
            for _ in 0..count {
                later &= later.wrapping_sub(1);
            }
        }
        Self {
            now: mask & !later,
            later,
        }
    }
}

impl BitRegister {
    /// Returns the register block at an offset, 0x80 bytes each from 0x80, alike in the distributor and in a
    /// redistributor's SGI frame.
    pub const fn at(offset: u32) -> Option<Self> {
        match offset >> 7 {
            1 => Some(Self::Group),
            2 => Some(Self::SetEnable),
            3 => Some(Self::ClearEnable),
            4 => Some(Self::SetPending),
            5 => Some(Self::ClearPending),
            6 => Some(Self::SetActive),
            7 => Some(Self::ClearActive),
            _ => None,
        }
    }
}

impl Bank {
    /// Reads a register with one bit for each interrupt.
    pub const fn read_bits(&self, register: BitRegister) -> u32 {
        match register {
            BitRegister::Group => self.group,
            BitRegister::SetEnable | BitRegister::ClearEnable => self.enabled,
            BitRegister::SetPending | BitRegister::ClearPending => self.pending(),
            BitRegister::SetActive | BitRegister::ClearActive => self.active,
            BitRegister::Edge => self.edge,
        }
    }

    /// Writes a register with one bit for each interrupt, for the interrupts of `mask`, which are owned: as far as a whole
    /// word can be, and without those that are left for later. Returns the interrupts that must be looked at one by one.
    /// Those in `hardware` are the physical GIC's to pend.
    #[inline(always)]
    fn write_bits(
        &mut self,
        register: BitRegister,
        value: u32,
        mask: u32,
        hardware: u32,
        effects: &mut Effects,
    ) -> Moved {
        let named = value & mask;
        match register {
            BitRegister::SetEnable => {
                let new = named & !self.enabled;
                let moved = Moved::of(new & self.deliverable());
                self.enabled |= new & !moved.later;
                effects.switch = new & hardware & !moved.later;
                moved
            }
            BitRegister::ClearEnable => {
                let gone = named & self.enabled;
                let moved = Moved::of(gone & self.deliverable());
                self.enabled &= !gone | moved.later;
                effects.switch = gone & hardware & !moved.later;
                moved
            }
            BitRegister::Group => {
                let changed = (self.group ^ value) & mask;
                let placed = self.deliverable() | self.resident | self.active;
                let moved = Moved::after(FEW_AT_ONCE, changed & placed);
                self.group ^= changed & !moved.later;
                moved
            }
            BitRegister::Edge => {
                let changed = (self.edge ^ value) & mask;
                // The trigger says what a line that is up means, and nothing else. The physical trigger of each is a
                // register of its own.
                let moved = Moved::after(FEW_AT_ONCE, changed & (self.level | hardware));
                let changed = changed & !moved.later;
                self.edge ^= changed;
                effects.trigger = changed & hardware;
                moved
            }
            BitRegister::SetPending => {
                effects.set_pending = named & hardware;
                Moved::of(named & !hardware)
            }
            BitRegister::ClearPending => {
                let moved = Moved::of(named & self.latch);
                effects.clear_pending = named & hardware & !moved.later;
                moved
            }
            BitRegister::SetActive => {
                Moved::after(FEW_AT_ONCE, named & (!self.active | self.resident))
            }
            BitRegister::ClearActive => {
                Moved::after(FEW_AT_ONCE, named & (self.active | self.resident))
            }
        }
    }

    /// Reads `count` bytes of IPRIORITYR from the one of the interrupt at `index`.
    pub fn read_priorities(&self, index: usize, count: usize) -> u32 {
        let bytes = (index..index + count).rev();
        bytes.fold(0, |word, index| {
            word << 8 | u32::from(at(&self.priority, index))
        })
    }

    /// Reads the ICFGR word of the lower or upper 16 interrupts.
    pub const fn read_config(&self, upper: bool) -> u32 {
        let half = if upper {
            self.edge >> 16
        } else {
            self.edge & 0xffff
        };
        spread(half) << 1
    }
}

impl Vgic<'_> {
    /// Returns a whole bank.
    pub(super) fn bank(&self, id: BankId) -> Option<&Bank> {
        match id {
            BankId::Private(vcpu) => self.cpus.get(vcpu.0 as usize).map(|cpu| &cpu.private),
            BankId::Shared(index) => self.spis.get(index as usize).map(|spis| &spis.bank),
        }
    }

    /// Returns a whole bank, to change it.
    fn bank_mut(&mut self, id: BankId) -> Option<&mut Bank> {
        match id {
            BankId::Private(vcpu) => self
                .cpus
                .get_mut(vcpu.0 as usize)
                .map(|cpu| &mut cpu.private),
            BankId::Shared(index) => self.spis.get_mut(index as usize).map(|spis| &mut spis.bank),
        }
    }

    /// Writes a register with one bit for each interrupt, or the first piece of it.
    #[inline]
    pub(super) fn write_bits(&mut self, id: BankId, register: BitRegister, value: u32) -> Effects {
        self.write_masked(id, register, value, u32::MAX)
    }

    /// Does the next piece of a write.
    pub fn continue_write(&mut self, rest: Unfinished) -> Effects {
        match rest {
            Unfinished::Bits(rest) => {
                self.write_masked(rest.bank, rest.register, rest.value, rest.mask)
            }
            Unfinished::Sgi {
                intid,
                group,
                targets,
            } => self.send_sgi(intid, group, targets),
            Unfinished::SentSgi {
                intid,
                from,
                targets,
            } => self.send_from(intid, from, targets),
            Unfinished::Targets {
                intid,
                bytes,
                value,
            } => self.write_targets(intid, bytes, value),
            Unfinished::Senders {
                vcpu,
                pends,
                sgi,
                bytes,
                value,
            } => self.write_senders(vcpu, pends, (sgi, bytes), value),
        }
    }

    /// Writes a register with one bit for each interrupt, for the interrupts of a mask.
    fn write_masked(
        &mut self,
        id: BankId,
        register: BitRegister,
        value: u32,
        mask: u32,
    ) -> Effects {
        let Some(bank) = self.bank_mut(id) else {
            return Effects::NONE;
        };
        let mask = mask & bank.owned;
        let (vcpu, hardware) = match id {
            // The physical PPIs are banked and stay as EL2 set them: the guest's words act on the model alone.
            BankId::Private(vcpu) => (vcpu.0, 0),
            BankId::Shared(_) => (0, bank.hardware),
        };
        let mut effects = Effects {
            first: id.first(),
            vcpu,
            ..Effects::NONE
        };
        let moved = bank.write_bits(register, value, mask, hardware, &mut effects);
        if moved.now != 0 {
            (effects.kick, effects.deactivate) = self.write_each(id, register, moved.now);
        }
        if moved.later != 0 {
            effects.rest = Some(Unfinished::Bits(BitsLeft {
                bank: id,
                register,
                value,
                mask: moved.later,
            }));
        }
        effects
    }

    /// Returns the interrupt that a write of the distributor's GICD_ISPENDR pends, when it is a single one that the guest
    /// owns with nothing physical behind it: what the write comes to is then a [`Vgic::deliver_directly`], if that is
    /// possible.
    #[inline]
    pub fn pended_alone(&self, offset: u64, width: u8, value: u64) -> Option<u16> {
        let (id, register) = super::distributor::bit_register(u32::try_from(offset).ok()?, width)?;
        let bank = self
            .bank(id)
            .filter(|_| register == BitRegister::SetPending)?;
        let pended = value as u32 & bank.owned;
        let single = pended.is_power_of_two() && pended & bank.hardware == 0;
        single.then(|| id.first() | pended.trailing_zeros() as u16)
    }

    /// Does what a write of one means for each interrupt of a mask; returns vCPUs to kick and physical interrupts to
    /// deactivate.
    #[inline(never)]
    fn write_each(&mut self, id: BankId, register: BitRegister, mask: u32) -> (u16, u32) {
        let mut effects = Effects::NONE;
        for bit in bits(mask) {
            let irq = id.irq(bit);
            match register {
                BitRegister::SetPending => self.pend(irq, &mut effects.kick),
                BitRegister::ClearPending => self.unpend(irq, &mut effects),
                BitRegister::SetActive => self.set_active(irq, &mut effects.kick),
                BitRegister::ClearActive => self.set_inactive(irq, &mut effects),
                _ => self.update(irq, &mut effects.kick),
            }
        }
        (effects.kick, effects.deactivate)
    }

    /// Writes `count` bytes of IPRIORITYR from the one of the interrupt at `index`.
    pub(super) fn write_priorities(
        &mut self,
        id: BankId,
        index: usize,
        count: usize,
        value: u32,
    ) -> Effects {
        let mut effects = Effects::NONE;
        let mut rest = value;
        for index in index..index + count {
            let priority = rest as u8 & PRIORITY_MASK;
            rest >>= 8;
            let bit = 1 << (index & 31);
            let Some(bank) = self.bank_mut(id) else {
                return effects;
            };
            if bank.owned & bit == 0 || at(&bank.priority, index) == priority {
                continue;
            }
            put(&mut bank.priority, index, priority);
            let moved = bit & (bank.deliverable() | bank.resident | bank.active);
            self.update_all(id, moved, &mut effects);
        }
        effects
    }

    /// Writes the ICFGR word of the lower or upper 16 interrupts. SGIs are always edge-triggered, and a PPI with hardware
    /// behind it is what the hardware is.
    pub(super) fn write_config(&mut self, id: BankId, upper: bool, value: u32) -> Effects {
        let shift = if upper { 16 } else { 0 };
        let fixed = match (id, self.bank(id)) {
            (BankId::Private(_), Some(bank)) => bank.hardware | 0xffff,
            _ => 0,
        };
        let edge = gather(value >> 1) << shift;
        self.write_masked(id, BitRegister::Edge, edge, !fixed & 0xffff << shift)
    }

    /// Brings the interrupts of a mask to where they belong.
    fn update_all(&mut self, id: BankId, mask: u32, effects: &mut Effects) {
        for bit in bits(mask) {
            self.update(id.irq(bit), &mut effects.kick);
        }
    }
}

/// Moves bit n of the lower half to bit 2n.
const fn spread(half: u32) -> u32 {
    let word = (half | half << 8) & 0x00ff_00ff;
    let word = (word | word << 4) & 0x0f0f_0f0f;
    let word = (word | word << 2) & 0x3333_3333;
    (word | word << 1) & 0x5555_5555
}

/// Moves bit 2n to bit n; odd bits are dropped.
const fn gather(word: u32) -> u32 {
    let word = word & 0x5555_5555;
    let word = (word | word >> 1) & 0x3333_3333;
    let word = (word | word >> 2) & 0x0f0f_0f0f;
    let word = (word | word >> 4) & 0x00ff_00ff;
    (word | word >> 8) & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_and_gathers_alternate_bits() {
        assert_eq!(spread(0xffff), 0x5555_5555);
        assert_eq!(spread(0x8001), 0x4000_0001);
        assert_eq!(gather(0xaaaa_aaaa >> 1), 0xffff);
        assert_eq!(gather(0x4000_0001), 0x8001);
    }
}
