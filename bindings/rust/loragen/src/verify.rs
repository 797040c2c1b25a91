//! Checks of adapters before they leave.

use std::path::Path;
use std::ptr::{self, NonNull};

use loragen_sys as sys;

use crate::error::{check, Result};
use crate::{c_path, pointer, text};

/// What a check of an adapter found.
#[derive(Debug)]
pub struct Verification {
    handle: NonNull<sys::loragen_verification>,
}

// SAFETY: nothing changes it, and any thread may free it.
unsafe impl Send for Verification {}
unsafe impl Sync for Verification {}

impl Verification {
    /// Checks an adapter in any format against the base model's headers at `base`, and its norm against the corpus at
    /// `corpus`.
    pub fn new(adapter: impl AsRef<Path>, base: Option<&Path>, corpus: Option<&Path>) -> Result<Self> {
        let adapter = c_path(adapter.as_ref())?;
        let (base, corpus) = (base.map(c_path).transpose()?, corpus.map(c_path).transpose()?);
        let mut handle = ptr::null_mut();
        check(unsafe { sys::loragen_verify(&mut handle, adapter.as_ptr(), pointer(&base), pointer(&corpus)) })?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }

    /// Findings by which a host would refuse the adapter or compute something else.
    pub fn errors(&self) -> usize {
        unsafe { sys::loragen_verification_errors(self.handle.as_ptr()) }
    }

    pub fn warnings(&self) -> usize {
        unsafe { sys::loragen_verification_warnings(self.handle.as_ptr()) }
    }

    /// All findings and every host's verdict, for people.
    pub fn text(&self) -> &str {
        unsafe { text(sys::loragen_verification_text(self.handle.as_ptr())) }.unwrap_or_default()
    }

    /// The same as JSON; docs/hosts.md has the fields.
    pub fn json(&self) -> &str {
        unsafe { text(sys::loragen_verification_json(self.handle.as_ptr())) }.unwrap_or_default()
    }
}

impl Drop for Verification {
    fn drop(&mut self) {
        unsafe { sys::loragen_verification_free(self.handle.as_ptr()) }
    }
}
