//! Resources to wire objects: golden cases, and the law that incremental equals cold.

mod golden;
mod incremental;
mod render;
mod yaml;
