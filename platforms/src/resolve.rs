//! From a partition as the table has it to a plan: what it names is looked up on the board.

use bulkhead::addr::{PAGE_BYTES, Range};
use bulkhead::config::payload::{GUEST_END, MAX_REGIONS};
use bulkhead::config::record::gic::MAX_V2_VCPUS;
use bulkhead::ids::MAX_VCPUS;
use dtoolkit::{Node, Property};

use crate::board::{Found, HostBoard, is_memory};
use crate::check::devices::may_pass;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::dma::signs;
use crate::nearest::nearest_paths;
use crate::plan::{Console, Device, Interrupt, Layout, Nodes, Plan, Region, Vcpu, Window};
use crate::reader::Span;
use crate::rule::Rule;
use crate::table::{self, CpuName, DeviceSource, Partition, Place};
use crate::units::show_size;

/// Guest addresses lie below this.
pub const GUEST_SPACE: u64 = GUEST_END;
/// The bits of an address within its page.
const PAGE_MASK: u64 = PAGE_BYTES - 1;
/// INTIDs of shared peripheral interrupts.
const SPIS: std::ops::Range<u32> = 32..1020;

/// Makes the plan of a partition, without its image.
pub fn resolve(
    partition: &Partition,
    board: &HostBoard<'_>,
    emulated: bool,
    out: &mut Diagnostics,
) -> Plan {
    let layout = if partition.board_layout {
        board.layout()
    } else {
        board.virt_layout()
    };
    if let Some(extra) = partition.memory.get(MAX_REGIONS) {
        let title = format!("a partition has at most {MAX_REGIONS} pieces of memory");
        let text = format!("piece number {}", MAX_REGIONS + 1);
        out.refuse(Rule::TooManyRegions, title, &extra.span, text);
    }
    let regions = partition.memory.iter().take(MAX_REGIONS);
    let devices = partition.devices.iter();
    Plan {
        name: partition.name.value.clone(),
        span: partition.name.span.clone(),
        layout,
        regions: regions.filter_map(|r| region(r, layout, out)).collect(),
        vcpus: vcpus(partition, board, emulated, out),
        console: partition.console.as_ref().map(|c| console(c, layout)),
        devices: devices.filter_map(|d| device(d, board, out)).collect(),
        nodes: Nodes::default(),
        channels: Vec::new(),
        loads: Vec::new(),
        entry: 0,
        dtb: 0,
        seeds: Vec::new(),
        on_fault: partition.on_fault,
        autostart: partition.stopped.is_none(),
        manages: 0,
        managed: Vec::new(),
        manager: 0,
        watchdog: partition.watchdog,
        counts_el2: partition.counts_el2,
    }
}

/// Resolves a piece of memory.
fn region(region: &table::Region, layout: Layout, out: &mut Diagnostics) -> Option<Region> {
    let gpa = region.gpa.unwrap_or(layout.ram);
    let guest = Range::new(gpa, region.size).filter(|range| range.last() < GUEST_SPACE);
    let Some(guest) = guest else {
        let title = format!("a guest's address space ends at {GUEST_SPACE:#x}");
        let text = format!("{} at {gpa:#x} does not fit", show_size(region.size));
        let found = Diagnostic::new(Rule::OutsideGuestSpace, title, region.span.clone(), text);
        out.push(found.help("choose a smaller `size` or a lower `gpa`"));
        return None;
    };
    let hpa = match region.hpa {
        Place::Anywhere => None,
        Place::Fixed(hpa) => Some(hpa),
        Place::Identity => Some(gpa),
    };
    // A place that is refused here is not tried again: the region goes where there is room.
    let hpa = hpa.filter(|hpa| is_congruent(gpa, *hpa, region, out));
    if hpa.is_some_and(|hpa| Range::new(hpa, region.size).is_none()) {
        let title = "memory of the board ends below 2^64";
        let found = Diagnostic::new(Rule::OutOfRange, title, region.span.clone(), "wraps");
        out.push(found);
        return None;
    }
    Some(Region {
        guest,
        hpa,
        placed: hpa.unwrap_or(0),
        access: region.access,
        span: region.span.clone(),
    })
}

/// Refuses memory whose two addresses cannot be mapped by large blocks; returns whether they can.
fn is_congruent(gpa: u64, hpa: u64, region: &table::Region, out: &mut Diagnostics) -> bool {
    const MASK: u64 = (2 << 20) - 1;
    if gpa & MASK == hpa & MASK {
        return true;
    }
    let title = format!("`gpa` {gpa:#x} and `hpa` {hpa:#x} must agree modulo 2 MiB");
    let text = format!("{:#x} and {:#x} into 2 MiB", gpa & MASK, hpa & MASK);
    let found = Diagnostic::new(Rule::MemoryIncongruent, title, region.span.clone(), text);
    let near = (hpa & !MASK) | (gpa & MASK);
    out.push(found.help(format!("`hpa = {near:#x}` would do")));
    false
}

/// Resolves the vCPUs.
fn vcpus(
    partition: &Partition,
    board: &HostBoard<'_>,
    emulated: bool,
    out: &mut Diagnostics,
) -> Vec<Vcpu> {
    let (most, on) = match board.board.gic.version.number() {
        2 => (MAX_V2_VCPUS, " on a board with a GICv2"),
        _ => (MAX_VCPUS, ""),
    };
    if let Some(extra) = partition.vcpus.get(most) {
        let title = format!("a partition has at most {most} vCPUs{on}");
        let text = format!("vCPU {most} of `{}`", partition.name.value);
        out.refuse(Rule::TooManyVcpus, title, &extra.span, text);
    }
    let vcpus = partition.vcpus.iter().take(most);
    vcpus
        .filter_map(|v| vcpu(v, board, emulated, out))
        .collect()
}

/// Resolves one vCPU.
fn vcpu(
    vcpu: &table::Vcpu,
    board: &HostBoard<'_>,
    emulated: bool,
    out: &mut Diagnostics,
) -> Option<Vcpu> {
    let name = vcpu.pcpu.as_ref()?;
    let Some(pcpu) = board.position(name.value) else {
        out.push(unknown_pcpu(name, board, emulated));
        return None;
    };
    Some(Vcpu {
        pcpu,
        mpidr: name.value.mpidr(),
        priority: vcpu.priority.as_ref()?.value,
        time_slice_ns: vcpu.time_slice_ns,
        budget_ns: vcpu.budget_ns,
        period_ns: vcpu.period_ns,
        background: vcpu.background,
        fp_eager: vcpu.fp_eager,
        span: vcpu.span.clone(),
    })
}

/// Words a CPU that the board does not have; `emulated` says that QEMU can give more.
pub fn unknown_pcpu(
    name: &crate::reader::At<CpuName>,
    board: &HostBoard<'_>,
    emulated: bool,
) -> Diagnostic {
    let what = match name.value {
        CpuName::Position(position) => format!("pCPU {position}"),
        CpuName::Mpidr(mpidr) => format!("usable CPU with MPIDR {mpidr:#x}"),
    };
    let title = format!("the board has no {what}");
    let found = Diagnostic::new(Rule::UnknownPcpu, title, name.span.clone(), "no such CPU");
    let found = found.help(board.cpus_in_words());
    match name.value {
        CpuName::Position(position) if emulated => {
            let cpus = position.saturating_add(1);
            found.help(format!(
                "QEMU makes more with `--cpus {cpus}`, or with a `[[pcpu]]` of `id = {}` in the table",
                cpus - 1
            ))
        }
        _ => found,
    }
}

/// Resolves a console.
fn console(console: &table::Console, layout: Layout) -> Console {
    let intid = console.intid.as_ref().map(|intid| intid.value as u32);
    Console {
        gpa: console.gpa.as_ref().map_or(layout.uart, |gpa| gpa.value),
        intid: intid.unwrap_or(layout.uart_intid),
        drop: console.drop,
        span: console.span.clone(),
    }
}

/// Resolves a device.
fn device(device: &table::Device, board: &HostBoard<'_>, out: &mut Diagnostics) -> Option<Device> {
    let (path, compatible, registers, interrupts) = match &device.source {
        DeviceSource::Path(path) => {
            let (path, found) = look_up(path, device, board, out)?;
            (path, None, found.registers, found.interrupts)
        }
        DeviceSource::Parts {
            reg,
            intid,
            compatible,
        } => {
            let registers = reg
                .iter()
                .filter_map(|&(start, size)| Range::new(start, size));
            let interrupts = intid.iter().map(|intid| (intid.value as u32, false));
            let parts = (registers.collect(), interrupts.collect());
            (String::new(), compatible.clone(), parts.0, parts.1)
        }
    };
    let mut resolved = Device {
        compatible,
        windows: windows(device, &registers, out)?,
        interrupts: Vec::new(),
        signs: signs(&path, &board.index()),
        dma: device.dma.clone(),
        path,
        clocks: device.clocks.clone(),
        fixed: Vec::new(),
        left_out: Vec::new(),
        span: device.span.clone(),
    };
    if !may_pass(&resolved, board, out) {
        return None;
    }
    resolved.interrupts = spis(device, interrupts, out);
    Some(resolved)
}

/// Finds a device in the board's tree.
fn look_up(
    path: &str,
    device: &table::Device,
    board: &HostBoard<'_>,
    out: &mut Diagnostics,
) -> Option<(String, Found)> {
    let full = board.full_path(path);
    let found = match board.find(path) {
        Ok(found) => found,
        Err(Some(why)) => {
            let title = format!("device `{path}` cannot be passed through: {why}");
            out.refuse(Rule::UnknownDevice, title, &device.span, "this device");
            return None;
        }
        Err(None) => {
            let title = format!("the board's device tree has no device `{path}`");
            let span = device.span.clone();
            let found = Diagnostic::new(Rule::UnknownDevice, title, span, "no such device");
            let names = board.names(path);
            let names = names.iter().map(String::as_str);
            out.push(found.help(nearest_paths(path, names, "it has no devices")));
            return None;
        }
    };
    if !is_usable(&full, &found, &device.span, out) || is_pci(&full, device, board, out) {
        return None;
    }
    if found.foreign_interrupts > 0 {
        let count = found.foreign_interrupts;
        let title = format!("`{full}` has an interrupt that the guest does not get");
        let text = format!("{count} of its interrupts go to another controller than the GIC");
        let span = device.span.clone();
        let found = Diagnostic::new(Rule::ForeignInterrupt, title, span, text);
        out.push(found.help("a guest cannot be given a part of that controller: it has to poll"));
    }
    Some((full, found))
}

/// Refuses a PCI host bridge, whose devices have registers that its own node does not list; returns whether it is one.
fn is_pci(
    path: &str,
    device: &table::Device,
    board: &HostBoard<'_>,
    out: &mut Diagnostics,
) -> bool {
    let node = board.nodes.find_node(path);
    let kind = node.and_then(|node| node.property("device_type"));
    let is_one = kind.is_some_and(|kind| kind.value() == b"pci\0");
    if is_one {
        let title = format!("device `{path}` cannot be passed through: it is a PCI host bridge");
        let text = "not built yet: what lies behind it would not be mapped";
        out.refuse(Rule::UnknownDevice, title, &device.span, text);
    }
    is_one
}

/// Refuses a node that is no device, or one that is not in use; returns whether it is neither.
fn is_usable(path: &str, found: &Found, span: &Span, out: &mut Diagnostics) -> bool {
    let own = |name: &String| {
        name.starts_with("arm,psci") || name.starts_with("arm,") && name.ends_with("-timer")
    };
    if is_memory(path) || found.compatible.iter().any(own) {
        let title = format!("`{path}` is EL2's own and cannot be passed through");
        out.refuse(
            Rule::DeviceIsEl2s,
            title,
            span,
            "every guest has its own of this",
        );
        return false;
    }
    if !found.enabled {
        let title = format!("the board's device tree says that `{path}` is not in use");
        let text = "its `status`, or that of a bus above it, is not \"okay\"";
        out.refuse(Rule::DeviceDisabled, title, span, text);
    }
    found.enabled
}

/// Gives every register window its guest address: all are moved by as much as the first one.
fn windows(
    device: &table::Device,
    registers: &[Range],
    out: &mut Diagnostics,
) -> Option<Vec<Window>> {
    let Some(first) = registers.first() else {
        let title = "a device without registers cannot be passed through";
        let text = "there is nothing to map";
        out.refuse(Rule::DeviceWithoutRegisters, title, &device.span, text);
        return None;
    };
    let gpa = device.gpa.as_ref();
    let moved = gpa.map_or(0, |gpa| gpa.value.wrapping_sub(first.start()));
    if let Some(gpa) = gpa.filter(|_| moved & PAGE_MASK != 0) {
        let title = "`gpa` of a device keeps the place within the 4 KiB page";
        let text = format!("the registers lie at {:#x}", first.start());
        let near = (gpa.value & !PAGE_MASK) | (first.start() & PAGE_MASK);
        let found = Diagnostic::new(Rule::DeviceIncongruent, title, gpa.span.clone(), text);
        out.push(found.help(format!("`gpa = {near:#x}` would do")));
        return None;
    }
    let windows = registers.iter().map(|host| {
        let gpa = host.start().wrapping_add(moved);
        let guest = Range::new(gpa, host.size()).filter(|range| range.last() < GUEST_SPACE);
        if guest.is_none() {
            let title = format!("a guest's address space ends at {GUEST_SPACE:#x}");
            let text = format!("registers at {host} do not fit");
            let found = Diagnostic::new(Rule::OutsideGuestSpace, title, device.span.clone(), text);
            out.push(found.help("give the device a lower `gpa`"));
        }
        guest.map(|_| Window { gpa, host: *host })
    });
    windows.collect()
}

/// Keeps interrupts that can be passed through.
fn spis(
    device: &table::Device,
    interrupts: Vec<(u32, bool)>,
    out: &mut Diagnostics,
) -> Vec<Interrupt> {
    let mut kept = Vec::new();
    for (intid, edge) in interrupts {
        if SPIS.contains(&intid) {
            kept.push(Interrupt { intid, edge });
            continue;
        }
        let title = format!("INTID {intid} is private to each CPU and cannot be passed through");
        let text = format!("this device has INTID {intid}");
        out.refuse(Rule::NotAnSpi, title, &device.span, text);
    }
    kept
}
