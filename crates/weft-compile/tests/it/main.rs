//! Resources to wire objects: golden cases, and the laws that incremental equals cold and that one
//! more deny rule lets nothing more through.

mod deny;
mod golden;
mod incremental;
mod regex;
mod render;
mod yaml;
