//! Where everything goes in the board's memory: the same function that EL2 runs at start-up, run on the tree at hand.

use bulkhead::addr::{BLOCK_2M_BYTES, PAGE_BYTES, Range};
use bulkhead::board::{Reserved, ReservedBy};
use bulkhead::config::payload::Payload;
use bulkhead::config::placement::{
    CHANNEL_BYTES, Demand, Ground, Owner, PARTITION_BYTES, PCPU_BYTES, STACK_BYTES, SYSTEM_BYTES,
    VCPU_BYTES, Violation, place, pool_bytes,
};
use bulkhead::config::record::{ANYWHERE, channel_modulus};
use bulkhead::ids::PartitionId;
use zerocopy::IntoBytes;

use crate::board::HostBoard;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::payload::words;
use crate::plan::{Channel, Plan, Region};
use crate::platform::Platform;
use crate::rule::Rule;
use crate::units::{round_size, show_size};

/// Where a boot loader puts EL2 when the board does not say: as far into RAM as QEMU does.
const LOAD_OFFSET: u64 = BLOCK_2M_BYTES;
/// QEMU puts the device tree this far into RAM, or behind half of it, or behind the image.
const TREE_OFFSET: u64 = 128 << 20;

/// The board's memory, divided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// What lies where, sorted by address; what is free is in it too.
    pub used: Vec<(Range, String)>,
    /// Where EL2's image is.
    pub image: u64,
}

/// What has a fixed place before partitions are placed.
pub struct Fixed<'a> {
    /// EL2's image.
    pub image: Range,
    /// EL2's image and the payload behind it.
    pub hypervisor: Range,
    /// What the board reserves, and the device tree.
    pub reserved: Vec<Reserved<'a>>,
    /// Whether QEMU runs the board, so that more memory is an option away.
    pub emulated: bool,
}

impl<'a> Fixed<'a> {
    /// Finds out where EL2 and the device tree lie; `None` when there is no RAM there.
    pub fn find(
        board: &HostBoard<'a>,
        platform: &Platform,
        image_bytes: u64,
        payload_bytes: u64,
    ) -> Option<Self> {
        let ram = board.board.memory.first()?;
        let qemu = platform.qemu.as_ref();
        let bytes = image_bytes.checked_add(payload_bytes)?.max(1);
        let start = match qemu {
            Some(qemu) => ram.start().checked_add(qemu.load_offset)?,
            None => load_address(board, bytes)?,
        };
        let image = Range::new(start, image_bytes.max(1))?;
        let hypervisor = Range::new(start, bytes)?;
        let mut reserved: Vec<Reserved<'a>> = board.board.reserved.iter().copied().collect();
        let wanted = ram.start() + (ram.size() / 2).min(TREE_OFFSET);
        let behind = hypervisor.last().checked_add(1)?;
        let tree = wanted
            .max(behind)
            .checked_next_multiple_of(BLOCK_2M_BYTES)?;
        if let Some(range) = Range::new(tree, board.tree_bytes()).filter(|_| qemu.is_some()) {
            reserved.push(Reserved {
                range,
                by: ReservedBy::Tree,
            });
        }
        Some(Self {
            image,
            hypervisor,
            reserved,
            emulated: qemu.is_some(),
        })
    }
}

/// Returns where a boot loader is told to put EL2: as far into RAM as QEMU does, or behind what is reserved there.
fn load_address(board: &HostBoard<'_>, bytes: u64) -> Option<u64> {
    let board = &board.board;
    let kept = |range: Range| {
        let reserved = board.reserved.iter().map(|reserved| reserved.range);
        let reserved = reserved.filter(|reserved| reserved.overlaps(range));
        reserved.map(|reserved| reserved.last()).max()
    };
    for ram in &board.memory {
        let mut start = ram.start().checked_add(LOAD_OFFSET)?;
        while let Some(range) = Range::new(start, bytes).filter(|range| ram.contains(*range)) {
            let Some(last) = kept(range) else {
                return Some(start);
            };
            start = last
                .checked_add(1)?
                .checked_next_multiple_of(BLOCK_2M_BYTES)?;
        }
    }
    // There is no room: the usual place is said to have none.
    board.memory.first()?.start().checked_add(LOAD_OFFSET)
}

/// Places EL2's pool, the partitions' memory and that of channels around what is fixed; plans and channels get their host
/// addresses.
pub fn place_all(
    (plans, channels): (&mut [Plan], &mut [Channel]),
    board: &HostBoard<'_>,
    fixed: &Fixed<'_>,
    payload: &[u8],
    out: &mut Diagnostics,
) -> Map {
    let ground = Ground {
        memory: &board.board.memory,
        reserved: &fixed.reserved,
        hypervisor: fixed.hypervisor,
    };
    check_hypervisor(&ground, out);
    let pool = pool(plans, channels, payload, board.board.cpus.len());
    let demands = demands(plans, channels, pool);
    let mut places = vec![ANYWHERE; demands.len()];
    place(
        &ground,
        demands.iter().copied(),
        &mut places,
        &mut |found| {
            let mut found = diagnose(&found, plans, channels, board);
            if found.rule == Rule::NoRoom && fixed.emulated {
                found = found.help("QEMU gives more with `--memory SIZE`");
            }
            out.push(found);
        },
    );
    let mut used: Vec<(Range, String)> = Vec::new();
    for (demand, place) in demands.iter().zip(&places) {
        let range = Range::new(*place, demand.size).filter(|_| *place != ANYWHERE);
        used.extend(range.map(|range| (range, owner_words(&demand.owner, plans))));
    }
    let regions = places.get(1..).unwrap_or(&[]).to_vec();
    let all = plans.iter_mut().flat_map(|plan| plan.regions.iter_mut());
    let all = all.map(|region| &mut region.placed);
    let shared = channels.iter_mut().map(|channel| &mut channel.placed);
    for (placed, place) in all.chain(shared).zip(regions) {
        *placed = place;
    }
    map(used, board, fixed)
}

/// Refuses a payload that reaches past the end of RAM.
fn check_hypervisor(ground: &Ground<'_>, out: &mut Diagnostics) {
    let range = ground.hypervisor;
    if !ground.memory.iter().any(|ram| ram.contains(range)) {
        let size = round_size(range.size());
        let title = format!("EL2 with its payload takes {size} at {range}: there is not all RAM");
        let found = Diagnostic::outside(Rule::NoRoom, title);
        out.push(found.help("the payload holds all images: make them smaller"));
    }
}

/// Returns the bytes of EL2's pool; a payload with errors in it gets a guess.
fn pool(plans: &[Plan], channels: &[Channel], payload: &[u8], pcpus: usize) -> u64 {
    match Payload::new(words(payload).as_bytes()) {
        Ok(payload) => pool_bytes(&payload, pcpus, pcpus.saturating_sub(1)),
        Err(_) => {
            let each = PARTITION_BYTES + VCPU_BYTES + 4 * PAGE_BYTES;
            let channels = channels.len() as u64 * CHANNEL_BYTES;
            let pcpus = pcpus as u64 * (PCPU_BYTES + STACK_BYTES);
            let bytes = SYSTEM_BYTES + pcpus + plans.len() as u64 * each + channels;
            bytes.next_multiple_of(PAGE_BYTES)
        }
    }
}

/// Lists what needs a place, in EL2's order.
fn demands<'a>(plans: &'a [Plan], channels: &'a [Channel], pool: u64) -> Vec<Demand<'a>> {
    let pool = Demand {
        owner: Owner::Pool,
        size: pool,
        hpa: ANYWHERE,
        gpa: 0,
        modulus: PAGE_BYTES,
    };
    let regions = plans.iter().enumerate().flat_map(|(position, plan)| {
        let regions = plan.regions.iter().enumerate();
        regions.map(move |(region, of)| Demand {
            owner: Owner::Region {
                partition: PartitionId(position as u8),
                name: &plan.name,
                region: region as u32,
            },
            size: of.guest.size(),
            hpa: of.hpa.unwrap_or(ANYWHERE),
            gpa: of.guest.start(),
            modulus: BLOCK_2M_BYTES,
        })
    });
    let shared = channels
        .iter()
        .enumerate()
        .map(|(position, channel)| Demand {
            owner: Owner::Channel {
                channel: position as u32,
                name: &channel.name,
            },
            size: channel.size,
            hpa: ANYWHERE,
            gpa: 0,
            modulus: channel_modulus(channel.size),
        });
    std::iter::once(pool).chain(regions).chain(shared).collect()
}

/// Finds the region that an owner stands for.
fn region<'a>(owner: &Owner<'_>, plans: &'a [Plan]) -> Option<(&'a Plan, &'a Region)> {
    let Owner::Region {
        partition, region, ..
    } = owner
    else {
        return None;
    };
    let plan = plans.get(usize::from(partition.0))?;
    Some((plan, plan.regions.get(*region as usize)?))
}

/// Names an owner.
fn owner_words(owner: &Owner<'_>, plans: &[Plan]) -> String {
    match (region(owner, plans), owner) {
        (Some((plan, _)), _) => format!("{}: memory", plan.name),
        (None, Owner::Channel { name, .. }) => format!("channel {name}: shared memory"),
        (None, _) => "EL2: tables, vCPUs, rings".to_owned(),
    }
}

/// Words a violation.
fn diagnose(
    violation: &Violation<'_>,
    plans: &[Plan],
    channels: &[Channel],
    board: &HostBoard<'_>,
) -> Diagnostic {
    match *violation {
        Violation::OutsideMemory { owner, range } => outside(&owner, range, plans, board),
        Violation::OverlapsHypervisor {
            owner,
            range,
            hypervisor,
        } => taken(&owner, range, "EL2 with its payload", hypervisor, plans),
        Violation::OverlapsReserved {
            owner,
            range,
            reserved,
        } => taken(
            &owner,
            range,
            &reserved_words(&reserved),
            reserved.range,
            plans,
        ),
        Violation::HypervisorReserved {
            hypervisor,
            reserved,
        } => on_reserved(hypervisor, &reserved),
        Violation::OverlapsOther {
            owner,
            range,
            other,
            other_range,
        } => overlap(&owner, &range, &other, &other_range, plans),
        Violation::NoRoom {
            owner,
            size,
            largest,
        } => {
            let found = no_room(&owner, size, largest, plans, board);
            match owner {
                Owner::Channel { channel, .. } => match channels.get(channel as usize) {
                    Some(channel) => found.and(channel.span.clone(), "this channel"),
                    None => found,
                },
                _ => found,
            }
        }
        Violation::NoRange { owner, .. } | Violation::Incongruent { owner, .. } => {
            let (title, text) = (violation.to_string(), "this place".to_owned());
            blame(Rule::MemoryIncongruent, title, &owner, text, plans)
        }
        Violation::TooMany { .. } => Diagnostic::outside(Rule::NoRoom, violation.to_string()),
    }
}

/// Words a fixed place where there is no memory.
fn outside(owner: &Owner<'_>, range: Range, plans: &[Plan], board: &HostBoard<'_>) -> Diagnostic {
    let ram = board.board.memory.iter().map(|ram| ram.to_string());
    let ram = ram.collect::<Vec<_>>().join(", ");
    let title = format!("{} is not all in RAM", subject(owner, plans));
    let text = format!("host addresses {range}");
    let found = blame(Rule::MemoryOutsideRam, title, owner, text, plans);
    found.help(format!("the board has RAM at {ram}"))
}

/// Words a fixed place that somebody else has.
fn taken(owner: &Owner<'_>, range: Range, by: &str, theirs: Range, plans: &[Plan]) -> Diagnostic {
    let title = format!("{} lies on {by}", subject(owner, plans));
    let text = format!("host addresses {range}, {by} has {theirs}");
    blame(Rule::MemoryReserved, title, owner, text, plans).help(OPEN)
}

/// Words an image that is loaded over what is reserved.
fn on_reserved(hypervisor: Range, reserved: &Reserved<'_>) -> Diagnostic {
    let (by, theirs) = (reserved_words(reserved), reserved.range);
    let title = format!("EL2 with its payload at {hypervisor} lies on {by} at {theirs}");
    let found = Diagnostic::outside(Rule::MemoryReserved, title);
    found.help("load it elsewhere: `load_offset` of `[qemu]` in the board's board.toml")
}

/// What to do about a fixed place that is taken.
const OPEN: &str = "choose another `hpa`, or leave it out: memory then goes where there is room";

/// Names an owner at the start of a sentence.
fn subject(owner: &Owner<'_>, plans: &[Plan]) -> String {
    match (region(owner, plans), owner) {
        (Some((plan, _)), _) => format!("memory of `{}`", plan.name),
        (None, Owner::Channel { name, .. }) => format!("the memory of channel `{name}`"),
        (None, _) => "EL2's own memory".to_owned(),
    }
}

/// Names who reserves memory.
fn reserved_words(reserved: &Reserved<'_>) -> String {
    match reserved.by {
        ReservedBy::Block => "an entry of /memreserve/".to_owned(),
        ReservedBy::Node(name) => format!("/reserved-memory/{name}"),
        ReservedBy::Tree => "the device tree".to_owned(),
        ReservedBy::SpinTable => "a spin table".to_owned(),
    }
}

/// Starts a diagnostic at an owner's place in the table.
fn blame(rule: Rule, title: String, owner: &Owner<'_>, text: String, plans: &[Plan]) -> Diagnostic {
    match region(owner, plans) {
        Some((_, region)) => Diagnostic::new(rule, title, region.span.clone(), text),
        None => Diagnostic::outside(rule, title),
    }
}

/// Words two owners of the same memory.
fn overlap(
    owner: &Owner<'_>,
    range: &Range,
    other: &Owner<'_>,
    other_range: &Range,
    plans: &[Plan],
) -> Diagnostic {
    let title = format!(
        "{} overlaps {}",
        subject(owner, plans),
        subject(other, plans)
    );
    let text = format!("host addresses {range}");
    let found = blame(Rule::MemoryOverlap, title, owner, text, plans);
    let found = match region(other, plans) {
        Some((_, region)) => {
            found.and(region.span.clone(), format!("host addresses {other_range}"))
        }
        None => found,
    };
    found.help(OPEN)
}

/// Words memory that finds no place.
fn no_room(
    owner: &Owner<'_>,
    size: u64,
    largest: u64,
    plans: &[Plan],
    board: &HostBoard<'_>,
) -> Diagnostic {
    let title = format!("the board has no room for {}", subject(owner, plans));
    let text = format!("{} in one piece", show_size(size));
    let found = blame(Rule::NoRoom, title, owner, text, plans);
    let ram: u64 = board.board.memory.iter().map(|ram| ram.size()).sum();
    let mib = largest >> 20;
    found.help(format!(
        "of {} the largest piece that is left has {mib} MiB: ask for less, or for a board with more",
        show_size(ram)
    ))
}

/// Makes the map: what is placed, what is fixed, and what is left.
fn map(mut used: Vec<(Range, String)>, board: &HostBoard<'_>, fixed: &Fixed<'_>) -> Map {
    used.push((fixed.image, "EL2: image".to_owned()));
    let payload = fixed.image.last().checked_add(1);
    let payload = payload.and_then(|start| Range::inclusive(start, fixed.hypervisor.last()));
    used.extend(payload.map(|range| (range, "EL2: payload, with the images of all".to_owned())));
    for reserved in &fixed.reserved {
        used.push((
            reserved.range.align_out(PAGE_BYTES),
            format!("reserved: {}", reserved_words(reserved)),
        ));
    }
    used.sort_by_key(|(range, _)| (range.start(), range.last()));
    let mut free = Vec::new();
    for ram in &board.board.memory {
        let mut cursor = Some(ram.start());
        for (range, _) in used.iter().filter(|(range, _)| range.overlaps(*ram)) {
            let gap = cursor.zip(range.start().checked_sub(1));
            free.extend(gap.and_then(|(from, to)| Range::inclusive(from, to)));
            cursor = cursor.max(range.last().checked_add(1));
        }
        free.extend(cursor.and_then(|from| Range::inclusive(from, ram.last())));
    }
    used.extend(free.into_iter().map(|range| (range, "free".to_owned())));
    used.sort_by_key(|(range, _)| (range.start(), range.last()));
    Map {
        used,
        image: fixed.image.start(),
    }
}
