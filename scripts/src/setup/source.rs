//! Device trees in files: flattened ones, and source, which `dtc` compiles.

use std::path::Path;
use std::process::Command;

use super::{DTC, ensure};
use crate::args::Consent;
use crate::failure::{Code, Failure, Outcome};
use crate::workspace::read;

/// First word of a flattened tree.
const MAGIC: [u8; 4] = [0xd0, 0x0d, 0xfe, 0xed];
/// Lines that a C preprocessor replaces, as the source of kernels has them; `dtc` knows none of these. (`/include/` is its own.)
const PREPROCESSED: [&str; 7] = [
    "include", "define", "undef", "ifdef", "ifndef", "if ", "pragma",
];

/// Reads a flattened tree; source is compiled first.
///
/// # Errors
/// There is no such file, or no `dtc`, or it is neither: what to do about it.
pub fn tree(file: &Path, consent: Consent) -> Outcome<Vec<u8>> {
    let bytes = read(file)?;
    if bytes.starts_with(&MAGIC) {
        return Ok(bytes);
    }
    let name = file.display();
    let text = match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        _ => {
            return Err(Failure::usage(format!(
                "{name} is neither a flattened device tree nor source: it starts otherwise, and is no text"
            )));
        }
    };
    if let Some((number, line)) = preprocessed(&text) {
        return Err(Failure::usage(format!(
            "{name}:{number}: `{line}` is for the C preprocessor, which has to run first. Take what the kernel's own build \
             makes (make dtbs), or a copy from the running board (/sys/firmware/fdt), or:\n  \
             cpp -nostdinc -undef -x assembler-with-cpp -I INCLUDES {name} > whole.dts\n\
             INCLUDES: in the kernel's source `include` and the folder of the file (package cpp)"
        )));
    }
    ensure(&[DTC], consent).map_err(|failure| {
        let why = failure.message;
        let how = "or give the flattened tree (.dtb)";
        Failure::new(
            failure.code,
            format!("{name} is source, which dtc compiles: {why}\n{how}"),
        )
    })?;
    compiled(file)
}

/// Returns the first line that is meant for the C preprocessor, with its number.
fn preprocessed(text: &str) -> Option<(usize, &str)> {
    let is = |line: &str| {
        let rest = line.strip_prefix('#').map(str::trim_start);
        rest.is_some_and(|rest| PREPROCESSED.iter().any(|word| rest.starts_with(word)))
    };
    let mut lines = text.lines().map(str::trim).enumerate();
    lines
        .find(|(_, line)| is(line))
        .map(|(before, line)| (before + 1, line))
}

/// Compiles source.
fn compiled(file: &Path) -> Outcome<Vec<u8>> {
    let output = Command::new(DTC.program)
        .args(["-q", "-I", "dts", "-O", "dtb"])
        .arg(file)
        .output()
        .map_err(|error| Failure::new(Code::ToolMissing, format!("dtc: {error}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::usage(format!(
        "{}: dtc does not compile it:\n{said}",
        file.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_the_preprocessor_are_told_from_properties() {
        let source =
            "/dts-v1/;\n/include/ \"a.dtsi\"\n/ {\n\t#address-cells = <2>;\n\t#size-cells = <2>;\n";
        assert_eq!(preprocessed(source), None);
        let with = format!("{source}# include <dt-bindings/gic.h>\n");
        assert_eq!(
            preprocessed(&with),
            Some((6, "# include <dt-bindings/gic.h>"))
        );
        assert_eq!(preprocessed("  #define X 1"), Some((1, "#define X 1")));
    }

    #[test]
    fn what_is_neither_tree_nor_source_is_said_before_a_tool_is_looked_for() {
        let file = std::env::temp_dir().join(format!("bulkhead-source-{}", std::process::id()));
        std::fs::write(&file, [0xed, 0xfe, 0x0d, 0xd0, 0]).unwrap();
        let failure = tree(&file, Consent::default()).unwrap_err();
        std::fs::remove_file(&file).unwrap();
        assert!(failure.message.contains("neither"), "{failure}");
    }
}
