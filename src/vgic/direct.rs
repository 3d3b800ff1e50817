//! The shortest way: one more interrupt for a vCPU that stays live.

use super::Vgic;
use super::bank::{Bank, Irq, NOBODY, put, set, vcpu_bit};
use super::list_register::{EOI, HW, PENDING, STATE};
use super::queue::{Stage, flag};
use crate::ids::VcpuId;

impl Vgic<'_> {
    /// Delivers one more interrupt to the current vCPU without `fold` and `refill`, when nothing has to be weighed: a list
    /// register is free, or the one that held this interrupt last is, and nothing waits. Returns the list register to
    /// write at once, and its value; `None`, with nothing changed, sends the caller the long way round (`fold`, then
    /// [`Vgic::physical_pending`] or [`Vgic::sgi`], then `refill`), which would come to the same.
    ///
    /// `physical` says that EL2 acknowledged the physical interrupt and dropped its priority; otherwise the vCPU sent
    /// itself this SGI. `read` returns `ICH_LR<n>_EL2`. The vCPU has not been folded since it left the guest.
    pub fn deliver_directly(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        physical: bool,
        read: impl FnOnce(usize) -> u64,
    ) -> Option<(usize, u64)> {
        const SPECIAL: u8 = flag::RESTAGE | flag::PULL | flag::SPILLING | flag::WAITING;
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        let (groups, slots, bit) = (self.groups, self.slots, irq.bit());
        let (bank, stage, target) = self.at_target(irq)?;
        let known = if physical { bank.hardware } else { !0 };
        let usable = bank.enabled & known & bit != 0 && target == vcpu.0 && target != NOBODY;
        if !usable || stage.flags & (SPECIAL | flag::LIVE) != flag::LIVE {
            return None;
        }
        let open = groups >> u8::from(bank.group & bit != 0) & 1 != 0;
        if bank.resident & bit != 0 && open {
            return stage.present_again(bank, irq, physical, read);
        }
        if (bank.physical | bank.resident) & bit != 0 {
            return None;
        }
        set(&mut bank.physical, bit, physical);
        let free = slots & !stage.used;
        if !stage.present(bank, irq, groups, slots, SPECIAL) {
            bank.physical &= !bit;
            return None;
        }
        bank.latch |= bit;
        put(&mut bank.home, irq.index(), target);
        let slot = free.trailing_zeros() as usize;
        stage.changed &= !vcpu_bit(slot as u8);
        Some((slot, stage.list_register(slot)))
    }
}

impl Stage {
    /// Makes an interrupt pending in the list register that held it, if the guest is done with it there and it was
    /// presented in the same manner.
    #[inline]
    fn present_again(
        &mut self,
        bank: &mut Bank,
        irq: Irq,
        physical: bool,
        read: impl FnOnce(usize) -> u64,
    ) -> Option<(usize, u64)> {
        let slot = self.slot_of(irq.intid)?;
        let then = self.list_register(slot);
        let linked = then & HW != 0;
        let watched = !linked && then & EOI != 0;
        if linked != physical || watched || read(slot) & STATE != 0 {
            return None;
        }
        let bit = irq.bit();
        bank.latch |= bit;
        bank.active &= !bit;
        let value = then & !STATE | PENDING;
        self.accept(slot, value);
        Some((slot, value))
    }
}
