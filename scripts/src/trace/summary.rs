//! A trace in numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use bulkhead::trace::BudgetEvent;
use serde_json::{Map, Value, json};

use super::names::interrupt;
use super::recording::Recording;
use super::timeline::{Mark, MarkKind, Timeline, Who};

/// How ticks of a pCPU, or of all, were spent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// By partition: in the guest, at EL2 for it, loading it.
    pub partitions: BTreeMap<u8, [u64; 3]>,
    /// Asleep.
    pub idle: u64,
    /// At EL2 for nobody.
    pub nobody: u64,
    /// Not recorded.
    pub unknown: u64,
}

impl Spent {
    /// Returns all ticks.
    pub fn total(&self) -> u64 {
        let partitions = self.partitions.values().flatten().sum::<u64>();
        partitions + self.idle + self.nobody + self.unknown
    }

    fn add(&mut self, who: Who, el2: bool, ticks: u64) {
        match who {
            Who::Vcpu((partition, _)) => {
                self.partitions.entry(partition).or_default()[usize::from(el2)] += ticks;
            }
            Who::Loading((partition, _)) => {
                self.partitions.entry(partition).or_default()[2] += ticks;
            }
            Who::Idle => self.idle += ticks,
            Who::Nobody => self.nobody += ticks,
            Who::Unknown => self.unknown += ticks,
        }
    }
}

/// A number of samples, in ticks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples(Vec<u64>);

impl Samples {
    /// Sorts samples.
    pub fn new(mut samples: Vec<u64>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }

    /// Returns their number.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the smallest sample that `percent` of all are not larger than.
    pub fn percentile(&self, percent: usize) -> u64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).copied().unwrap_or(0)
    }

    /// Returns their sum.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// A trace in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Ticks from the first record to the last.
    pub elapsed: u64,
    /// By pCPU.
    pub pcpus: BTreeMap<u8, Spent>,
    /// World switches by pCPU.
    pub switches: BTreeMap<u8, u64>,
    /// Stays at EL2, by what brought the pCPU there.
    pub stays: BTreeMap<String, Samples>,
    /// The same, by partition; those out of sleep are nobody's.
    pub traps: BTreeMap<(u8, String), u64>,
    /// From a vCPU's wake-up to its entry, by vCPU.
    pub wakes: BTreeMap<(u8, u8), Samples>,
    /// From an interrupt's cause to the entry of the guest that it is shown to, by vCPU and INTID.
    pub interrupts: BTreeMap<((u8, u8), u16), Samples>,
    /// How often a budget was used up, and how often some of it came back, by vCPU.
    pub budgets: BTreeMap<(u8, u8), [u64; 2]>,
    /// Virtual interrupts shown, by vCPU and INTID.
    pub shown: BTreeMap<((u8, u8), u16), u64>,
}

impl Summary {
    /// Counts.
    pub fn new(timeline: &Timeline) -> Self {
        let mut summary = Self {
            elapsed: timeline.to - timeline.from,
            ..Self::default()
        };
        let mut stays: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for lane in &timeline.lanes {
            let spent = summary.pcpus.entry(lane.pcpu).or_default();
            for span in &lane.spans {
                spent.add(span.who, span.el2, span.to - span.from);
            }
            summary.switches.insert(lane.pcpu, lane.switches);
            for stay in &lane.stays {
                let ticks = stay.to - stay.from;
                stays.entry(stay.reason.clone()).or_default().push(ticks);
                if let Some((partition, _)) = stay.vcpu {
                    let key = (partition, stay.reason.clone());
                    *summary.traps.entry(key).or_default() += 1;
                }
            }
        }
        summary.stays = sorted(stays);
        summary.wakes = sorted(timeline.wakes.clone());
        summary.count_marks(&timeline.marks);
        summary
    }

    /// Counts what happened to vCPUs.
    fn count_marks(&mut self, marks: &[Mark]) {
        let mut interrupts: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for mark in marks {
            match mark.what {
                MarkKind::Interrupt(intid, after) => {
                    let key = (mark.vcpu, intid);
                    *self.shown.entry(key).or_default() += 1;
                    if let Some(after) = after {
                        interrupts.entry(key).or_default().push(after);
                    }
                }
                MarkKind::Budget(event, _) => {
                    let counts = self.budgets.entry(mark.vcpu).or_default();
                    counts[usize::from(event == BudgetEvent::Replenished)] += 1;
                }
                MarkKind::Wake | MarkKind::Block => {}
            }
        }
        self.interrupts = sorted(interrupts);
    }

    /// Returns it as text.
    pub fn text(&self, of: &Recording) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = self.write(of, &mut out);
        out
    }

    fn write(&self, of: &Recording, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "trace: {} on {} pCPUs, {} records, {} lost, counter at {}",
            time(of.ns(self.elapsed)),
            self.pcpus.len(),
            of.records(),
            of.lost(),
            hertz(of.frequency)
        )?;
        self.write_time(of, out)?;
        self.write_stays(of, out)?;
        self.write_latencies(of, out)?;
        self.write_budgets(of, out)
    }

    /// Writes how the time was spent, a column for each pCPU.
    fn write_time(&self, of: &Recording, out: &mut String) -> std::fmt::Result {
        let share = |ticks: u64| ticks as f64 * 100.0 / self.elapsed.max(1) as f64;
        write!(out, "\n{:<30}", "time in %")?;
        for pcpu in self.pcpus.keys() {
            write!(out, "{:>10}", format!("pCPU {pcpu}"))?;
        }
        writeln!(out)?;
        let mut row = |name: &str, ticks: &dyn Fn(&Spent) -> u64| {
            let values: Vec<u64> = self.pcpus.values().map(ticks).collect();
            if values.iter().all(|ticks| *ticks == 0) {
                return Ok(());
            }
            write!(out, "  {name:<28}")?;
            for value in values {
                write!(out, "{:>10.3}", share(value))?;
            }
            writeln!(out)
        };
        for partition in 0..of.names.len() as u8 {
            let name = of.name(partition);
            for (at, what) in ["", ": EL2", ": loading"].iter().enumerate() {
                row(&format!("{name}{what}"), &|spent| {
                    spent.partitions.get(&partition).map_or(0, |all| all[at])
                })?;
            }
        }
        row("EL2 for nobody", &|spent| spent.nobody)?;
        row("idle", &|spent| spent.idle)?;
        row("not recorded", &|spent| spent.unknown)?;
        write!(out, "{:<30}", "world switches")?;
        for switches in self.switches.values() {
            write!(out, "{switches:>10}")?;
        }
        writeln!(out)
    }

    /// Writes stays at EL2 by kind.
    fn write_stays(&self, of: &Recording, out: &mut String) -> std::fmt::Result {
        head(out, "stay at EL2 after")?;
        let mut stays: Vec<_> = self.stays.iter().collect();
        stays.sort_by_key(|(_, samples)| std::cmp::Reverse(samples.sum()));
        for (reason, samples) in stays {
            line(out, of, reason, samples)?;
        }
        Ok(())
    }

    /// Writes latencies by vCPU.
    fn write_latencies(&self, of: &Recording, out: &mut String) -> std::fmt::Result {
        if !self.wakes.is_empty() {
            head(out, "from wake-up to entry")?;
        }
        for (vcpu, samples) in &self.wakes {
            line(out, of, &of.vcpu_name(*vcpu), samples)?;
        }
        if !self.interrupts.is_empty() {
            head(out, "from interrupt to entry")?;
        }
        for ((vcpu, intid), samples) in &self.interrupts {
            let name = format!("{}: {}", of.vcpu_name(*vcpu), interrupt(*intid));
            line(out, of, &name, samples)?;
        }
        Ok(())
    }

    /// Writes what happened to budgets.
    fn write_budgets(&self, of: &Recording, out: &mut String) -> std::fmt::Result {
        if !self.budgets.is_empty() {
            let title = "budget";
            writeln!(out, "\n{title:<30}{:>10}{:>10}", "used up", "came back")?;
        }
        for (vcpu, [used, back]) in &self.budgets {
            let name = of.vcpu_name(*vcpu);
            writeln!(out, "  {name:<28}{used:>10}{back:>10}")?;
        }
        Ok(())
    }

    /// Returns it as JSON, times in nanoseconds.
    pub fn json(&self, of: &Recording) -> Value {
        let pcpus = self.pcpus.iter().map(|(pcpu, spent)| {
            let switches = self.switches.get(pcpu).copied().unwrap_or(0);
            (pcpu.to_string(), spent_json(of, spent, switches))
        });
        let traps = self.traps.iter().map(|((partition, reason), count)| {
            json!({ "partition": of.name(*partition), "reason": reason, "count": count })
        });
        let stays = self.stays.iter();
        let stays = stays.map(|(reason, all)| (reason.clone(), samples_json(of, all)));
        let wakes = self.wakes.iter();
        let wakes = wakes.map(|(vcpu, all)| (of.vcpu_name(*vcpu), samples_json(of, all)));
        let interrupts = self.shown.iter().map(|((vcpu, intid), count)| {
            let after = self.interrupts.get(&(*vcpu, *intid));
            let after = after.map(|all| samples_json(of, all));
            json!({ "vcpu": of.vcpu_name(*vcpu), "intid": intid, "count": count, "after": after })
        });
        let budgets = self.budgets.iter().map(|(vcpu, [used, back])| {
            let counts = json!({ "used_up": used, "came_back": back });
            (of.vcpu_name(*vcpu), counts)
        });
        json!({
            "elapsed_ns": of.ns(self.elapsed),
            "frequency_hz": of.frequency,
            "records": of.records(),
            "lost": of.lost(),
            "pcpus": pcpus.collect::<Map<_, _>>(),
            "traps": traps.collect::<Vec<_>>(),
            "stays": stays.collect::<Map<_, _>>(),
            "wake_to_entry": wakes.collect::<Map<_, _>>(),
            "interrupts": interrupts.collect::<Vec<_>>(),
            "budgets": budgets.collect::<Map<_, _>>(),
        })
    }
}

/// Returns how a pCPU's time was spent.
fn spent_json(of: &Recording, spent: &Spent, switches: u64) -> Value {
    let partitions = spent.partitions.iter().map(|(partition, all)| {
        let [guest, el2, loading] = all.map(|ticks| of.ns(ticks));
        let times = json!({ "guest_ns": guest, "el2_ns": el2, "loading_ns": loading });
        (of.name(*partition), times)
    });
    json!({
        "partitions": partitions.collect::<Map<_, _>>(),
        "el2_for_nobody_ns": of.ns(spent.nobody),
        "idle_ns": of.ns(spent.idle),
        "not_recorded_ns": of.ns(spent.unknown),
        "switches": switches,
    })
}

/// Returns what stands for samples.
fn samples_json(of: &Recording, samples: &Samples) -> Value {
    json!({
        "count": samples.count(),
        "sum_ns": of.ns(samples.sum()),
        "median_ns": of.ns(samples.percentile(50)),
        "p99_ns": of.ns(samples.percentile(99)),
        "max_ns": of.ns(samples.percentile(100)),
    })
}

fn sorted<K: Ord>(of: BTreeMap<K, Vec<u64>>) -> BTreeMap<K, Samples> {
    let sorted = |(key, samples)| (key, Samples::new(samples));
    of.into_iter().map(sorted).collect()
}

fn head(out: &mut String, title: &str) -> std::fmt::Result {
    let [count, median, high, most] = ["count", "median", "99 %", "max"];
    writeln!(
        out,
        "\n{title:<30}{count:>10}{median:>10}{high:>10}{most:>10}"
    )
}

fn line(out: &mut String, of: &Recording, name: &str, samples: &Samples) -> std::fmt::Result {
    let [median, high, most] = [50, 99, 100].map(|p| time(of.ns(samples.percentile(p))));
    let count = samples.count();
    writeln!(
        out,
        "  {name:<28}{count:>10}{median:>10}{high:>10}{most:>10}"
    )
}

/// Writes a time in a few digits.
fn time(ns: u64) -> String {
    match ns {
        0..10_000 => format!("{ns} ns"),
        10_000..10_000_000 => format!("{:.1} us", ns as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        _ => format!("{:.2} s", ns as f64 / 1e9),
    }
}

/// Writes a frequency.
fn hertz(hz: u64) -> String {
    match hz {
        0..1_000_000 => format!("{hz} Hz"),
        _ => format!("{} MHz", hz as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples = Samples::new((1..=200).rev().collect());
        assert_eq!(samples.percentile(50), 100);
        assert_eq!(samples.percentile(99), 198);
        assert_eq!(samples.percentile(100), 200);
        assert_eq!(Samples::new(vec![7]).percentile(1), 7);
        assert_eq!(Samples::default().percentile(50), 0);
    }

    #[test]
    fn all_is_counted() {
        use crate::trace::timeline::tests::{one_turn, record, recording};
        use bulkhead::trace::What;
        let budget = |ticks, event| record(ticks, 1, What::Budget { event, left: 9 });
        let mut records = one_turn();
        records.push(budget(2010, BudgetEvent::Exhausted));
        records.push(budget(2020, BudgetEvent::Replenished));
        let recording = recording(&[&records]);
        let summary = Summary::new(&Timeline::new(&recording));
        let spent = &summary.pcpus[&0];
        assert_eq!(spent.partitions[&0], [50, 50, 0]);
        assert_eq!(spent.partitions[&1], [270, 150, 0]);
        assert_eq!((spent.idle, spent.nobody, spent.unknown), (480, 20, 0));
        assert_eq!((spent.total(), summary.elapsed), (1020, 1020));
        assert_eq!(summary.traps[&(1, "HVC yield".to_owned())], 1);
        assert_eq!(summary.traps[&(0, "WFI".to_owned())], 1);
        assert_eq!(summary.stays["WFI"], Samples::new(vec![20, 50]));
        assert_eq!(summary.budgets[&(1, 0)], [1, 1]);
        let text = summary.text(&recording);
        assert!(text.starts_with("trace: 1020 ns on 1 pCPUs, 24 records, 0 lost"));
        assert!(
            text.contains("  linux                                1         1\n"),
            "{text}"
        );
        assert_eq!(summary.json(&recording)["budgets"]["linux"]["used_up"], 1);
    }

    #[test]
    fn times_have_few_digits() {
        assert_eq!(time(9_999), "9999 ns");
        assert_eq!(time(15_360), "15.4 us");
        assert_eq!(time(12_345_678), "12.3 ms");
        assert_eq!(time(61_000_000_000), "61.00 s");
        assert_eq!(hertz(62_500_000), "62.5 MHz");
    }
}
