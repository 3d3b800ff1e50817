//! The physical GIC: SPIs that belong to partitions, and each pCPU's virtual timer interrupt.

use std::collections::BTreeMap;

/// A physical SPI.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spi {
    /// The partition that it was given to.
    pub owner: usize,
    /// The trigger that the table names.
    pub edge_at_reset: bool,
    pub edge: bool,
    pub enabled: bool,
    /// Latched, by an edge or by ISPENDR.
    pub latched: bool,
    /// The device's line.
    pub line: bool,
    pub active: bool,
    /// The pCPU that it is routed to, or nobody that hears it.
    pub target: Option<usize>,
    /// The vCPU whose priority it has, or none that is heard.
    pub urgency: Option<u8>,
}

impl Spi {
    /// What ISPENDR shows.
    pub fn is_pending(&self) -> bool {
        self.latched || self.line && !self.edge
    }
}

/// The physical GIC.
pub struct Gic {
    pub spis: BTreeMap<u16, Spi>,
    /// Whether each pCPU's virtual timer interrupt is active.
    pub timers: Vec<bool>,
}

impl Gic {
    pub fn new(pcpus: usize) -> Self {
        Self {
            spis: BTreeMap::new(),
            timers: vec![false; pcpus],
        }
    }

    /// Gives a partition an SPI, off and routed to a pCPU.
    pub fn give(&mut self, intid: u16, owner: usize, edge: bool, target: usize) {
        let spi = Spi {
            owner,
            edge_at_reset: edge,
            edge,
            target: Some(target),
            urgency: Some(0),
            ..Spi::default()
        };
        assert!(self.spis.insert(intid, spi).is_none());
    }

    /// Returns an SPI, to change it.
    pub fn spi(&mut self, intid: u16) -> &mut Spi {
        self.spis.get_mut(&intid).expect("an SPI of nobody")
    }

    /// Returns an SPI for a partition to change, which must be its own.
    pub fn own(&mut self, part: usize, intid: u16) -> &mut Spi {
        let spi = self.spi(intid);
        assert_eq!(spi.owner, part, "{intid} is another partition's");
        spi
    }

    /// The device's line moves.
    pub fn drive(&mut self, intid: u16, level: bool) {
        let spi = self.spi(intid);
        spi.latched |= spi.edge && level && !spi.line;
        spi.line = level;
    }

    /// Returns the SPIs that are signalled to a pCPU.
    pub fn signalled(&self, pcpu: usize) -> Vec<u16> {
        let signals =
            |spi: &Spi| spi.enabled && !spi.active && spi.is_pending() && spi.target == Some(pcpu);
        let spis = self.spis.iter().filter(|(_, spi)| signals(spi));
        spis.map(|(intid, _)| *intid).collect()
    }

    /// A pCPU acknowledges an SPI.
    pub fn acknowledge(&mut self, intid: u16) {
        let spi = self.spi(intid);
        spi.latched = false;
        spi.active = true;
    }
}
