//! A bootable system: EL2, a compiled table, and the image of both.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use bulkhead::board::{Board as Described, BoardError, Tree};
use bulkhead::config::payload::Payload;
use bulkhead_platforms::{Platform, QemuBoard, Request, System, compile};
use zerocopy::IntoBytes;

use crate::args::{Consent, Machine, Target};
use crate::failure::{Code, Failure, Outcome};
use crate::guests::Workshop;
use crate::image::{Hypervisor, symbol_offset};
use crate::qemu::{Board, Handover};
use crate::recipe::Sources;
use crate::selection::{Selection, select};
use crate::setup::{self, alone, trees};
use crate::workspace::{self, HYPERVISOR_TARGET, bare_metal_build, own, products, read};

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
        self.launch_on(self.qemu_board()?, icount)
    }

    /// [`Self::launch`] on a board that may be another than the platform's.
    ///
    /// # Errors
    /// What starts the image cannot be written.
    pub fn launch_on(&self, board: &Board, icount: bool) -> Outcome<Command> {
        let mut command = match icount {
            true => board.without_randomness().command(),
            false => board.command(),
        };
        board.load(&mut command, &self.image, self.system.image_address())?;
        command.args(["-serial", "stdio"]);
        if icount {
            command.args(crate::qemu::ICOUNT);
        }
        Ok(command)
    }

    /// Reads the payload as EL2 does, and lets `read` look at it. Records are read in place, so that the bytes must be aligned
    /// as EL2 finds them.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn with_payload<T>(&self, read: impl FnOnce(&Payload<'_>) -> T) -> Outcome<T> {
        let bytes = self.system.payload();
        let mut words = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
        for (to, from) in words.as_mut_bytes().iter_mut().zip(bytes) {
            *to = *from;
        }
        let payload = Payload::new(words.as_bytes());
        let payload = payload.map_err(|_| Failure::failed("the payload cannot be read"))?;
        Ok(read(&payload))
    }

    /// Returns where the board has something that EL2 exports by name.
    ///
    /// # Errors
    /// EL2 has no such name.
    pub fn address_of(&self, symbol: &str) -> Outcome<u64> {
        let offset = symbol_offset(&read(&self.hypervisor_elf)?, symbol)?;
        Ok(self.system.image_address() + offset)
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
    build_around(build_hypervisor, target, machine, &|_| {})
}

/// [`build`] with an EL2 that counts its stays.
///
/// # Errors
/// As for that.
pub fn build_counting(target: &Target, machine: &Machine) -> Outcome<Built> {
    build_around(build_counting_hypervisor, target, machine, &|_| {})
}

/// [`build`] for a board whose device tree is changed.
///
/// # Errors
/// As for that.
pub fn build_for(
    target: &Target,
    machine: &Machine,
    change: &dyn Fn(&mut Vec<u8>),
) -> Outcome<Built> {
    build_around(build_hypervisor, target, machine, change)
}

/// Builds what the command line asks for around the EL2 that `hypervisor` builds, for the board's tree as it is changed.
fn build_around(
    hypervisor: impl FnOnce() -> Outcome<(PathBuf, Hypervisor)>,
    target: &Target,
    machine: &Machine,
    change: &dyn Fn(&mut Vec<u8>),
) -> Outcome<Built> {
    // Guests and recipes are shared by tables, and made in folders of one name.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _alone = alone(&BUILDING);
    let selection = select(target)?;
    setup::rust_targets()?;
    let (hypervisor_elf, hypervisor) = hypervisor()?;
    let board = board(&selection, machine, target.consent)?;
    let mut dtb = device_tree(&selection, board.as_ref(), None, target.consent)?;
    change(&mut dtb);
    let mut workshop = Workshop::new(sources(target), target.consent);
    let bytes = hypervisor.bytes.len() as u64;
    let system = compiled(&selection, &dtb, bytes, &mut workshop, target)?;
    let image = own(&[&selection.platform.name, &format!("{}.img", selection.name)]);
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
    let system = check_selected(&selection, target, machine, dtb)?;
    Ok((selection, system))
}

/// [`check`] for a table and a board that have been chosen.
///
/// # Errors
/// As for that.
pub fn check_selected(
    selection: &Selection,
    target: &Target,
    machine: &Machine,
    dtb: Option<&Path>,
) -> Outcome<System> {
    setup::rust_targets()?;
    let board = match dtb {
        Some(_) => None,
        None => board(selection, machine, target.consent)?,
    };
    let dtb = device_tree(selection, board.as_ref(), dtb, target.consent)?;
    let built =
        read(&hypervisor_path(&workspace::target())).and_then(|elf| Hypervisor::from_elf(&elf));
    let bytes = built.map_or(UNBUILT_HYPERVISOR_BYTES, |built| built.bytes.len() as u64);
    let mut workshop = Workshop::new(sources(target), target.consent);
    compiled(selection, &dtb, bytes, &mut workshop, target)
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
    let program = match (&machine.qemu, &described.version) {
        (None, Some(version)) => setup::emulator::with_board(version)?,
        _ => setup::qemu(machine.qemu.as_deref(), consent)?,
    };
    let dtb = described.dtb.as_deref().map(trees::file).transpose()?;
    let needed = bulkhead_platforms::cpus_needed(&selection.table);
    let mut board = Board::new(program, dtb, described, machine, needed);
    board.handover = handover(&selection.platform, described)?;
    let name = &selection.platform.name;
    Ok(Some(board.wired(name, &described.monitor)?))
}

/// Returns the platform's own tree for a board that is to get that.
fn handover(platform: &Platform, described: &QemuBoard) -> Outcome<Option<Handover>> {
    let Some(tree_offset) = described.tree_offset else {
        return Ok(None);
    };
    let tree = products(&["cache", "device-trees", &format!("{}.dtb", platform.name)]);
    workspace::write(&tree, &own_tree(platform)?)?;
    Ok(Some(Handover {
        tree,
        tree_offset,
        load_offset: described.load_offset,
    }))
}

/// Returns the tree that a platform has in a file, with what that lacks.
fn own_tree(platform: &Platform) -> Outcome<Vec<u8>> {
    let facts = &platform.tree;
    let path = facts.debian.as_deref().unwrap_or_default();
    let tree = read(&trees::file(path)?)?;
    facts.applied(&tree).map_err(Failure::failed)
}

/// Returns the board's device tree: from a file, or from QEMU.
fn device_tree(
    selection: &Selection,
    board: Option<&Board>,
    file: Option<&Path>,
    consent: Consent,
) -> Outcome<Vec<u8>> {
    match (file, board) {
        (Some(file), _) => completed(setup::source::tree(file, consent)?, &selection.platform),
        (None, Some(board)) => board.device_tree(),
        (None, None) if selection.platform.tree.debian.is_some() => own_tree(&selection.platform),
        (None, None) => Err(Failure::usage(format!(
            "the platform {} does not run under QEMU: give its device tree with --dtb FILE",
            selection.platform.name
        ))),
    }
}

/// Gives a tree that leaves its memory to the firmware what the platform says of it; a running board's has its own.
fn completed(tree: Vec<u8>, platform: &Platform) -> Outcome<Vec<u8>> {
    let lacks = |tree| matches!(Described::read(tree, None), Err(BoardError::NoMemory));
    match Tree::new(&tree).is_ok_and(lacks) {
        true => platform.tree.applied(&tree).map_err(Failure::failed),
        false => Ok(tree),
    }
}

/// Compiles the table; prints its remarks.
fn compiled(
    selection: &Selection,
    dtb: &[u8],
    hypervisor_bytes: u64,
    workshop: &mut Workshop,
    target: &Target,
) -> Outcome<System> {
    let request = Request {
        table: &selection.table,
        platform: &selection.platform,
        dtb,
        hypervisor_bytes,
        images: workshop,
        trace: target.trace,
        letters: target.letters,
    };
    let json = target.json;
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

/// Returns where cargo puts EL2, in one of its folders.
fn hypervisor_path(target: &Path) -> PathBuf {
    target.join(HYPERVISOR_TARGET).join("release/bulkhead")
}

/// Builds EL2.
///
/// # Errors
/// It does not compile, or is no image.
pub fn build_hypervisor() -> Outcome<(PathBuf, Hypervisor)> {
    compile_hypervisor(&workspace::target(), &[])
}

/// Builds EL2 so that it counts its stays; in a folder of its own, where it is nobody else's.
fn build_counting_hypervisor() -> Outcome<(PathBuf, Hypervisor)> {
    let folder = products(&["stay-counter"]);
    compile_hypervisor(&folder, &["--features", "stay-counter"])
}

/// Builds EL2 into a folder of cargo's.
fn compile_hypervisor(target: &Path, more: &[&str]) -> Outcome<(PathBuf, Hypervisor)> {
    let mut command = bare_metal_build(HYPERVISOR_TARGET);
    command.args(["--package", "bulkhead", "--bin", "bulkhead"]);
    command.arg("--target-dir").arg(target).args(more);
    workspace::call(command.stdout(Stdio::null()), "building the hypervisor")?;
    let path = hypervisor_path(target);
    let hypervisor = Hypervisor::from_elf(&read(&path)?)?;
    Ok((path, hypervisor))
}
