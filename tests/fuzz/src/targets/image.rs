//! Guest images.

use std::io::Write;

use bulkhead_platforms::{kernel, program as elf};
use flate2::{Compression, write::GzEncoder};

/// Reads a file as a kernel and as a program, whatever it is.
pub fn run(bytes: &[u8]) {
    match kernel::unpack(bytes.to_vec()) {
        Ok((image, header)) => {
            assert!(header.memory_bytes >= image.len() as u64);
            assert!(header.text_offset < 2 << 20);
            assert_eq!(&image[56..60], b"ARM\x64");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match elf::read(bytes) {
        Ok(program) => {
            assert!(!program.pieces.is_empty());
            for piece in &program.pieces {
                assert!(piece.bytes.len() as u64 <= piece.memory_bytes);
                assert!(piece.address.checked_add(piece.memory_bytes).is_some());
            }
            let inside = program.pieces.iter().any(|piece| {
                let offset = program.entry.checked_sub(piece.address);
                offset.is_some_and(|offset| offset < piece.memory_bytes)
            });
            assert!(inside, "entered at {:#x}, where nothing is", program.entry);
        }
        Err(why) => assert!(!why.is_empty()),
    }
}

/// Makes an arm64 `Image`.
pub fn kernel(text_offset: u64, image_size: u64, bytes: usize) -> Vec<u8> {
    let mut image = vec![0; bytes.max(64)];
    image[8..16].copy_from_slice(&text_offset.to_le_bytes());
    image[16..24].copy_from_slice(&image_size.to_le_bytes());
    image[24] = 0b1010;
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// Makes an ELF program of one segment.
pub fn program(address: u64, bytes: usize, memory: u64) -> Vec<u8> {
    const OFFSET: u64 = 0x80;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 183, 0, 1, 0, 0, 0]);
    for field in [address, 64, 0] {
        file.extend(u64::to_le_bytes(field));
    }
    file.extend([0; 4]);
    for field in [64u16, 56, 1, 64, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
    for field in [OFFSET, address, address, bytes as u64, memory, 8] {
        file.extend(u64::to_le_bytes(field));
    }
    file.resize(OFFSET as usize + bytes, 0x5a);
    file
}

/// Packs by gzip.
fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// Puts a packed image into the EFI form that unpacks itself.
fn efi(body: &[u8]) -> Vec<u8> {
    let mut file = b"MZ\0\0zimg".to_vec();
    file.extend(64u32.to_le_bytes());
    file.extend((body.len() as u32).to_le_bytes());
    file.extend([0; 8]);
    file.extend(b"gzip");
    file.resize(64, 0);
    file.extend(body);
    file
}

/// Makes one of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let plain = kernel(0, 0x3000, 0x100);
    let twice = [packed(&plain[..0x80]), packed(&plain[0x80..])].concat();
    vec![
        kernel(0x8_0000, 0, 0x40),
        packed(&plain),
        efi(&packed(&plain)),
        twice,
        program(0x4000_0000, 0x20, 0x80),
        program(0xffff_ffff_ffff_f000, 8, 8),
        plain,
    ]
}
