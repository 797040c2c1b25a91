//! The C interface of libloragen, as it is; `include/loragen.h` documents every name. Use the crate `loragen` instead.
#![allow(non_camel_case_types)]

use std::os::raw::{c_char, c_double, c_float, c_void};

pub type loragen_status = i32;
pub const LORAGEN_OK: loragen_status = 0;
pub const LORAGEN_INVALID_ARGUMENT: loragen_status = 1;
pub const LORAGEN_IO: loragen_status = 2;
pub const LORAGEN_FORMAT: loragen_status = 3;
pub const LORAGEN_VERSION: loragen_status = 4;
pub const LORAGEN_UNSUPPORTED: loragen_status = 5;
pub const LORAGEN_MISMATCH: loragen_status = 6;
pub const LORAGEN_NON_FINITE: loragen_status = 7;
pub const LORAGEN_MEMORY: loragen_status = 8;
pub const LORAGEN_CANCELLED: loragen_status = 9;
pub const LORAGEN_INTERNAL: loragen_status = 10;

pub const LORAGEN_LOG_DEBUG: i32 = 0;
pub const LORAGEN_LOG_INFO: i32 = 1;
pub const LORAGEN_LOG_WARNING: i32 = 2;
pub type loragen_log_callback = Option<unsafe extern "C" fn(level: i32, message: *const c_char, payload: *mut c_void)>;

pub const LORAGEN_FLOAT32: i32 = 0;
pub const LORAGEN_FLOAT16: i32 = 1;
pub const LORAGEN_BFLOAT16: i32 = 2;
pub const LORAGEN_Q8_0: i32 = 3;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_tensor {
    pub name: *const c_char,
    pub shape: *const i64,
    pub rank: i32,
    pub dtype: i32,
    pub data: *const c_float,
    pub count: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_module {
    pub name: *const c_char,
    pub layer: i32,
    pub rank: i32,
    pub inputs: i64,
    pub outputs: i64,
    pub alpha: c_double,
}

#[repr(C)]
pub struct loragen_corpus {
    _private: [u8; 0],
}

pub const LORAGEN_SPLIT_TRAIN: i32 = 0;
pub const LORAGEN_SPLIT_VALIDATION: i32 = 1;
pub const LORAGEN_SPLIT_TEST: i32 = 2;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_corpus_entry {
    pub path: *const c_char,
    pub task: *const c_char,
    pub run: *const c_char,
    pub text: *const c_char,
    pub bits: *const c_char,
    pub condition: *const c_float,
    pub condition_length: usize,
    pub split: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_progress {
    pub struct_size: usize,
    pub stage: *const c_char,
    pub step: i64,
    pub steps: i64,
    pub loss: c_double,
    pub validation_skill: c_double,
    pub best_skill: c_double,
    pub steps_per_second: c_double,
    pub seconds_left: c_double,
}

pub type loragen_progress_callback =
    Option<unsafe extern "C" fn(progress: *const loragen_progress, payload: *mut c_void) -> i32>;
pub type loragen_problem_callback = Option<unsafe extern "C" fn(message: *const c_char, payload: *mut c_void) -> i32>;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_training_options {
    pub struct_size: usize,
    pub method: *const c_char,
    pub preset: *const c_char,
    pub settings: *const c_char,
    pub seed: u64,
    pub memory_limit: u64,
    pub checkpoint: *const c_char,
    pub checkpoint_seconds: c_double,
    pub progress: loragen_progress_callback,
    pub payload: *mut c_void,
    pub encoder: *const loragen_encoder,
    pub image_encoder: *const loragen_image_encoder,
    pub condition: *const c_char,
}

#[repr(C)]
pub struct loragen_generator {
    _private: [u8; 0],
}

pub const LORAGEN_CONDITION_NONE: i32 = 0;
pub const LORAGEN_CONDITION_VECTOR: i32 = 1;
pub const LORAGEN_CONDITION_BITS: i32 = 2;
pub const LORAGEN_CONDITION_PARTS: i32 = 3;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_generator_info {
    pub struct_size: usize,
    pub method: *const c_char,
    pub preset: *const c_char,
    pub base_model: *const c_char,
    pub condition_kind: i32,
    pub condition_length: usize,
    pub module_count: usize,
    pub tensor_count: usize,
    pub value_count: usize,
    pub sampler: *const c_char,
    pub steps: i32,
    pub guidance: c_float,
    pub hash: *const c_char,
    pub condition_count: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_condition_info {
    pub struct_size: usize,
    pub name: *const c_char,
    pub kind: *const c_char,
    pub length: usize,
    pub encoder: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_generator_options {
    pub struct_size: usize,
    pub encoder: *const loragen_encoder,
    pub image_encoder: *const loragen_image_encoder,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_condition {
    pub name: *const c_char,
    pub kind: *const c_char,
    pub data: *const c_void,
    pub size: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_request {
    pub struct_size: usize,
    pub condition: *const c_float,
    pub condition_length: usize,
    pub bits: *const c_char,
    pub seed: u64,
    pub samples: i32,
    pub steps: i32,
    pub guidance: c_float,
    pub sampler: *const c_char,
    pub progress: loragen_progress_callback,
    pub payload: *mut c_void,
    pub basis: *const loragen_basis,
    pub conditions: *const loragen_condition,
    pub condition_count: usize,
}

#[repr(C)]
pub struct loragen_adapters {
    _private: [u8; 0],
}

/// `struct DLManagedTensor` of dlpack.h.
#[repr(C)]
pub struct DLManagedTensor {
    _private: [u8; 0],
}

pub const LORAGEN_FORMAT_BY_SUFFIX: i32 = -1;
pub const LORAGEN_FORMAT_PEFT: i32 = 0;
pub const LORAGEN_FORMAT_SAFETENSORS: i32 = 1;
pub const LORAGEN_FORMAT_ONNX: i32 = 2;
pub const LORAGEN_FORMAT_DIFFUSERS: i32 = 3;
pub const LORAGEN_FORMAT_KOHYA: i32 = 4;
pub const LORAGEN_FORMAT_GGUF: i32 = 5;
pub const LORAGEN_FORMAT_ONNX_ADAPTER: i32 = 6;
pub const LORAGEN_FORMAT_NPZ: i32 = 7;

pub const LORAGEN_NAMING_OLIVE: i32 = 0;
pub const LORAGEN_NAMING_PEFT: i32 = 1;

#[repr(C)]
pub struct loragen_verification {
    _private: [u8; 0],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_save_options {
    pub struct_size: usize,
    pub dtype: i32,
    pub keep_alpha: i32,
    pub base: *const c_char,
    pub naming: i32,
    pub portable: i32,
    pub layers: i32,
    pub model: *const c_char,
}

#[repr(C)]
pub struct loragen_analysis {
    _private: [u8; 0],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_doctor_options {
    pub struct_size: usize,
    pub memory_limit: u64,
    pub progress: loragen_progress_callback,
    pub payload: *mut c_void,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_import_options {
    pub struct_size: usize,
    pub seed: u64,
    pub group: usize,
    pub rank: i32,
    pub keep_checkpoints: i32,
    pub dry_run: i32,
    pub same_base: *const *const c_char,
    pub same_base_count: usize,
}

pub type loragen_note_callback = loragen_problem_callback;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_convert_options {
    pub struct_size: usize,
    pub save: *const loragen_save_options,
    pub lossy: i32,
    pub note: loragen_note_callback,
    pub payload: *mut c_void,
    pub lora_only: i32,
    pub rank: i32,
}

pub const LORAGEN_APPLY_MERGE: i32 = 0;
pub const LORAGEN_APPLY_UNMERGE: i32 = 1;
pub const LORAGEN_APPLY_INJECT: i32 = 2;
pub const LORAGEN_APPLY_INPUTS: i32 = 3;
pub const LORAGEN_APPLY_REMOVE: i32 = 4;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_apply_options {
    pub struct_size: usize,
    pub mode: i32,
    pub scale: f64,
    pub base: *const c_char,
    pub note: loragen_note_callback,
    pub payload: *mut c_void,
    pub lora_only: i32,
    pub basis: *const c_char,
}

#[repr(C)]
pub struct loragen_basis {
    _private: [u8; 0],
}

#[repr(C)]
pub struct loragen_compact {
    _private: [u8; 0],
}

#[repr(C)]
pub struct loragen_encoder {
    _private: [u8; 0],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_encoder_options {
    pub struct_size: usize,
    pub tokenizer: *const c_char,
}

#[repr(C)]
pub struct loragen_image_encoder {
    _private: [u8; 0],
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_picture {
    pub struct_size: usize,
    pub path: *const c_char,
    pub file: *const c_void,
    pub file_size: usize,
    pub rgb: *const u8,
    pub width: i64,
    pub height: i64,
    pub stride: i64,
    pub as_stored: i32,
    pub drop_alpha: i32,
    pub pixel_limit: i64,
}

pub const LORAGEN_COORDINATES_ABSOLUTE: i32 = 0;
pub const LORAGEN_COORDINATES_RELATIVE: i32 = 1;

#[repr(C)]
pub struct loragen_basis_options {
    pub struct_size: usize,
    pub method: *const c_char,
    pub rank: i32,
    pub targets: *const c_char,
    pub prefix: *const c_char,
    pub tolerance: f64,
    pub dtype: i32,
    pub memory_limit: u64,
    pub checkpoint: *const c_char,
    pub pivots: *const c_char,
    pub progress: loragen_progress_callback,
    pub payload: *mut c_void,
}

#[repr(C)]
pub struct loragen_expand_options {
    pub struct_size: usize,
    pub rank: i32,
    pub limit: f64,
    pub save: *const loragen_save_options,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct loragen_file_options {
    pub struct_size: usize,
    pub format: i32,
    pub dtype: i32,
    pub keep_alpha: i32,
    pub sample: i32,
    pub memory_limit: u64,
    pub save: *const loragen_save_options,
}

extern "C" {
    pub fn loragen_convert(
        source: *const c_char,
        target: *const c_char,
        format: i32,
        options: *const loragen_convert_options,
    ) -> loragen_status;
    pub fn loragen_apply(
        model: *const c_char,
        adapter: *const c_char,
        target: *const c_char,
        options: *const loragen_apply_options,
    ) -> loragen_status;
    pub fn loragen_adapters_open_for(
        out: *mut *mut loragen_adapters,
        path: *const c_char,
        base: *const c_char,
    ) -> loragen_status;

    pub fn loragen_version() -> *const c_char;
    pub fn loragen_names() -> *const c_char;
    pub fn loragen_status_name(status: loragen_status) -> *const c_char;
    pub fn loragen_last_error() -> *const c_char;

    pub fn loragen_set_log(callback: loragen_log_callback, payload: *mut c_void);
    pub fn loragen_set_threads(threads: i32) -> loragen_status;
    pub fn loragen_threads() -> i32;

    pub fn loragen_corpus_open(out: *mut *mut loragen_corpus, path: *const c_char) -> loragen_status;
    pub fn loragen_corpus_check(
        path: *const c_char,
        problem: loragen_problem_callback,
        payload: *mut c_void,
    ) -> loragen_status;
    pub fn loragen_corpus_count(corpus: *const loragen_corpus) -> usize;
    pub fn loragen_corpus_entry_at(
        corpus: *const loragen_corpus,
        index: usize,
        out: *mut loragen_corpus_entry,
    ) -> loragen_status;
    pub fn loragen_corpus_init(folder: *const c_char, seed: u64) -> loragen_status;
    pub fn loragen_corpus_unpack(corpus: *const loragen_corpus, folder: *const c_char) -> loragen_status;
    pub fn loragen_corpus_free(corpus: *mut loragen_corpus);

    pub fn loragen_train(
        corpus: *const loragen_corpus,
        path: *const c_char,
        options: *const loragen_training_options,
    ) -> loragen_status;

    pub fn loragen_generator_open(out: *mut *mut loragen_generator, path: *const c_char) -> loragen_status;
    pub fn loragen_generator_open_with(
        out: *mut *mut loragen_generator,
        path: *const c_char,
        options: *const loragen_generator_options,
    ) -> loragen_status;
    pub fn loragen_generator_describe(
        generator: *const loragen_generator,
        out: *mut loragen_generator_info,
    ) -> loragen_status;
    pub fn loragen_generator_condition(
        generator: *const loragen_generator,
        index: usize,
        out: *mut loragen_condition_info,
    ) -> loragen_status;
    pub fn loragen_generator_module(
        generator: *const loragen_generator,
        index: usize,
        out: *mut loragen_module,
    ) -> loragen_status;
    pub fn loragen_generator_check(generator: *const loragen_generator) -> loragen_status;
    pub fn loragen_generator_report(generator: *const loragen_generator) -> *const c_char;
    pub fn loragen_generator_report_text(generator: *const loragen_generator, brief: i32) -> *const c_char;
    pub fn loragen_generator_free(generator: *mut loragen_generator);

    pub fn generate_lora(
        out: *mut *mut loragen_adapters,
        generator: *const loragen_generator,
        request: *const loragen_request,
    ) -> loragen_status;

    pub fn loragen_generate_file(
        generator: *const loragen_generator,
        request: *const loragen_request,
        path: *const c_char,
        options: *const loragen_file_options,
    ) -> loragen_status;

    pub fn loragen_adapters_open(out: *mut *mut loragen_adapters, path: *const c_char) -> loragen_status;
    pub fn loragen_adapters_count(adapters: *const loragen_adapters) -> usize;
    pub fn loragen_adapters_tensor_count(adapters: *const loragen_adapters) -> usize;
    pub fn loragen_adapters_module_count(adapters: *const loragen_adapters) -> usize;
    pub fn loragen_adapters_tensor(
        adapters: *const loragen_adapters,
        sample: usize,
        index: usize,
        out: *mut loragen_tensor,
    ) -> loragen_status;
    pub fn loragen_adapters_module(
        adapters: *const loragen_adapters,
        index: usize,
        out: *mut loragen_module,
    ) -> loragen_status;
    pub fn loragen_adapters_origin(adapters: *const loragen_adapters, sample: usize) -> *const c_char;
    pub fn loragen_adapters_dlpack(
        out: *mut *mut DLManagedTensor,
        adapters: *const loragen_adapters,
        sample: usize,
        index: usize,
    ) -> loragen_status;
    pub fn loragen_adapters_save(
        adapters: *const loragen_adapters,
        sample: usize,
        path: *const c_char,
        format: i32,
        options: *const loragen_save_options,
    ) -> loragen_status;
    pub fn loragen_adapters_free(adapters: *mut loragen_adapters);

    pub fn loragen_verify(
        out: *mut *mut loragen_verification,
        adapter: *const c_char,
        base: *const c_char,
        corpus: *const c_char,
    ) -> loragen_status;
    pub fn loragen_verification_errors(verification: *const loragen_verification) -> usize;
    pub fn loragen_verification_warnings(verification: *const loragen_verification) -> usize;
    pub fn loragen_verification_text(verification: *const loragen_verification) -> *const c_char;
    pub fn loragen_verification_json(verification: *const loragen_verification) -> *const c_char;
    pub fn loragen_verification_free(verification: *mut loragen_verification);
    pub fn loragen_basis_compute(
        base: *const c_char,
        path: *const c_char,
        options: *const loragen_basis_options,
    ) -> loragen_status;
    pub fn loragen_basis_open(out: *mut *mut loragen_basis, path: *const c_char) -> loragen_status;
    pub fn loragen_basis_check(basis: *const loragen_basis, base: *const c_char) -> loragen_status;
    pub fn loragen_basis_module_count(basis: *const loragen_basis) -> usize;
    pub fn loragen_basis_module(
        basis: *const loragen_basis,
        index: usize,
        out: *mut loragen_module,
    ) -> loragen_status;
    pub fn loragen_basis_columns(basis: *const loragen_basis, index: usize) -> usize;
    pub fn loragen_basis_factors(
        basis: *const loragen_basis,
        index: usize,
        left: *mut f32,
        sigma: *mut f32,
        right: *mut f32,
    ) -> loragen_status;
    pub fn loragen_basis_json(basis: *const loragen_basis) -> *const c_char;
    pub fn loragen_basis_free(basis: *mut loragen_basis);
    pub fn loragen_encoder_open(
        out: *mut *mut loragen_encoder,
        folder: *const c_char,
        options: *const loragen_encoder_options,
    ) -> loragen_status;
    pub fn loragen_encoder_width(encoder: *const loragen_encoder) -> usize;
    pub fn loragen_encoder_json(encoder: *const loragen_encoder) -> *const c_char;
    pub fn loragen_encoder_encode(
        encoder: *const loragen_encoder,
        texts: *const *const c_char,
        count: usize,
        vectors: *mut f32,
    ) -> loragen_status;
    pub fn loragen_encoder_free(encoder: *mut loragen_encoder);
    pub fn loragen_image_encoder_open(out: *mut *mut loragen_image_encoder, folder: *const c_char) -> loragen_status;
    pub fn loragen_image_encoder_width(encoder: *const loragen_image_encoder) -> usize;
    pub fn loragen_image_encoder_state_width(encoder: *const loragen_image_encoder) -> usize;
    pub fn loragen_image_encoder_layers(encoder: *const loragen_image_encoder) -> usize;
    pub fn loragen_image_encoder_json(encoder: *const loragen_image_encoder) -> *const c_char;
    pub fn loragen_image_encoder_encode(
        encoder: *const loragen_image_encoder,
        pictures: *const *const loragen_picture,
        count: usize,
        vectors: *mut f32,
    ) -> loragen_status;
    pub fn loragen_image_encoder_states(
        encoder: *const loragen_image_encoder,
        picture: *const loragen_picture,
        layer: i32,
        values: *mut f32,
        capacity: usize,
        tokens: *mut usize,
    ) -> loragen_status;
    pub fn loragen_image_encoder_free(encoder: *mut loragen_image_encoder);
    pub fn loragen_compact_create(
        out: *mut *mut loragen_compact,
        basis: *const loragen_basis,
        deltas: *const f32,
        count: usize,
        rank: i32,
    ) -> loragen_status;
    pub fn loragen_compact_open(out: *mut *mut loragen_compact, path: *const c_char) -> loragen_status;
    pub fn loragen_compact_save(
        compact: *const loragen_compact,
        path: *const c_char,
        coordinates: i32,
    ) -> loragen_status;
    pub fn loragen_compact_save_psoft(compact: *const loragen_compact, path: *const c_char) -> loragen_status;
    pub fn loragen_compact_open_psoft(
        out: *mut *mut loragen_compact,
        path: *const c_char,
        basis: *const loragen_basis,
    ) -> loragen_status;
    pub fn loragen_compact_deltas(compact: *const loragen_compact) -> *const f32;
    pub fn loragen_compact_count(compact: *const loragen_compact) -> usize;
    pub fn loragen_compact_json(compact: *const loragen_compact) -> *const c_char;
    pub fn loragen_compact_expand(
        out: *mut *mut loragen_adapters,
        compact: *const loragen_compact,
        basis: *const loragen_basis,
        options: *const loragen_expand_options,
    ) -> loragen_status;
    pub fn loragen_compact_expand_file(
        compact: *const loragen_compact,
        basis: *const loragen_basis,
        path: *const c_char,
        format: i32,
        options: *const loragen_expand_options,
    ) -> loragen_status;
    pub fn loragen_compact_project(
        out: *mut *mut loragen_compact,
        adapters: *const loragen_adapters,
        sample: usize,
        basis: *const loragen_basis,
        least: f64,
        captured: *mut f64,
    ) -> loragen_status;
    pub fn loragen_compact_truncate(
        out: *mut *mut loragen_compact,
        compact: *const loragen_compact,
        count: usize,
        lost: *mut f64,
    ) -> loragen_status;
    pub fn loragen_generator_is_compact(generator: *const loragen_generator) -> i32;
    pub fn loragen_generate_compact(
        out: *mut *mut loragen_compact,
        generator: *const loragen_generator,
        request: *const loragen_request,
        sample: i32,
    ) -> loragen_status;
    pub fn loragen_compact_free(compact: *mut loragen_compact);
    pub fn loragen_compare(
        out: *mut *mut loragen_analysis,
        a: *const loragen_adapters,
        sample_a: usize,
        b: *const loragen_adapters,
        sample_b: usize,
    ) -> loragen_status;
    pub fn loragen_nearest(
        out: *mut *mut loragen_analysis,
        adapters: *const loragen_adapters,
        sample: usize,
        folder: *const c_char,
        count: usize,
    ) -> loragen_status;
    pub fn loragen_corpus_import(
        out: *mut *mut loragen_analysis,
        folder: *const c_char,
        options: *const loragen_import_options,
    ) -> loragen_status;
    pub fn loragen_doctor(
        out: *mut *mut loragen_analysis,
        path: *const c_char,
        options: *const loragen_doctor_options,
    ) -> loragen_status;
    pub fn loragen_analysis_json(analysis: *const loragen_analysis) -> *const c_char;
    pub fn loragen_analysis_text(analysis: *const loragen_analysis) -> *const c_char;
    pub fn loragen_analysis_svg(analysis: *const loragen_analysis) -> *const c_char;
    pub fn loragen_analysis_errors(analysis: *const loragen_analysis) -> usize;
    pub fn loragen_analysis_free(analysis: *mut loragen_analysis);
}
