//! Why an object is refused.

use std::fmt;

use thiserror::Error;
use weft_model::{IdentityError, NameError, ValueError};

/// Why an object is refused. Each names the object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ObjectError {
    /// It is larger than anything that is meant to be sent.
    #[error("{object}: {bytes} bytes are not allowed, the most is {max}")]
    TooLarge {
        /// The object.
        object: String,
        /// Its size.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// It is no protobuf message, or not in its one encoding: damaged, or with a field that this
    /// version does not know.
    #[error("{object}: damaged, or with something that this version does not know")]
    Unreadable {
        /// The object.
        object: String,
    },
    /// It is of another kind, another schema, or needs a feature that this version lacks.
    #[error(
        "{object}: {what} is not known to this version of weft: run that of the control plane, or \
         a newer one"
    )]
    Unsupported {
        /// The object.
        object: String,
        /// The kind, schema or feature.
        what: String,
    },
    /// A field has a value that means nothing.
    #[error("{object}: {field}")]
    Field {
        /// The object.
        object: String,
        /// Which field, and what is wrong with it.
        field: FieldError,
    },
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
