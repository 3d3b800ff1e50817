//! The layering check: who may use whom among EL2's modules, by `scripts/layers.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Deserialize;

use crate::failure::{Failure, Outcome};
use crate::workspace::read;

/// Longest source file.
const MOST_LINES: usize = 500;

/// `scripts/layers.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    layer: Vec<Layer>,
}

/// Modules that may use each other and those of the layers that they name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layer {
    name: String,
    modules: Vec<String>,
    pure: bool,
    uses: Vec<String>,
}

impl Layers {
    /// Returns the layer of a top-level module.
    fn of(&self, module: &str) -> Option<&Layer> {
        self.layer
            .iter()
            .find(|layer| layer.modules.iter().any(|m| m == module))
    }
}

/// A source file of EL2.
#[derive(Debug)]
struct Source {
    /// Relative to `src/`.
    path: PathBuf,
    text: String,
}

impl Source {
    /// Returns the top-level module that it belongs to.
    fn module(&self) -> String {
        let first = self.path.iter().next().unwrap_or_default();
        let name = Path::new(first).file_stem().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Is it the file that a top-level module begins with?
    fn is_top(&self) -> bool {
        self.path.iter().count() == 1
    }
}

/// Checks all sources under `root`/src and returns what is broken, a line each.
///
/// # Errors
/// A file cannot be read, or `layers.toml` is wrong.
pub fn check(root: &Path) -> Outcome<Vec<String>> {
    let file = root.join("scripts/layers.toml");
    let text = String::from_utf8_lossy(&read(&file)?).into_owned();
    let layers: Layers = toml::from_str(&text).map_err(|error| Failure::file(&file, error))?;
    let mut sources = Vec::new();
    collect(&root.join("src"), Path::new(""), &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources
        .iter()
        .flat_map(|source| broken(source, &layers))
        .collect())
}

/// Reads all Rust files in a folder.
fn collect(src: &Path, below: &Path, sources: &mut Vec<Source>) -> Outcome {
    let folder = src.join(below);
    let entries = fs::read_dir(&folder).map_err(|error| Failure::file(&folder, error))?;
    for entry in entries.flatten() {
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            collect(src, &path, sources)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = String::from_utf8_lossy(&read(&entry.path())?).into_owned();
            sources.push(Source { path, text });
        }
    }
    Ok(())
}

/// Returns what is broken in a file.
fn broken(source: &Source, layers: &Layers) -> Vec<String> {
    let module = source.module();
    let Some(layer) = layers.of(&module) else {
        return vec![format!(
            "src/{}: `{module}` has no place in scripts/layers.toml",
            source.path.display()
        )];
    };
    let mut all = Vec::new();
    let mut say = |what: String| all.push(format!("src/{}: {what}", source.path.display()));
    if layer.pure && source.is_top() && !source.text.contains("#![forbid(unsafe_code)]") {
        say(format!(
            "the layer `{}` is pure: #![forbid(unsafe_code)] is missing",
            layer.name
        ));
    }
    for used in used_modules(&source.text) {
        match layers.of(&used) {
            Some(other) if other.name == layer.name || layer.uses.contains(&other.name) => {}
            Some(other) => say(format!(
                "`{module}` ({}) must not use `{used}` ({})",
                layer.name, other.name
            )),
            None => {}
        }
    }
    if module != "arch" && has_assembly(&source.text) {
        say("assembly outside of `arch`".to_owned());
    }
    if chooses_code(&source.text) {
        say("cfg(feature) before anything but a module".to_owned());
    }
    let lines = source.text.lines().count();
    if lines > MOST_LINES {
        say(format!("{lines} lines; split it (at most {MOST_LINES})"));
    }
    all
}

/// Says whether a feature chooses anything but whole modules.
fn chooses_code(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.iter().enumerate().any(|(at, line)| {
        let chosen = lines
            .iter()
            .skip(at + 1)
            .find(|line| !line.starts_with("#["));
        let mut words = chosen.unwrap_or(&"").split_whitespace();
        let is_module = words.find(|word| !word.starts_with("pub")) == Some("mod");
        let is_line = line.starts_with("#[cfg(") && is_module;
        let names = ["cfg(feature", "cfg(not(feature", "cfg!(feature"];
        names.iter().any(|name| line.contains(name)) && !is_line
    })
}

/// Returns the top-level modules that code names as `crate::NAME` or `crate::{NAME, ..}`; comments do not count.
fn used_modules(text: &str) -> BTreeSet<String> {
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    let code = code.join("\n");
    let mut all = BTreeSet::new();
    // Both patterns are constant.
    let single = Regex::new(r"\b(?:crate|bulkhead)::([a-z_0-9]+)").ok();
    for found in single.iter().flat_map(|regex| regex.captures_iter(&code)) {
        all.extend(found.get(1).map(|name| name.as_str().to_owned()));
    }
    for (at, _) in code.match_indices("crate::{") {
        all.extend(first_names(
            code.get(at + "crate::{".len()..).unwrap_or_default(),
        ));
    }
    all
}

/// Returns the first name of every path in a braced list.
fn first_names(list: &str) -> Vec<String> {
    let mut names = Vec::new();
    let (mut depth, mut start) = (0_u32, true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && c.is_ascii_lowercase() && depth == 0 => {
                let rest = list.get(at..).unwrap_or_default();
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                names.extend(rest.get(..end.unwrap_or(rest.len())).map(str::to_owned));
                start = false;
            }
            c if !c.is_whitespace() => start = false,
            _ => {}
        }
    }
    names
}

/// Is there assembly?
fn has_assembly(text: &str) -> bool {
    ["asm!(", "global_asm!(", "naked_asm!("]
        .iter()
        .any(|call| text.contains(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers() -> Layers {
        toml::from_str(
            "[[layer]]\nname = 'low'\nmodules = ['addr']\npure = true\nuses = []\n\
             [[layer]]\nname = 'high'\nmodules = ['run', 'boot']\npure = false\nuses = ['low']",
        )
        .unwrap()
    }

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.into(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn modules_are_found_in_every_form_of_use() {
        let text = "use crate::{addr::{Gpa, Hpa},\n ids};\nuse crate::vgic::x;\n// crate::none\nlet a = crate::run::go();";
        let names: Vec<_> = used_modules(text).into_iter().collect();
        assert_eq!(names, ["addr", "ids", "run", "vgic"]);
    }

    #[test]
    fn a_lower_layer_must_not_use_a_higher_one() {
        let up = source("addr.rs", "#![forbid(unsafe_code)]\nuse crate::run::x;");
        assert_eq!(broken(&up, &layers()).len(), 1);
        let down = source("run.rs", "use crate::addr::x;\nuse crate::boot::y;");
        assert_eq!(broken(&down, &layers()), Vec::<String>::new());
    }

    #[test]
    fn a_feature_chooses_modules_alone() {
        for (text, chooses) in [
            ("#[cfg(feature = \"x\")]\nmod a;", false),
            (
                "#[cfg(not(feature = \"x\"))]\n#[macro_use]\npub mod a;",
                false,
            ),
            ("#[cfg(feature = \"x\")]\nfn a() {}", true),
            ("if cfg!(feature = \"x\") {}\nmod a;", true),
            ("mod a;\n#[cfg(feature = \"x\")]", true),
        ] {
            assert_eq!(chooses_code(text), chooses, "{text}");
        }
    }

    #[test]
    fn pure_modules_forbid_unsafe_at_their_top() {
        assert_eq!(broken(&source("addr.rs", ""), &layers()).len(), 1);
        assert_eq!(broken(&source("addr/page.rs", ""), &layers()).len(), 0);
    }

    #[test]
    fn an_unknown_module_assembly_and_long_files_are_told() {
        assert_eq!(broken(&source("new.rs", ""), &layers()).len(), 1);
        assert_eq!(broken(&source("run.rs", "asm!(\"\")"), &layers()).len(), 1);
        assert_eq!(
            broken(&source("run.rs", &"\n".repeat(501)), &layers()).len(),
            1
        );
    }
}
