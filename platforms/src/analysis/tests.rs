use proptest::prelude::*;

use super::simulation::{Done, Simulation, Trace, Work};
use super::*;

fn budget(priority: u8, budget_ns: u64, period_ns: u64) -> Task {
    Task {
        priority,
        budget: Some(Budget {
            budget_ns,
            period_ns,
        }),
        time_slice_ns: 0,
        partitions: 1,
    }
}

fn hog(priority: u8) -> Task {
    Task {
        budget: None,
        ..budget(priority, 0, 0)
    }
}

fn model(tasks: &[Task], switch_ns: u64, stay_ns: u64) -> Model {
    Model {
        tasks: tasks.to_vec(),
        costs: Costs { switch_ns, stay_ns },
        ..Model::default()
    }
}

fn responses(model: &Model) -> Vec<Option<u64>> {
    let promises = model.promises().into_iter();
    promises.map(|promise| promise.response_ns).collect()
}

#[test]
fn agrees_with_a_calculation_by_hand() {
    // Without costs this is the textbook's: 3, then 3 + 3, then 5 + 2 * 3 + 3 * 3.
    let tasks = [budget(9, 3, 7), budget(8, 3, 12), budget(7, 5, 20)];
    assert_eq!(
        responses(&model(&tasks, 0, 0)),
        [Some(3), Some(6), Some(20)]
    );
    let load = model(&tasks, 0, 0).load();
    assert_eq!(load.tasks_ppm, [428_572, 250_000, 250_000]);
}

#[test]
fn counts_what_el2_costs() {
    let tasks = [budget(9, 200_000, 1_000_000), hog(1)];
    let promises = model(&tasks, 600, 3_000).promises();
    assert_eq!(promises[0].wakes_ns, Some(3_600));
    assert_eq!(promises[0].response_ns, Some(203_600));
    assert_eq!(promises[0].spare_wakes, None);
    // Blocked, switched to, and after the budget with its overrun and two switches.
    assert_eq!(promises[1].wakes_ns, Some(3_600 + 200_000 + 3_000 + 1_200));
    assert_eq!(promises[1].response_ns, None);
    assert_eq!(promises[1].share_ppm, 1_000_000 - 204_200);
    let alone = model(&[hog(1)], 600, 3_000).promises();
    assert_eq!(alone[0].wakes_ns, Some(3_600));
    assert_eq!(alone[0].share_ppm, 1_000_000);
}

#[test]
fn whoever_is_below_one_without_budget_has_no_promise() {
    let tasks = [hog(9), budget(5, 1, 10), budget(9, 1, 10)];
    let promises = model(&tasks, 0, 0).promises();
    assert_eq!(promises[1].starved_by, [0]);
    assert_eq!(promises[1].wakes_ns, None);
    assert_eq!(promises[2].starved_by, [0], "an equal may never yield");
    assert!(promises[0].starved_by.is_empty());
}

#[test]
fn equals_that_take_turns_are_waited_for() {
    let turn = |task: Task| Task {
        time_slice_ns: 10,
        ..task
    };
    let tasks = [turn(hog(5)), turn(budget(5, 25, 1_000)), turn(hog(5))];
    // One round to begin with, one for what may be left of the first slice, and two more for 25 in slices of 10.
    assert_eq!(responses(&model(&tasks, 0, 0))[1], Some(25 + 4 * 20));
}

#[test]
fn load_is_the_sum_of_budgets_and_of_el2s_work_for_them() {
    let load = model(&[budget(9, 60, 100), budget(8, 60, 100)], 1, 2).load();
    assert_eq!(load.budgets_ppm, 1_200_000);
    assert_eq!(load.available_ppm, 1_000_000);
    // An overrun each, two switches for a wake-up, and for the second two for each piece that it can be cut into.
    let el2 = 2 + 2 + 2 + 2 * (1 + MAX_PIECES + 1);
    assert_eq!(load.with_el2_ppm, 1_200_000 + el2 * 10_000);
}

#[test]
fn windows_shield_from_those_who_are_not_in_them() {
    let window = |start_ns, end_ns, partitions| Window {
        start_ns,
        end_ns,
        partitions,
    };
    let mut model = model(&[hog(9), budget(1, 10, 100)], 0, 0);
    model.tasks[1].partitions = 2;
    model.frame_ns = 100;
    model.windows = vec![window(0, 50, 1), window(50, 80, 2)];
    // It wakes as its window closes, at 80, and gets 50 to 60 of the next frame.
    assert_eq!(responses(&model), [None, Some(80)]);
    assert_eq!(model.load().available_ppm, 800_000);
    model.costs = Costs {
        switch_ns: 2,
        stay_ns: 3,
    };
    assert_eq!(responses(&model), [None, Some(20 + 50 + 5 + 10 + 5)]);
    model.windows[0].partitions = 3;
    assert_eq!(
        responses(&model)[1],
        Some(90),
        "where the hog may run, it does"
    );
    model.windows[1].partitions = 3;
    assert_eq!(responses(&model)[1], None);
}

#[test]
fn says_how_often_the_others_may_wake() {
    let tasks = [budget(9, 100, 1_000), budget(1, 500, 1_000)];
    let promise = &model(&tasks, 10, 0).promises()[1];
    // 500 and 20, 100 and 20, and 20 for each further wake-up: 18 fit, but the budget itself pays for 10 at most.
    assert_eq!(
        (promise.response_ns, promise.spare_wakes),
        (Some(640), None)
    );
    let tasks = [budget(9, 300, 1_000), budget(1, 500, 1_000)];
    let promise = &model(&tasks, 10, 0).promises()[1];
    assert_eq!(
        (promise.response_ns, promise.spare_wakes),
        (Some(840), Some(8))
    );
}

/// A system, what its vCPUs do, and seeds.
#[derive(Clone, Debug)]
struct Case {
    model: Model,
    background: Vec<bool>,
    /// By vCPU: endless, or pieces of half the budget, or of all of it; and numbers to make pieces of.
    kinds: Vec<(u8, u64)>,
    noise: u64,
}

/// Makes vCPUs: mostly with budgets.
fn task() -> impl Strategy<Value = (Task, bool)> {
    let turns = prop_oneof![3 => Just(0_u64), 1 => 5_u64..60];
    (
        0_u8..4,
        0_u8..8,
        60_u64..800,
        1_u64..400,
        turns,
        0_u32..3,
        any::<bool>(),
    )
        .prop_map(
            |(priority, kind, period_ns, share, time_slice_ns, partition, background)| {
                let budget_ns = (period_ns * share / 1_000).max(2);
                let budget = (kind > 0).then_some(Budget {
                    budget_ns,
                    period_ns,
                });
                let partitions = 1 << partition;
                (
                    Task {
                        priority,
                        budget,
                        time_slice_ns,
                        partitions,
                    },
                    background,
                )
            },
        )
}

/// Makes windows, in half of the cases.
fn windows() -> impl Strategy<Value = (u64, Vec<Window>)> {
    let pieces = prop::collection::vec((0_u64..40, 20_u64..200, 1_u64..8), 1..4);
    let windows = (pieces, 0_u64..60).prop_map(|(pieces, rest)| {
        let mut at = 0;
        let windows = pieces.into_iter().map(|(gap, length, partitions)| {
            let start_ns = at + gap;
            at = start_ns + length;
            Window {
                start_ns,
                end_ns: at,
                partitions,
            }
        });
        let windows: Vec<_> = windows.collect();
        (at + rest, windows)
    });
    prop_oneof![2 => Just((0, Vec::new())), 1 => windows]
}

fn case() -> impl Strategy<Value = Case> {
    let tasks = prop::collection::vec(task(), 1..6);
    let kinds = prop::collection::vec((0_u8..3, any::<u64>()), 6);
    let costs = (0_u64..4, 0_u64..8);
    (tasks, windows(), kinds, costs, any::<u64>()).prop_map(
        |(tasks, (frame_ns, windows), kinds, (switch_ns, stay_ns), noise)| Case {
            background: tasks.iter().map(|(_, background)| *background).collect(),
            model: Model {
                tasks: tasks.into_iter().map(|(task, _)| task).collect(),
                frame_ns,
                windows,
                costs: Costs { switch_ns, stay_ns },
            },
            kinds,
            noise,
        },
    )
}

/// How long each case is simulated.
const END: u64 = 20_000;

/// Makes the pieces of work of a vCPU as it may have them to be promised a response.
fn work(task: &Task, promise: &Promise, (kind, seed): (u8, u64)) -> Work {
    let (Some(budget), 1..) = (task.budget, kind) else {
        return Work::Endless;
    };
    let response = promise.response_ns.unwrap_or(budget.period_ns);
    let (most, gap) = match kind {
        1 => (budget.budget_ns / 2, budget.period_ns),
        _ => (
            budget.budget_ns,
            budget.period_ns + response - budget.budget_ns,
        ),
    };
    let mut noise = seed;
    let mut number = |below: u64| {
        noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (noise >> 33) % below.max(1)
    };
    // Mostly all at once and as much as may be: that is where it is tight.
    let mut at = number(3) * number(200);
    let mut jobs = Vec::new();
    while at < END {
        let amount = if number(4) == 0 {
            1 + number(most)
        } else {
            most
        };
        jobs.push((at, amount.clamp(1, most.max(1))));
        at += gap + if number(3) == 0 { number(gap) } else { 0 };
    }
    Work::Jobs(jobs)
}

/// Simulates a case.
fn simulate(case: &Case, promises: &[Promise]) -> (Trace, Vec<Work>) {
    let tasks = case.model.tasks.iter().zip(promises).zip(&case.kinds);
    let work: Vec<Work> = tasks
        .map(|((task, promise), kind)| work(task, promise, *kind))
        .collect();
    let simulation = Simulation::new(&case.model, &work, &case.background, case.noise);
    (simulation.run(END), work)
}

/// Returns the budget and the response of a vCPU that has a promise which it can keep.
fn promised(task: &Task, promise: &Promise) -> Option<(Budget, u64)> {
    let budget = task.budget?;
    let response = promise
        .response_ns
        .filter(|response| *response <= budget.period_ns)?;
    Some((budget, response))
}

/// Returns how much of some intervals lies between two points in time.
fn executed(intervals: &[(u64, u64)], from: u64, to: u64) -> u64 {
    let part = |(start, end): &(u64, u64)| (*end).min(to).saturating_sub((*start).max(from));
    intervals.iter().map(part).sum()
}

/// Returns the points from which an interval holds least execution, and those from which it holds most.
fn edges(intervals: &[(u64, u64)], length: u64) -> (Vec<u64>, Vec<u64>) {
    let ends = intervals.iter().map(|(_, end)| *end);
    let least = ends.chain([0]).filter(|from| from + length <= END);
    let most = intervals.iter().map(|(start, _)| *start);
    (least.collect(), most.collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn work_is_done_when_the_analysis_promises(case in case()) {
        let promises = case.model.promises();
        let (trace, _) = simulate(&case, &promises);
        for Done { task, came, began, done } in trace.jobs {
            let (with, promise) = (&case.model.tasks[task], &promises[task]);
            let Some((_, response)) = promised(with, promise) else { continue };
            prop_assert!(done - came <= response, "{task}: {came} to {done}, {response} promised");
            let wakes = promise.wakes_ns.unwrap_or(0);
            prop_assert!(began - came <= wakes, "{task}: {came} began {began}, {wakes} promised");
        }
    }

    #[test]
    fn budgets_are_given_out_as_the_analysis_promises(case in case()) {
        let promises = case.model.promises();
        let (trace, work) = simulate(&case, &promises);
        for (task, with) in case.model.tasks.iter().enumerate() {
            let Some(budget) = with.budget else { continue };
            let intervals = &trace.executed[task];
            let (_, most) = edges(intervals, budget.period_ns);
            for from in most {
                let got = executed(intervals, from, from + budget.period_ns);
                let limit = budget.budget_ns + case.model.costs.stay_ns;
                prop_assert!(got <= limit, "{task} executes {got} from {from}");
            }
            let Some((_, response)) = promised(with, &promises[task]) else { continue };
            if trace.overflowed[task] || !matches!(work[task], Work::Endless) {
                continue;
            }
            let length = budget.period_ns + response - budget.budget_ns;
            let (least, _) = edges(intervals, length);
            for from in least {
                let got = executed(intervals, from, from + length);
                let least = budget.budget_ns;
                prop_assert!(got >= least, "{task} executes {got} in {length} from {from}");
            }
        }
    }
}
