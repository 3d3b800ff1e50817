//! What a pCPU and a vCPU keep, and what EL2 has yet to do.

use super::super::super::{Effects, Ends, Unfinished};
use super::super::interface::{Cpu, OPEN};
use std::collections::{BTreeSet, VecDeque};

/// `ICH_VMCR_EL2.VEOIM`: the guest splits its end of interrupt.
pub const VEOIM: u32 = 1 << 9;

/// A vCPU of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    pub part: usize,
    pub vcpu: u8,
}

impl Who {
    pub const fn new(part: usize, vcpu: u8) -> Self {
        Self { part, vcpu }
    }

    /// Returns its bit in a mask of vCPUs.
    pub const fn bit(self) -> u16 {
        1 << self.vcpu
    }
}

/// A register write of a guest: of its own or another's private interrupts, or of what all share.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    pub owner: Option<u8>,
    pub offset: u64,
    pub width: u8,
    pub value: u32,
}

/// One write to the physical GIC: bits of the bank from INTID `first` on.
#[derive(Clone, Copy, Debug)]
pub enum Touch {
    /// Trigger by edge or by level, as the model has it.
    Trigger(u16, u32),
    Route(u16),
    /// Turn off.
    Off(u16, u32),
    /// Turn on or off, as the model has it.
    Switch(u16, u32),
    ClearPending(u16, u32),
    Deactivate(u16, u32),
    SetPending(u16, u32),
    /// Deactivate a vCPU's own interrupts.
    Banked(u8, u32),
}

/// A piece of what EL2 does on a pCPU, at most one of them under a lock.
#[derive(Clone, Debug)]
pub enum Step {
    /// Take the list registers of who is here into the model.
    Fold,
    /// An SPI was acknowledged while a guest ran, which may have it by the short way.
    Short(u16),
    /// An SPI was acknowledged.
    Take(u16),
    /// The owner's list registers are folded if they are here.
    Pend(u16),
    /// The timer's interrupt was acknowledged; by the short way?
    Timer(bool),
    /// A guest's write; of one emulated interrupt alone by the short way.
    Access(Access),
    /// An SGI, as `ICC_SGI1R_EL1` has it; to itself alone by the short way.
    Send(u64, bool),
    /// A trapped DIR.
    Deactivate(u16),
    /// Tell the timer's level.
    Sample,
    /// A line of a partition's emulated device, or of its vCPU's, moves.
    Drive(usize, Option<u8>, u16, bool),
    Ring(usize),
    Touch(usize, Touch),
    Kick(usize, u16),
    Attend(Who),
    /// WFI.
    Wait,
    /// Who is here leaves the pCPU.
    Leave,
    Come(Who),
    /// One comes for its timer or the doorbell alone, before who is here leaves.
    Hand(Who, bool),
    /// It has come in the model, and its list register holds this.
    Arrive(Who, u64),
    /// Give the SPIs of a bank back.
    Quiet(usize, usize),
    Ended(usize),
    /// Route a partition's SPIs as at its start.
    Reroute(usize),
    /// Make a partition's virtual GIC as new.
    Reset(usize, usize),
    Loaded(usize),
}

/// A pCPU.
pub struct Pcpu {
    /// The hardware's list registers, with the virtual interface of who is here.
    pub hw: Cpu,
    pub current: Option<Who>,
    /// Who was to come last.
    pub chosen: Option<Who>,
    /// The list registers of who is here are in the model.
    pub folded: bool,
    /// List registers that hold something of who was here.
    pub held: u16,
    /// Whom others told of.
    pub mail: BTreeSet<Who>,
    /// Whom it has to look after itself.
    pub attend: BTreeSet<Who>,
    /// What it is in the middle of.
    pub steps: VecDeque<Step>,
}

impl Pcpu {
    pub fn new(list_registers: usize) -> Self {
        Self {
            hw: Cpu::new(list_registers),
            current: None,
            chosen: None,
            folded: true,
            held: 0,
            mail: BTreeSet::new(),
            attend: BTreeSet::new(),
            steps: VecDeque::new(),
        }
    }

    /// Does some things next, in order.
    pub fn first(&mut self, steps: impl IntoIterator<Item = Step>) {
        let steps: Vec<_> = steps.into_iter().collect();
        steps
            .into_iter()
            .rev()
            .for_each(|step| self.steps.push_front(step));
    }
}

/// An interrupt that a guest took.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    pub intid: u16,
    /// Its active state was cleared by a register since.
    pub cleared: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Off,
    /// It loads its partition.
    Loading,
    Ready,
    Waiting,
}

/// A vCPU.
pub struct Vcpu {
    pub home: usize,
    pub activity: Activity,
    /// Its virtual interface while it is not on its pCPU.
    pub vmcr: u32,
    pub active: [u32; 2],
    /// Its virtual timer asks for an interrupt.
    pub timer: bool,
    /// A write that is to be finished.
    pub unfinished: Option<(Access, Unfinished)>,
    /// What its guest took, the innermost last.
    pub stack: Vec<Taken>,
    /// What it ended in part.
    pub loose: Vec<Taken>,
}

impl Vcpu {
    pub fn new(home: usize) -> Self {
        Self {
            home,
            activity: Activity::Off,
            vmcr: OPEN,
            active: [0; 2],
            timer: false,
            unfinished: None,
            stack: Vec::new(),
            loose: Vec::new(),
        }
    }
}

/// Returns what a call asks for, in the order in which EL2 does it.
pub fn steps_of(part: usize, effects: &Effects) -> Vec<Step> {
    let first = effects.first;
    let mut touches = Vec::new();
    if first == 0 {
        touches.push((
            effects.deactivate,
            Touch::Banked(effects.vcpu, effects.deactivate),
        ));
    } else {
        touches.push((effects.trigger, Touch::Trigger(first, effects.trigger)));
        if let Some(route) = effects.route {
            touches.push((1, Touch::Route(route.intid)));
        }
        let masks = [
            (effects.switch, Touch::Switch as fn(u16, u32) -> Touch),
            (effects.clear_pending, Touch::ClearPending),
            (effects.deactivate, Touch::Deactivate),
            (effects.set_pending, Touch::SetPending),
        ];
        touches.extend(masks.map(|(mask, touch)| (mask, touch(first, mask))));
    }
    let touches = touches.into_iter().filter(|(mask, _)| *mask != 0);
    let mut steps: Vec<_> = touches.map(|(_, touch)| Step::Touch(part, touch)).collect();
    if effects.kick != 0 {
        steps.push(Step::Kick(part, effects.kick));
    }
    steps
}

/// Returns what the guest ended outside of the list registers, as a fold is to know it.
pub fn ends_of_spilled(hw: &mut Cpu) -> Ends {
    let ends = hw.ends();
    match hw.vmcr & VEOIM {
        0 => ends,
        _ => Ends::NONE,
    }
}
