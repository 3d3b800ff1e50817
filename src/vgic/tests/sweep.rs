//! Every offset of the register maps, in every width and direction.

use super::super::{CpuInterface, SpiBank, Vgic};
use super::world::*;
use crate::ids::VcpuId;

/// Calls `access` for every offset below `end` and some behind it, with every width.
fn sweep(end: u64, mut access: impl FnMut(u64, u8)) {
    let behind = [
        end,
        end + 3,
        u64::from(u32::MAX),
        1 << 32,
        u64::MAX - 7,
        u64::MAX,
    ];
    for offset in (0..end).chain(behind) {
        for width in [0, 1, 2, 3, 4, 8, 16] {
            access(offset, width);
        }
    }
}

#[test]
fn a5_every_offset_and_width_of_the_distributor_answers() {
    let mut world = World::ready(2, 2);
    sweep(0x1_0000, |offset, width| {
        for value in [0, u64::MAX, 0x5555_aaaa_5555_aaaa] {
            let effects = world.vgic.distributor_write(offset, width, value);
            assert_eq!(effects.kick & !3, 0);
            assert_eq!(
                effects.deactivate & !0xff00,
                0,
                "{offset:#x}: not the guest's"
            );
            world.vgic.distributor_read(offset, width);
        }
    });
    for vcpu in 0..2 {
        world.exit(vcpu);
        world.enter(vcpu);
    }
}

#[test]
fn a5_every_offset_and_width_of_a_redistributor_answers() {
    let mut world = World::ready(2, 2);
    sweep(0x2_0000, |offset, width| {
        for vcpu in [0, 1, 2, 16, 255] {
            let value = 0xa5a5_5a5a_ffff_ffff;
            let effects = world
                .vgic
                .redistributor_write(VcpuId(vcpu), offset, width, value);
            assert_eq!(effects.kick & !3, 0);
            let read = world.vgic.redistributor_read(VcpuId(vcpu), offset, width);
            assert!(vcpu < 2 || read == 0 && effects.kick == 0);
        }
    });
    for vcpu in 0..2 {
        world.exit(vcpu);
        world.enter(vcpu);
    }
}

#[test]
fn a5_what_the_guest_does_not_own_reads_as_zero_and_ignores_writes() {
    let mut cpus = vec![CpuInterface::new(); 2];
    let mut spis = vec![SpiBank::new(); 31];
    let mut vgic = Vgic::new(&mut cpus, &mut spis, 4);
    let fixed = |offset: u64| matches!(offset, 0..0xc | 0xffd0..);
    sweep(0x1_0000, |offset, width| {
        let effects = vgic.distributor_write(offset, width, u64::MAX);
        assert!(!effects.is_physical() && effects.kick == 0, "{offset:#x}");
        let read = vgic.distributor_read(offset, width);
        assert!(fixed(offset) || read == 0, "{offset:#x} {width}: {read:#x}");
    });
    for offset in (0x1_0080..0x1_0400).step_by(0x80) {
        _ = vgic.redistributor_write(VcpuId(1), offset, 4, u64::MAX);
        let read = vgic.redistributor_read(VcpuId(1), offset, 4);
        assert_eq!(read & 0xffff_0000, 0, "PPIs at {offset:#x}");
    }
}

#[test]
fn quick_writes_come_to_the_same() {
    let offsets = (0..0x420).chain([0xc08, 0x6100, u32::MAX]);
    let mut quick = 0;
    for (offset, pended) in offsets.flat_map(|offset| [0, 1 << 3].map(|bits| (offset, bits))) {
        for value in [0, 0x0000_00ff, 0x0000_0004, 0x0000_ff00, u32::MAX] {
            let [mut short, mut long] = [(); 2].map(|()| World::ready(1, 4));
            for world in [&mut short, &mut long] {
                world.write(0, ICENABLER + 4, 0x0000_00f0);
                world.write(0, ISPENDR + 4, pended);
            }
            let before = long.vgic.distributor_read(ISENABLER + 4, 4);
            let done = short.vgic.quick_write(offset, value);
            let effects = long.vgic.distributor_write(offset.into(), 4, value.into());
            let [enabled, wanted] =
                [&short, &long].map(|world| world.vgic.distributor_read(ISENABLER + 4, 4));
            assert!(!done || effects.is_nothing(), "{offset:#x} {value:#x}");
            assert_eq!(enabled, if done { wanted } else { before }, "{offset:#x}");
            quick += usize::from(done && wanted != before);
        }
    }
    assert!(quick > 4, "{quick} quick writes changed anything");
}

#[test]
fn odd_widths_and_misaligned_accesses_read_as_zero() {
    let world = World::ready(1, 4);
    let read = |offset, width| world.vgic.distributor_read(offset, width);
    assert_ne!(read(ISENABLER + 4, 4), 0);
    assert_eq!(
        (
            read(ISENABLER + 4, 1),
            read(ISENABLER + 4, 2),
            read(ISENABLER, 8)
        ),
        (0, 0, 0)
    );
    assert_eq!((read(ISENABLER + 5, 4), read(ISENABLER + 6, 4)), (0, 0));
    assert_eq!(
        (read(IPRIORITYR + 33, 1), read(IPRIORITYR + 32, 2)),
        (0xa0, 0)
    );
}

#[test]
fn identifies_itself_as_a_gicv3_with_one_security_state() {
    let mut world = World::new(3, 4);
    // ARE and DS; then both group enables.
    assert_eq!(world.read(0, GICD_CTLR), 0x50);
    world.write(0, GICD_CTLR, 0xffff_ffff);
    assert_eq!(world.read(0, GICD_CTLR), 0x53);
    // No1N, A3V, 10 INTID bits, two banks of SPIs: INTIDs up to 95.
    assert_eq!(world.read(0, 4), 0x0348_0002);
    assert_eq!(world.read(0, 0xc), 0, "GICD_TYPER2");
    assert_eq!(world.read(0, 0xffe8) >> 4 & 0xf, 3, "GICD_PIDR2.ArchRev");
    for vcpu in 0..3 {
        let read = |offset| world.vgic.redistributor_read(VcpuId(vcpu), offset, 4);
        assert_eq!((read(0), read(0xffe8) >> 4 & 0xf), (0, 3));
        let last = if vcpu == 2 { 0x10 } else { 0 };
        assert_eq!(read(8), u64::from(vcpu) << 8 | last);
        assert_eq!(read(0xc), u64::from(vcpu));
        assert_eq!(
            read(SGI_FRAME + ICFGR),
            0xaaaa_aaaa,
            "SGIs are edge-triggered"
        );
    }
}

#[test]
fn the_waker_handshake_ends_at_once() {
    let mut world = World::new(1, 4);
    let waker = |world: &World| world.vgic.redistributor_read(VcpuId(0), 0x14, 4);
    assert_eq!(waker(&world), 6);
    _ = world.vgic.redistributor_write(VcpuId(0), 0x14, 4, 0);
    assert_eq!(waker(&world), 0);
    _ = world.vgic.redistributor_write(VcpuId(0), 0x14, 4, 2);
    assert_eq!(waker(&world), 6);
}

#[test]
fn what_software_pended_is_taken_back_without_the_hardware() {
    let mut world = World::ready(1, 4);
    world.physical.get_mut(&41).unwrap().pending = true;
    world.settle();
    world.write(0, ISPENDR + 4, 1 << 2);
    let taken_back = world.vgic.distributor_write(ICPENDR + 4, 4, 1 << 2);
    assert_eq!((taken_back.deactivate, taken_back.clear_pending), (0, 0));
}

#[test]
fn physical_effects_name_the_hardware_interrupts_of_the_register() {
    let mut world = World::new(1, 4);
    let mut write = |offset, value| world.vgic.distributor_write(offset, 4, value);
    let all = 0xffff_ffff;
    assert_eq!(
        (
            write(ISENABLER + 4, all).switch,
            write(ISENABLER + 4, all).switch
        ),
        (0xff00, 0)
    );
    assert_eq!(write(ICENABLER + 4, all).switch, 0xff00);
    assert_eq!(write(ISPENDR + 4, all).set_pending, 0xff00);
    assert_eq!(write(ICPENDR + 4, all).clear_pending, 0xff00);
    // 41 and 43 are edge-triggered, 40 and 42 level-sensitive: swap them. The others become level-sensitive.
    let swapped = write(ICFGR + 8, 0x0022_0000);
    assert_eq!(swapped.trigger, 0x0700);
    assert_eq!(swapped.first, 32);
    let rest = swapped.rest.expect("six triggers change, three at once");
    assert_eq!(world.vgic.edge_spis(1), 0xad00, "three are to come");
    let swapped = world.vgic.continue_write(rest);
    assert_eq!(swapped.trigger, 0xa800);
    assert_eq!(world.vgic.edge_spis(1) & 0xff00, 0x0500);
    assert_eq!([0, 2, 3].map(|bank| world.vgic.edge_spis(bank)), [0; 3]);
    assert_eq!((swapped.first, swapped.rest), (32, None));
}
