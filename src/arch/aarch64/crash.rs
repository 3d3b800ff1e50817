//! What an exception taken from EL2 leaves for the crash report, and the chain of frame pointers.

use super::mmu;

/// Registers at an exception taken from EL2, as the vectors store them on the emergency stack.
#[repr(C)]
pub struct CrashFrame {
    /// x0 to x30.
    pub gpr: [u64; 31],
    /// 0 synchronous, 1 IRQ, 2 FIQ, 3 SError.
    pub kind: u64,
    /// The stack pointer that was in use.
    pub sp: u64,
    padding: [u64; 3],
}

/// Most frames that a backtrace shows.
const MAX_FRAMES: usize = 24;

/// Return addresses along a chain of frame pointers, innermost first.
pub struct Backtrace {
    frame: u64,
    left: usize,
}

impl Backtrace {
    /// Starts at a frame pointer (x29).
    pub fn from(frame: u64) -> Self {
        Self {
            frame,
            left: MAX_FRAMES,
        }
    }

    /// Starts at the caller's frame.
    #[inline(always)]
    pub fn here() -> Self {
        let frame: u64;
        // SAFETY: reads a register.
        unsafe {
            core::arch::asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags))
        };
        Self::from(frame)
    }
}

impl Iterator for Backtrace {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        if self.frame & 0xf != 0
            || !mmu::may_hold_stack(self.frame)
            || !mmu::may_hold_stack(self.frame + 8)
        {
            return None;
        }
        // SAFETY: aligned, and inside memory that EL2 keeps mapped (`may_hold_stack`).
        let (caller, address) = unsafe {
            (
                (self.frame as *const u64).read(),
                (self.frame as *const u64).add(1).read(),
            )
        };
        if caller != 0 && caller <= self.frame {
            self.left = 0;
        }
        self.frame = caller;
        (address != 0).then_some(address)
    }
}
