use crate::error::{check, Result};
use crate::{c_path, c_string, text};
use loragen_sys as sys;
use std::path::Path;
use std::ptr::{self, NonNull};

/// An encoder of texts: a folder of Hugging Face's. Many threads may use one at once.
pub struct Encoder {
    handle: NonNull<sys::loragen_encoder>,
}

/// An encoder of pictures: a folder of Hugging Face's. Many threads may use one at once.
pub struct ImageEncoder {
    handle: NonNull<sys::loragen_image_encoder>,
}

// SAFETY: encoders may be used by many threads at once, and freed by any.
unsafe impl Send for Encoder {}
unsafe impl Sync for Encoder {}
unsafe impl Send for ImageEncoder {}
unsafe impl Sync for ImageEncoder {}

impl Encoder {
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = c_path(folder.as_ref())?;
        let mut handle = ptr::null_mut();
        check(unsafe { sys::loragen_encoder_open(&mut handle, folder.as_ptr(), ptr::null()) })?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }

    /// Numbers of a text's vector.
    pub fn width(&self) -> usize {
        unsafe { sys::loragen_encoder_width(self.handle.as_ptr()) }
    }

    /// What it is, as JSON.
    pub fn json(&self) -> &str {
        // SAFETY: the text lives as long as the encoder.
        unsafe { text(sys::loragen_encoder_json(self.handle.as_ptr())) }.unwrap_or_default()
    }

    /// The vectors of texts, `[texts, width]`, row after row.
    pub fn encode(&self, texts: &[&str]) -> Result<Vec<f32>> {
        let owned = texts.iter().map(|text| c_string(text)).collect::<Result<Vec<_>>>()?;
        let pointers: Vec<_> = owned.iter().map(|text| text.as_ptr()).collect();
        let mut vectors = vec![0.0; texts.len() * self.width()];
        // SAFETY: there is room for a vector of each text.
        check(unsafe {
            let handle = self.handle.as_ptr();
            sys::loragen_encoder_encode(handle, pointers.as_ptr(), pointers.len(), vectors.as_mut_ptr())
        })?;
        Ok(vectors)
    }
}

impl ImageEncoder {
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = c_path(folder.as_ref())?;
        let mut handle = ptr::null_mut();
        check(unsafe { sys::loragen_image_encoder_open(&mut handle, folder.as_ptr()) })?;
        Ok(Self { handle: NonNull::new(handle).expect("a successful call gives an object") })
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        unsafe { sys::loragen_encoder_free(self.handle.as_ptr()) }
    }
}

impl Drop for ImageEncoder {
    fn drop(&mut self) {
        unsafe { sys::loragen_image_encoder_free(self.handle.as_ptr()) }
    }
}

/// The encoders of a generator that is asked in words or by pictures: those that it was trained with.
#[derive(Clone, Copy, Default)]
pub struct Encoders<'a> {
    pub texts: Option<&'a Encoder>,
    pub images: Option<&'a ImageEncoder>,
}

impl Encoders<'_> {
    /// NULL for what there is not.
    pub(crate) fn pointers(&self) -> (*const sys::loragen_encoder, *const sys::loragen_image_encoder) {
        (
            self.texts.map_or(ptr::null(), |encoder| encoder.handle.as_ptr()),
            self.images.map_or(ptr::null(), |encoder| encoder.handle.as_ptr()),
        )
    }
}
