//! Our own calls, in the vendor-specific hypervisor range. This table is an interface for guests: numbers are never
//! used again.
//!
//! | call | identifier | arguments | results |
//! | --- | --- | --- | --- |
//! | features | 0x86000000 | - | x0: bit n set when call n is served (n below 32) |
//! | yield | 0x86000001, 0xc6000001 | - | x0: 0; the caller goes behind its equals in priority |
//! | UID | 0x8600ff01 | - | x0 to x3: e146778d-e90a-4506-8136-c83028dd011b, four bytes each |
//! | revision | 0x8600ff03 | - | x0: major, x1: minor |
//!
//! To add a call: a variant of [`Hypercall`], its number in `Hypercall::numbered`, its row above; the compiler asks
//! for the rest.

use super::Outcome;

/// The interface's UID: e146778d-e90a-4506-8136-c83028dd011b.
pub const UID: [u64; 4] = [0x8d77_46e1, 0x0645_0ae9, 0x30c8_3681, 0x1b01_dd28];
/// The interface's major and minor revision.
pub const REVISION: (u64, u64) = (1, 0);

/// Function identifier of UID.
pub const UID_CALL: u32 = 0x8600_ff01;
/// Function identifier of revision.
pub const REVISION_CALL: u32 = 0x8600_ff03;
/// Function identifier of yield.
pub const YIELD_CALL: u32 = 0x8600_0001;

/// A call that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypercall {
    /// What is served.
    Features,
    /// To the tail of one's priority.
    Yield,
    /// Who we are.
    Uid,
    /// Which revision of this interface.
    Revision,
}

impl Hypercall {
    /// Names the call with a number (bits 15:0 of the identifier), or returns `None` when it is not served.
    const fn numbered(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Features,
            1 => Self::Yield,
            0xff01 => Self::Uid,
            0xff03 => Self::Revision,
            _ => return None,
        })
    }

    /// Says whether the call has a 64-bit form as well.
    const fn has_wide_form(self) -> bool {
        matches!(self, Self::Yield)
    }

    /// Bit n: call n is served.
    const SERVED: u64 = {
        let mut served = 0;
        let mut number = 0;
        while number < 32 {
            if Self::numbered(number).is_some() {
                served |= 1 << number;
            }
            number += 1;
        }
        served
    };
}

/// Serves a function of this range.
pub(super) const fn serve(function: u32) -> Outcome {
    let Some(hypercall) = Hypercall::numbered(function as u16) else {
        return Outcome::NOT_SUPPORTED;
    };
    if function >> 30 & 1 != 0 && !hypercall.has_wide_form() {
        return Outcome::NOT_SUPPORTED;
    }
    match hypercall {
        Hypercall::Features => Outcome::Return(Hypercall::SERVED),
        Hypercall::Yield => Outcome::Yield,
        Hypercall::Uid => Outcome::Return4(UID),
        Hypercall::Revision => Outcome::Return4([REVISION.0, REVISION.1, 0, 0]),
    }
}
