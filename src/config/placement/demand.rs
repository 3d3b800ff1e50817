//! What needs a place in memory, and how much EL2 needs itself.

use core::fmt;

use super::super::payload::Payload;
use super::super::record::{ANYWHERE, PartitionRecord, console_model};
use crate::addr::{BLOCK_2M_BYTES, PAGE_BYTES, Range};
use crate::ids::PartitionId;
use crate::stage2::{Extent, tables_needed};

/// Bytes of EL2's pool for every physical CPU: stack, scheduler queues, timers.
pub const PCPU_BYTES: u64 = 16 << 10;
/// Bytes for every partition beside what is counted by itself: its record, its virtual distributor.
pub const PARTITION_BYTES: u64 = 4 << 10;
/// Bytes for every vCPU: saved registers, FP registers, its redistributor's state.
pub const VCPU_BYTES: u64 = 4 << 10;
/// Bytes for every partition with a console: the rings of both directions.
pub const CONSOLE_BYTES: u64 = 4 << 10;

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
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Pool => f.write_str("bulkhead's own memory"),
            Self::Region { name, region, .. } => write!(f, "{name}'s memory {region}"),
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

/// Returns what a system needs, in the order in which it is placed: EL2's pool, then every partition's regions in
/// table order. The n-th region of the payload's table of regions is not in general the n-th demand less one: count
/// along.
pub fn demands<'a>(
    payload: &Payload<'a>,
    pool_bytes: u64,
) -> impl Iterator<Item = Demand<'a>> + Clone {
    let payload = *payload;
    let pool = Demand {
        owner: Owner::Pool,
        size: pool_bytes,
        hpa: ANYWHERE,
        gpa: 0,
        modulus: PAGE_BYTES,
    };
    let partitions = payload.partitions().iter().enumerate();
    let regions = partitions.flat_map(move |(position, partition)| {
        let name = payload.name(partition);
        let partition_id = PartitionId(position as u8);
        let regions = payload.regions(partition).iter().enumerate();
        regions.map(move |(region, record)| Demand {
            owner: Owner::Region {
                partition: partition_id,
                name,
                region: region as u32,
            },
            size: record.size,
            hpa: record.hpa,
            gpa: record.gpa,
            modulus: BLOCK_2M_BYTES,
        })
    });
    core::iter::once(pool).chain(regions)
}

/// Returns the bytes of EL2's pool: everything that start-up carves out before it seals the allocator.
pub fn pool_bytes(payload: &Payload<'_>, pcpus: usize) -> u64 {
    let partitions = payload.partitions().iter();
    partitions.fold(pcpus as u64 * PCPU_BYTES, |sum, partition| {
        sum + partition_bytes(payload, partition)
    })
}

/// Returns the bytes that one partition takes of the pool.
fn partition_bytes(payload: &Payload<'_>, partition: &PartitionRecord) -> u64 {
    let regions = payload.regions(partition).iter().map(|region| Extent {
        range: range(region.gpa, region.size),
        blocks: true,
    });
    let devices = payload.devices(partition).iter();
    let windows = devices
        .flat_map(|device| payload.windows(device))
        .map(|window| Extent {
            range: range(window.gpa, window.size),
            blocks: false,
        });
    let tables = tables_needed(regions.chain(windows)) as u64;
    let vcpus = payload.vcpus(partition).len() as u64;
    let console = match partition.console_model {
        console_model::NONE => 0,
        _ => CONSOLE_BYTES,
    };
    PARTITION_BYTES + vcpus * VCPU_BYTES + console + tables * PAGE_BYTES
}

/// Returns a record's guest range; the payload's checks leave no other case than the first.
fn range(gpa: u64, size: u64) -> Range {
    const PAGE_ZERO: Range = match Range::new(0, PAGE_BYTES) {
        Some(range) => range,
        None => panic!("a page is a range"),
    };
    Range::new(gpa, size).unwrap_or(PAGE_ZERO)
}
