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

#[cfg(test)]
mod tests {
    use super::super::CpuInterface;
    use super::super::list_register::{Link, ListRegister};
    use super::*;

    /// Mask at f8, both groups on.
    const OPEN: u32 = 0xf8 << 24 | 3;
    /// `VBPR0` 5: bits 7:6 of a priority are its group's. `VBPR1` 4: bits 7:4 are.
    const POINTS: u32 = OPEN | 5 << 21 | 4 << 18;
    /// `VCBPR`.
    const COMMON: u32 = 1 << 4;

    /// Asks something of a vCPU whose list registers hold pending interrupts of these priorities and groups.
    fn with<R>(held: &[(u8, bool)], ask: impl FnOnce(&mut Vgic) -> R) -> R {
        let mut cpus = [CpuInterface::new()];
        let mut vgic = Vgic::new(&mut cpus, &mut [], 4);
        vgic.groups = 3;
        let stage = &mut vgic.cpus[0].stage;
        for (slot, &(priority, group1)) in held.iter().enumerate() {
            let register = ListRegister {
                intid: slot as u16,
                priority,
                group1,
                pending: true,
                active: false,
                link: Link::None,
            };
            stage.list_registers[slot] = register.encode();
            stage.used |= 1 << slot;
        }
        ask(&mut vgic)
    }

    /// Says whether one of priority b8 is signalled while one of priority `running` is.
    fn preempts(group1: bool, vmcr: u32, running: u32) -> bool {
        let active = 1 << (running >> 3);
        with(&[(0xb8, group1)], |vgic| {
            let zero = vgic.would_signal(VcpuId(0), vmcr, active, 0);
            assert_eq!(vgic.would_signal(VcpuId(0), vmcr, 0, active), zero);
            zero
        })
    }

    #[test]
    fn each_group_has_its_binary_point() {
        for (running, group0, group1) in [
            (0x80, false, false),
            (0x88, true, false),
            (0xb0, true, false),
            (0xb8, true, true),
        ] {
            assert_eq!(preempts(false, POINTS, running), group0, "{running:#x}");
            assert_eq!(preempts(true, POINTS, running), group1, "{running:#x}");
            for group in [false, true] {
                let common = preempts(group, POINTS | COMMON, running);
                assert_eq!(common, group0, "common, {running:#x}");
            }
        }
    }

    #[test]
    fn one_interrupt_alone_counts_when_its_group_is_open() {
        let of = |held, groups| with(&[held], |vgic| vgic.cpus[0].stage.most_urgent(groups));
        let (zero, one) = ((0x40, false), (0xa0, true));
        assert_eq!([of(zero, 1), of(zero, 2)], [Some(zero), None]);
        assert_eq!([of(one, 1), of(one, 2)], [None, Some(one)]);
    }

    #[test]
    fn the_most_urgent_of_several_counts() {
        let held = [(0x40, false), (0x20, true)];
        let of = |groups| with(&held, |vgic| vgic.cpus[0].stage.most_urgent(groups));
        assert_eq!(
            [of(1), of(2), of(3)],
            [Some(held[0]), Some(held[1]), Some(held[1])]
        );
        // The first of equals.
        let equals = [(0x40, false), (0x40, true)];
        let first = with(&equals, |vgic| vgic.cpus[0].stage.most_urgent(3));
        assert_eq!(first, Some(equals[0]));
    }

    #[test]
    fn what_waits_counts_by_its_level() {
        let waits = with(&[], |vgic| {
            let stage = &mut vgic.cpus[0].stage;
            stage.flags |= flag::WAITING;
            stage.levels = [0, 1 << 5 | 1 << 9, 1 << 2];
            [1, 2].map(|groups| stage.most_urgent(groups))
        });
        assert_eq!(waits, [None, Some((0x28, true))]);
    }
}
