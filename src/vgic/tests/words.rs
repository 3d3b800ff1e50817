//! Whole registers, whose writes are done in pieces with other events in between.

use super::super::SgiGroup;
use super::model::{Event, Run};
use super::world::*;
use crate::ids::VcpuId;

#[test]
fn a_write_that_moves_many_interrupts_is_done_in_pieces() {
    let mut world = World::ready(1, 4);
    world.write(0, ICENABLER + 4, 0xffff_ffff);
    world.write(0, ISPENDR + 4, 0x0000_00ff);
    world.patient = true;
    world.write(0, ISENABLER + 4, 0xffff_ffff);
    // All that wait for nothing are enabled at once, and four of those that are pending.
    assert_eq!(world.read(0, ISENABLER + 4), 0x0000_ff0f);
    let rest = world.rest.take().expect("more than one piece");
    world.access(0, ISENABLER, |vgic| vgic.continue_write(rest));
    assert_eq!(world.read(0, ISENABLER + 4), 0x0000_ffff);
    assert_eq!(world.rest, None);
}

#[test]
fn an_interrupt_pended_by_a_piece_may_be_taken_before_the_next() {
    let mut run = Run::new(2, 1, false);
    for (kind, vcpu, which, value) in [(9, 0, 12, 7), (25, 2, 11, 206)] {
        run.step(Event {
            kind,
            vcpu,
            which,
            value,
        });
        run.check_list_registers();
    }
}

#[test]
fn an_sgi_of_a_gicv2_to_all_others_reaches_each_once() {
    let mut world = World::ready_of_version(8, 2, true);
    world.send(2, 7 << 24 | 0xfb);
    for vcpu in (0..8).filter(|vcpu| *vcpu != 2) {
        assert_eq!(world.acknowledge(vcpu).map(|intid| intid & 0x3ff), Some(7));
    }
    assert_eq!(world.acknowledge(2), None);
}

#[test]
fn an_sgi_of_a_gicv2_goes_to_two_at_once() {
    let mut world = World::ready_of_version(8, 4, true);
    world.patient = true;
    world.send(2, 7 << 24 | 0xfb);
    let sent = |world: &World| (0..8).filter(|vcpu| sender_of(world, *vcpu) != 0).count();
    let mut reached = vec![sent(&world)];
    while let Some(rest) = world.rest.take() {
        world.access(2, 0, |vgic| vgic.continue_write(rest));
        reached.push(sent(&world));
    }
    assert_eq!(reached, [2, 4, 6, 7]);
}

/// Returns who sent SGI 7 to a vCPU, as its GICD_SPENDSGIR says.
fn sender_of(world: &World, vcpu: u8) -> u64 {
    world.vgic.banked_read(VcpuId(vcpu), 0xf27, 1)
}

#[test]
fn senders_of_several_sgis_are_written_in_pieces() {
    let mut world = World::ready_of_version(8, 4, true);
    let (set, clear) = (0xf20, 0xf10);
    for (register, after) in [(set, [0x11, 0x22, 0x33, 0x44]), (clear, [0; 4])] {
        world.patient = true;
        world.write(5, register, 0x4433_2211);
        let mut pieces = 1;
        while let Some(rest) = world.rest.take() {
            world.access(5, register, |vgic| vgic.continue_write(rest));
            pieces += 1;
        }
        // Those of one SGI at once, as its targets would be.
        assert_eq!(pieces, 4, "{register:#x}");
        let senders = (0..4).map(|sgi| world.vgic.banked_read(VcpuId(5), set + sgi, 1));
        assert!(senders.eq(after), "{register:#x}");
    }
}

#[test]
fn an_sgi_to_all_reaches_each_once() {
    let mut world = World::ready(16, 2);
    let mut effects = world
        .vgic
        .sgi(VcpuId(3), 7 << 24 | 0xffff, SgiGroup::Group1);
    let mut reached = 0u16;
    for piece in 0.. {
        assert_eq!(effects.kick.count_ones(), 4, "piece {piece}");
        assert_eq!(effects.kick & reached, 0);
        reached |= effects.kick;
        let rest = effects.rest;
        world.apply(effects);
        // Who has it may be done with it before the others get it.
        assert_eq!(world.acknowledge(piece), Some(7));
        world.eoi(piece, 7);
        let Some(rest) = rest else { break };
        effects = world.vgic.continue_write(rest);
    }
    assert_eq!(reached, 0xffff);
    let left = (0..16u8).filter(|&vcpu| world.acknowledge(vcpu) == Some(7));
    assert_eq!(left.count(), 12);
}
