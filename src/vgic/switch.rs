//! What a world switch asks of the virtual GIC, in one call each way, and a deadline that passes in between.
//!
//! Each is made of calls that the rest of EL2 makes one by one, with a short way where there is nothing to them. The model
//! test goes both ways.

use super::bank::{Bank, Irq, at, put};
use super::list_register::{Link, ListRegister};
use super::queue::{Stage, flag};
use super::{CpuInterface, Ends, MAX_LIST_REGISTERS, Vgic};
use crate::ids::VcpuId;
use core::hint::cold_path;

/// What a vCPU leaves behind when it leaves its pCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Leaving {
    /// List registers that held an interrupt, as a mask.
    pub held: u16,
    /// [`Vgic::hardware_in_flight`] for the interrupt that was asked about.
    pub in_flight: bool,
    /// As in [`super::Effects::kick`].
    pub kick: u16,
}

/// What a vCPU finds when it comes to its pCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Coming {
    /// List registers that hold an interrupt, as a mask.
    pub held: u16,
    /// As in [`Leaving::in_flight`].
    pub in_flight: bool,
    /// As in [`super::Refill::hcr`].
    pub hcr: u32,
    /// As in [`super::Refill::kick`].
    pub kick: u16,
    /// As in [`super::Refill::unfinished`]: no list register is written, and the vCPU must come once more.
    pub unfinished: bool,
}

impl Vgic<'_> {
    /// [`Vgic::fold`] of a vCPU that leaves its pCPU, and whether its private interrupt `intid` is in flight then.
    #[inline(always)]
    pub fn leave(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        ends: Ends,
        read: impl FnMut(usize) -> u64,
        deactivate: impl FnMut(u16),
    ) -> Leaving {
        let Some(cpu) = self.cpus.get_mut(usize::from(vcpu.0)) else {
            return Leaving::default();
        };
        if cpu.stage.used != 0 || ends != Ends::NONE || cpu.stage.is(flag::RESTAGE) {
            cold_path();
            let (both, in_flight) = self.leave_by_fold(vcpu, intid, ends, read, deactivate);
            return Leaving {
                held: both as u16,
                in_flight,
                kick: (both >> 16) as u16,
            };
        }
        cpu.stage.flags &= !flag::LIVE;
        Leaving {
            held: 0,
            in_flight: cpu.has_in_flight(intid),
            kick: 0,
        }
    }

    /// [`Vgic::leave`] when there is something to fold. Whom to kick stands in the upper half of the first result: two registers
    /// bring all, and nothing is to be packed.
    #[inline(never)]
    fn leave_by_fold(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        ends: Ends,
        read: impl FnMut(usize) -> u64,
        deactivate: impl FnMut(u16),
    ) -> (u32, bool) {
        let held = self.used_list_registers(vcpu);
        let kick = self.fold(vcpu, ends, read, deactivate);
        let both = u32::from(kick) << 16 | u32::from(held);
        (both, self.hardware_in_flight(vcpu, intid))
    }

    /// [`Vgic::refill`] of a vCPU that comes to its pCPU, and whether its private interrupt `intid` is in flight. `stale` are
    /// the list registers that hold another's, and may name some that do not exist; `write` gets which are to be
    /// written, if any, and what all are to hold.
    #[inline(always)]
    pub fn come(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        vmcr: u32,
        stale: u16,
        write: impl FnOnce(u16, &[u64; MAX_LIST_REGISTERS]),
    ) -> Coming {
        let slots = self.slots;
        let Some(cpu) = self.cpus.get_mut(usize::from(vcpu.0)) else {
            return Coming::default();
        };
        if cpu.stage.must_choose() {
            // Taken apart, so that the short way's lies in registers.
            let Coming {
                held,
                in_flight,
                hcr,
                kick,
                unfinished,
            } = self.come_by_choice(vcpu, intid, vmcr, stale, write);
            return Coming {
                held,
                in_flight,
                hcr,
                kick,
                unfinished,
            };
        }
        cpu.come(intid, slots, stale, write)
    }

    /// [`Vgic::come`] when there is nothing to choose; else `None`, with nothing done.
    #[inline(always)]
    pub fn come_at_once(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        stale: u16,
        write: impl FnOnce(u16, &[u64; MAX_LIST_REGISTERS]),
    ) -> Option<Coming> {
        let slots = self.slots;
        let cpu = self.cpus.get_mut(usize::from(vcpu.0))?;
        let plain = !cpu.stage.must_choose();
        plain.then(|| cpu.come(intid, slots, stale, write))
    }

    /// [`Vgic::come`] when there is something to choose.
    #[inline(never)]
    fn come_by_choice(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        vmcr: u32,
        stale: u16,
        write: impl FnOnce(u16, &[u64; MAX_LIST_REGISTERS]),
    ) -> Coming {
        let refill = self.choose(vcpu.0, vmcr);
        let slots = self.slots;
        let mut coming = Coming::default();
        if !refill.unfinished
            && let Some(cpu) = self.cpus.get_mut(usize::from(vcpu.0))
        {
            coming = cpu.come(intid, slots, stale, write);
        }
        Coming {
            hcr: refill.hcr,
            kick: refill.kick,
            unfinished: refill.unfinished,
            ..coming
        }
    }

    /// A timer of a vCPU is due that is off its pCPU: its private interrupt `intid` becomes pending, as by
    /// [`Vgic::physical_pending`], unless it is in flight. Says whether the vCPU [`Vgic::would_signal`] then; the other
    /// arguments are as there.
    pub fn due(&mut self, vcpu: VcpuId, intid: u16, vmcr: u32, active0: u32, active1: u32) -> bool {
        let cpu = self.cpus.get(usize::from(vcpu.0));
        if cpu.is_some_and(|cpu| !cpu.has_in_flight(intid)) {
            // The vCPU is looked after by who asks: there is nobody to kick.
            let _ = self.physical_pending(intid, vcpu);
        }
        self.would_signal(vcpu, vmcr, active0, active1)
    }

    /// [`Vgic::due`], true, and [`Vgic::come`] in one, of a vCPU for which nothing else is pending or active: returns what the
    /// first list register is to hold; those that hold another's are the caller's to empty. `None`, with nothing changed, when
    /// there is more to it.
    #[inline(always)]
    pub fn come_for_one(&mut self, vcpu: VcpuId, intid: u16, vmcr: u32) -> Option<u64> {
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        let open = vmcr as u8 & self.groups;
        let cpu = self.cpus.get_mut(usize::from(vcpu.0))?;
        let (bank, stage) = (&mut cpu.private, &mut cpu.stage);
        let known = bank.hardware & !bank.physical;
        let register = stage.begin_with(bank, irq, known, Link::Physical, (open, vmcr))?;
        bank.physical |= irq.bit();
        Some(register)
    }

    /// [`Vgic::ring`], [`Vgic::would_signal`], true, and [`Vgic::come`] in one, of a vCPU for which nothing else is pending or
    /// active, nor the physical interrupt behind its private one `private`. The rest is as in [`Vgic::come_for_one`].
    #[inline(always)]
    pub fn come_for_bell(
        &mut self,
        vcpu: VcpuId,
        intid: u16,
        private: u16,
        vmcr: u32,
    ) -> Option<u64> {
        // An SPI's has no meaning but as its home, below.
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        let open = vmcr as u8 & self.groups;
        let spis = self
            .spis
            .get_mut((usize::from(intid) >> 5).wrapping_sub(1))?;
        let cpu = self.cpus.get_mut(usize::from(vcpu.0))?;
        let bank = &mut spis.bank;
        let known = bank.edge & !(bank.hardware | bank.again);
        if at(&spis.target, irq.index()) != vcpu.0 || cpu.has_in_flight(private) {
            return None;
        }
        let stage = &mut cpu.stage;
        stage.begin_with(bank, irq, known, Link::None, (open, vmcr))
    }
}

/// The list register of one interrupt alone.
const FIRST: u16 = 1;

impl Stage {
    /// The vCPU goes into the guest with one interrupt, which becomes pending and is one of `known`, and which it would be
    /// signalled in the `open` groups with no priority active: returns what its list register, the first one, is to hold.
    /// `None`, with nothing changed, when there is more to it.
    #[inline(always)]
    fn begin_with(
        &mut self,
        bank: &mut Bank,
        irq: Irq,
        known: u32,
        link: Link,
        (open, vmcr): (u8, u32),
    ) -> Option<u64> {
        let (bit, index) = (irq.bit(), irq.index());
        let plain = known & bank.enabled & !(bank.latch | bank.resident | bank.active) & bit;
        if plain == 0 || self.changed & !FIRST | self.used != 0 || self.flags != 0 {
            return None;
        }
        let urgency = at(&bank.priority, index);
        let group = u8::from(bank.group & bit != 0);
        if open >> group & 1 == 0 || u32::from(urgency) >= vmcr >> 24 {
            return None;
        }
        let register = ListRegister {
            intid: irq.intid,
            priority: urgency,
            group1: group != 0,
            pending: true,
            active: false,
            link,
        };
        bank.latch |= bit;
        bank.resident |= bit;
        put(&mut bank.home, index, irq.vcpu);
        self.flags = flag::LIVE;
        self.changed = 0;
        self.used = FIRST;
        let [first, ..] = &mut self.list_registers;
        *first = register.encode();
        Some(*first)
    }
}

impl CpuInterface {
    /// Says whether the physical interrupt behind a private one waits for the guest.
    #[inline(always)]
    fn has_in_flight(&self, intid: u16) -> bool {
        let irq = Irq { vcpu: 0, intid };
        self.private.physical & irq.bit() != 0
    }

    /// [`Vgic::come`] when the list registers were chosen, of those in `slots`.
    #[inline(always)]
    fn come(
        &mut self,
        intid: u16,
        slots: u16,
        stale: u16,
        write: impl FnOnce(u16, &[u64; MAX_LIST_REGISTERS]),
    ) -> Coming {
        let (changed, held) = (self.stage.begin_life(), self.stage.used);
        let mask = (held | changed | stale) & slots;
        if mask != 0 {
            write(mask, &self.stage.list_registers);
        }
        Coming {
            held,
            in_flight: self.has_in_flight(intid),
            ..Coming::default()
        }
    }
}
