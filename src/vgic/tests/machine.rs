//! Random events on a machine with several pCPUs, by [`super::machines::Machine`].

use super::machines::{Event, KINDS, MOST_VCPUS, Machine, Shape};
use proptest::prelude::*;

/// One or two partitions, with up to as many vCPUs on a pCPU as there may be.
fn wide() -> impl Strategy<Value = Shape> {
    let parts = prop::collection::vec((1..=MOST_VCPUS, any::<bool>()), 1..=2);
    let shape = (2..=3usize, parts, 1..=4usize, any::<bool>());
    shape.prop_map(|(pcpus, parts, list_registers, v2)| {
        let (vcpus, split) = parts.into_iter().unzip();
        Shape {
            pcpus,
            vcpus,
            split,
            list_registers,
            v2,
            narrow: false,
        }
    })
}

/// One partition, with a vCPU on each pCPU.
fn narrow() -> impl Strategy<Value = Shape> {
    let shape = (2..=3usize, 1..=2usize, any::<(bool, bool)>());
    shape.prop_map(|(pcpus, list_registers, (split, v2))| Shape {
        pcpus,
        vcpus: vec![pcpus],
        split: vec![split],
        list_registers,
        v2,
        narrow: true,
    })
}

fn events(length: usize) -> impl Strategy<Value = Vec<Event>> {
    let event =
        (0..KINDS, 0..3u8, any::<u8>(), any::<u8>()).prop_map(|(kind, pcpu, which, value)| Event {
            kind,
            pcpu,
            which,
            value,
        });
    prop::collection::vec(event, 1..length)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a8_no_interrupt_is_lost_among_several_pcpus(
        shape in wide(),
        events in events(400),
        turn in any::<u8>(),
    ) {
        run(&shape, &events, turn);
    }
}

/// The narrow runs are short, and what they look for is rare: more of them.
fn more() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        failure_persistence: None,
        cases: usual.cases.saturating_mul(4),
        ..usual
    }
}

proptest! {
    #![proptest_config(more())]

    #[test]
    fn a8_no_interrupt_is_lost_that_goes_elsewhere_and_is_taken_back(
        shape in narrow(),
        events in events(400),
        turn in any::<u8>(),
    ) {
        run(&shape, &events, turn);
    }
}

/// Lets events happen, and all that comes of them; at last each interrupt is to come once more.
fn run(shape: &Shape, events: &[Event], turn: u8) {
    let mut machine = Machine::new(shape);
    for &event in events {
        machine.step(event);
        machine.check();
    }
    machine.check_settled();
    machine.drain();
    machine.revive(turn);
}

#[test]
fn one_that_is_pended_beside_its_line_may_come_twice() {
    let shape = Shape {
        pcpus: 3,
        vcpus: vec![3, 3],
        split: vec![false, false],
        list_registers: 3,
        v2: false,
        narrow: false,
    };
    // A line rises, a vCPU elsewhere pends the interrupt too, it is taken before EL2 hears of that, and the line falls.
    let events = [
        (39, 0, 0, 8),
        (38, 0, 217, 19),
        (13, 0, 0, 0),
        (26, 0, 116, 118),
        (14, 1, 0, 0),
        (38, 0, 21, 2),
    ];
    let events = events.map(|(kind, pcpu, which, value)| Event {
        kind,
        pcpu,
        which,
        value,
    });
    run(&shape, &events, 0);
}
