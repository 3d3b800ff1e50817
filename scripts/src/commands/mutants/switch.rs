
/// Added by `cargo xtask mutants`: which of the mutants in this build is chosen, and which functions with mutants a test runs.
mod mutant_switch {
    use std::collections::BTreeSet;
    use std::fs::File;
    use std::io::Write;
    use std::sync::{LazyLock, Mutex};
    use std::{env, format, panic, process};

    /// The number of the mutant that is chosen; 0: none. The first panic ends the process: nothing that comes behind it matters.
    static CHOSEN: LazyLock<u32> = LazyLock::new(|| {
        let number = env::var("MUTANT").ok().and_then(|text| text.parse().ok());
        if number.is_some() {
            panic::set_hook(std::boxed::Box::new(|_| process::exit(101)));
        }
        number.unwrap_or(0)
    });

    /// Where the functions that run are written to, and which were.
    static RUN: LazyLock<Option<Mutex<(File, BTreeSet<u32>)>>> = LazyLock::new(|| {
        let file = File::create(env::var_os("MUTANT_FUNCTIONS")?).ok()?;
        Some(Mutex::new((file, BTreeSet::new())))
    });

    /// Returns the mutant that is chosen; none where the compiler computes a constant.
    pub const fn chosen(function: u32) -> u32 {
        core::intrinsics::const_eval_select((function,), in_constants, at_run)
    }

    const fn in_constants(_function: u32) -> u32 {
        0
    }

    fn at_run(function: u32) -> u32 {
        if let Some(run) = &*RUN {
            let mut run = run.lock().expect("no panic while it is written");
            if run.1.insert(function) {
                run.0.write_all(format!("{function}\n").as_bytes()).expect("a file");
            }
        }
        *CHOSEN
    }
}
