//! A trace file as strictly read as its readers could: what Perfetto's trace processor would drop or misplace without a word
//! is a complaint here.
//!
//! # Source
//! "Trace Event Format" (Chromium); the JSON importer of Perfetto's trace processor: events are sorted by time, those of
//! one time stay in the file's order; a thread belongs to one process; slices and instants of a thread lie on one track,
//! where they must nest.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

/// Complaints that are listed; what is wrong once is often wrong everywhere.
const MOST: usize = 20;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    display_time_unit: String,
    trace_events: Vec<Event>,
}

/// An event of any kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    ph: String,
    pid: u32,
    tid: u32,
    /// Microseconds.
    ts: f64,
    name: String,
    dur: Option<f64>,
    s: Option<String>,
    args: Option<BTreeMap<String, Value>>,
}

/// What is known so far.
#[derive(Default)]
struct Reader {
    complaints: Vec<String>,
    /// Processes and threads with a name.
    processes: BTreeSet<u32>,
    threads: BTreeSet<u32>,
    /// The process of each thread.
    homes: BTreeMap<u32, u32>,
    /// What lies on each thread's track: from, to, in nanoseconds, in the file's order.
    tracks: BTreeMap<u32, Vec<(u64, u64)>>,
    /// Processes and threads that events are about.
    used: BTreeSet<(u32, u32)>,
}

/// Returns what is wrong with a file.
pub fn complaints(text: &str) -> Vec<String> {
    let file: File = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => return vec![format!("no trace file: {error}")],
    };
    let mut reader = Reader::default();
    if !matches!(file.display_time_unit.as_str(), "ns" | "ms") {
        reader.complain(format!("the unit `{}`", file.display_time_unit));
    }
    for event in &file.trace_events {
        reader.take(event);
    }
    reader.finish();
    reader.complaints
}

/// Returns nanoseconds, when the number is some.
fn ns(us: f64) -> Option<u64> {
    let ns = (us * 1000.0).round();
    (0.0..9.0e15).contains(&ns).then_some(ns as u64)
}

impl Reader {
    fn complain(&mut self, what: String) {
        if self.complaints.len() < MOST {
            self.complaints.push(what);
        }
    }

    /// Takes an event.
    fn take(&mut self, event: &Event) {
        let Event { ph, name, .. } = event;
        let what = format!("event {ph} `{name}` at {}", event.ts);
        let Some(from) = ns(event.ts) else {
            self.complain(format!("{what}: no time"));
            return;
        };
        if name.is_empty() || name.chars().any(char::is_control) {
            self.complain(format!("{what}: no name"));
        }
        // An event about a process alone names no thread of its own.
        if event.tid != 0 {
            let home = *self.homes.entry(event.tid).or_insert(event.pid);
            if home != event.pid {
                self.complain(format!("{what}: thread {} is in two processes", event.tid));
            }
        }
        let only = |dur: bool, s: bool| event.dur.is_some() == dur && event.s.is_some() == s;
        let right = match ph.as_str() {
            "M" => only(false, false) && self.metadata(event),
            "X" => only(true, false) && self.slice(event, from),
            "i" => only(false, true) && self.instant(event, from),
            "C" => only(false, false) && counts(event),
            _ => false,
        };
        if !right {
            self.complain(format!("{what}: not as its kind must be"));
        }
        if ph != "M" {
            self.used.insert((event.pid, event.tid));
        }
    }

    /// Takes a name, or a place in the order.
    fn metadata(&mut self, event: &Event) -> bool {
        let args = event.args.as_ref();
        let arg = |key: &str| args.filter(|args| args.len() == 1)?.get(key);
        let named = || {
            arg("name")
                .and_then(Value::as_str)
                .is_some_and(|name| !name.is_empty())
        };
        match event.name.as_str() {
            "process_name" => named() && self.processes.insert(event.pid),
            "thread_name" => named() && self.threads.insert(event.tid),
            "process_sort_index" | "thread_sort_index" => {
                arg("sort_index").is_some_and(Value::is_u64)
            }
            _ => false,
        }
    }

    fn slice(&mut self, event: &Event, from: u64) -> bool {
        let Some(length) = event.dur.and_then(ns) else {
            return false;
        };
        let track = self.tracks.entry(event.tid).or_default();
        track.push((from, from + length));
        true
    }

    fn instant(&mut self, event: &Event, from: u64) -> bool {
        self.tracks.entry(event.tid).or_default().push((from, from));
        event.s.as_deref() == Some("t")
    }

    /// Looks at what can be seen at the end alone.
    fn finish(&mut self) {
        for (pid, tid) in std::mem::take(&mut self.used) {
            if !self.processes.contains(&pid) || !self.threads.contains(&tid) {
                self.complain(format!("process {pid} or its thread {tid} has no name"));
            }
        }
        for (tid, mut track) in std::mem::take(&mut self.tracks) {
            // By time alone: what comes first in the file encloses what comes later.
            track.sort_by_key(|(from, _)| *from);
            let mut open: Vec<u64> = Vec::new();
            for (from, to) in track {
                open.retain(|end| *end > from);
                if open.iter().any(|end| to > *end) {
                    self.complain(format!("thread {tid}: {from}..{to} ns cuts another slice"));
                }
                open.push(to);
            }
        }
    }
}

/// Are a counter's values numbers?
fn counts(event: &Event) -> bool {
    let args = event.args.as_ref();
    args.is_some_and(|args| !args.is_empty() && args.values().all(Value::is_number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file with all kinds of events.
    const GOOD: [&str; 9] = [
        r#"{"pid":2,"tid":0,"ts":0.000,"ph":"M","name":"process_name","args":{"name":"loop"}}"#,
        r#"{"pid":2,"tid":0,"ts":0.000,"ph":"M","name":"process_sort_index","args":{"sort_index":2}}"#,
        r#"{"pid":2,"tid":200,"ts":0.000,"ph":"M","name":"thread_name","args":{"name":"vCPU 0"}}"#,
        r#"{"pid":2,"tid":200,"ts":1.000,"ph":"X","dur":2.500,"name":"runs"}"#,
        r#"{"pid":2,"tid":200,"ts":1.000,"ph":"X","dur":0.500,"name":"EL2"}"#,
        r#"{"pid":2,"tid":200,"ts":1.250,"ph":"i","s":"t","name":"timer","args":{"intid":27}}"#,
        r#"{"pid":2,"tid":200,"ts":1.500,"ph":"X","dur":1.000,"name":"EL2"}"#,
        r#"{"pid":2,"tid":200,"ts":3.500,"ph":"X","dur":1.000,"name":"waits"}"#,
        r#"{"pid":2,"tid":200,"ts":2.000,"ph":"C","name":"budget","args":{"left_ns":5}}"#,
    ];

    fn judged(events: &[&str]) -> Vec<String> {
        let events = events.join(",\n");
        complaints(&format!(
            "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n{events}\n]}}"
        ))
    }

    /// Replaces an event, or a text in it.
    fn with(index: usize, old: &str, new: &str) -> Vec<String> {
        let changed = GOOD[index].replace(old, new);
        assert_ne!(changed, GOOD[index]);
        let mut events = GOOD;
        events[index] = &changed;
        judged(&events)
    }

    #[test]
    fn a_good_file_is_accepted() {
        assert!(judged(&GOOD).is_empty(), "{:?}", judged(&GOOD));
    }

    #[test]
    fn what_a_reader_would_drop_is_a_complaint() {
        for (index, old, new) in [
            (3, "\"X\"", "\"Y\""),
            (3, ",\"dur\":2.500", ""),
            (3, "2.500", "-2.500"),
            (3, "\"ts\":1.000", "\"ts\":\"1\""),
            (3, "\"ts\":1.000,", ""),
            (3, "\"pid\":2,", ""),
            (3, "\"tid\":200", "\"tid\":-1"),
            (3, "\"runs\"", "\"\""),
            (3, "\"name\":", "\"nmae\":"),
            (5, "\"s\":\"t\",", ""),
            (5, "\"s\":\"t\"", "\"s\":\"thread\""),
            (8, "5}", "\"five\"}"),
            (8, "{\"left_ns\":5}", "{}"),
            (2, "\"vCPU 0\"", "\"\""),
            (2, "thread_name", "thread_nom"),
        ] {
            assert!(!with(index, old, new).is_empty(), "{index}: {new}");
        }
        assert!(!complaints("{\"traceEvents\":[").is_empty());
        assert!(!complaints("[]").is_empty());
    }

    #[test]
    fn what_a_reader_would_misplace_is_a_complaint() {
        let cuts = with(4, "0.500", "3.000");
        assert!(cuts[0].contains("cuts another slice"), "{cuts:?}");
        // The inner slice first, at the same time.
        let mut events = GOOD;
        events.swap(3, 4);
        assert!(judged(&events)[0].contains("cuts another slice"));
        assert!(with(7, "\"pid\":2", "\"pid\":3")[0].contains("in two processes"));
        assert!(with(2, "200", "201")[0].contains("has no name"));
        let mut twice = GOOD.to_vec();
        twice.push(GOOD[2]);
        assert!(!judged(&twice).is_empty());
    }
}
