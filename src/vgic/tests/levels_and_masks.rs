//! The rules about levels, read-back, spilled and masked interrupts, by their numbers in the list of isolation faults,
//! and what else a partition must be able to rely on.

use super::super::list_register::{ACTIVE, PENDING, STATE};
use super::super::{CpuInterface, Effects, SgiGroup, SpiBank, Vgic, hcr};
use super::world::*;
use crate::ids::VcpuId;

#[test]
fn b10_a_line_that_fell_before_the_acknowledge_is_not_delivered() {
    let mut world = World::ready(1, 4);
    world.line(34, true);
    assert_eq!(world.signalled(0), Some(34));
    world.line(34, false);
    assert_eq!(world.signalled(0), None);
    assert_eq!(world.read(0, ISPENDR + 4), 0);
}

#[test]
fn b10_a_line_that_fell_before_the_eoi_is_not_delivered_again_and_one_that_stays_is() {
    let mut world = World::ready(1, 4);
    world.line(34, true);
    assert_eq!(world.acknowledge(0), Some(34));
    world.line(34, false);
    world.eoi(0, 34);
    world.settle();
    assert_eq!((world.signalled(0), world.maintenance_count), (None, 0));
    world.line(34, true);
    assert_eq!(world.acknowledge(0), Some(34));
    world.eoi(0, 34);
    world.settle();
    assert_eq!((world.signalled(0), world.maintenance_count), (Some(34), 1));
}

#[test]
fn b10_a_physical_line_that_stays_high_is_delivered_again() {
    let mut world = World::ready(1, 4);
    world.physical.get_mut(&42).unwrap().level = true;
    for _ in 0..3 {
        world.settle();
        assert_eq!(world.acknowledge(0), Some(42));
        assert!(!world.physical[&42].signals(), "still active");
        world.eoi(0, 42);
    }
    world.physical.get_mut(&42).unwrap().level = false;
    world.settle();
    assert_eq!(world.signalled(0), None);
}

#[test]
fn b10_the_virtual_timers_level_shows_as_pending() {
    let mut world = World::ready(1, 4);
    world.exit(0);
    _ = world.vgic.set_ppi_level(VcpuId(0), 27, true);
    assert_eq!(world.read_private(0, ISPENDR), 1 << 27);
    assert_eq!(
        world.signalled(0),
        None,
        "delivery waits for the physical interrupt"
    );
    world.exit(0);
    _ = world.vgic.set_ppi_level(VcpuId(0), 27, false);
    assert_eq!(world.read_private(0, ISPENDR), 0);
}

#[test]
fn b10_a_timer_that_fell_before_the_acknowledge_is_released() {
    let mut world = World::ready(1, 4);
    world.physical.get_mut(&timer(0)).unwrap().level = true;
    world.settle();
    assert_eq!(world.signalled(0), Some(27));
    world.physical.get_mut(&timer(0)).unwrap().level = false;
    world.exit(0);
    let effects = world.vgic.set_ppi_level(VcpuId(0), 27, false);
    world.apply(effects);
    world.enter(0);
    assert_eq!(world.signalled(0), None);
    assert!(!world.physical[&timer(0)].active);
    assert!(!world.vgic.hardware_in_flight(VcpuId(0), 27));
}

#[test]
fn b11_the_guest_reads_back_what_it_wrote() {
    let mut world = World::ready(1, 4);
    world.write_private(0, ICENABLER, 0xffff_ffff);
    world.write_private(0, ISENABLER, 1 << 27 | 1);
    world.physical.get_mut(&timer(0)).unwrap().level = true;
    world.settle();
    assert_eq!(world.read_private(0, ISENABLER), 1 << 27 | 1);
    world.write_private(0, IPRIORITYR + 24, 0xff12_3456);
    assert_eq!(
        world.read_private(0, IPRIORITYR + 24),
        0xf800_0000,
        "27 exists, 24..=26 do not"
    );
    world.write(0, IPRIORITYR + 40, 0x0703_9fa8);
    assert_eq!(world.read(0, IPRIORITYR + 40), 0x0000_98a8);
    assert_eq!(world.vgic.distributor_read(IPRIORITYR + 41, 1), 0x98);
    world.write(0, ICFGR + 8, 0xffff_ffff);
    assert_eq!(world.read(0, ICFGR + 8), 0xaaaa_aaaa);
}

#[test]
fn b12_a_timer_in_flight_is_known_until_the_guest_deactivates_it() {
    let mut world = World::ready(2, 4);
    world.physical.get_mut(&timer(1)).unwrap().level = true;
    world.settle();
    assert!(world.vgic.hardware_in_flight(VcpuId(1), 27));
    assert!(!world.vgic.hardware_in_flight(VcpuId(0), 27));
    assert_eq!(world.acknowledge(1), Some(27));
    world.exit(1);
    assert!(world.vgic.hardware_in_flight(VcpuId(1), 27));
    world.enter(1);
    world.physical.get_mut(&timer(1)).unwrap().level = false;
    world.eoi(1, 27);
    world.exit(1);
    assert!(!world.vgic.hardware_in_flight(VcpuId(1), 27));
}

#[test]
fn b12_enabling_the_timers_interrupt_leaves_the_physical_one_alone() {
    let mut world = World::new(1, 4);
    for offset in [ISENABLER, ICENABLER, ISPENDR, ICPENDR] {
        let at = SGI_FRAME + offset;
        let effects = world.vgic.redistributor_write(VcpuId(0), at, 4, 1 << 27);
        assert!(!effects.is_physical(), "{offset:#x}");
    }
}

#[test]
fn b13_a_spilled_active_interrupt_is_deactivated_by_eoi_and_by_dir() {
    for by_dir in [false, true] {
        let mut world = World::ready(1, 1);
        world.write(0, IPRIORITYR + 32, 0x2000_a000);
        world.physical.get_mut(&41).unwrap().pending = true;
        world.settle();
        assert_eq!(world.acknowledge(0), Some(41));
        world.write(0, ISPENDR + 4, 1 << 3);
        assert_eq!(world.acknowledge(0), Some(35));
        assert_eq!(world.lr(0, 41), None);
        assert_eq!(world.cpus[0].hcr, hcr::LRENPIE | hcr::TDIR);
        assert_eq!(world.read(0, ISACTIVER + 4), 1 << 3 | 1 << 9);
        if by_dir {
            world.cpus[0].drop_priority();
            world.cpus[0].drop_priority();
            world.dir(0, 41);
            assert!(!world.physical[&41].active, "the physical one with it");
            world.dir(0, 35);
        } else {
            world.eoi(0, 35);
            world.eoi(0, 41);
        }
        world.settle();
        assert!(!world.physical[&41].active);
        assert_eq!(world.read(0, ISACTIVER + 4), 0);
        assert_eq!(world.cpus[0].hcr, 0);
    }
}

/// Lets a guest with one list register take an interrupt, change its priority or its group (`register`), and end it; when
/// `spilled` 37 comes in between and pushes it out.
fn change_while_active(intid: u16, spilled: bool, register: u64) -> World {
    let mut world = World::ready(1, 1);
    world.write(0, ISPENDR + 4, 1 << (intid - 32));
    world.settle();
    assert_eq!(world.acknowledge(0), Some(intid));
    if spilled {
        world.write(0, IPRIORITYR + 36, 0xa0a0_20a0);
        world.write(0, ISPENDR + 4, 1 << 5);
        assert_eq!(world.acknowledge(0), Some(37));
    }
    match register {
        IPRIORITYR => world.write(0, IPRIORITYR + u64::from(intid & !3), 0x4040_4040),
        _ => world.write(0, IGROUPR + 4, 0),
    }
    world.settle();
    if spilled {
        world.eoi(0, 37);
        world.settle();
    }
    world.eoi(0, intid);
    world.settle();
    world
}

#[test]
fn b13_an_end_is_known_by_what_was_taken_not_by_what_registers_say_since() {
    for case in 0..8 {
        // 41 has hardware, 35 has none.
        let intid = [35, 41][case & 1];
        let (spilled, group) = (case & 2 != 0, case & 4 != 0);
        let register = if group { IGROUPR } else { IPRIORITYR };
        let mut world = change_while_active(intid, spilled, register);
        assert_eq!(world.read(0, ISACTIVER + 4), 0, "case {case}");
        assert!(!world.physical[&41].active, "case {case}");
        // The next one comes as the registers say: at priority 0xa0 in group 0, or at 0x40 in group 1.
        world.write(0, ISPENDR + 4, 1 << (intid - 32));
        world.settle();
        assert_eq!(world.acknowledge(0), Some(intid), "case {case}");
        let expected = if group { [1 << 20, 0] } else { [0, 1 << 8] };
        assert_eq!(world.cpus[0].active, expected, "case {case}");
    }
}

#[test]
fn b13_an_end_means_what_was_taken_not_what_software_made_active() {
    let mut world = World::ready(1, 1);
    world.write(0, ISPENDR + 4, 1 << 1);
    assert_eq!(world.acknowledge(0), Some(33));
    // 35 is more urgent, but nobody took it; 37 pushes 33 out.
    world.write(0, IPRIORITYR + 32, 0x20a0_a0a0);
    world.write(0, IPRIORITYR + 36, 0xa0a0_10a0);
    world.write(0, ISACTIVER + 4, 1 << 3);
    world.write(0, ISPENDR + 4, 1 << 5);
    assert_eq!(world.acknowledge(0), Some(37));
    world.eoi(0, 37);
    world.eoi(0, 33);
    world.settle();
    assert_eq!(world.read(0, ISACTIVER + 4), 1 << 3);
    world.write(0, ICACTIVER + 4, 1 << 3);
    assert_eq!(world.read(0, ISACTIVER + 4), 0);
}

#[test]
fn b14_what_the_guest_masks_does_not_keep_others_out() {
    let mut world = World::ready(1, 2);
    world.cpus[0].vmcr &= !1;
    // 33, 35, 37 more urgent and in group 0, which the guest's CPU interface masks; 39 in group 1.
    world.write(0, IGROUPR + 4, 1 << 7);
    world.write(0, IPRIORITYR + 32, 0x1000_1000);
    world.write(0, IPRIORITYR + 36, 0xa000_1000);
    world.write(0, ISPENDR + 4, 0b0010_1010);
    world.write(0, ISPENDR + 4, 0b1000_0000);
    world.settle();
    assert_eq!(world.signalled(0), Some(39));
    world.cpus[0].vmcr |= 1;
    world.settle();
    assert_eq!(world.signalled(0).map(|intid| intid < 39), Some(true));
}

#[test]
fn b14_wfi_asks_priority_mask_groups_and_running_priority() {
    let mut world = World::ready(1, 4);
    let ask = |world: &World, vmcr, active| world.vgic.would_signal(VcpuId(0), vmcr, 0, active);
    assert!(!ask(&world, OPEN, 0));
    world.write(0, ISPENDR + 4, 1 << 1);
    world.exit(0);
    assert!(ask(&world, OPEN, 0), "priority a0, group 1");
    assert!(!ask(&world, OPEN & !2, 0), "group 1 masked");
    assert!(
        !ask(&world, OPEN & 0x00ff_ffff | 0xa0 << 24, 0),
        "mask at a0"
    );
    assert!(
        ask(&world, OPEN & 0x00ff_ffff | 0xa8 << 24, 0),
        "mask above a0"
    );
    assert!(ask(&world, OPEN, 1 << 0x15), "running at a8");
    assert!(!ask(&world, OPEN, 1 << 0x14), "running at a0");
    assert!(
        !ask(&world, OPEN & !(7 << 18) | 6 << 18, 1 << 0x10),
        "80 is the same group as a0"
    );
}

#[test]
fn wfi_counts_what_waits_outside_of_the_list_registers() {
    let mut world = World::ready(1, 1);
    world.write(0, ISPENDR + 4, 1 << 1);
    world.acknowledge(0);
    world.exit(0);
    let effects = world.vgic.distributor_write(IPRIORITYR + 35, 1, 0x20);
    assert_eq!(effects, Effects::NONE);
    let effects = world.vgic.distributor_write(ISPENDR + 4, 4, 1 << 3);
    assert_eq!(effects.kick, 1);
    assert!(world.vgic.would_signal(VcpuId(0), OPEN, 0, 1 << 0x14));
}

#[test]
fn an_sgi_sent_again_after_the_acknowledge_is_not_lost() {
    let mut world = World::ready(2, 4);
    world.send(0, 2 << 24 | 0b10);
    assert_eq!(world.acknowledge(1), Some(2));
    // vCPU 1 is still in the guest: the model has not seen the acknowledge.
    world.send(0, 2 << 24 | 0b10);
    assert_eq!(world.lr(1, 2).map(|lr| lr & STATE), Some(PENDING | ACTIVE));
    world.eoi(1, 2);
    assert_eq!(world.acknowledge(1), Some(2));
    world.eoi(1, 2);
    assert_eq!(world.signalled(1), None);
}

#[test]
fn a_reset_leaves_nothing_but_what_the_guest_owns() {
    let mut world = World::ready(2, 2);
    world.write(0, ISPENDR + 4, 0xff);
    world.acknowledge(0);
    world.write(0, ICFGR + 8, 0xffff_ffff);
    world.access(0, 0, |vgic| vgic.distributor_write(0x6000 + 8 * 33, 8, 1));
    (0..2).for_each(|vcpu| world.exit(vcpu));
    // Twice: a second life leaves nothing to the third either.
    world.vgic.reset();
    world.vgic.reset();
    let refill = world.vgic.refill(VcpuId(0), OPEN);
    assert_eq!(
        (refill.changed, refill.hcr),
        (0xffff, 0),
        "all list registers are written"
    );
    assert_eq!(world.vgic.list_registers(VcpuId(0)), &[0; 16]);
    for offset in [IGROUPR, ISENABLER, ISPENDR, ISACTIVER, IPRIORITYR + 28] {
        assert_eq!(world.vgic.distributor_read(offset + 4, 4), 0, "{offset:#x}");
    }
    assert_eq!(
        world.vgic.distributor_read(ICFGR + 8, 4),
        0x8888_8888,
        "odd ones edge-triggered"
    );
    assert_eq!(world.vgic.spi_target(33), Some(VcpuId(0)));
    assert_eq!(
        world.vgic.redistributor_read(VcpuId(0), 0x14, 4),
        6,
        "asleep"
    );
    assert_eq!(world.vgic.hardware_spis(0), Some(0xff00), "40 to 47");
}

#[test]
fn a_reset_has_a_step_for_each_vcpu_and_each_bank() {
    let mut world = World::ready(3, 2);
    let more = [0, 1, 2, 3, 4].map(|step| world.vgic.reset_step(step));
    assert_eq!(
        more,
        [true, true, true, true, false],
        "two banks, three vCPUs"
    );
    let mut cpus = [CpuInterface::new()];
    let mut vgic = Vgic::new(&mut cpus, &mut [], 4);
    assert!(!vgic.reset_step(0));
}

#[test]
fn a_line_that_falls_in_the_middle_of_a_reset_leaves_nothing_to_the_next_life() {
    // Of the lines that are high one is in the list register, and the others wait in a list with an SGI.
    let end = |fallen: Option<(usize, u16)>, v2: bool| {
        let mut world = World::ready_of_version(2, 1, v2);
        (0..2).for_each(|vcpu| world.exit(vcpu));
        for intid in [32, 34, 36, 38] {
            let _ = world.vgic.set_line(intid, None, true);
        }
        let _ = world.vgic.sgi(VcpuId(0), 1, SgiGroup::Group1);
        for step in 0.. {
            if let Some((at, intid)) = fallen
                && at == step
            {
                let _ = world.vgic.set_line(intid, None, false);
            }
            if !world.vgic.reset_step(step) {
                break;
            }
        }
        format!("{:?}", world.vgic)
    };
    for v2 in [false, true] {
        for at in 0..4 {
            for intid in [32, 34, 36, 38] {
                let fallen = end(Some((at, intid)), v2);
                assert_eq!(fallen, end(None, v2), "{intid} before step {at}");
            }
        }
    }
}

#[test]
fn a_reset_routes_spis_to_nobody_where_a_gicv2_has_a_choice() {
    for (vcpus, target) in [(1, Some(VcpuId(0))), (2, None)] {
        let mut world = World::ready_of_version(vcpus, 2, true);
        assert_eq!(world.vgic.spi_target(33), Some(VcpuId(0)));
        world.vgic.reset();
        assert_eq!(world.vgic.spi_target(33), target, "{vcpus} vCPUs");
    }
}

#[test]
fn a_vgic_without_spis_or_with_too_much_memory_holds() {
    let mut cpus = vec![CpuInterface::new(); 20];
    let mut vgic = Vgic::new(&mut cpus, &mut [], 99);
    assert!(
        !vgic.own_spi(32, false, false) && !vgic.own_ppi(15, false) && !vgic.own_ppi(32, false)
    );
    assert_eq!(vgic.distributor_read(4, 4) & 0x1f, 0);
    assert_eq!(
        vgic.redistributor_read(VcpuId(15), 8, 8) >> 4 & 1,
        1,
        "sixteen are kept"
    );
    let mut cpus = [CpuInterface::new()];
    let mut spis = vec![SpiBank::new(); 40];
    let mut vgic = Vgic::new(&mut cpus, &mut spis, 0);
    assert!(vgic.own_spi(1019, true, true) && !vgic.own_spi(1020, true, true));
    assert_eq!(vgic.distributor_read(4, 4) & 0x1f, 31);
}
