//! What one vCPU does to an interrupt that is in another's list register, while that one is in the guest.

use super::super::list_register::{ACTIVE, EOI, HW, PENDING, STATE};
use super::super::{Coming, Effects, Ends, Vgic, hcr};
use super::world::*;
use crate::ids::VcpuId;

/// vCPU 1 writes a word of vCPU 0's SGI frame.
fn write_to_vcpu_0(world: &mut World, offset: u64, value: u32) {
    world.access(1, offset, |vgic: &mut Vgic<'static>| {
        vgic.redistributor_write(VcpuId(0), SGI_FRAME + offset, 4, value.into())
    });
}

#[test]
fn an_active_state_that_another_vcpu_clears_before_the_model_saw_it_is_gone() {
    let mut world = World::ready(2, 4);
    world.physical.get_mut(&41).unwrap().pending = true;
    world.settle();
    assert_eq!(world.acknowledge(0), Some(41));
    world.write(1, ICACTIVER + 4, 1 << 9);
    assert_eq!(world.lr(0, 41), None);
    assert!(!world.physical[&41].active);
    assert_eq!(world.read(0, ISACTIVER + 4) | world.read(0, ISPENDR + 4), 0);
}

#[test]
fn b13_the_end_of_what_was_cleared_in_hand_ends_no_other() {
    // Each preempts the one before, and has the list register.
    let mut world = World::ready(1, 1);
    world.write(0, IPRIORITYR + 32, 0x4000_8000);
    world.write(0, IPRIORITYR + 36, 0x0000_2000);
    for intid in [33, 35, 37] {
        if intid == 37 {
            world.write(0, ICACTIVER + 4, 1 << 3);
        }
        world.write(0, ISPENDR + 4, 1 << (intid - 32));
        world.settle();
        assert_eq!(world.acknowledge(0), Some(intid));
    }
    assert_eq!(world.lr(0, 33), None, "spilled");
    world.eoi(0, 37);
    world.eoi(0, 35);
    assert_eq!(world.read(0, ISACTIVER + 4), 1 << 1, "33 is still in hand");
    world.eoi(0, 33);
    assert_eq!(world.read(0, ISACTIVER + 4), 0);
}

#[test]
fn ends_are_as_many_as_were_counted() {
    for count in 0..32 {
        assert_eq!(Ends::new(count, 1 << 16).count(), count);
    }
}

#[test]
fn a_level_is_the_list_registers_whose_interrupt_is_active() {
    let mut world = World::ready(1, 4);
    world.write(0, IPRIORITYR + 36, 0xc000_2000);
    for intid in [37, 39] {
        world.write(0, ISPENDR + 4, 1 << (intid - 32));
        world.settle();
    }
    assert_eq!(world.acknowledge(0), Some(37));
    world.exit(0);
    // 37 has level 4 and is active, 39 has level 24 and is pending: level 16 is another one's.
    assert_eq!(world.vgic.running_elsewhere(0, 1 << 4 | 1 << 16), 16);
    assert_eq!(world.vgic.running_elsewhere(0, 1 << 4), 32);
}

#[test]
fn an_active_state_that_another_vcpu_sets_outlasts_an_earlier_eoi() {
    let mut world = World::ready(2, 4);
    world.write(0, ISPENDR + 4, 1 << 3);
    assert_eq!(world.acknowledge(0), Some(35));
    world.eoi(0, 35);
    world.write(1, ISACTIVER + 4, 1 << 3);
    assert_eq!(world.read(0, ISACTIVER + 4), 1 << 3);
    assert_eq!(world.lr(0, 35).map(|lr| lr & STATE), Some(ACTIVE));
}

#[test]
fn a_timer_un_pended_from_afar_is_deactivated_by_its_own_vcpu() {
    let mut world = World::ready(2, 4);
    world.write_private(0, ICENABLER, 1 << 27);
    world.physical.get_mut(&timer(0)).unwrap().pending = true;
    world.settle();
    assert!(
        world.physical[&timer(0)].active,
        "pending in the model, disabled"
    );
    world.prompt = false;
    write_to_vcpu_0(&mut world, ICPENDR, 1 << 27);
    assert!(
        world.physical[&timer(0)].active,
        "banked: only its own pCPU can"
    );
    world.deliver_kicks();
    assert!(!world.physical[&timer(0)].active);
    assert!(!world.vgic.hardware_in_flight(VcpuId(0), 27));
}

#[test]
fn a_timer_made_active_from_afar_stays_as_its_end_left_the_physical_one() {
    let mut world = World::ready(2, 4);
    world.physical.get_mut(&timer(0)).unwrap().pending = true;
    world.settle();
    assert_eq!(world.acknowledge(0), Some(27));
    world.prompt = false;
    write_to_vcpu_0(&mut world, ISACTIVER, 1 << 27);
    world.eoi(0, 27);
    assert!(!world.physical[&timer(0)].active, "ended by the hardware");
    world.deliver_kicks();
    assert!(!world.vgic.hardware_in_flight(VcpuId(0), 27));
    assert_eq!(world.read_private(0, ISACTIVER), 1 << 27);
}

#[test]
fn what_is_to_be_deactivated_says_whose_it_is() {
    let mut world = World::ready(2, 4);
    world.physical.get_mut(&timer(1)).unwrap().pending = true;
    world.settle();
    world.exit(1);
    let mut fallen = world.vgic.set_ppi_level(VcpuId(1), 27, false);
    fallen.kick = 0;
    let own = Effects {
        vcpu: 1,
        deactivate: 1 << 27,
        ..Effects::NONE
    };
    assert_eq!(fallen, own);
    // The same by the guest's word, when it is disabled and so in no list register.
    let mut world = World::ready(2, 4);
    world.write_private(1, ICENABLER, 1 << 27);
    world.physical.get_mut(&timer(1)).unwrap().pending = true;
    world.settle();
    world.exit(1);
    let at = SGI_FRAME + ICPENDR;
    let mut taken_back = world.vgic.redistributor_write(VcpuId(1), at, 4, 1 << 27);
    taken_back.kick = 0;
    assert_eq!(taken_back, own);
    // And one that is nobody's.
    let nobodys = world.vgic.physical_pending(20, VcpuId(1));
    let deactivate = 1 << 20;
    assert_eq!(nobodys, Effects { deactivate, ..own });
}

#[test]
fn a_second_occurrence_of_an_active_timer_waits_without_hw_and_without_pending() {
    let mut world = World::ready(2, 4);
    world.physical.get_mut(&timer(0)).unwrap().pending = true;
    world.settle();
    assert_eq!(world.acknowledge(0), Some(27));
    world.write_private(0, ISPENDR, 1 << 27);
    assert_eq!(
        world.lr(0, 27).map(|lr| lr & (STATE | HW | EOI)),
        Some(ACTIVE | EOI)
    );
    // Un-pended from afar and ended before the kick comes: no hardware link did it, so the fold does.
    world.prompt = false;
    write_to_vcpu_0(&mut world, ICPENDR, 1 << 27);
    world.eoi(0, 27);
    assert!(world.physical[&timer(0)].active);
    world.deliver_kicks();
    assert!(!world.physical[&timer(0)].active);
    assert_eq!(world.signalled(0), None);
}

#[test]
fn a_group_that_the_guest_unmasks_or_masks_while_others_wait_is_looked_at_again() {
    // 33 in group 0 and 39 in group 1; 33 is the more urgent.
    let mut world = World::ready(1, 1);
    world.write(0, IGROUPR + 4, 1 << 7);
    world.write(0, IPRIORITYR + 32, 0xa0a0_10a0);
    world.cpus[0].vmcr &= !1;
    world.bounce(0);
    world.write(0, ISPENDR + 4, 1 << 1 | 1 << 7);
    world.settle();
    assert_eq!(world.signalled(0), Some(39));
    // Nothing follows when the only group that is on goes off.
    assert_eq!(world.cpus[0].hcr, hcr::VGRP0EIE);
    world.cpus[0].vmcr |= 1;
    world.settle();
    assert_eq!(world.signalled(0), Some(33));
    // NPIE, VGrp0DIE, VGrp1DIE.
    assert_eq!(world.cpus[0].hcr, 1 << 3 | 1 << 5 | 1 << 7);
    world.cpus[0].vmcr &= !1;
    world.settle();
    assert_eq!(world.signalled(0), Some(39));
    // Both off: the first one that comes on again is looked at.
    world.cpus[0].vmcr &= !3;
    world.bounce(0);
    assert_eq!(world.cpus[0].hcr, hcr::VGRP0EIE | hcr::VGRP1EIE);
    world.cpus[0].vmcr |= 1;
    world.settle();
    assert_eq!(world.signalled(0), Some(33));
    assert_eq!(world.cpus[0].hcr, hcr::VGRP1EIE);
}

#[test]
fn an_sgi_pended_again_while_active_is_shown_as_both() {
    let mut world = World::ready(1, 4);
    world.send(0, 3 << 24 | 1);
    assert_eq!(world.acknowledge(0), Some(3));
    world.send(0, 3 << 24 | 1);
    assert_eq!(
        world.lr(0, 3).map(|lr| lr & (STATE | EOI)),
        Some(PENDING | ACTIVE)
    );
    world.eoi(0, 3);
    assert_eq!(world.acknowledge(0), Some(3), "without another exit");
}

#[test]
fn the_level_of_the_timer_is_shown_and_never_delivered() {
    let mut world = World::ready(1, 4);
    world.exit(0);
    _ = world.vgic.set_ppi_level(VcpuId(0), 27, true);
    world.enter(0);
    world.write_private(0, ICENABLER, 1 << 27);
    world.write_private(0, ISENABLER, 1 << 27);
    assert_eq!(world.signalled(0), None);
    assert_eq!(world.read_private(0, ISPENDR), 1 << 27);
}

#[test]
fn triggers_of_sgis_and_of_the_timer_are_fixed() {
    let mut world = World::new(1, 4);
    world.write_private(0, ICFGR, 0);
    assert_eq!(world.read_private(0, ICFGR), 0xaaaa_aaaa);
    world.write_private(0, ICFGR + 4, 0xffff_ffff);
    // PPI 30 is emulated: bit 2 x 14 + 1.
    assert_eq!(world.read_private(0, ICFGR + 4), 1 << 29);
}

#[test]
fn one_more_interrupt_for_the_running_vcpu_needs_neither_fold_nor_refill() {
    let mut world = World::ready(1, 4);
    let timer_level = |world: &mut World, level| {
        world.physical.get_mut(&timer(0)).unwrap().level = level;
        world.settle();
    };
    for round in 1..=3 {
        world.send(0, 3 << 24 | 1);
        assert_eq!(world.acknowledge(0), Some(3));
        timer_level(&mut world, true);
        world.eoi(0, 3);
        assert_eq!(
            world.lr(0, 27).map(|lr| lr & (STATE | HW)),
            Some(PENDING | HW)
        );
        assert_eq!(world.acknowledge(0), Some(27));
        timer_level(&mut world, false);
        world.eoi(0, 27);
        assert_eq!(world.direct_count, 2 * round);
    }
    assert!(!world.physical[&timer(0)].active);
    world.bounce(0);
    assert!(!world.vgic.hardware_in_flight(VcpuId(0), 27));
    assert_eq!(
        world.read_private(0, ISPENDR) | world.read_private(0, ISACTIVER),
        0
    );
}

#[test]
fn the_shortest_way_is_refused_where_something_must_be_weighed() {
    let mut world = World::ready(1, 1);
    world.write_private(0, ICENABLER, 1 << 3);
    assert!(!world.deliver(0, 3, false), "disabled");
    world.write(0, ISPENDR + 4, 1 << 1);
    assert!(!world.deliver(0, 4, false), "no list register is free");
    assert!(!world.deliver(0, 33, false), "still pending there");
    assert_eq!(world.acknowledge(0), Some(33));
    assert!(!world.deliver(0, 33, false), "active there");
    world.eoi(0, 33);
    assert!(world.deliver(0, 33, false));
    assert_eq!(world.acknowledge(0), Some(33));
    world.write(0, GICD_CTLR, 0);
    world.eoi(0, 33);
    assert!(!world.deliver(0, 33, false), "its group is disabled");
}

#[test]
fn a_freed_list_register_is_nobodys_though_it_reads_as_sgi_0() {
    let mut world = World::ready(1, 4);
    assert!(world.deliver(0, 1, false), "into list register 0");
    assert!(world.deliver(0, 0, false), "into list register 1");
    assert_eq!(world.acknowledge(0), Some(1));
    world.eoi(0, 1);
    assert!(world.deliver(0, 1, false), "register 0 is the recent one");
    assert_eq!(world.acknowledge(0), Some(1));
    world.eoi(0, 1);
    // A fold frees list register 0; SGI 0 still pends in list register 1, and comes once more.
    world.bounce(0);
    let _ = world.deliver(0, 0, false);
    world.check_unused(0);
    assert_eq!(world.acknowledge(0), Some(0));
    world.eoi(0, 0);
    assert_eq!(world.acknowledge(0), None);
}

/// vCPU 0 comes to its pCPU, as far as that is done at once; says what it finds, and which list registers were written.
fn come_once(world: &mut World) -> (Coming, u16) {
    let mut written = 0;
    let vmcr = world.cpus[0].vmcr;
    let come = world.vgic.come(VcpuId(0), 27, vmcr, 0, |mask, _| {
        written = mask;
    });
    (come, written)
}

#[test]
fn one_interrupt_comes_to_a_sleeper_where_groups_and_mask_let_it() {
    let comes = |ctlr, vmcr| {
        let mut world = World::ready(1, 4);
        world.write(0, GICD_CTLR, ctlr);
        world.exit(0);
        let register = world.vgic.come_for_one(VcpuId(0), 27, vmcr);
        register.map(|register| register as u16)
    };
    let masked = |priority: u32| OPEN & 0x00ff_ffff | priority << 24;
    for (ctlr, vmcr, found) in [
        (3, OPEN, Some(27)),
        (2, OPEN & !1, Some(27)),
        (1, OPEN, None),
        (3, OPEN & !2, None),
        (1, OPEN & !2, None),
        (3, masked(0xa8), Some(27)),
        (3, masked(0xa0), None),
    ] {
        assert_eq!(comes(ctlr, vmcr), found, "GICD_CTLR {ctlr} VMCR {vmcr:#x}");
    }
}

#[test]
fn a_change_between_the_halves_of_a_coming_is_left_for_later() {
    let mut world = World::ready(2, 4);
    world.write(0, ISPENDR + 4, 0b1111);
    world.exit(0);
    world.prompt = false;
    world.write(1, GICD_CTLR, 2);
    assert!(come_once(&mut world).0.unfinished);
    // All are withdrawn now: to find that is a half of its own.
    world.write(1, GICD_CTLR, 0);
    let (come, written) = come_once(&mut world);
    assert!(!come.unfinished && written == 0b1111);
    assert_eq!(come.held, 0b1111, "nothing was looked at again");
    assert_eq!(come.kick, 1, "but it is to be");
    let held = *world.vgic.list_registers(VcpuId(0));
    let _ = world
        .vgic
        .fold(VcpuId(0), Ends::NONE, |slot| held[slot], |_| ());
    assert_eq!(world.vgic.used_list_registers(VcpuId(0)), 0);
}

/// vCPU 0 is out of the guest, its four list registers hold SGIs 0 to 3, pending, and SPIs 32 to 39 are more urgent than those,
/// each more than the one before.
fn four_least_urgent_are_shown() -> World {
    let mut world = World::ready(2, 4);
    world.write(0, IPRIORITYR + 32, 0x8088_9098);
    world.write(0, IPRIORITYR + 36, 0x6068_7078);
    (0..4).for_each(|intid| world.send(0, intid << 24 | 1));
    world.exit(0);
    world.prompt = false;
    assert_eq!(shown(&world), [0, 1, 2, 3]);
    world
}

/// Returns the INTIDs in vCPU 0's list registers, in order.
fn shown(world: &World) -> Vec<u16> {
    let mut intids = world.held(0);
    intids.sort_unstable();
    intids
}

#[test]
fn a_coming_fills_two_list_registers_at_a_time_the_most_urgent_first() {
    let mut world = four_least_urgent_are_shown();
    world.write(1, ISPENDR + 4, 0b1111_1111);
    let (come, written) = come_once(&mut world);
    assert!(come.unfinished && written == 0);
    assert_eq!(shown(&world)[2..], [38, 39]);
    let (come, written) = come_once(&mut world);
    assert!(!come.unfinished && written == 0b1111);
    assert_eq!(shown(&world), [36, 37, 38, 39]);
    assert_eq!(come.kick, 0, "nothing is left for later");
}

#[test]
fn a_coming_ends_though_something_more_urgent_comes_in_between() {
    let mut world = four_least_urgent_are_shown();
    world.write(1, ISPENDR + 4, 0b111);
    assert!(come_once(&mut world).0.unfinished);
    assert_eq!(shown(&world)[2..], [33, 34]);
    world.write(1, ISPENDR + 4, 0b11_1000);
    let (come, _) = come_once(&mut world);
    assert!(!come.unfinished, "as many were filled as there are");
    assert_eq!(shown(&world), [33, 34, 36, 37]);
    assert_eq!(come.kick, 1, "35 is left for later");
    let held = *world.vgic.list_registers(VcpuId(0));
    let _ = world
        .vgic
        .fold(VcpuId(0), Ends::NONE, |slot| held[slot], |_| ());
    assert!(!come_once(&mut world).0.unfinished);
    assert_eq!(shown(&world), [34, 35, 36, 37]);
}
