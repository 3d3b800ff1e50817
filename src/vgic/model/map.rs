//! The register map as a file of plain fields, beside a virtual GIC whose guests acknowledge nothing: then every register
//! reads what was written, by the rules of the map alone.
//!
//! # Source
//! Arm IHI 0069, "The Distributor register map", "The Redistributor register map", and the register pages.

use super::world::{SGI_FRAME, World};
use crate::ids::VcpuId;

/// Bytes of an access: what, whose, an offset of two, a value of four.
pub const ACCESS_BYTES: usize = 8;
/// INTIDs that the partition has: see [`World::new`].
const OWNED_SPIS: std::ops::Range<u16> = 32..48;
/// One bit for each interrupt: what a register of a block does to it, by the block's number.
const BLOCKS: u64 = 0x80;

/// What the map keeps of one interrupt.
#[derive(Clone, Copy, Debug, Default)]
struct Fields {
    group: bool,
    enabled: bool,
    pending: bool,
    active: bool,
    priority: u8,
    edge: bool,
    route: u64,
}

/// The register file of a partition.
struct File {
    groups: u32,
    private: Vec<[Option<Fields>; 32]>,
    shared: [Option<Fields>; 64],
    asleep: Vec<bool>,
}

impl File {
    fn new(vcpus: usize) -> Self {
        let private = |intid: u16| {
            let edge = intid < 16;
            let owned = edge || intid == 27 || intid == 30;
            owned.then(|| Fields {
                edge,
                ..Fields::default()
            })
        };
        let shared = |index: u16| {
            OWNED_SPIS.contains(&(index + 32)).then(|| Fields {
                edge: index & 1 != 0,
                ..Fields::default()
            })
        };
        Self {
            groups: 0,
            private: vec![std::array::from_fn(|intid| private(intid as u16)); vcpus],
            shared: std::array::from_fn(|index| shared(index as u16)),
            asleep: vec![true; vcpus],
        }
    }

    /// Returns an interrupt as a frame names it: of a vCPU's redistributor, or of the distributor.
    fn fields(&mut self, frame: Option<usize>, intid: u64) -> Option<&mut Fields> {
        let intid = usize::try_from(intid).ok()?;
        match frame {
            Some(vcpu) => self.private.get_mut(vcpu)?.get_mut(intid)?.as_mut(),
            None => self.shared.get_mut(intid.checked_sub(32)?)?.as_mut(),
        }
    }

    /// Reads one interrupt's part of a register of 1 bit, 2 bits or 8 bits for each.
    fn part(&mut self, frame: Option<usize>, offset: u64, intid: u64) -> u64 {
        let Some(fields) = self.fields(frame, intid) else {
            return 0;
        };
        match offset / BLOCKS {
            1 => fields.group.into(),
            2 | 3 => fields.enabled.into(),
            4 | 5 => fields.pending.into(),
            6 | 7 => fields.active.into(),
            8..16 => fields.priority.into(),
            24..26 => u64::from(fields.edge) << 1,
            _ => 0,
        }
    }

    /// Writes one interrupt's part of a register.
    fn set_part(&mut self, frame: Option<usize>, offset: u64, intid: u64, value: u64) {
        let fixed = frame.is_some() && (intid < 16 || intid == 27);
        let Some(fields) = self.fields(frame, intid) else {
            return;
        };
        let set = value & 1 != 0;
        match offset / BLOCKS {
            1 => fields.group = set,
            2 => fields.enabled |= set,
            3 => fields.enabled &= !set,
            4 => fields.pending |= set,
            5 => fields.pending &= !set,
            6 => fields.active |= set,
            7 => fields.active &= !set,
            8..16 => fields.priority = value as u8 & 0xf8,
            24..26 if !fixed => fields.edge = value & 2 != 0,
            _ => {}
        }
    }

    /// Returns the interrupts of a register that has parts for several, the bits of each part, and how many there are.
    fn parts(frame: Option<usize>, offset: u64, width: u8) -> Option<(u64, u64, u64)> {
        let (first, bits) = match offset {
            0x80..0x400 => (offset % BLOCKS * 8, 1),
            0x400..0x800 => (offset - 0x400, 8),
            0xc00..0xd00 => ((offset - 0xc00) * 4, 2),
            _ => return None,
        };
        let fits = match (bits, width) {
            (8, 1) => true,
            (_, 4) => offset.is_multiple_of(4),
            _ => false,
        };
        let inside = frame.is_none() || first < 32;
        (fits && inside).then_some((first, bits, u64::from(width) * 8 / bits))
    }

    fn read(&mut self, frame: Option<usize>, offset: u64, width: u8) -> u64 {
        let Some((first, bits, count)) = Self::parts(frame, offset, width) else {
            return self.read_other(frame, offset, width);
        };
        (0..count).fold(0, |word, n| {
            word | self.part(frame, offset, first + n) << (n * bits)
        })
    }

    fn write(&mut self, frame: Option<usize>, offset: u64, width: u8, value: u64) {
        let Some((first, bits, count)) = Self::parts(frame, offset, width) else {
            return self.write_other(frame, offset, width, value);
        };
        for n in 0..count {
            self.set_part(frame, offset, first + n, value >> (n * bits));
        }
    }

    /// Reads GICD_CTLR and IROUTER; what says who one is stands in a unit test, and reads as itself here.
    fn read_other(&mut self, frame: Option<usize>, offset: u64, width: u8) -> u64 {
        match (frame, offset, width) {
            (None, 0, 4) => u64::from(self.groups | 0x50),
            (None, 0x6100..0x8000, 4 | 8) if offset.is_multiple_of(width.into()) => {
                let route = self.fields(frame, (offset - 0x6000) / 8);
                let route = route.map_or(0, |fields| fields.route);
                match (width, offset & 4) {
                    (8, _) => route,
                    (_, 0) => route & 0xffff_ffff,
                    _ => route >> 32,
                }
            }
            _ => 0,
        }
    }

    fn write_other(&mut self, frame: Option<usize>, offset: u64, width: u8, value: u64) {
        /// Aff3 and Aff2 to Aff0: the bit for any CPU is not there.
        const AFFINITY: u64 = 0xff_00ff_ffff;
        match (frame, offset, width) {
            (None, 0, 4) => self.groups = value as u32 & 3,
            (None, 0x6100..0x8000, 4 | 8) if offset.is_multiple_of(width.into()) => {
                if let Some(fields) = self.fields(frame, (offset - 0x6000) / 8) {
                    let (low, high) = (fields.route & 0xffff_ffff, fields.route >> 32);
                    let value = match (width, offset & 4) {
                        (8, _) => value,
                        (_, 0) => high << 32 | value & 0xffff_ffff,
                        _ => value << 32 | low,
                    };
                    fields.route = value & AFFINITY;
                }
            }
            _ => {}
        }
    }

    /// GICR_WAKER, in the first frame of a redistributor.
    fn waker(&self, vcpu: usize) -> u64 {
        if self.asleep[vcpu] { 6 } else { 0 }
    }
}

/// A virtual GIC and its register file.
pub struct Compared {
    world: World,
    file: File,
}

impl Compared {
    pub fn new(vcpus: usize) -> Self {
        let mut world = World::new(vcpus, 4);
        // No group is open at the CPU interfaces: nothing is ever acknowledged.
        for cpu in &mut world.cpus {
            cpu.vmcr = 0;
        }
        Self {
            world,
            file: File::new(vcpus),
        }
    }

    /// Makes an access and compares the register.
    pub fn access(&mut self, bytes: &[u8; ACCESS_BYTES]) {
        let [what, whose, low, high, a, b, c, d] = *bytes;
        let vcpus = self.world.cpus.len();
        let width = [1, 2, 4, 8][usize::from(what >> 1 & 3)];
        let frame = (what & 8 != 0).then_some(usize::from(whose) % vcpus);
        let offset = u64::from(u16::from_le_bytes([low, high]));
        // Most accesses meet a register.
        let offset = if what & 0x10 != 0 {
            offset
        } else {
            offset & 0xcfc
        };
        let word = u64::from(u32::from_le_bytes([a, b, c, d]));
        let value = word << 32 | word;
        let by = (usize::from(whose >> 4) % vcpus) as u8;
        if what & 1 != 0 {
            self.write(by, frame, offset, width, value);
        }
        self.compare(by, frame, offset, width);
        if let Some(vcpu) = frame {
            self.wake(vcpu, what & 0x20 != 0, word);
        }
    }

    fn write(&mut self, by: u8, frame: Option<usize>, offset: u64, width: u8, value: u64) {
        self.world.access(by, offset, |vgic| match frame {
            Some(vcpu) => {
                let vcpu = VcpuId(vcpu as u8);
                vgic.redistributor_write(vcpu, SGI_FRAME + offset, width, value)
            }
            None => vgic.distributor_write(offset, width, value),
        });
        self.world.settle();
        self.file.write(frame, offset, width, value);
    }

    /// Writes and reads GICR_WAKER.
    fn wake(&mut self, vcpu: usize, write: bool, value: u64) {
        const WAKER: u64 = 0x14;
        let id = VcpuId(vcpu as u8);
        if write {
            let effects = self.world.vgic.redistributor_write(id, WAKER, 4, value);
            assert!(effects.is_nothing());
            self.file.asleep[vcpu] = value & 2 != 0;
        }
        let read = self.world.vgic.redistributor_read(id, WAKER, 4);
        assert_eq!(read, self.file.waker(vcpu), "GICR_WAKER of vCPU {vcpu}");
    }

    /// Compares what a register reads.
    fn compare(&mut self, by: u8, frame: Option<usize>, offset: u64, width: u8) {
        // Who the controller is: GICD_TYPER, IIDR, and the identification registers.
        if matches!(offset, 4..0xc | 0xffd0..) {
            return;
        }
        self.world.bounce(by);
        let vgic = &self.world.vgic;
        let read = match frame {
            Some(vcpu) => vgic.redistributor_read(VcpuId(vcpu as u8), SGI_FRAME + offset, width),
            None if width == 4 && offset.is_multiple_of(4) => self.world.read(by, offset).into(),
            None => vgic.distributor_read(offset, width),
        };
        let wanted = self.file.read(frame, offset, width);
        assert_eq!(read, wanted, "{frame:?} {offset:#x} of {width}");
    }

    /// Compares all registers that have parts for interrupts, and what the physical interrupts are left in.
    pub fn compare_all(&mut self) {
        let frames = (0..self.world.cpus.len()).map(Some).chain([None]);
        for frame in frames {
            for offset in (0x80..0x440).chain(0xc00..0xc10).step_by(4) {
                self.compare(0, frame, offset, 4);
            }
        }
        for intid in OWNED_SPIS {
            self.compare(0, None, 0x6000 + 8 * u64::from(intid), 8);
        }
        for (intid, state) in &self.world.physical {
            let Some(fields) = self.file.fields(None, (*intid).into()) else {
                continue;
            };
            assert_eq!(state.enabled, fields.enabled, "physical {intid} enabled");
            assert_eq!(state.edge, fields.edge, "physical {intid} trigger");
            let taken = self.world.vgic.hardware_in_flight(VcpuId(0), *intid);
            assert_eq!(state.active, taken, "physical {intid} active");
        }
    }
}
