//! GICv2's SGIs: each pending of the vCPUs that sent it, and one of them shown.

use super::super::bank::{Bank, Irq};
use super::super::list_register::{ACTIVE, EOI, PENDING, STATE};
use super::super::{CpuInterface, SpiBank, Vgic};
use super::world::*;
use crate::ids::VcpuId;

/// Returns the senders of which SGI 7 is pending at each of four vCPUs.
fn senders(world: &World) -> [u64; 4] {
    [0, 1, 2, 3].map(|vcpu| world.vgic.banked_read(VcpuId(vcpu), SPENDSGIR + 7, 1))
}

/// State, the word about maintenance, and sender of SGI 7 in vCPU 0's list register.
fn shown(world: &World) -> Option<(u64, bool, u64)> {
    let register = world.lr(0, 7)?;
    Some((register & STATE, register & EOI != 0, register >> 16 & 7))
}

/// Sends SGI 7 from a vCPU to vCPU 0.
fn send(world: &mut World, from: u8) {
    world.send(from, 7 << 24 | 1);
}

#[test]
fn sgir_names_a_list_all_others_or_the_sender() {
    for (value, expected) in [
        (0b1010 << 16, [0, 4, 0, 4]),
        (0xff << 16, [4; 4]),
        (1 << 24 | 0b1010 << 16, [4, 4, 0, 4]),
        (2 << 24 | 0b1010 << 16, [0, 0, 4, 0]),
        (3 << 24 | 0xff << 16, [0; 4]),
    ] {
        let mut world = World::ready_of_version(4, 4, true);
        world.write(2, SGIR, value | 7);
        assert_eq!(senders(&world), expected, "{value:#x}");
        let pending = expected[2] != 0;
        assert_eq!(world.signalled(2).is_some(), pending, "{value:#x}");
    }
}

#[test]
fn an_sgi_of_which_no_sender_is_left_is_not_pending() {
    let mut world = World::ready_of_version(4, 4, true);
    for from in [1, 3] {
        send(&mut world, from);
    }
    world.write(0, CPENDSGIR + 4, 0x0200_0000);
    assert_eq!(shown(&world), Some((PENDING, false, 3)));
    world.write(0, CPENDSGIR + 4, 0x0800_0000);
    assert_eq!(shown(&world), None);
    assert_eq!(world.read(0, ISPENDR), 0);
}

#[test]
fn an_sgi_of_nobody_is_not_pending() {
    let mut world = World::ready_of_version(2, 4, true);
    let mut kick = 0;
    for intid in [7, 16] {
        world.exit(0);
        world.vgic.pend_from(Irq { vcpu: 0, intid }, 0, &mut kick);
    }
    assert_eq!((kick, world.read(0, ISPENDR)), (0, 0));
}

#[test]
fn one_sender_is_shown_after_the_other_and_watched_while_others_wait() {
    let mut world = World::ready_of_version(4, 4, true);
    send(&mut world, 3);
    assert_eq!(shown(&world), Some((PENDING, false, 3)));
    assert!(world.acknowledge(0).is_some());
    // The active one stays, though it is looked at anew, and watched, for its priority is another now.
    world.write(0, IPRIORITYR + 4, 0x4040_4040);
    assert_eq!(shown(&world), Some((ACTIVE, true, 3)));
    send(&mut world, 1);
    assert_eq!(shown(&world), Some((ACTIVE, true, 3)));
    assert_eq!(senders(&world), [2, 0, 0, 0]);
    world.eoi(0, 7);
    world.settle();
    assert_eq!(shown(&world), Some((PENDING, false, 1)));
}

#[test]
fn an_sgi_sent_anew_after_the_acknowledge_comes_again_and_no_other_does() {
    for (second, left) in [(1, 1 << 1), (2, 1 << 2)] {
        let mut world = World::ready_of_version(4, 4, true);
        send(&mut world, 1);
        assert!(world.acknowledge(0).is_some());
        // The model has not seen the acknowledge.
        world.prompt = false;
        send(&mut world, second);
        world.deliver_kicks();
        assert_eq!(senders(&world), [left, 0, 0, 0]);
        assert_eq!(shown(&world), Some((ACTIVE, true, 1)));
        world.eoi(0, 7);
        world.settle();
        assert_eq!(shown(&world), Some((PENDING, false, u64::from(second))));
        assert!(world.acknowledge(0).is_some());
        world.eoi(0, 7);
        world.bounce(0);
        assert_eq!((shown(&world), senders(&world)), (None, [0; 4]));
    }
}

#[test]
fn sgis_alone_are_enabled_for_good() {
    let mut cpus = [CpuInterface::new()];
    let mut spis: [SpiBank; 0] = [];
    let mut vgic = Vgic::new(&mut cpus, &mut spis, 4).into_gicv2();
    assert!(vgic.own_ppi(27, true));
    let enabled = |bank: &Bank| bank.enabled;
    assert_eq!(enabled(&vgic.cpus[0].private), 0xffff);
}
