//! The load of a pCPU: what its budgets ask for, against the time that there is.

use super::response::{per_period_ns, supply_of_all};
use super::{Budget, Model};

/// The load of a pCPU, in millionths of its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// What each vCPU's budget asks for, by position; 0 without a budget.
    pub tasks_ppm: Vec<u64>,
    /// All budgets.
    pub budgets_ppm: u64,
    /// All budgets, with EL2's own work for them.
    pub with_el2_ppm: u64,
    /// The time that there is.
    pub available_ppm: u64,
}

/// Returns the load of a pCPU.
pub fn load(model: &Model) -> Load {
    let each = |cost: &dyn Fn(usize, Budget) -> u64| -> Vec<u64> {
        let tasks = model.tasks.iter().enumerate();
        let ppm = tasks.map(|(at, task)| {
            task.budget
                .map_or(0, |budget| ppm(cost(at, budget), budget.period_ns))
        });
        ppm.collect()
    };
    let tasks_ppm = each(&|_, budget| budget.budget_ns);
    let with_el2 = each(&|at, _| per_period_ns(model, at, 0));
    Load {
        budgets_ppm: tasks_ppm.iter().sum(),
        with_el2_ppm: with_el2.iter().sum(),
        available_ppm: supply_of_all(model).share_ppm(),
        tasks_ppm,
    }
}

/// Returns a part in millionths, rounded up: a load is not made smaller.
pub fn ppm(part: u64, whole: u64) -> u64 {
    let ppm = (u128::from(part) * 1_000_000).div_ceil(u128::from(whole.max(1)));
    u64::try_from(ppm).unwrap_or(u64::MAX)
}
