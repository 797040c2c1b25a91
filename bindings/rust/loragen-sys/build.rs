//! Finds libloragen.so: in LORAGEN_LIB_DIR if it is set, else in the usual prefixes, else wherever the linker looks.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=LORAGEN_LIB_DIR");
    println!("cargo:rustc-link-lib=dylib=loragen");
    let directory = match env::var_os("LORAGEN_LIB_DIR") {
        Some(directory) => {
            let directory = PathBuf::from(directory);
            assert!(
                directory.join("libloragen.so").exists(),
                "LORAGEN_LIB_DIR is {}, which holds no libloragen.so",
                directory.display()
            );
            Some(directory)
        }
        None => {
            let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/lib"));
            home.into_iter()
                .chain(["/usr/local/lib", "/opt/loragen/lib"].map(PathBuf::from))
                .find(|directory| directory.join("libloragen.so").exists())
        }
    };
    if let Some(directory) = directory {
        println!("cargo:rustc-link-search=native={}", directory.display());
        println!("cargo:lib_dir={}", directory.display()); // DEP_LORAGEN_LIB_DIR for crates that depend on this one
    }
}
