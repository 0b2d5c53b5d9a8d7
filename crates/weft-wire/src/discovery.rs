//! Discovery: how a proxy comes to hold the objects that it needs, and no others.
//!
//! The messages are Envoy's delta xDS, with type URLs of our own ([`message`]). Both sides are
//! state machines without I/O: a [`ServerStream`] for each connected proxy, over a [`World`] that
//! the control plane keeps; and a [`Client`] in the proxy, which outlives its connections.
//!
//! What is sent for a subscription, and in which order, is the server's to say. What the client
//! holds, it drops only when told to: a blank answer, a reconnect or a restart takes nothing away.
//!
//! Deliberately absent: streams, timers and files; the caller moves the messages, says what time it
//! is, and keeps the saved state.

pub mod message;

mod client;
mod guards;
mod held;
mod resource;
mod saved;
mod server;
mod subscription;
mod world;

#[cfg(test)]
mod tests;

pub use client::{
    Answered, Client, Lookup, Outcome, ProtocolError, Refusal, SUBSCRIPTIONS_MAX, Waiter,
};
pub use guards::Guarding;
pub use saved::{SavedError, sealed};
pub use server::{Receipt, ServerStream, StreamError};
pub use subscription::Subscription;
pub use world::{Touched, View, World};
