//! The pCPUs: their homes, and how the others are started.

use super::arena::Arena;
use super::build::PRIVATE_INTERRUPTS;
use super::inputs::Inputs;
use super::plan::Plan;
use super::{enter, gic, refuse};
use crate::arch::aarch64::cpu;
use crate::arch::aarch64::mmu::{Kind, Tables};
use crate::arch::aarch64::switch::Features;
use crate::events::Event;
use crate::hw::gicv3::{self, Redistributor};
use crate::hw::list_registers::{Interface, Shape};
use crate::hw::timer;
use crate::pcpu::{Activity, Home, Pcpu, Vcpu};
use crate::run::NOBODY;
use crate::system::{Partition, System};
use crate::terminal::Server;
use bulkhead::addr::PAGE_BYTES;
use bulkhead::config::record::VcpuRecord;
use bulkhead::ids::{MAX_PARTITIONS, MAX_PCPUS, PartitionId, PcpuId, Priority, VcpuId};
use bulkhead::sched::{Deadlines, MAX_SLOTS, RunQueue, Slot};
use bulkhead::trap::debug::DebugState;
use bulkhead::trap::inject;
use bulkhead::trap::timer::PhysicalTimer;
use bulkhead::vcpu::Context;

/// Pages of a pCPU's stack, with a hole below.
const STACK_PAGES: u64 = 2;
/// PSCI CPU_ON, 64-bit.
const CPU_ON: u32 = 0xc400_0003;

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

/// Builds every pCPU's home, starts the others, and returns this one's.
pub fn homes(
    tables: &mut Tables,
    arena: &mut Arena,
    system: &'static System,
    inputs: &Inputs,
    plan: &Plan,
) -> &'static Home {
    let mut own = None;
    for index in (0..MAX_PCPUS as u8).filter(|index| plan.pcpus & 1 << index != 0) {
        let id = PcpuId(index);
        let here = id == plan.here;
        let stack_top = if here {
            &raw const _stack_top as u64
        } else {
            stack(tables, arena)
        };
        let pcpu = pcpu(tables, arena, system, inputs, id, stack_top);
        let home: &'static Home = arena.value(Home::new(pcpu));
        if here {
            own = Some(home);
        } else {
            start_other(
                tables,
                arena,
                system,
                id,
                SecondaryStart { stack_top, home },
            );
        }
    }
    let own = own.unwrap_or_else(|| idle_home(tables, arena, system, inputs, plan));
    // SAFETY: nobody else borrows it: this pCPU has not settled yet.
    let redistributor = unsafe { own.redistributor() };
    start_interrupts(redistributor);
    own
}

/// The pCPU that starts the system is not in the table: it idles.
fn idle_home(
    tables: &mut Tables,
    arena: &mut Arena,
    system: &'static System,
    inputs: &Inputs,
    plan: &Plan,
) -> &'static Home {
    let stack_top = &raw const _stack_top as u64;
    let pcpu = pcpu(tables, arena, system, inputs, plan.here, stack_top);
    arena.value(Home::new(pcpu))
}

/// Maps a stack with a hole below it, and returns its top.
fn stack(tables: &mut Tables, arena: &mut Arena) -> u64 {
    let pages = arena.pages(STACK_PAGES);
    // SAFETY: the pages were just carved for this; their other mapping in the pool is not used.
    let base = unsafe { tables.map_next(pages, STACK_PAGES * PAGE_BYTES, Kind::ReadWrite) };
    match base {
        Ok(base) => base.0 + STACK_PAGES * PAGE_BYTES,
        Err(error) => refuse(format_args!("bulkhead cannot map a stack: {error:?}")),
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
        refuse(format_args!("no pCPU {}", id.0))
    };
    let mut window = tables
        .window()
        .unwrap_or_else(|error| refuse(format_args!("no copy window: {error:?}")));
    let redistributor = gic::redistributor(tables, &mut window, &inputs.board.gic, mailbox.mpidr);
    let residents = residents(system, id);
    // The console gets at least the turns of the least urgent vCPU, or a busy one would silence it for ever.
    let least = residents
        .last()
        .map_or(0, |resident| resident.record.priority);
    let console_priority = inputs.payload.header().console_priority.max(least);
    let vcpus = arena.slice(residents.len(), |slot| {
        vcpu(&residents, slot, stack_top, console_priority)
    });
    let queue = RunQueue::new(
        residents
            .iter()
            .map(|resident| Priority(resident.record.priority as u8)),
    );
    let started = residents
        .iter()
        .enumerate()
        .filter(|(_, resident)| resident.id.0 == 0);
    let attend = started.fold(0u64, |mask, (slot, _)| mask | 1 << slot);
    let serves = system.console.pcpu() == id;
    let focus = PartitionId(inputs.payload.header().focus as u8);
    let intid = inputs
        .board
        .console
        .as_ref()
        .and_then(|console| console.interrupt)
        .map_or(0, |interrupt| interrupt.intid);
    Pcpu {
        id,
        system,
        mailbox,
        vcpus,
        queue,
        deadlines: Deadlines::default(),
        current: None,
        folded: true,
        attend,
        reschedule: true,
        slice_start: 0,
        serror_of: None,
        fp_owner: None,
        last_ran: [NOBODY; MAX_PARTITIONS],
        window,
        redistributor,
        shape: Shape::of_this_pcpu(),
        // What this pCPU has; each measures itself when it settles.
        features: Features::default(),
        injection: inject::Features::default(),
        event_counters: 0,
        console: serves.then(|| arena.value(Server::new(intid, focus))),
        stack_top,
    }
}

/// A vCPU that lives on a pCPU.
struct Resident {
    partition: &'static Partition,
    id: VcpuId,
    slot: Slot,
    record: &'static VcpuRecord,
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
                if residents.push(resident).is_err() {
                    refuse(format_args!("pCPU {} has too many vCPUs", id.0));
                }
            }
        }
    }
    residents.sort_unstable_by_key(|resident| resident.slot);
    residents
}

fn vcpu(residents: &[Resident], slot: usize, stack_top: u64, console_priority: u32) -> Vcpu {
    let Some(resident) = residents.get(slot) else {
        refuse(format_args!("a slot has no vCPU"))
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
    Vcpu {
        context: Context::starting_at(0, 0, stack_top),
        partition: resident.partition,
        id: resident.id,
        activity: Activity::Off,
        interface: Interface::default(),
        physical_timer: PhysicalTimer::new(),
        debug: DebugState::new(),
        uses_pmu: false,
        serror: false,
        fp_eager: record.fp_eager != 0,
        yields_to_console: record.priority <= console_priority,
        time_slice: slice,
        slice_left: slice,
        equals: (Slot(first as u8), Slot(behind as u8)),
        traps_wait: residents.len() > 1,
    }
}

/// Asks the firmware to start a pCPU.
fn start_other(
    tables: &Tables,
    arena: &mut Arena,
    system: &'static System,
    id: PcpuId,
    start: SecondaryStart,
) {
    let Some(mailbox) = system.mailboxes.get(usize::from(id.0)) else {
        return;
    };
    let context: &'static SecondaryStart = arena.value(start);
    let entry = tables.image_address(secondary_entry as *const u8);
    cpu::dsb_sy();
    // SAFETY: the entry is our own start-up code, and the context stays.
    let result = unsafe {
        cpu::smc(
            CPU_ON,
            [
                mailbox.mpidr.raw(),
                entry.0,
                core::ptr::from_ref(context) as u64,
            ],
        )
    };
    if result != 0 {
        system.console.record(Event::Missing { pcpu: id.0 });
    }
}

/// Called by the start-up code on every other pCPU.
#[unsafe(no_mangle)]
extern "C" fn secondary_start(start: &'static SecondaryStart) -> ! {
    // SAFETY: nobody else borrows it: this pCPU has not settled yet.
    let redistributor = unsafe { start.home.redistributor() };
    start_interrupts(redistributor);
    enter(start.home)
}

/// Turns on what this pCPU takes for itself.
fn start_interrupts(redistributor: Redistributor) {
    redistributor.start(PRIVATE_INTERRUPTS);
    gicv3::start_cpu_interface();
}
