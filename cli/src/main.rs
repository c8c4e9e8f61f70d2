//! The `ebbtide` program: reads its arguments and hands over.

use clap::Parser as _;
use ebbtide::args::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Demo(args) => ebbtide::demo::main(&args),
    }
}
