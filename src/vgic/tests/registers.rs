//! Registers against a file of plain fields, and those that say who the controller is.

use super::super::{CpuInterface, Effects, Route, SpiBank, Vgic};
use super::map::Compared;
use super::world::*;
use crate::ids::VcpuId;

/// Every access of the file's that writes: its width, as bits 2:1 say, at any offset.
const WRITES: [u8; 4] = [0x11, 0x13, 0x15, 0x17];
/// The frame of a redistributor instead of the distributor.
const PRIVATE: u8 = 8;

#[test]
fn every_register_of_a_gicv3_reads_what_was_written_and_no_other_does() {
    let mut file = Compared::new(2);
    let shared = (0..0x480)
        .chain(0xbf8..0xd08)
        .chain(0x60f8..0x6190)
        .chain(0x7fd8..0x8008);
    let private = (0..0x480).chain(0xbf8..0xc10);
    let accesses = shared
        .map(|offset: u16| (0, offset))
        .chain(private.map(|offset| (PRIVATE, offset)));
    for (frame, offset) in accesses {
        for write in WRITES {
            let [low, high] = offset.to_le_bytes();
            let value = u32::from(offset).wrapping_mul(0x9e37_79b9);
            let [a, b, c, d] = value.to_le_bytes();
            // Of vCPU 1, by vCPU 0.
            file.access(&[write | frame, 1, low, high, a, b, c, d]);
        }
    }
    file.compare_all();
}

#[test]
fn the_last_spi_has_a_route() {
    let (mut cpus, mut spis) = (vec![CpuInterface::new(); 2], vec![SpiBank::new(); 31]);
    let mut vgic = Vgic::new(&mut cpus, &mut spis, 4);
    assert!(vgic.own_spi(1019, true, false) && !vgic.own_spi(1020, true, false));
    let last = 0x7fd8;
    let _ = vgic.distributor_write(last, 8, 1);
    let read = |offset, width| vgic.distributor_read(offset, width);
    assert_eq!((read(last, 8), read(last, 4)), (1, 1));
    assert_eq!(vgic.spi_target(1019), Some(VcpuId(1)));
}

#[test]
fn a_redistributors_control_frame_says_who_it_is_and_whether_it_sleeps() {
    let world = World::new(2, 4);
    let read = |offset: u64| world.vgic.redistributor_read(VcpuId(1), offset, 4);
    let there: Vec<_> = (0..SGI_FRAME).filter(|&at| read(at) != 0).collect();
    let identification = [
        0xffd0, 0xffe0, 0xffe4, 0xffe8, 0xfff0, 0xfff4, 0xfff8, 0xfffc,
    ];
    assert_eq!(there[..4], [4, 8, 0xc, 0x14]);
    assert_eq!(there[4..], identification);
    assert_eq!(read(4), 0x4200_043b, "GICR_IIDR");
    assert_eq!(world.vgic.distributor_read(8, 4), 0x4200_043b, "GICD_IIDR");
}

#[test]
fn accesses_from_4_gib_on_reach_no_redistributor() {
    let mut world = World::ready(1, 4);
    let far = 1 << 32 | SGI_FRAME | ICENABLER;
    let effects = world
        .vgic
        .redistributor_write(VcpuId(0), far, 4, 0xffff_ffff);
    assert_eq!(effects, Effects::NONE);
    assert_eq!(world.vgic.redistributor_read(VcpuId(0), far, 4), 0);
    assert_eq!(world.read_private(0, ISENABLER), 1 << 30 | 1 << 27 | 0xffff);
}

#[test]
fn quick_reads_are_those_of_control_groups_and_enables_and_come_to_the_same() {
    let mut world = World::ready(1, 4);
    world.write(0, GICD_CTLR, 2);
    world.write(0, IGROUPR + 4, 0x5555);
    world.write(0, ICENABLER + 4, 0x00f0);
    world.write(0, ISPENDR + 4, 0x000f);
    let mut quick = Vec::new();
    for offset in (0..0x420).chain([0xc08, 0x6100, 0xffe8, u32::MAX]) {
        if let Some(value) = world.vgic.quick_read(offset) {
            let general = world.vgic.distributor_read(offset.into(), 4);
            assert_eq!(u64::from(value), general, "{offset:#x}");
            quick.push(offset);
        }
    }
    assert_eq!(quick, [0, 0x84, 0x88, 0x104, 0x108, 0x184, 0x188]);
}

#[test]
fn a_new_route_is_told_of_what_has_hardware_behind_it() {
    for v2 in [false, true] {
        let mut world = World::ready_of_version(2, 4, v2);
        let mut route = |intid: u16, nobody| {
            let at = u64::from(intid);
            match v2 {
                true => {
                    let targets = if nobody { 0 } else { 2 };
                    world
                        .vgic
                        .banked_write(VcpuId(0), ITARGETSR + at, 1, targets)
                }
                false => {
                    let affinity = if nobody { 0x200 } else { 1 };
                    world.vgic.distributor_write(0x6000 + 8 * at, 8, affinity)
                }
            }
        };
        let told = |vcpu| Effects {
            first: 32,
            route: Some(Route { intid: 41, vcpu }),
            ..Effects::NONE
        };
        assert_eq!(route(41, false), told(Some(VcpuId(1))), "GICv2: {v2}");
        assert_eq!(route(41, true), told(None), "GICv2: {v2}");
        assert_eq!(route(33, false).route, None, "GICv2: {v2}");
    }
}
