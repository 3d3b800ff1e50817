//! What the analysis of response times says, for people and as JSON.

use serde_json::{Value, json};

use super::Row;
use crate::analysis::{Load, Promise};
use crate::check::time::{PcpuTime, User};
use crate::platform::El2Costs;
use crate::units::{bound_time, floor_time, percent, show_time};

/// What is reported.
#[derive(Clone, Copy)]
pub struct Time<'a> {
    /// The pCPUs that somebody runs on.
    pub pcpus: &'a [PcpuTime<'a>],
    /// What EL2 costs, if the board says so.
    pub costs: Option<&'a El2Costs>,
    /// Who serves the console, and the highest priority that gives way to it.
    pub console: (u32, u8),
}

/// Writes the rows for people.
pub fn rows(time: &Time<'_>) -> Vec<Row> {
    let mut rows = Vec::new();
    for pcpu in time.pcpus {
        rows.push(Row {
            place: format!("pCPU {}", pcpu.position),
            what: String::new(),
            remark: load_words(&pcpu.load),
        });
        for (user, promise) in pcpu.users.iter().zip(&pcpu.promises) {
            let mut remarks = remarks(pcpu, user, promise).into_iter();
            rows.push(Row {
                place: format!("  priority {:3}", user.vcpu.priority),
                what: format!("{} vCPU {}", user.name, user.index),
                remark: remarks.next().unwrap_or_default(),
            });
            rows.extend(remarks.map(|remark| Row {
                place: String::new(),
                what: String::new(),
                remark,
            }));
        }
    }
    let (what, remark) = costs_words(time.costs);
    rows.push(Row {
        place: "EL2 itself".to_owned(),
        what: String::new(),
        remark: what,
    });
    let (pcpu, priority) = time.console;
    let console = format!(
        "without its console on pCPU {pcpu}, which goes before priority {priority} and less"
    );
    rows.extend([remark, console].map(|remark| Row {
        place: String::new(),
        what: String::new(),
        remark,
    }));
    rows
}

/// Says what EL2 costs, and where that comes from.
fn costs_words(costs: Option<&El2Costs>) -> (String, String) {
    let Some(El2Costs {
        switch_ns,
        stay_ns,
        basis,
        ..
    }) = costs
    else {
        let nothing = "counted as nothing: the board says no `[el2]` in its `board.toml`";
        return (nothing.to_owned(), String::new());
    };
    let words = format!("world switch {switch_ns} ns, longest stay {stay_ns} ns");
    (words, basis.clone())
}

/// Says how much is asked of a pCPU.
fn load_words(load: &Load) -> String {
    let available = percent(load.available_ppm);
    if load.budgets_ppm == 0 {
        return format!("no budgets; {available} of the time is there");
    }
    let (budgets, all) = (percent(load.budgets_ppm), percent(load.with_el2_ppm));
    format!("budgets {budgets}, {all} with EL2's work, of {available}")
}

/// Says what a vCPU can count on.
fn remarks(pcpu: &PcpuTime<'_>, user: &User<'_>, promise: &Promise) -> Vec<String> {
    let Some(wakes) = promise.wakes_ns else {
        return vec![format!("no guarantee: {}", why_not(pcpu, promise))];
    };
    let wakes = format!("wakes within {}", bound_time(wakes));
    if user.vcpu.budget_ns == 0 {
        return vec![match promise.share_ppm {
            0 => wakes,
            share => format!(
                "{wakes}; at least {}.{} % is left to it",
                share / 10_000,
                share / 1_000 % 10
            ),
        }];
    }
    let budget = show_time(user.vcpu.budget_ns);
    let Some(response) = promise.response_ns else {
        return vec![format!("{wakes}; {budget} within no known time")];
    };
    let slack = match user.vcpu.period_ns.checked_sub(response) {
        Some(slack) => format!("slack {}", floor_time(slack)),
        None => format!(
            "too late for its period of {}",
            show_time(user.vcpu.period_ns)
        ),
    };
    let always = bound_time(busy_ns(user, response));
    let mut remarks = vec![
        format!("{wakes}; {budget} within {}, {slack}", bound_time(response)),
        format!("when busy {budget} in any {always}"),
    ];
    if let Some(spare) = promise.spare_wakes {
        let most = spare + 1;
        remarks.push(format!(
            "as long as those before it wake up to {most} times a period"
        ));
    }
    remarks
}

/// Returns the interval in which a vCPU that always wants to run gets its budget.
fn busy_ns(user: &User<'_>, response: u64) -> u64 {
    user.vcpu.period_ns + response - user.vcpu.budget_ns
}

/// Says who leaves no time to a vCPU.
fn why_not(pcpu: &PcpuTime<'_>, promise: &Promise) -> String {
    let hogs = promise
        .starved_by
        .iter()
        .filter_map(|at| pcpu.users.get(*at));
    let mut names: Vec<String> = hogs.map(User::label).collect();
    match names.len() {
        0 => "the budgets before it take all time".to_owned(),
        1..=2 => format!("{} may run for ever", names.join(" and ")),
        more => {
            names.truncate(2);
            format!(
                "{} and {} more may run for ever",
                names.join(", "),
                more - 2
            )
        }
    }
}

/// Writes all of it as JSON.
pub fn json(time: &Time<'_>) -> Value {
    let costs = time.costs.map(|costs| {
        json!({ "switch_ns": costs.switch_ns, "stay_ns": costs.stay_ns, "basis": costs.basis })
    });
    let pcpus: Vec<Value> = time.pcpus.iter().map(pcpu_json).collect();
    let (pcpu, priority) = time.console;
    let console = json!({ "pcpu": pcpu, "priority": priority });
    json!({ "el2": costs, "console": console, "pcpus": pcpus })
}

/// Writes a pCPU.
fn pcpu_json(pcpu: &PcpuTime<'_>) -> Value {
    let vcpus = pcpu.users.iter().zip(&pcpu.promises);
    let vcpus: Vec<Value> = vcpus
        .map(|(user, promise)| vcpu_json(pcpu, user, promise))
        .collect();
    json!({
        "pcpu": pcpu.position,
        "budgets_ppm": pcpu.load.budgets_ppm,
        "with_el2_ppm": pcpu.load.with_el2_ppm,
        "available_ppm": pcpu.load.available_ppm,
        "vcpus": vcpus,
    })
}

/// Writes a vCPU.
fn vcpu_json(pcpu: &PcpuTime<'_>, user: &User<'_>, promise: &Promise) -> Value {
    let response = promise.response_ns;
    let slack = response.map(|r| i128::from(user.vcpu.period_ns) - i128::from(r));
    let starved = promise
        .starved_by
        .iter()
        .filter_map(|at| pcpu.users.get(*at));
    let starved = starved.map(|hog| json!({ "partition": hog.name, "vcpu": hog.index }));
    json!({
        "partition": user.name,
        "vcpu": user.index,
        "wakes_ns": promise.wakes_ns,
        "response_ns": response,
        "slack_ns": slack.and_then(|slack| i64::try_from(slack).ok()),
        "busy_interval_ns": response.map(|response| busy_ns(user, response)),
        "share_ppm": promise.share_ppm,
        "spare_wakes": promise.spare_wakes,
        "starved_by": starved.collect::<Vec<_>>(),
    })
}
