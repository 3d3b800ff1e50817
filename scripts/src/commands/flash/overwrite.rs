//! Writes a card, and reads it back.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{Advice, OFlags, fadvise};

use super::Place;
use crate::failure::{Failure, Outcome};

/// Bytes that are written, or read and compared, at a time.
const PIECE: usize = 1 << 20;

/// Overwrites a place from its first byte on, and compares what it then holds.
///
/// # Errors
/// It cannot be opened, or it holds something else afterwards.
pub fn card(place: &Place, card: &[u8]) -> Outcome {
    let (path, flags) = match place {
        // The kernel then refuses a disk that it, or somebody like us, uses at this moment.
        Place::Disk(path, _) => (path, OFlags::EXCL),
        Place::File(path) => (path, OFlags::empty()),
    };
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.custom_flags(flags.bits() as i32);
    let mut medium = options.open(path).map_err(|error| not_open(path, &error))?;
    copied(&mut medium, card, settled).map_err(|error| Failure::file(path, error))
}

/// Says why a place cannot be opened, and what to do.
fn not_open(path: &Path, error: &io::Error) -> Failure {
    let name = path.display();
    Failure::usage(match error.kind() {
        io::ErrorKind::ResourceBusy => format!(
            "{name} is in use, though the system does not say by what: close what uses it (`lsblk {name}`, `fuser {name}`)"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{name} may not be written by you: be root or in its group (`ls -l {name}`), or let root `dd` what `cargo xtask \
             image` makes"
        ),
        io::ErrorKind::ReadOnlyFilesystem => format!("{name} is read-only"),
        _ => format!("{name}: {error}"),
    })
}

/// Waits until all is on the medium, and forgets what is kept of it, so that reading it again asks the medium.
fn settled(medium: &mut File) -> io::Result<()> {
    medium.sync_all()?;
    Ok(fadvise(medium, 0, None, Advice::DontNeed)?)
}

/// Writes a card and compares it with what is read afterwards; `settle` is called in between.
fn copied<M: Read + Write + Seek>(
    medium: &mut M,
    card: &[u8],
    settle: impl FnOnce(&mut M) -> io::Result<()>,
) -> io::Result<()> {
    let mut written = 0;
    for piece in card.chunks(PIECE) {
        medium
            .write_all(piece)
            .map_err(|error| partial(&error, written))?;
        written += piece.len();
    }
    settle(medium).map_err(|error| partial(&error, written))?;
    medium.seek(SeekFrom::Start(0))?;
    let mut read = vec![0; PIECE];
    let mut at = 0;
    for piece in card.chunks(PIECE) {
        let back = read.get_mut(..piece.len()).unwrap_or_default();
        medium.read_exact(back)?;
        // Whole pieces first: that is quick.
        if back != piece {
            let off = back.iter().zip(piece).position(|(is, was)| is != was);
            let off = off.unwrap_or_default();
            return Err(io::Error::other(format!(
                "byte {} reads back as another than was written: the medium is broken, or smaller than it says; take another",
                at + off
            )));
        }
        at += piece.len();
    }
    Ok(())
}

/// Says how far it came.
fn partial(error: &io::Error, written: usize) -> io::Error {
    io::Error::other(format!(
        "{error}, after {written} bytes: what was there is lost, and this is not whole; flash it again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    /// A card that forgets a write to one byte, as those do that are smaller than they say.
    struct Forgetful(Cursor<Vec<u8>>, usize);

    impl Read for Forgetful {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0.read(bytes)
        }
    }

    impl Seek for Forgetful {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            self.0.seek(to)
        }
    }

    impl Write for Forgetful {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = self.0.write(bytes)?;
            if let Some(byte) = self.0.get_mut().get_mut(self.1) {
                *byte = 0xee;
            }
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn content() -> Vec<u8> {
        (0..2 * PIECE + 1000).map(|n| (n % 251) as u8).collect()
    }

    #[test]
    fn what_is_read_back_is_compared_to_its_last_byte() {
        let card = content();
        let last = card.len() - 1;
        let medium = |forgets| Forgetful(Cursor::new(vec![0xa5; 3 * PIECE]), forgets);
        let mut good = medium(card.len());
        copied(&mut good, &card, |_| Ok(())).unwrap();
        assert!(good.0.get_ref().starts_with(&card));
        for forgets in [0, PIECE, last] {
            let error = copied(&mut medium(forgets), &card, |_| Ok(())).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&format!("byte {forgets} reads")), "{text}");
        }
    }

    #[test]
    fn a_medium_that_fails_says_that_it_is_not_whole() {
        let card = content();
        // Writing to it says that there is no space left.
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let error = copied(&mut full, &card, |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains("flash it again"), "{error}");
    }
}
