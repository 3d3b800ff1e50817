//! The report as JSON. Addresses are texts in hexadecimal, because JSON's numbers do not hold 64 bits everywhere.

use bulkhead::addr::Range;
use bulkhead::config::record::access;
use serde_json::{Value, json};

use super::{Subject, level_sharers, users};
use crate::diagnostic::Diagnostics;
use crate::dma::Dma;
use crate::plan::{Channel, Device, Load, Plan, Region, Side};

/// Writes the report.
pub fn json(subject: &Subject<'_>, warnings: &Diagnostics) -> String {
    let value = json!({
        "table": subject.table,
        "platform": subject.globals.platform,
        "payload_bytes": subject.payload_bytes,
        "cpus": cpus(subject),
        "time": super::time::json(&subject.time),
        "memory": memory(subject),
        "channels": subject.channels.iter().map(channel).collect::<Vec<_>>(),
        "partitions": subject.plans.iter().map(partition).collect::<Vec<_>>(),
        "warnings": warnings.to_value()["diagnostics"],
    });
    format!("{value:#}\n")
}

/// Writes an address.
fn hex(address: u64) -> String {
    format!("{address:#x}")
}

/// Lists the CPUs and who runs on them.
fn cpus(subject: &Subject<'_>) -> Vec<Value> {
    let cpus = subject.board.board.cpus.iter().enumerate();
    cpus.map(|(position, cpu)| {
        let users = users(subject.plans, position as u32);
        let sharers = level_sharers(&users, subject.levels);
        let vcpus: Vec<Value> = users
            .into_iter()
            .map(|(name, index, vcpu)| {
                json!({
                    "partition": name,
                    "vcpu": index,
                    "priority": vcpu.priority,
                    "shares_interrupt_level": sharers.contains(&vcpu.priority),
                })
            })
            .collect();
        json!({
            "pcpu": position,
            "mpidr": hex(cpu.mpidr.raw()),
            "core": cpu.core,
            "usable": cpu.usable,
            "interrupt_levels": subject.levels.for_vcpus(),
            "vcpus": vcpus,
        })
    })
    .collect()
}

/// Lists what lies where in the board's memory.
fn memory(subject: &Subject<'_>) -> Vec<Value> {
    let used = subject.map.used.iter();
    used.map(
        |(range, what)| json!({ "hpa": hex(range.start()), "size": range.size(), "use": what }),
    )
    .collect()
}

/// Describes a partition.
fn partition(plan: &Plan) -> Value {
    let console = plan.console.as_ref();
    let vcpus = plan.vcpus.iter().map(|vcpu| {
        json!({
            "pcpu": vcpu.pcpu,
            "priority": vcpu.priority,
            "time_slice_ns": vcpu.time_slice_ns,
            "budget_ns": vcpu.budget_ns,
            "period_ns": vcpu.period_ns,
            "background": vcpu.background,
        })
    });
    json!({
        "name": plan.name,
        "entry": hex(plan.entry),
        "dtb": hex(plan.dtb),
        "gicd": hex(plan.layout.gicd),
        "gic": if plan.layout.gicv2 { 2 } else { 3 },
        (if plan.layout.gicv2 { "gicc" } else { "gicr" }): hex(plan.layout.gicr),
        "console": console.map(|c| json!({ "gpa": hex(c.gpa), "intid": c.intid })),
        "vcpus": vcpus.collect::<Vec<_>>(),
        "memory": plan.regions.iter().map(region).collect::<Vec<_>>(),
        "devices": plan.devices.iter().map(device).collect::<Vec<_>>(),
        "channels": plan.channels.iter().map(side).collect::<Vec<_>>(),
        "manages": plan.managed,
        "manager": (plan.manager != 0).then(|| hex(plan.manager)),
        "watchdog": plan.watchdog.map(|watchdog| {
            json!({ "timeout_ns": watchdog.timeout_ns, "restarts": watchdog.restarts })
        }),
        "counts_el2": plan.counts_el2,
        "loads": plan.loads.iter().map(load).collect::<Vec<_>>(),
    })
}

/// Describes a piece of memory.
fn region(region: &Region) -> Value {
    let letters = [
        (access::READ, 'r'),
        (access::WRITE, 'w'),
        (access::EXECUTE, 'x'),
    ];
    let granted = letters.iter().filter(|(bit, _)| region.access & bit != 0);
    json!({
        "gpa": hex(region.guest.start()),
        "hpa": hex(region.placed),
        "size": region.guest.size(),
        "fixed": region.hpa.is_some(),
        "access": granted.map(|(_, letter)| letter).collect::<String>(),
    })
}

/// Describes a device.
fn device(device: &Device) -> Value {
    let window = |gpa: u64, host: Range| json!({ "gpa": hex(gpa), "hpa": hex(host.start()), "size": host.size() });
    let windows = device.windows.iter().map(|w| window(w.gpa, w.host));
    let interrupts = device.interrupts.iter();
    let interrupts = interrupts.map(|i| json!({ "intid": i.intid, "edge": i.edge }));
    json!({
        "path": device.path,
        "windows": windows.collect::<Vec<_>>(),
        "interrupts": interrupts.collect::<Vec<_>>(),
        "clocks": device.fixed,
        "left_out": device.left_out,
        "dma": device.dma.as_ref().is_some_and(|dma| dma.value == Dma::Identity),
    })
}

/// Describes a channel.
fn channel(channel: &Channel) -> Value {
    json!({
        "name": channel.name,
        "hpa": hex(channel.placed),
        "size": channel.size,
        "cached": channel.cached,
    })
}

/// Describes a partition's side of a channel.
fn side(side: &Side) -> Value {
    json!({
        "name": side.name,
        "side": side.number,
        "peer": side.peer,
        "access": side.rights(),
        "gpa": hex(side.gpa),
        "registers": hex(side.registers),
        "intid": side.intid,
    })
}

/// Describes something that is loaded.
fn load(load: &Load) -> Value {
    json!({
        "what": load.what,
        "gpa": hex(load.gpa),
        "file_bytes": load.bytes.len(),
        "memory_bytes": load.memory_bytes,
    })
}
