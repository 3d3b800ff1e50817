//! Who owns which device, which page of registers and which interrupt.

use bulkhead::addr::{PAGE_BYTES, Range};

use crate::board::HostBoard;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::dma::Dma;
use crate::plan::{Device, Plan, Window};
use crate::reader::Span;
use crate::rule::Rule;

/// A device and its partition.
type Owned<'a> = (&'a Plan, &'a Device);

/// Checks devices against each other, against the board and against EL2.
pub fn check(plans: &[Plan], board: &HostBoard<'_>, out: &mut Diagnostics) {
    let owned = plans
        .iter()
        .flat_map(|plan| plan.devices.iter().map(move |d| (plan, d)));
    let owned: Vec<Owned<'_>> = owned.collect();
    for (index, one) in owned.iter().enumerate() {
        check_dma(one.0, one.1, out);
        for other in &owned[..index] {
            if !check_owners(*one, *other, out) {
                check_pages(*one, *other, out);
                check_interrupts(*one, *other, out);
            }
        }
        check_console_interrupt(*one, board, out);
        warn_of_neighbours(one.1, &owned, board, out);
    }
}

/// Says whether a device may go to a guest; refuses what EL2 keeps for itself, and what lies in RAM.
pub fn may_pass(device: &Device, board: &HostBoard<'_>, out: &mut Diagnostics) -> bool {
    !is_kept(device, board, out) && !is_memory(device, board, out)
}

/// Refuses what EL2 keeps for itself; returns whether it is that.
fn is_kept(device: &Device, board: &HostBoard<'_>, out: &mut Diagnostics) -> bool {
    for (what, kept) in board.kept() {
        let overlaps = |w: &&Window| w.host.align_out(PAGE_BYTES).overlaps(kept);
        if let Some(window) = device.windows.iter().find(overlaps) {
            let label = device.label();
            let title = if window.host.overlaps(kept) {
                format!("`{label}` is {what}, which EL2 keeps for itself")
            } else {
                format!("`{label}` shares a page with {what}, which EL2 keeps for itself")
            };
            let text = format!("registers {}, {what} has {kept}", window.host);
            let found = Diagnostic::new(Rule::DeviceIsEl2s, title, device.span.clone(), text);
            out.push(found.help("take it out: every guest has a virtual one of its own"));
            return true;
        }
    }
    false
}

/// Refuses registers in RAM; returns whether they are there.
fn is_memory(device: &Device, board: &HostBoard<'_>, out: &mut Diagnostics) -> bool {
    for window in &device.windows {
        let page = window.host.align_out(PAGE_BYTES);
        if let Some(ram) = board.board.memory.iter().find(|ram| ram.overlaps(page)) {
            let title = format!("the registers of `{}` lie in memory", device.label());
            let text = format!("{} is in RAM {ram}", window.host);
            out.refuse(Rule::DeviceInMemory, title, &device.span, text);
            return true;
        }
    }
    false
}

/// Refuses transfers into other places than the guest means, and says what those reach that are not.
fn check_dma(plan: &Plan, device: &Device, out: &mut Diagnostics) {
    let Some(said) = &device.dma else {
        out_of_silence(plan, device, out);
        return;
    };
    if said.value == Dma::Identity {
        check_addresses(plan, device, &said.span, out);
    } else if device.signs.reaches.is_none() {
        return;
    }
    let label = device.label();
    let title = format!("nothing confines the DMA of `{label}`: no SMMU is in use");
    let text = match said.value {
        Dma::Identity => "it reaches all memory, EL2's included",
        Dma::None => "it reaches all memory if the guest lets it",
    };
    let found = Diagnostic::new(Rule::DmaUnprotected, title, said.span.clone(), text);
    out.push(found.help(format!("`{}` has to be trusted as EL2 is", plan.name)));
}

/// Refuses silence about a device that seems to reach memory by itself.
fn out_of_silence(plan: &Plan, device: &Device, out: &mut Diagnostics) {
    let Some(why) = &device.signs.reaches else {
        return;
    };
    let (label, name) = (device.label(), &plan.name);
    let title = format!(
        "`{label}` looks like a device that reaches memory by itself, and the table does not say how"
    );
    let found = Diagnostic::new(Rule::DmaNotSaid, title, device.span.clone(), why.clone());
    let found = found.help(format!(
        "write `{{ path = \"{label}\", dma = \"identity\" }}` and give `{name}` memory with `hpa = \"identity\"`: \
         it reaches the board's addresses, and no SMMU confines it"
    ));
    out.push(found.help(format!(
        "write `dma = \"none\"` if it reaches none, or if `{name}` is trusted not to let it"
    )));
}

/// Refuses transfers by addresses that mean something else to the guest.
fn check_addresses(plan: &Plan, device: &Device, said: &Span, out: &mut Diagnostics) {
    let label = device.label();
    if let Some(bus) = &device.signs.translated {
        let title =
            format!("`{label}` sees memory at other addresses than the CPUs do: not built yet");
        let text = format!("`{bus}` has `dma-ranges`");
        let found = Diagnostic::new(Rule::DmaTranslated, title, said.clone(), text);
        out.push(found.help("a guest that does not let it reach memory says `dma = \"none\"`"));
    }
    let moved = plan.regions.iter().find(|r| r.hpa != Some(r.guest.start()));
    if let Some(region) = moved {
        let title = format!(
            "`{label}` reaches memory by the board's addresses, which are not those of `{}`",
            plan.name
        );
        let found = Diagnostic::new(Rule::DmaNeedsIdentity, title, said.clone(), "said here");
        let text = "guest and host address may differ";
        let found = found.and(region.span.clone(), text);
        out.push(found.help("give the memory `hpa = \"identity\"`"));
    }
}

/// Refuses a device with two owners; returns whether it is one.
fn check_owners(one: Owned<'_>, other: Owned<'_>, out: &mut Diagnostics) -> bool {
    let same_node = !one.1.path.is_empty() && one.1.path == other.1.path;
    let pair = overlap(one.1, other.1, 1);
    if !same_node && pair.is_none() {
        return false;
    }
    let label = one.1.label();
    let title = if one.0.span == other.0.span {
        format!("`{label}` is given to `{}` twice", one.0.name)
    } else {
        format!(
            "`{label}` is given to both `{}` and `{}`",
            other.0.name, one.0.name
        )
    };
    let registers = |windows: Option<&Window>| match windows {
        Some(window) => format!(": registers {}", window.host),
        None => String::new(),
    };
    let (a, b) = pair.map_or((None, None), |(a, b)| (Some(a), Some(b)));
    let text = format!("`{}` has it{}", one.0.name, registers(a));
    let found = Diagnostic::new(Rule::DeviceTwoOwners, title, one.1.span.clone(), text);
    let text = format!("`{}` has it{}", other.0.name, registers(b));
    let found = found.and(other.1.span.clone(), text);
    out.push(found.help("take it out of one of the two lists"));
    true
}

/// Finds windows of two devices that share a unit of `bytes`.
fn overlap<'a>(one: &'a Device, other: &'a Device, bytes: u64) -> Option<(&'a Window, &'a Window)> {
    one.windows.iter().find_map(|a| {
        let page = a.host.align_out(bytes);
        let hit = other
            .windows
            .iter()
            .find(|b| page.overlaps(b.host.align_out(bytes)));
        hit.map(|b| (a, b))
    })
}

/// Refuses two owners of one page of registers.
fn check_pages(one: Owned<'_>, other: Owned<'_>, out: &mut Diagnostics) {
    if one.0.span == other.0.span {
        return;
    }
    let Some((a, b)) = overlap(one.1, other.1, PAGE_BYTES) else {
        return;
    };
    let title = format!(
        "`{}` of `{}` and `{}` of `{}` have registers in the same 4 KiB page",
        other.1.label(),
        other.0.name,
        one.1.label(),
        one.0.name
    );
    let text = format!("registers {}", a.host);
    let found = Diagnostic::new(Rule::DevicePageShared, title, one.1.span.clone(), text);
    let found = found.and(other.1.span.clone(), format!("registers {}", b.host));
    out.push(found.help("pages cannot be shared out: give both devices to one partition"));
}

/// Refuses two owners of one interrupt.
fn check_interrupts(one: Owned<'_>, other: Owned<'_>, out: &mut Diagnostics) {
    if one.0.span == other.0.span {
        return;
    }
    for interrupt in &one.1.interrupts {
        let intid = interrupt.intid;
        if !other.1.interrupts.iter().any(|i| i.intid == intid) {
            continue;
        }
        let title = format!(
            "INTID {intid} (SPI {}) belongs to both `{}` and `{}`",
            intid - 32,
            other.0.name,
            one.0.name
        );
        let text = format!("`{}` has INTID {intid}", one.1.label());
        let found = Diagnostic::new(Rule::InterruptTwoOwners, title, one.1.span.clone(), text);
        let text = format!("`{}` has INTID {intid}", other.1.label());
        let found = found.and(other.1.span.clone(), text);
        out.push(found.help("give both devices to one partition"));
    }
}

/// Refuses the physical UART's interrupt for a guest, and a virtual UART on an interrupt that the guest has.
fn check_console_interrupt(
    (plan, device): Owned<'_>,
    board: &HostBoard<'_>,
    out: &mut Diagnostics,
) {
    let uart = board.board.console.as_ref().and_then(|c| c.interrupt);
    for interrupt in &device.interrupts {
        let (intid, label) = (interrupt.intid, device.label());
        if uart.is_some_and(|uart| uart.intid == intid) {
            let spi = intid - 32;
            let title = format!("INTID {intid} (SPI {spi}) of `{label}` belongs to EL2");
            let text = "the console's UART has it";
            out.refuse(Rule::InterruptTwoOwners, title, &device.span, text);
        }
        if let Some(console) = plan.console.as_ref().filter(|c| c.intid == intid) {
            out.push(clash(plan, device, intid, &console.span));
        }
    }
}

/// Words a virtual UART on the interrupt of a device.
fn clash(plan: &Plan, device: &Device, intid: u32, console: &Span) -> Diagnostic {
    let (name, label, spi) = (&plan.name, device.label(), intid - 32);
    let title =
        format!("the console of `{name}` and `{label}` both have INTID {intid} (SPI {spi})");
    let text = format!("`{label}` has INTID {intid}");
    let found = Diagnostic::new(Rule::InterruptClash, title, device.span.clone(), text);
    let found = found.and(console.clone(), format!("the console has INTID {intid}"));
    let all = plan.devices.iter().flat_map(|device| &device.interrupts);
    let used: Vec<u32> = all.map(|interrupt| interrupt.intid).collect();
    let free = (33..1020).find(|intid| !used.contains(intid)).unwrap_or(33);
    found.help(format!(
        "give the console another one: `console = {{ model = \"pl011\", intid = {free} }}`"
    ))
}

/// Warns of devices that nobody was given but that lie in a page which a guest gets.
fn warn_of_neighbours(
    device: &Device,
    owned: &[Owned<'_>],
    board: &HostBoard<'_>,
    out: &mut Diagnostics,
) {
    let mine = |range: Range| {
        owned
            .iter()
            .any(|(_, d)| d.windows.iter().any(|w| w.host == range))
    };
    for window in &device.windows {
        let page = window.host.align_out(PAGE_BYTES);
        let neighbours = board.devices_in(page).filter(|(_, range)| !mine(*range));
        let neighbours: Vec<String> = neighbours
            .filter(|(path, range)| *path != device.path && !range.overlaps(window.host))
            .map(|(path, _)| format!("`{path}`"))
            .collect();
        let (Some(first), more) = (neighbours.first(), neighbours.len().saturating_sub(1)) else {
            continue;
        };
        let others = match more {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let label = device.label();
        let title = format!("the guest that has `{label}` reaches {first}{others} as well");
        let text = format!("registers {} are in the same page", window.host);
        let found = Diagnostic::new(Rule::PageHasNeighbour, title, device.span.clone(), text);
        out.push(
            found.help("access is given by pages of 4 KiB: what shares one cannot be kept apart"),
        );
    }
}
