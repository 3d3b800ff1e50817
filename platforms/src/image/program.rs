//! ELF programs.

use elf::ElfBytes;
use elf::abi::{EM_AARCH64, ET_DYN, ET_EXEC, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::segment::ProgramHeader;

/// A piece of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Physical address.
    pub address: u64,
    /// Bytes from the file.
    pub bytes: Vec<u8>,
    /// Bytes in memory.
    pub memory_bytes: u64,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its pieces in the order of the file.
    pub pieces: Vec<Piece>,
    /// Physical address of its first instruction.
    pub entry: u64,
}

/// Reads an ELF file.
///
/// # Errors
/// A clause that says what is wrong with it: "it is ...".
pub fn read(file: &[u8]) -> Result<Program, String> {
    if !file.starts_with(b"\x7fELF") {
        return Err("it does not start like an ELF file".to_owned());
    }
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    check_kind(&elf)?;
    let segments: Vec<ProgramHeader> = elf.segments().into_iter().flatten().collect();
    if segments.iter().any(|segment| segment.p_type == PT_INTERP) {
        return Err("it is dynamically linked".to_owned());
    }
    let is_loaded = |segment: &&ProgramHeader| segment.p_type == PT_LOAD && segment.p_memsz > 0;
    let loaded: Vec<&ProgramHeader> = segments.iter().filter(is_loaded).collect();
    if loaded.is_empty() {
        return Err("nothing in it is to be loaded".to_owned());
    }
    let pieces = loaded.iter().map(|segment| piece(file, segment));
    let pieces = pieces.collect::<Result<_, _>>()?;
    let virtual_entry = elf.ehdr.e_entry;
    let entry = loaded
        .iter()
        .find_map(|segment| physical(segment, virtual_entry));
    let outside = || format!("its entry {virtual_entry:#x} lies in nothing that is loaded");
    Ok(Program {
        pieces,
        entry: entry.ok_or_else(outside)?,
    })
}

/// Refuses other files than linked 64-bit programs for AArch64.
fn check_kind(elf: &ElfBytes<'_, LittleEndian>) -> Result<(), String> {
    let header = &elf.ehdr;
    if header.class != Class::ELF64 {
        return Err("it is a 32-bit program".to_owned());
    }
    if header.e_machine != EM_AARCH64 {
        let machine = header.e_machine;
        return Err(format!("it is for machine {machine}, not AArch64 (183)"));
    }
    if header.e_type != ET_EXEC && header.e_type != ET_DYN {
        return Err("it is not linked: an object or a core file".to_owned());
    }
    Ok(())
}

/// Takes one segment out of the file.
fn piece(file: &[u8], segment: &ProgramHeader) -> Result<Piece, String> {
    let start = usize::try_from(segment.p_offset).ok();
    let end = segment.p_offset.checked_add(segment.p_filesz);
    let end = end.and_then(|end| usize::try_from(end).ok());
    let bytes = start.zip(end).and_then(|(start, end)| file.get(start..end));
    let bytes = bytes.ok_or("it is cut short: a segment lies past its end")?;
    if segment.p_memsz < segment.p_filesz {
        return Err("one of its segments is larger in the file than in memory".to_owned());
    }
    if segment.p_paddr.checked_add(segment.p_memsz).is_none() {
        return Err("one of its segments wraps around the end of the address space".to_owned());
    }
    Ok(Piece {
        address: segment.p_paddr,
        bytes: bytes.to_vec(),
        memory_bytes: segment.p_memsz,
    })
}

/// Translates a virtual address that lies in a segment to its physical one.
fn physical(segment: &ProgramHeader, address: u64) -> Option<u64> {
    let offset = address.checked_sub(segment.p_vaddr)?;
    (offset < segment.p_memsz).then(|| segment.p_paddr.checked_add(offset))?
}

/// Makes an ELF file for tests: one segment of `bytes` bytes in the file and `memory` in memory at `address`,
/// entered at its start.
#[cfg(test)]
pub fn sample(address: u64, bytes: u64, memory: u64) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend(2u16.to_le_bytes());
    file.extend(183u16.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    for field in [address, 64, 0] {
        file.extend(field.to_le_bytes());
    }
    file.extend([0; 4]);
    for field in [64u16, 56, 1, 64, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    file.extend(1u32.to_le_bytes());
    file.extend(7u32.to_le_bytes());
    for field in [0x1000, address, address, bytes, memory, 0x1000] {
        file.extend(u64::to_le_bytes(field));
    }
    file.resize(0x1000 + bytes as usize, 0x5a);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_segments_by_physical_address() {
        let program = read(&sample(0x4000_0000, 0x20, 0x80)).unwrap();
        assert_eq!(program.entry, 0x4000_0000);
        let piece = &program.pieces[0];
        assert_eq!((piece.address, piece.memory_bytes), (0x4000_0000, 0x80));
        assert_eq!(piece.bytes, [0x5a; 0x20]);
    }

    #[test]
    fn translates_the_entry_from_virtual_to_physical() {
        let mut file = sample(0x4000_0000, 0x20, 0x80);
        file[24..32].copy_from_slice(&0xffff_0000_0000_0010u64.to_le_bytes());
        file[64 + 16..64 + 24].copy_from_slice(&0xffff_0000_0000_0000u64.to_le_bytes());
        assert_eq!(read(&file).unwrap().entry, 0x4000_0010);
    }

    #[test]
    fn refuses_what_cannot_run() {
        let good = sample(0x4000_0000, 0x20, 0x80);
        let with = |at: usize, byte: u8| {
            let mut file = good.clone();
            file[at] = byte;
            read(&file).unwrap_err()
        };
        assert!(with(0, 0).contains("start like"));
        assert!(with(18, 62).contains("machine 62"));
        assert!(with(16, 1).contains("not linked"));
        assert!(with(64, 3).contains("dynamically"));
        assert!(with(64, 4).contains("nothing"));
        assert!(with(64 + 40, 1).contains("larger in the file"));
        assert!(with(24, 0xff).contains("entry"));
        assert!(read(&good[..0x1010]).unwrap_err().contains("cut short"));
    }

    #[test]
    fn no_byte_flip_panics() {
        let good = sample(0x4000_0000, 0x20, 0x80);
        for at in 0..120 {
            for bit in 0..8 {
                let mut file = good.clone();
                file[at] ^= 1 << bit;
                drop(read(&file));
            }
        }
    }
}
