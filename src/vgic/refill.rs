//! Choosing what the list registers hold before the guest runs.

use super::bank::{Irq, at, bits, put, vcpu_bit};
use super::list_register::{ACTIVE, GROUP1, intid, is_signalled, priority};
use super::queue::{Kind, Stage, flag, list_of};
use super::{MAX_LIST_REGISTERS, Vgic};
use crate::ids::VcpuId;

/// List registers that may be compared with the state and filled anew in one stay.
const RESTAGED: u32 = 2;

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
    /// As in [`super::Effects::kick`]. The vCPU itself is among them when its list registers are to be compared with the
    /// state again, as soon as it was entered.
    pub kick: u16,
    /// Only half of it is done, and nothing is to be written: the vCPU must not be entered before the next call.
    pub unfinished: bool,
}

impl Stage {
    /// Returns the list register that holds an interrupt.
    pub fn slot_of(&self, wanted: u16) -> Option<usize> {
        bits(self.used.into())
            .map(|slot| slot as usize)
            .find(|&slot| intid(self.list_register(slot)) == wanted)
    }

    /// Returns the bits of a list register.
    #[inline]
    pub fn list_register(&self, slot: usize) -> u64 {
        self.list_registers.get(slot).copied().unwrap_or(0)
    }

    /// Says whether list registers must be compared with the state, or something waits for one.
    #[inline(always)]
    pub fn must_choose(&self) -> bool {
        self.is(flag::RESTAGE | flag::SPILLING | flag::WAITING)
    }

    /// The vCPU goes into the guest. Returns the list registers that are to be written before.
    #[inline(always)]
    pub fn begin_life(&mut self) -> u16 {
        self.flags = self.flags & !(flag::PULL | flag::HALVED) | flag::LIVE;
        core::mem::take(&mut self.changed)
    }

    /// Takes over what the hardware has in a list register.
    #[inline]
    pub fn accept(&mut self, slot: usize, bits: u64) {
        if let Some(register) = self.list_registers.get_mut(slot) {
            *register = bits;
        }
        if bits == 0 {
            self.used &= !(1 << (slot & 15));
        }
    }

    /// Changes a list register; free when `bits` is 0.
    #[inline]
    pub fn set_list_register(&mut self, slot: usize, bits: u64) {
        self.changed |= 1 << (slot & 15);
        self.used |= 1 << (slot & 15);
        self.accept(slot, bits);
    }
}

impl Vgic<'_> {
    /// Says whether [`Vgic::refill`] has anything to do before a vCPU enters the guest.
    pub fn needs_refill(&self, vcpu: VcpuId) -> bool {
        self.cpus.get(vcpu.0 as usize).is_some_and(|cpu| {
            cpu.stage.flags & !(flag::SPILLING | flag::WAITING | flag::UNLINKED) != flag::LIVE
        })
    }

    /// Returns the list registers that hold an interrupt, as a mask: those that `fold` will read.
    pub fn used_list_registers(&self, vcpu: VcpuId) -> u16 {
        self.cpus
            .get(vcpu.0 as usize)
            .map_or(0, |cpu| cpu.stage.used)
    }

    /// Returns what the list registers of a vCPU are to hold. All of them are written when the vCPU comes to its pCPU.
    pub fn list_registers(&self, vcpu: VcpuId) -> &[u64; MAX_LIST_REGISTERS] {
        const EMPTY: [u64; MAX_LIST_REGISTERS] = [0; MAX_LIST_REGISTERS];
        self.cpus
            .get(vcpu.0 as usize)
            .map_or(&EMPTY, |cpu| &cpu.stage.list_registers)
    }

    /// Makes the list registers of a vCPU hold what is most urgent, just before the guest is entered. `vmcr` is
    /// `ICH_VMCR_EL2`. Costs a few instructions when nothing changed and nothing waits. Stops half-way,
    /// [`Refill::unfinished`], when more than `RESTAGED` list registers had to be compared with the state: the next call
    /// does the rest, and compares none.
    #[inline(always)]
    pub fn refill(&mut self, vcpu: VcpuId, vmcr: u32) -> Refill {
        let mut refill = Refill::default();
        let Some(stage) = self.stage(vcpu.0) else {
            return refill;
        };
        if stage.must_choose() {
            refill = self.choose(vcpu.0, vmcr);
            if refill.unfinished {
                return refill;
            }
        }
        if let Some(stage) = self.stage(vcpu.0) {
            refill.changed = stage.begin_life();
        }
        refill
    }

    /// [`Vgic::refill`] when [`Stage::must_choose`] says so.
    #[inline(never)]
    pub(super) fn choose(&mut self, vcpu: u8, vmcr: u32) -> Refill {
        let mut refill = Refill::default();
        let Some(stage) = self.stage(vcpu) else {
            return refill;
        };
        let mut later = false;
        if stage.is(flag::RESTAGE | flag::HALVED) {
            later = self.restage_all(vcpu, &mut refill);
        }
        if !refill.unfinished {
            refill.hcr = self.pull(vcpu, vmcr, &mut refill.kick);
        }
        refill.kick &= !vcpu_bit(vcpu);
        if later {
            refill.kick |= vcpu_bit(vcpu);
        }
        refill
    }

    /// Compares the list registers of a vCPU that is not live with the state, where something may have changed and this is
    /// not the second half of a refill. Returns true when that is left for later.
    #[inline(never)]
    fn restage_all(&mut self, vcpu: u8, refill: &mut Refill) -> bool {
        let Some(stage) = self.stage(vcpu) else {
            return false;
        };
        let used = stage.used;
        let (long, halved) = (used.count_ones() > RESTAGED, stage.is(flag::HALVED));
        let restage = stage.is(flag::RESTAGE);
        stage.flags &= !flag::HALVED;
        if !restage || long && halved {
            return restage;
        }
        stage.flags &= !flag::RESTAGE;
        if long {
            stage.flags |= flag::HALVED;
            refill.unfinished = true;
        }
        for slot in bits(used.into()) {
            self.restage(vcpu, slot as usize, &mut refill.kick);
        }
        false
    }

    /// Compares a list register of a vCPU that is not live with the state of its interrupt, and corrects or frees it.
    #[inline(never)]
    pub(super) fn restage(&mut self, vcpu: u8, slot: usize, kick: &mut u16) {
        let Some(cpu) = self.cpus.get(vcpu as usize) else {
            return;
        };
        let then = cpu.stage.list_register(slot);
        let irq = Irq {
            vcpu,
            intid: intid(then),
        };
        let image = self.image(irq, vcpu);
        if image == Some(then) {
            return;
        }
        if let Some(cpu) = self.cpus.get_mut(vcpu as usize) {
            cpu.stage.set_list_register(slot, image.unwrap_or(0));
            cpu.senders.show(image.unwrap_or(0));
        }
        if image.is_none() {
            if let Some(bank) = self.bank_of(irq) {
                bank.resident &= !irq.bit();
            }
            self.place(irq, kick);
        }
    }

    /// Moves an interrupt that is in no list into a free list register of a vCPU that is not live.
    #[inline(never)]
    pub(super) fn load(&mut self, irq: Irq, vcpu: u8, slot: usize) {
        let Some(image) = self.image(irq, vcpu) else {
            return;
        };
        if let Some(cpu) = self.cpus.get_mut(vcpu as usize) {
            cpu.stage.set_list_register(slot, image);
            cpu.senders.show(image);
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
            let free = self.slots & !cpu.stage.used;
            let active = cpu
                .stage
                .first(Kind::Spilled)
                .map(|intid| Irq { vcpu, intid });
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
        let groups = self.groups;
        let open = |group: u8| groups >> group & 1 != 0;
        let group0 = cpu.stage.waiting(Kind::Group0) != 0 && open(0);
        let group1 = cpu.stage.waiting(Kind::Group1) != 0 && open(1);
        let mut flags = 0;
        if cpu.stage.waiting(Kind::Spilled) != 0 {
            flags |= hcr::LRENPIE | hcr::TDIR;
        }
        let was_spilling = cpu.stage.is(flag::SPILLING);
        cpu.stage.flags &= !flag::SPILLING;
        if !(group0 || group1) {
            return flags;
        }
        cpu.stage.flags |= flag::SPILLING;
        let (masks0, masks1) = (guest_groups & 1 == 0, guest_groups & 2 == 0);
        // A group that goes off makes room for the other one, if that is on.
        flags |= match (masks0, masks1) {
            (false, false) => hcr::VGRP0DIE | hcr::VGRP1DIE,
            (false, true) => hcr::VGRP1EIE,
            (true, false) => hcr::VGRP0EIE,
            (true, true) => hcr::VGRP0EIE | hcr::VGRP1EIE,
        };
        if group0 && !masks0 || group1 && !masks1 {
            flags |= hcr::NPIE;
        }
        if !was_spilling {
            for slot in bits(cpu.stage.used.into()) {
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
                cpu.stage.waiting(kind).trailing_zeros()
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
        cpu.stage.first(kind).map(|intid| Irq { vcpu, intid })
    }

    /// Returns a free list register for a waiting interrupt, after evicting what may have to give way: a pending one that
    /// the guest masks, one that is less urgent, or, when nothing is pending there, the least urgent active one.
    fn make_way(&mut self, vcpu: u8, irq: Irq, wanted: u8) -> Option<usize> {
        let cpu = self.cpus.get(vcpu as usize)?;
        let free = self.slots & !cpu.stage.used;
        if free != 0 {
            return Some(free.trailing_zeros() as usize);
        }
        let mut pending = None;
        let mut active = None;
        for slot in bits(cpu.stage.used.into()) {
            let register = cpu.stage.list_register(slot as usize);
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
        let register = cpu.stage.list_register(slot);
        cpu.stage.set_list_register(slot, 0);
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
