//! The protocol of calls, tried in every order of its steps.

use super::*;
use std::collections::HashSet;

/// What a sender does: post for a slot, or for the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Post {
    Slot(u8),
    Console,
}

/// Where a sender is in its list of posts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
struct Sender {
    posts: Vec<Post>,
    /// It has set the bit of the first one, and these stood there before.
    marked: Option<u64>,
    /// It has decided to call, and not done so.
    calling: bool,
}

/// Where the pCPU is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    Publish,
    Look,
    Take,
    Run,
    /// It has acknowledged a call and not read its mail.
    Called,
}

/// Everything at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    slots: u64,
    console: bool,
    heard: (u64, bool),
    /// The interrupt by which it is called is pending.
    call: bool,
    senders: Vec<Sender>,
    step: Step,
    /// Whom it will hear: the first is next, or present once it is published.
    plan: Vec<(u64, bool)>,
}

impl World {
    fn new(posts: &[&[Post]], plan: &[Heard]) -> Self {
        let sender = |posts: &&[Post]| Sender {
            posts: posts.to_vec(),
            ..Sender::default()
        };
        Self {
            slots: 0,
            console: false,
            heard: (u64::MAX, true),
            call: false,
            senders: posts.iter().map(sender).collect(),
            step: Step::Publish,
            plan: plan.iter().map(|it| (it.slots, it.console())).collect(),
        }
    }

    /// Does something with the mail as the code does it.
    fn with_mail<T>(&mut self, act: impl FnOnce(&Mail) -> T) -> T {
        let mail = Mail {
            slots: AtomicU64::new(self.slots),
            console: AtomicBool::new(self.console),
            heard: AtomicU64::new(self.heard.0),
            hears_console: AtomicBool::new(self.heard.1),
        };
        let result = act(&mail);
        self.slots = mail.slots.into_inner();
        self.console = mail.console.into_inner();
        self.heard = (mail.heard.into_inner(), mail.hears_console.into_inner());
        result
    }

    /// A sender's next step.
    fn send(&self, index: usize) -> Option<Self> {
        let mut next = self.clone();
        let mut sender = next.senders[index].clone();
        if sender.calling {
            sender.calling = false;
            next.call = true;
        } else {
            let post = *sender.posts.first()?;
            match (post, sender.marked) {
                (Post::Slot(slot), None) => {
                    sender.marked = Some(next.with_mail(|mail| mail.mark(Slot(slot))));
                }
                (Post::Console, None) => {
                    let before = next.with_mail(|mail| mail.console.swap(true, SeqCst));
                    sender.marked = Some(before.into());
                }
                (Post::Slot(slot), Some(before)) => {
                    sender.calling = next.with_mail(|mail| mail.must_call(Slot(slot), before));
                }
                (Post::Console, Some(before)) => {
                    sender.calling = before == 0 && next.heard.1;
                }
            }
            if self.senders[index].marked.is_some() {
                sender.marked = None;
                sender.posts.remove(0);
            }
        }
        next.senders[index] = sender;
        Some(next)
    }

    /// The pCPU's next steps: while it runs it may be interrupted, or turn to somebody else.
    fn receive(&self) -> Vec<Self> {
        let (slots, console) = self.plan[0];
        let heard = Heard {
            slots,
            ..hears(0, console)
        };
        let mut next = self.clone();
        match self.step {
            Step::Publish => {
                next.with_mail(|mail| mail.publish(heard));
                next.step = Step::Look;
            }
            Step::Look => {
                let has = next.with_mail(|mail| mail.has(heard));
                next.step = if has { Step::Take } else { Step::Run };
            }
            Step::Take | Step::Called => {
                next.with_mail(|mail| (mail.take_first(heard), mail.take_console(heard)));
                next.step = Step::Look;
            }
            Step::Run => {
                let mut all = Vec::new();
                if self.call {
                    next.call = false;
                    next.step = Step::Called;
                    all.push(next);
                }
                if self.plan.len() > 1 {
                    let mut turned = self.clone();
                    turned.plan.remove(0);
                    turned.step = Step::Publish;
                    all.push(turned);
                }
                return all;
            }
        }
        vec![next]
    }

    fn is_over(&self) -> bool {
        let idle = |sender: &Sender| sender.posts.is_empty() && !sender.calling;
        self.senders.iter().all(idle) && self.step == Step::Run && !self.call
    }

    fn overlooks(&self) -> bool {
        self.slots & self.heard.0 != 0 || self.console && self.heard.1
    }
}

/// Tries all orders of all steps, and returns how many states there are.
fn try_all(first: World) -> usize {
    let mut seen = HashSet::from([first.clone()]);
    let mut left = vec![first];
    while let Some(world) = left.pop() {
        assert!(!(world.is_over() && world.overlooks()), "lost: {world:?}");
        let sent = (0..world.senders.len()).filter_map(|index| world.send(index));
        for next in sent.chain(world.receive()) {
            if seen.insert(next.clone()) {
                left.push(next);
            }
        }
    }
    seen.len()
}

fn hears(behind: u8, console: bool) -> Heard {
    Heard::new(Slot(behind), console)
}

#[test]
fn no_order_of_steps_loses_anything() {
    use Post::{Console, Slot};
    // Not only the more urgent ones: somebody may be left out of them.
    let second = Heard {
        slots: 0b10,
        ..hears(0, false)
    };
    let plans: [&[Heard]; 5] = [
        &[Heard::ALL, second, hears(2, true), second],
        &[hears(1, false)],
        &[hears(1, false), hears(3, true), Heard::ALL],
        &[
            Heard::ALL,
            hears(1, false),
            hears(3, false),
            hears(2, false),
        ],
        &[
            hears(3, true),
            hears(2, true),
            hears(4, true),
            hears(1, false),
        ],
    ];
    let posts: [&[&[Post]]; 3] = [
        &[&[Slot(0), Slot(2)], &[Slot(2), Slot(1)]],
        &[&[Slot(3), Console], &[Console, Slot(0)]],
        &[&[Slot(1)], &[Slot(2)], &[Slot(0)]],
    ];
    let mut states = 0;
    for plan in plans {
        for posts in posts {
            states += try_all(World::new(posts, plan));
        }
    }
    assert!(states > 10_000, "{states} states");
}

#[test]
fn nobody_calls_for_the_less_urgent() {
    let mail = Mail::new();
    mail.publish(hears(2, false));
    assert!(!mail.post(Slot(5)) && !mail.post_console());
    assert!(!mail.has(hears(2, false)));
    assert!(mail.post(Slot(1)), "though something stood there before");
    assert!(!mail.post(Slot(0)), "it was called already");
    let heard = || mail.take_first(hears(2, false));
    assert_eq!(
        [heard(), heard(), heard()],
        [Some(Slot(0)), Some(Slot(1)), None]
    );
    assert!(mail.has(Heard::ALL));
    assert!(mail.take_console(Heard::ALL) && !mail.take_console(Heard::ALL));
    assert_eq!(mail.take_first(Heard::ALL), Some(Slot(5)));
}

#[test]
fn what_the_pcpu_keeps_waits_until_it_is_heard() {
    let mail = Mail::new();
    mail.publish(hears(2, false));
    mail.keep(1 << 3);
    assert!(!mail.has(hears(2, false)) && mail.take_first(hears(3, false)).is_none());
    assert!(mail.has(hears(4, false)));
    assert_eq!(mail.take_first(hears(4, false)), Some(Slot(3)));
    assert!(!mail.has(Heard::ALL) && !Heard::NOBODY.console());
}

#[test]
fn all_64_slots_are_heard_when_nobody_runs() {
    assert_eq!(Heard::ALL.slots, u64::MAX);
    assert_eq!(hears(64, false).slots, u64::MAX);
    assert_eq!(hears(63, false).slots, u64::MAX >> 1);
    assert_eq!(hears(0, true).slots, 0);
}

#[test]
fn the_console_is_called_for_once() {
    let mail = Mail::new();
    assert!(mail.post_console(), "a new pCPU hears everybody");
    assert!(!mail.post_console(), "it was called already");
    assert!(mail.take_console(Heard::ALL));
    assert!(mail.post_console());
}

#[test]
fn the_first_is_the_most_urgent_that_is_heard() {
    let mail = Mail::new();
    assert_eq!(mail.first(Heard::ALL), 64, "nobody");
    mail.keep(1 << 5 | 1 << 9);
    assert_eq!(mail.first(Heard::ALL), 5);
    assert_eq!(mail.first(hears(5, true)), 64);
    let ninth = Heard {
        slots: 1 << 9,
        ..Heard::NOBODY
    };
    assert_eq!(mail.first(ninth), 9);
}
