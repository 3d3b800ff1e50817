//! Choosing what the list registers hold before the guest runs.

use super::bank::{Bank, Irq, at, bits, put, set, vcpu_bit};
use super::list_register::{ACTIVE, GROUP1, Link, ListRegister, intid, is_signalled, priority};
use super::queue::{Kind, MARKED, Stage, flag, list_of};
use super::{MAX_LIST_REGISTERS, Vgic};
use crate::ids::VcpuId;

/// List registers that may be compared with the state and filled anew in one stay.
const RESTAGED: u32 = 2;
/// List registers that one stay fills from the lists at most.
pub(super) const FILLED: u8 = 2;

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
    /// Only a piece of it is done, and nothing is to be written: the vCPU must not be entered before the next call.
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
        self.flags = self.flags & !(flag::PULL | flag::BEGUN) | flag::LIVE;
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

    /// The first piece of a refill is done, and it is not the last one.
    fn begin_refill(&mut self) {
        self.flags |= flag::BEGUN;
        self.filled = 0;
    }

    /// Changes a list register; free when `bits` is 0.
    #[inline]
    pub fn set_list_register(&mut self, slot: usize, bits: u64) {
        self.changed |= 1 << (slot & 15);
        self.used |= 1 << (slot & 15);
        self.accept(slot, bits);
    }
}

impl Bank {
    /// Returns the list that an active interrupt goes into, out of its list register.
    #[inline(never)]
    fn spill(&mut self, bit: u32, register: u64) -> u8 {
        set(&mut self.taken_group, bit, register & GROUP1 != 0);
        match self.marked & bit {
            0 => list_of(Kind::Spilled, priority(register)),
            _ => MARKED,
        }
    }
}

impl Vgic<'_> {
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
    /// `ICH_VMCR_EL2`. Costs a few instructions when nothing changed and nothing waits.
    ///
    /// Otherwise it may take several calls, until one is not [`Refill::unfinished`]: the first one where more than `RESTAGED`
    /// list registers are to be compared with the state, and then one for every two that are filled from the lists, the most
    /// urgent interrupts first. What is filled once gives way to nothing but what comes in between, so with n list registers
    /// n / 2 calls (rounded up) fill all; then it ends in any case, and what came in between and is still to be weighed is
    /// left for later, by [`Refill::kick`].
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
        let guest_groups = vmcr as u8 & 3;
        let mut later = self.restage_all(vcpu, &mut refill);
        if !refill.unfinished && self.fill(vcpu, self.groups & guest_groups) {
            refill.unfinished = self.may_go_on(vcpu);
            later |= !refill.unfinished;
        }
        if !refill.unfinished {
            refill.hcr = self.after_fill(vcpu, guest_groups, &mut refill.kick);
        }
        refill.kick &= !vcpu_bit(vcpu);
        if later {
            refill.kick |= vcpu_bit(vcpu);
        }
        refill
    }

    /// Compares the list registers of a vCPU that is not live with the state, where something may have changed and no piece
    /// of the refill is done. Returns true when that is left for later.
    #[inline(never)]
    fn restage_all(&mut self, vcpu: u8, refill: &mut Refill) -> bool {
        let Some(stage) = self.stage(vcpu) else {
            return false;
        };
        let used = stage.used;
        let (long, begun) = (used.count_ones() > RESTAGED, stage.is(flag::BEGUN));
        let restage = stage.is(flag::RESTAGE);
        if !restage || long && begun {
            return restage;
        }
        stage.flags &= !flag::RESTAGE;
        if long {
            stage.begin_refill();
            refill.unfinished = true;
        }
        for slot in bits(used.into()) {
            self.restage(vcpu, slot as usize, &mut refill.kick);
        }
        false
    }

    /// Notes that a piece of a refill filled as many list registers as it may. Says whether the next one may go on: not when
    /// as many were filled as there are.
    fn may_go_on(&mut self, vcpu: u8) -> bool {
        let count = self.slots.count_ones();
        let Some(stage) = self.stage(vcpu) else {
            return false;
        };
        if !stage.is(flag::BEGUN) {
            stage.begin_refill();
        }
        stage.filled = stage.filled.saturating_add(FILLED);
        u32::from(stage.filled) < count
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
        let image = self.image(irq, vcpu, then);
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

    /// Moves an interrupt that is in no list any more into a free list register of a vCPU that is not live; `list` is the one
    /// that it was in.
    #[inline(never)]
    pub(super) fn load(&mut self, irq: Irq, vcpu: u8, slot: usize, list: u8) {
        let held = match list >> 5 == Kind::Spilled as u8 {
            true => self.taken(irq, list),
            false => 0,
        };
        let Some(image) = self.image(irq, vcpu, held) else {
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

    /// Fills list registers from the lists, [`FILLED`] at most. Says whether there are more to be filled.
    fn fill(&mut self, vcpu: u8, wanted: u8) -> bool {
        let mut left = FILLED;
        while let Some((irq, slot)) = self.next_load(vcpu, wanted) {
            if left == 0 {
                return true;
            }
            left -= 1;
            self.evict(vcpu, slot);
            let list = self.unlink(irq);
            self.load(irq, vcpu, slot, list);
        }
        false
    }

    /// Returns which interrupt gets a list register next, and which one; what that holds gives way.
    ///
    /// The most urgent one that can be signalled now comes first. What cannot be signalled gets what is free then: active ones
    /// first, then those of a group that the guest masks.
    fn next_load(&self, vcpu: u8, wanted: u8) -> Option<(Irq, usize)> {
        let stage = &self.cpus.get(vcpu as usize)?.stage;
        let signalled = self.best(vcpu, wanted);
        let free = self.slots & !stage.used;
        if free == 0 {
            let irq = signalled?;
            return Some((irq, self.weakest(vcpu, irq, wanted)?));
        }
        let active = || stage.first(Kind::Spilled);
        let irq = signalled
            .or_else(|| active().map(|intid| Irq { vcpu, intid }))
            .or_else(|| self.best(vcpu, self.groups))?;
        Some((irq, free.trailing_zeros() as usize))
    }

    /// Returns the [`hcr`] bits for what waits outside, and shows active alone where that matters now.
    fn after_fill(&mut self, vcpu: u8, guest_groups: u8, kick: &mut u16) -> u32 {
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

    /// Returns the list register, of all in use, that has to give way to a waiting interrupt: a pending one that the guest
    /// masks, one that is less urgent, or, when nothing is pending there, the least urgent active one.
    fn weakest(&self, vcpu: u8, irq: Irq, wanted: u8) -> Option<usize> {
        let cpu = self.cpus.get(vcpu as usize)?;
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
        match pending {
            Some((rank, slot)) => (rank > own).then_some(slot),
            None => active.map(|(_, slot)| slot),
        }
    }

    /// Frees a list register of a vCPU that is not live, if it is in use; its interrupt waits at the front of its list.
    fn evict(&mut self, vcpu: u8, slot: usize) {
        let Some(cpu) = self.cpus.get_mut(vcpu as usize) else {
            return;
        };
        if cpu.stage.used & vcpu_bit(slot as u8) == 0 {
            return;
        }
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
        let list = match (register & ACTIVE != 0, register & GROUP1 != 0) {
            (true, _) => bank.spill(irq.bit(), register),
            (false, false) => list_of(Kind::Group0, priority(register)),
            (false, true) => list_of(Kind::Group1, priority(register)),
        };
        self.link(irq, vcpu, list, list != MARKED);
    }

    /// Returns what the list register held out of which an active interrupt went into its list.
    #[inline(never)]
    fn taken(&self, irq: Irq, list: u8) -> u64 {
        let group = self.bank_at(irq).map_or(0, |bank| bank.taken_group);
        let register = ListRegister {
            intid: irq.intid,
            priority: list << 3,
            group1: group & irq.bit() != 0,
            pending: false,
            active: true,
            link: Link::None,
        };
        register.encode()
    }
}
