//! Formatted text.

use core::fmt;

use crate::{Errno, File};

/// Text of up to 200 bytes, which goes out by one call, so that lines stay whole; what is longer is cut off.
#[derive(Debug)]
pub struct Text {
    bytes: [u8; 200],
    length: usize,
}

impl Text {
    /// Writes formatted text to a file.
    ///
    /// # Errors
    /// As Linux says.
    pub fn write(file: File, arguments: fmt::Arguments<'_>) -> Result<(), Errno> {
        let mut text = Self {
            bytes: [0; 200],
            length: 0,
        };
        // It takes all and cuts off; it never fails.
        let _ = fmt::Write::write_fmt(&mut text, arguments);
        file.write_all(text.bytes.get(..text.length).unwrap_or_default())
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(text.bytes()) {
            *to = from;
            self.length += 1;
        }
        Ok(())
    }
}
