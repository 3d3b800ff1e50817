//! A vCPU that waits is told of whatever would end its wait, whoever did it and wherever the interrupt is.

use super::super::list_register::{ACTIVE, STATE};
use super::super::{Effects, SgiGroup, Vgic};
use super::interface::OPEN;
use super::world::*;
use crate::ids::VcpuId;
use proptest::prelude::*;

/// Who waits.
pub const SLEEPER: VcpuId = VcpuId(1);

/// Makes two vCPUs of which the second one waits, off its pCPU.
fn asleep() -> World {
    let mut world = World::ready(2, 4);
    world.prompt = false;
    world.exit(SLEEPER.0);
    world
}

/// Says whether an interrupt would end the sleeper's wait.
fn wakes(vgic: &Vgic<'static>) -> bool {
    vgic.would_signal(SLEEPER, OPEN, 0, 0)
}

/// Writes a word of the sleeper's SGI frame.
fn write(vgic: &mut Vgic<'static>, offset: u64, value: u32) -> Effects {
    vgic.redistributor_write(SLEEPER, SGI_FRAME + offset, 4, value.into())
}

/// Leaves SGI 15 in a list register of the sleeper, active, its priority dropped, and pending again.
fn active_and_pending() -> World {
    let mut world = World::ready(2, 4);
    world.prompt = false;
    world.send(0, 15 << 24 | 2);
    world.deliver_kicks();
    assert_eq!(world.acknowledge(SLEEPER.0), Some(15));
    world.cpus[usize::from(SLEEPER.0)].drop_priority();
    world.exit(SLEEPER.0);
    world.send(0, 15 << 24 | 2);
    let held = world.vgic.list_registers(SLEEPER)[0];
    assert_ne!(held & STATE & ACTIVE, 0);
    assert!(!wakes(&world.vgic));
    world
}

#[test]
fn b8_a_sleeper_is_told_when_another_vcpu_ends_what_kept_an_interrupt_back() {
    let mut world = active_and_pending();
    let effects = write(&mut world.vgic, ICACTIVER, 1 << 15);
    assert!(wakes(&world.vgic));
    assert_eq!(effects.kick, 1 << SLEEPER.0);
}

#[test]
fn b8_a_sleeper_is_told_when_an_interrupt_becomes_urgent_enough() {
    let mut world = asleep();
    let effects = write(&mut world.vgic, IPRIORITYR + 12, 0xf8f8_f8f8);
    assert_eq!(effects.kick, 0);
    world.send(0, 15 << 24 | 2);
    let masked = 0xf0 << 24 | OPEN & 0xff_ffff;
    assert!(!world.vgic.would_signal(SLEEPER, masked, 0, 0));
    let effects = write(&mut world.vgic, IPRIORITYR + 12, 0);
    assert!(world.vgic.would_signal(SLEEPER, masked, 0, 0));
    assert_eq!(effects.kick, 1 << SLEEPER.0);
}

/// One thing that somebody else does: which, to which interrupts.
pub fn act(vgic: &mut Vgic<'static>, what: u8, value: u32) -> Effects {
    let offsets = [
        IGROUPR, ISENABLER, ICENABLER, ISPENDR, ICPENDR, ISACTIVER, ICACTIVER,
    ];
    let spi = 32 + (value & 15) as u16;
    match what {
        0..=6 => write(vgic, offsets[usize::from(what)], value),
        7..=13 => vgic.distributor_write(offsets[usize::from(what) - 7] + 4, 4, value.into()),
        14 => write(vgic, IPRIORITYR + u64::from(value & 0x1c), value),
        15 => vgic.distributor_write(IPRIORITYR + 32 + u64::from(value & 0xc), 4, value.into()),
        16 => vgic.distributor_write(GICD_CTLR, 4, u64::from(value & 3)),
        17 => vgic.sgi(VcpuId(0), u64::from(value & 15) << 24 | 2, SgiGroup::Group1),
        18 => vgic.set_line(spi, None, value & 16 != 0),
        19 => vgic.set_line(30, Some(SLEEPER), value & 16 != 0),
        20 => vgic.ring(spi),
        21 => vgic.distributor_write(0x6000 + u64::from(spi) * 8, 8, u64::from(value >> 4 & 1)),
        _ => vgic.distributor_write(ICFGR + 8, 4, value.into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn b8_a_sleeper_is_told_of_whatever_would_end_its_wait(
        taken in 0..4usize,
        mask in prop::sample::select(vec![0x48u32, 0xa0, 0xa8, 0xf8]),
        masked_group in 0..4u32,
        events in prop::collection::vec((0..23u8, any::<u32>(), any::<u32>()), 1..80),
    ) {
        let mut world = World::ready(2, 4);
        world.prompt = false;
        world.send(0, 3 << 24 | 2);
        world.send(0, 15 << 24 | 2);
        world.deliver_kicks();
        for _ in 0..taken {
            if let Some(intid) = world.acknowledge(SLEEPER.0) {
                world.cpus[usize::from(SLEEPER.0)].drop_priority();
                prop_assert!(intid < 16);
            }
        }
        world.exit(SLEEPER.0);
        let vmcr = mask << 24 | OPEN & 0xff_ffff & !masked_group;
        for (what, one, other) in events {
            let before = world.vgic.would_signal(SLEEPER, vmcr, 0, 0);
            // Few bits at a time, else everything is always pending.
            let mut effects = act(&mut world.vgic, what, one & other);
            let mut kick = effects.kick;
            while let Some(rest) = effects.rest.take() {
                effects = world.vgic.continue_write(rest);
                kick |= effects.kick;
            }
            let after = world.vgic.would_signal(SLEEPER, vmcr, 0, 0);
            prop_assert!(before || !after || kick & 2 != 0, "{what} {:#x}", one & other);
        }
    }
}
