//! The other end of the channel: rings the one that is to be started again, and restarts it when it asks.

use guest_runtime::channel::Channel;
use guest_runtime::{gic, layout, manage, sysreg, timer};

/// Order: ring.
pub const RING: u32 = 1;
/// Order: ring, then restart.
pub const RESTART: u32 = 2;

/// Time between two looks.
const PAUSE_NS: u64 = 500_000;
/// Most partitions that there are.
const MOST: u64 = 64;

/// Asks the partner for something in a life.
pub fn ask(order: u32, life: u32) {
    let word = u64::from(order) << 32 | u64::from(life);
    // SAFETY: the first word of the memory is this guest's word to its partner.
    unsafe { (crate::shared() as *mut u64).write_volatile(word) };
    sysreg::dsb();
}

/// Returns how many lives the partner has ended by an order that was accepted.
pub fn restarts() -> u64 {
    // SAFETY: as for writing it.
    unsafe { (crate::shared() as *const u64).add(1).read_volatile() }
}

/// Does what is asked, for ever. An order holds for the life that gave it.
pub fn serve(channel: &Channel) -> ! {
    gic::init();
    gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
    let (mut last, mut restarts) = (0, 0);
    let whom = (0..MOST).find(|id| manage::info(*id).is_ok());
    loop {
        pause();
        // SAFETY: as for writing it.
        let word = unsafe { (crate::shared() as *const u64).read_volatile() };
        let (order, life) = ((word >> 32) as u32, word as u32);
        let peer = channel.peer();
        if order == 0 || life != peer.generation || !peer.runs {
            continue;
        }
        channel.ring();
        if order == RESTART
            && manage::ask(manage::RESTART, whom.unwrap_or(MOST)) == 0
            && last != life
        {
            (last, restarts) = (life, restarts + 1);
            // SAFETY: the second word of the memory is this guest's word to its partner.
            unsafe {
                (crate::shared() as *mut u64)
                    .add(1)
                    .write_volatile(restarts)
            };
        }
    }
}

fn pause() {
    timer::set_virtual(timer::now() + timer::ns_to_ticks(PAUSE_NS));
    sysreg::wfi();
    timer::stop_virtual();
    let intid = gic::acknowledge();
    if intid < 1020 {
        gic::end(intid);
    }
}
