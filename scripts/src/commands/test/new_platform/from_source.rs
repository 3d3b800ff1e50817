//! `new-platform` from source, which `dtc` compiles: Debian's package has flattened trees alone, so one is turned into source.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Case, Found, checked, folder};
use crate::args::Test;
use crate::commands::new_platform::draft;
use crate::failure::{Code, Failure, Outcome};
use crate::setup::{DTC, ensure, trees};
use crate::workspace::{capture, products, read, write};

/// A board, its tree, and its memory, which that leaves to the firmware.
const NAME: &str = "pine64";
const TREE: &str = "allwinner/sun50i-a64-pine64.dtb";
const MEMORY: [&str; 1] = ["0x40000000+1G"];
/// The first line of source.
const VERSION: &str = "/dts-v1/;";

/// Returns the test.
pub fn case() -> Case {
    Case {
        name: "new-platform-source".to_owned(),
        about: "a board's source makes the folder that its flattened tree makes; what dtc cannot read is said in words"
            .to_owned(),
        long: false,
        alone: false,
        run: Box::new(|args| match from_source(args) {
            Ok(()) => Found::pass(),
            Err(failure) if failure.code == Code::ToolMissing => {
                println!("{}", failure.message);
                Found::skip("debian-trees")
            }
            Err(failure) => Found::fail(failure.message),
        }),
    }
}

/// Makes drafts from all forms of a tree.
fn from_source(args: &Test) -> Outcome {
    let flattened = trees::file(TREE)?;
    ensure(&[DTC], args.consent)?;
    let sources = Sources::of(&flattened)?;
    let wanted = drafted(&flattened)?;
    let made = drafted(&sources.whole)?;
    same(&wanted, &made)?;
    checked(NAME, Some(&sources.whole), args)?;
    same(&wanted, &drafted(&sources.including)?)?;
    let refusals = [
        (
            &sources.preprocessed,
            ["preprocessed.dts:2: `#include", "cpp -nostdinc"],
        ),
        (
            &sources.broken,
            ["broken.dts: dtc does not compile it", "syntax error"],
        ),
    ];
    for (source, words) in refusals {
        match drafted(source) {
            Ok(_) => return Err(Failure::failed("a draft was made of what cannot be read")),
            Err(failure) => says(&failure.message, &words)?,
        }
    }
    without_dtc(&sources.whole)
}

/// Source of one tree.
struct Sources {
    /// In one file.
    whole: PathBuf,
    /// In a file that takes in another, by what `dtc` has for that.
    including: PathBuf,
    /// As the kernel's own source is.
    preprocessed: PathBuf,
    /// That ends too early.
    broken: PathBuf,
}

impl Sources {
    /// Turns a flattened tree into source.
    fn of(flattened: &Path) -> Outcome<Self> {
        let mut dtc = Command::new(DTC.program);
        dtc.args(["-q", "-I", "dtb", "-O", "dts"]).arg(flattened);
        let text = capture(&mut dtc, "dtc")?;
        let root = text.trim_start().strip_prefix(VERSION);
        let root = root.ok_or_else(|| Failure::failed("dtc writes no version"))?;
        let half = root.get(..root.len() / 2).unwrap_or_default();
        put("root.dtsi", root)?;
        Ok(Self {
            whole: put("whole.dts", &text)?,
            including: put(
                "including.dts",
                &format!("{VERSION}\n/include/ \"root.dtsi\"\n"),
            )?,
            preprocessed: put(
                "preprocessed.dts",
                &format!("{VERSION}\n#include \"root.dtsi\"\n"),
            )?,
            broken: put("broken.dts", &format!("{VERSION}\n{half}"))?,
        })
    }
}

/// Writes a file.
fn put(name: &str, text: &str) -> Outcome<PathBuf> {
    let file = products(&["test", "new-platform", "source", name]);
    write(&file, text.as_bytes())?;
    Ok(file)
}

/// Makes a draft, and returns its files, without the name of what they were made from.
fn drafted(tree: &Path) -> Outcome<Vec<String>> {
    let tree = tree.to_string_lossy();
    let folder = folder(NAME);
    draft(NAME, &tree, &MEMORY, &folder)?;
    let files = ["board.toml", "default.toml", "README.md"].map(|file| read(&folder.join(file)));
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).replace(&*tree, "TREE");
    files.into_iter().map(|bytes| bytes.map(text)).collect()
}

/// Fails where two drafts differ.
fn same(wanted: &[String], made: &[String]) -> Outcome {
    let mut pairs = wanted.iter().zip(made);
    match pairs.find(|(wanted, made)| wanted != made) {
        None => Ok(()),
        Some((wanted, made)) => Err(Failure::failed(format!(
            "source makes another draft:\n{made}\ninstead of\n{wanted}"
        ))),
    }
}

/// Fails where a message lacks a word.
fn says(message: &str, words: &[&str]) -> Outcome {
    match words.iter().find(|word| !message.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(Failure::failed(format!(
            "`{message}` does not say `{word}`"
        ))),
    }
}

/// Runs the command on a machine without `dtc`, which it may not install: it names the package.
fn without_dtc(source: &Path) -> Outcome {
    let program = env::current_exe().map_err(|error| Failure::failed(error.to_string()))?;
    let mut command = Command::new(program);
    command
        .args(["new-platform", NAME, "--no-install", "--tree"])
        .arg(source);
    command.arg("--out").arg(folder("without-dtc"));
    command.env("PATH", "/nowhere");
    let output = command.output();
    let output = output.map_err(|error| Failure::failed(error.to_string()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    says(&said, &["device-tree-compiler", "flattened tree (.dtb)"])?;
    match output.status.code() {
        Some(code) if code == Code::ToolMissing as i32 => Ok(()),
        code => Err(Failure::failed(format!("it ended with {code:?}"))),
    }
}
