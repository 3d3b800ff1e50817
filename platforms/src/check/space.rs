//! What lies where: in a guest's address space, and on the board.

use bulkhead::addr::{PAGE_BYTES, Range};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::{GICD_BYTES, GICR_BYTES, Plan, UART_BYTES};
use crate::reader::Span;
use crate::resolve::GUEST_SPACE;
use crate::rule::Rule;

/// Something that a guest sees.
pub struct Seen {
    /// What it is.
    pub what: String,
    /// Where it is, in whole pages.
    pub range: Range,
    /// Where the table says so.
    pub span: Span,
}

/// Lists everything that a guest sees, sorted by address.
pub fn seen(plan: &Plan) -> Vec<Seen> {
    let layout = &plan.layout;
    let redistributors = GICR_BYTES * plan.vcpus.len().max(1) as u64;
    let mut all: Vec<(String, Option<Range>, Span)> = vec![
        (
            "the GIC distributor".into(),
            Range::new(layout.gicd, GICD_BYTES),
            plan.span.clone(),
        ),
        (
            "the GIC redistributors".into(),
            Range::new(layout.gicr, redistributors),
            plan.span.clone(),
        ),
    ];
    if let Some(console) = &plan.console {
        let range = Range::new(console.gpa, UART_BYTES);
        all.push(("the console's UART".into(), range, console.span.clone()));
    }
    for region in &plan.regions {
        all.push(("memory".into(), Some(region.guest), region.span.clone()));
    }
    for device in &plan.devices {
        for window in &device.windows {
            let range = Range::new(window.gpa, window.host.size());
            all.push((format!("`{}`", device.label()), range, device.span.clone()));
        }
    }
    let ranged = all.into_iter().filter_map(|(what, range, span)| {
        let range = range?.align_out(PAGE_BYTES);
        Some(Seen { what, range, span })
    });
    let mut seen: Vec<Seen> = ranged.collect();
    seen.sort_by_key(|s| (s.range.start(), s.range.last()));
    seen
}

/// Refuses things that lie on each other in a guest's address space, and a console outside it. Registers of devices
/// may share a page: they keep their place in it.
pub fn check_guest(plan: &Plan, out: &mut Diagnostics) {
    let seen = seen(plan);
    for (index, one) in seen.iter().enumerate() {
        for other in &seen[..index] {
            let devices = one.what.starts_with('`') && other.what.starts_with('`');
            if devices || !one.range.overlaps(other.range) {
                continue;
            }
            let title = format!(
                "in the address space of `{}`, {} and {} overlap",
                plan.name, other.what, one.what
            );
            let text = format!("{}: {}", one.what, one.range);
            let found = Diagnostic::new(Rule::GuestOverlap, title, one.span.clone(), text);
            let text = format!("{}: {}", other.what, other.range);
            let found = found.and(other.span.clone(), text);
            out.push(found.help("move one of them with `gpa`, or make it smaller"));
        }
    }
    if let Some(console) = &plan.console {
        check_console_place(console.gpa, &console.span, out);
    }
}

/// Refuses a UART that is misaligned or outside the guest's address space.
fn check_console_place(gpa: u64, span: &Span, out: &mut Diagnostics) {
    let inside = gpa
        .checked_add(UART_BYTES)
        .is_some_and(|end| end <= GUEST_SPACE);
    if !inside {
        let title = format!("a guest's address space ends at {GUEST_SPACE:#x}");
        let text = format!("the console's UART at {gpa:#x} does not fit");
        out.push(Diagnostic::new(
            Rule::OutsideGuestSpace,
            title,
            span.clone(),
            text,
        ));
    } else if !gpa.is_multiple_of(PAGE_BYTES) {
        let title = "`gpa` of a console is a multiple of 4 KiB";
        let text = format!("{gpa:#x} is not");
        out.push(Diagnostic::new(
            Rule::MemoryMisaligned,
            title,
            span.clone(),
            text,
        ));
    }
}
