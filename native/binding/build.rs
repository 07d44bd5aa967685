//! Sets the link arguments that an N-API addon needs.

fn main() {
    napi_build::setup();
}
