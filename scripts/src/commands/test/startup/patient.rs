//! A copy of an image in which instructions are replaced: the way to a fault that the built image cannot have.

use std::path::PathBuf;
use std::process::Command;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol};

use crate::failure::{Failure, Outcome};
use crate::system::Built;
use crate::workspace::{products, read, write};

/// Code that a CPU entered at EL2 never comes to: room for a planted fault.
pub const UNUSED: &str = "wrong_level";

/// An image that can be changed by symbol.
pub struct Patient {
    elf: Vec<u8>,
    image: Vec<u8>,
}

impl Patient {
    /// Reads a system's image and symbols.
    pub fn new(built: &Built) -> Outcome<Self> {
        Ok(Self {
            elf: read(&built.hypervisor_elf)?,
            image: read(&built.image)?,
        })
    }

    /// Returns the address of a symbol.
    pub fn symbol(&self, name: &str) -> Outcome<u64> {
        self.find(name, |symbol| symbol == name)
    }

    /// Returns the address of a Rust function, by the last part of its path.
    pub fn function(&self, name: &str) -> Outcome<u64> {
        let part = format!("{}{name}", name.len());
        self.find(name, |symbol| {
            symbol.starts_with("_") && symbol.contains(&part)
        })
    }

    fn find(&self, name: &str, is: impl Fn(&str) -> bool) -> Outcome<u64> {
        let bad = |what: String| Failure::failed(format!("the hypervisor's ELF file: {what}"));
        let file = ElfFile64::<Endianness>::parse(self.elf.as_slice())
            .map_err(|error| bad(error.to_string()))?;
        let found = file.symbols().find(|symbol| symbol.name().is_ok_and(&is));
        found
            .map(|symbol| symbol.address())
            .ok_or_else(|| bad(format!("there is no symbol {name}")))
    }

    /// Returns the text: its address, and its instructions.
    pub fn text(&self) -> Outcome<(u64, Vec<u32>)> {
        let (first, end) = (self.symbol("_image_start")?, self.symbol("_text_end")?);
        let bytes = self.image.get(..(end - first) as usize).unwrap_or_default();
        let words = bytes
            .chunks_exact(4)
            .filter_map(|word| Some(u32::from_le_bytes(word.try_into().ok()?)));
        Ok((first, words.collect()))
    }

    /// Returns where an address lies in the image.
    fn offset(&self, address: u64) -> Outcome<usize> {
        let offset = address.wrapping_sub(self.symbol("_image_start")?);
        usize::try_from(offset).map_err(|error| Failure::failed(error.to_string()))
    }

    /// Returns the instruction at an address.
    pub fn instruction(&self, address: u64) -> Outcome<u32> {
        let at = self.offset(address)?;
        let bytes = self.image.get(at..at + 4).and_then(|b| b.try_into().ok());
        bytes
            .map(u32::from_le_bytes)
            .ok_or_else(|| Failure::failed(format!("{address:#x} is not in the image")))
    }

    /// Replaces instructions from an address on.
    pub fn plant(&mut self, address: u64, code: &[u32]) -> Outcome {
        let at = self.offset(address)?;
        let code: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.image
            .get_mut(at..at + code.len())
            .map(|place| place.copy_from_slice(&code))
            .ok_or_else(|| Failure::failed(format!("{address:#x} is not in the image")))
    }

    /// Returns a call of QEMU that boots it.
    pub fn boot(&self, built: &Built, name: &str) -> Outcome<Command> {
        let file: PathBuf = products(&["test", &format!("{name}.img")]);
        write(&file, &self.image)?;
        let mut command = built.qemu_board()?.command();
        command.arg("-kernel").arg(file);
        Ok(command)
    }
}

/// Returns `b to` for an instruction at `from`.
pub fn branch(from: u64, to: u64) -> u32 {
    let words = (to.wrapping_sub(from) as i64 >> 2) as u32;
    0x1400_0000 | words & 0x03ff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_go_both_ways() {
        assert_eq!(branch(0x1000, 0x1008), 0x1400_0002);
        assert_eq!(branch(0x1008, 0x1004), 0x17ff_ffff);
    }
}
