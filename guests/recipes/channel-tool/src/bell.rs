//! The own doorbell's interrupt, as Linux's driver for keys hands it over: each ring is a key that is pressed and released.
//! A kernel without that driver, or without the module, leaves looking again after a while.

use core::ffi::CStr;
use core::fmt::{self, Write};

use linux_program::{File, sleep_ms};

/// Input devices that are looked at.
const DEVICES: usize = 32;
/// Bytes of a `struct input_event`, and as many events as are read in one go.
const EVENT_BYTES: usize = 24;
const EVENTS: usize = 32;

/// The doorbell of a channel.
pub struct Bell {
    /// Its input device, where there is one.
    file: Option<File>,
}

impl Bell {
    /// Finds the doorbell of a channel. What rings from here on is not lost.
    pub fn open(channel: &str) -> Self {
        let file = (0..DEVICES).find_map(|number| {
            let file = File::open(Path::of(number).text()).ok()?;
            let mut room = [0; 128];
            let is_it = name_of(channel).is(file.input_name(&mut room));
            if !is_it {
                file.close();
            }
            is_it.then_some(file)
        });
        Self { file }
    }

    /// Says whether it interrupts.
    pub fn interrupts(&self) -> bool {
        self.file.is_some()
    }

    /// Waits until it rings, or has rung since the last call: `longest_ms` milliseconds at most, or `look_ms` where it does
    /// not interrupt. Says whether it rang.
    pub fn wait(&self, longest_ms: u64, look_ms: u64) -> bool {
        let Some(file) = self.file else {
            sleep_ms(look_ms.min(longest_ms));
            return false;
        };
        let rang = file.wait_to_read(longest_ms);
        if rang {
            let mut events = [0; EVENTS * EVENT_BYTES];
            let _ = file.read(&mut events); // what rang is known already
        }
        rang
    }
}

/// A short text.
struct Text<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        let (bytes, length) = ([0; N], 0);
        Self { bytes, length }
    }

    /// Says whether other bytes are the same.
    fn is(&self, other: &[u8]) -> bool {
        self.bytes.get(..self.length) == Some(other)
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length.saturating_add(text.len());
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// What Linux calls the doorbell of a channel: see the generated device tree.
fn name_of(channel: &str) -> Text<128> {
    let mut name = Text::new();
    let _ = write!(name, "bulkhead {channel}"); // one that is too long is nobody's
    name
}

/// The file of an input device.
struct Path(Text<32>);

impl Path {
    fn of(number: usize) -> Self {
        let mut path = Text::new();
        let _ = write!(path, "/dev/input/event{number}\0"); // it fits
        Self(path)
    }

    fn text(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0.bytes).unwrap_or_default()
    }
}
