//! The checks of channels: two different partitions, and nothing of theirs in a place that is taken.

use super::super::record::{
    ChannelRecord, MAX_CHANNEL_BYTES, MAX_CHANNELS, MAX_CHANNELS_OF_ONE, PartitionRecord,
    SideRecord, access, channel_flags, console_model, gic,
};
use super::check::{SPI_END, guest_range};
use super::{Part, Payload, PayloadError};
use crate::addr::{PAGE_BYTES, Range};

/// Refuses a field's value unless a condition holds.
struct Field {
    channel: usize,
}

impl Field {
    fn must(&self, holds: bool, field: &'static str, value: u64) -> Result<(), PayloadError> {
        if holds {
            return Ok(());
        }
        Err(PayloadError::Channel {
            channel: self.channel,
            field,
            value,
        })
    }
}

impl<'a> Payload<'a> {
    /// Checks all channels; the partitions have been checked.
    pub(super) fn check_channels(&self) -> Result<(), PayloadError> {
        let found = self.channels.len();
        if found > MAX_CHANNELS {
            return Err(PayloadError::Count {
                partition: 0,
                part: Part::Channels,
                found,
                limit: MAX_CHANNELS,
            });
        }
        for (position, channel) in self.channels.iter().enumerate() {
            self.check_channel(position, channel)?;
        }
        for (partition, record) in self.partitions.iter().enumerate() {
            self.check_own_channels(partition, record)?;
        }
        Ok(())
    }

    /// Checks what a channel says by itself.
    fn check_channel(&self, at: usize, channel: &ChannelRecord) -> Result<(), PayloadError> {
        let field = Field { channel: at };
        let named = self.text_checked(channel.name).is_some();
        field.must(named, "name", u64::from(channel.name.offset))?;
        let size = channel.size;
        let whole = size.is_multiple_of(PAGE_BYTES) && (1..=MAX_CHANNEL_BYTES).contains(&size);
        field.must(whole, "size", size)?;
        let known = channel.flags & !channel_flags::CACHED == 0;
        field.must(known, "flags", u64::from(channel.flags))?;
        let [one, other] = &channel.sides;
        field.must(
            one.partition != other.partition,
            "partition",
            other.partition.into(),
        )?;
        let modulus = channel.modulus();
        let congruent = one.gpa % modulus == other.gpa % modulus;
        field.must(congruent, "gpa", other.gpa)?;
        for side in &channel.sides {
            self.check_side(&field, side, size)?;
        }
        Ok(())
    }

    /// Checks what a side says by itself.
    fn check_side(&self, field: &Field, side: &SideRecord, size: u64) -> Result<(), PayloadError> {
        let there = (side.partition as usize) < self.partitions.len();
        field.must(there, "partition", side.partition.into())?;
        let access = side.access;
        let known = access == access::READ || access == access::READ | access::WRITE;
        field.must(known, "access", access.into())?;
        let memory = side.gpa.is_multiple_of(PAGE_BYTES) && guest_range(side.gpa, size).is_some();
        field.must(memory, "gpa", side.gpa)?;
        let registers = side.registers.is_multiple_of(PAGE_BYTES)
            && guest_range(side.registers, PAGE_BYTES).is_some();
        field.must(registers, "registers", side.registers)?;
        let spi = (32..SPI_END).contains(&side.intid);
        field.must(spi, "intid", side.intid.into())
    }

    /// Checks that the channels of one partition lie apart from all that it sees, and have interrupts of their own.
    fn check_own_channels(&self, at: usize, of: &PartitionRecord) -> Result<(), PayloadError> {
        let own = || {
            let sides = self.channels_of(at);
            sides.filter_map(|(channel, side)| Some((channel, channel.sides.get(side)?)))
        };
        let count = own().count();
        if count > MAX_CHANNELS_OF_ONE {
            return Err(PayloadError::Count {
                partition: at,
                part: Part::Channels,
                found: count,
                limit: MAX_CHANNELS_OF_ONE,
            });
        }
        let first = own().next().map_or(0, |(_, side)| side.registers);
        for (index, (channel, side)) in own().enumerate() {
            let position = self
                .channels
                .iter()
                .position(|other| core::ptr::eq(other, channel));
            let field = Field {
                channel: position.unwrap_or(index),
            };
            let wanted = first.wrapping_add(index as u64 * PAGE_BYTES);
            field.must(side.registers == wanted, "registers", side.registers)?;
            // Register pages follow each other, as checked above: they never meet.
            let memory = guest_range(side.gpa, channel.size);
            let pages = own().filter_map(|(_, s)| guest_range(s.registers, PAGE_BYTES));
            let memories = own().take(index);
            let memories = memories.filter_map(|(c, s)| guest_range(s.gpa, c.size));
            let clear = |range: Option<Range>| range.is_some_and(|range| !self.sees(of, range));
            let apart = |taken: Range| memory.is_none_or(|memory| !taken.overlaps(memory));
            let clear_memory = clear(memory) && pages.chain(memories).all(apart);
            field.must(clear_memory, "gpa", side.gpa)?;
            let clear_page = clear(guest_range(side.registers, PAGE_BYTES));
            field.must(clear_page, "registers", side.registers)?;
            let devices = self.interrupts(of).iter().map(|record| record.intid);
            let console = (of.console_model != console_model::NONE).then_some(of.console_intid);
            let others = own().take(index).map(|(_, side)| side.intid);
            let mut taken = devices.chain(console).chain(others);
            let free = !taken.any(|intid| intid == side.intid);
            field.must(free, "intid", side.intid.into())?;
        }
        Ok(())
    }

    /// Says whether a range meets a page of what a partition sees beside its channels.
    // Not inlined: start-up has to be small.
    #[inline(never)]
    fn sees(&self, of: &PartitionRecord, range: Range) -> bool {
        let meets = |start, size| {
            let taken = guest_range(start, size);
            taken.is_some_and(|taken| taken.align_out(PAGE_BYTES).overlaps(range))
        };
        let vcpus = u64::from(of.vcpus.count);
        let has_console = of.console_model != console_model::NONE;
        let mut regions = self.regions(of).iter();
        let mut devices = self.devices(of).iter();
        let version = self.header.flags;
        meets(of.gicd, gic::distributor_bytes(version))
            || meets(of.gicr, gic::interface_bytes(version, vcpus))
            || has_console && meets(of.console_gpa, PAGE_BYTES)
            || regions.any(|region| meets(region.gpa, region.size))
            || devices.any(|device| {
                let mut windows = self.windows(device).iter();
                windows.any(|window| meets(window.gpa, window.size))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::record::{ANYWHERE, RegionRecord, Span};
    use super::super::samples::{Sample, name};
    use super::*;
    use zerocopy::IntoBytes;

    /// Two partitions and a channel between them.
    fn sample() -> Sample {
        let mut sample = Sample::new();
        let mut other = sample.partitions[0];
        other.name = name("loop");
        other.devices = Span::default();
        other.interrupts = Span::default();
        sample.partitions.push(other);
        let side = |partition| SideRecord {
            partition,
            access: access::READ | access::WRITE,
            gpa: 0xc000_0000,
            registers: 0x0b80_0000,
            intid: 40,
            reserved: 0,
        };
        sample.channels.push(ChannelRecord {
            size: 0x1_0000,
            sides: [side(0), side(1)],
            ..ChannelRecord::default()
        });
        sample
    }

    fn check(sample: Sample) -> Result<(), PayloadError> {
        Payload::new(sample.build().as_bytes()).map(|_| ())
    }

    /// What a test does to the sample's channel.
    type Change = fn(&mut ChannelRecord);

    #[test]
    fn refuses_channels_without_meaning_or_in_places_that_are_taken() {
        assert_eq!(check(sample()), Ok(()));
        let cases: [(&str, u64, Change); 23] = [
            ("size", 0, |c| c.size = 0),
            ("size", 0x1_0800, |c| c.size = 0x1_0800),
            ("size", 1 << 30, |c| c.size = 1 << 30),
            ("flags", 2, |c| c.flags = 2),
            ("partition", 1, |c| c.sides[0].partition = 1),
            ("partition", 2, |c| c.sides[1].partition = 2),
            ("access", 7, |c| c.sides[0].access = 7),
            ("access", 2, |c| c.sides[1].access = 2),
            ("gpa", 0x4010_0000, |c| c.sides[0].gpa = 0x4010_0000),
            ("gpa", 0x0901_0000, |c| c.sides[0].gpa = 0x0901_0000),
            ("gpa", 0x0900_0000, |c| c.sides[0].gpa = 0x0900_0000),
            ("gpa", 0xc000_0800, |c| {
                (c.sides[0].gpa, c.sides[1].gpa) = (0xc000_0800, 0xc000_0800)
            }),
            ("gpa", 1 << 39, |c| c.sides[1].gpa = 1 << 39),
            ("gpa", 0x0b7f_f000, |c| c.sides[1].gpa = 0x0b7f_f000),
            ("gpa", 0x0b80_0000, |c| c.sides[0].gpa = 0x0b80_0000),
            ("gpa", 0x0b80_0000, |c| c.sides[1].gpa = 0x0b80_0000),
            ("registers", 0x080a_0000, |c| {
                c.sides[0].registers = 0x080a_0000
            }),
            ("registers", 0x0b80_0800, |c| {
                c.sides[0].registers = 0x0b80_0800
            }),
            ("registers", 1 << 39, |c| c.sides[1].registers = 1 << 39),
            ("intid", 31, |c| c.sides[0].intid = 31),
            ("intid", 1020, |c| c.sides[0].intid = 1020),
            ("intid", 33, |c| c.sides[1].intid = 33),
            ("intid", 34, |c| c.sides[0].intid = 34),
        ];
        for (field, value, change) in cases {
            let mut sample = sample();
            change(&mut sample.channels[0]);
            let channel = 0;
            let wanted = PayloadError::Channel {
                channel,
                field,
                value,
            };
            assert_eq!(check(sample), Err(wanted));
        }
    }

    #[test]
    fn refuses_two_channels_of_one_partition_that_share_something() {
        let second = |change: Change| {
            let mut sample = sample();
            let mut channel = sample.channels[0];
            for side in &mut channel.sides {
                side.gpa += 0x1_0000;
                side.registers += 0x1000;
                side.intid += 1;
            }
            change(&mut channel);
            sample.channels.push(channel);
            check(sample).map_err(|error| match error {
                PayloadError::Channel { channel, field, .. } => (channel, field),
                other => panic!("{other}"),
            })
        };
        assert_eq!(second(|_| ()), Ok(()));
        assert_eq!(second(|c| c.sides[0].gpa = 0xc000_f000), Err((1, "gpa")));
        assert_eq!(
            second(|c| c.sides[1].registers += 0x1000),
            Err((1, "registers"))
        );
        assert_eq!(second(|c| c.sides[1].intid = 40), Err((1, "intid")));
    }

    #[test]
    fn refuses_more_than_a_partition_and_than_a_system_can_have() {
        let with = |count: u64| {
            let mut sample = sample();
            // Behind all the records.
            (sample.segments[0].offset, sample.header.total_bytes) = (0x4000, 0x6000);
            for index in 1..count {
                let mut channel = sample.channels[0];
                for side in &mut channel.sides {
                    side.gpa += index * 0x1_0000;
                    side.registers += index * 0x1000;
                    side.intid += index as u32;
                }
                sample.channels.push(channel);
            }
            check(sample)
        };
        let many = |found, limit| {
            let (partition, part) = (0, Part::Channels);
            Err(PayloadError::Count {
                partition,
                part,
                found,
                limit,
            })
        };
        assert_eq!(with(8), Ok(()));
        assert_eq!(with(9), many(9, MAX_CHANNELS_OF_ONE));
        // Within what a system can have.
        assert_eq!(with(64), many(64, MAX_CHANNELS_OF_ONE));
        assert_eq!(with(65), many(65, MAX_CHANNELS));
    }

    #[test]
    fn large_memory_agrees_modulo_2_mib() {
        let mut sample = sample();
        sample.channels[0].size = 4 << 20;
        sample.channels[0].sides[1].gpa += 0x1000;
        let wanted = PayloadError::Channel {
            channel: 0,
            field: "gpa",
            value: 0xc000_1000,
        };
        assert_eq!(check(sample), Err(wanted));
    }

    #[test]
    fn shows_the_channels_of_a_partition_with_its_side() {
        let mut sample = sample();
        sample.regions.push(RegionRecord {
            hpa: ANYWHERE,
            ..RegionRecord::default()
        });
        let words = sample.build();
        let payload = Payload::new(words.as_bytes()).unwrap();
        let sides = |partition| payload.channels_of(partition).map(|(_, side)| side);
        assert_eq!(sides(0).collect::<Vec<_>>(), [0]);
        assert_eq!(sides(1).collect::<Vec<_>>(), [1]);
        assert_eq!(sides(2).count(), 0);
    }
}
