//! Random events against the reference, by [`super::model::Run`].

use super::model::{Event, Run};
use proptest::prelude::*;

fn events(length: usize) -> impl Strategy<Value = Vec<Event>> {
    let event =
        (0..29u8, 0..3u8, 0..16u8, any::<u8>()).prop_map(|(kind, vcpu, which, value)| Event {
            kind,
            vcpu,
            which,
            value,
        });
    prop::collection::vec(event, 1..length)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a8_random_events_agree_with_the_state_diagram(
        vcpus in 1..=3usize,
        list_registers in 1..=4usize,
        (split, v2) in any::<(bool, bool)>(),
        events in events(120),
    ) {
        let mut run = Run::of_version(vcpus, list_registers, split, v2);
        for event in events {
            run.step(event);
            run.check_list_registers();
            run.check_exactly();
            if event.kind > 26 {
                run.check_registers();
            }
        }
        run.check_registers();
        run.drain();
        run.check_registers();
    }

    #[test]
    fn a8_nothing_is_lost_or_invented_when_kicks_come_late(
        vcpus in 2..=3usize,
        list_registers in 1..=4usize,
        (split, v2) in any::<(bool, bool)>(),
        events in events(120),
    ) {
        let mut run = Run::of_version(vcpus, list_registers, split, v2);
        run.world.prompt = false;
        for event in events {
            run.step(event);
            run.check_list_registers();
            if event.value < 40 {
                run.settle();
            }
        }
        run.drain();
    }
}
