use crate::error::{check, Result};
use crate::{c_path, text, values};
use loragen_sys as sys;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::os::raw::c_char;
use std::path::Path;
use std::ptr::{self, NonNull};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    Train,
    Validation,
    Test,
}

/// One adapter of a corpus, as its manifest describes it.
#[derive(Clone, Copy, Debug)]
pub struct CorpusEntry<'a> {
    /// Relative to the corpus.
    pub path: &'a str,
    pub task: &'a str,
    /// Id of the training run that the adapter comes from.
    pub run: &'a str,
    pub text: Option<&'a str>,
    pub bits: Option<&'a str>,
    /// Empty if there is none.
    pub condition: &'a [f32],
    pub split: Split,
}

/// A folder of PEFT adapters, with a manifest or without, or a packed `.safetensors` file.
#[derive(Debug)]
pub struct Corpus {
    handle: NonNull<sys::loragen_corpus>,
}

// SAFETY: a loragen_corpus may be used by many threads at once, and freed by any.
unsafe impl Send for Corpus {}
unsafe impl Sync for Corpus {}

impl Corpus {
    /// Opens a corpus and checks all of it; the first problem is the error.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = c_path(path.as_ref())?;
        let mut handle = ptr::null_mut();
        check(unsafe { sys::loragen_corpus_open(&mut handle, path.as_ptr()) })?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }

    /// Every problem of a corpus; empty if there is none.
    pub fn check(path: impl AsRef<Path>) -> Result<Vec<String>> {
        unsafe extern "C" fn collect(message: *const c_char, payload: *mut c_void) -> i32 {
            // SAFETY: the payload is `problems` below; the message is valid for the length of this callback.
            let problems = unsafe { &mut *payload.cast::<Vec<String>>() };
            problems.push(unsafe { text(message) }.unwrap_or_default().to_owned());
            0
        }
        let path = c_path(path.as_ref())?;
        let mut problems: Vec<String> = Vec::new();
        let payload = (&mut problems as *mut Vec<String>).cast();
        let status = unsafe { sys::loragen_corpus_check(path.as_ptr(), Some(collect), payload) };
        match check(status) {
            Err(error) if problems.is_empty() => Err(error),
            _ => Ok(problems),
        }
    }

    /// Drafts a manifest for a folder of PEFT adapters that has none; one that exists is never replaced.
    pub fn init(folder: impl AsRef<Path>, seed: u64) -> Result<()> {
        let folder = c_path(folder.as_ref())?;
        check(unsafe { sys::loragen_corpus_init(folder.as_ptr(), seed) })
    }

    pub fn len(&self) -> usize {
        unsafe { sys::loragen_corpus_count(self.handle.as_ptr()) }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn entries(&self) -> impl ExactSizeIterator<Item = CorpusEntry<'_>> {
        (0..self.len()).map(|index| {
            let mut entry = MaybeUninit::uninit();
            // SAFETY: the index is in range, so the call succeeds and fills `entry`; what it points to lives as long as
            // the corpus.
            unsafe {
                check(sys::loragen_corpus_entry_at(self.handle.as_ptr(), index, entry.as_mut_ptr()))
                    .expect("the index is in range");
                let entry: sys::loragen_corpus_entry = entry.assume_init();
                CorpusEntry {
                    path: text(entry.path).unwrap_or_default(),
                    task: text(entry.task).unwrap_or_default(),
                    run: text(entry.run).unwrap_or_default(),
                    text: text(entry.text),
                    bits: text(entry.bits),
                    condition: values(entry.condition, entry.condition_length),
                    split: match entry.split {
                        sys::LORAGEN_SPLIT_VALIDATION => Split::Validation,
                        sys::LORAGEN_SPLIT_TEST => Split::Test,
                        _ => Split::Train,
                    },
                }
            }
        })
    }

    /// Writes PEFT folders with a manifest into `folder`, which must not exist.
    pub fn unpack(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = c_path(folder.as_ref())?;
        check(unsafe { sys::loragen_corpus_unpack(self.handle.as_ptr(), folder.as_ptr()) })
    }

    pub(crate) fn as_ptr(&self) -> *const sys::loragen_corpus {
        self.handle.as_ptr()
    }
}

impl Drop for Corpus {
    fn drop(&mut self) {
        unsafe { sys::loragen_corpus_free(self.handle.as_ptr()) }
    }
}
