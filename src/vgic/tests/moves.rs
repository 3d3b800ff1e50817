//! What a change of one interrupt's state does to it, and leaves as it is of others.

use super::super::list_register::{ACTIVE, STATE};
use super::super::{Coming, Effects, SgiGroup, Vgic};
use super::world::*;
use crate::ids::VcpuId;

/// Whatever is pending or active of the first SPIs.
fn state(world: &mut World) -> (u32, u32) {
    (world.read(0, ISPENDR + 4), world.read(0, ISACTIVER + 4))
}

/// Pends edge-triggered SPIs of vCPU 0, which acknowledges them, all in the guest.
fn acknowledged(intids: [u16; 2]) -> World {
    let mut world = World::ready(2, 4);
    for (intid, priority) in intids.into_iter().zip([0x80, 0x40]) {
        let at = IPRIORITYR + u64::from(intid);
        world.access(0, at, |vgic| vgic.distributor_write(at, 1, priority));
        world.write(0, ISPENDR + 4, 1 << (intid - 32));
        assert_eq!(world.acknowledge(0), Some(intid));
    }
    world.prompt = false;
    world
}

#[test]
fn only_an_emulated_interrupt_has_a_line() {
    let mut world = World::ready(1, 4);
    for intid in [41, 42, 50, 1000] {
        assert_eq!(world.vgic.set_line(intid, None, true), Effects::NONE);
    }
    assert_eq!(state(&mut world), (0, 0));
    assert_eq!(world.read(0, ISPENDR + 8), 0);
}

#[test]
fn a_line_that_stays_up_is_no_second_edge() {
    let mut world = World::ready(1, 4);
    world.line(33, true);
    assert_eq!(world.acknowledge(0), Some(33));
    assert_eq!(world.vgic.set_line(33, None, true), Effects::NONE);
    world.eoi(0, 33);
    assert_eq!(state(&mut world), (0, 0));
}

#[test]
fn a_line_that_is_up_counts_once_it_is_level_sensitive() {
    let mut world = World::ready(1, 4);
    world.line(33, true);
    world.write(0, ICPENDR + 4, 1 << 1);
    assert_eq!((world.signalled(0), state(&mut world)), (None, (0, 0)));
    world.write(0, ICFGR + 8, 0);
    assert_eq!(world.signalled(0), Some(33));
    world.write(0, ICFGR + 8, 1 << 3);
    assert_eq!((world.signalled(0), state(&mut world)), (None, (0, 0)));
}

#[test]
fn the_level_of_what_is_no_hardware_ppi_is_not_told() {
    let mut world = World::ready(1, 4);
    world.exit(0);
    for intid in [30, 34, 42] {
        let effects = world.vgic.set_ppi_level(VcpuId(0), intid, true);
        assert_eq!(effects, Effects::NONE, "{intid}");
    }
    assert_eq!(state(&mut world), (0, 0));
    assert_eq!(world.read_private(0, ISPENDR), 0);
}

#[test]
fn a_timer_that_software_pended_stays_pending_whatever_its_level() {
    let mut world = World::ready(1, 4);
    world.write_private(0, ISPENDR, 1 << 27);
    world.exit(0);
    let effects = world.vgic.set_ppi_level(VcpuId(0), 27, false);
    assert_eq!(effects, Effects::NONE);
    world.enter(0);
    assert_eq!(world.signalled(0), Some(27));
}

#[test]
fn a_timer_in_flight_whose_level_stays_up_is_left_alone() {
    let mut world = World::ready(1, 4);
    world.physical.get_mut(&timer(0)).unwrap().level = true;
    world.settle();
    world.exit(0);
    let effects = world.vgic.set_ppi_level(VcpuId(0), 27, true);
    assert_eq!(effects, Effects::NONE);
    assert!(world.vgic.hardware_in_flight(VcpuId(0), 27));
    world.enter(0);
    assert_eq!(world.signalled(0), Some(27));
}

#[test]
fn an_active_timer_that_is_taken_back_stays_active() {
    let mut world = World::ready(1, 4);
    world.physical.get_mut(&timer(0)).unwrap().level = true;
    world.settle();
    assert_eq!(world.acknowledge(0), Some(27));
    world.write_private(0, ISPENDR, 1 << 27);
    world.exit(0);
    let at = SGI_FRAME + ICPENDR;
    let effects = world.vgic.redistributor_write(VcpuId(0), at, 4, 1 << 27);
    assert_eq!(effects.deactivate, 0);
    assert!(world.vgic.hardware_in_flight(VcpuId(0), 27));
}

#[test]
fn what_is_made_active_again_before_the_model_looked_is_active() {
    let mut world = acknowledged([33, 35]);
    world.write(1, ICACTIVER + 4, 1 << 1 | 1 << 3);
    world.write(1, ISACTIVER + 4, 1 << 3);
    world.deliver_kicks();
    assert_eq!(state(&mut world), (0, 1 << 3));
}

#[test]
fn what_was_made_active_stays_so_when_another_is_ended() {
    let mut world = acknowledged([33, 35]);
    world.write(1, ISACTIVER + 4, 1 << 1 | 1 << 3);
    world.write(1, ICACTIVER + 4, 1 << 1);
    for intid in [35, 33] {
        world.eoi(0, intid);
    }
    world.deliver_kicks();
    assert_eq!(state(&mut world), (0, 1 << 3));
}

#[test]
fn what_came_again_stays_so_when_another_is_taken_back() {
    let mut world = acknowledged([33, 35]);
    world.write(1, ISPENDR + 4, 1 << 1 | 1 << 3);
    world.write(1, ICPENDR + 4, 1 << 1);
    world.deliver_kicks();
    assert_eq!(state(&mut world), (1 << 3, 1 << 1 | 1 << 3));
}

#[test]
fn a_doorbell_that_rang_again_after_the_acknowledge_kicks_once() {
    let mut world = World::ready(1, 2);
    world.ring(35);
    assert_eq!(world.acknowledge(0), Some(35));
    world.prompt = false;
    assert_eq!([world.ring(35), world.ring(35)], [1, 0]);
}

#[test]
fn a_sleeper_is_not_told_of_what_it_has_already() {
    let mut world = World::ready(2, 4);
    world.exit(1);
    let mut send = || world.vgic.sgi(VcpuId(0), 15 << 24 | 2, SgiGroup::Group1);
    assert_eq!([send().kick, send().kick], [2, 0]);
}

#[test]
fn what_is_made_active_takes_a_list_register_that_is_free() {
    let mut world = World::ready(2, 4);
    world.exit(1);
    let at = SGI_FRAME + ISACTIVER;
    let effects = world.vgic.redistributor_write(VcpuId(1), at, 4, 1 << 30);
    assert_eq!(effects.kick, 2);
    let held = world.vgic.list_registers(VcpuId(1))[0];
    assert_eq!((held & STATE, held as u16), (ACTIVE, 30));
}

#[test]
fn what_waits_for_its_group_moves_to_the_other() {
    let mut world = World::ready(1, 4);
    world.write(0, GICD_CTLR, 2);
    world.write(0, IGROUPR + 4, 0);
    world.write(0, ISPENDR + 4, 1 << 1);
    assert_eq!(world.signalled(0), None);
    world.write(0, IGROUPR + 4, 1 << 1);
    assert_eq!(world.signalled(0), Some(33));
}

#[test]
fn what_waits_moves_with_its_priority() {
    let mut world = World::ready(1, 4);
    world.write(0, GICD_CTLR, 0);
    world.write(0, ISPENDR + 4, 1 << 1);
    world.exit(0);
    let at = IPRIORITYR + 33;
    _ = world.vgic.distributor_write(at, 1, 0x20);
    world.vgic.groups = 3;
    let masked = 0x28 << 24 | OPEN & 0xff_ffff;
    assert!(world.vgic.would_signal(VcpuId(0), masked, 0, 0));
}

#[test]
fn the_priority_of_one_that_is_idle_moves_nobody() {
    let mut world = World::ready(1, 4);
    world.write(0, ISPENDR + 4, 1 << 3);
    let effects = world.vgic.distributor_write(IPRIORITYR + 33, 1, 0x20);
    assert_eq!(effects, Effects::NONE);
}

#[test]
fn a_single_interrupt_without_hardware_is_pended_alone() {
    let world = World::ready(1, 4);
    let of = |offset, value| world.vgic.pended_alone(offset, 4, value);
    assert_eq!(of(ISPENDR + 4, 1 << 3), Some(35));
    assert_eq!(
        of(ISPENDR + 4, 1 << 3 | 1 << 20),
        Some(35),
        "52 is not owned"
    );
    assert_eq!(of(ISPENDR + 4, 0), None);
    assert_eq!(of(ISPENDR + 4, 1 << 20), None);
    assert_eq!(of(ISPENDR + 4, 1 << 1 | 1 << 3), None, "two");
    assert_eq!(of(ISPENDR + 4, 1 << 9), None, "hardware");
    for offset in [ISPENDR, ISPENDR + 8, ICPENDR + 4, ISENABLER + 4, 1 << 32] {
        assert_eq!(of(offset, 1 << 3), None, "{offset:#x}");
    }
    assert_eq!(world.vgic.pended_alone(ISPENDR + 4, 2, 1 << 3), None);
}

#[test]
fn a_group_0_register_sends_to_group_0_alone() {
    for (intid, group, kick) in [
        (6, SgiGroup::Group0, 0),
        (5, SgiGroup::Group0, 2),
        (6, SgiGroup::Group1, 2),
        (5, SgiGroup::Group1, 2),
    ] {
        let mut world = World::ready(2, 4);
        world.write_private(1, IGROUPR, !(1 << 5));
        let effects = world.vgic.sgi(VcpuId(0), intid << 24 | 2, group);
        assert_eq!(effects.kick, kick, "{intid} {group:?}");
    }
}

/// Lets vCPU 1 come if there is nothing to choose. Returns what it finds, and which list registers are written.
fn come_at_once(vgic: &mut Vgic<'static>) -> (Option<Coming>, u16) {
    let mut written = 0;
    let coming = vgic.come_at_once(VcpuId(1), 27, 0b1000, |mask, _| written = mask);
    (coming, written)
}

#[test]
fn who_has_nothing_to_choose_comes_at_once() {
    let mut world = World::ready(2, 4);
    world.exit(1);
    _ = world.vgic.sgi(VcpuId(0), 3 << 24 | 2, SgiGroup::Group1);
    _ = world.vgic.physical_pending(27, VcpuId(1));
    let coming = Coming {
        held: 0b11,
        in_flight: true,
        ..Coming::default()
    };
    assert_eq!(come_at_once(&mut world.vgic), (Some(coming), 0b1011));
}

#[test]
fn who_has_something_to_choose_does_not_come_at_once() {
    let mut world = World::ready(2, 1);
    world.exit(1);
    for intid in [3, 5] {
        _ = world.vgic.sgi(VcpuId(0), intid << 24 | 2, SgiGroup::Group1);
    }
    let before = format!("{:?}", world.vgic);
    assert_eq!(come_at_once(&mut world.vgic), (None, 0));
    assert_eq!(format!("{:?}", world.vgic), before);
}

#[test]
fn one_that_is_due_comes_alone_with_the_physical_one_behind_it() {
    let mut world = World::ready(2, 4);
    world.exit(1);
    let mut come = |intid| world.vgic.come_for_one(VcpuId(1), intid, OPEN);
    assert_eq!(come(30), None, "nothing physical is behind it");
    // Pending, HW, group 1, priority a0, INTID 27.
    assert_eq!(come(27), Some(0x70a0_001b_0000_001b));
    assert!(world.vgic.hardware_in_flight(VcpuId(1), 27));
}

#[test]
fn nobody_comes_alone_while_other_list_registers_are_to_be_written() {
    for (changed, comes) in [(0b01, true), (0b10, false), (0b11, false)] {
        let mut world = World::ready(2, 4);
        world.exit(1);
        world.vgic.cpus[1].stage.changed = changed;
        let came = world.vgic.come_for_one(VcpuId(1), 27, OPEN);
        assert_eq!(came.is_some(), comes, "{changed:#b}");
    }
}
