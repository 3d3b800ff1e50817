//! Managing other partitions, and the own watchdog: by calls, and by the pages of registers that the device tree names.
//!
//! A partition manages those that its key `manages` names in the table. Orders begin something: [`Info::phase`] tells how
//! far it is.

use core::arch::asm;

use guest_channel::tree;

use crate::mmio::Mmio;

/// Kicks the watchdog.
pub const WATCHDOG_KICK: u32 = 0xc600_0002;
/// Who there is.
pub const LIST: u32 = 0xc600_0018;
/// How a partition is.
pub const INFO: u32 = 0xc600_0019;
/// Stops a partition.
pub const STOP: u32 = 0xc600_001a;
/// Starts a partition.
pub const START: u32 = 0xc600_001b;
/// Restarts a partition.
pub const RESTART: u32 = 0xc600_001c;
/// Words of a partition's crash record.
pub const CRASH: u32 = 0xc600_001d;
/// Bytes of a partition's log.
pub const LOG: u32 = 0xc600_001e;

/// All calls that name a partition.
pub const ABOUT_ONE: [u32; 6] = [INFO, STOP, START, RESTART, CRASH, LOG];

/// Result: done, or begun.
pub const DONE: i64 = 0;
/// Result: there is no such partition.
pub const NO_SUCH: i64 = -2;
/// Result: the caller may not.
pub const DENIED: i64 = -3;
/// Result: it was started already.
pub const RUNS: i64 = -4;
/// Result: it is still stopping.
pub const STOPS: i64 = -5;

/// Phases in a STATE.
pub mod phase {
    /// Nothing of it runs.
    pub const STOPPED: u8 = 0;
    /// Its memory is being filled.
    pub const LOADING: u8 = 1;
    /// It runs.
    pub const RUNNING: u8 = 2;
    /// It leaves.
    pub const STOPPING: u8 = 3;
    /// It leaves, and comes again.
    pub const RESTARTING: u8 = 4;
}

/// Registers of a page.
pub mod register {
    /// Takes orders: 1 stop, 2 start, 3 restart.
    pub const CONTROL: usize = 0x000;
    /// As x1 of the call.
    pub const STATE: usize = 0x008;
    /// As x2 of the call.
    pub const CRASHES: usize = 0x010;
    /// Version, number, words of a crash record.
    pub const INFO: usize = 0x018;
    /// As x3 of the call.
    pub const LOG: usize = 0x020;
    /// The name.
    pub const NAME: usize = 0x040;
    /// The crash record.
    pub const CRASH: usize = 0x200;
    /// What was sent to the console.
    pub const OUTPUT: usize = 0x800;
    /// Bytes of that.
    pub const OUTPUT_BYTES: usize = 0x800;
}

/// How a partition is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// STATE.
    pub state: u64,
    /// How many crash records were taken.
    pub crashes: u64,
    /// LOG.
    pub log: u64,
    /// The name, padded with zeros.
    pub name: [u8; 32],
}

impl Info {
    /// Returns what it is doing.
    pub fn phase(&self) -> u8 {
        self.state as u8
    }

    /// Returns how often it was started.
    pub fn starts(&self) -> u32 {
        (self.state >> 32) as u32
    }

    /// Returns the number of bytes that were ever sent to its console.
    pub fn end(&self) -> u32 {
        self.log as u32
    }
}

/// Makes a call and returns x0 to x17.
pub fn call(function: u32, arguments: [u64; 2]) -> [u64; 18] {
    let [a, b] = arguments;
    let mut r = [
        u64::from(function),
        a,
        b,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    let [
        r0,
        r1,
        r2,
        r3,
        r4,
        r5,
        r6,
        r7,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        r16,
        r17,
    ] = &mut r;
    // SAFETY: the convention lets a call change x0 to x17 alone; none of these calls writes memory.
    unsafe {
        asm!(
            "hvc #0",
            inout("x0") * r0,
            inout("x1") * r1,
            inout("x2") * r2,
            inout("x3") * r3,
            inout("x4") * r4,
            inout("x5") * r5,
            inout("x6") * r6,
            inout("x7") * r7,
            inout("x8") * r8,
            inout("x9") * r9,
            inout("x10") * r10,
            inout("x11") * r11,
            inout("x12") * r12,
            inout("x13") * r13,
            inout("x14") * r14,
            inout("x15") * r15,
            inout("x16") * r16,
            inout("x17") * r17,
            options(nostack)
        );
    }
    r
}

/// Makes a call and returns its result alone.
pub fn ask(function: u32, partition: u64) -> i64 {
    call(function, [partition, 0])[0] as i64
}

/// Kicks the own watchdog.
pub fn kick() -> i64 {
    ask(WATCHDOG_KICK, 0)
}

/// Asks how a partition is.
pub fn info(partition: u64) -> Result<Info, i64> {
    let [x0, state, crashes, log, rest @ ..] = call(INFO, [partition, 0]);
    let mut name = [0; 32];
    for (to, word) in name.chunks_mut(8).zip(rest) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    match x0 as i64 {
        DONE => Ok(Info {
            state,
            crashes,
            log,
            name,
        }),
        refused => Err(refused),
    }
}

/// Finds the pages of registers: the first one, and how many there are.
pub fn pages() -> Option<(Mmio, usize)> {
    let (at, bytes) = tree::manager(crate::tree::bytes())?;
    // SAFETY: EL2 has the registers there, which write no memory.
    let first = unsafe { Mmio::new(at as usize) };
    Some((first, bytes as usize / 4096))
}
