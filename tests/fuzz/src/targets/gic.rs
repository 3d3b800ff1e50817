//! The virtual GIC: the models are in the library, beside what they are compared with.

use bulkhead::vgic::model;

/// Accesses to the register map.
pub fn accesses(bytes: &[u8]) {
    model::replay_accesses(bytes);
}

/// Interrupts from their cause to their end.
pub fn events(bytes: &[u8]) {
    model::replay_events(bytes);
}

/// Makes a write and a read of every register of the map, for one and for several vCPUs.
pub fn access_seeds() -> Vec<Vec<u8>> {
    let sweep = |vcpus: u8, what: u8, offsets: std::ops::Range<u16>| {
        let accesses = offsets.step_by(4).flat_map(|offset| {
            let [low, high] = offset.to_le_bytes();
            [what, 0x12, low, high, 0xff, 0xa5, 0x5a, 0xf0]
        });
        [vcpus].into_iter().chain(accesses.take(8 * 100)).collect()
    };
    vec![
        sweep(0, 0x05, 0x080..0x100),
        sweep(1, 0x05, 0x100..0x280),
        sweep(1, 0x0d, 0x080..0x200),
        sweep(2, 0x0d, 0x200..0x3c0),
        sweep(3, 0x05, 0x400..0x440),
        sweep(3, 0x0d, 0x400..0x420),
        sweep(2, 0x15, 0x6100..0x6180),
        sweep(2, 0x17, 0x6100..0x6180),
        sweep(7, 0x05, 0xc00..0xc10),
        sweep(1, 0x2d, 0xc00..0xc08),
    ]
}

/// Makes runs in which every kind of event comes up.
pub fn event_seeds() -> Vec<Vec<u8>> {
    let run = |first: u8, step: u8| {
        let events = (0..100u8).flat_map(|n| {
            let settles = if n % 16 == 15 { 0x80 } else { 0 };
            let kind = n.wrapping_mul(step) % 29 + settles;
            [kind, n / 3, n.wrapping_mul(7), n.wrapping_mul(29)]
        });
        [first].into_iter().chain(events).collect()
    };
    [0x01, 0x06, 0x0f, 0x12, 0x1b, 0x26, 0x2f, 0x33, 0x3e]
        .into_iter()
        .zip([1, 3, 5, 7, 11, 13, 17, 19, 23])
        .map(|(first, step)| run(first, step))
        .collect()
}
