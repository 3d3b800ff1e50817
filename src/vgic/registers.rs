//! The registers that distributor and redistributor have in common: a bit, two bits or a byte for each interrupt.

use super::bank::{Bank, BankId, at, bits, put};
use super::{Effects, Vgic};

/// Priority bits that exist: five.
const PRIORITY_MASK: u8 = 0xf8;

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
        }
    }

    /// Writes a register with one bit for each interrupt as far as a whole word can be; returns the interrupts that must be
    /// looked at one by one. `value` names owned ones alone; those in `hardware` are the physical GIC's to pend.
    #[inline(always)]
    fn write_bits(
        &mut self,
        register: BitRegister,
        value: u32,
        hardware: u32,
        effects: &mut Effects,
    ) -> u32 {
        match register {
            BitRegister::SetEnable => {
                let new = value & !self.enabled;
                self.enabled |= new;
                effects.enable = new & hardware;
                new & self.deliverable()
            }
            BitRegister::ClearEnable => {
                let gone = value & self.enabled;
                self.enabled &= !gone;
                effects.disable = gone & hardware;
                gone & self.deliverable()
            }
            BitRegister::Group => {
                let changed = self.group & self.owned ^ value;
                self.group ^= changed;
                changed & (self.deliverable() | self.resident | self.active)
            }
            BitRegister::SetPending => {
                effects.set_pending = value & hardware;
                value & !hardware
            }
            BitRegister::ClearPending => {
                effects.clear_pending = value & hardware;
                value & self.latch
            }
            BitRegister::SetActive => value & (!self.active | self.resident),
            BitRegister::ClearActive => value & (self.active | self.resident),
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

    /// Writes a register with one bit for each interrupt.
    pub(super) fn write_bits(&mut self, id: BankId, register: BitRegister, value: u32) -> Effects {
        let Some(bank) = self.bank_mut(id) else {
            return Effects::NONE;
        };
        let value = value & bank.owned;
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
        let moved = bank.write_bits(register, value, hardware, &mut effects);
        if moved != 0 {
            (effects.kick, effects.deactivate) = self.write_each(id, register, moved);
        }
        effects
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
        let mut effects = Effects {
            first: id.first(),
            ..Effects::NONE
        };
        let Some(bank) = self.bank_mut(id) else {
            return effects;
        };
        let shift = if upper { 16 } else { 0 };
        let fixed = match id {
            BankId::Private(_) => bank.hardware | 0xffff,
            BankId::Shared(_) => 0,
        };
        let writable = bank.owned & !fixed & 0xffff << shift;
        let changed = (bank.edge ^ gather(value >> 1) << shift) & writable;
        bank.edge ^= changed;
        effects.make_edge = changed & bank.edge & bank.hardware;
        effects.make_level = changed & !bank.edge & bank.hardware;
        let moved = changed & (bank.deliverable() | bank.resident | bank.level);
        self.update_all(id, moved, &mut effects);
        effects
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
