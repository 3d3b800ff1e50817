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
    /// For registers: what to add to a guest address for the board's.
    moved: Option<u64>,
    /// Where the table says so.
    pub span: Span,
}

/// Lists everything that a guest sees, sorted by address.
pub fn seen(plan: &Plan) -> Vec<Seen> {
    let layout = &plan.layout;
    let redistributors = GICR_BYTES * plan.vcpus.len().max(1) as u64;
    let mut seen = Vec::new();
    let mut add = |what: String, start, bytes, span: &Span, moved| {
        if let Some(range) = Range::new(start, bytes) {
            seen.push(Seen {
                what,
                range: range.align_out(PAGE_BYTES),
                moved,
                span: span.clone(),
            });
        }
    };
    add(
        "the GIC distributor".into(),
        layout.gicd,
        GICD_BYTES,
        &plan.span,
        None,
    );
    add(
        "the GIC redistributors".into(),
        layout.gicr,
        redistributors,
        &plan.span,
        None,
    );
    if let Some(console) = &plan.console {
        add(
            "the console's UART".into(),
            console.gpa,
            UART_BYTES,
            &console.span,
            None,
        );
    }
    for region in &plan.regions {
        let (start, bytes) = (region.guest.start(), region.guest.size());
        add("memory".into(), start, bytes, &region.span, None);
    }
    for device in &plan.devices {
        for window in &device.windows {
            let moved = Some(window.host.start().wrapping_sub(window.gpa));
            let what = format!("`{}`", device.label());
            add(what, window.gpa, window.host.size(), &device.span, moved);
        }
    }
    seen.sort_by_key(|s| (s.range.start(), s.range.last()));
    seen
}

/// Refuses things that lie on each other in a guest's address space, and a console outside it. Registers of devices
/// may share a page of the guest where they share one of the board.
pub fn check_guest(plan: &Plan, out: &mut Diagnostics) {
    let seen = seen(plan);
    for (index, one) in seen.iter().enumerate() {
        for other in &seen[..index] {
            let same_page = one.moved.is_some() && one.moved == other.moved;
            if same_page || !one.range.overlaps(other.range) {
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
