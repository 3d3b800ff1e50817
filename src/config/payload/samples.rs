//! Payloads for tests, built in code.

use zerocopy::{Immutable, IntoBytes};

use super::super::record::{
    self, ChannelRecord, DeviceRecord, Header, InterruptRecord, MAGIC, PartitionRecord, PcpuRecord,
    RegionRecord, SeedRecord, SegmentRecord, Span, Table, Text, TimeWindowRecord, VERSION,
    VcpuRecord, WindowRecord, record_checksum,
};

/// Makes 8-aligned bytes of a payload: header, one partition with one of everything, a path.
pub(crate) struct Sample {
    pub(crate) header: Header,
    pub(crate) partitions: Vec<PartitionRecord>,
    pub(crate) regions: Vec<RegionRecord>,
    pub(crate) vcpus: Vec<VcpuRecord>,
    pub(crate) devices: Vec<DeviceRecord>,
    pub(crate) windows: Vec<WindowRecord>,
    pub(crate) interrupts: Vec<InterruptRecord>,
    pub(crate) segments: Vec<SegmentRecord>,
    pub(crate) seeds: Vec<SeedRecord>,
    pub(crate) pcpus: Vec<PcpuRecord>,
    pub(crate) time_windows: Vec<TimeWindowRecord>,
    pub(crate) channels: Vec<ChannelRecord>,
    pub(crate) text: &'static str,
}

const ONE: Span = Span { first: 0, count: 1 };

/// Pads a name.
pub(crate) fn name(text: &str) -> [u8; record::NAME_BYTES] {
    let mut name = [0; record::NAME_BYTES];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

impl Sample {
    pub(crate) fn new() -> Self {
        Self {
            header: Header {
                magic: MAGIC,
                version: VERSION,
                header_bytes: size_of::<Header>() as u32,
                total_bytes: 0x3000,
                console_mpidr: record::BY_POSITION,
                ..Header::default()
            },
            partitions: vec![PartitionRecord {
                name: name("linux"),
                regions: ONE,
                vcpus: ONE,
                devices: ONE,
                interrupts: ONE,
                segments: ONE,
                seeds: ONE,
                entry: 0x4000_0000,
                dtb: 0x4010_0000,
                gicd: 0x0800_0000,
                gicr: 0x080a_0000,
                console_gpa: 0x0900_0000,
                console_model: record::console_model::PL011,
                console_intid: 33,
                flags: 1,
                ..PartitionRecord::default()
            }],
            regions: vec![RegionRecord {
                gpa: 0x4000_0000,
                size: 0x20_0000,
                hpa: record::ANYWHERE,
                access: 7,
                reserved: 0,
            }],
            vcpus: vec![VcpuRecord {
                priority: 10,
                mpidr: record::BY_POSITION,
                ..VcpuRecord::default()
            }],
            devices: vec![DeviceRecord {
                path: Text::default(),
                windows: ONE,
            }],
            windows: vec![WindowRecord {
                gpa: 0x0901_0000,
                hpa: 0x0901_0000,
                size: 0x1000,
            }],
            interrupts: vec![InterruptRecord { intid: 34, edge: 0 }],
            segments: vec![SegmentRecord {
                gpa: 0x4000_0000,
                offset: 0x1000,
                file_bytes: 0x2000,
                memory_bytes: 0x4000,
            }],
            seeds: vec![SeedRecord {
                gpa: 0x4010_0100,
                bytes: 32,
            }],
            pcpus: vec![PcpuRecord {
                mpidr: record::BY_POSITION,
                major_frame_ns: 10_000,
                windows: ONE,
                ..PcpuRecord::default()
            }],
            time_windows: vec![TimeWindowRecord {
                start_ns: 1_000,
                length_ns: 4_000,
                partitions: 1,
            }],
            channels: Vec::new(),
            text: "/pl031@9010000",
        }
    }

    /// Returns the record area as words, so that it is aligned.
    pub(crate) fn build(mut self) -> Vec<u64> {
        let mut bytes = vec![0; size_of::<Header>()];
        let text = Text {
            offset: bytes.len() as u32,
            length: self.text.len() as u32,
        };
        bytes.extend_from_slice(self.text.as_bytes());
        for device in &mut self.devices {
            // A path that a test gives is a part of the text.
            device.path = match device.path.length {
                0 => text,
                length => Text {
                    offset: text.offset + device.path.offset,
                    length,
                },
            };
        }
        self.header.platform = text;
        self.header.partitions = put(&mut bytes, &self.partitions);
        self.header.regions = put(&mut bytes, &self.regions);
        self.header.vcpus = put(&mut bytes, &self.vcpus);
        self.header.devices = put(&mut bytes, &self.devices);
        self.header.windows = put(&mut bytes, &self.windows);
        self.header.interrupts = put(&mut bytes, &self.interrupts);
        self.header.segments = put(&mut bytes, &self.segments);
        self.header.seeds = put(&mut bytes, &self.seeds);
        self.header.pcpus = put(&mut bytes, &self.pcpus);
        self.header.time_windows = put(&mut bytes, &self.time_windows);
        self.header.channels = put(&mut bytes, &self.channels);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        self.header.record_bytes = bytes.len() as u64;
        bytes[..size_of::<Header>()].copy_from_slice(self.header.as_bytes());
        let mut words = vec![0_u64; bytes.len() / 8];
        words.as_mut_bytes().copy_from_slice(&bytes);
        sign(&mut words);
        words
    }
}

/// Appends a table.
fn put<T: IntoBytes + Immutable>(bytes: &mut Vec<u8>, records: &[T]) -> Table {
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let offset = bytes.len() as u32;
    bytes.extend_from_slice(records.as_bytes());
    Table {
        offset,
        count: records.len() as u32,
    }
}

/// Writes the right checksum.
pub(crate) fn sign(words: &mut [u64]) {
    words[4] = record_checksum(words.as_bytes());
}
