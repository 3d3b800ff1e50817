//! Numbers as text without the formatting machinery, which would cost EL2 thousands of instructions a line.

/// The digits of a number.
#[derive(Clone, Copy, Debug)]
pub struct Digits {
    /// Digits in the upper end.
    text: [u8; Self::LONGEST],
    first: u8,
}

impl Digits {
    /// Decimal digits of `u64::MAX`.
    const LONGEST: usize = 20;

    /// Returns a number in decimal, without leading zeros.
    pub fn decimal(value: u64) -> Self {
        Self::in_base(value, 10, 1)
    }

    /// Returns a number in lower-case hexadecimal without `0x`, with zeros in front up to `width` (at most 16) digits.
    pub fn hexadecimal(value: u64, width: u8) -> Self {
        Self::in_base(value, 16, width.clamp(1, 16))
    }

    /// Returns the digits, the most significant one first.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.get(usize::from(self.first)..).unwrap_or_default()
    }

    /// Splits a number into at least `width` digits.
    fn in_base(value: u64, base: u64, width: u8) -> Self {
        let mut digits = Self {
            text: [b'0'; Self::LONGEST],
            first: Self::LONGEST as u8 - width,
        };
        let mut left = value;
        for (at, place) in digits.text.iter_mut().enumerate().rev() {
            if left == 0 {
                break;
            }
            let digit = (left % base) as u8;
            *place = if digit < 10 {
                b'0' + digit
            } else {
                b'a' - 10 + digit
            };
            left /= base;
            digits.first = digits.first.min(at as u8);
        }
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_format_spells_them() {
        for value in [0, 1, 9, 10, 15, 16, 4095, 1_000_000_007, u64::MAX] {
            assert_eq!(
                Digits::decimal(value).as_bytes(),
                format!("{value}").as_bytes()
            );
            assert_eq!(
                Digits::hexadecimal(value, 1).as_bytes(),
                format!("{value:x}").as_bytes()
            );
            assert_eq!(
                Digits::hexadecimal(value, 16).as_bytes(),
                format!("{value:016x}").as_bytes()
            );
        }
        assert_eq!(Digits::hexadecimal(0x1234, 255).as_bytes().len(), 16);
    }
}
