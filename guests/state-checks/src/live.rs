//! What instructions name: x1 to x30, V0 to V31, flags, FPCR, FPSR.

use crate::{ROUNDS, end_alarm, set_alarm};
use core::arch::global_asm;
use guest_runtime::expect;
use guest_runtime::random::random;
use guest_runtime::suite::Outcome;

global_asm!(include_str!("round.S"));

/// The values, in the order that `round.S` knows.
#[repr(C, align(16))]
struct Live {
    v: [u128; 32],
    fpcr: u64,
    fpsr: u64,
    nzcv: u64,
    x: [u64; 30],
}

unsafe extern "C" {
    fn state_round(from: *const Live, to: *mut Live, spins: u64);
}

/// Rounding mode, flush to zero, default NaN, alternative half precision.
const FPCR_BITS: u64 = 0x1f << 22;
/// Cumulative exception bits and saturation.
const FPSR_BITS: u64 = 0x0800_009f;

impl Live {
    fn draw() -> Self {
        Self {
            v: core::array::from_fn(|_| u128::from(random()) << 64 | u128::from(random())),
            fpcr: random() & FPCR_BITS,
            fpsr: random() & FPSR_BITS,
            nzcv: random() & 0xf << 28,
            x: core::array::from_fn(|_| random()),
        }
    }

    fn zero() -> Self {
        Self {
            v: [0; 32],
            fpcr: 0,
            fpsr: 0,
            nzcv: 0,
            x: [0; 30],
        }
    }
}

/// Fills everything, waits (with WFI when `spins` is 0), and compares, many times over.
pub fn survive(spins: u64) -> Outcome {
    for round in 0..ROUNDS {
        let before = Live::draw();
        let mut after = Live::zero();
        if spins == 0 {
            set_alarm();
        }
        // SAFETY: both are of the layout that the assembly knows, which keeps the procedure call standard.
        unsafe { state_round(&before, &mut after, spins) };
        if spins == 0 {
            end_alarm();
        }
        compare(round, &before, &after)?;
    }
    Ok(())
}

fn compare(round: u64, before: &Live, after: &Live) -> Outcome {
    for (number, (wanted, found)) in before.v.iter().zip(&after.v).enumerate() {
        expect!(
            found == wanted,
            "round {round}: V{number} is {found:#x}, was {wanted:#x}"
        );
    }
    for (number, (wanted, found)) in before.x.iter().zip(&after.x).enumerate() {
        expect!(
            found == wanted,
            "round {round}: X{} is {found:#x}, was {wanted:#x}",
            number + 1
        );
    }
    for (name, wanted, found) in [
        ("FPCR", before.fpcr, after.fpcr),
        ("FPSR", before.fpsr, after.fpsr),
        ("NZCV", before.nzcv, after.nzcv),
    ] {
        expect!(
            found == wanted,
            "round {round}: {name} is {found:#x}, was {wanted:#x}"
        );
    }
    Ok(())
}
