use crate::error::{check, Result};
use crate::{c_path, optional, pointer, text, values};
use loragen_sys as sys;
use std::mem::{size_of, MaybeUninit};
use std::path::Path;
use std::ptr::{self, NonNull};

/// One adapted module of the base model; the update of its weight is (alpha / rank) · B · A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Module<'a> {
    pub name: &'a str,
    /// The layer that it belongs to, if its name has one.
    pub layer: Option<usize>,
    pub rank: usize,
    pub inputs: usize,
    pub outputs: usize,
    pub alpha: f64,
}

impl Module<'_> {
    /// # Safety
    /// `module` was filled by the library, and its name lives for the result's lifetime.
    pub(crate) unsafe fn new(module: sys::loragen_module) -> Self {
        Module {
            // SAFETY: the caller's promise.
            name: unsafe { text(module.name) }.unwrap_or_default(),
            layer: usize::try_from(module.layer).ok(),
            rank: module.rank as usize,
            inputs: module.inputs as usize,
            outputs: module.outputs as usize,
            alpha: module.alpha,
        }
    }
}

/// A tensor in place: row-major, contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// The PEFT key, `base_model.model.<module>.lora_A.weight`.
    pub name: &'a str,
    /// lora_A `[r, in]`, lora_B `[out, r]`.
    pub shape: &'a [i64],
    pub data: &'a [f32],
}

impl Tensor<'_> {
    /// Euclidean norm.
    pub fn norm(&self) -> f64 {
        self.data.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// What the suffix of the path says; a path without one is a PEFT folder.
    BySuffix,
    /// A folder: adapter_config.json and adapter_model.safetensors.
    Peft,
    /// One file with the same keys, layout and origin in its metadata.
    Safetensors,
    /// One file: the tensors as initializers.
    Onnx,
    /// One file for a diffusers pipeline.
    Diffusers,
    /// One file with kohya's names, for ComfyUI, A1111, Forge and diffusers.
    Kohya,
    /// One file for llama.cpp.
    Gguf,
    /// One file for ONNX Runtime's LoraAdapter.
    OnnxAdapter,
    /// One file for numpy.load.
    Npz,
}

impl Format {
    pub(crate) fn code(self) -> i32 {
        match self {
            Format::BySuffix => sys::LORAGEN_FORMAT_BY_SUFFIX,
            Format::Peft => sys::LORAGEN_FORMAT_PEFT,
            Format::Safetensors => sys::LORAGEN_FORMAT_SAFETENSORS,
            Format::Onnx => sys::LORAGEN_FORMAT_ONNX,
            Format::Diffusers => sys::LORAGEN_FORMAT_DIFFUSERS,
            Format::Kohya => sys::LORAGEN_FORMAT_KOHYA,
            Format::Gguf => sys::LORAGEN_FORMAT_GGUF,
            Format::OnnxAdapter => sys::LORAGEN_FORMAT_ONNX_ADAPTER,
            Format::Npz => sys::LORAGEN_FORMAT_NPZ,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DType {
    #[default]
    Float32,
    Float16,
    BFloat16,
    /// GGUF alone.
    Q8_0,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct SaveOptions<'a> {
    pub dtype: DType,
    /// Keep the layout's alpha in the file, instead of alpha = rank with the scale inside B.
    pub keep_alpha: bool,
    /// GGUF: the base model's GGUF file, config.json or folder.
    pub base: Option<&'a str>,
    /// `.onnx_adapter`: PEFT's keys and shapes instead of Olive's.
    pub peft_names: bool,
    /// Only what every host of language models loads and computes alike.
    pub portable: bool,
    /// Of the base model, for `portable`; 0: as many as the adapter reaches.
    pub layers: i32,
    /// Kohya: "sd1", "sdxl" or "flux"; `None`: what the modules say.
    pub model: Option<&'a str>,
}

impl SaveOptions<'_> {
    /// Runs `body` with the options as C has them.
    pub(crate) fn with<T>(&self, body: impl FnOnce(&sys::loragen_save_options) -> Result<T>) -> Result<T> {
        let (base, model) = (optional(self.base)?, optional(self.model)?);
        body(&sys::loragen_save_options {
            struct_size: size_of::<sys::loragen_save_options>(),
            dtype: match self.dtype {
                DType::Float32 => sys::LORAGEN_FLOAT32,
                DType::Float16 => sys::LORAGEN_FLOAT16,
                DType::BFloat16 => sys::LORAGEN_BFLOAT16,
                DType::Q8_0 => sys::LORAGEN_Q8_0,
            },
            keep_alpha: self.keep_alpha.into(),
            base: pointer(&base),
            naming: if self.peft_names { sys::LORAGEN_NAMING_PEFT } else { sys::LORAGEN_NAMING_OLIVE },
            portable: self.portable.into(),
            layers: self.layers,
            model: pointer(&model),
        })
    }
}

/// One or more adapters of one layout, in memory.
#[derive(Debug)]
pub struct Adapters {
    handle: NonNull<sys::loragen_adapters>,
}

// SAFETY: a loragen_adapters may be read by many threads at once, freed by any, and nothing changes it.
unsafe impl Send for Adapters {}
unsafe impl Sync for Adapters {}

impl Adapters {
    /// Reads an adapter: a PEFT folder, or a file in any format that this library writes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = c_path(path.as_ref())?;
        Self::make(|out| check(unsafe { sys::loragen_adapters_open(out, path.as_ptr()) }))
    }

    /// The same with the base model, for a GGUF file of another origin; as [`SaveOptions::base`].
    pub fn open_for(path: impl AsRef<Path>, base: &str) -> Result<Self> {
        let (path, base) = (c_path(path.as_ref())?, crate::c_string(base)?);
        Self::make(|out| check(unsafe { sys::loragen_adapters_open_for(out, path.as_ptr(), base.as_ptr()) }))
    }

    /// Takes over what a C call puts into its first argument.
    pub(crate) fn make(call: impl FnOnce(*mut *mut sys::loragen_adapters) -> Result<()>) -> Result<Self> {
        let mut handle = ptr::null_mut();
        call(&mut handle)?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        unsafe { sys::loragen_adapters_count(self.handle.as_ptr()) }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One sample.
    ///
    /// # Panics
    /// If there is no such sample.
    pub fn sample(&self, index: usize) -> Adapter<'_> {
        assert!(index < self.len(), "sample {index} of {}", self.len());
        Adapter { adapters: self, sample: index }
    }

    pub fn samples(&self) -> impl Iterator<Item = Adapter<'_>> {
        (0..self.len()).map(|index| self.sample(index))
    }

    pub fn modules(&self) -> Vec<Module<'_>> {
        let count = unsafe { sys::loragen_adapters_module_count(self.handle.as_ptr()) };
        (0..count)
            .map(|index| {
                let mut module = MaybeUninit::uninit();
                // SAFETY: the index is in range, so the call succeeds and fills `module`.
                unsafe {
                    let status = sys::loragen_adapters_module(self.handle.as_ptr(), index, module.as_mut_ptr());
                    check(status).expect("the index is in range");
                    Module::new(module.assume_init())
                }
            })
            .collect()
    }
}

impl Drop for Adapters {
    fn drop(&mut self) {
        unsafe { sys::loragen_adapters_free(self.handle.as_ptr()) }
    }
}

/// One adapter among its [`Adapters`].
#[derive(Clone, Copy, Debug)]
pub struct Adapter<'a> {
    adapters: &'a Adapters,
    sample: usize,
}

impl<'a> Adapter<'a> {
    /// The tensors in the order of the layout, without a copy.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'a>> {
        let (handle, sample) = (self.adapters.handle.as_ptr(), self.sample);
        let count = unsafe { sys::loragen_adapters_tensor_count(handle) };
        (0..count).map(move |index| {
            let mut tensor = MaybeUninit::uninit();
            // SAFETY: the indices are in range, so the call succeeds and fills `tensor`; what it points to lives as
            // long as the adapters, which are borrowed for 'a.
            unsafe {
                check(sys::loragen_adapters_tensor(handle, sample, index, tensor.as_mut_ptr()))
                    .expect("the index is in range");
                let tensor: sys::loragen_tensor = tensor.assume_init();
                Tensor {
                    name: text(tensor.name).unwrap_or_default(),
                    shape: values(tensor.shape, tensor.rank as usize),
                    data: values(tensor.data, tensor.count),
                }
            }
        })
    }

    /// The tensor of a PEFT key.
    pub fn tensor(&self, name: &str) -> Option<Tensor<'a>> {
        self.tensors().find(|tensor| tensor.name == name)
    }

    /// The handle and the sample, for C calls.
    pub(crate) fn raw(&self) -> (*const sys::loragen_adapters, usize) {
        (self.adapters.handle.as_ptr(), self.sample)
    }

    /// Where the adapter comes from, as JSON.
    pub fn origin(&self) -> Option<&'a str> {
        unsafe { text(sys::loragen_adapters_origin(self.adapters.handle.as_ptr(), self.sample)) }
    }

    /// Writes the adapter: a PEFT folder, or one file that appears whole or not at all.
    pub fn save(&self, path: impl AsRef<Path>, format: Format) -> Result<()> {
        self.save_with(path, format, SaveOptions::default())
    }

    pub fn save_with(&self, path: impl AsRef<Path>, format: Format, options: SaveOptions<'_>) -> Result<()> {
        let path = c_path(path.as_ref())?;
        let handle = self.adapters.handle.as_ptr();
        options.with(|options| {
            check(unsafe { sys::loragen_adapters_save(handle, self.sample, path.as_ptr(), format.code(), options) })
        })
    }
}
