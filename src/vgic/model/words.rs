//! Whole registers, whose writes are done in pieces with other events in between, against the reference.

use super::super::Unfinished;
use super::reference::Line;
use super::run::{Event, Run};
use super::world::*;

/// Registers of many interrupts.
const REGISTERS: [u64; 8] = [
    IGROUPR, ISENABLER, ICENABLER, ISPENDR, ICPENDR, ISACTIVER, ICACTIVER, ICFGR,
];

impl Run {
    /// Writes a register whole: to a vCPU's own interrupts or to the SPIs.
    pub fn write_word(&mut self, vcpu: u8, which: u8, value: u8) {
        let offset = REGISTERS[usize::from(which % 8)];
        let first = if which < 8 { 0 } else { 32 };
        let active = matches!(offset, ISACTIVER | ICACTIVER);
        if active && !self.world.prompt || offset == ICFGR && first == 0 {
            return;
        }
        let wanted = u32::from(value).wrapping_mul(0x9e37_79b9) | u32::from(value);
        let word = self.allowed(vcpu, offset, first, wanted);
        let (at, word) = match (offset, first) {
            (ICFGR, _) => (ICFGR + 8, spread(word)),
            (_, 0) => (offset, word),
            _ => (offset + 4, word),
        };
        self.world.patient = true;
        let owned = self.lines(vcpu, first).fold(0, |mask, bit| mask | 1 << bit);
        match first {
            0 => {
                let write = self.world.private_write(vcpu, at, 4, word);
                self.world.access(vcpu, at, write);
            }
            _ => {
                let write = self.world.shared_write(vcpu, at, 4, word);
                self.world.access(vcpu, at, write);
            }
        }
        self.write_rest(vcpu, at, first, word, owned, value);
        self.world.patient = false;
    }

    /// Does the further pieces of a write, and the reference's part of each.
    fn write_rest(&mut self, vcpu: u8, at: u64, first: u16, word: u32, owned: u32, value: u8) {
        let mut left = owned;
        for piece in 0..8u8 {
            let rest = self.world.rest.take();
            let later = match rest {
                Some(Unfinished::Bits(rest)) => rest.mask,
                _ => 0,
            };
            assert_eq!(later & !left, 0, "an interrupt was written twice");
            self.refer(vcpu, at, first, word, left & !later);
            left = later;
            if self.world.prompt {
                self.settle();
            }
            self.check_list_registers();
            let Some(rest) = rest else { return };
            self.come_between(vcpu, at, value.rotate_left(piece.into()));
            self.world
                .access(vcpu, at, |vgic| vgic.continue_write(rest));
        }
        panic!("a write without end");
    }

    /// Something happens between two pieces, but not on the vCPU that writes.
    fn come_between(&mut self, vcpu: u8, at: u64, value: u8) {
        let others = self.stacks.len() as u8;
        let quiet = matches!(at & !7, IGROUPR | ISACTIVER | ICACTIVER);
        let (kind, which) = (value & 31, value >> 4);
        let acts = matches!(kind, 0..=6 | 12..=21);
        let (kind, by) = match acts && !quiet && others > 1 {
            true => (kind, (vcpu + 1 + value % (others - 1)) % others),
            false => (10, vcpu),
        };
        // An SGI of theirs is sent whole.
        self.world.patient = false;
        self.step(Event {
            kind,
            vcpu: by,
            which,
            value,
        });
        self.world.patient = true;
    }

    /// Returns the bits of the interrupts that a register shows.
    fn lines(&self, vcpu: u8, first: u16) -> impl Iterator<Item = u16> + use<> {
        let keys: Vec<_> = self.reference.lines.keys().copied().collect();
        let owner = (first == 0).then_some(vcpu);
        keys.into_iter()
            .filter(move |(of, _)| *of == owner)
            .map(|(_, intid)| intid & 31)
    }

    /// Leaves out what the reference cannot follow, as the events of single interrupts do.
    fn allowed(&mut self, vcpu: u8, offset: u64, first: u16, wanted: u32) -> u32 {
        let mut word = wanted;
        let pends_or_enables = matches!(offset, ISENABLER | ICENABLER | ISPENDR | ICPENDR);
        if self.world.v2 && first == 0 && pends_or_enables {
            // Of no effect on SGIs, which the reference does not know.
            word &= !0xffff;
        }
        for bit in self.lines(vcpu, first) {
            let (mask, intid) = (1 << bit, first + bit);
            if matches!(offset, ISACTIVER | ICACTIVER) && self.in_hand(vcpu, intid) {
                word &= !mask;
            }
        }
        word
    }

    /// Writes the interrupts of a mask in the reference.
    fn refer(&mut self, vcpu: u8, at: u64, first: u16, word: u32, mask: u32) {
        for bit in self.lines(vcpu, first) {
            let intid = first + bit;
            if mask & 1 << bit == 0 {
                continue;
            }
            self.race(vcpu, intid);
            let line = self.reference.line(vcpu, intid);
            let set = match at & !0x7f {
                0xc00 => word >> (bit * 2 + 1) & 1 != 0,
                _ => word >> bit & 1 != 0,
            };
            write_line(line, intid, at & !0x7f, set);
        }
    }
}

/// Writes one interrupt's bit of a register.
fn write_line(line: &mut Line, intid: u16, register: u64, set: bool) {
    match register {
        IGROUPR => line.group1 = set,
        ICFGR => line.edge = set,
        ISENABLER => line.enabled |= set,
        ICENABLER => line.enabled &= !set,
        // The physical one is pended where there is one, and comes by itself.
        ISPENDR => line.latch |= set && intid < 40,
        ICPENDR => line.latch &= !set,
        ISACTIVER => line.active |= set,
        _ => line.active &= !set,
    }
}

/// Moves bit n to bit 2n + 1, as ICFGR has it.
fn spread(bits: u32) -> u32 {
    (0..16).fold(0, |word, bit| word | (bits >> bit & 1) << (2 * bit + 1))
}
