//! Generates an adapter for a task and saves it.
//!
//! ```sh
//! cargo build --release      # after scripts/install ~/.local; elsewhere LORAGEN_LIB_DIR=/absolute/lib before it
//! target/release/generate digits.loragen.safetensors 0001100101 out
//! ```
//!
//! writes out/adapter (a PEFT folder), out/adapter.safetensors and out/adapter.onnx.

use loragen::{Format, Generator, Request};
use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

fn run(path: &str, bits: &str, out: &Path) -> loragen::Result<()> {
    // Opening maps the file and takes milliseconds. Keep the generator: it serves any number of requests, from any
    // number of threads.
    let generator = Generator::open(path)?;

    // The condition says which task the adapter is for. The same seed gives the same bytes, always.
    let adapters = generator.generate(&Request { seed: 7, ..Request::bits(bits) })?;
    let adapter = adapters.sample(0);

    // Views: the memory belongs to `adapters`. An adapter full of zeros is the commonest silent defect, so look at the
    // numbers too.
    println!("{} tensors", adapter.tensors().len());
    for tensor in adapter.tensors() {
        println!("{} {:?}", tensor.name, tensor.shape);
    }
    if let Some(first) = adapter.tensors().next() {
        println!("  norm of the first {:.6}", first.norm());
    }
    println!("origin {}", adapter.origin().unwrap_or("unknown"));

    let _ = fs::create_dir_all(out); // if it cannot be made, saving says so
    adapter.save(out.join("adapter"), Format::BySuffix)?;
    adapter.save(out.join("adapter.safetensors"), Format::BySuffix)?;
    adapter.save(out.join("adapter.onnx"), Format::BySuffix)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, path, bits, out] = arguments.as_slice() else {
        eprintln!("usage: generate GENERATOR BITS OUT");
        return ExitCode::from(64);
    };
    match run(path, bits, Path::new(out)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
