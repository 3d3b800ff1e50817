//! What a short way says: that all is done, or who ends the trap in its place.

use bulkhead::vcpu::Context;

/// What ends a trap in place of its short way, with all registers saved: returns those to enter.
type Turn = extern "C" fn(*mut Context) -> *mut Context;

/// What the vectors do next: return to the guest, or save the other registers and call this.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Answer(Option<Turn>);

impl Answer {
    /// Return to the guest.
    pub const DONE: Self = Self(None);
    /// Take the trap the general way: nothing was done.
    pub const GENERAL: Self = Self(Some(super::super::answer_trap));
    /// All is done, but something else came up.
    pub const ATTEND: Self = Self(Some(super::super::attend_turn));
    /// A call that lets equals go first; it has its result, and its next time slice.
    pub const YIELD: Self = Self(Some(super::super::yield_turn));
    /// A call that rings a doorbell: nothing was done but to step over it.
    pub const RING: Self = Self(Some(super::super::ring_turn));
    /// A plain store that may ring a doorbell: nothing was done.
    pub const STORE: Self = Self(Some(super::super::store_turn));
    /// A plain access by a register that is not at hand: nothing was done.
    pub const SAVE: Self = Self(Some(super::super::save_and_answer));

    /// Says whether it is [`Self::DONE`].
    #[inline(always)]
    pub const fn is_done(self) -> bool {
        self.0.is_none()
    }

    /// Ends a trap of which all registers are saved.
    #[inline(always)]
    pub fn end(self, context: *mut Context) -> *mut Context {
        match self.0 {
            None => context,
            Some(turn) => turn(context),
        }
    }
}
