//! Which properties refer to other nodes, and how.
//!
//! # Source
//! Devicetree Specification v0.4, chapter "The Devicetree"; for the rest the bindings of Linux's
//! `Documentation/devicetree/bindings`, by the names that they give to such properties.

/// What a property's value is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Numbers and texts that mean the same everywhere.
    Value,
    /// What is made anew for every guest.
    Made,
    /// The device's clocks.
    Clocks,
    /// Handles, each with as many cells behind it as this property of the node that it names says.
    List(&'static str),
    /// Handles, each with so many cells behind it.
    Cells(usize),
    /// The handle of a regulator.
    Supply,
    /// What makes sense beside the properties of a host bridge or an SMMU alone.
    Foreign,
    /// Names or numbers for the entries of another property, which go with it.
    Beside(&'static str),
}

/// Properties by their names.
const KINDS: [(&str, Kind); 62] = [
    ("phandle", Kind::Made),
    ("linux,phandle", Kind::Made),
    ("interrupts", Kind::Made),
    ("interrupt-parent", Kind::Made),
    ("assigned-clocks", Kind::Made),
    ("assigned-clock-parents", Kind::Made),
    ("assigned-clock-rates", Kind::Made),
    ("clocks", Kind::Clocks),
    ("clock-names", Kind::Beside("clocks")),
    ("interrupt-names", Kind::Beside("interrupts")),
    ("interrupts-extended", Kind::List("#interrupt-cells")),
    ("resets", Kind::List("#reset-cells")),
    ("reset-names", Kind::Beside("resets")),
    ("power-domains", Kind::List("#power-domain-cells")),
    ("power-domain-names", Kind::Beside("power-domains")),
    ("dmas", Kind::List("#dma-cells")),
    ("dma-names", Kind::Beside("dmas")),
    ("interconnects", Kind::List("#interconnect-cells")),
    ("interconnect-names", Kind::Beside("interconnects")),
    ("iommus", Kind::List("#iommu-cells")),
    ("iommu-map", Kind::Foreign),
    ("iommu-map-mask", Kind::Foreign),
    ("msi-parent", Kind::List("#msi-cells")),
    ("msi-map", Kind::Foreign),
    ("msi-map-mask", Kind::Foreign),
    ("interrupt-map", Kind::Foreign),
    ("interrupt-map-mask", Kind::Foreign),
    ("mboxes", Kind::List("#mbox-cells")),
    ("mbox-names", Kind::Beside("mboxes")),
    ("io-channels", Kind::List("#io-channel-cells")),
    ("io-channel-names", Kind::Beside("io-channels")),
    ("hwlocks", Kind::List("#hwlock-cells")),
    ("hwlock-names", Kind::Beside("hwlocks")),
    ("nvmem", Kind::Cells(0)),
    ("nvmem-names", Kind::Beside("nvmem")),
    ("nvmem-cells", Kind::List("#nvmem-cell-cells")),
    ("nvmem-cell-names", Kind::Beside("nvmem-cells")),
    ("phys", Kind::List("#phy-cells")),
    ("phy-names", Kind::Beside("phys")),
    ("phy-handle", Kind::Cells(0)),
    ("phy-device", Kind::Cells(0)),
    ("pcs-handle", Kind::Cells(0)),
    ("fixed-link-handle", Kind::Cells(0)),
    ("sfp", Kind::Cells(0)),
    ("pwms", Kind::List("#pwm-cells")),
    ("pwm-names", Kind::Beside("pwms")),
    ("pinctrl-names", Kind::Beside("pinctrl-0")),
    ("memory-region", Kind::Cells(0)),
    ("memory-region-names", Kind::Beside("memory-region")),
    ("gpio-ranges", Kind::Cells(3)),
    ("gpio-ranges-group-names", Kind::Beside("gpio-ranges")),
    ("thermal-sensors", Kind::List("#thermal-sensor-cells")),
    ("cooling-device", Kind::List("#cooling-cells")),
    ("sound-dai", Kind::List("#sound-dai-cells")),
    ("remote-endpoint", Kind::Cells(0)),
    ("extcon", Kind::Cells(0)),
    ("backlight", Kind::Cells(0)),
    ("leds", Kind::Cells(0)),
    ("panel", Kind::Cells(0)),
    ("mmc-pwrseq", Kind::Cells(0)),
    ("wakeup-parent", Kind::Cells(0)),
    ("operating-points-v2", Kind::Cells(0)),
];

/// Returns what the value of the property with this name is made of.
pub fn kind(name: &str) -> Kind {
    if let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == name) {
        return *kind;
    }
    let pins = name.strip_prefix("pinctrl-");
    if pins.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
        return Kind::Cells(0);
    }
    if name.ends_with("-supply") {
        return Kind::Supply;
    }
    // Numbers of lines are called so too.
    let counts = name == "nr-gpios" || name.ends_with(",nr-gpios");
    let lines =
        ["gpio", "gpios"].contains(&name) || name.ends_with("-gpio") || name.ends_with("-gpios");
    match lines && !counts {
        true => Kind::List("#gpio-cells"),
        false => Kind::Value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_told_by_their_names() {
        assert_eq!(kind("reset-gpios"), Kind::List("#gpio-cells"));
        assert_eq!(kind("snps,nr-gpios"), Kind::Value);
        assert_eq!(kind("ngpios"), Kind::Value);
        assert_eq!(kind("vmmc-supply"), Kind::Supply);
        assert_eq!(kind("pinctrl-10"), Kind::Cells(0));
        assert_eq!(kind("pinctrl-names"), Kind::Beside("pinctrl-0"));
        assert_eq!(kind("resets"), Kind::List("#reset-cells"));
        assert_eq!(kind("bus-width"), Kind::Value);
    }

    #[test]
    fn what_stands_beside_a_property_stands_beside_one_that_there_is() {
        let beside = KINDS.iter().filter_map(|(_, kind)| match kind {
            Kind::Beside(of) => Some(*of),
            _ => None,
        });
        for of in beside {
            assert!(!matches!(kind(of), Kind::Value | Kind::Beside(_)), "{of}");
        }
    }
}
