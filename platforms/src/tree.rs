//! Guest device trees: what QEMU's `virt` machine would show, as far as it is there, and nothing else.

mod channel;
mod encode;
mod manager;

use bulkhead::config::record::access;
use bulkhead::ids::{Mpidr, VcpuId};
use dtoolkit::Node;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

use self::encode::Encode;
use crate::plan::{Plan, UART_BYTES};

/// Handle of the interrupt controller's node.
pub const GIC_HANDLE: u32 = 1;
/// Handle of the UART's clock node.
const CLOCK_HANDLE: u32 = 2;
/// First handle of what comes with passed-through devices.
pub const FIRST_FREE_HANDLE: u32 = 3;
/// Rate of the UART's clock: that of QEMU's `virt`.
const UART_HZ: u32 = 24_000_000;
/// Bytes of `rng-seed`: Linux takes 64 at most for its pool.
const RNG_SEED_BYTES: usize = 64;
/// Bytes of `kaslr-seed`.
const KASLR_SEED_BYTES: usize = 8;
/// The first bytes of a seed's placeholder; EL2 writes over all of it at every start.
const PLACEHOLDER: u8 = 0xa5;

/// Interrupt type of a shared peripheral interrupt in a GIC specifier.
const SPI: u32 = 0;
/// Interrupt type of a private one.
const PPI: u32 = 1;
/// Trigger flags of a GIC specifier: rising edge.
const RISING: u32 = 1;
/// Trigger flags of a GIC specifier: high level.
const HIGH: u32 = 4;
/// Where the flags of a private interrupt of a GICv2 have the CPUs that it belongs to.
const PPI_CPUS_SHIFT: u32 = 8;
/// First INTID of a shared peripheral interrupt.
const FIRST_SPI: u32 = 32;

/// What a guest is told besides what its plan holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    /// The command line.
    pub cmdline: Option<&'a str>,
    /// First and behind-last address of the initial RAM disk.
    pub initrd: Option<(u64, u64)>,
}

/// A generated tree, flattened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The flattened tree.
    pub bytes: Vec<u8>,
    /// Where it wants random bytes: offset and bytes.
    pub seeds: Vec<(u64, u64)>,
}

/// Generates the tree of a partition. `cpus` has a `compatible` text for each vCPU.
pub fn generate(plan: &Plan, cpus: &[String], words: Words<'_>) -> DeviceTree {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    put(root, "compatible", "linux,dummy-virt");
    put(root, "model", "Bulkhead partition");
    put(root, "#address-cells", 2u32);
    put(root, "#size-cells", 2u32);
    put(root, "interrupt-parent", GIC_HANDLE);
    let mut aliases = node("aliases");
    let mut chosen = chosen(words);
    add_memory(root, plan);
    root.add_child(cpu_nodes(cpus));
    root.add_child(psci());
    root.add_child(timer(plan));
    root.add_child(interrupt_controller(plan));
    if let Some(console) = &plan.console {
        let name = format!("pl011@{:x}", console.gpa);
        put(&mut chosen, "stdout-path", format!("/{name}"));
        put(&mut aliases, "serial0", format!("/{name}"));
        root.add_child(clock(CLOCK_HANDLE, "apb-pclk", UART_HZ));
        root.add_child(uart(&name, console.gpa, console.intid));
    }
    add_devices(root, &mut aliases, plan);
    channel::add_all(root, plan);
    manager::add(root, plan);
    root.add_child(aliases);
    root.add_child(chosen);
    tree
}

/// Adds what comes with passed-through devices, and the aliases that the board has for them.
fn add_devices(root: &mut DeviceTreeNode, aliases: &mut DeviceTreeNode, plan: &Plan) {
    for node in &plan.nodes.nodes {
        root.add_child(node.clone());
    }
    for (alias, place) in &plan.nodes.aliases {
        if aliases.property(alias).is_none() {
            put(aliases, alias, place.as_str());
        }
    }
}

/// Makes an empty node.
pub fn node(name: impl Into<String>) -> DeviceTreeNode {
    DeviceTreeNode::new_unchecked(name.into())
}

/// Adds a property.
pub fn put(node: &mut DeviceTreeNode, name: &str, value: impl Encode) {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value.encode()));
}

/// Adds a property without a value.
pub fn mark(node: &mut DeviceTreeNode, name: &str) {
    put(node, name, Vec::<u8>::new());
}

/// Splits 64-bit numbers into cells, the high half first.
pub fn cells(numbers: &[u64]) -> Vec<u32> {
    let halves = numbers.iter().map(|n| [(n >> 32) as u32, *n as u32]);
    halves.flatten().collect()
}

/// Writes an interrupt specifier of three cells.
pub fn specifier(intid: u32, edge: bool) -> [u32; 3] {
    let flags = if edge { RISING } else { HIGH };
    [SPI, intid.saturating_sub(FIRST_SPI), flags]
}

/// `/chosen`.
fn chosen(words: Words<'_>) -> DeviceTreeNode {
    let mut chosen = node("chosen");
    if let Some(cmdline) = words.cmdline {
        put(&mut chosen, "bootargs", cmdline);
    }
    if let Some((start, end)) = words.initrd {
        put(&mut chosen, "linux,initrd-start", start);
        put(&mut chosen, "linux,initrd-end", end);
    }
    put(&mut chosen, "rng-seed", placeholder(RNG_SEED_BYTES, 1));
    put(&mut chosen, "kaslr-seed", placeholder(KASLR_SEED_BYTES, 2));
    chosen
}

/// Fills a seed's place with bytes that occur nowhere else in a tree.
fn placeholder(bytes: usize, number: u8) -> Vec<u8> {
    let mut fill = vec![PLACEHOLDER; bytes];
    fill[bytes - 1] = number;
    fill
}

/// `/memory@...`, one for each piece that the guest may write.
fn add_memory(root: &mut DeviceTreeNode, plan: &Plan) {
    for region in &plan.regions {
        if region.access & access::WRITE == 0 {
            continue;
        }
        let mut memory = node(format!("memory@{:x}", region.guest.start()));
        put(&mut memory, "device_type", "memory");
        let reg = cells(&[region.guest.start(), region.guest.size()]);
        put(&mut memory, "reg", reg);
        root.add_child(memory);
    }
}

/// `/cpus`.
fn cpu_nodes(compatibles: &[String]) -> DeviceTreeNode {
    let mut cpus = node("cpus");
    put(&mut cpus, "#address-cells", 1u32);
    put(&mut cpus, "#size-cells", 0u32);
    for (index, compatible) in compatibles.iter().enumerate() {
        let mpidr = Mpidr::of_vcpu(VcpuId(index as u8)).raw();
        let mut cpu = node(format!("cpu@{mpidr:x}"));
        put(&mut cpu, "device_type", "cpu");
        put(&mut cpu, "compatible", compatible.as_str());
        put(&mut cpu, "reg", mpidr as u32);
        put(&mut cpu, "enable-method", "psci");
        cpus.add_child(cpu);
    }
    cpus
}

/// `/psci`.
fn psci() -> DeviceTreeNode {
    let mut psci = node("psci");
    let versions: &[&str] = &["arm,psci-1.0", "arm,psci-0.2"];
    put(&mut psci, "compatible", versions);
    put(&mut psci, "method", "hvc");
    psci
}

/// `/timer`: secure, physical, virtual and EL2's, in this order because the binding names them by position.
fn timer(plan: &Plan) -> DeviceTreeNode {
    let mut timer = node("timer");
    put(&mut timer, "compatible", "arm,armv8-timer");
    // GICv2's binding wants to know which CPUs have it.
    let cpus = match plan.layout.gicv2 {
        false => 0,
        true => ((1 << plan.vcpus.len()) - 1) << PPI_CPUS_SHIFT,
    };
    let interrupts = [13u32, 14, 11, 10].map(|number| [PPI, number, HIGH | cpus]);
    put(&mut timer, "interrupts", interrupts.concat());
    mark(&mut timer, "always-on");
    timer
}

/// `/intc@...`.
fn interrupt_controller(plan: &Plan) -> DeviceTreeNode {
    let layout = plan.layout;
    let mut intc = node(format!("intc@{:x}", layout.gicd));
    let compatible = match layout.gicv2 {
        false => "arm,gic-v3",
        true => "arm,cortex-a15-gic",
    };
    put(&mut intc, "compatible", compatible);
    put(&mut intc, "#interrupt-cells", 3u32);
    put(&mut intc, "#address-cells", 2u32);
    put(&mut intc, "#size-cells", 2u32);
    mark(&mut intc, "ranges");
    mark(&mut intc, "interrupt-controller");
    if !layout.gicv2 {
        put(&mut intc, "#redistributor-regions", 1u32);
    }
    let (gicd_bytes, gicr_bytes) = (layout.gicd_bytes(), layout.gicr_bytes(plan.vcpus.len()));
    let reg = [layout.gicd, gicd_bytes, layout.gicr, gicr_bytes];
    put(&mut intc, "reg", cells(&reg));
    put(&mut intc, "phandle", GIC_HANDLE);
    intc
}

/// A clock of one rate.
fn clock(handle: u32, name: &str, hz: u32) -> DeviceTreeNode {
    let mut clock = node(name);
    put(&mut clock, "compatible", "fixed-clock");
    put(&mut clock, "#clock-cells", 0u32);
    put(&mut clock, "clock-frequency", hz);
    put(&mut clock, "clock-output-names", "clk24mhz");
    put(&mut clock, "phandle", handle);
    clock
}

/// The emulated UART. Linux's driver wants its clocks: without them there is no console.
fn uart(name: &str, gpa: u64, intid: u32) -> DeviceTreeNode {
    let mut uart = node(name);
    let compatible: &[&str] = &["arm,pl011", "arm,primecell"];
    put(&mut uart, "compatible", compatible);
    put(&mut uart, "reg", cells(&[gpa, UART_BYTES]));
    put(&mut uart, "interrupts", specifier(intid, false).to_vec());
    put(&mut uart, "clocks", vec![CLOCK_HANDLE, CLOCK_HANDLE]);
    let names: &[&str] = &["uartclk", "apb_pclk"];
    put(&mut uart, "clock-names", names);
    uart
}

/// Flattens the tree, finds the seeds' places and clears them.
pub fn flatten(tree: &DeviceTree) -> Generated {
    let mut bytes = tree.to_dtb();
    let mut seeds = Vec::new();
    for fill in [
        placeholder(RNG_SEED_BYTES, 1),
        placeholder(KASLR_SEED_BYTES, 2),
    ] {
        let at = bytes.windows(fill.len()).position(|window| window == fill);
        if let Some(at) = at {
            bytes[at..at + fill.len()].fill(0);
            seeds.push((at as u64, fill.len() as u64));
        }
    }
    Generated { bytes, seeds }
}
