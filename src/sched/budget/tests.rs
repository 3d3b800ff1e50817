use super::*;
use proptest::prelude::*;
use std::collections::VecDeque;

/// What happens around a vCPU in one tick.
#[derive(Clone, Copy, Debug)]
struct Tick {
    /// It wants to run.
    wants: bool,
    /// Somebody more urgent runs.
    preempted: bool,
}

/// What a run came to.
struct Run {
    /// In which ticks it executed.
    executed: Vec<bool>,
    /// The list was full at some time.
    was_full: bool,
}

/// The list of a budget.
fn list(budget: &Budget) -> Vec<Refill> {
    (0..budget.count)
        .map(|place| budget.refill(place))
        .collect()
}

/// Runs a budget as EL2 does: it looks when the slice ends, and at the end of the budget `overrun` ticks late.
fn run(mut budget: Budget, ticks: &[Tick], overruns: &[u64]) -> Run {
    let mut executed = vec![false; ticks.len()];
    let mut was_full = false;
    let mut overruns = overruns.iter().copied().cycle();
    let mut now = 0;
    while now < ticks.len() {
        let runs = |at: usize| {
            ticks
                .get(at)
                .is_some_and(|tick| tick.wants && !tick.preempted)
        };
        if !runs(now) || budget.is_exhausted(now as u64) {
            now += 1;
            continue;
        }
        let start = now;
        was_full |= budget.count == MAX_REFILLS;
        budget.prepare(now as u64);
        let limit = budget.lasts_until(start as u64) as usize;
        while now < limit && runs(now) {
            now += 1;
        }
        if now == limit {
            now += overruns.next().unwrap_or(0) as usize;
        }
        now = now.min(ticks.len());
        executed[start..now].fill(true);
        budget.charge(start as u64, now as u64);
        let refills = list(&budget);
        let sum: u64 = refills.iter().map(|refill| refill.amount).sum();
        assert_eq!(sum, budget.budget, "nothing is lost for good, nothing made");
        assert!(refills.is_sorted_by_key(|refill| refill.at));
    }
    Run { executed, was_full }
}

/// The plain reference: each tick of the budget by itself, in a queue without bound.
fn reference(budget: u64, period: u64, ticks: &[Tick]) -> Vec<bool> {
    let mut tokens: VecDeque<u64> = (0..budget).map(|_| 0).collect();
    let mut slice = None;
    let mut executed = Vec::new();
    for (tick, now) in ticks.iter().zip(0u64..) {
        let runs = tick.wants && !tick.preempted && tokens[0] <= now;
        slice = runs.then(|| slice.unwrap_or(now));
        if let Some(start) = slice {
            tokens.pop_front();
            tokens.push_back(start + period);
        }
        executed.push(runs);
    }
    executed
}

fn total(executed: &[bool]) -> u64 {
    executed.iter().filter(|executed| **executed).count() as u64
}

/// Stretches of time in which the vCPU wants to run or not, and is preempted or not.
fn arrivals(shortest: usize, longest: usize) -> impl Strategy<Value = Vec<Tick>> {
    let stretch = (
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.3),
        shortest..=longest,
    );
    prop::collection::vec(stretch, 10..60).prop_map(|stretches| {
        let ticks = |(wants, preempted, length)| vec![Tick { wants, preempted }; length];
        stretches.into_iter().flat_map(ticks).collect()
    })
}

/// A budget and a period that holds it.
fn shares() -> impl Strategy<Value = (u64, u64)> {
    (1u64..60).prop_flat_map(|period| (1..=period, Just(period)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_window_of_a_period_holds_more_than_the_budget_and_an_overrun(
        (budget, period) in shares(),
        ticks in arrivals(1, 12),
        overruns in prop::collection::vec(0u64..4, 1..20),
    ) {
        let run = run(Budget::new(budget, period), &ticks, &overruns);
        let most = budget + overruns.iter().max().unwrap();
        for (at, window) in run.executed.windows(period as usize).enumerate() {
            prop_assert!(total(window) <= most, "{} in the window at {at}", total(window));
        }
    }

    #[test]
    fn backlogged_and_most_urgent_it_gets_its_budget_in_every_window_of_a_period(
        (budget, period) in shares(),
        ticks in arrivals(4, 90),
        overruns in prop::collection::vec(0u64..4, 1..20),
    ) {
        let run = run(Budget::new(budget, period), &ticks, &overruns);
        prop_assume!(!run.was_full);
        let free = |window: &[Tick]| window.iter().all(|tick| tick.wants && !tick.preempted);
        for (at, window) in ticks.windows(period as usize).enumerate() {
            if free(window) {
                let got = total(&run.executed[at..at + period as usize]);
                prop_assert!(got >= budget, "{got} in the window at {at}");
            }
        }
    }

    #[test]
    fn agrees_with_a_queue_without_bound_as_long_as_its_list_is_not_full(
        (budget, period) in shares(),
        ticks in arrivals(2, 30),
    ) {
        let run = run(Budget::new(budget, period), &ticks, &[0]);
        prop_assume!(!run.was_full);
        prop_assert_eq!(run.executed, reference(budget, period, &ticks));
    }

    #[test]
    fn a_full_list_never_gains(pauses in prop::collection::vec((1usize..4, 1usize..6), 300)) {
        // Far more slices in a period than the list has room for.
        let tick = |wants| Tick { wants, preempted: false };
        let ticks = pauses.into_iter().flat_map(|(runs, waits)| {
            [vec![tick(true); runs], vec![tick(false); waits]].concat()
        });
        let run = run(Budget::new(60, 200), &ticks.collect::<Vec<_>>(), &[0]);
        prop_assert!(run.was_full);
        for window in run.executed.windows(200) {
            prop_assert!(total(window) <= 60);
        }
    }
}

#[test]
fn a_slice_comes_back_one_period_after_its_start() {
    let mut budget = Budget::new(30, 100);
    assert_eq!(budget.lasts_until(7), 37);
    budget.charge(7, 37);
    assert!(budget.is_exhausted(37));
    assert_eq!(budget.replenished_at(), 107);
    assert!(!budget.is_exhausted(107));
    assert_eq!(budget.lasts_until(110), 140);
}

#[test]
fn waiting_does_not_keep_an_old_start() {
    // POSIX would give all 30 back at 100.
    let mut budget = Budget::new(30, 100);
    budget.charge(0, 10);
    budget.charge(70, 90);
    assert!(budget.is_exhausted(90));
    assert_eq!(
        budget.lasts_until(105),
        115,
        "10 at 100; the other 20 at 170"
    );
    budget.charge(105, 115);
    assert_eq!(budget.replenished_at(), 170);
}

#[test]
fn slice_that_goes_on_stays_one() {
    let mut budget = Budget::new(30, 100);
    for start in 10..20 {
        budget.charge(start, start + 1);
    }
    assert_eq!(budget.count, 2);
    budget.charge(20, 40);
    assert_eq!(budget.replenished_at(), 110);
    assert_eq!(budget.count, 1);
}

#[test]
fn overrun_is_paid_from_the_next_replenishment() {
    let mut budget = Budget::new(30, 100);
    budget.charge(0, 10);
    budget.charge(50, 75);
    assert_eq!(budget.replenished_at(), 100);
    assert_eq!(budget.lasts_until(100), 105, "5 of 10 were spent before");
}

#[test]
fn full_list_joins_those_that_lose_least() {
    let mut budget = Budget::new(1000, 10_000);
    for slice in 0..40 {
        budget.prepare(slice * 100);
        budget.charge(slice * 100, slice * 100 + 10);
    }
    assert_eq!(budget.count, MAX_REFILLS);
    assert_eq!(budget.lasts_until(4000), 4600, "what is available stays so");
    let refills = list(&budget);
    let last = refills.last();
    assert_eq!(last.map(|last| last.at), Some(13_900));
    // Nobody waits for much longer than the 40 slices spread over the list would make it.
    let longest = refills.windows(2).map(|pair| pair[1].at - pair[0].at);
    assert!(longest.skip(1).all(|gap| gap <= 800), "{refills:?}");
}

#[test]
fn slice_that_nobody_prepared_for_is_not_lost() {
    let mut budget = Budget::new(1000, 10_000);
    for slice in 0..40 {
        budget.charge(slice * 100, slice * 100 + 10);
    }
    let refills = list(&budget);
    assert_eq!(
        refills.iter().map(|refill| refill.amount).sum::<u64>(),
        1000
    );
    assert_eq!(refills.last().map(|last| last.at), Some(13_900));
}

#[test]
fn budget_of_the_whole_period_never_ends() {
    let mut budget = Budget::new(100, 100);
    for period in 0..5 {
        assert_eq!(budget.lasts_until(period * 100), period * 100 + 100);
        budget.charge(period * 100, period * 100 + 100);
        assert!(!budget.is_exhausted(period * 100 + 100));
    }
}

/// Entries of a list.
fn refills(list: &[(u64, u64)]) -> Vec<Refill> {
    let each = list.iter();
    each.map(|&(at, amount)| Refill { at, amount }).collect()
}

#[test]
fn what_is_available_is_one_entry() {
    let mut budget = Budget::new(30, 100);
    budget.charge(0, 10);
    budget.charge(20, 30);
    assert_eq!(list(&budget), refills(&[(0, 10), (100, 10), (120, 10)]));
    budget.charge(150, 155);
    assert_eq!(list(&budget), refills(&[(120, 25), (250, 5)]));
}

#[test]
fn of_neighbours_that_lose_the_same_the_earliest_join() {
    let mut budget = Budget::new(1000, 10_000);
    for slice in 0..15 {
        budget.charge(slice * 100, slice * 100 + 10);
    }
    assert_eq!(budget.count, MAX_REFILLS);
    budget.prepare(1500);
    let expected = [(0, 850), (10_100, 20), (10_200, 10)];
    assert_eq!(list(&budget)[..3], refills(&expected));
    assert_eq!(budget.count, LAST);
}
