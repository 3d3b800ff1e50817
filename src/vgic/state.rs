//! The state of an interrupt: what changes it, and where the interrupt then belongs.

use super::bank::{Bank, Irq, NOBODY, UNLISTED, at, put, set, vcpu_bit};
use super::list_register::{
    ACTIVE, EOI, HW, Link, ListRegister, PHYSICAL, STATE, TAKEN, is_signalled,
};
use super::queue::{Kind, MARKED, Stage, flag, list_of};
use super::{Effects, Vgic};
use crate::ids::VcpuId;

/// What keeps a pending interrupt from going straight into a free list register of its vCPU.
const NOT_PLAINLY: u8 = flag::LIVE | flag::WAITING | flag::UNLINKED;

impl Vgic<'_> {
    /// Moves the line of an emulated device: `intid` is an SPI, or a PPI of `vcpu`. An interrupt with hardware behind it,
    /// or one that the guest does not own, has no such line.
    pub fn set_line(&mut self, intid: u16, vcpu: Option<VcpuId>, level: bool) -> Effects {
        let irq = Irq {
            vcpu: vcpu.map_or(0, |vcpu| vcpu.0),
            intid,
        };
        let mut kick = 0;
        let bit = irq.bit();
        let Some(bank) = self.bank_of(irq) else {
            return Effects::NONE;
        };
        let usable = bank.owned & !bank.hardware & bit != 0;
        if !usable || (bank.level & bit != 0) == level {
            return Effects::NONE;
        }
        set(&mut bank.level, bit, level);
        if bank.edge & bit == 0 {
            self.update(irq, &mut kick);
        } else if level {
            self.pend(irq, &mut kick);
        }
        Effects {
            kick,
            ..Effects::NONE
        }
    }

    /// Raises an edge-triggered SPI that has nothing physical behind it, as a doorbell does. While it is pending already
    /// nothing changes.
    pub fn ring(&mut self, intid: u16) -> Effects {
        let irq = Irq { vcpu: 0, intid };
        let bit = irq.bit();
        let mut kick = 0;
        match self.bank_of(irq) {
            Some(bank) if !irq.is_private() && bank.owned & !bank.hardware & bit != 0 => {
                let waits = bank.latch & !bank.resident | bank.again;
                if waits & bit == 0 {
                    self.pend(irq, &mut kick);
                }
            }
            _ => {}
        }
        Effects {
            kick,
            ..Effects::NONE
        }
    }

    /// Tells the level of a hardware PPI (27, the virtual timer) as it stands in the timer of the current vCPU, folded
    /// before: ISPENDR shows it, and an occurrence that the guest did not acknowledge before the level fell is gone.
    pub fn set_ppi_level(&mut self, vcpu: VcpuId, intid: u16, level: bool) -> Effects {
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        let bit = irq.bit();
        match self.bank_of(irq) {
            Some(bank) if irq.is_private() && bank.hardware & bit != 0 => {
                set(&mut bank.level, bit, level);
                if level || bank.physical & !bank.active & bit == 0 {
                    return Effects::NONE;
                }
            }
            _ => return Effects::NONE,
        }
        let mut effects = Effects {
            vcpu: vcpu.0,
            ..Effects::NONE
        };
        self.unpend(irq, &mut effects);
        effects
    }

    /// Takes a physical interrupt that EL2 acknowledged and dropped the priority of, and that is still active; `vcpu`
    /// says whose it is when it is a PPI. One that the guest does not own is deactivated again.
    pub fn physical_pending(&mut self, intid: u16, vcpu: VcpuId) -> Effects {
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        let (mut kick, mut deactivate) = (0, 0);
        match self.bank_of(irq) {
            Some(bank) if bank.hardware & irq.bit() != 0 => {
                bank.physical |= irq.bit();
                self.pend_here(irq, &mut kick);
            }
            _ => deactivate = irq.bit(),
        }
        Effects {
            kick,
            first: intid & !31,
            vcpu: vcpu.0,
            deactivate,
            ..Effects::NONE
        }
    }

    /// Deactivates an interrupt as the trapped `ICC_DIR_EL1` of a vCPU asks, folded before. `intid` is as written.
    pub fn deactivate(&mut self, vcpu: VcpuId, intid: u32) -> Effects {
        let Ok(intid) = u16::try_from(intid) else {
            return Effects::NONE;
        };
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        let mut effects = Effects {
            first: intid & !31,
            vcpu: vcpu.0,
            ..Effects::NONE
        };
        if self
            .bank_at(irq)
            .is_some_and(|bank| (bank.active | bank.resident) & irq.bit() != 0)
        {
            self.set_inactive(irq, &mut effects);
        }
        effects
    }

    /// Makes an interrupt pending by an edge or by software.
    #[inline(never)]
    pub(super) fn pend(&mut self, irq: Irq, kick: &mut u16) {
        self.pend_here(irq, kick);
    }

    /// [`Vgic::pend`] for the callers that must be fast.
    #[inline(always)]
    pub(super) fn pend_here(&mut self, irq: Irq, kick: &mut u16) {
        let (groups, slots) = (self.groups, self.slots);
        let Some((bank, stage, target)) = self.at_target(irq) else {
            return self.pend_anywhere(irq, kick);
        };
        bank.latch |= irq.bit();
        if stage.present(bank, irq, groups, slots, NOT_PLAINLY) {
            put(&mut bank.home, irq.index(), target);
            *kick |= vcpu_bit(target);
        } else if bank.resident & irq.bit() == 0 {
            self.place(irq, kick);
        } else {
            self.pend_anywhere(irq, kick);
        }
    }

    /// [`Vgic::pend`] for an interrupt that is in a list register, or that no vCPU takes.
    #[inline(never)]
    fn pend_anywhere(&mut self, irq: Irq, kick: &mut u16) {
        let again = if self.is_ahead(irq) { irq.bit() } else { 0 };
        if let Some(bank) = self.bank_of(irq) {
            bank.latch |= irq.bit();
            bank.again |= again;
        }
        self.update(irq, kick);
    }

    /// Returns the bank of an interrupt, and list registers and number of the vCPU that takes it.
    #[inline]
    pub(super) fn at_target(&mut self, irq: Irq) -> Option<(&mut Bank, &mut Stage, u8)> {
        if irq.is_private() {
            let cpu = self.cpus.get_mut(irq.vcpu as usize)?;
            return Some((&mut cpu.private, &mut cpu.stage, irq.vcpu));
        }
        let spis = self
            .spis
            .get_mut((irq.intid as usize >> 5).wrapping_sub(1))?;
        let target = at(&spis.target, irq.index());
        let cpu = self.cpus.get_mut(target as usize)?;
        Some((&mut spis.bank, &mut cpu.stage, target))
    }

    /// Takes an interrupt's latch back. A physical interrupt that had set it is deactivated, else it could never come
    /// again: at once where it came since the guest ended the one before, of which the model has yet to hear.
    pub(super) fn unpend(&mut self, irq: Irq, effects: &mut Effects) {
        let bit = irq.bit();
        let Some(bank) = self.bank_of(irq) else {
            return;
        };
        bank.latch &= !bit;
        if bank.physical & bank.again & bit != 0 && !irq.is_private() {
            // Nothing else pends an SPI that has hardware behind it, and it comes again only when it was ended.
            bank.physical &= !bit;
            effects.deactivate |= bit;
        }
        bank.again &= !bit;
        if bank.physical & bit != 0 {
            self.release(irq, effects);
        }
        self.update(irq, &mut effects.kick);
    }

    /// Makes an interrupt active at the guest's word.
    pub(super) fn set_active(&mut self, irq: Irq, kick: &mut u16) {
        let target = match self.target(irq) {
            NOBODY => 0,
            vcpu => vcpu,
        };
        let bit = irq.bit();
        self.unlink(irq);
        let ahead = self.is_ahead(irq);
        if let Some(bank) = self.bank_of(irq) {
            if !ahead {
                bank.marked |= bit & !bank.active;
            }
            bank.active |= bit;
            set(&mut bank.forced, bit, ahead);
            bank.dropped &= !bit;
            if bank.resident & bit == 0 {
                put(&mut bank.home, irq.index(), target);
            }
        }
        self.update(irq, kick);
    }

    /// Makes an active interrupt inactive, and the physical one with it.
    pub(super) fn set_inactive(&mut self, irq: Irq, effects: &mut Effects) {
        let ahead = self.is_ahead(irq);
        let bit = irq.bit();
        let Some(bank) = self.bank_of(irq) else {
            return;
        };
        bank.active &= !bit;
        bank.marked &= !bit;
        bank.forced &= !bit;
        set(&mut bank.dropped, bit, ahead);
        if bank.physical & bit != 0 {
            self.release(irq, effects);
        }
        self.update(irq, &mut effects.kick);
    }

    /// Deactivates the physical interrupt when nothing of the virtual one is left. That of a live vCPU's PPI is banked on
    /// its own pCPU, so its next `fold` does it.
    fn release(&mut self, irq: Irq, effects: &mut Effects) {
        let bit = irq.bit();
        let Some(bank) = self.bank_at(irq) else {
            return;
        };
        if bank.physical & !(bank.latch | bank.active) & bit == 0 {
            return;
        }
        if irq.is_private()
            && let Some(cpu) = self.cpus.get_mut(irq.vcpu as usize)
            && cpu.stage.is(flag::LIVE)
        {
            cpu.stage.flags |= flag::RESTAGE;
            effects.kick |= vcpu_bit(irq.vcpu);
            return;
        }
        if let Some(bank) = self.bank_of(irq) {
            bank.physical &= !bit;
        }
        effects.deactivate |= bit;
    }

    /// Says whether the hardware may be ahead of the model for an interrupt: it is in a list register of a live vCPU.
    pub(super) fn is_ahead(&self, irq: Irq) -> bool {
        self.bank_at(irq)
            .filter(|bank| bank.resident & irq.bit() != 0)
            .and_then(|bank| self.cpus.get(at(&bank.home, irq.index()) as usize))
            .is_some_and(|cpu| cpu.stage.is(flag::LIVE))
    }

    /// Brings an interrupt to where its state says it belongs: a list register, a list, or nowhere.
    #[inline(never)]
    pub(super) fn update(&mut self, irq: Irq, kick: &mut u16) {
        let Some(bank) = self.bank_at(irq) else {
            return;
        };
        if bank.resident & irq.bit() == 0 {
            return self.place(irq, kick);
        }
        let home = at(&bank.home, irq.index());
        let Some(stage) = self.stage(home) else {
            return;
        };
        if stage.is(flag::LIVE) {
            stage.flags |= flag::RESTAGE;
            *kick |= vcpu_bit(home);
        } else if let Some(slot) = stage.slot_of(irq.intid) {
            let before = stage.list_register(slot);
            self.restage(home, slot, kick);
            let after = self
                .stage(home)
                .map_or(0, |stage| stage.list_register(slot));
            // One that waits may have waited for just this.
            if after != before && is_signalled(after) {
                *kick |= vcpu_bit(home);
            }
        }
    }

    /// Puts an interrupt that is in no list register into the right list, or straight into a free list register when
    /// nothing waits before it.
    #[inline(never)]
    pub(super) fn place(&mut self, irq: Irq, kick: &mut u16) {
        let index = irq.index();
        let (groups, slots, target) = (self.groups, self.slots, self.target(irq));
        let Some(bank) = self.bank_at(irq) else {
            return;
        };
        let (listed, home) = (at(&bank.list, index), at(&bank.home, index));
        let Some(kind) = bank.waits_as(irq.bit(), target) else {
            self.unlink(irq);
            return;
        };
        // An active one that is in no list and no list register is the guest's word alone.
        let (vcpu, list) = match kind {
            Kind::Spilled if listed >> 5 == kind as u8 => return,
            Kind::Spilled => (home, MARKED),
            _ => (target, list_of(kind, at(&bank.priority, index))),
        };
        if listed != UNLISTED {
            if (listed, home) != (list, vcpu) {
                self.unlink(irq);
                self.place(irq, kick);
            }
            return;
        }
        let open = (groups | 1 << Kind::Spilled as u8) >> kind as u8 & 1 != 0;
        let Some(stage) = self.stage(vcpu) else {
            return;
        };
        if open {
            *kick |= vcpu_bit(vcpu);
        }
        let free = slots & !stage.used;
        if free != 0 && open && !stage.is(flag::LIVE | flag::WAITING) {
            self.load(irq, vcpu, free.trailing_zeros() as usize, UNLISTED);
        } else {
            stage.flags |= flag::PULL;
            self.link(irq, vcpu, list, false);
        }
    }

    /// Returns the bits of a vCPU's list register that holds an interrupt, or `None` when it has no place in one. `held` is
    /// what the list register holds now, or held when an active one was moved out of it.
    #[inline(never)]
    pub(super) fn image(&self, irq: Irq, vcpu: u8, held: u64) -> Option<u64> {
        let bank = self.bank_at(irq)?;
        let (bit, index) = (irq.bit(), irq.index());
        let group1 = bank.group & bit != 0;
        let waiting = bank.deliverable() & bank.enabled & bit != 0;
        let open = self.groups >> u8::from(group1) & 1 != 0;
        let shown = waiting && open && self.target(irq) == vcpu;
        let active = bank.active & bit != 0;
        if !active && !shown {
            return None;
        }
        let register = ListRegister {
            intid: irq.intid,
            priority: at(&bank.priority, index),
            group1,
            pending: true,
            active: false,
            link: bank.link(bit),
        };
        let mut image = register.encode();
        if active {
            let shown = shown && !self.spills(vcpu);
            image = bank.active_image(bit, image, held, waiting, shown);
        }
        match self.sourced {
            false => Some(image),
            true => Some(self.as_gicv2(irq, image)),
        }
    }

    /// Says whether pending interrupts of a vCPU wait outside of its list registers though they could be signalled.
    fn spills(&self, vcpu: u8) -> bool {
        let cpu = self.cpus.get(vcpu as usize);
        cpu.is_some_and(|cpu| cpu.stage.is(flag::SPILLING))
    }
}

impl Bank {
    /// Returns in which kind of list an interrupt that is in no list register waits for one, if it does.
    #[inline]
    fn waits_as(&self, bit: u32, target: u8) -> Option<Kind> {
        if self.active & bit != 0 {
            return Some(Kind::Spilled);
        }
        if self.deliverable() & self.enabled & bit == 0 || target == NOBODY {
            return None;
        }
        Some(if self.group & bit != 0 {
            Kind::Group1
        } else {
            Kind::Group0
        })
    }

    /// Returns what happens when the guest deactivates an interrupt that was presented.
    #[inline(always)]
    const fn link(&self, bit: u32) -> Link {
        if self.physical & bit != 0 {
            Link::Physical
        } else if self.line_driven() & bit != 0 {
            Link::Maintenance
        } else {
            Link::None
        }
    }

    /// Returns the list register of an active interrupt, where `now` would be the one if it were pending alone. It waits to
    /// be delivered again, or does not, and may be shown so.
    ///
    /// It keeps the priority and the group in which the guest took it, whatever their registers say since: by these the
    /// hardware knows the end of it.
    ///
    /// Pending and active at once needs care. With hardware behind it the architecture forbids it. A line may fall before
    /// the second occurrence is delivered. While others wait outside, it would hide that nothing is left to signal. And where
    /// the priority or the group changed, the second occurrence has another one.
    /// In these cases the active state alone is shown, and the guest's deactivation brings a maintenance interrupt.
    #[inline(never)]
    fn active_image(&self, bit: u32, now: u64, held: u64, waiting: bool, shown: bool) -> u64 {
        let marked = self.marked & bit != 0;
        let mut taken = now;
        if held & ACTIVE != 0 && !marked {
            taken = now & !TAKEN | held & TAKEN;
        }
        let odd = marked || taken != now;
        let pending = waiting && shown && !odd && now & (HW | EOI) == 0;
        if pending {
            return taken | ACTIVE;
        }
        taken ^= STATE;
        match waiting || odd {
            true => taken & !(HW | PHYSICAL) | EOI,
            false => taken,
        }
    }
}

impl Stage {
    /// Puts a pending interrupt that is routed here straight into a free list register, when nothing else is to be weighed:
    /// no flag of `blocked` is set, and the interrupt is enabled, not active and in no list register. Returns
    /// false, with nothing changed, when the long way is to be taken. The model test finds every list register as
    /// [`Vgic::image`] says, whichever way it was filled.
    #[inline]
    pub fn present(
        &mut self,
        bank: &mut Bank,
        irq: Irq,
        groups: u8,
        slots: u16,
        blocked: u8,
    ) -> bool {
        let link = bank.link(irq.bit());
        self.present_as(link, bank, irq, groups, slots, blocked)
    }

    /// [`Stage::present`] with a link.
    #[inline(always)]
    pub fn present_as(
        &mut self,
        link: Link,
        bank: &mut Bank,
        irq: Irq,
        groups: u8,
        slots: u16,
        blocked: u8,
    ) -> bool {
        let bit = irq.bit();
        let free = slots & !self.used;
        let group1 = bank.group & bit != 0;
        let open = groups >> u8::from(group1) & 1 != 0;
        let plain = bank.enabled & !(bank.resident | bank.active) & bit != 0;
        if self.is(blocked) || free == 0 || !open || !plain {
            return false;
        }
        let register = ListRegister {
            intid: irq.intid,
            priority: at(&bank.priority, irq.index()),
            group1,
            pending: true,
            active: false,
            link,
        };
        bank.resident |= bit;
        self.set_list_register(free.trailing_zeros() as usize, register.encode());
        true
    }
}
