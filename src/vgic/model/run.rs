//! Random events against the reference, with invariants after each.
//!
//! `prompt` runs deliver every kick at once and compare exactly. `late` runs leave vCPUs in the guest while others change
//! things under them, and compare what must hold then: nothing lost, nothing invented.

use super::super::list_register::{HW, PENDING, STATE};
use super::reference::{Reference, key};
use super::world::*;
use crate::ids::VcpuId;
use std::collections::BTreeSet;

/// Something that happens: what, on which vCPU, to which interrupt, with what value.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub kind: u8,
    pub vcpu: u8,
    pub which: u8,
    pub value: u8,
}

/// Interrupts that events choose from.
const CHOICE: [u16; 16] = [0, 1, 5, 27, 30, 32, 33, 34, 35, 36, 37, 40, 41, 42, 43, 44];

/// The world, the reference, and what the guests are doing.
pub struct Run {
    pub world: World,
    pub reference: Reference,
    /// Acknowledged interrupts whose priority is not dropped yet, innermost last.
    pub stacks: Vec<Vec<u16>>,
    /// Acknowledged and dropped ones (EOImode = 1), not deactivated yet.
    loose: Vec<Vec<u16>>,
    /// The guests use EOImode = 1.
    pub split: bool,
    /// Interrupts that were pended anew while a vCPU that had not been kicked yet may have acknowledged them: one
    /// delivery more or less is then a matter of who came first.
    raced: BTreeSet<(Option<u8>, u16)>,
}

impl Run {
    pub fn new(vcpus: usize, list_registers: usize, split: bool) -> Self {
        Self::of_version(vcpus, list_registers, split, false)
    }

    /// The same, or with a GICv2.
    pub fn of_version(vcpus: usize, list_registers: usize, split: bool, v2: bool) -> Self {
        Self {
            world: World::ready_of_version(vcpus, list_registers, v2),
            reference: Reference::ready(vcpus),
            stacks: vec![Vec::new(); vcpus],
            loose: vec![Vec::new(); vcpus],
            split,
            raced: BTreeSet::new(),
        }
    }

    /// Writes one interrupt's bit in a register of its bank.
    fn write_bit(&mut self, vcpu: u8, offset: u64, intid: u16) {
        let value = 1 << (intid & 31);
        match intid < 32 {
            true => self.world.write_private(vcpu, offset, value),
            false => self.world.write(vcpu, offset + 4, value),
        }
    }

    /// Writes a register of zeros and ones so that one interrupt's bit changes.
    fn toggle_bit(&mut self, vcpu: u8, offset: u64, intid: u16) {
        let bit = 1 << (intid & 31);
        match intid < 32 {
            true => {
                let old = self.world.read_private(vcpu, offset);
                self.world.write_private(vcpu, offset, old ^ bit);
            }
            false => {
                let old = self.world.read(vcpu, offset + 4);
                self.world.write(vcpu, offset + 4, old ^ bit);
            }
        }
    }

    /// Notes that who came first cannot be known.
    pub fn race(&mut self, vcpu: u8, intid: u16) {
        if !self.world.prompt {
            self.raced.insert(key(vcpu, intid));
        }
    }

    /// Says whether a guest has an interrupt in hand.
    pub fn in_hand(&self, vcpu: u8, intid: u16) -> bool {
        let mut lists = self.stacks.iter().zip(&self.loose).zip(0u8..);
        lists.any(|((stack, loose), owner)| {
            (intid >= 32 || owner == vcpu) && (stack.contains(&intid) || loose.contains(&intid))
        })
    }

    pub fn step(&mut self, event: Event) {
        let vcpu = event.vcpu % self.stacks.len() as u8;
        let intid = CHOICE[usize::from(event.which) % CHOICE.len()];
        match event.kind {
            0..=3 => self.pend(vcpu, intid, event.value),
            4 => self.unpend(vcpu, intid, event.value),
            5 | 6 => self.enable(vcpu, intid, event.value & 1 != 0),
            7 => self.set_priority(vcpu, intid, event.value & 0xf8),
            8 => self.toggle(vcpu, intid, event.value),
            9 => self.route(vcpu, intid, event.value),
            10 | 11 => self.move_line(vcpu, intid, event.value & 1 != 0),
            12..=17 => self.acknowledge(vcpu),
            18..=21 => self.finish(vcpu),
            22 => self.deactivate_loose(vcpu, event.value),
            23 => self.change_masks(vcpu, event.value),
            24 => self.change_active(vcpu, intid, event.value & 1 != 0),
            25 | 26 => self.write_word(vcpu, event.which, event.value),
            _ => self.world.bounce(vcpu),
        }
        if self.world.prompt {
            self.settle();
        }
        self.note_taken();
    }

    /// Delivers what is on its way.
    pub fn settle(&mut self) {
        self.world.settle();
        self.note_taken();
    }

    /// Physical interrupts that were taken are pending from then on.
    fn note_taken(&mut self) {
        for (vcpu, intid) in std::mem::take(&mut self.world.taken) {
            self.reference.line(vcpu, intid).latch = true;
        }
    }

    fn pend(&mut self, vcpu: u8, intid: u16, value: u8) {
        if intid < 16 {
            let targets = u64::from(value) & 0xf | 1 << vcpu;
            for target in (0..self.stacks.len() as u8).filter(|target| targets >> target & 1 != 0) {
                self.race(target, intid);
                self.reference.line(target, intid).latch = true;
                self.reference.line(target, intid).senders |= 1 << vcpu;
            }
            return self.world.send(vcpu, u64::from(intid) << 24 | targets);
        }
        self.race(vcpu, intid);
        if intid < 40 {
            self.reference.line(vcpu, intid).latch = true;
        }
        self.write_bit(vcpu, ISPENDR, intid);
    }

    fn unpend(&mut self, vcpu: u8, intid: u16, value: u8) {
        self.race(vcpu, intid);
        if self.world.v2 && intid < 16 {
            return self.change_senders(vcpu, intid, value);
        }
        self.reference.line(vcpu, intid).latch = false;
        self.write_bit(vcpu, ICPENDR, intid);
    }

    fn enable(&mut self, vcpu: u8, intid: u16, enabled: bool) {
        self.race(vcpu, intid);
        let for_good = self.world.v2 && intid < 16;
        self.reference.line(vcpu, intid).enabled = enabled || for_good;
        self.write_bit(vcpu, if enabled { ISENABLER } else { ICENABLER }, intid);
    }

    fn set_priority(&mut self, vcpu: u8, intid: u16, priority: u8) {
        self.reference.line(vcpu, intid).priority = priority;
        let offset = IPRIORITYR + u64::from(intid);
        let value = priority.into();
        if intid < 32 {
            let write = self.world.private_write(vcpu, offset, 1, value);
            return self.world.access(vcpu, offset, write);
        }
        let write = self.world.shared_write(vcpu, offset, 1, value);
        self.world.access(vcpu, offset, write);
    }

    fn toggle(&mut self, vcpu: u8, intid: u16, value: u8) {
        self.race(vcpu, intid);
        if value & 3 != 0 {
            self.reference.line(vcpu, intid).group1 ^= true;
            return self.toggle_bit(vcpu, IGROUPR, intid);
        }
        if intid < 32 {
            return;
        }
        let line = self.reference.line(vcpu, intid);
        line.edge ^= true;
        let offset = ICFGR + u64::from(intid / 16 * 4);
        let old = self.world.read(vcpu, offset);
        self.world.write(vcpu, offset, old ^ 2 << (intid % 16 * 2));
    }

    fn route(&mut self, vcpu: u8, intid: u16, value: u8) {
        if intid < 32 {
            return;
        }
        self.race(vcpu, intid);
        let target = value % (self.stacks.len() as u8 + 1);
        let exists = target < self.stacks.len() as u8;
        self.reference.line(vcpu, intid).target = exists.then_some(target);
        if self.world.v2 && self.stacks.len() == 1 {
            // It has no choice.
            self.reference.line(vcpu, intid).target = Some(0);
        }
        self.world.route(vcpu, intid, target);
    }

    fn move_line(&mut self, vcpu: u8, intid: u16, level: bool) {
        self.race(vcpu, intid);
        if intid == 27 || intid >= 40 {
            let number = if intid == 27 { timer(vcpu) } else { intid };
            let state = self.world.physical.get_mut(&number).unwrap();
            state.pending |= level && !state.level && state.edge;
            state.level = level;
            return;
        }
        if intid < 16 {
            return;
        }
        let line = self.reference.line(vcpu, intid);
        if intid >= 32 && level == line.level {
            // The line stays, so this is a doorbell's ring: latched whatever the trigger.
            line.latch = true;
            let effects = self.world.vgic.ring(intid);
            return self.world.apply(effects);
        }
        line.latch |= level && !line.level && line.edge;
        line.level = level;
        let owner = (intid < 32).then_some(VcpuId(vcpu));
        let effects = self.world.vgic.set_line(intid, owner, level);
        self.world.apply(effects);
    }

    fn acknowledge(&mut self, vcpu: u8) {
        let Some(intid) = self.world.acknowledge(vcpu) else {
            return;
        };
        let late = self.raced.contains(&key(vcpu, intid));
        let line = *self.reference.line(vcpu, intid);
        assert!(
            late || line.pending() && !line.active,
            "{intid} came from nowhere: {line:?}"
        );
        assert!(
            !self.in_hand(vcpu, intid) || late,
            "{intid} was delivered twice"
        );
        self.reference.acknowledge(vcpu, intid);
        if self.world.v2 && intid < 16 {
            self.acknowledge_sender(vcpu, intid, late);
        }
        self.stacks[vcpu as usize].push(intid);
    }

    /// Drops the priority of the innermost interrupt, and deactivates it where that is one act.
    fn finish(&mut self, vcpu: u8) {
        let Some(intid) = self.stacks[vcpu as usize].pop() else {
            return;
        };
        if self.split {
            _ = self.world.cpus[vcpu as usize].drop_priority();
            self.loose[vcpu as usize].push(intid);
        } else {
            self.reference.line(vcpu, intid).active = false;
            self.world.eoi(vcpu, intid);
        }
    }

    fn deactivate_loose(&mut self, vcpu: u8, value: u8) {
        let loose = &mut self.loose[vcpu as usize];
        if !loose.is_empty() {
            let intid = loose.remove(usize::from(value) % loose.len());
            self.reference.line(vcpu, intid).active = false;
            self.world.dir(vcpu, intid);
        }
    }

    fn change_masks(&mut self, vcpu: u8, value: u8) {
        match value & 3 {
            0 => {
                let groups = value >> 2 & 3;
                self.reference.groups = groups;
                self.world.write(vcpu, GICD_CTLR, groups.into());
            }
            1 => {
                let cpu = &mut self.world.cpus[vcpu as usize];
                cpu.vmcr = cpu.vmcr & !3 | u32::from(value >> 2 & 3);
            }
            2 => {
                let cpu = &mut self.world.cpus[vcpu as usize];
                cpu.vmcr = cpu.vmcr & 0x00ff_ffff | u32::from(value & 0xf8) << 24;
            }
            _ => {
                self.reference.groups = 3;
                self.world.write(vcpu, GICD_CTLR, 3);
                self.world.cpus[vcpu as usize].vmcr = OPEN;
            }
        }
    }

    /// Writes ISACTIVER or ICACTIVER, but for an interrupt that a guest took and is still to end.
    fn change_active(&mut self, vcpu: u8, intid: u16, active: bool) {
        if !self.world.prompt || self.in_hand(vcpu, intid) {
            return;
        }
        self.reference.line(vcpu, intid).active = active;
        self.write_bit(vcpu, if active { ISACTIVER } else { ICACTIVER }, intid);
    }

    /// What holds always.
    pub fn check_list_registers(&self) {
        let mut seen = BTreeSet::new();
        for (cpu, vcpu) in self.world.cpus.iter().zip(0u8..) {
            for &lr in cpu.lr.iter().filter(|lr| **lr & STATE != 0) {
                let intid = lr as u16;
                assert!(
                    seen.insert(key(vcpu, intid)),
                    "{intid} is in two list registers"
                );
                let line = &self.reference.lines[&key(vcpu, intid)];
                assert!(
                    lr & HW == 0 || line.hardware && lr & STATE != STATE,
                    "{lr:#x}"
                );
                let number = if intid == 27 { timer(vcpu) } else { intid };
                let linked = lr & HW != 0 && self.world.prompt;
                assert!(!linked || self.world.physical[&number].active, "{lr:#x}");
            }
        }
    }

    /// What holds when no kick is outstanding.
    pub fn check_exactly(&self) {
        for (cpu, vcpu) in self.world.cpus.iter().zip(0u8..) {
            let best = self.reference.best(vcpu, cpu.vmcr);
            let limit = cpu.running().min(cpu.vmcr >> 24);
            let expected = best.filter(|&priority| u32::from(priority) < limit);
            let signalled = cpu.signalled().map(|slot| (cpu.lr[slot] >> 48) as u8);
            assert_eq!(signalled, expected, "vCPU {vcpu}: {:x?}", cpu);
            for &lr in &cpu.lr {
                let line = self.reference.lines.get(&key(vcpu, lr as u16));
                match lr & STATE {
                    0 => {}
                    PENDING => assert!(self.reference.is_deliverable(vcpu, lr as u16, 3)),
                    _ => assert!(line.is_some_and(|line| line.active), "{lr:#x}"),
                }
            }
        }
    }

    /// What the guest reads, and what the physical GIC is left in.
    pub fn check_registers(&mut self) {
        for vcpu in 0..self.stacks.len() as u8 {
            self.world.bounce(vcpu);
        }
        for (&(owner, intid), line) in &self.reference.lines {
            let vcpu = owner.unwrap_or(0);
            let word = if owner.is_some() { 0 } else { 4 };
            let read = |offset| self.world.peek(owner, offset + word);
            if self.world.v2 && intid < 16 {
                let seen = self.world.peek(owner, SPENDSGIR + u64::from(intid & !3));
                let seen = seen >> (intid % 4 * 8) & 0xff;
                assert_eq!(seen as u8, line.senders, "{intid}'s senders");
            }
            let bit = |offset| read(offset) >> (intid & 31) & 1 != 0;
            assert_eq!(bit(ISACTIVER), line.active, "{intid} active");
            assert_eq!(bit(ISPENDR), line.pending(), "{intid} pending");
            assert_eq!(bit(ISENABLER), line.enabled, "{intid} enabled");
            if line.hardware {
                let number = if intid == 27 { timer(vcpu) } else { intid };
                let in_flight = self.world.vgic.hardware_in_flight(VcpuId(vcpu), intid);
                assert_eq!(self.world.physical[&number].active, in_flight, "{intid}");
                assert!(
                    !in_flight || line.pending() || line.active,
                    "{intid} is stuck"
                );
            }
        }
    }

    /// Ends all that the guests have in hand, opens all masks, takes and ends what is still to come: nothing may be left
    /// that the reference has pending.
    pub fn drain(&mut self) {
        self.world.prompt = true;
        self.world.deliver_kicks();
        for vcpu in 0..self.stacks.len() as u8 {
            self.change_masks(vcpu, 3);
        }
        for line in self.world.physical.values_mut() {
            line.level = false;
        }
        for (vcpu, intid) in (0..self.stacks.len() as u8).flat_map(|v| CHOICE.map(|i| (v, i))) {
            self.move_line(vcpu, intid, false);
        }
        for round in 0..400u16 {
            let vcpu = (round % self.stacks.len() as u16) as u8;
            for kind in [12, 18, 22] {
                self.step(Event {
                    kind,
                    vcpu,
                    which: 0,
                    value: 0,
                });
            }
        }
        for (&(owner, intid), line) in &self.reference.lines {
            let open = line.priority < 0xf8;
            let reachable = line.pending() && line.enabled && !line.active && open;
            assert!(
                !reachable || line.target.is_none(),
                "{owner:?} {intid} was lost: {line:?}"
            );
        }
        for vcpu in 0..self.stacks.len() {
            assert_eq!(self.world.signalled(vcpu as u8), None);
        }
    }
}
