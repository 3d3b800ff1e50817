//! The shortest way: what it does, and that it changes nothing where it declines.

use super::super::list_register::{ACTIVE, EOI, HW, PENDING, STATE};
use super::super::queue::flag;
use super::super::{Direct, Effects, Present, Vgic};
use super::world::*;
use crate::ids::VcpuId;
use std::cell::Cell;

/// List registers of which each is free, and what was written last: where, and what.
#[derive(Clone, Copy)]
struct Free<'a>(&'a Cell<Option<(usize, u64)>>);

impl Present for Free<'_> {
    fn present(self, slot: usize, value: u64) -> bool {
        self.0.set(Some((slot, value)));
        true
    }
}

/// Returns all that a model holds.
fn all(world: &World) -> String {
    format!("{:?}", world.vgic)
}

/// Fails unless vCPU 0's shortest way declines, with nothing changed.
fn declines(world: &mut World, intid: u16, physical: bool, why: &str) {
    let before = all(world);
    assert!(!world.deliver(0, intid, physical), "{why}");
    assert_eq!(all(world), before, "{why}");
}

/// Makes a vCPU that took an interrupt and ended it, and was not out of the guest since but for what `between` does.
fn ended(intid: u16, between: impl FnOnce(&mut World)) -> World {
    let mut world = World::ready(2, 4);
    world.write(0, IGROUPR + 4, !2);
    assert!(world.deliver(0, intid, intid == 27));
    assert_eq!(world.acknowledge(0), Some(intid));
    between(&mut world);
    world.eoi(0, intid);
    world
}

#[test]
fn what_came_last_comes_again_into_the_same_list_register() {
    let mut world = ended(3, |_| ());
    let written = Cell::new(None);
    let vcpu = VcpuId(0);
    let again = world.vgic.deliver_again(vcpu, 3, false, Free(&written));
    assert_eq!(again, Direct::Done);
    assert_eq!(written.get(), Some((0, 0x50a0_0000_0000_0003)));
}

#[test]
fn what_came_last_is_not_delivered_anywhere_else() {
    let mut world = ended(3, |world| world.bounce(0));
    let (before, written) = (all(&world), Cell::new(None));
    let vcpu = VcpuId(0);
    let elsewhere = world.vgic.deliver_anywhere(vcpu, 3, false, Free(&written));
    assert_eq!((elsewhere, written.get()), (false, None));
    assert_eq!(all(&world), before);
}

#[test]
fn a_list_register_that_was_written_at_once_is_not_written_at_the_next_entry() {
    for v2 in [false, true] {
        let mut world = World::ready_of_version(1, 4, v2);
        for intid in [41, 43] {
            assert!(world.deliver(0, intid, true));
        }
        world.exit(0);
        assert_eq!(world.vgic.used_list_registers(VcpuId(0)), 0b11);
        let refill = world.vgic.refill(VcpuId(0), OPEN);
        assert_eq!(refill.changed, 0, "GICv2: {v2}");
    }
}

#[test]
fn what_the_guest_closed_to_an_interrupt_since_does_not_come_again() {
    let mut disabled = ended(3, |world| world.write_private(0, ICENABLER, 1 << 3));
    declines(&mut disabled, 3, false, "disabled");
    // 33 is in group 0, 35 in group 1.
    let mut group0 = ended(33, |world| world.write(0, GICD_CTLR, 2));
    declines(&mut group0, 33, false, "group 0 is off");
    let mut group1 = ended(35, |world| world.write(0, GICD_CTLR, 1));
    declines(&mut group1, 35, false, "group 1 is off");
    let mut other = ended(35, |world| world.route(0, 35, 1));
    declines(&mut other, 35, false, "routed elsewhere");
    // The other group's going off is nothing to them.
    for (intid, groups) in [(33, 1), (35, 2)] {
        let mut world = ended(intid, |world| world.write(0, GICD_CTLR, groups));
        assert!(world.deliver(0, intid, false), "{intid}");
        assert_eq!(world.acknowledge(0), Some(intid));
    }
}

#[test]
fn where_something_waits_it_is_weighed_first() {
    use flag::{PULL, RESTAGE, SPILLING, UNLINKED, WAITING};
    let set = |world: &mut World, flag| world.vgic.cpus[0].stage.flags |= flag;
    for flag in [RESTAGE, PULL, SPILLING, WAITING, UNLINKED] {
        let mut world = ended(3, |_| ());
        set(&mut world, flag);
        declines(&mut world, 3, false, "into the same list register");
        declines(&mut world, 4, false, "into a free one");
    }
    for flag in [RESTAGE, PULL, SPILLING, WAITING] {
        let mut world = World::ready_of_version(1, 4, true);
        set(&mut world, flag);
        declines(&mut world, 41, true, "with a GICv2");
    }
}

#[test]
fn there_is_something_to_do_while_any_of_it_is_left() {
    assert!(Effects::NONE.is_nothing() && !Effects::NONE.is_physical());
    let (irq, nothing) = (1 << 3, Effects::NONE);
    for hardware in [
        Effects {
            switch: irq,
            ..nothing
        },
        Effects {
            set_pending: irq,
            ..nothing
        },
        Effects {
            clear_pending: irq,
            ..nothing
        },
        Effects {
            deactivate: irq,
            ..nothing
        },
        Effects {
            trigger: irq,
            ..nothing
        },
    ] {
        assert!(
            hardware.is_physical() && !hardware.is_nothing(),
            "{hardware:?}"
        );
    }
    let kick = Effects { kick: 1, ..nothing };
    assert!(!kick.is_physical() && !kick.is_nothing());
}

#[test]
fn pending_and_active_bits_are_looked_for_in_list_registers() {
    for (offset, v3, v2) in [
        (0x1fc, false, false),
        (0x200, true, true),
        (0x3ff, true, true),
        (0x400, false, false),
        (0x1_0200, true, true),
        (0x1_0400, false, false),
        (0xf00, false, false),
        (0xf10, false, true),
        (0xf2f, false, true),
        (0xf30, false, false),
    ] {
        let found = (Vgic::wants_fold(offset), Vgic::banked_wants_fold(offset));
        assert_eq!(found, (v3, v2), "{offset:#x}");
    }
}

#[test]
fn an_end_that_asks_for_maintenance_is_looked_at_first() {
    let mut world = World::ready(1, 4);
    world.line(34, true);
    assert_eq!(world.acknowledge(0), Some(34));
    world.eoi(0, 34);
    declines(&mut world, 34, false, "its line may still be high");
}

#[test]
fn what_was_linked_does_not_come_again_unlinked_nor_the_other_way() {
    let mut linked = ended(27, |_| ());
    declines(&mut linked, 27, false, "linked before");
    let mut world = World::ready(1, 4);
    world.write_private(0, ISPENDR, 1 << 27);
    assert_eq!(world.acknowledge(0), Some(27));
    world.eoi(0, 27);
    declines(&mut world, 27, true, "not linked before");
}

#[test]
fn a_physical_interrupt_comes_at_once_with_a_gicv2_and_watched() {
    let mut world = World::ready_of_version(2, 4, true);
    assert!(world.deliver(0, 41, true));
    let held = world.lr(0, 41).map(|lr| lr & (STATE | HW | EOI));
    assert_eq!(held, Some(PENDING | EOI));
    assert!(world.vgic.hardware_in_flight(VcpuId(0), 41));
    assert_eq!(world.acknowledge(0), Some(41));
    assert_eq!(world.lr(0, 41).map(|lr| lr & STATE), Some(ACTIVE));
}

#[test]
fn the_shortest_way_is_refused_with_a_gicv2_where_something_must_be_weighed() {
    let mut world = World::ready_of_version(2, 4, true);
    declines(&mut world, 33, true, "nothing physical is behind it");
    world.route(0, 43, 1);
    declines(&mut world, 43, true, "routed elsewhere");
    assert!(world.deliver(0, 41, true));
    declines(&mut world, 41, true, "in flight");
    world.exit(0);
    declines(&mut world, 45, true, "not in the guest");
}
