//! Has `src/directory/atomics.rs` take shuttle's atomics, in this package alone.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cfg=shuttle");
}
