//! Taking the list registers back into the model after the guest ran.

use super::Vgic;
use super::bank::{Bank, Irq, bits, set};
use super::list_register::{ACTIVE, EOI, HW, PENDING, SENT, STATE, intid, priority};
use super::queue::{Kind, Stage, flag};
use crate::ids::VcpuId;

/// What a guest ended, since its vCPU was live, that was in no list register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends(u64);

impl Ends {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// Returns what `ICH_HCR_EL2.EOIcount` counts, 0..=31, and the priorities that are still active: `ICH_AP0R0_EL2` and
    /// `ICH_AP1R0_EL2`, a bit for each of 32 levels.
    pub const fn new(count: u32, active: u32) -> Self {
        match count {
            0 => Self::NONE,
            _ => Self((count as u64) << 32 | active as u64),
        }
    }

    pub(super) const fn count(self) -> u32 {
        (self.0 >> 32) as u32 & 31
    }
}

impl Vgic<'_> {
    /// Takes the list registers of a vCPU back into the model after the guest ran; nothing when that was done already.
    ///
    /// `read` returns `ICH_LR<n>_EL2`, or its `State` alone (n is in `used_list_registers`), `ends` is what the guest ended
    /// outside of them, and `deactivate` deactivates a physical interrupt (`ICC_DIR_EL1`) on this pCPU. Returns a mask of
    /// vCPUs to kick.
    pub fn fold(
        &mut self,
        vcpu: VcpuId,
        ends: Ends,
        mut read: impl FnMut(usize) -> u64,
        mut deactivate: impl FnMut(u16),
    ) -> u16 {
        let mut kick = 0;
        let Some(stage) = self.stage(vcpu.0) else {
            return 0;
        };
        if !stage.is(flag::LIVE) {
            return 0;
        }
        let (used, restage) = (stage.used, stage.is(flag::RESTAGE));
        // Every list register in use is compared with the state here.
        stage.flags &= !(flag::LIVE | flag::RESTAGE);
        for slot in bits(used.into()) {
            let slot = slot as usize;
            let now = read(slot);
            let Some(stage) = self.stage(vcpu.0) else {
                return kick;
            };
            let then = stage.list_register(slot);
            let now = then & !STATE | now & STATE;
            if (restage || now != then && !self.fold_plainly(vcpu.0, slot, now))
                && let Some(intid) = self.fold_one(vcpu.0, slot, now, &mut kick)
            {
                deactivate(intid);
            }
        }
        if restage {
            self.release_private(vcpu.0, &mut deactivate);
        }
        if ends != Ends::NONE {
            let running = self.running_elsewhere(vcpu.0, ends.0 as u32);
            for _ in 0..ends.count() {
                match self.retire_spilled(vcpu.0, running, &mut kick) {
                    None => break,
                    Some(Some(intid)) => deactivate(intid),
                    Some(None) => {}
                }
            }
        }
        kick
    }

    /// Takes back a list register in which the guest acknowledged or deactivated an interrupt (or both) and where there is
    /// no more to it. Returns false, with nothing changed, when there may be; [`Vgic::fold_one`] would come to the same.
    ///
    /// Whatever happened to the interrupt while the vCPU was live has set `RESTAGE`, and then this is not called. A line,
    /// or a second occurrence that the list register does not show, has set `EOI`.
    #[inline]
    fn fold_plainly(&mut self, vcpu: u8, slot: usize, now: u64) -> bool {
        let Some((bank, stage)) = self.at_home(vcpu, slot) else {
            return false;
        };
        let then = stage.list_register(slot);
        if now & PENDING != 0 || then & (HW | EOI) == EOI || then & SENT != 0 {
            return false;
        }
        let bit = 1 << (intid(then) & 31);
        if then & PENDING != 0 {
            bank.latch &= !bit;
        }
        if now & ACTIVE != 0 {
            bank.active |= bit;
            stage.accept(slot, now);
            return true;
        }
        bank.active &= !bit;
        bank.resident &= !bit;
        bank.physical &= !bit;
        stage.accept(slot, 0);
        true
    }

    /// Returns the bank of the interrupt in a list register, and the list registers.
    #[inline]
    fn at_home(&mut self, vcpu: u8, slot: usize) -> Option<(&mut Bank, &mut Stage)> {
        let cpu = self.cpus.get_mut(vcpu as usize)?;
        let bank = match (intid(cpu.stage.list_register(slot)) as usize >> 5).checked_sub(1) {
            None => &mut cpu.private,
            Some(number) => &mut self.spis.get_mut(number)?.bank,
        };
        Some((bank, &mut cpu.stage))
    }

    /// Takes one list register back; `now` is `then` with the hardware's state. Returns the physical interrupt that is to be
    /// deactivated.
    #[inline(never)]
    fn fold_one(&mut self, vcpu: u8, slot: usize, now: u64, kick: &mut u16) -> Option<u16> {
        if now & SENT != 0
            && let Some(stage) = self.stage(vcpu)
        {
            let then = stage.list_register(slot);
            self.take_sent(vcpu, then, now);
        }
        let (bank, stage) = self.at_home(vcpu, slot)?;
        let then = stage.list_register(slot);
        let free = now & STATE == 0;
        stage.accept(slot, if free { 0 } else { now });
        if free && then & HW == 0 && then & EOI != 0 {
            // Free in hardware too, but `EOI` would keep its maintenance interrupt asserted.
            stage.changed |= 1 << (slot & 15);
        }
        let irq = Irq {
            vcpu,
            intid: intid(then),
        };
        let bit = irq.bit();
        let renewed = bank.take_state(bit, then, now);
        let mut loose = false;
        if then & HW != 0 && free {
            // The hardware deactivated the physical one too, but for one that came anew since.
            bank.physical &= !bit | renewed;
        } else if bank.physical & !(bank.latch | bank.active) & bit != 0 {
            bank.physical &= !bit;
            loose = true;
        }
        if free {
            bank.resident &= !bit;
            self.place(irq, kick);
        } else {
            self.restage(vcpu, slot, kick);
        }
        loose.then_some(irq.intid)
    }

    /// Deactivates physical PPIs whose virtual ones lost their state while the vCPU was live.
    fn release_private(&mut self, vcpu: u8, deactivate: &mut impl FnMut(u16)) {
        if let Some(cpu) = self.cpus.get_mut(vcpu as usize) {
            let bank = &mut cpu.private;
            let loose = bank.physical & !(bank.latch | bank.active);
            bank.physical &= !loose;
            bits(loose).for_each(|bit| deactivate(bit as u16));
        }
    }

    /// Deactivates the spilled interrupt that the guest ended by an EOI that met no list register, if it meant one; `running` is
    /// the most urgent level that another one still has. Returns the physical interrupt that is to be deactivated.
    ///
    /// An EOI drops the highest active priority, so it meant the most urgent one of those that the guest took; or one that had
    /// been made inactive in its hand.
    #[inline(never)]
    fn retire_spilled(&mut self, vcpu: u8, running: u32, kick: &mut u16) -> Option<Option<u16>> {
        let stage = &self.cpus.get(vcpu as usize)?.stage;
        if stage.waiting(Kind::Spilled).trailing_zeros() >= running {
            return None;
        }
        let intid = stage.first(Kind::Spilled)?;
        let irq = Irq { vcpu, intid };
        let bit = irq.bit();
        let bank = self.bank_of(irq).filter(|bank| bank.marked & bit == 0)?;
        bank.active &= !bit;
        let physical = bank.physical & !bank.latch & bit != 0;
        if physical {
            bank.physical &= !bit;
        }
        self.unlink(irq);
        self.place(irq, kick);
        Some(physical.then_some(intid))
    }

    /// Returns the most urgent of a vCPU's `active` levels that is not the one of an interrupt in a list register, or 32.
    #[inline(never)]
    pub(super) fn running_elsewhere(&self, vcpu: u8, active: u32) -> u32 {
        let mut left = active;
        let Some(stage) = self.cpus.get(vcpu as usize).map(|cpu| &cpu.stage) else {
            return 0;
        };
        for slot in bits(stage.used.into()) {
            let register = stage.list_register(slot as usize);
            let intid = intid(register);
            let irq = Irq { vcpu, intid };
            let bank = self.bank_at(irq);
            let taken = bank.is_some_and(|bank| bank.active & !bank.marked & irq.bit() != 0);
            if taken {
                // The level is that of the priority's group: the last one up to the priority.
                let own = left & u32::MAX >> (31 - (priority(register) >> 3));
                left &= !own.checked_ilog2().map_or(0, |last| 1 << last);
            }
        }
        left.trailing_zeros()
    }
}

impl Bank {
    /// Takes over what became of an interrupt in a list register, and what was asked of it meanwhile; returns `bit` when
    /// it was pended anew.
    fn take_state(&mut self, bit: u32, then: u64, now: u64) -> u32 {
        if now != then {
            if then & PENDING != 0 && now & PENDING == 0 {
                self.latch = self.latch & !bit | self.again & bit;
            }
            set(&mut self.active, bit, now & ACTIVE != 0);
        }
        self.active = (self.active | self.forced & bit) & !(self.dropped & bit);
        if then & now & ACTIVE == 0 {
            // By the guest's word alone, if at all.
            set(&mut self.marked, bit, now & ACTIVE == 0);
        }
        self.marked &= self.active | !bit;
        let renewed = self.again & bit;
        self.again &= !bit;
        self.forced &= !bit;
        self.dropped &= !bit;
        renewed
    }
}
