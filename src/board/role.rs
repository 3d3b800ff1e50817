//! What a node is to us, by its `compatible` strings: compared once a node, by length first.

use super::node::strings;
use super::{PsciVersion, UartKind};

/// What a node is to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// Nothing special.
    #[default]
    None,
    /// A GICv3 or v4.
    GicV3,
    /// A GICv2 with virtualization extensions.
    GicV2,
    /// What turns memory writes into interrupts, beside the GIC itself.
    GicFrame,
    /// The Arm generic timer.
    Timer,
    /// The firmware's power interface.
    Psci(PsciVersion),
    /// A UART that we know.
    Uart(UartKind),
}

/// Returns the role of a node: that of the first of its `compatible` strings, the most specific first, that has one.
#[inline(never)]
pub(super) fn role(compatible: &[u8]) -> Role {
    let mut roles = strings(compatible).map(role_of);
    roles.find(|role| *role != Role::None).unwrap_or(Role::None)
}

/// The roles. A table and not a `match`, which would be three kilobytes of comparisons.
const ROLES: [(&[u8], Role); 24] = [
    (b"arm,gic-v3", Role::GicV3),
    (b"arm,gic-400", Role::GicV2),
    (b"arm,cortex-a15-gic", Role::GicV2),
    (b"arm,cortex-a7-gic", Role::GicV2),
    (b"arm,gic-v2", Role::GicV2),
    (b"arm,gic-v3-its", Role::GicFrame),
    (b"arm,gic-v2m-frame", Role::GicFrame),
    (b"arm,armv8-timer", Role::Timer),
    (b"arm,psci-1.0", Role::Psci(PsciVersion::V1_0)),
    (b"arm,psci-0.2", Role::Psci(PsciVersion::V0_2)),
    (b"arm,psci", Role::Psci(PsciVersion::V0_1(None))),
    (b"arm,pl011", Role::Uart(UartKind::Pl011)),
    (b"arm,sbsa-uart", Role::Uart(UartKind::Sbsa)),
    (b"ns16550a", Role::Uart(UartKind::Ns16550)),
    (b"ns16550", Role::Uart(UartKind::Ns16550)),
    (b"snps,dw-apb-uart", Role::Uart(UartKind::Ns16550)),
    (b"brcm,bcm2835-aux-uart", Role::Uart(UartKind::Auxiliary)),
    (b"nvidia,tegra20-uart", Role::Uart(UartKind::Ns16550)),
    (b"ti,am654-uart", Role::Uart(UartKind::Ns16550)),
    (b"fsl,imx6q-uart", Role::Uart(UartKind::Imx)),
    (b"fsl,imx21-uart", Role::Uart(UartKind::Imx)),
    (b"cdns,uart-r1p8", Role::Uart(UartKind::Cadence)),
    (b"cdns,uart-r1p12", Role::Uart(UartKind::Cadence)),
    (b"xlnx,xuartps", Role::Uart(UartKind::Cadence)),
];

/// Bit n: some of them have n bytes. Most strings of a tree have another length than any.
const LENGTHS: u64 = {
    let (mut lengths, mut rest) = (0, ROLES.as_slice());
    while let Some((first, others)) = rest.split_first() {
        lengths |= 1 << first.0.len();
        rest = others;
    }
    lengths
};

/// Returns the role that a `compatible` string gives.
fn role_of(name: &[u8]) -> Role {
    let length = 1u64.checked_shl(name.len() as u32).unwrap_or(0);
    if LENGTHS & length == 0 {
        return Role::None;
    }
    let known = ROLES.iter().find(|known| known.0 == name);
    known.map_or(Role::None, |known| known.1)
}
