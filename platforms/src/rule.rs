//! The rules that a partition table obeys, one variant each.

use crate::diagnostic::Severity;

/// Declares [`Rule`], its names and its severities from one list.
macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $variant:ident = $severity:ident $name:literal,)+) => {
        /// A rule of partition tables. Each has one bad table, `tests/tables/NAME.toml`, and the message that this
        /// table gets, `tests/tables/NAME.txt`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Rule {
            /// All rules, in the order in which they are checked.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the rule's name as messages show it, in lower case with hyphens.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Says whether a violation stops the build or is a remark.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)+ }
            }
        }
    };
}

rules! {
    /// The table's file can be read and is UTF-8.
    UnreadableTable = Error "unreadable-table",
    /// The table is TOML.
    Syntax = Error "syntax",
    /// Every key is one that this version knows.
    UnknownKey = Error "unknown-key",
    /// Keys without a default are there.
    MissingKey = Error "missing-key",
    /// A value has the type that its key wants.
    WrongType = Error "wrong-type",
    /// A word is one of those that its key knows.
    UnknownWord = Error "unknown-word",
    /// A number lies within the bounds of its key.
    OutOfRange = Error "out-of-range",
    /// A size or a time has a unit.
    MissingUnit = Error "missing-unit",
    /// A size is a whole number and a unit of bytes.
    BadSize = Error "bad-size",
    /// A time is a whole number and a unit of time.
    BadTime = Error "bad-time",
    /// A key that is reserved for a later version is not used yet.
    NotBuiltYet = Error "not-built-yet",
    /// The table is written for this version of its format.
    WrongVersion = Error "wrong-version",
    /// The table names a board that there is.
    UnknownPlatform = Error "unknown-platform",
    /// The table is built for the board that it names.
    OtherPlatform = Error "other-platform",
    /// There is a partition.
    NoPartition = Error "no-partition",
    /// There are no more partitions than EL2 has room for.
    TooManyPartitions = Error "too-many-partitions",
    /// A name is of lower-case letters, digits and hyphens, and short.
    BadName = Error "bad-name",
    /// A name is not one that the console or the tools use for something else.
    ReservedName = Error "reserved-name",
    /// A name is used once.
    DuplicateName = Error "duplicate-name",
    /// A CPU's trace ring is a power of two of bytes, and all of them together are not too many.
    TraceSize = Error "trace-size",
    /// The keyboard goes to a partition that there is.
    UnknownFocus = Error "unknown-focus",
    /// The keyboard goes to a partition with a console.
    FocusWithoutConsole = Error "focus-without-console",
    /// A CPU is described once.
    DuplicatePcpu = Error "duplicate-pcpu",
    /// A vCPU runs on a CPU that the board has.
    UnknownPcpu = Error "unknown-pcpu",
    /// A CPU kept for one partition runs no other.
    ExclusivePcpu = Error "exclusive-pcpu",
    /// A partition has a vCPU.
    NoVcpu = Error "no-vcpu",
    /// A partition has no more vCPUs than EL2 has room for.
    TooManyVcpus = Error "too-many-vcpus",
    /// A GICv2 serves eight pCPUs.
    TooManyPcpus = Error "too-many-pcpus",
    /// A priority is 0 to 255.
    PriorityOutOfRange = Error "priority-out-of-range",
    /// vCPUs of one partition that share a CPU take turns.
    SiblingsNeedTimeSlice = Error "siblings-need-time-slice",
    /// A budget is a part of a period.
    BudgetNeedsPeriod = Error "budget-needs-period",
    /// A budget is at most its period.
    BudgetTooLarge = Error "budget-too-large",
    /// A time slice or a budget is longer than EL2's own work in it.
    TimeTooShort = Error "time-too-short",
    /// What follows a used-up budget is said where there is a budget.
    ExhaustionNeedsBudget = Error "exhaustion-needs-budget",
    /// A period or a major frame is at most an hour.
    PeriodTooLong = Error "period-too-long",
    /// Time windows lie in a major frame.
    WindowsNeedFrame = Error "windows-need-frame",
    /// A major frame has time windows.
    FrameNeedsWindows = Error "frame-needs-windows",
    /// A pCPU has no more time windows than EL2 has room for.
    TooManyWindows = Error "too-many-windows",
    /// A time window ends within its major frame.
    WindowBeyondFrame = Error "window-beyond-frame",
    /// No two time windows of a pCPU are open at once.
    WindowOverlap = Error "window-overlap",
    /// A watchdog's time is at most a day.
    WatchdogTooLong = Error "watchdog-too-long",
    /// A watchdog's time is long enough for a kick.
    WatchdogTooShort = Error "watchdog-too-short",
    /// A partition manages partitions that there are.
    UnknownManaged = Error "unknown-managed",
    /// A partition that is managed is named once.
    ManagedTwice = Error "managed-twice",
    /// A time window is open for partitions that there are.
    WindowUnknownPartition = Error "window-unknown-partition",
    /// A time window is open for partitions with a vCPU on its pCPU.
    WindowWithoutVcpu = Error "window-without-vcpu",
    /// Who has a vCPU on a pCPU with time windows may run in one of them.
    PartitionInNoWindow = Error "partition-in-no-window",
    /// The budgets of a pCPU, with what EL2 needs for them, fit its time.
    OverloadedPcpu = Error "overloaded-pcpu",
    /// A vCPU gets its budget within its period, whatever the others do.
    BudgetNotMet = Error "budget-not-met",
    /// A partition has memory.
    NoMemory = Error "no-memory",
    /// A partition has no more pieces of memory than EL2 has room for.
    TooManyRegions = Error "too-many-regions",
    /// Memory is made of whole pages.
    MemoryMisaligned = Error "memory-misaligned",
    /// Guest and host address of memory agree modulo 2 MiB.
    MemoryIncongruent = Error "memory-incongruent",
    /// Access rights are made of the letters r, w and x.
    BadAccess = Error "bad-access",
    /// What a guest sees lies below the end of its address space.
    OutsideGuestSpace = Error "outside-guest-space",
    /// Nothing that a guest sees lies on something else that it sees.
    GuestOverlap = Error "guest-overlap",
    /// No two partitions are given the same memory of the board.
    MemoryOverlap = Error "memory-overlap",
    /// Memory is given where the board has memory.
    MemoryOutsideRam = Error "memory-outside-ram",
    /// Memory is not given where EL2, the device tree or the firmware lies.
    MemoryReserved = Error "memory-reserved",
    /// The board has room for all partitions.
    NoRoom = Error "no-room",
    /// There are no more channels than EL2 has room for.
    TooManyChannels = Error "too-many-channels",
    /// A channel's name is used once.
    DuplicateChannel = Error "duplicate-channel",
    /// A channel ends at partitions that there are.
    UnknownPeer = Error "unknown-peer",
    /// A channel is between two different partitions.
    ChannelEnds = Error "channel-ends",
    /// A channel's memory is made of whole pages and not too large.
    ChannelSize = Error "channel-size",
    /// Each side of a channel reads, or reads and writes, and one of them writes.
    ChannelAccess = Error "channel-access",
    /// An image is of one kind.
    ImageKind = Error "image-kind",
    /// A guest crate is one that there is.
    UnknownGuest = Error "unknown-guest",
    /// A recipe is one that there is.
    UnknownRecipe = Error "unknown-recipe",
    /// An image can be made.
    ImageUnavailable = Error "image-unavailable",
    /// A file that the table names is there.
    MissingFile = Error "missing-file",
    /// A kernel is an arm64 `Image`, plain or gzip.
    NotAKernel = Error "not-a-kernel",
    /// An ELF file is a static 64-bit little-endian program for AArch64.
    NotAnElf = Error "not-an-elf",
    /// An image fits into the memory of its partition.
    ImageTooLarge = Error "image-too-large",
    /// An image lies in the memory of its partition.
    ImageOutsideMemory = Error "image-outside-memory",
    /// The first instruction lies in memory that the guest may execute.
    BadEntry = Error "bad-entry",
    /// What is loaded into a partition does not lie on something else that is loaded.
    ImageOverlap = Error "image-overlap",
    /// The initial RAM disk fits into memory beside the kernel.
    InitrdTooLarge = Error "initrd-too-large",
    /// The device tree fits into memory beside the image.
    TreeTooLarge = Error "tree-too-large",
    /// A file given as device tree is one.
    NotATree = Error "not-a-tree",
    /// A command line is at most 2047 characters long, without line ends.
    BadCmdline = Error "bad-cmdline",
    /// An overlay can be read, and changes what the generated tree has.
    BadOverlay = Error "bad-overlay",
    /// What is handed over in the device tree has a device tree to be handed over in.
    TreeNeeded = Error "tree-needed",
    /// The board's device tree can be read and describes a board that EL2 can run on.
    BadBoard = Error "bad-board",
    /// A device is one that the board's tree has.
    UnknownDevice = Error "unknown-device",
    /// A device that is passed through is in use on this board.
    DeviceDisabled = Error "device-disabled",
    /// What EL2 needs for itself is not passed through.
    DeviceIsEl2s = Error "device-is-el2s",
    /// A device has one owner.
    DeviceTwoOwners = Error "device-two-owners",
    /// A device that is passed through has registers.
    DeviceWithoutRegisters = Error "device-without-registers",
    /// A device's registers share no page with a device of another owner.
    DevicePageShared = Error "device-page-shared",
    /// A device's registers are not in memory.
    DeviceInMemory = Error "device-in-memory",
    /// Guest and host address of a device agree within the page.
    DeviceIncongruent = Error "device-incongruent",
    /// A passed-through interrupt is a shared peripheral interrupt that the board's GIC has.
    NotAnSpi = Error "not-an-spi",
    /// An interrupt has one owner.
    InterruptTwoOwners = Error "interrupt-two-owners",
    /// The console's interrupt is not one that the guest has from a device.
    InterruptClash = Error "interrupt-clash",
    /// A device that reaches memory by the board's addresses has a guest whose addresses are the same.
    DmaNeedsIdentity = Error "dma-needs-identity",
    /// The table says how a device reaches memory that seems to do so by itself.
    DmaNotSaid = Error "dma-not-said",
    /// A device that reaches memory sees it at the addresses that the CPUs have for it.
    DmaTranslated = Error "dma-translated",
    /// The clocks of a passed-through device have known rates, or the table says them.
    DeviceClocks = Error "device-clocks",
    /// Nothing else is left that EL2 would refuse at start-up on this board.
    RefusedAtStart = Error "refused-at-start",
    /// A device that reaches memory unchecked can reach all of it.
    DmaUnprotected = Warning "dma-unprotected",
    /// All interrupts of a device go to the GIC, so that the guest gets them.
    ForeignInterrupt = Warning "foreign-interrupt",
    /// A partition that does not start with the system can be started by another that runs or can be started.
    NeverStarted = Warning "never-started",
    /// Another device's registers lie in a page that a guest is given.
    PageHasNeighbour = Warning "page-has-neighbour",
    /// A vCPU of a guest with several is held up by a more urgent one that nothing limits.
    UrgentNeighbour = Warning "urgent-neighbour",
    /// A vCPU with a budget or a period can count on time.
    NoGuarantee = Warning "no-guarantee",
    /// A pCPU has time for all that the table asks of it, though the table insists on more.
    OverloadAllowed = Warning "overload-allowed",
    /// The board gives EL2 a random seed to make the guests' seeds from.
    NoBoardSeed = Warning "no-board-seed",
}
