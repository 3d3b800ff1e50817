//! Nodes of passed-through devices for the guest's tree: copied from the board's, with what they depend on.
//!
//! * Registers and interrupts are those that the guest was given; interrupts go to its own controller.
//! * Handles are numbered anew. A reference to something that the guest has too stays; every other property that refers to
//!   another node is left out as a whole, for a part of a list would mislead a driver. The report says which.
//! * A clock becomes one of a fixed rate ([`clock`]), a regulator of one voltage a fixed regulator.
//! * On a bus with registers (`ranges`) a child is there if the table passes it through as well.

mod clock;
pub mod index;
mod reference;

use std::collections::{BTreeMap, BTreeSet};

use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};

use self::clock::Clock;
use self::index::{Index, first_cell, handle, parent, texts, words};
use self::reference::Kind;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::{Device, Nodes, Plan};
use crate::rule::Rule;
use crate::tree::{FIRST_FREE_HANDLE, GIC_HANDLE, cells, mark, node, put, specifier};

/// Gives a plan the nodes of its devices.
pub fn copy_all(plan: &mut Plan, board: &DeviceTree, out: &mut Diagnostics) {
    let index = Index::new(board);
    let mut copier = Copier::new(&plan.devices, &index);
    let mut nodes = Vec::new();
    for device in &plan.devices {
        if index
            .at(&device.path)
            .is_none_or(|_| device.path.is_empty())
        {
            nodes.push(described(device));
        } else if copier.carrier(&device.path).is_none() {
            nodes.extend(copier.device(device, None));
        }
    }
    for found in copier.errors.drain(..) {
        out.push(found);
    }
    let made = std::mem::take(&mut copier.made);
    let named = |list: &str| {
        let list = index
            .at(list)
            .into_iter()
            .flat_map(|list| list.properties());
        let named = list.filter_map(|name| {
            let path = String::from_utf8_lossy(name.value());
            let place = copier.places.get(path.trim_end_matches('\0'))?;
            Some((name.name().to_owned(), place.clone()))
        });
        named.collect()
    };
    let found = Nodes {
        aliases: named("/aliases"),
        labels: named("/__symbols__"),
        nodes: made.into_iter().chain(nodes).collect(),
    };
    let (fixed, left_out) = (copier.rates, copier.left_out);
    for device in &mut plan.devices {
        let all = |of: &BTreeMap<String, Vec<String>>| of.get(&device.path).cloned();
        (device.fixed, device.left_out) = (
            all(&fixed).unwrap_or_default(),
            all(&left_out).unwrap_or_default(),
        );
    }
    plan.nodes = found;
}

/// Makes the node of a device that is in no tree.
fn described(device: &Device) -> DeviceTreeNode {
    let mut made = node(guest_name("device", device));
    if let Some(compatible) = &device.compatible {
        put(&mut made, "compatible", compatible.as_str());
    }
    add_parts(&mut made, device);
    made
}

/// Returns a node's name in the guest's tree.
fn guest_name(name: &str, device: &Device) -> String {
    let gpa = device.windows.first().map_or(0, |window| window.gpa);
    format!("{}@{gpa:x}", stem(name))
}

/// Returns a node's name without its unit address.
fn stem(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

/// Adds registers and interrupts as the guest has them.
fn add_parts(copy: &mut DeviceTreeNode, device: &Device) {
    let windows = device.windows.iter();
    let reg: Vec<u64> = windows.flat_map(|w| [w.gpa, w.host.size()]).collect();
    put(copy, "reg", cells(&reg));
    if !device.interrupts.is_empty() {
        let interrupts = device.interrupts.iter();
        let list: Vec<u32> = interrupts
            .flat_map(|i| specifier(i.intid, i.edge))
            .collect();
        put(copy, "interrupts", list);
    }
}

/// Says whether a child of a bus with registers is one that the CPUs reach.
fn is_on_bus(bus: &DeviceTreeNode, child: &DeviceTreeNode) -> bool {
    bus.property("ranges").is_some() && child.property("reg").is_some()
}

/// Copies nodes.
struct Copier<'a> {
    index: &'a Index<'a>,
    /// The partition's devices by their paths.
    devices: BTreeMap<&'a str, &'a Device>,
    /// Handles of nodes that are copied: the board's, and the guest's.
    handles: BTreeMap<u32, u32>,
    /// Where nodes of the board lie in the guest's tree.
    places: BTreeMap<String, String>,
    /// The next handle.
    next: u32,
    /// Clocks and regulators that were made, by what they stand for: the guest's handle.
    stand_ins: BTreeMap<(u32, Vec<u32>, u32), u32>,
    /// Their nodes.
    made: Vec<DeviceTreeNode>,
    /// For each device: its clocks, with their rates.
    rates: BTreeMap<String, Vec<String>>,
    /// For each device: the properties that were left out.
    left_out: BTreeMap<String, Vec<String>>,
    /// What is wrong.
    errors: Vec<Diagnostic>,
}

impl<'a> Copier<'a> {
    /// Finds out which nodes will be copied, and numbers them.
    fn new(devices: &'a [Device], index: &'a Index<'a>) -> Self {
        let known = devices.iter().filter(|device| !device.path.is_empty());
        let mut copier = Self {
            index,
            devices: known.map(|device| (device.path.as_str(), device)).collect(),
            handles: BTreeMap::new(),
            places: BTreeMap::new(),
            next: FIRST_FREE_HANDLE,
            stand_ins: BTreeMap::new(),
            made: Vec::new(),
            rates: BTreeMap::new(),
            left_out: BTreeMap::new(),
            errors: Vec::new(),
        };
        for device in devices {
            if let Some(source) = index.at(&device.path)
                && copier.carrier(&device.path).is_none()
            {
                copier.number(source, &device.path, "");
            }
        }
        copier
    }

    /// Returns the path of the device whose node a device's node is copied with, for both are passed through.
    fn carrier(&self, path: &str) -> Option<&'a str> {
        let mut above = std::iter::successors(parent(path), |path| parent(path));
        let found = above.find_map(|path| self.devices.get_key_value(path));
        found.map(|(path, _)| *path)
    }

    /// Numbers a node that is copied and all that are copied with it; `within` is where it goes.
    fn number(&mut self, source: &DeviceTreeNode, path: &str, within: &str) {
        let name = match self.devices.get(path) {
            Some(device) => guest_name(source.name(), device),
            None => source.name().to_owned(),
        };
        let place = format!("{within}/{name}");
        self.places.insert(path.to_owned(), place.clone());
        if let Some(handle) = handle(source) {
            self.handles.insert(handle, self.next);
            self.next += 1;
        }
        for child in source.children() {
            let path = format!("{path}/{}", child.name());
            if !is_on_bus(source, child) || self.is_listed(&path) {
                self.number(child, &path, &place);
            }
        }
    }

    /// Says whether a node, or one below it, is passed through by its own path.
    fn is_listed(&self, path: &str) -> bool {
        let below = |listed: &&str| {
            let rest = listed.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.devices.keys().any(below)
    }

    /// Copies the node of a device; `bus` when it goes into another device's.
    fn device(
        &mut self,
        device: &'a Device,
        bus: Option<&DeviceTreeNode>,
    ) -> Option<DeviceTreeNode> {
        let source = self.index.at(&device.path)?;
        let mut copy = node(guest_name(source.name(), device));
        self.properties(source, &device.path, device, &mut copy);
        add_parts(&mut copy, device);
        if device.interrupts.is_empty() {
            self.interrupts(source, &device.path, device, &mut copy);
        } else if bus.is_some() {
            put(&mut copy, "interrupt-parent", GIC_HANDLE);
        }
        let coherent = |node: &DeviceTreeNode| node.property("dma-coherent").is_some();
        if !coherent(source)
            && self
                .index
                .above(&device.path)
                .any(|(_, node)| coherent(node))
        {
            mark(&mut copy, "dma-coherent");
        }
        self.names(source, Some(device), &mut copy);
        self.children(source, &device.path, device, &mut copy);
        Some(copy)
    }

    /// Copies a node that comes with the device `of`.
    fn inner(&mut self, source: &DeviceTreeNode, path: &str, of: &'a Device) -> DeviceTreeNode {
        let mut copy = node(source.name());
        self.properties(source, path, of, &mut copy);
        for name in ["reg", "status"] {
            if let Some(property) = source.property(name) {
                copy.add_property(property.clone());
            }
        }
        self.interrupts(source, path, of, &mut copy);
        self.names(source, None, &mut copy);
        self.children(source, path, of, &mut copy);
        copy
    }

    /// Copies the nodes below one.
    fn children(
        &mut self,
        source: &DeviceTreeNode,
        path: &str,
        of: &'a Device,
        copy: &mut DeviceTreeNode,
    ) {
        for child in source.children() {
            let path = format!("{path}/{}", child.name());
            let listed = self.devices.get(path.as_str()).copied();
            let inner = match listed {
                Some(device) => self.device(device, Some(source)),
                None if is_on_bus(source, child) && !self.is_listed(&path) => {
                    self.leave_out(of, child.name());
                    None
                }
                None => Some(self.inner(child, &path, of)),
            };
            if let Some(inner) = inner {
                copy.add_child(inner);
            }
        }
        if source.property("ranges").is_some() {
            // What is below has the guest's own addresses.
            put(copy, "#address-cells", 2u32);
            put(copy, "#size-cells", 2u32);
            mark(copy, "ranges");
        }
    }

    /// Copies the properties of a node but for registers, state, interrupts, and names of what was left out.
    fn properties(
        &mut self,
        source: &DeviceTreeNode,
        path: &str,
        of: &'a Device,
        copy: &mut DeviceTreeNode,
    ) {
        for property in source.properties() {
            let (name, value) = (property.name(), property.value());
            match reference::kind(name) {
                _ if ["reg", "status", "ranges", "dma-ranges"].contains(&name) => {}
                Kind::Value => copy.add_property(property.clone()),
                Kind::Made | Kind::Beside(_) => {}
                // Those that the guest has are made as `interrupts`.
                Kind::List("#interrupt-cells") if path == of.path && !of.interrupts.is_empty() => {}
                Kind::Clocks => self.clocks(source, path, of, copy),
                Kind::Foreign => self.leave_out(of, name),
                Kind::List(_) | Kind::Cells(_) => match self.renumbered(name, value) {
                    Some(list) => put(copy, name, list),
                    None => self.leave_out(of, name),
                },
                Kind::Supply => match self.renumbered(name, value).or_else(|| self.supply(value)) {
                    Some(list) => put(copy, name, list),
                    None => self.leave_out(of, name),
                },
            }
        }
        if let Some(handle) = handle(source).and_then(|handle| self.handles.get(&handle)) {
            put(copy, "phandle", *handle);
        }
    }

    /// Notes what a guest does not get.
    fn leave_out(&mut self, of: &Device, what: &str) {
        let list = self.left_out.entry(of.path.clone()).or_default();
        if !list.iter().any(|known| known == what) {
            list.push(what.to_owned());
        }
    }

    /// Returns a list of references with the guest's handles; `None` when the guest lacks one of the nodes.
    fn renumbered(&self, name: &str, value: &[u8]) -> Option<Vec<u32>> {
        let mut list = words(value);
        let mut at = 0;
        while at < list.len() {
            let entry = list.get_mut(at)?;
            at += 1;
            // 0 stands for an entry that is not there.
            if *entry == 0 {
                continue;
            }
            let (_, target) = self.index.of(*entry)?;
            at += match reference::kind(name) {
                Kind::List(count) => first_cell(target, count)? as usize,
                Kind::Cells(count) => count,
                _ => 0,
            };
            *entry = *self.handles.get(entry)?;
        }
        Some(list)
    }

    /// Copies interrupts that go to a controller which the guest has been given.
    fn interrupts(
        &mut self,
        source: &DeviceTreeNode,
        path: &str,
        of: &'a Device,
        copy: &mut DeviceTreeNode,
    ) {
        let Some(interrupts) = source.property("interrupts") else {
            return;
        };
        let above = self.index.interrupt_parent(path);
        match above.and_then(|handle| self.handles.get(&handle)) {
            Some(handle) => {
                put(copy, "interrupt-parent", *handle);
                copy.add_property(interrupts.clone());
            }
            None => self.leave_out(of, "interrupts"),
        }
    }

    /// Copies names and numbers for the entries of lists that are there.
    fn names(&self, source: &DeviceTreeNode, device: Option<&Device>, copy: &mut DeviceTreeNode) {
        for property in source.properties() {
            let Kind::Beside(list) = reference::kind(property.name()) else {
                continue;
            };
            let granted = device.is_none_or(|device| {
                list != "interrupts"
                    || device.interrupts.is_empty()
                    || device.interrupts.len() == texts(source, property.name()).len()
            });
            if granted && copy.property(list).is_some() {
                copy.add_property(property.clone());
            }
        }
    }

    /// Gives a node its clocks, of fixed rates where the guest does not own the controller.
    fn clocks(
        &mut self,
        source: &DeviceTreeNode,
        path: &str,
        of: &'a Device,
        copy: &mut DeviceTreeNode,
    ) {
        let Some(mut clocks) = clock::of(source, self.index) else {
            return self.leave_out(of, "clocks");
        };
        let own = path == of.path;
        if let Some(said) = of.clocks.as_ref().filter(|_| own) {
            if said.value.is_empty() {
                return self.leave_out(of, "clocks");
            }
            if said.value.len() != clocks.len() {
                return self.errors.push(miscounted(of, said.value.len(), &clocks));
            }
            for (clock, hz) in clocks.iter_mut().zip(&said.value) {
                clock.hz = Some(*hz);
            }
        }
        let unknown =
            |clock: &Clock| clock.hz.is_none() && !self.handles.contains_key(&clock.handle);
        if clocks.iter().any(unknown) {
            match own {
                true => self
                    .errors
                    .push(unknown_rates(of, &clocks, unknown, self.index)),
                false => self.leave_out(of, "clocks"),
            }
            return;
        }
        let mut list = Vec::new();
        for clock in &clocks {
            match clock.hz {
                Some(hz) => list.push(self.fixed_clock(clock, hz, of)),
                None => {
                    list.extend(self.handles.get(&clock.handle));
                    list.extend(&clock.cells);
                }
            }
        }
        put(copy, "clocks", list);
    }

    /// Returns the handle of a clock of a fixed rate in place of one.
    fn fixed_clock(&mut self, clock: &Clock, hz: u32, of: &Device) -> u32 {
        let rates = self.rates.entry(of.path.clone()).or_default();
        rates.push(format!("{} at {hz} Hz", clock.name));
        let key = (clock.handle, clock.cells.clone(), hz);
        if let Some(handle) = self.stand_ins.get(&key) {
            return *handle;
        }
        let new = self.hand_out(key);
        let base = self.index.of(clock.handle);
        let base = base.map_or("clock", |(_, node)| stem(node.name()));
        // Without `clock-output-names` Linux calls it by the node's name, which no other clock has.
        let mut made = node(format!("{base}-{new}"));
        put(&mut made, "compatible", "fixed-clock");
        put(&mut made, "#clock-cells", 0u32);
        put(&mut made, "clock-frequency", hz);
        put(&mut made, "phandle", new);
        self.made.push(made);
        new
    }

    /// Returns a reference to a fixed regulator in place of one that has a single voltage.
    fn supply(&mut self, value: &[u8]) -> Option<Vec<u32>> {
        let [old] = words(value)[..] else {
            return None;
        };
        let (_, source) = self.index.of(old)?;
        let volts = |end: &str| first_cell(source, &format!("regulator-{end}-microvolt"));
        let volts = volts("min").filter(|min| volts("max") == Some(*min))?;
        let key = (old, Vec::new(), volts);
        if let Some(handle) = self.stand_ins.get(&key) {
            return Some(vec![*handle]);
        }
        let new = self.hand_out(key);
        let name = texts(source, "regulator-name").into_iter().next();
        let name = name.unwrap_or_else(|| stem(source.name()).to_owned());
        let mut made = node(format!("regulator-{new}"));
        put(&mut made, "compatible", "regulator-fixed");
        put(&mut made, "regulator-name", name.as_str());
        put(&mut made, "regulator-min-microvolt", volts);
        put(&mut made, "regulator-max-microvolt", volts);
        mark(&mut made, "regulator-always-on");
        put(&mut made, "phandle", new);
        self.made.push(made);
        Some(vec![new])
    }

    /// Hands out a handle for what stands in for something of the board.
    fn hand_out(&mut self, key: (u32, Vec<u32>, u32)) -> u32 {
        let new = self.next;
        self.next += 1;
        self.stand_ins.insert(key, new);
        new
    }
}

/// Words a table that gives another number of rates than the device has clocks.
fn miscounted(of: &Device, given: usize, clocks: &[Clock]) -> Diagnostic {
    let label = of.label();
    let title = format!("`{label}` has {}, not {given}", counted(clocks.len()));
    let span = of
        .clocks
        .as_ref()
        .map_or(of.span.clone(), |said| said.span.clone());
    let found = Diagnostic::new(Rule::DeviceClocks, title, span, format!("{given} rates"));
    found.help(format!("they are {}", names(clocks)))
}

/// Words clocks whose rate nobody knows.
fn unknown_rates(
    of: &Device,
    clocks: &[Clock],
    unknown: impl Fn(&Clock) -> bool,
    index: &Index<'_>,
) -> Diagnostic {
    let label = of.label();
    let missing: Vec<&Clock> = clocks.iter().filter(|clock| unknown(clock)).collect();
    let title = match missing.len() {
        1 => format!("the device tree does not say at which rate a clock of `{label}` runs"),
        n => format!("the device tree does not say at which rates {n} clocks of `{label}` run"),
    };
    let from: BTreeSet<&str> = missing
        .iter()
        .filter_map(|clock| Some(index.of(clock.handle)?.0))
        .collect();
    let from: Vec<String> = from.iter().map(|path| format!("`{path}`")).collect();
    let owned = missing
        .iter()
        .map(|clock| (*clock).clone())
        .collect::<Vec<_>>();
    let text = format!("{} from {}", names(&owned), from.join(" and "));
    let found = Diagnostic::new(Rule::DeviceClocks, title, of.span.clone(), text);
    let known = clocks
        .iter()
        .map(|clock| clock.hz.map_or("HZ".to_owned(), |hz| hz.to_string()));
    let known = known.collect::<Vec<_>>().join(", ");
    found
        .help(format!(
            "the guest gets clocks of fixed rates: write `{{ path = \"{}\", clocks = [{known}] }}`, the rates that \
             the firmware leaves them at, in the order {}",
            of.path,
            names(clocks)
        ))
        .help("a guest that needs no clocks in its tree: `clocks = []`")
}

/// Counts clocks.
fn counted(clocks: usize) -> String {
    match clocks {
        1 => "one clock".to_owned(),
        n => format!("{n} clocks"),
    }
}

/// Lists the names of clocks.
fn names(clocks: &[Clock]) -> String {
    let names = clocks.iter().map(|clock| format!("`{}`", clock.name));
    names.collect::<Vec<_>>().join(", ")
}
