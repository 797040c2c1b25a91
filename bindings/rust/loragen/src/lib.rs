//! LoRA adapters on demand: train generators of LoRA weights and draw adapters from them, in this process, on the CPU.
//!
//! ```no_run
//! # fn main() -> loragen::Result<()> {
//! let generator = loragen::Generator::open("digits.loragen.safetensors")?;
//! let adapters = generator.generate(&loragen::Request::bits("0001100101"))?;
//! for tensor in adapters.sample(0).tensors() {
//!     println!("{} {:?} {}", tensor.name, tensor.shape, tensor.data[0]);
//! }
//! adapters.sample(0).save("my-adapter", loragen::Format::Peft)?;
//! # Ok(()) }
//! ```
//!
//! Names, shapes and data are borrowed from the object that was asked: the compiler sees to it that they do not outlive
//! it. [`Generator`], [`Adapters`] and [`Corpus`] may be shared by many threads.

#![deny(unsafe_op_in_unsafe_fn)]

mod adapters;
mod analysis;
mod apply;
mod compact;
mod corpus;
mod encoder;
mod error;
mod generator;
mod progress;
mod training;
mod verify;

pub use adapters::{Adapter, Adapters, DType, Format, Module, SaveOptions, Tensor};
pub use analysis::{compare, doctor, import_corpus, nearest, Analysis, ImportOptions};
pub use apply::{apply, convert, Apply};
pub use compact::{Basis, CompactAdapter};
pub use corpus::{Corpus, CorpusEntry, Split};
pub use encoder::{Encoder, Encoders, ImageEncoder};
pub use error::{Error, Result};
pub use generator::{Condition, ConditionInfo, ConditionKind, Generator, GeneratorInfo, Part, Request, Value};
pub use progress::Progress;
pub use training::{train, TrainingOptions};
pub use verify::Verification;

use std::ffi::{CStr, CString};
use std::os::raw::c_char;
use std::path::Path;

/// The version of the library that is loaded.
pub fn version() -> &'static str {
    // SAFETY: a static string.
    unsafe { text(loragen_sys::loragen_version()) }.unwrap_or_default()
}

/// The most threads that one call uses.
pub fn threads() -> i32 {
    // SAFETY: no arguments.
    unsafe { loragen_sys::loragen_threads() }
}

/// Sets the most threads that one call uses, 1 to 16; results do not depend on it.
pub fn set_threads(threads: i32) -> Result<()> {
    // SAFETY: any number is allowed.
    error::check(unsafe { loragen_sys::loragen_set_threads(threads) })
}

/// A borrowed C string; `None` for NULL.
///
/// # Safety
/// `pointer` is NULL, or a C string that lives for `'a`.
unsafe fn text<'a>(pointer: *const c_char) -> Option<&'a str> {
    // The library hands out UTF-8 only.
    // SAFETY: the caller's promise, and not NULL.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_str().unwrap_or_default())
}

/// A run of values; empty for NULL.
///
/// # Safety
/// `pointer` is NULL, or points to `count` values that live for `'a`.
unsafe fn values<'a, Value>(pointer: *const Value, count: usize) -> &'a [Value] {
    if pointer.is_null() {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(pointer, count) }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::InvalidArgument(format!("{text:?} holds a NUL character")))
}

fn c_path(path: &Path) -> Result<CString> {
    match path.to_str() {
        Some(path) => c_string(path),
        None => Err(Error::InvalidArgument(format!("the path {path:?} is not UTF-8"))),
    }
}

/// The C strings of optional texts, kept for the length of a call.
fn optional(text: Option<&str>) -> Result<Option<CString>> {
    text.map(c_string).transpose()
}

fn pointer(text: &Option<CString>) -> *const c_char {
    text.as_ref().map_or(std::ptr::null(), |text| text.as_ptr())
}
