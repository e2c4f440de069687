//! Link options of the preloaded library.

fn main() {
    // initfirst: our constructor runs before those of the program's libraries, whose calls our
    // hooks may see. nodelete: dlclose must not unmap code that other threads are running.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,initfirst,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
