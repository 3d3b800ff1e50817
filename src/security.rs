//! The threat model: what is protected, from whom, on what trust, and what is not defended.
//!
//! # What is protected
//!
//! | asset | promise |
//! | --- | --- |
//! | EL2: its code, data, registers | no guest reads, changes, stops or crashes it |
//! | a partition's memory and registers | no other partition reads or changes them, in this life of the partition or after it |
//! | a partition's time | who is more urgent waits for nobody less urgent beyond the bounds that `cargo xtask check` prints |
//! | a partition's interrupts and devices | nobody else sees, raises, masks or ends them |
//! | the board: firmware, power, other devices | no guest reaches them but by what the table passes through |
//!
//! # From whom
//!
//! A guest is hostile from its first instruction: any code at EL1 and EL0, on all of its vCPUs at once, with all calls and
//! all devices that its table gives it, restarting itself as often as it likes. Several may conspire, over channels and
//! over time. Typed input and the board's devices that a guest owns are as hostile as it is.
//!
//! # What is trusted
//!
//! * **Firmware** (EL3, boot loader): it enters EL2 with an image as it was built, answers PSCI, and keeps to its memory.
//! * **The board's device tree**: it says what is there. A damaged one is refused or starts, and never ends in a panic, but
//!   one that lies about memory or devices is believed where EL2 cannot look.
//! * **The partition table** and who wrote it: what it grants is granted. `cargo xtask check` says in words what a table
//!   shares; `manages` gives one partition power over others, `devices` what a device can do.
//! * **Devices that master the bus**: nothing confines their DMA without an SMMU in use, which version 1 has not. A partition
//!   with such a device can reach all memory by it; `check` warns in words.
//! * **The CPU and its caches** do what the architecture says, but for the errata that are listed in the binary's `errata`.
//!
//! # What is not defended
//!
//! * **Timing of shared hardware**: caches, TLBs, memory bandwidth and interconnects are shared; one guest can slow another
//!   by them and learn what it does. Bounds are counts of instructions at EL2, and the board's costs are measured with
//!   whatever load the one who measures puts on.
//! * **How long EL2 works for a guest**: it can tell by the virtual count, and in cycles by its cycle counter, which counts at
//!   EL2 as well if the guest asks: on CPUs before PMUv3p5 EL2 cannot forbid that without a trap at each access, on others
//!   the table's `counts_el2` allows it. The counter is switched with the vCPU and starts anew with it, so it shows EL2's work
//!   while this vCPU has the pCPU, interrupts of others among it, and nothing of another vCPU's time.
//! * **Speculation**: no speculation past the return to a guest (a barrier stands behind every ERET), and guests get the
//!   firmware's workarounds for branch prediction by SMCCC where the firmware has them. EL2 itself is not shielded from
//!   branches that a guest trained; it keeps no memory of guests mapped that could be read so, and no secret but the
//!   registers of vCPUs. Cortex-A72's speculative address translation (erratum 1319367) has no workaround yet.
//! * **Physical access**: probes, fault injection, cold boot. RAM is not encrypted.
//! * **A guest that harms itself**: its own memory, its own vCPUs, its own devices.
//! * **Denial on the console**: the line is shared; each partition gets its turn of it, and a guest that writes without end
//!   gets the share that is left. What a guest prints is escaped nowhere: a terminal that obeys control sequences obeys
//!   those of every guest.
//! * **Less urgent than a partition without a budget**: it may get no time at all; `check` says so.
//! * **Non-maskable stops**: a board's watchdog or firmware that takes a CPU away.
//!
//! # Claims, and where each is tested
//!
//! The numbers are rows of `tests/rows.toml`; `cargo xtask test --rows` prints the tests that answer each, read off the
//! tests' names, and the gate `rows` fails for a row that has none.
//!
//! | claim | how | rows |
//! | --- | --- | --- |
//! | no instruction of a guest stops or crashes EL2 | total decoders, deny by default, [`crate::trap::policy`] | a1 a2 a3 a5 a6 a7 a10 a11 a15 a22 a23 a24 |
//! | nothing of newer CPU features leaks or is shared | identification by list, traps by default | a2 a3 a9 a25 |
//! | registers of one vCPU never reach another | one list of what is switched, one of what traps | a9 a13 a25 a27 |
//! | memory of one partition never reaches another | stage 2 by VMID, one ledger, zeroed at every restart, [`crate::stage1`] | a4 a15 a18 a20 a21 a28 |
//! | nothing of a guest's reaches the firmware | SMC is answered at EL2 | a26 |
//! | a guest's interrupts are its own, and none is lost | one owner an INTID, the model in [`crate::vgic`] | a8 a16 b1 b2 b3 b4 b5 b6 b7 b8 b9 b10 b11 b12 b13 b14 |
//! | no guest makes a more urgent one wait beyond the bound | priorities at the physical GIC, work in pieces, bounded locks | a12 a14 a16 a19 |
//! | a life leaves nothing to the next | reset values, zeroed memory, fresh models | a18 a20 a28 |
//! | speculation ends where a guest begins | a barrier behind ERET | a17 |
//! | what a guest may rely on holds | the contract's own tests | c |
//!
//! EL2's own shape is tested from outside: `start-own-map` (nothing writable is executable, no guest is mapped),
//! `secrets` (nothing of a guest's registers, memory or seeds is in log or trace), `sections` (no writable table of functions), `start-stack-overflow` (a hole below every stack), `start-crash` (last words, all pCPUs stop), `start-bad-tree`,
//! `start-other-board` and `start-flipped-bits` (what is refused, and how), `same-bytes` (one image for all tables). Faults of
//! the board end as written in `start-deaf-console` (a UART that never drains), `start-spurious-storm` (interrupts that nobody
//! owns are turned off as they come), `start-missing-cpu` (a CPU that does not come up), `start-bad-payload` and
//! `start-flipped-payload` (a payload that arrived damaged).
#![forbid(unsafe_code)]
