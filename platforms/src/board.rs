//! The board as tables are checked against it.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use bulkhead::addr::Range;
use bulkhead::board::{Board, Device, GicVersion, Token, Tree, TreeError, UartKind};
use bulkhead::ids::Mpidr;
use dtoolkit::memreserve::MemoryReservation;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node, Property};

use crate::nearest::nearest;
use crate::node::index::Index;
use crate::plan::Layout;
use crate::table::CpuName;

/// How deep a board's tree may be before the host refuses to copy it.
const MAX_DEPTH: usize = bulkhead::board::MAX_DEPTH;

/// A board.
pub struct HostBoard<'a> {
    /// What EL2 reads from the tree.
    pub board: Board<'a>,
    /// The tree as nodes.
    pub nodes: DeviceTree,
    /// The tree as EL2 reads it.
    pub tree: Tree<'a>,
    /// Full paths of all nodes that have registers, with these; looked up when first asked for, one by one.
    places: OnceCell<Vec<(String, Vec<Range>)>>,
}

impl<'a> HostBoard<'a> {
    /// Reads a board from its flattened tree.
    ///
    /// # Errors
    /// A sentence for people.
    pub fn read(dtb: &'a [u8]) -> Result<Self, String> {
        let tree = Tree::new(dtb).map_err(|error| error.to_string())?;
        let board = Board::read(tree, None).map_err(|error| error.to_string())?;
        let nodes = nodes_of(&tree).map_err(|error| error.to_string())?;
        Ok(Self {
            board,
            nodes,
            tree,
            places: OnceCell::new(),
        })
    }

    /// Returns the full paths of all nodes that have registers, with these.
    fn places(&self) -> &[(String, Vec<Range>)] {
        self.places.get_or_init(|| {
            let mut paths = Vec::new();
            collect_paths(&self.nodes.root, String::new(), 0, &mut paths);
            paths
                .into_iter()
                .filter_map(|path| self.place(path))
                .collect()
        })
    }

    /// Returns the nodes by path and by handle.
    pub fn index(&self) -> Index<'_> {
        Index::new(&self.nodes)
    }

    /// Returns the bytes of the tree that are in use.
    pub fn tree_bytes(&self) -> u64 {
        self.tree.used_bytes() as u64
    }

    /// Returns a node's path with its registers, if it has any.
    fn place(&self, path: String) -> Option<(String, Vec<Range>)> {
        let ranges = self.device(&path)?.registers;
        (!ranges.is_empty()).then_some((path, ranges))
    }

    /// Looks up a device by full path or alias, and calls `then` with it.
    fn device(&self, path: &str) -> Option<Found> {
        let device = self.board.find_device(&self.tree, path).ok()?;
        Some(Found::of(&device))
    }

    /// Looks up a device by full path or alias.
    ///
    /// # Errors
    /// A sentence for people; `None` when there is no such device.
    pub fn find(&self, path: &str) -> Result<Found, Option<String>> {
        use bulkhead::board::BoardError;
        match self.board.find_device(&self.tree, path) {
            Ok(device) => Ok(Found::of(&device)),
            Err(BoardError::NoDevice { .. }) => Err(None),
            Err(error) => Err(Some(error.to_string())),
        }
    }

    /// Returns the full path that a path or an alias stands for: a part without a unit address stands for the first node of
    /// that name.
    pub fn full_path(&self, path: &str) -> String {
        let path = self.unaliased(path);
        let mut full = String::new();
        let mut node = &self.nodes.root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let same = |child: &&DeviceTreeNode| {
                let stem = child.name().split('@').next();
                child.name() == part || stem == Some(part)
            };
            let Some(child) = node.children().find(same) else {
                return path;
            };
            full.push('/');
            full.push_str(child.name());
            node = child;
        }
        full
    }

    /// Returns the path that an alias stands for.
    fn unaliased(&self, path: &str) -> String {
        if path.starts_with('/') {
            return path.to_owned();
        }
        let aliases = self.nodes.root.child("aliases");
        let alias = aliases.and_then(|aliases| aliases.property(path));
        let target = alias.and_then(|p| p.value_as::<&str>().ok().map(str::to_owned));
        target.unwrap_or_else(|| path.to_owned())
    }

    /// Returns what a table can call the devices with registers that EL2 does not keep: full paths, and aliases for
    /// a `wrong` name that is no path.
    pub fn names(&self, wrong: &str) -> Vec<String> {
        if !wrong.starts_with('/') {
            let aliases = self.nodes.root.child("aliases").into_iter();
            let names = aliases.flat_map(|aliases| aliases.properties());
            let names: Vec<String> = names.map(|alias| alias.name().to_owned()).collect();
            if nearest(wrong, names.iter().map(String::as_str)).is_some() {
                return names;
            }
        }
        let kept = self.kept();
        let free = |ranges: &[Range]| {
            !ranges
                .iter()
                .any(|range| kept.iter().any(|(_, kept)| kept.overlaps(*range)))
        };
        let places = self.places().iter();
        let places = places.filter(|(path, ranges)| !is_memory(path) && free(ranges));
        let mut names: Vec<String> = places.map(|(path, _)| path.clone()).collect();
        // One of each kind comes first, so that a list cut short still shows what there is.
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        names.sort_by_cached_key(|path| {
            let kind = path.split('@').next().unwrap_or(path).to_owned();
            let count = seen.entry(kind).or_default();
            *count += 1;
            *count
        });
        names
    }

    /// Returns the devices whose registers overlap `range`.
    pub fn devices_in(&self, range: Range) -> impl Iterator<Item = (&str, Range)> {
        let places = self.places().iter().filter(|(path, _)| !is_memory(path));
        places.flat_map(move |(path, ranges)| {
            let hit = ranges.iter().filter(move |r| r.overlaps(range));
            hit.map(move |r| (path.as_str(), *r))
        })
    }

    /// Returns what EL2 keeps for itself: what it is, and where.
    pub fn kept(&self) -> Vec<(String, Range)> {
        let gic = self.board.gic.ranges();
        let mut kept: Vec<_> = gic.map(|range| ("the GIC".to_owned(), range)).collect();
        if let Some(console) = &self.board.console {
            kept.push(("the console's UART".to_owned(), console.registers));
        }
        kept
    }

    /// Returns the position of a CPU.
    pub fn position(&self, name: CpuName) -> Option<u32> {
        let position = match name {
            CpuName::Position(position) => usize::try_from(position).ok()?,
            CpuName::Mpidr(mpidr) => usize::from(self.board.pcpu_of(Mpidr::from_raw(mpidr))?.0),
        };
        let cpu = self.board.cpus.get(position)?;
        cpu.usable.then_some(position as u32)
    }

    /// Returns the `compatible` text of a CPU, for a guest's tree.
    pub fn core(&self, position: u32) -> String {
        let cpu = self.board.cpus.get(position as usize);
        let core = cpu.map_or("", |cpu| cpu.core);
        if core.is_empty() { "arm,armv8" } else { core }.to_owned()
    }

    /// Lists the CPUs in words.
    pub fn cpus_in_words(&self) -> String {
        let cpus = self.board.cpus.iter().enumerate();
        let list: Vec<String> = cpus
            .map(|(position, cpu)| format!("pCPU {position} ({}, MPIDR {})", cpu.core, cpu.mpidr))
            .collect();
        match list.len() {
            1 => format!("the board has one: {}", list[0]),
            n => format!("the board has {n}: {}", list.join(", ")),
        }
    }

    /// Returns the layout of QEMU's machine `virt` with a GIC of the board's version.
    pub fn virt_layout(&self) -> Layout {
        match &self.board.gic.version {
            GicVersion::V3 { .. } => Layout::VIRT,
            GicVersion::V2 { .. } => Layout::VIRT_GICV2,
        }
    }

    /// Returns the layout that follows the board: its own GIC, UART and RAM addresses.
    pub fn layout(&self) -> Layout {
        let board = &self.board;
        let (gicr, gicv2) = match &board.gic.version {
            GicVersion::V3 { redistributors, .. } => {
                let first = redistributors.first().map(|r| r.start());
                (first.unwrap_or(Layout::VIRT.gicr), false)
            }
            GicVersion::V2 { cpu, .. } => (cpu.start(), true),
        };
        let pl011 = board.console.as_ref().filter(|c| c.kind == UartKind::Pl011);
        let intid = pl011.and_then(|c| c.interrupt).map(|i| i.intid);
        Layout {
            ram: board.memory.first().map_or(Layout::VIRT.ram, |r| r.start()),
            gicd: board.gic.distributor.start(),
            gicr,
            gicv2,
            uart: pl011.map_or(Layout::VIRT.uart, |c| c.registers.start()),
            uart_intid: intid.unwrap_or(Layout::VIRT.uart_intid),
        }
    }
}

/// A device as the board has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its registers.
    pub registers: Vec<Range>,
    /// Its interrupts: number, and whether an edge raises it.
    pub interrupts: Vec<(u32, bool)>,
    /// Number of further interrupts, which go to another controller than the GIC.
    pub foreign_interrupts: u32,
    /// Whether it is in use.
    pub enabled: bool,
    /// Position of its node in the tree.
    pub ordinal: u32,
    /// Whether it is a timer, a CPU or another thing that EL2 alone may touch.
    pub compatible: Vec<String>,
}

impl Found {
    /// Copies what is needed.
    fn of(device: &Device<'_>) -> Self {
        let edge = bulkhead::board::Trigger::Edge;
        let interrupts = device.interrupts.iter();
        let compatible = device.compatible();
        Self {
            registers: device.registers.iter().copied().collect(),
            interrupts: interrupts.map(|i| (i.intid, i.trigger == edge)).collect(),
            foreign_interrupts: device.foreign_interrupts,
            enabled: device.enabled,
            ordinal: device.ordinal,
            compatible: compatible
                .map(|c| String::from_utf8_lossy(c).into_owned())
                .collect(),
        }
    }
}

/// Says whether a path is that of memory, whose node has a `reg` too.
pub fn is_memory(path: &str) -> bool {
    ["/memory", "/reserved-memory", "/cpus"]
        .iter()
        .any(|start| {
            let rest = path.strip_prefix(start);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['@', '/']))
        })
}

/// Returns a tree with other memory than it says; what it reserves stays.
pub(crate) fn with_memory(dtb: &[u8], memory: &[Range]) -> Result<Vec<u8>, String> {
    let tree = Tree::new(dtb).map_err(|error| error.to_string())?;
    let mut nodes = nodes_of(&tree).map_err(|error| error.to_string())?;
    let reserved = tree.reservations();
    nodes
        .memory_reservations
        .extend(reserved.map(|(start, size)| MemoryReservation::new(start, size)));
    let old = nodes.root.children().map(|child| child.name().to_owned());
    let old: Vec<String> = old
        .filter(|name| is_memory(&format!("/{name}")) && name.starts_with("memory"))
        .collect();
    for name in old {
        nodes.root.remove_child(&name);
    }
    let cells = |name| {
        let value = nodes.root.property(name).map(|it| it.value().to_vec());
        value.map_or(2, |value| value.last().copied().unwrap_or(2))
    };
    let (address, size) = (cells("#address-cells"), cells("#size-cells"));
    let first = memory.first().map_or(0, |range| range.start());
    let mut reg = Vec::new();
    for range in memory {
        for (value, cells) in [(range.start(), address), (range.size(), size)] {
            let bytes = value.to_be_bytes();
            if cells == 1 && value >> 32 != 0 {
                return Err(format!(
                    "{value:#x} does not fit the tree's one cell to a number"
                ));
            }
            reg.extend_from_slice(if cells == 1 { &bytes[4..] } else { &bytes });
        }
    }
    let mut node = DeviceTreeNode::new_unchecked(format!("memory@{first:x}"));
    node.add_property(DeviceTreeProperty::new_unchecked(
        "device_type",
        b"memory\0".as_slice(),
    ));
    node.add_property(DeviceTreeProperty::new_unchecked("reg", reg.as_slice()));
    nodes.root.add_child(node);
    Ok(nodes.to_dtb())
}

/// Returns a tree as nodes. The library's own reader is stricter than Linux is about its own trees: property names of more
/// than 31 characters are common.
pub(crate) fn nodes_of(tree: &Tree<'_>) -> Result<DeviceTree, TreeError> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut walk = tree.walk();
    let mut open: Vec<DeviceTreeNode> = Vec::new();
    loop {
        match walk.token()? {
            Token::Begin(_) if open.len() > MAX_DEPTH => {
                return Err(TreeError::Deep { limit: MAX_DEPTH });
            }
            Token::Begin(name) => open.push(DeviceTreeNode::new_unchecked(text(name))),
            Token::Property { name, value } => {
                let name = text(tree.name(name)?);
                let node = open.last_mut().ok_or(TreeError::Unbalanced)?;
                node.add_property(DeviceTreeProperty::new_unchecked(name, value));
            }
            Token::End => {
                let node = open.pop().ok_or(TreeError::Unbalanced)?;
                match open.last_mut() {
                    Some(above) => above.add_child(node),
                    None => {
                        let mut nodes = DeviceTree::new();
                        nodes.root = node;
                        return Ok(nodes);
                    }
                }
            }
            Token::Finish => return Err(TreeError::Unbalanced),
        }
    }
}

/// Collects the full paths of all nodes below one.
fn collect_paths(node: &DeviceTreeNode, path: String, depth: usize, out: &mut Vec<String>) {
    if depth > MAX_DEPTH {
        return;
    }
    for child in node.children() {
        let path = format!("{path}/{}", child.name());
        out.push(path.clone());
        collect_paths(child, path, depth + 1, out);
    }
}
