//! Makes a system's channels: where their memory lies, and what each partition's ends are.

use super::arena::Arena;
use super::build::{check_memory, range};
use super::inputs::Inputs;
use super::plan::Plan;
use super::refuse;
use crate::arch::aarch64::mmu::Window;
use crate::run::channels::Shared;
use crate::system::ChannelEnd;
use bulkhead::addr::{HostPhysAddr, PAGE_BYTES, Range};
use bulkhead::config::record::{ChannelRecord, SideRecord};
use bulkhead::ids::PartitionId;
use bulkhead::message::Filled;

/// Describes the memory of all channels, and looks whether it is there. Their places follow those of the partitions'
/// regions.
pub fn shared(
    arena: &mut Arena,
    window: &mut Window,
    inputs: &Inputs,
    plan: &Plan,
) -> &'static [Shared] {
    let channels = inputs.payload.channels();
    let partitions = inputs.payload.partitions().iter();
    let regions: usize = partitions
        .map(|record| inputs.payload.regions(record).len())
        .sum();
    arena.slice(channels.len(), |index| {
        let place = plan.regions().nth(regions + index);
        let (place, size) = (place.unwrap_or(HostPhysAddr(0)), channels[index].size);
        let name = inputs.payload.text(channels[index].name);
        check_memory(window, &Filled("channel {}", &[&name]), place, size);
        Shared::new(place, size)
    })
}

/// Returns the channels of a partition: the record, the number of its own side, and that side.
pub fn sides(
    inputs: &Inputs,
    partition: usize,
) -> impl Iterator<Item = (&'static ChannelRecord, usize, &'static SideRecord)> {
    let channels = inputs.payload.channels_of(partition);
    channels.filter_map(|(channel, side)| Some((channel, side, channel.sides.get(side)?)))
}

/// Makes a partition's ends of channels.
pub fn channels(
    arena: &mut Arena,
    inputs: &Inputs,
    partition: usize,
    shared: &'static [Shared],
) -> &'static [ChannelEnd] {
    let mut ends = arena.reserve(sides(inputs, partition).count());
    for (channel, number, side) in sides(inputs, partition) {
        let all = inputs.payload.channels().iter();
        let memory = { all }
            .zip(shared)
            .find(|(other, _)| core::ptr::eq(*other, channel));
        let (Some((_, shared)), Some(other)) = (memory, channel.sides.get(1 - number)) else {
            refuse("a channel has no memory", &[])
        };
        ends.push(ChannelEnd {
            shared,
            peer: PartitionId(other.partition as u8),
            peer_intid: other.intid as u16,
            side: number as u8,
            access: side.access,
        });
    }
    ends.finish()
}

/// Returns where a partition sees its doorbell registers.
pub fn doorbells(inputs: &Inputs, partition: usize) -> Option<Range> {
    let first = sides(inputs, partition).next()?.2.registers;
    let pages = sides(inputs, partition).count() as u64;
    Some(range(first, pages * PAGE_BYTES))
}
