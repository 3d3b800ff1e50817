//! What both ends of a channel agree on, in the memory that they share: a ring of messages each way ([`Link`]), or one way
//! to whoever listens ([`Writer`], [`Reader`]), and how either survives a restart of one end. Bare-metal guests and the
//! tool for Linux are built on it; `guests/include/bulkhead.h` says the same in C. The layout does not change.
//!
//! # Layout
//! The memory has two halves; half 0 is written by side 0 alone, half 1 by side 1. All fields are 64 bits, little-endian.
//!
//! | offset in the half | field | meaning |
//! | --- | --- | --- |
//! | 0x00 | SESSION | bits 63:32 generation of the half's owner, bits 31:0 that of the partner it talks to; 0: closed |
//! | 0x08 | WRITTEN | bytes that the owner has put into this half's ring, ever |
//! | 0x10 | READ | bytes that the owner has taken out of the other half's ring, ever |
//! | 0x18 | CLAIMED | one way: WRITTEN as it will be after the message under way |
//! | 0x40 | ring | the rest of the half; byte n of the ring's stream lies at n modulo its size |
//!
//! A message is a field with its length in bytes, then the bytes, filled up to a multiple of 8.
//!
//! # Sessions
//! A generation counts the starts of a partition, as EL2 tells. An end opens by closing SESSION, clearing its counts and
//! writing SESSION anew; the link is up when both halves name the same two generations. An end that restarts has another
//! generation, so its partner finds SESSION changed before it trusts a count, and opens again: nothing of a former life is
//! taken for a message. An end that finds its own SESSION as it wants it goes on where it was: another process of the same
//! Linux does.
//!
//! # Trust
//! Nothing that the partner writes makes this end read or write outside the memory, loop without bound or panic: counts
//! are read once, checked, and used as copies. What makes no sense is [`Error::Corrupt`], and the link stays closed until
//! the partner's next life.
#![cfg_attr(not(loom), no_std)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

#[cfg(any(test, loom))]
extern crate std;

mod atomic;
mod link;
mod oneway;
#[cfg(all(test, loom))]
mod orders;
mod ring;
#[cfg(test)]
mod tests;
pub mod tree;
mod window;

pub use link::{Link, State};
pub use oneway::{Reader, Writer};
pub use window::Window;

/// Shared memory, by offsets that are multiples of 8. What lies outside reads as zero and is not written.
pub trait Memory {
    /// Returns the number of bytes.
    fn size(&self) -> usize;
    /// Reads; what is read later was written no earlier than this.
    fn acquire(&self, offset: usize) -> u64;
    /// Writes; what was written before is seen before this.
    fn release(&self, offset: usize, value: u64);
    /// Reads.
    fn read(&self, offset: usize) -> u64;
    /// Writes.
    fn write(&self, offset: usize, value: u64);
}

/// Whether a partition runs, and in which of its lives: the registers PEER and OWN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// How often it was started.
    pub generation: u32,
    /// It runs.
    pub runs: bool,
}

impl Presence {
    /// Reads a register's value.
    pub const fn from_raw(raw: u64) -> Self {
        Self {
            generation: (raw >> 32) as u32,
            runs: raw & 1 != 0,
        }
    }
}

/// Why nothing was sent or received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The partner does not run, or has not opened its end yet: [`Link::meet`] says when it has.
    Down,
    /// The partner has not taken enough out of the ring.
    Full,
    /// The message is longer than the ring, or than the buffer.
    TooLong {
        /// Its length.
        length: usize,
    },
    /// The partner has written what makes no sense.
    Corrupt,
    /// One way: so much was written meanwhile that messages are lost; the next one is the next to be written.
    Lost,
}

/// Offsets of the fields in a half, and where its ring begins.
mod field {
    pub const SESSION: usize = 0x00;
    pub const WRITTEN: usize = 0x08;
    pub const READ: usize = 0x10;
    pub const CLAIMED: usize = 0x18;
    pub const RING: usize = 0x40;
}
