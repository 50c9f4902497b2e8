//! Compiles the few messages that one exchange needs (`protoc` must be there).

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure()
        .build_client(false)
        .compile_protos(&["../ext_proc.proto"], &[".."])
}
