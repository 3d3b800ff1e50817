//! Drives of scenarios: what a guest read and wrote shows on the host.

use std::path::{Path, PathBuf};
use std::process::Command;

use bulkhead_tests::scenario::Drive;

use crate::failure::{Failure, Outcome};
use crate::workspace::{products, read, write};

/// Where the made-up bytes start; any number but 0 would do.
const SEED: u64 = 0x6275_6c6b_6865_6164;

/// Makes the drive's file and adds the drive to QEMU's command.
///
/// # Errors
/// The file cannot be written.
pub fn make(name: &str, drive: &Drive, command: &mut Command) -> Outcome<PathBuf> {
    let file = products(&["test", &format!("{name}.drive")]);
    let mut bytes = filled(drive.half_kib as usize * 1024);
    bytes.resize(bytes.len() * 2, 0);
    write(&file, &bytes)?;
    let (shown, how) = (file.display(), &drive.drive);
    command.args(["-drive", &format!("file={shown},format=raw,{how}")]);
    if let Some(device) = &drive.device {
        command.args(["-device", device]);
    }
    Ok(file)
}

/// Makes up bytes, the same ones each time (xorshift64).
fn filled(count: usize) -> Vec<u8> {
    let mut state = SEED;
    let words = (0..count / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

/// Compares the halves of a drive with what was put into its first one.
///
/// # Errors
/// They differ: where.
pub fn compare(file: &Path) -> Outcome {
    let bytes = read(file)?;
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let wanted = filled(first.len());
    for (half, number) in [(first, "first"), (second, "second")] {
        let differs = half.iter().zip(&wanted).position(|(is, was)| is != was);
        if let Some(at) = differs {
            return Err(Failure::failed(format!(
                "the drive's {number} half is not what its first half was at the start: byte {at:#x}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_compared_with_what_was_there() {
        let file = std::env::temp_dir().join(format!("bulkhead-drive-{}", std::process::id()));
        let mut bytes = filled(4096).repeat(2);
        write(&file, &bytes).unwrap();
        assert!(compare(&file).is_ok());
        bytes[4096 + 17] ^= 1;
        write(&file, &bytes).unwrap();
        let failure = compare(&file).unwrap_err().message;
        assert!(
            failure.contains("second half") && failure.ends_with("byte 0x11"),
            "{failure}"
        );
        // What is left over in the temporary folder hurts nobody.
        drop(std::fs::remove_file(&file));
    }
}
