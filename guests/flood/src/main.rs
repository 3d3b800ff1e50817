//! Is refused a million times, in every way that may be told of: unknown calls by both conduits, registers that do not
//! exist, accesses to nothing, interrupts for nobody.
//!
//! It prints `refused N` every [`REPORT`] times, and `DONE` at the end.
#![no_std]
#![no_main]

use guest_runtime::exception::catch;
use guest_runtime::mmio::Mmio;
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::{entry, gic, layout, mmu, println, read_sysreg};

/// How often it is refused.
const TIMES: u64 = 1_000_000;
/// Refusals between two lines.
const REPORT: u64 = 250_000;

entry!(main);

fn main() -> ! {
    mmu::enable();
    gic::init();
    for time in 1..=TIMES {
        refuse(time);
        if time.is_multiple_of(REPORT) {
            println!("refused {time}");
        }
    }
    println!("DONE 0 passed 0 failed 0 skipped");
    smccc::system_off()
}

/// Asks for something that is not given.
fn refuse(time: u64) {
    // SAFETY: nothing is there.
    let hole = unsafe { Mmio::new(layout::DEVICE_HOLE) };
    match time % 16 {
        0 => {
            catch(|| hole.read32(0));
        }
        1 => {
            catch(|| hole.write32(0, 0));
        }
        2 => {
            catch(|| read_sysreg!("s3_0_c1_c2_0"));
        }
        3 => gic::write_sgi1r(1 << 40 | 1 << 16 | 0xffff),
        4..8 => {
            smccc::call(Conduit::Smc, 0x8200_0000 | time as u32 & 0xffff, [time; 3]);
        }
        8..12 => {
            smccc::call(Conduit::Hvc, 0x8600_8000 | time as u32 & 0xfff, [time; 3]);
        }
        _ => {
            smccc::call(Conduit::Hvc, 0x8300_0000 | time as u32 & 0xffff, [time; 3]);
        }
    }
}
