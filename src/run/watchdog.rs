//! Watchdogs, and what is kept of a crash.
//!
//! A kick is a store: the end of the time goes to its partition. The deadline of vCPU 0's slot looks at it now and then:
//! once it is over, it finds the partition kicked meanwhile, and looks again at that one's end, or it acts. So a kick costs
//! no deadline, and the watchdog acts as its partition's own work, at vCPU 0's priority: one that more urgent partitions
//! kept from kicking pays as soon as it could run.

use crate::arch::aarch64::sysreg::read;
use crate::hw::timer;
use crate::pcpu::{Activity, Pcpu};
use crate::system::Partition;
use bulkhead::addr::PAGE_BYTES;
use bulkhead::partition::Phase;
use bulkhead::partition::crash::{Cause, Circumstances, TrapRegisters};
use bulkhead::sched::Slot;
use bulkhead::sched::deadlines::NEVER;
use bulkhead::smccc::result;
use bulkhead::trap::access;
use bulkhead::trap::syndrome::{Trap, decode};
use core::sync::atomic::Ordering;

/// Why a watchdog acts.
const NOT_KICKED: &str = "its watchdog was not kicked in time";

/// Puts the end of a partition's time off. Returns the call's result.
pub fn kick_watchdog(partition: &Partition) -> u64 {
    if partition.watchdog == 0 {
        return result::DENIED;
    }
    let end = timer::now().saturating_add(partition.watchdog);
    partition.watchdog_end.store(end, Ordering::Relaxed);
    result::SUCCESS
}

impl Pcpu {
    /// Begins to watch a partition whose vCPU 0 lives here.
    pub fn watch(&mut self, slot: Slot, partition: &Partition) {
        if kick_watchdog(partition) != result::SUCCESS {
            return;
        }
        let end = partition.watchdog_end.load(Ordering::Relaxed);
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.watch_at = end;
            vcpu.settle_own_deadline();
        }
    }

    /// Ends it.
    pub fn unwatch(&mut self, slot: Slot) {
        if let Some(vcpu) = self.vcpu(slot) {
            vcpu.watch_at = NEVER;
            vcpu.settle_own_deadline();
        }
    }

    /// Looks at the watchdog of a vCPU whose deadline is over, and acts or sets the next one.
    #[inline(never)]
    pub fn look_at_watchdog(&mut self, slot: Slot, now: u64) {
        let Some(vcpu) = self.vcpu(slot) else {
            return;
        };
        let activity = vcpu.activity;
        let partition = vcpu.partition;
        let end = partition.watchdog_end.load(Ordering::Relaxed);
        let over = end <= now;
        let next = if over { NEVER } else { end };
        vcpu.watch_at = next;
        vcpu.settle_own_deadline();
        // One that leaves already needs no watchdog for it.
        if over && partition.state.lock_by_call().life.phase() == Phase::Running {
            self.keep_crash(slot, Cause::Watchdog, NOT_KICKED);
            let after = self.after_silence(partition);
            self.leave(partition, after, NOT_KICKED);
        }
        match activity {
            Activity::Ready | Activity::Waiting if !over => self.set_deadline(slot),
            _ => self.set_wake(slot, next),
        }
    }

    /// Keeps what is known of a vCPU's crash, where somebody may ask for it. It runs no more.
    #[inline(never)]
    pub fn keep_crash(&mut self, slot: Slot, cause: Cause, why: &'static str) {
        let trap = match cause {
            Cause::Watchdog => TrapRegisters::default(),
            Cause::Fault => trap_registers(),
        };
        if self.current == Some(slot) {
            self.unload();
        }
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return;
        };
        let mut state = vcpu.partition.state.lock_by_call();
        let starts = state.life.starts();
        if let Some(crash) = &mut state.crash {
            let what = Circumstances {
                cause,
                why,
                vcpu: vcpu.id,
                starts,
                ticks: timer::now(),
                trap,
            };
            let trace = self.trace.as_ref();
            crash.take(what, &vcpu.context, |last| {
                trace.map_or(0, |trace| trace.last_of(slot, last))
            });
        }
    }

    /// Keeps a piece of what a partition that has crashed sent last. Says whether there is more.
    #[inline(never)]
    pub fn keep_output(&mut self, partition: &Partition, from: u16) -> bool {
        let mut state = partition.state.lock_by_call();
        let output = partition.output;
        state.crash.as_mut().is_some_and(|crash| {
            crash.is_fresh()
                && crash.keep(from.into(), usize::from(KEPT), output.written(), |at| {
                    output.word_at(at)
                })
        })
    }
}

/// Words of output that are kept in one piece.
pub const KEPT: u16 = 8;

/// Returns what the last trap left in the registers. Those of addresses are zero where this trap did not write them: what
/// they hold then is another vCPU's.
fn trap_registers() -> TrapRegisters {
    let esr = read::esr_el2();
    let (far, hpfar) = (read::far_el2(), read::hpfar_el2());
    let (far, address) = match decode(esr) {
        Trap::DataAbort(abort) => (far, access::fault_address(abort, hpfar, far)),
        Trap::InstructionAbort(abort) => (far, access::fetch_address(abort, hpfar, far)),
        _ => {
            return TrapRegisters {
                esr,
                ..TrapRegisters::default()
            };
        }
    };
    TrapRegisters {
        esr,
        far,
        gpa: address.map_or(0, |address| address.align_down(PAGE_BYTES).0),
    }
}
