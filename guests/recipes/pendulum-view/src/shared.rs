//! Channels to other partitions, seen from Linux without a driver: by `/dev/mem`, where the device tree says.

use guest_channel::{Memory, Presence, Reader, Window, tree};
use linux_program::{Errno, File, with_tree};

/// Offset of the register that tells about the partner.
const PEER: usize = 0x08;
/// Bytes of the page of doorbell registers.
const REGISTERS: u64 = 4096;

/// Why there is no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// This partition has no channel of that name.
    Missing,
    /// Linux does not hand out the tree or the memory.
    Linux(Errno),
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Linux(errno)
    }
}

/// The reading end of a one-way channel.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    registers: Window,
    reader: Reader<Window>,
}

impl Listener {
    /// Opens a channel by its name.
    ///
    /// # Errors
    /// [`Error::Missing`], also when the memory is too small for messages; [`Error::Linux`].
    pub fn open(name: &str) -> Result<Self, Error> {
        let (place, side) = with_tree(|tree| {
            let found = tree::channels(tree).find(|found| found.name == name)?;
            Some((([found.registers, found.memory], found.size), found.side))
        })?
        .ok_or(Error::Missing)?;
        let ([registers, shared], size) = place;
        let memory = File::open_memory(false)?;
        let map = |at: u64, size: u64| -> Result<Window, Errno> {
            let base = memory.map(at, size as usize, false)?;
            // SAFETY: the pages were mapped there to be read, for good, and nothing else lies there.
            Ok(unsafe { Window::new(base, size as usize) })
        };
        let registers = map(registers, REGISTERS)?;
        let reader = Reader::new(map(shared, size)?, side);
        Ok(Self {
            registers,
            reader: reader.ok_or(Error::Missing)?,
        })
    }

    /// Takes a message and returns its length; `None` when there is no new one, or the partner does not run.
    ///
    /// # Errors
    /// As [`Reader::receive`].
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, guest_channel::Error> {
        let peer = Presence::from_raw(self.registers.read(PEER));
        match self.reader.meet(peer) {
            true => self.reader.receive(buffer),
            false => Ok(None),
        }
    }
}
