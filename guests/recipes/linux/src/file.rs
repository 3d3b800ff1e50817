//! Files, and devices behind them.

use core::ffi::CStr;

use crate::{Errno, call};

const IOCTL: usize = 29;
const OPENAT: usize = 56;
const CLOSE: usize = 57;
const READ: usize = 63;
const WRITE: usize = 64;
const PPOLL: usize = 73;
const MMAP: usize = 222;

/// The folder that paths start from: the current one.
const AT_FDCWD: usize = -100_isize as usize;
const O_WRONLY: usize = 0o1;
const O_RDWR: usize = 0o2;
const O_CREAT: usize = 0o100;
const O_TRUNC: usize = 0o1000;
const O_SYNC: usize = 0o4_010_000;
const PROT_READ: usize = 1;
const PROT_WRITE: usize = 2;
const MAP_SHARED: usize = 1;

/// An open file; it stays open until it is closed or the program ends.
#[derive(Clone, Copy, Debug)]
pub struct File(usize);

impl File {
    /// Standard output.
    pub const OUTPUT: Self = Self(1);
    /// Standard error.
    pub const ERROR: Self = Self(2);

    fn open_with(path: &CStr, flags: usize) -> Result<Self, Errno> {
        let path = path.as_ptr() as usize;
        // SAFETY: the kernel reads the path.
        unsafe { call(OPENAT, [AT_FDCWD, path, flags, 0o644, 0, 0]) }.map(Self)
    }

    /// Opens a file to read.
    ///
    /// # Errors
    /// As Linux says.
    pub fn open(path: &CStr) -> Result<Self, Errno> {
        Self::open_with(path, 0)
    }

    /// Opens physical memory, `/dev/mem`, to be mapped as devices are; `writes` to write there too.
    ///
    /// # Errors
    /// As Linux says.
    pub fn open_memory(writes: bool) -> Result<Self, Errno> {
        Self::open_with(c"/dev/mem", if writes { O_RDWR | O_SYNC } else { O_SYNC })
    }

    /// Makes a file, or empties it.
    ///
    /// # Errors
    /// As Linux says.
    pub fn create(path: &CStr) -> Result<Self, Errno> {
        Self::open_with(path, O_WRONLY | O_CREAT | O_TRUNC)
    }

    /// Closes it.
    pub fn close(self) {
        // SAFETY: names no memory. What a file that cannot be closed costs, the program's end gives back.
        let _ = unsafe { call(CLOSE, [self.0, 0, 0, 0, 0, 0]) };
    }

    /// Reads what is there, and returns how much that was.
    ///
    /// # Errors
    /// As Linux says.
    pub fn read(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let (at, length) = (buffer.as_mut_ptr() as usize, buffer.len());
        // SAFETY: the kernel writes no more than `length` bytes to the buffer.
        unsafe { call(READ, [self.0, at, length, 0, 0, 0]) }
    }

    /// Reads until the buffer is full or the file ends, and returns how much was read.
    ///
    /// # Errors
    /// As Linux says.
    pub fn read_all(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while let Some(rest @ [_, ..]) = buffer.get_mut(done..) {
            match self.read(rest)? {
                0 => break,
                more => done += more,
            }
        }
        Ok(done)
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// As Linux says.
    pub fn write_all(self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let (at, length) = (bytes.as_ptr() as usize, bytes.len());
            // SAFETY: the kernel reads the bytes.
            let done = unsafe { call(WRITE, [self.0, at, length, 0, 0, 0]) }?;
            bytes = bytes.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    /// Maps a part of the file, to be read and with `writes` to be written, for the program's life.
    ///
    /// # Errors
    /// As Linux says.
    pub fn map(self, offset: u64, size: usize, writes: bool) -> Result<*mut u8, Errno> {
        let rights = PROT_READ | if writes { PROT_WRITE } else { 0 };
        let arguments = [0, size, rights, MAP_SHARED, self.0, offset as usize];
        // SAFETY: the kernel chooses addresses where nothing lies.
        unsafe { call(MMAP, arguments) }.map(|at| at as *mut u8)
    }

    /// Returns an input device's name, or as much of it as there is room for; nothing when it is none.
    pub fn input_name(self, name: &mut [u8]) -> &[u8] {
        /// `EVIOCGNAME(0)`: a request to read, of type `E`, number 6; the room goes into bits 16 to 29.
        const GET_NAME: usize = 2 << 30 | (b'E' as usize) << 8 | 0x06;
        let request = GET_NAME | name.len() << 16;
        let at = name.as_mut_ptr() as usize;
        // SAFETY: the buffer has so many bytes.
        let length = unsafe { call(IOCTL, [self.0, request, at, 0, 0, 0]) }.unwrap_or(0);
        // The terminating zero counts.
        name.get(..length.saturating_sub(1)).unwrap_or_default()
    }

    /// Waits until there is something to read, so many milliseconds at most; says whether there is.
    pub fn wait_to_read(self, ms: u64) -> bool {
        const READABLE: u64 = 1;
        let time = crate::time::timespec(ms);
        // `struct pollfd`: the file, what is waited for in the lower half of the next word.
        let mut poll = self.0 as u64 & 0xffff_ffff | READABLE << 32;
        let (polled, time) = (&raw mut poll as usize, time.as_ptr() as usize);
        // SAFETY: one `struct pollfd` and one `struct timespec`, no signal mask.
        unsafe { call(PPOLL, [polled, 1, time, 0, 0, 0]) == Ok(1) }
    }
}
