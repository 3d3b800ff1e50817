//! Guest images: found, unpacked, and placed in their partition's memory.

pub mod kernel;
pub mod program;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bulkhead::addr::{BLOCK_2M_BYTES, PAGE_BYTES};

use crate::compile::Images;
use crate::diagnostic::{Diagnostic, Diagnostics, shown_path};
use crate::nearest::suggestion;
use crate::plan::Load;
use crate::reader::{At, Span};
use crate::rule::Rule;
use crate::table::Image;

/// An image, ready to load.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its pieces.
    pub loads: Vec<Load>,
    /// Address of its first instruction.
    pub entry: u64,
    /// The initial RAM disk, which has no place yet.
    pub initrd: Option<Arc<[u8]>>,
    /// The command line.
    pub cmdline: Option<String>,
}

/// Where images come from, and what has been read of them so far.
pub struct Store<'a> {
    folder: PathBuf,
    images: &'a mut dyn Images,
    files: BTreeMap<PathBuf, Arc<[u8]>>,
    kernels: BTreeMap<PathBuf, (Arc<[u8]>, kernel::Header)>,
}

/// A result whose error has gone to the diagnostics.
type Found<T> = Option<T>;

impl<'a> Store<'a> {
    /// Starts a store for the table at `table`, whose folder the files in it are relative to.
    pub fn new(table: &Path, images: &'a mut dyn Images) -> Self {
        Self {
            folder: table.parent().unwrap_or(Path::new("")).to_owned(),
            images,
            files: BTreeMap::new(),
            kernels: BTreeMap::new(),
        }
    }

    /// Loads an image for a partition whose memory starts at `ram`.
    pub fn load(&mut self, image: &At<Image>, ram: u64, out: &mut Diagnostics) -> Found<Loaded> {
        match &image.value {
            Image::Guest(name) => {
                let file = self.guest(name, out)?;
                self.program(&At::new(file, name.span.clone()), out)
            }
            Image::Elf(file) => {
                let file = At::new(self.folder.join(&file.value), file.span.clone());
                self.program(&file, out)
            }
            Image::Recipe { name, cmdline } => {
                let recipe = self.recipe(name, out)?;
                let at = |file| At::new(file, name.span.clone());
                let cmdline = cmdline.as_ref().map(|c| c.value.clone());
                let initrd = recipe.initrd.map(at);
                let cmdline = cmdline.or(recipe.cmdline);
                self.linux(&at(recipe.kernel), initrd, cmdline, ram, out)
            }
            Image::Kernel {
                kernel,
                initrd,
                cmdline,
            } => {
                let at =
                    |file: &At<String>| At::new(self.folder.join(&file.value), file.span.clone());
                let cmdline = cmdline.as_ref().map(|c| c.value.clone());
                let (kernel, initrd) = (at(kernel), initrd.as_ref().map(at));
                self.linux(&kernel, initrd, cmdline, ram, out)
            }
            Image::Raw { file, load, entry } => self.raw(file, load, entry, out),
        }
    }

    /// Reads a file that the table names, once.
    pub fn file(&mut self, file: &At<PathBuf>, out: &mut Diagnostics) -> Found<Arc<[u8]>> {
        if let Some(bytes) = self.files.get(&file.value) {
            return Some(Arc::clone(bytes));
        }
        match self.images.file(&file.value) {
            Ok(bytes) if bytes.is_empty() => {
                out.push(missing(file, "the file is empty"));
                None
            }
            Ok(bytes) => {
                let bytes: Arc<[u8]> = bytes.into();
                self.files.insert(file.value.clone(), Arc::clone(&bytes));
                Some(bytes)
            }
            Err(error) => {
                out.push(missing(file, &error.to_string()));
                None
            }
        }
    }

    /// Compiles the source of an overlay, once.
    pub fn compiled(&mut self, file: &At<PathBuf>, out: &mut Diagnostics) -> Found<Arc<[u8]>> {
        // What is not there is said as for every other file.
        self.file(file, out)?;
        match self.images.overlay(&file.value) {
            Ok(bytes) => Some(bytes.into()),
            Err(why) => {
                let title = format!("`{}` cannot be compiled", shown_path(&file.value));
                let found =
                    Diagnostic::new(Rule::BadOverlay, title, file.span.clone(), "this source");
                out.push(found.help(why));
                None
            }
        }
    }

    /// Returns a file of the table's folder.
    pub fn beside_table(&self, file: &At<String>) -> At<PathBuf> {
        At::new(self.folder.join(&file.value), file.span.clone())
    }

    /// Finds the ELF file of a guest crate.
    fn guest(&mut self, name: &At<String>, out: &mut Diagnostics) -> Found<PathBuf> {
        let known = self.images.guests();
        if !known.is_empty() && !known.contains(&name.value) {
            let title = format!("there is no guest `{}` under guests/", name.value);
            out.push(unknown(Rule::UnknownGuest, title, name, &known));
            return None;
        }
        match self.images.guest(&name.value) {
            Ok(file) => Some(file),
            Err(why) => {
                let title = format!("guest `{}` cannot be built", name.value);
                out.push(unavailable(title, name.span.clone(), &why));
                None
            }
        }
    }

    /// Finds the files of a recipe.
    fn recipe(
        &mut self,
        name: &At<String>,
        out: &mut Diagnostics,
    ) -> Found<crate::compile::RecipeImage> {
        let known = self.images.recipes();
        if !known.is_empty() && !known.contains(&name.value) {
            let title = format!("there is no recipe `{}` under guests/recipes/", name.value);
            out.push(unknown(Rule::UnknownRecipe, title, name, &known));
            return None;
        }
        match self.images.recipe(&name.value) {
            Ok(image) => Some(image),
            Err(why) => {
                let title = format!("recipe `{}` cannot be made", name.value);
                out.push(unavailable(title, name.span.clone(), &why));
                None
            }
        }
    }

    /// Loads an ELF file.
    fn program(&mut self, file: &At<PathBuf>, out: &mut Diagnostics) -> Found<Loaded> {
        let bytes = self.file(file, out)?;
        let program = match program::read(&bytes) {
            Ok(program) => program,
            Err(why) => {
                let title = format!("`{}` is not an ELF program for AArch64: {why}", shown(file));
                out.refuse(Rule::NotAnElf, title, &file.span, "this file");
                return None;
            }
        };
        let loads = program.pieces.into_iter().map(|piece| Load {
            what: "program".to_owned(),
            gpa: piece.address,
            bytes: piece.bytes.into(),
            memory_bytes: piece.memory_bytes,
        });
        Some(Loaded {
            loads: loads.collect(),
            entry: program.entry,
            initrd: None,
            cmdline: None,
        })
    }

    /// Loads a kernel and reads its RAM disk.
    fn linux(
        &mut self,
        kernel: &At<PathBuf>,
        initrd: Option<At<PathBuf>>,
        cmdline: Option<String>,
        ram: u64,
        out: &mut Diagnostics,
    ) -> Found<Loaded> {
        let initrd = initrd.map(|initrd| self.file(&initrd, out));
        let (bytes, header) = self.kernel(kernel, out)?;
        let initrd = match initrd {
            Some(None) => return None,
            Some(found) => found,
            None => None,
        };
        let gpa = ram.checked_next_multiple_of(BLOCK_2M_BYTES);
        let gpa = gpa.and_then(|gpa| gpa.checked_add(header.text_offset))?;
        let load = Load {
            what: "kernel".to_owned(),
            gpa,
            bytes,
            memory_bytes: header.memory_bytes,
        };
        Some(Loaded {
            loads: vec![load],
            entry: gpa,
            initrd,
            cmdline,
        })
    }

    /// Reads and unpacks a kernel, once.
    fn kernel(
        &mut self,
        file: &At<PathBuf>,
        out: &mut Diagnostics,
    ) -> Found<(Arc<[u8]>, kernel::Header)> {
        if let Some((bytes, header)) = self.kernels.get(&file.value) {
            return Some((Arc::clone(bytes), *header));
        }
        let packed = self.file(file, out)?;
        match kernel::unpack(packed.to_vec()) {
            Ok((image, header)) => {
                let image: Arc<[u8]> = image.into();
                let entry = (Arc::clone(&image), header);
                self.kernels.insert(file.value.clone(), entry);
                Some((image, header))
            }
            Err(why) => {
                let title = format!("`{}` is not an arm64 kernel `Image`: {why}", shown(file));
                out.refuse(Rule::NotAKernel, title, &file.span, "this file");
                None
            }
        }
    }

    /// Loads bytes as they are.
    fn raw(
        &mut self,
        file: &At<String>,
        load: &At<u64>,
        entry: &At<u64>,
        out: &mut Diagnostics,
    ) -> Found<Loaded> {
        let file = self.beside_table(file);
        let bytes = self.file(&file, out)?;
        Some(Loaded {
            loads: vec![Load {
                what: "raw image".to_owned(),
                gpa: load.value,
                memory_bytes: bytes.len() as u64,
                bytes,
            }],
            entry: entry.value,
            initrd: None,
            cmdline: None,
        })
    }
}

/// Returns the first page-aligned address behind what is loaded and at or above `from`.
pub fn behind(loads: &[Load], from: u64) -> Option<u64> {
    let ends = loads
        .iter()
        .filter_map(|load| load.range())
        .map(|range| range.last());
    let last = ends.max().unwrap_or(0).max(from.saturating_sub(1));
    last.checked_add(1)?.checked_next_multiple_of(PAGE_BYTES)
}

/// Shows a file's path.
fn shown(file: &At<PathBuf>) -> String {
    shown_path(&file.value)
}

/// Words a file that cannot be read.
fn missing(file: &At<PathBuf>, why: &str) -> Diagnostic {
    let title = format!("the file `{}` cannot be used: {why}", shown(file));
    let found = Diagnostic::new(Rule::MissingFile, title, file.span.clone(), "this file");
    found.help("a relative path starts at the folder of the table")
}

/// Words a name that is not known.
fn unknown(rule: Rule, title: String, name: &At<String>, known: &[String]) -> Diagnostic {
    let known = known.iter().map(String::as_str);
    let found = Diagnostic::new(rule, title, name.span.clone(), "unknown name");
    found.help(suggestion(&name.value, known, "there is none"))
}

/// Words an image that cannot be made.
fn unavailable(title: String, span: Span, why: &str) -> Diagnostic {
    let found = Diagnostic::new(Rule::ImageUnavailable, title, span, "asked for here");
    found.help(why.trim())
}
