//! Where nothing is: words of the GIC's frames without a register, and pages without memory or a device.

use guest_runtime::exception::catch;
use guest_runtime::mmio::Mmio;
use guest_runtime::smccc::is_hypervised;
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{esr, expect, gic, layout, skip, tests};

/// The tests of this module.
pub const TESTS: &[Test] = tests![a15_every_page_where_nothing_is_gets_an_abort];

/// Those that need a GICv3.
pub const V3_TESTS: &[Test] = tests![
    a5_every_hole_reads_as_zero_and_ignores_writes,
    a5_nothing_answers_between_and_behind_the_frames,
];

const FRAME: usize = 0x1_0000;
const PAGE: usize = 0x1000;

fn at(address: usize) -> Mmio {
    // SAFETY: a frame of the GIC, or an address where no memory of this guest is.
    unsafe { Mmio::new(address) }
}

fn a5_every_hole_reads_as_zero_and_ignores_writes() -> Outcome {
    if !is_hypervised() {
        skip!("the machine's own GIC answers as it likes");
    }
    crate::fresh_gic();
    let frames = [layout::GICD, layout::GICR, layout::GICR + gic::SGI_FRAME];
    for (number, base) in frames.into_iter().enumerate() {
        let frame = at(base);
        for offset in (0..FRAME).step_by(4).filter(|at| gic::is_hole(number, *at)) {
            let (value, fault) = catch(|| {
                let before = frame.read32(offset);
                frame.write32(offset, u32::MAX);
                before | frame.read32(offset)
            });
            expect!(
                fault.is_none() && value == 0,
                "the hole at {:#x} reads as {value:#x}, fault {fault:x?}",
                base + offset
            );
        }
    }
    crate::fresh_gic();
    Ok(())
}

/// Says whether loads and stores of 32 and 64 bits are refused, each with a data abort.
fn refuses(address: usize) -> bool {
    let place = at(address);
    let refused = |fault: Option<guest_runtime::exception::Fault>| {
        fault.is_some_and(|fault| esr::class(fault.esr) == esr::EC_DATA_ABORT)
    };
    refused(catch(|| place.read32(0)).1)
        && refused(catch(|| place.read64(8)).1)
        && refused(catch(|| place.write32(0, u32::MAX)).1)
        && refused(catch(|| place.write64(8, u64::MAX)).1)
}

fn a5_nothing_answers_between_and_behind_the_frames() -> Outcome {
    if !is_hypervised() {
        skip!("the machine has other devices there");
    }
    let end = layout::GICR + gic::redistributor_affinities().count() * layout::GICR_STRIDE;
    let before = layout::GICD - PAGE..layout::GICD;
    let between = layout::GICD + FRAME..layout::GICR;
    let behind = end..end + 16 * layout::GICR_STRIDE;
    for page in [before, between, behind]
        .into_iter()
        .flat_map(|pages| pages.step_by(PAGE))
    {
        expect!(
            refuses(page) && refuses(page + PAGE - 16),
            "something answers at {page:#x}"
        );
    }
    Ok(())
}

/// Says whether this guest has something in a page of the first GiB.
fn is_own(page: usize) -> bool {
    let redistributors = gic::redistributor_affinities().count() * layout::GICR_STRIDE;
    let gic = match gic::is_v2() {
        // Boards may mirror its pages.
        true => [layout::GICD..layout::GICD + 4 * FRAME, 0..0],
        false => [
            layout::GICD..layout::GICD + FRAME,
            layout::GICR..layout::GICR + redistributors,
        ],
    };
    gic.iter().any(|range| range.contains(&page)) || page == layout::UART
}

fn a15_every_page_where_nothing_is_gets_an_abort() -> Outcome {
    if !is_hypervised() {
        skip!("the machine has other devices there");
    }
    // Each page about the devices, and of the rest of what lies below RAM one in sixteen.
    let devices = layout::GICD - 16 * FRAME..layout::GICD + (32 << 20);
    let pages = (0..layout::RAM)
        .step_by(FRAME)
        .chain(devices.step_by(PAGE))
        .filter(|page| !is_own(*page));
    for page in pages {
        let place = at(page);
        let (_, fault) = catch(|| place.read32(0));
        expect!(
            fault.is_some_and(|fault| esr::class(fault.esr) == esr::EC_DATA_ABORT),
            "something answers at {page:#x}"
        );
    }
    Ok(())
}
