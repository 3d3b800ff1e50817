//! The physical GIC's frames: found by the tree, matched with CPUs by affinity, mapped.

use super::refuse;
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::mmu::{self, Kind, Tables, Window};
use crate::hw::gic::{Distributor, PAGE, Redistributor};
use crate::hw::gicv3::{PIDR2, frame_type, is_gicv3};
use crate::hw::{gich, gicv2};
use bulkhead::addr::{HostPhysAddr, HypVirtAddr, PAGE_BYTES, Range};
use bulkhead::board::{Gic, GicVersion};
use bulkhead::ids::Mpidr;

/// Offset of the SGI and PPI frame in a redistributor.
const PRIVATE_FRAME: u64 = 0x1_0000;
/// Bytes through which some boards repeat a page of GICv2's.
const MIRRORED_BYTES: u64 = 0x1_0000;
/// Redistributors that are looked at, so that a broken `GICR_TYPER.Last` cannot keep us.
const MOST: usize = 512;

/// Maps the distributor, and with GICv2 the interfaces, which all pCPUs have at the same places.
pub fn distributor(tables: &mut Tables, gic: &Gic<'_>) -> Distributor {
    let hpa = HostPhysAddr(gic.distributor.start());
    match &gic.version {
        GicVersion::V3 { .. } => {
            let (base, registers) = map(tables, hpa);
            // SAFETY: mapped just now.
            if !unsafe { is_gicv3(HypVirtAddr(base.0 + PIDR2)) } {
                refuse(
                    "no GICv3 distributor answers at {}, where the device tree has it",
                    &[&hpa],
                );
            }
            // SAFETY: mapped just now, for good.
            Distributor::new(unsafe { Registers::new(base) }, Some(registers))
        }
        GicVersion::V2 {
            cpu, hypervisor, ..
        } => {
            let (base, registers) = map(tables, hpa);
            // SAFETY: mapped just now; of the identification registers.
            let answers = unsafe { gicv2::is_distributor(base) };
            if !answers {
                refuse(
                    "no GICv2 distributor answers at {}, where the device tree has it",
                    &[&hpa],
                );
            }
            interfaces(tables, base, *cpu, *hypervisor);
            Distributor::new(registers, None)
        }
    }
}

/// Maps GICv2's interfaces and has all pCPUs use them.
fn interfaces(tables: &mut Tables, distributor: HypVirtAddr, cpu: Range, hypervisor: Range) {
    let mut at = HostPhysAddr(cpu.start());
    let mut page = map_frame(tables, at, PAGE);
    // SAFETY: mapped just now.
    let seen = unsafe { gicv2::identify_interface(page) };
    if seen.is_none() {
        refuse(
            "no GICv2 CPU interface answers at {}, where the device tree has it",
            &[&at],
        );
    }
    if cpu.size() >= 2 * MIRRORED_BYTES {
        // Where each 4 KiB page is repeated through 64 KiB, the last copy has the second page behind it.
        let last = HostPhysAddr(at.0 + (MIRRORED_BYTES - PAGE_BYTES));
        let copy = map_frame(tables, last, PAGE);
        // SAFETY: mapped just now.
        if unsafe { gicv2::identify_interface(copy) } == seen {
            (at, page) = (last, copy);
        }
    }
    let deactivation = map_frame(tables, HostPhysAddr(at.0 + PAGE_BYTES), PAGE);
    let control = HostPhysAddr(hypervisor.start());
    let frame = map_frame(tables, control, PAGE);
    // SAFETY: mapped just now; a read of its type changes nothing.
    if !unsafe { gich::answers(frame) } {
        refuse(
            "no GICv2 virtual interface answers at {}, where the device tree has it",
            &[&control],
        );
    }
    // SAFETY: all are mapped for good, and this pCPU is the only one that runs.
    unsafe {
        gich::use_frame(frame);
        gicv2::use_frames(distributor, page, deactivation);
    }
}

/// Returns where the board has the CPU interface that guests use, when that is memory: a page that holds all of it but
/// `GICV_DIR`, which EL2 emulates.
pub fn guest_interface(gic: &Gic<'_>) -> Option<HostPhysAddr> {
    match &gic.version {
        GicVersion::V3 { .. } => None,
        GicVersion::V2 { virtual_cpu, .. } => Some(HostPhysAddr(virtual_cpu.start())),
    }
}

/// Finds and maps the redistributor of a CPU; with GICv2 it is a part of the distributor.
pub fn redistributor(
    tables: &mut Tables,
    window: &mut Window,
    gic: &Gic<'_>,
    distributor: Distributor,
    mpidr: Mpidr,
) -> Redistributor {
    let GicVersion::V3 {
        redistributors,
        stride,
    } = &gic.version
    else {
        return distributor.banked();
    };
    for region in redistributors {
        if !mmu::is_physical(HostPhysAddr(region.last())) {
            refuse(
                "the CPU has no address {x}, where the device tree has a redistributor of the GIC",
                &[&region.last()],
            );
        }
        let mut frame = region.start();
        for _ in 0..MOST {
            if frame + 2 * PRIVATE_FRAME - 1 > region.last() {
                break;
            }
            let identification = HostPhysAddr(frame + PIDR2);
            // SAFETY: device registers or nothing; reading them changes nothing, and nothing is an answer too.
            let answers = unsafe {
                window.with_device_page(identification, |page| {
                    is_gicv3(HypVirtAddr(page.0 + PIDR2 % PAGE_BYTES))
                })
            };
            if !answers {
                refuse(
                    "no GICv3 redistributor answers at {x}, where the device tree has one",
                    &[&frame],
                );
            }
            // SAFETY: a redistributor is here; reading `GICR_TYPER` changes nothing.
            let found = unsafe {
                window
                    .with_device_page(HostPhysAddr(frame), |page| frame_type(Registers::new(page)))
            };
            if found.mpidr == mpidr {
                let (_, control) = map(tables, HostPhysAddr(frame));
                let (_, private) = map(tables, HostPhysAddr(frame + PRIVATE_FRAME));
                return Redistributor::new(Some(control), private);
            }
            if found.last {
                break;
            }
            frame += if *stride != 0 { *stride } else { found.stride };
        }
    }
    refuse(
        "the GIC has no redistributor for the CPU with MPIDR {}",
        &[&mpidr],
    );
}

/// Maps device registers, and returns where and what they are.
fn map<const BYTES: u32>(tables: &mut Tables, at: HostPhysAddr) -> (HypVirtAddr, Registers<BYTES>) {
    let base = map_frame(tables, at, BYTES);
    // SAFETY: mapped just now, for good.
    (base, unsafe { Registers::new(base) })
}

/// Maps device registers, and returns where.
#[inline(never)]
fn map_frame(tables: &mut Tables, at: HostPhysAddr, bytes: u32) -> HypVirtAddr {
    // SAFETY: the tree says that these are device registers; this is their one mapping.
    let mapped = unsafe { tables.map_next(at, bytes.into(), Kind::Device) };
    mapped.unwrap_or_else(|error| refuse("bulkhead cannot map the GIC: {}", &[&error]))
}
