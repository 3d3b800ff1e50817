//! How much RAM EL2 takes: with one pCPU, for each further one, for each partition. Images and guests' memory do not count.

use bulkhead::config::placement::pool_bytes;

use super::tables;
use crate::args::{self, Machine, Target};
use crate::failure::Outcome;
use crate::system::build;

/// Bytes of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// With one pCPU.
    pub one_pcpu: u64,
    /// For each further pCPU.
    pub each_pcpu: u64,
    /// For each partition of one vCPU and a console, its stage-2 tables included.
    pub each_partition: u64,
}

/// Builds three tables and compares them.
///
/// # Errors
/// One does not build.
pub fn measure(args: &args::Bench) -> Outcome<Memory> {
    let one = bytes(args, 1, 1)?;
    let two = bytes(args, 2, 1)?;
    let two_apart = bytes(args, 1, 2)?;
    let each_partition = two.saturating_sub(one);
    Ok(Memory {
        one_pcpu: one.saturating_sub(each_partition),
        each_pcpu: two_apart.saturating_sub(two),
        each_partition,
    })
}

/// Returns EL2's image and pool with so many partitions on pCPU 0, and one more on each further pCPU.
fn bytes(args: &args::Bench, partitions: u32, pcpus: u32) -> Outcome<u64> {
    let name = format!("memory-{partitions}-{pcpus}");
    let table = tables::file(&name, &tables::asleep(partitions, pcpus))?;
    let target = Target {
        partitions: Some(table.display().to_string()),
        json: true, // no remarks about generated tables
        ..args.target.clone()
    };
    let machine = Machine {
        cpus: Some(pcpus),
        ..super::machine(args)
    };
    let built = build(&target, &machine)?;
    let pcpus = pcpus as usize;
    let pool = built.with_payload(|payload| pool_bytes(payload, pcpus, pcpus - 1))?;
    Ok(built.hypervisor.bytes.len() as u64 + pool)
}
