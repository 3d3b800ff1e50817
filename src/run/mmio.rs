//! Accesses to emulated devices: the virtual GIC's frames, the UART, the doorbells of channels, and the
//! registers of partitions that are managed.
//!
//! To add a device: a range in [`crate::system::Partition`], an arm in [`Pcpu::emulate`].

use crate::pcpu::Pcpu;
use crate::system::Partition;
use bulkhead::addr::{GuestPhysAddr, Range};
use bulkhead::ids::VcpuId;
use bulkhead::trap::access::MmioAccess;
use bulkhead::vgic::Vgic;

/// `UARTDR`.
pub const UART_DATA: u64 = 0x00;
/// `UARTFR` and its flags BUSY, TXFF and RXFE.
pub const UART_FLAGS: u64 = 0x18;
const UART_BUSY: u64 = 1 << 3;
const UART_TRANSMIT_FULL: u64 = 1 << 5;
const UART_RECEIVE_EMPTY: u64 = 1 << 4;
/// GICv2's `GICC_DIR`, and the INTID that is written there: the sender of an SGI, beside it, says nothing new.
const GICC_DIR: u64 = 0x1000;
const GICC_DIR_INTID: u64 = 0x3ff;
/// Bytes of one redistributor: its control and its private frame.
const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;

impl Pcpu {
    /// Carries out a device access of the current vCPU. Returns false when there is no device.
    pub fn emulate(&mut self, gpa: GuestPhysAddr, access: MmioAccess) -> bool {
        let Some((partition, _)) = self.current_identity() else {
            return false;
        };
        let at = gpa.0;
        if partition.uart.is_some_and(|range| range.holds(at)) {
            self.access_uart(partition, at & 0xfff, access);
        } else if partition.distributor.holds(at) {
            self.access_distributor(partition, at - partition.distributor.start(), access);
        } else if partition.redistributors.holds(at) {
            let offset = at - partition.redistributors.start();
            if self.shape.is_memory_mapped() {
                self.access_interface(offset, access);
                return true;
            }
            let vcpu = VcpuId((offset / REDISTRIBUTOR_BYTES) as u8);
            self.access_redistributor(partition, vcpu, offset % REDISTRIBUTOR_BYTES, access);
        } else if partition.doorbells.is_some_and(|range| range.holds(at)) {
            let first = partition.doorbells.map_or(0, Range::start);
            self.access_doorbell(partition, at - first, access);
        } else if partition.manager.is_some_and(|range| range.holds(at)) {
            let first = partition.manager.map_or(0, Range::start);
            self.access_manager(partition, at - first, access);
        } else {
            return false;
        }
        true
    }

    fn access_uart(&mut self, partition: &'static Partition, offset: u64, access: MmioAccess) {
        if offset == UART_FLAGS && !access.write && partition.state.is_locked() {
            // A guest that polls would stand in line for the lock all the time, and its neighbours' vCPUs behind it. It
            // hears "full and nothing received", and asks again.
            self.finish_load(access, UART_TRANSMIT_FULL | UART_RECEIVE_EMPTY);
            return;
        }
        let value = self.stored(access);
        let mut state = partition.state.lock();
        if access.write {
            let sent = state
                .uart
                .write(offset, access.width, value, partition.output);
            let changed = state.uart.take_line_change().is_some();
            drop(state);
            if changed {
                self.drive_uart(partition);
            }
            if sent {
                self.output_arrived(partition, value as u8 == b'\n');
            }
            self.input_taken(); // the FIFO may have been emptied by its controls
        } else {
            let raw = state.uart.read(offset, access.width, partition.output);
            let changed = state.uart.take_line_change().is_some();
            drop(state);
            if changed {
                self.drive_uart(partition);
            }
            self.finish_load(access, raw);
            self.input_taken();
            // Busy from where a FIFO's worth no longer fits until full: Linux waits for both.
            if offset == UART_FLAGS && raw & UART_BUSY != 0 {
                self.output_is_awaited();
            }
        }
    }

    /// Sets the level of a partition's emulated UART, which has changed, at its vGIC: as it is by now, since another pCPU may
    /// have changed it again and been here first.
    pub fn drive_uart(&mut self, partition: &'static Partition) {
        let intid = partition.record.console_intid as u16;
        if self
            .current_identity()
            .is_some_and(|(current, _)| current.id == partition.id)
        {
            self.fold();
        }
        let mut state = partition.state.lock();
        let level = state.uart.line();
        let effects = state.vgic.set_line(intid, None, level);
        drop(state);
        self.apply(partition, effects);
    }

    fn access_distributor(
        &mut self,
        partition: &'static Partition,
        offset: u64,
        access: MmioAccess,
    ) {
        if self.shape.is_memory_mapped() {
            return self.access_banked(partition, offset, access);
        }
        if Vgic::wants_fold(offset) {
            self.fold();
        }
        let bytes = access.width.bytes() as u8;
        if access.write {
            let value = self.stored(access);
            let effects = partition
                .state
                .lock()
                .vgic
                .distributor_write(offset, bytes, value);
            self.apply(partition, effects);
            return;
        }
        let state = partition.state.lock();
        let mut raw = state.vgic.distributor_read(offset, bytes);
        if let Some((first, mask)) = state.vgic.physical_pending_bits(offset) {
            raw |= u64::from(self.system.distributor.pending(u32::from(first / 32)) & mask);
        }
        drop(state);
        self.finish_load(access, raw);
    }

    /// Carries out an access of GICv2's distributor.
    #[inline(never)]
    fn access_banked(&mut self, partition: &'static Partition, offset: u64, access: MmioAccess) {
        let Some((_, id)) = self.current_identity() else {
            return;
        };
        if Vgic::banked_wants_fold(offset) {
            self.fold();
            self.sample_virtual_timer(partition, id);
        }
        let bytes = access.width.bytes() as u8;
        if access.write {
            let value = self.stored(access);
            let mut state = partition.state.lock_by_call();
            let effects = state.vgic.banked_write(id, offset, bytes, value);
            drop(state);
            self.apply(partition, effects);
            return;
        }
        let state = partition.state.lock_by_call();
        let mut raw = state.vgic.banked_read(id, offset, bytes);
        if let Some((first, mask)) = state.vgic.physical_pending_bits(offset) {
            raw |= u64::from(self.system.distributor.pending(u32::from(first / 32)) & mask);
        }
        drop(state);
        self.finish_load(access, raw);
    }

    /// Carries out an access of GICv2's CPU interface that stage 2 does not let through: its second page, where `GICC_DIR`
    /// is all there is.
    #[inline(never)]
    fn access_interface(&mut self, offset: u64, access: MmioAccess) {
        if !access.write {
            self.finish_load(access, 0);
        } else if offset == GICC_DIR && access.width.bytes() == 4 {
            let value = self.stored(access);
            self.deactivate_virtual(value & GICC_DIR_INTID);
        }
    }

    fn access_redistributor(
        &mut self,
        partition: &'static Partition,
        vcpu: VcpuId,
        offset: u64,
        access: MmioAccess,
    ) {
        if Vgic::wants_fold(offset) {
            self.fold();
        }
        let bytes = access.width.bytes() as u8;
        if Vgic::wants_fold(offset) && self.current_identity().is_some_and(|(_, id)| id == vcpu) {
            self.sample_virtual_timer(partition, vcpu);
        }
        if access.write {
            let value = self.stored(access);
            let effects = partition
                .state
                .lock_by_call()
                .vgic
                .redistributor_write(vcpu, offset, bytes, value);
            self.apply(partition, effects);
            return;
        }
        let raw = partition
            .state
            .lock_by_call()
            .vgic
            .redistributor_read(vcpu, offset, bytes);
        self.finish_load(access, raw);
    }

    /// Returns what a store puts on the bus.
    pub fn stored(&mut self, access: MmioAccess) -> u64 {
        self.current_vcpu().map_or(0, |vcpu| {
            access.stored(vcpu.context.register(access.register))
        })
    }

    /// Puts a load's result into its register.
    pub fn finish_load(&mut self, access: MmioAccess, raw: u64) {
        if let Some(vcpu) = self.current_vcpu() {
            vcpu.context
                .set_register(access.register, access.extend(raw));
        }
    }
}
