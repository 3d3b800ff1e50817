//! GICv2's SGIs in the random runs: each pending of the vCPUs that sent it.

use super::run::Run;
use super::world::*;

impl Run {
    /// Writes a byte of CPENDSGIR, or of SPENDSGIR.
    pub fn change_senders(&mut self, vcpu: u8, intid: u16, value: u8) {
        let (senders, set) = (value & 7, value & 0x80 != 0);
        let there = (1 << self.stacks.len()) - 1;
        let line = self.reference.line(vcpu, intid);
        let offset = match set {
            true => {
                line.senders |= senders & there;
                SPENDSGIR
            }
            false => {
                line.senders &= !senders;
                CPENDSGIR
            }
        };
        line.latch = line.senders != 0;
        let at = offset + u64::from(intid);
        let write = self.world.private_write(vcpu, at, 1, senders.into());
        self.world.access(vcpu, at, write);
    }

    /// A vCPU acknowledged an SGI of GICv2: its list register says whose.
    pub fn acknowledge_sender(&mut self, vcpu: u8, intid: u16, late: bool) {
        let sender = self.world.lr(vcpu, intid).unwrap() >> 16 & 7;
        let line = self.reference.line(vcpu, intid);
        let sent = line.senders >> sender & 1 != 0;
        assert!(sent || late, "{sender} did not send {intid}: {line:?}");
        line.senders &= !(1 << sender);
        line.latch = line.senders != 0;
    }
}
