//! Synchronous exceptions of the current vCPU: decoded by pure code, answered here.

use super::world::HCR_VSE;
use crate::arch::aarch64::sysreg::read;
use crate::events::Event;
use crate::pcpu::{Activity, Pcpu, Vcpu};
use bulkhead::trap::access::{self, MmioAccess};
use bulkhead::trap::inject::{self, Exception};
use bulkhead::trap::syndrome::{DataAbort, Trap, Wait, decode};

impl Pcpu {
    /// Answers the exception that the current vCPU took.
    pub fn trap(&mut self) {
        let esr = read::esr_el2();
        let trap = decode(esr);
        match trap {
            Trap::Hvc { immediate } => self.call(immediate),
            Trap::Smc { immediate } => {
                self.skip(esr);
                self.call(immediate);
            }
            Trap::DataAbort(abort) => self.data_abort(abort, esr),
            Trap::SystemRegister(access) => self.system_register(access, esr),
            Trap::Wait(wait) => {
                self.skip(esr);
                self.wait(wait);
            }
            Trap::Fp => self.trap_fp(),
            other => self.refuse(other, esr),
        }
    }

    /// Steps over the trapped instruction of the current vCPU.
    pub fn skip(&mut self, esr: u64) {
        if let Some(vcpu) = self.current_vcpu() {
            let (pc, pstate) = inject::skip(vcpu.context.pc, vcpu.context.pstate, esr);
            vcpu.context.pc = pc;
            vcpu.context.pstate = pstate;
        }
    }

    /// Returns the vCPU whose registers are in the hardware.
    #[inline(always)]
    pub fn current_vcpu(&mut self) -> Option<&mut Vcpu> {
        let slot = self.current?;
        self.vcpus.get_mut(slot.index())
    }

    /// WFI: waits, unless an interrupt is there already.
    fn wait(&mut self, wait: Wait) {
        if matches!(wait, Wait::Interrupt) {
            self.wait_for_interrupt();
        }
    }

    /// Takes the current vCPU off the run queue until its vGIC would signal.
    pub fn wait_for_interrupt(&mut self) {
        // A virtual SError that is pending ends a wait too, masked or not.
        if read::hcr_el2() & HCR_VSE != 0 || self.current_would_be_signalled() {
            return;
        }
        if let Some(slot) = self.current {
            if let Some(vcpu) = self.vcpu(slot) {
                vcpu.activity = Activity::Waiting;
            }
            self.block(slot);
        }
    }

    /// A load, store or cache operation that stage 2 refused: an emulated device's, or nobody's.
    fn data_abort(&mut self, abort: DataAbort, esr: u64) {
        let address = access::fault_address(abort, read::hpfar_el2(), read::far_el2());
        if let (Ok(gpa), Some(access)) = (address, MmioAccess::decode(abort))
            && self.emulate(gpa, access)
        {
            self.skip(esr);
            return;
        }
        if inject::is_harmless(abort) {
            self.skip(esr);
            return;
        }
        self.refuse(Trap::DataAbort(abort), esr);
    }

    /// Answers what is not served: the guest takes the exception that hardware without the thing would raise.
    fn refuse(&mut self, trap: Trap, esr: u64) {
        let far = read::far_el2();
        if matches!(trap, Trap::DataAbort(_) | Trap::InstructionAbort(_)) {
            self.report_abort(esr, far);
        }
        match inject::answer(trap, far) {
            Some(exception) => self.inject(exception),
            None => self.inject(Exception::Undefined),
        }
    }

    /// Reports an access to nothing.
    fn report_abort(&mut self, esr: u64, far: u64) {
        let hpfar = read::hpfar_el2();
        let Some(vcpu) = self.current_vcpu() else {
            return;
        };
        let event = Event::Abort {
            partition: vcpu.partition.id,
            vcpu: vcpu.id,
            pc: vcpu.context.pc,
            esr: esr as u32,
            far,
            gpa: (hpfar >> 4 & 0xff_ffff_ffff) << 12 | far & 0xfff,
        };
        self.report(event);
    }

    /// Makes the current vCPU take an exception to its EL1.
    pub fn inject(&mut self, exception: Exception) {
        use crate::arch::aarch64::sysreg::write;
        let features = self.injection;
        let Some(vcpu) = self.current_vcpu() else {
            return;
        };
        let context = inject::Context {
            pc: vcpu.context.pc,
            pstate: vcpu.context.pstate,
            vbar_el1: read::vbar_el1(),
            sctlr_el1: read::sctlr_el1(),
            features,
        };
        let injection = inject::take(&context, exception);
        if injection.is_hopeless() {
            // Its registers stay as they are: they tell of the exception before this one.
            self.give_up("its exception vector cannot be executed");
            return;
        }
        write::elr_el1(injection.elr_el1);
        write::spsr_el1(injection.spsr_el1);
        write::esr_el1(injection.esr_el1);
        if let Some(far) = injection.far_el1 {
            write::far_el1(far);
        }
        vcpu.context.pc = injection.pc;
        vcpu.context.pstate = injection.pstate;
    }
}
