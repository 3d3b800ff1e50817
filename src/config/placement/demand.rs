//! What needs a place in memory, and how much EL2 needs itself.

use crate::display_by_show;
use crate::message::{Form, Out, Show, put};
use core::ops::ControlFlow;

use super::super::payload::Payload;
use super::super::record::{ANYWHERE, PartitionRecord, console_model, system_flags};
use crate::addr::{BLOCK_2M_BYTES, PAGE_BYTES, Range};
use crate::ids::PartitionId;
use crate::stage2::{Extent, count_tables};
use crate::trace::ring_bytes;

/// Bytes of EL2's pool for every system: what all physical CPUs share, who owns which interrupt, the console's server.
pub const SYSTEM_BYTES: u64 = 7 << 10;
/// Bytes for every physical CPU: scheduler queues, timers.
pub const PCPU_BYTES: u64 = 1536;
/// Bytes of the stack of every physical CPU but the first, whose stack lies in the image.
pub const STACK_BYTES: u64 = 8 << 10;
/// Bytes for every partition beside what is counted by itself: its record, and the ring of what it prints.
pub const PARTITION_BYTES: u64 = 3 << 10;
/// Bytes for every piece of a partition's memory.
pub const REGION_BYTES: u64 = 32;
/// Bytes for every 32 shared interrupts of a partition's virtual distributor.
pub const BANK_BYTES: u64 = 448;
/// Bytes for every vCPU: saved registers, FP registers, its redistributor's state.
pub const VCPU_BYTES: u64 = 2560;

/// Bytes for every physical CPU and for every vCPU of a system in which the time of any is limited: the background's
/// queue and deadlines; a budget with its replenishments.
pub const LIMITS_BYTES: u64 = 1792;
/// See [`LIMITS_BYTES`].
pub const BUDGET_BYTES: u64 = 320;
/// Bytes for every time window.
pub const TIME_WINDOW_BYTES: u64 = 32;
/// Bytes for every channel: what is known of its two sides, and how much of its memory is zeroed.
pub const CHANNEL_BYTES: u64 = 64;

/// Bytes for every partition that another one manages: its crash record.
pub const MANAGED_BYTES: u64 = 1280;

/// Who needs memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// EL2: tables, vCPUs, rings.
    Pool,
    /// A partition.
    Region {
        /// Which.
        partition: PartitionId,
        /// Its name.
        name: &'a str,
        /// Position of the region in its memory.
        region: u32,
    },
    /// The memory of a channel.
    Channel {
        /// Its position in the table.
        channel: u32,
        /// Its name.
        name: &'a str,
    },
}

display_by_show!(Owner<'_>);

impl Show for Owner<'_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self {
            Self::Pool => out.bytes(b"bulkhead's own memory"),
            Self::Region { name, region, .. } => put(out, "{}'s memory {}", &[name, region]),
            Self::Channel { name, .. } => put(out, "the memory of channel {}", &[name]),
        }
    }
}

/// Memory that needs a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand<'a> {
    /// Who needs it.
    pub owner: Owner<'a>,
    /// Bytes, a multiple of the page, not 0.
    pub size: u64,
    /// Where it must be, or [`ANYWHERE`].
    pub hpa: u64,
    /// The place agrees with this address modulo `modulus`.
    pub gpa: u64,
    /// A power of two, at least the page.
    pub modulus: u64,
}

/// Shows what a system needs, in the order in which it is placed: EL2's pool, then every partition's regions in table
/// order, then every channel's memory. The n-th region of the payload's table of regions is not in general the n-th
/// demand less one: count along.
#[inline(never)]
pub fn each_demand<'a>(payload: &Payload<'a>, pool_bytes: u64, each: &mut dyn FnMut(Demand<'a>)) {
    each(Demand {
        owner: Owner::Pool,
        size: pool_bytes,
        hpa: ANYWHERE,
        gpa: 0,
        modulus: PAGE_BYTES,
    });
    for (position, partition) in payload.partitions().iter().enumerate() {
        for (region, record) in payload.regions(partition).iter().enumerate() {
            each(Demand {
                owner: Owner::Region {
                    partition: PartitionId(position as u8),
                    name: payload.name(partition),
                    region: region as u32,
                },
                size: record.size,
                hpa: record.hpa,
                gpa: record.gpa,
                modulus: BLOCK_2M_BYTES,
            });
        }
    }
    for (position, record) in payload.channels().iter().enumerate() {
        each(Demand {
            owner: Owner::Channel {
                channel: position as u32,
                name: payload.text(record.name),
            },
            size: record.size,
            hpa: ANYWHERE,
            gpa: record.sides.first().map_or(0, |side| side.gpa),
            modulus: record.modulus(),
        });
    }
}

/// Returns the bytes of EL2's pool: everything that start-up carves out before it seals the allocator. Of the physical CPUs
/// `stacks` need a stack; the one that starts the system has its own.
pub fn pool_bytes(payload: &Payload<'_>, pcpus: usize, stacks: usize) -> u64 {
    let partitions = payload.partitions().iter().enumerate();
    let pcpu = PCPU_BYTES + ring_bytes(payload.header().trace_bytes);
    let fixed = SYSTEM_BYTES
        + pcpus as u64 * pcpu
        + stacks as u64 * STACK_BYTES
        + payload.channels().len() as u64 * CHANNEL_BYTES
        + limits_bytes(payload, pcpus as u64);
    let bytes = partitions.fold(fixed, |sum, (position, partition)| {
        sum + partition_bytes(payload, position, partition)
    });
    bytes.next_multiple_of(PAGE_BYTES)
}

/// Returns the bytes that budgets and time windows take of the pool.
fn limits_bytes(payload: &Payload<'_>, pcpus: u64) -> u64 {
    let (mut vcpus, mut budgets) = (0, false);
    payload.each_vcpu(&mut |_, vcpu| {
        vcpus += 1;
        budgets |= vcpu.budget_ns != 0;
    });
    let windows = payload.pcpus().iter();
    let windows: usize = windows.map(|pcpu| payload.time_windows(pcpu).len()).sum();
    if !budgets && windows == 0 {
        return 0;
    }
    pcpus * LIMITS_BYTES + vcpus * BUDGET_BYTES + windows as u64 * TIME_WINDOW_BYTES
}

/// Returns the bytes that one partition takes of the pool.
fn partition_bytes(payload: &Payload<'_>, position: usize, partition: &PartitionRecord) -> u64 {
    let tables = count_tables(&|each| extents(payload, position, partition, each)) as u64;
    let vcpus = payload.vcpus(partition).len() as u64;
    let regions = payload.regions(partition).len() as u64;
    let banks = spi_banks(payload, position, partition) as u64;
    let managed = match payload.is_managed(position) {
        true => MANAGED_BYTES,
        false => 0,
    };
    PARTITION_BYTES
        + managed
        + vcpus * VCPU_BYTES
        + regions * REGION_BYTES
        + banks * BANK_BYTES
        + tables * PAGE_BYTES
}

/// Returns how many banks of 32 shared interrupts a partition's virtual distributor has: up to its highest INTID.
pub fn spi_banks(payload: &Payload<'_>, position: usize, partition: &PartitionRecord) -> usize {
    let interrupts = payload.interrupts(partition).iter();
    let console = match partition.console_model {
        console_model::NONE => 0,
        _ => partition.console_intid,
    };
    let highest = interrupts.fold(console, |highest, interrupt| highest.max(interrupt.intid));
    let doorbells = payload.channels_of(position);
    let highest = doorbells.fold(highest, |highest, (channel, side)| {
        channel
            .sides
            .get(side)
            .map_or(highest, |side| highest.max(side.intid))
    });
    (highest / 32) as usize
}

/// Shows what is mapped for a partition, as long as `each` wants to go on.
fn extents(
    payload: &Payload<'_>,
    position: usize,
    partition: &PartitionRecord,
    each: &mut dyn FnMut(Extent) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut show = |gpa, size, blocks| {
        let range = range(gpa, size);
        each(Extent { range, blocks })
    };
    for region in payload.regions(partition) {
        show(region.gpa, region.size, true)?;
    }
    for device in payload.devices(partition) {
        for window in payload.windows(device) {
            show(window.gpa, window.size, false)?;
        }
    }
    if payload.header().flags & system_flags::GICV2 != 0 {
        // The CPU interface is hardware; the distributor is emulated.
        show(partition.gicr, PAGE_BYTES, false)?;
    }
    for (channel, side) in payload.channels_of(position) {
        let gpa = channel.sides.get(side).map_or(0, |side| side.gpa);
        show(gpa, channel.size, channel.modulus() == BLOCK_2M_BYTES)?;
    }
    ControlFlow::Continue(())
}

/// Returns a record's guest range; the payload's checks leave no other case than the first.
fn range(gpa: u64, size: u64) -> Range {
    const PAGE_ZERO: Range = match Range::new(0, PAGE_BYTES) {
        Some(range) => range,
        None => panic!("a page is a range"),
    };
    Range::new(gpa, size).unwrap_or(PAGE_ZERO)
}

#[cfg(test)]
mod tests;
