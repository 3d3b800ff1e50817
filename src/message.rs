//! Messages in words, for start-up's refusals and last words: a template with places for values.
//!
//! The machinery of `core::fmt` is some kilobytes in the image, for widths, fills and signs that no message here asks
//! for. EL2 links none of it: what can be said implements [`Show`], and [`put`] fills templates. Tests and the host's
//! tools see the same words by `Display`, which [`display_by_show!`](crate::display_by_show) derives.
#![forbid(unsafe_code)]

/// Where a message goes, in pieces of UTF-8.
pub trait Out {
    /// Takes the next piece.
    fn bytes(&mut self, bytes: &[u8]);
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In tens.
    Decimal,
    /// In sixteens behind `0x`, with at least so many digits.
    Hex(u8),
    /// The same without `0x`.
    Digits(u8),
}

/// What can stand in a message.
pub trait Show {
    /// Writes itself. A value that is no number knows its form itself.
    fn show(&self, out: &mut dyn Out, form: Form);
}

/// Writes a template. `{}` stands for the next value; `{x}` for a number in sixteens, `{x8}` for one of at least eight
/// digits, `{d8}` for the same without `0x`.
#[inline(never)]
pub fn put(out: &mut dyn Out, template: &str, values: &[&dyn Show]) {
    let mut values = values.iter();
    let mut rest = template.as_bytes();
    while let Some((text, behind)) = cut(rest, b'{') {
        out.bytes(text);
        let (form, behind) = cut(behind, b'}').unwrap_or((behind, b""));
        rest = behind;
        if let Some(value) = values.next() {
            value.show(out, form_of(form));
        }
    }
    out.bytes(rest);
}

/// Returns what stands before and behind the first of a byte, if it is there.
#[inline(never)]
fn cut(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == at)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// Reads what stands between the braces.
fn form_of(text: &[u8]) -> Form {
    let Some((kind, digits)) = text.split_first() else {
        return Form::Decimal;
    };
    let least = digits.iter().fold(0, |number: u8, digit| {
        number.wrapping_mul(10).wrapping_add(digit & 0xf)
    });
    match kind {
        b'd' => Form::Digits(least),
        _ => Form::Hex(least),
    }
}

/// Writes a number.
#[inline(never)]
fn number(out: &mut dyn Out, value: u64, form: Form) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // As many as 2^64 has in tens.
    let mut text = [0; 20];
    let (base, least) = match form {
        Form::Decimal => (10, 1),
        Form::Hex(least) => {
            out.bytes(b"0x");
            (16, usize::from(least.max(1)))
        }
        Form::Digits(least) => (16, usize::from(least.max(1))),
    };
    let (mut left, mut used) = (value, 0);
    for place in text.iter_mut().rev() {
        if left == 0 && used >= least {
            break;
        }
        *place = DIGITS.get((left % base) as usize).copied().unwrap_or(b'?');
        left /= base;
        used += 1;
    }
    out.bytes(text.get(text.len() - used..).unwrap_or(b""));
}

/// Makes types that convert to 64 bits numbers of a message.
macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Show for $type {
            fn show(&self, out: &mut dyn Out, form: Form) {
                number(out, *self as u64, form);
            }
        }
    )*};
}
numbers!(u8, u16, u32, u64, usize);

impl Show for &str {
    fn show(&self, out: &mut dyn Out, _: Form) {
        out.bytes(self.as_bytes());
    }
}

/// A template with its values, as a value of another.
pub struct Filled<'a>(pub &'a str, pub &'a [&'a dyn Show]);

impl Show for Filled<'_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        put(out, self.0, self.1);
    }
}

/// Bytes from a device tree: what is no printable ASCII stands as `\x1b`.
pub struct Escaped<'a>(pub &'a [u8]);

impl Show for Escaped<'_> {
    fn show(&self, out: &mut dyn Out, _: Form) {
        for byte in self.0 {
            match *byte {
                b' '..=b'[' | b']'..=b'~' => out.bytes(&[*byte]),
                other => {
                    out.bytes(b"\\x");
                    number(out, other.into(), Form::Digits(2));
                }
            }
        }
    }
}

/// A [`Display`](core::fmt::Display)'s end of a message.
pub struct Formatted<'f, 'b>(pub &'f mut core::fmt::Formatter<'b>, pub core::fmt::Result);

impl Out for Formatted<'_, '_> {
    fn bytes(&mut self, bytes: &[u8]) {
        // Templates and names are UTF-8 and cut where a byte of ASCII is; what a tree says has been escaped.
        let text = core::str::from_utf8(bytes).unwrap_or("?");
        let formatter = &mut *self.0;
        self.1 = self.1.and_then(|()| formatter.write_str(text));
    }
}

/// Derives `Display` from [`Show`], for tests and the host's tools.
#[macro_export]
macro_rules! display_by_show {
    ($type:ty) => {
        impl core::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let mut out = $crate::message::Formatted(f, Ok(()));
                $crate::message::Show::show(self, &mut out, $crate::message::Form::Decimal);
                out.1
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Out for Vec<u8> {
        fn bytes(&mut self, bytes: &[u8]) {
            self.extend_from_slice(bytes);
        }
    }

    fn said(template: &str, values: &[&dyn Show]) -> String {
        let mut out = Vec::new();
        put(&mut out, template, values);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fills_templates_as_format_does() {
        for value in [0, 1, 9, 10, 15, 16, 0xabcd, u64::from(u32::MAX), u64::MAX] {
            assert_eq!(said("a {} b", &[&value]), format!("a {value} b"));
            assert_eq!(said("{x}", &[&value]), format!("{value:#x}"));
            assert_eq!(said("{x8}", &[&value]), format!("{value:#010x}"));
            assert_eq!(said("{x16}", &[&value]), format!("{value:#018x}"));
            assert_eq!(said("{d16}", &[&value]), format!("{value:016x}"));
        }
        assert_eq!(said("", &[]), "");
        assert_eq!(said("{}{} {}", &[&"one", &2_u8, &3_usize]), "one2 3");
        assert_eq!(
            said("a {} d", &[&Filled("b {x} c", &[&16_u8])]),
            "a b 0x10 c d"
        );
    }

    #[test]
    fn survives_templates_that_do_not_fit() {
        assert_eq!(said("{} {}", &[&1_u8]), "1 ");
        assert_eq!(said("a", &[&1_u8]), "a");
        assert_eq!(said("a {", &[&1_u8]), "a 1");
        assert_eq!(said("{x999}", &[&1_u8]), format!("0x{:020x}", 1));
    }

    #[test]
    fn escapes_what_is_not_printable() {
        assert_eq!(said("{}", &[&Escaped(b"uart@9000000")]), "uart@9000000");
        assert_eq!(said("{}", &[&Escaped(b"a\x1b\\\xff")]), "a\\x1b\\x5c\\xff");
    }
}
