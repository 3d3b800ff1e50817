//! Response-time analysis: what the table promises to each vCPU of a pCPU, whatever the others do.
//!
//! The model is EL2's own: fixed priorities, preemptive, first in first out or time slices among equals, budgets as
//! sporadic servers, and time windows. All times are nanoseconds. What is promised, and why it holds:
//!
//! * **Interference.** A budget gives out at most its amount in *any* interval of one period, late wake-ups or not, since
//!   what a slice used comes back one period after the slice began. So in `t` a vCPU takes at most `ceil(t / period)` times
//!   its budget, an overrun (the budget's end is noticed one longest stay at EL2 late), and two world switches for each
//!   time that it starts to want to run. That is once a period, and once for each piece that preemptions cut its budget
//!   into: the list of replenishments bounds those. No back-to-back hit of two budgets exists: that is what deferrable
//!   servers have. A vCPU that runs in the *background* with its budget used up is below every priority, so it delays
//!   nobody who is not there too.
//! * **No budget.** Such a vCPU may run for ever. Whoever is less urgent has no promise, in the windows that both share.
//!   Equals without a budget are waited for by rounds when all take turns by `time_slice`, else they are the same.
//! * **Blocking.** Less urgent work delays by one longest stay at EL2, or one world switch, when a vCPU wakes.
//! * **Windows.** A vCPU's time is that of its windows, each shortened at its start by a late edge and a switch. It is
//!   served latest when it wakes as one of them closes: starting earlier or later than that helps. So the worst wake-up is
//!   one of those ends, and all of them are tried.
//!
//! From these follow two numbers for each vCPU. *Wakes within*: from wanting to run, with budget left, to the first
//! instruction. *Response* R: from wanting to run with its whole budget C to having had it. With R at most the period T:
//!
//! * A vCPU that always wants to run gets C in any interval of `T + R - C`. (EL2 replenishes by when a slice really began:
//!   a late slice comes back late, for the sake of those below. The n-th and the (n + C)-th nanosecond that it executes are
//!   at most that far apart.)
//! * Work that comes at most once a period and takes at most half of the budget is done within R; so is work as large as
//!   the budget that comes at most once in `T + R - C`. Work as large as the budget in every period is *not* promised to
//!   anybody but the most urgent.
//!
//! The tests run random systems in a plain simulation and look for work that comes later than promised.
//!
//! Source: M. Joseph, P. Pandya, "Finding Response Times in a Real-Time System", The Computer Journal 29 (1986);
//! R. Davis, A. Burns, "Hierarchical Fixed Priority Pre-emptive Scheduling", RTSS 2005; M. Stanovich et al., "Defects of
//! the POSIX Sporadic Server and How to Correct Them", RTAS 2010. The promises above are derived for EL2's rule.

mod load;
mod response;
mod supply;

pub use load::Load;
pub use supply::Window;

/// Pieces that a budget can be in: EL2 keeps so many replenishments for each.
pub const MAX_PIECES: u64 = 16;
/// Longest time that is looked at: beyond it there is no promise worth its name.
const HORIZON_NS: u64 = 1 << 50;

/// What EL2 itself costs on a board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// From the end of one vCPU's execution to another's first instruction.
    pub switch_ns: u64,
    /// Longest time in which EL2 does not look for more urgent work.
    pub stay_ns: u64,
}

/// Time in every period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// How much.
    pub budget_ns: u64,
    /// In any interval of this length.
    pub period_ns: u64,
}

/// A vCPU on the pCPU, or EL2's console server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its urgency, larger is more urgent.
    pub priority: u8,
    /// Its budget, if it has one.
    pub budget: Option<Budget>,
    /// Time after which it yields to its equals, 0 for none.
    pub time_slice_ns: u64,
    /// Bits of the partitions in whose windows it runs.
    pub partitions: u64,
}

/// A pCPU with all that runs there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Who runs there.
    pub tasks: Vec<Task>,
    /// Length of the major frame, 0 without windows.
    pub frame_ns: u64,
    /// Its windows, by start, without overlap, inside the frame.
    pub windows: Vec<Window>,
    /// What EL2 costs.
    pub costs: Costs,
}

/// What a vCPU can count on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// From wanting to run, with budget left, to the first instruction; `None`: there is no bound.
    pub wakes_ns: Option<u64>,
    /// From wanting to run with the whole budget to having had it; `None`: it has none, or there is no bound.
    pub response_ns: Option<u64>,
    /// Those without a budget that take all time from it, by position. Empty when it has a promise.
    pub starved_by: Vec<usize>,
    /// Without a budget: the share of time that is left to it at least, in millionths.
    pub share_ppm: u64,
    /// Further wake-ups in every period that each budget above it may have before the promise breaks; `None`: any number.
    pub spare_wakes: Option<u64>,
}

impl Model {
    /// Returns the load of the budgets.
    pub fn load(&self) -> Load {
        load::load(self)
    }

    /// Returns what each vCPU can count on, by position.
    pub fn promises(&self) -> Vec<Promise> {
        let tasks = 0..self.tasks.len();
        tasks.map(|task| response::promise(self, task)).collect()
    }

    /// Says whether two vCPUs are ever able to run at the same time.
    fn meet(&self, one: &Task, other: &Task) -> bool {
        let both = |window: &Window| {
            window.partitions & one.partitions != 0 && window.partitions & other.partitions != 0
        };
        self.windows.is_empty() || self.windows.iter().any(both)
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
