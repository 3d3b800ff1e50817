//! Memory that nobody else may write: a pattern, checked piece by piece and written anew.

use core::sync::atomic::{AtomicU64, Ordering};

/// Words that are guarded: 256 KiB.
const WORDS: usize = 32 * 1024;
/// Words of a piece: a page.
const PIECE: usize = 512;

#[repr(align(4096))]
struct Guarded([AtomicU64; WORDS]);

static GUARDED: Guarded = Guarded([const { AtomicU64::new(0) }; WORDS]);
/// Pieces checked so far, which says what each piece holds.
static CHECKED: AtomicU64 = AtomicU64::new(0);
static CHANGED: AtomicU64 = AtomicU64::new(0);

/// Returns what a word holds in a round of the pieces.
fn value(word: usize, round: u64) -> u64 {
    (word as u64 + 1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(round as u32 & 63)
}

/// Writes all of it for round 0.
pub fn fill() {
    for (word, place) in GUARDED.0.iter().enumerate() {
        place.store(value(word, 0), Ordering::Relaxed);
    }
}

/// Compares a piece with what it holds in a round, and writes it for the next one.
fn check(piece: usize, round: u64) {
    let first = piece * PIECE;
    for (offset, place) in GUARDED.0[first..first + PIECE].iter().enumerate() {
        let word = first + offset;
        if place.load(Ordering::Relaxed) != value(word, round) {
            CHANGED.fetch_add(1, Ordering::Relaxed);
        }
        place.store(value(word, round + 1), Ordering::Relaxed);
    }
}

/// Checks the next piece.
pub fn check_piece() {
    const PIECES: u64 = (WORDS / PIECE) as u64;
    let checked = CHECKED.fetch_add(1, Ordering::Relaxed);
    check((checked % PIECES) as usize, checked / PIECES);
}

/// Checks every piece once.
pub fn check_all() {
    for _ in 0..WORDS / PIECE {
        check_piece();
    }
}

/// Returns how many words were not as they had been written.
pub fn changed() -> u64 {
    CHANGED.load(Ordering::Relaxed)
}
