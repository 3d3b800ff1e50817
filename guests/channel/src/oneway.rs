//! One way: a side that writes and never waits, and a side that may only read. Who reads too slowly loses messages and is
//! told so. It suits `access = ["rw", "r"]`, where the reader cannot say how far it is.

use crate::atomic::{Ordering, fence};
use crate::ring::{Half, space};
use crate::{Error, Memory, Presence, field};

/// The end that writes.
#[derive(Clone, Copy, Debug)]
pub struct Writer<M> {
    memory: M,
    mine: Half,
    written: u64,
}

impl<M: Memory> Writer<M> {
    /// Opens the end of `side` in its life number `own`. `None`: the memory is too small.
    pub fn new(memory: M, side: u8, own: u32) -> Option<Self> {
        let mine = Half::new(&memory, side)?;
        let session = u64::from(own) << 32;
        let mut writer = Self {
            memory,
            mine,
            written: 0,
        };
        if writer.memory.acquire(mine.field(field::SESSION)) == session {
            writer.written = writer.memory.read(mine.field(field::WRITTEN));
            return Some(writer);
        }
        for (at, value) in [
            (field::SESSION, 0),
            (field::WRITTEN, 0),
            (field::CLAIMED, 0),
            (field::SESSION, session),
        ] {
            writer.memory.release(mine.field(at), value);
        }
        Some(writer)
    }

    /// Writes a message over the oldest ones. The partner is not rung.
    ///
    /// # Errors
    /// [`Error::TooLong`]: it is longer than half the ring, so that a reader could never be in time.
    pub fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let length = message.len();
        if space(length) > self.mine.ring() / 2 {
            return Err(Error::TooLong { length });
        }
        let claimed = self.written.wrapping_add(space(length));
        self.memory.write(self.mine.field(field::CLAIMED), claimed);
        // Whoever sees a byte of the new message sees the claim.
        fence(Ordering::Release);
        self.written = self.mine.put(&self.memory, self.written, message);
        self.memory
            .release(self.mine.field(field::WRITTEN), self.written);
        Ok(())
    }
}

/// The end that reads.
#[derive(Clone, Copy, Debug)]
pub struct Reader<M> {
    memory: M,
    theirs: Half,
    session: Option<u64>,
    read: u64,
}

impl<M: Memory> Reader<M> {
    /// Makes the end of `side`, which reads what the other side writes. `None`: the memory is too small.
    pub fn new(memory: M, side: u8) -> Option<Self> {
        Some(Self {
            theirs: Half::new(&memory, side ^ 1)?,
            memory,
            session: None,
            read: 0,
        })
    }

    /// Looks at the writer and says whether its end is open; a new life of it is read from its first message that is
    /// still there.
    pub fn meet(&mut self, peer: Presence) -> bool {
        let session = u64::from(peer.generation) << 32;
        let open = peer.runs && self.is_open(session);
        if open && self.session != Some(session) {
            self.session = Some(session);
            let written = self.memory.acquire(self.theirs.field(field::WRITTEN));
            self.read = if written < self.theirs.ring() {
                0
            } else {
                written
            };
        }
        open
    }

    fn is_open(&self, session: u64) -> bool {
        self.memory.acquire(self.theirs.field(field::SESSION)) == session
    }

    /// Takes a message and returns its length; `None` when there is no new one.
    ///
    /// # Errors
    /// [`Error::Down`]: see [`Reader::meet`]; [`Error::Lost`]; [`Error::TooLong`]: longer than `buffer`, it is left out.
    /// A writer that writes nonsense is taken for one that was too fast.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        let session = self.session.ok_or(Error::Down)?;
        let written = self.memory.acquire(self.theirs.field(field::WRITTEN));
        if !self.is_open(session) {
            self.session = None;
            return Err(Error::Down);
        }
        let available = written.wrapping_sub(self.read);
        if available == 0 {
            return Ok(None);
        }
        let length = self
            .theirs
            .length(&self.memory, self.read, available.min(self.theirs.ring()));
        let Some(length) = length.filter(|_| available <= self.theirs.ring()) else {
            return Err(self.skip(written));
        };
        let Some(message) = buffer.get_mut(..length) else {
            self.read = self.read.wrapping_add(space(length));
            return Err(Error::TooLong { length });
        };
        let next = self.theirs.get(&self.memory, self.read, message);
        // If a byte of a later message was copied, the claim for it is seen here.
        fence(Ordering::Acquire);
        let claimed = self.memory.read(self.theirs.field(field::CLAIMED));
        if claimed.wrapping_sub(self.read) > self.theirs.ring() {
            return Err(self.skip(written));
        }
        self.read = next;
        Ok(Some(length))
    }

    /// Goes on with the next message to be written.
    fn skip(&mut self, written: u64) -> Error {
        self.read = written;
        Error::Lost
    }
}
