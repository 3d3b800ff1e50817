//! The firmware interface for random numbers, version 1.0.
//!
//! # Source
//! Arm DEN 0098 (True Random Number Generator Firmware Interface).

use super::result::{INVALID_PARAMETERS, NO_ENTROPY, NOT_SUPPORTED, SUCCESS};
use super::{Caller, Outcome};

/// What TRNG_VERSION says: 1.0.
const VERSION: u64 = 0x0001_0000;
/// TRNG_GET_UUID: ad44612b-f129-4301-9b5c-34e84410c117, four bytes to a register.
const UUID: [u64; 4] = [0x2b61_44ad, 0x0143_29f1, 0xe834_5c9b, 0x17c1_1044];

/// Function identifiers.
#[expect(missing_docs, reason = "the names are TRNG's")]
pub mod function {
    pub const TRNG_VERSION: u32 = 0x8400_0050;
    pub const TRNG_FEATURES: u32 = 0x8400_0051;
    pub const TRNG_GET_UUID: u32 = 0x8400_0052;
    pub const TRNG_RND_32: u32 = 0x8400_0053;
    pub const TRNG_RND_64: u32 = 0xc400_0053;
}
use function::*;

/// Serves a function of this range.
// Not inlined: short calls go by without its frame.
#[inline(never)]
pub(super) fn serve<C: Caller>(function: u32, arguments: [u64; 3], caller: &mut C) -> Outcome {
    let [first, ..] = arguments;
    match function {
        TRNG_VERSION => Outcome::Return(VERSION),
        TRNG_FEATURES => Outcome::Return(match first as u32 {
            TRNG_VERSION | TRNG_FEATURES | TRNG_GET_UUID | TRNG_RND_32 | TRNG_RND_64 => SUCCESS,
            _ => NOT_SUPPORTED,
        }),
        TRNG_GET_UUID => Outcome::Return4(UUID),
        TRNG_RND_32 => random(first, 32, caller),
        TRNG_RND_64 => random(first, 64, caller),
        _ => Outcome::NOT_SUPPORTED,
    }
}

/// TRNG_RND: up to three registers of `width` bits, filled from x3 upwards, the bits that were not asked for zero.
fn random<C: Caller>(bits: u64, width: u64, caller: &mut C) -> Outcome {
    if bits == 0 || bits > 3 * width {
        return Outcome::Return(INVALID_PARAMETERS);
    }
    let mut left = bits;
    let mut words = [0; 3];
    for word in &mut words {
        let taken = left.min(width);
        left -= taken;
        if taken == 0 {
            break;
        }
        let Some(fresh) = fresh(caller) else {
            return Outcome::Return4([NO_ENTROPY, 0, 0, 0]);
        };
        *word = fresh.unbounded_shr(64u32.saturating_sub(taken as u32));
    }
    let [low, middle, high] = words;
    Outcome::Return4([SUCCESS, high, middle, low])
}

/// Returns 64 random bits.
// Not inlined, or the generator would stand here for each register.
#[inline(never)]
fn fresh<C: Caller>(caller: &mut C) -> Option<u64> {
    caller.random()
}
