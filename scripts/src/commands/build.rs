//! `cargo xtask build`: the bootable image, its sizes, the start-up memory map.

use serde_json::{Value, json};

use crate::args::Build;
use crate::failure::Outcome;
use crate::system::{Built, build};
use crate::workspace::shown;

/// Runs the command.
pub fn run(args: &Build) -> Outcome {
    let built = build(&args.target, &args.machine)?;
    if args.target.json {
        println!("{:#}", as_json(&built));
    } else {
        print!("{}", as_text(&built));
    }
    Ok(())
}

/// Describes the image for people.
fn as_text(built: &Built) -> String {
    let sizes = built.hypervisor.sizes;
    let payload = built.system.payload().len();
    let file = std::fs::metadata(&built.image).map_or(0, |data| data.len());
    let report = built.system.report();
    format!(
        "image      {}\n\
         size       {file} bytes: EL2 {}, payload {payload}\n\
         EL2        text {}, rodata {}, data {}, bss {}\n\
         digest     {} (EL2 without its header; the same for every table)\n\
         \n{}\n",
        shown(&built.image),
        built.hypervisor.bytes.len(),
        sizes.text,
        sizes.rodata,
        sizes.data,
        sizes.bss,
        built.hypervisor.digest(),
        report.trim_end()
    )
}

/// Describes the image for programs.
fn as_json(built: &Built) -> Value {
    let sizes = built.hypervisor.sizes;
    let report = built.system.report_json();
    json!({
        "image": built.image,
        "platform": built.selection.platform.name,
        "table": built.selection.table,
        "el2": {
            "elf": built.hypervisor_elf,
            "bytes": built.hypervisor.bytes.len(),
            "text": sizes.text,
            "rodata": sizes.rodata,
            "data": sizes.data,
            "bss": sizes.bss,
            "digest": built.hypervisor.digest(),
        },
        "payload_bytes": built.system.payload().len(),
        "report": serde_json::from_str(&report).unwrap_or(Value::Null),
    })
}
