//! Resources to wire objects: golden cases, and the laws that incremental equals cold, that both
//! sides of a conflict are named and that one more deny rule lets nothing more through.

mod deny;
mod golden;
mod incremental;
mod regex;
mod render;
mod yaml;
