//! Tests that run in a guest and say what happened, one line a test.
//!
//! `PASS name`, `FAIL name: why` or `SKIP name: why`, and at the end `DONE n passed n failed n skipped`; then the partition
//! powers itself off.

use crate::smccc;
use core::fmt;

/// Why a test did not pass.
#[derive(Debug)]
pub enum Verdict {
    /// What is promised does not hold.
    Fail(Reason),
    /// The test makes no sense here.
    Skip(&'static str),
}

/// What a test returns.
pub type Outcome = Result<(), Verdict>;

/// A test: its name and what it runs.
pub type Test = (&'static str, fn() -> Outcome);

/// The longest reason that is kept, in bytes; the rest is cut.
pub const REASON_BYTES: usize = 110;

/// Text of bounded length.
#[derive(Clone, Copy, Debug)]
pub struct Reason {
    bytes: [u8; REASON_BYTES],
    length: u8,
}

impl Reason {
    /// Formats a reason, cutting what is too long.
    pub fn new(arguments: fmt::Arguments<'_>) -> Self {
        let mut reason = Self {
            bytes: [0; REASON_BYTES],
            length: 0,
        };
        let _ = fmt::Write::write_fmt(&mut reason, arguments); // cut text is no error
        reason
    }
}

impl fmt::Write for Reason {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().filter(u8::is_ascii) {
            if let Some(slot) = self.bytes.get_mut(usize::from(self.length)) {
                *slot = byte;
                self.length += 1;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .write_str(core::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or("?"))
    }
}

/// Ends a test as failed, with a reason as for `format!`.
#[macro_export]
macro_rules! fail {
    ($($arguments:tt)*) => {
        return Err($crate::suite::Verdict::Fail($crate::suite::Reason::new(format_args!($($arguments)*))))
    };
}

/// Ends a test as skipped, with a fixed reason.
#[macro_export]
macro_rules! skip {
    ($why:literal) => {
        return Err($crate::suite::Verdict::Skip($why))
    };
}

/// Goes on only if the condition holds; else the test fails with the reason.
#[macro_export]
macro_rules! expect {
    ($condition:expr, $($reason:tt)*) => {
        if !$condition {
            $crate::fail!($($reason)*);
        }
    };
}

/// Goes on only if both sides are equal; else the test fails, printing both in hexadecimal.
#[macro_export]
macro_rules! expect_eq {
    ($found:expr, $wanted:expr, $what:literal) => {{
        let (found, wanted) = ($found, $wanted);
        if found != wanted {
            $crate::fail!(concat!($what, ": found {:#x}, wanted {:#x}"), found, wanted);
        }
    }};
}

/// Makes a list of tests out of function names.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn() -> $crate::suite::Outcome)),*] };
}

/// How many tests passed, failed, were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Passed.
    pub passed: u32,
    /// Failed.
    pub failed: u32,
    /// Skipped.
    pub skipped: u32,
}

/// Runs all tests and says what happened, one line each.
pub fn run_tests(tests: &[&[Test]]) -> Score {
    let mut score = Score::default();
    for (name, test) in tests.iter().copied().flatten() {
        match test() {
            Ok(()) => {
                score.passed += 1;
                println!("PASS {name}");
            }
            Err(Verdict::Fail(reason)) => {
                score.failed += 1;
                println!("FAIL {name}: {reason}");
            }
            Err(Verdict::Skip(why)) => {
                score.skipped += 1;
                println!("SKIP {name}: {why}");
            }
        }
    }
    score
}

/// Runs tests and prints those that fail alone: for a guest that runs them many times over.
pub fn run_quietly(tests: &[&[Test]]) {
    for (name, test) in tests.iter().copied().flatten() {
        if let Err(Verdict::Fail(reason)) = test() {
            println!("FAIL {name}: {reason}");
        }
    }
}

/// Runs all tests, prints the score and powers off.
pub fn run(tests: &[&[Test]]) -> ! {
    let Score {
        passed,
        failed,
        skipped,
    } = run_tests(tests);
    println!("DONE {passed} passed {failed} failed {skipped} skipped");
    smccc::system_off()
}
