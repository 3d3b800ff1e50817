//! No vectors that read the counter: without the feature `stay-counter` there are none.

/// Nothing.
macro_rules! counting_vectors {
    () => {
        ""
    };
}
