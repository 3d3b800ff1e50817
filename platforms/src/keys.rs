//! The keys of each table of a partition table: one list for the reader, the messages and the schema's test.

/// A key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What one writes, the key included.
    pub example: &'static str,
    /// What it is for, when it is known but not built yet.
    pub later: Option<&'static str>,
}

/// The keys that may stand side by side.
#[derive(Debug)]
pub struct Group {
    /// Where they stand, in words: "a partition".
    pub place: &'static str,
    /// The keys.
    pub keys: &'static [Key],
}

impl Group {
    /// Returns a key by name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Returns the names of the keys that are built.
    pub fn names(&self) -> Vec<&'static str> {
        let built = self.keys.iter().filter(|key| key.later.is_none());
        built.map(|key| key.name).collect()
    }
}

/// Makes a key that is built.
const fn key(name: &'static str, example: &'static str) -> Key {
    Key {
        name,
        example,
        later: None,
    }
}

/// Makes a key that is reserved for `purpose`.
const fn later(name: &'static str, purpose: &'static str) -> Key {
    Key {
        name,
        example: "",
        later: Some(purpose),
    }
}

/// All groups.
pub const GROUPS: &[&Group] = &[
    &ROOT, &SYSTEM, &PCPU, &WINDOW, &PARTITION, &IMAGE, &REGION, &VCPU, &CPU, &CONSOLE, &DEVICE,
    &TREE, &FAULT, &WATCHDOG, &CHANNEL,
];

/// The outermost keys.
pub static ROOT: Group = Group {
    place: "a partition table",
    keys: &[
        key("system", "[system]"),
        key("pcpu", "[[pcpu]]"),
        key("partition", "[[partition]]"),
        key("channel", "[[channel]]"),
    ],
};

/// `[system]`.
pub static SYSTEM: Group = Group {
    place: "[system]",
    keys: &[
        key("version", "version = 1"),
        key("platform", "platform = \"qemu-virt\""),
        key("focus", "focus = \"linux\""),
        key("console_pcpu", "console_pcpu = 0"),
        key("console_priority", "console_priority = 0"),
        key("on_panic", "on_panic = \"park\""),
        key("scrub_at_boot", "scrub_at_boot = true"),
        key("trace", "trace = \"64K\""),
        later("signature", "signed payloads"),
    ],
};

/// `[[pcpu]]`.
pub static PCPU: Group = Group {
    place: "[[pcpu]]",
    keys: &[
        key("id", "id = 0"),
        key("exclusive", "exclusive = true"),
        key("allow_overload", "allow_overload = true"),
        key("major_frame", "major_frame = \"10ms\""),
        key(
            "windows",
            "windows = [{ start = \"0ms\", length = \"5ms\", partitions = [\"loop\"] }]",
        ),
        later("colors", "cache colouring"),
    ],
};

/// `[[partition]]`.
pub static PARTITION: Group = Group {
    place: "a partition",
    keys: &[
        key("name", "name = \"linux\""),
        key("image", "image = { guest = \"hello\" }"),
        key("memory", "memory = \"256M\""),
        key("vcpus", "vcpus = [{ pcpu = 0, priority = 10 }]"),
        key("console", "console = \"pl011\""),
        key("devices", "devices = [\"/pl031@9010000\"]"),
        key("layout", "layout = \"virt\""),
        key("dtb", "dtb = \"generated\""),
        key("on_fault", "on_fault = \"restart\""),
        key("autostart", "autostart = true"),
        key("manages", "manages = [\"loop\"]"),
        key(
            "watchdog",
            "watchdog = { timeout = \"1s\", action = \"restart\" }",
        ),
        key("counts_el2", "counts_el2 = true"),
        later("shared", "shared memory"),
        later("virtio", "virtio devices"),
        later("smmu", "DMA through an SMMU"),
        later("firmware_calls", "calls into the board's firmware"),
        later("depends_on", "start order"),
        later("cpu_features", "a choice of CPU features"),
        later("colors", "cache colouring"),
        later("signature", "signed images"),
    ],
};

/// `image`.
pub static IMAGE: Group = Group {
    place: "an image",
    keys: &[
        key("guest", "guest = \"hello\""),
        key("recipe", "recipe = \"debian-linux\""),
        key("kernel", "kernel = \"Image\""),
        key("initrd", "initrd = \"initrd.img\""),
        key("cmdline", "cmdline = \"console=ttyAMA0\""),
        key("elf", "elf = \"program.elf\""),
        key("raw", "raw = \"program.bin\""),
        key("load", "load = 0x4000_0000"),
        key("entry", "entry = 0x4000_0000"),
        later(
            "preloaded",
            "images that the board's loader puts into memory",
        ),
        later("size", "images that the board's loader puts into memory"),
    ],
};

/// An entry of a `memory` list.
pub static REGION: Group = Group {
    place: "a piece of memory",
    keys: &[
        key("gpa", "gpa = 0x4000_0000"),
        key("size", "size = \"256M\""),
        key("hpa", "hpa = 0x6000_0000"),
        key("access", "access = \"rwx\""),
    ],
};

/// An entry of `vcpus`.
pub static VCPU: Group = Group {
    place: "a vCPU",
    keys: &[
        key("pcpu", "pcpu = 0"),
        key("priority", "priority = 10"),
        key("time_slice", "time_slice = \"1ms\""),
        key("period", "period = \"1ms\""),
        key("fp", "fp = \"lazy\""),
        key("budget", "budget = \"200us\""),
        key("on_exhaustion", "on_exhaustion = \"throttle\""),
    ],
};

/// An entry of `windows`.
pub static WINDOW: Group = Group {
    place: "a time window",
    keys: &[
        key("start", "start = \"0ms\""),
        key("length", "length = \"5ms\""),
        key("partitions", "partitions = [\"loop\"]"),
    ],
};

/// A CPU named by its affinity.
pub static CPU: Group = Group {
    place: "a CPU",
    keys: &[key("mpidr", "mpidr = 0x100")],
};

/// `console` as a table.
pub static CONSOLE: Group = Group {
    place: "a console",
    keys: &[
        key("model", "model = \"pl011\""),
        key("gpa", "gpa = 0x0900_0000"),
        key("intid", "intid = 33"),
        key("overflow", "overflow = \"wait\""),
    ],
};

/// An entry of `devices` as a table.
pub static DEVICE: Group = Group {
    place: "a device",
    keys: &[
        key("path", "path = \"/pl031@9010000\""),
        key("gpa", "gpa = 0x0901_0000"),
        key("dma", "dma = \"none\""),
        key("clocks", "clocks = [200_000_000]"),
        key("reg", "reg = [[0x0901_0000, 0x1000]]"),
        key("intid", "intid = [34]"),
        key("compatible", "compatible = \"arm,pl031\""),
    ],
};

/// `dtb` as a table.
pub static TREE: Group = Group {
    place: "a device tree",
    keys: &[
        key("file", "file = \"guest.dtb\""),
        key("at", "at = 0x4800_0000"),
        key("generated", "generated = true"),
        key("overlay", "overlay = \"guest.dtbo\""),
    ],
};

/// `on_fault` as a table.
pub static FAULT: Group = Group {
    place: "on_fault",
    keys: &[
        key("restart", "restart = 3"),
        key("within", "within = \"10s\""),
    ],
};

/// `watchdog`.
pub static WATCHDOG: Group = Group {
    place: "a watchdog",
    keys: &[
        key("timeout", "timeout = \"1s\""),
        key("action", "action = \"restart\""),
    ],
};

/// `[[channel]]`.
pub static CHANNEL: Group = Group {
    place: "a channel",
    keys: &[
        key("name", "name = \"telemetry\""),
        key("between", "between = [\"loop\", \"linux\"]"),
        key("size", "size = \"64K\""),
        key("access", "access = [\"rw\", \"r\"]"),
        key("cached", "cached = true"),
    ],
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Groups with the name of their definition in the schema.
    const DEFINITIONS: [(&Group, &str); 15] = [
        (&ROOT, ""),
        (&SYSTEM, "system"),
        (&PCPU, "pcpu"),
        (&WINDOW, "window"),
        (&PARTITION, "partition"),
        (&IMAGE, "image"),
        (&REGION, "region"),
        (&VCPU, "vcpu"),
        (&CPU, "cpu"),
        (&CONSOLE, "console"),
        (&DEVICE, "device"),
        (&TREE, "dtb"),
        (&FAULT, "on_fault"),
        (&WATCHDOG, "watchdog"),
        (&CHANNEL, "channel"),
    ];

    /// Collects the keys that a definition has, in its variants if it has some.
    fn keys(definition: &Value) -> BTreeSet<String> {
        let own = definition["properties"].as_object().into_iter().flatten();
        let variants = definition["oneOf"].as_array().into_iter().flatten();
        let own = own.map(|(key, _)| key.clone());
        own.chain(variants.flat_map(keys)).collect()
    }

    #[test]
    fn schema_has_the_keys_that_are_built_and_no_other() {
        let schema: Value = serde_json::from_str(include_str!("../schema.json")).unwrap();
        assert_eq!(DEFINITIONS.len(), GROUPS.len());
        for (group, name) in DEFINITIONS {
            let definition = match name {
                "" => &schema,
                name => &schema["definitions"][name],
            };
            let built: BTreeSet<String> = group.names().into_iter().map(str::to_owned).collect();
            assert_eq!(keys(definition), built, "{}", group.place);
        }
    }

    #[test]
    fn examples_start_with_their_key() {
        for group in GROUPS {
            for key in group.keys.iter().filter(|key| key.later.is_none()) {
                let start = key.example.trim_start_matches('[');
                assert!(start.starts_with(key.name), "{}", key.example);
            }
        }
    }
}
