//! What EL2 does, piece by piece: the binary's `run` without registers.

use super::super::super::list_register::STATE;
use super::super::super::{Effects, Present, SgiGroup, Vgic};
use super::super::world::ISPENDR;
use super::life::Life;
use super::pcpu::{Access, Activity, Step, Touch, Who, ends_of_spilled, steps_of};
use super::{BELL, Machine, TIMER};
use crate::ids::VcpuId;
use crate::regs::{gich_list_register, ich_list_register};
use std::cell::Cell;

impl Machine {
    /// Says whether a pCPU runs a guest.
    pub fn is_inside(&self, p: usize) -> bool {
        let pcpu = &self.pcpus[p];
        let Some(who) = pcpu.current else {
            return false;
        };
        let whole = !self.has_unfinished(who);
        pcpu.steps.is_empty() && pcpu.attend.is_empty() && !pcpu.folded && whole
    }

    /// Says whether a vCPU has a write to finish before it runs on.
    fn has_unfinished(&self, who: Who) -> bool {
        let vcpu = &self.parts[who.part].vcpus[who.vcpu as usize];
        vcpu.unfinished.is_some()
    }

    /// Says whether a pCPU may take an interrupt: it runs a guest, or looks for one between pieces of work.
    pub fn may_look(&self, p: usize) -> bool {
        let next = self.pcpus[p].steps.front();
        let between = matches!(
            next,
            None | Some(Step::Quiet(..) | Step::Reroute(_) | Step::Reset(..) | Step::Loaded(_))
        );
        between && self.pcpus[p].attend.is_empty()
    }

    /// Goes on with what a pCPU does at EL2. Returns false when it runs a guest or sleeps.
    pub fn advance(&mut self, p: usize) -> bool {
        if let Some(step) = self.pcpus[p].steps.pop_front() {
            self.perform(p, step);
            return true;
        }
        if let Some(who) = self.pcpus[p].attend.pop_first() {
            self.attend(p, who);
            return true;
        }
        match self.pcpus[p].current {
            Some(who) if self.has_unfinished(who) => self.go_on(p, who),
            Some(_) if self.pcpus[p].folded => self.refill(p),
            Some(_) => return false,
            None => {
                let ready = self.ready(p);
                let chosen = self.pcpus[p].chosen.filter(|who| ready.contains(who));
                let Some(who) = chosen.or(ready.first().copied()) else {
                    return false;
                };
                self.come(p, who);
            }
        }
        true
    }

    fn perform(&mut self, p: usize, step: Step) {
        match step {
            Step::Fold => self.fold(p),
            Step::Short(intid) => self.take_shortly(p, intid),
            Step::Take(intid) => self.take(p, intid),
            Step::Pend(intid) => self.pend(p, intid),
            Step::Timer(short) => self.take_timer(p, short),
            Step::Access(access) => self.access(p, access),
            Step::Send(value, short) => self.send(p, value, short),
            Step::Deactivate(intid) => self.deactivate(p, intid),
            Step::Sample => self.sample(p),
            Step::Drive(part, vcpu, intid, level) => self.drive(p, part, vcpu, intid, level),
            Step::Ring(part) => self.ring(p, part),
            Step::Touch(part, touch) => self.touch(p, part, touch),
            Step::Kick(part, mask) => self.kick(p, part, mask),
            Step::Attend(who) => self.attend(p, who),
            Step::Wait => self.wait(p),
            Step::Leave => self.leave(p),
            Step::Come(who) => self.come(p, who),
            Step::Hand(who, bell) => self.hand(p, who, bell),
            Step::Arrive(who, register) => self.arrive(p, who, register),
            Step::Quiet(part, bank) => self.quiet(p, part, bank),
            Step::Ended(part) => self.ended(p, part),
            Step::Reroute(part) => self.reroute(part),
            Step::Reset(part, step) => self.reset(p, part, step),
            Step::Loaded(part) => self.loaded(p, part),
        }
    }

    /// What a call asked for is to be done.
    pub fn apply(&mut self, p: usize, part: usize, effects: &Effects) {
        self.pcpus[p].first(steps_of(part, effects));
    }

    /// Returns the INTIDs of a mask, which the partition must own.
    fn own_spis(&self, part: usize, first: u16, mask: u32) -> impl Iterator<Item = u16> + use<> {
        let owned = self.parts[part]
            .vgic
            .hardware_spis(usize::from(first / 32) - 1);
        assert_eq!(mask & !owned.unwrap_or(0), 0, "of bank {first}");
        (0..32)
            .filter(move |bit| mask & 1 << bit != 0)
            .map(move |bit| first + bit)
    }

    pub fn touch(&mut self, p: usize, part: usize, touch: Touch) {
        match touch {
            Touch::Trigger(first, mask) => {
                let edge = self.parts[part].vgic.edge_spis((first / 32).into());
                self.each(part, first, mask & !edge, |spi| spi.edge = false);
                self.each(part, first, mask & edge, |spi| spi.edge = true);
            }
            Touch::Route(intid) => self.send_on(part, intid),
            Touch::Off(first, mask) => self.each(part, first, mask, |spi| spi.enabled = false),
            Touch::Switch(first, mask) => {
                let enabled = self.parts[part].vgic.enabled_spis((first / 32).into());
                self.each(part, first, mask & !enabled, |spi| spi.enabled = false);
                self.each(part, first, mask & enabled, |spi| spi.enabled = true);
            }
            Touch::ClearPending(first, mask) => {
                self.each(part, first, mask, |spi| spi.latched = false);
            }
            Touch::Deactivate(first, mask) => {
                self.each(part, first, mask, |spi| spi.active = false);
            }
            Touch::SetPending(first, mask) => {
                self.each(part, first, mask, |spi| spi.latched = true);
            }
            Touch::Banked(vcpu, mask) => {
                assert_eq!(mask, 1 << TIMER);
                let who = Who::new(part, vcpu);
                match self.pcpus[p].current == Some(who) {
                    true => self.gic.timers[p] = false,
                    false => self.kick(p, part, who.bit()),
                }
            }
        }
    }

    pub fn each(&mut self, part: usize, first: u16, mask: u32, act: fn(&mut super::gic::Spi)) {
        for intid in self.own_spis(part, first, mask) {
            act(self.gic.own(part, intid));
        }
    }

    pub fn kick(&mut self, p: usize, part: usize, mask: u16) {
        for vcpu in (0..self.parts[part].vcpus.len() as u8).filter(|vcpu| mask & 1 << vcpu != 0) {
            let who = Who::new(part, vcpu);
            let home = self.vcpu(who).home;
            match self.pcpus[home].current == Some(who) && home == p {
                true => self.pcpus[p].attend.insert(who),
                false => self.pcpus[home].mail.insert(who),
            };
        }
    }

    /// Takes back the list registers of who is here, under the lock that is held already. Returns whom to kick.
    pub fn fold_now(&mut self, p: usize) -> u16 {
        let pcpu = &mut self.pcpus[p];
        let Some(who) = pcpu.current.filter(|_| !pcpu.folded) else {
            return 0;
        };
        pcpu.folded = true;
        let vgic = &mut self.parts[who.part].vgic;
        pcpu.held = vgic.used_list_registers(VcpuId(who.vcpu));
        let (lrs, eois) = (pcpu.hw.lr.clone(), ends_of_spilled(&mut pcpu.hw));
        let mut gone = Vec::new();
        let read = |slot: usize| lrs[slot] & if self.v2 { STATE } else { !0 };
        let kick = vgic.fold(VcpuId(who.vcpu), eois, read, |intid| gone.push(intid));
        self.deactivated(p, who, &gone);
        kick
    }

    /// Physical interrupts are deactivated on a pCPU, for a vCPU.
    pub fn deactivated(&mut self, p: usize, who: Who, gone: &[u16]) {
        for &intid in gone {
            match intid {
                TIMER => self.gic.timers[p] = false,
                _ => self.gic.own(who.part, intid).active = false,
            }
        }
    }

    fn fold(&mut self, p: usize) {
        let kick = self.fold_now(p);
        if let Some(who) = self.pcpus[p].current {
            self.kick(p, who.part, kick);
        }
    }

    fn refill(&mut self, p: usize) {
        let Some(who) = self.pcpus[p].current else {
            return;
        };
        let (id, vmcr) = (VcpuId(who.vcpu), self.pcpus[p].hw.vmcr);
        let vgic = &mut self.parts[who.part].vgic;
        let refill = vgic.refill(id, vmcr);
        if !refill.unfinished {
            let values = *vgic.list_registers(id);
            let pcpu = &mut self.pcpus[p];
            pcpu.folded = false;
            for (slot, lr) in pcpu.hw.lr.iter_mut().enumerate() {
                if refill.changed & 1 << slot != 0 {
                    *lr = held(self.v2, values[slot]);
                }
            }
            pcpu.hw.hcr = refill.hcr;
        }
        self.kick(p, who.part, refill.kick);
    }

    /// An SPI that came while a guest ran.
    fn take_shortly(&mut self, p: usize, intid: u16) {
        let done = self.deliver(p, intid, true);
        match done {
            true => self.caused(self.gic.spis[&intid].owner, (None, intid, 0)),
            false => self.pcpus[p].first([Step::Take(intid)]),
        }
    }

    /// Tries the shortest way for an interrupt of the guest that was here.
    fn deliver(&mut self, p: usize, intid: u16, physical: bool) -> bool {
        let Some(who) = self.pcpus[p].current.filter(|_| !self.pcpus[p].folded) else {
            return false;
        };
        let lrs = Cell::from_mut(self.pcpus[p].hw.lr.as_mut_slice()).as_slice_of_cells();
        let registers = Registers(lrs, self.v2);
        let vgic = &mut self.parts[who.part].vgic;
        match (self.v2, physical) {
            (true, true) => vgic.deliver_watched(VcpuId(who.vcpu), intid, registers),
            (true, false) => false,
            (false, _) => vgic.deliver_directly(VcpuId(who.vcpu), intid, physical, registers),
        }
    }

    fn take(&mut self, p: usize, intid: u16) {
        let owner = self.gic.spis[&intid].owner;
        let here = self.pcpus[p].current.is_some_and(|who| who.part == owner);
        let pend = Step::Pend(intid);
        match here {
            true => self.pcpus[p].first([Step::Fold, pend]),
            false => self.pcpus[p].first([pend]),
        }
    }

    fn pend(&mut self, p: usize, intid: u16) {
        let owner = self.gic.spis[&intid].owner;
        if self.parts[owner].life != Life::Running {
            let spi = self.gic.own(owner, intid);
            (spi.enabled, spi.active) = (false, false);
            return;
        }
        let vgic = &mut self.parts[owner].vgic;
        let vcpu = vgic.spi_target(intid).unwrap_or(VcpuId(0));
        let effects = vgic.physical_pending(intid, vcpu);
        self.caused(owner, (None, intid, 0));
        self.apply(p, owner, &effects);
    }

    /// Notes that an interrupt's cause reached the model.
    pub fn caused(&mut self, part: usize, cause: super::ledger::Cause) {
        self.parts[part].ledger.cause(cause);
    }

    fn take_timer(&mut self, p: usize, short: bool) {
        let high = self.pcpus[p].current.filter(|who| self.vcpu(*who).timer);
        let Some(who) = high else {
            self.gic.timers[p] = false;
            return;
        };
        if short && self.deliver(p, TIMER, true) {
            return self.caused(who.part, (Some(who.vcpu), TIMER, 0));
        }
        let kick = self.fold_now(p);
        let vgic = &mut self.parts[who.part].vgic;
        let mut effects = vgic.physical_pending(TIMER, VcpuId(who.vcpu));
        effects.kick = (effects.kick | kick) & !who.bit();
        self.caused(who.part, (Some(who.vcpu), TIMER, 0));
        self.apply(p, who.part, &effects);
    }

    fn access(&mut self, p: usize, access: Access) {
        let Some(who) = self.pcpus[p].current else {
            return;
        };
        let pends = access.offset & !0x7f == ISPENDR && access.owner.is_none();
        let vgic = &self.parts[who.part].vgic;
        if pends
            && !self.pcpus[p].folded
            && !self.v2
            && let Some(intid) = vgic.pended_alone(access.offset, 4, access.value.into())
            && self.deliver(p, intid, false)
        {
            return self.written(who, access);
        }
        let wants_fold = match self.v2 {
            true => Vgic::banked_wants_fold(access.offset),
            false => Vgic::wants_fold(access.offset),
        };
        if wants_fold && !self.pcpus[p].folded {
            let mut steps = vec![Step::Fold, Step::Access(access)];
            if self.v2 || access.owner == Some(who.vcpu) {
                steps.insert(1, Step::Sample);
            }
            return self.pcpus[p].first(steps);
        }
        let effects = self.write_now(who, access);
        self.written(who, access);
        self.finish(p, who, access, &effects);
    }

    /// A write, or a piece of it, was done by the model.
    fn finish(&mut self, p: usize, who: Who, access: Access, effects: &Effects) {
        self.vcpu(who).unfinished = effects.rest.map(|rest| (access, rest));
        self.apply(p, who.part, effects);
    }

    /// Does the next piece of a write.
    fn go_on(&mut self, p: usize, who: Who) {
        let Some((access, rest)) = self.vcpu(who).unfinished.take() else {
            return;
        };
        let effects = self.parts[who.part].vgic.continue_write(rest);
        self.written_on(who, access);
        self.finish(p, who, access, &effects);
    }

    fn send(&mut self, p: usize, value: u64, short: bool) {
        let Some(who) = self.pcpus[p].current else {
            return;
        };
        let intid = (value >> 24 & 0xf) as u16;
        let count = self.parts[who.part].vcpus.len() as u8;
        let targets = (0..count).filter(|vcpu| value & 1 << vcpu != 0);
        let sender = if self.v2 { who.vcpu } else { 0 };
        let alone = value & 0xffff == u64::from(who.bit());
        if short && alone && !self.v2 && self.deliver(p, intid, false) {
            return self.caused(who.part, (Some(who.vcpu), intid, 0));
        }
        let sgir = (value as u32 & 0xff) << 16 | u32::from(intid);
        let vgic = &mut self.parts[who.part].vgic;
        let effects = match self.v2 {
            true => vgic.banked_write(VcpuId(who.vcpu), 0xf00, 4, sgir.into()),
            false => vgic.sgi(VcpuId(who.vcpu), value, SgiGroup::Group1),
        };
        targets.for_each(|vcpu| self.caused(who.part, (Some(vcpu), intid, sender)));
        let none = Access {
            owner: None,
            offset: 0xf00,
            width: 4,
            value: 0,
        };
        self.finish(p, who, none, &effects);
    }

    fn deactivate(&mut self, p: usize, intid: u16) {
        let Some(who) = self.pcpus[p].current else {
            return;
        };
        let vgic = &mut self.parts[who.part].vgic;
        let effects = vgic.deactivate(VcpuId(who.vcpu), intid.into());
        let line = super::ledger::line(who.vcpu, intid);
        let ledger = &mut self.parts[who.part].ledger;
        if ledger.holder(line) == Some(who.vcpu) {
            ledger.end(who.vcpu, line);
        }
        self.apply(p, who.part, &effects);
    }

    fn sample(&mut self, p: usize) {
        let Some(who) = self.pcpus[p].current else {
            return;
        };
        let level = self.vcpu(who).timer;
        let vgic = &mut self.parts[who.part].vgic;
        let effects = vgic.set_ppi_level(VcpuId(who.vcpu), TIMER, level);
        if !level {
            self.parts[who.part].ledger.forgive((Some(who.vcpu), TIMER));
        }
        self.apply(p, who.part, &effects);
    }

    fn drive(&mut self, p: usize, part: usize, vcpu: Option<u8>, intid: u16, level: bool) {
        let it = &mut self.parts[part];
        if it.life != Life::Running {
            return;
        }
        let line = (vcpu, intid);
        let rises = level && it.ledger.lines.get(&line) != Some(&true);
        it.ledger.drive(line, level);
        let effects = it.vgic.set_line(intid, vcpu.map(VcpuId), level);
        if rises && self.is_edge(part, line) {
            self.caused(part, (vcpu, intid, 0));
        }
        self.apply(p, part, &effects);
    }

    fn ring(&mut self, p: usize, part: usize) {
        if self.parts[part].life == Life::Running {
            let effects = self.parts[part].vgic.ring(BELL);
            self.caused(part, (None, BELL, 0));
            self.apply(p, part, &effects);
        }
    }

    /// Says whether a vCPU that is folded would be signalled something.
    pub fn would_signal(&self, who: Who) -> bool {
        let it = &self.parts[who.part];
        let vcpu = &it.vcpus[who.vcpu as usize];
        let here = self.pcpus[vcpu.home].current == Some(who);
        let hw = &self.pcpus[vcpu.home].hw;
        let (vmcr, [active0, active1]) = match here {
            true => (hw.vmcr, hw.active),
            false => (vcpu.vmcr, vcpu.active),
        };
        it.vgic
            .would_signal(VcpuId(who.vcpu), vmcr, active0, active1)
    }

    fn wait(&mut self, p: usize) {
        let Some(who) = self.pcpus[p].current else {
            return;
        };
        if !self.would_signal(who) {
            self.vcpu(who).activity = Activity::Waiting;
            self.pcpus[p].first([Step::Leave]);
        }
    }

    /// Looks after a vCPU that somebody told of.
    fn attend(&mut self, p: usize, who: Who) {
        let here = self.pcpus[p].current == Some(who);
        if here {
            let kick = self.fold_now(p);
            self.kick(p, who.part, kick);
        }
        if self.must_leave(who) {
            return self.retire(p, who);
        }
        let off = self.vcpu(who).activity == Activity::Off;
        if off && self.parts[who.part].life == Life::Loading && who.vcpu == 0 {
            return self.load(p, who.part);
        }
        let vgic = &self.parts[who.part].vgic;
        if here && !vgic.hardware_in_flight(VcpuId(who.vcpu), TIMER) {
            self.gic.timers[p] = false;
        }
        if self.vcpu(who).activity == Activity::Waiting && self.would_signal(who) {
            self.vcpu(who).activity = Activity::Ready;
        }
    }

    /// The timer of a vCPU that waits off its pCPU is due.
    pub fn expire(&mut self, who: Who) {
        let (vmcr, [active0, active1]) = (self.vcpu(who).vmcr, self.vcpu(who).active);
        let vgic = &mut self.parts[who.part].vgic;
        let id = VcpuId(who.vcpu);
        let comes = !vgic.hardware_in_flight(id, TIMER);
        let signals = vgic.due(id, TIMER, vmcr, active0, active1);
        if comes {
            self.caused(who.part, (Some(who.vcpu), TIMER, 0));
        }
        if signals {
            self.vcpu(who).activity = Activity::Ready;
        }
    }
}

/// The list registers of a pCPU.
#[derive(Clone, Copy)]
struct Registers<'a>(&'a [Cell<u64>], bool);

impl Present for Registers<'_> {
    fn present(self, slot: usize, value: u64) -> bool {
        let register = &self.0[slot];
        let free = register.get() & STATE == 0;
        if free {
            register.set(held(self.1, value));
        }
        free
    }
}

/// Returns what hardware has of a list register that was written.
pub fn held(v2: bool, value: u64) -> u64 {
    match v2 {
        true => ich_list_register(gich_list_register(value)),
        false => value,
    }
}
