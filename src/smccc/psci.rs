//! The Power State Coordination Interface as a partition sees it: its own vCPUs and itself.
//!
//! # Decisions
//! * Power-down states are real: a vCPU that suspends with an entry point comes back there, reset.
//! * CPU_SUSPEND knows affinity level 0 alone, in the original format of `power_state`, platform-coordinated.
//! * Optional functions without meaning for a guest (migration, statistics, memory protection, freezing, default
//!   suspend) are not supported.
//!
//! # Source
//! Arm DEN 0022 (PSCI), version 1.1.

use super::result::{
    ALREADY_ON, DENIED, INVALID_ADDRESS, INVALID_PARAMETERS, NOT_SUPPORTED, ON_PENDING, SUCCESS,
};
use super::{Caller, Outcome};
use crate::addr::GuestPhysAddr;
use crate::ids::{MAX_VCPUS, Mpidr, VcpuId};

/// What PSCI_VERSION says: 1.1.
pub const VERSION: u64 = 0x0001_0001;

/// What MIGRATE_INFO_TYPE says: no trusted OS, or one that runs everywhere.
pub(super) const NOTHING_TO_MIGRATE: u64 = 2;

/// Function identifiers.
#[expect(missing_docs, reason = "the names are PSCI's")]
pub mod function {
    pub const PSCI_VERSION: u32 = 0x8400_0000;
    pub const CPU_SUSPEND_32: u32 = 0x8400_0001;
    pub const CPU_SUSPEND_64: u32 = 0xc400_0001;
    pub const CPU_OFF: u32 = 0x8400_0002;
    pub const CPU_ON_32: u32 = 0x8400_0003;
    pub const CPU_ON_64: u32 = 0xc400_0003;
    pub const AFFINITY_INFO_32: u32 = 0x8400_0004;
    pub const AFFINITY_INFO_64: u32 = 0xc400_0004;
    pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
    pub const SYSTEM_OFF: u32 = 0x8400_0008;
    pub const SYSTEM_RESET: u32 = 0x8400_0009;
    pub const PSCI_FEATURES: u32 = 0x8400_000a;
    pub const SYSTEM_SUSPEND_32: u32 = 0x8400_000e;
    pub const SYSTEM_SUSPEND_64: u32 = 0xc400_000e;
    pub const SYSTEM_RESET2_32: u32 = 0x8400_0012;
    pub const SYSTEM_RESET2_64: u32 = 0xc400_0012;
}

/// A function that is served; 32-bit and 64-bit forms differ in their arguments' width alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are PSCI's")]
pub enum Function {
    Version,
    CpuSuspend,
    CpuOff,
    CpuOn,
    AffinityInfo,
    MigrateInfoType,
    SystemOff,
    SystemReset,
    Features,
    SystemSuspend,
    SystemReset2,
}

impl Function {
    /// Names the function of an identifier, or returns `None` when it is not served.
    pub const fn decode(identifier: u32) -> Option<Self> {
        use function::*;
        Some(match identifier {
            PSCI_VERSION => Self::Version,
            CPU_SUSPEND_32 | CPU_SUSPEND_64 => Self::CpuSuspend,
            CPU_OFF => Self::CpuOff,
            CPU_ON_32 | CPU_ON_64 => Self::CpuOn,
            AFFINITY_INFO_32 | AFFINITY_INFO_64 => Self::AffinityInfo,
            MIGRATE_INFO_TYPE => Self::MigrateInfoType,
            SYSTEM_OFF => Self::SystemOff,
            SYSTEM_RESET => Self::SystemReset,
            PSCI_FEATURES => Self::Features,
            SYSTEM_SUSPEND_32 | SYSTEM_SUSPEND_64 => Self::SystemSuspend,
            SYSTEM_RESET2_32 | SYSTEM_RESET2_64 => Self::SystemReset2,
            _ => return None,
        })
    }
}

/// Where a vCPU starts: at EL1, MMU and caches off, interrupts masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// First instruction.
    pub address: GuestPhysAddr,
    /// Value of x0.
    pub context: u64,
}

/// What a vCPU's power is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerState {
    /// Never runs until another vCPU starts it.
    Off,
    /// To be started by its pCPU.
    OnPending(Entry),
    /// Runs, or waits for an interrupt.
    On,
}

/// The power of a partition's vCPUs. Changed under the partition's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerStates {
    states: [PowerState; MAX_VCPUS],
    count: u8,
}

impl PowerStates {
    /// Returns the model of a partition with `count` vCPUs (at most [`MAX_VCPUS`]), all off.
    pub const fn new(count: u8) -> Self {
        Self {
            states: [PowerState::Off; MAX_VCPUS],
            count: if count as usize > MAX_VCPUS {
                MAX_VCPUS as u8
            } else {
                count
            },
        }
    }

    /// Starts the partition afresh: vCPU 0 is to begin at `entry`, all others are off.
    pub fn boot(&mut self, entry: Entry) {
        self.stop();
        if let Some(first) = self.states.first_mut() {
            *first = PowerState::OnPending(entry);
        }
    }

    /// Turns every vCPU off, as the partition stops.
    pub fn stop(&mut self) {
        self.states = [PowerState::Off; MAX_VCPUS];
    }

    /// Returns the state of a vCPU; one that does not exist is off.
    pub fn state(&self, vcpu: VcpuId) -> PowerState {
        self.states
            .get(usize::from(vcpu.0))
            .copied()
            .unwrap_or(PowerState::Off)
    }

    /// Takes the entry of a pending vCPU, which is on from then; `None` when there is nothing to start.
    pub fn start(&mut self, vcpu: VcpuId) -> Option<Entry> {
        let state = self.states.get_mut(usize::from(vcpu.0))?;
        let PowerState::OnPending(entry) = *state else {
            return None;
        };
        *state = PowerState::On;
        Some(entry)
    }

    /// Asks for a vCPU to be started, or returns the PSCI error.
    fn request(&mut self, vcpu: VcpuId, entry: Entry) -> Result<(), u64> {
        let state = self
            .states
            .get_mut(usize::from(vcpu.0))
            .ok_or(INVALID_PARAMETERS)?;
        match state {
            PowerState::On => Err(ALREADY_ON),
            PowerState::OnPending(_) => Err(ON_PENDING),
            PowerState::Off => {
                *state = PowerState::OnPending(entry);
                Ok(())
            }
        }
    }

    /// Turns a vCPU off and says whether it was the last one.
    fn turn_off(&mut self, vcpu: VcpuId) -> bool {
        if let Some(state) = self.states.get_mut(usize::from(vcpu.0)) {
            *state = PowerState::Off;
        }
        self.is_idle_but(None)
    }

    /// Says whether all vCPUs, leaving out one, are off.
    fn is_idle_but(&self, except: Option<VcpuId>) -> bool {
        self.vcpus()
            .all(|(vcpu, _, state)| Some(vcpu) == except || state == PowerState::Off)
    }

    /// Returns every vCPU with its affinity and state.
    fn vcpus(&self) -> impl Iterator<Item = (VcpuId, Mpidr, PowerState)> + '_ {
        let numbers = (0..self.count).map(VcpuId);
        numbers
            .zip(&self.states)
            .map(|(vcpu, state)| (vcpu, Mpidr::of_vcpu(vcpu), *state))
    }

    /// Finds the vCPU with an affinity as PSCI gives it; all other bits must be zero.
    fn with_affinity(&self, target: u64) -> Option<VcpuId> {
        self.vcpus()
            .find(|(_, mpidr, _)| mpidr.raw() == target)
            .map(|(vcpu, ..)| vcpu)
    }
}

/// Serves a function. Arguments of a 32-bit call are already cut.
// Not inlined: short calls go by without its frame.
#[inline(never)]
pub(super) fn serve<C: Caller>(function: Function, arguments: [u64; 3], caller: &mut C) -> Outcome {
    let [first, second, third] = arguments;
    match function {
        Function::Version => Outcome::Return(VERSION),
        Function::CpuSuspend => suspend(first, second, third, caller),
        Function::CpuOff => {
            let vcpu = caller.vcpu();
            let last = power(caller).turn_off(vcpu);
            Outcome::CpuOff { last }
        }
        Function::CpuOn => match turn_on(first, second, third, caller) {
            Ok(target) => Outcome::CpuOn { target },
            Err(error) => Outcome::Return(error),
        },
        Function::AffinityInfo => Outcome::Return(affinity_info(power(caller), first, second)),
        Function::MigrateInfoType => Outcome::Return(NOTHING_TO_MIGRATE),
        Function::SystemOff => Outcome::SystemOff,
        Function::SystemReset => Outcome::SystemReset,
        Function::Features => Outcome::Return(features(first as u32)),
        Function::SystemSuspend => system_suspend(first, second, caller),
        // SYSTEM_WARM_RESET; vendor-specific resets there are none.
        Function::SystemReset2 if first as u32 == 0 => Outcome::SystemReset,
        Function::SystemReset2 => Outcome::Return(INVALID_PARAMETERS),
    }
}

/// PSCI_FEATURES: every function that is served, and SMCCC_VERSION, have all flags zero.
pub(super) const fn features(identifier: u32) -> u64 {
    if identifier == super::arch::function::SMCCC_VERSION || Function::decode(identifier).is_some()
    {
        SUCCESS
    } else {
        NOT_SUPPORTED
    }
}

/// CPU_ON: target, then entry point, then the target's state.
fn turn_on<C: Caller>(
    target: u64,
    address: u64,
    context: u64,
    caller: &mut C,
) -> Result<VcpuId, u64> {
    let target = power(caller)
        .with_affinity(target)
        .ok_or(INVALID_PARAMETERS)?;
    let entry = entry(address, context, caller)?;
    power(caller).request(target, entry)?;
    Ok(target)
}

/// CPU_SUSPEND: a wait, with an entry point behind it for power-down states.
fn suspend<C: Caller>(state: u64, address: u64, context: u64, caller: &mut C) -> Outcome {
    /// `StateType`: power-down.
    const POWER_DOWN: u64 = 1 << 16;
    /// `StateID`, of which each value means the same here.
    const STATE_ID: u64 = 0xffff;

    // `PowerLevel` above the CPU and reserved bits; the argument has 32 bits in both forms.
    if state & 0xffff_ffff & !(POWER_DOWN | STATE_ID) != 0 {
        return Outcome::Return(INVALID_PARAMETERS);
    }
    if state & POWER_DOWN == 0 {
        return Outcome::Suspend { resume: None };
    }
    match entry(address, context, caller) {
        Ok(entry) => Outcome::Suspend {
            resume: Some(entry),
        },
        Err(error) => Outcome::Return(error),
    }
}

/// SYSTEM_SUSPEND: as the deepest CPU_SUSPEND, when the caller is the only vCPU that is on.
fn system_suspend<C: Caller>(address: u64, context: u64, caller: &mut C) -> Outcome {
    let vcpu = caller.vcpu();
    if !power(caller).is_idle_but(Some(vcpu)) {
        return Outcome::Return(DENIED);
    }
    match entry(address, context, caller) {
        Ok(entry) => Outcome::Suspend {
            resume: Some(entry),
        },
        Err(error) => Outcome::Return(error),
    }
}

/// Returns the power of the caller's vCPUs.
// Not inlined, as `entry`: each call of PSCI would have a copy of how the caller finds it.
#[inline(never)]
fn power<C: Caller>(caller: &mut C) -> &mut PowerStates {
    caller.power()
}

/// Checks an entry point.
#[inline(never)]
fn entry<C: Caller>(address: u64, context: u64, caller: &C) -> Result<Entry, u64> {
    let address = GuestPhysAddr(address);
    if address.is_aligned(4) && caller.is_executable(address) {
        Ok(Entry { address, context })
    } else {
        Err(INVALID_ADDRESS)
    }
}

/// AFFINITY_INFO: 0 on, 1 off, 2 pending; of a whole cluster the most awake vCPU counts.
fn affinity_info(power: &PowerStates, target: u64, level: u64) -> u64 {
    const ON: u64 = 0;
    const OFF: u64 = 1;
    const PENDING: u64 = 2;

    let mask = match level as u32 {
        0 => u64::MAX,
        1 => !0xff,
        2 => !0xffff,
        3 => !0xff_ffff,
        _ => return INVALID_PARAMETERS,
    };
    // Aff3, then Aff2 to Aff0; fields below the level are ignored.
    if target & !0xff_00ff_ffff != 0 {
        return INVALID_PARAMETERS;
    }
    let states = power
        .vcpus()
        .filter(|(_, mpidr, _)| (mpidr.raw() ^ target) & mask == 0)
        .map(|(_, _, state)| match state {
            PowerState::On => ON,
            PowerState::OnPending(_) => PENDING,
            PowerState::Off => OFF,
        });
    states
        .reduce(|most, state| match (most, state) {
            (ON, _) | (_, ON) => ON,
            (PENDING, _) | (_, PENDING) => PENDING,
            _ => OFF,
        })
        .unwrap_or(INVALID_PARAMETERS)
}
