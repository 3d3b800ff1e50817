//! From a table to a payload.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bulkhead::config::payload::Payload;
use bulkhead::config::verify::{Actual, verify};
use bulkhead::ids::MAX_PARTITIONS;
use zerocopy::IntoBytes;

use crate::analysis::Costs;
use crate::board::HostBoard;
use crate::channel;
use crate::check;
use crate::check::time::PcpuTime;
use crate::diagnostic::{Diagnostic, Diagnostics, shown_path};
use crate::fit::fit;
use crate::image::Store;
use crate::manager;
use crate::node;
use crate::payload::{self, Globals};
use crate::place::{Fixed, Map, place_all};
use crate::plan::{Channel, Pcpu, Plan};
use crate::platform::{El2Costs, Platform};
use crate::report;
use crate::resolve::resolve;
use crate::rule::Rule;
use crate::table::{Table, Tree};

/// First INTID behind the shared peripheral interrupts: the tree does not tell how many of them the board has.
const SPI_END: u32 = 1020;

/// Where guest images come from: the host tool builds and fetches them on demand.
pub trait Images {
    /// Returns the ELF file of a crate under `guests/`, built if need be.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    fn guest(&mut self, name: &str) -> Result<PathBuf, String>;

    /// Returns the files of a recipe under `guests/recipes/`, fetched or built if need be.
    ///
    /// # Errors
    /// A sentence that says why there are none.
    fn recipe(&mut self, name: &str) -> Result<RecipeImage, String>;

    /// Reads a file: the table, and what it names.
    ///
    /// # Errors
    /// It cannot be read.
    fn file(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    /// Compiles the source of a device tree's overlay.
    ///
    /// # Errors
    /// A sentence that says why it cannot be done.
    fn overlay(&mut self, source: &Path) -> Result<Vec<u8>, String> {
        let _ = source; // who has no compiler needs no file
        Err(
            "source has to be compiled first: `dtc -@ -I dts -O dtb -o FILE.dtbo FILE.dts`"
                .to_owned(),
        )
    }

    /// Returns the names of all guest crates; a name that is not among them is refused without a build. An empty
    /// list means that they are not known.
    fn guests(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the names of all recipes, as [`Self::guests`] does.
    fn recipes(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a recipe makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecipeImage {
    /// An arm64 `Image`, plain or gzip.
    pub kernel: PathBuf,
    /// An initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel command line when the table gives none.
    pub cmdline: Option<String>,
}

/// What to compile, and for which board.
pub struct Request<'a> {
    /// The table's file; files that it names are relative to it.
    pub table: &'a Path,
    /// The board.
    pub platform: &'a Platform,
    /// The board's device tree, flattened.
    pub dtb: &'a [u8],
    /// Bytes of EL2's image in memory, a multiple of the page; the payload follows.
    pub hypervisor_bytes: u64,
    /// Where images come from.
    pub images: &'a mut dyn Images,
    /// Bytes of every CPU's trace ring, in place of what the table says.
    pub trace: Option<u64>,
    /// Let EL2 send a letter for every step of start-up.
    pub letters: bool,
}

/// A compiled table.
#[derive(Clone, Debug)]
pub struct System {
    payload: Vec<u8>,
    names: Vec<String>,
    report: String,
    report_json: String,
    warnings: Diagnostics,
    image: u64,
    trace_bytes: u64,
    passed: Vec<u16>,
}

impl System {
    /// Returns the payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Returns the report for people: what lies where, and who shares what. The warnings are not in it.
    pub fn report(&self) -> String {
        self.report.clone()
    }

    /// Returns the report as JSON, warnings included.
    pub fn report_json(&self) -> String {
        self.report_json.clone()
    }

    /// Returns the partitions' names in table order.
    pub fn partition_names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    /// Returns where on the board EL2's image lies.
    pub fn image_address(&self) -> u64 {
        self.image
    }

    /// Returns the bytes of every CPU's trace ring; 0 when nothing is traced.
    pub fn trace_bytes(&self) -> u64 {
        self.trace_bytes
    }

    /// Returns the INTIDs that are passed through to partitions.
    pub fn passed_interrupts(&self) -> &[u16] {
        &self.passed
    }

    /// Returns the remarks about the table.
    pub fn warnings(&self) -> &Diagnostics {
        &self.warnings
    }
}

/// Compiles a table.
///
/// # Errors
/// Every violation of the table, at least one of them an error.
pub fn compile(request: Request<'_>) -> Result<System, Diagnostics> {
    let (text, mut out) = read(request.table, request.images)?;
    let table = Table::read(&text, &mut out);
    if out.iter().any(|found| found.rule == Rule::Syntax) {
        return Err(out);
    }
    check::names(&table, request.platform, &mut out);
    let board = match HostBoard::read(request.dtb) {
        Ok(board) => board,
        Err(why) => {
            let title =
                format!("EL2 cannot run on the board that the device tree describes: {why}");
            out.push(Diagnostic::outside(Rule::BadBoard, title));
            return Err(out);
        }
    };
    let mut store = Store::new(request.table, request.images);
    let (mut plans, pcpus, mut channels) =
        plan(&table, &board, request.platform, &mut store, &mut out);
    warn_of_missing_seed(&board, request.platform, &mut out);
    let globals = Globals {
        letters: request.letters,
        ..globals(&table, &board, request.platform, request.trace, &mut out)
    };
    // A table with errors gets no payload, yet what is known of it is placed, so that all violations show.
    let payload = payload::write(&globals, &plans, &pcpus, &channels);
    let (image, length) = (request.hypervisor_bytes, payload.len() as u64);
    let map = match Fixed::find(&board, request.platform, image, length) {
        Some(fixed) => {
            let all = (plans.as_mut_slice(), channels.as_mut_slice());
            place_all(all, &board, &fixed, &payload, &mut out)
        }
        None => Map::default(),
    };
    let el2 = request.platform.el2.as_ref();
    let el2 = el2.map(|el2| el2.with_gic(globals.gicv2));
    let times = check::time::check(&plans, &pcpus, costs(el2.as_ref()), &mut out);
    if !out.has_errors() {
        check_as_el2(&payload, &board, &mut out);
    }
    if out.has_errors() {
        return Err(out);
    }
    let subject = report::Subject {
        table: shown_path(request.table),
        plans: &plans,
        channels: &channels,
        board: &board,
        levels: request.platform.levels,
        globals: &globals,
        map: &map,
        payload_bytes: payload.len() as u64,
        time: report::Time {
            pcpus: &times,
            costs: el2.as_ref(),
            console: console(&globals, &times),
        },
    };
    let devices = plans.iter().flat_map(|plan| &plan.devices);
    let passed = devices.flat_map(|device| &device.interrupts);
    Ok(System {
        report: report::text(&subject),
        report_json: report::json(&subject, &out),
        names: plans.iter().map(|plan| plan.name.clone()).collect(),
        payload,
        warnings: out,
        image: map.image,
        trace_bytes: globals.trace_bytes,
        passed: passed.map(|interrupt| interrupt.intid as u16).collect(),
    })
}

/// Returns who serves the console, and how urgently: as EL2 does it, not less than the least urgent vCPU there.
fn console(globals: &Globals, times: &[PcpuTime<'_>]) -> (u32, u8) {
    let there = times
        .iter()
        .find(|time| time.position == globals.console_pcpu);
    let users = there.map_or(&[][..], |time| &time.users).iter();
    let least = users.map(|user| user.vcpu.priority).min().unwrap_or(0);
    (globals.console_pcpu, globals.console_priority.max(least))
}

/// Returns what EL2 costs on a board; nothing where that is not known, and the report says so.
fn costs(el2: Option<&El2Costs>) -> Costs {
    el2.map_or_else(Costs::default, |el2| Costs {
        switch_ns: el2.switch_ns,
        stay_ns: el2.stay_ns,
    })
}

/// Warns of a board without randomness. QEMU's tree is made without a seed here, and with one when it runs.
fn warn_of_missing_seed(board: &HostBoard<'_>, platform: &Platform, out: &mut Diagnostics) {
    let seeded = !board.board.rng_seed.is_empty() || !board.board.kaslr_seed.is_empty();
    if !seeded && platform.qemu.is_none() {
        let title = "the board gives no random seed: guests get seeds that can be guessed";
        let found = Diagnostic::outside(Rule::NoBoardSeed, title);
        out.push(found.help("a boot loader adds `rng-seed` to `/chosen`"));
    }
}

/// Runs EL2's own checks: what it would refuse at start-up is refused here, whether or not a rule above covers it.
fn check_as_el2(payload: &[u8], board: &HostBoard<'_>, out: &mut Diagnostics) {
    let mut refuse = |why: String| {
        let title = format!("EL2 would not start: {why}");
        out.push(Diagnostic::outside(Rule::RefusedAtStart, title));
    };
    let words = payload::words(payload);
    match Payload::new(words.as_bytes()) {
        Ok(payload) => {
            let actual = Actual {
                board: &board.board,
                tree: &board.tree,
                // Which CPU starts the board is not in its tree; firmware takes the first.
                boot_cpu: board.board.cpus.first().map(|cpu| cpu.mpidr),
                intid_end: SPI_END,
                image: None,
            };
            verify(&payload, &actual, &mut |mismatch| {
                refuse(mismatch.to_string())
            });
        }
        Err(error) => refuse(error.to_string()),
    }
}

/// Reads the table's file.
fn read(path: &Path, images: &mut dyn Images) -> Result<(String, Diagnostics), Diagnostics> {
    let refused = |why: String| {
        let mut list = Diagnostics::new(path, "");
        let title = format!("the table cannot be read: {why}");
        list.push(Diagnostic::outside(Rule::UnreadableTable, title));
        list
    };
    let bytes = images
        .file(path)
        .map_err(|error| refused(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        refused(format!("byte {at} of it is not UTF-8"))
    })?;
    let out = Diagnostics::new(path, &text);
    Ok((text, out))
}

/// Makes the plans of all partitions and of the CPUs that the table describes, and checks them.
fn plan(
    table: &Table,
    board: &HostBoard<'_>,
    platform: &Platform,
    store: &mut Store<'_>,
    out: &mut Diagnostics,
) -> (Vec<Plan>, Vec<Pcpu>, Vec<Channel>) {
    let emulated = platform.qemu.is_some();
    let partitions = table.partitions.iter().take(MAX_PARTITIONS);
    let mut plans: Vec<Plan> = partitions
        .clone()
        .map(|partition| resolve(partition, board, emulated, out))
        .collect();
    let pcpus = check::cpus::check(table, &plans, board, emulated, out);
    check::devices::check(&plans, board, out);
    let channels = channel::resolve(&table.channels, &mut plans, out);
    manager::resolve(&table.partitions, &mut plans, out);
    for (plan, partition) in plans.iter_mut().zip(partitions) {
        check::space::check_guest(plan, out);
        let cpus: Vec<String> = plan
            .vcpus
            .iter()
            .map(|vcpu| board.core(vcpu.pcpu))
            .collect();
        if matches!(partition.tree.value, Tree::Generated { .. }) {
            node::copy_all(plan, &board.nodes, out);
        }
        fit(plan, partition, &cpus, store, out);
    }
    (plans, pcpus, channels)
}

/// Gathers what the payload says besides its partitions.
fn globals(
    table: &Table,
    board: &HostBoard<'_>,
    platform: &Platform,
    asked: Option<u64>,
    out: &mut Diagnostics,
) -> Globals {
    let system = &table.system;
    let pcpu = system.console_pcpu.as_ref();
    let uart = board.board.console.as_ref();
    let driven = uart.filter(|uart| uart.model().is_some());
    Globals {
        platform: platform.name.clone(),
        focus: check::focus(table),
        console_pcpu: pcpu
            .and_then(|name| board.position(name.value))
            .unwrap_or(0),
        console_mpidr: pcpu.and_then(|name| name.value.mpidr()),
        console_priority: system.console_priority,
        reset_on_panic: system.reset_on_panic,
        scrub_at_boot: system.scrub_at_boot,
        gicv2: board.board.gic.version.number() == 2,
        letters: false,
        uart: driven.and_then(|uart| uart.model()),
        uart_hpa: driven.map_or(0, |uart| uart.registers.start()),
        uart_interrupt: driven.and_then(|uart| uart.interrupt),
        trace_bytes: check::trace::bytes(table, asked, board.board.cpus.len(), out),
    }
}
