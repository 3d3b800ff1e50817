//! The pass over a tree that fills a [`Board`]. What may refer to a node further down (interrupts, the console's
//! path) is kept until the end of the pass.

use heapless::Vec;

use super::device::{alias, find};
use super::error::BoardError;
use super::gic::Gic;
use super::interrupt::{Controller, Interrupt, Line, Lines};
use super::key::Key;
use super::node::{Node, Then, cells, first, pass, strings};
use super::role::{Role, role};
use super::tree::Tree;
use super::{
    Board, Conduit, Console, Cpu, CpuStart, Ignored, MAX_MEMORY, MAX_RESERVED, Psci, PsciVersion,
    Reserved, ReservedBy, Timer, UartKind, as_str,
};
use crate::addr::{HostPhysAddr, PAGE_BYTES, Range};
use crate::ids::{MAX_PCPUS, Mpidr};

/// A console whose interrupt is not read yet.
type PendingConsole<'a> = (Console<'a>, Lines<'a>);

/// What the pass has found so far.
#[derive(Default)]
struct Reader<'a> {
    model: &'a [u8],
    compatible: &'a [u8],
    memory: Vec<Range, MAX_MEMORY>,
    reserved: Vec<Reserved<'a>, MAX_RESERVED>,
    cpus: Vec<Cpu<'a>, MAX_PCPUS>,
    gic: Option<Gic<'a>>,
    gic_lines: Lines<'a>,
    frames: Vec<Range, { super::MAX_GIC_RANGES }>,
    timer: Option<(Lines<'a>, &'a [u8])>,
    psci: Option<Psci>,
    console: Option<PendingConsole<'a>>,
    console_at_root: bool,
    stdout_path: &'a [u8],
    rng_seed: &'a [u8],
    kaslr_seed: &'a [u8],
    ignored: Ignored,
    /// The last `compatible` that was compared, and what it is: boards have rows of devices of one kind.
    last: (&'a [u8], Role),
}

impl<'a> Board<'a> {
    /// Reads a board from its device tree.
    ///
    /// `at` is where the tree lies in RAM, so that it is reserved as far as it is used; `None` (on the host) when
    /// that is not known.
    ///
    /// # Errors
    /// The first thing in the tree that keeps us from running on the board.
    // Not inlined: what it works on leaves the stack with it.
    #[inline(never)]
    pub fn read(tree: Tree<'a>, at: Option<HostPhysAddr>) -> Result<Self, BoardError<'a>> {
        let mut reader = Reader::default();
        if let Some(range) = at.and_then(|at| Range::new(at.0, tree.used_bytes() as u64)) {
            reader.reserve(range, ReservedBy::Tree)?;
        }
        for (address, size) in tree.reservations() {
            if let Some(range) = Range::new(address, size) {
                reader.reserve(range, ReservedBy::Block)?;
            }
        }
        pass(&tree, &mut |_, _| true, &mut |node| reader.visit(node))?;
        reader.finish(&tree)
    }
}

impl<'a> Reader<'a> {
    /// Takes what a node has for us.
    fn visit(&mut self, node: &Node<'a, '_>) -> Result<Then, BoardError<'a>> {
        match node.buses.len() {
            0 => {
                self.model = first(node.facts.value(Key::Model));
                self.compatible = first(node.facts.value(Key::Compatible));
                return Ok(Then::Descend);
            }
            1 if is_memory(node) => {
                node.registers(&mut |range| {
                    self.add_memory(range);
                    Ok(())
                })?;
                return Ok(Then::Skip);
            }
            1 if node.name == b"chosen" => {
                self.stdout_path = first(node.facts.value(Key::StdoutPath));
                self.rng_seed = node.facts.value(Key::RngSeed);
                self.kaslr_seed = node.facts.value(Key::KaslrSeed);
                return Ok(Then::Skip);
            }
            2 if node.parent() == b"cpus" => {
                if is_cpu(node) {
                    self.add_cpu(node)?;
                }
                return Ok(Then::Skip);
            }
            2 if node.parent() == b"reserved-memory" => {
                if node.is_enabled() {
                    let by = ReservedBy::Node(as_str(node.name));
                    node.registers(&mut |range| self.reserve(range, by))?;
                }
                return Ok(Then::Skip);
            }
            _ => {}
        }
        if !node.facts.value(Key::Compatible).is_empty() && node.is_enabled() {
            self.visit_device(node)?;
        }
        Ok(Then::Descend)
    }

    /// Takes what a node with a driver has for us.
    fn visit_device(&mut self, node: &Node<'a, '_>) -> Result<(), BoardError<'a>> {
        let compatible = node.facts.value(Key::Compatible);
        if self.last.0 != compatible {
            self.last = (compatible, role(compatible));
        }
        match self.last.1 {
            Role::GicV3 | Role::GicV2 if self.gic.is_none() => {
                self.gic = Some(Gic::of(node)?);
                self.gic_lines = Lines::of(node);
            }
            Role::GicFrame => self.add_frame(node)?,
            Role::Timer if self.timer.is_none() => {
                self.timer = Some((Lines::of(node), node.facts.value(Key::InterruptNames)));
            }
            Role::Psci(version) if self.psci.is_none() => {
                self.psci = Some(psci_of(node, version));
            }
            Role::Uart(_) if self.console.is_none() => {
                self.console = Some(console_of(node)?);
                self.console_at_root = node.buses.len() == 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds the registers of an ITS or an MSI frame.
    fn add_frame(&mut self, node: &Node<'a, '_>) -> Result<(), BoardError<'a>> {
        let many = BoardError::ManyGicRanges {
            node: node.name,
            limit: super::MAX_GIC_RANGES,
        };
        node.registers(&mut |range| self.frames.push(range).map_err(|_| many))
    }

    /// Adds a reserved range.
    fn reserve(&mut self, range: Range, by: ReservedBy<'a>) -> Result<(), BoardError<'a>> {
        let limit = MAX_RESERVED;
        self.reserved
            .push(Reserved { range, by })
            .map_err(|_| BoardError::ManyReserved { limit })
    }

    /// Reserves the page of a spin table, once for all CPUs that wait there.
    fn reserve_spin_table(&mut self, release: u64) -> Result<(), BoardError<'a>> {
        let page = HostPhysAddr(release).align_down(PAGE_BYTES).0;
        let by = ReservedBy::SpinTable;
        let known = |reserved: &Reserved<'_>| reserved.by == by && reserved.range.start() == page;
        match Range::new(page, PAGE_BYTES) {
            Some(range) if !self.reserved.iter().any(known) => self.reserve(range, by),
            _ => Ok(()),
        }
    }

    /// Adds a range of RAM in order of address, joined with what it touches.
    fn add_memory(&mut self, mut range: Range) {
        self.memory.retain(|known| {
            let joined = join(*known, range);
            range = joined.unwrap_or(range);
            joined.is_none()
        });
        let after = |known: &Range| known.start() > range.start();
        let end = self.memory.len();
        let at = self.memory.iter().position(after).unwrap_or(end);
        if self.memory.insert(at, range).is_err() {
            self.ignored.memory += 1;
        }
    }

    /// Adds a CPU.
    fn add_cpu(&mut self, node: &Node<'a, '_>) -> Result<(), BoardError<'a>> {
        let reg = node.address()?;
        let mpidr = Mpidr::from_raw(reg);
        if self.cpus.iter().any(|cpu| cpu.mpidr == mpidr) {
            return Err(BoardError::CpuTwice {
                node: node.name,
                mpidr: reg,
            });
        }
        let start = match first(node.facts.value(Key::EnableMethod)) {
            b"psci" => CpuStart::Psci,
            b"spin-table" => cells(node.facts.value(Key::ReleaseAddress))
                .map_or(CpuStart::Unknown, CpuStart::SpinTable),
            _ => CpuStart::Unknown,
        };
        if let CpuStart::SpinTable(release) = start {
            self.reserve_spin_table(release)?;
        }
        let cpu = Cpu {
            mpidr,
            core: as_str(first(node.facts.value(Key::Compatible))),
            start,
            // "disabled" on a CPU means asleep until its enable-method wakes it; only "fail" is final.
            usable: !first(node.facts.value(Key::Status)).starts_with(b"fail"),
        };
        if self.cpus.push(cpu).is_err() {
            self.ignored.cpus += 1;
        }
        Ok(())
    }

    /// Reads what had to wait for the whole tree.
    fn finish(&mut self, tree: &Tree<'a>) -> Result<Board<'a>, BoardError<'a>> {
        if self.memory.is_empty() {
            return Err(BoardError::NoMemory);
        }
        if self.cpus.is_empty() {
            return Err(BoardError::NoCpus);
        }
        let mut gic = self.gic.take().ok_or(BoardError::NoGic)?;
        let controller = gic.controller;
        gic.maintenance = single(&self.gic_lines, tree, controller)?;
        for range in &self.frames {
            gic.frames.push(*range).map_err(|_| gic.many())?;
        }
        let (lines, names) = self.timer.take().ok_or(BoardError::NoTimer)?;
        Ok(Board {
            timer: timer_of(&lines, names, tree, controller)?,
            console: self.choose_console(tree, controller)?,
            model: as_str(self.model),
            compatible: as_str(self.compatible),
            memory: core::mem::take(&mut self.memory),
            reserved: core::mem::take(&mut self.reserved),
            cpus: core::mem::take(&mut self.cpus),
            gic,
            psci: self.psci,
            rng_seed: self.rng_seed,
            kaslr_seed: self.kaslr_seed,
            ignored: self.ignored,
        })
    }

    /// Returns the console that `/chosen` names, or the first UART that we know.
    fn choose_console(
        &mut self,
        tree: &Tree<'a>,
        gic: Controller,
    ) -> Result<Option<Console<'a>>, BoardError<'a>> {
        let mut chosen = self.console.take();
        let mut options = self.stdout_path.split(|byte| *byte == b':');
        let path = options.next().unwrap_or(b"");
        if !path.is_empty() {
            let missing = BoardError::ConsolePath { path };
            let full = match path.first() {
                Some(b'/') => path,
                _ => alias(tree, path)?.ok_or(missing)?,
            };
            // Mostly it is the first UART anyway, right below the root: then the tree need not be searched.
            let known = chosen.as_ref().is_some_and(|(console, _)| {
                self.console_at_root && full.strip_prefix(b"/") == Some(console.node)
            });
            if !known {
                let seen = find(tree, full, &mut |node| {
                    chosen = Some(console_of(node)?);
                    Ok(())
                })?;
                if !seen {
                    return Err(missing);
                }
            }
        }
        let Some((mut console, lines)) = chosen else {
            return Ok(None);
        };
        console.interrupt = single(&lines, tree, gic)?;
        console.baud = options.next().and_then(baud);
        Ok(Some(console))
    }
}

/// Says whether a child of the root is memory that is there to use.
fn is_memory(node: &Node<'_, '_>) -> bool {
    first(node.facts.value(Key::DeviceType)) == b"memory" && node.is_enabled()
}

/// Says whether a child of `/cpus` is a CPU, not the map of clusters.
fn is_cpu(node: &Node<'_, '_>) -> bool {
    first(node.facts.value(Key::DeviceType)) == b"cpu" || node.name.starts_with(b"cpu@")
}

/// Joins two ranges that touch or overlap.
fn join(one: Range, other: Range) -> Option<Range> {
    let touch = one.last().checked_add(1) == Some(other.start())
        || other.last().checked_add(1) == Some(one.start());
    if !touch && !one.overlaps(other) {
        return None;
    }
    Range::inclusive(one.start().min(other.start()), one.last().max(other.last()))
}

/// Reads the firmware's power interface.
fn psci_of(node: &Node<'_, '_>, version: PsciVersion) -> Psci {
    let conduit = match first(node.facts.value(Key::Method)) {
        b"hvc" => Conduit::Hvc,
        _ => Conduit::Smc,
    };
    let version = match version {
        PsciVersion::V0_1(_) => PsciVersion::V0_1(node.facts.cell(Key::CpuOn)),
        later => later,
    };
    Psci { conduit, version }
}

/// Reads a UART's node, but for its interrupt.
#[inline(never)]
fn console_of<'a>(node: &Node<'a, '_>) -> Result<PendingConsole<'a>, BoardError<'a>> {
    let missing = BoardError::ConsoleRegisters { node: node.name };
    let mut registers = None;
    node.registers(&mut |range| {
        registers = registers.or(Some(range));
        Ok(())
    })?;
    let console = Console {
        kind: match role(node.facts.value(Key::Compatible)) {
            Role::Uart(kind) => kind,
            _ => UartKind::Unknown,
        },
        compatible: as_str(first(node.facts.value(Key::Compatible))),
        node: node.name,
        registers: registers.ok_or(missing)?,
        interrupt: None,
        reg_shift: node.facts.cell(Key::RegShift).unwrap_or(0),
        io_width: node.facts.cell(Key::RegIoWidth).unwrap_or(1),
        baud: None,
        ordinal: node.ordinal,
    };
    Ok((console, Lines::of(node)))
}

/// Returns a node's first interrupt at the GIC.
fn single<'a>(
    lines: &Lines<'a>,
    tree: &Tree<'a>,
    gic: Controller,
) -> Result<Option<Interrupt>, BoardError<'a>> {
    let mut found = None;
    lines.read(tree, gic, &mut |line| {
        if let Line::Gic(interrupt) = line {
            found = found.or(Some(interrupt));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Returns the timers' interrupts, by `interrupt-names` or in the binding's order.
///
/// # Source
/// Linux `Documentation/devicetree/bindings/timer/arm,arch_timer.yaml`, "interrupts" and "interrupt-names".
fn timer_of<'a>(
    lines: &Lines<'a>,
    names: &'a [u8],
    tree: &Tree<'a>,
    gic: Controller,
) -> Result<Timer, BoardError<'a>> {
    const ORDER: [&[u8]; 4] = [b"sec-phys", b"phys", b"virt", b"hyp-phys"];
    let (mut physical, mut virtual_timer, mut hypervisor) = (None, None, None);
    let mut position = 0;
    lines.read(tree, gic, &mut |line| {
        let name = if names.is_empty() {
            ORDER.get(position).copied()
        } else {
            strings(names).nth(position)
        };
        position += 1;
        let interrupt = match line {
            Line::Gic(interrupt) => Some(interrupt),
            Line::Foreign(phandle) => {
                let node = lines.node;
                return Err(BoardError::InterruptParent { node, phandle });
            }
        };
        match name {
            Some(b"phys") => physical = interrupt,
            Some(b"virt") => virtual_timer = interrupt,
            Some(b"hyp-phys") => hypervisor = interrupt,
            _ => {}
        }
        Ok(())
    })?;
    let missing = |timer| BoardError::TimerInterrupt {
        node: lines.node,
        timer,
    };
    Ok(Timer {
        physical: physical.ok_or(missing("EL1 physical"))?,
        virtual_timer: virtual_timer.ok_or(missing("virtual"))?,
        hypervisor: hypervisor.ok_or(missing("EL2 physical"))?,
    })
}

/// Reads the speed at the front of console options, such as `115200n8`.
fn baud(options: &[u8]) -> Option<u32> {
    let mut digits = options.iter().take_while(|byte| byte.is_ascii_digit());
    digits
        .try_fold(None, |sum: Option<u32>, digit| {
            let shifted = sum.unwrap_or(0).checked_mul(10)?;
            Some(Some(shifted.checked_add(u32::from(digit - b'0'))?))
        })
        .flatten()
}
