//! `cargo xtask new-platform`: a board's first draft, from its device tree.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use bulkhead::board::{Board, BoardError, CpuStart, GicVersion, Tree};
use bulkhead_platforms::TreeFacts;

use crate::args::NewPlatform;
use crate::failure::{Failure, Outcome};
use crate::setup::{source, trees};
use crate::workspace::{read, root, shown, write};

/// RAM that Linux beside the control loop wants.
const ENOUGH: u64 = 512 << 20;
/// `RESULTS.md` of a board that nobody has measured.
const RESULTS: &str = include_str!("new_platform/results.md");
/// What `bench.toml` has on a second CPU.
const PAIRS: &str = include_str!("new_platform/pairs.toml");
/// Most vCPUs of the draft's Linux.
const LINUX_CPUS: usize = 4;

/// Runs the command.
pub fn run(args: &NewPlatform) -> Outcome {
    let folder = match &args.out {
        Some(folder) => folder.clone(),
        None => root().join("platforms").join(&args.name),
    };
    if !is_name(&args.name) {
        return Err(Failure::usage(format!(
            "`{}`: a name has a-z, 0-9 and -",
            args.name
        )));
    }
    if folder.join("board.toml").exists() {
        return Err(Failure::usage(format!(
            "{}: there is such a board already",
            shown(&folder)
        )));
    }
    let facts = facts(args)?;
    let bytes = match &facts.debian {
        Some(path) => read(&trees::file(path)?)?,
        None => source::tree(Path::new(&args.tree), args.consent)?,
    };
    let bytes = facts.applied(&bytes).map_err(Failure::usage)?;
    let draft = Draft::of(&bytes, args, &facts)?;
    write(&folder.join("board.toml"), draft.board.as_bytes())?;
    write(&folder.join("default.toml"), draft.table.as_bytes())?;
    write(&folder.join("bench.toml"), draft.bench.as_bytes())?;
    write(&folder.join("README.md"), draft.readme.as_bytes())?;
    let results = results(&args.name, &draft.bench);
    write(&folder.join("RESULTS.md"), results.as_bytes())?;
    println!(
        "{}: board.toml, default.toml, bench.toml, README.md, RESULTS.md",
        shown(&folder)
    );
    println!("{}", draft.told.join("\n"));
    println!("What the tree does not tell, and you have to find out:");
    for open in &draft.open {
        println!("  * {open}");
    }
    let dtb = match facts.debian {
        Some(_) => String::new(),
        None => format!(" --dtb {}", args.tree),
    };
    println!("Next: cargo xtask check --platform {}{dtb}", args.name);
    Ok(())
}

/// Is this a board's name?
fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.chars().all(known)
}

/// Returns what the command line says about the tree.
fn facts(args: &NewPlatform) -> Outcome<TreeFacts> {
    let memory = args.memory.iter().map(|text| {
        bulkhead_platforms::memory_range(text).ok_or_else(|| {
            Failure::usage(format!(
                "--memory {text}: START+SIZE is meant, for example 0x80000000+2G"
            ))
        })
    });
    Ok(TreeFacts {
        debian: args.tree.strip_prefix("debian:").map(str::to_owned),
        memory: memory.collect::<Outcome<_>>()?,
    })
}

/// The files, and what there is to say.
struct Draft {
    board: String,
    table: String,
    bench: String,
    readme: String,
    told: Vec<String>,
    open: Vec<String>,
}

impl Draft {
    /// Writes a board's draft.
    fn of(bytes: &[u8], args: &NewPlatform, facts: &TreeFacts) -> Outcome<Self> {
        let bad = |error: &dyn std::fmt::Display| Failure::usage(format!("{}: {error}", args.tree));
        let tree = Tree::new(bytes).map_err(|error| bad(&error))?;
        let board = Board::read(tree, None).map_err(|error| match error {
            BoardError::NoMemory => bad(&"the tree says nothing of memory, or a size of 0, for the firmware fills that in: give --memory START+SIZE, for example 0x80000000+2G"),
            error => bad(&error),
        })?;
        let told = told(&board);
        let open = open(&board, facts);
        Ok(Self {
            board: board_toml(&board, args, facts),
            table: table(&board, &args.name),
            bench: bench(&board, &args.name),
            readme: readme(&args.name, &board, &told, &open),
            told,
            open,
        })
    }
}

/// Says what the tree tells.
fn told(board: &Board<'_>) -> Vec<String> {
    let mut told = vec![format!("board      {} ({})", board.model, board.compatible)];
    for memory in &board.memory {
        told.push(format!("memory     {memory}, {} MiB", memory.size() >> 20));
    }
    for reserved in &board.reserved {
        told.push(format!("reserved   {}", reserved.range));
    }
    for (position, cpu) in board.cpus.iter().enumerate() {
        let start = match cpu.start {
            CpuStart::Psci => "PSCI",
            CpuStart::SpinTable(_) => "a spin table",
            CpuStart::Unknown => "nothing known",
        };
        let usable = if cpu.usable { "" } else { ", not usable" };
        told.push(format!(
            "CPU {position}      {}, MPIDR {}, started by {start}{usable}",
            cpu.core, cpu.mpidr
        ));
    }
    let version = match board.gic.version {
        GicVersion::V3 { .. } => "GICv3",
        GicVersion::V2 { .. } => "GICv2",
    };
    told.push(format!(
        "GIC        {version}, distributor {}",
        board.gic.distributor
    ));
    if let Some(console) = &board.console {
        let model = console
            .model()
            .map_or("nothing that Bulkhead drives", |model| model.name());
        let line = console
            .interrupt
            .map_or("no interrupt at the GIC".to_owned(), |it| {
                format!("INTID {}", it.intid)
            });
        told.push(format!(
            "console    {}: {model}, {}, {line}",
            console.compatible, console.registers
        ));
    }
    told
}

/// Lists what the tree leaves open.
fn open(board: &Board<'_>, facts: &TreeFacts) -> Vec<String> {
    let mut open = Vec::new();
    let mut say = |text: String| open.push(text);
    if !facts.memory.is_empty() {
        say("the memory is what you said, not the tree's: EL2 uses what the boot loader's tree says at the start".to_owned());
    }
    say("what the boot loader changes: memory, /memreserve/, reserved-memory. Take a copy of the tree that the running board has (Linux: /sys/firmware/fdt) and check with --dtb".to_owned());
    say("whether the firmware enters the boot loader at EL2; EL2 says so if it is not".to_owned());
    match &board.console {
        None => say("the console: /chosen has no stdout-path and no UART that Bulkhead drives is enabled. It starts silent; read MEMORY_LOG with a debugger".to_owned()),
        Some(console) if console.model().is_none() => say(format!(
            "how to drive the console {}: it starts silent; read MEMORY_LOG with a debugger. A driver goes to src/uart/",
            console.compatible
        )),
        Some(console) if console.interrupt.is_none() => say("the console's interrupt: without one output comes by polling alone".to_owned()),
        Some(_) => say("whether the UART's clock and pins are on: the boot loader has to have used it".to_owned()),
    }
    let strange = board
        .cpus
        .iter()
        .filter(|cpu| cpu.start != CpuStart::Psci)
        .count();
    if board.psci.is_none() {
        say("how CPUs are started: the tree has no PSCI, which the firmware may add. The table uses the first one alone".to_owned());
    } else if strange > 0 {
        say(format!(
            "how {strange} of the CPUs are started: EL2 starts CPUs by PSCI; these stay off"
        ));
    }
    let cores: std::collections::BTreeSet<&str> = board.cpus.iter().map(|cpu| cpu.core).collect();
    if cores.len() > 1 {
        say(format!(
            "which partition wants which core: there are {}",
            cores.into_iter().collect::<Vec<_>>().join(" and ")
        ));
    }
    say("how many priorities the GIC keeps: 15 is taken, which every GICv3 has; EL2 finds out by itself".to_owned());
    say("what EL2 costs there in nanoseconds: the report on time has no [el2] to go by".to_owned());
    say("which devices master the bus: nothing confines them, as no SMMU is used".to_owned());
    if board.ignored.memory + board.ignored.cpus > 0 {
        say(format!(
            "{} ranges of memory and {} CPUs, for which EL2 has no room",
            board.ignored.memory, board.ignored.cpus
        ));
    }
    open
}

/// Writes `board.toml`.
fn board_toml(board: &Board<'_>, args: &NewPlatform, facts: &TreeFacts) -> String {
    let mut text = format!(
        "# Made by `cargo xtask new-platform` from {}; nobody has run it yet.\ndescription = {:?}\n",
        args.tree, board.model
    );
    text += "# Priorities of the GIC that can pass a mask: every GICv3 has as many. EL2 finds the real number by itself.\ninterrupt_levels = 15\n";
    text += "# What starts the board: \"u-boot\" or \"raspberry-pi\".\nboot = \"u-boot\"\n";
    if facts.debian.is_some() || !facts.memory.is_empty() {
        text += "\n# The tree that tables are checked against. `check --dtb FILE` takes a copy from a running board instead.\n[tree]\n";
    }
    if let Some(path) = &facts.debian {
        // Writing to a String does not fail.
        let _ = writeln!(text, "debian = {path:?}    # in Debian's kernel package");
    }
    if !facts.memory.is_empty() {
        let ranges: Vec<String> = args
            .memory
            .iter()
            .map(|range| format!("{range:?}"))
            .collect();
        let _ = writeln!(
            text,
            "memory = [{}]    # the firmware fills it in on the board",
            ranges.join(", ")
        );
    }
    text
}

/// Returns the positions of the CPUs that a table may use, one at least.
fn usable(board: &Board<'_>) -> Vec<usize> {
    let usable = board
        .cpus
        .iter()
        .enumerate()
        .filter(|(_, cpu)| cpu.usable && cpu.start == CpuStart::Psci);
    let mut cpus: Vec<usize> = usable.map(|(position, _)| position).collect();
    if board.psci.is_none() {
        // Only the CPU that starts EL2 is sure to run.
        cpus.truncate(1);
    }
    if cpus.is_empty() {
        cpus.push(0);
    }
    cpus
}

/// Writes the table that measures what EL2 costs.
fn bench(board: &Board<'_>, name: &str) -> String {
    let cpus = usable(board);
    let first = cpus.first().copied().unwrap_or(0);
    let alone = format!(
        "#:schema ../schema.json\n# What EL2 costs on this board, in cycles of its CPU: see RESULTS.md.\n[system]\n\
         version  = 1\nplatform = {name:?}\nfocus    = \"bench\"\n\
         # The guest that measures polls its console: whoever serves that must not be less urgent.\n\
         console_pcpu     = {first}\nconsole_priority = 200\n\n\
         [[partition]]\nname    = \"bench\"\nimage   = {{ guest = \"bench-cycles\" }}\nmemory  = \"4M\"\n\
         vcpus   = [{{ pcpu = {first}, priority = 200 }}]\nconsole = \"pl011\"\n\
         # What it measures is EL2.\ncounts_el2 = true\n"
    );
    match cpus.get(1) {
        Some(second) => alone + &PAIRS.replace("{pcpu}", &second.to_string()),
        None => alone,
    }
}

/// Writes `RESULTS.md` of a board with this table `bench`.
fn results(name: &str, bench: &str) -> String {
    let last = match bench.contains("\"pair\"") {
        true => "pair",
        false => "bench",
    };
    RESULTS.replace("{name}", name).replace("{last}", last)
}

/// Writes the first table: Linux beside the control loop, or the control loop alone where there is too little memory.
fn table(board: &Board<'_>, name: &str) -> String {
    let cpus = usable(board);
    let largest = board
        .memory
        .iter()
        .map(|memory| memory.size())
        .max()
        .unwrap_or(0);
    let first = cpus.first().copied().unwrap_or(0);
    let mut text = format!(
        "#:schema ../schema.json\n# A first system: change it as the README's \"Edit the partition table\" says.\n[system]\n\
         version  = 1\nplatform = {name:?}\nfocus    = {:?}\n\n\
         [[partition]]\nname     = \"loop\"\nimage    = {{ guest = \"control-loop\" }}\nmemory   = \"2M\"\n\
         vcpus    = [{{ pcpu = {first}, priority = 200 }}]\nconsole  = \"pl011\"\non_fault = \"restart\"\n",
        if largest >= ENOUGH { "linux" } else { "loop" }
    );
    if largest >= ENOUGH {
        let others: Vec<usize> = cpus.iter().skip(1).take(LINUX_CPUS).copied().collect();
        let places = if others.is_empty() {
            vec![first]
        } else {
            others
        };
        let vcpus: Vec<String> = places
            .iter()
            .map(|cpu| format!("{{ pcpu = {cpu}, priority = 10 }}"))
            .collect();
        text += &format!(
            "\n[[partition]]\nname    = \"linux\"\nimage   = {{ recipe = \"debian-linux\", cmdline = \"console=ttyAMA0\" }}\n\
             memory  = \"256M\"\nvcpus   = [{}]\nconsole = \"pl011\"\n\n\
             [[channel]]\nname    = \"pendulum\"\nbetween = [\"loop\", \"linux\"]\nsize    = \"64K\"\naccess  = [\"rw\", \"r\"]\n",
            vcpus.join(", ")
        );
    }
    text
}

/// Writes the folder's README.
fn readme(name: &str, board: &Board<'_>, told: &[String], open: &[String]) -> String {
    let list = |lines: &[String]| {
        lines
            .iter()
            .map(|line| format!("* {line}\n"))
            .collect::<String>()
    };
    format!(
        "# {name}\n\n{}. A draft by `cargo xtask new-platform`: **nobody has run it yet**.\n\n## What the tree tells\n\n{}\n\
         ## What it does not tell\n\n{}\n## Steps\n\nSee \"A board from nothing\" in the README: `cargo xtask check --platform \
         {name}`, `cargo xtask image --platform {name}`, `cargo xtask flash`, `cargo xtask console`.\n",
        board.model,
        list(told),
        list(open)
    )
}

/// Makes a draft of a tree into a folder, for tests.
///
/// # Errors
/// As the command's.
pub fn draft(name: &str, tree: &str, memory: &[&str], folder: &Path) -> Outcome {
    // What an earlier run left there.
    let _ = fs::remove_dir_all(folder);
    run(&NewPlatform {
        name: name.to_owned(),
        tree: tree.to_owned(),
        memory: memory.iter().map(|&text| text.to_owned()).collect(),
        out: Some(folder.to_owned()),
        consent: Default::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selection::boards;

    #[test]
    fn every_board_can_be_measured_and_says_how() {
        for board in boards().unwrap() {
            let table = match board.name.as_str() {
                "qemu-virt" => "bench-cycles", // `bench` counts for `cargo xtask bench`
                _ => "bench",
            };
            let tables = board.tables();
            assert!(tables.iter().any(|name| name == table), "{}", board.name);
            let file = root()
                .join("platforms")
                .join(&board.name)
                .join("RESULTS.md");
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with(&format!("# Results on {}\n", board.name)));
            assert!(text.contains(&format!("--partitions {table}")), "{text}");
        }
    }

    #[test]
    fn a_board_nobody_measured_says_so() {
        let text = results("am625-sk", PAIRS);
        assert!(text.contains("--until 'pair:^DONE'"));
        assert!(results("one-cpu", "").contains("--until 'bench:^DONE'"));
        assert!(text.contains("image --platform am625-sk --partitions bench"));
        assert!(text.contains("Nobody has run it on the board yet") && !text.contains("{name}"));
    }
}
