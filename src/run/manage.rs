//! Partitions that manage others: what they may know, and what they may order. By calls ([`bulkhead::smccc::vendor`]) and
//! by pages of registers ([`bulkhead::device::manager`]), which show the same.
//!
//! A manager's request looks at one partition, under its lock, for a bounded number of words. What an order makes others
//! do is their own work: each vCPU leaves on its own pCPU at its own priority, and so do tear-down and loading. A manager
//! waits for none of it.

use crate::pcpu::Pcpu;
use crate::system::{Partition, State};
use bulkhead::addr::PAGE_BYTES;
use bulkhead::device::manager::{
    self, CONTROL, NAME_WORDS, Order, Register, WATCHED, first_bytes, name_word,
};
use bulkhead::partition::{After, Deed, Refusal};
use bulkhead::smccc::result;
use bulkhead::smccc::vendor::{CRASH_WORDS, LOG_WORDS, Request};
use bulkhead::trap::access::MmioAccess;
use core::sync::atomic::Ordering;

/// Registers that a call may put results into.
const RESULTS: usize = 18;

impl Pcpu {
    /// Serves a manager's call.
    #[inline(never)]
    pub fn serve_manager(&mut self, caller: &'static Partition, request: Request) {
        let mut results = [0; RESULTS];
        let count = match request {
            Request::List => self.list(caller, &mut results),
            Request::Info(id) => self.show(caller, id, &mut results, &info),
            Request::Crash(id, first) => self.show(caller, id, &mut results, &|one, state, out| {
                crash(one, state, first, out)
            }),
            Request::Log(id, position) => self.show(caller, id, &mut results, &|one, _, out| {
                log(one, position as u32, out)
            }),
            Request::Order(id, order) => {
                let ordered = self.managed(caller, id).map(|one| self.order(one, order));
                results[0] = ordered.unwrap_or_else(|refused| refused);
                1
            }
        };
        self.answer(results.get(..count).unwrap_or_default());
    }

    /// Returns a partition that the caller manages, or why not.
    fn managed(&self, caller: &Partition, id: u64) -> Result<&'static Partition, u64> {
        let partitions = self.system.partitions;
        if caller.record.manages == 0 {
            return Err(result::DENIED);
        }
        let one = usize::try_from(id).ok().and_then(|id| partitions.get(id));
        let one = one.ok_or(result::INVALID_PARAMETERS)?;
        match caller.record.manages >> one.id.0 & 1 {
            0 => Err(result::DENIED),
            _ => Ok(one),
        }
    }

    /// Says whom there is to manage.
    fn list(&self, caller: &Partition, out: &mut [u64; RESULTS]) -> usize {
        let manages = caller.record.manages;
        if manages == 0 {
            out[0] = result::DENIED;
            return 1;
        }
        out[1] = self.system.partitions.len() as u64;
        out[2] = manages;
        out[3] = caller.id.0.into();
        4
    }

    /// Fills results for a partition that the caller manages, under that one's lock. Returns how many count.
    #[inline(never)]
    fn show(
        &self,
        caller: &Partition,
        id: u64,
        out: &mut [u64; RESULTS],
        fill: &dyn Fn(&Partition, &State, &mut [u64; RESULTS]) -> usize,
    ) -> usize {
        match self.managed(caller, id) {
            Ok(one) => fill(one, &one.state.lock_by_call(), out),
            Err(refused) => {
                out[0] = refused;
                1
            }
        }
    }

    /// Gives a partition an order. Returns the call's result.
    #[inline(never)]
    fn order(&mut self, one: &'static Partition, order: Order) -> u64 {
        let mut state = one.state.lock_by_call();
        let absent = self.system.absent(one);
        let deed = state.life.obey(order, absent);
        if deed == Ok(Deed::Load) {
            // Whoever orders runs, so that there is somebody alive all the time.
            self.system.alive.fetch_add(1, Ordering::AcqRel);
        }
        drop(state);
        match deed {
            Ok(Deed::Nothing) => {}
            Ok(Deed::Load) => self.kick(one, 1),
            Ok(Deed::Leave(vcpus, after)) => {
                let why = match after {
                    After::Stop => "a partition that manages it stopped it",
                    After::Restart => "a partition that manages it restarted it",
                };
                self.send_away(one, vcpus, after, why);
            }
            Err(Refusal::Runs) => return result::ALREADY_ON,
            Err(Refusal::Stops) => return result::ON_PENDING,
        }
        result::SUCCESS
    }

    /// An access to the pages of a manager's registers, `offset` bytes from the first one.
    #[inline(never)]
    pub fn access_manager(&mut self, caller: &'static Partition, offset: u64, access: MmioAccess) {
        let (page, offset) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
        let one = manager::nth(caller.record.manages, page);
        let one = one.and_then(|id| self.system.partitions.get(id as usize));
        if access.write {
            let order = Order::from_control(self.stored(access));
            if let (CONTROL, Some(one), Some(order)) = (offset, one, order) {
                // Who stores looks at STATE.
                let _ = self.order(one, order);
            }
            return;
        }
        let raw = one.map_or(0, |one| register(one, &one.state.lock_by_call(), offset));
        self.finish_load(access, raw);
    }
}

/// Reads a register of a page, from an offset on.
fn register(one: &Partition, state: &State, offset: u64) -> u64 {
    let word = match Register::at(offset) {
        Register::State => status(one, state),
        Register::Crashes => crashes(state),
        Register::Info => manager::info(one.id.0),
        Register::Log => manager::log(one.output.written()),
        Register::Name(index) => name_word(one.name.as_bytes(), index),
        Register::Crash(index) => state.crash.as_ref().map_or(0, |crash| crash.word(index)),
        Register::Output(at) => one.output.word_at(at),
        Register::Nothing => 0,
    };
    word >> (8 * (offset & 7))
}

/// Returns STATE.
fn status(one: &Partition, state: &State) -> u64 {
    let watched = if one.watchdog != 0 { WATCHED } else { 0 };
    state.life.word() | watched
}

/// Returns CRASHES.
fn crashes(state: &State) -> u64 {
    state.crash.as_ref().map_or(0, |crash| crash.count())
}

/// Fills in how a partition is.
fn info(one: &Partition, state: &State, out: &mut [u64; RESULTS]) -> usize {
    out[1] = status(one, state);
    out[2] = crashes(state);
    out[3] = manager::log(one.output.written());
    for (index, word) in out.iter_mut().skip(4).take(NAME_WORDS).enumerate() {
        *word = name_word(one.name.as_bytes(), index);
    }
    4 + NAME_WORDS
}

/// Fills in words of a crash record.
fn crash(_: &Partition, state: &State, first: u64, out: &mut [u64; RESULTS]) -> usize {
    out[1] = crashes(state);
    if let Some(crash) = &state.crash {
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        for (index, word) in out.iter_mut().skip(2).take(CRASH_WORDS).enumerate() {
            *word = crash.word(first.saturating_add(index));
        }
    }
    2 + CRASH_WORDS
}

/// Fills in bytes of a log. The lock keeps the guest from sending more.
fn log(one: &Partition, position: u32, out: &mut [u64; RESULTS]) -> usize {
    let end = one.output.written();
    let (first, bytes) = manager::log_piece(end, position, 8 * LOG_WORDS as u32);
    out[1] = end.into();
    out[2] = first.into();
    out[3] = bytes.into();
    for (index, word) in out.iter_mut().skip(4).take(LOG_WORDS).enumerate() {
        let at = 8 * index as u32;
        let whole = one.output.word_at(first.wrapping_add(at));
        *word = first_bytes(whole, bytes.saturating_sub(at));
    }
    4 + LOG_WORDS
}
