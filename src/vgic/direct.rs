//! The shortest way: one more interrupt for a vCPU that stays live.

use super::Vgic;
use super::bank::{Bank, Irq, put, set, vcpu_bit};
use super::list_register::{self, EOI, HW, Link, PENDING, STATE};
use super::queue::{Stage, flag};
use crate::ids::VcpuId;

/// What makes list registers, or what waits for one, a matter of weighing.
const SPECIAL: u8 = BUSY | flag::UNLINKED;
/// [`SPECIAL`] with GICv2.
const BUSY: u8 = flag::RESTAGE | flag::PULL | flag::SPILLING | flag::WAITING;

/// The list registers, as far as a direct delivery needs them.
pub trait Present {
    /// Writes a value to `ICH_LR<slot>_EL2` if that holds no interrupt any more, and says whether it did. May decline.
    fn present(self, slot: usize, value: u64) -> bool;
}

/// Declines: to ask whether there is a way.
#[derive(Clone, Copy)]
struct Nowhere;

impl Present for Nowhere {
    fn present(self, _: usize, _: u64) -> bool {
        false
    }
}

/// What became of an interrupt that was to be delivered directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direct {
    /// A list register shows it.
    Done,
    /// Nothing was changed; it is not in the list register of the last delivery. [`Vgic::deliver_anywhere`] may do.
    Elsewhere,
    /// Nothing was changed, and the long way is needed.
    Long,
}

impl Vgic<'_> {
    /// Delivers one more interrupt to the current vCPU without `fold` and `refill`, when nothing has to be weighed: a list
    /// register is free, or the one that held this interrupt last is, and nothing waits. Returns false, with nothing
    /// changed, where the caller goes the long way round (`fold`, then [`Vgic::physical_pending`] or [`Vgic::sgi`], then
    /// `refill`), which would come to the same.
    ///
    /// `physical` says that EL2 acknowledged the physical interrupt; otherwise the vCPU pended it itself. The vCPU has not been
    /// folded since it left the guest.
    #[inline(always)]
    pub fn deliver_directly(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        physical: bool,
        present: impl Present + Copy,
    ) -> bool {
        match self.deliver_again(vcpu, intid, physical, present) {
            Direct::Done => true,
            Direct::Elsewhere => self.deliver_anywhere(vcpu, intid, physical, present),
            Direct::Long => false,
        }
    }

    /// [`Vgic::deliver_directly`] for the interrupt that was delivered last and the guest is done with: what a timer or a
    /// device comes to again and again.
    #[inline(always)]
    pub fn deliver_again(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        physical: bool,
        present: impl Present,
    ) -> Direct {
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        let (groups, bit) = (self.groups, irq.bit());
        let Some((bank, stage, target)) = self.at_target(irq) else {
            return Direct::Long;
        };
        let known = if physical { bank.hardware } else { !0 };
        let usable = bank.enabled & known & bit != 0 && target == vcpu.0;
        let open = groups >> u8::from(bank.group & bit != 0) & 1 != 0;
        if !usable || !open || stage.flags & (SPECIAL | flag::LIVE) != flag::LIVE {
            return Direct::Long;
        }
        let slot = stage.recent as usize;
        // A free one reads as INTID 0.
        let used = stage.used & vcpu_bit(slot as u8) != 0;
        let same = used && list_register::intid(stage.list_register(slot)) == intid;
        if bank.resident & bit == 0 || !same {
            return Direct::Elsewhere;
        }
        match stage.present_again(bank, irq, slot, physical, present) {
            true => Direct::Done,
            false => Direct::Long,
        }
    }

    /// [`Vgic::deliver_directly`] for an interrupt that another list register holds, or none.
    #[inline(never)]
    pub fn deliver_anywhere(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        physical: bool,
        present: impl Present,
    ) -> bool {
        // The lock may have been free since this was asked first.
        if self.deliver_again(vcpu, intid, physical, Nowhere) != Direct::Elsewhere {
            return false;
        }
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        let (groups, slots, bit) = (self.groups, self.slots, irq.bit());
        let Some((bank, stage, target)) = self.at_target(irq) else {
            return false;
        };
        if bank.resident & bit != 0 {
            let slot = stage.slot_of(intid);
            return slot
                .is_some_and(|slot| stage.present_again(bank, irq, slot, physical, present));
        }
        if bank.physical & bit != 0 {
            return false;
        }
        set(&mut bank.physical, bit, physical);
        let free = slots & !stage.used;
        if !stage.present(bank, irq, groups, slots, SPECIAL) {
            bank.physical &= !bit;
            return false;
        }
        bank.latch |= bit;
        put(&mut bank.home, irq.index(), target);
        let slot = free.trailing_zeros() as usize;
        stage.recent = slot as u8;
        // One that is not in use holds no interrupt.
        let shown = present.present(slot, stage.list_register(slot));
        if shown {
            stage.changed &= !vcpu_bit(slot as u8);
        }
        shown
    }
}

impl Vgic<'_> {
    /// [`Vgic::deliver_directly`] with GICv2, of a physical interrupt that EL2 acknowledged.
    pub fn deliver_watched(&mut self, vcpu: VcpuId, intid: u16, present: impl Present) -> bool {
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        let (groups, slots, bit) = (self.groups, self.slots, irq.bit());
        let Some((bank, stage, target)) = self.at_target(irq) else {
            return false;
        };
        let new = bank.hardware & !bank.physical & bit != 0;
        if !new || target != vcpu.0 || !stage.is(flag::LIVE) {
            return false;
        }
        let free = slots & !stage.used;
        if !stage.present_as(Link::Maintenance, bank, irq, groups, slots, BUSY) {
            return false;
        }
        bank.physical |= bit;
        bank.latch |= bit;
        put(&mut bank.home, irq.index(), target);
        let slot = free.trailing_zeros() as usize;
        stage.recent = slot as u8;
        let shown = present.present(slot, stage.list_register(slot));
        if shown {
            stage.changed &= !vcpu_bit(slot as u8);
        }
        shown
    }
}

impl Stage {
    /// Makes an interrupt pending in the list register that held it, if the guest is done with it there and it was
    /// presented in the same manner.
    #[inline(always)]
    fn present_again(
        &mut self,
        bank: &mut Bank,
        irq: Irq,
        slot: usize,
        physical: bool,
        present: impl Present,
    ) -> bool {
        let then = self.list_register(slot);
        let linked = then & HW != 0;
        let watched = !linked && then & EOI != 0;
        let value = then & !STATE | PENDING;
        if linked != physical || watched || !present.present(slot, value) {
            return false;
        }
        let bit = irq.bit();
        bank.latch |= bit;
        bank.active &= !bit;
        if let Some(register) = self.list_registers.get_mut(slot) {
            *register = value;
        }
        self.recent = slot as u8;
        true
    }
}
