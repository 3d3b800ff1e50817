//! The list registers as a cache: taking them back after the guest ran, and choosing what they hold next.

use super::bank::{Irq, at, bits, put};
use super::list_register::{
    ACTIVE, EOI, GROUP1, HW, PENDING, STATE, intid, is_signalled, priority,
};
use super::queue::{CpuInterface, Kind, list_of};
use super::{MAX_LIST_REGISTERS, Vgic};
use crate::ids::VcpuId;

/// Bits of `ICH_HCR_EL2` that [`Refill`] asks for (Arm IHI 0069, register page `ICH_HCR_EL2`).
pub mod hcr {
    /// Maintenance interrupt while `EOIcount` is not zero.
    pub const LRENPIE: u32 = 1 << 2;
    /// Maintenance interrupt while no list register is pending.
    pub const NPIE: u32 = 1 << 3;
    /// Maintenance interrupt while the guest has group 0 enabled.
    pub const VGRP0EIE: u32 = 1 << 4;
    /// Maintenance interrupt while the guest has group 0 disabled.
    pub const VGRP0DIE: u32 = 1 << 5;
    /// Maintenance interrupt while the guest has group 1 enabled.
    pub const VGRP1EIE: u32 = 1 << 6;
    /// Maintenance interrupt while the guest has group 1 disabled.
    pub const VGRP1DIE: u32 = 1 << 7;
    /// Trap `ICC_DIR_EL1`. Where `ICH_VTR_EL2.TDS` is 0, the caller uses `TC` (bit 10) in its place.
    pub const TDIR: u32 = 1 << 14;
}

/// What to write before the guest is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Refill {
    /// Bit n: `ICH_LR<n>_EL2` gets element n of [`Vgic::list_registers`].
    pub changed: u16,
    /// Bits of [`hcr`] to set in `ICH_HCR_EL2` beside `En`; all others of them are clear, and so is `EOIcount`.
    pub hcr: u32,
    /// As in [`super::Effects::kick`].
    pub kick: u16,
}

impl CpuInterface {
    /// Returns the list register that holds an interrupt.
    pub(super) fn slot_of(&self, wanted: u16) -> Option<usize> {
        bits(self.used.into())
            .map(|slot| slot as usize)
            .find(|&slot| intid(self.list_register(slot)) == wanted)
    }

    /// Returns the bits of a list register.
    pub(super) fn list_register(&self, slot: usize) -> u64 {
        self.list_registers.get(slot).copied().unwrap_or(0)
    }

    /// Changes a list register; free when `bits` is 0.
    fn set_list_register(&mut self, slot: usize, bits: u64) {
        let mask = 1 << slot;
        if let Some(register) = self.list_registers.get_mut(slot) {
            *register = bits;
        }
        self.changed |= mask;
        self.used = if bits == 0 {
            self.used & !mask
        } else {
            self.used | mask
        };
    }
}

impl Vgic<'_> {
    /// Says whether [`Vgic::refill`] has anything to do before a vCPU enters the guest.
    pub fn needs_refill(&self, vcpu: VcpuId) -> bool {
        self.cpus
            .get(vcpu.0 as usize)
            .is_some_and(|cpu| !cpu.live || cpu.restage || cpu.pull)
    }

    /// Returns the list registers that hold an interrupt, as a mask: those that `fold` will read.
    pub fn used_list_registers(&self, vcpu: VcpuId) -> u16 {
        self.cpus.get(vcpu.0 as usize).map_or(0, |cpu| cpu.used)
    }

    /// Returns what the list registers of a vCPU are to hold. All of them are written when the vCPU comes to its pCPU.
    pub fn list_registers(&self, vcpu: VcpuId) -> &[u64; MAX_LIST_REGISTERS] {
        const EMPTY: [u64; MAX_LIST_REGISTERS] = [0; MAX_LIST_REGISTERS];
        self.cpus
            .get(vcpu.0 as usize)
            .map_or(&EMPTY, |cpu| &cpu.list_registers)
    }

    /// Takes the list registers of a vCPU back into the model after the guest ran; nothing when that was done already.
    ///
    /// `read` returns `ICH_LR<n>_EL2` (n is in `used_list_registers`), `eoi_count` is `ICH_HCR_EL2.EOIcount`, and
    /// `deactivate` deactivates a physical interrupt (`ICC_DIR_EL1`) on this pCPU. Returns a mask of vCPUs to kick.
    pub fn fold(
        &mut self,
        vcpu: VcpuId,
        eoi_count: u32,
        mut read: impl FnMut(usize) -> u64,
        mut deactivate: impl FnMut(u16),
    ) -> u16 {
        let mut kick = 0;
        let Some(cpu) = self.cpus.get_mut(vcpu.0 as usize) else {
            return 0;
        };
        if !cpu.live {
            return 0;
        }
        cpu.live = false;
        let (used, restage) = (cpu.used, cpu.restage);
        for slot in bits(used.into()) {
            let slot = slot as usize;
            let now = read(slot);
            let then = self.list_registers(vcpu).get(slot).copied().unwrap_or(0);
            if (now ^ then) & STATE != 0 || restage {
                self.fold_one(vcpu.0, slot, now, &mut deactivate, &mut kick);
            }
        }
        if restage {
            self.release_private(vcpu.0, &mut deactivate);
        }
        if eoi_count != 0 {
            self.retire_spilled(vcpu.0, eoi_count, &mut deactivate, &mut kick);
        }
        kick
    }

    /// Takes one list register back.
    fn fold_one(
        &mut self,
        vcpu: u8,
        slot: usize,
        now: u64,
        deactivate: &mut impl FnMut(u16),
        kick: &mut u16,
    ) {
        let Some(cpu) = self.cpus.get_mut(vcpu as usize) else {
            return;
        };
        let then = cpu.list_register(slot);
        let irq = Irq {
            vcpu,
            intid: intid(then),
        };
        let now = then & !STATE | now & STATE;
        if now & STATE != 0 {
            if let Some(register) = cpu.list_registers.get_mut(slot) {
                *register = now;
            }
        } else {
            // Hardware holds a free list register already, but `EOI` would keep its maintenance interrupt asserted.
            let stale = then & HW == 0 && then & EOI != 0;
            let changed = cpu.changed | if stale { 1 << slot } else { 0 };
            cpu.set_list_register(slot, 0);
            cpu.changed = changed;
        }
        let bit = irq.bit();
        let Some(bank) = self.bank_of(irq) else {
            return;
        };
        if (now ^ then) & STATE != 0 {
            if then & PENDING != 0 && now & PENDING == 0 {
                bank.latch = bank.latch & !bit | bank.again & bit;
            }
            super::bank::set(&mut bank.active, bit, now & ACTIVE != 0);
        }
        bank.active = (bank.active | bank.forced & bit) & !(bank.dropped & bit);
        let renewed = bank.again & bit;
        bank.again &= !bit;
        bank.forced &= !bit;
        bank.dropped &= !bit;
        let free = now & STATE == 0;
        if then & HW != 0 && free {
            // The hardware deactivated the physical one too, but for one that came anew since.
            bank.physical &= !bit | renewed;
        } else if bank.physical & !(bank.latch | bank.active) & bit != 0 {
            bank.physical &= !bit;
            deactivate(irq.intid);
        }
        if free {
            bank.resident &= !bit;
            self.place(irq, kick);
        } else {
            self.restage(vcpu, slot, kick);
        }
    }

    /// Deactivates physical PPIs whose virtual ones lost their state while the vCPU was live.
    fn release_private(&mut self, vcpu: u8, deactivate: &mut impl FnMut(u16)) {
        if let Some(cpu) = self.cpus.get_mut(vcpu as usize) {
            let bank = &mut cpu.private;
            let loose = bank.physical & !(bank.latch | bank.active);
            bank.physical &= !loose;
            bits(loose).for_each(|bit| deactivate(bit as u16));
        }
    }

    /// Deactivates as many spilled interrupts as the guest wrote EOIs that met no list register. An EOI drops the highest
    /// active priority, so it meant the most urgent one.
    fn retire_spilled(
        &mut self,
        vcpu: u8,
        count: u32,
        deactivate: &mut impl FnMut(u16),
        kick: &mut u16,
    ) {
        for _ in 0..count.min(31) {
            let first = self.cpus.get(vcpu as usize);
            let Some(intid) = first.and_then(|cpu| cpu.first(Kind::Spilled)) else {
                return;
            };
            let irq = Irq { vcpu, intid };
            self.unlink(irq);
            let Some(bank) = self.bank_of(irq) else {
                return;
            };
            let bit = irq.bit();
            bank.active &= !bit;
            if bank.physical & !bank.latch & bit != 0 {
                bank.physical &= !bit;
                deactivate(intid);
            }
            self.place(irq, kick);
        }
    }

    /// Makes the list registers of a vCPU hold what is most urgent, just before the guest is entered. `vmcr` is
    /// `ICH_VMCR_EL2`. Costs a few instructions when nothing changed and nothing waits.
    pub fn refill(&mut self, vcpu: VcpuId, vmcr: u32) -> Refill {
        let mut refill = Refill::default();
        let Some(cpu) = self.cpus.get_mut(vcpu.0 as usize) else {
            return refill;
        };
        cpu.pull = false;
        if core::mem::take(&mut cpu.restage) {
            for slot in bits(cpu.used.into()) {
                self.restage(vcpu.0, slot as usize, &mut refill.kick);
            }
        }
        let cpu = self.cpus.get(vcpu.0 as usize);
        if cpu.is_some_and(|cpu| cpu.spilling || !cpu.is_drained()) {
            refill.hcr = self.pull(vcpu.0, vmcr, &mut refill.kick);
        }
        if let Some(cpu) = self.cpus.get_mut(vcpu.0 as usize) {
            cpu.live = true;
            refill.changed = core::mem::take(&mut cpu.changed);
        }
        refill
    }

    /// Compares a list register of a vCPU that is not live with the state of its interrupt, and corrects or frees it.
    pub(super) fn restage(&mut self, vcpu: u8, slot: usize, kick: &mut u16) {
        let Some(cpu) = self.cpus.get(vcpu as usize) else {
            return;
        };
        let then = cpu.list_register(slot);
        let irq = Irq {
            vcpu,
            intid: intid(then),
        };
        let image = self.image(irq, vcpu);
        if image == Some(then) {
            return;
        }
        if let Some(cpu) = self.cpus.get_mut(vcpu as usize) {
            cpu.set_list_register(slot, image.unwrap_or(0));
        }
        if image.is_none() {
            if let Some(bank) = self.bank_of(irq) {
                bank.resident &= !irq.bit();
            }
            self.place(irq, kick);
        }
    }

    /// Moves an interrupt that is in no list into a free list register of a vCPU that is not live.
    pub(super) fn load(&mut self, irq: Irq, vcpu: u8, slot: usize) {
        let Some(image) = self.image(irq, vcpu) else {
            return;
        };
        if let Some(cpu) = self.cpus.get_mut(vcpu as usize) {
            cpu.set_list_register(slot, image);
        }
        if let Some(bank) = self.bank_of(irq) {
            bank.resident |= irq.bit();
            put(&mut bank.home, irq.index(), vcpu);
        }
    }

    /// Fills the list registers from the lists; returns the [`hcr`] bits for what stays outside.
    fn pull(&mut self, vcpu: u8, vmcr: u32, kick: &mut u16) -> u32 {
        let guest_groups = vmcr as u8 & 3;
        let wanted = self.groups & guest_groups;
        // Each round fills a free list register or makes way for something more urgent, so two rounds for each will do.
        for _ in 0..2 * MAX_LIST_REGISTERS {
            let Some(irq) = self.best(vcpu, wanted) else {
                break;
            };
            let Some(slot) = self.make_way(vcpu, irq, wanted) else {
                break;
            };
            self.unlink(irq);
            self.load(irq, vcpu, slot);
        }
        self.fill_free(vcpu);
        self.after_pull(vcpu, guest_groups, kick)
    }

    /// Uses free list registers for what cannot be signalled now: active ones, then those of a group that the guest masks.
    fn fill_free(&mut self, vcpu: u8) {
        for _ in 0..MAX_LIST_REGISTERS {
            let Some(cpu) = self.cpus.get(vcpu as usize) else {
                return;
            };
            let free = self.slots & !cpu.used;
            let active = cpu.first(Kind::Spilled).map(|intid| Irq { vcpu, intid });
            let Some(irq) = active.or_else(|| self.best(vcpu, self.groups)) else {
                return;
            };
            if free == 0 {
                return;
            }
            self.unlink(irq);
            self.load(irq, vcpu, free.trailing_zeros() as usize);
        }
    }

    /// Returns the [`hcr`] bits for what waits outside, and shows active alone where that matters now.
    fn after_pull(&mut self, vcpu: u8, guest_groups: u8, kick: &mut u16) -> u32 {
        let Some(cpu) = self.cpus.get_mut(vcpu as usize) else {
            return 0;
        };
        let open = |group: u8| self.groups & 1 << group != 0;
        let group0 = cpu.waiting(Kind::Group0) != 0 && open(0);
        let group1 = cpu.waiting(Kind::Group1) != 0 && open(1);
        let mut flags = 0;
        if cpu.waiting(Kind::Spilled) != 0 {
            flags |= hcr::LRENPIE | hcr::TDIR;
        }
        let was_spilling = core::mem::replace(&mut cpu.spilling, group0 || group1);
        if !cpu.spilling {
            return flags;
        }
        let (masks0, masks1) = (guest_groups & 1 == 0, guest_groups & 2 == 0);
        flags |= if masks0 { hcr::VGRP0EIE } else { hcr::VGRP0DIE };
        flags |= if masks1 { hcr::VGRP1EIE } else { hcr::VGRP1DIE };
        if group0 && !masks0 || group1 && !masks1 {
            flags |= hcr::NPIE;
        }
        if !was_spilling {
            for slot in bits(cpu.used.into()) {
                self.restage(vcpu, slot as usize, kick);
            }
        }
        flags
    }

    /// Returns the most urgent waiting interrupt of the groups in a mask.
    fn best(&self, vcpu: u8, groups: u8) -> Option<Irq> {
        let cpu = self.cpus.get(vcpu as usize)?;
        let level = |kind: Kind| {
            let open = groups & 1 << kind as u8 != 0;
            if open {
                cpu.waiting(kind).trailing_zeros()
            } else {
                32
            }
        };
        let kind = if level(Kind::Group0) <= level(Kind::Group1) {
            Kind::Group0
        } else {
            Kind::Group1
        };
        if level(kind) == 32 {
            return None;
        }
        cpu.first(kind).map(|intid| Irq { vcpu, intid })
    }

    /// Returns a free list register for a waiting interrupt, after evicting what may have to give way: a pending one that
    /// the guest masks, one that is less urgent, or, when nothing is pending there, the least urgent active one.
    fn make_way(&mut self, vcpu: u8, irq: Irq, wanted: u8) -> Option<usize> {
        let cpu = self.cpus.get(vcpu as usize)?;
        let free = self.slots & !cpu.used;
        if free != 0 {
            return Some(free.trailing_zeros() as usize);
        }
        let mut pending = None;
        let mut active = None;
        for slot in bits(cpu.used.into()) {
            let register = cpu.list_register(slot as usize);
            let group = u8::from(register & GROUP1 != 0);
            let masked = u16::from(wanted & 1 << group == 0) << 8;
            let rank = masked | u16::from(priority(register));
            let worst = if is_signalled(register) {
                &mut pending
            } else {
                &mut active
            };
            if worst.is_none_or(|(least, _)| rank > least) {
                *worst = Some((rank, slot as usize));
            }
        }
        let own = u16::from(at(&self.bank_at(irq)?.priority, irq.index()));
        let slot = match pending {
            Some((rank, slot)) if rank > own => slot,
            Some(_) => return None,
            None => active?.1,
        };
        self.evict(vcpu, slot);
        Some(slot)
    }

    /// Frees a list register of a vCPU that is not live; its interrupt waits at the front of its list.
    fn evict(&mut self, vcpu: u8, slot: usize) {
        let Some(cpu) = self.cpus.get_mut(vcpu as usize) else {
            return;
        };
        let register = cpu.list_register(slot);
        cpu.set_list_register(slot, 0);
        let irq = Irq {
            vcpu,
            intid: intid(register),
        };
        let Some(bank) = self.bank_of(irq) else {
            return;
        };
        bank.resident &= !irq.bit();
        let kind = match (register & ACTIVE != 0, register & GROUP1 != 0) {
            (true, _) => Kind::Spilled,
            (false, false) => Kind::Group0,
            (false, true) => Kind::Group1,
        };
        self.link(irq, vcpu, list_of(kind, priority(register)), true);
    }
}
