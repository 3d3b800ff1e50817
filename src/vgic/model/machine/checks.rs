//! What holds after each event, when all is settled, and at the end.

use super::super::super::list_register::{ACTIVE, HW, STATE};
use super::super::interface::OPEN;
use super::super::world::*;
use super::ledger::Line;
use super::life::Life;
use super::pcpu::{Activity, Step, VEOIM, Who};
use super::{BELL, HARDWARE, Machine, PRIVATE_LINE, SHARED_LINE, TIMER};
use crate::ids::VcpuId;
use std::collections::BTreeSet;

/// Rounds after which something goes on without end.
const ENDLESS: usize = 2000;
/// A priority that every guest's mask stops at the end.
const SILENT: u32 = 0xf8;

impl Machine {
    /// Returns the list registers that hold something of a vCPU: in the hardware, or in its model.
    fn list_registers(&self, who: Who) -> Vec<u64> {
        let home = &self.pcpus[self.parts[who.part].vcpus[who.vcpu as usize].home];
        let held = match home.current == Some(who) && !home.folded {
            true => home.hw.lr.clone(),
            false => {
                let vgic = &self.parts[who.part].vgic;
                vgic.list_registers(VcpuId(who.vcpu)).to_vec()
            }
        };
        held.into_iter().filter(|lr| lr & STATE != 0).collect()
    }

    /// What holds always.
    pub fn check(&self) {
        for (part, it) in self.parts.iter().enumerate() {
            let mut seen = BTreeSet::new();
            for vcpu in 0..it.vcpus.len() as u8 {
                for lr in self.list_registers(Who::new(part, vcpu)) {
                    let line = super::ledger::line(vcpu, lr as u16);
                    assert!(seen.insert(line), "{line:?} is in two list registers");
                    assert!(Self::owns(part, line.1), "{line:?} of another");
                    let linked = lr & HW != 0;
                    assert!(!linked || Self::has_hardware(part, line), "{lr:#x}");
                    assert!(!linked || lr & STATE != STATE && !self.v2, "{lr:#x}");
                    let same = lr >> 32 & 0x1fff == u64::from(line.1);
                    assert!(!linked || same, "{lr:#x}");
                }
            }
        }
    }

    /// Lets all that is under way come to its end: what EL2 does, calls, interrupts; guests do nothing meanwhile.
    pub fn settle(&mut self) {
        for _ in 0..ENDLESS {
            let mut busy = false;
            for p in 0..self.pcpus.len() {
                busy |= self.advance(p) || self.interrupt(p, 0) || self.wake(p);
            }
            if !busy {
                return;
            }
        }
        panic!("something goes on without end");
    }

    /// A pCPU takes an interrupt or what it was told, of those that there are. Returns false when there is none.
    pub fn interrupt(&mut self, p: usize, which: u8) -> bool {
        if !self.may_look(p) {
            return false;
        }
        let homes = self.homes(p);
        if !homes.is_empty() {
            self.restore(homes[usize::from(which) % homes.len()]);
        }
        let inside = self.is_inside(p);
        let mut choice: Vec<Step> = Vec::new();
        choice.extend(self.pcpus[p].mail.iter().map(|who| Step::Attend(*who)));
        if inside && self.pcpus[p].hw.maintenance() {
            choice.push(Step::Fold);
        }
        let here = self.pcpus[p].current;
        if here.is_some_and(|who| self.vcpu(who).timer) && !self.gic.timers[p] {
            choice.push(Step::Timer(inside));
        }
        let spis = self.gic.signalled(p).into_iter();
        choice.extend(spis.map(|intid| match inside {
            true => Step::Short(intid),
            false => Step::Take(intid),
        }));
        if choice.is_empty() {
            return false;
        }
        let step = choice.swap_remove(usize::from(which) % choice.len());
        match step {
            Step::Attend(who) => _ = self.pcpus[p].mail.remove(&who),
            Step::Timer(_) => self.gic.timers[p] = true,
            Step::Short(intid) | Step::Take(intid) => self.gic.acknowledge(intid),
            // It is silenced meanwhile.
            _ => self.pcpus[p].hw.hcr = 0,
        }
        self.pcpus[p].first([step]);
        true
    }

    /// A vCPU that waits off its pCPU is woken by its timer.
    pub fn wake(&mut self, p: usize) -> bool {
        let due = self.homes(p).into_iter().find(|who| {
            let vcpu = &self.parts[who.part].vcpus[who.vcpu as usize];
            let vgic = &self.parts[who.part].vgic;
            vcpu.activity == Activity::Waiting
                && vcpu.timer
                && !vgic.hardware_in_flight(VcpuId(who.vcpu), TIMER)
        });
        due.inspect(|who| self.expire(*who)).is_some()
    }

    /// All is settled, and all list registers are seen.
    pub fn check_settled(&mut self) {
        self.settle();
        for p in 0..self.pcpus.len() {
            if self.is_inside(p) {
                self.pcpus[p].first([Step::Fold]);
            }
        }
        self.settle();
        self.check();
        for part in 0..self.parts.len() {
            assert_eq!(self.parts[part].life, Life::Running);
            for line in self.lines(part) {
                self.check_line(part, line);
            }
            for vcpu in 0..self.parts[part].vcpus.len() as u8 {
                let who = Who::new(part, vcpu);
                let waits = self.vcpu(who).activity == Activity::Waiting;
                assert!(!waits || !self.would_signal(who), "{who:?} is not woken");
            }
        }
        for (p, pcpu) in self.pcpus.iter().enumerate() {
            let Some(who) = pcpu.current else {
                assert!(!self.gic.timers[p]);
                continue;
            };
            let vgic = &self.parts[who.part].vgic;
            let in_flight = vgic.hardware_in_flight(VcpuId(who.vcpu), TIMER);
            assert_eq!(self.gic.timers[p], in_flight, "the timer of {who:?}");
        }
    }

    /// One interrupt, settled.
    fn check_line(&mut self, part: usize, line: Line) {
        let (owner, intid) = line;
        let latched = self.peek_bit(part, ISPENDR, line);
        let active = self.peek_bit(part, ISACTIVER, line);
        if !self.parts[part].ledger.settle_active(line, active) {
            self.let_go(part, line);
        }
        match (self.v2 && intid < 16, owner) {
            (true, Some(vcpu)) => self.settle_senders(part, vcpu, intid),
            // What the timer's level shows is no cause.
            _ if intid == TIMER => {
                let vgic = &self.parts[part].vgic;
                let in_flight = vgic.hardware_in_flight(VcpuId(owner.unwrap_or(0)), TIMER);
                assert!(!in_flight || latched || active, "{line:?} is stuck");
            }
            _ => {
                let ledger = &mut self.parts[part].ledger;
                ledger.settle_pending((owner, intid, 0), latched);
            }
        }
        if HARDWARE[part].contains(&intid) {
            let spi = *self.gic.own(part, intid);
            let vgic = &self.parts[part].vgic;
            let in_flight = vgic.hardware_in_flight(VcpuId(0), intid);
            // A late deactivation may have met the next one, which is then only free to come again early.
            assert!(!spi.active || in_flight, "{intid} is active for ever");
            assert!(!in_flight || latched || active, "{intid} is stuck");
            assert_eq!(spi.enabled, self.peek_bit(part, ISENABLER, line), "{intid}");
            assert_eq!(spi.edge, self.is_edge(part, line), "{intid}'s trigger");
            let target = vgic.spi_target(intid);
            let home = target.map(|vcpu| self.parts[part].vcpus[vcpu.0 as usize].home);
            assert_eq!(spi.target, home, "{intid}'s route");
            let urgency = target.map(|vcpu| vcpu.0);
            assert_eq!(spi.urgency, urgency, "{intid}'s priority");
        }
    }

    fn settle_senders(&mut self, part: usize, vcpu: u8, intid: u16) {
        let word = self.peek(part, Some(vcpu), SPENDSGIR + u64::from(intid & !3));
        for sender in 0..self.parts[part].vcpus.len() as u8 {
            let pending = word >> (intid % 4 * 8) >> sender & 1 != 0;
            let cause = (Some(vcpu), intid, sender);
            self.parts[part].ledger.settle_pending(cause, pending);
        }
    }

    /// The guests open all masks, take what comes and end it, silencing what asked for it, until nothing comes any more.
    pub fn drain(&mut self) {
        self.settle();
        for part in &mut self.parts {
            for vcpu in &mut part.vcpus {
                vcpu.vmcr = OPEN | vcpu.vmcr & VEOIM;
                if vcpu.activity == Activity::Waiting {
                    vcpu.activity = Activity::Ready;
                }
            }
        }
        for pcpu in &mut self.pcpus {
            pcpu.hw.vmcr = OPEN | pcpu.hw.vmcr & VEOIM;
        }
        for _ in 0..ENDLESS {
            let mut served = 0;
            for p in 0..self.pcpus.len() {
                for who in self.homes(p) {
                    served += self.serve(p, who);
                }
            }
            if served == 0 {
                self.check_settled();
                return self.check_drained();
            }
        }
        panic!("interrupts without end");
    }

    /// A vCPU comes, takes all there is for it, and ends it and what it has in hand. Returns how much that was.
    fn serve(&mut self, p: usize, who: Who) -> usize {
        self.bring(who);
        let mut served = 0;
        while self.pcpus[p].current == Some(who) {
            let intid = self.acknowledge(p);
            if let Some(intid) = intid {
                self.silence(p, who, intid);
                self.settle();
            }
            let busy = !self.vcpu(who).stack.is_empty() || !self.vcpu(who).loose.is_empty();
            if !busy {
                break;
            }
            served += 1;
            self.end(p);
            self.settle();
            self.finish_loose(p, 0);
            self.settle();
        }
        self.settle();
        served
    }

    /// A vCPU comes to its pCPU, if it can.
    fn bring(&mut self, who: Who) {
        let home = self.vcpu(who).home;
        if self.pcpus[home].current != Some(who) {
            self.pcpus[home].first([Step::Leave, Step::Come(who)]);
        }
        self.settle();
    }

    /// Nothing is left that could be delivered.
    fn check_drained(&mut self) {
        for part in 0..self.parts.len() {
            for line in self.lines(part) {
                assert!(!self.is_deliverable(part, line), "{part}: {line:?} waits");
                let active = self.peek_bit(part, ISACTIVER, line);
                let held = self.list_registers(Who::new(part, line.0.unwrap_or(0)));
                let shown = held
                    .iter()
                    .any(|lr| lr & ACTIVE != 0 && *lr as u16 == line.1);
                assert!(active || line.0.is_none() || !shown, "{line:?} is active");
            }
        }
    }

    /// Says whether an interrupt is to be delivered as its registers stand.
    fn is_deliverable(&mut self, part: usize, line: Line) -> bool {
        let (owner, intid) = line;
        let group = 1 << u32::from(self.peek_bit(part, IGROUPR, line));
        let open = self.peek(part, None, GICD_CTLR) & group != 0;
        let at = IPRIORITYR + u64::from(intid & !3);
        let priority = self.peek(part, owner, at) >> (intid % 4 * 8) & 0xff;
        let routed = owner.is_some() || self.parts[part].vgic.spi_target(intid).is_some();
        // What the timer's level shows comes as a physical interrupt.
        let timer = intid == TIMER && !self.parts[part].vcpus[owner.unwrap_or(0) as usize].timer;
        let hardware = HARDWARE[part].contains(&intid);
        let pending = match hardware {
            true => self.gic.own(part, intid).is_pending(),
            false => false,
        };
        (pending || self.peek_bit(part, ISPENDR, line) && !timer)
            && self.peek_bit(part, ISENABLER, line)
            && !self.peek_bit(part, ISACTIVER, line)
            && open
            && priority < SILENT
            && routed
    }

    /// Every interrupt can come again: the guests set all up anew, and each comes once where it is routed to.
    pub fn revive(&mut self, turn: u8) {
        for part in 0..self.parts.len() {
            self.clean(part);
            self.drain();
            for line in self.lines(part) {
                let count = self.parts[part].vcpus.len() as u8;
                let to = line.0.unwrap_or(turn.wrapping_add(line.1 as u8) % count);
                self.route_to(part, line, to);
                self.raise(part, line);
                let who = Who::new(part, to);
                let home = self.vcpu(who).home;
                self.pcpus[home].first([Step::Leave, Step::Come(who)]);
                self.settle();
                let shown = self.pcpus[home].hw.signalled();
                let shown = shown.map(|slot| self.pcpus[home].hw.lr[slot] as u16);
                assert_eq!(shown, Some(line.1), "{part}: {line:?} is dead");
                assert_eq!(self.serve(home, who), 1);
            }
        }
        self.drain();
    }

    /// A partition's guests make all as at their start, and nothing active.
    fn clean(&mut self, part: usize) {
        for vcpu in 0..self.parts[part].vcpus.len() as u8 {
            let who = Who::new(part, vcpu);
            let mut writes = vec![Self::bits(ICACTIVER, Some(vcpu), 0, !0)];
            if vcpu == 0 {
                writes.extend([32, 64].map(|first| Self::bits(ICACTIVER, None, first, !0)));
            }
            writes.extend(self.set_up(who).into_iter().map(|(_, write)| write));
            for write in writes {
                self.write_by(who, write);
            }
        }
    }

    /// A vCPU comes to its pCPU and makes a write.
    fn write_by(&mut self, who: Who, write: super::pcpu::Access) {
        let home = self.vcpu(who).home;
        self.bring(who);
        assert_eq!(self.runs(home), Some(who));
        self.pcpus[home].first([Step::Access(write)]);
        self.settle();
    }

    fn route_to(&mut self, part: usize, line: Line, to: u8) {
        if line.0.is_none() {
            let write = self.route(line.1, to);
            self.write_by(Who::new(part, 0), write);
        }
    }

    /// An interrupt's cause comes anew.
    fn raise(&mut self, part: usize, line: Line) {
        let (owner, intid) = line;
        let who = Who::new(part, owner.unwrap_or(0));
        let home = self.vcpu(who).home;
        match intid {
            0..16 => self.send_to(who, intid),
            TIMER => self.vcpu(who).timer = true,
            BELL => self.pcpus[home].first([Step::Ring(part)]),
            PRIVATE_LINE | SHARED_LINE => {
                let drive = |level| Step::Drive(part, owner, intid, level);
                self.pcpus[home].first([Step::Fold, drive(false), drive(true)]);
            }
            _ => {
                self.gic.drive(intid, false);
                self.gic.drive(intid, true);
            }
        }
    }

    /// A vCPU sends itself an SGI.
    fn send_to(&mut self, who: Who, intid: u16) {
        let home = self.vcpu(who).home;
        self.bring(who);
        let value = u64::from(intid) << 24 | u64::from(who.bit());
        self.pcpus[home].first([Step::Send(value, true)]);
    }
}
