//! Linux itself, for programs that build for bare metal, as guests do, so that nothing else is needed to build them: start,
//! arguments, files, time. There is no C library; the linker makes a static ELF file that Linux starts at `_start`.
//!
//! ```ignore
//! linux_program::program!(main);
//!
//! fn main(arguments: Arguments) -> u8 {
//!     0
//! }
//! ```
//!
//! # Source
//! Linux, `include/uapi/asm-generic/unistd.h` (numbers of arm64); the AArch64 calling convention of system calls in
//! `syscall(2)`: number in x8, arguments in x0 to x5, result in x0, negative for an error.
#![no_std]

mod board;
mod file;
mod text;
mod time;

use core::arch::{asm, global_asm};
use core::ffi::{CStr, c_char};

pub use board::with_tree;
pub use file::File;
pub use text::Text;
pub use time::{count, now_ms, now_ns, sleep_ms};

/// Names the program's first function, a `fn(Arguments) -> u8` that returns the exit code.
#[macro_export]
macro_rules! program {
    ($function:path) => {
        #[unsafe(no_mangle)]
        extern "Rust" fn linux_main(arguments: $crate::Arguments) -> u8 {
            $function(arguments)
        }
    };
}

unsafe extern "Rust" {
    fn linux_main(arguments: Arguments) -> u8;
}

// The kernel starts a program with the number of its arguments and their addresses on the stack.
global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    "mov x29, xzr",
    "mov x30, xzr",
    "mov x0, sp",
    "b linux_start",
);

#[unsafe(no_mangle)]
extern "C" fn linux_start(stack: *const usize) -> ! {
    // SAFETY: the kernel put the count there, and so many addresses of strings behind it.
    let arguments = unsafe {
        Arguments {
            next: stack.add(1).cast(),
            left: *stack,
        }
    };
    // SAFETY: `program` defines it so.
    exit(unsafe { linux_main(arguments) })
}

/// The program's arguments, its own name first.
#[derive(Clone, Debug)]
pub struct Arguments {
    next: *const *const c_char,
    left: usize,
}

impl Iterator for Arguments {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<&'static CStr> {
        self.left = self.left.checked_sub(1)?;
        // SAFETY: `left` was not 0, so that a string's address lies here; strings stay for the program's life.
        unsafe {
            let text = CStr::from_ptr(*self.next);
            self.next = self.next.add(1);
            Some(text)
        }
    }
}

/// An error number of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Errno(pub i32);

/// Makes a system call.
///
/// # Safety
/// What the call does to memory must be sound.
unsafe fn call(number: usize, arguments: [usize; 6]) -> Result<usize, Errno> {
    let [a, b, c, d, e, f] = arguments;
    let result: isize;
    // SAFETY: the kernel keeps all registers but x0; the rest is the caller's promise.
    unsafe {
        asm!(
            "svc #0",
            in("x8") number,
            inlateout("x0") a => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    match result {
        -4095..=-1 => Err(Errno(-result as i32)),
        _ => Ok(result as usize),
    }
}

/// Ends the program.
pub fn exit(code: u8) -> ! {
    const EXIT_GROUP: usize = 94;
    loop {
        // SAFETY: nothing comes after it.
        let _ = unsafe { call(EXIT_GROUP, [code.into(), 0, 0, 0, 0, 0]) };
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = Text::write(File::ERROR, format_args!("{info}\n")); // nobody is left to tell
    exit(101)
}
