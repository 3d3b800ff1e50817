//! The command line of `mutants`.

use clap::Args;

use super::Consent;

/// `mutants`
#[derive(Args, Debug)]
pub struct Mutants {
    /// Modules of EL2's library [default: all pure ones]
    #[arg(value_name = "MODULE")]
    pub modules: Vec<String>,
    /// Every N-th mutant of each module, from the K-th on, counted from 0 [default: all of them, which takes a day]
    #[arg(long, value_name = "K/N")]
    pub sample: Option<String>,
    /// May tools be installed?
    #[command(flatten)]
    pub consent: Consent,
}
