//! A machine for random tests: several pCPUs with a physical GIC, and partitions whose vCPUs share the pCPUs. What EL2 does is
//! cut where it does not hold a lock, and the pieces of different pCPUs come in any order: an interrupt that is acknowledged
//! and not in a model yet, a write whose effects have yet to reach the physical GIC, a call that is on its way, a guest that
//! goes on in its list registers all the while.
//!
//! [`World`](super::world::World) has one partition, each vCPU on a pCPU of its own, and does one thing at a time; what it
//! compares is exact. Here the [`Ledger`] says what must come of an interrupt and what may, in any order.
//!
//! # What is promised
//! * After each event: no INTID is in two list registers, none is another partition's, and who touches the physical GIC
//!   touches its own interrupts.
//! * When all is settled: the shown states are those of the ledger, and the physical GIC's are those that the model takes
//!   them for: enabled, active, routed with the priority of who takes it, and triggered.
//! * At the end, when guests take and end all that comes: nothing that could be delivered is left pending, and every
//!   interrupt can come again.
//!
//! # What it leaves out
//! * Priorities of the physical GIC, but for whose each is: each interrupt that is routed to a pCPU is heard there.
//! * A pCPU that acknowledged an interrupt takes it to its model before the partition has been torn down and loaded anew:
//!   the one is some hundred instructions, the other some hundred thousand.

mod checks;
mod el2;
mod events;
mod gic;
mod guest;
mod ledger;
mod life;
mod pcpu;

pub use events::{Event, KINDS, Shape};

use super::super::{CpuInterface, SpiBank, Vgic};
use gic::Gic;
use ledger::Ledger;
use life::Life;
use pcpu::{Activity, Pcpu, Vcpu, Who};

/// Interrupts that a partition has beside its SGIs: those that are emulated, and the timer's.
const TIMER: u16 = 27;
const PRIVATE_LINE: u16 = 30;
const SHARED_LINE: u16 = 32;
const BELL: u16 = 33;
/// SPIs with hardware behind them, by partition: of two banks, even ones level-sensitive.
const HARDWARE: [[u16; 4]; 2] = [[40, 41, 42, 73], [44, 45, 46, 75]];
/// Most vCPUs of a partition.
pub const MOST_VCPUS: usize = 4;

/// A partition.
struct Part {
    vgic: Vgic<'static>,
    vcpus: Vec<Vcpu>,
    life: Life,
    ledger: Ledger,
    /// Its guests split their end of interrupt.
    split: bool,
}

/// All of it.
pub struct Machine {
    gic: Gic,
    parts: Vec<Part>,
    pcpus: Vec<Pcpu>,
    v2: bool,
    /// As in [`Shape::narrow`].
    narrow: bool,
}

impl Machine {
    pub fn new(shape: &Shape) -> Self {
        let pcpus = shape.pcpus;
        let mut machine = Self {
            gic: Gic::new(pcpus),
            parts: Vec::new(),
            pcpus: (0..pcpus)
                .map(|_| Pcpu::new(shape.list_registers))
                .collect(),
            v2: shape.v2,
            narrow: shape.narrow,
        };
        for (part, &vcpus) in shape.vcpus.iter().enumerate() {
            machine.add(part, vcpus, shape);
        }
        (0..machine.parts.len()).for_each(|part| machine.start(part));
        machine
    }

    /// Adds a partition whose vCPUs live on one pCPU after the other.
    fn add(&mut self, part: usize, vcpus: usize, shape: &Shape) {
        let interfaces = (0..vcpus).map(|_| CpuInterface::new()).collect();
        let interfaces = Vec::leak::<'static>(interfaces);
        let spis = Vec::leak::<'static>(vec![SpiBank::new(); 2]);
        let mut vgic = Vgic::new(interfaces, spis, shape.list_registers);
        if shape.v2 {
            vgic = vgic.into_gicv2();
        }
        assert!(vgic.own_ppi(TIMER, true) && vgic.own_ppi(PRIVATE_LINE, false));
        assert!(vgic.own_spi(SHARED_LINE, false, false) && vgic.own_spi(BELL, true, false));
        let home = |vcpu: usize| (vcpu + part) % shape.pcpus;
        for intid in HARDWARE[part] {
            let edge = intid & 1 != 0;
            assert!(vgic.own_spi(intid, edge, true));
            self.gic.give(intid, part, edge, home(0));
        }
        self.parts.push(Part {
            vgic,
            vcpus: (0..vcpus).map(|vcpu| Vcpu::new(home(vcpu))).collect(),
            life: Life::Loading,
            ledger: Ledger::default(),
            split: shape.split[part],
        });
    }

    fn vcpu(&mut self, who: Who) -> &mut Vcpu {
        &mut self.parts[who.part].vcpus[who.vcpu as usize]
    }

    /// Returns those that want to run of who lives on a pCPU.
    fn ready(&self, pcpu: usize) -> Vec<Who> {
        let mut ready = self.homes(pcpu);
        ready.retain(|who| {
            let vcpu = &self.parts[who.part].vcpus[who.vcpu as usize];
            vcpu.activity == Activity::Ready
        });
        ready
    }

    /// Returns who lives on a pCPU.
    fn homes(&self, pcpu: usize) -> Vec<Who> {
        let everyone = self.parts.iter().enumerate().flat_map(|(part, it)| {
            let vcpus = it.vcpus.iter().zip(0u8..);
            vcpus.map(move |(vcpu, number)| (vcpu.home, Who::new(part, number)))
        });
        everyone
            .filter(|(home, _)| *home == pcpu)
            .map(|(_, who)| who)
            .collect()
    }
}
