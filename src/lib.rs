//! Bulkhead: a bare-metal Type 1 hypervisor for embedded AArch64 boards. This page is the map of its architecture.
//!
//! # Shape
//!
//! EL2 is one package in two halves.
//!
//! * **This library is pure.** It knows what a GIC, a page table or a trap *means*, takes register values and returns
//!   values, contains no `unsafe` but for the lock in [`sync`], and is tested on the host. It has no heap and no floating point.
//! * **The binary (`main.rs`) touches hardware.** It exists on bare metal alone: start-up, vectors, drivers, and the few
//!   straight lines that carry out what the library decided.
//!
//! | layer | modules | may use |
//! | --- | --- | --- |
//! | words | [`addr`], [`atomic`], [`ids`], [`message`], [`regs`] | nothing |
//! | models | [`board`], [`config`], [`console`], [`device`], [`sched`], [`smccc`], [`stage1`], [`stage2`], [`trace`], [`trap`], [`uart`], [`vcpu`], [`vgic`], `random` (binary) | words |
//! | partitions | [`partition`], [`security`] (words alone: the threat model) | words, models |
//! | instruction set | `arch`: the only folder with `asm!`; knows no partitions | words, models |
//! | hardware | `hw`: registers of GIC, timer and UART; never policy; [`sync`]: the lock | words, models, `arch` |
//! | where both halves meet | `boot`, `run`, `pcpu`, `system`, `terminal`, `report`, `events`, `errata`, `panic` | all of the above |
//!
//! `scripts/layers.toml` says the same for the machine; `cargo xtask test --only layering` holds the code to it.
//!
//! What each model answers:
//!
//! | module | question |
//! | --- | --- |
//! | [`board`] | what the board's device tree says: memory, CPUs, GIC, timer, UART, PSCI |
//! | [`config`] | what the payload says ([`config::payload`]), whether it fits the board ([`config::verify`]), where everything goes in memory ([`config::placement`]) |
//! | [`stage1`] | whether EL2's own tables are sound |
//! | [`stage2`] | which tables turn a partition's addresses into the board's |
//! | [`sched`] | which vCPU runs on a pCPU, and when to look again |
//! | [`vgic`] | what a guest sees of its interrupt controller, and what the list registers hold |
//! | [`trace`] | what a pCPU did, as records in a ring, and how others read them |
//! | [`trap`] | what a guest just did, and what it gets for it |
//! | [`smccc`] | what a call by HVC or SMC means: PSCI, TRNG, our own calls |
//! | [`device`] | what an emulated device's registers read and do |
//! | [`uart`] | how the board's own UART is programmed |
//! | [`console`] | which byte goes to the UART next, and who gets a typed one |
//! | [`vcpu`] | which registers a vCPU has, and their values at its start |
//! | [`partition`] | what a partition is doing, and what follows when it stops |
//!
//! # Plan, then apply
//!
//! A pure function takes values and returns a plan; the binary applies it:
//! [`trap::syndrome::decode`] turns `ESR_EL2` into a [`trap::syndrome::Trap`], [`smccc::call`] a call into an
//! [`smccc::Outcome`], [`vgic::Vgic::refill`] the state of interrupts into list registers, [`config::placement`] demands
//! into addresses, [`stage2`] a mapping into descriptors and a [`stage2::Maintenance`]. So the rules are tested where
//! tests are cheap, and what cannot be tested there has no decisions in it. Where the order of memory accesses is the
//! point, a narrow trait stands at the seam ([`stage2::TableStore`]), generic, never `dyn`.
//!
//! # Start-up
//!
//! 1. `arch::aarch64::entry`: the loader enters the 64-byte arm64 `Image` header at EL2, anywhere on a 2 MiB boundary.
//!    Position-independent code maps the image at its linked address, turns the MMU and caches on, and drops the
//!    one-to-one map behind itself.
//! 2. `boot::inputs`: maps the payload, which follows the image, and the device tree, from x0 or from the start of RAM.
//!    [`config::payload::Payload::new`] and [`board::Board::read`] check every byte that is used later.
//! 3. `boot::plan`: [`config::verify`] compares the two, [`config::placement`] puts EL2's pool and every partition's memory
//!    where the board has room. Every violation is printed, `bulkhead| refused: ...`, and nothing starts.
//! 4. `boot::build`: carves stage-2 tables, vGICs, vCPUs and stacks out of the pool. After it nothing is allocated any
//!    more.
//! 5. `boot::audit`: walks EL2's own tables as they came out: nothing is writable and executable, nothing but the text is
//!    executable, no guest's memory is mapped. `bulkhead| memory: ...` says how much was walked.
//! 6. `boot::pcpus`: starts the other pCPUs by PSCI CPU_ON, or by a spin table; each sets up its own registers in
//!    `boot::enter` and goes to `run::start`.
//! 7. `run::loading`: each partition's images are copied, in pieces of a page, as the work of its own vCPU 0 at that
//!    vCPU's priority: an urgent partition runs while a less urgent one is still being loaded. A restart takes the same
//!    way, after all memory was zeroed. A tear-down goes in pieces too (`run::lifecycle`), at the priority of the vCPU that
//!    left last.
//!
//! # The life of a trap
//!
//! While a guest runs, `SP_EL2` points at its [`vcpu::Context`].
//!
//! 1. The vector stores the general registers there and takes the pCPU's empty stack (`arch::aarch64::vectors`).
//! 2. `run::traps` (or `run::interrupts`) finds the pCPU's state by `TPIDR_EL2`, decodes the syndrome and carries out the
//!    answer: emulate and step over, inject an exception, block the vCPU, tell another pCPU.
//! 3. `Pcpu::resume_by_loop` (`run::schedule`) looks after what others asked (the mailbox), and returns to the same vCPU at
//!    once unless somebody set `reschedule`. Otherwise it charges who ran and opens the time window ([`sched::Limits`], where
//!    the table has budgets or windows), wakes whose deadline has passed, asks [`sched::RunQueue`] for the most urgent,
//!    sets the interrupt mask to its priority and takes what an earlier mask held back, switches registers (`run::world`),
//!    and arms EL2's timer for what may interrupt it.
//! 4. `Pcpu::enter` refills the list registers if they were folded into the model, and the vector's tail loads the context
//!    and executes ERET.
//!
//! Short cuts exist where they are worth it and a test shows the same result: an interrupt of the running vCPU goes
//! straight into a free list register when nothing stands in its way; and one round of the loop between two vCPUs that have
//! nothing unusual about them is `run::handover`.
//!
//! Every trap ends this way: no EL2 thread, no nested trap, no stack that outlives it. An exception taken *from* EL2 is our
//! own bug and ends in `panic`.
//!
//! # Who may touch what
//!
//! * A pCPU's state (`pcpu::Pcpu`: vCPUs, run queue, deadlines, copy window) belongs to that pCPU alone; there is no lock.
//! * Others reach it by its mailbox (`system::Mailbox`): set a bit for a slot, and send SGI 0 if the pCPU runs nobody more
//!   urgent than that slot and was not called already ([`sched::mail`]). The pCPU
//!   compares the slot with its partition's state and does what has become due. SGI 1 stops a pCPU after a panic.
//! * A partition's shared state (vGIC, UART, power states, lifecycle) lies under one [`sync::Lock`],
//!   `system::Partition::state`.
//! * The output of a partition is a ring with one producer, under that lock, and one consumer, the console's server.
//!
//! ## Locks
//!
//! All are a [`sync::Lock`]: a wait is bounded by a number of holds of others that the number of pCPUs gives.
//!
//! | lock | holds | longest hold |
//! | --- | --- | --- |
//! | `system::Partition::state` | one partition's shared state | a piece of a refill of the list registers: four are compared, or two are filled |
//! | `system::System::random` | the random generator | one page of seeds |
//! | `system::System::triggers` | the trigger of an interrupt, since sixteen share a register | one read and one write |
//! | `terminal::Shared::events` | health events that wait to be shown | one event |
//! | `terminal::Shared::waiting` | the console's server, until the pCPU that serves takes it | one look |
//!
//! **Nobody holds two**, so there is no order among them, but for `triggers`: it is taken with a partition's lock held, for each
//! of three interrupts at most, and nothing is taken with it held. All are taken with interrupts masked, for EL2 always runs so,
//! and none is held while a guest runs.
//!
//! # EL2's addresses
//!
//! One gigabyte, the last of 39 bits, at the image's linked address `0x7f_c000_0000`; `HCR_EL2.E2H` = 0.
//!
//! | offset | what | how |
//! | --- | --- | --- |
//! | 0 | the image: text, constants, data, the first stack with a hole below | text read-only and executable, all else never executable |
//! | behind the image | the payload: partition table, images, guests' trees | pages and blocks, read-only |
//! | 1016 MiB | device registers, copy windows, stacks; a hole before each | pages |
//! | 1018 MiB | the start-up pool | pages |
//! | 1022 MiB | the device tree | pages, read-only |
//!
//! Guest memory is not mapped: each pCPU has one page as a copy window, for loading alone.
//!
//! # Invariants
//!
//! * Nothing that a guest does panics EL2, makes it loop without bound, or makes it wait for a device.
//! * What a guest may do to the board is what stage 2 maps and what the vGIC forwards, both fixed at start-up.
//! * Nothing that a guest says is passed on to the firmware; two workarounds without arguments are done on a guest's call
//!   where the firmware has them ([`smccc::arch`]).
//! * A physical interrupt has one owner. Acknowledge, priority drop and deactivation are three acts: EL2 does the first
//!   two, the owner's end of interrupt the third.
//! * An interrupt has the priority of the vCPU that takes it, at the physical GIC too ([`sched::levels`]): while somebody
//!   more urgent runs it waits there, and so do calls of other pCPUs, EL2's deadlines and the console. What was held back
//!   is taken before anybody as urgent runs, and before the pCPU sleeps.
//! * An interrupt's state lives in the model; list registers are a cache of it, so evicting one loses nothing.
//! * A vCPU's timer deadline is kept while it is off its pCPU, and the active state of its timer interrupt goes with it.
//! * Two vCPUs of one partition that share a pCPU never see each other's translations.
//! * A partition that starts again finds its images fresh and all other memory zero.
//! * A channel's memory belongs to both of its sides and is never executable; it is zeroed once, at the first start of
//!   either. A partition that does not run is not rung.
//! * EL2's own bytes are the same for every partition table.
//!
//! # Decisions
//!
//! * **No parser of tables at EL2.** The host compiles the table to fixed records with offsets; EL2 checks and uses them in
//!   place. Changing a table needs no compiler.
//! * **One placement function**, run by the host for its report and by EL2 on the board as it is: the image does not depend
//!   on how much RAM there is.
//! * **A fixed virtual address** instead of relocation: no dynamic relocations to trust, and addresses in a backtrace are
//!   those of the ELF file.
//! * **Static pinning.** A vCPU never leaves its pCPU, so no scheduling decision takes a lock.
//! * **Rank order at start-up.** A pCPU's vCPUs are numbered by urgency once, so choosing is finding a bit.
//! * **Limits are beside the run queue**, not in it: a pCPU without budgets and windows has none and asks for none. Its
//!   queue holds those that may run, its tree of deadlines what may interrupt them; [`sched::limits`] keeps both so.
//! * **Softfloat.** EL2 never touches vector registers; the guest's go over at its first use, or eagerly by the table.
//! * **Text at least urgency.** What EL2 has to say is recorded as fixed-size events and put into words by the console's
//!   server; a polling print exists for refusals and last words alone.
//! * **No instruction fetch.** An access that the syndrome does not describe gets an external abort; EL2 never reads guest
//!   code.
//! * **Deny by default.** System registers that are not listed are UNDEFINED to a guest, ID-register fields that are not
//!   listed read as zero.
//! * **A trace costs nothing where there is none.** Traps are recorded by vectors of their own, which a pCPU with a ring
//!   takes; slow paths look once whether there is a ring.
//!
//! The decisions of a module stand in that module's documentation.
#![cfg_attr(not(any(test, loom, feature = "models")), no_std)]

pub mod addr;
pub mod atomic;
pub mod board;
pub mod config;
pub mod console;
pub mod device;
pub mod ids;
pub mod message;
pub mod partition;
pub mod regs;
pub mod sched;
pub mod security;
pub mod smccc;
pub mod stage1;
pub mod stage2;
pub mod sync;
pub mod trace;
pub mod trap;
pub mod uart;
pub mod vcpu;
pub mod vgic;
