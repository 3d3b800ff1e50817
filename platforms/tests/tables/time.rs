//! Budgets and time windows, from the table to EL2's records.

use bulkhead::config::payload::Payload;
use bulkhead::config::record::{BY_POSITION, pcpu_flags};
use bulkhead_platforms::{Rule, System};
use zerocopy::IntoBytes;

use crate::board::Board;
use crate::shipped::aligned;
use crate::{Bench, qemu_virt};

/// Compiles a table of two partitions, `loop` with one vCPU and `smp` with two, and what stands in between.
fn compiled(name: &str, between: &str, of_loop: &str) -> System {
    let text = format!(
        r#"
[system]
version  = 1
platform = "qemu-virt"
{between}
[[partition]]
name   = "loop"
image  = {{ guest = "hello" }}
memory = "2M"
vcpus  = [{{ pcpu = 0, priority = 200{of_loop} }}]

[[partition]]
name   = "smp"
image  = {{ guest = "hello" }}
memory = "2M"
vcpus  = [{{ pcpu = 0, priority = 10 }}, {{ pcpu = 1, priority = 10 }}]
"#
    );
    let mut bench = Bench::new(name);
    let table = bench.put("table.toml", text.as_bytes());
    match bench.compile(&table, &qemu_virt(), &Board::default()) {
        Ok(system) => system,
        Err(list) => panic!("{}", list.render(false)),
    }
}

/// Says whether the more urgent `loop` is remarked upon.
fn warns(system: &System) -> bool {
    let mut warnings = system.warnings().iter();
    warnings.any(|found| found.rule == Rule::UrgentNeighbour)
}

#[test]
fn budgets_reach_the_records_and_calm_the_neighbour() {
    let plain = compiled("plain", "", ", period = \"1ms\"");
    assert!(warns(&plain), "a period alone limits nothing");
    let budget = ", period = \"1ms\", budget = \"200us\", on_exhaustion = \"background\"";
    let system = compiled("budget", "", budget);
    assert!(!warns(&system), "a budget does");
    let words = aligned(system.payload());
    let payload = Payload::new(words.as_bytes()).expect("a payload that EL2 accepts");
    let vcpu = &payload.vcpus(&payload.partitions()[0])[0];
    assert_eq!((vcpu.budget_ns, vcpu.period_ns), (200_000, 1_000_000));
    assert_eq!(vcpu.background, 1);
    let vcpu = &payload.vcpus(&payload.partitions()[1])[0];
    assert_eq!((vcpu.budget_ns, vcpu.period_ns, vcpu.background), (0, 0, 0));
    assert!(payload.pcpus().is_empty());
}

/// A pCPU where `loop` runs first and `smp` then, written the other way round.
const WINDOWS: &str = r#"
[[pcpu]]
id = 1
allow_overload = true

[[pcpu]]
id = 0
major_frame = "10ms"
windows = [
  { start = "4ms", length = "6ms", partitions = ["smp"] },
  { start = "0ms", length = "3ms", partitions = ["loop"] },
]
"#;

#[test]
fn windows_reach_the_records_by_start_and_keep_neighbours_apart() {
    let system = compiled("windows", WINDOWS, "");
    assert!(!warns(&system), "they never meet");
    let words = aligned(system.payload());
    let payload = Payload::new(words.as_bytes()).expect("a payload that EL2 accepts");
    let [one, zero] = payload.pcpus() else {
        panic!("two pCPUs");
    };
    assert_eq!((one.pcpu, one.flags), (1, pcpu_flags::ALLOW_OVERLOAD));
    assert!(payload.time_windows(one).is_empty());
    assert_eq!((zero.pcpu, zero.flags), (0, 0));
    assert_eq!(zero.major_frame_ns, 10_000_000);
    let windows = payload.time_windows(zero).iter();
    let windows: Vec<_> = windows
        .map(|window| (window.start_ns, window.length_ns, window.partitions))
        .collect();
    assert_eq!(
        windows,
        [(0, 3_000_000, 0b01), (4_000_000, 6_000_000, 0b10)]
    );
    assert_eq!([one.mpidr, zero.mpidr], [BY_POSITION; 2]);
    let named = WINDOWS.replace("id = 0", "id = { mpidr = 0x0 }");
    let system = compiled("named", &named, "");
    let words = aligned(system.payload());
    let payload = Payload::new(words.as_bytes()).expect("a payload that EL2 accepts");
    let names = payload.pcpus().iter().map(|record| record.mpidr);
    assert_eq!(names.collect::<Vec<_>>(), [BY_POSITION, 0]);
    let together = WINDOWS.replace("\"smp\"]", "\"smp\", \"loop\"]");
    assert!(warns(&compiled("together", &together, "")), "here they do");
}

#[test]
fn report_says_what_a_vcpu_can_count_on() {
    let system = compiled("report", "", ", period = \"1ms\", budget = \"200us\"");
    let report = system.report();
    let has = |line: &str| assert!(report.contains(line), "no {line:?} in\n{report}");
    has("wakes within 5500 ns; 200 us within 205.5 us, slack 794.5 us");
    has("when busy 200 us in any 1005.5 us");
    has("wakes within 213.5 us; at least 79.2 % is left to it");
    has("world switch 2500 ns, longest stay 3000 ns");
    let json: serde_json::Value = serde_json::from_str(&system.report_json()).expect("JSON");
    let vcpu = &json["time"]["pcpus"][0]["vcpus"][0];
    assert_eq!(vcpu["response_ns"], 205_500);
    assert_eq!(vcpu["slack_ns"], 794_500);
    let starved = compiled("starved", "", "");
    assert!(
        starved
            .report()
            .contains("no guarantee: `loop` vCPU 0 may run for ever")
    );
}

#[test]
fn board_without_costs_says_so() {
    let mut bench = Bench::new("no-costs");
    let mut platform = qemu_virt();
    platform.el2 = None;
    let table = platform.table("default");
    let system = bench.compile(&table, &platform, &Board::default());
    let report = system.expect("a good table").report();
    assert!(report.contains("counted as nothing"), "{report}");
}
