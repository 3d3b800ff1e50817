//! The property names that matter. A tree keeps every name once, so each is compared once and known by its place in
//! the strings block from then on: comparing names would be most of the cost of reading a tree.

use super::tree::{Tree, TreeError};

/// A property that [`super::node::Facts`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// Not compared yet.
    Unseen,
    /// Compared, and none of the others.
    Other,
    Reg,
    Compatible,
    Interrupts,
    Status,
    Phandle,
    Ranges,
    InterruptParent,
    AddressCells,
    SizeCells,
    InterruptCells,
    DeviceType,
    EnableMethod,
    ReleaseAddress,
    InterruptsExtended,
    InterruptNames,
    Method,
    CpuOn,
    Model,
    RedistributorRegions,
    RedistributorStride,
    RegShift,
    RegIoWidth,
    StdoutPath,
    RngSeed,
    KaslrSeed,
}

impl Key {
    /// How many there are.
    pub(super) const COUNT: usize = Self::KaslrSeed as usize + 1;
}

/// Bytes of the strings block whose names are remembered; names behind are compared each time. QEMU's has some 700.
const REMEMBERED: usize = 1024;

/// What the names in the strings block mean, by offset.
pub(super) struct Keys([Key; REMEMBERED]);

impl Keys {
    /// Knows nothing yet.
    pub(super) fn new() -> Self {
        Self([Key::Unseen; REMEMBERED])
    }

    /// Returns what the name at an offset into the strings block means.
    ///
    /// # Errors
    /// [`TreeError::Name`].
    pub(super) fn of(&mut self, tree: &Tree<'_>, offset: u32) -> Result<Key, TreeError> {
        match self.0.get_mut(offset as usize) {
            Some(known) if *known != Key::Unseen => Ok(*known),
            Some(unseen) => {
                *unseen = key(tree.name(offset)?);
                Ok(*unseen)
            }
            None => Ok(key(tree.name(offset)?)),
        }
    }
}

/// The names. A table and not a `match`, which would be four kilobytes of comparisons.
const NAMES: [(&[u8], Key); 26] = [
    (b"reg", Key::Reg),
    (b"compatible", Key::Compatible),
    (b"interrupts", Key::Interrupts),
    (b"status", Key::Status),
    (b"phandle", Key::Phandle),
    (b"ranges", Key::Ranges),
    (b"interrupt-parent", Key::InterruptParent),
    (b"#address-cells", Key::AddressCells),
    (b"#size-cells", Key::SizeCells),
    (b"#interrupt-cells", Key::InterruptCells),
    (b"device_type", Key::DeviceType),
    (b"enable-method", Key::EnableMethod),
    (b"cpu-release-addr", Key::ReleaseAddress),
    (b"interrupts-extended", Key::InterruptsExtended),
    (b"interrupt-names", Key::InterruptNames),
    (b"method", Key::Method),
    (b"cpu_on", Key::CpuOn),
    (b"model", Key::Model),
    (b"#redistributor-regions", Key::RedistributorRegions),
    (b"redistributor-stride", Key::RedistributorStride),
    (b"reg-shift", Key::RegShift),
    (b"reg-io-width", Key::RegIoWidth),
    (b"stdout-path", Key::StdoutPath),
    (b"linux,stdout-path", Key::StdoutPath),
    (b"rng-seed", Key::RngSeed),
    (b"kaslr-seed", Key::KaslrSeed),
];

/// Compares a name.
#[inline(never)]
fn key(name: &[u8]) -> Key {
    let known = NAMES.iter().find(|known| known.0 == name);
    known.map_or(Key::Other, |known| known.1)
}
