//! The short ways through a trap: what can be done with the registers that a call may overwrite, no look at what else
//! came up, and the same vCPU going on.
//!
//! The vectors save x0 to x19, x29 and x30, call one of the two functions below, and return to the guest when they say
//! that all is done. Otherwise the rest is saved and the trap goes the general way. A short way may end the trap because:
//!
//! * it changes nothing that the general way would look at afterwards (`reschedule`, `attend`, `folded`), or says
//!   [`Answer::ATTEND`];
//! * while a guest runs its list registers are live, not folded, and only accesses that need no fold are served;
//! * mail from another pCPU comes with an interrupt, which is taken as soon as the guest is entered.
//!
//! What is decided lies in the pure halves, which are tested against the general ones: `trap::quick`,
//! [`smccc::constant`], [`Vgic::deliver_directly`](bulkhead::vgic::Vgic::deliver_directly). PC and PSTATE stay in
//! `ELR_EL2` and `SPSR_EL2`.

mod answer;
mod present;

use super::mmio::{UART_DATA, UART_FLAGS};
use super::timers::{VIRTUAL_TIMER, line_is_high};
use crate::arch::aarch64::sysreg::{read, write};
use crate::hw::{gic, gicv2, gicv3};
use crate::pcpu::{Home, Pcpu, Vcpu};
use crate::system::Partition;
pub use answer::Answer;
use bulkhead::device::doorbell::SIGNAL;
use bulkhead::ids::VcpuId;
use bulkhead::smccc::{self, Errand};
use bulkhead::trap::quick::{self, Class};
use bulkhead::trap::sysreg::register::ICC_SGI1R_EL1;
use bulkhead::vgic::{Direct, Vgic};
use core::hint::cold_path;
use present::{Any, AnyInMemory, FirstFour};

/// Added to an INTID that was acknowledged and is still to be served, in the answer of `quick_interrupt`.
pub const ACKNOWLEDGED: u64 = 1;

/// Called by the vectors for a synchronous exception of the guest.
///
/// # Safety
/// `vcpu` is the one whose registers are in the hardware, and nothing else borrows it or its pCPU.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quick_synchronous(vcpu: *mut Vcpu) -> Answer {
    let esr = read::esr_el2();
    match quick::classify(esr) {
        // SAFETY: the caller's claim; nothing below borrows the pCPU.
        Class::Hvc => quick_call(unsafe { &mut *vcpu }),
        // SAFETY: the caller's claim.
        Class::DataAbort => unsafe { quick_access(vcpu, esr) },
        // SAFETY: the caller's claim; nothing below borrows the pCPU.
        Class::SystemRegister => quick_sgi(unsafe { &mut *vcpu }, esr),
        // SAFETY: the caller's claim; nothing below borrows the pCPU.
        Class::Smc => quick_smc(unsafe { &mut *vcpu }, esr),
        Class::Other => Answer::GENERAL,
    }
}

/// [`quick_synchronous`] with GICv2, by vectors of their own: a guest has no interrupt controller in system registers.
///
/// # Safety
/// As for [`quick_synchronous`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quick_synchronous_by_memory(vcpu: *mut Vcpu) -> Answer {
    let esr = read::esr_el2();
    match quick::classify(esr) {
        // SAFETY: the caller's claim; nothing below borrows the pCPU.
        Class::Hvc => quick_call(unsafe { &mut *vcpu }),
        // SAFETY: the caller's claim.
        Class::DataAbort => unsafe { quick_access(vcpu, esr) },
        // SAFETY: the caller's claim; nothing below borrows the pCPU.
        Class::Smc => quick_smc(unsafe { &mut *vcpu }, esr),
        Class::SystemRegister | Class::Other => Answer::GENERAL,
    }
}

/// [`quick_synchronous`] by whichever interfaces there are, for vectors that need not be fast.
///
/// # Safety
/// As for [`quick_synchronous`].
pub unsafe fn quick_synchronous_by_either(vcpu: *mut Vcpu) -> Answer {
    match gic::is_memory_mapped() {
        // SAFETY: the caller's claim.
        false => unsafe { quick_synchronous(vcpu) },
        // SAFETY: the caller's claim.
        true => unsafe { quick_synchronous_by_memory(vcpu) },
    }
}

/// Called by the vectors for an interrupt while a guest ran. Returns 0 when the running vCPU has it and goes on, else
/// [`ACKNOWLEDGED`] and the INTID that is left to serve.
///
/// An interrupt of another partition is not in the running one's model. A partition that stops loses what it was given when
/// its last vCPU has left, and this one has not.
///
/// # Safety
/// As for [`quick_synchronous`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quick_interrupt(vcpu: *mut Vcpu) -> u64 {
    const TIMER: u32 = VIRTUAL_TIMER as u32;
    // SAFETY: the caller's claim.
    let vcpu = unsafe { &mut *vcpu };
    let intid = gicv3::acknowledge();
    if intid < TIMER {
        return u64::from(intid) + ACKNOWLEDGED;
    }
    let direct = match intid {
        // It may have been high for the vCPU that left, its fall still on the way when it was acknowledged.
        TIMER if line_is_high() => again(vcpu, VIRTUAL_TIMER, true),
        gic::FIRST_SHARED..gic::SPECIAL => again(vcpu, intid as u16, true),
        _ => Direct::Long,
    };
    match direct {
        Direct::Done => {
            gicv3::drop_priority(intid);
            0
        }
        Direct::Elsewhere => deliver_elsewhere(vcpu, intid),
        Direct::Long => u64::from(intid) + ACKNOWLEDGED,
    }
}

/// The end of [`quick_interrupt`] for an interrupt that is not the last one again.
#[inline(never)]
fn deliver_elsewhere(vcpu: &mut Vcpu, intid: u32) -> u64 {
    if anywhere(vcpu, intid as u16, true) {
        gicv3::drop_priority(intid);
        return 0;
    }
    u64::from(intid) + ACKNOWLEDGED
}

/// [`quick_interrupt`] with GICv2's interfaces, by vectors of their own.
///
/// # Safety
/// As for [`quick_synchronous`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quick_interrupt_by_memory(vcpu: *mut Vcpu) -> u64 {
    const TIMER: u32 = VIRTUAL_TIMER as u32;
    // SAFETY: the caller's claim.
    let vcpu = unsafe { &mut *vcpu };
    // An SGI is never below, whoever sent it.
    let acknowledged = gicv2::acknowledge();
    let known = match acknowledged {
        TIMER => line_is_high(),
        gic::FIRST_SHARED..gic::SPECIAL => true,
        _ => false,
    };
    if known && watched(vcpu, acknowledged as u16) {
        gicv2::drop_priority(acknowledged);
        return 0;
    }
    u64::from(acknowledged) + ACKNOWLEDGED
}

/// Delivers a physical interrupt of the running vCPU with GICv2.
fn watched(vcpu: &Vcpu, intid: u16) -> bool {
    let vgic = &mut vcpu.partition.state.lock().vgic;
    vgic.deliver_watched(vcpu.id, intid, AnyInMemory)
}

/// [`quick_interrupt`] by whichever interfaces there are, for vectors that need not be fast.
///
/// # Safety
/// As for [`quick_synchronous`].
pub unsafe fn quick_interrupt_by_either(vcpu: *mut Vcpu) -> u64 {
    match gic::is_memory_mapped() {
        // SAFETY: the caller's claim.
        false => unsafe { quick_interrupt(vcpu) },
        // SAFETY: the caller's claim.
        true => unsafe { quick_interrupt_by_memory(vcpu) },
    }
}

/// Says whether the trapped instruction is stepped over by [`step`].
#[inline(always)]
fn steps_plainly(esr: u64) -> bool {
    quick::steps_plainly(esr, read::spsr_el2())
}

/// Steps over the trapped instruction; SPSR_EL2 stays as it is.
#[inline(always)]
fn step() {
    write::elr_el2(read::elr_el2().wrapping_add(4));
}

/// Recognises a call that changes who runs, which the general way need not decode any more, and answers one whose answer is
/// always the same. The PC is behind it already.
#[inline(always)]
fn quick_call(vcpu: &mut Vcpu) -> Answer {
    let [function, argument, ..] = &mut vcpu.context.gpr;
    if smccc::is_ring(*function as u32) {
        return Answer::RING;
    }
    cold_path(); // a ring has more to do, and is looked for first
    if let Some(value) = smccc::constant(*function as u32, *argument) {
        *function = value;
        return Answer::DONE;
    }
    match smccc::errand(*function as u32) {
        Some(errand) => begin_errand(vcpu, errand),
        None => Answer::GENERAL,
    }
}

/// [`quick_call`] by SMC, which is to be stepped over.
#[inline(always)]
fn quick_smc(vcpu: &mut Vcpu, esr: u64) -> Answer {
    if !steps_plainly(esr) {
        return Answer::GENERAL;
    }
    let [function, argument, ..] = &mut vcpu.context.gpr;
    if let Some(value) = smccc::constant(*function as u32, *argument) {
        *function = value;
        return stepped(Answer::DONE);
    }
    match smccc::errand(*function as u32) {
        Some(errand) => stepped(begin_errand(vcpu, errand)),
        None => Answer::GENERAL,
    }
}

/// Begins a call that changes who runs.
#[inline(always)]
fn begin_errand(vcpu: &mut Vcpu, errand: Errand) -> Answer {
    match errand {
        Errand::Ring => Answer::RING,
        Errand::Yield => {
            let [function, ..] = &mut vcpu.context.gpr;
            *function = smccc::result::SUCCESS;
            vcpu.begin_slice();
            Answer::YIELD
        }
    }
}

/// Serves a plain access to the UART or to the distributor's first page.
///
/// # Safety
/// As for [`quick_synchronous`].
#[inline(never)]
unsafe fn quick_access(vcpu: *mut Vcpu, esr: u64) -> Answer {
    let Some(access) = quick::access(esr, read::hpfar_el2(), read::far_el2()) else {
        return Answer::GENERAL;
    };
    if !steps_plainly(esr) {
        return Answer::GENERAL;
    }
    if !quick::is_at_hand(access.register) {
        return Answer::SAVE;
    }
    let (offset, register) = (access.offset, access.register);
    // SAFETY: the caller's claim. The functions that borrow the pCPU get the pointer, and this borrow is not used any more.
    let owner = unsafe { &mut *vcpu };
    if access.page == owner.emulated.uart {
        match access.write {
            true => {
                let stored = owner.context.register(register);
                // SAFETY: the caller's claim.
                unsafe { write_uart(vcpu, offset, stored) }
            }
            false => read_uart(owner, offset, register),
        }
    } else if access.page == owner.emulated.distributor && access.is_word {
        match access.write {
            true => {
                let stored = owner.context.register(register);
                // SAFETY: the caller's claim.
                unsafe { write_distributor(vcpu, offset, stored) }
            }
            false => read_distributor(owner, offset, register),
        }
    } else if access.write && offset == SIGNAL {
        Answer::STORE
    } else {
        Answer::GENERAL
    }
}

/// [`quick_access`] of a store by a register that was not at hand, when the context has all of them, PC and PSTATE too.
///
/// # Safety
/// As for [`quick_synchronous`].
pub unsafe fn saved_access(vcpu: *mut Vcpu) -> Answer {
    let access = quick::access(read::esr_el2(), read::hpfar_el2(), read::far_el2());
    let Some(access) = access.filter(|access| access.write) else {
        return Answer::GENERAL;
    };
    // SAFETY: the caller's claim; the borrow ends before the pointer goes on.
    let owner = unsafe { &*vcpu };
    let (emulated, stored) = (owner.emulated, owner.context.register(access.register));
    let answer = match access.page {
        // SAFETY: the caller's claim.
        page if page == emulated.uart => unsafe { write_uart(vcpu, access.offset, stored) },
        // SAFETY: the caller's claim.
        page if page == emulated.distributor && access.is_word => unsafe {
            write_distributor(vcpu, access.offset, stored)
        },
        _ => Answer::GENERAL,
    };
    // SAFETY: the caller's claim. A step went to the register, and the context goes there later.
    unsafe { (*vcpu).context.pc = read::elr_el2() };
    answer
}

/// Ends an access.
#[inline(always)]
fn stepped(answer: Answer) -> Answer {
    step();
    answer
}

/// Reads the UART's flags, when they say that it is idle. A full UART is looked at the general way: somebody may have to
/// make room. So is one whose lock is taken.
#[inline(always)]
fn read_uart(vcpu: &mut Vcpu, offset: u64, register: u8) -> Answer {
    let partition = vcpu.partition;
    if offset != UART_FLAGS || partition.state.is_locked() {
        return Answer::GENERAL;
    }
    let Some(flags) = partition.state.lock().uart.look(partition.output) else {
        return Answer::GENERAL;
    };
    vcpu.context.set_register(register, flags);
    stepped(Answer::DONE)
}

/// Sends a byte for which there is plenty of room.
///
/// # Safety
/// As for [`quick_synchronous`]. A reference in the pointer's place would claim the vCPU for the whole call, while the pCPU
/// that owns it is borrowed.
#[inline(never)]
unsafe fn write_uart(vcpu: *mut Vcpu, offset: u64, stored: u64) -> Answer {
    // SAFETY: the caller's claim; the pCPU is not borrowed yet.
    let vcpu = unsafe { &*vcpu };
    let partition = vcpu.partition;
    let byte = stored as u8;
    let free = match offset {
        UART_DATA => partition.state.try_lock(),
        _ => None,
    };
    // Whoever has to wait for the lock does so in the general way: this one needs no frame on the stack.
    let Some(mut state) = free else {
        return Answer::GENERAL;
    };
    if !state.uart.send(byte, partition.output) {
        return Answer::GENERAL;
    }
    drop(state);
    step();
    // SAFETY: a trap's entry; the vCPU's borrow is not used any more.
    let Some(pcpu) = (unsafe { Home::this() }) else {
        return Answer::ATTEND;
    };
    let line_ended = byte == b'\n';
    match pcpu.system.console.finds(partition, line_ended) {
        true => Answer::DONE,
        false => tell_console(pcpu, partition, line_ended),
    }
}

/// The end of [`write_uart`] where the console may not find the byte by itself.
#[inline(never)]
fn tell_console(pcpu: &mut Pcpu, partition: &Partition, line_ended: bool) -> Answer {
    // Then it was the state of the server that asks for a call.
    if partition.output.is_known() {
        pcpu.call_for_output(line_ended);
    } else {
        pcpu.output_arrived(partition, line_ended);
    }
    Answer::ATTEND
}

/// Reads a register of the distributor.
#[inline(always)]
fn read_distributor(vcpu: &mut Vcpu, offset: u64, register: u8) -> Answer {
    let value = vcpu.partition.state.lock().vgic.quick_read(offset as u32);
    match value {
        Some(value) => {
            vcpu.context.set_register(register, value.into());
            stepped(Answer::DONE)
        }
        None => Answer::GENERAL,
    }
}

/// Writes a register of the distributor that shows nothing of what list registers hold, or pends one interrupt of the
/// vCPU that asks.
///
/// # Safety
/// As for [`write_uart`].
#[inline(never)]
unsafe fn write_distributor(vcpu: *mut Vcpu, offset: u64, stored: u64) -> Answer {
    // SAFETY: the caller's claim; the pCPU is not borrowed yet.
    let vcpu = unsafe { &*vcpu };
    let partition = vcpu.partition;
    let value = stored & 0xffff_ffff;
    if Vgic::wants_fold(offset) {
        return pend_own(vcpu, offset, value);
    }
    let mut state = partition.state.lock();
    if state.vgic.quick_write(offset as u32, value as u32) {
        drop(state);
        return stepped(Answer::DONE);
    }
    let effects = state.vgic.distributor_write(offset, 4, value);
    drop(state);
    step();
    if effects.is_nothing() {
        return Answer::DONE;
    }
    // SAFETY: a trap's entry; the vCPU's borrow is not used any more.
    if let Some(pcpu) = unsafe { Home::this() } {
        pcpu.apply(partition, effects);
    }
    Answer::ATTEND
}

/// Pends one interrupt of the running vCPU at its own word.
#[inline(never)]
fn pend_own(vcpu: &Vcpu, offset: u64, value: u64) -> Answer {
    let vgic = &mut vcpu.partition.state.lock().vgic;
    let pended = vgic.pended_alone(offset, 4, value);
    let deliver = |intid| vgic.deliver_directly(vcpu.id, intid, false, Any);
    match pended.is_some_and(deliver) {
        true => stepped(Answer::DONE),
        false => Answer::GENERAL,
    }
}

/// Sends an SGI of a vCPU to itself.
#[inline(never)]
fn quick_sgi(vcpu: &mut Vcpu, esr: u64) -> Answer {
    let Some(rt) = quick::written(esr, ICC_SGI1R_EL1).filter(|_| steps_plainly(esr)) else {
        return Answer::GENERAL;
    };
    let Some(intid) = sgi_to_itself(vcpu.context.register(rt), vcpu.id) else {
        return Answer::GENERAL;
    };
    match again(vcpu, intid, false) {
        Direct::Done => stepped(Answer::DONE),
        Direct::Elsewhere => sgi_elsewhere(vcpu, intid),
        Direct::Long => Answer::GENERAL,
    }
}

/// The end of [`quick_sgi`] for an SGI that is not the last one again.
#[inline(never)]
fn sgi_elsewhere(vcpu: &mut Vcpu, intid: u16) -> Answer {
    match anywhere(vcpu, intid, false) {
        true => stepped(Answer::DONE),
        false => Answer::GENERAL,
    }
}

/// Delivers the running vCPU's interrupt that it had last. For the timer all that its INTID decides is decided when EL2
/// is compiled.
#[inline(always)]
fn again(vcpu: &Vcpu, intid: u16, physical: bool) -> Direct {
    let vgic = &mut vcpu.partition.state.lock().vgic;
    vgic.deliver_again(vcpu.id, intid, physical, FirstFour)
}

/// Delivers any interrupt of the running vCPU.
fn anywhere(vcpu: &Vcpu, intid: u16, physical: bool) -> bool {
    let vgic = &mut vcpu.partition.state.lock().vgic;
    vgic.deliver_anywhere(vcpu.id, intid, physical, Any)
}

/// Returns the INTID of an `ICC_SGI1R_EL1` value that names the sender alone, in the first cluster.
#[inline(always)]
fn sgi_to_itself(value: u64, sender: VcpuId) -> Option<u16> {
    let own = 1u64.wrapping_shl(sender.0.into());
    let intid = value & 0xf << 24;
    (value == intid | own).then_some((intid >> 24) as u16)
}
