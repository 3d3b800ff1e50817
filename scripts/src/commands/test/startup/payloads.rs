//! Damaged payloads: what the host wrote behind EL2's image did not arrive as it was.

use std::ops::Range;
use std::path::PathBuf;

use bulkhead::config::record::{Header, Table, record_checksum};
use zerocopy::FromBytes;

use super::super::gates::sum;
use super::trees::random;
use super::{Boot, check_refusal, found, own_lines, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::{Failure, Outcome};
use crate::session::{Ending, Finished};
use crate::system::Built;
use crate::workspace::{products, read, root, write};

/// Payloads of each table that have a flipped bit and the right checksum; each has the seed of its number. `--long` tries
/// more.
const SEEDS: u64 = 30;
const LONG_SEEDS: u64 = 400;
/// Bits that are flipped in what partitions load.
const BLOB_FLIPS: usize = 30;
/// Longest time of a start that may come to nothing, as in a time window that opens in an hour.
const SECONDS: u64 = 8;
/// Tables that have every kind of record.
const TABLES: [&str; 2] = ["adversary", "windows"];
/// Offsets in the payload's header ([`Header`]).
const VERSION_AT: usize = 8;
const HEADER_BYTES_AT: usize = 12;
const TOTAL_BYTES_AT: usize = 16;
const RECORD_BYTES_AT: usize = 24;
const CHECKSUM_AT: usize = 32;
const CONSOLE_PRIORITY_AT: usize = core::mem::offset_of!(Header, console_priority);
const TRACE_BYTES_AT: usize = core::mem::offset_of!(Header, trace_bytes);

/// A way to damage a payload.
struct Damage {
    name: &'static str,
    /// What the refusal says.
    reason: &'static str,
    how: fn(&mut Vec<u8>),
}

/// All damages that have a refusal of their own.
const DAMAGES: [Damage; 9] = [
    Damage {
        name: "start-payload-missing",
        reason: "it starts with 0x0000000000000000",
        how: |payload| payload.clear(),
    },
    Damage {
        name: "start-payload-magic",
        reason: "it starts with 0x44414548",
        how: |payload| flip(payload, 0, 0),
    },
    Damage {
        name: "start-payload-version",
        reason: "version 2, header of",
        how: |payload| put(payload, VERSION_AT, 2_u32.to_le_bytes()),
    },
    Damage {
        name: "start-payload-header",
        reason: "version 1, header of 8 bytes",
        how: |payload| put(payload, HEADER_BYTES_AT, 8_u32.to_le_bytes()),
    },
    Damage {
        name: "start-payload-records",
        reason: "2097152 bytes of records in",
        how: |payload| put(payload, RECORD_BYTES_AT, (2_u64 << 20).to_le_bytes()),
    },
    Damage {
        name: "start-payload-checksum",
        reason: "checksum 0x",
        how: |payload| flip(payload, CHECKSUM_AT, 5),
    },
    Damage {
        name: "start-payload-cut-off",
        reason: "checksum 0x",
        how: |payload| payload.truncate(size_of::<Header>() + 8),
    },
    Damage {
        name: "start-payload-too-long",
        reason: "the payload has 2147483648 bytes, and ",
        how: |payload| {
            put(payload, TOTAL_BYTES_AT, (2_u64 << 30).to_le_bytes());
            sign(payload);
        },
    },
    Damage {
        name: "start-payload-endless",
        reason: "the payload has 18446744073709551615 bytes, and ",
        how: |payload| {
            put(payload, TOTAL_BYTES_AT, u64::MAX.to_le_bytes());
            sign(payload);
        },
    },
];

/// A trace ring for each of four pCPUs, more than EL2's pool can have.
const RINGS: Damage = Damage {
    name: "start-pool-too-large",
    reason: "bytes of EL2's pool, and 4194304 can be mapped",
    how: |payload| {
        put(payload, TRACE_BYTES_AT, (2_u64 << 20).to_le_bytes());
        sign(payload);
    },
};

/// Starts with each damage, and with a flipped bit in each kind of record.
pub fn refused(args: &Test) -> Outcome<Found> {
    let hello = system(args, "hello")?;
    let smp = built_of(args, "smp-4")?;
    let mut all = Vec::new();
    let damages = DAMAGES.iter().map(|damage| (&hello, damage));
    for (built, damage) in damages.chain([(&smp, &RINGS)]) {
        let mut payload = payload(built)?;
        (damage.how)(&mut payload);
        all.push(start(args, built, damage.name, &payload, |finished| {
            check_refusal(finished, &[damage.reason])
        })?);
    }
    for table in TABLES {
        let built = built_of(args, table)?;
        let good = payload(&built)?;
        // What partitions load is not summed: a guest that is damaged harms itself alone.
        for (kind, places) in places(&good)?
            .into_iter()
            .filter(|(kind, _)| *kind != "blobs")
        {
            let mut payload = good.clone();
            flip(&mut payload, places.start, 0);
            let name = format!("start-payload-{table}-{kind}");
            all.push(start(args, &built, &name, &payload, |finished| {
                check_refusal(finished, &["checksum 0x"])
            })?);
        }
    }
    Ok(sum(all))
}

/// Starts with flipped bits and the right checksum: what is said is believed or refused, and EL2 lives.
pub fn flipped(args: &Test) -> Outcome<Found> {
    let mut all = Vec::new();
    for table in TABLES {
        let built = built_of(args, table)?;
        let mut good = payload(&built)?;
        // A guest that went mad must not keep the console from saying how EL2 is.
        put(&mut good, CONSOLE_PRIORITY_AT, 255_u32.to_le_bytes());
        let kinds = places(&good)?;
        for seed in 0..if args.long { LONG_SEEDS } else { SEEDS } {
            let (kind, places) = &kinds[seed as usize % kinds.len()];
            let mut payload = good.clone();
            let mut state = seed;
            let flips = if *kind == "blobs" { BLOB_FLIPS } else { 1 };
            for _ in 0..flips {
                let at = places.start + (random(&mut state) % places.len() as u64) as usize;
                flip(&mut payload, at, random(&mut state) % 8);
            }
            sign(&mut payload);
            let name = format!("start-flipped-{table}-{kind}-{seed}");
            all.push(start(args, &built, &name, &payload, check_alive)?);
        }
    }
    Ok(sum(all))
}

/// Says what is wrong with a start that may be refused, or come to nothing.
fn check_alive(finished: &Finished) -> Vec<String> {
    let lines = own_lines(finished);
    let runs = lines.iter().any(|line| line.starts_with("Bulkhead "));
    match &finished.ending {
        Ending::Matched => Vec::new(),
        Ending::NotStarted => check_refusal(finished, &[]),
        Ending::Ended(status) if status.success() => Vec::new(),
        Ending::Timeout if runs => Vec::new(),
        other => vec![format!(
            "neither started nor refused: {other:?}, {:?}",
            lines.last()
        )],
    }
}

/// Builds one of [`TABLES`].
fn built_of(args: &Test, table: &str) -> Outcome<Built> {
    let file = root().join("tests/systems").join(format!("{table}.toml"));
    system(args, &file.to_string_lossy())
}

/// Returns what follows EL2's own bytes in an image.
fn payload(built: &Built) -> Outcome<Vec<u8>> {
    let image = read(&built.image)?;
    Ok(image
        .get(built.hypervisor.bytes.len()..)
        .unwrap_or_default()
        .to_vec())
}

/// Starts EL2 with a payload, until a partition runs.
fn start(
    args: &Test,
    built: &Built,
    name: &str,
    payload: &[u8],
    check: impl Fn(&Finished) -> Vec<String>,
) -> Outcome<Found> {
    let file: PathBuf = products(&["test", &format!("{name}.img")]);
    write(&file, &built.hypervisor.with_payload(payload))?;
    let mut command = built.qemu_board()?.command();
    command.arg("-kernel").arg(&file);
    let names = built.names();
    let mut boot = Boot::new(name, command, &names);
    (boot.until, boot.seconds) = (Some("bulkhead:: started$"), SECONDS);
    let finished = boot.run(args)?;
    // A reader of the log may want the image; there is one for each that failed.
    let found = found(name, &finished, check(&finished));
    if found.failures.is_empty() {
        // What is left behind is overwritten by the next run.
        let _ = std::fs::remove_file(&file);
    }
    Ok(found)
}

/// Returns where each kind of record lies that there is, the header behind its checksum, and the blobs.
fn places(payload: &[u8]) -> Outcome<Vec<(&'static str, Range<usize>)>> {
    let (header, _) = Header::read_from_prefix(payload)
        .map_err(|_| Failure::failed("the payload has no header"))?;
    let records = header.record_bytes as usize;
    let tables = [
        ("partitions", header.partitions),
        ("regions", header.regions),
        ("vcpus", header.vcpus),
        ("devices", header.devices),
        ("windows", header.windows),
        ("interrupts", header.interrupts),
        ("segments", header.segments),
        ("seeds", header.seeds),
        ("pcpus", header.pcpus),
        ("time-windows", header.time_windows),
        ("channels", header.channels),
    ];
    let starts = |table: &Table| table.offset as usize;
    let end = |table: Table| {
        let behind = tables.iter().map(|(_, other)| starts(other));
        let behind = behind.filter(|at| *at > starts(&table));
        behind.min().unwrap_or(records)
    };
    let mut places = vec![
        ("header", CHECKSUM_AT + 8..size_of::<Header>()),
        ("blobs", records.next_multiple_of(4096)..payload.len()),
    ];
    let tables = tables.into_iter().filter(|(_, table)| table.count != 0);
    places.extend(tables.map(|(kind, table)| (kind, starts(&table)..end(table))));
    Ok(places)
}

/// Gives a payload the checksum that its records have.
fn sign(payload: &mut [u8]) {
    let records = Header::read_from_prefix(payload).map_or(0, |(header, _)| header.record_bytes);
    let records = payload.get(..records as usize).unwrap_or_default();
    let sum = record_checksum(records);
    put(payload, CHECKSUM_AT, sum.to_le_bytes());
}

/// Flips a bit.
fn flip(payload: &mut [u8], at: usize, bit: u64) {
    if let Some(byte) = payload.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

/// Changes a field.
fn put<const N: usize>(payload: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = payload.get_mut(at..at + N) {
        place.copy_from_slice(&value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_payload_has_the_sum_of_its_records() {
        let mut payload = vec![7; 400];
        put(&mut payload, RECORD_BYTES_AT, 304_u64.to_le_bytes());
        sign(&mut payload);
        let sum = record_checksum(&payload[..304]);
        assert_eq!(payload[CHECKSUM_AT..CHECKSUM_AT + 8], sum.to_le_bytes());
        flip(&mut payload, 100, 3);
        assert_ne!(record_checksum(&payload[..304]), sum);
    }
}
