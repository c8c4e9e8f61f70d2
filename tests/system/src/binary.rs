//! The functions' programs: built here, or those that were named when this was built.

use crate::error::SystemError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The functions by name, which is also their package's.
pub(crate) const FUNCTIONS: [&str; 2] = ["interruption", "lifecycle"];

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    paths: [PathBuf; 2],
}

/// How the programs are built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Profile {
    /// As fast as can be.
    Debug,
    /// As they are deployed, in some minutes.
    Release,
}

impl Binaries {
    /// Those that `INTERRUPTION_BINARY` and `LIFECYCLE_BINARY` named at build time; the others are built now, which takes no
    /// time where nothing has changed.
    pub fn find(profile: Profile) -> Result<Self, SystemError> {
        let named = [option_env!("INTERRUPTION_BINARY"), option_env!("LIFECYCLE_BINARY")];
        let folder = if profile == Profile::Release { "release" } else { "debug" };
        let folder = target_folder()?.join(folder);
        let mut paths = FUNCTIONS.map(|function| folder.join(function));
        for ((path, named), function) in paths.iter_mut().zip(named).zip(FUNCTIONS) {
            match named {
                Some(named) => *path = PathBuf::from(named),
                None => build(function, profile)?,
            }
        }
        Ok(Self { paths })
    }

    /// The program of a function.
    pub(crate) fn of(&self, function: &str) -> PathBuf {
        let [interruption, lifecycle] = &self.paths;
        if function == "lifecycle" { lifecycle.clone() } else { interruption.clone() }
    }
}

fn build(function: &str, profile: Profile) -> Result<(), SystemError> {
    let release = (profile == Profile::Release).then_some("--release");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--package", function])
        .args(release)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."))
        .output()
        .map_err(SystemError::system("run cargo"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(SystemError::Build(String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Cargo's target folder: the nearest above this program that is marked as a cache.
pub(crate) fn target_folder() -> Result<PathBuf, SystemError> {
    let program = std::env::current_exe().map_err(SystemError::system("find this program"))?;
    let mut above = program.ancestors().skip(1);
    let found = above.find(|folder| folder.join("CACHEDIR.TAG").is_file());
    found
        .map(Path::to_owned)
        .ok_or_else(|| SystemError::Build(format!("no target folder above {}", program.display())))
}
