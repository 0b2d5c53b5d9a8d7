//! Who gets which address, over time.
