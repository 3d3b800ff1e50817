//! Time windows: who may run when on a CPU.

use bulkhead::ids::MAX_PARTITIONS;

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::nearest::suggestion;
use crate::plan::{Pcpu, Plan, TimeWindow};
use crate::reader::At;
use crate::rule::Rule;
use crate::table;
use crate::units::show_time;

/// Makes the plan of a described CPU, and checks its windows.
pub fn resolve(pcpu: &table::Pcpu, position: u32, plans: &[Plan], out: &mut Diagnostics) -> Pcpu {
    let windows = pcpu.windows.iter();
    let windows = windows.map(|window| TimeWindow {
        start_ns: window.start_ns,
        length_ns: window.length_ns,
        partitions: mask(window, position, plans, out),
        span: window.span.clone(),
    });
    let mut windows: Vec<_> = windows.collect();
    windows.sort_by_key(|window| window.start_ns);
    if let Some(frame) = &pcpu.major_frame_ns {
        check_ends(&windows, frame, out);
    }
    check_overlaps(&windows, out);
    if !windows.is_empty() {
        check_everybody(pcpu, position, plans, &windows, out);
    }
    Pcpu {
        position,
        mpidr: pcpu.id.value.mpidr(),
        allow_overload: pcpu.allow_overload,
        major_frame_ns: pcpu.major_frame_ns.as_ref().map_or(0, |frame| frame.value),
        windows,
        span: pcpu.span.clone(),
    }
}

/// Finds the partitions of a window.
fn mask(window: &table::Window, position: u32, plans: &[Plan], out: &mut Diagnostics) -> u64 {
    let mut mask = 0;
    for name in &window.partitions {
        let index = plans.iter().position(|plan| plan.name == name.value);
        let Some((index, plan)) = index.and_then(|index| Some((index, plans.get(index)?))) else {
            let title = format!(
                "a time window names a partition `{}` that there is not",
                name.value
            );
            let span = name.span.clone();
            let found = Diagnostic::new(Rule::WindowUnknownPartition, title, span, "unknown");
            let names = plans.iter().map(|plan| plan.name.as_str());
            out.push(found.help(suggestion(&name.value, names, "the table has no partition")));
            continue;
        };
        if !plan.vcpus.iter().any(|vcpu| vcpu.pcpu == position) {
            let title = format!(
                "a time window of pCPU {position} is open for `{}`, which has no vCPU there",
                plan.name
            );
            let span = name.span.clone();
            let found = Diagnostic::new(Rule::WindowWithoutVcpu, title, span, "never runs here");
            let vcpus = plan.vcpus.iter().map(|vcpu| (vcpu.span.clone(), vcpu.pcpu));
            let found = vcpus.fold(found, |found, (span, pcpu)| {
                found.and(span, format!("is on pCPU {pcpu}"))
            });
            out.push(found.help("take it out of the window, or move a vCPU here"));
        }
        debug_assert!(index < MAX_PARTITIONS, "plans are made for so many");
        mask |= 1 << index;
    }
    mask
}

/// Refuses windows that end after their frame.
fn check_ends(windows: &[TimeWindow], frame: &At<u64>, out: &mut Diagnostics) {
    for window in windows {
        let end = window.start_ns.saturating_add(window.length_ns);
        if end <= frame.value {
            continue;
        }
        let (end, most) = (show_time(end), show_time(frame.value));
        let title = format!("a time window ends at {end}, after its major frame of {most}");
        let span = window.span.clone();
        let found = Diagnostic::new(Rule::WindowBeyondFrame, title, span, "ends too late");
        let found = found.and(frame.span.clone(), "the frame");
        out.push(found.help("make the window shorter, or the frame longer"));
    }
}

/// Refuses windows that are open at once; they are given by start.
fn check_overlaps(windows: &[TimeWindow], out: &mut Diagnostics) {
    for pair in windows.windows(2) {
        let [one, other] = pair else { continue };
        let end = one.start_ns.saturating_add(one.length_ns);
        if end <= other.start_ns {
            continue;
        }
        let words = |window: &TimeWindow| {
            let end = window.start_ns.saturating_add(window.length_ns);
            format!("{} to {}", instant(window.start_ns), instant(end))
        };
        let title = "two time windows of a pCPU are open at once";
        let span = other.span.clone();
        let found = Diagnostic::new(Rule::WindowOverlap, title, span, words(other));
        let found = found.and(one.span.clone(), words(one));
        out.push(found.help("make one window of both and name the partitions of both in it"));
    }
}

/// Writes a point in a frame.
fn instant(ns: u64) -> String {
    match ns {
        0 => "0".to_owned(),
        ns => show_time(ns),
    }
}

/// Refuses vCPUs that could never run.
fn check_everybody(
    pcpu: &table::Pcpu,
    position: u32,
    plans: &[Plan],
    windows: &[TimeWindow],
    out: &mut Diagnostics,
) {
    let open = windows
        .iter()
        .fold(0, |all, window| all | window.partitions);
    for (index, plan) in plans.iter().enumerate() {
        let mut here = plan.vcpus.iter().enumerate();
        let Some((number, vcpu)) = here.find(|(_, vcpu)| vcpu.pcpu == position) else {
            continue;
        };
        if open & 1 << index != 0 {
            continue;
        }
        let name = &plan.name;
        let title = format!("`{name}` is in no time window of pCPU {position}: it would never run");
        let span = vcpu.span.clone();
        let text = format!("vCPU {number} is here");
        let found = Diagnostic::new(Rule::PartitionInNoWindow, title, span, text);
        let found = found.and(pcpu.id.span.clone(), "has time windows");
        out.push(found.help(format!("name `{name}` in a window, or move the vCPU")));
    }
}
