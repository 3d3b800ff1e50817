//! Output that never waits: text is queued, and sent as far as the UART has room.
//!
//! For guests with deadlines. The queue belongs to one vCPU's thread of control; interrupt handlers do not touch it.

use crate::console;
use core::fmt;

/// Bytes that a queue holds.
pub const QUEUE_BYTES: usize = 4096;

/// A queue of bytes on their way to the console.
pub struct Queue {
    bytes: [u8; QUEUE_BYTES],
    first: usize,
    length: usize,
}

impl Queue {
    /// Returns an empty queue.
    pub const fn new() -> Self {
        Self {
            bytes: [0; QUEUE_BYTES],
            first: 0,
            length: 0,
        }
    }

    /// Sends at most `limit` bytes, and no more than the UART has room for.
    pub fn drain(&mut self, limit: usize) {
        for _ in 0..limit.min(self.length) {
            if !console::try_put(self.bytes[self.first % QUEUE_BYTES]) {
                return;
            }
            self.first = (self.first + 1) % QUEUE_BYTES;
            self.length -= 1;
        }
    }

    /// Returns how many bytes still fit.
    pub const fn room(&self) -> usize {
        QUEUE_BYTES - self.length
    }

    fn push(&mut self, byte: u8) {
        if self.length < QUEUE_BYTES {
            self.bytes[(self.first + self.length) % QUEUE_BYTES] = byte;
            self.length += 1;
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Write for Queue {
    /// Queues text, `\n` as `\r\n`; what does not fit is dropped.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.push(b'\r');
            }
            self.push(byte);
        }
        Ok(())
    }
}
