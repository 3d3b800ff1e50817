//! One serial line for everybody: what partitions and EL2 say goes out line by line, what a person types goes to the
//! partition that has the keyboard.
//!
//! Pure: [`multiplexer`] says which byte goes out next, [`sender`] how many in one turn, [`keyboard`] what a byte that came in means, [`number`] spells
//! numbers for EL2's own lines, [`log`] keeps them in memory,
//! [`steps`] are the letters of start-up. The server of the physical UART calls them; the text form on the wire is described at
//! [`multiplexer`].
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod keyboard;
pub mod log;
pub mod multiplexer;
pub mod number;
pub mod sender;
pub mod steps;

/// Name of EL2 as a speaker on the line.
pub const OWN_NAME: &[u8] = b"bulkhead";
