//! There is nothing to build. Cargo lets only one package in a program have a `links` key of a name, and wants a build
//! script beside it: two versions of this crate would define the C library's functions twice.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}
