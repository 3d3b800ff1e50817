//! Trapped system registers: the policy is `bulkhead::trap::sysreg`'s, carried out here.

use super::timers::PHYSICAL_TIMER;
use crate::arch::aarch64::sysreg::{read, write};
use crate::arch::aarch64::{cache, id, switch};
use crate::hw::{self, timer};
use crate::pcpu::{Pcpu, Quirks, Vcpu};
use bulkhead::config::record::partition_flags;
use bulkhead::trap::controls;
use bulkhead::trap::debug::DebugRegister;
use bulkhead::trap::id_registers::{virtualize, without_gic_registers};
use bulkhead::trap::inject::Exception;
use bulkhead::trap::syndrome::SysRegAccess;
use bulkhead::trap::sysreg::{self, InterfaceRegister, SgiGroup, SysReg, SysRegAction, policy};
use bulkhead::trap::timer::TimerRegister;
use bulkhead::vgic;

/// `ICH_VMCR_EL2.VPMR` and `VEOIM`, and `ICC_CTLR_EL1.EOImode`.
const VPMR_SHIFT: u32 = 24;
const VEOIM: u64 = 1 << 9;
const EOIMODE: u64 = 1 << 1;
const VCBPR: u64 = 1 << 4;
const CBPR: u64 = 1 << 0;

impl Pcpu {
    /// Carries out a trapped access of the current vCPU.
    pub fn system_register(&mut self, access: SysRegAccess, esr: u64) {
        let action = policy(access.register, access.write);
        let of_gicv3 = matches!(
            action,
            SysRegAction::Sgi(_) | SysRegAction::Deactivate | SysRegAction::Interface(_)
        );
        if action == SysRegAction::Undefined || of_gicv3 && self.shape.is_memory_mapped() {
            self.inject(Exception::Undefined);
            return;
        }
        if action == SysRegAction::Pmu && self.adopt_pmu(access) {
            return;
        }
        let value = self
            .current_vcpu()
            .map_or(0, |vcpu| vcpu.context.register(access.rt));
        self.skip(esr);
        let result = match access.write {
            true => {
                self.write_register(action, access.register, value);
                return;
            }
            false => self.read_register(action, access.register),
        };
        if let Some(vcpu) = self.current_vcpu() {
            vcpu.context.set_register(access.rt, result);
        }
    }

    fn read_register(&mut self, action: SysRegAction, register: SysReg) -> u64 {
        match action {
            SysRegAction::Fixed(value) => value,
            SysRegAction::IdRegister => {
                let value = virtualize(register, hardware_id(register));
                match hw::gic::is_memory_mapped() {
                    false => value,
                    true => without_gic_registers(register, value),
                }
            }
            SysRegAction::PhysicalTimer(timer) => self.read_physical_timer(timer),
            SysRegAction::Debug(debug) => {
                self.current_vcpu().map_or(0, |vcpu| vcpu.debug.read(debug))
            }
            SysRegAction::Interface(register) => self.read_interface(register),
            SysRegAction::PmuControl => {
                let stored = self
                    .current_vcpu()
                    .map_or(0, |vcpu| vcpu.context.system.pmu.pmcr);
                sysreg::pmcr_seen(read::pmcr_el0(), stored)
            }
            SysRegAction::PmuEvents => switch::pmu_events(register.op2() == 7),
            _ => 0,
        }
    }

    fn write_register(&mut self, action: SysRegAction, register: SysReg, value: u64) {
        match action {
            SysRegAction::Sgi(group) => self.send_virtual_sgi(value, group),
            SysRegAction::PhysicalTimer(timer) => self.write_physical_timer(timer, value),
            SysRegAction::Deactivate => self.deactivate_virtual(value),
            SysRegAction::Debug(debug) => self.write_debug(debug, value),
            SysRegAction::Interface(register) => self.write_interface(register, value),
            SysRegAction::PmuControl => self.write_pmu_control(value),
            SysRegAction::CacheBySetWay => cache::clean_and_invalidate_set_way(value),
            _ => debug_assert!(
                !matches!(action, SysRegAction::IdRegister),
                "{register:?} is read-only"
            ),
        }
    }

    fn send_virtual_sgi(&mut self, value: u64, group: SgiGroup) {
        let Some((partition, id)) = self.current_identity() else {
            return;
        };
        let group = match group {
            // With one security state the alias register reaches the other group.
            SgiGroup::Group0 | SgiGroup::Group1Alias => vgic::SgiGroup::Group0,
            SgiGroup::Group1 => vgic::SgiGroup::Group1,
        };
        // A sender that is among the targets is told like the others.
        let effects = partition.state.lock_by_call().vgic.sgi(id, value, group);
        self.apply(partition, effects);
    }

    /// A trapped `ICC_DIR_EL1` or `GICC_DIR`: deactivates an interrupt that may have been spilled.
    pub fn deactivate_virtual(&mut self, value: u64) {
        let Some((partition, id)) = self.current_identity() else {
            return;
        };
        if self.shape.is_memory_mapped() && self.shape.vmcr() & VEOIM == 0 {
            return; // of no meaning
        }
        self.fold();
        let effects = partition
            .state
            .lock_by_call()
            .vgic
            .deactivate(id, value as u32 & 0xff_ffff);
        self.apply(partition, effects);
    }

    fn read_physical_timer(&mut self, register: TimerRegister) -> u64 {
        let now = timer::now();
        self.current_vcpu()
            .map_or(0, |vcpu| vcpu.physical_timer.read(register, now))
    }

    fn write_physical_timer(&mut self, register: TimerRegister, value: u64) {
        let now = timer::now();
        let Some(slot) = self.current else { return };
        let Some(vcpu) = self.vcpu(slot) else { return };
        vcpu.physical_timer.write(register, value, now);
        let (level, partition, id) = (vcpu.physical_timer.settle(now), vcpu.partition, vcpu.id);
        vcpu.settle_own_deadline();
        self.fold();
        let effects = partition
            .state
            .lock_by_call()
            .vgic
            .set_line(PHYSICAL_TIMER, Some(id), level);
        self.apply(partition, effects);
        self.set_deadline(slot);
        self.reschedule = true;
    }

    fn write_debug(&mut self, register: DebugRegister, value: u64) {
        let Some(vcpu) = self.current_vcpu() else {
            return;
        };
        vcpu.debug.write(register, value);
        let debug = vcpu.debug;
        write::mdscr_el1(debug.mdscr());
        let used = debug.uses_comparators();
        vcpu.quirks.set(Quirks::COMPARATORS, used);
        if used {
            switch::restore_comparators(&debug);
        } else {
            switch::clear_comparators();
        }
    }

    /// Serves `ICC_CTLR_EL1`, `ICC_PMR_EL1` and `ICC_RPR_EL1` where they trap together with `ICC_DIR_EL1`.
    fn read_interface(&mut self, register: InterfaceRegister) -> u64 {
        let vmcr = read::ich_vmcr_el2();
        match register {
            InterfaceRegister::PriorityMask => vmcr >> VPMR_SHIFT & 0xff,
            InterfaceRegister::RunningPriority => {
                let active = (read::ich_ap0r0_el2() | read::ich_ap1r0_el2()) as u32;
                if active == 0 {
                    0xff
                } else {
                    u64::from(active.trailing_zeros()) << 3
                }
            }
            InterfaceRegister::Control => {
                let vtr = read::ich_vtr_el2();
                // PRIbits 10:8 and IDbits 13:11 are VTR's 31:29 and 25:23; A3V, bit 15, is VTR's bit 21.
                let shape = (vtr >> 29 & 7) << 8 | (vtr >> 23 & 7) << 11 | (vtr >> 21 & 1) << 15;
                let mode = if vmcr & VEOIM != 0 { EOIMODE } else { 0 };
                let common = if vmcr & VCBPR != 0 { CBPR } else { 0 };
                shape | mode | common
            }
        }
    }

    fn write_interface(&mut self, register: InterfaceRegister, value: u64) {
        let vmcr = read::ich_vmcr_el2();
        let changed = match register {
            InterfaceRegister::PriorityMask => {
                vmcr & !(0xff << VPMR_SHIFT) | (value & 0xf8) << VPMR_SHIFT
            }
            InterfaceRegister::Control => {
                let mode = if value & EOIMODE != 0 { VEOIM } else { 0 };
                let common = if value & CBPR != 0 { VCBPR } else { 0 };
                vmcr & !(VEOIM | VCBPR) | mode | common
            }
            InterfaceRegister::RunningPriority => return,
        };
        write::ich_vmcr_el2(changed);
    }

    /// The first use of the performance monitors: they are switched with this vCPU from here on, and the instruction
    /// runs again. A read of a vCPU that never wrote gives 0.
    fn adopt_pmu(&mut self, access: SysRegAccess) -> bool {
        let counters = self.event_counters;
        let has_pmu = self.features.has_pmu();
        let Some(vcpu) = self.current_vcpu() else {
            return false;
        };
        let value = vcpu.context.register(access.rt);
        let wanted = has_pmu && sysreg::begins_monitoring(access.write, value, vcpu.uses_pmu);
        if wanted {
            start_monitors(vcpu, counters);
        }
        wanted
    }

    fn write_pmu_control(&mut self, value: u64) {
        let (counters, has_pmu) = (self.event_counters, self.features.has_pmu());
        let Some(vcpu) = self.current_vcpu() else {
            return;
        };
        if !has_pmu {
            return;
        }
        if !vcpu.uses_pmu {
            start_monitors(vcpu, counters);
        }
        vcpu.context.system.pmu.pmcr = sysreg::pmcr_written(value);
        write::pmcr_el0(sysreg::pmcr_written(value));
    }
}

/// Switches the performance monitors with a vCPU, the current one, from here on.
#[cold]
#[inline(never)]
fn start_monitors(vcpu: &mut Vcpu, event_counters: u8) {
    let counts_el2 = vcpu.partition.record.flags & partition_flags::COUNTS_EL2 != 0;
    vcpu.uses_pmu = true;
    vcpu.monitors = controls::monitors_used(counts_el2);
    vcpu.quirks.insert(Quirks::PMU);
    switch::restore_pmu(&vcpu.context.system.pmu);
    write::mdcr_el2(controls::mdcr_guest(event_counters, vcpu.monitors));
}

/// Reads the hardware's value of an identification register.
fn hardware_id(register: SysReg) -> u64 {
    if register.is_feature_id() {
        id::read(register.crm() as u8, register.op2() as u8)
    } else {
        0
    }
}
