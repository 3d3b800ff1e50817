//! Holds what start-up carves out of the pool to what [`placement`] counts for it, when EL2 is compiled.

use super::pcpus::{STACK_PAGES, SecondaryStart};
use crate::pcpu::{Home, Vcpu};
use crate::run::channels::Shared;
use crate::system::{ChannelEnd, MAX_INTERRUPTS, Mailbox, Memory, Partition, Place, System};
use crate::terminal::Server;
use bulkhead::addr::PAGE_BYTES;
use bulkhead::config::placement;
use bulkhead::device::pl011::UartRing;
use bulkhead::ids::MAX_PCPUS;
use bulkhead::partition::crash::Crash;
use bulkhead::vgic::{CpuInterface, SpiBank};

/// What is lost to alignment between two values at most: a vCPU's is the largest.
const GAP: usize = align_of::<Vcpu>();

const _: () = {
    let mailboxes = MAX_PCPUS * size_of::<Mailbox>();
    let system = size_of::<System>() + size_of::<Server>() + mailboxes + MAX_INTERRUPTS + 4 * GAP;
    assert!(system as u64 <= placement::SYSTEM_BYTES);
    let pcpu = size_of::<Home>() + size_of::<SecondaryStart>() + 2 * GAP;
    assert!(pcpu as u64 <= placement::PCPU_BYTES);
    assert!(STACK_PAGES * PAGE_BYTES == placement::STACK_BYTES);
    let partition = size_of::<Partition>() + size_of::<UartRing>() + 8 * GAP;
    assert!(partition as u64 <= placement::PARTITION_BYTES);
    assert!(size_of::<Memory>() as u64 <= placement::REGION_BYTES);
    assert!(size_of::<SpiBank>() as u64 <= placement::BANK_BYTES);
    let vcpu = size_of::<Vcpu>() + size_of::<CpuInterface>() + size_of::<Place>();
    assert!(vcpu as u64 <= placement::VCPU_BYTES);
    assert!((size_of::<Crash>() + GAP) as u64 <= placement::MANAGED_BYTES);
    let channel = size_of::<Shared>() + 2 * size_of::<ChannelEnd>();
    assert!(channel as u64 <= placement::CHANNEL_BYTES);
};
