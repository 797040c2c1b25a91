use crate::adapters::{Adapters, Format, Module, SaveOptions};
use crate::encoder::Encoders;
use crate::error::{check, Result};
use crate::progress::{with_progress, Callback, Progress};
use crate::{c_path, optional, pointer, text};
use loragen_sys as sys;
use std::fmt;
use std::mem::{size_of, MaybeUninit};
use std::ops::ControlFlow;
use std::path::Path;
use std::ptr::{self, NonNull};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConditionKind {
    None,
    Vector,
    Bits,
    /// Several parts: [`Generator::conditions`].
    Parts,
}

/// One part of the condition that a generator takes.
#[derive(Clone, Copy, Debug)]
pub struct ConditionInfo<'a> {
    pub name: &'a str,
    /// `"vector"`, `"bits"`, `"text"`, `"images"`.
    pub kind: &'a str,
    /// Numbers of a vector, bits, numbers of the encoder.
    pub length: usize,
    /// Of texts and images: the encoder that they go through, as JSON.
    pub encoder: Option<&'a str>,
}

/// What a generator file holds.
#[derive(Clone, Copy, Debug)]
pub struct GeneratorInfo<'a> {
    pub method: &'a str,
    pub preset: Option<&'a str>,
    /// As the adapters of the corpus name it.
    pub base_model: Option<&'a str>,
    pub condition_kind: ConditionKind,
    /// Numbers, or bits.
    pub condition_length: usize,
    pub module_count: usize,
    pub tensor_count: usize,
    /// Numbers in one adapter.
    pub value_count: usize,
    /// What [`Generator::generate`] uses unless told otherwise; `None` for methods without a sampler.
    pub sampler: Option<&'a str>,
    pub steps: usize,
    pub guidance: f32,
    /// SHA-256 of the file's tensors and settings, in hex.
    pub hash: &'a str,
}

/// What the adapter is asked to be for.
#[derive(Clone, Copy, Debug, Default)]
pub enum Condition<'a> {
    #[default]
    None,
    Vector(&'a [f32]),
    /// `"0001100101"`
    Bits(&'a str),
    /// A value for each part; of texts, images and vectors several, whose mean counts.
    Parts(&'a [Part<'a>]),
}

/// A value for one part of a condition.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// `None` where one part alone can be meant.
    pub name: Option<&'a str>,
    pub value: Value<'a>,
}

#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    Vector(&'a [f32]),
    /// `"0110"`
    Bits(&'a str),
    Text(&'a str),
    /// The bytes of a PNG, JPEG or WebP file.
    Image(&'a [u8]),
}

/// What to generate, and how; `None` is as the generator was trained for.
#[derive(Default)]
pub struct Request<'a> {
    pub condition: Condition<'a>,
    pub seed: u64,
    /// Adapters to draw; sample i depends on the seed and on i alone. 0 is 1.
    pub samples: i32,
    pub steps: Option<i32>,
    /// 0 ignores the condition, 1 follows it, more exaggerates it.
    pub guidance: Option<f32>,
    /// `"ddpm"`, `"ddim"` or `"dpm-solver++"`.
    pub sampler: Option<&'a str>,
}

impl<'a> Request<'a> {
    pub fn bits(bits: &'a str) -> Self {
        Request { condition: Condition::Bits(bits), ..Request::default() }
    }

    pub fn vector(vector: &'a [f32]) -> Self {
        Request { condition: Condition::Vector(vector), ..Request::default() }
    }
}

/// A trained generator. Many threads may use one at once.
pub struct Generator {
    handle: NonNull<sys::loragen_generator>,
}

// SAFETY: a loragen_generator may be used by many threads at once, and freed by any.
unsafe impl Send for Generator {}
unsafe impl Sync for Generator {}

impl Generator {
    /// Opens a generator file, which is mapped and must not change while this lives.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, Encoders::default())
    }

    /// With the encoders of conditions in words or by pictures, which it keeps.
    pub fn open_with(path: impl AsRef<Path>, encoders: Encoders<'_>) -> Result<Self> {
        let path = c_path(path.as_ref())?;
        let (encoder, image_encoder) = encoders.pointers();
        let options = sys::loragen_generator_options {
            struct_size: size_of::<sys::loragen_generator_options>(),
            encoder,
            image_encoder,
        };
        let mut handle = ptr::null_mut();
        check(unsafe { sys::loragen_generator_open_with(&mut handle, path.as_ptr(), &options) })?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }

    pub fn info(&self) -> GeneratorInfo<'_> {
        let mut info = MaybeUninit::<sys::loragen_generator_info>::zeroed();
        // SAFETY: all zeros is a valid loragen_generator_info; the strings live as long as the generator.
        unsafe {
            (*info.as_mut_ptr()).struct_size = size_of::<sys::loragen_generator_info>();
            check(sys::loragen_generator_describe(self.handle.as_ptr(), info.as_mut_ptr()))
                .expect("an open generator can be described");
            let info = info.assume_init();
            GeneratorInfo {
                method: text(info.method).unwrap_or_default(),
                preset: text(info.preset),
                base_model: text(info.base_model),
                condition_kind: match info.condition_kind {
                    sys::LORAGEN_CONDITION_VECTOR => ConditionKind::Vector,
                    sys::LORAGEN_CONDITION_BITS => ConditionKind::Bits,
                    sys::LORAGEN_CONDITION_PARTS => ConditionKind::Parts,
                    _ => ConditionKind::None,
                },
                condition_length: info.condition_length,
                module_count: info.module_count,
                tensor_count: info.tensor_count,
                value_count: info.value_count,
                sampler: text(info.sampler),
                steps: usize::try_from(info.steps).unwrap_or_default(),
                guidance: info.guidance,
                hash: text(info.hash).unwrap_or_default(),
            }
        }
    }

    pub fn conditions(&self) -> Vec<ConditionInfo<'_>> {
        let mut parts = Vec::new();
        let mut info = sys::loragen_condition_info {
            struct_size: size_of::<sys::loragen_condition_info>(),
            name: ptr::null(),
            kind: ptr::null(),
            length: 0,
            encoder: ptr::null(),
        };
        // SAFETY: the call fills `info`, whose strings live as long as the generator, or fails past the last part.
        while check(unsafe { sys::loragen_generator_condition(self.handle.as_ptr(), parts.len(), &mut info) }).is_ok() {
            let (name, kind, encoder) = unsafe { (text(info.name), text(info.kind), text(info.encoder)) };
            parts.push(ConditionInfo {
                name: name.unwrap_or_default(),
                kind: kind.unwrap_or_default(),
                length: info.length,
                encoder,
            });
        }
        parts
    }

    pub fn modules(&self) -> Vec<Module<'_>> {
        (0..self.info().module_count)
            .map(|index| {
                let mut module = MaybeUninit::uninit();
                // SAFETY: the index is in range, so the call succeeds and fills `module`.
                unsafe {
                    let status = sys::loragen_generator_module(self.handle.as_ptr(), index, module.as_mut_ptr());
                    check(status).expect("the index is in range");
                    Module::new(module.assume_init())
                }
            })
            .collect()
    }

    /// Reads all of the file and compares it with its hash, which opening does not.
    pub fn check(&self) -> Result<()> {
        check(unsafe { sys::loragen_generator_check(self.handle.as_ptr()) })
    }

    /// What was measured on held-out tasks when the generator was trained, as JSON.
    pub fn report(&self) -> &str {
        unsafe { text(sys::loragen_generator_report(self.handle.as_ptr())) }.unwrap_or_default()
    }

    /// Draws adapters for a condition: `generate_lora()`.
    pub fn generate(&self, request: &Request<'_>) -> Result<Adapters> {
        self.draw(request, None)
    }

    /// As [`generate`](Self::generate), reporting ten times a second at most; `Break` cancels.
    pub fn generate_with<'a>(
        &self,
        request: &Request<'_>,
        progress: &'a mut (dyn FnMut(&Progress<'_>) -> ControlFlow<()> + 'a),
    ) -> Result<Adapters> {
        self.draw(request, Some(progress))
    }

    /// Draws sample `sample` of a request and writes it while it is made, with no more than `memory_limit` bytes beside
    /// the generator's file (0: no limit): `loragen_generate_file()`.
    pub fn generate_file(
        &self,
        request: &Request<'_>,
        path: impl AsRef<Path>,
        format: Format,
        options: SaveOptions<'_>,
        sample: i32,
        memory_limit: u64,
    ) -> Result<()> {
        let path = c_path(path.as_ref())?;
        options.with(|save| {
            let options = sys::loragen_file_options {
                struct_size: size_of::<sys::loragen_file_options>(),
                format: format.code(),
                dtype: sys::LORAGEN_FLOAT32,
                keep_alpha: 0,
                sample,
                memory_limit,
                save,
            };
            self.ask(request, |c_request| {
                // SAFETY: everything that the request and the options point to lives until this returns.
                check(unsafe { sys::loragen_generate_file(self.handle.as_ptr(), c_request, path.as_ptr(), &options) })
            })
        })
    }

    fn draw<'a>(&self, request: &Request<'_>, progress: Option<&'a mut Callback<'a>>) -> Result<Adapters> {
        self.ask(request, |c_request| {
            Adapters::make(|out| {
                with_progress(progress, |callback, payload| {
                    c_request.progress = callback;
                    c_request.payload = payload;
                    // SAFETY: everything that the request points to lives until this returns.
                    unsafe { sys::generate_lora(out, self.handle.as_ptr(), c_request) }
                })
            })
        })
    }

    /// Runs `call` with the request as the library takes it.
    fn ask<T>(
        &self,
        request: &Request<'_>,
        call: impl FnOnce(&mut sys::loragen_request) -> Result<T>,
    ) -> Result<T> {
        let (vector, bits, parts) = match request.condition {
            Condition::None => (None, None, [].as_slice()),
            Condition::Vector(vector) => (Some(vector), None, [].as_slice()),
            Condition::Bits(bits) => (None, Some(bits), [].as_slice()),
            Condition::Parts(parts) => (None, None, parts),
        };
        let names = parts.iter().map(|part| optional(part.name)).collect::<Result<Vec<_>>>()?;
        let conditions: Vec<_> = parts
            .iter()
            .zip(&names)
            .map(|(part, name)| {
                let (kind, data, size) = match part.value {
                    Value::Vector(vector) => (c"vector", vector.as_ptr().cast(), vector.len()),
                    Value::Bits(bits) => (c"bits", bits.as_ptr().cast(), bits.len()),
                    Value::Text(text) => (c"text", text.as_ptr().cast(), text.len()),
                    Value::Image(file) => (c"images", file.as_ptr().cast(), file.len()),
                };
                sys::loragen_condition { name: pointer(name), kind: kind.as_ptr(), data, size }
            })
            .collect();
        let bits = optional(bits)?;
        let sampler = optional(request.sampler)?;
        let mut c_request = sys::loragen_request {
            struct_size: size_of::<sys::loragen_request>(),
            condition: vector.map_or(ptr::null(), <[f32]>::as_ptr),
            condition_length: vector.map_or(0, <[f32]>::len),
            bits: pointer(&bits),
            seed: request.seed,
            samples: request.samples,
            steps: request.steps.unwrap_or(0),
            guidance: request.guidance.unwrap_or(-1.0),
            sampler: pointer(&sampler),
            progress: None,
            payload: ptr::null_mut(),
            basis: ptr::null(),
            conditions: if conditions.is_empty() { ptr::null() } else { conditions.as_ptr() },
            condition_count: conditions.len(),
        };
        call(&mut c_request)
    }
}

impl fmt::Debug for Generator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Generator").field(&self.info()).finish()
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        unsafe { sys::loragen_generator_free(self.handle.as_ptr()) }
    }
}
