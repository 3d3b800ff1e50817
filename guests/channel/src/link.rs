//! A ring each way.

use crate::ring::{Half, space};
use crate::{Error, Memory, Presence, field};

/// How an end stands to its partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The partner does not run.
    Down,
    /// The partner runs and has not opened its end for this life of ours; ring it, so that it looks.
    Waiting,
    /// Both ends are open, since just now: neither ring holds anything of before.
    Opened,
    /// Both ends are open.
    Up,
    /// The partner wrote nonsense. Nothing goes on before its next life.
    Broken,
}

/// One end of a channel.
#[derive(Clone, Copy, Debug)]
pub struct Link<M> {
    memory: M,
    mine: Half,
    theirs: Half,
    /// Generations of both, as the session has them.
    own: u32,
    peer: Option<u32>,
    written: u64,
    read: u64,
    up: bool,
    broken: bool,
}

impl<M: Memory> Link<M> {
    /// Makes the end of `side` (0 or 1) in its life number `own`. Nothing is written before [`Link::meet`]. `None`: the
    /// memory is too small.
    pub fn new(memory: M, side: u8, own: u32) -> Option<Self> {
        let mine = Half::new(&memory, side)?;
        let theirs = Half::new(&memory, side ^ 1)?;
        Some(Self {
            memory,
            mine,
            theirs,
            own,
            peer: None,
            written: 0,
            read: 0,
            up: false,
            broken: false,
        })
    }

    /// Returns the longest message that can be sent.
    pub fn longest(&self) -> usize {
        self.mine.longest()
    }

    /// Looks at the partner, opens this end for it when it is new, and says how things stand. To be called at the start,
    /// when the doorbell rings, and after [`Error::Down`]; when it opened this end or found [`State::Opened`], ring the
    /// partner's doorbell.
    pub fn meet(&mut self, peer: Presence) -> State {
        if !peer.runs {
            self.up = false;
            return State::Down;
        }
        if self.peer != Some(peer.generation) {
            self.open(peer.generation);
        }
        if self.broken {
            return State::Broken;
        }
        let open = self.is_open();
        let before = core::mem::replace(&mut self.up, open);
        match (before, open) {
            (false, true) => State::Opened,
            (true, true) => State::Up,
            (_, false) => State::Waiting,
        }
    }

    /// Opens this end for a life of the partner, or goes on where a former owner of this end stopped.
    fn open(&mut self, peer: u32) {
        let session = session(self.own, peer);
        let at = |field| self.mine.field(field);
        self.peer = Some(peer);
        self.up = false;
        self.broken = false;
        if self.memory.acquire(at(field::SESSION)) == session {
            self.written = self.memory.read(at(field::WRITTEN));
            self.read = self.memory.read(at(field::READ));
            return;
        }
        self.written = 0;
        self.read = 0;
        self.memory.release(at(field::SESSION), 0);
        // Each in turn: whoever sees a count of the new session has seen the old one closed.
        self.memory.release(at(field::WRITTEN), 0);
        self.memory.release(at(field::READ), 0);
        self.memory.release(at(field::SESSION), session);
    }

    /// Says whether the partner's end is open for this life of ours.
    fn is_open(&self) -> bool {
        let wanted = self.peer.map(|peer| session(peer, self.own));
        Some(self.memory.acquire(self.theirs.field(field::SESSION))) == wanted
    }

    /// Reads one of the partner's counts, and how far ours is ahead of it or it of ours, which is at most a ring.
    fn distance(
        &mut self,
        field: usize,
        between: impl FnOnce(u64) -> u64,
        ring: u64,
    ) -> Result<u64, Error> {
        if self.broken || !self.up {
            return Err(Error::Down);
        }
        let before = self.is_open();
        let count = self.memory.acquire(self.theirs.field(field));
        if !(before && self.is_open()) {
            self.up = false;
            return Err(Error::Down);
        }
        let distance = between(count);
        if distance > ring || !distance.is_multiple_of(8) {
            return Err(self.break_off());
        }
        Ok(distance)
    }

    /// Closes this end for good.
    fn break_off(&mut self) -> Error {
        self.broken = true;
        self.up = false;
        self.memory.release(self.mine.field(field::SESSION), 0);
        Error::Corrupt
    }

    /// Puts a message into the ring. The partner is not rung.
    ///
    /// # Errors
    /// [`Error::Down`], [`Error::Full`], [`Error::TooLong`], [`Error::Corrupt`].
    pub fn send(&mut self, message: &[u8]) -> Result<(), Error> {
        let length = message.len();
        if length > self.mine.longest() {
            return Err(Error::TooLong { length });
        }
        let (written, ring) = (self.written, self.mine.ring());
        let used = self.distance(field::READ, |read| written.wrapping_sub(read), ring)?;
        if space(length) > ring - used {
            return Err(Error::Full);
        }
        self.written = self.mine.put(&self.memory, self.written, message);
        self.memory
            .release(self.mine.field(field::WRITTEN), self.written);
        Ok(())
    }

    /// Says whether there is a message.
    ///
    /// # Errors
    /// [`Error::Down`], [`Error::Corrupt`].
    pub fn has_message(&mut self) -> Result<bool, Error> {
        let (read, ring) = (self.read, self.theirs.ring());
        let available =
            self.distance(field::WRITTEN, |written| written.wrapping_sub(read), ring)?;
        Ok(available != 0)
    }

    /// Takes a message out of the partner's ring and returns its length; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Down`]; [`Error::TooLong`]: the message is longer than `buffer` and stays; [`Error::Corrupt`].
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Error> {
        let (read, ring) = (self.read, self.theirs.ring());
        let available =
            self.distance(field::WRITTEN, |written| written.wrapping_sub(read), ring)?;
        if available == 0 {
            return Ok(None);
        }
        let Some(length) = self.theirs.length(&self.memory, self.read, available) else {
            return Err(self.break_off());
        };
        let message = buffer.get_mut(..length).ok_or(Error::TooLong { length })?;
        self.read = self.theirs.get(&self.memory, self.read, message);
        self.memory.release(self.mine.field(field::READ), self.read);
        Ok(Some(length))
    }
}

/// Returns SESSION of an end in a life that talks to a life of its partner.
fn session(own: u32, peer: u32) -> u64 {
    u64::from(own) << 32 | u64::from(peer)
}
