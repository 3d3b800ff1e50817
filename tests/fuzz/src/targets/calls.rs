//! Calls by HVC and SMC.
//!
//! # Source
//! Arm DEN 0022 (PSCI 1.1), DEN 0028 (SMCCC), DEN 0098 (TRNG); our own calls: the table of `bulkhead::smccc::vendor`.

use bulkhead::addr::GuestPhysAddr;
use bulkhead::device::manager::Order;
use bulkhead::ids::{Mpidr, VcpuId};
use bulkhead::smccc::arch::{Mitigation, Mitigations, Workaround};
use bulkhead::smccc::psci::{Entry, PowerState, PowerStates};
use bulkhead::smccc::vendor::Request;
use bulkhead::smccc::{Caller, Errand, Outcome, call, constant, errand};

use crate::bytes::Bytes;

/// Most steps of one run.
const LONGEST: usize = 300;
/// Functions that are served, in their narrow form, and neighbours that are not.
const FUNCTIONS: [u32; 48] = [
    0x8400_0000,
    0x8400_0001,
    0x8400_0002,
    0x8400_0003,
    0x8400_0004,
    0x8400_0005,
    0x8400_0006,
    0x8400_0007,
    0x8400_0008,
    0x8400_0009,
    0x8400_000a,
    0x8400_000e,
    0x8400_000f,
    0x8400_0012,
    0x8400_0013,
    0x8400_0050,
    0x8400_0051,
    0x8400_0052,
    0x8400_0053,
    0x8400_0054,
    0x8000_0000,
    0x8000_0001,
    0x8000_0002,
    0x8000_3fff,
    0x8000_7fff,
    0x8000_8000,
    0x8600_0000,
    0x8600_0001,
    0x8600_0002,
    0x8600_0003,
    0x8600_0010,
    0x8600_0011,
    0x8600_0012,
    0x8600_0018,
    0x8600_0019,
    0x8600_001a,
    0x8600_001b,
    0x8600_001c,
    0x8600_001d,
    0x8600_001e,
    0x8600_001f,
    0x8600_ff00,
    0x8600_ff01,
    0x8600_ff03,
    0x8500_0000,
    0x0400_0000,
    0x8200_0000,
    0xbf00_ff01,
];
/// Values that arguments often have.
const ARGUMENTS: [u64; 16] = [
    0,
    1,
    2,
    3,
    0x100,
    0x8000_0000,
    0x4000_0000,
    0x4000_1000,
    0x4000_0002,
    0x1_0000,
    0x5000_0000,
    96,
    192,
    0x8000_8000,
    u64::MAX,
    0xdead_beef_0000_0001,
];

const NOT_SUPPORTED: i64 = -1;
const INVALID: i64 = -2;
const DENIED: i64 = -3;
const ALREADY_ON: i64 = -4;
const PENDING: i64 = -5;
const BAD_ADDRESS: i64 = -9;

/// A partition as the library sees it.
struct Guest {
    power: PowerStates,
    vcpu: u8,
    random: Option<u64>,
    mitigations: Mitigations,
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
        self.random
    }

    fn mitigations(&self) -> Mitigations {
        self.mitigations
    }
}

/// A vCPU of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Power {
    Off,
    Pending(u64, u64),
    On,
}

/// The model.
struct Model {
    vcpus: Vec<Power>,
    me: usize,
    random: Option<u64>,
    mitigations: Mitigations,
}

fn said(code: i64) -> Outcome {
    Outcome::Return(code as u64)
}

impl Model {
    /// Finds the vCPU with an affinity: Aff0 counts to 15, then Aff1.
    fn named(&self, target: u64) -> Option<usize> {
        (0..self.vcpus.len()).find(|vcpu| affinity(*vcpu) == target)
    }

    fn entry(address: u64, context: u64) -> Result<Entry, Outcome> {
        match address & 3 == 0 && (0x4000_0000..0x5000_0000).contains(&address) {
            true => Ok(Entry {
                address: GuestPhysAddr(address),
                context,
            }),
            false => Err(said(BAD_ADDRESS)),
        }
    }

    fn turn_on(&mut self, [target, address, context]: [u64; 3]) -> Outcome {
        let Some(found) = self.named(target) else {
            return said(INVALID);
        };
        if let Err(wrong) = Self::entry(address, context) {
            return wrong;
        }
        match self.vcpus[found] {
            Power::On => said(ALREADY_ON),
            Power::Pending(..) => said(PENDING),
            Power::Off => {
                self.vcpus[found] = Power::Pending(address, context);
                Outcome::CpuOn {
                    target: VcpuId(found as u8),
                }
            }
        }
    }

    fn info(&self, [target, level, _]: [u64; 3]) -> Outcome {
        let level = level & 0xffff_ffff;
        if level > 3 || target & !0xff_00ff_ffff != 0 {
            return said(INVALID);
        }
        // Fields below the level do not count.
        let above = |affinity: u64| match level {
            3 => affinity >> 32,
            _ => affinity >> (8 * level),
        };
        let inside = (0..self.vcpus.len()).filter(|vcpu| above(affinity(*vcpu)) == above(target));
        let states: Vec<Power> = inside.map(|vcpu| self.vcpus[vcpu]).collect();
        let any = |wanted: fn(&Power) -> bool| states.iter().any(wanted);
        match states.is_empty() {
            true => said(INVALID),
            false if any(|state| *state == Power::On) => said(0),
            false if any(|state| *state != Power::Off) => said(2),
            false => said(1),
        }
    }

    fn suspend(&self, [state, address, context]: [u64; 3]) -> Outcome {
        match state as u32 {
            0..0x1_0000 => Outcome::Suspend { resume: None },
            0x1_0000..0x2_0000 => match Self::entry(address, context) {
                Ok(entry) => Outcome::Suspend {
                    resume: Some(entry),
                },
                Err(wrong) => wrong,
            },
            _ => said(INVALID),
        }
    }

    fn suspend_all(&self, [address, context, _]: [u64; 3]) -> Outcome {
        let mut others = self.vcpus.iter().enumerate();
        if others.any(|(vcpu, state)| vcpu != self.me && *state != Power::Off) {
            return said(DENIED);
        }
        match Self::entry(address, context) {
            Ok(entry) => Outcome::Suspend {
                resume: Some(entry),
            },
            Err(wrong) => wrong,
        }
    }

    fn psci(&mut self, number: u32, wide: bool, arguments: [u64; 3]) -> Outcome {
        match (number, wide) {
            (0, false) => said(0x1_0001),
            (1, _) => self.suspend(arguments),
            (2, false) => {
                self.vcpus[self.me] = Power::Off;
                let last = self.vcpus.iter().all(|state| *state == Power::Off);
                Outcome::CpuOff { last }
            }
            (3, _) => self.turn_on(arguments),
            (4, _) => self.info(arguments),
            (6, false) => said(2),
            (8, false) => Outcome::SystemOff,
            (9, false) => Outcome::SystemReset,
            (0xa, false) => {
                let served = [
                    0x8000_0000,
                    0x8400_0000,
                    0x8400_0001,
                    0xc400_0001,
                    0x8400_0002,
                    0x8400_0003,
                    0xc400_0003,
                    0x8400_0004,
                    0xc400_0004,
                    0x8400_0006,
                    0x8400_0008,
                    0x8400_0009,
                    0x8400_000a,
                    0x8400_000e,
                    0xc400_000e,
                    0x8400_0012,
                    0xc400_0012,
                ];
                let there = served.contains(&(arguments[0] as u32));
                said(if there { 0 } else { NOT_SUPPORTED })
            }
            (0xe, _) => self.suspend_all(arguments),
            (0x12, _) if arguments[0] as u32 == 0 => Outcome::SystemReset,
            (0x12, _) => said(INVALID),
            (0x50, false) => said(0x1_0000),
            (0x51, false) => {
                let asked = arguments[0] as u32;
                let there = matches!(asked, 0x8400_0050..=0x8400_0053 | 0xc400_0053);
                said(if there { 0 } else { NOT_SUPPORTED })
            }
            (0x52, false) => Outcome::Return4([0x2b61_44ad, 0x0143_29f1, 0xe834_5c9b, 0x17c1_1044]),
            (0x53, _) => self.random(arguments[0], if wide { 64 } else { 32 }),
            _ => said(NOT_SUPPORTED),
        }
    }

    fn random(&self, bits: u64, width: u64) -> Outcome {
        if bits == 0 || bits > 3 * width {
            return said(INVALID);
        }
        let Some(word) = self.random else {
            return Outcome::Return4([DENIED as u64, 0, 0, 0]);
        };
        // From x3 upwards, the unused bits zero.
        let part = |n: u64| match bits.saturating_sub(n * width).min(width) {
            0 => 0,
            bits => word >> (64 - bits),
        };
        Outcome::Return4([0, part(2), part(1), part(0)])
    }

    fn arch(&self, number: u32, asked: u64) -> Outcome {
        let known = |mitigation| match mitigation {
            Mitigation::Unknown => NOT_SUPPORTED,
            Mitigation::NotNeeded => 1,
            Mitigation::Offered => 0,
        };
        let weak = &self.mitigations;
        let act = |mitigation, workaround| match mitigation {
            Mitigation::Unknown => said(NOT_SUPPORTED),
            Mitigation::NotNeeded => said(0),
            Mitigation::Offered => Outcome::Mitigate(workaround),
        };
        match number {
            0 => said(0x1_0002),
            1 => said(match asked as u32 {
                0x8000_0000 | 0x8000_0001 => 0,
                0x8000_8000 => known(weak.branch_predictor),
                0x8000_3fff => known(weak.branch_history),
                0x8000_7fff if weak.store_bypass_safe => 1,
                _ => NOT_SUPPORTED,
            }),
            0x8000 => act(weak.branch_predictor, Workaround::BranchPredictor),
            0x3fff => act(weak.branch_history, Workaround::BranchHistory),
            0x7fff if weak.store_bypass_safe => said(0),
            _ => said(NOT_SUPPORTED),
        }
    }

    fn vendor(number: u32, wide: bool, [first, second, _]: [u64; 3]) -> Outcome {
        match (number, wide) {
            (0, false) => said(0x7f03_0007),
            (1, _) => Outcome::Yield,
            (2, _) => Outcome::Kick,
            (0x10, _) => Outcome::ChannelSignal(first),
            (0x11, _) => Outcome::ChannelStatus(first),
            (0x18, _) => Outcome::Manage(Request::List),
            (0x19, _) => Outcome::Manage(Request::Info(first)),
            (0x1a, _) => Outcome::Manage(Request::Order(first, Order::Stop)),
            (0x1b, _) => Outcome::Manage(Request::Order(first, Order::Start)),
            (0x1c, _) => Outcome::Manage(Request::Order(first, Order::Restart)),
            (0x1d, _) => Outcome::Manage(Request::Crash(first, second)),
            (0x1e, _) => Outcome::Manage(Request::Log(first, second)),
            (0xff01, false) => {
                Outcome::Return4([0x8d77_46e1, 0x0645_0ae9, 0x30c8_3681, 0x1b01_dd28])
            }
            (0xff03, false) => Outcome::Return4([1, 2, 0, 0]),
            _ => said(NOT_SUPPORTED),
        }
    }

    fn call(&mut self, function: u32, arguments: [u64; 3]) -> Outcome {
        let function = function & !(1 << 16);
        let wide = function & 1 << 30 != 0;
        let arguments = match wide {
            true => arguments,
            false => arguments.map(|argument| argument & 0xffff_ffff),
        };
        let number = function & 0xffff;
        match function & !(1 << 30 | 0xffff) {
            0x8400_0000 => self.psci(number, wide, arguments),
            // These have no wide form.
            0x8000_0000 if !wide => self.arch(number, arguments[0]),
            0x8600_0000 => Self::vendor(number, wide, arguments),
            _ => said(NOT_SUPPORTED),
        }
    }
}

/// Returns a vCPU's affinity: up to 16 share Aff1.
fn affinity(vcpu: usize) -> u64 {
    (vcpu as u64 >> 4) << 8 | vcpu as u64 & 0xf
}

/// Draws what a pCPU has against speculation.
fn mitigation(bits: u8) -> Mitigation {
    Mitigation::from_firmware(i32::from(bits & 3) - 1)
}

/// Lets the vCPUs of a partition call, and their pCPUs start who is pending.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let count = bytes.byte() % 16 + 1;
    let mitigations = bytes.byte();
    let mitigations = Mitigations {
        branch_predictor: mitigation(mitigations),
        branch_history: mitigation(mitigations >> 2),
        store_bypass_safe: mitigations & 0x10 != 0,
    };
    let mut guest = Guest {
        power: PowerStates::new(count),
        vcpu: 0,
        random: None,
        mitigations,
    };
    let entry = Entry {
        address: GuestPhysAddr(0x4000_0000),
        context: 0,
    };
    guest.power.boot(entry);
    let mut model = Model {
        vcpus: vec![Power::Off; count.into()],
        me: 0,
        random: None,
        mitigations,
    };
    model.vcpus[0] = Power::Pending(0x4000_0000, 0);
    for _ in 0..LONGEST {
        if bytes.is_empty() {
            break;
        }
        step(&mut bytes, &mut guest, &mut model);
        for (vcpu, wanted) in model
            .vcpus
            .iter()
            .zip(0..)
            .map(|(power, n)| (VcpuId(n), power))
        {
            let state = guest.power.state(vcpu);
            let same = match *wanted {
                Power::Off => state == PowerState::Off,
                Power::On => state == PowerState::On,
                Power::Pending(address, context) => {
                    let address = GuestPhysAddr(address);
                    state == PowerState::OnPending(Entry { address, context })
                }
            };
            assert!(same, "{vcpu:?}: {state:?}, not {wanted:?}");
        }
    }
}

/// Starts a vCPU that is pending, or lets one that is on call.
fn step(bytes: &mut Bytes<'_>, guest: &mut Guest, model: &mut Model) {
    let what = bytes.byte();
    let vcpu = usize::from(what & 0xf) % model.vcpus.len();
    let id = VcpuId(vcpu as u8);
    match model.vcpus[vcpu] {
        Power::Pending(address, context) => {
            let started = guest.power.start(id).expect("pending");
            assert_eq!((started.address.0, started.context), (address, context));
            model.vcpus[vcpu] = Power::On;
            return;
        }
        Power::Off => return assert_eq!(guest.power.start(id), None),
        Power::On => {}
    }
    (guest.vcpu, model.me) = (vcpu as u8, vcpu);
    let function = match what >> 4 & 3 {
        0 => bytes.number(4) as u32,
        flags => {
            let known = FUNCTIONS[usize::from(bytes.byte()) % FUNCTIONS.len()];
            let hint = if what & 0x40 != 0 { 1 << 16 } else { 0 };
            known | if flags == 2 { 1 << 30 } else { 0 } | hint
        }
    };
    let arguments = [(); 3].map(|()| match bytes.byte() {
        n @ 0..0xc0 => ARGUMENTS[usize::from(n & 0xf)],
        _ => bytes.number(8),
    });
    guest.random = (what & 0x80 != 0).then(|| bytes.number(8) | 1 << 63);
    model.random = guest.random;
    // The short ways know some of the answers.
    let quick = constant(function, arguments[0]);
    let short = errand(function);
    let outcome = call(function, arguments, guest);
    let wanted = model.call(function, arguments);
    assert_eq!(outcome, wanted, "{function:#x} {arguments:x?}");
    if let Some(answer) = quick {
        assert_eq!(outcome, Outcome::Return(answer), "{function:#x}");
    }
    match short {
        Some(Errand::Yield) => assert_eq!(outcome, Outcome::Yield),
        Some(Errand::Ring) => {
            assert_eq!(outcome, Outcome::ChannelSignal(arguments[0] & 0xffff_ffff));
        }
        None => {}
    }
    if let Outcome::SystemOff | Outcome::SystemReset = outcome {
        guest.power.stop();
        model.vcpus.fill(Power::Off);
        let entry = Entry {
            address: GuestPhysAddr(0x4000_0000),
            context: 0,
        };
        guest.power.boot(entry);
        model.vcpus[0] = Power::Pending(0x4000_0000, 0);
    }
    // Nobody else has another name than the one that the model gives it.
    debug_assert_eq!(Mpidr::of_vcpu(id).raw(), affinity(vcpu));
}

/// Makes runs that call every function in both forms, and turn vCPUs on and off.
pub fn seeds() -> Vec<Vec<u8>> {
    let all = |first: u8, what: u8, argument: u8| {
        let calls = (0..FUNCTIONS.len() as u8)
            .filter(move |index| !matches!(index, 2 | 8 | 9))
            .flat_map(move |index| {
                [
                    what,
                    index,
                    argument,
                    argument / 2,
                    7,
                    1,
                    2,
                    3,
                    4,
                    5,
                    6,
                    7,
                    8,
                ]
            });
        [first, 0x16, 0]
            .into_iter()
            .chain(calls)
            .collect::<Vec<u8>>()
    };
    let on = |vcpu: u8| [0x20, 3, vcpu, 6, 1, vcpu, 0x20 | vcpu, 4, 1, 0, 0];
    let off = |vcpu: u8| [0x10 | vcpu, 2, 0, 0, 0, 0x20, 4, vcpu, 0, 0];
    vec![
        all(0, 0x10, 1),
        all(1, 0x20, 6),
        all(3, 0x90, 11),
        all(3, 0xa0, 12),
        all(15, 0x50, 13),
        [
            &[3, 0, 0][..],
            &on(1),
            &on(2),
            &off(1),
            &on(1),
            &off(2),
            &off(1),
            &off(0),
        ]
        .concat(),
        vec![
            1, 0, 0, 0x20, 3, 1, 6, 2, 0x20, 11, 7, 1, 1, 1, 0x21, 11, 7, 0, 0,
        ],
        vec![
            0, 0x1f, 0, 0x10, 8, 0, 0, 0, 0, 0x10, 9, 0, 0, 0, 0, 0x10, 13, 1, 0, 0,
        ],
    ]
}
