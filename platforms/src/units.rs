//! Sizes and times as people write them.

/// Why a quantity could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantityError {
    /// The text does not start with a whole number.
    NoNumber,
    /// There is a number and nothing else.
    NoUnit,
    /// What follows the number is no unit.
    UnknownUnit,
    /// The quantity does not fit 64 bits.
    TooLarge,
}

/// Reads a size such as `256M`, `64K` or `1GiB` as bytes; `K`, `M` and `G` are powers of 1024.
///
/// # Errors
/// Any [`QuantityError`].
pub fn size(text: &str) -> Result<u64, QuantityError> {
    quantity(text, |unit| {
        Some(match unit {
            "B" => 1,
            "K" | "KiB" => 1 << 10,
            "M" | "MiB" => 1 << 20,
            "G" | "GiB" => 1 << 30,
            _ => return None,
        })
    })
}

/// Reads a time such as `1ms` or `10s` as nanoseconds.
///
/// # Errors
/// Any [`QuantityError`].
pub fn time_ns(text: &str) -> Result<u64, QuantityError> {
    quantity(text, |unit| {
        Some(match unit {
            "ns" => 1,
            "us" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            _ => return None,
        })
    })
}

/// Reads a whole number and a unit, with or without a space between them.
fn quantity(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Result<u64, QuantityError> {
    let text = text.trim();
    let digits = text.chars().take_while(char::is_ascii_digit).count();
    let (number, word) = text.split_at(digits);
    if number.is_empty() {
        return Err(QuantityError::NoNumber);
    }
    let word = word.trim_start();
    if word.is_empty() {
        return Err(QuantityError::NoUnit);
    }
    let factor = unit(word).ok_or(QuantityError::UnknownUnit)?;
    let number: u64 = number.parse().map_err(|_| QuantityError::TooLarge)?;
    number.checked_mul(factor).ok_or(QuantityError::TooLarge)
}

/// Writes a number of bytes in the largest unit that divides it: `256 MiB`, `6 KiB`, `17 bytes`.
pub fn show_size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{} {unit}", bytes >> shift);
        }
    }
    match bytes {
        1 => "1 byte".to_owned(),
        n => format!("{n} bytes"),
    }
}

/// Writes a number of bytes in at most five digits, rounded down where it is large.
pub fn round_size(bytes: u64) -> String {
    const DIGITS: u64 = 10_000;
    let exact = show_size(bytes);
    let digits = exact.chars().take_while(char::is_ascii_digit).count();
    match bytes {
        _ if digits < 5 => exact,
        n if n >> 10 < DIGITS => format!("{} KiB", n >> 10),
        n if n >> 20 < DIGITS => format!("{} MiB", n >> 20),
        n => format!("{} GiB", n >> 30),
    }
}

/// Writes a number of bytes as a table wants it: the smallest size in `K`, `M` or `G` that is at least as large and
/// a multiple of the page.
pub fn suggest_size(bytes: u64) -> String {
    let unit = match bytes {
        n if n > 64 << 20 => 2 << 20,
        n if n > 1 << 20 => 1 << 20,
        _ => 4 << 10,
    };
    let rounded = bytes.max(1).div_ceil(unit).saturating_mul(unit);
    for (shift, letter) in [(30, "G"), (20, "M")] {
        if rounded.trailing_zeros() >= shift {
            return format!("\"{}{letter}\"", rounded >> shift);
        }
    }
    format!("\"{}K\"", rounded >> 10)
}

/// Writes a time in the largest unit that divides it.
pub fn show_time(ns: u64) -> String {
    for (factor, unit) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
        if ns != 0 && u64::is_multiple_of(ns, factor) {
            return format!("{} {unit}", ns / factor);
        }
    }
    format!("{ns} ns")
}

/// Writes an upper bound in at most five digits, rounded up: `3600 ns`, `203.6 us`, `12.1 ms`.
pub fn bound_time(ns: u64) -> String {
    short_time(ns, u64::div_ceil)
}

/// Writes a lower bound in at most five digits, rounded down.
pub fn floor_time(ns: u64) -> String {
    short_time(ns, |ns, tenth| ns / tenth)
}

/// Writes a time in tenths of a unit.
fn short_time(ns: u64, tenths: fn(u64, u64) -> u64) -> String {
    for (factor, unit) in [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")] {
        if ns >= 10 * factor {
            let tenths = tenths(ns, factor / 10);
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{ns} ns")
}

/// Writes millionths as a percentage, rounded up.
pub fn percent(ppm: u64) -> String {
    let tenths = ppm.div_ceil(1_000);
    format!("{}.{} %", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("256M"), Ok(268_435_456));
        assert_eq!(size("64K"), Ok(65_536));
        assert_eq!(size("1GiB"), Ok(1_073_741_824));
        assert_eq!(size("1 KiB"), Ok(1024));
        assert_eq!(size("12B"), Ok(12));
    }

    #[test]
    fn times_are_nanoseconds() {
        assert_eq!(time_ns("1ms"), Ok(1_000_000));
        assert_eq!(time_ns("10s"), Ok(10_000_000_000));
        assert_eq!(time_ns("3us"), Ok(3_000));
        assert_eq!(time_ns("7ns"), Ok(7));
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        assert_eq!(size("M"), Err(QuantityError::NoNumber));
        assert_eq!(size("-1M"), Err(QuantityError::NoNumber));
        assert_eq!(size("256"), Err(QuantityError::NoUnit));
        assert_eq!(size("256MB"), Err(QuantityError::UnknownUnit));
        assert_eq!(size("1.5G"), Err(QuantityError::UnknownUnit));
        assert_eq!(size("17179869184G"), Err(QuantityError::TooLarge));
        assert_eq!(size("99999999999999999999K"), Err(QuantityError::TooLarge));
        assert_eq!(time_ns("1m"), Err(QuantityError::UnknownUnit));
    }

    #[test]
    fn shows_sizes_and_times_in_their_largest_unit() {
        assert_eq!(show_size(256 << 20), "256 MiB");
        assert_eq!(show_size(6 << 10), "6 KiB");
        assert_eq!(show_size(0), "0 bytes");
        assert_eq!(round_size(9_999), "9999 bytes");
        assert_eq!(round_size(10_241), "10 KiB");
        assert_eq!(round_size(939_516_421), "895 MiB");
        assert_eq!(show_time(1_500_000), "1500 us");
        assert_eq!(bound_time(9_999), "9999 ns");
        assert_eq!(bound_time(203_601), "203.7 us");
        assert_eq!(floor_time(203_699), "203.6 us");
        assert_eq!(bound_time(9_999_901), "10000.0 us");
        assert_eq!(bound_time(12_000_000), "12.0 ms");
        assert_eq!(percent(1_200_001), "120.1 %");
        assert_eq!(suggest_size(5000), "\"8K\"");
        assert_eq!(suggest_size((33 << 20) + 1), "\"34M\"");
        assert_eq!(suggest_size((65 << 20) + 1), "\"66M\"");
    }
}
