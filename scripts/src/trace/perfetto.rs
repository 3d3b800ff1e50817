//! A trace as the JSON that `ui.perfetto.dev` and `chrome://tracing` open.
//!
//! One process has a thread for each pCPU: slices say whom it works for, and those inside say when that is at EL2. Each
//! partition is a process with a thread for each vCPU: when it runs, and when it wants to and does not; its interrupts
//! are instants, its budget a counter.

pub mod reader;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bulkhead::trace::BudgetEvent;
use serde_json::{Value, json};

use super::names::interrupt;
use super::recording::Recording;
use super::timeline::{Lane, Mark, MarkKind, Timeline, Vcpu, Who};

/// The process of the pCPUs; partitions come behind it.
const PCPUS: u64 = 1;

/// Writes events, one a line.
struct Writer<'a> {
    of: &'a Recording,
    from: u64,
    out: String,
}

/// Returns the file.
pub fn file(timeline: &Timeline, of: &Recording) -> String {
    let mut writer = Writer {
        of,
        from: timeline.from,
        out: "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n".to_owned(),
    };
    writer.name_tracks(timeline);
    for lane in &timeline.lanes {
        writer.lane(lane);
    }
    for (vcpu, slices) in running(timeline) {
        for (name, from, to) in slices {
            writer.slice(process(vcpu), thread(vcpu), &name, from, to, json!({}));
        }
    }
    for mark in &timeline.marks {
        writer.mark(mark);
    }
    writer
        .out
        .truncate(writer.out.trim_end_matches([',', '\n']).len());
    writer.out += "\n]}\n";
    writer.out
}

fn process((partition, _): Vcpu) -> u64 {
    PCPUS + 1 + u64::from(partition)
}

fn thread(vcpu: Vcpu) -> u64 {
    numbered(process(vcpu), vcpu.1)
}

/// Returns the number of a process's thread: no two threads have the same, whatever their process.
fn numbered(pid: u64, index: u8) -> u64 {
    pid * 100 + u64::from(index)
}

impl Writer<'_> {
    /// Writes an event; `fields` are its own beside place and time.
    fn event(&mut self, pid: u64, tid: u64, at: u64, fields: &str) {
        let ns = self.of.ns(at.saturating_sub(self.from));
        let (us, rest) = (ns / 1000, ns % 1000);
        // Writing to a String does not fail.
        let _ = writeln!(
            self.out,
            "{{\"pid\":{pid},\"tid\":{tid},\"ts\":{us}.{rest:03},{fields}}},"
        );
    }

    fn slice(&mut self, pid: u64, tid: u64, name: &str, from: u64, to: u64, args: Value) {
        let ns = self.of.ns(to.saturating_sub(self.from)) - self.of.ns(from - self.from);
        let (us, rest) = (ns / 1000, ns % 1000);
        let name = Value::from(name);
        let args = match args.as_object().is_some_and(|args| !args.is_empty()) {
            true => format!(",\"args\":{args}"),
            false => String::new(),
        };
        let fields = format!("\"ph\":\"X\",\"dur\":{us}.{rest:03},\"name\":{name}{args}");
        self.event(pid, tid, from, &fields);
    }

    /// Names processes and threads, in the order in which they are shown.
    fn name_tracks(&mut self, timeline: &Timeline) {
        let mut partitions: BTreeMap<u8, Vec<Vcpu>> = BTreeMap::new();
        let residents = self.of.tracks.iter().flat_map(|track| &track.residents);
        for vcpu in residents.flatten() {
            partitions.entry(vcpu.0).or_default().push(*vcpu);
        }
        self.name(PCPUS, 0, "process", "pCPUs");
        for lane in &timeline.lanes {
            let tid = numbered(PCPUS, lane.pcpu);
            self.name(PCPUS, tid, "thread", &format!("pCPU {}", lane.pcpu));
        }
        for (partition, mut vcpus) in partitions {
            vcpus.sort_unstable();
            let name = self.of.name(partition);
            self.name(process((partition, 0)), 0, "process", &name);
            for vcpu in vcpus {
                let name = format!("vCPU {}", vcpu.1);
                self.name(process(vcpu), thread(vcpu), "thread", &name);
            }
        }
    }

    fn name(&mut self, pid: u64, tid: u64, what: &str, name: &str) {
        let order = if what == "process" { pid } else { tid };
        for (field, args) in [
            (format!("{what}_name"), json!({ "name": name })),
            (format!("{what}_sort_index"), json!({ "sort_index": order })),
        ] {
            let fields = format!("\"ph\":\"M\",\"name\":\"{field}\",\"args\":{args}");
            self.event(pid, tid, self.from, &fields);
        }
    }

    /// Writes a pCPU: whom it works for, and inside of that the stays at EL2.
    fn lane(&mut self, lane: &Lane) {
        let tid = numbered(PCPUS, lane.pcpu);
        let mut stays = lane.stays.iter().peekable();
        for group in lane.spans.chunk_by(|a, b| a.who == b.who) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else {
                continue;
            };
            let name = match first.who {
                Who::Vcpu(vcpu) => self.of.vcpu_name(vcpu),
                Who::Loading(vcpu) => format!("loading {}", self.of.name(vcpu.0)),
                Who::Idle => "idle".to_owned(),
                Who::Nobody => "EL2".to_owned(),
                Who::Unknown => "not recorded".to_owned(),
            };
            self.slice(PCPUS, tid, &name, first.from, last.to, json!({}));
            for span in group.iter().filter(|span| span.el2) {
                while stays.next_if(|stay| stay.to <= span.from).is_some() {}
                let reason = stays.peek().filter(|stay| stay.from < span.to);
                let name = reason.map_or("EL2", |stay| stay.reason.as_str());
                self.slice(PCPUS, tid, name, span.from, span.to, json!({}));
            }
        }
    }

    /// Writes what happened to a vCPU.
    fn mark(&mut self, mark: &Mark) {
        let (pid, tid) = (process(mark.vcpu), thread(mark.vcpu));
        match mark.what {
            MarkKind::Interrupt(intid, after) => {
                let args = match after {
                    Some(ticks) => json!({ "intid": intid, "after_ns": self.of.ns(ticks) }),
                    None => json!({ "intid": intid }),
                };
                let name = Value::from(interrupt(intid));
                let fields = format!("\"ph\":\"i\",\"s\":\"t\",\"name\":{name},\"args\":{args}");
                self.event(pid, tid, mark.at, &fields);
            }
            MarkKind::Budget(event, left) => {
                let name = Value::from(format!("budget of vCPU {}", mark.vcpu.1));
                let left = match event {
                    BudgetEvent::Exhausted => 0,
                    BudgetEvent::Replenished => self.of.ns(left.into()),
                };
                let args = json!({ "left_ns": left });
                let fields = format!("\"ph\":\"C\",\"name\":{name},\"args\":{args}");
                self.event(pid, tid, mark.at, &fields);
            }
            MarkKind::Wake | MarkKind::Block => {}
        }
    }
}

/// Returns when each vCPU runs, and when it wants to and does not: name, from, to, in order.
pub fn running(timeline: &Timeline) -> BTreeMap<Vcpu, Vec<(String, u64, u64)>> {
    let mut slices: BTreeMap<Vcpu, Vec<(String, u64, u64)>> = BTreeMap::new();
    for lane in &timeline.lanes {
        for group in lane.spans.chunk_by(|a, b| a.who == b.who) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else {
                continue;
            };
            let (vcpu, name) = match first.who {
                Who::Vcpu(vcpu) => (vcpu, format!("runs on pCPU {}", lane.pcpu)),
                Who::Loading(vcpu) => (vcpu, format!("loads on pCPU {}", lane.pcpu)),
                _ => continue,
            };
            let all = slices.entry(vcpu).or_default();
            all.push((name, first.from, last.to));
        }
    }
    for (vcpu, runs) in &mut slices {
        let waits = waiting(timeline, *vcpu, runs);
        runs.extend(waits);
        runs.sort_by_key(|(_, from, to)| (*from, *to));
    }
    slices
}

/// Returns when a vCPU is ready and does not run. It wants to run from a wake-up on, and as long as it did not say that it
/// waits.
fn waiting(timeline: &Timeline, of: Vcpu, runs: &[(String, u64, u64)]) -> Vec<(String, u64, u64)> {
    let marks = timeline.marks.iter().filter(|mark| mark.vcpu == of);
    let mut turns: Vec<(u64, bool)> = marks
        .filter_map(|mark| match mark.what {
            MarkKind::Wake => Some((mark.at, true)),
            MarkKind::Block => Some((mark.at, false)),
            _ => None,
        })
        .collect();
    turns.push((timeline.to, false));
    let mut waits = Vec::new();
    let mut since: Option<u64> = None;
    let mut runs = runs.iter().peekable();
    for (at, wants) in turns {
        match (since, wants) {
            (None, true) => since = Some(at),
            (Some(from), false) => {
                subtract(from, at, &mut runs, &mut waits);
                since = None;
            }
            _ => {}
        }
    }
    waits
}

/// Adds what of a time is not covered by runs.
fn subtract<'a>(
    mut from: u64,
    to: u64,
    runs: &mut std::iter::Peekable<impl Iterator<Item = &'a (String, u64, u64)>>,
    waits: &mut Vec<(String, u64, u64)>,
) {
    let mut add = |from: u64, to: u64| {
        if to > from {
            waits.push(("ready, waits for its pCPU".to_owned(), from, to));
        }
    };
    while let Some((_, begin, end)) = runs.peek().filter(|run| run.1 < to) {
        add(from, *begin);
        from = from.max(*end);
        if *end > to {
            break;
        }
        runs.next();
    }
    add(from, to);
}

#[cfg(test)]
mod tests;
