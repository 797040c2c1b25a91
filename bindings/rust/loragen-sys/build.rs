//! Finds libloragen.so: in LORAGEN_LIB_DIR if it is set, else in the usual prefixes, else wherever the linker looks.
//!
//! `cargo run` and `cargo test` find it too: Cargo lets what it runs look in folders of its own, and there are links to it
//! in one of them. A program that is run by itself needs a run path: see examples/rust/build.rs.

use std::env;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=LORAGEN_LIB_DIR");
    println!("cargo:rerun-if-env-changed=HOME");
    println!("cargo:rustc-link-lib=dylib=loragen");
    let Some(directory) = directory() else { return };
    println!("cargo:rerun-if-changed={}", directory.join("libloragen.so.0").display());
    let own = PathBuf::from(env::var_os("OUT_DIR").expect("Cargo sets OUT_DIR"));
    for name in ["libloragen.so", "libloragen.so.0"] {
        let _ = std::fs::remove_file(own.join(name));
        symlink(directory.join(name), own.join(name)).expect("OUT_DIR can be written");
    }
    println!("cargo:rustc-link-search=native={}", own.display());
    println!("cargo:lib_dir={}", directory.display()); // DEP_LORAGEN_LIB_DIR for crates that depend on this one
}

fn directory() -> Option<PathBuf> {
    let holds = |directory: &Path| directory.is_absolute() && directory.join("libloragen.so").exists();
    if let Some(directory) = env::var_os("LORAGEN_LIB_DIR") {
        let directory = PathBuf::from(directory);
        assert!(
            holds(&directory),
            "LORAGEN_LIB_DIR is {}; expected the absolute path of a folder with libloragen.so",
            directory.display()
        );
        return Some(directory);
    }
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/lib"));
    home.into_iter().chain(["/usr/local/lib", "/opt/loragen/lib"].map(PathBuf::from)).find(|directory| holds(directory))
}
