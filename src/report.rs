//! What EL2 says, made piece by piece when the console has time for it: the start-up table, the list of partitions,
//! health events. A piece costs little; a whole line by the formatting machinery would cost thousands of instructions.

use crate::events::Event;
use crate::system::{Mailbox, Partition, System};
use bulkhead::console::number::Digits;
use bulkhead::partition::Phase;
use core::sync::atomic::Ordering;

/// A piece of a line.
#[derive(Clone, Copy, Debug)]
pub enum Piece {
    /// Text as it is.
    Text(&'static str),
    /// Text, and blanks up to this many columns, as far as [`BLANKS`] go.
    Padded(&'static str, u8),
    /// A number in decimal.
    Decimal(u64),
    /// A number in hexadecimal, with `0x`.
    Hex(u64),
    /// A number of bytes with its unit.
    Size(u64),
}

use Piece::{Decimal, Hex, Padded, Size, Text};

impl Piece {
    /// Most bytes that a piece has.
    pub const BYTES: u32 = 160;

    /// Hands the piece's bytes to `put`, in order.
    pub fn spell(self, put: &mut dyn FnMut(&[u8])) {
        match self {
            Text(text) => put(text.as_bytes()),
            Padded(text, columns) => {
                put(text.as_bytes());
                let missing = usize::from(columns).saturating_sub(text.len());
                put(BLANKS.get(..missing).unwrap_or(BLANKS));
            }
            Decimal(value) => decimal(value, put),
            Hex(value) => {
                put(b"0x");
                put(Digits::hexadecimal(value, 1).as_bytes());
            }
            Size(bytes) => {
                let (amount, unit) = match bytes {
                    _ if bytes % (1 << 30) == 0 => (bytes >> 30, "G"),
                    _ if bytes % (1 << 20) == 0 => (bytes >> 20, "M"),
                    _ => (bytes >> 10, "K"),
                };
                decimal(amount, put);
                put(unit.as_bytes());
            }
        }
    }
}

/// Spells a number in decimal.
#[inline(never)]
fn decimal(value: u64, put: &mut dyn FnMut(&[u8])) {
    put(Digits::decimal(value).as_bytes());
}

/// What is being said.
#[derive(Clone, Copy, Debug)]
pub enum Speech {
    /// What the system is made of, at this line.
    StartUp(u16),
    /// The partitions and what they are doing, at this one; then the pCPUs and EL2's own memory.
    Partitions(u16),
    /// One event.
    Event(Event),
    /// This many events found no room.
    Lost(u32),
}

/// Where in a speech we are.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    speech: Speech,
    piece: u16,
}

/// What comes next in a speech.
#[derive(Clone, Copy, Debug)]
pub enum Next {
    /// Say this.
    Piece(Piece),
    /// The line is over.
    LineEnd,
    /// All is said.
    Silence,
}

impl Cursor {
    /// Begins a speech.
    pub const fn new(speech: Speech) -> Self {
        Self { speech, piece: 0 }
    }

    /// Returns what comes next.
    pub fn next(&mut self, system: &System) -> Next {
        let index = usize::from(self.piece);
        self.piece = self.piece.saturating_add(1);
        let piece = match self.speech {
            Speech::Event(event) => event.piece(system, index),
            Speech::Lost(count) => [Decimal(count.into()), Text(" more events not shown")]
                .get(index)
                .copied(),
            Speech::StartUp(line) => match start_up_line(system, line) {
                None => return Next::Silence,
                Some(Head::Board) => board_piece(system, index),
                Some(Head::Memory) => memory_piece(system, index),
                Some(Head::Columns) => [Text(COLUMNS)].get(index).copied(),
                Some(Head::Partition(partition)) => partition_piece(system, partition, index),
            },
            Speech::Partitions(line) => {
                let line = usize::from(line);
                let further = line.checked_sub(system.partitions.len());
                match (system.partitions.get(line), further) {
                    (Some(partition), _) => state_piece(partition, index),
                    (None, Some(0)) => pcpu_piece(system, index),
                    (None, Some(1)) => memory_piece(system, index),
                    (None, _) => return Next::Silence,
                }
            }
        };
        match piece {
            Some(piece) => Next::Piece(piece),
            None => self.end_line(),
        }
    }

    /// Goes on to the next line; behind an event there is none.
    fn end_line(&mut self) -> Next {
        self.piece = 0;
        match &mut self.speech {
            Speech::StartUp(line) | Speech::Partitions(line) => *line = line.saturating_add(1),
            Speech::Event(_) | Speech::Lost(_) => self.speech = Speech::Partitions(u16::MAX),
        }
        Next::LineEnd
    }
}

/// What fills a column up.
const BLANKS: &[u8] = b"                ";
const COLUMNS: &str =
    "partition        vCPU@pCPU:priority  memory: guest -> board, devices, interrupts";

/// A line of the start-up table.
enum Head {
    Board,
    Memory,
    Columns,
    Partition(&'static Partition),
}

fn start_up_line(system: &System, line: u16) -> Option<Head> {
    match line {
        0 => Some(Head::Board),
        1 => Some(Head::Memory),
        2 => Some(Head::Columns),
        _ => system
            .partitions
            .get(usize::from(line) - 3)
            .map(Head::Partition),
    }
}

fn board_piece(system: &System, index: usize) -> Option<Piece> {
    let head = [
        Text(concat!("Bulkhead ", env!("CARGO_PKG_VERSION"), " on ")),
        Text(system.board),
        Text(": partitions "),
        Decimal(system.partitions.len() as u64),
        Text(", console on pCPU "),
        Decimal(system.console.pcpu().0.into()),
        Text(", pCPUs"),
    ];
    if let Some(piece) = head.get(index) {
        return Some(*piece);
    }
    let index = index - head.len();
    let (pcpu, mailbox) = used_pcpus(system).nth(index / 3)?;
    Some(match index % 3 {
        0 => Text(" "),
        1 => Decimal(pcpu as u64),
        _ if mailbox.online.load(Ordering::Relaxed) => Text(""),
        _ => Text(" (starting)"),
    })
}

/// Returns a piece of the line about the pCPUs: how often each was woken while nobody ran there.
fn pcpu_piece(system: &System, index: usize) -> Option<Piece> {
    let Some(index) = index.checked_sub(1) else {
        return Some(Text("woken while idle, by pCPU:"));
    };
    let (pcpu, mailbox) = used_pcpus(system).nth(index / 4)?;
    let wakes = mailbox.wakes.load(Ordering::Relaxed);
    [
        Text(" "),
        Decimal(pcpu as u64),
        Text(":"),
        Decimal(wakes.into()),
    ]
    .get(index % 4)
    .copied()
}

/// Returns the pCPUs that the table uses.
fn used_pcpus(system: &System) -> impl Iterator<Item = (usize, &Mailbox)> {
    let pcpus = system.mailboxes.iter().enumerate();
    pcpus.filter(|(_, mailbox)| mailbox.used)
}

/// Returns a piece of the line about EL2's own memory.
fn memory_piece(system: &System, index: usize) -> Option<Piece> {
    let memory = &system.memory;
    [
        Text("memory: image "),
        Size(memory.image),
        Text(", pool "),
        Decimal(memory.carved.load(Ordering::Relaxed)),
        Text(" of "),
        Decimal(memory.pool),
        Text(" bytes; EL2 maps "),
        Size(memory.mapped.load(Ordering::Relaxed)),
        Text(", no page writable and executable, none of a guest's"),
    ]
    .get(index)
    .copied()
}

/// Returns a piece of a partition's line of the start-up table.
fn partition_piece(system: &System, partition: &'static Partition, index: usize) -> Option<Piece> {
    if index < 2 {
        return [Text("  "), Padded(partition.name, 15)].get(index).copied();
    }
    let mut index = index - 2;
    let records = system.payload.vcpus(partition.record);
    if let Some((place, record)) = partition.vcpus.get(index / 6).zip(records.get(index / 6)) {
        let vcpu = (index / 6) as u64;
        let pieces = [
            Text(" "),
            Decimal(vcpu),
            Text("@"),
            Decimal(place.pcpu.0.into()),
            Text(":"),
            Decimal(record.priority.into()),
        ];
        return pieces.get(index % 6).copied();
    }
    index -= partition.vcpus.len() * 6;
    if let Some(memory) = partition.memory.get(index / 6) {
        let (guest, host) = (memory.guest.start(), memory.host.0);
        let pieces = [
            Text("  "),
            Size(memory.guest.size()),
            Text(" "),
            Hex(guest),
            Text(" -> "),
            Hex(host),
        ];
        return pieces.get(index % 6).copied();
    }
    index -= partition.memory.len() * 6;
    let devices = system.payload.devices(partition.record);
    if let Some(device) = devices.get(index / 2) {
        return [Text("  "), Text(system.payload.text(device.path))]
            .get(index % 2)
            .copied();
    }
    index -= devices.len() * 2;
    let interrupt = system.payload.interrupts(partition.record).get(index / 2)?;
    [Text(" INTID "), Decimal(interrupt.intid.into())]
        .get(index % 2)
        .copied()
}

/// Returns a piece of what a partition is doing.
fn state_piece(partition: &'static Partition, index: usize) -> Option<Piece> {
    let life = partition.state.lock_by_call().life;
    let words = match life.phase() {
        Phase::Stopped => ": stopped, starts so far: ",
        Phase::Loading => ": loading, starts so far: ",
        Phase::Running => ": running, starts so far: ",
        Phase::Stopping(_) => ": stopping, starts so far: ",
    };
    let id = u64::from(partition.id.0);
    [
        Decimal(id),
        Text(" "),
        Text(partition.name),
        Text(words),
        Decimal(life.starts().into()),
    ]
    .get(index)
    .copied()
    .or_else(|| exhaustion_piece(partition, index - 5))
}

/// Returns a piece of how often a partition's budgets were exhausted, if that happened.
fn exhaustion_piece(partition: &'static Partition, index: usize) -> Option<Piece> {
    let count = partition.exhaustions.load(Ordering::Relaxed);
    let pieces = [Text(", budgets exhausted: "), Decimal(count.into())];
    pieces.get(index).filter(|_| count != 0).copied()
}
