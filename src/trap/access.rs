//! A guest's access to an emulated device, as the syndrome of its data abort tells it.

use super::inject::is_harmless;
use super::syndrome::{DataAbort, Fault, InstructionAbort};
use crate::addr::GuestPhysAddr;

/// Number of bytes that one device access moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two bytes.
    Half,
    /// Four bytes.
    Word,
    /// Eight bytes.
    Double,
}

impl Width {
    /// Returns the number of bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u64 {
        1 << self as u32
    }

    /// Returns the bits that an access of this width carries.
    pub const fn mask(self) -> u64 {
        match self {
            Self::Byte => 0xff,
            Self::Half => 0xffff,
            Self::Word => 0xffff_ffff,
            Self::Double => u64::MAX,
        }
    }
}

/// A single load or store of one general register, which EL2 can emulate without reading the instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmioAccess {
    /// Bytes moved.
    pub width: Width,
    /// General register, 0..=31; 31 is XZR: a load into it is dropped, a store of it stores zero.
    pub register: u8,
    /// A store rather than a load.
    pub write: bool,
    /// A load extends its sign.
    sign_extend: bool,
    /// The general register is a 64-bit one.
    sixty_four: bool,
}

impl MmioAccess {
    /// Decodes an abort, or returns `None` when the syndrome does not describe one plain load or store: pairs,
    /// exclusives, writeback, `DC ZVA`, SIMD. The guest then takes an external abort.
    ///
    /// # Source
    /// Arm DDI 0487, `ESR_EL2`, "ISS encoding for an exception from a Data Abort".
    pub const fn decode(abort: DataAbort) -> Option<Self> {
        if !abort.isv() || abort.cm() || abort.s1ptw() {
            return None;
        }
        let width = match abort.sas() {
            0 => Width::Byte,
            1 => Width::Half,
            2 => Width::Word,
            _ => Width::Double,
        };
        Some(Self {
            width,
            register: abort.srt(),
            write: abort.wnr(),
            sign_extend: abort.sse(),
            sixty_four: abort.sf(),
        })
    }

    /// Returns what a load leaves in the general register when the device answers `raw`: cut to the width,
    /// sign-extended where the instruction says so, the upper half zero for a 32-bit register.
    pub const fn extend(self, raw: u64) -> u64 {
        let unused = 64 - 8 * self.width.bytes() as u32;
        let value = if self.sign_extend {
            (((raw << unused) as i64) >> unused) as u64
        } else {
            raw & self.width.mask()
        };
        if self.sixty_four {
            value
        } else {
            value & 0xffff_ffff
        }
    }

    /// Returns what a store puts on the bus from the general register's value. The caller gives 0 for XZR.
    pub const fn stored(self, register_value: u64) -> u64 {
        register_value & self.width.mask()
    }
}

/// What a guest's stage-2 data abort comes down to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// One plain access to an address where nothing is mapped: a device's, or nobody's (then inject).
    Access {
        /// First byte of the access.
        address: GuestPhysAddr,
        /// The load or store.
        access: MmioAccess,
    },
    /// Cache maintenance of nothing: skip the instruction.
    Skip,
    /// Everything else: inject an external abort.
    Refuse,
}

/// Sorts a stage-2 data abort. `hpfar` and `far` as for [`fault_address`].
#[inline]
pub const fn sort(abort: DataAbort, hpfar: u64, far: u64) -> Aborted {
    if let (Some(access), Fault::Translation) = (MmioAccess::decode(abort), abort.fault())
        && let Ok(address) = fault_address(abort, hpfar, far)
    {
        return Aborted::Access { address, access };
    }
    if is_harmless(abort) {
        Aborted::Skip
    } else {
        Aborted::Refuse
    }
}

/// Why a stage-2 abort tells no guest-physical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultAddressError {
    /// `HPFAR_EL2` is not promised for this fault: a permission fault outside a stage-1 walk, or an external
    /// abort. The caller translates `FAR_EL2` itself, or injects an abort.
    NotReported,
    /// `FnV` = 1: `FAR_EL2` does not hold the address.
    FarInvalid,
}

/// Returns the guest-physical address that a stage-2 data abort reports.
///
/// `hpfar` and `far` are raw `HPFAR_EL2` and `FAR_EL2`, read on the same trap before interrupts are unmasked.
/// The result joins `HPFAR_EL2.FIPA` (page number, 4 KiB units whatever the granule) with the low 12 bits of
/// `far`. For a fault on the guest's own table walk (`S1PTW`) `far` is the address that was being translated,
/// so the result is the start of the table's page.
///
/// # Errors
/// * [`FaultAddressError::NotReported`]: neither a stage-1 walk nor a translation, access-flag or address-size
///   fault.
/// * [`FaultAddressError::FarInvalid`]: `FnV` = 1, so the byte offset is unknown.
///
/// # Source
/// Arm DDI 0487, register pages `HPFAR_EL2`, `FAR_EL2`, and `ESR_EL2` "ISS encoding for an exception from a
/// Data Abort".
pub const fn fault_address(
    abort: DataAbort,
    hpfar: u64,
    far: u64,
) -> Result<GuestPhysAddr, FaultAddressError> {
    join(abort.fault(), abort.s1ptw(), abort.fnv(), hpfar, far)
}

/// Returns the guest-physical address that a stage-2 instruction abort reports: see [`fault_address`].
///
/// # Errors
/// As [`fault_address`].
pub const fn fetch_address(
    abort: InstructionAbort,
    hpfar: u64,
    far: u64,
) -> Result<GuestPhysAddr, FaultAddressError> {
    join(abort.fault(), abort.s1ptw(), abort.fnv(), hpfar, far)
}

/// Joins the two address registers by the rules of [`fault_address`].
const fn join(
    fault: Fault,
    s1ptw: bool,
    fnv: bool,
    hpfar: u64,
    far: u64,
) -> Result<GuestPhysAddr, FaultAddressError> {
    /// `HPFAR_EL2.FIPA`, bits 47:4, with room for 56-bit addresses; bit 63 is `NS`.
    const FIPA: u64 = 0x0000_ffff_ffff_fff0;
    let page = (hpfar & FIPA) << 8;
    if s1ptw {
        return Ok(GuestPhysAddr(page));
    }
    match fault {
        Fault::Translation | Fault::AccessFlag | Fault::AddressSize => {}
        _ => return Err(FaultAddressError::NotReported),
    }
    if fnv {
        return Err(FaultAddressError::FarInvalid);
    }
    Ok(GuestPhysAddr(page | (far & 0xfff)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISV: u64 = 1 << 24;
    const SSE: u64 = 1 << 21;
    const SF: u64 = 1 << 15;
    const S1PTW: u64 = 1 << 7;
    const FNV: u64 = 1 << 10;
    const TRANSLATION_3: u64 = 7;
    const PERMISSION_3: u64 = 0xf;

    fn access(iss: u64) -> MmioAccess {
        MmioAccess::decode(DataAbort::from_esr(ISV | TRANSLATION_3 | iss)).unwrap()
    }

    #[test]
    fn loads_fill_the_register_as_the_instruction_says() {
        // (SAS, SSE, SF, what the device answers, what the register holds): LDRB, LDRH, LDR w, LDR x,
        // LDRSB w, LDRSB x, LDRSH w, LDRSH x, LDRSW x; every width with the sign bit set and clear.
        let cases = [
            (0, 0, 0, 0xffff_ffff_ffff_ff80, 0x80),
            (1, 0, 0, 0xffff_ffff_ffff_8000, 0x8000),
            (2, 0, 0, 0xffff_ffff_8000_0000, 0x8000_0000),
            (3, 0, SF, 0x8000_0000_0000_0001, 0x8000_0000_0000_0001),
            (0, SSE, 0, 0x80, 0xffff_ff80),
            (0, SSE, SF, 0x80, 0xffff_ffff_ffff_ff80),
            (0, SSE, SF, 0xf7f, 0x7f),
            (1, SSE, 0, 0x8000, 0xffff_8000),
            (1, SSE, SF, 0x8000, 0xffff_ffff_ffff_8000),
            (1, SSE, SF, 0x7fff, 0x7fff),
            (2, SSE, SF, 0x8000_0000, 0xffff_ffff_8000_0000),
            (2, SSE, SF, 0x7fff_ffff, 0x7fff_ffff),
        ];
        for (sas, sse, sf, raw, expected) in cases {
            let load = access(sas << 22 | sse | sf);
            assert_eq!(load.extend(raw), expected, "SAS {sas} SSE {sse} SF {sf}");
        }
    }

    #[test]
    fn stores_put_their_width_on_the_bus() {
        let value = 0x1122_3344_5566_7788;
        let expected = [0x88, 0x7788, 0x5566_7788, value];
        for (sas, expected) in expected.into_iter().enumerate() {
            let store = access((sas as u64) << 22 | 1 << 6);
            assert!(store.write);
            assert_eq!(store.stored(value), expected);
            assert_eq!(store.width.bytes(), 1 << sas);
        }
    }

    #[test]
    fn what_the_syndrome_does_not_describe_is_not_an_access() {
        assert_eq!(
            MmioAccess::decode(DataAbort::from_esr(TRANSLATION_3)),
            None,
            "ISV=0: a pair, an exclusive, DC ZVA"
        );
        assert_eq!(
            MmioAccess::decode(DataAbort::from_esr(ISV | S1PTW | TRANSLATION_3)),
            None
        );
        assert_eq!(
            MmioAccess::decode(DataAbort::from_esr(ISV | 1 << 8 | TRANSLATION_3)),
            None
        );
    }

    #[test]
    fn fault_address_joins_page_and_offset() {
        // HPFAR_EL2 bits 43:4 hold IPA bits 51:12; bit 63 is NS.
        let hpfar = 1 << 63 | 0x0900_0000 >> 8;
        let abort = DataAbort::from_esr(ISV | TRANSLATION_3);
        let far = 0xffff_8000_1234_5018;
        assert_eq!(
            fault_address(abort, hpfar, far),
            Ok(GuestPhysAddr(0x0900_0018))
        );
        let top = fault_address(abort, 0xf_ffff_ffff << 4, 0xfff);
        assert_eq!(top, Ok(GuestPhysAddr(0xffff_ffff_ffff)));
    }

    #[test]
    fn aborts_are_sorted() {
        let sort = |iss: u64| sort(DataAbort::from_esr(iss), 0x0900_0000 >> 8, 0x18);
        let Aborted::Access { address, access } = sort(ISV | 2 << 22 | 5 << 16 | TRANSLATION_3)
        else {
            panic!("not an access")
        };
        assert_eq!(address, GuestPhysAddr(0x0900_0018));
        assert_eq!((access.register, access.width), (5, Width::Word));
        for (what, iss) in [
            ("a pair", TRANSLATION_3),
            ("a store to read-only memory", ISV | 1 << 6 | PERMISSION_3),
            ("beyond the tables", ISV),
            ("an external abort", ISV | 0x10),
            ("a misaligned access", ISV | 0x21),
            ("a table walk", ISV | S1PTW | TRANSLATION_3),
            ("no address", ISV | FNV | TRANSLATION_3),
            ("AT", 1 << 8 | S1PTW | TRANSLATION_3),
        ] {
            assert_eq!(sort(iss), Aborted::Refuse, "{what}");
        }
        assert_eq!(sort(1 << 8 | 1 << 6 | TRANSLATION_3), Aborted::Skip);
    }

    #[test]
    fn walk_fault_gives_the_page_of_the_table() {
        let abort = DataAbort::from_esr(S1PTW | PERMISSION_3);
        assert_eq!(
            fault_address(abort, 0x0004_0000, 0x123),
            Ok(GuestPhysAddr(0x0400_0000))
        );
    }

    #[test]
    fn addresses_that_are_not_promised_are_refused() {
        for (iss, expected) in [
            (PERMISSION_3, FaultAddressError::NotReported),
            (0x10, FaultAddressError::NotReported),
            (FNV | TRANSLATION_3, FaultAddressError::FarInvalid),
        ] {
            assert_eq!(
                fault_address(DataAbort::from_esr(iss), 0x4000, 0x8),
                Err(expected)
            );
        }
        assert_eq!(
            fetch_address(InstructionAbort::from_esr(PERMISSION_3), 0x4000, 0x8),
            Err(FaultAddressError::NotReported)
        );
    }
}
