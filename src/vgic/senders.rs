//! GICv2's SGIs: one instance for each sender. They have one active state, so that one instance after the other is
//! delivered, those of the lowest CPU first.
//!
//! # Source
//! Arm IHI 0048 (GICv2), "Software-generated interrupts", and the register pages `GICD_SGIR`, `GICD_CPENDSGIRn` and
//! `GICD_SPENDSGIRn`.

use super::Effects;
use super::Vgic;
use super::bank::{Irq, bits, set};
use super::list_register::{ACTIVE, EOI, HW, PENDING, PHYSICAL, SENT, intid, sender, with_sender};
use super::queue::flag;
use super::registers::{Moved, Unfinished};
use crate::ids::VcpuId;

/// SGIs of a vCPU.
pub(super) const SGIS: usize = 16;

/// Targets that get an SGI in one piece of its sending: each costs more than an interrupt without a sender.
const AT_ONCE: usize = 2;

/// Who sent the SGIs of a vCPU.
#[derive(Clone, Debug)]
pub(super) struct Senders {
    /// By SGI: the vCPUs of which one is pending, as a mask. The interrupt's latch is set as long as it is not zero.
    pending: [u8; SGIS],
    /// By SGI: whose instance was shown last. When the SGI is active that is the active one.
    shown: [u8; SGIS],
}

impl Senders {
    /// Nobody sent anything.
    pub const fn new() -> Self {
        Self {
            pending: [0; SGIS],
            shown: [0; SGIS],
        }
    }

    /// Returns the senders of which an SGI is pending.
    pub fn pending(&self, sgi: usize) -> u8 {
        self.pending.get(sgi).copied().unwrap_or(0)
    }

    /// Returns the sender whose instance a list register is to show.
    pub fn next(&self, sgi: usize, active: bool) -> u8 {
        match self.pending(sgi) {
            waiting if !active && waiting != 0 => waiting.trailing_zeros() as u8,
            _ => self.shown.get(sgi).copied().unwrap_or(0),
        }
    }

    /// Notes what a list register shows from here on.
    pub fn show(&mut self, image: u64) {
        if image & SENT != 0
            && let Some(shown) = self.shown.get_mut(usize::from(intid(image)))
        {
            *shown = sender(image);
        }
    }

    /// Adds or takes away pending senders.
    fn change(&mut self, sgi: usize, mask: u8, pending: bool) {
        if let Some(senders) = self.pending.get_mut(sgi) {
            *senders = match pending {
                true => *senders | mask,
                false => *senders & !mask,
            };
        }
    }
}

impl Vgic<'_> {
    /// Sends an SGI as a vCPU's write to `GICD_SGIR` asks: `TargetListFilter` 25:24, `CPUTargetList` 23:16, `SGIINTID` 3:0.
    pub(super) fn write_sgir(&mut self, from: VcpuId, value: u32) -> Effects {
        let everyone = 1u32.wrapping_shl(self.cpus.len() as u32).wrapping_sub(1);
        let own = 1u32.wrapping_shl(from.0.into());
        let targets = match value >> 24 & 3 {
            0 => value >> 16 & 0xff & everyone,
            1 => everyone & !own,
            2 => own,
            _ => 0,
        };
        self.send_from(value as u16 & 0xf, from.0, targets)
    }

    /// Sends an SGI of a vCPU to those of a mask, or to the first ones of them.
    pub(super) fn send_from(&mut self, intid: u16, from: u8, targets: u32) -> Effects {
        let mut kick = 0;
        let targets = Moved::after(AT_ONCE, targets);
        for vcpu in bits(targets.now) {
            let irq = Irq {
                vcpu: vcpu as u8,
                intid,
            };
            self.pend_from(irq, 1u8.wrapping_shl(from.into()), &mut kick);
        }
        let rest = Unfinished::SentSgi {
            intid,
            from,
            targets: targets.later,
        };
        Effects {
            kick,
            rest: (targets.later != 0).then_some(rest),
            ..Effects::NONE
        }
    }

    /// Makes an SGI pending of the senders in a mask.
    pub(super) fn pend_from(&mut self, irq: Irq, senders: u8, kick: &mut u16) {
        let (sgi, bit, ahead) = (irq.index(), irq.bit(), self.is_ahead(irq));
        let Some(cpu) = self.cpus.get_mut(usize::from(irq.vcpu)) else {
            return;
        };
        if senders == 0 || sgi >= SGIS {
            return;
        }
        cpu.senders.change(sgi, senders, true);
        cpu.private.latch |= bit;
        // The guest may have acknowledged that one's meanwhile; what it has shows when it is folded.
        let shown = 1u8.wrapping_shl(cpu.senders.next(sgi, true).into());
        if ahead && senders & shown != 0 {
            cpu.private.again |= bit;
        }
        self.update(irq, kick);
    }

    /// Takes the pending state of the senders in a mask back from an SGI of a vCPU that is folded.
    pub(super) fn unpend_from(&mut self, irq: Irq, senders: u8, effects: &mut Effects) {
        let sgi = irq.index();
        let Some(cpu) = self.cpus.get_mut(usize::from(irq.vcpu)) else {
            return;
        };
        cpu.senders.change(sgi, senders, false);
        match cpu.senders.pending(sgi) {
            0 => self.unpend(irq, effects),
            _ => self.update(irq, &mut effects.kick),
        }
    }

    /// A list register that held an SGI is folded: when the guest has acknowledged it, its sender's is not pending any more,
    /// unless it was sent anew; others' are.
    pub(super) fn take_sent(&mut self, vcpu: u8, then: u64, now: u64) {
        let sgi = usize::from(intid(then));
        let Some(cpu) = self.cpus.get_mut(usize::from(vcpu)) else {
            return;
        };
        if then & SENT == 0 || then & PENDING == 0 || now & PENDING != 0 {
            return;
        }
        let bit = 1u32.wrapping_shl(sgi as u32);
        if cpu.private.again & bit == 0 {
            let mask = 1u8.wrapping_shl(sender(then).into());
            cpu.senders.change(sgi, mask, false);
        }
        let left = cpu.senders.pending(sgi) != 0;
        set(&mut cpu.private.again, bit, left);
    }

    /// Returns the senders of which an SGI of a vCPU is pending: a byte of `GICD_SPENDSGIR` and `GICD_CPENDSGIR`.
    pub(super) fn senders_of(&self, vcpu: VcpuId, sgi: usize) -> u8 {
        let cpu = self.cpus.get(usize::from(vcpu.0));
        cpu.map_or(0, |cpu| cpu.senders.pending(sgi))
    }

    /// Returns GICv2's image of a list register for GICv3's: an SGI has its sender, is never pending and active at once, and
    /// is watched while other senders' instances wait; so is what has a physical interrupt behind it.
    #[inline(never)]
    pub(super) fn as_gicv2(&self, irq: Irq, image: u64) -> u64 {
        if image & HW != 0 {
            return image & !(HW | PHYSICAL) | EOI;
        }
        if usize::from(irq.intid) >= SGIS {
            return image;
        }
        let Some(cpu) = self.cpus.get(usize::from(irq.vcpu)) else {
            return image;
        };
        let active = image & ACTIVE != 0;
        let sender = cpu.senders.next(irq.index(), active);
        let shown = match active {
            true => 0,
            false => 1u8.wrapping_shl(sender.into()),
        };
        let others = cpu.senders.pending(irq.index()) & !shown != 0;
        let image = match active {
            true => image & !PENDING,
            false => image,
        };
        with_sender(image, sender) | if others { EOI } else { 0 }
    }

    /// Makes a vCPU what it is after a reset with GICv2: its SGIs are enabled for good.
    pub(super) fn reset_as_gicv2(&mut self, vcpu: usize) {
        if let Some(cpu) = self.cpus.get_mut(vcpu).filter(|_| self.sourced) {
            cpu.private.enabled = ((1 << SGIS) - 1) as u32;
            cpu.stage.flags = flag::UNLINKED;
        }
    }
}
