//! Hands on where the library is: DEP_LORAGEN_LIBRARY_LIB_DIR in the build script of a program that depends on this.

fn main() {
    if let Ok(directory) = std::env::var("DEP_LORAGEN_LIB_DIR") {
        println!("cargo:lib_dir={directory}");
    }
}
