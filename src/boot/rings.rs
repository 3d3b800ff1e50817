//! The trace rings: carved when the table asks for them, and where others find them.

use super::arena::Arena;
use super::plan::Plan;
use crate::hw::timer;
use crate::pcpu::Vcpu;
use bulkhead::config::payload::Payload;
use bulkhead::ids::PcpuId;
use bulkhead::trace::{Writer, ring_bytes};
use core::sync::atomic::{AtomicU64, Ordering};

/// For a debugger: the board's address of the first ring, and the bytes of all of them; zeros when nothing is traced.
#[unsafe(no_mangle)]
static TRACE_RINGS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// The memory of the rings, given out one by one.
pub struct Rings {
    left: &'static [AtomicU64],
    each: usize,
}

impl Rings {
    /// Takes one ring for every pCPU of the plan, if the table asks for them, from the front of the pool: they lie one
    /// behind the other.
    pub fn carve(arena: &mut Arena, payload: &Payload<'_>, plan: &Plan) -> Self {
        let each = (ring_bytes(payload.header().trace_bytes) / 8) as usize;
        let words = each * plan.pcpus.count_ones() as usize;
        let left: &'static [AtomicU64] = arena.slice(words, |_| AtomicU64::new(0));
        if words != 0 {
            let [first, bytes] = &TRACE_RINGS;
            first.store(arena.host_address(left).0, Ordering::Relaxed);
            bytes.store(words as u64 * 8, Ordering::Relaxed);
        }
        Self { left, each }
    }

    /// Makes the ring of the next pCPU; `None` when nothing is traced.
    pub fn next(&mut self, pcpu: PcpuId, vcpus: &[Vcpu]) -> Option<Writer<'static>> {
        let (ring, rest) = self.left.split_at_checked(self.each)?;
        self.left = rest;
        let residents = vcpus.iter().map(|vcpu| (vcpu.partition.id, vcpu.id));
        Writer::new(ring, pcpu, timer::frequency(), residents)
    }
}
