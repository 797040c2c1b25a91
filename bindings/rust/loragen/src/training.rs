use crate::corpus::Corpus;
use crate::encoder::Encoders;
use crate::error::Result;
use crate::progress::{with_progress, Progress};
use crate::{c_path, c_string, optional, pointer};
use loragen_sys as sys;
use std::mem::size_of;
use std::ops::ControlFlow;
use std::path::Path;
use std::ptr;

/// How to train.
#[derive(Clone, Copy)]
pub struct TrainingOptions<'a> {
    /// `"cond-pdiff"`, `"rpg"`, or a baseline: `"mean"`, `"nearest"`, `"ridge"`, `"ridge-pairs"`, `"kernel-ridge"`,
    /// `"mlp"`.
    pub method: &'a str,
    /// `None` is `"default"`; baselines have `"factors"` beside it.
    pub preset: Option<&'a str>,
    /// A JSON object that overrides single settings of the preset.
    pub settings: Option<&'a str>,
    pub seed: u64,
    /// Bytes; 0 is no limit.
    pub memory_limit: u64,
    /// A file from which an interrupted training goes on, to the same bytes.
    pub checkpoint: Option<&'a Path>,
    /// Seconds between two checkpoints; 0 is 30.
    pub checkpoint_seconds: f64,
    /// For tasks in words or by pictures.
    pub encoders: Encoders<'a>,
    /// The manifest's field to be asked by: `"conditions"`, `"text"`, `"images"`, `"none"`; `None`: what there is.
    pub condition: Option<&'a str>,
}

impl Default for TrainingOptions<'_> {
    fn default() -> Self {
        TrainingOptions {
            method: "cond-pdiff",
            preset: None,
            settings: None,
            seed: 0,
            memory_limit: 0,
            checkpoint: None,
            checkpoint_seconds: 0.0,
            encoders: Encoders::default(),
            condition: None,
        }
    }
}

/// Trains a generator on a corpus and writes it to `path`. `progress` is called ten times a second at most; `Break`
/// cancels, and what is then on disk is a complete checkpoint or nothing.
pub fn train<'a>(
    corpus: &Corpus,
    path: impl AsRef<Path>,
    options: &TrainingOptions<'_>,
    progress: &'a mut (dyn FnMut(&Progress<'_>) -> ControlFlow<()> + 'a),
) -> Result<()> {
    let path = c_path(path.as_ref())?;
    let method = c_string(options.method)?;
    let preset = optional(options.preset)?;
    let settings = optional(options.settings)?;
    let checkpoint = options.checkpoint.map(c_path).transpose()?;
    let condition = optional(options.condition)?;
    let (encoder, image_encoder) = options.encoders.pointers();
    let mut c_options = sys::loragen_training_options {
        struct_size: size_of::<sys::loragen_training_options>(),
        method: method.as_ptr(),
        preset: pointer(&preset),
        settings: pointer(&settings),
        seed: options.seed,
        memory_limit: options.memory_limit,
        checkpoint: pointer(&checkpoint),
        checkpoint_seconds: options.checkpoint_seconds,
        progress: None,
        payload: ptr::null_mut(),
        encoder,
        image_encoder,
        condition: pointer(&condition),
    };
    with_progress(Some(progress), |callback, payload| {
        c_options.progress = callback;
        c_options.payload = payload;
        // SAFETY: everything that the options point to lives until this returns.
        unsafe { sys::loragen_train(corpus.as_ptr(), path.as_ptr(), &c_options) }
    })
}
