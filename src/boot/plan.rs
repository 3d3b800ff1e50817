//! Whether the table fits the board, and where everything goes. Every violation is printed.

use super::inputs::Inputs;
use super::{not_started, refuse};
use crate::arch::aarch64::mmu;
use crate::arch::aarch64::sysreg::read;
use crate::panic::say;
use bulkhead::addr::{HostPhysAddr, Range};
use bulkhead::board::Conduit;
use bulkhead::config::placement::{self, Ground};
use bulkhead::config::verify::{Actual, console_pcpu, pcpu_of, verify};
use bulkhead::ids::{MAX_PCPUS, Mpidr, PcpuId};
use bulkhead::message::{Escaped, Show};
use bulkhead::sched::MAX_SLOTS;

/// Most pieces of memory that one system can have, EL2's pool included.
const MAX_PLACES: usize = 160;
/// INTIDs that a distributor can have at most.
const INTID_END: u32 = 1020;

/// What start-up decided.
pub struct Plan {
    /// Where EL2's pool goes, then every partition's regions in table order, then the channels' memory.
    places: [u64; MAX_PLACES],
    /// Bytes of the pool.
    pub pool_bytes: u64,
    /// Bit n: the table uses pCPU n, or it serves the console.
    pub pcpus: u32,
    /// The pCPU that runs this.
    pub here: PcpuId,
}

impl Plan {
    /// Returns where EL2's pool goes.
    pub fn pool(&self) -> HostPhysAddr {
        let [pool, ..] = self.places;
        HostPhysAddr(pool)
    }

    /// Says whether the table leaves the pCPU unused that runs this.
    pub fn leaves_this_one(&self) -> bool {
        self.pcpus & 1 << self.here.0 == 0
    }

    /// Returns where every partition's regions go, in table order, then the channels' memory.
    pub fn regions(&self) -> impl Iterator<Item = HostPhysAddr> + '_ {
        self.places.iter().skip(1).copied().map(HostPhysAddr)
    }
}

/// What came of comparing the table with the board.
pub struct Checked {
    /// See [`Plan::pcpus`].
    pcpus: u32,
    /// See [`Plan::here`].
    here: PcpuId,
    /// What was printed.
    violations: usize,
}

/// Compares the table with the board, and prints what does not fit.
// Not inlined: its frame is gone when memory is placed, as that one's is when the system is built.
#[inline(never)]
pub fn check(inputs: &Inputs) -> Checked {
    let Inputs {
        payload,
        board,
        tree,
        ..
    } = inputs;
    let mpidr = Mpidr::from_raw(read::mpidr_el1());
    let Some(here) = board.pcpu_of(mpidr) else {
        refuse(
            "the device tree has no CPU with this one's MPIDR {}",
            &[&mpidr],
        );
    };
    let actual = Actual {
        board,
        tree,
        boot_cpu: Some(mpidr),
        intid_end: INTID_END,
        image: image_range(inputs),
    };
    let mut violations = verify(payload, &actual, &mut |mismatch| {
        say("refused: {}", &[&mismatch])
    });
    violations += silent_console(inputs);
    let pcpus = used_pcpus(inputs);
    let others = pcpus & !(1 << here.0);
    if others != 0 && board.psci.is_some_and(|psci| psci.conduit == Conduit::Hvc) {
        say(
            "refused: the board's PSCI wants HVC, which cannot be called from EL2 (QEMU: virtualization=on makes it SMC)",
            &[],
        );
        violations += 1;
    }
    violations += crowded(inputs);
    Checked {
        pcpus,
        here,
        violations,
    }
}

/// Makes the plan, or refuses to start for what was found before and what does not fit into memory.
#[inline(never)]
pub fn make(inputs: &Inputs, checked: &Checked) -> Plan {
    let Checked { pcpus, here, .. } = *checked;
    let payload = &inputs.payload;
    let others = pcpus & !(1 << here.0);
    let stacks = others.count_ones() as usize;
    // One that the table leaves unused may have to serve the console.
    let pool_bytes = placement::pool_bytes(payload, stacks + 1, stacks);
    // Where it is returned, so that the places are not moved.
    let mut plan = Plan {
        places: [0; MAX_PLACES],
        pool_bytes,
        pcpus,
        here,
    };
    let violations = checked.violations + place(inputs, pool_bytes, &mut plan.places);
    if violations > 0 {
        not_started(violations);
    }
    plan
}

/// Places memory on the board as it is.
fn place(inputs: &Inputs, pool_bytes: u64, places: &mut [u64]) -> usize {
    let Some(hypervisor) = image_range(inputs) else {
        refuse(
            "the image and the payload do not fit behind {}",
            &[&inputs.image],
        );
    };
    let ground = Ground {
        memory: &inputs.board.memory,
        reserved: &inputs.board.reserved,
        hypervisor,
    };
    placement::place_shown(
        &ground,
        &|each| placement::each_demand(&inputs.payload, pool_bytes, each),
        places,
        &mut |violation| say("refused: {}", &[&violation]),
    )
}

/// Returns where the image with its payload lies.
fn image_range(inputs: &Inputs) -> Option<Range> {
    let payload = inputs.payload.header().total_bytes;
    let bytes = mmu::image_bytes().checked_add(payload)?;
    Range::new(inputs.image.0, bytes)
}

/// Reports a console that does not answer.
fn silent_console(inputs: &Inputs) -> usize {
    let console = inputs.board.console.as_ref();
    let Some((console, model)) = console.and_then(|it| Some((it, it.model()?))) else {
        let compatible = console.map_or("there is none", |console| console.compatible);
        say(
            "warning: the console is of no kind that bulkhead drives ({}): it stays silent, MEMORY_LOG holds what is said",
            &[&compatible],
        );
        return 0;
    };
    if inputs.uart.is_some() {
        return 0;
    }
    let values: [&dyn Show; 3] = [
        &model.name(),
        &console.registers.start(),
        &Escaped(console.node),
    ];
    say(
        "refused: no {} answers at {x}, where the device tree has the console {}",
        &values,
    );
    1
}

/// Returns the pCPUs that the table uses, as a mask.
fn used_pcpus(inputs: &Inputs) -> u32 {
    let console = console_pcpu(&inputs.board, &inputs.payload);
    let mut used = console.map_or(0, |pcpu| 1 << pcpu.0);
    inputs.payload.each_vcpu(&mut |_, vcpu| {
        used |= pcpu_of(&inputs.board, vcpu).map_or(0, |pcpu| 1 << pcpu.0);
    });
    used
}

/// Reports pCPUs with more vCPUs than fit.
fn crowded(inputs: &Inputs) -> usize {
    let mut counts = [0usize; MAX_PCPUS];
    inputs.payload.each_vcpu(&mut |_, vcpu| {
        let pcpu = pcpu_of(&inputs.board, vcpu);
        if let Some(count) = pcpu.and_then(|pcpu| counts.get_mut(usize::from(pcpu.0))) {
            *count += 1;
        }
    });
    let crowded = counts
        .iter()
        .enumerate()
        .filter(|(_, count)| **count > MAX_SLOTS);
    crowded
        .inspect(|(pcpu, count)| {
            say(
                "refused: pCPU {} has {} vCPUs, and {} fit",
                &[pcpu, *count, &MAX_SLOTS],
            )
        })
        .count()
}
