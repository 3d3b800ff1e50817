//! What every bare-metal guest needs.
#![no_std]
