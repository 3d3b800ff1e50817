//! Partitions that manage others: whom, and where they see the registers of those.

use bulkhead::addr::{PAGE_BYTES, Range};

use crate::channel::free;
use crate::check::space::{Seen, seen};
use crate::diagnostic::Diagnostics;
use crate::plan::Plan;
use crate::rule::Rule;
use crate::table::Partition;

/// Where the registers are looked for: on QEMU's `virt` machine nothing lies there.
const REGISTERS: u64 = 0x0b90_0000;

/// Gives the plans whom they manage, and a place for the registers. Names that there are not have been refused.
pub fn resolve(partitions: &[Partition], plans: &mut [Plan], out: &mut Diagnostics) {
    for (index, partition) in partitions.iter().enumerate().take(plans.len()) {
        let names = plans.iter().map(|plan| plan.name.as_str()).enumerate();
        let managed = names.filter(|(_, name)| partition.manages.iter().any(|m| m.value == *name));
        let managed: Vec<(usize, String)> =
            managed.map(|(at, name)| (at, name.to_owned())).collect();
        if let Some(plan) = plans.get_mut(index) {
            plan.manages = managed.iter().fold(0, |mask, (at, _)| mask | 1 << at);
            plan.managed = managed.into_iter().map(|(_, name)| name).collect();
            place(plan, out);
        }
    }
}

/// Finds a place for the registers.
fn place(plan: &mut Plan, out: &mut Diagnostics) {
    if plan.manages == 0 {
        return;
    }
    let taken: Vec<Range> = seen(plan).iter().map(Seen::range).collect();
    match free(&taken, REGISTERS, plan.manager_bytes(), PAGE_BYTES) {
        Some(range) => plan.manager = range.start(),
        None => {
            let title = format!("`{}` has no room for a manager's registers", plan.name);
            out.refuse(
                Rule::OutsideGuestSpace,
                title,
                &plan.span,
                "no free addresses",
            );
        }
    }
}
