//! What a system is made of: the payload's records, and where everything goes in memory.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod payload;
pub mod placement;
pub mod record;
pub mod verify;
