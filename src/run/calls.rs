//! Calls by HVC and SMC: decided by [`bulkhead::smccc`], carried out here. Both conduits are the same; what is called
//! with an immediate other than 0 is not supported, as the convention has it.

use super::timers::PHYSICAL_TIMER;
use super::watchdog::kick_watchdog;
use super::world::{FORMER_LIFE, NOBODY};
use crate::pcpu::{Activity, Holder, Pcpu, Quirks, Vcpu};
use crate::system::{Partition, State, System};
use bulkhead::addr::GuestPhysAddr;
use bulkhead::config::record::access;
use bulkhead::ids::VcpuId;
use bulkhead::partition::After;
use bulkhead::smccc::arch::Mitigations;
use bulkhead::smccc::psci::{Entry, PowerStates};
use bulkhead::smccc::{self, Outcome, result};
use bulkhead::sync::Guard;
use bulkhead::trap::controls;

/// The caller as the pure code sees it; takes the partition's lock when the call needs it.
struct Call {
    system: &'static System,
    partition: &'static Partition,
    vcpu: VcpuId,
    mitigations: Mitigations,
    state: Option<Guard<'static, State>>,
}

impl smccc::Caller for Call {
    fn vcpu(&self) -> VcpuId {
        self.vcpu
    }

    fn power(&mut self) -> &mut PowerStates {
        &mut self
            .state
            .get_or_insert_with(|| self.partition.state.lock_by_call())
            .power
    }

    fn is_executable(&self, address: GuestPhysAddr) -> bool {
        self.partition
            .memory
            .iter()
            .any(|memory| memory.guest.holds(address.0) && memory.access & access::EXECUTE != 0)
    }

    fn random(&mut self) -> Option<u64> {
        self.system.random.lock_by_call().next_if_seeded()
    }

    fn mitigations(&self) -> Mitigations {
        self.mitigations
    }
}

impl Pcpu {
    /// Serves a call of the current vCPU, whose PC is behind the HVC or SMC already.
    pub fn call(&mut self, immediate: u16) {
        let (system, mitigations) = (self.system, self.mitigations);
        let Some(vcpu) = self.current_vcpu() else {
            return;
        };
        let [function, a, b, c, ..] = vcpu.context.gpr;
        let mut call = Call {
            system,
            partition: vcpu.partition,
            vcpu: vcpu.id,
            mitigations,
            state: None,
        };
        let outcome = match immediate {
            0 => smccc::call(function as u32, [a, b, c], &mut call),
            _ => Outcome::NOT_SUPPORTED,
        };
        let partition = call.partition;
        drop(call);
        self.carry_out(outcome, partition);
    }

    fn carry_out(&mut self, outcome: Outcome, partition: &'static Partition) {
        match outcome {
            Outcome::Return(value) => self.answer(&[value]),
            Outcome::Return4(values) => self.answer(&values),
            Outcome::CpuOn { target } => {
                self.answer(&[result::SUCCESS]);
                self.kick(partition, 1u16.checked_shl(target.0.into()).unwrap_or(0));
            }
            Outcome::CpuOff { last } => self.turn_off(partition, last),
            Outcome::Suspend { resume } => self.suspend(resume),
            Outcome::SystemOff => self.leave(partition, After::Stop, "it turned itself off"),
            Outcome::SystemReset => self.leave(partition, After::Restart, "it asked for a reset"),
            Outcome::Yield => {
                self.answer(&[result::SUCCESS]);
                self.yield_elsewhere();
            }
            Outcome::ChannelSignal(index) => {
                let result = self.ring(partition, index as usize);
                self.answer(&[result]);
            }
            Outcome::ChannelStatus(index) => match partition.channels.get(index as usize) {
                Some(end) => {
                    let status = self.channel_status(partition, end);
                    self.answer(&[result::SUCCESS, status.peer, status.own, status.info()]);
                }
                None => self.answer(&[result::INVALID_PARAMETERS]),
            },
            Outcome::Kick => {
                let result = kick_watchdog(partition);
                self.answer(&[result]);
            }
            Outcome::Manage(request) => self.serve_manager(partition, request),
            Outcome::Mitigate(workaround) => crate::errata::mitigate(workaround),
        }
    }

    /// Puts results into x0 and behind it.
    pub fn answer(&mut self, values: &[u64]) {
        if let Some(vcpu) = self.current_vcpu() {
            for (register, value) in vcpu.context.gpr.iter_mut().zip(values) {
                *register = *value;
            }
        }
    }

    /// CPU_OFF: the vCPU's registers are worth nothing from here on.
    fn turn_off(&mut self, partition: &'static Partition, last: bool) {
        if last {
            self.leave(partition, After::Stop, "its last vCPU turned itself off");
        } else if let Some(slot) = self.current {
            self.retire(slot);
        }
    }

    /// CPU_SUSPEND: waits as WFI does, and comes back behind the call or, powered down, at its entry.
    fn suspend(&mut self, resume: Option<Entry>) {
        match resume {
            None => {
                self.answer(&[result::SUCCESS]);
                self.wait_for_interrupt();
            }
            Some(entry) => {
                self.wait_for_interrupt();
                let Some(slot) = self.current else { return };
                self.unload();
                let kept = self
                    .vcpu(slot)
                    .map(|vcpu| (vcpu.activity, vcpu.interface, vcpu.slice_left));
                self.restart_vcpu(slot, entry);
                if let (Some((activity, interface, slice)), Some(vcpu)) = (kept, self.vcpu(slot)) {
                    // Interrupts wake a powered-down CPU by what its interface lets through; all else is lost. Its
                    // time slice is not the guest's to renew.
                    vcpu.activity = activity;
                    vcpu.interface = interface;
                    vcpu.slice_left = slice;
                }
                self.reschedule = true;
            }
        }
    }

    /// Gives a vCPU the registers of a start; its interrupts stay, but for that of the timer that EL2 keeps, which is off.
    pub fn restart_vcpu(&mut self, slot: bulkhead::sched::Slot, entry: Entry) {
        let stack_top = self.stack_top;
        if self.fp_owner.is(slot) {
            self.fp_owner = Holder::NOBODY;
        }
        self.serror.ends(slot);
        let Some(vcpu) = self.vcpu(slot) else { return };
        reset(vcpu, entry, stack_top);
        let (partition, id) = (vcpu.partition, vcpu.id);
        // A line that falls has nobody to be told.
        let _ = partition
            .state
            .lock_by_call()
            .vgic
            .set_line(PHYSICAL_TIMER, Some(id), false);
        let partition = partition.id;
        if let Some(last) = self.last_ran.get_mut(usize::from(partition.0))
            && *last != NOBODY
        {
            *last = FORMER_LIFE;
        }
    }
}

/// Returns a vCPU to its state at a start.
fn reset(vcpu: &mut Vcpu, entry: Entry, stack_top: u64) {
    vcpu.context = bulkhead::vcpu::Context::starting_at(entry.address.0, entry.context, stack_top);
    vcpu.interface = crate::hw::list_registers::Interface::default();
    vcpu.physical_timer = bulkhead::trap::timer::PhysicalTimer::new();
    vcpu.settle_own_deadline();
    vcpu.debug = bulkhead::trap::debug::DebugState::new();
    vcpu.uses_pmu = false;
    vcpu.monitors = controls::MONITORS_UNUSED;
    vcpu.serror = false;
    vcpu.quirks.remove(Quirks::OF_A_LIFE);
    vcpu.quirks.insert(Quirks::FRESH);
    vcpu.unfinished = None;
    vcpu.begin_slice();
    vcpu.activity = Activity::Off;
}
