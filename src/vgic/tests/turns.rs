//! What is taken back from the list registers when a vCPU leaves the guest, and what is written before it enters again.

use super::super::list_register::{ACTIVE, EOI, GROUP1, STATE};
use super::world::*;
use crate::ids::VcpuId;

/// vCPU 0 leaves the guest and is to enter it again. Returns the list registers that are written then.
fn written(world: &mut World) -> u16 {
    world.exit(0);
    let refill = world.vgic.refill(VcpuId(0), OPEN);
    assert!(!refill.unfinished);
    refill.changed
}

#[test]
fn two_sgis_sent_again_after_the_acknowledge_both_come_again() {
    let mut world = World::ready(2, 4);
    let send = |world: &mut World| (2..4).for_each(|intid| world.send(0, intid << 24 | 0b10));
    let take = |world: &mut World| {
        for intid in 2..4 {
            assert_eq!(world.acknowledge(1), Some(intid));
            world.eoi(1, intid);
        }
    };
    send(&mut world);
    world.prompt = false;
    take(&mut world);
    send(&mut world);
    world.deliver_kicks();
    take(&mut world);
    world.bounce(1);
    assert_eq!(world.signalled(1), None);
}

#[test]
fn two_active_states_that_another_vcpu_sets_outlast_earlier_eois() {
    let mut world = World::ready(2, 4);
    let both = 1 << 3 | 1 << 5;
    world.write(0, ISPENDR + 4, both);
    for intid in [35, 37] {
        assert_eq!(world.acknowledge(0), Some(intid));
        world.eoi(0, intid);
    }
    world.write(1, ISACTIVER + 4, both);
    assert_eq!(world.read(0, ISACTIVER + 4), both);
}

#[test]
fn two_active_states_that_another_vcpu_clears_before_they_show_are_gone() {
    let mut world = World::ready(2, 4);
    let both = 1 << 3 | 1 << 5;
    world.write(0, ISPENDR + 4, both);
    for intid in [35, 37] {
        assert_eq!(world.acknowledge(0), Some(intid));
        world.cpus[0].drop_priority();
    }
    world.write(1, ICACTIVER + 4, both);
    assert_eq!(world.read(0, ISACTIVER + 4), 0);
}

#[test]
fn an_sgi_sent_again_while_active_outlasts_the_first_ones_end() {
    let mut world = World::ready(1, 4);
    world.send(0, 3 << 24 | 1);
    assert_eq!(world.acknowledge(0), Some(3));
    world.send(0, 3 << 24 | 1);
    world.eoi(0, 3);
    world.bounce(0);
    assert_eq!(world.acknowledge(0), Some(3));
}

#[test]
fn an_sgi_sent_again_while_active_and_disabled_waits_for_the_enable() {
    let mut world = World::ready(1, 4);
    world.send(0, 3 << 24 | 1);
    assert_eq!(world.acknowledge(0), Some(3));
    world.write_private(0, ICENABLER, 1 << 3);
    world.send(0, 3 << 24 | 1);
    world.eoi(0, 3);
    assert_eq!(world.read_private(0, ISPENDR), 1 << 3);
    assert_eq!(world.signalled(0), None);
    world.write_private(0, ISENABLER, 1 << 3);
    assert_eq!(world.acknowledge(0), Some(3));
}

#[test]
fn an_active_sgi_sent_again_does_not_hide_that_others_wait_outside() {
    let mut world = World::ready(1, 2);
    (2..6).for_each(|intid| world.send(0, intid << 24 | 1));
    assert_eq!(world.acknowledge(0), Some(2));
    world.send(0, 2 << 24 | 1);
    world.bounce(0);
    // Pending as well, it would be signalled for ever, and nobody be told that the other one was taken.
    let shown = world.lr(0, 2).map(|register| register & (STATE | EOI));
    assert_eq!(shown, Some(ACTIVE | EOI));
}

#[test]
fn an_end_leaves_other_physical_interrupts_in_flight() {
    let mut world = World::ready(2, 4);
    for intid in [41, 43] {
        world.physical.get_mut(&intid).unwrap().pending = true;
    }
    world.settle();
    assert_eq!(world.acknowledge(0), Some(41));
    world.prompt = false;
    world.write(1, ICENABLER + 4, 1 << 11);
    world.eoi(0, 41);
    world.deliver_kicks();
    let in_flight = [41, 43].map(|intid| world.vgic.hardware_in_flight(VcpuId(0), intid));
    assert_eq!(in_flight, [false, true]);
    assert!(world.physical[&43].active);
}

#[test]
fn a_physical_interrupt_that_came_since_the_end_and_is_taken_back_can_come_again() {
    let mut world = World::ready(2, 4);
    let pend = |world: &mut World| {
        world.physical.get_mut(&41).unwrap().pending = true;
        world.settle();
    };
    pend(&mut world);
    assert_eq!(world.acknowledge(0), Some(41));
    world.bounce(0); // the model knows that it is active, and not when it ends
    world.prompt = false;
    world.eoi(0, 41);
    world.route(1, 41, 1);
    world.physical.get_mut(&41).unwrap().pending = true;
    world.take(41); // before the kick
    assert!(world.physical[&41].active);
    world.write(1, ICPENDR + 4, 1 << 9);
    world.deliver_kicks();
    assert!(!world.physical[&41].active);
    world.write(1, ISPENDR + 4, 1 << 2);
    let of_software = world.vgic.distributor_write(ICPENDR + 4, 4, 1 << 2);
    assert_eq!(of_software.deactivate, 0);
    pend(&mut world);
    assert_eq!(world.signalled(1), Some(41));
}

#[test]
fn a_physical_interrupt_is_on_or_off_as_its_register_says_whoever_comes_first() {
    for (first, second, on) in [(ICENABLER, ISENABLER, true), (ISENABLER, ICENABLER, false)] {
        let mut world = World::ready(2, 4);
        let before = if on { ISENABLER } else { ICENABLER };
        world.write(0, before + 4, 1 << 9);
        let mut write = |offset| world.vgic.distributor_write(offset + 4, 4, 1 << 9);
        // What the first write asks for reaches the physical GIC last.
        let (late, early) = (write(first), write(second));
        world.apply(early);
        world.apply(late);
        assert_eq!(world.read(0, ISENABLER + 4) >> 9 & 1 != 0, on);
        assert_eq!(world.physical[&41].enabled, on);
    }
}

/// Leaves SGI 2 in the first list register, and 34, whose line is high, in the second one.
fn sgi_and_line() -> World {
    let mut world = World::ready(2, 4);
    world.send(0, 2 << 24 | 1);
    world.line(34, true);
    assert_eq!(world.lr(0, 34).map(|lr| lr & EOI), Some(EOI));
    world
}

#[test]
fn a_list_register_whose_end_asks_for_maintenance_is_emptied() {
    let mut world = sgi_and_line();
    for intid in [2, 34] {
        assert_eq!(world.acknowledge(0), Some(intid));
        world.eoi(0, intid);
    }
    // The line is still high, and comes again in the first one.
    assert_eq!(written(&mut world), 0b11);
    assert_eq!(world.vgic.used_list_registers(VcpuId(0)), 1);
}

#[test]
fn a_list_register_that_the_guest_left_active_is_not_written() {
    let mut world = sgi_and_line();
    assert_eq!(world.acknowledge(0), Some(2));
    world.eoi(0, 2);
    assert_eq!(world.acknowledge(0), Some(34));
    assert_eq!(world.lr(0, 34).map(|lr| lr & STATE), Some(ACTIVE));
    assert_eq!(written(&mut world), 0);
}

#[test]
fn a_list_register_that_the_guest_left_free_is_not_written() {
    let mut world = World::ready(2, 4);
    world.send(0, 2 << 24 | 1);
    world.write(0, ISPENDR + 4, 1 << 1);
    assert_eq!(world.acknowledge(0), Some(2));
    world.prompt = false;
    // Something to compare, in the second one.
    world.write(1, ICENABLER + 4, 1 << 1);
    world.eoi(0, 2);
    assert_eq!(written(&mut world), 0b10);
}

/// vCPU 0 has so many SGIs in its list registers, and its groups go off and on while it is out of the guest.
fn to_compare(count: u64) -> World {
    let mut world = World::ready(1, 4);
    (0..count).for_each(|intid| world.send(0, intid << 24 | 1));
    world.exit(0);
    for groups in [0, 3] {
        let _ = world.vgic.distributor_write(GICD_CTLR, 4, groups);
    }
    world
}

#[test]
fn two_list_registers_are_compared_with_the_state_at_once_and_three_are_not() {
    for (count, unfinished) in [(2, false), (3, true)] {
        let refill = to_compare(count).vgic.refill(VcpuId(0), OPEN);
        assert_eq!(refill.unfinished, unfinished, "{count}");
    }
}

#[test]
fn the_shortest_way_is_open_again_after_a_comparison() {
    let mut world = to_compare(1);
    world.enter(0);
    assert!(world.deliver(0, 3, false));
}

#[test]
fn the_shortest_way_is_open_again_when_nothing_waits_any_more() {
    let mut world = World::ready(1, 1);
    (2..4).for_each(|intid| world.send(0, intid << 24 | 1));
    for intid in 2..4 {
        world.settle();
        assert!(intid == 3 || !world.deliver(0, 4, false), "3 waits");
        assert_eq!(world.acknowledge(0), Some(intid));
        world.eoi(0, intid);
    }
    world.bounce(0);
    assert!(world.deliver(0, 4, false));
}

#[test]
fn a_vcpu_comes_at_once_where_nothing_waits_or_is_to_be_compared() {
    let comes = |mut world: World| {
        let came = world.vgic.come_at_once(VcpuId(0), 27, 0, |_, _| ());
        came.map(|coming| coming.held)
    };
    let mut world = World::ready(1, 4);
    world.send(0, 2 << 24 | 1);
    world.exit(0);
    assert_eq!(comes(world), Some(1));
    assert_eq!(comes(to_compare(1)), None);
}

/// Returns which SPIs are active, and which of them by the guest's word alone, after vCPU 0 was out of the guest.
fn active(world: &mut World) -> (u32, u32) {
    world.prompt = true;
    world.deliver_kicks();
    world.bounce(0);
    let bank = &world.vgic.spis[0].bank;
    (bank.active, bank.marked)
}

/// Pends 33 and 35 for vCPU 0, lets it do things to 33, and vCPU 1 make both active before the model saw that.
fn made_active(acts: impl FnOnce(&mut World)) -> World {
    let mut world = World::ready(2, 4);
    world.write(0, ISPENDR + 4, 1 << 1 | 1 << 3);
    world.prompt = false;
    acts(&mut world);
    world.write(1, ISACTIVER + 4, 1 << 1 | 1 << 3);
    world
}

#[test]
fn who_made_an_interrupt_active_is_known_though_it_shows_late() {
    let take = |world: &mut World| assert_eq!(world.acknowledge(0), Some(33));
    let mut untouched = made_active(|_| ());
    assert_eq!(active(&mut untouched), (0b1010, 0b1010), "nobody took them");
    let mut taken = made_active(take);
    assert_eq!(active(&mut taken), (0b1010, 0b1000), "33 was taken");
    let mut ended = made_active(|world| {
        take(world);
        world.eoi(0, 33);
    });
    assert_eq!(active(&mut ended), (0b1010, 0b1010), "33 was ended");
    let mut seen = made_active(|world| {
        take(world);
        world.bounce(0);
    });
    assert_eq!(active(&mut seen), (0b1010, 0b1000), "33 was known as taken");
}

#[test]
fn what_the_guest_made_active_stays_so_until_it_says_else() {
    let mut world = made_active(|_| ());
    assert_eq!(active(&mut world), (0b1010, 0b1010));
    // Something else to look at in the list registers, and one end.
    world.prompt = false;
    world.write(1, ISPENDR + 4, 1 << 3);
    world.deactivate(0, 33);
    assert_eq!(active(&mut world), (0b1000, 0b1000));
    world.write(0, ICACTIVER + 4, 1 << 3);
    assert_eq!(active(&mut world), (0, 0));
}

#[test]
fn an_interrupt_that_gave_way_comes_back_before_its_equals() {
    let mut world = World::ready(1, 1);
    world.write(0, IPRIORITYR + 36, 0xa0a0_20a0);
    world.write(0, ISPENDR + 4, 1 << 1);
    world.write(0, ISPENDR + 4, 1 << 3);
    assert_eq!(world.signalled(0), Some(33));
    world.write(0, ISPENDR + 4, 1 << 5);
    for intid in [37, 33, 35] {
        world.settle();
        assert_eq!(world.acknowledge(0), Some(intid));
        world.eoi(0, intid);
    }
}

#[test]
fn an_interrupt_taken_in_group_0_comes_back_in_group_0() {
    let mut world = World::ready(1, 1);
    world.write(0, IGROUPR + 4, !(1 << 3));
    world.write(0, IPRIORITYR + 36, 0xa0a0_20a0);
    for intid in [35, 37] {
        world.write(0, ISPENDR + 4, 1 << (intid - 32));
        assert_eq!(world.acknowledge(0), Some(intid));
    }
    assert_eq!(world.lr(0, 35), None);
    world.eoi(0, 37);
    world.bounce(0);
    let held = world.lr(0, 35).map(|lr| lr & (STATE | GROUP1));
    assert_eq!(held, Some(ACTIVE));
}
