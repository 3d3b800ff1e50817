//! Names for what enters EL2: exception class, register, call.

use super::execution::Cause;
use super::symbols::Symbols;

/// Where a guest finds the emulated devices.
const GICD: u64 = 0x0800_0000;
const GICC_DIR: u64 = 0x0801_1000;
const GICR: u64 = 0x080a_0000;
const GICR_END: u64 = 0x0900_0000;
const UART: u64 = 0x0900_0000;
const DOORBELLS: u64 = 0x0b80_0000;
const DOORBELLS_END: u64 = 0x0b90_0000;
const MANAGER_END: u64 = 0x0c00_0000;
const FRAME: u64 = 0x1_0000;

/// What the adversary has to reach, by the beginning of the name: a path that is not tried is not bounded.
const REACHED: [&str; 40] = [
    "interrupt",
    "WFI",
    "FP or SIMD",
    "call psci_version",
    "call cpu_on",
    "call cpu_suspend_standby",
    "call trng_rnd_64",
    "call own_yield",
    "call own_channel_signal",
    "call own_channel_status",
    "call own_watchdog_kick",
    "call own_partition_list",
    "call own_partition_info",
    "call own_partition_crash",
    "call own_partition_log",
    "call own_partition_stop",
    "call own_partition_start",
    "call own_partition_restart",
    "call unknown_owner",
    "instruction abort",
    "data abort, undecodable",
    "data abort, nothing there",
    "work in pieces",
    "GICD_CTLR write",
    "GICD_IGROUPR write",
    "GICD_ISENABLER write",
    "GICD_ICENABLER write",
    "GICD_ISPENDR write",
    "GICD_ICPENDR write",
    "GICD_ISACTIVER write",
    "GICD_ICACTIVER write",
    "GICD_IPRIORITYR write",
    "GICD_ICFGR write",
    "doorbell 0x00 write",
    "manager 0x000 write",
    "manager 0x800 read",
    "UART 0x00 write",
    "UART 0x18 read",
    "CNTP_CVAL_EL0 write",
    "PMCR_EL0 write",
];

/// The same of a GICv3, and of a GICv2.
const REACHED_V3: [&str; 7] = [
    "GICD_IROUTER write",
    "GICR_ISENABLER write",
    "GICR_ICPENDR write",
    "GICR_ICACTIVER write",
    "ICC_SGI1R_EL1 write",
    "ICC_SGI0R_EL1 write",
    "ICC_DIR_EL1 write",
];
const REACHED_V2: [&str; 5] = [
    "GICD_ITARGETSR write",
    "GICD_SGIR write",
    "GICD_CPENDSGIR write",
    "GICD_SPENDSGIR write",
    "GICC_DIR write",
];

/// Returns what the adversary has to reach with a GIC.
pub fn reached(gic: Option<u8>) -> impl Iterator<Item = &'static str> {
    let own: &[&str] = match gic {
        Some(2) => &REACHED_V2,
        _ => &REACHED_V3,
    };
    REACHED.iter().chain(own).copied()
}

/// Registers of distributor and redistributor: where each ends, and its name.
const REGISTERS: [(u64, &str); 25] = [
    (0x0004, "CTLR"),
    (0x0008, "TYPER"),
    (0x000c, "IIDR"),
    (0x0080, "other"),
    (0x0100, "IGROUPR"),
    (0x0180, "ISENABLER"),
    (0x0200, "ICENABLER"),
    (0x0280, "ISPENDR"),
    (0x0300, "ICPENDR"),
    (0x0380, "ISACTIVER"),
    (0x0400, "ICACTIVER"),
    (0x0800, "IPRIORITYR"),
    (0x0c00, "ITARGETSR"),
    (0x0d00, "ICFGR"),
    (0x0e00, "IGRPMODR"),
    (0x0f00, "NSACR"),
    (0x0f04, "SGIR"),
    (0x0f10, "other"),
    (0x0f20, "CPENDSGIR"),
    (0x0f30, "SPENDSGIR"),
    (0x6000, "other"),
    (0x8000, "IROUTER"),
    (0xffd0, "other"),
    (0xffff, "identification"),
    (u64::MAX, "other"),
];

/// System registers with a name: op0, op1, CRn, CRm, op2.
const NAMES: [([u64; 5], &str); 12] = [
    ([3, 0, 12, 11, 1], "ICC_DIR_EL1"),
    ([3, 0, 12, 11, 3], "ICC_RPR_EL1"),
    ([3, 0, 12, 11, 5], "ICC_SGI1R_EL1"),
    ([3, 0, 12, 11, 6], "ICC_ASGI1R_EL1"),
    ([3, 0, 12, 11, 7], "ICC_SGI0R_EL1"),
    ([3, 0, 12, 12, 5], "ICC_SRE_EL1"),
    ([3, 3, 14, 2, 0], "CNTP_TVAL_EL0"),
    ([3, 3, 14, 2, 1], "CNTP_CTL_EL0"),
    ([3, 3, 14, 2, 2], "CNTP_CVAL_EL0"),
    ([3, 3, 9, 12, 0], "PMCR_EL0"),
    ([3, 3, 9, 13, 0], "PMCCNTR_EL0"),
    ([3, 0, 1, 0, 1], "ACTLR_EL1"),
];

/// Names a cause. A call has the name of the guest's function that makes it.
///
/// # Source
/// Arm DDI 0487, register page `ESR_EL2`.
pub fn name(cause: &Cause, guest: &Symbols) -> String {
    if cause.exception == "IRQ" {
        return "interrupt".to_owned();
    }
    let iss = cause.esr & 0x1ff_ffff;
    match cause.esr >> 26 & 0x3f {
        0x01 => "WFI or WFE".to_owned(),
        0x07 => "FP or SIMD".to_owned(),
        0x16 | 0x17 => {
            let function = guest.function(cause.elr).unwrap_or_default();
            let (module, short) = function.rsplit_once("::").unwrap_or(("", function));
            match module.ends_with("calls") {
                true => format!("call {short}"),
                false => "call of another kind".to_owned(),
            }
        }
        0x18 => system_register(iss),
        0x20 => "instruction abort".to_owned(),
        0x24 if iss >> 24 & 1 == 0 => "data abort, undecodable".to_owned(),
        0x24 => access(cause.far, iss >> 6 & 1 != 0),
        class => format!("{} (class {class:#x})", cause.exception),
    }
}

/// Names an access to a device.
fn access(address: u64, write: bool) -> String {
    let verb = if write { "write" } else { "read" };
    match address {
        GICD..GICR if address < GICD + FRAME => format!("GICD_{} {verb}", register(address - GICD)),
        GICC_DIR => format!("GICC_DIR {verb}"),
        GICR..GICR_END => {
            let offset = (address - GICR) % (2 * FRAME);
            match offset.checked_sub(FRAME) {
                Some(offset) => format!("GICR_{} {verb}", register(offset)),
                None => format!("GICR control frame {verb}"),
            }
        }
        UART.. if address < UART + 0x1000 => format!("UART {:#04x} {verb}", address - UART),
        DOORBELLS..DOORBELLS_END => format!("doorbell {:#04x} {verb}", address & 0xfff),
        DOORBELLS_END..MANAGER_END => format!("manager {:#05x} {verb}", address & 0xf80),
        _ => format!("data abort, nothing there, {verb}"),
    }
}

/// Names a register of the interrupt controller.
fn register(offset: u64) -> &'static str {
    let found = REGISTERS.iter().find(|(end, _)| offset < *end);
    found.map_or("other", |(_, name)| name)
}

/// Names a system register.
fn system_register(iss: u64) -> String {
    let fields = [
        iss >> 20 & 3,
        iss >> 14 & 7,
        iss >> 10 & 15,
        iss >> 1 & 15,
        iss >> 17 & 7,
    ];
    let verb = if iss & 1 == 0 { "write" } else { "read" };
    if let Some((_, name)) = NAMES.iter().find(|(known, _)| *known == fields) {
        return format!("{name} {verb}");
    }
    let kind = match fields {
        [1, ..] => "cache operation by set and way",
        [2, ..] => "debug register",
        [3, 0, 0, ..] => "ID register",
        [3, _, 9, ..] | [3, _, 14, 8..=15, _] => "performance monitor",
        _ => "other system register",
    };
    format!("{kind} {verb}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(esr: u64, far: u64) -> String {
        let cause = Cause {
            exception: "x".to_owned(),
            esr,
            far,
            elr: 0,
        };
        name(&cause, &Symbols::default())
    }

    #[test]
    fn causes_have_names() {
        // A load of a word from GICD_CTLR, a store to GICR_ICPENDR0, one to nothing.
        assert_eq!(named(0x24 << 26 | 1 << 24, 0x0800_0000), "GICD_CTLR read");
        assert_eq!(
            named(0x24 << 26 | 1 << 24 | 1 << 6, 0x080b_0280),
            "GICR_ICPENDR write"
        );
        // Stores of a word to a GICv2's GICD_SPENDSGIR1, and to its GICC_DIR.
        assert_eq!(
            named(0x24 << 26 | 1 << 24 | 1 << 6, 0x0800_0f24),
            "GICD_SPENDSGIR write"
        );
        assert_eq!(
            named(0x24 << 26 | 1 << 24 | 1 << 6, 0x0801_1000),
            "GICC_DIR write"
        );
        assert_eq!(
            named(0x24 << 26 | 1 << 24 | 1 << 6, 0x0b00_0000),
            "data abort, nothing there, write"
        );
        assert_eq!(named(0x24 << 26, 0x0800_0000), "data abort, undecodable");
        // MSR ICC_SGI1R_EL1, as QEMU's log has it.
        assert_eq!(named(0x623a_3116, 0), "ICC_SGI1R_EL1 write");
        assert_eq!(named(0x01 << 26, 0), "WFI or WFE");
    }
}
