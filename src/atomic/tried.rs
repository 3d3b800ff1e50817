//! Loom's. It takes an access that is sequentially consistent for one that acquires and releases, and knows such fences: so
//! a fence of that kind stands behind a store, before a load, and on both sides of an access that does both. That is how
//! compilers make such accesses for CPUs that have fences alone.

pub use loom::hint::spin_loop;
pub use loom::sync::atomic::{Ordering, fence};

/// Makes what is before in order with what comes, where that is asked for.
fn order(ordering: Ordering) {
    if ordering == Ordering::SeqCst {
        fence(Ordering::SeqCst);
    }
}

/// An atomic of loom's with such fences.
macro_rules! atomic {
    ($name:ident, $value:ty) => {
        /// As core's.
        #[derive(Debug)]
        pub struct $name(loom::sync::atomic::$name);

        #[allow(missing_docs, reason = "as core's")]
        impl $name {
            pub fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            pub fn load(&self, ordering: Ordering) -> $value {
                order(ordering);
                self.0.load(ordering)
            }

            pub fn store(&self, value: $value, ordering: Ordering) {
                self.0.store(value, ordering);
                order(ordering);
            }

            pub fn swap(&self, value: $value, ordering: Ordering) -> $value {
                order(ordering);
                let before = self.0.swap(value, ordering);
                order(ordering);
                before
            }

            pub fn fetch_or(&self, value: $value, ordering: Ordering) -> $value {
                order(ordering);
                let before = self.0.fetch_or(value, ordering);
                order(ordering);
                before
            }

            pub fn fetch_and(&self, value: $value, ordering: Ordering) -> $value {
                order(ordering);
                let before = self.0.fetch_and(value, ordering);
                order(ordering);
                before
            }

            pub fn into_inner(self) -> $value {
                self.0.into_inner()
            }
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicU8, u8);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);

/// What the lock needs beyond that; all of it is relaxed or acquires.
#[allow(missing_docs, reason = "as core's")]
impl AtomicU32 {
    pub fn fetch_add(&self, value: u32, ordering: Ordering) -> u32 {
        self.0.fetch_add(value, ordering)
    }

    pub fn fetch_sub(&self, value: u32, ordering: Ordering) -> u32 {
        self.0.fetch_sub(value, ordering)
    }

    pub fn compare_exchange_weak(
        &self,
        old: u32,
        new: u32,
        done: Ordering,
        failed: Ordering,
    ) -> Result<u32, u32> {
        self.0.compare_exchange_weak(old, new, done, failed)
    }
}

/// Returns bytes that are all line ends.
pub fn line_ends<const N: usize>() -> [AtomicU8; N] {
    std::array::from_fn(|_| AtomicU8::new(b'\n'))
}

/// Makes functions that make atomics usable in constants, where atomics are: loom's are not.
macro_rules! where_constant {
    ($(#[$about:meta])* $visible:vis fn $($rest:tt)*) => {
        $(#[$about])*
        $visible fn $($rest)*
    };
}
pub(crate) use where_constant;
