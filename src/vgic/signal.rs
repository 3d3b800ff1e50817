//! Whether a vCPU that waits for an interrupt has one.

use super::Vgic;
use super::bank::bits;
use super::list_register::{GROUP1, is_signalled, priority};
use super::queue::{Kind, Stage, flag};
use crate::ids::VcpuId;

impl Vgic<'_> {
    /// Says whether the virtual CPU interface would signal an interrupt to a vCPU, whatever its `PSTATE.I`: what WFI asks.
    /// The vCPU was folded. `vmcr` is `ICH_VMCR_EL2`; `active0` and `active1` are `ICH_AP0R0_EL2` and `ICH_AP1R0_EL2`.
    ///
    /// # Source
    /// Arm IHI 0069, register page `ICH_VMCR_EL2` (`VPMR` 31:24, `VBPR0` 23:21, `VBPR1` 20:18, `VCBPR` 4, `VENG1` 1,
    /// `VENG0` 0), and "Preemption".
    pub fn would_signal(&self, vcpu: VcpuId, vmcr: u32, active0: u32, active1: u32) -> bool {
        let Some(cpu) = self.cpus.get(vcpu.0 as usize) else {
            return false;
        };
        let open = vmcr as u8 & self.groups & 3;
        let Some((urgency, group1)) = cpu.stage.most_urgent(open) else {
            return false;
        };
        let mask = vmcr >> 24;
        if u32::from(urgency) >= mask {
            return false;
        }
        let active = active0 | active1;
        if active == 0 {
            return true;
        }
        let common = vmcr & 1 << 4 != 0;
        let group_mask = if group1 && !common {
            !0u32 << (vmcr >> 18 & 7)
        } else {
            !0u32 << ((vmcr >> 21 & 7) + 1)
        };
        let running = active.trailing_zeros() << 3;
        u32::from(urgency) & group_mask < running
    }
}

impl Stage {
    /// Returns priority and group (1?) of the most urgent pending interrupt of the groups in a mask, in a list register
    /// or waiting for one.
    fn most_urgent(&self, groups: u8) -> Option<(u8, bool)> {
        if !self.is(flag::WAITING) && self.used.is_power_of_two() {
            // As below, of one list register alone.
            let register = self.list_register(self.used.trailing_zeros() as usize);
            let group1 = register & GROUP1 != 0;
            let open = groups & 1 << u8::from(group1) != 0;
            return (open && is_signalled(register)).then_some((priority(register), group1));
        }
        let mut best = None;
        let mut consider = |urgency: u8, group1: bool| {
            let open = groups & 1 << u8::from(group1) != 0;
            if open && best.is_none_or(|(least, _)| urgency < least) {
                best = Some((urgency, group1));
            }
        };
        for slot in bits(self.used.into()) {
            let register = self.list_register(slot as usize);
            if is_signalled(register) {
                consider(priority(register), register & GROUP1 != 0);
            }
        }
        for (kind, group1) in [(Kind::Group0, false), (Kind::Group1, true)] {
            let level = self.waiting(kind).trailing_zeros();
            if level < 32 {
                consider((level as u8) << 3, group1);
            }
        }
        best
    }
}
