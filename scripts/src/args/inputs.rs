//! The command line of `inputs`.

use std::path::PathBuf;

use clap::Args;

use super::Consent;

/// `inputs`
#[derive(Args, Debug)]
pub struct Inputs {
    /// Targets [default: all, one after the other]
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Seconds for each target
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub time: u64,
    /// Run the one target on this file alone
    #[arg(long, value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// List the targets and how many seeds they have
    #[arg(long, conflicts_with_all = ["input", "small"])]
    pub list: bool,
    /// Print the inputs that were found and are worth keeping as seeds: lines for tests/fuzz/seeds/TARGET.txt, at most so many
    /// bytes each
    #[arg(long, value_name = "BYTES", conflicts_with = "input")]
    pub small: Option<usize>,
    /// May tools be installed?
    #[command(flatten)]
    pub consent: Consent,
}
