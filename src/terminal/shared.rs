//! What all pCPUs share of the console.

use super::Server;
use crate::events::{Event, Queue};
use crate::hw::timer;
use crate::hw::uart::Uart;
use crate::panic::MEMORY_LOG;
use crate::report::Speech;
use crate::system::Partition;
use bulkhead::console::sender::{IDLE, SENDING, WAITING};
use bulkhead::device::ring::TxRing;
use bulkhead::ids::{PartitionId, PcpuId};
use bulkhead::sync::Lock;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// Bytes of EL2's own ring.
const LOG_BYTES: usize = 2048;

/// What all pCPUs share of the console.
pub struct Shared {
    /// The UART; silent when the board has none that we know.
    pub(super) uart: Uart,
    /// Who serves it; changes during start-up alone, before that one takes the server.
    pcpu: AtomicU8,
    /// The server, until that pCPU takes it.
    waiting: Lock<Option<&'static mut Server>>,
    /// What EL2 says.
    pub(super) log: TxRing<LOG_BYTES>,
    events: Lock<Queue>,
    /// There are events, or lost ones to tell of: changes under the lock of `events`.
    eventful: AtomicBool,
    /// [`IDLE`], [`WAITING`] or [`SENDING`].
    pub(super) state: AtomicU8,
    /// Partitions that may have something in their rings, a bit each: see [`TxRing::is_known`].
    pub(super) speaking: AtomicU64,
    /// Input waits for room in the UART of the partition with the focus.
    pub(super) input_waits: AtomicBool,
    /// The machine goes off when everything is sent.
    pub(super) off: AtomicBool,
    /// Partition that has the focus.
    pub(super) focus: AtomicU32,
    /// Somebody asked for the list of partitions.
    pub(super) listing: AtomicBool,
}

impl Shared {
    /// Makes the shared half.
    pub fn new(uart: Uart, pcpu: PcpuId, focus: u32) -> Self {
        Self {
            uart,
            pcpu: AtomicU8::new(pcpu.0),
            waiting: Lock::new(None),
            log: TxRing::new(),
            events: Lock::new(Queue::new()),
            eventful: AtomicBool::new(false),
            state: AtomicU8::new(IDLE),
            speaking: AtomicU64::new(0),
            input_waits: AtomicBool::new(false),
            off: AtomicBool::new(false),
            focus: AtomicU32::new(focus),
            listing: AtomicBool::new(false),
        }
    }

    /// Puts bytes of EL2's own into its ring.
    // Not inlined: every kind of piece would have a copy.
    #[inline(never)]
    pub(super) fn say(&self, bytes: &[u8]) {
        if let Uart::Silent = self.uart {
            MEMORY_LOG.append(bytes);
        }
        self.log.push_all(bytes);
    }

    /// Records an event, and says whether the server should be called for it.
    pub fn record(&self, event: Event) -> bool {
        let mut events = self.events.lock_by_call();
        let shows = events.push(event, window());
        self.eventful.store(true, Ordering::Relaxed);
        drop(events);
        fence(Ordering::SeqCst);
        shows && self.state.load(Ordering::SeqCst) != SENDING
    }

    /// Says whether the server is to be called for a byte that went into a partition's ring: otherwise it finds it by
    /// itself.
    #[inline(always)]
    pub fn wants_call(&self, partition: &Partition, line_ended: bool) -> bool {
        fence(Ordering::SeqCst);
        if !partition.output.is_known() {
            self.remember(partition);
        }
        match self.state.load(Ordering::SeqCst) {
            SENDING => false,
            WAITING => line_ended,
            _ => true,
        }
    }

    /// Says whether the server finds a byte that went into a partition's ring by itself, as [`Self::wants_call`] does, where
    /// nothing is to be done for that.
    #[inline(always)]
    pub fn finds(&self, partition: &Partition, line_ended: bool) -> bool {
        fence(Ordering::SeqCst);
        partition.output.is_known()
            && match self.state.load(Ordering::SeqCst) {
                SENDING => true,
                WAITING => !line_ended,
                _ => false,
            }
    }

    /// Has the server look at a partition's ring.
    #[inline(never)]
    fn remember(&self, partition: &Partition) {
        partition.output.set_known(true);
        self.speaking.fetch_or(bit(partition.id), Ordering::SeqCst);
    }

    /// Has the server pass by a partition's ring, unless something came meanwhile.
    pub(super) fn forget(&self, partition: &Partition) {
        partition.output.set_known(false);
        self.speaking
            .fetch_and(!bit(partition.id), Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if partition.output.reader().available() != 0 {
            self.remember(partition);
        }
    }

    /// Says that the machine goes off when everything is sent.
    pub fn power_off(&self) {
        self.off.store(true, Ordering::SeqCst);
    }

    /// Returns who serves the UART.
    pub fn pcpu(&self) -> PcpuId {
        PcpuId(self.pcpu.load(Ordering::Relaxed))
    }

    /// Keeps the server until a pCPU takes it.
    pub fn keep(&self, server: &'static mut Server, pcpu: PcpuId) {
        let mut waiting = self.waiting.lock_by_call();
        self.pcpu.store(pcpu.0, Ordering::Relaxed);
        *waiting = Some(server);
    }

    /// Takes the server, if it waits for this pCPU.
    pub fn take_server(&self, pcpu: PcpuId) -> Option<&'static mut Server> {
        let mut waiting = self.waiting.lock_by_call();
        match self.pcpu() == pcpu {
            true => waiting.take(),
            false => None,
        }
    }

    /// Says whether there is something to tell of events, now or in a later second.
    pub(super) fn is_eventful(&self) -> bool {
        self.eventful.load(Ordering::Relaxed)
    }

    /// Says whether EL2 has something to say.
    // Not inlined: it has many callers.
    #[inline(never)]
    pub(super) fn has_events(&self) -> bool {
        self.listing.load(Ordering::Relaxed)
            || self.eventful.load(Ordering::Relaxed)
                && !self.events.lock_by_call().is_empty(window())
    }

    /// Takes what EL2 is to say next.
    pub(super) fn next_speech(&self) -> Option<Speech> {
        if self.eventful.load(Ordering::Relaxed) {
            let mut events = self.events.lock_by_call();
            let speech = match events.pop() {
                Some(event) => Some(Speech::Event(event)),
                None => match events.take_lost(window()) {
                    0 => None,
                    lost => Some(Speech::Lost(lost)),
                },
            };
            self.eventful.store(events.is_eventful(), Ordering::Relaxed);
            if speech.is_some() {
                return speech;
            }
        }
        let listing = self.listing.load(Ordering::Relaxed);
        (listing && self.listing.swap(false, Ordering::Relaxed)).then_some(Speech::Partitions(0))
    }
}

/// Returns a partition's bit.
fn bit(partition: PartitionId) -> u64 {
    1u64.wrapping_shl(partition.0.into())
}

/// Returns the second that events are counted in.
fn window() -> u64 {
    timer::now() / timer::frequency()
}
