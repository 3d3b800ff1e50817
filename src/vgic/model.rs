//! What the virtual GIC is compared with: what surrounds it, and plain references that know no list registers. For tests,
//! and for the fuzz targets (feature `models`); in no image.
#![cfg_attr(not(test), allow(dead_code, reason = "tests use all of it"))]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fault of the model is a failed test"
)]

pub(super) mod interface;
#[cfg(test)]
pub(super) mod machine;
pub(super) mod map;
pub(super) mod reference;
pub(super) mod run;
mod senders;
mod turns;
mod words;
pub(super) mod world;

use run::{Event, Run};

/// Bytes of an event of [`replay_events`].
const EVENT_BYTES: usize = 4;
/// Most events, and most accesses, of one replay.
const LONGEST: usize = 400;

/// Lets what the bytes say happen to a virtual GIC and to the reference, and compares the two after each event: what is
/// signalled, what list registers hold, what registers read, and that at last nothing is lost. The first byte says how many
/// vCPUs (bits 1:0) and list registers (bits 3:2) there are, whether the guests split their end of interrupt (bit 4), and
/// whether kicks come late (bit 5), and whether it is a GICv2 (bit 6); each event has four bytes.
///
/// # Panics
/// The two differ.
pub fn replay_events(bytes: &[u8]) {
    let [first, events @ ..] = bytes else { return };
    let vcpus = usize::from(first & 3).clamp(1, 3);
    let list_registers = 1 + usize::from(first >> 2 & 3);
    let mut run = Run::of_version(vcpus, list_registers, first & 0x10 != 0, first & 0x40 != 0);
    let late = first & 0x20 != 0 && vcpus > 1;
    run.world.prompt = !late;
    for &[kind, vcpu, which, value] in events.as_chunks::<EVENT_BYTES>().0.iter().take(LONGEST) {
        run.step(Event {
            kind: kind % 29,
            vcpu: vcpu % 3,
            which,
            value,
        });
        run.check_list_registers();
        if late {
            if kind & 0x80 != 0 {
                run.settle();
            }
            continue;
        }
        run.check_exactly();
        if kind & 0x80 != 0 {
            run.check_registers();
        }
    }
    if !late {
        run.check_registers();
    }
    run.drain();
    if !late {
        run.check_registers();
    }
}

/// Makes the accesses that the bytes say to distributor and redistributors, at any offset, of any width, and compares what
/// is read with a register file that knows nothing but the map. The first byte says how many vCPUs there are (bits 2:0,
/// plus one); each access has eight bytes.
///
/// # Panics
/// The two differ.
pub fn replay_accesses(bytes: &[u8]) {
    let [first, accesses @ ..] = bytes else {
        return;
    };
    let mut file = map::Compared::new(1 + usize::from(first & 7));
    let accesses = accesses.as_chunks::<{ map::ACCESS_BYTES }>().0;
    for access in accesses.iter().take(LONGEST) {
        file.access(access);
    }
    file.compare_all();
}
