//! Which CPU of the board a vCPU runs on, and what the table says about that one. Both are named alike: by position under
//! `/cpus`, or by affinity. On a board that lists its CPUs in another order than the tree that the table was made with,
//! the two names come apart.

use super::super::payload::Payload;
use super::super::record::{BY_POSITION, PcpuRecord, VcpuRecord};
use super::Actual;
use super::mismatch::{Client, CpuName, Mismatch};
use crate::board::{Board, Conduit, CpuStart};
use crate::ids::{Mpidr, PcpuId};

/// Returns the pCPU that a vCPU is to run on, if the board has it.
pub fn pcpu_of(board: &Board<'_>, vcpu: &VcpuRecord) -> Option<PcpuId> {
    named(board, vcpu.pcpu, vcpu.mpidr)
}

/// Returns the pCPU that is to serve the console, if the board has it.
pub fn console_pcpu(board: &Board<'_>, payload: &Payload<'_>) -> Option<PcpuId> {
    let header = payload.header();
    named(board, header.console_pcpu, header.console_mpidr)
}

/// Returns what the table says about a pCPU.
pub fn described<'a>(
    board: &Board<'_>,
    payload: &Payload<'a>,
    pcpu: PcpuId,
) -> Option<&'a PcpuRecord> {
    let mut records = payload.pcpus().iter();
    records.find(|record| named(board, record.pcpu, record.mpidr) == Some(pcpu))
}

/// Finds a CPU by either of its names.
#[inline(never)]
fn named(board: &Board<'_>, position: u32, mpidr: u64) -> Option<PcpuId> {
    if mpidr != BY_POSITION {
        return board.pcpu_of(Mpidr::from_raw(mpidr));
    }
    let there = (position as usize) < board.cpus.len();
    there.then_some(PcpuId(position as u8))
}

/// Returns the pCPU that is named, and reports one that is not there or does not start.
#[inline(never)]
pub(super) fn find<'a>(
    actual: &Actual<'_, 'a>,
    client: Client<'a>,
    (position, mpidr): (u32, u64),
    report: &mut dyn FnMut(Mismatch<'a>),
) -> Option<PcpuId> {
    let board = actual.board;
    let pcpu = named(board, position, mpidr);
    let cpu = pcpu.and_then(|pcpu| board.cpus.get(usize::from(pcpu.0)));
    let (Some(pcpu), Some(cpu)) = (pcpu, cpu) else {
        report(Mismatch::NoPcpu {
            client,
            cpu: CpuName::new(position, mpidr),
            cpus: board.cpus.len(),
        });
        return None;
    };
    let starts = match cpu.start {
        CpuStart::Psci => board.psci.is_some_and(|psci| psci.conduit == Conduit::Smc),
        CpuStart::SpinTable(release) => release.is_multiple_of(8),
        CpuStart::Unknown => false,
    };
    let boots = actual.boot_cpu == Some(cpu.mpidr);
    if !cpu.usable || !(starts || boots) {
        report(Mismatch::DeadPcpu {
            client,
            pcpu,
            mpidr: cpu.mpidr,
        });
    }
    Some(pcpu)
}

/// Checks that every pCPU is described once, and that its time windows are for those who run there.
pub(super) fn check<'a>(
    board: &Board<'_>,
    payload: &Payload<'a>,
    report: &mut dyn FnMut(Mismatch<'a>),
) {
    for record in payload.pcpus() {
        let pcpu = named(board, record.pcpu, record.mpidr);
        let name = CpuName::of(record);
        if let Some(pcpu) = pcpu
            && let Some(first) = described(board, payload, pcpu)
            && !core::ptr::eq(first, record)
        {
            let names = [CpuName::of(first), name];
            report(Mismatch::PcpuTwice { pcpu, names });
        }
        let windows = payload.time_windows(record).iter();
        let open = windows.fold(0, |open, window| open | window.partitions);
        for (bit, partition) in payload.partitions().iter().enumerate() {
            let mut vcpus = payload.vcpus(partition).iter();
            let waits = open >> bit & 1 != 0;
            if waits && !vcpus.any(|vcpu| pcpu.is_some() && pcpu_of(board, vcpu) == pcpu) {
                let partition = payload.name(partition);
                report(Mismatch::WindowWithoutVcpu { partition, name });
            }
        }
    }
}
