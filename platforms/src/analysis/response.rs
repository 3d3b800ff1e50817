//! The fixed points behind the promises.

use super::load::ppm;
use super::supply::Supply;
use super::{HORIZON_NS, MAX_PIECES, Model, Promise, Task, Window};

/// Periods and frames, of whatever is longest, after which no bound is looked for any more.
const MAX_PERIODS: u64 = 64;

/// Returns what a vCPU can count on.
pub fn promise(model: &Model, at: usize) -> Promise {
    let task = &model.tasks[at];
    let starved_by = hogs(model, at);
    let supply = supply(model, at, &starved_by);
    let horizon = horizon(model, at);
    let Some(wakes_ns) = time_to(model, at, &supply, (1, 0), horizon) else {
        let by_budgets = starved_by.is_empty();
        return Promise {
            spare_wakes: by_budgets.then_some(0),
            starved_by,
            ..Promise::default()
        };
    };
    let budget = task.budget;
    let need = budget.map_or(1, |budget| budget.budget_ns);
    let most = budget.map_or(horizon, |budget| budget.period_ns);
    let holds = |wakes: u64| time_to(model, at, &supply, (need, wakes), most).is_some();
    Promise {
        wakes_ns: Some(wakes_ns - 1),
        response_ns: budget.and_then(|_| time_to(model, at, &supply, (need, 0), horizon)),
        starved_by: Vec::new(),
        share_ppm: share_ppm(model, at, &supply),
        spare_wakes: largest(most_wakes(model, at), holds),
    }
}

/// Returns those without a budget that can keep a vCPU from running for ever.
fn hogs(model: &Model, at: usize) -> Vec<usize> {
    let task = &model.tasks[at];
    let others = model.tasks.iter().enumerate();
    let hogs = others.filter(|(other, with)| {
        let first =
            with.priority > task.priority || with.priority == task.priority && !turns(model, with);
        *other != at && with.budget.is_none() && first && model.meet(task, with)
    });
    hogs.map(|(other, _)| other).collect()
}

/// Says whether a vCPU leaves the pCPU to its equals after a while. The edge of a window may mix up whose turn it is.
fn turns(model: &Model, task: &Task) -> bool {
    task.time_slice_ns != 0 && model.windows.is_empty()
}

/// Returns the time in which a vCPU may run and none of the given ones does.
fn supply(model: &Model, at: usize, hogs: &[usize]) -> Supply {
    let task = &model.tasks[at];
    let hogs = hogs.iter().map(|hog| model.tasks[*hog].partitions);
    let hogs = hogs.fold(0, |all, partitions| all | partitions);
    let mine = |window: &&Window| {
        window.partitions & task.partitions != 0 && window.partitions & hogs == 0
    };
    if model.windows.is_empty() {
        let nothing = Supply::Parts {
            frame: 1,
            parts: Vec::new(),
        };
        return if hogs == 0 { Supply::Whole } else { nothing };
    }
    parts(model, mine)
}

/// Returns the time of all windows.
pub fn supply_of_all(model: &Model) -> Supply {
    if model.windows.is_empty() {
        return Supply::Whole;
    }
    parts(model, |_| true)
}

/// Returns what is left of some windows: each begins with a late edge and a switch.
fn parts(model: &Model, of: impl FnMut(&&Window) -> bool) -> Supply {
    let edge = blocking(model) + model.costs.switch_ns;
    let windows = model.windows.iter().filter(of);
    let parts = windows.map(|window| (window.start_ns.saturating_add(edge), window.end_ns));
    Supply::Parts {
        frame: model.frame_ns,
        parts: parts.filter(|(start, end)| start < end).collect(),
    }
}

/// Returns the longest that less urgent work holds up.
fn blocking(model: &Model) -> u64 {
    model.costs.stay_ns.max(model.costs.switch_ns)
}

/// Returns the share of time that is left to a vCPU without a budget; nothing when equals without one share it.
fn share_ppm(model: &Model, at: usize, supply: &Supply) -> u64 {
    let task = &model.tasks[at];
    let mut others = model.tasks.iter().enumerate();
    let shared = others.any(|(other, with)| {
        other != at && with.priority == task.priority && with.budget.is_none()
    });
    if task.budget.is_some() || shared {
        return 0;
    }
    let taken = interferers(model, at)
        .map(|other| ppm(per_period_ns(model, other, 0), period(model, other)))
        .fold(0, u64::saturating_add);
    supply.share_ppm().saturating_sub(taken)
}

/// Returns how far ahead a vCPU's bounds are looked for.
fn horizon(model: &Model, at: usize) -> u64 {
    let periods = interferers(model, at)
        .chain([at])
        .map(|task| period(model, task));
    let turns = rounds(model, at, 1).unwrap_or(HORIZON_NS);
    let start = blocking(model)
        .saturating_add(model.costs.switch_ns)
        .saturating_add(turns);
    let longest = periods.chain([model.frame_ns, start]).max().unwrap_or(0);
    longest.saturating_mul(MAX_PERIODS).min(HORIZON_NS)
}

/// Returns how long a vCPU waits at most for an execution, with so many further wake-ups of the others; `None` when it is
/// longer than `limit`.
fn time_to(
    model: &Model,
    at: usize,
    supply: &Supply,
    (need, wakes): (u64, u64),
    limit: u64,
) -> Option<u64> {
    let own = need
        .checked_add(blocking(model) + model.costs.switch_ns)?
        .checked_add(rounds(model, at, need)?)?;
    let others: Vec<(u64, u64)> = interferers(model, at)
        .map(|other| (per_period_ns(model, other, wakes), period(model, other)))
        .collect();
    let asked = others.iter().map(|(cost, period)| ppm(*cost, *period));
    if asked.fold(0, u64::saturating_add) >= supply.share_ppm() {
        return None;
    }
    let phases = supply.phases();
    let times = phases.into_iter().map(|phase| {
        let mut time = supply.time_for(phase, own)?;
        while time <= limit {
            let need = others.iter().try_fold(own, |sum, (cost, period)| {
                sum.checked_add(cost.checked_mul(time.div_ceil(*period))?)
            })?;
            let next = supply.time_for(phase, need)?;
            if next <= time {
                return Some(time);
            }
            time = next;
        }
        None
    });
    // One phase without a bound is enough to have none; so is no phase at all.
    let times: Option<Vec<u64>> = times.collect();
    times?.into_iter().max()
}

/// Returns those with a budget that are at least as urgent and share time with a vCPU.
fn interferers(model: &Model, at: usize) -> impl Iterator<Item = usize> + '_ {
    let task = &model.tasks[at];
    let others = model.tasks.iter().enumerate();
    let others = others.filter(move |(other, with)| {
        *other != at
            && with.budget.is_some()
            && with.priority >= task.priority
            && model.meet(task, with)
    });
    others.map(|(other, _)| other)
}

/// Returns the period of a vCPU with a budget.
fn period(model: &Model, at: usize) -> u64 {
    let budget = model.tasks[at].budget;
    budget.map_or(1, |budget| budget.period_ns.max(1))
}

/// Returns what a vCPU with a budget takes from others in a period, with so many wake-ups more than one.
pub fn per_period_ns(model: &Model, at: usize, wakes: u64) -> u64 {
    let task = &model.tasks[at];
    let Some(budget) = task.budget else { return 0 };
    let Model { costs, .. } = model;
    let starts = 1 + wakes + pieces(model, at);
    let turns = match task.time_slice_ns {
        0 => 0,
        slice => 1 + budget.budget_ns / slice,
    };
    let switches = starts.saturating_mul(2).saturating_add(turns);
    let overhead = switches
        .saturating_mul(costs.switch_ns)
        .saturating_add(costs.stay_ns);
    budget.budget_ns.saturating_add(overhead)
}

/// Returns how many pieces a budget can be cut into from outside: none when nobody interrupts its execution. One slice may
/// be under way while the list is full.
fn pieces(model: &Model, at: usize) -> u64 {
    let task = &model.tasks[at];
    let mut others = model.tasks.iter().enumerate();
    let cut = others.any(|(other, with)| {
        other != at && with.priority >= task.priority && model.meet(task, with)
    });
    match cut || !model.windows.is_empty() {
        true => MAX_PIECES + 1,
        false => 0,
    }
}

/// Returns the time that turns among equals take before a vCPU had `need` of execution. Each turn of its own that ends is
/// a switch; what is left of its first slice may be nothing. Equals without a budget, who take turns, have one each time.
fn rounds(model: &Model, at: usize, need: u64) -> Option<u64> {
    let task = &model.tasks[at];
    let others = model.tasks.iter().enumerate();
    let others = others.filter(|(other, with)| *other != at && with.priority == task.priority);
    let equals: Vec<&Task> = others.map(|(_, with)| with).collect();
    if equals.is_empty() {
        return Some(0);
    }
    let ends = match task.time_slice_ns {
        0 => 0,
        slice => 1 + need / slice,
    };
    let hogs = equals.iter().filter(|with| with.budget.is_none());
    let round = hogs.fold(0_u64, |sum, with| {
        let turn = with.time_slice_ns + model.costs.stay_ns + model.costs.switch_ns;
        sum.saturating_add(turn)
    });
    let switches = ends.checked_mul(model.costs.switch_ns)?;
    round.checked_mul(1 + ends)?.checked_add(switches)
}

/// Returns the largest number of further wake-ups that makes sense: each costs the budget that wakes a switch at least.
fn most_wakes(model: &Model, at: usize) -> u64 {
    let budgets = interferers(model, at).filter_map(|other| model.tasks[other].budget);
    let most = budgets.map(|budget| budget.budget_ns / model.costs.switch_ns.max(1));
    most.max().unwrap_or(0)
}

/// Returns the largest number up to `most` for which something holds that holds for less as well; `None` when it holds for
/// `most` itself.
fn largest(most: u64, holds: impl Fn(u64) -> bool) -> Option<u64> {
    if holds(most) {
        return None;
    }
    let (mut good, mut bad) = (0, most);
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        match holds(middle) {
            true => good = middle,
            false => bad = middle,
        }
    }
    Some(good)
}
