//! What may happen, one thing at a time.

use super::super::interface::OPEN;
use super::super::world::*;
use super::ledger::{self, line};
use super::pcpu::{Access, Step, VEOIM, Who};
use super::{BELL, HARDWARE, Machine, PRIVATE_LINE, SHARED_LINE, TIMER};

/// What a machine has.
#[derive(Clone, Debug)]
pub struct Shape {
    pub pcpus: usize,
    /// Partitions, and how many vCPUs each has.
    pub vcpus: Vec<usize>,
    /// Whether a partition's guests split their end of interrupt.
    pub split: Vec<bool>,
    pub list_registers: usize,
    pub v2: bool,
    /// Little happens but that interrupts come, go elsewhere, and are taken back.
    pub narrow: bool,
}

/// Something that happens: what, on which pCPU, to which interrupt, with what value.
#[derive(Clone, Copy)]
pub struct Event {
    pub kind: u8,
    pub pcpu: u8,
    pub which: u8,
    pub value: u8,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            kind,
            pcpu,
            which,
            value,
        } = self;
        write!(f, "({kind}, {pcpu}, {which}, {value})")
    }
}

/// What kind of thing happens.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A device's line, or a timer's, moves.
    Device,
    /// A pCPU takes an interrupt, or looks at what it was told.
    Interrupt,
    /// A pCPU goes on with what it does at EL2.
    Advance,
    /// A vCPU is woken by its timer.
    Wake,
    /// All that is under way comes to its end.
    Settle,
    /// The guest on a pCPU does something.
    Guest(Deed),
}

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Acknowledge,
    End,
    FinishLoose,
    /// It is interrupted by EL2.
    Bounce,
    Bit,
    Word,
    PriorityOrTrigger,
    Route,
    Send,
    Wait,
    /// Another one gets the pCPU.
    Switch,
    /// Another one comes for one interrupt alone.
    Hand,
    Masks,
    /// A line of an emulated device moves, or a doorbell rings.
    Line,
    /// A partition starts again, or all is looked at.
    Rarely,
}

use Deed::*;
use Kind::*;

/// Kinds of events.
pub const KINDS: u8 = 40;

/// How often each kind happens, where all may.
#[rustfmt::skip]
const WIDE: [Kind; KINDS as usize] = [
    Device, Device, Device, Device, Device, Interrupt, Interrupt, Interrupt, Interrupt, Interrupt, Advance, Advance, Wake,
    Settle, Guest(Acknowledge), Guest(Acknowledge), Guest(Acknowledge), Guest(Acknowledge), Guest(Acknowledge),
    Guest(Acknowledge), Guest(End), Guest(End), Guest(End), Guest(End), Guest(FinishLoose), Guest(Bounce), Guest(Bit),
    Guest(Bit), Guest(Word), Guest(PriorityOrTrigger), Guest(Route), Guest(Route), Guest(Send), Guest(Wait),
    Guest(Switch), Guest(Switch), Guest(Hand), Guest(Masks), Guest(Line), Guest(Rarely),
];

/// The same where one interrupt comes, goes elsewhere and is taken back, and its trigger changes.
#[rustfmt::skip]
const NARROW: [Kind; KINDS as usize] = [
    Device, Device, Device, Device, Device, Device, Device, Device,
    Interrupt, Interrupt, Interrupt, Interrupt, Interrupt, Interrupt, Advance,
    Guest(Acknowledge), Guest(Acknowledge), Guest(Acknowledge), Guest(Acknowledge), Guest(Acknowledge), Guest(Acknowledge),
    Guest(PriorityOrTrigger), Guest(End), Guest(End), Guest(End), Guest(End), Guest(End), Guest(End), Guest(End),
    Guest(FinishLoose), Guest(Bounce), Guest(Bounce), Guest(Bit), Guest(Bit), Guest(Bit), Guest(Bit),
    Guest(Route), Guest(Route), Guest(Route), Guest(Route),
];

/// Registers with one bit for each interrupt.
#[rustfmt::skip]
const REGISTERS: [u64; 16] = [
    IGROUPR, IGROUPR, ISENABLER, ISENABLER, ISENABLER, ICENABLER, ISPENDR, ISPENDR,
    ICPENDR, ICPENDR, ICPENDR, ISACTIVER, ICACTIVER, ICACTIVER, ICACTIVER, ISENABLER,
];

/// Those that make interrupts come and go.
const TO_AND_FRO: [u64; 4] = [ICPENDR, ICPENDR, ISPENDR, ICPENDR];

impl Machine {
    /// Lets an event happen. A pCPU that is at EL2 goes on with what it does there.
    pub fn step(&mut self, event: Event) {
        let Event { which, value, .. } = event;
        let p = usize::from(event.pcpu) % self.pcpus.len();
        let kinds = if self.narrow { &NARROW } else { &WIDE };
        match kinds[usize::from(event.kind % KINDS)] {
            Device => self.move_device(which, value & 3 != 0),
            Interrupt => {
                self.interrupt(p, value);
                self.hurry(p, value & 6 != 0);
            }
            Advance => _ = self.advance(p),
            Wake => _ = self.wake(p),
            Settle => self.settle(),
            Guest(deed) => {
                self.hurry(p, value & 6 != 0);
                self.let_guest(p, deed, which, value);
                self.hurry(p, value & 0x60 != 0);
            }
        }
    }

    /// A pCPU does all that it has to do at EL2, or a piece of it.
    fn hurry(&mut self, p: usize, all: bool) {
        let most = if all { 50 } else { 1 };
        (0..most).any(|_| !self.advance(p));
    }

    /// The guest on a pCPU does something, if it runs.
    fn let_guest(&mut self, p: usize, deed: Deed, which: u8, value: u8) {
        let Some(who) = self.runs(p) else { return };
        let line = self.choose(who, which);
        match deed {
            Acknowledge => _ = self.acknowledge(p),
            End => self.end(p),
            FinishLoose => self.finish_loose(p, value),
            Bounce => self.pcpus[p].first([Step::Fold]),
            Bit => self.write_bit(p, who, line, value),
            Word => self.write_word(p, who, which, value),
            PriorityOrTrigger => self.write_other(p, who, line, value),
            Route => self.reroute_line(p, who, line, value),
            Send => self.send_some(p, who, which, value),
            Wait => self.pcpus[p].first([Step::Fold, Step::Wait]),
            Switch => self.switch(p, who, value),
            Hand => self.hand_over(p, who, which, value),
            Masks => self.change_masks(p, value),
            Line => self.drive_line(p, who, which, value),
            Rarely => self.rarely(p, value),
        }
    }

    /// Returns an interrupt of a vCPU: most often one with hardware behind it.
    fn choose(&self, who: Who, which: u8) -> ledger::Line {
        let [a, b, c, d] = HARDWARE[who.part];
        let intid = match which % 16 {
            _ if self.narrow => b,
            0 => 0,
            1 => 1,
            2 => TIMER,
            3 => PRIVATE_LINE,
            4 => SHARED_LINE,
            5 => BELL,
            6..=8 => a,
            9..=12 => b,
            13 => c,
            14 => d,
            _ => b,
        };
        line(who.vcpu, intid)
    }

    /// A device's line, or a vCPU's timer, moves.
    fn move_device(&mut self, which: u8, level: bool) {
        let part = usize::from(which >> 4) % self.parts.len();
        let vcpu = which >> 2 & 3;
        let count = self.parts[part].vcpus.len() as u8;
        match which % 16 {
            2 => self.vcpu(Who::new(part, vcpu % count)).timer |= level,
            which => {
                let which = if self.narrow { 1 } else { which };
                let intid = HARDWARE[part][usize::from(which & 3)];
                if level {
                    self.gic.drive(intid, false);
                }
                self.gic.drive(intid, level);
            }
        }
    }

    /// A guest writes one interrupt's bit of a register, now and then of another vCPU's.
    fn write_bit(&mut self, p: usize, who: Who, (owner, intid): ledger::Line, value: u8) {
        let owner = self.named_owner(who, owner, value >> 4);
        let offset = match self.narrow {
            true => TO_AND_FRO[usize::from(value & 3)],
            false => REGISTERS[usize::from(value & 15) % REGISTERS.len()],
        };
        let bit = 1 << (intid & 31);
        let mut write = Self::bits(offset, owner, intid & !31, bit);
        if offset == IGROUPR {
            write.value ^= self.peek(who.part, owner, write.offset);
        }
        self.pcpus[p].first([Step::Access(write)]);
    }

    /// Returns whose private interrupts a guest names: with GICv2 its own alone.
    fn named_owner(&self, who: Who, owner: Option<u8>, value: u8) -> Option<u8> {
        let count = self.parts[who.part].vcpus.len() as u8;
        match self.v2 || value & 1 == 0 {
            true => owner,
            false => owner.map(|_| value / 2 % count),
        }
    }

    /// A guest writes a register whole.
    fn write_word(&mut self, p: usize, who: Who, which: u8, value: u8) {
        let offset = REGISTERS[usize::from(which & 15) % REGISTERS.len()];
        let first = [0, 32, 32, 64][usize::from(which >> 4 & 3)];
        let owner = (first == 0).then_some(who.vcpu);
        let owner = self.named_owner(who, owner, value);
        let wanted = u32::from(value).wrapping_mul(0x9e37_79b9);
        let write = Self::bits(offset, owner, first, wanted & Self::known(owner));
        self.pcpus[p].first([Step::Access(write)]);
    }

    /// A guest writes a priority or a trigger.
    fn write_other(&mut self, p: usize, who: Who, line: ledger::Line, value: u8) {
        let (owner, intid) = line;
        let write = match value & 1 {
            0 => Self::priority(owner, intid, value & 0xf8),
            _ if intid < 32 => return,
            _ => {
                let offset = ICFGR + u64::from(intid / 16 * 4);
                let old = self.peek(who.part, None, offset);
                Access {
                    owner: None,
                    offset,
                    width: 4,
                    value: old ^ 2 << (intid % 16 * 2),
                }
            }
        };
        self.pcpus[p].first([Step::Access(write)]);
    }

    /// A guest routes an SPI.
    fn reroute_line(&mut self, p: usize, who: Who, (owner, intid): ledger::Line, value: u8) {
        let count = self.parts[who.part].vcpus.len() as u8;
        if owner.is_none() {
            // One more: nobody.
            let to = value % (2 * count + 1) / 2;
            let write = self.route(intid, to);
            self.pcpus[p].first([Step::Access(write)]);
        }
    }

    fn send_some(&mut self, p: usize, who: Who, which: u8, value: u8) {
        let count = self.parts[who.part].vcpus.len();
        let targets = match value & 0x10 {
            0 => who.bit().into(),
            _ => u64::from(value) & ((1 << count) - 1),
        };
        let value = u64::from(which & 1) << 24 | targets;
        self.pcpus[p].first([Step::Send(value, which & 2 == 0)]);
    }

    /// Another vCPU gets a turn.
    fn switch(&mut self, p: usize, who: Who, value: u8) {
        let mut ready = self.ready(p);
        ready.retain(|other| *other != who);
        if !ready.is_empty() {
            let next = ready[usize::from(value) % ready.len()];
            self.pcpus[p].first([Step::Leave, Step::Come(next)]);
        }
    }

    /// A guest rings another partition's doorbell, or somebody's timer is due that waits.
    fn hand_over(&mut self, p: usize, who: Who, which: u8, value: u8) {
        let part = usize::from(value) % self.parts.len();
        let mut waits = self.homes(p);
        waits.retain(|other| *other != who);
        let bell = which & 1 == 0;
        let plain = self.pcpus[p].hw.hcr == 0;
        if !waits.is_empty() && plain {
            let next = waits[usize::from(value >> 1) % waits.len()];
            self.pcpus[p].first([Step::Hand(next, bell)]);
            return;
        }
        self.pcpus[p].first([Step::Ring(part)]);
    }

    /// A guest opens or closes groups, or sets its priority mask.
    fn change_masks(&mut self, p: usize, value: u8) {
        let hw = &mut self.pcpus[p].hw;
        match value & 3 {
            0 => {
                let groups = u32::from(value >> 2 & 3);
                let write = Self::bits(GICD_CTLR, None, 0, groups);
                self.pcpus[p].first([Step::Access(write)]);
            }
            1 => hw.vmcr = hw.vmcr & !3 | u32::from(value >> 2 & 3),
            2 => hw.vmcr = hw.vmcr & 0x00ff_ffff | u32::from(value & 0xf8) << 24,
            _ => {
                hw.vmcr = OPEN | hw.vmcr & VEOIM;
                let write = Self::bits(GICD_CTLR, None, 0, 3);
                self.pcpus[p].first([Step::Access(write)]);
            }
        }
    }

    /// A line of an emulated device moves.
    fn drive_line(&mut self, p: usize, who: Who, which: u8, value: u8) {
        let level = value & 1 != 0;
        let drive = match which & 3 {
            0 => Step::Drive(who.part, Some(who.vcpu), PRIVATE_LINE, level),
            1 | 2 => Step::Drive(who.part, None, SHARED_LINE, level),
            _ => Step::Ring(usize::from(value) % self.parts.len()),
        };
        match drive {
            Step::Ring(_) => self.pcpus[p].first([drive]),
            _ => self.pcpus[p].first([Step::Fold, drive]),
        }
    }

    /// What happens seldom: a partition starts again, or all is looked at.
    fn rarely(&mut self, p: usize, value: u8) {
        match value {
            0..=15 => {
                let part = usize::from(value) % self.parts.len();
                self.restart(p, part);
            }
            16..=63 => self.check_settled(),
            _ => _ = self.acknowledge(p),
        }
    }
}
