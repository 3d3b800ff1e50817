//! Arm architecture calls: the convention's version, what is served, and workarounds for CPU errata.

use super::result::{NOT_SUPPORTED, SUCCESS};
use super::{Caller, Outcome};

/// What SMCCC_VERSION says: 1.2.
pub const VERSION: u64 = 0x0001_0002;

/// From this version on the convention has SMCCC_ARCH_FEATURES.
pub const VERSION_1_1: i32 = 0x0001_0001;

/// Function identifiers.
#[expect(missing_docs, reason = "the names are SMCCC's")]
pub mod function {
    pub const SMCCC_VERSION: u32 = 0x8000_0000;
    pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
    pub const SMCCC_ARCH_WORKAROUND_3: u32 = 0x8000_3fff;
    pub const SMCCC_ARCH_WORKAROUND_2: u32 = 0x8000_7fff;
    pub const SMCCC_ARCH_WORKAROUND_1: u32 = 0x8000_8000;
}
use function::*;

/// A workaround that is more than a return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workaround {
    /// SMCCC_ARCH_WORKAROUND_1: make earlier branches forgotten (CVE-2017-5715).
    BranchPredictor,
    /// SMCCC_ARCH_WORKAROUND_3: make the branch history forgotten as well (CVE-2022-23960).
    BranchHistory,
}

/// What EL2 knows about a weakness of a pCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mitigation {
    /// Nothing: guests are told that the call does not exist.
    #[default]
    Unknown,
    /// The CPU does not need it; calling does nothing.
    NotNeeded,
    /// The CPU needs it, and EL2 does it on a call.
    Offered,
}

impl Workaround {
    /// Returns its function identifier.
    pub const fn function(self) -> u32 {
        match self {
            Self::BranchPredictor => SMCCC_ARCH_WORKAROUND_1,
            Self::BranchHistory => SMCCC_ARCH_WORKAROUND_3,
        }
    }
}

impl Mitigation {
    /// Reads what a firmware's SMCCC_ARCH_FEATURES says of a workaround on the pCPU that asked.
    pub const fn from_firmware(answer: i32) -> Self {
        match answer {
            0 => Self::Offered,
            1 => Self::NotNeeded,
            _ => Self::Unknown,
        }
    }

    /// Returns what SMCCC_ARCH_FEATURES says.
    const fn feature(self) -> u64 {
        match self {
            Self::Unknown => NOT_SUPPORTED,
            Self::NotNeeded => 1,
            Self::Offered => SUCCESS,
        }
    }
}

/// The weaknesses of a pCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mitigations {
    /// SMCCC_ARCH_WORKAROUND_1.
    pub branch_predictor: Mitigation,
    /// SMCCC_ARCH_WORKAROUND_3.
    pub branch_history: Mitigation,
    /// SMCCC_ARCH_WORKAROUND_2 is not needed; otherwise guests are told that the call does not exist.
    pub store_bypass_safe: bool,
}

/// Serves a function of this range.
pub(super) fn serve<C: Caller>(function: u32, arguments: [u64; 3], caller: &C) -> Outcome {
    let [asked, ..] = arguments;
    match function {
        SMCCC_VERSION => Outcome::Return(VERSION),
        SMCCC_ARCH_FEATURES => Outcome::Return(features(asked as u32, caller)),
        SMCCC_ARCH_WORKAROUND_1 => workaround(
            caller.mitigations().branch_predictor,
            Workaround::BranchPredictor,
        ),
        SMCCC_ARCH_WORKAROUND_3 => workaround(
            caller.mitigations().branch_history,
            Workaround::BranchHistory,
        ),
        SMCCC_ARCH_WORKAROUND_2 if caller.mitigations().store_bypass_safe => {
            Outcome::Return(SUCCESS)
        }
        // SMCCC_ARCH_SOC_ID among them: a guest's board has no identity of its own.
        _ => Outcome::NOT_SUPPORTED,
    }
}

/// SMCCC_ARCH_FEATURES.
fn features<C: Caller>(function: u32, caller: &C) -> u64 {
    match function {
        SMCCC_VERSION | SMCCC_ARCH_FEATURES => SUCCESS,
        SMCCC_ARCH_WORKAROUND_1 => caller.mitigations().branch_predictor.feature(),
        SMCCC_ARCH_WORKAROUND_3 => caller.mitigations().branch_history.feature(),
        SMCCC_ARCH_WORKAROUND_2 if caller.mitigations().store_bypass_safe => {
            Mitigation::NotNeeded.feature()
        }
        _ => NOT_SUPPORTED,
    }
}

/// Does a workaround, or returns at once.
const fn workaround(mitigation: Mitigation, workaround: Workaround) -> Outcome {
    match mitigation {
        Mitigation::Unknown => Outcome::NOT_SUPPORTED,
        Mitigation::NotNeeded => Outcome::Return(SUCCESS),
        Mitigation::Offered => Outcome::Mitigate(workaround),
    }
}
