//! Seeds as text: a line of hexadecimal each, `#` begins a remark.

/// Reads a file of seeds.
///
/// # Errors
/// The number of a line that is no hexadecimal.
pub fn read_hex(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let lines = text.lines().zip(1..).map(|(line, number)| {
        let digits: String = line
            .split('#')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        bytes(&digits).ok_or_else(|| format!("line {number} is not hexadecimal"))
    });
    let seeds: Result<Vec<_>, _> = lines.collect();
    seeds.map(|seeds| seeds.into_iter().filter(|seed| !seed.is_empty()).collect())
}

/// Writes a seed as a line.
pub fn write_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads pairs of digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_seeds() {
        let seeds = read_hex("# nothing\n\n00 ff # why\nabcdef\n").unwrap();
        assert_eq!(seeds, [vec![0, 0xff], vec![0xab, 0xcd, 0xef]]);
        assert_eq!(write_hex(&seeds[1]), "abcdef");
        assert_eq!(
            read_hex("12\n1\n").unwrap_err(),
            "line 2 is not hexadecimal"
        );
        assert!(read_hex("0x12").is_err());
    }
}
