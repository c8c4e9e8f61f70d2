//! The API server's audit log: who asked for what, and what came of it.

use crate::error::SystemError;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// One line for each request of the functions, or of whoever else looks after nodes, when its answer is complete; nothing
/// for the control plane and for us.
const POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": [
    {"level": "None", "users": ["admin", "kwok", "kube-controller-manager", "system:kube-scheduler",
        "system:apiserver", "system:anonymous"]},
    {"level": "Metadata", "omitStages": ["RequestReceived"]}]}"#;

/// Of a storm of a thousand there are 50 MB; in a log that is begun anew at the usual 100, what was before would be missing.
const LOG_MB_MAX: u32 = 4_096;

/// The log of one control plane.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    known: Mutex<Known>,
}

/// What was read of the log before: several cases look at it four times a second, and it grows all the time.
#[derive(Debug, Default)]
struct Known {
    /// Bytes, all of whole lines.
    length: u64,
    asked: Vec<Asked>,
}

/// One request of a function.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Asked {
    /// The role of the function that asked: `lifecycle`.
    pub role: String,
    /// `get`, `list`, `watch`, …
    pub verb: String,
    /// `nodes.`, `pods/eviction.`, `poddisruptionbudgets.policy`: resource and API group.
    pub resource: String,
    /// The object, if one is named.
    pub name: String,
    /// The HTTP status.
    pub code: u16,
}

impl Asked {
    /// `patch nodes.`, `create events.events.k8s.io`: as a right is written.
    pub fn right(&self) -> String {
        format!("{} {}", self.verb, self.resource)
    }
}

impl Audit {
    /// Writes the policy and returns the flags of kube-apiserver.
    pub(crate) fn prepare(folder: &Path) -> Result<(Self, Vec<String>), SystemError> {
        let policy = folder.join("audit-policy.json");
        fs::write(&policy, POLICY).map_err(SystemError::system("write the audit policy"))?;
        let path = folder.join("audit.log");
        let flags = vec![
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", path.display()),
            format!("--audit-log-maxsize={LOG_MB_MAX}"),
        ];
        Ok((Self { path, known: Mutex::default() }, flags))
    }

    /// All requests so far, in the order of their ends.
    pub fn read(&self) -> Vec<Asked> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the first request there is no log.
        let new = read_from(&self.path, known.length).unwrap_or_default();
        let whole = new.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if whole.is_empty() {
            return known.asked.clone();
        }
        known.length += u64::try_from(whole.len() + "\n".len()).unwrap_or_default();
        let new = whole.lines().filter_map(|line| asked(&serde_json::from_str(line).ok()?));
        known.asked.extend(new);
        known.asked.clone()
    }

    /// What was asked under one role, `lifecycle`.
    pub fn of(&self, role: &str) -> Vec<Asked> {
        self.read().into_iter().filter(|asked| asked.role == role).collect()
    }

    /// How often each verb was used on each resource.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for asked in self.read() {
            *counts.entry(asked.right()).or_default() += 1;
        }
        counts
    }
}

fn read_from(path: &Path, offset: u64) -> io::Result<String> {
    let (mut file, mut text) = (File::open(path)?, String::new());
    file.seek(SeekFrom::Start(offset))?;
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn asked(line: &Value) -> Option<Asked> {
    // A watch has a line at its beginning too.
    if line["stage"] == "ResponseStarted" {
        return None;
    }
    let of = |key: &str| line["objectRef"][key].as_str().unwrap_or_default();
    let resource = match of("subresource") {
        "" => of("resource").to_owned(),
        below => format!("{}/{below}", of("resource")),
    };
    let code = line["responseStatus"]["code"].as_u64().unwrap_or_default();
    let user = line["user"]["username"].as_str()?;
    Some(Asked {
        // `arn:aws:sts::123456789012:assumed-role/ROLE/SESSION`, or a foreign name as it is.
        role: user.split('/').nth(1).unwrap_or(user).to_owned(),
        verb: line["verb"].as_str()?.to_owned(),
        resource: format!("{resource}.{}", of("apiGroup")),
        name: of("name").to_owned(),
        code: u16::try_from(code).unwrap_or_default(),
    })
}
