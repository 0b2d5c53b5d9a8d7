//! Why an object is refused.

use std::fmt;

use thiserror::Error;
use weft_model::{IdentityError, NameError, ValueError};

/// Why an object is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{object}: {problem}")]
pub struct ObjectError {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub problem: ObjectProblem,
}

/// What is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ObjectProblem {
    /// It is larger than anything that is meant to be sent.
    #[error("{bytes} bytes are not allowed, the most is {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// It is no protobuf message, or not in its one encoding: damaged, or with a field that this
    /// version does not know.
    #[error("damaged, or with something that this version does not know")]
    Unreadable,
    /// Its body is written in another way.
    #[error(
        "of schema {schema}, and weft {version} reads schema {reads}: upgrade {}",
        older(*.schema, *.reads)
    )]
    Schema {
        /// The schema.
        schema: u32,
        /// The one that is read here.
        reads: u32,
        /// The version of weft that reads.
        version: String,
    },
    /// It requires features that who reads it lacks.
    #[error("requires {}, which weft {version} lacks: upgrade {}", named(.features), PROXY)]
    Lacking {
        /// The features, as they are named.
        features: Vec<String>,
        /// The version of weft that reads.
        version: String,
    },
    /// A field has a value that means nothing.
    #[error("{0}")]
    Field(FieldError),
}

const PROXY: &str = "this proxy to the version of the control plane, or a newer one";

const CONTROL_PLANE: &str = "the control plane to the version of this proxy, or a newer one";

/// Who is behind if objects are of `schema` and the proxy reads another, and what it is to become.
fn older(schema: u32, reads: u32) -> &'static str {
    if schema > reads { PROXY } else { CONTROL_PLANE }
}

fn named(features: &[String]) -> String {
    match features {
        [one] => format!("the feature {one}"),
        several => format!("the features {}", several.join(", ")),
    }
}

/// What is wrong with which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    path: String,
    problem: String,
}

impl FieldError {
    /// `problem` with the value itself.
    pub(crate) fn new(problem: impl Into<String>) -> FieldError {
        FieldError { path: String::new(), problem: problem.into() }
    }

    /// The same, as seen from what has the value as `field`.
    pub(crate) fn within(mut self, field: &str) -> FieldError {
        let dot = if self.path.is_empty() { "" } else { "." };
        self.path = [field, dot, &self.path].concat();
        self
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FieldError { path, problem } = self;
        if path.is_empty() { f.write_str(problem) } else { write!(f, "{path}: {problem}") }
    }
}

impl From<ValueError> for FieldError {
    fn from(error: ValueError) -> FieldError {
        FieldError::new(error.to_string())
    }
}

impl From<NameError> for FieldError {
    fn from(error: NameError) -> FieldError {
        FieldError::new(error.to_string())
    }
}

impl From<IdentityError> for FieldError {
    fn from(error: IdentityError) -> FieldError {
        FieldError::new(error.to_string())
    }
}

/// Says which field an error is about.
pub(crate) trait At<T> {
    /// The error as seen from what has the value as `field`.
    fn at(self, field: &str) -> Result<T, FieldError>;
}

impl<T, E: Into<FieldError>> At<T> for Result<T, E> {
    fn at(self, field: &str) -> Result<T, FieldError> {
        self.map_err(|error| error.into().within(field))
    }
}
