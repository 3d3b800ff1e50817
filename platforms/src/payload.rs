//! Writes the payload: see [`bulkhead::config::record`] for its layout.

use std::sync::Arc;

use bulkhead::addr::PAGE_BYTES;
use bulkhead::board::{Interrupt, Trigger};
use bulkhead::config::record::{
    ANYWHERE, BY_POSITION, ChannelRecord, DeviceRecord, Header, InterruptRecord, MAGIC, NAME_BYTES,
    PartitionRecord, PcpuRecord, RegionRecord, SeedRecord, SegmentRecord, SideRecord, Span, Table,
    Text, TimeWindowRecord, VERSION, VcpuRecord, WindowRecord, channel_flags, console_model,
    on_fault, on_panic, partition_flags, pcpu_flags, record_checksum, system_flags,
};
use bulkhead::uart::Model;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::plan::{Channel, Device, Pcpu, Plan, Side, Vcpu};
use crate::table::OnFault;

/// What a payload says besides its partitions.
#[derive(Clone, Debug, Default)]
pub struct Globals {
    /// The board's name.
    pub platform: String,
    /// Position of the partition that has the keyboard.
    pub focus: u32,
    /// Position of the CPU that serves the UART.
    pub console_pcpu: u32,
    /// Its affinity, where the table names it so.
    pub console_mpidr: Option<u64>,
    /// Urgency of that service.
    pub console_priority: u8,
    /// Whether a panic resets the board.
    pub reset_on_panic: bool,
    /// Whether memory is zeroed before the first start.
    pub scrub_at_boot: bool,
    /// What drives the board's console.
    pub uart: Option<Model>,
    /// Whether the board, and so every guest, has a GICv2.
    pub gicv2: bool,
    /// Every step of start-up has a letter on the console.
    pub letters: bool,
    /// Where its registers are.
    pub uart_hpa: u64,
    /// Its interrupt.
    pub uart_interrupt: Option<Interrupt>,
    /// Bytes of records in every CPU's trace ring; 0 for none.
    pub trace_bytes: u64,
}

/// Copies the record area of a payload to memory that is aligned as EL2's reader wants it.
pub fn words(payload: &[u8]) -> Vec<u64> {
    let length = Header::read_from_prefix(payload).map_or(0, |(header, _)| header.record_bytes);
    let records = payload.get(..length as usize).unwrap_or(payload);
    let (words, _) = records.as_chunks::<8>();
    words.iter().map(|word| u64::from_ne_bytes(*word)).collect()
}

/// The record tables as they grow.
#[derive(Default)]
struct Tables {
    partitions: Vec<PartitionRecord>,
    regions: Vec<RegionRecord>,
    vcpus: Vec<VcpuRecord>,
    devices: Vec<DeviceRecord>,
    windows: Vec<WindowRecord>,
    interrupts: Vec<InterruptRecord>,
    segments: Vec<SegmentRecord>,
    seeds: Vec<SeedRecord>,
    pcpus: Vec<PcpuRecord>,
    time_windows: Vec<TimeWindowRecord>,
    channels: Vec<ChannelRecord>,
    /// Texts; their records count from the start of this until the tables' size is known.
    strings: Vec<u8>,
    blobs: Blobs,
}

/// Blobs, each kept once, at offsets from the first one.
#[derive(Default)]
struct Blobs {
    /// The blobs in the order of their offsets, with these.
    kept: Vec<(Arc<[u8]>, u64)>,
    bytes: u64,
}

impl Blobs {
    /// Returns the offset of a blob with these bytes, adding it when there is none yet.
    fn add(&mut self, bytes: &Arc<[u8]>) -> u64 {
        // Comparing is cheaper than hashing: blobs of one length are few, and mostly the very same bytes.
        let same = |other: &Arc<[u8]>| Arc::ptr_eq(other, bytes) || other == bytes;
        if let Some((_, offset)) = self.kept.iter().find(|(other, _)| same(other)) {
            return *offset;
        }
        let offset = self.bytes;
        self.kept.push((Arc::clone(bytes), offset));
        self.bytes += (bytes.len() as u64).next_multiple_of(PAGE_BYTES);
        offset
    }
}

/// Adds records to a table and returns which.
fn extend<T>(table: &mut Vec<T>, records: impl IntoIterator<Item = T>) -> Span {
    let first = table.len();
    table.extend(records);
    Span {
        first: first as u32,
        count: (table.len() - first) as u32,
    }
}

/// Writes the payload of the given partitions, CPUs and channels.
pub fn write(globals: &Globals, plans: &[Plan], pcpus: &[Pcpu], channels: &[Channel]) -> Vec<u8> {
    let mut tables = Tables::default();
    for plan in plans {
        tables.add(plan);
    }
    for pcpu in pcpus {
        tables.add_pcpu(pcpu);
    }
    for (position, channel) in channels.iter().enumerate() {
        tables.add_channel(position, channel, plans);
    }
    let platform = tables.text(&globals.platform);
    let mut header = Header {
        magic: MAGIC,
        version: VERSION,
        header_bytes: size_of::<Header>() as u32,
        platform,
        focus: globals.focus,
        console_pcpu: globals.console_pcpu,
        console_mpidr: globals.console_mpidr.unwrap_or(BY_POSITION),
        console_priority: u32::from(globals.console_priority),
        on_panic: if globals.reset_on_panic {
            on_panic::RESET
        } else {
            on_panic::PARK
        },
        flags: flags_of(globals),
        uart_kind: globals.uart.map_or(0, Model::code),
        uart_out: globals.uart.map_or(0, |model| {
            globals.uart_hpa + u64::from(model.transmit_register())
        }),
        uart_hpa: globals.uart_hpa,
        uart_intid: globals.uart_interrupt.map_or(0, |line| line.intid),
        uart_edge: globals
            .uart_interrupt
            .map_or(0, |line| u32::from(line.trigger == Trigger::Edge)),
        trace_bytes: globals.trace_bytes,
        ..Header::default()
    };
    tables.write(&mut header)
}

/// Returns the header's flags.
fn flags_of(globals: &Globals) -> u32 {
    let when = |holds, flag| if holds { flag } else { 0 };
    when(globals.scrub_at_boot, system_flags::SCRUB_AT_BOOT)
        | when(globals.gicv2, system_flags::GICV2)
        | when(globals.letters, system_flags::LETTERS)
}

impl Tables {
    /// Adds a text.
    fn text(&mut self, text: &str) -> Text {
        let offset = self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        Text {
            offset,
            length: text.len() as u32,
        }
    }

    /// Adds a partition.
    fn add(&mut self, plan: &Plan) {
        let seed = |&(gpa, bytes): &(u64, u64)| SeedRecord { gpa, bytes };
        let (fault, restart_limit, restart_within_ns) = fault(plan.on_fault);
        let console = plan.console.as_ref();
        let record = PartitionRecord {
            name: name(&plan.name),
            regions: extend(&mut self.regions, plan.regions.iter().map(region)),
            vcpus: extend(&mut self.vcpus, plan.vcpus.iter().map(vcpu)),
            devices: self.add_devices(&plan.devices),
            interrupts: extend(&mut self.interrupts, interrupts(&plan.devices)),
            segments: self.add_segments(plan),
            seeds: extend(&mut self.seeds, plan.seeds.iter().map(seed)),
            entry: plan.entry,
            dtb: plan.dtb,
            gicd: plan.layout.gicd,
            gicr: plan.layout.gicr,
            console_gpa: console.map_or(0, |c| c.gpa),
            console_model: console.map_or(console_model::NONE, |_| console_model::PL011),
            console_intid: console.map_or(0, |c| c.intid),
            console_overflow: console.map_or(0, |c| u32::from(c.drop)),
            on_fault: fault,
            restart_limit,
            flags: flags(plan),
            restart_within_ns,
            watchdog_ns: plan.watchdog.map_or(0, |watchdog| watchdog.timeout_ns),
            manages: plan.manages,
            manager_gpa: plan.manager,
        };
        self.partitions.push(record);
    }

    /// Adds a CPU and its time windows.
    fn add_pcpu(&mut self, pcpu: &Pcpu) {
        let windows = pcpu.windows.iter().map(|window| TimeWindowRecord {
            start_ns: window.start_ns,
            length_ns: window.length_ns,
            partitions: window.partitions,
        });
        let overload = u32::from(pcpu.allow_overload);
        let record = PcpuRecord {
            pcpu: pcpu.position,
            mpidr: pcpu.mpidr.unwrap_or(BY_POSITION),
            flags: overload * pcpu_flags::ALLOW_OVERLOAD,
            major_frame_ns: pcpu.major_frame_ns,
            windows: extend(&mut self.time_windows, windows),
        };
        self.pcpus.push(record);
    }

    /// Adds a channel.
    fn add_channel(&mut self, position: usize, channel: &Channel, plans: &[Plan]) {
        let side = |number: usize| {
            let party = channel.parties[number];
            let sides = plans.get(party).map_or(&[][..], |plan| &plan.channels);
            let own = |side: &&Side| side.channel == position && side.number == number;
            sides
                .iter()
                .find(own)
                .map_or_else(SideRecord::default, |side| SideRecord {
                    partition: party as u32,
                    access: side.access,
                    gpa: side.gpa,
                    registers: side.registers,
                    intid: side.intid,
                    reserved: 0,
                })
        };
        let record = ChannelRecord {
            name: self.text(&channel.name),
            size: channel.size,
            sides: [side(0), side(1)],
            flags: if channel.cached {
                channel_flags::CACHED
            } else {
                0
            },
            reserved: 0,
        };
        self.channels.push(record);
    }

    /// Adds devices and their windows.
    fn add_devices(&mut self, devices: &[Device]) -> Span {
        let mut records = Vec::new();
        for device in devices {
            let windows = device.windows.iter().map(|window| WindowRecord {
                gpa: window.gpa,
                hpa: window.host.start(),
                size: window.host.size(),
            });
            records.push(DeviceRecord {
                path: self.text(&device.path),
                windows: extend(&mut self.windows, windows),
            });
        }
        extend(&mut self.devices, records)
    }

    /// Adds what is loaded; the offsets count from the first blob until the tables' size is known.
    fn add_segments(&mut self, plan: &Plan) -> Span {
        let blobs = &mut self.blobs;
        let records = plan.loads.iter().map(|load| SegmentRecord {
            gpa: load.gpa,
            offset: if load.bytes.is_empty() {
                0
            } else {
                blobs.add(&load.bytes)
            },
            file_bytes: load.bytes.len() as u64,
            memory_bytes: load.memory_bytes,
        });
        extend(&mut self.segments, records)
    }

    /// Gives everything its place: the record tables behind the header, then the texts, then the blobs.
    fn arrange(&mut self, header: &mut Header) {
        let mut place = size_of::<Header>() as u32;
        header.partitions = table(&self.partitions, &mut place);
        header.regions = table(&self.regions, &mut place);
        header.vcpus = table(&self.vcpus, &mut place);
        header.devices = table(&self.devices, &mut place);
        header.windows = table(&self.windows, &mut place);
        header.interrupts = table(&self.interrupts, &mut place);
        header.segments = table(&self.segments, &mut place);
        header.seeds = table(&self.seeds, &mut place);
        header.pcpus = table(&self.pcpus, &mut place);
        header.time_windows = table(&self.time_windows, &mut place);
        header.channels = table(&self.channels, &mut place);
        header.platform.offset += place;
        for device in &mut self.devices {
            device.path.offset += place;
        }
        for channel in &mut self.channels {
            channel.name.offset += place;
        }
        let record_bytes = u64::from(place) + self.strings.len() as u64;
        header.record_bytes = record_bytes.next_multiple_of(8);
        let blobs = header.record_bytes.next_multiple_of(PAGE_BYTES);
        for segment in &mut self.segments {
            segment.offset += blobs;
        }
        header.total_bytes = blobs + self.blobs.bytes;
    }

    /// Writes everything, with all offsets and the checksum in place.
    fn write(mut self, header: &mut Header) -> Vec<u8> {
        self.arrange(header);
        let mut out = Vec::with_capacity(header.total_bytes as usize);
        out.extend(header.as_bytes());
        append(&mut out, &self.partitions);
        append(&mut out, &self.regions);
        append(&mut out, &self.vcpus);
        append(&mut out, &self.devices);
        append(&mut out, &self.windows);
        append(&mut out, &self.interrupts);
        append(&mut out, &self.segments);
        append(&mut out, &self.seeds);
        append(&mut out, &self.pcpus);
        append(&mut out, &self.time_windows);
        append(&mut out, &self.channels);
        out.extend(&self.strings);
        out.resize(header.record_bytes as usize, 0);
        header.checksum = record_checksum(&out);
        out[..size_of::<Header>()].copy_from_slice(header.as_bytes());
        for (blob, _) in &self.blobs.kept {
            out.resize(out.len().next_multiple_of(PAGE_BYTES as usize), 0);
            out.extend_from_slice(blob);
        }
        out.resize(header.total_bytes as usize, 0);
        out
    }
}

/// Gives a table its place.
fn table<T>(records: &[T], place: &mut u32) -> Table {
    let offset = *place;
    *place += size_of_val(records) as u32;
    Table {
        offset,
        count: records.len() as u32,
    }
}

/// Appends records.
fn append<T: IntoBytes + Immutable>(out: &mut Vec<u8>, records: &[T]) {
    out.extend(records.as_bytes());
}

/// Pads a name; what is too long has been refused.
fn name(name: &str) -> [u8; NAME_BYTES] {
    let mut padded = [0; NAME_BYTES];
    let bytes = name.as_bytes().iter().take(NAME_BYTES - 1);
    padded
        .iter_mut()
        .zip(bytes)
        .for_each(|(to, from)| *to = *from);
    padded
}

/// Makes the record of a region.
fn region(region: &crate::plan::Region) -> RegionRecord {
    RegionRecord {
        gpa: region.guest.start(),
        size: region.guest.size(),
        hpa: region.hpa.unwrap_or(ANYWHERE),
        access: region.access,
        reserved: 0,
    }
}

/// Makes the record of a vCPU.
fn vcpu(vcpu: &Vcpu) -> VcpuRecord {
    VcpuRecord {
        pcpu: vcpu.pcpu,
        priority: u32::from(vcpu.priority),
        mpidr: vcpu.mpidr.unwrap_or(BY_POSITION),
        time_slice_ns: vcpu.time_slice_ns,
        budget_ns: vcpu.budget_ns,
        period_ns: vcpu.period_ns,
        fp_eager: u32::from(vcpu.fp_eager),
        background: u32::from(vcpu.background),
    }
}

/// Makes the records of all interrupts; one that two devices of a partition share is one interrupt.
fn interrupts(devices: &[Device]) -> Vec<InterruptRecord> {
    let all = devices.iter().flat_map(|device| &device.interrupts);
    let records = all.map(|interrupt| InterruptRecord {
        intid: interrupt.intid,
        edge: u32::from(interrupt.edge),
    });
    let mut records: Vec<_> = records.collect();
    records.sort_by_key(|record| record.intid);
    records.dedup_by_key(|record| record.intid);
    records
}

/// Returns a partition's flags.
fn flags(plan: &Plan) -> u32 {
    let restarts = plan.watchdog.is_some_and(|watchdog| watchdog.restarts);
    let flag = |set, flag| if set { flag } else { 0 };
    flag(plan.autostart, partition_flags::AUTOSTART)
        | flag(restarts, partition_flags::WATCHDOG_RESTARTS)
        | flag(plan.counts_el2, partition_flags::COUNTS_EL2)
}

/// Returns the fields of what a fault does: kind, limit, window.
fn fault(does: OnFault) -> (u32, u32, u64) {
    match does {
        OnFault::Stop => (on_fault::STOP, 0, 0),
        OnFault::Restart => (on_fault::RESTART, 0, 0),
        OnFault::Limited {
            restarts,
            within_ns,
        } => (on_fault::RESTART_LIMITED, restarts, within_ns),
    }
}
