use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::super::record::{
    MAX_WATCHDOG_NS, MIN_WATCHDOG_NS, on_fault, partition_flags, system_flags,
};
use super::samples::{Sample, name, sign};
use super::*;

/// Builds a sample after a change and returns the error.
fn refusal(change: impl FnOnce(&mut Sample)) -> PayloadError {
    let mut sample = Sample::new();
    change(&mut sample);
    Payload::new(sample.build().as_bytes())
        .map(|_| ())
        .unwrap_err()
}

fn value(field: &'static str, value: u64) -> PayloadError {
    PayloadError::Value {
        partition: 0,
        field,
        value,
    }
}

#[test]
fn shows_all_records_of_a_partition() {
    let words = Sample::new().build();
    let payload = Payload::new(words.as_bytes()).unwrap();
    let partition = &payload.partitions()[0];
    assert_eq!(payload.name(partition), "linux");
    assert_eq!(payload.platform(), "/pl031@9010000");
    assert_eq!(payload.regions(partition)[0].size, 0x20_0000);
    assert_eq!(payload.vcpus(partition)[0].priority, 10);
    let device = &payload.devices(partition)[0];
    assert_eq!(payload.text(device.path), "/pl031@9010000");
    assert_eq!(payload.windows(device)[0].hpa, 0x0901_0000);
    assert_eq!(payload.interrupts(partition)[0].intid, 34);
    let segment = &payload.segments(partition)[0];
    assert_eq!(payload.segment_offset(segment), 0x1000);
    assert_eq!(payload.seeds(partition)[0].bytes, 32);
    let [pcpu] = payload.pcpus() else {
        panic!("one pCPU");
    };
    assert_eq!((pcpu.pcpu, pcpu.major_frame_ns), (0, 10_000));
    assert_eq!(payload.time_windows(pcpu)[0].start_ns, 1_000);
}

#[test]
fn needs_nothing_behind_the_records() {
    let words = Sample::new().build();
    let bytes = words.as_bytes();
    assert!(Payload::new(bytes).is_ok());
    let cut = &bytes[..bytes.len() - 8];
    let needed = bytes.len() as u64;
    let found = needed - 8;
    assert_eq!(
        Payload::new(cut).map(|_| ()),
        Err(PayloadError::Short { found, needed })
    );
}

#[test]
fn a_header_alone_says_how_much_there_is() {
    let words = Sample::new().build();
    let bytes = words.as_bytes();
    let alone = header(&bytes[..size_of::<Header>()]).unwrap();
    assert_eq!(alone.record_bytes, bytes.len() as u64);
}

#[test]
fn shows_all_vcpus_with_their_places() {
    let mut sample = Sample::new();
    let mut second = sample.partitions[0];
    second.name = name("loop");
    second.vcpus = Span { first: 1, count: 2 };
    second.manages = 1;
    sample.partitions.push(second);
    sample.vcpus = [10, 11, 12]
        .map(|priority| VcpuRecord {
            priority,
            ..sample.vcpus[0]
        })
        .to_vec();
    let words = sample.build();
    let payload = Payload::new(words.as_bytes()).unwrap();
    let mut all = Vec::new();
    payload.each_vcpu(&mut |at, vcpu| all.push((at, vcpu.priority)));
    assert_eq!(all, [((0, 0), 10), ((1, 0), 11), ((1, 1), 12)]);
    assert!(payload.is_managed(0) && !payload.is_managed(1) && !payload.is_managed(64));
}

#[test]
fn refuses_texts_outside_the_records() {
    let mut words = Sample::new().build();
    words[core::mem::offset_of!(Header, platform) / 8] = 1 << 32 | 0xffff_ffff;
    sign(&mut words);
    let wanted = PayloadError::Span {
        partition: usize::MAX,
        part: Part::Texts,
    };
    assert_eq!(Payload::new(words.as_bytes()).map(|_| ()), Err(wanted));
}

#[test]
fn sees_every_flipped_bit() {
    let words = Sample::new().build();
    for bit in 0..words.len() * 64 {
        let mut damaged = words.clone();
        damaged[bit / 64] ^= 1 << (bit % 64);
        assert!(Payload::new(damaged.as_bytes()).is_err(), "bit {bit}");
    }
}

#[test]
fn refuses_foreign_bytes_and_other_versions() {
    let zeros = vec![0_u64; 100];
    let foreign = Payload::new(zeros.as_bytes()).map(|_| ());
    assert_eq!(foreign, Err(PayloadError::Magic { found: 0 }));
    let none = Payload::new(&zeros.as_bytes()[..8]).map(|_| ());
    let needed = size_of::<Header>() as u64;
    assert_eq!(none, Err(PayloadError::Short { found: 8, needed }));
    let version = refusal(|sample| sample.header.version = 2);
    assert!(matches!(version, PayloadError::Version { found: 2, .. }));
    let words = Sample::new().build();
    let shifted = Payload::new(&words.as_bytes()[1..]).map(|_| ());
    assert_eq!(shifted, Err(PayloadError::Misaligned));
}

/// What a test does to a sound sample.
type Change = fn(&mut Sample);

#[test]
fn refuses_values_without_meaning() {
    let cases: &[(PayloadError, Change)] = &[
        (value("region gpa", 0x4000_0800), |s| {
            s.regions[0].gpa = 0x4000_0800
        }),
        (value("region size", 0x1001), |s| s.regions[0].size = 0x1001),
        (value("region gpa", (1 << 39) - 0x1000), |s| {
            s.regions[0].gpa = (1 << 39) - 0x1000;
        }),
        (value("region hpa", 0x4010_0000), |s| {
            s.regions[0].hpa = 0x4010_0000
        }),
        (value("region access", 8), |s| s.regions[0].access = 8),
        (value("region access", 9), |s| s.regions[0].access = 9),
        (value("region access", 2), |s| s.regions[0].access = 2),
        (value("fp_eager", 2), |s| s.vcpus[0].fp_eager = 2),
        (value("entry", 0x4000_0002), |s| {
            s.partitions[0].entry = 0x4000_0002
        }),
        (value("entry", 0x4000_0000), |s| s.regions[0].access = 3),
        (value("dtb", 0x4010_0004), |s| {
            s.partitions[0].dtb = 0x4010_0004
        }),
        (value("gicd", 0x0800_8000), |s| {
            s.partitions[0].gicd = 0x0800_8000
        }),
        (value("gicd", 1 << 39), |s| s.partitions[0].gicd = 1 << 39),
        (value("gicr", 0x080a_8000), |s| {
            s.partitions[0].gicr = 0x080a_8000
        }),
        (value("gicr", 1 << 39), |s| s.partitions[0].gicr = 1 << 39),
        (value("console_gpa", 0x0900_0800), |s| {
            s.partitions[0].console_gpa = 0x0900_0800
        }),
        (value("console_gpa", 1 << 39), |s| {
            s.partitions[0].console_gpa = 1 << 39
        }),
        (value("console_intid", 31), |s| {
            s.partitions[0].console_intid = 31
        }),
        (value("console_intid", 1020), |s| {
            s.partitions[0].console_intid = 1020
        }),
        (value("console_overflow", 2), |s| {
            s.partitions[0].console_overflow = 2
        }),
        (value("edge", 2), |s| s.interrupts[0].edge = 2),
        (value("window gpa", 1 << 39), |s| s.windows[0].gpa = 1 << 39),
        // One byte too long, with whole pages and with the byte alone.
        (value("window gpa", (1 << 39) - 0x800), |s| {
            (s.windows[0].gpa, s.windows[0].hpa) = ((1 << 39) - 0x800, 0x0901_0800);
        }),
        (value("window gpa", (1 << 39) - 0x1000), |s| {
            s.windows[0].gpa = (1 << 39) - 0x1000;
            s.windows[0].size = 0x1001;
        }),
        (value("window hpa", u64::MAX - 0xfff), |s| {
            s.windows[0].hpa = u64::MAX - 0xfff;
            s.windows[0].size = 0x2000;
        }),
        (value("segment file_bytes", 0x4001), |s| {
            s.segments[0].file_bytes = 0x4001
        }),
        (value("segment offset", 0x1800), |s| {
            s.segments[0].offset = 0x1800
        }),
        (value("pcpu", 16), |s| s.vcpus[0].pcpu = 16),
        (value("priority", 256), |s| s.vcpus[0].priority = 256),
        (value("entry", 0x3fff_fffc), |s| {
            s.partitions[0].entry = 0x3fff_fffc
        }),
        (value("dtb", 0x4020_0000), |s| {
            s.partitions[0].dtb = 0x4020_0000
        }),
        (value("manages", 2), |s| s.partitions[0].manages = 2),
        (value("manager_gpa", 0x0b90_0800), |s| {
            s.partitions[0].manages = 1;
            s.partitions[0].manager_gpa = 0x0b90_0800;
        }),
        (value("manager_gpa", 1 << 39), |s| {
            s.partitions[0].manages = 1;
            s.partitions[0].manager_gpa = 1 << 39;
        }),
        (value("watchdog_ns", MAX_WATCHDOG_NS + 1), |s| {
            s.partitions[0].watchdog_ns = MAX_WATCHDOG_NS + 1
        }),
        (value("watchdog_ns", MIN_WATCHDOG_NS - 1), |s| {
            s.partitions[0].watchdog_ns = MIN_WATCHDOG_NS - 1
        }),
        (value("flags", 8), |s| s.partitions[0].flags = 8),
        (value("on_fault", 3), |s| {
            s.partitions[0].on_fault = on_fault::RESTART_LIMITED + 1
        }),
        (value("console_model", 2), |s| {
            s.partitions[0].console_model = 2
        }),
        (value("intid", 27), |s| s.interrupts[0].intid = 27),
        (value("window hpa", 0x0901_0800), |s| {
            s.windows[0].hpa = 0x0901_0800
        }),
        (value("segment gpa", 0x401f_f000), |s| {
            s.segments[0].gpa = 0x401f_f000
        }),
        (value("segment offset", 0x2000), |s| {
            s.segments[0].offset = 0x2000
        }),
        (value("segment offset", 0), |s| s.segments[0].offset = 0),
        (value("seed gpa", 0x401f_fff0), |s| {
            s.seeds[0].gpa = 0x401f_fff0
        }),
    ];
    for (wanted, change) in cases {
        assert_eq!(refusal(*change), *wanted);
    }
}

fn header_value(field: &'static str, value: u64) -> PayloadError {
    PayloadError::Value {
        partition: usize::MAX,
        field,
        value,
    }
}

#[test]
fn refuses_a_header_without_meaning() {
    let cases: [(PayloadError, Change); 9] = [
        (header_value("focus", 1), |s| s.header.focus = 1),
        (header_value("console_pcpu", 16), |s| {
            s.header.console_pcpu = 16
        }),
        (header_value("console_priority", 256), |s| {
            s.header.console_priority = 256
        }),
        (header_value("on_panic", 2), |s| s.header.on_panic = 2),
        (header_value("uart_kind", 5), |s| s.header.uart_kind = 5),
        (header_value("uart_edge", 2), |s| s.header.uart_edge = 2),
        (header_value("flags", 8), |s| s.header.flags = 8),
        (header_value("trace_bytes", 1), |s| s.header.trace_bytes = 1),
        (header_value("trace_bytes", 1 << 40), |s| {
            s.header.trace_bytes = 1 << 40
        }),
    ];
    for (wanted, change) in cases {
        assert_eq!(refusal(change), wanted);
    }
}

#[test]
fn takes_every_value_that_has_a_meaning() {
    let changes: [Change; 11] = [
        |s| s.regions[0].hpa = 0x8000_0000,
        |s| (s.partitions[0].manages, s.partitions[0].manager_gpa) = (1, GUEST_END - 0x1000),
        |s| s.header.flags = system_flags::SCRUB_AT_BOOT | system_flags::LETTERS,
        |s| s.header.on_panic = 1,
        |s| s.header.uart_kind = 1,
        |s| s.header.uart_edge = 1,
        |s| s.header.trace_bytes = 0x1_0000,
        |s| (s.header.console_pcpu, s.header.console_mpidr) = (16, 0x100),
        |s| (s.vcpus[0].pcpu, s.vcpus[0].mpidr) = (16, 0x100),
        |s| s.partitions[0].flags = partition_flags::KNOWN,
        |s| s.partitions[0].dtb = 0,
    ];
    for change in changes {
        let mut sample = Sample::new();
        change(&mut sample);
        assert!(Payload::new(sample.build().as_bytes()).is_ok());
    }
}

#[test]
fn a_gicv2_serves_eight_vcpus() {
    let with = |vcpus: usize, flags| {
        let mut sample = Sample::new();
        sample.header.flags = flags;
        sample.vcpus = vec![sample.vcpus[0]; vcpus];
        sample.partitions[0].vcpus.count = vcpus as u32;
        Payload::new(sample.build().as_bytes()).map(|_| ())
    };
    let many = |found, limit| {
        let (partition, part) = (0, Part::Vcpus);
        Err(PayloadError::Count {
            partition,
            part,
            found,
            limit,
        })
    };
    assert_eq!(with(16, 0), Ok(()));
    assert_eq!(with(17, 0), many(17, 16));
    assert_eq!(with(8, system_flags::GICV2), Ok(()));
    assert_eq!(with(9, system_flags::GICV2), many(9, 8));
}

#[test]
fn refuses_budgets_without_meaning() {
    let cases: [(PayloadError, Change); 5] = [
        (value("budget_ns", 1), |s| s.vcpus[0].budget_ns = 1),
        (value("budget_ns", 1_001), |s| {
            (s.vcpus[0].budget_ns, s.vcpus[0].period_ns) = (1_001, 1_000);
        }),
        (value("period_ns", MAX_PERIOD_NS + 1), |s| {
            s.vcpus[0].period_ns = MAX_PERIOD_NS + 1;
        }),
        (value("background", 1), |s| s.vcpus[0].background = 1),
        (value("background", 2), |s| {
            (s.vcpus[0].budget_ns, s.vcpus[0].period_ns) = (1_000, 1_000);
            s.vcpus[0].background = 2;
        }),
    ];
    for (wanted, change) in cases {
        assert_eq!(refusal(change), wanted);
    }
}

#[test]
fn refuses_time_windows_that_do_not_follow_each_other_in_their_frame() {
    let cases: [(PayloadError, Change); 11] = [
        (header_value("pcpu", 16), |s| s.pcpus[0].pcpu = 16),
        (header_value("pcpu", 0), |s| {
            s.pcpus.push(s.pcpus[0]);
        }),
        (header_value("pcpu flags", 2), |s| s.pcpus[0].flags = 2),
        (header_value("major_frame_ns", 0), |s| {
            s.pcpus[0].major_frame_ns = 0;
        }),
        (header_value("major_frame_ns", 10_000), |s| {
            s.pcpus[0].windows.count = 0;
        }),
        (header_value("time window length_ns", 9_001), |s| {
            s.time_windows[0].length_ns = 9_001;
        }),
        (header_value("time window length_ns", u64::MAX), |s| {
            s.time_windows[0].length_ns = u64::MAX;
        }),
        (header_value("time window length_ns", 0), |s| {
            s.time_windows[0].length_ns = 0;
        }),
        (header_value("time window partitions", 0), |s| {
            s.time_windows[0].partitions = 0;
        }),
        (header_value("time window partitions", 2), |s| {
            s.time_windows[0].partitions = 2;
        }),
        (header_value("time window start_ns", 4_999), |s| {
            let mut second = s.time_windows[0];
            second.start_ns = 4_999;
            s.time_windows.push(second);
            s.pcpus[0].windows.count = 2;
        }),
    ];
    for (wanted, change) in cases {
        assert_eq!(refusal(change), wanted);
    }
    let many = refusal(|sample| {
        let window = sample.time_windows[0];
        sample.time_windows = vec![window; MAX_TIME_WINDOWS + 1];
        sample.pcpus[0].windows.count = MAX_TIME_WINDOWS as u32 + 1;
    });
    let found = MAX_TIME_WINDOWS + 1;
    assert!(matches!(many, PayloadError::Count { found: f, .. } if f == found));
    assert!(many.to_string().contains("header: 65 time windows"));
}

#[test]
fn refuses_spans_and_tables_out_of_bounds() {
    let partition = 0;
    let span = refusal(|sample| sample.partitions[0].seeds.count = 2);
    let part = Part::Seeds;
    assert_eq!(span, PayloadError::Span { partition, part });
    let far = refusal(|sample| sample.partitions[0].vcpus.first = u32::MAX);
    let part = Part::Vcpus;
    assert_eq!(far, PayloadError::Span { partition, part });
    let none = refusal(|sample| sample.partitions[0].regions.count = 0);
    assert!(matches!(none, PayloadError::Count { found: 0, .. }));
}

#[test]
fn refuses_bad_and_repeated_names() {
    let bad = |text: &'static str| {
        let text = name(text);
        refusal(|sample| sample.partitions[0].name = text)
    };
    let wanted = PayloadError::Name { partition: 0 };
    assert_eq!(bad(""), wanted);
    assert_eq!(bad("Linux"), wanted);
    assert_eq!(bad("a\0b"), wanted);
    let twice = refusal(|sample| sample.partitions.push(sample.partitions[0]));
    assert_eq!(twice, PayloadError::Name { partition: 1 });
}

/// Reads everything that a payload offers.
fn read_all(payload: &Payload<'_>) -> usize {
    let sizes = payload.partitions().iter().map(|partition| {
        let devices = payload.devices(partition);
        let windows: usize = devices.iter().map(|d| payload.windows(d).len()).sum();
        let paths: usize = devices.iter().map(|d| payload.text(d.path).len()).sum();
        let frames = payload.pcpus().iter();
        let time: usize = frames.map(|pcpu| payload.time_windows(pcpu).len()).sum();
        time + payload.name(partition).len() + payload.regions(partition).len() + windows + paths
    });
    sizes.sum()
}

proptest! {
    #[test]
    fn damaged_but_signed_payloads_never_panic(changes in prop::collection::vec((0_usize..200, any::<u64>(), 0_u32..64), 1..4)) {
        let mut words = Sample::new().build();
        let count = words.len();
        for (at, value, shift) in changes {
            words[at % count] ^= value >> shift;
        }
        sign(&mut words);
        if let Ok(payload) = Payload::new(words.as_bytes()) {
            read_all(&payload);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(words in prop::collection::vec(any::<u64>(), 0..100)) {
        prop_assert!(Payload::new(words.as_bytes()).is_err());
    }
}
