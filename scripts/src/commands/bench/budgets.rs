//! `tests/bench-budgets.toml`: what each row should cost, and what it may cost today.

use serde::Deserialize;

use super::instruction::Costs;
use super::results::Measured;
use crate::failure::{Failure, Outcome};
use crate::workspace::{read, root};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budgets {
    /// Measured operations.
    pub row: Vec<Row>,
    /// Bytes of EL2.
    pub footprint: Footprint,
    /// Instructions of one stay at EL2.
    pub stays: Stays,
    /// From a look for interrupts to the guest that it wakes; a scenario measures it.
    #[cfg_attr(not(test), expect(dead_code, reason = "a scenario holds it"))]
    pub behind: Behind,
    /// Linux's way to `LINUX UP`.
    pub linux: Linux,
}

/// A measured operation.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Names it on the command line and in JSON.
    pub name: String,
    /// Names it for people.
    pub about: String,
    /// Which system measures it.
    #[serde(default)]
    pub system: Bench,
    /// What the guest calls it, where that is not `name`.
    measure: Option<String>,
    /// Another row, whose numbers are subtracted: what is left is what this system adds.
    pub minus: Option<String>,
    /// What the design asks for.
    pub target: Option<u64>,
    /// What it may cost: more is a failure.
    pub budget: u64,
    /// What the budget bounds.
    #[serde(default)]
    pub of: Bound,
    /// What may lie on its way through EL2.
    pub path: Option<PathBudget>,
    /// What it may cost on a GICv2, if that is measured.
    pub gicv2: Option<OnGicv2>,
    /// Bao's number.
    #[serde(default)]
    pub bao: String,
    /// Xen's number.
    #[serde(default)]
    pub xen: String,
    /// The least that we can think of.
    #[serde(default)]
    pub least: String,
}

impl Row {
    /// Returns what the guest calls it.
    pub fn measure(&self) -> &str {
        self.measure.as_deref().unwrap_or(&self.name)
    }

    /// Returns the number that the budget bounds.
    pub const fn bounded(&self, measured: &Measured) -> u64 {
        match self.of {
            Bound::Max => measured.max,
            Bound::Mean => measured.mean,
        }
    }
}

/// A row on a GICv2.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnGicv2 {
    /// What it may cost.
    pub budget: u64,
    /// Bao's number there.
    #[serde(default)]
    pub bao: String,
}

/// A system that measures.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Bench {
    /// The guest alone on its pCPU.
    #[default]
    Alone,
    /// A busy partition below it.
    Shared,
    /// Two that give way to each other.
    Yield,
    /// The guest alone on its pCPU, which traces.
    Traced,
    /// Two that give way to each other on a pCPU that traces.
    #[serde(rename = "traced-yield")]
    TracedYield,
    /// A side that rings a doorbell, and a more urgent one that waits for it.
    Channel,
    /// An urgent one that counts what a storm of interrupts for one below costs it.
    Storm,
}

impl Bench {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Alone,
        Self::Shared,
        Self::Yield,
        Self::Traced,
        Self::TracedYield,
        Self::Channel,
        Self::Storm,
    ];

    /// Returns the partition table: a name in the board's folder, or a file of the project.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Alone => "bench",
            Self::Shared => "bench-shared",
            Self::Yield => "bench-yield",
            Self::Traced => "bench-traced",
            Self::TracedYield => "bench-yield-traced",
            Self::Channel => "bench-channel",
            Self::Storm => "tests/systems/storm-one.toml",
        }
    }

    /// Returns the guest that measures.
    pub const fn guest(self) -> &'static str {
        match self {
            Self::Alone | Self::Shared | Self::Traced => "bench",
            Self::Yield | Self::TracedYield => "bench-yield",
            Self::Channel => "bench-channel",
            Self::Storm => "steady",
        }
    }
}

/// Which of a row's numbers has the budget.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// The greatest.
    #[default]
    Max,
    /// The mean.
    Mean,
}

/// What a row may have on its way through EL2.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PathBudget {
    /// Accesses to system registers.
    pub registers: u64,
    /// Barriers.
    pub barriers: u64,
    /// Operations on TLBs and caches.
    #[serde(default)]
    pub maintenance: u64,
}

impl PathBudget {
    /// Says whether a path has more.
    pub const fn is_exceeded(&self, costs: &Costs) -> bool {
        costs.registers > self.registers
            || costs.barriers > self.barriers
            || costs.maintenance > self.maintenance
    }
}

/// Bytes of EL2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footprint {
    /// Instructions.
    pub text: Bytes,
    /// Instructions, constants, and variables with a start value.
    pub text_and_data: Bytes,
    /// RAM with one pCPU.
    pub one_pcpu: Bytes,
    /// RAM for each further pCPU.
    pub each_pcpu: Bytes,
    /// RAM for each partition.
    pub each_partition: Bytes,
}

/// A number of bytes with a budget.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bytes {
    /// What the design asks for.
    pub target: u64,
    /// More is a failure.
    pub budget: u64,
    /// Bao's.
    #[serde(default)]
    pub bao: String,
    /// Xen's.
    #[serde(default)]
    pub xen: String,
}

/// Instructions of the longest stay at EL2.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stays {
    /// What the design asks for.
    pub target: u64,
    /// More is a failure.
    pub budget: u64,
}

/// Instructions from a look for interrupts to the first one of the guest that it wakes.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(test), expect(dead_code, reason = "a scenario holds it"))]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// More is a failure.
    pub budget: u64,
}

/// Linux's way to `LINUX UP`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linux {
    /// By kernel time.
    pub kernel: Ratio,
    /// From reset, the copying of its images in it.
    pub reset: Ratio,
}

/// A time over the native one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ratio {
    /// What the design asks for.
    pub target: f64,
    /// More is a failure.
    pub budget: f64,
    /// Xen's.
    pub xen: String,
}

impl Budgets {
    /// Reads the file.
    ///
    /// # Errors
    /// It is wrong.
    pub fn load() -> Outcome<Self> {
        let file = root().join("tests/bench-budgets.toml");
        let text = String::from_utf8_lossy(&read(&file)?).into_owned();
        toml::from_str(&text).map_err(|error| Failure::file(&file, error))
    }

    /// Returns the budgets that count with a GIC: with a GICv2 its rows, whose budgets and peers are others, and for which the
    /// design asks nothing.
    pub fn for_gic(mut self, gic: Option<u8>) -> Self {
        if gic != Some(2) {
            return self;
        }
        self.row.retain_mut(|row| {
            let Some(here) = row.gicv2.take() else {
                return false;
            };
            row.budget = here.budget;
            row.bao = here.bao;
            (row.target, row.path) = (None, None);
            row.xen.clear();
            row.least.clear();
            true
        });
        self
    }

    /// Returns a system's rows.
    pub fn rows(&self, bench: Bench) -> impl Iterator<Item = &Row> {
        self.row.iter().filter(move |row| row.system == bench)
    }
}

#[cfg(test)]
mod tests {
    use crate::selection::boards;

    use super::*;

    #[test]
    fn the_budgets_of_the_project_can_be_read() {
        let budgets = Budgets::load().unwrap();
        let row = |name: &str| budgets.row.iter().find(|row| row.name == name).unwrap();
        assert_eq!(row("self_sgi").target, Some(220));
        assert_eq!(row("wake_more_urgent").measure(), "timer_wfi");
        let mut names: Vec<_> = budgets.row.iter().map(|row| &row.name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), budgets.row.len(), "a name stands twice");
        for row in &budgets.row {
            let plain = |name: &String| {
                let other = budgets.row.iter().find(|row| row.name == *name);
                other.is_some_and(|other| other.minus.is_none())
            };
            assert!(row.minus.iter().all(plain), "{}: minus what?", row.name);
        }
    }

    /// Rows with a world switch on their way.
    const SWITCHES: [&str; 5] = [
        "wake_more_urgent",
        "yield_fp_untouched",
        "yield_fp_live",
        "channel_doorbell",
        "channel_doorbell_register",
    ];

    /// The report on time promises what `platforms/qemu-virt/board.toml` says that EL2 costs. The bench holds what is
    /// measured to the budgets, so numbers that are not below these are not below what is measured.
    #[test]
    fn the_board_costs_no_less_than_the_bench_allows() {
        let budgets = Budgets::load().unwrap();
        let boards = boards().unwrap();
        let board = boards
            .iter()
            .find(|board| board.name == "qemu-virt")
            .unwrap();
        let costs = board.el2.as_ref().unwrap();
        let stays = budgets.stays.budget;
        assert!(
            costs.stay_ns >= stays,
            "stay_ns = {} is less than the longest stay at EL2, {stays}",
            costs.stay_ns
        );
        let behind = budgets.behind.budget;
        assert!(
            costs.switch_ns >= behind,
            "switch_ns = {} is less than what comes behind a look, {behind}",
            costs.switch_ns
        );
        for name in SWITCHES {
            let row = budgets.row.iter().find(|row| row.name == name).unwrap();
            assert!(
                costs.switch_ns >= row.budget,
                "switch_ns = {} is less than {name}, {}",
                costs.switch_ns,
                row.budget
            );
            let costs = costs.with_gic(true);
            let here = row.gicv2.as_ref().map_or(0, |here| here.budget);
            assert!(
                costs.switch_ns >= here,
                "switch_gicv2_ns = {} is less than {name} with a GICv2, {here}",
                costs.switch_ns
            );
        }
    }

    #[test]
    fn a_path_exceeds_its_budget_by_any_kind() {
        let budget = PathBudget {
            registers: 2,
            barriers: 1,
            maintenance: 0,
        };
        let costs = Costs {
            registers: 2,
            barriers: 1,
            ..Costs::default()
        };
        assert!(!budget.is_exceeded(&costs));
        assert!(budget.is_exceeded(&Costs {
            registers: 3,
            ..costs
        }));
        assert!(budget.is_exceeded(&Costs {
            barriers: 2,
            ..costs
        }));
        assert!(budget.is_exceeded(&Costs {
            maintenance: 1,
            ..costs
        }));
    }
}
