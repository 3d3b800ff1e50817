//! What surrounds the virtual GIC in a test: vCPUs with their hardware's virtual CPU interfaces, and a physical GIC as
//! far as passed-through interrupts need it. Each vCPU has a pCPU of its own.

use super::super::bank::Irq;
use super::super::list_register::{EOI, PENDING, STATE};
use super::super::queue::flag;
use super::super::{CpuInterface, Effects, Present, SgiGroup, SpiBank, Unfinished, Vgic, hcr};
pub use super::interface::OPEN;
use super::interface::{Cpu, Deactivation};
use crate::ids::VcpuId;
use std::collections::BTreeMap;

/// Distributor offsets that tests use.
pub const GICD_CTLR: u64 = 0;
pub const IGROUPR: u64 = 0x80;
pub const ISENABLER: u64 = 0x100;
pub const ICENABLER: u64 = 0x180;
pub const ISPENDR: u64 = 0x200;
pub const ICPENDR: u64 = 0x280;
pub const ISACTIVER: u64 = 0x300;
pub const ICACTIVER: u64 = 0x380;
pub const IPRIORITYR: u64 = 0x400;
pub const ITARGETSR: u64 = 0x800;
pub const ICFGR: u64 = 0xc00;
pub const SGIR: u64 = 0xf00;
pub const CPENDSGIR: u64 = 0xf10;
pub const SPENDSGIR: u64 = 0xf20;
/// Where a redistributor's SGI frame begins.
pub const SGI_FRAME: u64 = 0x1_0000;

/// A physical interrupt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Physical {
    pub edge: bool,
    pub enabled: bool,
    pub pending: bool,
    pub level: bool,
    pub active: bool,
}

impl Physical {
    pub fn signals(self) -> bool {
        self.enabled && !self.active && (self.pending || self.level && !self.edge)
    }
}

/// A partition's virtual GIC with all that it needs.
pub struct World {
    pub vgic: Vgic<'static>,
    pub cpus: Vec<Cpu>,
    /// Physical SPIs by INTID, and PPI 27 of vCPU v as 1100 + v.
    pub physical: BTreeMap<u16, Physical>,
    /// vCPUs that are to be kicked.
    pub kicks: u16,
    /// Kicks are delivered at once.
    pub prompt: bool,
    /// Physical interrupts taken, in order: whose, and which.
    pub taken: Vec<(u8, u16)>,
    /// Interrupts that took the shortest way.
    pub direct_count: usize,
    /// Maintenance interrupts taken.
    pub maintenance_count: usize,
    /// Writes are left where they ask for it, in `rest`, instead of being finished at once.
    pub patient: bool,
    /// What is left of the last write.
    pub rest: Option<Unfinished>,
    /// Exits so far: the ways out and in take turns.
    pub turns: usize,
    /// It is a GICv2, its list registers packed as that has them.
    pub v2: bool,
}

/// Key of a vCPU's physical timer interrupt.
pub fn timer(vcpu: u8) -> u16 {
    1100 + u16::from(vcpu)
}

impl World {
    /// Makes a partition with `vcpus` vCPUs and `list_registers` list registers each, all in the guest: SPIs 32..=39 are
    /// emulated (even ones level), 40..=47 have hardware (even ones level), PPI 27 has hardware, PPI 30 is emulated.
    pub fn new(vcpus: usize, list_registers: usize) -> Self {
        Self::of_version(vcpus, list_registers, false)
    }

    /// The same, or with a GICv2.
    fn of_version(vcpus: usize, list_registers: usize, v2: bool) -> Self {
        let cpus = (0..vcpus).map(|_| CpuInterface::new()).collect();
        let memory = Vec::leak::<'static>(cpus);
        let spis = Vec::leak::<'static>(vec![SpiBank::new(); 2]);
        let mut vgic = Vgic::new(memory, spis, list_registers);
        if v2 {
            vgic = vgic.into_gicv2();
        }
        let mut physical = BTreeMap::new();
        for intid in 32..48u16 {
            let (edge, hardware) = (intid & 1 != 0, intid >= 40);
            assert!(vgic.own_spi(intid, edge, hardware));
            if hardware {
                let state = Physical {
                    edge,
                    ..Physical::default()
                };
                physical.insert(intid, state);
            }
        }
        assert!(vgic.own_ppi(27, true) && vgic.own_ppi(30, false));
        for vcpu in 0..vcpus as u8 {
            let state = Physical {
                enabled: true,
                ..Physical::default()
            };
            physical.insert(timer(vcpu), state);
        }
        let mut world = Self {
            vgic,
            cpus: vec![Cpu::new(list_registers); vcpus],
            physical,
            kicks: 0,
            prompt: true,
            taken: Vec::new(),
            direct_count: 0,
            maintenance_count: 0,
            patient: false,
            rest: None,
            turns: 0,
            v2,
        };
        (0..vcpus as u8).for_each(|vcpu| world.enter(vcpu));
        world
    }

    /// The same with everything in group 1, enabled, at priority 0xa0, and both groups enabled in the distributor.
    pub fn ready(vcpus: usize, list_registers: usize) -> Self {
        Self::ready_of_version(vcpus, list_registers, false)
    }

    /// The same, or with a GICv2, all SPIs routed to vCPU 0.
    pub fn ready_of_version(vcpus: usize, list_registers: usize, v2: bool) -> Self {
        let mut world = Self::of_version(vcpus, list_registers, v2);
        for intid in (32..48).filter(|_| v2) {
            world.route(0, intid, 0);
        }
        world.write(0, GICD_CTLR, 3);
        world.write(0, IGROUPR + 4, 0xffff_ffff);
        world.write(0, ISENABLER + 4, 0xffff_ffff);
        for word in (32..48).step_by(4) {
            world.write(0, IPRIORITYR + word, 0xa0a0_a0a0);
        }
        for vcpu in 0..vcpus as u8 {
            world.write_private(vcpu, IGROUPR, 0xffff_ffff);
            world.write_private(vcpu, ISENABLER, 0xffff_ffff);
            for word in (0..32).step_by(4) {
                world.write_private(vcpu, IPRIORITYR + word, 0xa0a0_a0a0);
            }
        }
        world
    }

    /// Every list register that the model owns holds what the state says, whichever way it was filled.
    pub fn check_images(&self, vcpu: u8) {
        let stage = &self.vgic.cpus[vcpu as usize].stage;
        for slot in (0..16).filter(|slot| stage.used & 1 << slot != 0) {
            let held = stage.list_registers[slot];
            let irq = Irq {
                vcpu,
                intid: held as u16,
            };
            let said = self.vgic.image(irq, vcpu, held).unwrap_or(0);
            // What was shown as active alone because others waited may stay so when none does any more.
            let shortened = said & STATE == STATE && held == said & !PENDING | EOI;
            let later = stage.is(flag::RESTAGE);
            assert!(
                held == said || shortened || later,
                "{held:#x}, not {said:#x}"
            );
        }
    }

    /// No list register beyond those that the model owns holds an interrupt.
    pub fn check_unused(&self, vcpu: u8) {
        let used = self.vgic.cpus[vcpu as usize].stage.used;
        for (slot, bits) in self.cpus[vcpu as usize].lr.iter().enumerate() {
            let owned = used & 1 << slot != 0;
            assert!(
                owned || bits & STATE == 0,
                "list register {slot} holds {bits:#x}"
            );
        }
    }

    /// A vCPU is interrupted by EL2.
    pub fn bounce(&mut self, vcpu: u8) {
        self.exit(vcpu);
        self.enter(vcpu);
    }

    /// Delivers kicks, maintenance and physical interrupts until none is left; fails when that does not end.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            let maintenance = (0..self.cpus.len()).find(|&vcpu| self.cpus[vcpu].maintenance());
            let physical = self.physical.iter().find(|(_, state)| state.signals());
            if self.kicks != 0 {
                self.bounce(self.kicks.trailing_zeros() as u8);
            } else if let Some(vcpu) = maintenance {
                self.maintenance_count += 1;
                self.bounce(vcpu as u8);
            } else if let Some((&intid, _)) = physical {
                self.take(intid);
            } else {
                return;
            }
        }
        panic!("maintenance or kick storm: {:x?}", self.cpus);
    }

    /// Tries the shortest way for an interrupt of a vCPU that is in the guest.
    pub fn deliver(&mut self, vcpu: u8, intid: u16, physical: bool) -> bool {
        let lrs = &mut self.cpus[vcpu as usize].lr;
        let present = Registers(std::cell::Cell::from_mut(lrs.as_mut_slice()).as_slice_of_cells());
        let id = VcpuId(vcpu);
        let delivered = match self.v2 {
            true => self.vgic.deliver_watched(id, intid, present),
            false => self.vgic.deliver_directly(id, intid, physical, present),
        };
        if !delivered {
            return false;
        }
        self.check_images(vcpu);
        self.check_unused(vcpu);
        self.direct_count += 1;
        true
    }

    /// The physical interrupt is deactivated on a vCPU's pCPU.
    pub fn deactivated(&mut self, vcpu: u8, intid: u16) {
        let key = if intid == 27 { timer(vcpu) } else { intid };
        self.physical.get_mut(&key).unwrap().active = false;
    }

    /// Does what a call returned.
    pub fn apply(&mut self, effects: Effects) {
        self.kicks |= effects.kick;
        let bank = (effects.first / 32).into();
        let (enabled, edge) = (self.vgic.enabled_spis(bank), self.vgic.edge_spis(bank));
        for bit in 0..32u16 {
            let set = |mask: u32| mask & 1 << bit != 0;
            if effects.first == 0 {
                if set(effects.deactivate) {
                    self.deactivated(effects.vcpu, bit);
                }
                continue;
            }
            let Some(state) = self.physical.get_mut(&(effects.first + bit)) else {
                continue;
            };
            state.enabled ^= set(effects.switch) && state.enabled != set(enabled);
            state.pending =
                (state.pending || set(effects.set_pending)) && !set(effects.clear_pending);
            state.active &= !set(effects.deactivate);
            state.edge ^= set(effects.trigger) && state.edge != set(edge);
        }
        if self.prompt {
            self.deliver_kicks();
        }
    }

    /// Delivers all kicks, and those that come of it.
    pub fn deliver_kicks(&mut self) {
        for vcpu in (0..self.cpus.len() as u8).cycle().take(4 * self.cpus.len()) {
            if self.kicks & 1 << vcpu != 0 {
                self.bounce(vcpu);
            }
        }
        assert_eq!(self.kicks, 0);
    }

    /// Returns how a vCPU writes `width` bytes at an offset of the distributor.
    pub fn shared_write(
        &self,
        vcpu: u8,
        offset: u64,
        width: u8,
        value: u32,
    ) -> impl FnOnce(&mut Vgic<'static>) -> Effects + use<> {
        let (v2, value) = (self.v2, value.into());
        move |vgic| match v2 {
            true => vgic.banked_write(VcpuId(vcpu), offset, width, value),
            false => vgic.distributor_write(offset, width, value),
        }
    }

    /// The same of its own interrupts' registers.
    pub fn private_write(
        &self,
        vcpu: u8,
        offset: u64,
        width: u8,
        value: u32,
    ) -> impl FnOnce(&mut Vgic<'static>) -> Effects + use<> {
        let (v2, value) = (self.v2, value.into());
        move |vgic| match v2 {
            true => vgic.banked_write(VcpuId(vcpu), offset, width, value),
            false => vgic.redistributor_write(VcpuId(vcpu), SGI_FRAME + offset, width, value),
        }
    }

    /// Returns a word of an interrupt's registers, or `owner`'s own.
    pub fn peek(&self, owner: Option<u8>, offset: u64) -> u64 {
        let vcpu = VcpuId(owner.unwrap_or(0));
        match (self.v2, owner) {
            (true, _) => self.vgic.banked_read(vcpu, offset, 4),
            (false, Some(_)) => self.vgic.redistributor_read(vcpu, SGI_FRAME + offset, 4),
            (false, None) => self.vgic.distributor_read(offset, 4),
        }
    }

    /// A vCPU routes an SPI to a vCPU.
    pub fn route(&mut self, vcpu: u8, intid: u16, target: u8) {
        let v2 = self.v2;
        self.access(vcpu, 0, |vgic| match v2 {
            true => {
                let offset = ITARGETSR + u64::from(intid);
                vgic.banked_write(VcpuId(vcpu), offset, 1, 1 << target)
            }
            false => vgic.distributor_write(0x6000 + 8 * u64::from(intid), 8, target.into()),
        });
    }

    /// A vCPU writes a word of the distributor.
    pub fn write(&mut self, vcpu: u8, offset: u64, value: u32) {
        self.access(vcpu, offset, self.shared_write(vcpu, offset, 4, value));
    }

    /// A vCPU reads a word of the distributor.
    pub fn read(&mut self, vcpu: u8, offset: u64) -> u32 {
        self.bounce(vcpu);
        let own = match self.v2 {
            true => self.vgic.banked_read(VcpuId(vcpu), offset, 4) as u32,
            false => self.vgic.distributor_read(offset, 4) as u32,
        };
        let Some((first, mask)) = self.vgic.physical_pending_bits(offset) else {
            return own;
        };
        let state = |bit: u16| {
            self.physical
                .get(&(first + bit))
                .copied()
                .unwrap_or_default()
        };
        (0..32u16)
            .filter(|&bit| mask & 1 << bit != 0 && state(bit).pending)
            .fold(own, |word, bit| word | 1 << bit)
    }

    /// A vCPU writes a word of its own SGI frame.
    pub fn write_private(&mut self, vcpu: u8, offset: u64, value: u32) {
        self.access(vcpu, offset, self.private_write(vcpu, offset, 4, value));
    }

    /// A vCPU reads a word of its own SGI frame.
    pub fn read_private(&mut self, vcpu: u8, offset: u64) -> u32 {
        self.bounce(vcpu);
        self.peek(Some(vcpu), offset) as u32
    }

    /// A vCPU exits, asks something of the virtual GIC, and enters again. It is folded only where the rules say so.
    pub fn access(
        &mut self,
        vcpu: u8,
        offset: u64,
        act: impl FnOnce(&mut Vgic<'static>) -> Effects,
    ) {
        self.access_piece(vcpu, offset, act);
        while !self.patient
            && let Some(rest) = self.rest.take()
        {
            self.access_piece(vcpu, offset, |vgic| vgic.continue_write(rest));
        }
    }

    /// [`World::access`] as far as it is done at once.
    fn access_piece(
        &mut self,
        vcpu: u8,
        offset: u64,
        act: impl FnOnce(&mut Vgic<'static>) -> Effects,
    ) {
        if Vgic::wants_fold(offset) || self.v2 && Vgic::banked_wants_fold(offset) {
            self.exit(vcpu);
        }
        let effects = act(&mut self.vgic);
        let own = effects.kick & 1 << vcpu != 0 || !self.cpus[vcpu as usize].inside;
        if own {
            self.bounce(vcpu);
        }
        self.apply(Effects {
            kick: effects.kick & !(1 << vcpu),
            ..effects
        });
        self.rest = effects.rest;
    }

    /// A vCPU sends an SGI by `ICC_SGI1R_EL1`.
    pub fn send(&mut self, vcpu: u8, value: u64) {
        if self.v2 {
            let sgir = (value as u32 & 0xff) << 16 | value as u32 >> 24 & 0xf;
            return self.write(vcpu, SGIR, sgir);
        }
        let alone = value & 0xffff == 1 << vcpu;
        if alone && self.deliver(vcpu, (value >> 24) as u16 & 0xf, false) {
            return;
        }
        self.exit(vcpu);
        let effects = self.vgic.sgi(VcpuId(vcpu), value, SgiGroup::Group1);
        self.enter(vcpu);
        self.apply(Effects {
            kick: effects.kick & !(1 << vcpu),
            ..effects
        });
        if effects.kick & 1 << vcpu != 0 {
            self.bounce(vcpu);
        }
    }

    /// The line of an emulated SPI moves.
    pub fn line(&mut self, intid: u16, level: bool) {
        let effects = self.vgic.set_line(intid, None, level);
        self.apply(effects);
    }

    /// A doorbell rings; returns who is kicked.
    pub fn ring(&mut self, intid: u16) -> u16 {
        let effects = self.vgic.ring(intid);
        self.apply(effects);
        effects.kick
    }

    /// A guest acknowledges.
    pub fn acknowledge(&mut self, vcpu: u8) -> Option<u16> {
        self.cpus[vcpu as usize].acknowledge()
    }

    /// A guest writes EOIR with EOImode = 0.
    pub fn eoi(&mut self, vcpu: u8, intid: u16) {
        let ended = self.cpus[vcpu as usize].end(intid);
        self.end_physical(vcpu, ended);
    }

    /// A guest writes DIR, and nothing traps it.
    pub fn deactivate(&mut self, vcpu: u8, intid: u16) {
        let ended = self.cpus[vcpu as usize].deactivate(intid);
        self.end_physical(vcpu, ended);
    }

    /// Does what a deactivation in a list register does to the physical GIC.
    fn end_physical(&mut self, vcpu: u8, ended: Deactivation) {
        if let Deactivation::Physical(intid) = ended {
            self.deactivated(vcpu, intid);
        }
    }

    /// A guest writes DIR, which traps while something active is spilled, and always with GICv2.
    pub fn dir(&mut self, vcpu: u8, intid: u16) {
        if self.cpus[vcpu as usize].hcr & hcr::TDIR == 0 && !self.v2 {
            return self.deactivate(vcpu, intid);
        }
        self.exit(vcpu);
        let effects = self.vgic.deactivate(VcpuId(vcpu), intid.into());
        self.enter(vcpu);
        self.apply(effects);
    }

    /// Returns the INTID that would be acknowledged.
    pub fn signalled(&self, vcpu: u8) -> Option<u16> {
        let cpu = &self.cpus[vcpu as usize];
        cpu.signalled().map(|slot| cpu.lr[slot] as u16)
    }

    /// Returns the list register that holds an interrupt.
    pub fn lr(&self, vcpu: u8, intid: u16) -> Option<u64> {
        let lrs = self.cpus[vcpu as usize].lr.iter();
        lrs.copied()
            .find(|lr| lr & STATE != 0 && *lr as u16 == intid)
    }
}

/// The list registers of one vCPU, as hardware has them.
#[derive(Clone, Copy)]
struct Registers<'a>(&'a [std::cell::Cell<u64>]);

impl Present for Registers<'_> {
    fn present(self, slot: usize, value: u64) -> bool {
        let register = &self.0[slot];
        let free = register.get() & STATE == 0;
        if free {
            register.set(value);
        }
        free
    }
}
