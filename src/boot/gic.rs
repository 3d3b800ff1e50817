//! The physical GIC's frames: found by the tree, matched with CPUs by affinity, mapped.

use super::refuse;
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::mmu::{self, Kind, Tables, Window};
use crate::hw::gicv3::{DISTRIBUTOR_BYTES, Distributor, Redistributor, frame_type};
use bulkhead::addr::{HostPhysAddr, HypVirtAddr, PAGE_BYTES};
use bulkhead::board::{Gic, GicVersion};
use bulkhead::ids::Mpidr;

/// Offset of the SGI and PPI frame in a redistributor.
const PRIVATE_FRAME: u64 = 0x1_0000;
/// Redistributors that are looked at, so that a broken `GICR_TYPER.Last` cannot keep us.
const MOST: usize = 512;

/// Maps the distributor.
pub fn distributor(tables: &mut Tables, gic: &Gic<'_>) -> Distributor {
    Distributor::new(map(
        tables,
        HostPhysAddr(gic.distributor.start()),
        DISTRIBUTOR_BYTES,
    ))
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
        refuse(format_args!("the board has no GICv3"));
    };
    for region in redistributors {
        if !mmu::is_physical(HostPhysAddr(region.last())) {
            refuse(format_args!(
                "the CPU has no address {:#x}, where the device tree has a redistributor of the GIC",
                region.last()
            ));
        }
        let mut frame = region.start();
        for _ in 0..MOST {
            if frame + 2 * PRIVATE_FRAME - 1 > region.last() {
                break;
            }
            // SAFETY: the tree says that redistributors are here; reading `GICR_TYPER` changes nothing.
            let found = unsafe {
                window.with_device_page(HostPhysAddr(frame), |page| {
                    frame_type(Registers::new(page, PAGE_BYTES as u32))
                })
            };
            if found.mpidr == mpidr {
                let control = map(tables, HostPhysAddr(frame), PAGE_BYTES);
                let private = map(tables, HostPhysAddr(frame + PRIVATE_FRAME), PAGE_BYTES);
                return Redistributor::new(control, private);
            }
            if found.last {
                break;
            }
            frame += if *stride != 0 { *stride } else { found.stride };
        }
    }
    refuse(format_args!(
        "the GIC has no redistributor for the CPU with MPIDR {mpidr}"
    ));
}

/// Maps device registers.
pub fn map(tables: &mut Tables, at: HostPhysAddr, bytes: u64) -> Registers {
    // SAFETY: the tree says that these are device registers; this is their one mapping.
    let mapped = unsafe { tables.map_next(at, bytes, Kind::Device) };
    let base: HypVirtAddr = mapped
        .unwrap_or_else(|error| refuse(format_args!("bulkhead cannot map the GIC: {error:?}")));
    // SAFETY: mapped just now, for good.
    unsafe { Registers::new(base, bytes as u32) }
}
