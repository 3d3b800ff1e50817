//! Tests of the virtual GIC as a whole: the rules that hypervisors most often break, every register offset, and random
//! events against a plain reference.

use super::model::{interface, run as model, world};

mod bells;
mod levels_and_masks;
mod races;
mod random;
mod rules;
mod sleepers;
mod sweep;
mod words;
