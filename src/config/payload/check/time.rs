//! The checks of budgets and time windows: EL2's schedulers divide by nothing and wait for nothing that is not here.

use super::super::super::record::{BY_POSITION, PcpuRecord, VcpuRecord, pcpu_flags};
use super::super::{MAX_PERIOD_NS, MAX_TIME_WINDOWS, Part, Payload, PayloadError};
use super::{Field, count_of, inside};
use crate::ids::MAX_PCPUS;

/// What the fields of a pCPU are blamed on: no partition.
const HEADER: usize = usize::MAX;

/// Checks a vCPU's budget and period.
pub(super) fn check_budget(at: usize, vcpu: &VcpuRecord) -> Result<(), PayloadError> {
    let field = Field { partition: at };
    let (budget, period) = (vcpu.budget_ns, vcpu.period_ns);
    field.must(period <= MAX_PERIOD_NS, "period_ns", period)?;
    field.must(budget <= period, "budget_ns", budget)?;
    // Without a budget there is nothing to use up.
    let most = u32::from(budget != 0);
    let background = vcpu.background;
    field.must(background <= most, "background", u64::from(background))
}

impl Payload<'_> {
    /// Checks what is said about pCPUs.
    pub(super) fn check_pcpus(&self) -> Result<(), PayloadError> {
        let records = self.pcpus;
        count_of(HEADER, Part::Pcpus, records.len(), 0, MAX_PCPUS)?;
        let field = Field { partition: HEADER };
        for (position, record) in records.iter().enumerate() {
            let pcpu = record.pcpu;
            let earlier = records.get(..position).unwrap_or(&[]);
            let there = record.mpidr != BY_POSITION || (pcpu as usize) < MAX_PCPUS;
            // That two names are one pCPU's shows on the board alone.
            let same = |other: &PcpuRecord| (other.pcpu, other.mpidr) == (pcpu, record.mpidr);
            let once = there && !earlier.iter().any(same);
            field.must(once, "pcpu", u64::from(pcpu))?;
            let flags = record.flags;
            let known = flags & !pcpu_flags::ALLOW_OVERLOAD == 0;
            field.must(known, "pcpu flags", u64::from(flags))?;
            self.check_frame(record)?;
        }
        Ok(())
    }

    /// Checks a pCPU's windows: none, or a frame that holds them in order.
    fn check_frame(&self, of: &PcpuRecord) -> Result<(), PayloadError> {
        let field = Field { partition: HEADER };
        let windows = inside(self.time_windows, of.windows, HEADER, Part::TimeWindows)?;
        let frame = of.major_frame_ns;
        let both = (frame == 0) == windows.is_empty() && frame <= MAX_PERIOD_NS;
        field.must(both, "major_frame_ns", frame)?;
        let count = windows.len();
        count_of(HEADER, Part::TimeWindows, count, 0, MAX_TIME_WINDOWS)?;
        let others = u64::MAX
            .checked_shl(self.partitions.len() as u32)
            .unwrap_or(0);
        let mut free = 0;
        for window in windows {
            let start = window.start_ns;
            field.must(start >= free, "time window start_ns", start)?;
            let length = window.length_ns;
            let end = start.checked_add(length).filter(|end| *end <= frame);
            let (Some(end), 1..) = (end, length) else {
                return field.must(false, "time window length_ns", length);
            };
            free = end;
            let partitions = window.partitions;
            let known = partitions != 0 && partitions & others == 0;
            field.must(known, "time window partitions", partitions)?;
        }
        Ok(())
    }
}
