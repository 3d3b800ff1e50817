//! The pages of registers by which a partition manages others without calls: user space can map them. There is a page for
//! each partition that it manages, in the order of the table. This layout is an interface for guests and does not change.
//!
//! | offset | bits | register | access |
//! | --- | --- | --- | --- |
//! | 0x000 | 32 | CONTROL: 1 stops, 2 starts, 3 restarts the partition, as the calls do; what they refuse is ignored | write |
//! | 0x008 | 64 | STATE: bits 7:0 0 stopped, 1 loading, 2 running, 3 stopping, 4 restarting; 15:8 its vCPUs; 16 it has a watchdog; 63:32 how often it was started | read |
//! | 0x010 | 64 | CRASHES: how many crash records were taken; the last one is kept | read |
//! | 0x018 | 64 | INFO: bits 7:0 version of this layout, 15:8 the partition's number in the table, 31:16 words of a crash record | read |
//! | 0x020 | 64 | LOG: bits 31:0 END, how many bytes its console was sent, modulo 2^32; 63:32 how many of the last are kept | read |
//! | 0x040 | 256 | NAME: padded with zeros | read |
//! | 0x200 | | CRASH: the words of [`crate::partition::crash`], zero when there was none | read |
//! | 0x800 | | OUTPUT: byte n of what its console was sent is at 0x800 + n mod 2048 | read |
//!
//! Parts of a register can be read by narrower loads. A reader of OUTPUT looks at END again when it is done: bytes that were
//! overwritten meanwhile are the oldest.

/// Version of the layout, and of a crash record.
pub const VERSION: u64 = 1;
/// Offset of CONTROL.
pub const CONTROL: u64 = 0x000;
/// Words of NAME.
pub const NAME_WORDS: usize = 4;
/// Bytes of OUTPUT.
pub const OUTPUT_BYTES: usize = 0x800;
/// Words of a crash record.
pub const CRASH_WORDS: usize = 176;

/// What one may tell a partition to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// To stop, for good.
    Stop,
    /// To start when it is stopped.
    Start,
    /// To stop, if it runs, and to start from its images.
    Restart,
}

impl Order {
    /// Reads a value that was written to CONTROL.
    pub const fn from_control(value: u64) -> Option<Self> {
        Some(match value & 0xffff_ffff {
            1 => Self::Stop,
            2 => Self::Start,
            3 => Self::Restart,
            _ => return None,
        })
    }
}

/// A register that can be read, or eight bytes of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// STATE.
    State,
    /// CRASHES.
    Crashes,
    /// INFO.
    Info,
    /// LOG.
    Log,
    /// A word of NAME.
    Name(usize),
    /// A word of CRASH.
    Crash(usize),
    /// Eight bytes of OUTPUT, from this one of it on.
    Output(u32),
    /// Reads as zero.
    Nothing,
}

impl Register {
    /// Returns the register at an offset of the page.
    pub fn at(offset: u64) -> Self {
        let word = |first: u64| ((offset - first) / 8) as usize;
        match offset {
            0x008..0x010 => Self::State,
            0x010..0x018 => Self::Crashes,
            0x018..0x020 => Self::Info,
            0x020..0x028 => Self::Log,
            0x040..0x060 => Self::Name(word(0x040)),
            0x200..0x800 => Self::Crash(word(0x200)),
            0x800..0x1000 => Self::Output((offset - 0x800) as u32 & !7),
            _ => Self::Nothing,
        }
    }
}

/// `STATE`: there is a watchdog.
pub const WATCHED: u64 = 1 << 16;

/// Returns INFO.
pub const fn info(partition: u8) -> u64 {
    VERSION | (partition as u64) << 8 | (CRASH_WORDS as u64) << 16
}

/// Returns LOG.
pub const fn log(end: u32) -> u64 {
    end as u64 | (OUTPUT_BYTES as u64) << 32
}

/// Returns a word of a name.
// Not inlined: it has many callers.
#[inline(never)]
pub fn name_word(name: &[u8], index: usize) -> u64 {
    let bytes = name.get(index.saturating_mul(8)..).unwrap_or_default();
    let word = bytes.iter().take(8).rev();
    word.fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Returns the position of the n-th bit that is set, counted from 0.
pub fn nth(mask: u64, n: u64) -> Option<u32> {
    let mut left = mask;
    for _ in 0..n.min(64) {
        left &= left.wrapping_sub(1);
    }
    (left != 0).then(|| left.trailing_zeros())
}

/// Returns what of a log that ends at `end` is to be had from a position on: the position of the first byte, and how many
/// there are, `most` at most. All positions are modulo 2^32.
pub fn log_piece(end: u32, position: u32, most: u32) -> (u32, u32) {
    let kept = end.min(OUTPUT_BYTES as u32);
    let behind = end.wrapping_sub(position).min(kept);
    (end.wrapping_sub(behind), behind.min(most))
}

/// Returns a word of which only the first bytes count, the others zero.
pub fn first_bytes(word: u64, count: u32) -> u64 {
    let others = 64 - 8 * count.min(8);
    word & u64::MAX.checked_shr(others).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_those_of_the_bits_that_are_set() {
        let mask = 0b1010_0001;
        let found = [0, 1, 2, 3, 64, u64::MAX].map(|n| nth(mask, n));
        assert_eq!(found, [Some(0), Some(5), Some(7), None, None, None]);
        assert_eq!((nth(u64::MAX, 63), nth(u64::MAX, 64)), (Some(63), None));
    }

    #[test]
    fn pieces_of_a_log_begin_where_it_is_kept() {
        for (end, position, piece) in [
            (0, 0, (0, 0)),
            (5, 0, (0, 5)),
            (5, 5, (5, 0)),
            (5, 6, (0, 5)),
            (300, 0, (0, 112)),
            (300, 290, (290, 10)),
            (3000, 0, (952, 112)),
            (3000, 952, (952, 112)),
            (3000, 951, (952, 112)),
            (3000, u32::MAX, (952, 112)),
        ] {
            assert_eq!(log_piece(end, position, 112), piece, "{position} of {end}");
        }
    }

    #[test]
    fn bytes_that_do_not_count_are_zero() {
        let of = |count| first_bytes(u64::MAX, count);
        assert_eq!([0, 1, 7].map(of), [0, 0xff, u64::MAX >> 8]);
        assert_eq!([8, 9, u32::MAX].map(of), [u64::MAX; 3]);
    }

    #[test]
    fn the_bit_for_a_watchdog_is_where_the_table_says() {
        assert_eq!(WATCHED, 0x1_0000);
    }

    #[test]
    fn the_words_about_a_partition_are_put_together_as_the_table_says() {
        assert_eq!(info(0), 0x00b0_0001);
        assert_eq!(info(63), 0x00b0_3f01);
        assert_eq!(log(0), 0x800_0000_0000);
        assert_eq!(log(u32::MAX), 0x800_ffff_ffff);
    }

    #[test]
    fn registers_are_where_the_table_says() {
        for (offset, register) in [
            (0x000, Register::Nothing),
            (0x008, Register::State),
            (0x00c, Register::State),
            (0x010, Register::Crashes),
            (0x018, Register::Info),
            (0x020, Register::Log),
            (0x028, Register::Nothing),
            (0x040, Register::Name(0)),
            (0x05f, Register::Name(3)),
            (0x060, Register::Nothing),
            (0x1f8, Register::Nothing),
            (0x200, Register::Crash(0)),
            (
                0x200 + 8 * CRASH_WORDS as u64 - 1,
                Register::Crash(CRASH_WORDS - 1),
            ),
            (0x7ff, Register::Crash(0xbf)),
            (0x800, Register::Output(0)),
            (0x80f, Register::Output(8)),
            (0xfff, Register::Output(0x7f8)),
        ] {
            assert_eq!(Register::at(offset), register, "{offset:#x}");
        }
    }

    #[test]
    fn orders_are_numbers_of_32_bits() {
        let order = Order::from_control;
        assert_eq!(
            [1, 2, 3].map(order),
            [Order::Stop, Order::Start, Order::Restart].map(Some)
        );
        assert_eq!([0, 4, u64::MAX].map(order), [None; 3]);
        assert_eq!(order(1 << 32 | 1), Some(Order::Stop));
    }

    #[test]
    fn names_are_read_by_the_word() {
        let name = b"a-name-12";
        assert_eq!(name_word(name, 0), u64::from_le_bytes(*b"a-name-1"));
        assert_eq!(name_word(name, 1), u64::from(b'2'));
        assert_eq!(name_word(name, 2), 0);
        assert_eq!(name_word(name, usize::MAX), 0);
    }
}
