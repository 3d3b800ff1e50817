//! Who shares a CPU with whom.

use std::collections::{BTreeMap, BTreeSet};

use super::windows;
use crate::board::HostBoard;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::{Pcpu, Plan, Vcpu};
use crate::reader::Span;
use crate::resolve::unknown_pcpu;
use crate::rule::Rule;
use crate::table::Table;

/// CPU interfaces that a GICv2 has at most.
const MAX_V2_CPUS: usize = 8;

/// Checks `[[pcpu]]`, `console_pcpu` and who shares a CPU; returns the CPUs that are described.
pub fn check(
    table: &Table,
    plans: &[Plan],
    board: &HostBoard<'_>,
    emulated: bool,
    out: &mut Diagnostics,
) -> Vec<Pcpu> {
    let mut described: BTreeMap<u32, Span> = BTreeMap::new();
    let mut resolved = Vec::new();
    for pcpu in &table.pcpus {
        let Some(position) = board.position(pcpu.id.value) else {
            out.push(unknown_pcpu(&pcpu.id, board, emulated));
            continue;
        };
        let span = &pcpu.id.span;
        if let Some(other) = described.insert(position, span.clone()) {
            let title = format!("pCPU {position} is described twice");
            let found = Diagnostic::new(Rule::DuplicatePcpu, title, span.clone(), "again");
            out.push(
                found
                    .and(other, "described here")
                    .help("make one `[[pcpu]]` of the two"),
            );
            continue;
        }
        if let Some(exclusive) = &pcpu.exclusive {
            check_exclusive(position, exclusive, plans, out);
        }
        resolved.push(windows::resolve(pcpu, position, plans, out));
    }
    if let Some(name) = &table.system.console_pcpu
        && board.position(name.value).is_none()
    {
        out.push(unknown_pcpu(name, board, emulated));
    }
    check_interfaces(plans, board, out);
    for plan in plans {
        check_siblings(plan, out);
    }
    warn_of_urgent_neighbours(plans, &resolved, out);
    resolved
}

/// Refuses more CPUs than a GICv2 can send interrupts to.
fn check_interfaces(plans: &[Plan], board: &HostBoard<'_>, out: &mut Diagnostics) {
    if board.board.gic.version.number() != 2 {
        return;
    }
    let mut used = BTreeSet::new();
    for plan in plans {
        for (index, vcpu) in plan.vcpus.iter().enumerate() {
            used.insert(vcpu.pcpu);
            if used.len() > MAX_V2_CPUS {
                let title = format!("the board's GICv2 serves at most {MAX_V2_CPUS} pCPUs");
                let text = format!(
                    "vCPU {index} of `{}` needs one more, pCPU {}",
                    plan.name, vcpu.pcpu
                );
                let found = Diagnostic::new(Rule::TooManyPcpus, title, vcpu.span.clone(), text);
                out.push(found.help("put it on one of the pCPUs that others use"));
                return;
            }
        }
    }
}

/// Refuses two partitions on a CPU kept for one.
fn check_exclusive(position: u32, exclusive: &Span, plans: &[Plan], out: &mut Diagnostics) {
    let users = plans.iter().filter_map(|plan| {
        let vcpu = plan.vcpus.iter().find(|vcpu| vcpu.pcpu == position)?;
        Some((plan, vcpu))
    });
    let users: Vec<_> = users.collect();
    if let [(first, one), others @ ..] = users.as_slice() {
        for (plan, vcpu) in others {
            let title = format!(
                "pCPU {position} is exclusive, but `{}` and `{}` both use it",
                first.name, plan.name
            );
            let text = format!("`{}` is here too", plan.name);
            let found = Diagnostic::new(Rule::ExclusivePcpu, title, vcpu.span.clone(), text);
            out.push(
                found
                    .and(one.span.clone(), format!("`{}` is here", first.name))
                    .and(exclusive.clone(), "said here")
                    .help("move one of them to another pCPU, or take `exclusive` out"),
            );
        }
    }
}

/// Refuses vCPUs of one partition that share a CPU and do not take turns: a guest that spins for its sibling would
/// spin for ever.
fn check_siblings(plan: &Plan, out: &mut Diagnostics) {
    for (index, vcpu) in plan.vcpus.iter().enumerate() {
        let sibling = |other: &&Vcpu| other.pcpu == vcpu.pcpu && *other != vcpu;
        let Some(other) = plan.vcpus.iter().find(sibling) else {
            continue;
        };
        if vcpu.time_slice_ns != 0 {
            continue;
        }
        let title = format!(
            "vCPU {index} of `{}` shares pCPU {} with a sibling and needs `time_slice`",
            plan.name, vcpu.pcpu
        );
        let text = "no `time_slice`";
        let found = Diagnostic::new(Rule::SiblingsNeedTimeSlice, title, vcpu.span.clone(), text);
        out.push(
            found
                .and(other.span.clone(), "its sibling")
                .help("add `time_slice = \"1ms\"` to both, or give each a pCPU of its own"),
        );
    }
}

/// Warns when a vCPU of a guest with several can be held up for ever, so that its siblings spin for it.
fn warn_of_urgent_neighbours(plans: &[Plan], pcpus: &[Pcpu], out: &mut Diagnostics) {
    let several = plans.iter().enumerate();
    for (position, plan) in several.filter(|(_, plan)| plan.vcpus.len() > 1) {
        for (index, vcpu) in plan.vcpus.iter().enumerate() {
            for (neighbour, other) in more_urgent(position, vcpu, plans, pcpus) {
                let title = format!(
                    "vCPU {index} of `{}` shares pCPU {} with `{neighbour}`, which is more urgent \
                     and has no budget",
                    plan.name, vcpu.pcpu
                );
                let text = format!("priority {}", vcpu.priority);
                let found = Diagnostic::new(Rule::UrgentNeighbour, title, vcpu.span.clone(), text);
                let text = format!("priority {}", other.priority);
                out.push(found.and(other.span.clone(), text).help(format!(
                    "while `{neighbour}` runs, the other vCPUs of `{}` may spin for this one",
                    plan.name
                )));
            }
        }
    }
}

/// Returns the vCPUs of other partitions on the same CPU that are more urgent than `vcpu` of the partition at a position,
/// may run when it may, and are held back by no budget.
fn more_urgent<'a>(
    position: usize,
    vcpu: &'a Vcpu,
    plans: &'a [Plan],
    pcpus: &'a [Pcpu],
) -> impl Iterator<Item = (&'a str, &'a Vcpu)> {
    let pcpu = pcpus.iter().find(|pcpu| pcpu.position == vcpu.pcpu);
    let meets = move |other: usize| pcpu.is_none_or(|pcpu| pcpu.may_meet(position, other));
    let others = plans.iter().enumerate();
    let others = others.filter(move |(other, _)| *other != position && meets(*other));
    let vcpus = others.flat_map(|(_, other)| other.vcpus.iter().map(|v| (other.name.as_str(), v)));
    vcpus
        .filter(move |(_, v)| v.pcpu == vcpu.pcpu && v.priority > vcpu.priority && v.budget_ns == 0)
}
