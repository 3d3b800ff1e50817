//! The physical GIC's frames: found by the tree, matched with CPUs by affinity, mapped.

use super::refuse;
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::mmu::{self, Kind, Tables, Window};
use crate::hw::gicv3::{Distributor, PIDR2, Redistributor, frame_type, is_gicv3};
use bulkhead::addr::{HostPhysAddr, HypVirtAddr, PAGE_BYTES};
use bulkhead::board::{Gic, GicVersion};
use bulkhead::ids::Mpidr;

/// Offset of the SGI and PPI frame in a redistributor.
const PRIVATE_FRAME: u64 = 0x1_0000;
/// Redistributors that are looked at, so that a broken `GICR_TYPER.Last` cannot keep us.
const MOST: usize = 512;

/// Maps the distributor.
pub fn distributor(tables: &mut Tables, gic: &Gic<'_>) -> Distributor {
    let hpa = HostPhysAddr(gic.distributor.start());
    let (base, registers) = map(tables, hpa);
    // SAFETY: mapped just now.
    if !unsafe { is_gicv3(HypVirtAddr(base.0 + PIDR2)) } {
        refuse(
            "no GICv3 distributor answers at {}, where the device tree has it",
            &[&hpa],
        );
    }
    Distributor::new(registers)
}

/// Finds and maps the redistributor of a CPU.
pub fn redistributor(
    tables: &mut Tables,
    window: &mut Window,
    gic: &Gic<'_>,
    mpidr: Mpidr,
) -> Redistributor {
    let GicVersion::V3 {
        redistributors,
        stride,
    } = &gic.version
    else {
        refuse("the board has no GICv3", &[]);
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
                return Redistributor::new(control, private);
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
fn map_frame(tables: &mut Tables, at: HostPhysAddr, bytes: u32) -> HypVirtAddr {
    // SAFETY: the tree says that these are device registers; this is their one mapping.
    let mapped = unsafe { tables.map_next(at, bytes.into(), Kind::Device) };
    mapped.unwrap_or_else(|error| refuse("bulkhead cannot map the GIC: {}", &[&error]))
}
