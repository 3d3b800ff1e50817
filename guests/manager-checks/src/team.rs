//! Who is who, and waiting for them.

use guest_runtime::manage::{self, Info};
use guest_runtime::timer;

/// Longest wait for anybody, in nanoseconds.
const PATIENCE_NS: u64 = 10_000_000_000;
/// Most partitions that there can be.
const MOST: u64 = 64;

/// Finds a partition that this one manages by name.
pub fn number(name: &str) -> Option<u64> {
    (0..MOST).find(|id| manage::info(*id).is_ok_and(|info| is(&info, name)))
}

/// Says whether a partition has a name.
pub fn is(info: &Info, name: &str) -> bool {
    let (own, rest) = info.name.split_at(name.len());
    own == name.as_bytes() && rest.iter().all(|byte| *byte == 0)
}

/// Waits until a condition holds for a partition; returns how it is then, or at last.
pub fn wait(id: u64, holds: impl Fn(&Info) -> bool) -> (bool, Info) {
    let end = timer::now() + timer::ns_to_ticks(PATIENCE_NS);
    loop {
        let info = manage::info(id).unwrap_or_default();
        if holds(&info) || timer::now() > end {
            return (holds(&info), info);
        }
        timer::spin(100_000);
    }
}

/// Reads a word of a partition's crash record by a call.
pub fn crash_word(id: u64, word: u64) -> u64 {
    manage::call(manage::CRASH, [id, word])[2]
}

/// Says whether a partition's crash record has a text somewhere between two words.
pub fn crash_has(id: u64, from: u64, to: u64, text: &str) -> bool {
    let mut bytes = [0; 1024];
    for (at, to) in (from..to).zip(bytes.chunks_mut(8)) {
        to.copy_from_slice(&crash_word(id, at).to_le_bytes());
    }
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// Reads up to 112 bytes of a partition's log from a position on; returns the bytes, how many there are, and the position
/// of the first one.
pub fn log(id: u64, position: u64) -> ([u8; 112], usize, u64) {
    let [_, _, first, count, rest @ ..] = manage::call(manage::LOG, [id, position]);
    let mut bytes = [0; 112];
    for (to, word) in bytes.chunks_mut(8).zip(rest) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    (bytes, count as usize, first)
}
