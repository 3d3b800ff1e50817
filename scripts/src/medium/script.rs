//! U-Boot's legacy image of a script.
//!
//! Source: U-Boot, `include/image.h`, "Legacy format image header" and the layout of multi-file images.

/// Bytes of the header.
const HEADER: usize = 64;
const MAGIC: u32 = 0x2705_1956;
const OS_LINUX: u8 = 5;
const ARCH_ARM64: u8 = 22;
const TYPE_SCRIPT: u8 = 6;
const NO_COMPRESSION: u8 = 0;
/// Bytes of the name.
const NAME: usize = 32;

/// Wraps a script's text, so that `source` and the boot menu take it. It carries no time: the same text is the same file.
pub fn image(name: &str, text: &[u8]) -> Vec<u8> {
    // One file: its length, a zero that ends the list, the text.
    let mut body = (text.len() as u32).to_be_bytes().to_vec();
    body.extend_from_slice(&[0; 4]);
    body.extend_from_slice(text);
    let mut header = Vec::with_capacity(HEADER);
    let words = [MAGIC, 0, 0, body.len() as u32, 0, 0, crc32(&body)];
    for word in words {
        header.extend_from_slice(&word.to_be_bytes());
    }
    header.extend_from_slice(&[OS_LINUX, ARCH_ARM64, TYPE_SCRIPT, NO_COMPRESSION]);
    header.extend(name.bytes().chain(std::iter::repeat(0)).take(NAME));
    // The header's own sum is taken with its field zero.
    let sum = crc32(&header).to_be_bytes();
    if let Some(field) = header.get_mut(4..8) {
        field.copy_from_slice(&sum);
    }
    header.extend(body);
    header
}

/// CRC-32 of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 != 0 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_is_that_of_the_standard() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn a_script_has_its_header_its_length_and_its_text() {
        let image = image("n", b"echo x\n");
        assert_eq!(image.len(), 64 + 8 + 7);
        assert_eq!(image[..4], [0x27, 0x05, 0x19, 0x56]);
        assert_eq!(image[12..16], [0, 0, 0, 15]);
        assert_eq!(image[28..33], [5, 22, 6, 0, b'n']);
        assert_eq!(image[64..72], [0, 0, 0, 7, 0, 0, 0, 0]);
        assert_eq!(&image[72..], b"echo x\n");
        let mut header = image[..64].to_vec();
        header[4..8].fill(0);
        assert_eq!(crc32(&header).to_be_bytes(), image[4..8]);
    }
}
