//! The world switch: one vCPU's registers out of the pCPU, another's in.
//!
//! Out: list registers into the model, EL1 and EL0 state with the virtual timer off, FP where it is eager, then the
//! timer interrupt's banked active state. In: stage 2 and identity, traps, the siblings' translations, list registers, the
//! timer interrupt's active state before the timer itself, EL1 and EL0 state, FP. The guest's general registers are in its
//! `Context` already: the vectors put them there.
//!
//! Nothing here waits for stage-2 maintenance: tables never change while a partition runs.

use super::timers::{VIRTUAL_TIMER, next_deadline, virtual_timer_is_due};
use super::vgic::{ends_of_spilled, interface_control};
use crate::arch::aarch64::sysreg::{read, write};
use crate::arch::aarch64::{cache, cpu, fp, switch, tlb};
use crate::hw::list_registers::Shape;
use crate::hw::{gic, gich, gicv3, list_registers, timer};
use crate::pcpu::{Holder, Pcpu, Quirks, Vcpu, kick_from};
use crate::system::{Mailbox, Partition, System};
use bulkhead::ids::{MAX_PARTITIONS, Mpidr, PcpuId, VcpuId};
use bulkhead::partition::Phase;
use bulkhead::sched::Slot;
use bulkhead::trap::{controls, policy};
use bulkhead::vcpu::Context;
use bulkhead::vgic::{Coming, Ends, Leaving, MAX_LIST_REGISTERS, Vgic};

/// `HCR_EL2.TWI`: WFI traps.
const HCR_TWI: u64 = policy::HCR_EL2.mask("TWI");
/// `HCR_EL2.VSE`: a virtual SError is pending.
pub const HCR_VSE: u64 = policy::HCR_EL2.mask("VSE");
/// `ISR_EL1.A`: a physical SError is pending.
const ISR_A: u64 = 1 << 8;
/// `VTTBR_EL2.VMID`.
const VMID_SHIFT: u32 = 48;

impl Pcpu {
    /// Makes a vCPU's registers the ones in the hardware.
    #[inline(always)]
    pub fn switch_to(&mut self, slot: Slot) {
        if self.current != Some(slot) {
            self.exchange(slot);
        }
    }

    /// [`Pcpu::switch_to`] for another one.
    #[inline(never)]
    fn exchange(&mut self, slot: Slot) {
        self.unload();
        self.load(slot);
    }

    /// Returns the registers of the current vCPU, ready to be entered.
    #[inline(always)]
    pub fn enter(&mut self, slot: Slot) -> *mut Context {
        debug_assert!(
            self.unfinished & 1 << slot.0 == 0,
            "half a write of the one that is entered is to be done"
        );
        match self.vcpus.get_mut(slot.index()) {
            // The whole vCPU's, of which it is the first field: the short way of the next trap gets it back.
            Some(vcpu) => core::ptr::from_mut(vcpu).cast(),
            None => unreachable!("slots are made at start-up"),
        }
    }

    /// Takes the current vCPU's registers out of the hardware. The partition's lock is taken once, for all that is asked of
    /// the model.
    #[inline(never)]
    pub fn unload(&mut self) {
        let Some(slot) = self.current.take() else {
            return;
        };
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            return;
        };
        let (partition, id) = (vcpu.partition, vcpu.id);
        let left = leave(partition, id, self.folded, self.shape);
        if !self.folded {
            self.held = left.held;
        }
        self.folded = true;
        self.shape.set_control(0);
        vcpu.interface.save(self.shape);
        switch::save(&mut vcpu.context.system, self.features);
        save_seldom_used(vcpu);
        if vcpu.fp_eager && self.fp_owner.is(slot) {
            save_fp(vcpu);
            self.fp_owner = Holder::NOBODY;
        }
        vcpu.serror = read::hcr_el2() & HCR_VSE != 0;
        // An SError of what it did last is taken when the next guest is entered, but is still its own.
        cpu::dsb_sy();
        cpu::isb(); // the register is not read before
        if read::isr_el1() & ISR_A != 0 {
            self.serror.leaves(slot);
        }
        // The banked active state of the timer's interrupt must not meet the next vCPU. Its line is low by now, or it would
        // become pending again. It is cleared whatever the model says: a sibling may have ended the interrupt meanwhile.
        cpu::isb();
        self.redistributor.deactivate(VIRTUAL_TIMER.into());
        let deadline = next_deadline(vcpu, left.in_flight);
        self.set_wake(slot, deadline);
        if left.kick != 0 {
            self.kick(partition, left.kick);
        }
    }

    /// Puts a vCPU's registers into the hardware, its list registers included.
    ///
    /// Where that is much work a piece of it is done, and nobody is current: interrupts are looked at, and it is chosen again.
    ///
    /// A virtual deadline that passed meanwhile is injected now, which saves the guest a trap. A timer interrupt that the
    /// guest has not finished is active again before the timer itself comes.
    #[inline(always)]
    fn load(&mut self, slot: Slot) {
        let Some(vcpu) = self.vcpus.get_mut(slot.index()) else {
            return;
        };
        self.current = Some(slot);
        self.folded = false;
        let partition = vcpu.partition;
        let coming = come(vcpu, self.held, self.shape);
        if coming.unfinished {
            self.current = None;
            self.kick(partition, coming.kick);
            return;
        }
        confine(vcpu, self.event_counters);
        vcpu.interface.restore(self.shape);
        keep_siblings_apart(&mut self.last_ran, vcpu);
        self.held = coming.held;
        if coming.in_flight {
            self.redistributor.activate(VIRTUAL_TIMER.into());
            cpu::dsb_sy(); // before the timer's line rises
        }
        self.shape
            .set_control(interface_control(self.shape, coming.hcr));
        write::mdscr_el1(vcpu.debug.mdscr());
        restore_seldom_used(vcpu);
        switch::restore(&vcpu.context.system, self.features);
        let deadline = next_deadline(vcpu, true);
        let owns_fp = self.fp_owner.is(slot);
        if vcpu.fp_eager && !owns_fp {
            self.take_fp(slot);
        } else {
            // The first use is trapped when the registers are not its own.
            let trap = if owns_fp { 0 } else { controls::CPTR_TFP };
            write::cptr_el2(controls::CPTR_GUEST | trap);
        }
        self.set_wake(slot, deadline);
        if coming.kick != 0 {
            self.kick(partition, coming.kick);
        }
    }
}

/// Takes the list registers of the vCPU that leaves into the model, unless that was done already.
#[inline(always)]
fn leave(partition: &Partition, id: VcpuId, folded: bool, shape: Shape) -> Leaving {
    let mut state = partition.state.lock();
    let vgic = &mut state.vgic;
    if folded {
        return Leaving {
            in_flight: vgic.hardware_in_flight(id, VIRTUAL_TIMER),
            ..Leaving::default()
        };
    }
    let ends = ends_of_spilled(shape);
    match shape.is_memory_mapped() {
        false => vgic.leave(
            id,
            VIRTUAL_TIMER,
            ends,
            |index| list_registers::read_list_register(index as u8),
            |intid| gic::deactivate(intid.into()),
        ),
        true => leave_memory(vgic, id, ends),
    }
}

/// [`leave`] of a vCPU whose list registers are in GICv3's hardware, and that has ended nothing else.
#[inline(always)]
pub fn leave_as_is(vcpu: &Vcpu) -> Leaving {
    let mut state = vcpu.partition.state.lock();
    let read = |index| list_registers::read_list_register(index as u8);
    let deactivate = |intid: u16| gicv3::deactivate(intid.into());
    state
        .vgic
        .leave(vcpu.id, VIRTUAL_TIMER, Ends::NONE, read, deactivate)
}

/// [`leave`] with GICv2's list registers.
#[cold]
#[inline(never)]
fn leave_memory(vgic: &mut Vgic, id: VcpuId, ends: Ends) -> Leaving {
    let read = |index| gich::read_state(index as u8);
    let deactivate = |intid: u16| gic::deactivate(intid.into());
    vgic.leave(id, VIRTUAL_TIMER, ends, read, deactivate)
}

/// [`leave_as_is`] of one whose list registers are in the model: says whether its timer's interrupt is in flight.
#[inline(never)]
pub fn was_in_flight(vcpu: &Vcpu) -> bool {
    let state = vcpu.partition.state.lock();
    state.vgic.hardware_in_flight(vcpu.id, VIRTUAL_TIMER)
}

/// Writes the list registers of the vCPU that comes, and empties those that `held` something of the one that left.
#[inline(always)]
fn come(vcpu: &Vcpu, held: u16, shape: Shape) -> Coming {
    let due = virtual_timer_is_due(&vcpu.context.system, timer::now());
    let mut state = vcpu.partition.state.lock();
    let vgic = &mut state.vgic;
    if due && !vgic.hardware_in_flight(vcpu.id, VIRTUAL_TIMER) {
        // The vCPU is about to run here: there is nobody else to tell.
        let _ = vgic.physical_pending(VIRTUAL_TIMER, vcpu.id);
    }
    match shape.is_memory_mapped() {
        false => come_in(vgic, vcpu, held, list_registers::write_list_registers),
        true => come_to_memory(vgic, vcpu, held),
    }
}

/// [`come`] with GICv2's list registers.
#[cold]
#[inline(never)]
fn come_to_memory(vgic: &mut Vgic, vcpu: &Vcpu, held: u16) -> Coming {
    come_in(vgic, vcpu, held, gich::write_list_registers)
}

/// [`come`] without a look at the virtual timer, which interrupts the guest at once if it is due, and with GICv3. `None` when
/// there is something to choose, which is for [`come_by_choice`].
#[inline(always)]
pub fn come_at_once(vcpu: &Vcpu, held: u16) -> Option<Coming> {
    let vgic = &mut vcpu.partition.state.lock().vgic;
    let write = list_registers::write_list_registers;
    vgic.come_at_once(vcpu.id, VIRTUAL_TIMER, held, write)
}

/// [`come_at_once`] when there is something to choose. Kicks whom that is about; the other arguments are those of [`kick_from`].
#[inline(never)]
pub fn come_by_choice(
    vcpu: &Vcpu,
    held: u16,
    here: (PcpuId, &Mailbox, u64),
    system: &System,
    attend: &mut u64,
) -> Coming {
    let mut state = vcpu.partition.state.lock();
    let write = list_registers::write_list_registers;
    let coming = come_in(&mut state.vgic, vcpu, held, write);
    drop(state);
    if coming.kick != 0 {
        kick_from(here, system, attend, vcpu.partition, coming.kick);
    }
    coming
}

/// [`come`] of a vCPU that waits, off the hardware, for its virtual timer, which is due, or for a doorbell that rings now, if
/// that is all that it hears: returns what the first list register is to hold. `None`, with nothing done, when there is more
/// to it, or not even that.
#[inline(always)]
pub fn come_for_one(vcpu: &Vcpu, bell: Option<u16>) -> Option<u64> {
    let (vmcr, active0, active1) = vcpu.interface.as_signals(None);
    if active0 | active1 != 0 {
        return None;
    }
    let mut state = vcpu.partition.state.lock();
    match bell {
        None => state.vgic.come_for_one(vcpu.id, VIRTUAL_TIMER, vmcr),
        Some(_) if state.life.phase() != Phase::Running => None,
        Some(intid) => {
            let vgic = &mut state.vgic;
            vgic.come_for_bell(vcpu.id, intid, VIRTUAL_TIMER, vmcr)
        }
    }
}

#[inline(always)]
fn come_in(
    vgic: &mut Vgic,
    vcpu: &Vcpu,
    held: u16,
    write: impl FnOnce(u16, &[u64; MAX_LIST_REGISTERS]),
) -> Coming {
    let (id, vmcr) = (vcpu.id, vcpu.interface.vmcr as u32);
    vgic.come(id, VIRTUAL_TIMER, vmcr, held, write)
}

/// Saves what few vCPUs use.
#[inline(always)]
fn save_seldom_used(vcpu: &mut Vcpu) {
    if vcpu.uses_pmu {
        switch::save_pmu(&mut vcpu.context.system.pmu);
    }
    if vcpu.debug.uses_comparators() {
        switch::clear_comparators();
    }
}

/// Loads what [`save_seldom_used`] saves.
#[inline(always)]
fn restore_seldom_used(vcpu: &Vcpu) {
    if vcpu.debug.uses_comparators() {
        switch::restore_comparators(&vcpu.debug);
    }
    if vcpu.uses_pmu {
        switch::restore_pmu(&vcpu.context.system.pmu);
    }
}

/// Saves the FP registers of a vCPU whose own they are.
#[inline(never)]
fn save_fp(vcpu: &mut Vcpu) {
    write::cptr_el2(controls::CPTR_GUEST);
    cpu::isb();
    fp::save(&mut vcpu.context.fp);
}

/// Puts a vCPU behind its stage 2, its identity and its traps.
#[inline(always)]
fn confine(vcpu: &mut Vcpu, event_counters: u8) {
    let control = hypervisor_control(vcpu);
    vcpu.serror = false; // in the hardware from here on, which clears it when the guest takes it
    // SAFETY: the root was built at start-up for this partition alone, and its VMID is no other's.
    unsafe { write::vttbr_el2(vcpu.fixed.vttbr) };
    write::vmpidr_el2(vcpu.fixed.vmpidr);
    write::mdcr_el2(controls::mdcr_guest(event_counters, vcpu.monitors));
    // SAFETY: the guest's bits of the trap policy; stage 2 is on.
    unsafe { write::hcr_el2(control) };
}

/// [`confine`] for a vCPU without quirks that comes after another one.
#[inline(always)]
pub fn confine_plainly(vcpu: &Vcpu) {
    // SAFETY: as in `confine`.
    unsafe { write::vttbr_el2(vcpu.fixed.vttbr) };
    write::vmpidr_el2(vcpu.fixed.vmpidr);
    write::mdscr_el1(vcpu.debug.mdscr());
}

/// Drops translations and instructions that another vCPU of the same partition, or a former life, left on this pCPU: a
/// guest's ASIDs and local maintenance are per CPU, and a reset CPU remembers none.
#[inline(always)]
fn keep_siblings_apart(last_ran: &mut [u8; MAX_PARTITIONS], vcpu: &mut Vcpu) {
    let (partition, id) = (vcpu.partition, vcpu.id);
    let Some(last) = last_ran.get_mut(usize::from(partition.id.0)) else {
        return;
    };
    let before = core::mem::replace(last, id.0);
    if before == id.0 {
        return;
    }
    vcpu.quirks.remove(Quirks::FRESH);
    if before != NOBODY {
        cpu::isb();
        tlb::invalidate_local_guest();
        cache::invalidate_local_instructions();
    }
}

/// In [`Pcpu::last_ran`]: no vCPU of the partition ran here.
pub const NOBODY: u8 = u8::MAX;
/// In [`Pcpu::last_ran`]: a vCPU was started here since one of the partition ran.
pub const FORMER_LIFE: u8 = u8::MAX - 1;

/// What EL2's registers hold for a vCPU as long as it lives.
#[derive(Clone, Copy, Debug)]
pub struct Fixed {
    vttbr: u64,
    vmpidr: u64,
    /// `HCR_EL2` but for [`HCR_VSE`].
    hcr: u64,
}

impl Fixed {
    /// Returns it for a vCPU of a partition; `shares` says that others live on its pCPU too.
    pub fn of(partition: &Partition, id: VcpuId, shares: bool) -> Self {
        let wait = if shares { HCR_TWI } else { 0 };
        Self {
            vttbr: u64::from(partition.vmid.0) << VMID_SHIFT | partition.root.0,
            vmpidr: 1 << 31 | Mpidr::of_vcpu(id).raw(),
            hcr: controls::HCR_GUEST | wait,
        }
    }

    /// Makes WFI come to EL2 in any case, because the vCPU's time is limited.
    pub fn trap_wait(&mut self) {
        self.hcr |= HCR_TWI;
    }
}

/// Returns `HCR_EL2` for a vCPU.
#[inline(always)]
pub fn hypervisor_control(vcpu: &Vcpu) -> u64 {
    let serror = if vcpu.serror { HCR_VSE } else { 0 };
    vcpu.fixed.hcr | serror
}
