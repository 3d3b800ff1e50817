//! A plain simulation of one pCPU, event by event, that shares nothing with the analysis but the model's types.
//!
//! Who executes is the first of the most urgent that want to, may by their window, and have budget. A change costs a
//! switch, in which nobody executes and nothing is decided; so does, for its own length, a stay at EL2, which whoever
//! executes begins now and then. Switches are charged to nobody, which is the worst for the others.

use super::{Budget, MAX_PIECES, Model};

/// What a vCPU has to do.
#[derive(Clone, Debug)]
pub enum Work {
    /// It always wants to run.
    Endless,
    /// Pieces: when each comes, and how long it executes.
    Jobs(Vec<(u64, u64)>),
}

/// What became of one piece of work.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Whose.
    pub task: usize,
    /// When it came.
    pub came: u64,
    /// When it began to execute.
    pub began: u64,
    /// When it was done.
    pub done: u64,
}

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Work that was done.
    pub jobs: Vec<Done>,
    /// By vCPU: intervals of execution in its budget.
    pub executed: Vec<Vec<(u64, u64)>>,
    /// By vCPU: its list of replenishments was full once.
    pub overflowed: Vec<bool>,
}

/// A vCPU in the simulation.
struct Runner {
    budget: Option<Budget>,
    background: bool,
    /// Replenishments: when, and how much.
    refills: Vec<(u64, u64)>,
    endless: bool,
    coming: Vec<(u64, u64)>,
    /// Work that is there: when it came, when it began, how much is left.
    waiting: Vec<(u64, Option<u64>, u64)>,
    slice_left: u64,
}

impl Runner {
    fn wants(&self) -> bool {
        self.endless || !self.waiting.is_empty()
    }

    /// Says until when the budget lasts from `start` on.
    fn lasts_until(&self, start: u64) -> u64 {
        if self.budget.is_none() {
            return u64::MAX;
        }
        self.refills.iter().fold(
            start,
            |end, (at, amount)| {
                if *at <= end { end + amount } else { end }
            },
        )
    }

    /// Pays for a slice; says whether the list was full.
    fn pay(&mut self, start: u64, end: u64) -> bool {
        let Some(budget) = self.budget else {
            return false;
        };
        let mut left = (end - start).min(budget.budget_ns);
        let used = left;
        while left > 0 {
            let take = self.refills[0].1.min(left);
            self.refills[0].1 -= take;
            left -= take;
            if self.refills[0].1 == 0 {
                self.refills.remove(0);
            }
        }
        let at = start + budget.period_ns;
        match self.refills.last_mut() {
            _ if used == 0 => {}
            Some(last) if last.0 + last.1 >= at => last.1 += used,
            _ => self.refills.push((at, used)),
        }
        if self.refills.len() as u64 <= MAX_PIECES {
            return false;
        }
        let first = self.refills.remove(0);
        self.refills[0].1 += first.1;
        true
    }
}

/// The pCPU.
pub struct Simulation<'a> {
    model: &'a Model,
    runners: Vec<Runner>,
    /// Those that can run, in the order in which they came to be so: first those in their budget, then the others.
    queues: [Vec<usize>; 2],
    now: u64,
    /// Who executes, since when, and whether in its budget.
    running: Option<(usize, u64, bool)>,
    /// A stream of numbers for the lengths of stays.
    noise: u64,
    trace: Trace,
}

impl<'a> Simulation<'a> {
    /// Makes a pCPU at time 0; `background` says who runs below every priority without budget.
    pub fn new(model: &'a Model, work: &[Work], background: &[bool], noise: u64) -> Self {
        let runners = model.tasks.iter().zip(work).zip(background);
        let runners = runners.map(|((task, work), background)| Runner {
            budget: task.budget,
            background: *background,
            refills: task.budget.iter().map(|b| (0, b.budget_ns)).collect(),
            endless: matches!(work, Work::Endless),
            coming: match work {
                Work::Endless => Vec::new(),
                Work::Jobs(jobs) => jobs.clone(),
            },
            waiting: Vec::new(),
            slice_left: task.time_slice_ns,
        });
        let count = model.tasks.len();
        Self {
            model,
            runners: runners.collect(),
            queues: [Vec::new(), Vec::new()],
            now: 0,
            running: None,
            noise,
            trace: Trace {
                jobs: Vec::new(),
                executed: vec![Vec::new(); count],
                overflowed: vec![false; count],
            },
        }
    }

    /// Runs until `end`.
    pub fn run(mut self, end: u64) -> Trace {
        let mut steps = 0;
        while self.now < end {
            steps += 1;
            assert!(steps < 4 * end, "no progress at {}", self.now);
            self.arrive();
            self.sort();
            let current = self.running.map(|(task, _, inside)| (task, inside));
            if self.first() != current {
                self.leave();
                // What was just paid may leave something that has become due meanwhile.
                self.sort();
            }
            let Some((task, inside)) = self.first() else {
                self.now = self.next_event().min(end);
                continue;
            };
            if self.running.is_none() {
                if current.map(|(task, _)| task) != Some(task) {
                    self.now += self.model.costs.switch_ns;
                }
                self.running = Some((task, self.now, inside));
                // Things may have changed meanwhile.
                self.arrive();
                self.sort();
                if self.first() != Some((task, inside)) {
                    continue;
                }
            }
            self.execute(end);
        }
        self.leave();
        self.trace
    }

    /// Takes in work that has come.
    fn arrive(&mut self) {
        for runner in &mut self.runners {
            while let Some((came, amount)) = runner.coming.first().copied()
                && came <= self.now
            {
                runner.coming.remove(0);
                runner.waiting.push((came, None, amount));
            }
        }
    }

    /// Says whether a vCPU's window is open.
    fn is_open(&self, task: usize) -> bool {
        let Model {
            windows,
            frame_ns,
            tasks,
            ..
        } = self.model;
        let phase = self.now % (*frame_ns).max(1);
        let mut windows_ = windows.iter();
        windows.is_empty()
            || windows_.any(|window| {
                (window.start_ns..window.end_ns).contains(&phase)
                    && window.partitions & tasks[task].partitions != 0
            })
    }

    /// Puts everybody into the queue where it belongs, the new ones behind.
    fn sort(&mut self) {
        for task in 0..self.runners.len() {
            let runner = &self.runners[task];
            let start = match self.running {
                Some((running, since, true)) if running == task => since,
                _ => self.now,
            };
            let able = runner.wants() && self.is_open(task);
            let paid = runner.lasts_until(start) > self.now;
            for (queue, belongs) in [(0, able && paid), (1, able && !paid && runner.background)] {
                let there = self.queues[queue].contains(&task);
                if belongs && !there {
                    self.queues[queue].push(task);
                }
                if !belongs {
                    self.queues[queue].retain(|other| *other != task);
                }
            }
        }
    }

    /// Returns who is to execute, and whether in its budget.
    fn first(&self) -> Option<(usize, bool)> {
        for (queue, inside) in self.queues.iter().zip([true, false]) {
            let most = queue
                .iter()
                .map(|task| self.model.tasks[*task].priority)
                .max();
            let first = queue
                .iter()
                .find(|task| Some(self.model.tasks[**task].priority) == most);
            if let Some(task) = first {
                return Some((*task, inside));
            }
        }
        None
    }

    /// Ends the slice of who executes.
    fn leave(&mut self) {
        let Some((task, since, inside)) = self.running.take() else {
            return;
        };
        if inside && self.now > since {
            let full = self.runners[task].pay(since, self.now);
            self.trace.overflowed[task] |= full;
            self.trace.executed[task].push((since, self.now));
        }
    }

    /// Returns when something happens that does not come from who executes.
    fn next_event(&self) -> u64 {
        let mut next = u64::MAX;
        for runner in &self.runners {
            let work = runner.coming.first().map(|(came, _)| *came);
            let refills = runner.refills.iter().map(|(at, _)| *at);
            let later = work.into_iter().chain(refills).filter(|at| *at > self.now);
            next = later.fold(next, u64::min);
        }
        let frame = self.model.frame_ns.max(1);
        let began = self.now - self.now % frame;
        for window in &self.model.windows {
            let edges = [window.start_ns, window.end_ns, window.start_ns + frame];
            let edges = edges.map(|edge| began + edge);
            next = edges
                .into_iter()
                .filter(|at| *at > self.now)
                .fold(next, u64::min);
        }
        next
    }

    /// Lets who was chosen execute until something happens, or until a stay at EL2 ends.
    fn execute(&mut self, end: u64) {
        let Some((task, since, inside)) = self.running else {
            return;
        };
        let slice = self.model.tasks[task].time_slice_ns;
        let turns = slice != 0 && self.has_equal(task, inside);
        let mut until = self.next_event().min(end.max(self.now));
        let runner = &self.runners[task];
        if inside {
            until = until.min(runner.lasts_until(since));
        }
        if turns {
            until = until.min(self.now + runner.slice_left);
        }
        // A stay at EL2 goes on over all of this.
        self.noise = self
            .noise
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        let stay = (self.noise >> 33) % (self.model.costs.stay_ns + 1);
        if self.noise >> 63 == 1 {
            until = (self.now + stay.max(1)).min(until.max(self.now + stay));
        }
        if let Some((_, _, left)) = runner.waiting.first() {
            until = until.min(self.now + left);
        }
        self.pass(task, until, turns, inside);
    }

    /// Lets time pass in which a vCPU executes.
    fn pass(&mut self, task: usize, until: u64, turns: bool, inside: bool) {
        let amount = until - self.now;
        let began = self.now;
        self.now = until;
        let slice = self.model.tasks[task].time_slice_ns;
        let runner = &mut self.runners[task];
        if slice != 0 {
            runner.slice_left = runner.slice_left.saturating_sub(amount);
        }
        let over = turns && runner.slice_left == 0;
        if slice != 0 && runner.slice_left == 0 {
            runner.slice_left = slice;
        }
        if over {
            let queue = &mut self.queues[usize::from(!inside)];
            queue.retain(|other| *other != task);
            queue.push(task);
        }
        if let Some(job) = runner.waiting.first_mut() {
            let first = *job.1.get_or_insert(began);
            job.2 -= amount;
            if job.2 == 0 {
                let came = job.0;
                runner.waiting.remove(0);
                self.trace.jobs.push(Done {
                    task,
                    came,
                    began: first,
                    done: until,
                });
            }
        }
    }

    /// Says whether an equal waits behind a vCPU.
    fn has_equal(&self, task: usize, inside: bool) -> bool {
        let priority = self.model.tasks[task].priority;
        let mut queue = self.queues[usize::from(!inside)].iter();
        queue.any(|other| *other != task && self.model.tasks[*other].priority == priority)
    }
}
