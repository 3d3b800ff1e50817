//! The table has no hole, and says what the code does.

use super::*;
use crate::trap::inject::{Exception, answer};
use crate::trap::syndrome::{Trap, decode};

#[test]
fn every_bit_has_one_row() {
    for register in REGISTERS {
        let mut next = 64;
        for field in register.fields {
            let (high, low) = field.bits;
            let at = format!("{} {} ({high}:{low})", register.name, field.name);
            assert_eq!(high + 1, next, "{at}: a bit is without a row or has two");
            assert!(low <= high, "{at}");
            assert_eq!(
                field.value << low & !field.mask(),
                0,
                "{at}: the value is too large"
            );
            assert_eq!(
                field.why.is_empty(),
                field.name.starts_with("RES"),
                "{at}: why?"
            );
            next = low;
        }
        assert_eq!(
            next, 0,
            "{}: the lowest bits are without a row",
            register.name
        );
    }
}

#[test]
fn a_field_is_found_by_its_name() {
    assert_eq!(HCR_EL2.mask("TWI"), 1 << 13);
    assert_eq!(MDCR_EL2.mask("HPMN"), 0x1f);
    assert_eq!(HSTR_EL2.mask("all"), u64::MAX);
    assert_eq!(HCR_EL2.mask("TW"), 0);
}

#[test]
fn every_class_has_one_row() {
    let rows = |class| {
        let holds = |row: &&Class| (row.numbers.0..=row.numbers.1).contains(&class);
        CLASSES.iter().filter(holds).count()
    };
    for class in 0..64 {
        let known = !matches!(decode(u64::from(class) << 26), Trap::Unknown { .. });
        assert_eq!(rows(class), usize::from(known), "class {class:#04x}");
    }
}

#[test]
fn every_class_ends_as_its_row_says() {
    for row in CLASSES {
        for class in row.numbers.0..=row.numbers.1 {
            let trap = decode(u64::from(class) << 26);
            let exception = answer(trap, 0);
            let undefined = exception == Some(Exception::Undefined);
            let at = format!("class {class:#04x}, {}", row.why);
            assert_eq!(undefined, row.why.ends_with("undefined"), "{at}");
            match row.fate {
                Refused => assert!(exception.is_some(), "{at}"),
                Hypervisor => assert!(exception.is_none(), "{at}"),
                // The emulated registers' class has an answer for all that is none.
                Virtualized => assert!(
                    exception.is_none() || matches!(trap, Trap::DataAbort(_)),
                    "{at}"
                ),
                fate => panic!("{at}: {fate:?} is no fate of a class"),
            }
        }
    }
}
