//! GICv2's register map, where it is not GICv3's.

use super::world::*;
use crate::ids::VcpuId;

/// Makes a GICv2 of some vCPUs, all of its interrupts enabled.
fn ready(vcpus: usize) -> World {
    World::ready_of_version(vcpus, 4, true)
}

/// Reads as vCPU 0 does.
fn read(world: &World, offset: u64, width: u8) -> u64 {
    world.vgic.banked_read(VcpuId(0), offset, width)
}

/// Writes as vCPU 0 does, all pieces; returns how many there were.
fn write(world: &mut World, offset: u64, width: u8, value: u64) -> usize {
    let mut effects = world.vgic.banked_write(VcpuId(0), offset, width, value);
    for pieces in 1..=8 {
        let Some(rest) = effects.rest else {
            return pieces;
        };
        effects = world.vgic.continue_write(rest);
    }
    panic!("a write without end");
}

#[test]
fn identifies_itself_as_a_gicv2_with_its_vcpus() {
    for (vcpus, typer) in [(1, 0x02), (2, 0x22), (8, 0xe2)] {
        let world = ready(vcpus);
        assert_eq!(read(&world, GICD_CTLR, 4), 3);
        assert_eq!(read(&world, 4, 4), typer, "two banks of SPIs");
        assert_eq!(read(&world, 8, 4), 0x4200_043b, "GICD_IIDR");
        assert_eq!(read(&world, 0xfe8, 4) >> 4 & 0xf, 2, "ICPIDR2.ArchRev");
        let peripheral = [0xfd0, 0xfe0, 0xfe4, 0xfe8].map(|at| read(&world, at, 4));
        assert_eq!(peripheral, [0x04, 0x90, 0xb4, 0x2b]);
        let component = [0xff0, 0xff4, 0xff8, 0xffc].map(|at| read(&world, at, 4));
        assert_eq!(component, [0x0d, 0xf0, 0x05, 0xb1]);
    }
}

#[test]
fn each_byte_of_a_priority_is_its_own() {
    let mut world = ready(2);
    for (first, values) in [(0, 0x4030_2010), (40, 0x8070_6050)] {
        write(&mut world, IPRIORITYR + first, 4, values);
        assert_eq!(read(&world, IPRIORITYR + first, 4), values);
        for place in 0..4 {
            let byte = read(&world, IPRIORITYR + first + place, 1);
            assert_eq!(byte, values >> (8 * place) & 0xff, "{first} {place}");
        }
        write(&mut world, IPRIORITYR + first + 1, 1, 0xf8);
        let changed = values & !0xff00 | 0xf800;
        assert_eq!(read(&world, IPRIORITYR + first, 4), changed);
    }
}

#[test]
fn triggers_are_banked_below_32() {
    let mut world = ready(2);
    write(&mut world, ICFGR, 4, 0);
    assert_eq!(read(&world, ICFGR, 4), 0xaaaa_aaaa, "SGIs");
    write(&mut world, ICFGR + 4, 4, 0xffff_ffff);
    assert_eq!(read(&world, ICFGR + 4, 4), 1 << 29, "PPI 30");
    assert_eq!(world.vgic.banked_read(VcpuId(1), ICFGR + 4, 4), 0);
    assert_eq!(read(&world, ICFGR + 8, 4), 0x8888_8888);
    write(&mut world, ICFGR + 8, 4, 0x2222_2222);
    assert_eq!(read(&world, ICFGR + 8, 4), 0x2222_2222);
    assert_eq!(read(&world, ICFGR + 12, 4), 0);
}

#[test]
fn odd_widths_and_misaligned_accesses_read_as_zero_and_change_nothing() {
    let mut world = ready(2);
    let before = format!("{:?}", world.vgic);
    let odd = |offset: u64| [(offset, 2), (offset, 8), (offset + 1, 4), (offset + 2, 4)];
    for register in [GICD_CTLR, ISENABLER + 4, ICENABLER + 4, ICFGR + 8] {
        let accesses = odd(register).into_iter().chain([(register, 1)]);
        for (offset, width) in accesses {
            assert_eq!(read(&world, offset, width), 0, "{offset:#x} {width}");
            write(&mut world, offset, width, 0x5555_5555);
        }
    }
    for register in [IPRIORITYR + 32, ITARGETSR + 32, SPENDSGIR] {
        for (offset, width) in odd(register) {
            assert_eq!(read(&world, offset, width), 0, "{offset:#x} {width}");
            write(&mut world, offset, width, 0x1313_1313);
        }
    }
    assert_eq!(format!("{:?}", world.vgic), before);
}

#[test]
fn private_interrupts_have_who_asks_as_their_target() {
    let world = ready(8);
    for (vcpu, each) in [(0, 0x01), (3, 0x08), (7, 0x80)] {
        let read = |offset, width| {
            world
                .vgic
                .banked_read(VcpuId(vcpu), ITARGETSR + offset, width)
        };
        assert_eq!((read(0, 1), read(31, 1)), (each, each));
        assert_eq!(read(28, 4), each * 0x0101_0101);
    }
}

#[test]
fn targets_of_several_interrupts_are_written_in_pieces() {
    let mut world = ready(4);
    assert_eq!(write(&mut world, ITARGETSR + 32, 4, 0x0804_0201), 4);
    assert_eq!(read(&world, ITARGETSR + 32, 4), 0x0804_0201);
    let targets = [32, 33, 34, 35].map(|intid| world.vgic.spi_target(intid));
    assert_eq!(targets, [0, 1, 2, 3].map(|vcpu| Some(VcpuId(vcpu))));
    // The lowest of several; nobody of those that are not there.
    assert_eq!(write(&mut world, ITARGETSR + 33, 1, 0x0c), 1);
    assert_eq!(write(&mut world, ITARGETSR + 34, 1, 0xf0), 1);
    assert_eq!(read(&world, ITARGETSR + 32, 4), 0x0800_0c01);
    let targets = [33, 34].map(|intid| world.vgic.spi_target(intid));
    assert_eq!(targets, [Some(VcpuId(2)), None]);
}

#[test]
fn what_the_guest_does_not_own_has_no_target() {
    let mut world = ready(2);
    for intid in [60, 64, 95, 96, 1019] {
        let register = ITARGETSR + u64::from(intid);
        write(&mut world, register, 1, 2);
        assert_eq!(read(&world, register, 1), 0, "{intid}");
        assert_eq!(world.vgic.spi_target(intid), None, "{intid}");
    }
}

#[test]
fn a_single_vcpu_is_the_target_of_all_and_says_nothing_of_it() {
    let mut world = ready(1);
    for intid in [0, 33] {
        write(&mut world, ITARGETSR + intid, 1, 0);
        assert_eq!(read(&world, ITARGETSR + intid, 1), 0);
    }
    assert_eq!(world.vgic.spi_target(33), Some(VcpuId(0)));
}
