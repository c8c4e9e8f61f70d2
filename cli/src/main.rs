//! The `ebbtide` program: reads its arguments and hands over.

use clap::Parser as _;
use ebbtide::args::{Cli, Command};
use std::process::ExitCode;

/// A simulated storm makes small allocations by the million; the C library's allocator takes a third longer for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => ebbtide::demo::main(&args),
    }
}
