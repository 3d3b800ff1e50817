//! Tests of the virtual GIC as a whole: the rules that hypervisors most often break, every register offset, and random
//! events against a plain reference.

mod interface;
mod levels_and_masks;
mod model;
mod races;
mod reference;
mod rules;
mod senders;
mod sleepers;
mod sweep;
mod turns;
mod words;
mod world;
