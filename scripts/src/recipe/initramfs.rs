//! Initial RAM disks: cpio archives in the "newc" format, written without root.

/// Directory, regular file, symbolic link, character device: the type bits of a mode.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const DEVICE: u32 = 0o020_000;

/// An archive that is being written. Times are zero, so the same content is the same archive.
///
/// # Source
/// Linux, Documentation/driver-api/early-userspace/buffer-format.rst.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Adds a directory; those above it must be there.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY | 0o755, (0, 0), &[]);
    }

    /// Adds a file that may be executed.
    pub fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, FILE | 0o755, (0, 0), content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, to: &str) {
        self.entry(name, LINK | 0o777, (0, 0), to.as_bytes());
    }

    /// Adds a character device.
    pub fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, DEVICE | 0o600, (major, minor), &[]);
    }

    /// Ends the archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    /// Adds an entry: thirteen fields of eight hexadecimal digits, the name, the content, each padded to four bytes.
    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let links = if mode & 0o170_000 == DIRECTORY { 2 } else { 1 };
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            u32::try_from(content.len()).unwrap_or(u32::MAX),
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name.len() + 1).unwrap_or(u32::MAX),
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Fills up to a multiple of four bytes.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_header_name_and_content_padded() {
        let mut archive = Archive::default();
        archive.program("init", b"hello");
        let header = "070701\
            00000001000081ED0000000000000000000000010000000000000005\
            0000000000000000000000000000000000000005\
            00000000";
        let expected = [header.as_bytes(), b"init\0\0", b"hello\0\0\0"].concat();
        assert_eq!(expected.len() % 4, 0);
        assert_eq!(archive.bytes, expected);
    }

    #[test]
    fn the_archive_ends_with_the_trailer() {
        let bytes = Archive::default().finish();
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0"));
    }
}
