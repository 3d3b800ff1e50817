//! Looks at all that there is, before the runtime starts: MMU off, nothing set up.
//!
//! What differs from life to life by its nature, and is left out:
//!
//! | what | why |
//! | --- | --- |
//! | the counts and the timers' TVAL ([`is_time`]) | time goes on |
//! | RNDR and RNDRRS ([`is_random`]) | drawn anew for each read |
//! | `rng-seed` and `kaslr-seed` in the tree ([`seeds`]) | drawn anew for each start |
//! | the channel's memory | it is both sides', and outlasts a restart on purpose |
//! | the doorbell's registers | they say which life it is, and how the partner is |
//! | TPIDRRO_EL0 | gives way to x0 at the first instruction; `restart-checks` looks at it |
//! | what is left of the budgets at the start | see [`supply`] |
//! | x0 of the second vCPU | this guest's own word to it |

use crate::dump::{Class, Dump};
use crate::supply;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use guest_runtime::exception::{Fault, catch};
use guest_runtime::made::{Field, MRS, encoding};
use guest_runtime::mmio::Mmio;
use guest_runtime::smccc::{self, psci};
use guest_runtime::{console, gic, gicv2, layout, manage, smp, start, sysreg, timer, tree};

global_asm!(include_str!("early.S"), kept_bytes = const size_of::<[Kept; 2]>());

/// Words before FPCR in [`Kept`], and before the checksum.
const GENERAL: usize = 50;
const CHECKSUM: usize = 116;
/// Words of it in all.
const WORDS: usize = 120;
/// Bytes of a page.
const PAGE: usize = 4096;
/// Accesses between two kicks of the watchdog.
const KICK: usize = 256;

/// What `early.S` keeps of a vCPU.
#[repr(C, align(64))]
struct Kept([AtomicU64; WORDS]);

#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.alike")]
static ALIKE_KEPT: [Kept; 2] = [const { Kept([const { AtomicU64::new(0) }; WORDS]) }; 2];

/// An instruction for each register that there could be.
static READS: Field<0x8000> = Field::new();
/// Where the dump of this life goes; 0: nowhere.
static PLACE: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" {
    fn alike_second();
    static __image_start: u8;
    static __image_end: u8;
}

/// Looks, on the first vCPU, in a life that is dumped.
#[unsafe(no_mangle)]
extern "C" fn alike_look(device_tree: u64) {
    start::set_device_tree(device_tree);
    let Some(channel) = crate::find() else {
        return;
    };
    let life = channel.own().generation;
    if channel.side != 0 || !crate::is_dumped(life) {
        return;
    }
    let memory = crate::shared();
    let place = if life == 1 { 1 } else { 2 };
    PLACE.store(memory + place * crate::dump::BYTES, Relaxed);
    let dump = Dump::new(memory, place);
    dump.begin();
    registers(dump, &ALIKE_KEPT[0], [Class::General, Class::Vector]);
    system(dump, Class::System);
    controller(dump);
    uart(dump);
    memory_and_tree(dump);
    others(dump);
    dump.end();
}

/// Looks on the second vCPU, and turns it off again.
#[unsafe(no_mangle)]
extern "C" fn alike_look_beside() -> ! {
    let dump = Dump::at(PLACE.load(Relaxed));
    registers(dump, &ALIKE_KEPT[1], [Class::Second, Class::SecondVector]);
    system(dump, Class::SecondSystem);
    supply::measure(1);
    loop {
        smp::stop_self();
    }
}

/// What was kept at the first instruction.
fn registers(dump: Dump, kept: &Kept, [general, vector]: [Class; 2]) {
    let first = usize::from(general == Class::Second);
    for (word, value) in kept.0.iter().enumerate().skip(first) {
        let class = match word {
            GENERAL..CHECKSUM => vector,
            _ => general,
        };
        // The checksum and what is behind it come last, though the keys of a class rise.
        if class == general {
            dump.put(class, word as u64, value.load(Relaxed));
        }
    }
    for (word, value) in kept.0.iter().enumerate().take(CHECKSUM).skip(GENERAL) {
        dump.put(vector, word as u64, value.load(Relaxed));
    }
}

/// Says whether a register goes on by itself.
fn is_time(number: u32) -> bool {
    const COUNTS: [u32; 6] = [
        encoding(3, 3, 14, 0, 1), // CNTPCT_EL0
        encoding(3, 3, 14, 0, 2), // CNTVCT_EL0
        encoding(3, 3, 14, 0, 5), // CNTPCTSS_EL0
        encoding(3, 3, 14, 0, 6), // CNTVCTSS_EL0
        encoding(3, 3, 14, 2, 0), // CNTP_TVAL_EL0
        encoding(3, 3, 14, 3, 0), // CNTV_TVAL_EL0
    ];
    COUNTS.contains(&number)
}

/// Says whether a register is a random number, where the CPU has those.
fn is_random(number: u32) -> bool {
    (encoding(3, 3, 2, 4, 0)..=encoding(3, 3, 2, 4, 1)).contains(&number)
}

/// Every system register that can be read.
fn system(dump: Dump, class: Class) {
    if class == Class::System {
        READS.fill(MRS);
    }
    const TPIDRRO_EL0: u32 = encoding(3, 3, 13, 0, 3);
    for number in 0..0x8000_u32 {
        if number.is_multiple_of(KICK as u32) {
            manage::kick();
        }
        if is_time(number) || is_random(number) || number == TPIDRRO_EL0 {
            continue;
        }
        // SAFETY: a read changes x0 alone.
        let (value, fault) = catch(|| unsafe { READS.run(number, 0) });
        if fault.is_none() {
            dump.put(class, number.into(), value);
        }
    }
}

/// Puts all words of a block of registers; one that faults as its syndrome.
fn block(dump: Dump, class: Class, at: usize, bytes: usize, first_key: usize) {
    // SAFETY: registers of a device, or a hole.
    let block = unsafe { Mmio::new(at) };
    for offset in (0..bytes).step_by(4) {
        if offset.is_multiple_of(4 * KICK) {
            manage::kick();
        }
        let (value, fault) = catch(|| block.read32(offset));
        let value = match fault {
            Some(Fault { esr, .. }) => esr << 32,
            None => value.into(),
        };
        dump.put_unless_zero(class, (first_key + offset) as u64, value);
    }
}

/// Registers of GICv2's CPU interface whose reading changes nothing: controls, priorities, identification.
const INTERFACE: [usize; 9] = [0x0, 0x4, 0x8, 0x14, 0x18, 0x1c, 0x28, 0xd0, 0xfc];

fn controller(dump: Dump) {
    if gic::version() == 2 {
        block(dump, Class::Distributor, layout::GICD, 0x1000, 0);
        for offset in INTERFACE {
            let value = gicv2::INTERFACE.read32(offset);
            dump.put(Class::Redistributor, offset as u64, value.into());
        }
        return;
    }
    block(dump, Class::Distributor, layout::GICD, 0x1_0000, 0);
    let count = gic::redistributor_affinities().count();
    let bytes = count * layout::GICR_STRIDE;
    block(dump, Class::Redistributor, layout::GICR, bytes, 0);
}

fn uart(dump: Dump) {
    block(dump, Class::Uart, layout::UART, 0x1000, 0);
    let room = console::UART.read32(console::FR);
    dump.put(Class::Uart, 0x1000, room.into());
}

/// Returns where the random seeds in the tree are.
fn seeds() -> [(usize, usize); 2] {
    let mut all = [(0, 0); 2];
    let found = tree::properties().filter(|one| matches!(one.name, "rng-seed" | "kaslr-seed"));
    for (place, one) in all.iter_mut().zip(found) {
        let at = one.value.as_ptr() as usize;
        *place = (at, at + one.value.len());
    }
    all
}

/// Adds a word to a hash, which stays zero as long as all words are.
fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// All pages but the image's, which `early.S` added up; and the tree's properties one by one.
fn memory_and_tree(dump: Dump) {
    let seeds = seeds();
    let image = &raw const __image_start as usize..&raw const __image_end as usize;
    for (number, page) in (layout::RAM..).step_by(PAGE).enumerate() {
        if number.is_multiple_of(8) {
            manage::kick();
        }
        let (_, fault) = catch(|| word_at(page));
        if fault.is_some() {
            dump.put(Class::Memory, u64::MAX >> 8, number as u64);
            break;
        }
        if !image.contains(&page) {
            let hash = (page..page + PAGE)
                .step_by(8)
                .fold(0, |hash, at| mix(hash, without(&seeds, at, word_at(at))));
            dump.put_unless_zero(Class::Memory, number as u64, hash);
        }
    }
    for (number, one) in tree::properties().enumerate() {
        if !matches!(one.name, "rng-seed" | "kaslr-seed") {
            let bytes = one.node.bytes().chain(one.name.bytes());
            let all = bytes.chain(one.value.iter().copied());
            let hash = all.fold(1, |hash, byte| mix(hash, byte.into()));
            dump.put(Class::Tree, number as u64, hash);
        }
    }
}

/// Loads a word of this guest's memory, or of what might be it.
fn word_at(address: usize) -> u64 {
    let value;
    // SAFETY: a load alone.
    unsafe {
        asm!("ldr {v}, [{a}]", v = out(reg) value, a = in(reg) address, options(nostack, readonly))
    };
    value
}

/// Takes the bytes out of a word that are in one of some ranges.
fn without(ranges: &[(usize, usize)], at: usize, word: u64) -> u64 {
    let mut bytes = word.to_le_bytes();
    for (place, byte) in (at..).zip(&mut bytes) {
        if ranges
            .iter()
            .any(|(from, to)| (*from..*to).contains(&place))
        {
            *byte = 0;
        }
    }
    u64::from_le_bytes(bytes)
}

/// What calls say of the vCPUs; then the second vCPU looks; and what the budgets give.
fn others(dump: Dump) {
    let mut affinities = [0; smp::MAX_VCPUS];
    let count = smp::affinities(&mut affinities);
    for (index, affinity) in affinities[..count].iter().enumerate() {
        dump.put(Class::Calls, index as u64, smp::state(*affinity) as u64);
    }
    supply::measure(0);
    let other = affinities[..count]
        .iter()
        .find(|affinity| **affinity != sysreg::affinity());
    if let Some(other) = other {
        let entry = alike_second as *const () as u64;
        psci(
            smccc::CPU_ON,
            [*other, entry, &raw const ALIKE_KEPT[1] as u64],
        );
        timer::wait_until(timer::PATIENCE_NS, || {
            manage::kick();
            smp::state(*other) == 1
        });
    }
    for index in 0..count {
        dump.put(Class::Budget, index as u64, supply::of(index));
    }
}
