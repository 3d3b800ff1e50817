//! Two partitions that check what a channel between them promises. The table gives them `talk`, that both write, and
//! `show`, that side 0 alone writes.
//!
//! Side 0 runs the tests, one line each; side 1 does what the messages of side 0 ask for ([`partner`]), so it serves as an
//! echo for other programs too, such as the tool for Linux.
#![no_std]
#![no_main]

mod bell;
mod partner;
mod tester;

use guest_runtime::{channel, entry, exception, gic, mmu, println, smccc, suite, sysreg};

entry!(main);

fn main() -> ! {
    mmu::enable();
    let Some(talk) = channel::find("talk") else {
        println!("FAIL channel: the table gives this partition no channel `talk`");
        smccc::system_off()
    };
    let stale = gic::read_bit(gic::ISPENDR, talk.intid);
    gic::init();
    exception::set_irq_handler(bell::on_interrupt);
    gic::enable(talk.intid, 0x80);
    sysreg::unmask_irqs();
    if talk.side == 1 {
        partner::serve(talk, stale)
    }
    suite::run(&[tester::TESTS])
}
