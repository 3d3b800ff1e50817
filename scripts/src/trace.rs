//! What a system did, from the trace rings of its pCPUs ([`bulkhead::trace`]).
//!
//! A [`Collector`](collector::Collector) reads the rings of a system under QEMU while it runs, by the monitor ([`qmp`]); a
//! dump of a board's memory serves as well. Both make a [`Recording`](recording::Recording); [`timeline`] turns its records
//! into who did what from when to when, [`summary`] into numbers, [`perfetto`] and [`svg`] into pictures.

pub mod collector;
pub mod names;
pub mod perfetto;
pub mod qmp;
pub mod recording;
pub mod summary;
pub mod svg;
pub mod timeline;
