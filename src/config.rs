//! What a system is made of: the payload's records and where everything goes in memory.

pub mod record;
