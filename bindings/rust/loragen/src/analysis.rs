use crate::error::{check, Result};
use crate::progress::{with_progress, Progress};
use crate::{c_path, c_string, text, Adapter};
use loragen_sys as sys;
use std::mem::size_of;
use std::ops::ControlFlow;
use std::path::Path;
use std::ptr::{self, NonNull};

/// What was measured on adapters, as updates of the base model.
#[derive(Debug)]
pub struct Analysis {
    handle: NonNull<sys::loragen_analysis>,
}

// SAFETY: nothing changes a loragen_analysis once it is made, and any thread may free it.
unsafe impl Send for Analysis {}
unsafe impl Sync for Analysis {}

impl Analysis {
    fn make(call: impl FnOnce(*mut *mut sys::loragen_analysis) -> Result<()>) -> Result<Self> {
        let mut handle = ptr::null_mut();
        call(&mut handle)?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }

    /// All of it, by the schema in docs/doctor.md.
    pub fn json(&self) -> &str {
        unsafe { text(sys::loragen_analysis_json(self.handle.as_ptr())) }.unwrap_or_default()
    }

    /// For people.
    pub fn text(&self) -> &str {
        unsafe { text(sys::loragen_analysis_text(self.handle.as_ptr())) }.unwrap_or_default()
    }

    /// A picture, which only [`doctor`] makes.
    pub fn svg(&self) -> Option<&str> {
        unsafe { text(sys::loragen_analysis_svg(self.handle.as_ptr())) }
    }

    /// How many findings stand in the way of training.
    pub fn errors(&self) -> usize {
        unsafe { sys::loragen_analysis_errors(self.handle.as_ptr()) }
    }
}

impl Drop for Analysis {
    fn drop(&mut self) {
        unsafe { sys::loragen_analysis_free(self.handle.as_ptr()) }
    }
}

/// Two adapters side by side, in all and module by module.
pub fn compare(a: Adapter<'_>, b: Adapter<'_>) -> Result<Analysis> {
    let ((a, sample_a), (b, sample_b)) = (a.raw(), b.raw());
    Analysis::make(|out| check(unsafe { sys::loragen_compare(out, a, sample_a, b, sample_b) }))
}

/// The adapters below a folder that are most similar, the nearest first; 0: all.
pub fn nearest(adapter: Adapter<'_>, folder: impl AsRef<Path>, count: usize) -> Result<Analysis> {
    let folder = c_path(folder.as_ref())?;
    let (adapters, sample) = adapter.raw();
    Analysis::make(|out| check(unsafe { sys::loragen_nearest(out, adapters, sample, folder.as_ptr(), count) }))
}

/// What [`import_corpus`] takes; the defaults draft the largest group.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    pub seed: u64,
    /// From 1, as the summary numbers them; 0: the largest.
    pub group: usize,
    /// 0: any.
    pub rank: i32,
    pub keep_checkpoints: bool,
    pub dry_run: bool,
    /// Names of one base model: the first is taken as the second.
    pub same_base: Vec<(String, String)>,
}

/// Drafts the manifest of a folder from what lies beside its adapters: model cards, metadata, configs, pictures.
pub fn import_corpus(folder: impl AsRef<Path>, options: &ImportOptions) -> Result<Analysis> {
    let folder = c_path(folder.as_ref())?;
    let mut pairs = Vec::new();
    for (name, base) in &options.same_base {
        pairs.push(c_string(&format!("{name}={base}"))?);
    }
    let same_base: Vec<_> = pairs.iter().map(|pair| pair.as_ptr()).collect();
    let options = sys::loragen_import_options {
        struct_size: size_of::<sys::loragen_import_options>(),
        seed: options.seed,
        group: options.group,
        rank: options.rank,
        keep_checkpoints: options.keep_checkpoints.into(),
        dry_run: options.dry_run.into(),
        same_base: same_base.as_ptr(),
        same_base_count: same_base.len(),
    };
    Analysis::make(|out| check(unsafe { sys::loragen_corpus_import(out, folder.as_ptr(), &options) }))
}

/// Looks at a folder of adapters before training. Factors take at most `memory_limit` bytes, 1 GiB if it is 0; beyond,
/// similarities are estimated. `progress` cancels with `Break`.
pub fn doctor(
    path: impl AsRef<Path>,
    memory_limit: u64,
    progress: &mut dyn FnMut(&Progress<'_>) -> ControlFlow<()>,
) -> Result<Analysis> {
    let path = c_path(path.as_ref())?;
    Analysis::make(|out| {
        with_progress(Some(progress), |progress, payload| {
            let struct_size = size_of::<sys::loragen_doctor_options>();
            let options = sys::loragen_doctor_options { struct_size, memory_limit, progress, payload };
            unsafe { sys::loragen_doctor(out, path.as_ptr(), &options) }
        })
    })
}
