//! Channels: doorbells between partitions, and what one side learns about the other.
//!
//! A doorbell is an edge-triggered interrupt of the partner with nothing physical behind it. It goes to the vCPU that the
//! partner's IROUTER names; rings that find it pending already are one with it. It rings for the partner's software, and
//! for EL2 when this side starts or stops. A partition that does not run is not rung, so that its next life begins without
//! a doorbell of the former one.
//!
//! Shared memory is zeroed before the first of its partitions runs, and never again: at a restart it is the partner's too.

use crate::pcpu::{Activity, Pcpu};
use crate::system::{ChannelEnd, Partition, Place};
use bulkhead::addr::{HostPhysAddr, PAGE_BYTES};
use bulkhead::device::doorbell::{SIGNAL, Status};
use bulkhead::ids::VcpuId;
use bulkhead::partition::Phase;
use bulkhead::sched::Slot;
use bulkhead::smccc::result;
use bulkhead::trap::access::MmioAccess;
use bulkhead::vgic::Vgic;
use core::sync::atomic::{AtomicU32, Ordering};

/// The memory of a channel.
pub struct Shared {
    /// Where it lies on the board.
    pub host: HostPhysAddr,
    /// Bytes.
    pub size: u64,
    /// Pages that somebody has begun to zero, and those that are zero.
    begun: AtomicU32,
    zeroed: AtomicU32,
}

impl Shared {
    /// Describes memory that has to be zeroed.
    pub const fn new(host: HostPhysAddr, size: u64) -> Self {
        Self {
            host,
            size,
            begun: AtomicU32::new(0),
            zeroed: AtomicU32::new(0),
        }
    }

    fn pages(&self) -> u32 {
        (self.size / PAGE_BYTES) as u32
    }
}

impl Pcpu {
    /// Rings the doorbell at the other end of a partition's channel. Returns the call's result.
    pub fn ring(&mut self, partition: &Partition, index: usize) -> u64 {
        match partition.channels.get(index) {
            Some(end) => self.ring_end(end),
            None => result::INVALID_PARAMETERS,
        }
    }

    /// [`Pcpu::ring`] at the other end of a channel.
    #[inline(never)]
    pub fn ring_end(&mut self, end: &ChannelEnd) -> u64 {
        let system = self.system;
        let Some(peer) = system.partitions.get(usize::from(end.peer.0)) else {
            return result::INVALID_PARAMETERS;
        };
        let mut state = peer.state.lock();
        if state.life.phase() != Phase::Running {
            return result::DENIED;
        }
        let effects = state.vgic.ring(end.peer_intid);
        let (woken, others) = self.end_wait(peer, &state.vgic, effects.kick);
        drop(state);
        if others != 0 {
            self.kick(peer, others);
        }
        if let Some(slot) = woken {
            self.make_ready(slot);
        }
        result::SUCCESS
    }

    /// Says which vCPU's wait a doorbell ends here, and who is to be told in the general way, of those that are `rung`. One
    /// that lives here off the hardware needs no more than this: it finds the interrupt when it comes.
    #[inline(always)]
    fn end_wait(&self, peer: &Partition, vgic: &Vgic, rung: u16) -> (Option<Slot>, u16) {
        let id = VcpuId(rung.trailing_zeros() as u8);
        let here = |place: &Place| place.pcpu == self.id && self.current != Some(place.slot);
        let Some(Place { slot, .. }) = peer.place(id).filter(here) else {
            return (None, rung);
        };
        let vcpu = self.vcpus.get(slot.index());
        match vcpu.map(|vcpu| (vcpu.activity, &vcpu.interface)) {
            Some((Activity::Ready, _)) if rung.is_power_of_two() => (None, 0),
            Some((Activity::Waiting, interface)) if rung.is_power_of_two() => {
                let (vmcr, active0, active1) = interface.as_signals(None);
                let wakes = vgic.would_signal(id, vmcr, active0, active1);
                (wakes.then_some(slot), 0)
            }
            _ => (None, rung),
        }
    }

    /// Returns what one end of a channel may know.
    pub fn channel_status(&self, partition: &Partition, end: &ChannelEnd) -> Status {
        let peer = self.system.partitions.get(usize::from(end.peer.0));
        Status {
            peer: peer.map_or(0, |peer| peer.presence.load(Ordering::Acquire)),
            own: partition.presence.load(Ordering::Relaxed),
            side: end.side,
            access: end.access,
            size: end.shared.size,
        }
    }

    /// An access to the pages of doorbell registers, `offset` bytes from the first one.
    pub fn access_doorbell(&mut self, partition: &Partition, offset: u64, access: MmioAccess) {
        let (index, offset) = ((offset / PAGE_BYTES) as usize, offset % PAGE_BYTES);
        if access.write {
            if offset == SIGNAL {
                self.ring(partition, index);
            }
            return;
        }
        let end = partition.channels.get(index);
        let raw = end.map_or(0, |end| self.channel_status(partition, end).read(offset));
        self.finish_load(access, raw);
    }

    /// Zeroes the next page of a channel's memory, once in the life of the system. Both partitions may be at it: each
    /// piece is done by one of them, in one go, so the other waits for a page at most. Returns true when all is zero.
    pub fn zero_shared(&mut self, shared: &Shared) -> bool {
        let pages = shared.pages();
        if shared.begun.load(Ordering::Relaxed) < pages {
            let page = shared.begun.fetch_add(1, Ordering::Relaxed);
            if page < pages {
                self.zero_page(HostPhysAddr(shared.host.0 + u64::from(page) * PAGE_BYTES));
                shared.zeroed.fetch_add(1, Ordering::Release);
            }
        }
        shared.zeroed.load(Ordering::Acquire) == pages
    }
}
