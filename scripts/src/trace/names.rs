//! What records are called.

use bulkhead::trace::What;
use bulkhead::trap::syndrome::{Trap, Wait, decode};

/// Returns what to call a reason to enter EL2; `None` for a record that is none.
pub fn reason(what: What) -> Option<String> {
    Some(match what {
        What::Trap { syndrome, call } => trap(syndrome, call),
        What::Interrupt { intid, .. } | What::Awake { intid } => interrupt(intid),
        What::SError => "SError".to_owned(),
        _ => return None,
    })
}

/// Names a trap.
fn trap(syndrome: u32, number: u16) -> String {
    match decode(u64::from(syndrome)) {
        Trap::Hvc { .. } => format!("HVC {}", call(number)),
        Trap::Smc { .. } => format!("SMC {}", call(number)),
        Trap::DataAbort(abort) if abort.wnr() => "device write".to_owned(),
        Trap::DataAbort(_) => "device read".to_owned(),
        Trap::InstructionAbort(_) => "instruction abort".to_owned(),
        Trap::SystemRegister(access) if access.write => "system register write".to_owned(),
        Trap::SystemRegister(_) => "system register read".to_owned(),
        Trap::Wait(Wait::Interrupt | Wait::InterruptUntil) => "WFI".to_owned(),
        Trap::Wait(Wait::Event | Wait::EventUntil) => "WFE".to_owned(),
        Trap::Fp => "first use of FP".to_owned(),
        Trap::Hidden | Trap::Undefined => "undefined instruction".to_owned(),
        _ => "other trap".to_owned(),
    }
}

/// Names a call by what [`bulkhead::trace::call`] keeps of it.
fn call(number: u16) -> String {
    let (owner, number) = (number >> 10, number & 0x3ff);
    let known = match (owner, number) {
        (0, 0) => "SMCCC_VERSION",
        (0, 1) => "SMCCC_ARCH_FEATURES",
        (4, 0x00) => "PSCI_VERSION",
        (4, 0x01) => "CPU_SUSPEND",
        (4, 0x02) => "CPU_OFF",
        (4, 0x03) => "CPU_ON",
        (4, 0x04) => "AFFINITY_INFO",
        (4, 0x06) => "MIGRATE_INFO_TYPE",
        (4, 0x08) => "SYSTEM_OFF",
        (4, 0x09) => "SYSTEM_RESET",
        (4, 0x0a) => "PSCI_FEATURES",
        (4, 0x50..=0x53) => "TRNG",
        (6, 0) => "features",
        (6, 1) => "yield",
        (6, 0x301) => "UID",
        (6, 0x303) => "revision",
        _ => return format!("{owner:#x}.{number:#x}"),
    };
    known.to_owned()
}

/// Names an interrupt as EL2 uses it.
pub fn interrupt(intid: u16) -> String {
    match intid {
        0 => "kick".to_owned(),
        1..16 => format!("SGI {intid}"),
        25 => "maintenance interrupt".to_owned(),
        26 => "EL2's timer".to_owned(),
        27 => "virtual timer".to_owned(),
        1020.. => "interrupt that went away".to_owned(),
        _ => format!("interrupt {intid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traps_have_names() {
        let named = |syndrome, identifier| {
            let call = bulkhead::trace::call(identifier);
            reason(What::Trap { syndrome, call }).unwrap()
        };
        assert_eq!(named(0x5a00_0000, 0x8600_0001), "HVC yield");
        assert_eq!(named(0x5e00_0000, 0xc400_0003), "SMC CPU_ON");
        assert_eq!(named(0x5a00_0000, 0x8f00_0010), "HVC 0xf.0x10");
        assert_eq!(named(0x0600_0000, 0), "WFI");
        assert_eq!(named(0x9380_0047, 0), "device write");
        assert_eq!(named(0x9380_0007, 0), "device read");
        assert_eq!(reason(What::Enter), None);
        assert_eq!(interrupt(1023), "interrupt that went away");
    }
}
