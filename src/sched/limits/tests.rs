/// Makes the limits of vCPUs with these priorities and budgets, and the queue and deadlines that they keep.
macro_rules! set_up {
    ($limits:ident, $front:ident, $priorities:expr, $budgets:expr, $background:expr, $windows:expr) => {
        let mut budgets = $budgets;
        let queue = || RunQueue::new($priorities.into_iter().map(Priority));
        let mut $limits = Limits::new(&mut budgets, $background, $windows, queue(), 0);
        let (mut queue, mut deadlines) = (queue(), Deadlines::default());
        let mut $front = Front {
            queue: &mut queue,
            deadlines: &mut deadlines,
        };
    };
}

mod accounts;
mod places;

use super::*;
use crate::ids::Priority;
use crate::sched::windows::Window;
use proptest::prelude::*;
use std::collections::VecDeque;

type Vec<T> = std::vec::Vec<T>;

/// A vCPU of the model; its slot is its rank, and no two have the same priority.
#[derive(Clone, Debug)]
struct Task {
    /// Budget and period.
    budget: Option<(u64, u64)>,
    /// It runs in the background when its budget is exhausted.
    yields: bool,
    /// How long it works, then waits, in turn.
    turns: Vec<(u64, u64)>,
}

/// A system of the model.
#[derive(Clone, Debug)]
struct Model {
    tasks: Vec<Task>,
    frame: u64,
    windows: Vec<Window>,
}

/// Where a task is in its turns.
struct Progress {
    turn: usize,
    left: u64,
    /// When it wakes, while `left` is 0.
    wakes: u64,
}

impl Progress {
    fn new(task: &Task) -> Self {
        Self {
            turn: 0,
            left: task.turns[0].0,
            wakes: 0,
        }
    }

    /// Works up to `now`; true when it waits from now on.
    fn work(&mut self, task: &Task, ticks: u64, now: u64) -> bool {
        self.left -= ticks;
        if self.left == 0 {
            self.wakes = now + task.turns[self.turn].1;
        }
        self.left == 0
    }

    fn wake(&mut self, task: &Task) {
        self.turn = (self.turn + 1) % task.turns.len();
        self.left = task.turns[self.turn].0;
    }
}

/// What a pCPU does, without EL2's own time.
struct Simulation<'a> {
    model: &'a Model,
    limits: Limits<'a>,
    queue: RunQueue,
    deadlines: Deadlines,
    progress: Vec<Progress>,
    now: u64,
}

impl<'a> Simulation<'a> {
    fn new(model: &'a Model, budgets: &'a mut [Option<Budget>]) -> Self {
        let queue = || RunQueue::new((0..64).map(|rank| Priority(100 - rank)));
        let yielding = model.tasks.iter().enumerate();
        let yielding = yielding.fold(0, |mask, (slot, task)| {
            mask | u64::from(task.yields) << slot
        });
        let windows = (model.frame != 0).then(|| Windows::new(model.frame, &model.windows));
        let mut simulation = Self {
            model,
            limits: Limits::new(budgets, yielding, windows, queue(), 0),
            queue: queue(),
            deadlines: Deadlines::default(),
            progress: model.tasks.iter().map(Progress::new).collect(),
            now: 0,
        };
        for slot in 0..model.tasks.len() {
            simulation.with(|limits, front| limits.make_ready(Slot(slot as u8), front));
        }
        simulation
    }

    fn with<R>(&mut self, act: impl FnOnce(&mut Limits, &mut Front) -> R) -> R {
        let mut front = Front {
            queue: &mut self.queue,
            deadlines: &mut self.deadlines,
        };
        act(&mut self.limits, &mut front)
    }

    fn expire(&mut self, slot: Slot) {
        let now = self.now;
        if self
            .with(|limits, front| limits.replenish(slot, now, front))
            .is_some()
        {
            return;
        }
        let index = slot.index();
        assert!(self.progress[index].left == 0 && self.progress[index].wakes <= now);
        self.progress[index].wake(&self.model.tasks[index]);
        self.with(|limits, front| {
            limits.set_wake(slot, NEVER, front);
            limits.make_ready(slot, front);
        });
    }

    /// EL2's timer: what is due for those that may interrupt who runs, before anything is charged.
    fn timer_fires(&mut self) {
        let running = self.limits.running.map(|(slot, _)| slot);
        let front = running.filter(|slot| self.queue.is_ready(*slot));
        let behind = front.map_or(Slot(64), |slot| Slot(slot.0 + 1));
        while let Some(slot) = self.deadlines.expired(self.now)
            && slot < behind
        {
            self.expire(slot);
        }
    }

    fn choose(&mut self) -> Option<Slot> {
        let now = self.now;
        self.timer_fires();
        self.with(|limits, front| limits.settle(now, front));
        let chosen = loop {
            let front = self.queue.most_urgent();
            let behind = front.unwrap_or(Slot(64));
            if let Some(slot) = self.deadlines.expired(now).filter(|slot| *slot < behind) {
                self.expire(slot);
                continue;
            }
            let back = self.limits.most_urgent();
            if front.is_none()
                && let Some(slot) = self.limits.expired(now, |slot| Slot(slot.0 + 1))
            {
                self.expire(slot);
                continue;
            }
            break front.or(back);
        };
        self.limits.run(chosen, now);
        chosen
    }

    fn due(&self, chosen: Option<Slot>) -> u64 {
        match chosen {
            None => self.deadlines.earliest().min(self.limits.idle_due()),
            Some(slot) => {
                let limits = self.limits.due_while(slot, slot, &self.deadlines);
                self.deadlines.earliest_before(slot).min(limits)
            }
        }
    }

    /// Returns who executed in each tick.
    fn run(&mut self, ticks: u64) -> Vec<Option<usize>> {
        let mut executed = Vec::new();
        while self.now < ticks {
            let chosen = self.choose();
            let due = self.due(chosen);
            assert!(due > self.now, "nothing that is due is left undone");
            let left = chosen.map_or(NEVER, |slot| self.progress[slot.index()].left);
            let ran = due.min(self.now.saturating_add(left)).min(ticks) - self.now;
            executed.extend((0..ran).map(|_| chosen.map(Slot::index)));
            self.now += ran;
            let now = self.now;
            if let Some(slot) = chosen
                && self.progress[slot.index()].work(&self.model.tasks[slot.index()], ran, now)
            {
                let wakes = self.progress[slot.index()].wakes;
                self.with(|limits, front| {
                    limits.block(slot, front);
                    limits.set_wake(slot, wakes, front);
                });
            }
        }
        executed
    }
}

/// The plain reference: looks at everything in every tick.
fn reference(model: &Model, ticks: u64) -> Vec<Option<usize>> {
    let mut progress: Vec<Progress> = model.tasks.iter().map(Progress::new).collect();
    let mut tokens: Vec<VecDeque<u64>> = Vec::new();
    for task in &model.tasks {
        tokens.push(
            (0..task.budget.map_or(0, |(budget, _)| budget))
                .map(|_| 0)
                .collect(),
        );
    }
    let mut slice = None;
    let mut executed = Vec::new();
    for now in 0..ticks {
        for (progress, task) in progress.iter_mut().zip(&model.tasks) {
            if progress.left == 0 && progress.wakes <= now {
                progress.wake(task);
            }
        }
        let phase = now % model.frame.max(1);
        let open = |index: usize| {
            let inside = |window: &&Window| (window.start..window.end).contains(&phase);
            let window = model.windows.iter().find(inside);
            model.frame == 0 || window.is_some_and(|window| window.slots & 1 << index != 0)
        };
        let wants = |index: &usize| progress[*index].left != 0 && open(*index);
        let has_budget = |index: &usize| tokens[*index].front().is_none_or(|at| *at <= now);
        let front = (0..model.tasks.len()).filter(wants).find(has_budget);
        let mut back = (0..model.tasks.len()).filter(wants);
        let chosen = front.or_else(|| back.find(|index| model.tasks[*index].yields));
        slice = front.map(|index| match slice {
            Some((before, start)) if before == index => (index, start),
            _ => (index, now),
        });
        if let Some((index, start)) = slice
            && let Some((_, period)) = model.tasks[index].budget
        {
            tokens[index].pop_front();
            tokens[index].push_back(start + period);
        }
        if let Some(index) = chosen {
            progress[index].work(&model.tasks[index], 1, now + 1);
        }
        executed.push(chosen);
    }
    executed
}

fn budgets(model: &Model) -> Vec<Option<Budget>> {
    let budget = |task: &Task| {
        task.budget
            .map(|(budget, period)| Budget::new(budget, period))
    };
    model.tasks.iter().map(budget).collect()
}

fn models(windows: bool) -> impl Strategy<Value = Model> {
    let share = (20u64..80).prop_flat_map(|period| (1..=period, Just(period)));
    let turns = prop::collection::vec((5u64..60, 0u64..50), 1..4);
    let task = (prop::option::of(share), any::<bool>(), turns);
    let task = task.prop_map(|(budget, yields, turns)| Task {
        budget,
        yields: yields && budget.is_some(),
        turns,
    });
    let pieces = prop::collection::vec((0u64..20, 5u64..40, 1u64..16), 1..5);
    (prop::collection::vec(task, 1..5), pieces, 0u64..20).prop_map(move |(tasks, pieces, rest)| {
        let mut list = Vec::new();
        let mut at = 0;
        for (gap, length, slots) in pieces {
            list.push(Window {
                start: at + gap,
                end: at + gap + length,
                slots,
            });
            at += gap + length;
        }
        Model {
            tasks,
            frame: if windows { at + rest } else { 0 },
            windows: if windows { list } else { Vec::new() },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn budgets_agree_with_a_look_at_everything_in_every_tick(model in models(false)) {
        let mut budgets = budgets(&model);
        let executed = Simulation::new(&model, &mut budgets).run(600);
        prop_assert_eq!(executed, reference(&model, 600));
    }

    #[test]
    fn windows_and_budgets_agree_with_a_look_at_everything_in_every_tick(model in models(true)) {
        let mut budgets = budgets(&model);
        let executed = Simulation::new(&model, &mut budgets).run(600);
        prop_assert_eq!(executed, reference(&model, 600));
    }
}

#[test]
fn three_hogs_get_what_the_table_says() {
    let hog = |budget, yields| Task {
        budget,
        yields,
        turns: vec![(u64::MAX / 4, 0)],
    };
    let model = Model {
        tasks: vec![
            hog(Some((300, 1000)), false),
            hog(Some((200, 1000)), false),
            hog(Some((100, 1000)), true),
        ],
        frame: 0,
        windows: Vec::new(),
    };
    let mut budgets = budgets(&model);
    let executed = Simulation::new(&model, &mut budgets).run(10_000);
    let share = |index| executed.iter().filter(|who| **who == Some(index)).count();
    assert_eq!((share(0), share(1), share(2)), (3000, 2000, 5000));
}

#[test]
fn idle_pcpu_sleeps_over_windows_that_nobody_waits_for() {
    let windows = [Window {
        start: 0,
        end: 10,
        slots: 1,
    }];
    let model = Model {
        tasks: vec![Task {
            budget: None,
            yields: false,
            turns: vec![(5, 975)],
        }],
        frame: 100,
        windows: windows.to_vec(),
    };
    let mut budgets = budgets(&model);
    let mut simulation = Simulation::new(&model, &mut budgets);
    simulation.run(5);
    simulation.now = 20;
    assert_eq!(simulation.choose(), None);
    assert_eq!(simulation.due(None), 980, "its wake-up, and no edge");
    simulation.now = 980;
    assert_eq!(simulation.choose(), None);
    assert_eq!(simulation.due(None), 1000, "its window");
}

#[test]
fn throttled_vcpu_with_a_timer_interrupts_nobody_before_its_replenishment() {
    let budgets = [Some(Budget::new(10, 100)), None];
    set_up!(limits, front, [2, 1], budgets, 0, None);
    limits.make_ready(Slot(0), &mut front);
    limits.make_ready(Slot(1), &mut front);
    limits.run(Some(Slot(0)), 0);
    limits.block(Slot(0), &mut front);
    limits.set_wake(Slot(0), 40, &mut front);
    limits.settle(10, &mut front);
    assert_eq!(front.queue.most_urgent(), Some(Slot(1)));
    assert_eq!(front.deadlines.earliest(), 100);
    limits.set_wake(Slot(0), NEVER, &mut front);
    assert_eq!(
        front.deadlines.earliest(),
        NEVER,
        "it does not even want to run"
    );
    limits.make_ready(Slot(0), &mut front);
    assert_eq!(front.deadlines.earliest(), 100);
    assert_eq!(limits.replenish(Slot(0), 99, &mut front), None);
    assert_eq!(limits.replenish(Slot(0), 100, &mut front), Some(10));
    assert_eq!(front.queue.most_urgent(), Some(Slot(0)));
}

#[test]
fn those_that_cannot_run_are_not_heard() {
    // Slot 0 is throttled, 1 runs in the background, 2 and 3 are free; a window is closed for 4.
    let windows = [Window {
        start: 0,
        end: 100,
        slots: 0b01111,
    }];
    let windows = Windows::new(200, &windows);
    let budgets = [
        Some(Budget::new(1, 100)),
        Some(Budget::new(1, 100)),
        None,
        None,
        None,
    ];
    set_up!(
        limits,
        front,
        (0..5).map(|rank| 9 - rank),
        budgets,
        0b10,
        Some(windows)
    );
    for slot in [0, 1] {
        limits.make_ready(Slot(slot), &mut front);
        limits.run(Some(Slot(slot)), slot.into());
        assert_eq!(
            limits.settle(u64::from(slot) + 1, &mut front),
            Some(Slot(slot))
        );
    }
    let gate = |slot: u8| Gate {
        mask: 8 * (u64::from(slot) + 2),
        heard: crate::sched::Heard::new(Slot(slot + 1), false),
    };
    let of = |limits: &Limits, slot: u8| {
        let gate = limits.gate(Slot(slot), gate(slot));
        (gate.mask, gate.heard.slots, gate.heard.console())
    };
    assert_eq!(of(&limits, 3), (40, 0b01100, false));
    assert_eq!(
        of(&limits, 1),
        (Gate::OPEN.mask, 0b01110, true),
        "in the background"
    );
    assert_eq!(limits.replenish(Slot(0), 100, &mut front), Some(1));
    assert_eq!(of(&limits, 3), (40, 0b01101, false));
}

#[test]
fn one_that_sleeps_with_its_budget_exhausted_is_heard() {
    let budgets = [Some(Budget::new(10, 100)), None];
    set_up!(limits, front, [2, 1], budgets, 0, None);
    limits.make_ready(Slot(0), &mut front);
    limits.make_ready(Slot(1), &mut front);
    limits.run(Some(Slot(0)), 0);
    limits.block(Slot(0), &mut front);
    limits.settle(10, &mut front);
    let heard = |limits: &Limits| limits.gate(Slot(1), Gate::OPEN).heard.slots & 1;
    assert_eq!((heard(&limits), front.deadlines.earliest()), (1, NEVER));
    limits.make_ready(Slot(0), &mut front);
    assert_eq!((heard(&limits), front.deadlines.earliest()), (0, 100));
}

#[test]
fn what_is_armed_for_in_the_background_is_looked_after() {
    let budgets = [Some(Budget::new(10, 100)), Some(Budget::new(10, 100))];
    set_up!(limits, front, [1, 1], budgets, 0b11, None);
    for (slot, now) in [(Slot(0), 0), (Slot(1), 10)] {
        limits.make_ready(slot, &mut front);
        limits.run(Some(slot), now);
        limits.settle(now + 10, &mut front);
    }
    // Slot 1 sleeps until 50; slot 0 runs in the background and has a timer of its own at 40.
    limits.block(Slot(1), &mut front);
    limits.set_wake(Slot(1), 50, &mut front);
    limits.set_wake(Slot(0), 40, &mut front);
    limits.run(Some(Slot(0)), 20);
    let behind_equals = |_| Slot(2);
    let armed = limits.due_while(Slot(0), Slot(2), front.deadlines);
    assert_eq!(armed, 40);
    assert_eq!(limits.expired(armed, behind_equals), Some(Slot(0)));
    limits.set_wake(Slot(0), NEVER, &mut front);
    let armed = limits.due_while(Slot(0), Slot(2), front.deadlines);
    assert_eq!(armed, 50);
    assert_eq!(limits.expired(armed, behind_equals), Some(Slot(1)));
}
