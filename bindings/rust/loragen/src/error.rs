use loragen_sys as sys;
use std::fmt;

/// What a call failed with. Every message says what was wrong, where, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    InvalidArgument(String),
    /// A file could not be opened, read, written or renamed.
    Io(String),
    /// A file's bytes are not what its format requires.
    Format(String),
    /// A file of another version of a format that this library knows.
    Version(String),
    /// Valid, but not something that this library does.
    Unsupported(String),
    /// Adapters, conditions or files that do not fit together.
    Mismatch(String),
    /// NaN or infinity where a finite number is required.
    NonFinite(String),
    /// More memory than the caller allowed, or than there is.
    Memory(String),
    /// A callback asked to stop.
    Cancelled(String),
    /// A defect of the library.
    Internal(String),
}

pub type Result<Value> = std::result::Result<Value, Error>;

impl Error {
    pub fn message(&self) -> &str {
        use Error::*;
        match self {
            InvalidArgument(message)
            | Io(message)
            | Format(message)
            | Version(message)
            | Unsupported(message)
            | Mismatch(message)
            | NonFinite(message)
            | Memory(message)
            | Cancelled(message)
            | Internal(message) => message,
        }
    }

    fn new(status: i32, message: String) -> Self {
        match status {
            sys::LORAGEN_INVALID_ARGUMENT => Error::InvalidArgument(message),
            sys::LORAGEN_IO => Error::Io(message),
            sys::LORAGEN_FORMAT => Error::Format(message),
            sys::LORAGEN_VERSION => Error::Version(message),
            sys::LORAGEN_UNSUPPORTED => Error::Unsupported(message),
            sys::LORAGEN_MISMATCH => Error::Mismatch(message),
            sys::LORAGEN_NON_FINITE => Error::NonFinite(message),
            sys::LORAGEN_MEMORY => Error::Memory(message),
            sys::LORAGEN_CANCELLED => Error::Cancelled(message),
            sys::LORAGEN_INTERNAL => Error::Internal(message),
            other => Error::Internal(format!("status {other}: {message}")),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for Error {}

/// Turns the status of a call that this thread has just made into a result.
pub(crate) fn check(status: sys::loragen_status) -> Result<()> {
    if status == sys::LORAGEN_OK {
        return Ok(());
    }
    // SAFETY: the message is this thread's, and valid until its next failed call.
    let message = unsafe { crate::text(sys::loragen_last_error()) }.unwrap_or_default();
    Err(Error::new(status, message.to_owned()))
}
