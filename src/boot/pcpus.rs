//! The pCPUs: their homes, and how the others are started.

use super::arena::Arena;
use super::build::{PRIVATE_INTERRUPTS, console_priority, route_console};
use super::inputs::Inputs;
use super::plan::Plan;
use super::rings::Rings;
use super::{enter, gic, limits, refuse, spin_table};
use crate::arch::aarch64::cpu;
use crate::arch::aarch64::mmu::{Kind, Tables};
use crate::arch::aarch64::switch::Features;
use crate::hw::gic::{self as controller, Redistributor};
use crate::hw::list_registers::{Interface, Shape};
use crate::hw::timer;
use crate::panic::say;
use crate::pcpu::{Activity, EmulatedPages, Holder, Home, Pcpu, Quirks, Vcpu};
use crate::run::Fixed;
use crate::run::NOBODY;
use crate::system::{Partition, System};
use crate::terminal::Server;
use bulkhead::addr::{HostPhysAddr, PAGE_BYTES};
use bulkhead::board::{Board, CpuStart};
use bulkhead::config::record::VcpuRecord;
use bulkhead::ids::{MAX_PARTITIONS, MAX_PCPUS, Mpidr, PartitionId, PcpuId, Priority, VcpuId};
use bulkhead::sched::deadlines::NEVER;
use bulkhead::sched::{Deadlines, Gate, Heard, Levels, MAX_SLOTS, RunQueue, Slot, levels};
use bulkhead::smccc::arch::Mitigations;
use bulkhead::trap::controls;
use bulkhead::trap::debug::DebugState;
use bulkhead::trap::timer::PhysicalTimer;
use bulkhead::trap::{inject, serror};
use bulkhead::vcpu::Context;
use core::sync::atomic::Ordering;

/// Pages of a pCPU's stack, with a hole below.
pub const STACK_PAGES: u64 = 2;
/// How long start-up waits for the pCPU that serves the console, in nanoseconds.
const SERVER_NS: u64 = 100_000_000;
/// PSCI CPU_ON, 64-bit.
const CPU_ON: u32 = 0xc400_0003;
/// PSCI CPU_OFF.
const CPU_OFF: u32 = 0x8400_0002;

/// What a pCPU finds when it starts; the start-up code reads the first field.
#[repr(C)]
pub struct SecondaryStart {
    stack_top: u64,
    home: &'static Home,
}

unsafe extern "C" {
    fn secondary_entry();
    static _stack_top: u8;
}

/// The pCPUs that the table uses, ready to be started.
#[derive(Default)]
pub struct Homes {
    /// This one, unless the table leaves it unused.
    own: Option<&'static Home>,
    /// This one, when the table leaves it unused: it serves the console if who is to does not come.
    spare: Option<&'static Home>,
    others: heapless::Vec<(PcpuId, &'static SecondaryStart), MAX_PCPUS>,
}

/// Builds every pCPU's home.
pub fn homes(
    tables: &mut Tables,
    arena: &mut Arena,
    system: &'static System,
    inputs: &Inputs,
    plan: &Plan,
    rings: &mut Rings,
) -> Homes {
    let mut homes = Homes::default();
    keep_server(arena, system, inputs, plan.here);
    for index in (0..MAX_PCPUS as u8).filter(|index| plan.pcpus & 1 << index != 0) {
        let id = PcpuId(index);
        let here = id == plan.here;
        let stack_top = if here {
            &raw const _stack_top as u64
        } else {
            stack(tables, arena)
        };
        let mut pcpu = pcpu(tables, arena, system, inputs, id, stack_top);
        pcpu.trace = rings.next(id, pcpu.vcpus);
        let home: &'static Home = arena.value(Home::new(pcpu));
        if here {
            homes.own = Some(home);
        } else {
            let start: &'static SecondaryStart = arena.value(SecondaryStart { stack_top, home });
            // There are no more pCPUs than it has room for.
            let _ = homes.others.push((id, start));
        }
    }
    if plan.leaves_this_one() {
        let stack_top = &raw const _stack_top as u64;
        let pcpu = pcpu(tables, arena, system, inputs, plan.here, stack_top);
        homes.spare = Some(arena.value(Home::new(pcpu)));
    }
    homes
}

/// Makes the console's server, for the pCPU that is to have it.
fn keep_server(arena: &mut Arena, system: &System, inputs: &Inputs, here: PcpuId) {
    let console = inputs.board.console.as_ref();
    let interrupt = console.and_then(|console| console.interrupt);
    let intid = interrupt.map_or(0, |interrupt| interrupt.intid);
    let focus = PartitionId(inputs.payload.header().focus as u8);
    let mut others = system.mailboxes.iter().zip(0..);
    let others = others.any(|(mailbox, index)| mailbox.used && here != PcpuId(index));
    let server = arena.value(Server::new(intid, focus, others));
    system.console.keep(server, system.console.pcpu());
}

/// Starts the other pCPUs, readies this one's interrupts, and returns its home.
pub fn start(
    tables: &mut Tables,
    system: &System,
    inputs: &Inputs,
    (homes, here): (&Homes, PcpuId),
) -> Option<&'static Home> {
    start_others(tables, &inputs.board, homes);
    let server = system.console.pcpu();
    let awaited = homes.others.iter().any(|(id, _)| *id == server);
    let mut own = homes.own;
    if awaited && !comes(system, server) && serve_elsewhere(system, inputs, server, here) {
        own = own.or(homes.spare);
    }
    // SAFETY: nobody else borrows it: this pCPU has not settled yet.
    let redistributor = own.map(|own: &Home| unsafe { own.redistributor() });
    if let Some(redistributor) = redistributor {
        start_interrupts(redistributor, system.levels);
    }
    own
}

/// Waits a moment for the pCPU that is to serve the console, and says whether it comes.
fn comes(system: &System, server: PcpuId) -> bool {
    let Some(mailbox) = system.mailboxes.get(usize::from(server.0)) else {
        return false;
    };
    let end = timer::now().saturating_add(timer::ticks(SERVER_NS));
    while !mailbox.online.load(Ordering::Relaxed) {
        if timer::now() > end {
            return false;
        }
        cpu::give_way();
    }
    true
}

/// Lets this pCPU serve the console in the place of one that has not come: there is nobody but us to say so. The missing one
/// finds no server if it comes later. Returns false when it has come just now.
#[cold]
#[inline(never)]
fn serve_elsewhere(system: &System, inputs: &Inputs, missing: PcpuId, here: PcpuId) -> bool {
    let Some(server) = system.console.take_server(missing) else {
        return false;
    };
    say(
        "warning: pCPU {} did not come up: pCPU {} serves the console in its place",
        &[&missing.0, &here.0],
    );
    system.console.keep(server, here);
    route_console(system, system.distributor, inputs);
    true
}

/// Turns this pCPU off: the table does not use it. Its part in start-up is done.
pub fn turn_off(has_psci: bool) -> ! {
    if has_psci {
        // SAFETY: nothing of EL2 is left on this pCPU: its stack and its tables are not looked at again.
        unsafe { cpu::smc(CPU_OFF, [0; 3]) };
    }
    cpu::park()
}

/// Maps a stack with a hole below it, and returns its top.
fn stack(tables: &mut Tables, arena: &mut Arena) -> u64 {
    let pages = arena.pages(STACK_PAGES);
    // SAFETY: the pages were just carved for this; their other mapping in the pool is not used.
    let base = unsafe { tables.map_next(pages, STACK_PAGES * PAGE_BYTES, Kind::ReadWrite) };
    match base {
        Ok(base) => base.0 + STACK_PAGES * PAGE_BYTES,
        Err(error) => refuse("bulkhead cannot map a stack: {}", &[&error]),
    }
}

fn pcpu(
    tables: &mut Tables,
    arena: &mut Arena,
    system: &'static System,
    inputs: &Inputs,
    id: PcpuId,
    stack_top: u64,
) -> Pcpu {
    let Some(mailbox) = system.mailboxes.get(usize::from(id.0)) else {
        refuse("no pCPU {}", &[&id.0])
    };
    let mut window = tables
        .window()
        .unwrap_or_else(|error| refuse("no copy window: {}", &[&error]));
    let redistributor = gic::redistributor(
        tables,
        &mut window,
        &inputs.board.gic,
        system.distributor,
        mailbox.address.mpidr(),
    );
    let residents = residents(system, id);
    let console_priority = console_priority(inputs, id);
    let vcpus = arena.slice(residents.len(), |slot| {
        vcpu(&residents, slot, stack_top, console_priority, system.levels)
    });
    let queue = queue(&residents);
    let limits = limits::of_pcpu(arena, inputs, id, &residents);
    for vcpu in vcpus.iter_mut() {
        if limits.is_some() {
            vcpu.fixed.trap_wait();
            vcpu.quirks.insert(Quirks::LIMITED);
        }
    }
    let started = residents
        .iter()
        .enumerate()
        .filter(|(_, resident)| resident.id.0 == 0);
    let attend = started.fold(0u64, |mask, (slot, _)| mask | 1 << slot);
    let mut homes = [Slot(u8::MAX); MAX_PARTITIONS];
    for (vcpu, slot) in vcpus.iter().zip(0..) {
        if let Some(home) = homes.get_mut(usize::from(vcpu.partition.id.0)) {
            *home = Slot(slot);
        }
    }
    Pcpu {
        id,
        system,
        mailbox,
        vcpus,
        queue,
        deadlines: Deadlines::default(),
        limits,
        current: None,
        folded: true,
        held: u16::MAX,
        gate: Gate::OPEN,
        held_back: false,
        unheard: 0,
        attend,
        unfinished: 0,
        reschedule: true,
        chosen: Slot(0),
        deaf_to: 0,
        deaf_until: 0,
        slice_start: 0,
        serror: serror::Owner::default(),
        fp_owner: Holder::NOBODY,
        last_ran: [NOBODY; MAX_PARTITIONS],
        homes,
        window,
        redistributor,
        shape: Shape::of_this_pcpu(),
        // What this pCPU has; each measures itself when it settles.
        features: Features::default(),
        injection: inject::Features::default(),
        event_counters: 0,
        mitigations: Mitigations::default(),
        console: None,
        stack_top,
        trace: None,
    }
}

/// A vCPU that lives on a pCPU.
pub struct Resident {
    /// Whose it is.
    pub partition: &'static Partition,
    id: VcpuId,
    slot: Slot,
    /// Its line of the table.
    pub record: &'static VcpuRecord,
}

/// Makes an empty run queue for the vCPUs of a pCPU.
pub fn queue(residents: &[Resident]) -> RunQueue {
    RunQueue::new(
        residents
            .iter()
            .map(|resident| Priority(resident.record.priority as u8)),
    )
}

/// Returns the vCPUs that live on a pCPU, in slot order.
fn residents(system: &'static System, id: PcpuId) -> heapless::Vec<Resident, MAX_SLOTS> {
    let mut residents = heapless::Vec::<Resident, MAX_SLOTS>::new();
    for partition in system.partitions {
        let records = system.payload.vcpus(partition.record);
        for ((index, place), record) in (0..).zip(partition.vcpus).zip(records) {
            if place.pcpu == id {
                let resident = Resident {
                    partition,
                    id: VcpuId(index),
                    slot: place.slot,
                    record,
                };
                let after = |other: &Resident| other.slot > resident.slot;
                let end = residents.len();
                let at = residents.iter().position(after).unwrap_or(end);
                if residents.insert(at, resident).is_err() {
                    refuse("pCPU {} has too many vCPUs", &[&id.0]);
                }
            }
        }
    }
    residents
}

fn vcpu(
    residents: &[Resident],
    slot: usize,
    stack_top: u64,
    console_priority: u32,
    levels: Levels,
) -> Vcpu {
    let Some(resident) = residents.get(slot) else {
        refuse("a slot has no vCPU", &[])
    };
    let record = resident.record;
    let equal = |other: &&Resident| other.record.priority == record.priority;
    let first = residents
        .iter()
        .position(|other| equal(&other))
        .unwrap_or(slot);
    let behind = residents
        .iter()
        .rposition(|other| equal(&other))
        .unwrap_or(slot)
        + 1;
    let slice = timer::ticks(record.time_slice_ns);
    let sibling = |other: &Resident| {
        other.slot.index() != slot && other.partition.id == resident.partition.id
    };
    let mut quirks = Quirks::FRESH;
    quirks.insert(Quirks::when(record.fp_eager != 0, Quirks::EAGER_FP));
    quirks.insert(Quirks::when(slice != 0, Quirks::SLICED));
    quirks.insert(Quirks::when(residents.iter().any(sibling), Quirks::SIBLING));
    let priorities = residents.iter().map(|other| other.record.priority as u8);
    let rank = levels::rank(record.priority as u8, priorities);
    Vcpu {
        context: Context::starting_at(0, 0, stack_top),
        partition: resident.partition,
        id: resident.id,
        slot: resident.slot,
        activity: Activity::Off,
        interface: Interface::default(),
        physical_timer: PhysicalTimer::new(),
        watch_at: NEVER,
        own_deadline: NEVER,
        debug: DebugState::new(),
        uses_pmu: false,
        monitors: controls::MONITORS_UNUSED,
        serror: false,
        fp_eager: record.fp_eager != 0,
        gate: Gate {
            mask: levels.mask(rank).into(),
            heard: Heard::new(Slot(behind as u8), record.priority <= console_priority),
        },
        time_slice: slice,
        slice_left: slice,
        equals: (Slot(first as u8), Slot(behind as u8)),
        quirks,
        fixed: Fixed::of(resident.partition, resident.id, residents.len() > 1),
        emulated: EmulatedPages::of(resident.partition),
        restored: 0,
        unfinished: None,
    }
}

/// Starts the other pCPUs, each in its way. All that wait at a spin table are registered first: some boards have one word for
/// several.
fn start_others(tables: &mut Tables, board: &Board<'_>, homes: &Homes) {
    let others = || {
        let others = homes.others.iter();
        others.filter_map(|(id, start)| Some((id, board.cpus.get(usize::from(id.0))?, *start)))
    };
    for (id, cpu, start) in others() {
        if let CpuStart::SpinTable(_) = cpu.start {
            spin_table::register(usize::from(id.0), cpu.mpidr, start);
        }
    }
    let mut window = None;
    for (_, cpu, start) in others() {
        match cpu.start {
            CpuStart::SpinTable(release) => {
                if window.is_none() {
                    window = tables.window().ok();
                }
                let entry = tables.image_address(spin_table::spin_table_entry as *const u8);
                if let Some(window) = &mut window {
                    spin_table::release(window, HostPhysAddr(release), entry);
                }
            }
            CpuStart::Psci | CpuStart::Unknown => start_by_firmware(tables, cpu.mpidr, start),
        }
    }
}

/// Asks the firmware to start a pCPU.
fn start_by_firmware(tables: &Tables, mpidr: Mpidr, start: &'static SecondaryStart) {
    let entry = tables.image_address(secondary_entry as *const u8);
    cpu::dsb_sy();
    // What the firmware answers counts for little: the console's server looks whether the pCPU comes.
    // SAFETY: the entry is our own start-up code, and the context stays.
    let _ = unsafe {
        cpu::smc(
            CPU_ON,
            [mpidr.raw(), entry.0, core::ptr::from_ref(start) as u64],
        )
    };
}

/// Called by the start-up code on every other pCPU.
#[unsafe(no_mangle)]
extern "C" fn secondary_start(start: &'static SecondaryStart) -> ! {
    // SAFETY: nobody else borrows it: this pCPU has not settled yet.
    let redistributor = unsafe { start.home.redistributor() };
    // SAFETY: as above.
    let levels = unsafe { start.home.levels() };
    // SAFETY: as above.
    unsafe { start.home.mailbox() }
        .address
        .settle(redistributor);
    start_interrupts(redistributor, levels);
    enter(start.home)
}

/// Turns on what this pCPU takes for itself.
fn start_interrupts(redistributor: Redistributor, levels: Levels) {
    let kept = redistributor.start(PRIVATE_INTERRUPTS, levels::OWN);
    let kept = kept & controller::start_cpu_interface();
    // The vCPUs' levels were made for the GIC as the pCPU that started the system sees it.
    assert!(
        levels.fit(kept),
        "a pCPU's GIC keeps fewer bits of a priority than the first one's"
    );
}
