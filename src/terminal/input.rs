//! From the keyboard: bytes for the partition that has the focus, and what the escape key asks for.

use super::Server;
use crate::hw::pl011::Uart;
use crate::pcpu::Pcpu;
use bulkhead::console::keyboard::InputAction;
use bulkhead::ids::PartitionId;
use core::sync::atomic::Ordering;

/// Bytes of input in one turn.
const INPUTS: usize = 4;

impl Pcpu {
    /// Hands received bytes to whom they are meant for, as long as there is room.
    pub(super) fn receive(&mut self, server: &mut Server, uart: Uart) {
        for _ in 0..INPUTS {
            let (partition, byte) = match server.kept.take() {
                Some(kept) => kept,
                None => {
                    let Some(byte) = uart.try_receive() else {
                        break;
                    };
                    let action = server.keyboard.input(byte, self.system);
                    let InputAction::Deliver(partition, byte) = action else {
                        self.obey(action);
                        continue;
                    };
                    (partition, byte)
                }
            };
            if !self.deliver(partition, byte) {
                server.kept = Some((partition, byte));
                break;
            }
        }
        self.system
            .console
            .input_waits
            .store(server.kept.is_some(), Ordering::Relaxed);
    }

    /// Puts a byte into a partition's UART. Returns false when there is no room.
    fn deliver(&mut self, id: PartitionId, byte: u8) -> bool {
        let Some(partition) = self.system.partitions.get(usize::from(id.0)) else {
            return true;
        };
        let mut state = partition.state.lock();
        let taken = state.uart.push_received(byte);
        let line = state.uart.take_line_change();
        drop(state);
        if let Some(level) = line {
            self.drive_uart(partition, level);
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
