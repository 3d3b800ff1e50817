//! Interrupts that vCPUs send each other: `ICC_SGI1R_EL1`, `ICC_SGI0R_EL1`, `ICC_ASGI1R_EL1`.

use super::bank::{Irq, bits, vcpu_bit};
use super::registers::{Moved, Unfinished};
use super::{Effects, Vgic};
use crate::ids::VcpuId;

/// Which SGIs a register can send, with one security state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SgiGroup {
    /// `ICC_SGI0R_EL1` and `ICC_ASGI1R_EL1` (whose "other" security state does not exist): group 0 alone.
    Group0,
    /// `ICC_SGI1R_EL1`: whatever group the SGI has at its target.
    Group1,
}

impl Vgic<'_> {
    /// Sends an SGI as a vCPU's write to `ICC_SGI1R_EL1` (or one of the others, by `group`) asks. Targets that do not
    /// exist are ignored.
    ///
    /// # Source
    /// Arm IHI 0069, register page `ICC_SGI1R_EL1`: `Aff3` 55:48, `RS` 47:44, `IRM` 40, `Aff2` 39:32, `INTID` 27:24,
    /// `Aff1` 23:16, `TargetList` 15:0; and "Forwarding an SGI to a target PE".
    pub fn sgi(&mut self, from: VcpuId, value: u64, group: SgiGroup) -> Effects {
        let intid = (value >> 24 & 0xf) as u16;
        self.send_sgi(intid, group, self.sgi_targets(from, value))
    }

    /// Sends an SGI to the vCPUs of a mask, or to the first ones of them.
    pub(super) fn send_sgi(&mut self, intid: u16, group: SgiGroup, targets: u32) -> Effects {
        let mut kick = 0;
        let targets = Moved::of(targets);
        for vcpu in bits(targets.now) {
            let irq = Irq {
                vcpu: vcpu as u8,
                intid,
            };
            let group1 = self
                .bank_at(irq)
                .is_some_and(|bank| bank.group & irq.bit() != 0);
            if group == SgiGroup::Group1 || !group1 {
                self.pend_here(irq, &mut kick);
            }
        }
        let rest = Unfinished::Sgi {
            intid,
            group,
            targets: targets.later,
        };
        Effects {
            kick,
            rest: (targets.later != 0).then_some(rest),
            ..Effects::NONE
        }
    }

    /// Returns the vCPUs that an SGI goes to. No vCPU has an Aff0 of 16 or more, so a range selector names nobody.
    fn sgi_targets(&self, from: VcpuId, value: u64) -> u32 {
        const ANY: u64 = 1 << 40;
        const AFFINITY_3_2: u64 = 0x00ff_00ff_0000_0000;
        const RANGE: u64 = 0xf << 44;
        let everyone = 1u32.wrapping_shl(self.cpus.len() as u32).wrapping_sub(1);
        if value & ANY != 0 {
            return everyone & !u32::from(vcpu_bit(from.0));
        }
        let cluster = value >> 16 & 0xff;
        if value & (AFFINITY_3_2 | RANGE) != 0 || cluster != 0 {
            return 0;
        }
        everyone & value as u32 & 0xffff
    }
}
