//! What can be seen of the crate from outside: whole files in, objects and findings out.

mod findings;
mod objects;
mod properties;
mod samples;
