use super::*;
use crate::trace::timeline::tests::{one_turn, record, recording};
use bulkhead::trace::What;

/// Events of a file, as its reader sees them.
fn events(tracks: &[&[bulkhead::trace::Record]]) -> Vec<Value> {
    let recording = recording(tracks);
    let file = file(&Timeline::new(&recording), &recording);
    assert_eq!(reader::complaints(&file), [""; 0]);
    let file: Value = serde_json::from_str(&file).expect("JSON");
    file["traceEvents"].as_array().expect("events").clone()
}

fn with_phase<'a>(events: &'a [Value], phase: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["ph"] == phase).collect()
}

/// Returns pid and tid.
fn track(event: &Value) -> (u64, u64) {
    (
        event["pid"].as_u64().unwrap(),
        event["tid"].as_u64().unwrap(),
    )
}

fn ns(event: &Value, field: &str) -> u64 {
    (event[field].as_f64().unwrap() * 1000.0).round() as u64
}

#[test]
fn every_track_has_a_name() {
    let second = [record(1500, 0, What::Run), record(1600, 0, What::Enter)];
    let events = events(&[&one_turn(), &second]);
    let names: BTreeMap<_, _> = with_phase(&events, "M")
        .into_iter()
        .filter(|event| event["args"]["name"].is_string())
        .map(|event| {
            let (pid, tid) = track(event);
            ((pid, tid), event["args"]["name"].as_str().unwrap())
        })
        .collect();
    let expected = [
        ((1, 0), "pCPUs"),
        ((1, 100), "pCPU 0"),
        ((1, 101), "pCPU 1"),
        ((2, 0), "loop"),
        ((2, 200), "vCPU 0"),
        ((3, 0), "linux"),
        ((3, 300), "vCPU 0"),
        ((3, 301), "vCPU 1"),
    ];
    assert_eq!(names, BTreeMap::from(expected));
    for event in &events {
        assert!(names.contains_key(&track(event)), "{event}");
    }
}

#[test]
fn slices_of_a_track_are_in_order_and_nest() {
    let events = events(&[&one_turn()]);
    let mut open: BTreeMap<(u64, u64), Vec<u64>> = BTreeMap::new();
    let mut last: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let slices = with_phase(&events, "X");
    assert!(slices.len() > 10);
    for slice in slices {
        let (from, key) = (ns(slice, "ts"), track(slice));
        let to = from + ns(slice, "dur");
        assert!(*last.get(&key).unwrap_or(&0) <= from, "{slice}");
        last.insert(key, from);
        let open = open.entry(key).or_default();
        open.retain(|end| *end > from);
        assert!(open.iter().all(|end| to <= *end), "{slice}");
        open.push(to);
    }
}

#[test]
fn slices_say_who_and_why() {
    let events = events(&[&one_turn()]);
    let at = |pid, tid, us: f64| -> Vec<&str> {
        with_phase(&events, "X")
            .into_iter()
            .filter(|event| track(event) == (pid, tid))
            .filter(|event| {
                let from = event["ts"].as_f64().unwrap();
                from <= us && us < from + event["dur"].as_f64().unwrap()
            })
            .map(|event| event["name"].as_str().unwrap())
            .collect()
    };
    assert_eq!(at(1, 100, 0.050), ["linux"]);
    assert_eq!(at(1, 100, 0.110), ["linux", "HVC yield"]);
    assert_eq!(at(1, 100, 0.230), ["loop", "EL2's timer"]);
    assert_eq!(at(1, 100, 0.260), ["loop"]);
    assert_eq!(at(1, 100, 0.600), ["idle"]);
    assert_eq!(at(2, 200, 0.215), ["ready, waits for its pCPU"]);
    assert_eq!(at(2, 200, 0.260), ["runs on pCPU 0"]);
    assert!(at(2, 200, 0.330).is_empty());
    assert_eq!(at(3, 300, 0.050), ["runs on pCPU 0"]);
    let instants = with_phase(&events, "i");
    let shown: Vec<_> = instants
        .iter()
        .map(|event| (event["name"].as_str().unwrap(), ns(event, "ts")))
        .collect();
    assert_eq!(shown, [("virtual timer", 240), ("interrupt 34", 930)]);
    assert_eq!(instants[0]["args"]["after_ns"], 70);
}

#[test]
fn a_budget_is_a_counter() {
    let budget = |ticks, event, left| record(ticks, 1, What::Budget { event, left });
    let records = [
        budget(100, BudgetEvent::Exhausted, 0),
        budget(300, BudgetEvent::Replenished, 40),
    ];
    let events = events(&[&records]);
    let counters: Vec<_> = with_phase(&events, "C")
        .into_iter()
        .map(|event| (ns(event, "ts"), event["args"]["left_ns"].as_u64().unwrap()))
        .collect();
    assert_eq!(counters, [(0, 0), (200, 40)]);
}
