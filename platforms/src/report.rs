//! What a table makes of a board, for people and as JSON.

mod json;
mod time;

use bulkhead::addr::Range;
use bulkhead::board::GicVersion;
use bulkhead::ids::{Mpidr, VcpuId};
use bulkhead::sched::{Levels, levels};

use crate::board::HostBoard;
use crate::check::space::seen;
use crate::dma::Dma;
use crate::payload::Globals;
use crate::place::Map;
use crate::plan::{Channel, Device, Plan};
use crate::units::{round_size, show_size, show_time};

pub use json::json;
pub use time::Time;

/// What is reported.
pub struct Subject<'a> {
    /// The table's file.
    pub table: String,
    /// The partitions.
    pub plans: &'a [Plan],
    /// The channels.
    pub channels: &'a [Channel],
    /// The board.
    pub board: &'a HostBoard<'a>,
    /// The priority levels of its GIC.
    pub levels: Levels,
    /// The rest of the table.
    pub globals: &'a Globals,
    /// The board's memory.
    pub map: &'a Map,
    /// Bytes of the payload.
    pub payload_bytes: u64,
    /// What the analysis says.
    pub time: Time<'a>,
}

/// A line of a table of two indented columns and a remark.
struct Row {
    place: String,
    what: String,
    remark: String,
}

/// Writes the report for people.
pub fn text(subject: &Subject<'_>) -> String {
    let mut out = String::new();
    head(subject, &mut out);
    section(
        "CPUs: who runs where, the most urgent first",
        cpu_rows(subject),
        &mut out,
    );
    section(
        "Time: what a vCPU can count on, whatever the others do",
        time::rows(&subject.time),
        &mut out,
    );
    section("Memory of the board", memory_rows(subject), &mut out);
    section(
        "Interrupts that are passed through or used by EL2",
        interrupt_rows(subject),
        &mut out,
    );
    if !subject.channels.is_empty() {
        section("Channels", channel_rows(subject), &mut out);
    }
    let fates: Vec<Row> = subject.plans.iter().flat_map(fate_rows).collect();
    if !fates.is_empty() {
        section("Watchdogs and managers", fates, &mut out);
    }
    let devices: Vec<Row> = subject.plans.iter().flat_map(device_rows).collect();
    if !devices.is_empty() {
        section("Devices that are passed through", devices, &mut out);
    }
    for plan in subject.plans {
        let title = format!("Partition `{}` sees", plan.name);
        section(&title, guest_rows(plan), &mut out);
    }
    out
}

/// Appends a line.
fn line(out: &mut String, text: &str) {
    out.push_str(text.trim_end());
    out.push('\n');
}

/// Writes the first lines.
fn head(subject: &Subject<'_>, out: &mut String) {
    let board = &subject.board.board;
    let memory: u64 = board.memory.iter().map(|ram| ram.size()).sum();
    let gic = match board.gic.version {
        GicVersion::V3 { .. } => "GICv3",
        GicVersion::V2 { .. } => "GICv2",
    };
    line(
        out,
        &format!("{} for {}", subject.table, subject.globals.platform),
    );
    let cpus = board.cpus.len();
    let partitions = subject.plans.len();
    let text = format!(
        "{cpus} {}, {} of RAM, {gic}; {partitions} {}, payload of {} KiB",
        plural(cpus, "CPU"),
        show_size(memory),
        plural(partitions, "partition"),
        subject.payload_bytes.div_ceil(1024),
    );
    line(out, &text);
}

/// Adds the plural's s.
fn plural(count: usize, word: &str) -> String {
    if count == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}

/// Writes a section with its columns aligned.
fn section(title: &str, rows: Vec<Row>, out: &mut String) {
    line(out, &format!("\n{title}"));
    let width =
        |column: fn(&Row) -> &String| rows.iter().map(|row| column(row).chars().count()).max();
    let places = width(|row| &row.place).unwrap_or(0);
    let whats = width(|row| &row.what).unwrap_or(0);
    for row in &rows {
        let text = format!(
            "  {:places$}  {:whats$}  {}",
            row.place, row.what, row.remark
        );
        line(out, &text);
    }
    if rows.is_empty() {
        line(out, "  none");
    }
}

/// Says who runs on each CPU.
fn cpu_rows(subject: &Subject<'_>) -> Vec<Row> {
    let cpus = subject.board.board.cpus.iter().enumerate();
    let mut rows = Vec::new();
    for (position, cpu) in cpus {
        let users = users(subject.plans, position as u32);
        let place = format!("pCPU {position}  MPIDR {}  {}", cpu.mpidr, cpu.core);
        let mut names: Vec<&str> = users.iter().map(|user| user.0).collect();
        names.dedup();
        let shared = match names.len() {
            0 | 1 => String::new(),
            _ => format!("shared by {}", names.join(" and ")),
        };
        let what = match users.len() {
            0 => "idle".to_owned(),
            1 => "one vCPU".to_owned(),
            n => format!("{n} vCPUs"),
        };
        rows.push(Row {
            place,
            what,
            remark: shared,
        });
        let sharers = level_sharers(&users, subject.levels);
        rows.extend(users.into_iter().map(|(name, index, vcpu)| Row {
            place: format!("  priority {:3}", vcpu.priority),
            what: format!("{name} vCPU {index}"),
            remark: vcpu_remark(index, vcpu, sharers.contains(&vcpu.priority)),
        }));
    }
    rows
}

/// Returns the priorities of a CPU's vCPUs whose interrupts share a level of the GIC, none when there are levels enough.
pub fn level_sharers(users: &[(&str, usize, &crate::plan::Vcpu)], found: Levels) -> Vec<u8> {
    let all = users.iter().map(|(_, _, vcpu)| vcpu.priority);
    let level = |own: u8| found.priority(levels::rank(own, all.clone()));
    let mut priorities: Vec<u8> = all.clone().collect();
    priorities.dedup();
    let shared = |own: &u8| {
        let others = priorities.iter().filter(|other| *other != own);
        others
            .map(|other| level(*other))
            .any(|it| it == level(*own))
    };
    priorities.iter().copied().filter(shared).collect()
}

/// Says what is special about a vCPU.
fn vcpu_remark(index: usize, vcpu: &crate::plan::Vcpu, shares_level: bool) -> String {
    let mpidr = Mpidr::of_vcpu(VcpuId(index as u8));
    let mut words = vec![format!("MPIDR {mpidr}")];
    if vcpu.time_slice_ns != 0 {
        words.push(format!("time slice {}", show_time(vcpu.time_slice_ns)));
    }
    if vcpu.budget_ns != 0 {
        words.push(format!("budget {}", show_time(vcpu.budget_ns)));
    }
    if vcpu.period_ns != 0 {
        words.push(format!("period {}", show_time(vcpu.period_ns)));
    }
    if vcpu.background {
        words.push("then in the background".to_owned());
    }
    if vcpu.fp_eager {
        words.push("FP switched eagerly".to_owned());
    }
    if shares_level {
        words.push("shares the last interrupt level".to_owned());
    }
    words.join(", ")
}

/// Lists the vCPUs on a CPU, the most urgent first: partition, index, vCPU.
pub fn users(plans: &[Plan], position: u32) -> Vec<(&str, usize, &crate::plan::Vcpu)> {
    let all = plans.iter().flat_map(|plan| {
        let vcpus = plan.vcpus.iter().enumerate();
        vcpus.map(|(index, vcpu)| (plan.name.as_str(), index, vcpu))
    });
    let mut users: Vec<_> = all.filter(|(_, _, vcpu)| vcpu.pcpu == position).collect();
    users.sort_by_key(|(_, _, vcpu)| std::cmp::Reverse(vcpu.priority));
    users
}

/// Says what lies where in the board's memory.
fn memory_rows(subject: &Subject<'_>) -> Vec<Row> {
    let row = |(range, what): &(Range, String)| Row {
        place: range_words(*range),
        what: round_size(range.size()),
        remark: what.clone(),
    };
    subject.map.used.iter().map(row).collect()
}

/// Says who has which interrupt.
fn interrupt_rows(subject: &Subject<'_>) -> Vec<Row> {
    let trigger = |edge| if edge { "edge" } else { "level" };
    let mut rows = Vec::new();
    let el2 = subject
        .board
        .board
        .console
        .as_ref()
        .and_then(|c| c.interrupt);
    if let Some(interrupt) = el2 {
        rows.push((
            interrupt.intid,
            "level",
            "EL2: the console's UART".to_owned(),
        ));
    }
    for plan in subject.plans {
        for device in &plan.devices {
            let interrupts = device.interrupts.iter();
            rows.extend(interrupts.map(|i| {
                let who = format!("{}: {}", plan.name, device.label());
                (i.intid, trigger(i.edge), who)
            }));
        }
    }
    rows.sort();
    // Some devices have one interrupt twice.
    rows.dedup();
    let row = |(intid, trigger, who): (u32, &str, String)| Row {
        place: intid_words(intid),
        what: trigger.to_owned(),
        remark: who,
    };
    rows.into_iter().map(row).collect()
}

/// Says what each channel is, and what its sides see.
fn channel_rows(subject: &Subject<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for (position, channel) in subject.channels.iter().enumerate() {
        let caching = if channel.cached { "cached" } else { "uncached" };
        rows.push(Row {
            place: channel.name.clone(),
            what: show_size(channel.size),
            remark: format!("{caching}, at host {:#010x}", channel.placed),
        });
        for party in channel.parties {
            let Some(plan) = subject.plans.get(party) else {
                continue;
            };
            let sides = plan.channels.iter().enumerate();
            let own = sides.filter(|(_, side)| side.channel == position);
            rows.extend(own.map(|(index, side)| Row {
                place: format!("  {} {}", plan.name, side.rights()),
                what: format!("channel {index}"),
                remark: format!(
                    "memory {:#010x}, doorbell {:#010x}, {} edge",
                    side.gpa,
                    side.registers,
                    intid_words(side.intid)
                ),
            }));
        }
    }
    rows
}

/// Says who watches over a partition, whom it manages, and what it counts.
fn fate_rows(plan: &Plan) -> Vec<Row> {
    let watchdog = plan.watchdog.map(|watchdog| {
        let timeout = show_time(watchdog.timeout_ns);
        let action = if watchdog.restarts {
            "restarts"
        } else {
            "stops"
        };
        let remark = format!("{action} it when it is not kicked for {timeout}");
        ("has a watchdog", remark)
    });
    let managed = (plan.manages != 0).then(|| ("manages", plan.managed.join(", ")));
    let remark = "its cycle counter does not stand while EL2 works for it".to_owned();
    let counts = plan.counts_el2.then_some(("counts EL2", remark));
    let rows = [watchdog, managed, counts].into_iter().flatten();
    rows.map(|(what, remark)| Row {
        place: plan.name.clone(),
        what: what.to_owned(),
        remark,
    })
    .collect()
}

/// Says what a guest gets and does not get with each device.
fn device_rows(plan: &Plan) -> Vec<Row> {
    let row = |device: &Device| {
        let clocks =
            (!device.fixed.is_empty()).then(|| format!("clocks {}", device.fixed.join(", ")));
        let lacks = (!device.left_out.is_empty())
            .then(|| format!("without {}", device.left_out.join(", ")));
        let reaches = device
            .dma
            .as_ref()
            .is_some_and(|dma| dma.value == Dma::Identity);
        let dma = reaches.then(|| "DMA: no SMMU confines it, it reaches all memory".to_owned());
        Row {
            place: device.label(),
            what: plan.name.clone(),
            remark: [clocks, lacks, dma]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        }
    };
    plan.devices.iter().map(row).collect()
}

/// Writes a range with addresses of at least eight digits.
fn range_words(range: Range) -> String {
    format!("{:#010x}..={:#010x}", range.start(), range.last())
}

/// Names an interrupt both ways.
fn intid_words(intid: u32) -> String {
    format!("INTID {intid} (SPI {})", intid.saturating_sub(32))
}

/// Says what a guest sees where.
fn guest_rows(plan: &Plan) -> Vec<Row> {
    let mut rows: Vec<(u64, Row)> = Vec::new();
    for seen in seen(plan) {
        rows.push((
            seen.range.start(),
            Row {
                place: range_words(seen.range),
                what: show_size(seen.range.size()),
                remark: seen_remark(plan, &seen.what, seen.range),
            },
        ));
    }
    for load in plan.loads.iter() {
        let Some(range) = load.range() else { continue };
        rows.push((
            range.start(),
            Row {
                place: format!("  {}", range_words(range)),
                what: format!("  {}", round_size(range.size())),
                remark: format!("  {}", load.what),
            },
        ));
    }
    rows.sort_by_key(|(start, _)| *start);
    let entry = Row {
        place: format!("{:#010x}", plan.entry),
        what: "entry".to_owned(),
        remark: if plan.dtb == 0 {
            "x0 = 0".into()
        } else {
            format!("x0 = {:#010x}", plan.dtb)
        },
    };
    let rows = rows.into_iter().map(|(_, row)| row);
    rows.chain([entry]).collect()
}

/// Says what is special about something that a guest sees.
fn seen_remark(plan: &Plan, what: &str, range: Range) -> String {
    if what == "memory" {
        let region = plan.regions.iter().find(|region| region.guest == range);
        return region.map_or_else(String::new, |region| {
            format!("memory {} at host {:#010x}", region.rights(), region.placed)
        });
    }
    if let Some(console) = plan.console.as_ref().filter(|c| c.gpa == range.start()) {
        return format!("{what}, {}", intid_words(console.intid));
    }
    let mut sides = plan.channels.iter();
    if let Some(side) = sides.find(|side| side.registers == range.start()) {
        return format!("{what}, {}", intid_words(side.intid));
    }
    let device = plan
        .devices
        .iter()
        .find(|device| format!("`{}`", device.label()) == what);
    let Some(device) = device else {
        return what.to_owned();
    };
    let interrupts = device.interrupts.iter().map(|i| intid_words(i.intid));
    let words: Vec<String> = [device.label()].into_iter().chain(interrupts).collect();
    words.join(", ")
}
