//! Budgets and time windows of a pCPU, from the table's nanoseconds to ticks.

use super::arena::Arena;
use super::inputs::Inputs;
use super::pcpus::{Resident, queue};
use crate::hw::timer;
use bulkhead::config::record::{PcpuRecord, TimeWindowRecord};
use bulkhead::config::verify::described;
use bulkhead::ids::PcpuId;
use bulkhead::sched::windows::{Window, Windows};
use bulkhead::sched::{Budget, Limits};

/// Makes the limits of a pCPU, if the table has any for it.
pub fn of_pcpu(
    arena: &mut Arena,
    inputs: &Inputs,
    id: PcpuId,
    residents: &[Resident],
) -> Option<&'static mut Limits<'static>> {
    let pcpu = windows_of(inputs, id);
    let has_budgets = residents
        .iter()
        .any(|resident| resident.record.budget_ns != 0);
    if pcpu.is_none() && !has_budgets {
        return None;
    }
    let windows = pcpu.map(|pcpu| windows(arena, inputs, pcpu, residents));
    let budgets = arena.slice(residents.len(), |slot| budget(residents.get(slot)));
    let yielding = slots(residents, |resident| resident.record.background != 0);
    let limits = Limits::new(budgets, yielding, windows, queue(residents), timer::now());
    Some(arena.value(limits))
}

/// Returns what the table says about a pCPU that has time windows.
pub fn windows_of(inputs: &Inputs, id: PcpuId) -> Option<&'static PcpuRecord> {
    let pcpu = described(&inputs.board, &inputs.payload, id);
    pcpu.filter(|pcpu| pcpu.major_frame_ns != 0)
}

/// Makes a vCPU's budget, which is never longer than the table says.
fn budget(resident: Option<&Resident>) -> Option<Budget> {
    let record = resident.map(|resident| resident.record)?;
    let (budget, period) = (record.budget_ns, record.period_ns);
    (budget != 0).then(|| Budget::new(timer::ticks_within(budget), timer::ticks(period)))
}

/// Makes the windows of a pCPU. Edges that touch still do: both are the same time in nanoseconds.
fn windows(
    arena: &mut Arena,
    inputs: &Inputs,
    pcpu: &PcpuRecord,
    residents: &[Resident],
) -> Windows<'static> {
    let records: &'static [TimeWindowRecord] = inputs.payload.time_windows(pcpu);
    let mut records = records.iter();
    let windows = arena.slice(records.len(), |_| {
        let record = records.next().copied().unwrap_or_default();
        Window {
            start: timer::ticks(record.start_ns),
            end: timer::ticks(record.start_ns + record.length_ns),
            slots: slots(residents, |resident| {
                record.partitions >> resident.partition.id.0 & 1 != 0
            }),
        }
    });
    Windows::new(timer::ticks(pcpu.major_frame_ns), windows)
}

/// Returns the slots of those that something holds for.
fn slots(residents: &[Resident], holds: impl Fn(&Resident) -> bool) -> u64 {
    let all = residents.iter().enumerate();
    all.filter(|(_, resident)| holds(resident))
        .fold(0, |mask, (slot, _)| mask | 1 << slot)
}
