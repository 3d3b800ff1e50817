//! A card as a file: a partition table of the old kind with one FAT partition.
//!
//! Source: Microsoft, "FAT: General Overview of On-Disk Format", version 1.03; the partition table as in the UEFI
//! Specification, "Legacy Master Boot Record (MBR)".

use std::io::{Cursor, Write};

use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};

use crate::failure::{Failure, Outcome};

const SECTOR: usize = 512;
/// Where the partition starts, in bytes: a mebibyte, as is usual.
const START: usize = 1 << 20;
/// Smallest partition.
const LEAST: usize = 64 << 20;
/// Free space.
const SPARE: usize = 16 << 20;
/// FAT16 with addresses by sector.
const FAT16_LBA: u8 = 0x0e;

/// Makes a card that holds these files.
///
/// # Errors
/// They do not fit.
pub fn image(files: &[(String, Vec<u8>)]) -> Outcome<Vec<u8>> {
    let bytes: usize = files.iter().map(|(_, content)| content.len()).sum();
    let partition = (bytes + SPARE).max(LEAST).next_multiple_of(1 << 20);
    let mut card = vec![0; START + partition];
    let table = card.get_mut(..SECTOR);
    if let Some(sector) = table {
        write_table(sector, partition);
    }
    let volume =
        volume(files, partition).map_err(|error| Failure::failed(format!("FAT: {error}")))?;
    if let Some(place) = card.get_mut(START..START + volume.len()) {
        place.copy_from_slice(&volume);
    }
    Ok(card)
}

/// Writes the table with its one entry.
fn write_table(sector: &mut [u8], partition: usize) {
    let mut entry = [0; 16];
    // Bootable; the old addresses say "too large".
    entry[0] = 0x80;
    entry[1..4].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[4] = FAT16_LBA;
    entry[5..8].copy_from_slice(&[0xfe, 0xff, 0xff]);
    entry[8..12].copy_from_slice(&((START / SECTOR) as u32).to_le_bytes());
    entry[12..].copy_from_slice(&((partition / SECTOR) as u32).to_le_bytes());
    for (to, from) in sector.iter_mut().skip(446).zip(entry) {
        *to = from;
    }
    for (to, from) in sector.iter_mut().skip(510).zip([0x55, 0xaa]) {
        *to = from;
    }
}

/// Makes the file system.
fn volume(files: &[(String, Vec<u8>)], bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut volume = Cursor::new(vec![0; bytes]);
    let options = FormatVolumeOptions::new()
        .volume_label(*b"BULKHEAD   ")
        .volume_id(0x424c_4b48)
        .fat_type(fatfs::FatType::Fat16);
    format_volume(&mut volume, options)?;
    {
        let system = FileSystem::new(&mut volume, FsOptions::new())?;
        for (name, content) in files {
            let mut file = system.root_dir().create_file(name)?;
            file.truncate()?;
            file.write_all(content)?;
        }
        system.unmount()?;
    }
    Ok(volume.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn files_are_found_in_the_partition_that_the_table_names() {
        let big: Vec<u8> = (0..70_000_000_u32).map(|n| (n % 251) as u8).collect();
        let files = [
            ("bulkhead.img".to_owned(), big),
            ("boot.scr".to_owned(), b"script".to_vec()),
        ];
        let card = image(&files).unwrap();
        assert_eq!(card[510..512], [0x55, 0xaa]);
        let word = |at: usize| u32::from_le_bytes(card[at..at + 4].try_into().unwrap()) as usize;
        let (start, sectors) = (word(454), word(458));
        assert_eq!((start + sectors) * 512, card.len());
        let volume = Cursor::new(card[start * 512..].to_vec());
        let system = FileSystem::new(volume, FsOptions::new()).unwrap();
        for (name, content) in files {
            let mut found = Vec::new();
            let mut file = system.root_dir().open_file(&name).unwrap();
            file.read_to_end(&mut found).unwrap();
            assert!(found == content, "{name}");
        }
    }
}
