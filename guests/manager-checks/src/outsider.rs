//! A partition that manages nobody.

use guest_runtime::exception::catch;
use guest_runtime::manage;
use guest_runtime::mmio::Mmio;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, tests};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_all_calls_of_a_manager_are_denied,
    c_there_is_no_watchdog_to_kick,
    c_there_are_no_registers_of_a_manager,
];

fn c_all_calls_of_a_manager_are_denied() -> Outcome {
    for function in manage::ABOUT_ONE.into_iter().chain([manage::LIST]) {
        for id in [0, 1, 2, 3, 63, 64, u64::MAX] {
            for function in [function, function & !0x4000_0000] {
                let result = manage::call(function, [id, 0]);
                expect_eq!(result[0] as i64, manage::DENIED, "the result of a call");
                expect_eq!(result[3], 0, "x3, which is no result");
            }
        }
    }
    Ok(())
}

fn c_there_is_no_watchdog_to_kick() -> Outcome {
    expect_eq!(manage::kick(), manage::DENIED, "a kick");
    Ok(())
}

fn c_there_are_no_registers_of_a_manager() -> Outcome {
    expect!(
        manage::pages().is_none(),
        "the tree has a manager's registers"
    );
    // SAFETY: nothing of this program is there; a table that gives it to a manager has it for that one.
    let registers = unsafe { Mmio::new(0x0b90_0000) };
    let (_, caught) = catch(|| {
        registers.read64(manage::register::STATE);
    });
    expect!(
        caught.is_some(),
        "a load where a manager has registers is no abort"
    );
    Ok(())
}
