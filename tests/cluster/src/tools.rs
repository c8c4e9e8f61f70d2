//! Where the built programs are. Only the script that builds them knows: it is asked.

use crate::error::StartError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A minor version of Kubernetes that the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.33, the oldest one.
    Oldest,
    /// 1.36, the newest one.
    Newest,
}

impl Version {
    /// All of them, the oldest one first.
    pub const ALL: [Self; 2] = [Self::Oldest, Self::Newest];

    /// `1.33`.
    pub fn minor(self) -> &'static str {
        match self {
            Self::Oldest => "1.33",
            Self::Newest => "1.36",
        }
    }
}

/// The folder with the built programs.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Looks for all programs; none may be missing.
    pub fn find() -> Result<Self, StartError> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("build");
        let output = Command::new(&script)
            .arg("--where")
            .output()
            .map_err(StartError::system(format!("run {} --where", script.display())))?;
        let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let tools = Self { folder };
        let kubernetes = Version::ALL.into_iter().flat_map(|version| {
            ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
                .map(|name| tools.kubernetes(version, name))
        });
        let mut all = [tools.etcd(), tools.kwok()].into_iter().chain(kubernetes);
        match all.find(|path| !path.is_file()) {
            Some(missing) => Err(StartError::NotBuilt(missing)),
            None => Ok(tools),
        }
    }

    pub(crate) fn etcd(&self) -> PathBuf {
        self.folder.join("etcd")
    }

    pub(crate) fn kwok(&self) -> PathBuf {
        self.folder.join("kwok")
    }

    pub(crate) fn kubernetes(&self, version: Version, name: &str) -> PathBuf {
        self.folder.join(format!("kubernetes-{}", version.minor())).join(name)
    }
}
