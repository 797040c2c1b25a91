//! The program looks for libloragen.so.0 where it was when this was built.

fn main() {
    if let Ok(directory) = std::env::var("DEP_LORAGEN_LIBRARY_LIB_DIR") {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{directory}");
    }
}
