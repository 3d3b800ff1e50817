//! What lies where: in a guest's address space, and on the board.

use bulkhead::addr::{PAGE_BYTES, Range};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::{Plan, UART_BYTES};
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
    let all = emulated(plan).chain(given(plan)).chain(shared(plan));
    let mut seen: Vec<Seen> = all.flatten().collect();
    seen.sort_by_key(|s| (s.range.start(), s.range.last()));
    seen
}

impl Seen {
    /// Returns where it is.
    pub fn range(&self) -> Range {
        self.range
    }

    /// Describes something without registers of the board behind it; `None` when there is no such range.
    fn new(what: impl Into<String>, start: u64, bytes: u64, span: &Span) -> Option<Self> {
        Some(Self {
            what: what.into(),
            range: Range::new(start, bytes)?.align_out(PAGE_BYTES),
            moved: None,
            span: span.clone(),
        })
    }
}

/// Lists what EL2 emulates for a guest.
fn emulated(plan: &Plan) -> impl Iterator<Item = Option<Seen>> {
    let (layout, span) = (&plan.layout, &plan.span);
    let gicr = match layout.gicv2 {
        false => "the GIC redistributors",
        true => "the GIC CPU interface",
    };
    let gicr_bytes = layout.gicr_bytes(plan.vcpus.len().max(1));
    let console = plan.console.as_ref();
    [
        Seen::new(
            "the GIC distributor",
            layout.gicd,
            layout.gicd_bytes(),
            span,
        ),
        Seen::new(gicr, layout.gicr, gicr_bytes, span),
        console.and_then(|c| Seen::new("the console's UART", c.gpa, UART_BYTES, &c.span)),
    ]
    .into_iter()
    .chain((plan.manager != 0).then(|| {
        let bytes = plan.manager_bytes();
        Seen::new("a manager's registers", plan.manager, bytes, span)
    }))
}

/// Lists what of the board a guest is given.
fn given(plan: &Plan) -> impl Iterator<Item = Option<Seen>> {
    let regions = plan.regions.iter().map(|region| {
        let guest = region.guest;
        Seen::new("memory", guest.start(), guest.size(), &region.span)
    });
    let windows = plan.devices.iter().flat_map(|device| {
        device.windows.iter().map(|window| {
            let what = format!("`{}`", device.label());
            let seen = Seen::new(what, window.gpa, window.host.size(), &device.span)?;
            let moved = Some(window.host.start().wrapping_sub(window.gpa));
            Some(Seen { moved, ..seen })
        })
    });
    regions.chain(windows)
}

/// Lists what a guest sees of its channels.
fn shared(plan: &Plan) -> impl Iterator<Item = Option<Seen>> {
    plan.channels.iter().flat_map(|side| {
        let (name, span) = (&side.name, &side.span);
        [
            Seen::new(format!("channel `{name}`"), side.gpa, side.size, span),
            Seen::new(
                format!("the doorbell of channel `{name}`"),
                side.registers,
                PAGE_BYTES,
                span,
            ),
        ]
    })
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
        out.refuse(Rule::OutsideGuestSpace, title, span, text);
    } else if !gpa.is_multiple_of(PAGE_BYTES) {
        let title = "`gpa` of a console is a multiple of 4 KiB";
        let text = format!("{gpa:#x} is not");
        out.refuse(Rule::MemoryMisaligned, title, span, text);
    }
}
