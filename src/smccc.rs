//! Calls of a guest by HVC or SMC: the SMC Calling Convention and the services behind it.
//!
//! [`call`] decodes a function identifier, changes the partition's power model where the call says so, and returns
//! an [`Outcome`] for the caller to apply. Nothing that a guest says is ever passed on to the firmware: what is not served
//! here is answered NOT_SUPPORTED.
//!
//! * [`psci`]: power of vCPUs and of the partition (PSCI 1.1).
//! * [`arch`]: version, features, CPU errata.
//! * [`trng`]: random numbers.
//! * [`vendor`]: our own calls, in the vendor-specific hypervisor range.
//!
//! # Source
//! Arm DEN 0028 (SMCCC), "Function Identifiers", "Unknown Function Identifier"; Arm DEN 0022 (PSCI); Arm DEN 0098
//! (TRNG).
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod arch;
pub mod psci;
pub mod trng;
pub mod vendor;

use crate::addr::GuestPhysAddr;
use crate::ids::VcpuId;
use arch::{Mitigations, Workaround};
use psci::{Entry, PowerStates};

/// The conventional results, as they appear in the 64-bit result register: sign-extended, which is right for 32-bit
/// callers too.
pub mod result {
    /// Done.
    pub const SUCCESS: u64 = 0;
    /// No such function here.
    pub const NOT_SUPPORTED: u64 = -1i64 as u64;
    /// An argument does not make sense.
    pub const INVALID_PARAMETERS: u64 = -2i64 as u64;
    /// PSCI: not now, or not by this caller.
    pub const DENIED: u64 = -3i64 as u64;
    /// TRNG: no random bits now.
    pub const NO_ENTROPY: u64 = -3i64 as u64;
    /// PSCI: the CPU runs already.
    pub const ALREADY_ON: u64 = -4i64 as u64;
    /// PSCI: the CPU was asked to start and has not yet.
    pub const ON_PENDING: u64 = -5i64 as u64;
    /// PSCI: the entry point is no memory to execute from.
    pub const INVALID_ADDRESS: u64 = -9i64 as u64;
}

/// What a call needs to know about its caller. All of it is asked for only by calls that need it, so a fast call
/// costs nothing here.
pub trait Caller {
    /// Returns the calling vCPU.
    fn vcpu(&self) -> VcpuId;

    /// Returns the power model of the caller's partition. The implementation holds the partition's lock from here
    /// on until the call is decided; what is to be done afterwards stands in the outcome.
    fn power(&mut self) -> &mut PowerStates;

    /// Says whether a guest-physical address is RAM of this partition that it may execute.
    fn is_executable(&self, address: GuestPhysAddr) -> bool;

    /// Returns 64 fresh random bits, or `None` when the generator has no seed.
    fn random(&mut self) -> Option<u64>;

    /// Returns what this pCPU needs against speculation, and EL2 offers.
    fn mitigations(&self) -> Mitigations;
}

/// What the caller of [`call`] is to do. The vCPU goes on behind its HVC or SMC unless said otherwise; result
/// registers that are not named stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Put this into x0.
    Return(u64),
    /// Put these into x0 to x3.
    Return4([u64; 4]),
    /// Put [`result::SUCCESS`] into x0 and wake the target's pCPU, which takes the vCPU's entry by
    /// [`PowerStates::start`].
    CpuOn {
        /// The vCPU to start, already ON_PENDING in the model.
        target: VcpuId,
    },
    /// The vCPU stops and is OFF in the model. When it was the `last` one, nothing is left in the partition that
    /// could ever run again.
    CpuOff {
        /// No vCPU of the partition is on or pending.
        last: bool,
    },
    /// Wait as WFI does: until the vGIC would signal, whatever the guest masks. Then without `resume` put
    /// [`result::SUCCESS`] into x0; with it reset the vCPU and enter as at its start.
    Suspend {
        /// Where a powered-down vCPU comes back.
        resume: Option<Entry>,
    },
    /// Stop the partition.
    SystemOff,
    /// Start the partition again from its images.
    SystemReset,
    /// Put [`result::SUCCESS`] into x0 and let the equals of this vCPU run.
    Yield,
    /// Ring the doorbell of this channel's other end and put the result into x0.
    ChannelSignal(u64),
    /// Put what is known of this channel into x0 to x3.
    ChannelStatus(u64),
    /// Put the watchdog's next deadline off and [`result::SUCCESS`] into x0, or [`result::DENIED`] without a watchdog.
    Kick,
    /// Do what a manager asks for, if it may, and put the results into x0 and behind it.
    Manage(vendor::Request),
    /// Do what the workaround asks of this pCPU; no result.
    Mitigate(Workaround),
}

impl Outcome {
    /// The answer to everything that is not served.
    pub const NOT_SUPPORTED: Self = Self::Return(result::NOT_SUPPORTED);
}

/// Serves a call: `function` is w0, `arguments` are x1 to x3 as the guest left them.
///
/// Bounded: no call does more than look at each vCPU of the partition once. The immediate of the HVC or SMC is the
/// caller's to check; the convention wants zero, and others are answered [`Outcome::NOT_SUPPORTED`].
#[inline(never)]
pub fn call<C: Caller>(function: u32, arguments: [u64; 3], caller: &mut C) -> Outcome {
    let function = function & !SVE_HINT;
    let arguments = if function & SIXTY_FOUR == 0 {
        arguments.map(|argument| argument & 0xffff_ffff)
    } else {
        arguments
    };
    match function & OWNER {
        ARCH => arch::serve(function, arguments, caller),
        PSCI_AND_TRNG => match psci::Function::decode(function) {
            Some(decoded) => psci::serve(decoded, arguments, caller),
            None => trng::serve(function, arguments, caller),
        },
        VENDOR => vendor::serve(function, arguments),
        _ => Outcome::NOT_SUPPORTED,
    }
}

/// Returns the answer of a call that depends on nothing but the call itself: what start-up code probes with, and
/// what nobody serves. Such a call needs neither the caller's state nor a lock, so that it is answered on the short way
/// through a trap. `None` says nothing: [`call`] knows these answers too.
#[inline(always)]
pub const fn constant(function: u32, argument: u64) -> Option<u64> {
    match function {
        psci::function::PSCI_VERSION => Some(psci::VERSION),
        psci::function::PSCI_FEATURES => Some(psci::features(argument as u32)),
        psci::function::MIGRATE_INFO_TYPE => Some(psci::NOTHING_TO_MIGRATE),
        arch::function::SMCCC_VERSION => Some(arch::VERSION),
        vendor::FEATURES_CALL => Some(vendor::FEATURES),
        _ if function & OWNER == VENDOR => None,
        _ => match function & (OWNER | SVE_HINT) {
            ARCH | PSCI_AND_TRNG => None,
            owner if owner & SVE_HINT == 0 => Some(result::NOT_SUPPORTED),
            _ => None,
        },
    }
}

/// A call that needs nothing but to be recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// [`Outcome::Yield`].
    Yield,
    /// [`Outcome::ChannelSignal`], with the index that the lower half of the argument is.
    Ring,
}

/// Recognises calls that are made again and again and change who runs. `None` says nothing: [`call`] knows these too, and their
/// 64-bit forms.
#[inline(always)]
pub const fn errand(function: u32) -> Option<Errand> {
    match function {
        vendor::YIELD_CALL => Some(Errand::Yield),
        _ if is_ring(function) => Some(Errand::Ring),
        _ => None,
    }
}

/// Says whether a call is [`Errand::Ring`].
#[inline(always)]
pub const fn is_ring(function: u32) -> bool {
    function == vendor::CHANNEL_SIGNAL_CALL
}

/// Function identifiers: the 64-bit form.
const SIXTY_FOUR: u32 = 1 << 30;
/// Function identifiers: bit 31 is a fast call, 29:24 the owner, 23:17 zero; the 64-bit form differs in bit 30.
const OWNER: u32 = 0xbffe_0000;
/// Function identifiers: the caller promises that no SVE state is live (SMCCC 1.3), which is nothing to us.
const SVE_HINT: u32 = 1 << 16;
const ARCH: u32 = 0x8000_0000;
const PSCI_AND_TRNG: u32 = 0x8400_0000;
const VENDOR: u32 = 0x8600_0000;

#[cfg(test)]
mod tests;
