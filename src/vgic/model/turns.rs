//! The ways of a vCPU out of the guest and into it: alone, or as a world switch takes them.

use super::super::MAX_LIST_REGISTERS;
use super::super::list_register::intid;
use super::super::refill::FILLED;
use super::world::World;
use crate::ids::VcpuId;
use crate::regs::{gich_list_register, ich_list_register};

/// Returns what hardware has of a list register that was written.
fn held(v2: bool, value: u64) -> u64 {
    match v2 {
        true => ich_list_register(gich_list_register(value)),
        false => value,
    }
}

/// Returns how many pieces a refill of some list registers has at most: to compare them, and to fill them.
fn most_pieces(list_registers: usize) -> usize {
    1 + list_registers.div_ceil(FILLED.into())
}

impl World {
    /// A vCPU leaves the guest.
    pub fn exit(&mut self, vcpu: u8) {
        let cpu = &mut self.cpus[vcpu as usize];
        if !cpu.inside {
            return;
        }
        cpu.inside = false;
        let used = self.vgic.used_list_registers(VcpuId(vcpu));
        let (lrs, eois) = (cpu.lr.clone(), cpu.ends());
        let mut gone = Vec::new();
        let read = |slot: usize| {
            assert!(used & 1 << slot != 0);
            lrs[slot]
        };
        self.turns += 1;
        let kick = if self.turns & 1 == 0 {
            self.vgic
                .fold(VcpuId(vcpu), eois, read, |intid| gone.push(intid))
        } else {
            let left = self
                .vgic
                .leave(VcpuId(vcpu), 27, eois, read, |intid| gone.push(intid));
            assert_eq!(left.held, used);
            let in_flight = self.vgic.hardware_in_flight(VcpuId(vcpu), 27);
            assert_eq!(left.in_flight, in_flight);
            left.kick
        };
        for intid in gone {
            self.deactivated(vcpu, intid);
        }
        self.kicks |= kick;
        self.check_images(vcpu);
    }

    /// A vCPU enters the guest.
    pub fn enter(&mut self, vcpu: u8) {
        if self.turns & 2 != 0 {
            return self.come(vcpu);
        }
        let vmcr = self.cpus[vcpu as usize].vmcr;
        let mut pieces = 0;
        let refill = loop {
            let before = self.held(vcpu);
            let refill = self.vgic.refill(VcpuId(vcpu), vmcr);
            pieces += 1;
            if !refill.unfinished {
                break refill;
            }
            self.kicks |= refill.kick;
            self.check_piece(vcpu, &before);
        };
        self.check_pieces(vcpu, pieces, refill.kick);
        let cpu = &mut self.cpus[vcpu as usize];
        let values = self.vgic.list_registers(VcpuId(vcpu));
        for (slot, lr) in cpu.lr.iter_mut().enumerate() {
            if refill.changed & 1 << slot != 0 {
                *lr = held(self.v2, values[slot]);
            }
        }
        self.entered(vcpu, refill.hcr, refill.kick);
    }

    /// [`World::enter`] of a vCPU that comes from elsewhere: all list registers are another's, and written.
    fn come(&mut self, vcpu: u8) {
        let vmcr = self.cpus[vcpu as usize].vmcr;
        let there = self.cpus[vcpu as usize].lr.len();
        let (stale, v2) = (u16::MAX, self.v2);
        let mut comes = 0;
        let come = loop {
            let before = self.held(vcpu);
            let lrs = &mut self.cpus[vcpu as usize].lr;
            let write = |mask: u16, values: &[u64; MAX_LIST_REGISTERS]| {
                assert_eq!(u32::from(mask), (1 << there) - 1);
                for (lr, value) in lrs.iter_mut().zip(values) {
                    *lr = held(v2, *value);
                }
            };
            let come = self.vgic.come(VcpuId(vcpu), 27, vmcr, stale, write);
            comes += 1;
            if !come.unfinished {
                break come;
            }
            self.kicks |= come.kick;
            self.check_piece(vcpu, &before);
        };
        self.check_pieces(vcpu, comes, come.kick);
        assert_eq!(come.held, self.vgic.used_list_registers(VcpuId(vcpu)));
        let in_flight = self.vgic.hardware_in_flight(VcpuId(vcpu), 27);
        assert_eq!(come.in_flight, in_flight);
        self.entered(vcpu, come.hcr, come.kick);
    }

    /// Returns the INTIDs in the model's list registers of a vCPU.
    pub fn held(&self, vcpu: u8) -> Vec<u16> {
        let stage = &self.vgic.cpus[vcpu as usize].stage;
        let used = (0..16).filter(|slot| stage.used & 1 << slot != 0);
        used.map(|slot| intid(stage.list_registers[slot])).collect()
    }

    /// A piece of a refill that is not the last one moved no more interrupts into list registers than one may.
    fn check_piece(&self, vcpu: u8, before: &[u16]) {
        let after = self.held(vcpu);
        let new = after.iter().filter(|intid| !before.contains(intid));
        assert!(
            new.count() <= usize::from(FILLED),
            "{before:?} to {after:?}"
        );
    }

    /// A refill was done in no more pieces than the list registers give, and as nothing came in between nothing is left.
    fn check_pieces(&self, vcpu: u8, pieces: usize, kick: u16) {
        let count = self.cpus[vcpu as usize].lr.len();
        assert!(pieces <= most_pieces(count), "{pieces} of {count}");
        assert_eq!(kick & 1 << vcpu, 0, "something is left for later");
    }

    fn entered(&mut self, vcpu: u8, hcr: u32, kick: u16) {
        let cpu = &mut self.cpus[vcpu as usize];
        cpu.hcr = hcr;
        cpu.inside = true;
        self.check_images(vcpu);
        self.kicks = self.kicks & !(1 << vcpu) | kick;
    }

    /// EL2 acknowledges a physical interrupt.
    pub fn take(&mut self, key: u16) {
        let state = self.physical.get_mut(&key).unwrap();
        (state.active, state.pending) = (true, false);
        let (vcpu, intid) = match key.checked_sub(1100) {
            Some(vcpu) => (vcpu as u8, 27),
            None => (self.vgic.spi_target(key).map_or(0, |vcpu| vcpu.0), key),
        };
        self.taken.push((vcpu, intid));
        if self.deliver(vcpu, intid, true) {
            return;
        }
        self.exit(vcpu);
        let owned = self.vgic.cpus[vcpu as usize].private.hardware >> 27 & 1 != 0;
        if intid == 27 && owned && self.turns & 4 != 0 {
            if self.take_off_the_pcpu(vcpu) {
                return;
            }
        } else {
            let effects = self.vgic.physical_pending(intid, VcpuId(vcpu));
            self.apply(effects);
        }
        self.enter(vcpu);
    }

    /// A timer interrupt becomes due while its vCPU is off its pCPU. Returns whether that brought it back.
    fn take_off_the_pcpu(&mut self, vcpu: u8) -> bool {
        let cpu = &mut self.cpus[vcpu as usize];
        let (vmcr, [active0, active1]) = (cpu.vmcr, cpu.active);
        let id = VcpuId(vcpu);
        if self.turns & 8 != 0
            && active0 | active1 == 0
            && let Some(value) = self.vgic.come_for_one(id, 27, vmcr)
        {
            cpu.lr.fill(0);
            cpu.lr[0] = value;
            assert!(self.vgic.would_signal(id, vmcr, 0, 0));
            assert!(self.vgic.hardware_in_flight(id, 27));
            assert_eq!(self.vgic.used_list_registers(id), 1);
            self.entered(vcpu, 0, 0);
            return true;
        }
        let signals = self.vgic.due(id, 27, vmcr, active0, active1);
        assert_eq!(signals, self.vgic.would_signal(id, vmcr, active0, active1));
        assert!(self.vgic.hardware_in_flight(id, 27));
        self.check_images(vcpu);
        false
    }
}
