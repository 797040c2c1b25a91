use crate::error::{self, Result};
use loragen_sys as sys;
use std::any::Any;
use std::ffi::c_void;
use std::ops::ControlFlow;
use std::panic::{self, AssertUnwindSafe};

/// What a long call reports; numbers that are not known yet are NaN.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    pub stage: &'a str,
    /// Of this stage, from 1.
    pub step: i64,
    pub steps: i64,
    pub loss: f64,
    pub validation_skill: f64,
    pub best_skill: f64,
    pub steps_per_second: f64,
    pub seconds_left: f64,
}

/// Called ten times a second at most; `Break` cancels.
pub(crate) type Callback<'a> = dyn FnMut(&Progress<'_>) -> ControlFlow<()> + 'a;

/// Takes a closure through a C call. No panic may cross the library's frames: it cancels, and goes on after the call.
struct Bridge<'a> {
    callback: &'a mut Callback<'a>,
    panic: Option<Box<dyn Any + Send>>,
}

unsafe extern "C" fn report(progress: *const sys::loragen_progress, payload: *mut c_void) -> i32 {
    // SAFETY: `payload` is the bridge that `with_progress` keeps for the length of the call, on this very thread.
    let bridge = unsafe { &mut *payload.cast::<Bridge<'_>>() };
    // SAFETY: valid for the length of this callback.
    let c = unsafe { &*progress };
    let progress = Progress {
        stage: unsafe { crate::text(c.stage) }.unwrap_or_default(),
        step: c.step,
        steps: c.steps,
        loss: c.loss,
        validation_skill: c.validation_skill,
        best_skill: c.best_skill,
        steps_per_second: c.steps_per_second,
        seconds_left: c.seconds_left,
    };
    match panic::catch_unwind(AssertUnwindSafe(|| (bridge.callback)(&progress))) {
        Ok(ControlFlow::Continue(())) => 0,
        Ok(ControlFlow::Break(())) => 1,
        Err(panic) => {
            bridge.panic = Some(panic);
            1
        }
    }
}

/// Makes a C call with a callback and its payload.
pub(crate) fn with_progress<'a>(
    callback: Option<&'a mut Callback<'a>>,
    call: impl FnOnce(sys::loragen_progress_callback, *mut c_void) -> sys::loragen_status,
) -> Result<()> {
    let callback = match callback {
        Some(callback) => callback,
        None => return error::check(call(None, std::ptr::null_mut())),
    };
    let mut bridge = Bridge { callback, panic: None };
    let status = call(Some(report), (&mut bridge as *mut Bridge<'_>).cast());
    if let Some(panic) = bridge.panic.take() {
        panic::resume_unwind(panic);
    }
    error::check(status)
}
