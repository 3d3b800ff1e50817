//! From the keyboard: bytes for the partition that has the focus, and what the escape key asks for.

use super::Server;
use crate::hw::timer;
use crate::pcpu::Pcpu;
use bulkhead::console::keyboard::InputAction;
use bulkhead::ids::PartitionId;
use bulkhead::partition::Phase;
use bulkhead::uart::Driver;
use core::sync::atomic::Ordering;

/// Bytes of input in one turn.
const INPUTS: usize = 4;

/// A byte that its partition had no room for, and since when, in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    partition: PartitionId,
    byte: u8,
    since: u64,
}

impl Kept {
    /// Returns when the partition is given up as one that does not listen, in ticks.
    pub fn deadline(&self) -> u64 {
        self.since.saturating_add(timer::frequency())
    }
}

impl Pcpu {
    /// Hands received bytes to whom they are meant for, as long as there is room. A partition without room holds the
    /// keyboard up, so that nothing is lost; one that has not read for a second loses what is typed at it, or the
    /// escape key would never be heard again. Says whether there were any.
    #[inline(always)]
    pub(super) fn receive<D: Driver>(&mut self, server: &mut Server, uart: D) -> bool {
        let mut any = false;
        if let Some(kept) = server.kept.take() {
            let now = timer::now();
            if self.deliver(kept.partition, kept.byte) {
                server.deaf = None;
            } else if now < kept.deadline() {
                server.kept = Some(kept);
            } else {
                server.deaf = Some(kept.partition);
            }
        }
        for _ in 0..INPUTS {
            if server.kept.is_some() {
                break;
            }
            let Some(byte) = uart.try_receive() else {
                break;
            };
            any = true;
            match server.keyboard.input(byte, self.system) {
                InputAction::Deliver(partition, byte) => self.offer(server, partition, byte),
                action => self.obey(action),
            }
        }
        self.system
            .console
            .input_waits
            .store(server.kept.is_some(), Ordering::Relaxed);
        any
    }

    /// Gives a partition a byte, or keeps it until there is room.
    fn offer(&mut self, server: &mut Server, partition: PartitionId, byte: u8) {
        if self.deliver(partition, byte) {
            server.deaf = None;
        } else if server.deaf != Some(partition) {
            let since = timer::now();
            server.kept = Some(Kept {
                partition,
                byte,
                since,
            });
        }
    }

    /// Puts a byte into a partition's UART. Returns false when there is no room; one that does not run takes all.
    fn deliver(&mut self, id: PartitionId, byte: u8) -> bool {
        let Some(partition) = self.system.partitions.get(usize::from(id.0)) else {
            return true;
        };
        let mut state = partition.state.lock_by_call();
        if state.life.phase() != Phase::Running {
            return true;
        }
        let taken = state.uart.push_received(byte);
        let changed = state.uart.take_line_change().is_some();
        drop(state);
        if changed {
            self.drive_uart(partition);
        }
        taken
    }

    /// Does what the escape key asked for.
    fn obey(&mut self, action: InputAction) {
        let shared = &self.system.console;
        match action {
            InputAction::None | InputAction::Deliver(..) => {}
            InputAction::Focus(partition) => {
                shared.focus.store(partition.0.into(), Ordering::Relaxed);
                let name = self
                    .system
                    .partitions
                    .get(usize::from(partition.0))
                    .map_or("?", |p| p.name);
                shared.log.push_line(&[b"keyboard: ", name.as_bytes()]);
            }
            InputAction::Refused => {
                shared
                    .log
                    .push_line(&[b"no such partition, or it has no console (Ctrl-G l lists them)"]);
            }
            InputAction::List => self.system.console.listing.store(true, Ordering::Relaxed),
            InputAction::Help => {
                let keys = b"Ctrl-G: n next, p previous, 0-9 by position, =NAME Enter by name, l list, Ctrl-G send Ctrl-G";
                shared.log.push_line(&[keys]);
            }
        }
    }
}
