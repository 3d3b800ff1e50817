//! The rules that virtual GICs most often break, by their numbers in the list of isolation faults (A and B).

use super::super::list_register::{ACTIVE, HW, STATE};
use super::super::{Effects, Route, SgiGroup};
use super::world::*;
use crate::ids::VcpuId;

#[test]
fn a6_reserved_sgi_values_name_nobody() {
    let mut world = World::ready(2, 4);
    for value in [
        0x01u64 << 16 | 3, // Aff1 = 1
        1 << 32 | 3,       // Aff2 = 1
        1 << 48 | 3,       // Aff3 = 1
        1 << 44 | 3,       // RS = 1: Aff0 16..=31
        0,                 // empty list
    ] {
        let effects = world.vgic.sgi(VcpuId(0), value, SgiGroup::Group1);
        assert_eq!(effects, Effects::NONE, "{value:#x}");
    }
}

#[test]
fn a7_sgi_targets_past_the_last_vcpu_are_ignored() {
    let mut world = World::ready(2, 4);
    let effects = world
        .vgic
        .sgi(VcpuId(0), 5 << 24 | 0xfffe, SgiGroup::Group1);
    assert_eq!(effects.kick, 0b10);
    let everyone_else = world
        .vgic
        .sgi(VcpuId(1), 1 << 40 | 6 << 24, SgiGroup::Group1);
    assert_eq!(everyone_else.kick, 0b01);
}

#[test]
fn a8_disabling_takes_a_pending_interrupt_back_and_enabling_brings_it_again() {
    let mut world = World::ready(1, 1);
    world.write(0, ISPENDR + 4, 1 << 1);
    assert_eq!(world.signalled(0), Some(33));
    world.write(0, ICENABLER + 4, 1 << 1);
    assert_eq!(world.signalled(0), None);
    assert_eq!(world.read(0, ISPENDR + 4), 1 << 1);
    world.write(0, ISENABLER + 4, 1 << 1);
    assert_eq!(world.acknowledge(0), Some(33));
    world.eoi(0, 33);
    assert_eq!(world.read(0, ISPENDR + 4), 0);
    assert_eq!(world.read(0, ISACTIVER + 4), 0);
}

#[test]
fn doorbells_merge_while_pending_and_ring_again_after_the_acknowledge() {
    let mut world = World::ready(2, 2);
    let kicks: Vec<u16> = (0..3).map(|_| world.ring(35)).collect();
    assert_eq!(kicks[0], 1);
    world.bounce(0);
    assert_eq!(world.acknowledge(0), Some(35));
    assert_eq!(world.acknowledge(0), None);
    // While the handler runs: once more, and only once.
    world.ring(35);
    world.ring(35);
    world.bounce(0);
    world.eoi(0, 35);
    world.bounce(0);
    assert_eq!(world.acknowledge(0), Some(35));
    world.eoi(0, 35);
    world.bounce(0);
    assert_eq!(world.signalled(0), None);
}

#[test]
fn doorbells_ring_nothing_that_is_disabled_physical_private_or_not_there() {
    let mut world = World::ready(1, 2);
    world.write(0, ICENABLER + 4, 1 << 3);
    for intid in [35, 35, 41, 5, 27, 63, 1019] {
        assert_eq!(world.ring(intid), 0, "{intid}");
    }
    assert_eq!(world.signalled(0), None);
    world.write(0, ISENABLER + 4, 1 << 3);
    assert_eq!(world.acknowledge(0), Some(35));
}

#[test]
fn b1_disabled_while_active_still_deactivates_the_physical_interrupt() {
    let mut world = World::ready(1, 4);
    world.physical.get_mut(&41).unwrap().pending = true;
    world.settle();
    assert_eq!(world.acknowledge(0), Some(41));
    world.write(0, ICENABLER + 4, 1 << 9);
    world.bounce(0);
    assert_eq!(
        world.lr(0, 41).map(|lr| lr & (STATE | HW)),
        Some(ACTIVE | HW)
    );
    world.eoi(0, 41);
    assert!(!world.physical[&41].active);
    assert!(!world.physical[&41].enabled);
}

#[test]
fn b2_all_active_and_one_more_pending_evicts_the_least_urgent_without_a_storm() {
    let mut world = World::ready(1, 2);
    // 33 at 0x80, 35 at 0x40, 37 at 0x20: each preempts the one before.
    world.write(0, IPRIORITYR + 32, 0xa0a0_80a0);
    world.write(0, IPRIORITYR + 32, 0x4000_8000);
    world.write(0, IPRIORITYR + 36, 0x0000_2000);
    for intid in [33u16, 35, 37] {
        world.write(0, ISPENDR + 4, 1 << (intid - 32));
        world.settle();
        assert_eq!(world.acknowledge(0), Some(intid));
        world.settle();
    }
    assert_eq!(world.lr(0, 33), None, "the least urgent gave way");
    assert!(world.lr(0, 35).is_some() && world.lr(0, 37).is_some());
    assert!(world.maintenance_count <= 3);
    for intid in [37, 35, 33] {
        world.eoi(0, intid);
        world.settle();
    }
    assert_eq!(world.read(0, ISACTIVER + 4), 0);
}

#[test]
fn b2_less_urgent_than_all_active_waits_without_a_storm() {
    let mut world = World::ready(1, 1);
    world.write(0, ISPENDR + 4, 1 << 1);
    assert_eq!(world.acknowledge(0), Some(33));
    world.write(0, ISPENDR + 4, 0b1010_1000);
    world.settle();
    assert!(world.maintenance_count <= 2);
    world.eoi(0, 33);
    for _ in 0..3 {
        world.settle();
        let intid = world.acknowledge(0).unwrap();
        world.settle();
        world.eoi(0, intid);
    }
    world.settle();
    assert_eq!(world.signalled(0), None);
    assert_eq!(world.read(0, ISPENDR + 4) | world.read(0, ISACTIVER + 4), 0);
}

#[test]
fn b3_pended_while_disabled_is_shown_and_delivered_when_enabled() {
    let mut world = World::ready(1, 4);
    world.write(0, ICENABLER + 4, 0xffff_ffff);
    world.write(0, ISPENDR + 4, 1 << 3 | 1 << 9);
    assert_eq!(
        world.read(0, ISPENDR + 4),
        1 << 3 | 1 << 9,
        "35 emulated, 41 physical"
    );
    assert_eq!(world.signalled(0), None);
    world.write(0, ISENABLER + 4, 1 << 3);
    assert_eq!(world.acknowledge(0), Some(35));
    assert_eq!(
        world.read(0, ISACTIVER + 4),
        1 << 3,
        "shown from the list register"
    );
    assert_eq!(world.read(0, ISPENDR + 4), 1 << 9);
    world.eoi(0, 35);
    world.write(0, ISENABLER + 4, 1 << 9);
    world.settle();
    assert_eq!(world.acknowledge(0), Some(41));
}

#[test]
fn b4_nothing_is_signalled_before_the_guest_enables_its_groups() {
    let mut world = World::ready(2, 4);
    world.write(0, GICD_CTLR, 0);
    world.write(0, ISPENDR + 4, 1 << 1);
    world.send(0, 1 << 24 | 0b11);
    world.physical.get_mut(&timer(0)).unwrap().level = true;
    world.settle();
    assert!(
        world
            .cpus
            .iter()
            .all(|cpu| cpu.lr.iter().all(|lr| lr & STATE == 0))
    );
    assert!(!world.vgic.would_signal(VcpuId(0), OPEN, 0, 0));
    world.write(0, GICD_CTLR, 1);
    assert_eq!(world.signalled(0), None, "all are in group 1");
    world.write(0, GICD_CTLR, 2);
    assert!(world.signalled(0).is_some() && world.signalled(1) == Some(1));
    world.write(0, GICD_CTLR, 0);
    assert_eq!(world.signalled(1), None, "taken back");
    world.write(0, GICD_CTLR, 3);
    assert_eq!(world.signalled(1), Some(1));
}

#[test]
fn b5_irouter_takes_64_bits_or_two_halves_and_drops_the_any_cpu_bit() {
    let mut world = World::ready(2, 4);
    let router = 0x6000 + 8 * 41;
    let effects = world.vgic.distributor_write(router, 8, 1 << 31 | 1);
    let to_1 = Route {
        intid: 41,
        vcpu: Some(VcpuId(1)),
    };
    assert_eq!(effects.route, Some(to_1));
    assert_eq!(world.vgic.distributor_read(router, 8), 1);
    _ = world.vgic.distributor_write(router, 4, 1);
    assert_eq!(world.vgic.distributor_read(router, 8), 1, "no Aff3");
    _ = world.vgic.distributor_write(router + 4, 4, 0xff);
    assert_eq!(world.vgic.distributor_read(router, 8), 0xff_0000_0001);
    assert_eq!(world.vgic.spi_target(41), None, "Aff3 names nobody");
    _ = world.vgic.distributor_write(router, 4, 0x0102_0301);
    assert_eq!(world.vgic.distributor_read(router, 4), 0x0002_0301);
    assert_eq!(world.vgic.distributor_read(router + 4, 4), 0xff);
    _ = world.vgic.distributor_write(router, 8, 0);
    assert_eq!(world.vgic.spi_target(41), Some(VcpuId(0)));
}

#[test]
fn b5_another_vcpus_redistributor_can_be_read_and_written() {
    let mut world = World::ready(2, 4);
    world.access(0, ISPENDR, |vgic| {
        vgic.redistributor_write(VcpuId(1), SGI_FRAME + ISPENDR, 4, 1 << 30)
    });
    assert_eq!(world.signalled(1), Some(30));
    assert_eq!(world.signalled(0), None);
    assert_eq!(
        world
            .vgic
            .redistributor_read(VcpuId(1), SGI_FRAME + ISPENDR, 4),
        1 << 30
    );
}

#[test]
fn b5_a_route_change_moves_a_pending_interrupt_and_leaves_an_active_one() {
    let mut world = World::ready(2, 4);
    world.write(0, ISPENDR + 4, 1 << 1 | 1 << 3);
    assert_eq!(world.acknowledge(0), Some(33));
    for intid in [33, 35] {
        world.access(0, 0, |vgic| {
            vgic.distributor_write(0x6000 + 8 * intid, 8, 1)
        });
    }
    assert_eq!(world.signalled(1), Some(35));
    world.eoi(0, 33);
    assert_eq!(world.signalled(0), None);
    world.write(0, ISPENDR + 4, 1 << 1);
    world.cpus[1]
        .lr
        .iter()
        .for_each(|lr| assert_ne!(lr & STATE, STATE));
    assert!(world.lr(1, 33).is_some() && world.lr(0, 33).is_none());
}

#[test]
fn b6_routing_goes_by_affinity() {
    let mut world = World::ready(16, 4);
    world.send(0, 3 << 24 | 1 << 15 | 1 << 9);
    assert_eq!(
        (world.signalled(15), world.signalled(9)),
        (Some(3), Some(3))
    );
    assert_eq!(world.signalled(8), None);
    world.access(0, 0, |vgic| vgic.distributor_write(0x6000 + 8 * 33, 8, 15));
    assert_eq!(world.vgic.spi_target(33), Some(VcpuId(15)));
    world.access(0, 0, |vgic| {
        vgic.distributor_write(0x6000 + 8 * 33, 8, 0x10f)
    });
    assert_eq!(world.vgic.spi_target(33), None);
    assert_eq!(
        world.vgic.redistributor_read(VcpuId(15), 8, 8),
        15 << 32 | 15 << 8 | 1 << 4
    );
    assert_eq!(
        world.vgic.redistributor_read(VcpuId(3), 8, 8),
        3 << 32 | 3 << 8
    );
}

#[test]
fn b7_an_interrupt_without_an_active_physical_one_never_has_hw() {
    let mut world = World::ready(1, 4);
    world.send(0, 1);
    world.write(0, ISPENDR + 4, 1 << 1);
    world.write_private(0, ISPENDR, 1 << 27);
    assert!(
        world.cpus[0].lr.iter().all(|lr| lr & HW == 0),
        "{:x?}",
        world.cpus[0].lr
    );
    assert!(
        world.lr(0, 27).is_some(),
        "software pended the timer's interrupt"
    );
    world.write(0, ISPENDR + 4, 1 << 9);
    world.settle();
    assert_eq!(world.lr(0, 41).map(|lr| lr >> 32 & 0x1fff), Some(41));
    assert_eq!(world.lr(0, 41).map(|lr| lr & HW), Some(HW));
}

#[test]
fn b8_a_physical_interrupt_between_fold_and_refill_is_delivered() {
    let mut world = World::ready(1, 4);
    world.exit(0);
    world.physical.get_mut(&41).unwrap().active = true;
    let effects = world.vgic.physical_pending(41, VcpuId(0));
    assert_eq!(effects.kick, 1);
    world.enter(0);
    assert_eq!(world.signalled(0), Some(41));
}

#[test]
fn b8_a_physical_interrupt_that_the_guest_disabled_meanwhile_stays_pending() {
    let mut world = World::ready(1, 4);
    world.write(0, ICENABLER + 4, 1 << 9);
    world.physical.get_mut(&41).unwrap().active = true;
    _ = world.vgic.physical_pending(41, VcpuId(0));
    world.bounce(0);
    assert_eq!(world.signalled(0), None);
    assert_eq!(world.read(0, ISPENDR + 4), 1 << 9);
    world.write(0, ISENABLER + 4, 1 << 9);
    assert_eq!(world.acknowledge(0), Some(41));
}

#[test]
fn b8_an_interrupt_of_nobody_is_deactivated_again() {
    let mut world = World::ready(1, 4);
    let effects = world.vgic.physical_pending(60, VcpuId(0));
    assert_eq!((effects.first, effects.deactivate), (32, 1 << 28));
    let far = world.vgic.physical_pending(1000, VcpuId(0));
    assert_eq!((far.first, far.deactivate), (992, 1 << 8));
}

#[test]
fn b9_legacy_targets_read_as_zero_and_ignore_writes() {
    let mut world = World::ready(2, 4);
    world.write(0, 0x800 + 32, 0xffff_ffff);
    assert_eq!(world.read(0, 0x800 + 32), 0);
    world.write(0, 0xf00, 0x0003_0001);
    assert_eq!((world.signalled(0), world.signalled(1)), (None, None));
}
