//! Tests of the virtual GIC as a whole: the rules that hypervisors most often break, every register offset, and random
//! events against a plain reference.

use super::model::{interface, machine as machines, map, run as model, world};

mod bells;
mod direct;
mod gicv2;
mod levels_and_masks;
mod machine;
mod moves;
mod races;
mod random;
mod registers;
mod rules;
mod sent;
mod sleepers;
mod sweep;
mod turns;
mod words;
