//! The command line of `mutants`.

use clap::Args;

use super::Consent;

/// `mutants`
#[derive(Args, Debug)]
pub struct Mutants {
    /// Modules of EL2's library [default: all pure ones]
    #[arg(value_name = "MODULE")]
    pub modules: Vec<String>,
    /// So many mutants, drawn from all modules named [default: all of them]
    #[arg(long, value_name = "N")]
    pub sample: Option<usize>,
    /// What a sample is drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Goes on with what was found before: tries what is new, and what survived
    #[arg(long)]
    pub resume: bool,
    /// May tools be installed?
    #[command(flatten)]
    pub consent: Consent,
}
