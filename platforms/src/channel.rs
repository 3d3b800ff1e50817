//! Channels: who is at their ends, and where each end sees them.
//!
//! Nobody has to choose addresses and interrupts: each side gets the first that are free in its address space, in the
//! order of the table, so that a channel added at the end moves none before it.

use std::collections::BTreeMap;

use bulkhead::addr::{PAGE_BYTES, Range};
use bulkhead::config::record::{MAX_CHANNELS, MAX_CHANNELS_OF_ONE, channel_modulus};

use crate::check::space::{Seen, seen};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::nearest::suggestion;
use crate::plan::{Channel, Plan, Side};
use crate::reader::{At, Span};
use crate::rule::Rule;
use crate::table;

/// Where a side's doorbell registers are looked for: on QEMU's `virt` machine nothing lies there.
const REGISTERS: u64 = 0x0b80_0000;
/// Where its memory is looked for: above RAM of up to 2 GiB, below 4 GiB.
const MEMORY: u64 = 0xc000_0000;
/// Where its interrupt is looked for, so that the virtual GIC needs no further bank for it.
const FIRST_INTID: u32 = 40;
/// First INTID that is no shared peripheral interrupt any more.
const INTID_END: u32 = 1020;

/// Makes the channels of a table, and gives their sides to the plans.
pub fn resolve(
    channels: &[table::Channel],
    plans: &mut [Plan],
    out: &mut Diagnostics,
) -> Vec<Channel> {
    check_names(channels, out);
    if let Some(extra) = channels.get(MAX_CHANNELS) {
        let title = format!("a table has at most {MAX_CHANNELS} channels");
        let text = format!("channel number {}", MAX_CHANNELS + 1);
        out.refuse(Rule::TooManyChannels, title, &extra.name.span, text);
    }
    let mut made = Vec::new();
    for channel in channels.iter().take(MAX_CHANNELS) {
        let Some(parties) = parties(channel, plans, out) else {
            continue;
        };
        for (number, party) in parties.into_iter().enumerate() {
            let peer = parties[1 - number];
            let side = Side {
                channel: made.len(),
                name: channel.name.value.clone(),
                number,
                peer: plans[peer].name.clone(),
                size: channel.size.value,
                access: channel.access[number],
                gpa: 0,
                registers: 0,
                intid: 0,
                span: channel.span.clone(),
            };
            plans[party].channels.push(side);
        }
        made.push(Channel {
            name: channel.name.value.clone(),
            size: channel.size.value,
            cached: channel.cached,
            parties,
            placed: 0,
            span: channel.span.clone(),
        });
    }
    for plan in plans.iter_mut() {
        place(plan, out);
    }
    made
}

/// Refuses names that are used twice.
fn check_names(channels: &[table::Channel], out: &mut Diagnostics) {
    let mut first: BTreeMap<&str, Span> = BTreeMap::new();
    for channel in channels {
        let At { value: name, span } = &channel.name;
        crate::check::check_name(&channel.name, "a channel", out);
        if let Some(other) = first.get(name.as_str()) {
            let title = format!("two channels have the name `{name}`");
            let found = Diagnostic::new(Rule::DuplicateChannel, title, span.clone(), "again");
            out.push(
                found
                    .and(other.clone(), "first used here")
                    .help("rename one of the two"),
            );
        } else {
            first.insert(name, span.clone());
        }
    }
}

/// Finds the two partitions of a channel.
fn parties(channel: &table::Channel, plans: &[Plan], out: &mut Diagnostics) -> Option<[usize; 2]> {
    let mut find = |name: &At<String>| {
        let found = plans.iter().position(|plan| plan.name == name.value);
        if found.is_none() {
            let title = format!(
                "channel `{}` ends at a partition `{}` that there is not",
                channel.name.value, name.value
            );
            let found = Diagnostic::new(Rule::UnknownPeer, title, name.span.clone(), "unknown");
            let names = plans.iter().map(|plan| plan.name.as_str());
            out.push(found.help(suggestion(&name.value, names, "the table has no partition")));
        }
        found
    };
    let [one, other] = &channel.between;
    let pair = (find(one), find(other));
    let (Some(a), Some(b)) = pair else {
        return None;
    };
    if a == b {
        let title = format!(
            "channel `{}` is between `{}` and itself",
            channel.name.value, one.value
        );
        let found = Diagnostic::new(Rule::ChannelEnds, title, other.span.clone(), "the same");
        let found = found.and(one.span.clone(), "as this");
        out.push(found.help("a channel is between two partitions"));
        return None;
    }
    Some([a, b])
}

/// Gives the channels of a partition their addresses and interrupts.
fn place(plan: &mut Plan, out: &mut Diagnostics) {
    if let Some(extra) = plan.channels.get(MAX_CHANNELS_OF_ONE) {
        let title = format!("a partition has at most {MAX_CHANNELS_OF_ONE} channels");
        let text = format!(
            "channel number {} of `{}`",
            MAX_CHANNELS_OF_ONE + 1,
            plan.name
        );
        out.refuse(Rule::TooManyChannels, title, &extra.span, text);
        plan.channels.truncate(MAX_CHANNELS_OF_ONE);
    }
    let mut sides = std::mem::take(&mut plan.channels);
    let mut taken: Vec<Range> = seen(plan).iter().map(Seen::range).collect();
    let pages = sides.len() as u64 * PAGE_BYTES;
    let registers = free(&taken, REGISTERS, pages, PAGE_BYTES);
    taken.extend(registers);
    let mut intids = used_intids(plan);
    for (index, side) in sides.iter_mut().enumerate() {
        let memory = free(&taken, MEMORY, side.size, channel_modulus(side.size));
        let intid = (FIRST_INTID..INTID_END).find(|intid| !intids.contains(intid));
        let (Some(memory), Some(registers), Some(intid)) = (memory, registers, intid) else {
            let title = format!("`{}` has no room for channel `{}`", plan.name, side.name);
            let text = "no free addresses or interrupts";
            out.refuse(Rule::OutsideGuestSpace, title, &side.span, text);
            continue;
        };
        taken.push(memory);
        intids.push(intid);
        side.gpa = memory.start();
        side.registers = registers.start() + index as u64 * PAGE_BYTES;
        side.intid = intid;
    }
    plan.channels = sides;
}

/// Returns the interrupts that a partition has from its console and its devices.
fn used_intids(plan: &Plan) -> Vec<u32> {
    let devices = plan.devices.iter().flat_map(|device| &device.interrupts);
    let devices = devices.map(|interrupt| interrupt.intid);
    devices
        .chain(plan.console.as_ref().map(|console| console.intid))
        .collect()
}

/// Finds the lowest free range of `bytes` from `start` on, at a multiple of `modulus`.
pub fn free(taken: &[Range], start: u64, bytes: u64, modulus: u64) -> Option<Range> {
    let mut start = start;
    loop {
        let range = Range::new(start, bytes)?;
        if range.last() >= crate::resolve::GUEST_SPACE {
            return None;
        }
        match taken.iter().find(|taken| taken.overlaps(range)) {
            Some(taken) => start = taken.last().checked_add(1)?.next_multiple_of(modulus),
            None => return Some(range),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ranges_are_the_lowest_and_aligned() {
        let range = |start, bytes| Range::new(start, bytes).unwrap();
        let taken = [range(0x1000, 0x1000), range(0x3000, 0x800)];
        let at = |bytes, modulus| free(&taken, 0x1000, bytes, modulus).map(Range::start);
        assert_eq!(at(0x1000, 0x1000), Some(0x2000));
        assert_eq!(at(0x2000, 0x1000), Some(0x4000));
        assert_eq!(at(0x1000, 0x20_0000), Some(0x20_0000));
        assert_eq!(at(1 << 39, 0x1000), None);
    }
}
