//! Calls to whoever is above: SMCCC by HVC or SMC, and PSCI.
//!
//! # Source
//! Arm DEN 0028 (SMC Calling Convention), "Function identifiers"; Arm DEN 0022 (PSCI), "Function prototypes".

use core::arch::asm;

/// SMCCC result: the function is not known.
pub const NOT_SUPPORTED: i64 = -1;
/// PSCI result: an argument is wrong.
pub const INVALID_PARAMETERS: i64 = -2;
/// PSCI result: refused.
pub const DENIED: i64 = -3;
/// PSCI result: the vCPU is on.
pub const ALREADY_ON: i64 = -4;
/// PSCI result: the vCPU is being started.
pub const ON_PENDING: i64 = -5;
/// PSCI result: the entry point is not memory.
pub const INVALID_ADDRESS: i64 = -9;

/// `SMCCC_VERSION`.
pub const SMCCC_VERSION: u32 = 0x8000_0000;
/// `SMCCC_ARCH_FEATURES`.
pub const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;
/// The vendor-specific hypervisor service's "call UID".
pub const HYPERVISOR_UID: u32 = 0x8600_ff01;
/// `PSCI_VERSION`.
pub const PSCI_VERSION: u32 = 0x8400_0000;
/// `CPU_SUSPEND`, 64-bit.
pub const CPU_SUSPEND: u32 = 0xc400_0001;
/// `CPU_OFF`.
pub const CPU_OFF: u32 = 0x8400_0002;
/// `CPU_ON`, 64-bit.
pub const CPU_ON: u32 = 0xc400_0003;
/// `AFFINITY_INFO`, 64-bit.
pub const AFFINITY_INFO: u32 = 0xc400_0004;
/// `MIGRATE_INFO_TYPE`.
pub const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
/// `SYSTEM_OFF`.
pub const SYSTEM_OFF: u32 = 0x8400_0008;
/// `SYSTEM_RESET`.
pub const SYSTEM_RESET: u32 = 0x8400_0009;
/// `PSCI_FEATURES`.
pub const PSCI_FEATURES: u32 = 0x8400_000a;

/// How a call leaves EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// The HVC instruction.
    Hvc,
    /// The SMC instruction. On plain QEMU without EL2 it is undefined.
    Smc,
}

/// Makes a call by `conduit` and returns x0..x3.
pub fn call(conduit: Conduit, function: u32, arguments: [u64; 3]) -> [u64; 4] {
    let [a1, a2, a3] = arguments;
    let (mut x0, mut x1, mut x2, mut x3) = (u64::from(function), a1, a2, a3);
    macro_rules! issue {
        ($instruction:literal) => {
            // SAFETY: the convention lets a call change x0..x17 alone; the runtime makes no call that writes memory.
            unsafe {
                asm!($instruction, inout("x0") x0, inout("x1") x1, inout("x2") x2, inout("x3") x3, out("x4") _, out("x5") _,
                    out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _, out("x13") _,
                    out("x14") _, out("x15") _, out("x16") _, out("x17") _, options(nostack))
            }
        };
    }
    match conduit {
        Conduit::Hvc => issue!("hvc #0"),
        Conduit::Smc => issue!("smc #0"),
    }
    [x0, x1, x2, x3]
}

/// Makes a PSCI call by HVC and returns its status, sign-extended from the 32 bits that every PSCI status has.
pub fn psci(function: u32, arguments: [u64; 3]) -> i64 {
    let [x0, ..] = call(Conduit::Hvc, function, arguments);
    i64::from(x0 as i32)
}

/// Returns whether a hypervisor answers the vendor-specific "call UID": false on plain QEMU.
pub fn is_hypervised() -> bool {
    let [x0, ..] = call(Conduit::Hvc, HYPERVISOR_UID, [0; 3]);
    x0 as u32 != u32::MAX
}

/// Powers the machine or the partition off.
pub fn system_off() -> ! {
    crate::console::flush();
    psci(SYSTEM_OFF, [0; 3]);
    loop {
        crate::sysreg::wfi();
    }
}
