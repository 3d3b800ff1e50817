//! A bootable system: EL2, a compiled table, and the image of both.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bulkhead_platforms::{Request, System, compile};

use crate::args::{Consent, Machine, Target};
use crate::failure::{Code, Failure, Outcome};
use crate::guests::Workshop;
use crate::image::Hypervisor;
use crate::qemu::Board;
use crate::recipe::Sources;
use crate::selection::{Selection, select};
use crate::setup;
use crate::workspace::{self, HYPERVISOR_TARGET, cargo, products, read};

/// Room that `check` assumes for EL2 when it has not been built.
const UNBUILT_HYPERVISOR_BYTES: u64 = 1 << 20;

/// A built system.
#[derive(Debug)]
pub struct Built {
    /// Table and board.
    pub selection: Selection,
    /// The compiled table.
    pub system: System,
    /// EL2.
    pub hypervisor: Hypervisor,
    /// EL2 with symbols.
    pub hypervisor_elf: PathBuf,
    /// Guest crates with symbols.
    pub guest_elfs: Vec<PathBuf>,
    /// The bootable image.
    pub image: PathBuf,
    /// The board as QEMU runs it.
    pub board: Option<Board>,
}

impl Built {
    /// Returns the partitions' names.
    pub fn names(&self) -> Vec<String> {
        self.system
            .partition_names()
            .into_iter()
            .map(str::to_owned)
            .collect()
    }

    /// Returns the call of QEMU that boots the image, console on standard input and output.
    ///
    /// # Errors
    /// The platform does not run under QEMU.
    pub fn launch(&self, icount: bool) -> Outcome<Command> {
        let board = self.qemu_board()?;
        let mut command = match icount {
            true => board.without_randomness().command(),
            false => board.command(),
        };
        command.arg("-kernel").arg(&self.image);
        command.args(["-serial", "stdio"]);
        if icount {
            command.args(crate::qemu::ICOUNT);
        }
        Ok(command)
    }

    /// Returns the board as QEMU runs it.
    ///
    /// # Errors
    /// The platform does not run under QEMU.
    pub fn qemu_board(&self) -> Outcome<&Board> {
        self.board.as_ref().ok_or_else(|| {
            let name = &self.selection.platform.name;
            Failure::usage(format!("the platform {name} does not run under QEMU"))
        })
    }
}

/// Builds what the command line asks for.
///
/// # Errors
/// Wrong names, missing tools, a build that fails, a bad table.
pub fn build(target: &Target, machine: &Machine) -> Outcome<Built> {
    let selection = select(target)?;
    setup::rust_targets()?;
    let (hypervisor_elf, hypervisor) = build_hypervisor()?;
    let board = board(&selection, machine, target.consent)?;
    let dtb = device_tree(&selection, board.as_ref(), None)?;
    let mut workshop = Workshop::new(sources(target));
    let bytes = hypervisor.bytes.len() as u64;
    let system = compiled(&selection, &dtb, bytes, &mut workshop, target.json)?;
    let image = products(&[&selection.platform.name, &format!("{}.img", selection.name)]);
    workspace::write(&image, &hypervisor.with_payload(system.payload()))?;
    Ok(Built {
        selection,
        system,
        hypervisor,
        hypervisor_elf,
        guest_elfs: workshop.built().cloned().collect(),
        image,
        board,
    })
}

/// Compiles a table without building EL2, which is taken as it was built last.
///
/// # Errors
/// Wrong names, missing tools, a bad table.
pub fn check(
    target: &Target,
    machine: &Machine,
    dtb: Option<&Path>,
) -> Outcome<(Selection, System)> {
    let selection = select(target)?;
    setup::rust_targets()?;
    let board = match dtb {
        Some(_) => None,
        None => board(&selection, machine, target.consent)?,
    };
    let dtb = device_tree(&selection, board.as_ref(), dtb)?;
    let built = read(&hypervisor_path()).and_then(|elf| Hypervisor::from_elf(&elf));
    let bytes = built.map_or(UNBUILT_HYPERVISOR_BYTES, |built| built.bytes.len() as u64);
    let mut workshop = Workshop::new(sources(target));
    let system = compiled(&selection, &dtb, bytes, &mut workshop, target.json)?;
    Ok((selection, system))
}

/// Returns what the person gives for the recipes.
fn sources(target: &Target) -> Sources {
    Sources {
        kernel: target.kernel.clone(),
        busybox: target.busybox.clone(),
    }
}

/// Returns the board under QEMU, if it runs there.
fn board(selection: &Selection, machine: &Machine, consent: Consent) -> Outcome<Option<Board>> {
    let Some(described) = &selection.platform.qemu else {
        return Ok(None);
    };
    let program = setup::qemu(machine.qemu.as_deref(), consent)?;
    let needed = bulkhead_platforms::cpus_needed(&selection.table);
    Ok(Some(Board::new(program, described, machine, needed)))
}

/// Returns the board's device tree: from a file, or from QEMU.
fn device_tree(
    selection: &Selection,
    board: Option<&Board>,
    file: Option<&Path>,
) -> Outcome<Vec<u8>> {
    match (file, board) {
        (Some(file), _) => read(file),
        (None, Some(board)) => board.device_tree(),
        (None, None) => Err(Failure::usage(format!(
            "the platform {} does not run under QEMU: give its device tree with --dtb FILE",
            selection.platform.name
        ))),
    }
}

/// Compiles the table; prints its remarks.
fn compiled(
    selection: &Selection,
    dtb: &[u8],
    hypervisor_bytes: u64,
    workshop: &mut Workshop,
    json: bool,
) -> Outcome<System> {
    let request = Request {
        table: &selection.table,
        platform: &selection.platform,
        dtb,
        hypervisor_bytes,
        images: workshop,
    };
    let system = compile(request).map_err(|list| {
        if json {
            println!("{}", list.to_json());
            return Failure::new(Code::BadTable, "");
        }
        let text = list.render(workspace::colour_on_stderr());
        Failure::new(Code::BadTable, text)
    })?;
    if !json && !system.warnings().is_empty() {
        eprintln!(
            "{}",
            system
                .warnings()
                .render(workspace::colour_on_stderr())
                .trim_end()
        );
    }
    Ok(system)
}

/// Returns where cargo puts EL2.
fn hypervisor_path() -> PathBuf {
    workspace::target()
        .join(HYPERVISOR_TARGET)
        .join("release/bulkhead")
}

/// Builds EL2.
///
/// # Errors
/// It does not compile, or is no image.
pub fn build_hypervisor() -> Outcome<(PathBuf, Hypervisor)> {
    let mut command = cargo();
    command.args([
        "build",
        "--quiet",
        "--release",
        "--target",
        HYPERVISOR_TARGET,
    ]);
    command.args(["--package", "bulkhead", "--bin", "bulkhead"]);
    workspace::call(command.stdout(Stdio::null()), "building the hypervisor")?;
    let path = hypervisor_path();
    let hypervisor = Hypervisor::from_elf(&read(&path)?)?;
    Ok((path, hypervisor))
}
