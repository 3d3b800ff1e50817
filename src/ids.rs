//! Names of CPUs, partitions and interrupts as types, so that no bare integer crosses a module.
#![forbid(unsafe_code)]

use core::fmt;

use crate::display_by_show;
use crate::message::{Form, Out, Show};

/// Number of physical CPUs that one system can use.
pub const MAX_PCPUS: usize = 16;
/// Number of partitions that one table can hold.
pub const MAX_PARTITIONS: usize = 64;
/// Number of vCPUs that one partition can have.
pub const MAX_VCPUS: usize = 16;

/// A physical CPU: its dense position under `/cpus` in the board's device tree, never its start order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PcpuId(pub u8);

/// A partition: its position in the partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u8);

/// A virtual CPU: its position inside its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VcpuId(pub u8);

/// The tag of a partition's stage-2 translations in the TLB. Not the partition id: 0 belongs to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vmid(pub u8);

/// The affinity fields of `MPIDR_EL1`: bits 39:32 (Aff3) and 23:0 (Aff2, Aff1, Aff0), all others zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mpidr(u64);

/// The affinity bits of `MPIDR_EL1`.
const AFFINITY_MASK: u64 = 0x00ff_00ff_ffff;

impl Mpidr {
    /// Keeps the affinity fields of a raw `MPIDR_EL1` value or of a `reg` cell in a device tree.
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw & AFFINITY_MASK)
    }

    /// Returns the affinity fields in the places where `MPIDR_EL1` and PSCI have them.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Returns the four affinity fields packed as `GICR_TYPER` has them: Aff3 in bits 31:24.
    pub const fn packed(self) -> u32 {
        ((self.0 >> 32) as u32) << 24 | (self.0 as u32 & 0x00ff_ffff)
    }

    /// Returns the virtual affinity of the vCPU at a position: 16 to a cluster, as QEMU's `virt` has it.
    pub const fn of_vcpu(vcpu: VcpuId) -> Self {
        let index = vcpu.0 as u64;
        Self((index >> 4) << 8 | (index & 0xf))
    }
}

impl fmt::Debug for Mpidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

display_by_show!(Mpidr);

impl Show for Mpidr {
    fn show(&self, out: &mut dyn Out, _: Form) {
        self.0.show(out, Form::Hex(1));
    }
}

/// The urgency of a vCPU, 0..=255, larger is more urgent. Deliberately without `Ord`: a GIC priority has the
/// opposite sense, so the comparison is spelled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(pub u8);

impl Priority {
    /// Says whether `self` goes before `other`.
    pub const fn is_more_urgent_than(self, other: Self) -> bool {
        self.0 > other.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mpidr_keeps_affinity_fields_alone() {
        assert_eq!(Mpidr::from_raw(0x8100_0203).raw(), 0x0203);
        assert_eq!(Mpidr::from_raw(0x01_8000_0002).packed(), 0x0100_0002);
    }

    #[test]
    fn mpidr_is_shown_in_sixteens() {
        let mpidr = Mpidr::from_raw(0x8100_0203);
        assert_eq!(format!("{mpidr} {mpidr:?}"), "0x203 0x203");
    }

    #[test]
    fn vcpus_fill_clusters_of_sixteen() {
        assert_eq!(Mpidr::of_vcpu(VcpuId(15)).raw(), 15);
        assert_eq!(Mpidr::of_vcpu(VcpuId(16)).raw(), 0x100);
    }

    #[test]
    fn larger_priority_is_more_urgent() {
        assert!(Priority(200).is_more_urgent_than(Priority(10)));
        assert!(!Priority(10).is_more_urgent_than(Priority(10)));
    }
}
