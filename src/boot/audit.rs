//! A look at EL2's own tables as they came out, before any guest runs.

use super::inputs::Inputs;
use super::plan::Plan;
use super::refuse;
use crate::arch::aarch64::mmu::{self, Tables};
use bulkhead::addr::Range;
use bulkhead::config::placement::{self, Owner};
use bulkhead::message::Show;
use bulkhead::stage1::{Run, Unsound};

/// Walks them, and returns how many bytes they map; refuses to start where a rule of [`bulkhead::stage1`] is broken.
#[inline(never)]
pub fn own_map(tables: &Tables, inputs: &Inputs, plan: &Plan) -> u64 {
    let text = mmu::text();
    let (mut first, mut last) = (u64::MAX, 0);
    each_guest(inputs, plan, &mut |memory, _| {
        first = first.min(memory.start());
        last = last.max(memory.last());
    });
    tables.walk(&mut |run| match run.unsound(text) {
        Some(Unsound::WritableText) => wrong(run, &"can be written and executed"),
        Some(Unsound::StrayText) => wrong(run, &"can be executed, and is no text"),
        // Most of what EL2 has lies before all that guests have, or behind it.
        None if run.pa.0 > last || run.pa.0 + run.bytes <= first => {}
        None => no_guests(run, inputs, plan),
    })
}

/// Checks that a run has nothing of what guests get.
fn no_guests(run: &Run, inputs: &Inputs, plan: &Plan) {
    let Some(mapped) = Range::new(run.pa.0, run.bytes) else {
        wrong(run, &"ends behind the last address")
    };
    each_guest(inputs, plan, &mut |memory, owner| {
        if mapped.overlaps(memory) {
            wrong(run, owner);
        }
    });
}

/// Shows all memory that guests get, their channels' included.
fn each_guest(inputs: &Inputs, plan: &Plan, each: &mut dyn FnMut(Range, &Owner<'_>)) {
    let mut places = plan.regions();
    placement::each_demand(&inputs.payload, plan.pool_bytes, &mut |demand| {
        if matches!(demand.owner, Owner::Pool) {
            return;
        }
        let place = places.next().map_or(0, |place| place.0);
        if let Some(memory) = Range::new(place, demand.size) {
            each(memory, &demand.owner);
        }
    });
}

/// Refuses to start.
fn wrong(run: &Run, what: &dyn Show) -> ! {
    refuse("bulkhead's own map at {x} is wrong: {}", &[&run.va.0, what])
}
