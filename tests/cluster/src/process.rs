//! One program that runs beside the test: its log, and that it never outlives us.
//!
//! A shell stands between: it waits for the program, and for the pipe to us. When the pipe closes, because the test
//! dropped its end or died, the shell kills the program.

use crate::error::StartError;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A line asks the program to end (SIGTERM), the end of the pipe ends it (SIGKILL).
const GUARD: &str = r#"exec 3<&0 </dev/null
"$@" 3<&- & child=$!
{ if read -r _ <&3; then kill -TERM $child; read -r _ <&3; fi; kill -KILL $child; } 2>/dev/null & guard=$!
wait $child; code=$?
kill -KILL $guard 2>/dev/null
exit $code"#;

/// How often it is looked whether a program has ended.
const LOOK_MS: u64 = 10;
/// How often that is done after a SIGTERM: for 10 s. kube-apiserver takes up to 2 s with open watches.
const LOOKS_AFTER_TERM: u32 = 1_000;
/// The same after a SIGKILL: for 5 s, which only a machine that hangs needs.
const LOOKS_AFTER_KILL: u32 = 500;
/// How many lines of a log are shown. Fewer may cut off the reason, more hide it.
const TAIL_LINES: usize = 30;

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    shell: Child,
    pipe: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts a program; `folder` takes its log.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        folder: &Path,
    ) -> Result<Self, StartError> {
        let failed = || StartError::system(format!("start {name}"));
        let log = folder.join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).map_err(failed())?;
        let errors = out.try_clone().map_err(failed())?;
        let mut shell = Command::new("sh")
            .args(["-c", GUARD, "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .map_err(failed())?;
        let pipe = shell.stdin.take();
        Ok(Self { name, shell, pipe, log })
    }

    /// Fails when the program has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), StartError> {
        match self.shell.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(StartError::Ended { name: self.name, log: self.tail() }),
        }
    }

    /// That it was not ready in time.
    pub(crate) fn late(&self, last: impl Into<String>) -> StartError {
        StartError::Late { name: self.name, last: last.into(), log: self.tail() }
    }

    /// The last lines of its log.
    pub(crate) fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
    }

    /// Lets it end by itself, as an orderly shutdown does.
    pub(crate) fn stop(mut self) {
        // A pipe that is broken already means that it has ended.
        if self.pipe.as_mut().is_some_and(|pipe| pipe.write_all(b"\n").is_ok()) {
            self.wait(LOOKS_AFTER_TERM);
        }
    }

    fn wait(&mut self, looks: u32) {
        for _ in 0..looks {
            if !matches!(self.shell.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(LOOK_MS));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.pipe.take());
        self.wait(LOOKS_AFTER_KILL);
    }
}

/// How many names are tried for a new folder: what a killed run left lies in the way of a later one with its process number.
const FOLDERS_MAX: u32 = 1_000;

/// A temporary folder that goes with its owner.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// A folder that nobody had before: what an etcd of a killed run left would be found again by this one.
    pub(crate) fn new() -> Result<Self, StartError> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        Self::new_in(&std::env::temp_dir(), &NUMBER)
    }

    fn new_in(parent: &Path, number: &AtomicU32) -> Result<Self, StartError> {
        for _ in 0..FOLDERS_MAX {
            let number = number.fetch_add(1, Ordering::Relaxed);
            let path = parent.join(format!("ebbtide-cluster-{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let what = format!("make folder {}", path.display());
                    return Err(StartError::system(what)(error));
                }
            }
        }
        let what = format!("find a name for a folder in {}", parent.display());
        Err(StartError::system(what)(ErrorKind::AlreadyExists.into()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, whole or not at all, and returns its path.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<String, StartError> {
        let (path, part) = (self.0.join(name), self.0.join(format!("{name}.part")));
        fs::write(&part, text)
            .and_then(|()| fs::rename(&part, &path))
            .map_err(StartError::system(format!("write {}", path.display())))?;
        Ok(path.display().to_string())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is the temporary folder's business.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// So many ports on loopback that nobody listens on. Held all at once, so that they differ.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N], StartError> {
    let failed = || StartError::system("find free ports");
    let mut ports = [0; N];
    let mut held = Vec::with_capacity(N);
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed())?;
        *port = listener.local_addr().map_err(failed())?.port();
        held.push(listener);
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_an_earlier_run_is_left_alone() {
        let parent = Folder::new().unwrap();
        let of = |number: u32| Folder::new_in(parent.path(), &AtomicU32::new(number)).unwrap();
        let left = of(0);
        left.write("wal", "of a killed run").unwrap();
        let fresh = of(0);
        assert_ne!(fresh.path(), left.path());
        assert_eq!(fs::read_dir(fresh.path()).unwrap().count(), 0);
        assert!(left.path().join("wal").exists());
    }
}
