//! Manages other partitions and checks what it may, what it may not, and what comes of it. A partition that manages nobody
//! checks that it may nothing.
//!
//! The table has these partitions beside it, in any order: `victim`, the guest of that name with a watchdog of 20 ms that
//! restarts it, `on_fault = "restart"`, and a channel to this one; `dormant`, the guest `hello`, which does not start with
//! the system; and one that it does not manage. It manages itself too. Where it manages `crowd`, it does nothing but stop
//! and start that one; where it manages `half` and `gone`, a pCPU of theirs is missing.
#![no_std]
#![no_main]

mod calls;
mod crowd;
mod missing;
mod outsider;
mod pages;
mod team;

use guest_runtime::{channel, entry, manage, mmu, println, suite};

entry!(main);

fn main() -> ! {
    mmu::enable();
    if manage::ask(manage::LIST, 0) == manage::DENIED {
        suite::run(&[outsider::TESTS]);
    }
    if team::number(crowd::NAME).is_some() {
        suite::run(&[crowd::TESTS]);
    }
    if team::number(missing::HALF).is_some() {
        suite::run(&[missing::TESTS]);
    }
    let first_life = channel::number(0).is_some_and(|channel| channel.own().generation == 1);
    if first_life {
        // What the second life sees is that this one was ended by its own call.
        println!("restarts itself");
        let own = manage::call(manage::LIST, [0; 2])[3];
        let result = manage::ask(manage::RESTART, own);
        println!("FAIL c_restart_of_oneself: it came back with {result}");
    }
    suite::run(&[calls::TESTS, pages::TESTS]);
}
