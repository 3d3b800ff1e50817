//! Whether the table fits the board, and where everything goes. Every violation is printed.

use super::inputs::Inputs;
use super::{not_started, refuse};
use crate::arch::aarch64::mmu;
use crate::arch::aarch64::sysreg::read;
use crate::panic::say;
use bulkhead::addr::{HostPhysAddr, Range};
use bulkhead::board::{Conduit, GicVersion};
use bulkhead::config::placement::{self, Ground};
use bulkhead::config::verify::{Actual, pcpu_of, verify};
use bulkhead::ids::{MAX_PCPUS, Mpidr, PcpuId};
use bulkhead::sched::MAX_SLOTS;
use heapless::Vec;

/// Most pieces of memory that one system can have, EL2's pool included.
const MAX_PLACES: usize = 160;
/// INTIDs that GICv3's distributor can have at most.
const INTID_END: u32 = 1020;

/// What start-up decided.
pub struct Plan {
    /// Where EL2's pool goes.
    pub pool: HostPhysAddr,
    /// Its bytes.
    pub pool_bytes: u64,
    /// Where every partition's regions go, in table order.
    pub regions: Vec<HostPhysAddr, MAX_PLACES>,
    /// Bit n: the table uses pCPU n, or it serves the console.
    pub pcpus: u32,
    /// The pCPU that runs this.
    pub here: PcpuId,
}

/// Makes the plan, or refuses to start.
pub fn make(inputs: &Inputs) -> Plan {
    let Inputs {
        payload,
        board,
        tree,
        ..
    } = inputs;
    let mpidr = Mpidr::from_raw(read::mpidr_el1());
    let Some(here) = board.pcpu_of(mpidr) else {
        refuse(format_args!(
            "the device tree has no CPU with this one's MPIDR {mpidr}"
        ));
    };
    if !matches!(board.gic.version, GicVersion::V3 { .. }) {
        refuse(format_args!(
            "the board has a GICv2; this version of bulkhead needs a GICv3 (QEMU: -machine virt,gic-version=3)"
        ));
    }
    let actual = Actual {
        board,
        tree,
        boot_cpu: Some(mpidr),
        intid_end: INTID_END,
    };
    let mut violations = verify(payload, &actual, &mut |mismatch| {
        say!("refused: {mismatch}")
    });
    let pcpus = used_pcpus(inputs);
    if pcpus & !(1 << here.0) != 0 && board.psci.is_some_and(|psci| psci.conduit == Conduit::Hvc) {
        say!(
            "refused: the board's PSCI wants HVC, which cannot be called from EL2 (QEMU: virtualization=on makes it SMC)"
        );
        violations += 1;
    }
    violations += crowded(inputs);
    let pool_bytes = placement::pool_bytes(payload, pcpus.count_ones() as usize);
    let mut places = [0; MAX_PLACES];
    violations += place(inputs, pool_bytes, &mut places);
    if violations > 0 {
        not_started(violations);
    }
    let count = placement::demands(payload, pool_bytes).count();
    let mut regions = places.iter().take(count).map(|place| HostPhysAddr(*place));
    let pool = regions.next().unwrap_or(HostPhysAddr(0));
    Plan {
        pool,
        pool_bytes,
        regions: regions.collect(),
        pcpus,
        here,
    }
}

/// Places memory on the board as it is.
fn place(inputs: &Inputs, pool_bytes: u64, places: &mut [u64]) -> usize {
    let bytes = mmu::image_bytes() + inputs.payload.header().total_bytes;
    let Some(hypervisor) = Range::new(inputs.image.0, bytes) else {
        refuse(format_args!(
            "the image of {bytes} bytes does not fit behind {}",
            inputs.image
        ));
    };
    let ground = Ground {
        memory: &inputs.board.memory,
        reserved: &inputs.board.reserved,
        hypervisor,
    };
    let demands = placement::demands(&inputs.payload, pool_bytes);
    placement::place(&ground, demands, places, &mut |violation| {
        say!("refused: {violation}")
    })
}

/// Returns the pCPUs that the table uses, as a mask.
fn used_pcpus(inputs: &Inputs) -> u32 {
    let payload = &inputs.payload;
    let vcpus = payload
        .partitions()
        .iter()
        .flat_map(|partition| payload.vcpus(partition));
    let used = vcpus
        .filter_map(|vcpu| pcpu_of(&inputs.board, vcpu))
        .fold(0, |mask, pcpu| mask | 1 << pcpu.0);
    used | 1 << (payload.header().console_pcpu % MAX_PCPUS as u32)
}

/// Reports pCPUs with more vCPUs than fit.
fn crowded(inputs: &Inputs) -> usize {
    let payload = &inputs.payload;
    let mut counts = [0usize; MAX_PCPUS];
    for vcpu in payload
        .partitions()
        .iter()
        .flat_map(|partition| payload.vcpus(partition))
    {
        if let Some(count) =
            pcpu_of(&inputs.board, vcpu).and_then(|pcpu| counts.get_mut(usize::from(pcpu.0)))
        {
            *count += 1;
        }
    }
    let crowded = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > MAX_SLOTS);
    crowded
        .inspect(|(pcpu, count)| {
            say!("refused: pCPU {pcpu} has {count} vCPUs, and {MAX_SLOTS} fit")
        })
        .count()
}
