//! The trace: what a pCPU did, as fixed-size records in a ring of memory that others read.
//!
//! Each pCPU writes its own ring ([`Writer`]) and never waits: a full ring loses its oldest records, and their number is
//! known. Who reads ([`Ring`]) takes a copy of the memory, by a debugger or an emulator's monitor, while the pCPU writes on.
//!
//! # Layout
//!
//! Everything is 64-bit words in the byte order of the CPU (little-endian). The rings of a system lie one behind the
//! other, the same number of bytes each. A ring is [`HEAD_WORDS`] words of head, then the records, [`RECORD_BYTES`] each,
//! a power of two of them; record number `n` lies in place `n` modulo their number.
//!
//! | word of the head | is |
//! | --- | --- |
//! | 0 | [`MAGIC`]; 0 as long as the ring is not ready |
//! | 1 | frequency of the counter, in Hz |
//! | 2 | number of records written so far |
//! | 3 | bits 31:0 the pCPU, bits 63:32 the number of records that the ring holds |
//! | 4 to 19 | who lives in which slot, four to a word, 16 bits each: partition, vCPU; `0xffff` for nobody |
//!
//! | of a record | is |
//! | --- | --- |
//! | word 0 | the counter, `CNTPCT_EL0` |
//! | bits 7:0 of word 1 | the kind, see [`What`] |
//! | bits 15:8 | the slot of the vCPU, `0xff` for none |
//! | bits 31:16, 63:32 | what the kind says |
//!
//! # Cost
//!
//! Tracing is off unless the table asks for it, and the paths of a trap then hold nothing of it: a pCPU that traces takes
//! its traps by other vectors.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod record;
mod ring;
mod writer;

pub use record::{BudgetEvent, Record, UNKNOWN, What, call};
pub use ring::{Read, Resident, Ring, RingError};
pub use writer::{Writer, bits};

/// First word of every ring.
pub const MAGIC: u64 = u64::from_le_bytes(*b"BULKTRC1");
/// Words before a ring's records.
pub const HEAD_WORDS: usize = 32;
/// Bytes of a record.
pub const RECORD_BYTES: u64 = 16;
/// Fewest bytes of records that a ring may have.
pub const MIN_BYTES: u64 = 4 << 10;
/// Most bytes of records that all rings of a system may have together.
pub const MAX_TOTAL_BYTES: u64 = 2 << 20;

/// Word of the head: the counter's frequency.
const FREQUENCY: usize = 1;
/// Word of the head: records written so far.
const WRITTEN: usize = 2;
/// Word of the head: pCPU and number of records.
const SHAPE: usize = 3;
/// First word of the head about slots.
const RESIDENTS: usize = 4;
/// In the head: nobody lives in the slot.
const NOBODY: u16 = 0xffff;

/// Says whether a ring may have this many bytes of records.
pub const fn is_valid_size(bytes: u64) -> bool {
    bytes.is_power_of_two() && bytes >= MIN_BYTES && bytes <= MAX_TOTAL_BYTES
}

/// Returns the bytes of a ring with this many bytes of records; 0 when there is none.
pub const fn ring_bytes(bytes: u64) -> u64 {
    match bytes {
        0 => 0,
        bytes => bytes + HEAD_WORDS as u64 * 8,
    }
}

#[cfg(all(test, loom))]
mod orders;
#[cfg(test)]
mod tests;
