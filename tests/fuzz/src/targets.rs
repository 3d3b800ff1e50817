//! The targets.

mod board;
mod calls;
mod gic;
mod image;
mod payload;
mod pl011;
mod syndrome;
mod table;
mod tree;

use crate::Target;

/// All targets.
pub const TARGETS: [Target; 9] = [
    Target {
        name: "tree",
        about: "a board's device tree, read and asked for devices",
        run: tree::run,
        made: tree::seeds,
        longest: 8192,
    },
    Target {
        name: "table",
        about: "a partition table, compiled; what the host accepts EL2 accepts",
        run: table::run,
        made: table::seeds,
        longest: 20_000,
    },
    Target {
        name: "payload",
        about: "a payload's records, checked, compared with a board, placed",
        run: payload::run,
        made: payload::seeds,
        longest: 16_384,
    },
    Target {
        name: "image",
        about: "guest images: arm64 Image, plain, gzip and EFI; ELF",
        run: image::run,
        made: image::seeds,
        longest: 4096,
    },
    Target {
        name: "syndrome",
        about: "syndromes, decoded and answered, against a plain reading of the manual",
        run: syndrome::run,
        made: syndrome::seeds,
        longest: 64,
    },
    Target {
        name: "gic-map",
        about: "accesses to distributor and redistributors against a plain register file",
        run: gic::accesses,
        made: gic::access_seeds,
        longest: 1024,
    },
    Target {
        name: "gic-events",
        about: "interrupts, acknowledged and ended, against the interrupt state diagram",
        run: gic::events,
        made: gic::event_seeds,
        longest: 600,
    },
    Target {
        name: "calls",
        about: "PSCI, TRNG and our own calls of several vCPUs against a plain model",
        run: calls::run,
        made: calls::seeds,
        longest: 1024,
    },
    Target {
        name: "pl011",
        about: "the emulated UART against a plain model",
        run: pl011::run,
        made: pl011::seeds,
        longest: 1024,
    },
];
