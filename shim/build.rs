//! Link options of the preloaded library.

fn main() {
    // nodelete: dlclose must not unmap code that other threads are running. Not initfirst: our
    // constructor would run before libc's own, without an environment; hooks that are called
    // before it initialise by themselves.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    println!("cargo:rerun-if-changed=build.rs");
}
