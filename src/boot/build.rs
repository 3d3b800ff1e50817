//! Carves the system out of the pool, as the plan says.

use super::arena::{Arena, refuse_memory};
use super::channels::{channels, doorbells, shared, sides};
use super::inputs::Inputs;
use super::pcpus;
use super::plan::Plan;
use super::rings::Rings;
use super::{audit, gic, refuse};
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::mmu::{self, Tables, Window};
use crate::arch::aarch64::probe;
use crate::arch::aarch64::sysreg::read;
use crate::events::Event;
use crate::hw::gic::{self as controller, Distributor};
use crate::hw::list_registers::Shape;
use crate::hw::timer;
use crate::hw::uart::Uart;
use crate::pcpu::Home;
use crate::random::Random;
use crate::run::channels::Shared;
use crate::system::{
    ChannelEnd, MAX_INTERRUPTS, Mailbox, Memory, NO_OWNER, OwnMemory, Partition, Place, State,
    System,
};
use crate::{panic, terminal};
use bulkhead::addr::{GuestPhysAddr, HostPhysAddr, PAGE_BYTES, Range};
use bulkhead::board::{Conduit, Trigger};
use bulkhead::config::placement::spi_banks;
use bulkhead::config::record::{
    PartitionRecord, VcpuRecord, channel_flags, console_model, gic as gic_windows, on_panic,
    partition_flags,
};
use bulkhead::config::verify::{console_pcpu, pcpu_of};
use bulkhead::console::steps::Step;
use bulkhead::device::pl011::{Overflow, Pl011, UartRing};
use bulkhead::ids::{Mpidr, PartitionId, PcpuId, Vmid};
use bulkhead::message::Show;
use bulkhead::partition::crash::Crash;
use bulkhead::partition::{Lifecycle, Restarts};
use bulkhead::sched::deadlines::NEVER;
use bulkhead::sched::{Levels, MAX_SLOTS, Slot, levels};
use bulkhead::smccc::psci::PowerStates;
use bulkhead::stage2::{Attributes, Stage2};
use bulkhead::sync::Lock;
use bulkhead::vgic::{CpuInterface, SpiBank, Vgic};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bytes of an emulated UART.
const UART_BYTES: u64 = 0x1000;
/// PPI of the virtual timer, with the physical one behind it; PPI of the emulated physical timer.
const VIRTUAL_TIMER: u16 = 27;
const PHYSICAL_TIMER: u16 = 30;

/// Builds everything and returns this pCPU's home, if the table uses it. The other pCPUs have been asked to start.
pub fn system(tables: &mut Tables, inputs: &Inputs, plan: &Plan) -> Option<&'static Home> {
    let mut arena = Arena::new(tables, plan.pool(), plan.pool_bytes);
    let distributor = gic::distributor(tables, &inputs.board.gic);
    let kept = [distributor.start(), controller::start_cpu_interface()];
    let whole_masks = distributor.has_two_states() && controller::takes_whole_masks();
    let levels = Levels::from_read_back(&kept).map(|it| it.with_whole_masks(whole_masks));
    let Some(levels) = levels else {
        refuse(
            "the GIC keeps too few bits of a priority: {x} and {x}",
            &[&kept[0], &kept[1]],
        )
    };
    let mut rings = Rings::carve(&mut arena, &inputs.payload, plan);
    panic::set_resets(inputs.payload.header().on_panic == on_panic::RESET);
    let partitions = partitions(tables, &mut arena, inputs, plan, levels);
    let cpus = &inputs.board.cpus;
    let mailboxes = arena.slice(cpus.len(), |index| {
        let mpidr = cpus.get(index).map_or(Mpidr::from_raw(0), |cpu| cpu.mpidr);
        Mailbox::new(mpidr, plan.pcpus & 1 << index != 0)
    });
    let owners = owners(&mut arena, inputs);
    let system: &'static System = arena.value(System {
        payload: inputs.payload,
        board: inputs.board.model,
        payload_base: inputs.payload_at.0,
        partitions,
        mailboxes,
        distributor,
        levels,
        triggers: Lock::new(()),
        owners,
        alive: AtomicU32::new(autostarted(inputs).count() as u32),
        firmware: inputs
            .board
            .psci
            .is_some_and(|psci| psci.conduit == Conduit::Smc),
        console: console(inputs),
        random: Lock::new(Random::new(
            [inputs.board.rng_seed, inputs.board.kaslr_seed],
            read::cntpct_el0(),
        )),
        memory: OwnMemory {
            image: mmu::image_bytes(),
            pool: plan.pool_bytes,
            carved: AtomicU64::new(0),
            mapped: AtomicU64::new(0),
        },
    });
    if !system.random.lock_by_call().is_seeded() {
        system.console.record(Event::NoSeed);
    }
    let own = mailboxes.get(usize::from(plan.here.0));
    if let Some(mailbox) = own.filter(|_| controller::is_memory_mapped()) {
        mailbox.address.settle(distributor.banked());
    }
    configure_interrupts(system, distributor, inputs);
    let homes = pcpus::homes(tables, &mut arena, system, inputs, plan, &mut rings);
    let carved = arena.carved();
    system.memory.carved.store(carved, Ordering::Relaxed);
    panic::done(Step::Built);
    let mapped = audit::own_map(tables, inputs, plan);
    system.memory.mapped.store(mapped, Ordering::Relaxed);
    panic::done(Step::Audited);
    panic::end_letters();
    let own = pcpus::start(tables, system, inputs, (&homes, plan.here));
    panic::note(Step::Started);
    panic::set_gic_runs();
    own
}

/// Returns the positions of the partitions that start with the system.
pub fn autostarted(inputs: &Inputs) -> impl Iterator<Item = usize> + '_ {
    let partitions = inputs.payload.partitions().iter().enumerate();
    partitions
        .filter(|(_, record)| record.flags & partition_flags::AUTOSTART != 0)
        .map(|(index, _)| index)
}

fn partitions(
    tables: &mut Tables,
    arena: &mut Arena,
    inputs: &Inputs,
    plan: &Plan,
    levels: Levels,
) -> &'static [Partition] {
    let mut window = tables
        .window()
        .unwrap_or_else(|error| refuse("no window on memory: {}", &[&error]));
    let records: &'static [PartitionRecord] = inputs.payload.partitions();
    let mut regions = plan.regions();
    let shared = shared(arena, &mut window, inputs, plan);
    let mut built = arena.reserve(records.len());
    for (index, record) in records.iter().enumerate() {
        built.push(partition(
            arena,
            &mut window,
            inputs,
            (index, record),
            (&mut regions, shared),
            levels,
        ));
    }
    built.finish()
}

fn partition(
    arena: &mut Arena,
    window: &mut Window,
    inputs: &Inputs,
    (index, record): (usize, &'static PartitionRecord),
    (places, shared): (&mut impl Iterator<Item = HostPhysAddr>, &'static [Shared]),
    levels: Levels,
) -> Partition {
    let payload = &inputs.payload;
    let records = payload.vcpus(record);
    let vcpus = records.len();
    let regions = payload.regions(record);
    let memory = arena.slice(regions.len(), |region| Memory {
        guest: range(regions[region].gpa, regions[region].size),
        host: places.next().unwrap_or(HostPhysAddr(0)),
        access: regions[region].access,
    });
    for piece in memory.iter() {
        check_memory(
            window,
            &payload.name(record),
            piece.host,
            piece.guest.size(),
        );
    }
    let channels = channels(arena, inputs, index, shared);
    let root = stage2(arena, inputs, (index, record), memory, channels);
    let mut life = Lifecycle::new(vcpus as u8);
    if record.flags & partition_flags::AUTOSTART != 0 {
        life.start();
    }
    let overflow = if record.console_overflow == 1 {
        Overflow::Drop
    } else {
        Overflow::Wait
    };
    let managed = payload.is_managed(index);
    let version = payload.header().flags;
    let state = State {
        vgic: vgic(arena, inputs, index, record),
        uart: Pl011::new(overflow),
        life,
        power: PowerStates::new(vcpus as u8),
        unheard: 0,
        restarts: Restarts::default(),
        crash: managed.then(|| arena.value(Crash::new())),
    };
    let has_uart = record.console_model == console_model::PL011;
    Partition {
        id: PartitionId(index as u8),
        name: payload.name(record),
        record,
        vmid: Vmid(index as u8 + 1),
        root,
        memory,
        vcpus: arena.slice(vcpus, |vcpu| {
            place(inputs, (index, vcpu), records.get(vcpu), levels)
        }),
        distributor: range(record.gicd, gic_windows::distributor_bytes(version)),
        redistributors: range(
            record.gicr,
            gic_windows::interface_bytes(version, vcpus as u64),
        ),
        uart: has_uart.then(|| range(record.console_gpa, UART_BYTES)),
        doorbells: doorbells(inputs, index),
        manager: (record.manages != 0).then(|| {
            let pages = u64::from(record.manages.count_ones());
            range(record.manager_gpa, pages * PAGE_BYTES)
        }),
        watchdog: timer::ticks(record.watchdog_ns),
        watchdog_end: AtomicU64::new(NEVER),
        channels,
        presence: AtomicU64::new(0),
        output: arena.value(UartRing::new()),
        exhaustions: AtomicU32::new(0),
        state: Lock::new(state),
    }
}

/// Looks at both ends of the memory of a partition or a channel.
pub fn check_memory(window: &mut Window, whose: &dyn Show, first: HostPhysAddr, size: u64) {
    let last = HostPhysAddr(first.0 + (size - PAGE_BYTES));
    for page in [first, last] {
        // Past the caches: no line of ours may be written back over what the guest writes later.
        // SAFETY: the placement function gave the page to partitions that do not run yet.
        if !unsafe { window.with_device_page(page, |page| probe::keeps(page)) } {
            refuse_memory(whose, page);
        }
    }
}

/// Returns where a vCPU lives: its pCPU, and there its slot, equals in table order.
fn place(
    inputs: &Inputs,
    own: (usize, usize),
    record: Option<&VcpuRecord>,
    levels: Levels,
) -> Place {
    let pcpu = record.and_then(|record| pcpu_of(&inputs.board, record));
    let (Some(record), Some(pcpu)) = (record, pcpu) else {
        refuse("a vCPU has no pCPU", &[])
    };
    let priority = record.priority;
    let mut slot = 0;
    each_resident(inputs, pcpu, &mut |other, its| {
        let first = its > priority || its == priority && other < own;
        slot += u8::from(first);
    });
    Place {
        pcpu,
        slot: Slot(slot),
        priority: interrupt_priority(inputs, pcpu, priority, levels),
    }
}

/// Returns the physical priority of the interrupts of somebody with a priority on a pCPU.
#[inline(never)]
fn interrupt_priority(inputs: &Inputs, pcpu: PcpuId, priority: u32, levels: Levels) -> u8 {
    let mut here = heapless::Vec::<u8, MAX_SLOTS>::new();
    each_resident(inputs, pcpu, &mut |_, priority| {
        // What does not fit was refused.
        let _ = here.push(priority as u8);
    });
    levels.priority(levels::rank(priority as u8, here.iter().copied()))
}

/// Shows the vCPUs of a pCPU, each with its positions in the table and its priority.
#[inline(never)]
fn each_resident(inputs: &Inputs, pcpu: PcpuId, each: &mut dyn FnMut((usize, usize), u32)) {
    inputs.payload.each_vcpu(&mut |at, vcpu| {
        if pcpu_of(&inputs.board, vcpu) == Some(pcpu) {
            each(at, vcpu.priority);
        }
    });
}

/// Returns the console's priority on a pCPU. It gets at least the turns of the least urgent vCPU there, or a busy one would
/// silence it for ever.
pub fn console_priority(inputs: &Inputs, pcpu: PcpuId) -> u32 {
    let mut least = None;
    each_resident(inputs, pcpu, &mut |_, priority| {
        least = Some(least.map_or(priority, |least: u32| least.min(priority)));
    });
    let least = least.unwrap_or(0);
    inputs.payload.header().console_priority.max(least)
}

/// Builds a partition's stage 2: its memory, and the registers of its devices.
fn stage2(
    arena: &mut Arena,
    inputs: &Inputs,
    (index, record): (usize, &PartitionRecord),
    memory: &[Memory],
    channels: &[ChannelEnd],
) -> HostPhysAddr {
    let name = inputs.payload.name(record);
    let Some(stage2) = Stage2::new(arena) else {
        refuse("{}: no page for its stage 2", &[&name])
    };
    let map: &dyn Fn(&mut Arena, u64, HostPhysAddr, u64, Attributes) =
        &|arena, gpa, host, size, attributes| {
            let mapped = stage2.map(arena, GuestPhysAddr(gpa), host, size, attributes);
            // No TLB can hold any of it: VMIDs are used after all TLBs were dropped.
            let _ = mapped.unwrap_or_else(|error| refuse("{}: {}", &[&name, &error]));
        };
    for memory in memory {
        let (gpa, size) = (memory.guest.start(), memory.guest.size());
        let attributes = Attributes::memory(memory.access);
        map(arena, gpa, memory.host, size, attributes);
    }
    if let Some(interface) = gic::guest_interface(&inputs.board.gic) {
        let attributes = Attributes::device();
        map(arena, record.gicr, interface, PAGE_BYTES, attributes);
    }
    for ((channel, _, side), end) in sides(inputs, index).zip(channels) {
        let cached = channel.flags & channel_flags::CACHED != 0;
        let attributes = Attributes::shared(side.access, cached);
        map(arena, side.gpa, end.shared.host, channel.size, attributes);
    }
    let devices = inputs.payload.devices(record).iter();
    for window in devices.flat_map(|device| inputs.payload.windows(device)) {
        let guest = range(window.gpa, window.size).align_out(PAGE_BYTES);
        let mut at = guest.start();
        while at <= guest.last() {
            let hpa = HostPhysAddr(window.hpa.wrapping_sub(window.gpa).wrapping_add(at));
            // Two devices of one partition may share a page.
            let there = stage2.translate(arena, GuestPhysAddr(at));
            if there.is_none_or(|there| there.hpa != hpa) {
                map(arena, at, hpa, PAGE_BYTES, Attributes::device());
            }
            at += PAGE_BYTES;
        }
    }
    stage2.root()
}

/// Makes a partition's virtual GIC with the interrupts that it owns.
fn vgic(
    arena: &mut Arena,
    inputs: &Inputs,
    index: usize,
    record: &PartitionRecord,
) -> Vgic<'static> {
    let interrupts = inputs.payload.interrupts(record);
    let console = (record.console_model == console_model::PL011).then_some(record.console_intid);
    let banks = spi_banks(&inputs.payload, index, record);
    let cpus = arena.slice(inputs.payload.vcpus(record).len(), |_| CpuInterface::new());
    let spis = arena.slice(banks, |_| SpiBank::new());
    let shape = Shape::of_this_pcpu();
    let mut vgic = Vgic::new(cpus, spis, shape.count.into());
    if shape.is_memory_mapped() {
        vgic = vgic.into_gicv2();
    }
    vgic.own_ppi(VIRTUAL_TIMER, true);
    vgic.own_ppi(PHYSICAL_TIMER, false);
    if let Some(intid) = console {
        vgic.own_spi(intid as u16, false, false);
    }
    for interrupt in interrupts {
        vgic.own_spi(interrupt.intid as u16, interrupt.edge != 0, true);
    }
    for (_, _, side) in sides(inputs, index) {
        vgic.own_spi(side.intid as u16, true, false);
    }
    vgic
}

/// Notes which partition owns which physical interrupt.
fn owners(arena: &mut Arena, inputs: &Inputs) -> &'static [u8] {
    let owners = arena.slice(MAX_INTERRUPTS, |_| NO_OWNER);
    for (index, record) in inputs.payload.partitions().iter().enumerate() {
        for interrupt in inputs.payload.interrupts(record) {
            if let Some(owner) = owners.get_mut(interrupt.intid as usize) {
                *owner = index as u8;
            }
        }
    }
    owners
}

fn console(inputs: &Inputs) -> terminal::Shared {
    let header = inputs.payload.header();
    let uart = match inputs.uart {
        // SAFETY: a mapped page of UART registers; the polled console is the other user, for last words alone.
        Some((model, at)) => Uart::new(model, unsafe { Registers::new(at) }),
        None => Uart::Silent,
    };
    let pcpu = console_pcpu(&inputs.board, &inputs.payload).unwrap_or(PcpuId(0));
    terminal::Shared::new(uart, pcpu, header.focus)
}

/// Routes every passed-through interrupt, off as yet, and the console's, on.
fn configure_interrupts(system: &System, distributor: Distributor, inputs: &Inputs) {
    for partition in system.partitions {
        let first = partition
            .vcpus
            .first()
            .and_then(|place| Some((place, system.mailboxes.get(usize::from(place.pcpu.0))?)));
        for interrupt in inputs.payload.interrupts(partition.record) {
            distributor.configure(interrupt.intid, interrupt.edge != 0);
            if let Some((place, mailbox)) = first {
                distributor.route(interrupt.intid, &mailbox.address, place.priority);
            }
        }
    }
    route_console(system, distributor, inputs);
}

/// Routes the console's interrupt to who serves that, on.
// Not inlined: it has two callers.
#[inline(never)]
pub fn route_console(system: &System, distributor: Distributor, inputs: &Inputs) {
    let interrupt = inputs
        .board
        .console
        .as_ref()
        .and_then(|console| console.interrupt);
    let pcpu = system.console.pcpu();
    let server = system.mailboxes.get(usize::from(pcpu.0));
    if let (Some(interrupt), Some(mailbox)) = (interrupt, server) {
        distributor.configure(interrupt.intid, interrupt.trigger == Trigger::Edge);
        let priority = console_priority(inputs, pcpu);
        let priority = interrupt_priority(inputs, pcpu, priority, system.levels);
        distributor.route(interrupt.intid, &mailbox.address, priority);
        distributor.enable(interrupt.intid / 32, 1 << (interrupt.intid % 32));
    }
}

/// Makes a range that the payload's checks have shown to be one.
// Not inlined: it has many callers.
#[inline(never)]
pub fn range(start: u64, size: u64) -> Range {
    Range::new(start, size)
        .unwrap_or_else(|| refuse("a range at {x} of {x} bytes wraps", &[&start, &size]))
}

/// The GIC's interrupts that every pCPU takes for itself: kick, halt, maintenance, its timer, and the virtual timer.
pub const PRIVATE_INTERRUPTS: u32 =
    1 << controller::KICK | 1 << controller::HALT | 1 << 25 | 1 << 26 | 1 << VIRTUAL_TIMER;
