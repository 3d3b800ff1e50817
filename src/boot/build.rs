//! Carves the system out of the pool, as the plan says.

use super::arena::Arena;
use super::inputs::Inputs;
use super::pcpus;
use super::plan::Plan;
use super::{gic, refuse};
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::mmu::{self, Tables};
use crate::arch::aarch64::sysreg::read;
use crate::events::Event;
use crate::hw::gicv3::{self, Distributor};
use crate::hw::list_registers::Shape;
use crate::hw::pl011::Uart;
use crate::pcpu::Home;
use crate::random::Random;
use crate::system::{
    MAX_INTERRUPTS, Mailbox, Memory, NO_OWNER, OwnMemory, Partition, Place, Restarts, State, System,
};
use crate::{panic, terminal};
use bulkhead::addr::{GuestPhysAddr, HostPhysAddr, PAGE_BYTES, Range};
use bulkhead::board::Trigger;
use bulkhead::config::record::{PartitionRecord, console_model, on_panic, partition_flags};
use bulkhead::config::verify::pcpu_of;
use bulkhead::device::pl011::{Overflow, Pl011, UartRing};
use bulkhead::ids::{PartitionId, PcpuId, Vmid};
use bulkhead::partition::Lifecycle;
use bulkhead::sched::Slot;
use bulkhead::smccc::psci::PowerStates;
use bulkhead::stage2::{Attributes, Stage2};
use bulkhead::vgic::{CpuInterface, SpiBank, Vgic};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use spin::mutex::TicketMutex;

/// Bytes of a virtual distributor.
const GICD_BYTES: u64 = 0x1_0000;
/// Bytes of a virtual redistributor.
const GICR_BYTES: u64 = 0x2_0000;
/// Bytes of an emulated UART.
const UART_BYTES: u64 = 0x1000;
/// PPI of the virtual timer, with the physical one behind it; PPI of the emulated physical timer.
const VIRTUAL_TIMER: u16 = 27;
const PHYSICAL_TIMER: u16 = 30;

/// Builds everything and returns this pCPU's home. The other pCPUs have been asked to start.
pub fn system(tables: &mut Tables, inputs: &Inputs, plan: &Plan) -> &'static Home {
    let mut arena = Arena::new(tables, plan.pool, plan.pool_bytes);
    let distributor = gic::distributor(tables, &inputs.board.gic);
    distributor.start();
    panic::set_resets(inputs.payload.header().on_panic == on_panic::RESET);
    let partitions = partitions(&mut arena, inputs, plan);
    let mailboxes = arena.slice(inputs.board.cpus.len(), |index| {
        Mailbox::new(inputs.board.cpus[index].mpidr, plan.pcpus & 1 << index != 0)
    });
    let owners = owners(&mut arena, inputs);
    let system: &'static System = arena.value(System {
        payload: inputs.payload,
        board: inputs.board.model,
        payload_base: inputs.payload_at.0,
        partitions,
        mailboxes,
        distributor,
        triggers: TicketMutex::new(()),
        owners,
        alive: AtomicU32::new(autostarted(inputs).count() as u32),
        console: console(inputs),
        random: TicketMutex::new(Random::new(
            [inputs.board.rng_seed, inputs.board.kaslr_seed],
            read::cntpct_el0(),
        )),
        memory: OwnMemory {
            image: mmu::image_bytes(),
            pool: plan.pool_bytes,
            carved: AtomicU64::new(0),
        },
    });
    if !system.random.lock().is_seeded() {
        system.console.record(Event::NoSeed);
    }
    configure_interrupts(system, distributor, inputs);
    let home = pcpus::homes(tables, &mut arena, system, inputs, plan);
    let carved = arena.carved();
    system.memory.carved.store(carved, Ordering::Relaxed);
    panic::set_gic_runs();
    home
}

/// Returns the positions of the partitions that start with the system.
pub fn autostarted(inputs: &Inputs) -> impl Iterator<Item = usize> + '_ {
    let partitions = inputs.payload.partitions().iter().enumerate();
    partitions
        .filter(|(_, record)| record.flags & partition_flags::AUTOSTART != 0)
        .map(|(index, _)| index)
}

fn partitions(arena: &mut Arena, inputs: &Inputs, plan: &Plan) -> &'static [Partition] {
    let records: &'static [PartitionRecord] = inputs.payload.partitions();
    let mut regions = plan.regions.iter().copied();
    let mut built = arena.reserve(records.len());
    for (index, record) in records.iter().enumerate() {
        built.push(partition(arena, inputs, index, record, &mut regions));
    }
    built.finish()
}

fn partition(
    arena: &mut Arena,
    inputs: &Inputs,
    index: usize,
    record: &'static PartitionRecord,
    places: &mut impl Iterator<Item = HostPhysAddr>,
) -> Partition {
    let payload = &inputs.payload;
    let vcpus = payload.vcpus(record).len();
    let regions = payload.regions(record);
    let memory = arena.slice(regions.len(), |region| Memory {
        guest: range(regions[region].gpa, regions[region].size),
        host: places.next().unwrap_or(HostPhysAddr(0)),
        access: regions[region].access,
    });
    let root = stage2(arena, inputs, record, memory);
    let mut life = Lifecycle::new(vcpus as u8);
    if record.flags & partition_flags::AUTOSTART != 0 {
        life.start();
    }
    let overflow = if record.console_overflow == 1 {
        Overflow::Drop
    } else {
        Overflow::Wait
    };
    let state = State {
        vgic: vgic(arena, inputs, record),
        uart: Pl011::new(overflow),
        life,
        power: PowerStates::new(vcpus as u8),
        restarts: Restarts::default(),
    };
    let has_uart = record.console_model == console_model::PL011;
    Partition {
        id: PartitionId(index as u8),
        name: payload.name(record),
        record,
        vmid: Vmid(index as u8 + 1),
        root,
        memory,
        vcpus: arena.slice(vcpus, |vcpu| place(inputs, index, vcpu)),
        distributor: range(record.gicd, GICD_BYTES),
        redistributors: range(record.gicr, GICR_BYTES * vcpus as u64),
        uart: has_uart.then(|| range(record.console_gpa, UART_BYTES)),
        output: arena.value(UartRing::new()),
        state: TicketMutex::new(state),
    }
}

/// Returns where a vCPU lives: its pCPU, and there its rank, equals in table order.
fn place(inputs: &Inputs, partition: usize, vcpu: usize) -> Place {
    let payload = &inputs.payload;
    let of = |record: &PartitionRecord, vcpu: usize| {
        payload
            .vcpus(record)
            .get(vcpu)
            .map(|record| (pcpu_of(&inputs.board, record), record.priority))
    };
    let me = payload
        .partitions()
        .get(partition)
        .and_then(|record| of(record, vcpu));
    let Some((Some(pcpu), priority)) = me else {
        refuse(format_args!("a vCPU has no pCPU"))
    };
    let mut rank = 0;
    for (other_partition, record) in payload.partitions().iter().enumerate() {
        for (other, other_record) in payload.vcpus(record).iter().enumerate() {
            let here = pcpu_of(&inputs.board, other_record) == Some(pcpu);
            let before = (other_partition, other) < (partition, vcpu);
            let first =
                other_record.priority > priority || other_record.priority == priority && before;
            rank += u8::from(here && first);
        }
    }
    Place {
        pcpu,
        slot: Slot(rank),
    }
}

/// Builds a partition's stage 2: its memory, and the registers of its devices.
fn stage2(
    arena: &mut Arena,
    inputs: &Inputs,
    record: &PartitionRecord,
    memory: &[Memory],
) -> HostPhysAddr {
    let name = inputs.payload.name(record);
    let fail = |error: &dyn core::fmt::Display| -> ! { refuse(format_args!("{name}: {error}")) };
    let Some(stage2) = Stage2::new(arena) else {
        refuse(format_args!("{name}: no page for its stage 2"))
    };
    for memory in memory {
        let (gpa, size) = (GuestPhysAddr(memory.guest.start()), memory.guest.size());
        let mapped = stage2.map(
            arena,
            gpa,
            memory.host,
            size,
            Attributes::memory(memory.access),
        );
        // No TLB can hold any of it: VMIDs are used after all TLBs were dropped.
        let _ = mapped.unwrap_or_else(|error| fail(&error));
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
                let mapped = stage2.map(
                    arena,
                    GuestPhysAddr(at),
                    hpa,
                    PAGE_BYTES,
                    Attributes::device(),
                );
                // As above.
                let _ = mapped.unwrap_or_else(|error| fail(&error));
            }
            at += PAGE_BYTES;
        }
    }
    stage2.root()
}

/// Makes a partition's virtual GIC with the interrupts that it owns.
fn vgic(arena: &mut Arena, inputs: &Inputs, record: &PartitionRecord) -> Vgic<'static> {
    let interrupts = inputs.payload.interrupts(record);
    let console = (record.console_model == console_model::PL011).then_some(record.console_intid);
    let highest = interrupts
        .iter()
        .map(|interrupt| interrupt.intid)
        .chain(console)
        .max();
    let banks = highest.map_or(0, |intid| (intid / 32) as usize);
    let cpus = arena.slice(inputs.payload.vcpus(record).len(), |_| CpuInterface::new());
    let spis = arena.slice(banks, |_| SpiBank::new());
    let mut vgic = Vgic::new(cpus, spis, Shape::of_this_pcpu().count.into());
    vgic.own_ppi(VIRTUAL_TIMER, true);
    vgic.own_ppi(PHYSICAL_TIMER, false);
    if let Some(intid) = console {
        vgic.own_spi(intid as u16, false, false);
    }
    for interrupt in interrupts {
        vgic.own_spi(interrupt.intid as u16, interrupt.edge != 0, true);
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
    // SAFETY: `uart` is a mapped page of UART registers; the polled console is the other user, for last words alone.
    let uart = inputs
        .uart
        .map(|at| Uart::new(unsafe { Registers::new(at, PAGE_BYTES as u32) }));
    if let Some(uart) = uart {
        uart.start();
    }
    terminal::Shared::new(uart, PcpuId(header.console_pcpu as u8), header.focus)
}

/// Routes every passed-through interrupt, off as yet, and the console's, on.
fn configure_interrupts(system: &System, distributor: Distributor, inputs: &Inputs) {
    for partition in system.partitions {
        let first = partition
            .vcpus
            .first()
            .and_then(|place| system.mailboxes.get(usize::from(place.pcpu.0)));
        for interrupt in inputs.payload.interrupts(partition.record) {
            distributor.configure(interrupt.intid, interrupt.edge != 0);
            if let Some(mailbox) = first {
                distributor.route(interrupt.intid, mailbox.mpidr);
            }
        }
    }
    let interrupt = inputs
        .board
        .console
        .as_ref()
        .and_then(|console| console.interrupt);
    let server = system.mailboxes.get(usize::from(system.console.pcpu().0));
    if let (Some(interrupt), Some(mailbox)) = (interrupt, server) {
        distributor.configure(interrupt.intid, interrupt.trigger == Trigger::Edge);
        distributor.route(interrupt.intid, mailbox.mpidr);
        distributor.enable(interrupt.intid / 32, 1 << (interrupt.intid % 32));
    }
}

/// Makes a range that the payload's checks have shown to be one.
fn range(start: u64, size: u64) -> Range {
    Range::new(start, size).unwrap_or_else(|| {
        refuse(format_args!(
            "a range at {start:#x} of {size:#x} bytes wraps"
        ))
    })
}

/// The GIC's interrupts that every pCPU takes for itself: kick, halt, maintenance, its timer, and the virtual timer.
pub const PRIVATE_INTERRUPTS: u32 =
    1 << gicv3::KICK | 1 << gicv3::HALT | 1 << 25 | 1 << 26 | 1 << VIRTUAL_TIMER;
