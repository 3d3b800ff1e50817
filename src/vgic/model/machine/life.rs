//! Who runs on a pCPU, and the lives of partitions.

use super::super::super::MAX_LIST_REGISTERS;
use super::super::interface::OPEN;
use super::el2::held;
use super::ledger::Ledger;
use super::pcpu::{Activity, Step, Touch, VEOIM, Vcpu, Who, ends_of_spilled, steps_of};
use super::{BELL, HARDWARE, Machine, TIMER};
use crate::ids::VcpuId;

/// Where a partition is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Running,
    /// These vCPUs have not left yet.
    Leaving(u16),
    Loading,
}

impl Machine {
    /// Who is here leaves its pCPU.
    pub fn leave(&mut self, p: usize) {
        let pcpu = &mut self.pcpus[p];
        let Some(who) = pcpu.current.take() else {
            return;
        };
        let (id, folded) = (VcpuId(who.vcpu), pcpu.folded);
        let (lrs, eois) = (pcpu.hw.lr.clone(), ends_of_spilled(&mut pcpu.hw));
        let vgic = &mut self.parts[who.part].vgic;
        let mut gone = Vec::new();
        let mut kick = 0;
        if !folded {
            let used = vgic.used_list_registers(id);
            let read = |slot: usize| lrs[slot];
            let left = vgic.leave(id, TIMER, eois, read, |intid| gone.push(intid));
            assert_eq!(left.held, used);
            (pcpu.held, kick) = (left.held, left.kick);
            assert_eq!(left.in_flight, vgic.hardware_in_flight(id, TIMER));
        }
        pcpu.folded = true;
        pcpu.hw.hcr = 0;
        let (vmcr, active) = (pcpu.hw.vmcr, pcpu.hw.active);
        self.deactivated(p, who, &gone);
        let vcpu = self.vcpu(who);
        (vcpu.vmcr, vcpu.active) = (vmcr, active);
        self.gic.timers[p] = false;
        self.kick(p, who.part, kick);
    }

    /// A vCPU comes to its pCPU, where nobody is, or a piece of that.
    pub fn come(&mut self, p: usize, who: Who) {
        if self.vcpu(who).activity != Activity::Ready {
            return;
        }
        self.pcpus[p].chosen = Some(who);
        let (vmcr, timer) = (self.vcpu(who).vmcr, self.vcpu(who).timer);
        let (id, v2, stale) = (VcpuId(who.vcpu), self.v2, self.pcpus[p].held);
        let vgic = &mut self.parts[who.part].vgic;
        let due = timer && !vgic.hardware_in_flight(id, TIMER);
        if due {
            let _ = vgic.physical_pending(TIMER, id);
        }
        let pcpu = &mut self.pcpus[p];
        let write = |mask: u16, values: &[u64; MAX_LIST_REGISTERS]| {
            for (slot, lr) in pcpu.hw.lr.iter_mut().enumerate() {
                if mask & 1 << slot != 0 {
                    *lr = held(v2, values[slot]);
                }
            }
        };
        let coming = vgic.come(id, TIMER, vmcr, stale, write);
        if due {
            self.caused(who.part, (Some(who.vcpu), TIMER, 0));
        }
        if !coming.unfinished {
            self.pcpus[p].held = coming.held;
            self.settle_in(p, who, coming.in_flight, coming.hcr);
        }
        self.kick(p, who.part, coming.kick);
    }

    /// A vCPU's registers are in the hardware.
    fn settle_in(&mut self, p: usize, who: Who, in_flight: bool, hcr: u32) {
        let (vmcr, active) = (self.vcpu(who).vmcr, self.vcpu(who).active);
        let pcpu = &mut self.pcpus[p];
        pcpu.current = Some(who);
        pcpu.folded = false;
        (pcpu.hw.vmcr, pcpu.hw.active, pcpu.hw.hcr) = (vmcr, active, hcr);
        self.gic.timers[p] |= in_flight;
    }

    /// A vCPU that waits comes for one interrupt alone, if that is all, before who is here leaves.
    pub fn hand(&mut self, p: usize, who: Who, bell: bool) {
        let vcpu = self.vcpu(who);
        let (vmcr, timer) = (vcpu.vmcr, vcpu.timer);
        let waits = vcpu.activity == Activity::Waiting && vcpu.active == [0; 2];
        let part = &mut self.parts[who.part];
        let id = VcpuId(who.vcpu);
        if !waits || part.life != Life::Running || !bell && !timer || self.v2 {
            return;
        }
        let register = match bell {
            true => part.vgic.come_for_bell(id, BELL, TIMER, vmcr),
            false => part.vgic.come_for_one(id, TIMER, vmcr),
        };
        let Some(register) = register else { return };
        let cause = match bell {
            true => (None, BELL, 0),
            false => (Some(who.vcpu), TIMER, 0),
        };
        self.caused(who.part, cause);
        self.vcpu(who).activity = Activity::Ready;
        self.pcpus[p].first([Step::Leave, Step::Arrive(who, register)]);
    }

    /// The one that came in the model is here.
    pub fn arrive(&mut self, p: usize, who: Who, register: u64) {
        let pcpu = &mut self.pcpus[p];
        for (slot, lr) in pcpu.hw.lr.iter_mut().enumerate() {
            if pcpu.held & 1 << slot != 0 {
                *lr = 0;
            }
        }
        pcpu.hw.lr[0] = register;
        pcpu.held = 1;
        let in_flight = register & super::super::super::list_register::HW != 0;
        self.settle_in(p, who, in_flight, 0);
    }

    /// Says whether a vCPU is asked to leave for good.
    pub fn must_leave(&self, who: Who) -> bool {
        matches!(self.parts[who.part].life, Life::Leaving(left) if left & who.bit() != 0)
    }

    /// Somebody on a pCPU stops a partition, which is to start again.
    pub fn restart(&mut self, p: usize, part: usize) {
        let it = &mut self.parts[part];
        if it.life == Life::Running {
            let everyone = (1 << it.vcpus.len()) - 1;
            it.life = Life::Leaving(everyone);
            self.pcpus[p].first([Step::Kick(part, everyone)]);
        }
    }

    /// A vCPU is off for good; the last one tears its partition down.
    pub fn retire(&mut self, p: usize, who: Who) {
        if self.pcpus[p].current == Some(who) {
            self.leave(p);
        }
        let vcpu = self.vcpu(who);
        vcpu.activity = Activity::Off;
        vcpu.unfinished = None;
        let it = &mut self.parts[who.part];
        let Life::Leaving(left) = it.life else { return };
        it.life = Life::Leaving(left & !who.bit());
        if left == who.bit() {
            self.pcpus[p].first([Step::Quiet(who.part, 0)]);
        }
    }

    /// Gives a bank of SPIs back, in three writes.
    pub fn quiet(&mut self, p: usize, part: usize, bank: usize) {
        let first = (bank as u16 + 1) * 32;
        let steps = match self.parts[part].vgic.hardware_spis(bank) {
            None => vec![Step::Ended(part)],
            Some(mask) => vec![
                Step::Touch(part, Touch::Off(first, mask)),
                Step::Touch(part, Touch::ClearPending(first, mask)),
                Step::Touch(part, Touch::Deactivate(first, mask)),
                Step::Quiet(part, bank + 1),
            ],
        };
        self.pcpus[p].first(steps);
    }

    pub fn ended(&mut self, p: usize, part: usize) {
        self.parts[part].life = Life::Loading;
        self.kick(p, part, 1);
    }

    /// vCPU 0's pCPU begins to load a partition.
    pub fn load(&mut self, p: usize, part: usize) {
        self.vcpu(Who::new(part, 0)).activity = Activity::Loading;
        self.pcpus[p].first([Step::Reset(part, 0)]);
    }

    pub fn reroute(&mut self, part: usize) {
        let home = self.parts[part].vcpus[0].home;
        for intid in HARDWARE[part] {
            let spi = self.gic.own(part, intid);
            assert!(!spi.enabled, "{intid} is on in no life");
            (spi.edge, spi.target) = (spi.edge_at_reset, Some(home));
            spi.urgency = Some(0);
        }
    }

    /// An SPI goes where the model has it, with the priority of who takes it.
    pub fn send_on(&mut self, part: usize, intid: u16) {
        let target = self.parts[part].vgic.spi_target(intid);
        let home = target.map(|vcpu| self.parts[part].vcpus[vcpu.0 as usize].home);
        let spi = self.gic.own(part, intid);
        (spi.target, spi.urgency) = (home, target.map(|vcpu| vcpu.0));
    }

    /// A pCPU gives the SPIs of a vCPU that lives there the priority that they have by the table. That is so in any case, but
    /// for those that were silenced while it was not heard.
    pub fn restore(&mut self, who: Who) {
        for intid in HARDWARE[who.part] {
            let target = self.parts[who.part].vgic.spi_target(intid);
            if target == Some(VcpuId(who.vcpu)) {
                self.gic.own(who.part, intid).urgency = Some(who.vcpu);
            }
        }
    }

    pub fn reset(&mut self, p: usize, part: usize, step: usize) {
        let next = match self.parts[part].vgic.reset_step(step) {
            true => vec![Step::Reset(part, step + 1)],
            false => vec![Step::Reroute(part), Step::Loaded(part)],
        };
        self.pcpus[p].first(next);
    }

    pub fn loaded(&mut self, p: usize, part: usize) {
        let of_it = |step: &Step| match step {
            Step::Short(intid) | Step::Take(intid) | Step::Pend(intid) => {
                self.gic.spis[intid].owner == part
            }
            _ => false,
        };
        // What the module says that is left out.
        match self.pcpus.iter().any(|pcpu| pcpu.steps.iter().any(of_it)) {
            true => self.pcpus[p].steps.push_front(Step::Loaded(part)),
            false => self.start(part),
        }
    }

    /// A partition begins to run, and its guest switches all on: in group 1, at the same priority, SPIs to its first vCPU.
    pub fn start(&mut self, part: usize) {
        let count = self.parts[part].vcpus.len() as u8;
        let it = &mut self.parts[part];
        it.ledger = Ledger::default();
        it.life = Life::Running;
        for vcpu in &mut it.vcpus {
            *vcpu = Vcpu {
                activity: Activity::Ready,
                vmcr: OPEN | if it.split { VEOIM } else { 0 },
                ..Vcpu::new(vcpu.home)
            };
        }
        let everyone = (0..count).map(|vcpu| Who::new(part, vcpu));
        let writes: Vec<_> = everyone.flat_map(|who| self.set_up(who)).collect();
        for (who, access) in writes {
            let effects = self.write_now(who, access);
            assert!(effects.rest.is_none(), "nothing is to be moved");
            // Nobody runs who could be told.
            for step in steps_of(part, &effects) {
                if let Step::Touch(part, touch) = step {
                    self.touch(0, part, touch);
                }
            }
        }
    }
}
