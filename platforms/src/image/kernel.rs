//! arm64 `Image` files: plain, gzip, and the self-decompressing EFI form.
//!
//! Source: Linux `Documentation/arch/arm64/booting.rst`, "Call the kernel image"; for the EFI form the layout of
//! `drivers/firmware/efi/libstub/zboot-header.S`.

use std::io::Read;

use flate2::read::{GzDecoder, MultiGzDecoder};

/// The most that an image may inflate to: what lies above is a mistake or an attack.
const INFLATED_LIMIT: u64 = 1 << 30;
/// What an arm64 `Image` has at byte 56.
const MAGIC: &[u8] = b"ARM\x64";
/// `text_offset` of images whose `image_size` is zero, whatever they say.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;

/// What the header of an `Image` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes from a 2 MiB boundary to the image.
    pub text_offset: u64,
    /// Bytes that it takes in memory, bss included.
    pub memory_bytes: u64,
}

/// Why a file is no kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// It is shorter than a header.
    Short(usize),
    /// It is something else, which the text names.
    Foreign(&'static str),
    /// It is compressed and cannot be inflated.
    Broken(String),
    /// It is for big-endian CPUs.
    BigEndian,
    /// The header contradicts itself: `text_offset`.
    TextOffset(u64),
}

impl std::fmt::Display for KernelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short(bytes) => write!(f, "it has only {bytes} bytes"),
            Self::Foreign(what) => write!(f, "it is {what}"),
            Self::Broken(why) => write!(f, "it is compressed and cannot be inflated: {why}"),
            Self::BigEndian => f.write_str("it is big-endian"),
            Self::TextOffset(at) => write!(f, "its header says text_offset {at:#x}, above 2 MiB"),
        }
    }
}

/// Inflates a kernel file if it is compressed, and reads its header.
///
/// # Errors
/// Any [`KernelError`].
pub fn unpack(file: Vec<u8>) -> Result<(Vec<u8>, Header), KernelError> {
    let image = if file.starts_with(&[0x1f, 0x8b]) {
        inflate(MultiGzDecoder::new(file.as_slice()))?
    } else if file.get(4..8) == Some(b"zimg") {
        let packed = zboot(&file).ok_or(KernelError::Foreign(
            "an EFI image that is not packed by gzip",
        ))?;
        inflate(GzDecoder::new(packed))?
    } else {
        file
    };
    let header = header(&image)?;
    Ok((image, header))
}

/// Inflates.
fn inflate(packed: impl Read) -> Result<Vec<u8>, KernelError> {
    let mut image = Vec::new();
    let mut packed = packed.take(INFLATED_LIMIT);
    match packed.read_to_end(&mut image) {
        Ok(_) => Ok(image),
        Err(error) => Err(KernelError::Broken(error.to_string())),
    }
}

/// Finds the gzip payload of an EFI self-decompressing image.
fn zboot(file: &[u8]) -> Option<&[u8]> {
    let offset = number::<4>(file, 8)? as usize;
    let size = number::<4>(file, 12)? as usize;
    let gzip = file.get(24..28)? == b"gzip";
    gzip.then(|| file.get(offset..offset.checked_add(size)?))?
}

/// Reads a little-endian number of `N` bytes, at most 8.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(N)?)?;
    Some(
        field
            .iter()
            .rev()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

/// Reads the header of a plain image.
fn header(image: &[u8]) -> Result<Header, KernelError> {
    let (Some(text_offset), Some(image_size), Some(flags), Some(magic)) = (
        number::<8>(image, 8),
        number::<8>(image, 16),
        number::<8>(image, 24),
        image.get(56..60),
    ) else {
        return Err(KernelError::Short(image.len()));
    };
    if magic != MAGIC {
        return Err(KernelError::Foreign(guess(image)));
    }
    if flags & 1 != 0 {
        return Err(KernelError::BigEndian);
    }
    let text_offset = match image_size {
        0 => OLD_TEXT_OFFSET,
        _ => text_offset,
    };
    if text_offset >= 2 << 20 {
        return Err(KernelError::TextOffset(text_offset));
    }
    Ok(Header {
        text_offset,
        memory_bytes: image_size.max(image.len() as u64),
    })
}

/// Says what a file is that is no arm64 `Image`.
fn guess(file: &[u8]) -> &'static str {
    match file {
        [0x7f, b'E', b'L', b'F', ..] => "an ELF file: name it with `elf = ...`",
        [0x27, 0x05, 0x19, 0x56, ..] => "a U-Boot image: take the plain `Image` of the same build",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "packed by xz: unpack it first",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "packed by zstd: unpack it first",
        [0x02, 0x21, 0x4c, 0x18, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => {
            "packed by lz4: unpack it first"
        }
        [b'M', b'Z', ..] => "an EFI program for another machine, or one that is packed",
        [0xd0, 0x0d, 0xfe, 0xed, ..] => "a device tree",
        _ => "something else: the mark \"ARM\\x64\" is not at byte 56",
    }
}

/// Makes a plain image for tests: a header and `bytes` bytes in all.
#[cfg(test)]
pub fn sample(text_offset: u64, image_size: u64, bytes: usize) -> Vec<u8> {
    let mut image = vec![0; bytes.max(64)];
    image[8..16].copy_from_slice(&text_offset.to_le_bytes());
    image[16..24].copy_from_slice(&image_size.to_le_bytes());
    image[24] = 0b1010;
    image[56..60].copy_from_slice(MAGIC);
    image
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(image: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(image).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn memory_includes_bss() {
        let (image, header) = unpack(sample(0, 0x3_0000, 0x1_0000)).unwrap();
        assert_eq!(image.len(), 0x1_0000);
        assert_eq!((header.text_offset, header.memory_bytes), (0, 0x3_0000));
    }

    #[test]
    fn old_images_have_a_fixed_text_offset() {
        let (_, header) = unpack(sample(0x1234, 0, 0x1000)).unwrap();
        assert_eq!(
            (header.text_offset, header.memory_bytes),
            (0x8_0000, 0x1000)
        );
    }

    #[test]
    fn gzip_is_inflated() {
        let plain = sample(0, 0x2000, 0x1000);
        assert_eq!(unpack(packed(&plain)).unwrap().0, plain);
    }

    #[test]
    fn efi_form_is_inflated() {
        let plain = sample(0, 0x2000, 0x1000);
        let body = packed(&plain);
        let mut file = b"MZ\0\0zimg".to_vec();
        file.extend(64u32.to_le_bytes());
        file.extend((body.len() as u32).to_le_bytes());
        file.extend([0; 8]);
        file.extend(b"gzip");
        file.resize(64, 0);
        file.extend(&body);
        assert_eq!(unpack(file).unwrap().0, plain);
    }

    #[test]
    fn foreign_files_are_named() {
        let says = |bytes: &[u8]| unpack(bytes.to_vec()).unwrap_err().to_string();
        assert!(says(&[0; 20]).contains("only 20 bytes"));
        assert!(says(&[&b"\x7fELF"[..], &[0; 100]].concat()).contains("`elf = ...`"));
        assert!(says(&[&[0x1f, 0x8b][..], &[0; 100]].concat()).contains("inflated"));
        let mut big = sample(0, 0x2000, 0x1000);
        big[24] |= 1;
        assert_eq!(unpack(big).unwrap_err(), KernelError::BigEndian);
    }

    #[test]
    fn truncated_gzip_is_refused() {
        let mut body = packed(&sample(0, 0x2000, 0x1000));
        body.truncate(body.len() / 2);
        assert!(matches!(unpack(body), Err(KernelError::Broken(_))));
    }
}
