use super::*;
use bulkhead::trace::call;

/// A recording of two pCPUs with a vCPU of partition 0 and two of partition 1.
pub(in crate::trace) fn recording(tracks: &[&[Record]]) -> Recording {
    let homes: [&[Option<(u8, u8)>]; 2] = [&[Some((0, 0)), Some((1, 0))], &[Some((1, 1))]];
    let tracks = tracks.iter().zip(homes).enumerate();
    let tracks = tracks.map(|(pcpu, (records, residents))| Track {
        pcpu: pcpu as u8,
        residents: residents.to_vec(),
        entries: records.iter().copied().map(Entry::Record).collect(),
        ..Track::default()
    });
    Recording {
        frequency: 1_000_000_000,
        names: vec!["loop".to_owned(), "linux".to_owned()],
        passed: vec![34],
        tracks: tracks.collect(),
    }
}

pub(in crate::trace) fn record(ticks: u64, slot: u8, what: What) -> Record {
    let slot = (slot < 2).then_some(Slot(slot));
    Record { ticks, slot, what }
}

/// No vCPU.
pub(in crate::trace) const NONE: u8 = 9;

/// Linux computes, its trap ends in the kernel's wait; the loop is woken by its timer, works, waits; Linux goes on.
pub(in crate::trace) fn one_turn() -> Vec<Record> {
    let wfi = What::Trap {
        syndrome: 0x0600_0000,
        call: 0,
    };
    let hvc = What::Trap {
        syndrome: 0x5a00_0000,
        call: call(0x8600_0001),
    };
    let timer = What::Interrupt {
        intid: 26,
        late: UNKNOWN,
    };
    let due = What::Inject {
        intid: 27,
        late: 70,
    };
    vec![
        record(1000, 1, What::Run),
        record(1010, 1, What::Enter),
        record(1100, 1, hvc),
        record(1130, 1, What::Enter),
        record(1200, 1, timer),
        record(1210, 0, What::Wake),
        record(1220, 0, What::Run),
        record(1240, 0, due),
        record(1250, 0, What::Enter),
        record(1300, 0, wfi),
        record(1310, 0, What::Block),
        record(1320, 1, What::Run),
        record(1350, 1, What::Enter),
        record(1400, 1, wfi),
        record(1410, 1, What::Block),
        record(1420, NONE, What::Idle),
        record(1900, NONE, What::Awake { intid: 34 }),
        record(1910, 1, What::Wake),
        record(1920, 1, What::Run),
        record(
            1930,
            1,
            What::Inject {
                intid: 34,
                late: UNKNOWN,
            },
        ),
        record(1940, 1, What::Enter),
        record(2000, 1, hvc),
    ]
}

fn span(from: u64, to: u64, who: Who, el2: bool) -> Span {
    Span { from, to, who, el2 }
}

#[test]
fn time_goes_to_whom_the_pcpu_works_for() {
    let timeline = Timeline::new(&recording(&[&one_turn()]));
    assert_eq!((timeline.from, timeline.to), (1000, 2000));
    let [looped, linux] = [(0, 0), (1, 0)].map(Who::Vcpu);
    let lane = &timeline.lanes[0];
    let expected = [
        span(1000, 1010, linux, true),
        span(1010, 1100, linux, false),
        span(1100, 1130, linux, true),
        span(1130, 1200, linux, false),
        span(1200, 1220, linux, true),
        span(1220, 1250, looped, true),
        span(1250, 1300, looped, false),
        span(1300, 1320, looped, true),
        span(1320, 1350, linux, true),
        span(1350, 1400, linux, false),
        span(1400, 1420, linux, true),
        span(1420, 1900, Who::Idle, false),
        span(1900, 1920, Who::Nobody, true),
        span(1920, 1940, linux, true),
        span(1940, 2000, linux, false),
    ];
    assert_eq!(lane.spans, expected);
    assert_eq!(lane.switches, 2);
}

#[test]
fn a_stay_lasts_from_the_vector_to_a_guest_or_to_sleep() {
    let timeline = Timeline::new(&recording(&[&one_turn()]));
    let stays: Vec<_> = timeline.lanes[0]
        .stays
        .iter()
        .map(|stay| (stay.reason.as_str(), stay.to - stay.from, stay.vcpu))
        .collect();
    let linux = Some((1, 0));
    let expected = [
        ("HVC yield", 30, linux),
        ("EL2's timer", 50, linux),
        ("WFI", 50, Some((0, 0))),
        ("WFI", 20, linux),
        ("interrupt 34", 40, None),
    ];
    assert_eq!(stays, expected);
}

#[test]
fn latencies_run_from_the_cause_to_the_guest() {
    let timeline = Timeline::new(&recording(&[&one_turn()]));
    assert_eq!(timeline.wakes[&(0, 0)], [40]);
    assert_eq!(timeline.wakes[&(1, 0)], [30]);
    let shown: Vec<_> = timeline
        .marks
        .iter()
        .filter(|mark| matches!(mark.what, MarkKind::Interrupt(..)))
        .map(|mark| (mark.vcpu, mark.what))
        .collect();
    let expected = [
        ((0, 0), MarkKind::Interrupt(27, Some(70))),
        ((1, 0), MarkKind::Interrupt(34, Some(30))),
    ];
    assert_eq!(shown, expected);
}

#[test]
fn an_interrupt_is_found_on_the_pcpu_of_its_owner() {
    let taken = What::Interrupt {
        intid: 34,
        late: UNKNOWN,
    };
    let foreign = What::Interrupt {
        intid: 33,
        late: UNKNOWN,
    };
    let inject = |intid| What::Inject {
        intid,
        late: UNKNOWN,
    };
    let first = [
        record(10, 0, taken),
        record(20, 0, What::Enter),
        record(40, 0, foreign),
    ];
    let second = [record(50, 0, inject(34)), record(55, 0, inject(33))];
    let timeline = Timeline::new(&recording(&[&first, &second]));
    let marks: Vec<_> = timeline
        .marks
        .iter()
        .map(|mark| (mark.vcpu, mark.what))
        .collect();
    let expected = [
        ((1, 1), MarkKind::Interrupt(34, Some(40))),
        ((1, 1), MarkKind::Interrupt(33, None)),
    ];
    assert_eq!(marks, expected);
}

#[test]
fn a_gap_is_nobodys_time_until_a_record_says_whose() {
    let mut with_gap = recording(&[&one_turn()]);
    let entries = &mut with_gap.tracks[0].entries;
    entries.splice(4..15, [Entry::Lost(11)]);
    let timeline = Timeline::new(&with_gap);
    let lane = &timeline.lanes[0];
    assert_eq!(lane.spans[3], span(1130, 1420, Who::Unknown, false));
    assert_eq!(lane.switches, 0);
    let total: u64 = lane.spans.iter().map(|span| span.to - span.from).sum();
    assert_eq!(total, 1000);
}

#[test]
fn nothing_recorded_is_an_empty_timeline() {
    let timeline = Timeline::new(&recording(&[]));
    assert_eq!(timeline, Timeline::default());
}
