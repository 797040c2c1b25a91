//! Compact adapters: one number per direction of the base model's own weights.

use std::mem::size_of;
use std::path::Path;
use std::ptr::{self, NonNull};

use loragen_sys as sys;

use crate::adapters::Adapters;
use crate::error::{check, Result};
use crate::{c_path, c_string, optional, pointer, text, values};

/// The frozen directions of a base model's weights.
#[derive(Debug)]
pub struct Basis {
    handle: NonNull<sys::loragen_basis>,
}

// SAFETY: nothing changes it, and any thread may free it.
unsafe impl Send for Basis {}
unsafe impl Sync for Basis {}

impl Basis {
    /// Opens a basis file; it is mapped, not read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = c_path(path.as_ref())?;
        let mut handle = ptr::null_mut();
        check(unsafe { sys::loragen_basis_open(&mut handle, path.as_ptr()) })?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }

    /// Computes the basis of the weights at `base` and opens it. `method` is "svfit" or "loldu", `rank` 0 takes all
    /// directions, `targets` are "q_proj,v_proj" or `None` for all linear layers and convolutions.
    pub fn compute(
        base: impl AsRef<Path>,
        path: impl AsRef<Path>,
        method: &str,
        rank: i32,
        targets: Option<&str>,
    ) -> Result<Self> {
        let (base, c_file, method) = (c_path(base.as_ref())?, c_path(path.as_ref())?, c_string(method)?);
        let targets = optional(targets)?;
        let options = sys::loragen_basis_options {
            struct_size: size_of::<sys::loragen_basis_options>(),
            method: method.as_ptr(),
            rank,
            targets: pointer(&targets),
            prefix: ptr::null(),
            tolerance: 0.0,
            dtype: 0,
            memory_limit: 0,
            checkpoint: ptr::null(),
            pivots: ptr::null(),
            progress: None,
            payload: ptr::null_mut(),
        };
        check(unsafe { sys::loragen_basis_compute(base.as_ptr(), c_file.as_ptr(), &options) })?;
        Self::open(path)
    }

    /// An error unless the weights at `base` are those that the basis was made of.
    pub fn check(&self, base: impl AsRef<Path>) -> Result<()> {
        let base = c_path(base.as_ref())?;
        check(unsafe { sys::loragen_basis_check(self.handle.as_ptr(), base.as_ptr()) })
    }

    /// Method, base model, and of each module rank, fingerprint, residual and gap, as JSON.
    pub fn json(&self) -> &str {
        unsafe { text(sys::loragen_basis_json(self.handle.as_ptr())) }.unwrap_or_default()
    }
}

impl Drop for Basis {
    fn drop(&mut self) {
        unsafe { sys::loragen_basis_free(self.handle.as_ptr()) }
    }
}

/// An adapter of one number per direction of a basis.
#[derive(Debug)]
pub struct CompactAdapter {
    handle: NonNull<sys::loragen_compact>,
}

// SAFETY: nothing changes it, and any thread may free it.
unsafe impl Send for CompactAdapter {}
unsafe impl Sync for CompactAdapter {}

impl CompactAdapter {
    /// Of its numbers, module by module in the basis' order; `rank` takes the first directions of each module, 0 all.
    pub fn new(basis: &Basis, deltas: &[f32], rank: i32) -> Result<Self> {
        let mut handle = ptr::null_mut();
        check(unsafe {
            sys::loragen_compact_create(&mut handle, basis.handle.as_ptr(), deltas.as_ptr(), deltas.len(), rank)
        })?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }

    /// Reads a compact adapter's file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = c_path(path.as_ref())?;
        let mut handle = ptr::null_mut();
        check(unsafe { sys::loragen_compact_open(&mut handle, path.as_ptr()) })?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }

    /// Writes its file; `relative` writes delta / sigma.
    pub fn save(&self, path: impl AsRef<Path>, relative: bool) -> Result<()> {
        let path = c_path(path.as_ref())?;
        check(unsafe { sys::loragen_compact_save(self.handle.as_ptr(), path.as_ptr(), relative.into()) })
    }

    /// Its numbers, module by module.
    pub fn deltas(&self) -> &[f32] {
        unsafe {
            let count = sys::loragen_compact_count(self.handle.as_ptr());
            values(sys::loragen_compact_deltas(self.handle.as_ptr()), count)
        }
    }

    /// The same update as an ordinary adapter; `rank` cuts it, `limit` is a trust region, 0: neither.
    pub fn expand(&self, basis: &Basis, rank: i32, limit: f64) -> Result<Adapters> {
        let options = sys::loragen_expand_options {
            struct_size: size_of::<sys::loragen_expand_options>(),
            rank,
            limit,
            save: ptr::null(),
        };
        Adapters::make(|out| {
            check(unsafe { sys::loragen_compact_expand(out, self.handle.as_ptr(), basis.handle.as_ptr(), &options) })
        })
    }
}

impl Drop for CompactAdapter {
    fn drop(&mut self) {
        unsafe { sys::loragen_compact_free(self.handle.as_ptr()) }
    }
}
