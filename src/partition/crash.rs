//! What is kept of a partition's last crash: a fault that had no answer, or a watchdog that nobody kicked. It stays when the
//! partition starts again, until the next crash.
//!
//! It is read by the word. This layout is an interface for guests and does not change:
//!
//! | word | what |
//! | --- | --- |
//! | 0 | bits 7:0 version, 15:8 vCPU, 23:16 cause (1 a fault, 2 the watchdog), 31:24 records at word 64, 63:32 which start of the partition it was |
//! | 1 | when, in ticks of the physical count |
//! | 2 to 4 | `ESR_EL2`, `FAR_EL2` and the guest-physical address of the last trap, as far as they meant anything; zero for the watchdog |
//! | 5, 6 | program counter, `PSTATE` |
//! | 7 to 16 | `SP_EL0`, `SP_EL1`, `ELR_EL1`, `SPSR_EL1`, `ESR_EL1`, `FAR_EL1`, `VBAR_EL1`, `SCTLR_EL1`, `TTBR0_EL1`, `TTBR1_EL1` |
//! | 17 | bytes from word 112 on that count |
//! | 18 to 48 | x0 to x30 |
//! | 64 to 95 | the last records about this vCPU in its pCPU's trace ring, the newest first, two words each as [`crate::trace`] has them |
//! | 96 to 103 | the cause in words, padded with zeros |
//! | 104 to 111 | the syndrome in words, padded with zeros |
//! | 112 to 175 | the last that was sent to the partition's console |
//!
//! All other words are zero.

use crate::device::manager::{VERSION, first_bytes, name_word};
use crate::ids::VcpuId;
use crate::trap::syndrome;
use crate::vcpu::Context;

/// Trace records that are kept.
pub const TRACED: usize = 16;
/// Words of console output that are kept.
pub const CONSOLE_WORDS: usize = 64;

/// What made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A fault without an answer.
    Fault,
    /// The watchdog.
    Watchdog,
}

/// What the trap registers said of a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrapRegisters {
    /// `ESR_EL2`.
    pub esr: u64,
    /// `FAR_EL2`.
    pub far: u64,
    /// The guest-physical address, from `HPFAR_EL2`.
    pub gpa: u64,
}

/// What is known of a crash beside registers.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// What made it.
    pub cause: Cause,
    /// The same in words.
    pub why: &'static str,
    /// Which vCPU.
    pub vcpu: VcpuId,
    /// Which start of the partition it was.
    pub starts: u32,
    /// When.
    pub ticks: u64,
    /// The last trap.
    pub trap: TrapRegisters,
}

/// The record.
#[derive(Clone, Debug)]
pub struct Crash {
    /// How many were taken.
    count: u64,
    /// Words 0 to 16.
    head: [u64; 17],
    gpr: [u64; 31],
    traced: [[u64; 2]; TRACED],
    why: &'static str,
    syndrome: &'static str,
    console: [u64; CONSOLE_WORDS],
    console_bytes: u32,
    /// The console's last output is still to be kept.
    fresh: bool,
}

impl Crash {
    /// Makes a record of nothing.
    pub const fn new() -> Self {
        Self {
            count: 0,
            head: [0; 17],
            gpr: [0; 31],
            traced: [[0; 2]; TRACED],
            why: "",
            syndrome: "",
            console: [0; CONSOLE_WORDS],
            console_bytes: 0,
            fresh: false,
        }
    }

    /// Takes a new record. `last` gets room for trace records, and returns how many it filled.
    pub fn take(
        &mut self,
        what: Circumstances,
        context: &Context,
        last: impl FnOnce(&mut [[u64; 2]]) -> usize,
    ) {
        let (system, trap) = (&context.system, what.trap);
        let traced = last(&mut self.traced).min(TRACED);
        let cause = match what.cause {
            Cause::Fault => 1,
            Cause::Watchdog => 2,
        };
        self.head = [
            VERSION
                | u64::from(what.vcpu.0) << 8
                | cause << 16
                | (traced as u64) << 24
                | u64::from(what.starts) << 32,
            what.ticks,
            trap.esr,
            trap.far,
            trap.gpa,
            context.pc,
            context.pstate,
            system.sp_el0,
            system.sp_el1,
            system.elr_el1,
            system.spsr_el1,
            system.esr_el1,
            system.far_el1,
            system.vbar_el1,
            system.sctlr_el1,
            system.ttbr0_el1,
            system.ttbr1_el1,
        ];
        self.gpr = context.gpr;
        self.why = what.why;
        self.syndrome = match what.cause {
            Cause::Fault => syndrome::describe(trap.esr),
            Cause::Watchdog => "",
        };
        self.console_bytes = 0;
        self.fresh = true;
        self.count = self.count.saturating_add(1);
    }

    /// Says whether the console's last output is still to be kept.
    pub const fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Keeps some of the console's last output, so that its oldest word is number `from`; `end` is the number of bytes that
    /// were ever sent, and `word` returns those at a place. Returns false when all is kept.
    pub fn keep(&mut self, from: usize, most: usize, end: u32, word: impl Fn(u32) -> u64) -> bool {
        let bytes = end.min(8 * CONSOLE_WORDS as u32);
        let first = end.wrapping_sub(bytes);
        for (index, kept) in self.console.iter_mut().enumerate().skip(from).take(most) {
            let at = 8 * index as u32;
            *kept = first_bytes(word(first.wrapping_add(at)), bytes.saturating_sub(at));
        }
        self.fresh = from.saturating_add(most) < CONSOLE_WORDS;
        self.console_bytes = bytes;
        self.fresh
    }

    /// Returns how many records were taken.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Returns a word of the record.
    pub fn word(&self, index: usize) -> u64 {
        let found = match index {
            0..17 => self.head.get(index).copied(),
            17 => Some(self.console_bytes.into()),
            18..49 => self.gpr.get(index - 18).copied(),
            64..96 if index - 64 < 2 * self.records() => {
                let record = self.traced.get((index - 64) / 2);
                record.and_then(|record| record.get(index % 2)).copied()
            }
            96..104 => Some(name_word(self.why.as_bytes(), index - 96)),
            104..112 => Some(name_word(self.syndrome.as_bytes(), index - 104)),
            112..176 => self.console.get(index - 112).copied(),
            _ => None,
        };
        found.unwrap_or(0)
    }

    /// Returns how many trace records there are.
    fn records(&self) -> usize {
        (self.head.first().copied().unwrap_or(0) >> 24 & 0xff) as usize
    }
}

impl Default for Crash {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let mut context = Context::starting_at(0x4000_0000, 7, 0);
        context.gpr = core::array::from_fn(|n| 0x100 + n as u64);
        context.pc = 0x4000_1234;
        context.system.vbar_el1 = 0x3000_0000;
        context
    }

    fn fault() -> Circumstances {
        Circumstances {
            cause: Cause::Fault,
            why: "it went too far",
            vcpu: VcpuId(3),
            starts: 5,
            ticks: 99,
            trap: TrapRegisters {
                esr: 0x8200_0006,
                far: 0x3000_0200,
                gpa: 0x3000_0000,
            },
        }
    }

    fn text(crash: &Crash, first: usize, words: usize) -> String {
        let bytes = (first..first + words).flat_map(|word| crash.word(word).to_le_bytes());
        String::from_utf8(bytes.take_while(|byte| *byte != 0).collect()).unwrap()
    }

    #[test]
    fn words_are_where_the_table_says() {
        let mut crash = Crash::new();
        assert!((0..200).all(|word| crash.word(word) == 0) && crash.count() == 0);
        crash.take(fault(), &context(), |room| {
            room[..2].copy_from_slice(&[[1, 2], [3, 4]]);
            2
        });
        assert_eq!(crash.word(0), 5 << 32 | 2 << 24 | 1 << 16 | 3 << 8 | 1);
        let head = [99, 0x8200_0006, 0x3000_0200, 0x3000_0000, 0x4000_1234];
        assert_eq!([1, 2, 3, 4, 5].map(|word| crash.word(word)), head);
        assert_eq!(crash.word(13), 0x3000_0000);
        assert_eq!([18, 48, 49].map(|word| crash.word(word)), [0x100, 0x11e, 0]);
        let records = [63, 64, 65, 66, 67, 68].map(|word| crash.word(word));
        assert_eq!(records, [0, 1, 2, 3, 4, 0]);
        assert_eq!(text(&crash, 96, 8), "it went too far");
        assert_eq!(text(&crash, 104, 8), syndrome::describe(0x8200_0006));
        assert_eq!((crash.word(176), crash.word(usize::MAX)), (0, 0));
        assert_eq!(crash.count(), 1);
    }

    #[test]
    fn a_new_record_hides_the_old_ones_traces() {
        let mut crash = Crash::new();
        crash.take(fault(), &context(), |room| {
            room.fill([9, 9]);
            99
        });
        assert_eq!(crash.word(95), 9);
        let watchdog = Circumstances {
            cause: Cause::Watchdog,
            ..fault()
        };
        crash.take(watchdog, &context(), |_| 0);
        assert_eq!((crash.word(0) >> 16 & 0xffff, crash.word(64)), (2, 0));
        assert_eq!((text(&crash, 104, 8), crash.count()), (String::new(), 2));
        crash.take(fault(), &context(), |_| 2);
        assert_eq!([67, 68, 95].map(|word| crash.word(word)), [9, 0, 0]);
    }

    #[test]
    fn the_last_piece_of_output_may_be_a_whole_one() {
        let mut crash = Crash::new();
        assert!(crash.keep(0, CONSOLE_WORDS - 1, 512, |_| 7));
        assert!(!crash.keep(CONSOLE_WORDS - 1, 1, 512, |_| 7));
    }

    #[test]
    fn the_last_output_is_kept_piece_by_piece() {
        for sent in [0_u32, 5, 8, 300, 512, 513, 2000] {
            let ring = |at: u32| {
                let bytes: [u8; 8] = core::array::from_fn(|n| 1 + (at + n as u32) as u8 % 251);
                u64::from_le_bytes(bytes)
            };
            let mut crash = Crash::new();
            crash.take(fault(), &context(), |_| 0);
            let mut from = 0;
            while crash.keep(from, 10, sent, ring) {
                assert!(crash.is_fresh());
                from += 10;
            }
            assert!(!crash.is_fresh());
            let kept = sent.min(512);
            assert_eq!(crash.word(17), u64::from(kept), "{sent}");
            let bytes: Vec<u8> = (112..176)
                .flat_map(|word| crash.word(word).to_le_bytes())
                .collect();
            let mut right: Vec<u8> = (sent - kept..sent).map(|at| ring(at) as u8).collect();
            right.resize(512, 0);
            assert_eq!(bytes, right, "{sent}");
        }
    }
}
