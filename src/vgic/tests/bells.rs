//! A doorbell's short way to a vCPU that sleeps against the general one.

use super::super::Vgic;
use super::interface::OPEN;
use super::sleepers::{SLEEPER, act};
use super::world::*;
use crate::ids::VcpuId;
use proptest::prelude::*;

/// Who is rung, and the private interrupt that is not to be in flight.
const BELL: u16 = 33;
const TIMER: u16 = 27;

/// One thing that somebody does before the ring: which, to which interrupts.
type Act = (u8, u32);

/// Makes two vCPUs of which the second one sleeps, and lets others do things.
fn after(acts: &[Act]) -> World {
    let mut world = World::ready(2, 4);
    world.prompt = false;
    world.exit(SLEEPER.0);
    for &(what, value) in acts {
        let mut effects = act(&mut world.vgic, what, value);
        while let Some(rest) = effects.rest.take() {
            effects = world.vgic.continue_write(rest);
        }
    }
    world
}

/// Returns all that a model holds.
fn all(vgic: &Vgic<'static>) -> String {
    format!("{vgic:?}")
}

/// Rings and lets the sleeper come in the general way. Returns what the list registers get, as far as any is written, when
/// that is all that there is to it.
fn ring_and_come(vgic: &mut Vgic<'static>, vmcr: u32) -> Option<(u16, u64)> {
    let _ = vgic.ring(BELL);
    if !vgic.would_signal(SLEEPER, vmcr, 0, 0) {
        return None;
    }
    let mut written = (0, 0);
    let coming = vgic.come(SLEEPER, TIMER, vmcr, 0, |mask, values| {
        written = (mask, values[0])
    });
    let plain = coming.hcr == 0 && coming.kick == 0 && !coming.in_flight && !coming.unfinished;
    plain.then_some(written)
}

/// Compares the ways. Returns whether the short one was taken.
fn compare(acts: &[Act], vmcr: u32) -> bool {
    let (mut short, mut general) = (after(acts).vgic, after(acts).vgic);
    let before = all(&short);
    let Some(value) = short.come_for_bell(SLEEPER, BELL, TIMER, vmcr) else {
        assert_eq!(all(&short), before, "it declined, and changed something");
        return false;
    };
    assert_eq!(ring_and_come(&mut general, vmcr), Some((1, value)));
    assert_eq!(all(&short), all(&general));
    true
}

#[test]
fn a_sleeper_with_nothing_else_comes_by_the_short_way() {
    // The bell's route to the sleeper.
    let routed = (21, 1 | 1 << 4);
    let masked = |priority: u32| OPEN & 0x00ff_ffff | priority << 24;
    for (acts, vmcr, taken) in [
        (vec![routed], OPEN, true),
        (vec![], OPEN, false),
        (vec![routed, (9, 2)], OPEN, false),  // disabled
        (vec![routed, (10, 2)], OPEN, false), // pending
        (vec![routed, (10, 4)], OPEN, true),  // something else is, elsewhere
        (vec![routed, (12, 2)], OPEN, false), // active
        (vec![routed, (17, 3)], OPEN, false), // something else is pending here
        (vec![routed, (16, 1)], OPEN, false), // its group is off
        (vec![routed, (22, 0)], OPEN, false), // level-sensitive
        (vec![routed], OPEN & !2, false),     // masked by the guest
        (vec![routed, (7, 0)], OPEN, true),   // in group 0
        (vec![routed, (7, 0)], OPEN & !1, false),
        (vec![routed], masked(0xa8), true),
        (vec![routed], masked(0xa0), false),
    ] {
        assert_eq!(compare(&acts, vmcr), taken, "{acts:?} VMCR {vmcr:#x}");
    }
}

#[test]
fn a_sleeper_whose_timer_is_in_flight_does_not_come_by_the_short_way() {
    let mut world = after(&[(21, 1 | 1 << 4)]);
    let _ = world
        .vgic
        .redistributor_write(SLEEPER, SGI_FRAME + ICENABLER, 4, 1 << 27);
    let _ = world.vgic.physical_pending(TIMER, SLEEPER);
    assert_eq!(world.vgic.come_for_bell(SLEEPER, BELL, TIMER, OPEN), None);
}

#[test]
fn a_bell_that_another_has_does_not_come_by_the_short_way() {
    // In another's list register, by a line that was level-sensitive.
    let mut world = World::ready(2, 4);
    world.prompt = false;
    world.exit(SLEEPER.0);
    world.line(34, true);
    world.deliver_kicks();
    world.exit(SLEEPER.0);
    assert_eq!(world.signalled(0), Some(34));
    let _ = world.vgic.distributor_write(0x6000 + 8 * 34, 8, 1);
    let _ = world.vgic.distributor_write(ICFGR + 8, 4, 2 << 4);
    assert_eq!(world.vgic.come_for_bell(SLEEPER, 34, TIMER, OPEN), None);
    // Active there, and in no list register.
    let mut world = World::ready(2, 4);
    world.prompt = false;
    world.exit(SLEEPER.0);
    let _ = world.vgic.distributor_write(ISACTIVER + 4, 4, 1 << 1);
    let _ = world.vgic.distributor_write(0x6000 + 8 * 33, 8, 1);
    assert_eq!(world.vgic.come_for_bell(SLEEPER, BELL, TIMER, OPEN), None);
}

#[test]
fn a_bell_that_is_none_brings_nobody() {
    for intid in [5, 27, 31, 41, 63, 64, 1019, 1023, u16::MAX] {
        let mut world = after(&[(21, 1 | 1 << 4), (21, 9 | 1 << 4)]);
        let came = world.vgic.come_for_bell(SLEEPER, intid, TIMER, OPEN);
        assert_eq!(came, None, "{intid}");
    }
    let mut world = after(&[(21, 1 | 1 << 4)]);
    let nobody = world.vgic.come_for_bell(VcpuId(2), BELL, TIMER, OPEN);
    assert_eq!(nobody, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_ways_of_a_bell_come_to_the_same(
        mask in prop::sample::select(vec![0x48u32, 0xa0, 0xa8, 0xf8]),
        masked_group in 0..4u32,
        acts in prop::collection::vec((0..23u8, any::<u32>(), any::<u32>(), any::<u32>()), 0..12),
    ) {
        let few = |&(what, one, two, three): &(u8, u32, u32, u32)| (what, one & two & three);
        let mut acts: Vec<Act> = acts.iter().map(few).collect();
        acts.push((21, 17));
        compare(&acts, mask << 24 | OPEN & 0xff_ffff & !masked_group);
    }
}
