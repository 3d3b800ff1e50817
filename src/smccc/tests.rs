use super::arch::Mitigation;
use super::psci::PowerState;
use super::vendor::Request;
use super::*;
use crate::device::manager::Order;

const SUCCESS: Outcome = Outcome::Return(0);

fn error(code: i64) -> Outcome {
    Outcome::Return(code as u64)
}

/// A partition with RAM at 0x40000000 to 0x4fffffff.
struct Guest {
    power: PowerStates,
    vcpu: u8,
    words: Vec<u64>,
    mitigations: Mitigations,
}

impl Guest {
    fn new(vcpus: u8) -> Self {
        let mut power = PowerStates::new(vcpus);
        power.boot(Entry {
            address: GuestPhysAddr(0x4000_0000),
            context: 0,
        });
        assert!(power.start(VcpuId(0)).is_some());
        Self {
            power,
            vcpu: 0,
            words: Vec::new(),
            mitigations: Mitigations::default(),
        }
    }

    fn call(&mut self, function: u32, arguments: [u64; 3]) -> Outcome {
        super::call(function, arguments, self)
    }
}

impl Caller for Guest {
    fn vcpu(&self) -> VcpuId {
        VcpuId(self.vcpu)
    }

    fn power(&mut self) -> &mut PowerStates {
        &mut self.power
    }

    fn is_executable(&self, address: GuestPhysAddr) -> bool {
        address.0 >> 28 == 4
    }

    fn random(&mut self) -> Option<u64> {
        self.words.pop()
    }

    fn mitigations(&self) -> Mitigations {
        self.mitigations
    }
}

const CPU_ON: u32 = 0xc400_0003;
const CPU_ON_32: u32 = 0x8400_0003;
const CPU_OFF: u32 = 0x8400_0002;
const AFFINITY_INFO: u32 = 0xc400_0004;
const CPU_SUSPEND: u32 = 0xc400_0001;
const SYSTEM_SUSPEND: u32 = 0xc400_000e;

#[test]
fn versions_are_said() {
    let mut guest = Guest::new(1);
    assert_eq!(guest.call(0x8400_0000, [0; 3]), Outcome::Return(0x1_0001));
    assert_eq!(guest.call(0x8401_0000, [0; 3]), Outcome::Return(0x1_0001));
    assert_eq!(guest.call(0x8000_0000, [0; 3]), Outcome::Return(0x1_0002));
    assert_eq!(guest.call(0x8400_0050, [0; 3]), Outcome::Return(0x1_0000));
    assert_eq!(guest.call(0x8400_0006, [0; 3]), Outcome::Return(2));
}

#[test]
fn cpu_goes_off_pending_on_and_off_again() {
    let mut guest = Guest::new(2);
    let info = |guest: &mut Guest| guest.call(AFFINITY_INFO, [1, 0, 0]);
    assert_eq!(info(&mut guest), Outcome::Return(1));
    let on = guest.call(CPU_ON, [1, 0x4008_0000, 0xfeed]);
    assert_eq!(on, Outcome::CpuOn { target: VcpuId(1) });
    assert_eq!(info(&mut guest), Outcome::Return(2));
    assert_eq!(guest.call(CPU_ON, [1, 0x4008_0000, 0]), error(-5));
    let entry = Entry {
        address: GuestPhysAddr(0x4008_0000),
        context: 0xfeed,
    };
    assert_eq!(guest.power.start(VcpuId(1)), Some(entry));
    assert_eq!(guest.power.start(VcpuId(1)), None, "once");
    assert_eq!(info(&mut guest), Outcome::Return(0));
    assert_eq!(guest.call(CPU_ON, [1, 0x4008_0000, 0]), error(-4));
    guest.vcpu = 1;
    assert_eq!(guest.call(CPU_OFF, [0; 3]), Outcome::CpuOff { last: false });
    assert_eq!(info(&mut guest), Outcome::Return(1));
    guest.vcpu = 0;
    assert_eq!(guest.call(CPU_OFF, [0; 3]), Outcome::CpuOff { last: true });
}

#[test]
fn cpu_on_checks_target_then_address_then_state() {
    let mut guest = Guest::new(2);
    for target in [2, 0x100, 1 << 31, 1 << 24, 1 << 32, 1 << 40, u64::MAX] {
        assert_eq!(guest.call(CPU_ON, [target, 0, 0]), error(-2), "{target:#x}");
    }
    for address in [0, 0x3fff_fffc, 0x5000_0000, 0x4000_0002, u64::MAX] {
        assert_eq!(
            guest.call(CPU_ON, [0, address, 0]),
            error(-9),
            "{address:#x}"
        );
    }
    assert_eq!(guest.call(CPU_ON, [0, 0x4000_0000, 0]), error(-4), "itself");
    assert_eq!(guest.power.state(VcpuId(1)), PowerState::Off);
}

#[test]
fn upper_halves_of_32_bit_calls_do_not_count() {
    let mut guest = Guest::new(2);
    let dirty = 0xdead_beef_0000_0000;
    let outcome = guest.call(CPU_ON_32, [dirty | 1, dirty | 0x4000_0000, dirty | 7]);
    assert_eq!(outcome, Outcome::CpuOn { target: VcpuId(1) });
    let entry = guest.power.start(VcpuId(1)).unwrap();
    assert_eq!((entry.address.0, entry.context), (0x4000_0000, 7));
    assert_eq!(
        guest.call(0x8400_0004, [dirty | 1, dirty, 0]),
        Outcome::Return(0)
    );
}

#[test]
fn affinity_info_of_levels() {
    let mut guest = Guest::new(2);
    assert_eq!(guest.call(AFFINITY_INFO, [0x77, 1, 0]), Outcome::Return(0));
    assert_eq!(guest.call(AFFINITY_INFO, [0x77, 0, 0]), error(-2));
    assert_eq!(guest.call(AFFINITY_INFO, [0x100, 1, 0]), error(-2));
    assert_eq!(guest.call(AFFINITY_INFO, [0x177, 2, 0]), Outcome::Return(0));
    assert_eq!(guest.call(AFFINITY_INFO, [0, 3, 0]), Outcome::Return(0));
    assert_eq!(
        guest.call(AFFINITY_INFO, [0x1_0177, 3, 0]),
        Outcome::Return(0)
    );
    assert_eq!(guest.call(AFFINITY_INFO, [0x1_0177, 2, 0]), error(-2));
    assert_eq!(guest.call(AFFINITY_INFO, [0, 4, 0]), error(-2));
    assert_eq!(guest.call(AFFINITY_INFO, [1 << 24, 3, 0]), error(-2));
    guest.power.stop();
    assert_eq!(guest.call(AFFINITY_INFO, [0, 1, 0]), Outcome::Return(1));
    guest.call(CPU_ON, [1, 0x4000_0000, 0]);
    assert_eq!(guest.call(AFFINITY_INFO, [0, 1, 0]), Outcome::Return(2));
}

#[test]
fn suspend_waits_or_powers_down() {
    let mut guest = Guest::new(1);
    let standby = Outcome::Suspend { resume: None };
    assert_eq!(guest.call(CPU_SUSPEND, [0x12, 1, 2]), standby);
    let resume = Some(Entry {
        address: GuestPhysAddr(0x4000_1000),
        context: 9,
    });
    assert_eq!(
        guest.call(CPU_SUSPEND, [1 << 16, 0x4000_1000, 9]),
        Outcome::Suspend { resume }
    );
    assert_eq!(guest.call(CPU_SUSPEND, [1 << 16, 0x10, 9]), error(-9));
    for state in [1 << 17, 1 << 24, 1 << 26, 1 << 31] {
        assert_eq!(guest.call(CPU_SUSPEND, [state, 0x4000_0000, 0]), error(-2));
    }
    assert_eq!(
        guest.power.state(VcpuId(0)),
        PowerState::On,
        "suspended is on"
    );
}

#[test]
fn system_suspend_wants_all_others_off() {
    let mut guest = Guest::new(2);
    let resume = Some(Entry {
        address: GuestPhysAddr(0x4000_0000),
        context: 3,
    });
    assert_eq!(
        guest.call(SYSTEM_SUSPEND, [0x4000_0000, 3, 0]),
        Outcome::Suspend { resume }
    );
    assert_eq!(guest.call(SYSTEM_SUSPEND, [0, 3, 0]), error(-9));
    guest.call(CPU_ON, [1, 0x4000_0000, 0]);
    assert_eq!(guest.call(SYSTEM_SUSPEND, [0x4000_0000, 3, 0]), error(-3));
}

#[test]
fn system_calls_reach_the_partition() {
    let mut guest = Guest::new(1);
    assert_eq!(guest.call(0x8400_0008, [0; 3]), Outcome::SystemOff);
    assert_eq!(guest.call(0x8400_0009, [0; 3]), Outcome::SystemReset);
    assert_eq!(guest.call(0xc400_0012, [0; 3]), Outcome::SystemReset);
    assert_eq!(guest.call(0xc400_0012, [1 << 31, 0, 0]), error(-2));
}

#[test]
fn features_and_functions_agree() {
    let psci = (0..0x20u32).flat_map(|n| [0x8400_0000 | n, 0xc400_0000 | n]);
    for function in psci.chain([0x8000_0000]) {
        let mut guest = Guest::new(2);
        guest.vcpu = 1;
        let served = guest.call(function, [0x8400_0000; 3]) != Outcome::NOT_SUPPORTED;
        let said = guest.call(0x8400_000a, [function.into(), 0, 0]) == SUCCESS;
        assert_eq!(served, said, "{function:#x}");
    }
}

#[test]
fn nothing_else_is_served() {
    let served = [
        0x8000_0000u32,
        0x8000_0001,
        0x8400_0050,
        0x8400_0051,
        0x8400_0052,
        0x8400_0053,
        0xc400_0053,
        0x8600_0000,
        0x8600_0001,
        0xc600_0001,
        0x8600_0002,
        0xc600_0002,
        0x8600_0010,
        0xc600_0010,
        0x8600_0011,
        0xc600_0011,
        0x8600_0018,
        0xc600_0018,
        0x8600_0019,
        0xc600_0019,
        0x8600_001a,
        0xc600_001a,
        0x8600_001b,
        0xc600_001b,
        0x8600_001c,
        0xc600_001c,
        0x8600_001d,
        0xc600_001d,
        0x8600_001e,
        0xc600_001e,
        0x8600_ff01,
        0x8600_ff03,
    ];
    // Every owner, both widths, fast and yielding, with and without reserved bits; numbers that differ in kind.
    let numbers = (0..0x100u32).chain([0x3fff, 0x7fff, 0x8000, 0xff00, 0xff01, 0xff03, 0xffff]);
    for number in numbers {
        for high in 0..0x100u32 {
            for reserved in [0, 2, 0x80, 0xfe] {
                let function = high << 24 | reserved << 16 | number;
                let psci = matches!(high, 0x84 | 0xc4) && number < 0x20 && reserved == 0;
                if served.contains(&function) || psci {
                    continue;
                }
                let outcome = Guest::new(1).call(function, [0; 3]);
                assert_eq!(outcome, Outcome::NOT_SUPPORTED, "{function:#x}");
            }
        }
    }
}

#[test]
fn workarounds_follow_what_the_cpu_needs() {
    let mut guest = Guest::new(1);
    let features = |guest: &mut Guest, f: u32| guest.call(0x8000_0001, [f.into(), 0, 0]);
    assert_eq!(features(&mut guest, 0x8000_8000), error(-1));
    assert_eq!(features(&mut guest, 0x8000_0001), SUCCESS);
    assert_eq!(features(&mut guest, 0x8000_0002), error(-1), "SOC_ID");
    assert_eq!(features(&mut guest, 0x8000_7fff), error(-1));
    assert_eq!(guest.call(0x8000_7fff, [0; 3]), error(-1));
    guest.mitigations = Mitigations {
        branch_predictor: Mitigation::NotNeeded,
        branch_history: Mitigation::Offered,
        store_bypass_safe: true,
    };
    assert_eq!(features(&mut guest, 0x8000_8000), Outcome::Return(1));
    assert_eq!(features(&mut guest, 0x8000_7fff), Outcome::Return(1));
    assert_eq!(features(&mut guest, 0x8000_3fff), SUCCESS);
    assert_eq!(guest.call(0x8000_8000, [0; 3]), SUCCESS);
    assert_eq!(guest.call(0x8000_7fff, [0; 3]), SUCCESS);
    assert_eq!(
        guest.call(0x8000_3fff, [0; 3]),
        Outcome::Mitigate(Workaround::BranchHistory)
    );
}

#[test]
fn a17_what_the_firmware_says_of_a_workaround_reaches_guests() {
    for (answer, told) in [
        (0, SUCCESS),
        (1, Outcome::Return(1)),
        (-1, error(-1)),
        (7, error(-1)),
    ] {
        let mut guest = Guest::new(1);
        guest.mitigations.branch_predictor = Mitigation::from_firmware(answer);
        assert_eq!(
            guest.call(0x8000_0001, [0x8000_8000, 0, 0]),
            told,
            "{answer}"
        );
    }
    assert_eq!(Workaround::BranchPredictor.function(), 0x8000_8000);
    assert_eq!(Workaround::BranchHistory.function(), 0x8000_3fff);
}

#[test]
fn the_source_of_random_numbers_says_what_and_who_it_is() {
    let mut guest = Guest::new(1);
    for function in [
        0x8400_0050,
        0x8400_0051,
        0x8400_0052,
        0x8400_0053,
        0xc400_0053,
    ] {
        assert_eq!(guest.call(0x8400_0051, [function, 0, 0]), SUCCESS);
    }
    for function in [0x8400_0054, 0xc400_0050, 0xc400_0052] {
        assert_eq!(guest.call(0x8400_0051, [function, 0, 0]), error(-1));
    }
    let uuid = [0x2b61_44ad, 0x0143_29f1, 0xe834_5c9b, 0x17c1_1044];
    assert_eq!(guest.call(0x8400_0052, [0; 3]), Outcome::Return4(uuid));
}

#[test]
fn random_bits_fill_from_the_last_register() {
    let mut guest = Guest::new(1);
    let words = vec![u64::MAX; 16];
    for (function, bits, expected) in [
        (0xc400_0053, 192, [0, u64::MAX, u64::MAX, u64::MAX]),
        (0xc400_0053, 65, [0, 0, 1, u64::MAX]),
        (0xc400_0053, 1, [0, 0, 0, 1]),
        (0x8400_0053, 96, [0, 0xffff_ffff, 0xffff_ffff, 0xffff_ffff]),
        (0x8400_0053, 33, [0, 0, 1, 0xffff_ffff]),
    ] {
        guest.words.clone_from(&words);
        let outcome = guest.call(function, [bits, 0, 0]);
        assert_eq!(outcome, Outcome::Return4(expected), "{bits}");
    }
    for (function, bits) in [
        (0xc400_0053, 0),
        (0xc400_0053, 193),
        (0x8400_0053, 97),
        (0xc400_0053, u64::MAX),
    ] {
        assert_eq!(guest.call(function, [bits, 0, 0]), error(-2));
    }
    guest.words = vec![1];
    assert_eq!(
        guest.call(0xc400_0053, [192, 0, 0]),
        Outcome::Return4([-3i64 as u64, 0, 0, 0])
    );
}

#[test]
fn vendor_range_tells_who_we_are() {
    let mut guest = Guest::new(1);
    assert_eq!(
        guest.call(0x8600_0000, [0; 3]),
        Outcome::Return(0x7f03_0007)
    );
    assert_eq!(guest.call(0xc600_0000, [0; 3]), Outcome::NOT_SUPPORTED);
    assert_eq!(guest.call(0x8600_0001, [0; 3]), Outcome::Yield);
    assert_eq!(guest.call(0xc600_0001, [0; 3]), Outcome::Yield);
    let all = [u64::MAX, 0, 0];
    let wide = guest.call(0xc600_0010, all);
    assert_eq!(wide, Outcome::ChannelSignal(u64::MAX));
    let narrow = guest.call(0x8600_0011, all);
    assert_eq!(narrow, Outcome::ChannelStatus(0xffff_ffff));
    let Outcome::Return4(uid) = guest.call(0x8600_ff01, [0; 3]) else {
        panic!("no UID")
    };
    let bytes: Vec<u8> = uid.iter().flat_map(|w| (*w as u32).to_le_bytes()).collect();
    assert_eq!(bytes[..4], [0xe1, 0x46, 0x77, 0x8d]);
    assert_eq!(bytes[12..], [0x28, 0xdd, 0x01, 0x1b]);
    let revision = guest.call(0x8600_ff03, [0; 3]);
    assert_eq!(revision, Outcome::Return4([1, 2, 0, 0]));
}

#[test]
fn managers_calls_are_requests_in_both_widths() {
    let mut guest = Guest::new(1);
    let (wide, narrow) = (1 << 32 | 5, 5);
    let order = Request::Order;
    let requests = |id, word| {
        [
            (0x18, Request::List),
            (0x19, Request::Info(id)),
            (0x1a, order(id, Order::Stop)),
            (0x1b, order(id, Order::Start)),
            (0x1c, order(id, Order::Restart)),
            (0x1d, Request::Crash(id, word)),
            (0x1e, Request::Log(id, word)),
        ]
    };
    for (high, arguments) in [(0x8600_0000, narrow), (0xc600_0000, wide)] {
        for (number, request) in requests(arguments, arguments + 1) {
            let outcome = guest.call(high | number, [wide, wide + 1, 9]);
            assert_eq!(outcome, Outcome::Manage(request), "{number:#x}");
        }
        assert_eq!(guest.call(high | 2, [0; 3]), Outcome::Kick);
    }
}

proptest::proptest! {
    /// Calls in any order from any vCPU keep the model sane: no state without a reason, starts happen once.
    #[test]
    fn power_states_change_by_the_rules(
        steps in proptest::collection::vec((0..4u8, 0..4u64, 0..4u8), 1..100)
    ) {
        let mut guest = Guest::new(4);
        for (vcpu, target, kind) in steps {
            let before: Vec<_> = (0..4).map(|n| guest.power.state(VcpuId(n))).collect();
            if before[usize::from(vcpu)] != PowerState::On {
                guest.power.start(VcpuId(vcpu));
                assert_eq!(
                    guest.power.state(VcpuId(vcpu)) == PowerState::On,
                    before[usize::from(vcpu)] != PowerState::Off
                );
                continue;
            }
            guest.vcpu = vcpu;
            let target_before = before[target as usize];
            match kind {
                0 => {
                    let Outcome::CpuOff { last } = guest.call(CPU_OFF, [0; 3]) else { panic!() };
                    let off = (0..4).all(|n| guest.power.state(VcpuId(n)) == PowerState::Off);
                    assert_eq!(last, off);
                }
                _ => {
                    let outcome = guest.call(CPU_ON, [target, 0x4000_0000, target]);
                    let expected = match target_before {
                        PowerState::On => error(-4),
                        PowerState::OnPending(_) => error(-5),
                        PowerState::Off => Outcome::CpuOn { target: VcpuId(target as u8) },
                    };
                    assert_eq!(outcome, expected);
                }
            }
        }
    }
}

#[test]
fn a_constant_answer_is_what_the_general_way_gives() {
    let mut caller = Guest::new(1);
    let mut given = 0;
    for owner in 0..64u32 {
        for form in [0, 1 << 31, 3 << 30] {
            for hint in [0, 1 << 16, 1 << 17] {
                for number in (0..64).chain([0x50, 0x3fff, 0x7fff, 0x8000, 0xff01, 0xff03]) {
                    let function = form | owner << 24 | hint | number;
                    for argument in [0, 0x8400_0000, 0x8000_0000, 0x8400_000b, 0x1_8400_0002] {
                        if let Some(value) = constant(function, argument) {
                            given += 1;
                            let general = call(function, [argument, 0, 0], &mut caller);
                            assert_eq!(general, Outcome::Return(value), "{function:#x}");
                        }
                    }
                }
            }
        }
    }
    assert!(given > 1000);
    let psci = [0, 6, 10].map(|number| 0x8400_0000 | number);
    assert!(psci.iter().all(|call| constant(*call, 0).is_some()));
    assert!(constant(0x8000_0000, 0).and(constant(0x8600_0000, 0)) == Some(vendor::FEATURES));
}

#[test]
fn an_errand_is_what_the_general_way_gives() {
    let mut caller = Guest::new(1);
    let mut given = 0;
    for form in [0, 1 << 31, 3 << 30] {
        for owner in 0..64u32 {
            for number in (0..=0xffff).chain([0x1_0001, 0x1_0010, 0x2_0001]) {
                let (function, argument) = (form | owner << 24 | number, 0x5_0000_0003);
                let general = match errand(function) {
                    None => continue,
                    Some(Errand::Yield) => Outcome::Yield,
                    Some(Errand::Ring) => Outcome::ChannelSignal(argument & 0xffff_ffff),
                };
                given += 1;
                let outcome = call(function, [argument, 0, 0], &mut caller);
                assert_eq!(outcome, general, "{function:#x}");
            }
        }
    }
    assert_eq!(given, 2, "both calls");
}
