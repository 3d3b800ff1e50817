//! The last words: registers, syndrome in words, a backtrace, then the other pCPUs stop and the board parks or resets.
//!
//! Prints by polling, whatever the state of the console: the one place where EL2 waits for a device after start-up.

use crate::arch::aarch64::cpu;
use crate::arch::aarch64::crash::{Backtrace, CrashFrame};
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::sysreg::read;
use crate::hw::{gic, uart::Uart};
use bulkhead::addr::HypVirtAddr;
use bulkhead::console::log::MemoryLog;
use bulkhead::console::steps::Step;
use bulkhead::message::{Form, Out, Show, put};
use bulkhead::trap::syndrome;
use bulkhead::uart::{Driver, Model};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Polls of a full FIFO before the rest of the report is given up.
const POLLS: u32 = 50_000_000;

/// Bytes of EL2's own lines that are kept in memory.
const LOG_BYTES: usize = 4096;

/// What EL2 said by polling, at start-up and as last words, and on a board whose UART nobody drives all else too: for a
/// debugger, by this name.
#[unsafe(no_mangle)]
pub static MEMORY_LOG: MemoryLog<LOG_BYTES> = MemoryLog::new();

/// The last [`Step`] of start-up that was done, as its letter: for a debugger, by this name.
#[unsafe(no_mangle)]
pub static START_STEP: AtomicU8 = AtomicU8::new(0);
/// Whether steps are sent to the console.
static LETTERS: AtomicBool = AtomicBool::new(false);
/// Whether a letter stands on the console's line: text begins a new one.
static LETTER_STANDS: AtomicBool = AtomicBool::new(false);

/// Where the console UART is mapped, once `MODEL` says that there is one.
static UART: AtomicU64 = AtomicU64::new(0);
/// What it is, as [`Model::code`] says; 0 as long as there is none.
static MODEL: AtomicU32 = AtomicU32::new(0);
/// Whether other pCPUs can be called by SGI.
static GIC_RUNS: AtomicBool = AtomicBool::new(false);
/// Whether the board is to be reset rather than parked.
static RESETS: AtomicBool = AtomicBool::new(false);
/// Set by the first pCPU that panics.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Names the UART of the last words.
pub fn set_uart(model: Model, base: HypVirtAddr) {
    UART.store(base.0, Ordering::Relaxed);
    MODEL.store(model.code(), Ordering::Release);
}

/// Says that every step of start-up is sent to the console: the steps before this one were, by the start-up code.
pub fn set_letters() {
    LETTERS.store(true, Ordering::Relaxed);
    LETTER_STANDS.store(true, Ordering::Relaxed);
}

/// Says in memory that a step of start-up is done.
pub fn note(step: Step) {
    START_STEP.store(step.letter(), Ordering::Relaxed);
}

/// Says that a step of start-up is done.
pub fn done(step: Step) {
    note(step);
    if LETTERS.load(Ordering::Relaxed) {
        Polled::new().send(step.letter());
        LETTER_STANDS.store(true, Ordering::Relaxed);
    }
}

/// Ends the line of the letters, if there is one: other text follows.
pub fn end_letters() {
    if LETTER_STANDS.swap(false, Ordering::Relaxed) {
        let mut polled = Polled::new();
        polled.send(b'\r');
        polled.send(b'\n');
    }
}

/// Says that SGIs work from now on.
pub fn set_gic_runs() {
    GIC_RUNS.store(true, Ordering::Relaxed);
}

/// Says what follows the last words: a reset of the board, or sleep for ever.
pub fn set_resets(resets: bool) {
    RESETS.store(resets, Ordering::Relaxed);
}

/// A polled console for start-up refusals and last words. Does nothing without a UART.
pub struct Polled {
    uart: Option<Uart>,
}

impl Polled {
    /// Opens the polled console.
    #[inline(never)]
    pub fn new() -> Self {
        let model = Model::from_code(MODEL.load(Ordering::Acquire));
        let base = HypVirtAddr(UART.load(Ordering::Relaxed));
        // SAFETY: `set_uart` got a page of UART registers that stays mapped; sharing them with the console service is
        // the purpose here.
        let uart = model.map(|model| Uart::new(model, unsafe { Registers::new(base) }));
        Self { uart }
    }

    #[inline(never)]
    fn send(&mut self, byte: u8) {
        let Some(uart) = self.uart else { return };
        for _ in 0..POLLS {
            if uart.try_send(byte) {
                return;
            }
        }
        self.uart = None;
    }
}

impl Out for Polled {
    // Not inlined: it has many callers.
    #[inline(never)]
    fn bytes(&mut self, bytes: &[u8]) {
        MEMORY_LOG.append(bytes);
        for byte in bytes {
            if *byte == b'\n' {
                self.send(b'\r');
            }
            self.send(*byte);
        }
    }
}

/// Prints one of EL2's own lines, by polling, in the words of [`put`]. For start-up and last words.
#[cold]
#[inline(never)]
pub fn say(template: &str, values: &[&dyn Show]) {
    end_letters();
    let mut polled = Polled::new();
    polled.bytes(b"bulkhead| ");
    put(&mut polled, template, values);
    polled.bytes(b"\n");
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    enter();
    // Words with values in them would need `core::fmt`: the place alone says which they were.
    let words = info.message().as_str();
    let words = words.unwrap_or("a condition that has to hold does not");
    say("PANIC: {} at {}", &[&words, &Location(info)]);
    backtrace(Backtrace::here());
    end()
}

/// Where a panic was raised.
struct Location<'a, 'b>(&'a PanicInfo<'b>);

impl Show for Location<'_, '_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        match self.0.location() {
            Some(location) => put(out, "{}:{}", &[&location.file(), &location.line()]),
            None => out.bytes(b"an unknown place"),
        }
    }
}

/// Called by the vectors for an exception that EL2 itself took.
#[unsafe(no_mangle)]
extern "C" fn hypervisor_crash(frame: &CrashFrame) -> ! {
    enter();
    let (esr, elr, far) = (read::esr_el2(), read::elr_el2(), read::far_el2());
    let words = match frame.kind {
        0 => syndrome::describe(esr),
        1 => "an interrupt that EL2 had masked",
        2 => "a fast interrupt that EL2 had masked",
        _ => "SError: the memory system reports an error",
    };
    say("PANIC: exception at EL2: {}", &[&words]);
    if let Some(fault) = syndrome::describe_fault(esr) {
        say("  fault {}, address {x}", &[&fault, &far]);
    }
    say(
        "  pc {x16} esr {x8} spsr {x8} sp {x16}",
        &[&elr, &esr, &read::spsr_el2(), &frame.sp],
    );
    for (row, registers) in frame.gpr.chunks(4).enumerate() {
        let mut polled = Polled::new();
        polled.bytes(b"bulkhead|  ");
        for (column, value) in registers.iter().enumerate() {
            let number = row * 4 + column;
            let padding = if number < 10 { " " } else { "" };
            put(&mut polled, " x{}{} {d16}", &[&number, &padding, value]);
        }
        polled.bytes(b"\n");
    }
    let [.., fp, lr] = frame.gpr;
    say("  backtrace: {x} {x}", &[&elr, &lr]);
    backtrace(Backtrace::from(fp));
    end()
}

/// Makes this pCPU the one that speaks, and stops the others.
fn enter() {
    if PANICKED.swap(true, Ordering::AcqRel) {
        cpu::park();
    }
    if GIC_RUNS.load(Ordering::Relaxed) {
        gic::send_to_others(gic::HALT);
    }
    // Leaves a line that the console service may have begun.
    let mut polled = Polled::new();
    polled.send(0);
    polled.bytes(b"\n");
}

fn backtrace(frames: Backtrace) {
    say(
        "  on pCPU with MPIDR {x}, called from:",
        &[&(read::mpidr_el1() & 0xff_00ff_ffff)],
    );
    for address in frames {
        say("    {x}", &[&address]);
    }
}

/// Parks, or asks the firmware for a reset.
fn end() -> ! {
    if RESETS.load(Ordering::Relaxed) {
        say("resetting the board", &[]);
        // SAFETY: nothing runs here any more.
        unsafe { cpu::smc(0x8400_0009, [0; 3]) };
    }
    say("parked", &[]);
    cpu::park()
}
