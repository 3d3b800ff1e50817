//! Our own calls, in the vendor-specific hypervisor range. This table is an interface for guests: numbers are never
//! used again.
//!
//! | call | identifier | arguments | results |
//! | --- | --- | --- | --- |
//! | features | 0x86000000 | - | x0: bit n set when call n is served (n below 32) |
//! | yield | 0x86000001, 0xc6000001 | - | x0: 0; the caller goes behind its equals in priority |
//! | watchdog_kick | 0x86000002, 0xc6000002 | - | x0: 0, -3 the table gives the caller no watchdog |
//! | channel_signal | 0x86000010, 0xc6000010 | x1: which of the caller's channels | x0: 0, -2 no such channel, -3 the partner does not run |
//! | channel_status | 0x86000011, 0xc6000011 | x1: which of the caller's channels | x0: 0 or -2; x1: PEER, x2: OWN, x3: INFO, as [`crate::device::doorbell`] has them |
//! | partition_list | 0x86000018, 0xc6000018 | - | x0: 0 or -3; x1: how many partitions there are, x2: bit n: the caller manages number n, x3: the caller's own number |
//! | partition_info | 0x86000019, 0xc6000019 | x1: number | x0: 0, -2, -3; x1: STATE, x2: CRASHES, x3: LOG, as [`crate::device::manager`] has them; x4 to x7: the name |
//! | partition_stop | 0x8600001a, 0xc600001a | x1: number | x0: 0, -2, -3 |
//! | partition_start | 0x8600001b, 0xc600001b | x1: number | x0: 0, -2, -3, -4, -5 |
//! | partition_restart | 0x8600001c, 0xc600001c | x1: number | x0: 0, -2, -3, -5 |
//! | partition_crash | 0x8600001d, 0xc600001d | x1: number, x2: a word | x0: 0, -2, -3; x1: CRASHES; x2 to x17: 16 words of the crash record from that one on ([`crate::partition::crash`]) |
//! | partition_log | 0x8600001e, 0xc600001e | x1: number, x2: a position | x0: 0, -2, -3; x1: END of LOG, x2: the position of the first byte, x3: how many bytes there are, x4 to x17: these bytes |
//! | UID | 0x8600ff01 | - | x0 to x3: e146778d-e90a-4506-8136-c83028dd011b, four bytes each |
//! | revision | 0x8600ff03 | - | x0: major, x1: minor |
//!
//! | x0 | meaning |
//! | --- | --- |
//! | 0 | done, or begun |
//! | -1 | there is no such call |
//! | -2 | there is no such partition or channel |
//! | -3 | the caller may not: the table does not say that it manages this partition; or the partner does not run |
//! | -4 | it was started already |
//! | -5 | it is still stopping: ask again |
//!
//! # Managing
//! A partition manages those that its key `manages` names; for all others it gets -3, and a partition that manages nobody
//! gets -3 for itself too. stop, start and restart begin: they return at once, and STATE tells how far it is, for what
//! follows is the other partition's own work at its own priority. A stop wins over a restart that is under way. A partition
//! may manage itself, and two may manage each other: a stop or a restart of oneself does not come back, like SYSTEM_OFF and
//! SYSTEM_RESET; when each of two stops the other, both stop. When no partition is left that runs, the machine goes off.
//!
//! No call takes an address: what is long comes in registers, x0 to x17, as the convention's version 1.2 allows. A position
//! in a log counts all bytes that were ever sent, modulo 2^32. Asked for one that is not kept any more, or was not
//! reached yet, partition_log begins at the oldest that is kept; asked for END, it returns no bytes.
//!
//! To add a call: a variant of [`Hypercall`], its number in `Hypercall::numbered`, its row above; the compiler asks
//! for the rest.

use super::Outcome;
use crate::device::manager::Order;

/// The interface's UID: e146778d-e90a-4506-8136-c83028dd011b.
pub const UID: [u64; 4] = [0x8d77_46e1, 0x0645_0ae9, 0x30c8_3681, 0x1b01_dd28];
/// The interface's major and minor revision.
pub const REVISION: (u64, u64) = (1, 2);

/// Function identifier of UID.
pub const UID_CALL: u32 = 0x8600_ff01;
/// Function identifier of revision.
pub const REVISION_CALL: u32 = 0x8600_ff03;
/// Function identifier of features.
pub const FEATURES_CALL: u32 = 0x8600_0000;
/// What features says.
pub const FEATURES: u64 = Hypercall::SERVED;
/// Function identifier of yield.
pub const YIELD_CALL: u32 = 0x8600_0001;

/// Function identifier of channel_signal.
pub const CHANNEL_SIGNAL_CALL: u32 = 0x8600_0010;
/// Function identifier of channel_status.
pub const CHANNEL_STATUS_CALL: u32 = 0x8600_0011;

/// Words of a crash record that one call returns.
pub const CRASH_WORDS: usize = 16;
/// Words of a log that one call returns.
pub const LOG_WORDS: usize = 14;

/// What a manager asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who there is.
    List,
    /// How a partition is.
    Info(u64),
    /// That a partition does something.
    Order(u64, Order),
    /// Words of a partition's crash record.
    Crash(u64, u64),
    /// Bytes of a partition's log.
    Log(u64, u64),
}

/// A call that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypercall {
    /// What is served.
    Features,
    /// To the tail of one's priority.
    Yield,
    /// Kicks the watchdog.
    WatchdogKick,
    /// Who there is to manage.
    PartitionList,
    /// How a partition is.
    PartitionInfo,
    /// Stops a partition.
    PartitionStop,
    /// Starts a partition.
    PartitionStart,
    /// Restarts a partition.
    PartitionRestart,
    /// A piece of a partition's crash record.
    PartitionCrash,
    /// A piece of a partition's log.
    PartitionLog,
    /// Rings the doorbell of a channel's other end.
    ChannelSignal,
    /// Tells about a channel's other end.
    ChannelStatus,
    /// Who we are.
    Uid,
    /// Which revision of this interface.
    Revision,
}

impl Hypercall {
    /// Names the call with a number (bits 15:0 of the identifier), or returns `None` when it is not served.
    const fn numbered(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Features,
            1 => Self::Yield,
            2 => Self::WatchdogKick,
            0x10 => Self::ChannelSignal,
            0x11 => Self::ChannelStatus,
            0x18 => Self::PartitionList,
            0x19 => Self::PartitionInfo,
            0x1a => Self::PartitionStop,
            0x1b => Self::PartitionStart,
            0x1c => Self::PartitionRestart,
            0x1d => Self::PartitionCrash,
            0x1e => Self::PartitionLog,
            0xff01 => Self::Uid,
            0xff03 => Self::Revision,
            _ => return None,
        })
    }

    /// Says whether the call has a 64-bit form as well.
    const fn has_wide_form(self) -> bool {
        !matches!(self, Self::Features | Self::Uid | Self::Revision)
    }

    /// Bit n: call n is served.
    const SERVED: u64 = {
        let mut served = 0;
        let mut number = 0;
        while number < 32 {
            if Self::numbered(number).is_some() {
                served |= 1 << number;
            }
            number += 1;
        }
        served
    };
}

/// Serves a function of this range.
pub(super) const fn serve(function: u32, arguments: [u64; 3]) -> Outcome {
    let [first, second, _] = arguments;
    let Some(hypercall) = Hypercall::numbered(function as u16) else {
        return Outcome::NOT_SUPPORTED;
    };
    if function >> 30 & 1 != 0 && !hypercall.has_wide_form() {
        return Outcome::NOT_SUPPORTED;
    }
    match hypercall {
        Hypercall::Features => Outcome::Return(FEATURES),
        Hypercall::Yield => Outcome::Yield,
        Hypercall::ChannelSignal => Outcome::ChannelSignal(first),
        Hypercall::ChannelStatus => Outcome::ChannelStatus(first),
        Hypercall::WatchdogKick => Outcome::Kick,
        Hypercall::PartitionList => Outcome::Manage(Request::List),
        Hypercall::PartitionInfo => Outcome::Manage(Request::Info(first)),
        Hypercall::PartitionStop => Outcome::Manage(Request::Order(first, Order::Stop)),
        Hypercall::PartitionStart => Outcome::Manage(Request::Order(first, Order::Start)),
        Hypercall::PartitionRestart => Outcome::Manage(Request::Order(first, Order::Restart)),
        Hypercall::PartitionCrash => Outcome::Manage(Request::Crash(first, second)),
        Hypercall::PartitionLog => Outcome::Manage(Request::Log(first, second)),
        Hypercall::Uid => Outcome::Return4(UID),
        Hypercall::Revision => Outcome::Return4([REVISION.0, REVISION.1, 0, 0]),
    }
}
