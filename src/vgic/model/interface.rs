//! A small model of the hardware's virtual CPU interface.

use super::super::list_register::{ACTIVE, EOI, GROUP1, HW, PENDING, STATE};
use super::super::{Ends, hcr};

/// `ICH_VMCR_EL2`: VPMR = 0xf8, VBPR0 = 2, VBPR1 = 3, both groups enabled.
pub const OPEN: u32 = 0xf8 << 24 | 2 << 21 | 3 << 18 | 3;

/// Hardware of one CPU's virtual interface.
#[derive(Clone, Debug)]
pub struct Cpu {
    pub lr: Vec<u64>,
    pub vmcr: u32,
    pub active: [u32; 2],
    pub hcr: u32,
    pub eoi_count: u32,
    /// In the guest.
    pub inside: bool,
}

/// What the guest's writes to EOIR and DIR make the hardware do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deactivation {
    Nothing,
    Physical(u16),
}

impl Cpu {
    pub fn new(list_registers: usize) -> Self {
        Self {
            lr: vec![0; list_registers],
            vmcr: OPEN,
            active: [0; 2],
            hcr: 0,
            eoi_count: 0,
            inside: false,
        }
    }

    fn group_open(&self, lr: u64) -> bool {
        self.vmcr & if lr & GROUP1 != 0 { 2 } else { 1 } != 0
    }

    pub fn running(&self) -> u32 {
        match self.active[0] | self.active[1] {
            0 => 0x100,
            active => active.trailing_zeros() << 3,
        }
    }

    /// Returns the list register that is signalled now.
    pub fn signalled(&self) -> Option<usize> {
        let slot = (0..self.lr.len())
            .filter(|&slot| self.lr[slot] & STATE == PENDING && self.group_open(self.lr[slot]))
            .min_by_key(|&slot| self.lr[slot] >> 48 & 0xff)?;
        let priority = (self.lr[slot] >> 48 & 0xff) as u32;
        (priority < self.vmcr >> 24 && priority < self.running()).then_some(slot)
    }

    /// Reads IAR.
    pub fn acknowledge(&mut self) -> Option<u16> {
        let slot = self.signalled()?;
        let lr = &mut self.lr[slot];
        *lr = *lr & !STATE | ACTIVE;
        self.active[usize::from(*lr & GROUP1 != 0)] |= 1 << (*lr >> 51 & 31);
        Some(*lr as u16)
    }

    /// Drops the running priority; returns the group and the priority of what was running, if anything was.
    pub fn drop_priority(&mut self) -> Option<(usize, u64)> {
        let lowest = (self.active[0] | self.active[1]).trailing_zeros();
        let bit = 1u32.checked_shl(lowest)?;
        let group = usize::from(self.active[1] & bit != 0);
        self.active[group] &= !bit;
        Some((group, u64::from(lowest) << 3))
    }

    /// Writes the EOIR of the group that runs, with EOImode = 0.
    ///
    /// The priority drops in any case. What a list register then holds is deactivated only if it is of that group and has
    /// the priority that was dropped; an end that drops no priority is not counted either.
    ///
    /// # Source
    /// Arm IHI 0069, "ICV_EOIR1_EL1", "ICH_HCR_EL2" (`EOIcount`), and the pseudocode of a virtual end of interrupt.
    pub fn end(&mut self, intid: u16) -> Deactivation {
        let Some((group, priority)) = self.drop_priority() else {
            return Deactivation::Nothing;
        };
        let held = self.slot_of_active(intid).map(|slot| self.lr[slot]);
        let other = |lr: u64| usize::from(lr & GROUP1 != 0) != group || lr >> 48 & 0xf8 != priority;
        match held {
            Some(lr) if other(lr) => Deactivation::Nothing,
            _ => self.deactivate(intid),
        }
    }

    /// Returns what was ended outside of the list registers, as a fold is to know it.
    pub fn ends(&mut self) -> Ends {
        let count = std::mem::take(&mut self.eoi_count);
        Ends::new(count, self.active[0] | self.active[1])
    }

    /// Returns the list register in which an interrupt is active.
    fn slot_of_active(&self, intid: u16) -> Option<usize> {
        let mut lrs = self.lr.iter();
        lrs.position(|lr| *lr as u16 == intid && lr & ACTIVE != 0)
    }

    /// Deactivates as an untrapped DIR does, whatever the priority.
    pub fn deactivate(&mut self, intid: u16) -> Deactivation {
        let Some(slot) = self.slot_of_active(intid) else {
            self.eoi_count = (self.eoi_count + 1) & 31;
            return Deactivation::Nothing;
        };
        self.lr[slot] &= !ACTIVE;
        match self.lr[slot] & HW {
            0 => Deactivation::Nothing,
            _ => Deactivation::Physical((self.lr[slot] >> 32 & 0x1fff) as u16),
        }
    }

    /// Says whether the maintenance interrupt is asserted.
    pub fn maintenance(&self) -> bool {
        let eoi = |lr: &u64| lr & (STATE | HW) == 0 && lr & EOI != 0;
        let asks = |bit: u32, when: bool| self.hcr & bit != 0 && when;
        self.lr.iter().any(eoi)
            || asks(hcr::LRENPIE, self.eoi_count != 0)
            || asks(hcr::NPIE, self.lr.iter().all(|lr| lr & PENDING == 0))
            || asks(hcr::VGRP0EIE, self.vmcr & 1 != 0)
            || asks(hcr::VGRP0DIE, self.vmcr & 1 == 0)
            || asks(hcr::VGRP1EIE, self.vmcr & 2 != 0)
            || asks(hcr::VGRP1DIE, self.vmcr & 2 == 0)
    }
}
