//! The interrupt state diagram in its plainest form: no list registers, no queues, every question a search.

use std::collections::BTreeMap;

/// An SPI (`None`) or a vCPU's private interrupt, with its INTID.
pub type Key = (Option<u8>, u16);

/// One interrupt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    pub enabled: bool,
    pub group1: bool,
    pub priority: u8,
    pub edge: bool,
    pub level: bool,
    pub latch: bool,
    pub active: bool,
    /// vCPU that takes it.
    pub target: Option<u8>,
    /// Of which vCPUs an SGI of GICv2 is pending, as a mask.
    pub senders: u8,
    /// Its line is a physical one, which the virtual GIC does not see.
    pub hardware: bool,
}

impl Line {
    pub fn pending(&self) -> bool {
        self.latch || self.level && !self.edge && !self.hardware
    }
}

/// All interrupts of a partition.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub lines: BTreeMap<Key, Line>,
    pub groups: u8,
}

impl Reference {
    /// Makes what `World::ready` makes.
    pub fn ready(vcpus: usize) -> Self {
        let line = Line {
            enabled: true,
            group1: true,
            priority: 0xa0,
            ..Line::default()
        };
        let mut lines = BTreeMap::new();
        for intid in 32..48u16 {
            let spi = Line {
                edge: intid & 1 != 0,
                hardware: intid >= 40,
                target: Some(0),
                ..line
            };
            lines.insert((None, intid), spi);
        }
        for vcpu in 0..vcpus as u8 {
            for intid in (0..16).chain([27, 30]) {
                let private = Line {
                    edge: intid < 16,
                    hardware: intid == 27,
                    target: Some(vcpu),
                    ..line
                };
                lines.insert((Some(vcpu), intid), private);
            }
        }
        Self { lines, groups: 3 }
    }

    /// Returns an interrupt as a vCPU names it.
    pub fn line(&mut self, vcpu: u8, intid: u16) -> &mut Line {
        self.lines.get_mut(&key(vcpu, intid)).unwrap()
    }

    /// Says whether a vCPU may be signalled an interrupt now, its priority mask and running priority aside.
    pub fn is_deliverable(&self, vcpu: u8, intid: u16, groups: u32) -> bool {
        let line = &self.lines[&key(vcpu, intid)];
        let open = u32::from(self.groups) & groups & if line.group1 { 2 } else { 1 } != 0;
        line.pending() && line.enabled && !line.active && open && line.target == Some(vcpu)
    }

    /// Returns the priority of the most urgent deliverable interrupt of a vCPU.
    pub fn best(&self, vcpu: u8, groups: u32) -> Option<u8> {
        let lines = self.lines.iter();
        lines
            .filter(|((owner, _), _)| owner.is_none_or(|owner| owner == vcpu))
            .filter(|((_, intid), _)| self.is_deliverable(vcpu, *intid, groups))
            .map(|(_, line)| line.priority)
            .min()
    }

    /// A vCPU acknowledges an interrupt.
    pub fn acknowledge(&mut self, vcpu: u8, intid: u16) {
        let line = self.line(vcpu, intid);
        line.latch = false;
        line.active = true;
    }
}

/// Returns the key of an interrupt as a vCPU names it.
pub fn key(vcpu: u8, intid: u16) -> Key {
    (if intid < 32 { Some(vcpu) } else { None }, intid)
}
