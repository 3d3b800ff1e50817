//! The interrupt controller over world switches: settings, the timer's interrupt in every state, deadlines.

use crate::{ROUNDS, spin, wait};
use guest_runtime::gicv2::{GICC_BPR, GICC_CTLR, GICC_PMR, INTERFACE, SPLIT_END};
use guest_runtime::random::{below, random};
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::suite::{Outcome, Verdict};
use guest_runtime::{
    expect, expect_eq, gic, layout, println, read_sysreg, sysreg, timer, write_sysreg,
};

/// The virtual timer's interrupt: its physical active state is one bit of each CPU.
const TIMER: u32 = layout::VIRTUAL_TIMER_INTID;
/// Our own call: to the tail of one's priority.
const YIELD: u32 = 0x8600_0001;

/// Enables, priorities, and what the interface masks and how it ends are as they were after every wait.
pub fn settings_survive() -> Outcome {
    let frame = gic::bank(0);
    for _ in 0..ROUNDS / 10 {
        // With GICv2 SGIs are enabled for good.
        let for_good = if gic::is_v2() { 0xffff } else { 0 };
        let (enabled, priorities) = (
            random() as u32 & 0xffff | for_good,
            random() as u32 & 0xf8f8_f8f8,
        );
        frame.write32(gic::ICENABLER, 0xffff);
        frame.write32(gic::ISENABLER, enabled);
        frame.write32(gic::IPRIORITYR + 4, priorities);
        let drawn = Interface::draw();
        drawn.write();
        wait();
        let found = Interface::read();
        expect!(found == drawn, "{found:x?}, written was {drawn:x?}");
        expect_eq!(
            frame.read32(gic::ISENABLER) & 0xffff,
            enabled,
            "GICR_ISENABLER0"
        );
        expect_eq!(
            frame.read32(gic::IPRIORITYR + 4),
            priorities,
            "GICR_IPRIORITYR1"
        );
    }
    gic::init_cpu();
    gic::enable(TIMER, crate::PRIORITY); // for the tests that follow
    Ok(())
}

/// `ICC_PMR_EL1`, `ICC_BPR1_EL1`, `ICC_CTLR_EL1.EOImode`, `ICC_IGRPEN0_EL1`; of a GICv2 its mask, binary point, EOImode, and
/// the group that is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interface([u64; 4]);

impl Interface {
    /// Draws settings that let the timer's interrupt end a WFI.
    fn draw() -> Self {
        Self([0x48 + 8 * below(22), 3 + below(5), 2 * below(2), below(2)])
    }

    fn write(self) {
        let [mask, point, end, group0] = self.0;
        if gic::is_v2() {
            INTERFACE.write32(GICC_PMR, mask as u32);
            INTERFACE.write32(GICC_BPR, point as u32);
            let split = if end != 0 { SPLIT_END } else { 0 };
            INTERFACE.write32(GICC_CTLR, split | (group0 as u32) << 1 | 1);
            return;
        }
        // SAFETY: interrupts are masked at the CPU; nothing is active.
        unsafe {
            write_sysreg!("icc_pmr_el1", mask);
            write_sysreg!("icc_bpr1_el1", point);
            write_sysreg!("icc_ctlr_el1", end);
            write_sysreg!("icc_igrpen0_el1", group0);
        }
        sysreg::isb();
    }

    fn read() -> Self {
        if gic::is_v2() {
            let control = INTERFACE.read32(GICC_CTLR);
            return Self([
                gic::mask(),
                gic::binary_point(),
                if control & SPLIT_END != 0 { 2 } else { 0 },
                (control >> 1 & 1).into(),
            ]);
        }
        Self([
            read_sysreg!("icc_pmr_el1"),
            read_sysreg!("icc_bpr1_el1"),
            read_sysreg!("icc_ctlr_el1") & 2,
            read_sysreg!("icc_igrpen0_el1"),
        ])
    }
}

/// Lets the neighbour run: by its turn, by a wait for something else, or by the end of a time slice.
fn let_others_run() {
    match below(4) {
        0 => spin(),
        _ => {
            smccc::call(Conduit::Hvc, YIELD, [0; 3]);
        }
    }
}

/// Acknowledges the timer's interrupt, which must come; interrupts stay masked. Returns how long that took.
fn take_timer(round: u64) -> Result<u64, Verdict> {
    let begun = timer::now();
    let mut intid = gic::SPURIOUS;
    let came = timer::wait_until(timer::PATIENCE_NS, || {
        intid = gic::acknowledge();
        intid != gic::SPURIOUS
    });
    expect!(came, "round {round}: the timer's interrupt does not come");
    expect_eq!(intid, TIMER, "acknowledged INTID");
    Ok(timer::ticks_to_ns(timer::now() - begun))
}

/// Leaves the timer's interrupt active, or not, while the neighbour, who does the same, runs: what is active is this
/// vCPU's, stays so, and is over when it is ended. An interrupt that the neighbour left active would keep this vCPU's back
/// until one of them leaves the pCPU, so few may take long: the host stops a vCPU now and then.
pub fn active_state_is_own() -> Outcome {
    const LONG_NS: u64 = 200_000;
    let mut late = 0;
    for round in 0..ROUNDS / 2 {
        let leave_active = below(2) == 0;
        timer::set_virtual(timer::now());
        late += u64::from(take_timer(round)? > LONG_NS);
        timer::stop_virtual();
        if !leave_active {
            gic::end(TIMER);
        }
        let_others_run();
        let active = gic::read_bit(gic::ISACTIVER, TIMER);
        expect!(
            active == leave_active,
            "round {round}: active {active}, was left {leave_active}"
        );
        if leave_active {
            // While it is active its next occurrence has to wait.
            timer::set_virtual(timer::now());
            let_others_run();
            expect_eq!(gic::acknowledge(), gic::SPURIOUS, "INTID while active");
            gic::end(TIMER);
            take_timer(round)?;
            timer::stop_virtual();
            gic::end(TIMER);
        }
        let active = gic::read_bit(gic::ISACTIVER, TIMER);
        expect!(!active, "round {round}: active after its end");
    }
    println!("{late} of {} timer interrupts came late", ROUNDS / 2);
    expect!(
        late < ROUNDS / 2 / 10,
        "{late} of {} interrupts came late",
        ROUNDS / 2
    );
    Ok(())
}

/// SGIs that are sent: twice as many as most CPUs have list registers.
const SGIS: u32 = 8;

/// Leaves SGIs active and pending, now and then more than there are list registers, while the neighbour, who does the same, runs:
/// those that are so are this vCPU's, they come by their priorities, and no others do.
pub fn pending_and_active_are_own() -> Outcome {
    let set_priority = |sgi| gic::enable(sgi, crate::PRIORITY + 0x10 + 8 * sgi as u8);
    (0..SGIS).for_each(set_priority);
    for round in 0..ROUNDS / 2 {
        let active = one_or_two() & one_or_two();
        // The less urgent one first: the other one comes all the same.
        for sgi in bits(active).rev() {
            gic::send_sgi(sgi, sysreg::affinity());
            take(round, sgi)?;
        }
        let pending = match below(3) {
            0 => 0,
            1 => one_or_two(),
            _ => random() as u32 & ((1 << SGIS) - 1),
        };
        bits(pending).for_each(|sgi| gic::send_sgi(sgi, sysreg::affinity()));
        match pending == 0 && below(2) == 0 {
            true => wait(),
            false => let_others_run(),
        }
        // Reading them has EL2 look at all list registers: the guest comes first in every second round.
        if below(2) == 0 {
            let states = [gic::ISPENDR, gic::ISACTIVER].map(|at| gic::bank(0).read32(at) & 0xffff);
            expect!(
                states == [pending, active],
                "round {round}: pending and active are {states:x?}, were {pending:#x} and {active:#x}"
            );
        }
        bits(active).for_each(gic::end);
        for sgi in bits(pending) {
            take(round, sgi)?;
            gic::end(sgi);
        }
        expect_eq!(
            gic::acknowledge(),
            gic::SPURIOUS,
            "INTID after the last one"
        );
    }
    (0..SGIS).for_each(gic::disable);
    Ok(())
}

/// Draws a mask of one SGI or of two.
fn one_or_two() -> u32 {
    1 << below(SGIS.into()) | 1 << below(SGIS.into())
}

/// Returns the numbers of a mask's bits.
fn bits(mask: u32) -> impl DoubleEndedIterator<Item = u32> {
    (0..SGIS).filter(move |bit| mask & 1 << bit != 0)
}

/// Acknowledges an SGI, which must be the most urgent that is pending.
fn take(round: u64, sgi: u32) -> Outcome {
    sysreg::isb();
    let intid = gic::acknowledge();
    expect!(
        intid == sgi,
        "round {round}: acknowledged is {intid}, was to be {sgi}"
    );
    Ok(())
}

/// Sets a deadline that passes about when the neighbour runs, or when the switch to it is under way: its interrupt comes,
/// once, and not before.
pub fn deadlines_come_once() -> Outcome {
    for round in 0..ROUNDS {
        let deadline = timer::now() + timer::ns_to_ticks(below(60_000));
        timer::set_virtual(deadline);
        let_others_run();
        take_timer(round)?;
        expect!(timer::now() >= deadline, "round {round}: it came early");
        timer::stop_virtual();
        gic::end(TIMER);
        sysreg::isb();
        expect_eq!(gic::acknowledge(), gic::SPURIOUS, "INTID after its end");
    }
    Ok(())
}
