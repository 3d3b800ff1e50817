//! What guests do: in their list registers, where EL2 sees nothing of it, and by traps.

use super::super::super::{Effects, hcr};
use super::super::interface::Deactivation;
use super::super::world::*;
use super::ledger::{Line, line};
use super::pcpu::{Access, Step, Taken, Who};
use super::{BELL, HARDWARE, Machine, PRIVATE_LINE, SHARED_LINE, TIMER};
use crate::ids::VcpuId;

/// SGIs that guests use, as a mask.
const SGIS: u32 = 0b11;

impl Machine {
    /// Returns the vCPU whose guest runs on a pCPU.
    pub fn runs(&self, p: usize) -> Option<Who> {
        self.pcpus[p].current.filter(|_| self.is_inside(p))
    }

    /// The guest on a pCPU acknowledges. Returns what it took.
    pub fn acknowledge(&mut self, p: usize) -> Option<u16> {
        let who = self.runs(p)?;
        let slot = self.pcpus[p].hw.signalled()?;
        let intid = self.pcpus[p].hw.acknowledge()?;
        let sender = (self.pcpus[p].hw.lr[slot] >> 16 & 7) as u8;
        let sender = if self.v2 && intid < 16 { sender } else { 0 };
        let (owner, _) = line(who.vcpu, intid);
        let cause = (owner, intid, sender);
        if !self.parts[who.part].ledger.take(who.vcpu, cause) {
            self.let_go(who.part, (owner, intid));
        }
        let cleared = false;
        self.vcpu(who).stack.push(Taken { intid, cleared });
        Some(intid)
    }

    /// The guest ends what it took last, or drops its priority.
    pub fn end(&mut self, p: usize) {
        let Some(who) = self.runs(p) else { return };
        let split = self.parts[who.part].split;
        let Some(taken) = self.vcpu(who).stack.pop() else {
            return;
        };
        if split {
            let _ = self.pcpus[p].hw.drop_priority();
            self.vcpu(who).loose.push(taken);
            return;
        }
        if !taken.cleared {
            let line = line(who.vcpu, taken.intid);
            self.parts[who.part].ledger.end(who.vcpu, line);
        }
        let before = self.pcpus[p].hw.eoi_count;
        let ended = self.pcpus[p].hw.end(taken.intid);
        if self.pcpus[p].hw.eoi_count != before {
            // EL2 hears of it later, and cannot tell it from what others write until then.
            let line = line(who.vcpu, taken.intid);
            self.parts[who.part].ledger.ends_late(line);
        }
        self.end_physical(p, who, ended);
    }

    /// The guest deactivates one of those that it ended in part.
    pub fn finish_loose(&mut self, p: usize, which: u8) {
        let Some(who) = self.runs(p) else { return };
        let loose = &mut self.vcpu(who).loose;
        if loose.is_empty() {
            return;
        }
        let taken = loose.remove(usize::from(which) % loose.len());
        if taken.cleared {
            return;
        }
        if self.v2 || self.pcpus[p].hw.hcr & hcr::TDIR != 0 {
            self.pcpus[p].first([Step::Fold, Step::Deactivate(taken.intid)]);
            return;
        }
        let line = line(who.vcpu, taken.intid);
        self.parts[who.part].ledger.end(who.vcpu, line);
        let ended = self.pcpus[p].hw.deactivate(taken.intid);
        self.end_physical(p, who, ended);
    }

    /// Does what a deactivation in a list register does to the physical GIC.
    fn end_physical(&mut self, p: usize, who: Who, ended: Deactivation) {
        if let Deactivation::Physical(intid) = ended {
            self.deactivated(p, who, &[intid]);
        }
    }

    /// A device of a partition, or a vCPU's timer, falls silent: its guest saw to it.
    pub fn silence(&mut self, p: usize, who: Who, intid: u16) {
        match intid {
            TIMER => self.vcpu(who).timer = false,
            _ if HARDWARE[who.part].contains(&intid) => self.gic.drive(intid, false),
            PRIVATE_LINE => {
                let step = Step::Drive(who.part, Some(who.vcpu), intid, false);
                self.pcpus[p].first([Step::Fold, step]);
            }
            SHARED_LINE => {
                let step = Step::Drive(who.part, None, intid, false);
                self.pcpus[p].first([Step::Fold, step]);
            }
            _ => {}
        }
    }

    /// Returns the write of a register with one bit for each interrupt, for those of a mask, of a vCPU's own or of a bank.
    pub fn bits(offset: u64, owner: Option<u8>, first: u16, value: u32) -> Access {
        Access {
            owner,
            offset: offset + u64::from(first / 32) * 4,
            width: 4,
            value,
        }
    }

    /// Returns the write of a priority.
    pub fn priority(owner: Option<u8>, intid: u16, value: u8) -> Access {
        Access {
            owner,
            offset: IPRIORITYR + u64::from(intid),
            width: 1,
            value: value.into(),
        }
    }

    /// Returns the write of a route, to nobody when there is no such vCPU.
    pub fn route(&self, intid: u16, vcpu: u8) -> Access {
        let at = u64::from(intid);
        let (offset, width, value) = match self.v2 {
            true => (ITARGETSR + at, 1, 1u32.wrapping_shl(vcpu.into())),
            false => (0x6000 + 8 * at, 8, vcpu.into()),
        };
        Access {
            owner: None,
            offset,
            width,
            value,
        }
    }

    /// Returns the writes by which a guest sets up what belongs to a vCPU, and the first one what they share.
    pub fn set_up(&self, who: Who) -> Vec<(Who, Access)> {
        let own = Some(who.vcpu);
        let mut writes = Vec::new();
        writes.push(Self::bits(IGROUPR, own, 0, !0));
        writes.push(Self::bits(ISENABLER, own, 0, !0));
        for intid in [0, 1, TIMER, PRIVATE_LINE] {
            writes.push(Self::priority(own, intid, 0xa0));
        }
        if who.vcpu == 0 {
            for intid in [SHARED_LINE, BELL].into_iter().chain(HARDWARE[who.part]) {
                writes.push(Self::priority(None, intid, 0xa0));
                writes.push(self.route(intid, 0));
            }
            for first in [32, 64] {
                writes.push(Self::bits(IGROUPR, None, first, !0));
                writes.push(Self::bits(ISENABLER, None, first, !0));
            }
            writes.push(Self::bits(GICD_CTLR, None, 0, 3));
        }
        writes.into_iter().map(|write| (who, write)).collect()
    }

    /// A write goes to the model at once.
    pub fn write_now(&mut self, who: Who, access: Access) -> Effects {
        let (offset, width, value) = (access.offset, access.width, access.value.into());
        let vgic = &mut self.parts[who.part].vgic;
        match (self.v2, access.owner) {
            (true, _) => vgic.banked_write(VcpuId(who.vcpu), offset, width, value),
            (false, None) => vgic.distributor_write(offset, width, value),
            (false, Some(vcpu)) => {
                vgic.redistributor_write(VcpuId(vcpu), SGI_FRAME + offset, width, value)
            }
        }
    }

    /// Returns whose interrupts a write of bits names, and those of them that there are.
    fn named(&self, who: Who, access: Access) -> Vec<Line> {
        let first = (access.offset as u16 & 0x7f) * 8;
        let owner = (first == 0).then_some(access.owner.unwrap_or(who.vcpu));
        let lines = self.lines(who.part).into_iter();
        lines
            .filter(|(of, intid)| *of == owner && intid & !31 == first)
            .filter(|(_, intid)| access.value & 1 << (intid & 31) != 0)
            .collect()
    }

    /// Returns all interrupts of a partition.
    pub fn lines(&self, part: usize) -> Vec<Line> {
        let vcpus = 0..self.parts[part].vcpus.len() as u8;
        let own = [0, 1, TIMER, PRIVATE_LINE];
        let private = vcpus.flat_map(|vcpu| own.map(|intid| (Some(vcpu), intid)));
        let shared = [SHARED_LINE, BELL].into_iter().chain(HARDWARE[part]);
        private.chain(shared.map(|intid| (None, intid))).collect()
    }

    /// Says whether a partition has interrupts of an INTID that guests use.
    pub fn owns(part: usize, intid: u16) -> bool {
        matches!(intid, 0 | 1 | TIMER | PRIVATE_LINE | SHARED_LINE | BELL)
            || HARDWARE[part].contains(&intid)
    }

    /// Says whether an interrupt has hardware behind it.
    pub fn has_hardware(part: usize, (_, intid): Line) -> bool {
        intid == TIMER || HARDWARE[part].contains(&intid)
    }

    /// Says whether a partition's interrupt is shown as edge-triggered.
    pub fn is_edge(&self, part: usize, line: Line) -> bool {
        let (owner, intid) = line;
        let word = self.peek(part, owner, ICFGR + u64::from(intid / 16 * 4));
        word >> (intid % 16 * 2 + 1) & 1 != 0
    }

    /// Reads a word of a partition's registers.
    pub fn peek(&self, part: usize, owner: Option<u8>, offset: u64) -> u32 {
        let vgic = &self.parts[part].vgic;
        let vcpu = VcpuId(owner.unwrap_or(0));
        let word = match (self.v2, owner) {
            (true, _) => vgic.banked_read(vcpu, offset, 4),
            (false, Some(_)) => vgic.redistributor_read(vcpu, SGI_FRAME + offset, 4),
            (false, None) => vgic.distributor_read(offset, 4),
        };
        word as u32
    }

    /// Reads an interrupt's bit in a register.
    pub fn peek_bit(&self, part: usize, offset: u64, (owner, intid): Line) -> bool {
        let at = offset + u64::from(intid / 32) * 4;
        self.peek(part, owner, at) >> (intid & 31) & 1 != 0
    }

    /// The model did a write whole, or its first piece: keeps the account.
    pub fn written(&mut self, who: Who, access: Access) {
        if clears_pending(access) {
            return self.written_on(who, access);
        }
        let set = match access.offset & !0x7f {
            ISPENDR => {
                for (owner, intid) in self.named(who, access) {
                    let sgi = self.v2 && intid < 16;
                    if !sgi && (owner.is_some() || !HARDWARE[who.part].contains(&intid)) {
                        self.caused(who.part, (owner, intid, 0));
                    }
                }
                return;
            }
            ISACTIVER => true,
            ICACTIVER => false,
            _ => return,
        };
        for line in self.named(who, access) {
            self.parts[who.part].ledger.write_active(line, set, true);
            if !set {
                self.let_go(who.part, line);
            }
        }
    }

    /// The model did a further piece of a write.
    pub fn written_on(&mut self, who: Who, access: Access) {
        let active = match access.offset & !0x7f {
            ISACTIVER => Some(true),
            ICACTIVER => Some(false),
            ICPENDR => None,
            _ => return,
        };
        for line in self.named(who, access) {
            let ledger = &mut self.parts[who.part].ledger;
            match active {
                None if self.v2 && line.1 < 16 => {}
                None => ledger.forgive(line),
                Some(active) => {
                    ledger.write_active(line, active, false);
                    if !active {
                        self.let_go(who.part, line);
                    }
                }
            }
        }
    }

    /// Whoever had an interrupt in hand has it no more.
    pub fn let_go(&mut self, part: usize, (owner, intid): Line) {
        for (vcpu, number) in self.parts[part].vcpus.iter_mut().zip(0u8..) {
            let taken = vcpu.stack.iter_mut().chain(&mut vcpu.loose);
            for it in taken.filter(|it| it.intid == intid && owner.is_none_or(|it| it == number)) {
                it.cleared = true;
            }
        }
    }

    /// Returns the interrupts that a write of bits may name, of a vCPU's own or of a bank: no others, or a partition would
    /// name those that the account does not know.
    pub const fn known(owner: Option<u8>) -> u32 {
        match owner {
            Some(_) => SGIS | 1 << TIMER | 1 << PRIVATE_LINE,
            None => u32::MAX,
        }
    }
}

/// Says whether a write takes pending states back.
const fn clears_pending(access: Access) -> bool {
    access.offset & !0x7f == ICPENDR
}
