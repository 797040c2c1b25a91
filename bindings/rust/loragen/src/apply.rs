//! Adapters from one format to another, and applied to models.

use std::ffi::CStr;
use std::mem::size_of;
use std::os::raw::{c_char, c_void};
use std::path::Path;

use loragen_sys as sys;

use crate::adapters::{Format, SaveOptions};
use crate::error::{check, Result};
use crate::{c_path, optional, pointer};

/// How [`apply`] changes a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apply {
    /// Weights become weight + scale · update: .safetensors, a folder of them, .onnx.
    Merge,
    /// weight − scale · update: the model before, up to the rounding of its weights.
    Unmerge,
    /// .onnx: nodes and initializers beside the weights.
    Inject,
    /// .onnx: nodes and optional inputs, for .onnx_adapter files that are given to a run.
    Inputs,
    /// .onnx: takes out what `Inject` or `Inputs` put in.
    Remove,
}

unsafe extern "C" fn keep(message: *const c_char, payload: *mut c_void) -> i32 {
    // SAFETY: the payload is the vector of the call that is running, on this thread; the message is a C string.
    unsafe {
        let notes = &mut *payload.cast::<Vec<String>>();
        notes.push(CStr::from_ptr(message).to_string_lossy().into_owned());
    }
    0
}

/// Writes an adapter in another format; what comes back is what the new file does not have. `lossy` allows changes of
/// numbers beyond rounding.
pub fn convert(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
    format: Format,
    options: SaveOptions<'_>,
    lossy: bool,
) -> Result<Vec<String>> {
    let (source, target) = (c_path(source.as_ref())?, c_path(target.as_ref())?);
    let mut notes = Vec::new();
    options.with(|save| {
        let options = sys::loragen_convert_options {
            struct_size: size_of::<sys::loragen_convert_options>(),
            save,
            lossy: lossy.into(),
            note: Some(keep),
            payload: std::ptr::addr_of_mut!(notes).cast(),
            lora_only: 0,
            rank: 0,
        };
        check(unsafe { sys::loragen_convert(source.as_ptr(), target.as_ptr(), format.code(), &options) })
    })?;
    Ok(notes)
}

/// Applies an adapter in any format to a model's files and writes the model to `target`; remarks come back. `adapter` is
/// `None` for [`Apply::Remove`]; `base` is for an adapter whose format needs it.
pub fn apply(
    model: impl AsRef<Path>,
    adapter: Option<&Path>,
    target: impl AsRef<Path>,
    mode: Apply,
    scale: f64,
    base: Option<&str>,
) -> Result<Vec<String>> {
    let (model, target) = (c_path(model.as_ref())?, c_path(target.as_ref())?);
    let (adapter, base) = (adapter.map(c_path).transpose()?, optional(base)?);
    let mut notes: Vec<String> = Vec::new();
    let options = sys::loragen_apply_options {
        struct_size: size_of::<sys::loragen_apply_options>(),
        mode: match mode {
            Apply::Merge => sys::LORAGEN_APPLY_MERGE,
            Apply::Unmerge => sys::LORAGEN_APPLY_UNMERGE,
            Apply::Inject => sys::LORAGEN_APPLY_INJECT,
            Apply::Inputs => sys::LORAGEN_APPLY_INPUTS,
            Apply::Remove => sys::LORAGEN_APPLY_REMOVE,
        },
        scale,
        base: pointer(&base),
        note: Some(keep),
        payload: std::ptr::addr_of_mut!(notes).cast(),
        lora_only: 0,
        basis: std::ptr::null(),
    };
    check(unsafe { sys::loragen_apply(model.as_ptr(), pointer(&adapter), target.as_ptr(), &options) })?;
    Ok(notes)
}
