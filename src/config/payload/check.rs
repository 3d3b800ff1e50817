//! The checks behind [`Payload::new`]: whatever the records say has a meaning and lies where it should.

mod time;

use super::super::record::{
    ANYWHERE, BY_POSITION, MAX_WATCHDOG_NS, MIN_WATCHDOG_NS, NAME_BYTES, PartitionRecord,
    RegionRecord, Span, Text, VcpuRecord, WindowRecord, access, console_model, gic, on_fault,
    on_panic, partition_flags, system_flags,
};
use super::{GUEST_END, MAX_REGIONS, Part, Payload, PayloadError, span_checked};
use crate::addr::{BLOCK_2M_BYTES, PAGE_BYTES, Range};
use crate::ids::{MAX_PARTITIONS, MAX_PCPUS, MAX_VCPUS};
use crate::trace;
use crate::uart::Model;

/// First INTID that is no shared peripheral interrupt any more.
pub(super) const SPI_END: u32 = 1020;

/// Refuses a field's value unless a condition holds.
struct Field {
    partition: usize,
}

impl Field {
    fn must(&self, holds: bool, field: &'static str, value: u64) -> Result<(), PayloadError> {
        if holds {
            return Ok(());
        }
        Err(PayloadError::Value {
            partition: self.partition,
            field,
            value,
        })
    }
}

/// Returns the range of guest addresses, when it lies in the 39 bits that are translated.
#[inline(never)]
pub(super) fn guest_range(gpa: u64, size: u64) -> Option<Range> {
    Range::new(gpa, size).filter(|range| range.last() < GUEST_END)
}

impl Payload<'_> {
    /// Checks the header's values and every partition.
    pub(super) fn check(&self) -> Result<(), PayloadError> {
        let header = self.header;
        let count = self.partitions.len();
        count_of(0, Part::Partitions, count, 1, MAX_PARTITIONS)?;
        let field = Field {
            partition: usize::MAX,
        };
        self.check_text(usize::MAX, header.platform)?;
        let focus = u64::from(header.focus);
        field.must(focus < count as u64, "focus", focus)?;
        let pcpu = u64::from(header.console_pcpu);
        let known = header.console_mpidr != BY_POSITION || pcpu < MAX_PCPUS as u64;
        field.must(known, "console_pcpu", pcpu)?;
        let priority = u64::from(header.console_priority);
        field.must(priority <= 255, "console_priority", priority)?;
        let action = header.on_panic;
        let known = matches!(action, on_panic::PARK | on_panic::RESET);
        field.must(known, "on_panic", u64::from(action))?;
        let uart = header.uart_kind;
        let known = uart == 0 || Model::from_code(uart).is_some();
        field.must(known, "uart_kind", u64::from(uart))?;
        let edge = header.uart_edge;
        field.must(edge <= 1, "uart_edge", u64::from(edge))?;
        let flags = header.flags;
        let known = flags & !system_flags::KNOWN == 0;
        field.must(known, "flags", u64::from(flags))?;
        let bytes = header.trace_bytes;
        let known = bytes == 0 || trace::is_valid_size(bytes);
        field.must(known, "trace_bytes", bytes)?;
        for (position, partition) in self.partitions.iter().enumerate() {
            self.check_partition(position, partition)?;
        }
        self.check_pcpus()?;
        self.check_channels()
    }

    /// Checks one partition.
    fn check_partition(&self, at: usize, of: &PartitionRecord) -> Result<(), PayloadError> {
        let earlier = self.partitions.get(..at).unwrap_or(&[]);
        if !is_name(&of.name) || earlier.iter().any(|other| other.name == of.name) {
            return Err(PayloadError::Name { partition: at });
        }
        let regions = inside(self.regions, of.regions, at, Part::Regions)?;
        count_of(at, Part::Regions, regions.len(), 1, MAX_REGIONS)?;
        for (position, region) in regions.iter().enumerate() {
            check_region(at, region, regions.get(..position).unwrap_or(&[]))?;
        }
        let vcpus = inside(self.vcpus, of.vcpus, at, Part::Vcpus)?;
        let most = match self.header.flags & system_flags::GICV2 {
            0 => MAX_VCPUS,
            _ => gic::MAX_V2_VCPUS,
        };
        count_of(at, Part::Vcpus, vcpus.len(), 1, most)?;
        for vcpu in vcpus {
            check_vcpu(at, vcpu)?;
            time::check_budget(at, vcpu)?;
        }
        self.check_values(at, of, vcpus.len(), regions)?;
        self.check_devices(at, of)?;
        self.check_load(at, of, regions)
    }

    /// Checks a partition's own fields.
    fn check_values(
        &self,
        at: usize,
        of: &PartitionRecord,
        vcpus: usize,
        regions: &[RegionRecord],
    ) -> Result<(), PayloadError> {
        let field = Field { partition: at };
        let executable = holds(regions, of.entry, 4, access::EXECUTE) && of.entry.is_multiple_of(4);
        field.must(executable, "entry", of.entry)?;
        let dtb =
            of.dtb == 0 || holds(regions, of.dtb, 8, access::READ) && of.dtb.is_multiple_of(8);
        field.must(dtb, "dtb", of.dtb)?;
        let version = self.header.flags;
        let window = |gpa: u64, bytes| {
            guest_range(gpa, bytes).is_some() && gpa.is_multiple_of(gic::alignment(version))
        };
        let gicd = window(of.gicd, gic::distributor_bytes(version));
        field.must(gicd, "gicd", of.gicd)?;
        let gicr = window(of.gicr, gic::interface_bytes(version, vcpus as u64));
        field.must(gicr, "gicr", of.gicr)?;
        match of.console_model {
            console_model::NONE => {}
            console_model::PL011 => {
                let page = guest_range(of.console_gpa, PAGE_BYTES).is_some()
                    && of.console_gpa.is_multiple_of(PAGE_BYTES);
                field.must(page, "console_gpa", of.console_gpa)?;
                let spi = (32..SPI_END).contains(&of.console_intid);
                field.must(spi, "console_intid", u64::from(of.console_intid))?;
            }
            other => return field.must(false, "console_model", u64::from(other)),
        }
        let overflow = of.console_overflow;
        field.must(overflow <= 1, "console_overflow", u64::from(overflow))?;
        let fate = of.on_fault;
        field.must(
            fate <= on_fault::RESTART_LIMITED,
            "on_fault",
            u64::from(fate),
        )?;
        let known = of.flags & !partition_flags::KNOWN == 0;
        field.must(known, "flags", u64::from(of.flags))?;
        let others = u64::MAX
            .checked_shl(self.partitions.len() as u32)
            .unwrap_or(0);
        field.must(of.manages & others == 0, "manages", of.manages)?;
        let pages = u64::from(of.manages.count_ones()) * PAGE_BYTES;
        let manager = pages == 0
            || guest_range(of.manager_gpa, pages).is_some()
                && of.manager_gpa.is_multiple_of(PAGE_BYTES);
        field.must(manager, "manager_gpa", of.manager_gpa)?;
        let watchdog =
            of.watchdog_ns == 0 || (MIN_WATCHDOG_NS..=MAX_WATCHDOG_NS).contains(&of.watchdog_ns);
        field.must(watchdog, "watchdog_ns", of.watchdog_ns)
    }

    /// Checks a partition's devices, their windows, and its interrupts.
    fn check_devices(&self, at: usize, of: &PartitionRecord) -> Result<(), PayloadError> {
        let field = Field { partition: at };
        for device in inside(self.devices, of.devices, at, Part::Devices)? {
            self.check_text(at, device.path)?;
            for window in inside(self.windows, device.windows, at, Part::Windows)? {
                check_window(at, window)?;
            }
        }
        for interrupt in inside(self.interrupts, of.interrupts, at, Part::Interrupts)? {
            let intid = interrupt.intid;
            let spi = (32..SPI_END).contains(&intid);
            field.must(spi, "intid", u64::from(intid))?;
            let edge = interrupt.edge;
            field.must(edge <= 1, "edge", u64::from(edge))?;
        }
        Ok(())
    }

    /// Checks what is loaded into a partition's memory and where random bytes go.
    fn check_load(
        &self,
        at: usize,
        of: &PartitionRecord,
        regions: &[RegionRecord],
    ) -> Result<(), PayloadError> {
        let field = Field { partition: at };
        for segment in inside(self.segments, of.segments, at, Part::Segments)? {
            let there = holds(regions, segment.gpa, segment.memory_bytes, 0);
            field.must(there, "segment gpa", segment.gpa)?;
            let fits = segment.file_bytes <= segment.memory_bytes;
            field.must(fits, "segment file_bytes", segment.file_bytes)?;
            let end = segment.offset.checked_add(segment.file_bytes);
            let blob = segment.offset % PAGE_BYTES == 0
                && segment.offset >= self.header.record_bytes
                && end.is_some_and(|end| end <= self.header.total_bytes);
            field.must(
                blob || segment.file_bytes == 0,
                "segment offset",
                segment.offset,
            )?;
        }
        for seed in inside(self.seeds, of.seeds, at, Part::Seeds)? {
            let there = holds(regions, seed.gpa, seed.bytes, 0);
            field.must(there, "seed gpa", seed.gpa)?;
        }
        Ok(())
    }

    /// Checks that a text lies in the record area and is UTF-8.
    fn check_text(&self, partition: usize, text: Text) -> Result<(), PayloadError> {
        let part = Part::Texts;
        self.text_checked(text)
            .map(|_| ())
            .ok_or(PayloadError::Span { partition, part })
    }
}

/// Checks a number of records.
fn count_of(
    partition: usize,
    part: Part,
    found: usize,
    least: usize,
    limit: usize,
) -> Result<(), PayloadError> {
    if (least..=limit).contains(&found) {
        return Ok(());
    }
    Err(PayloadError::Count {
        partition,
        part,
        found,
        limit,
    })
}

/// Returns a span's records or says whose span is wrong.
fn inside<T>(table: &[T], span: Span, partition: usize, part: Part) -> Result<&[T], PayloadError> {
    span_checked(table, span).ok_or(PayloadError::Span { partition, part })
}

/// Says whether one region holds all bytes and grants at least the access.
// Not inlined: it has many callers.
#[inline(never)]
fn holds(regions: &[RegionRecord], gpa: u64, size: u64, access: u32) -> bool {
    let Some(range) = guest_range(gpa, size) else {
        return false;
    };
    regions.iter().any(|region| {
        region.access & access == access
            && guest_range(region.gpa, region.size).is_some_and(|memory| memory.contains(range))
    })
}

/// Says whether a name is 1 to 31 of a-z, 0-9 and -, padded with zeros.
fn is_name(name: &[u8; NAME_BYTES]) -> bool {
    let mut padding = false;
    let sound = name.iter().all(|byte| {
        padding |= *byte == 0;
        match byte {
            0 => true,
            b'a'..=b'z' | b'0'..=b'9' | b'-' => !padding,
            _ => false,
        }
    });
    sound && padding && name.first() != Some(&0)
}

/// Checks one region of memory against itself and those before it.
fn check_region(
    at: usize,
    region: &RegionRecord,
    earlier: &[RegionRecord],
) -> Result<(), PayloadError> {
    let field = Field { partition: at };
    let range = guest_range(region.gpa, region.size);
    let apart = range.is_some_and(|range| {
        let others = earlier
            .iter()
            .filter_map(|other| guest_range(other.gpa, other.size));
        region.gpa.is_multiple_of(PAGE_BYTES) && !{ others }.any(|other| other.overlaps(range))
    });
    field.must(apart, "region gpa", region.gpa)?;
    let whole = region.size.is_multiple_of(PAGE_BYTES);
    field.must(whole, "region size", region.size)?;
    let placed = region.hpa == ANYWHERE
        || Range::new(region.hpa, region.size).is_some()
            && region.hpa % BLOCK_2M_BYTES == region.gpa % BLOCK_2M_BYTES;
    field.must(placed, "region hpa", region.hpa)?;
    let all = access::READ | access::WRITE | access::EXECUTE;
    // Write without read is no access that Arm's stage 2 can grant to a program that works.
    let known = region.access & !all == 0 && region.access & access::READ != 0;
    field.must(known, "region access", u64::from(region.access))
}

/// Checks one vCPU.
fn check_vcpu(at: usize, vcpu: &VcpuRecord) -> Result<(), PayloadError> {
    let field = Field { partition: at };
    let pcpu = u64::from(vcpu.pcpu);
    let known = vcpu.mpidr != BY_POSITION || pcpu < MAX_PCPUS as u64;
    field.must(known, "pcpu", pcpu)?;
    let priority = u64::from(vcpu.priority);
    field.must(priority <= 255, "priority", priority)?;
    field.must(vcpu.fp_eager <= 1, "fp_eager", u64::from(vcpu.fp_eager))
}

/// Checks one window of device registers.
fn check_window(at: usize, window: &WindowRecord) -> Result<(), PayloadError> {
    let field = Field { partition: at };
    let page = |address: u64| address & !(PAGE_BYTES - 1);
    let offset = window.gpa % PAGE_BYTES;
    let guest = window
        .size
        .checked_add(offset)
        .and_then(|size| guest_range(page(window.gpa), size));
    field.must(guest.is_some(), "window gpa", window.gpa)?;
    let host = Range::new(window.hpa, window.size).is_some() && window.hpa % PAGE_BYTES == offset;
    field.must(host, "window hpa", window.hpa)
}
