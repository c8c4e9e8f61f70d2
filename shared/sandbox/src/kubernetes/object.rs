//! An object as the API server keeps it: typed metadata, the rest as JSON behind shared parts.
//!
//! Watches need the past, so each write makes a new version. A version shares every part that did
//! not change with the one before it, and each part keeps the text it was once written as: lists of
//! many pods cost little more than copying that text.

use crate::kubernetes::kind::Kind;
use crate::world::Millis;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// Labels or annotations.
pub type Labels = Arc<BTreeMap<String, String>>;

/// `{namespace}/{name}`, or `/{name}` for what has no namespace: the order of a list.
pub type Key = Arc<str>;

/// The key of a name in a namespace (empty for what has none).
pub fn key(namespace: &str, name: &str) -> Key {
    let mut text = String::with_capacity(namespace.len() + 1 + name.len());
    text.push_str(namespace);
    text.push('/');
    text.push_str(name);
    text.into()
}

/// A JSON value that versions share. Made from one of the two, value or text; the other follows when asked for.
#[derive(Clone, Debug, Default)]
pub struct Part(Arc<Written>);

#[derive(Debug, Default)]
struct Written {
    value: OnceLock<Value>,
    text: OnceLock<String>,
}

impl Written {
    fn value(&self) -> &Value {
        self.value.get_or_init(|| {
            self.text
                .get()
                .map_or(Value::Null, |text| serde_json::from_str(text).unwrap_or_default())
        })
    }
}

impl Clone for Written {
    // A copy is made to be changed, so the text would be wrong.
    fn clone(&self) -> Self {
        Self { value: self.value().clone().into(), text: OnceLock::new() }
    }
}

impl Part {
    /// A part of this value.
    pub fn new(value: Value) -> Self {
        Self(Arc::new(Written { value: value.into(), text: OnceLock::new() }))
    }

    /// A part that is written so already.
    pub(crate) fn of_text(text: String) -> Self {
        Self(Arc::new(Written { value: OnceLock::new(), text: text.into() }))
    }

    /// The value, to be changed; other versions keep theirs.
    pub fn edit(&mut self) -> &mut Value {
        self.0.value();
        let written = Arc::make_mut(&mut self.0);
        written.text = OnceLock::new();
        let value = written.value.take().unwrap_or_default();
        written.value = value.into();
        written.value.get_mut().expect("it was just set")
    }

    /// Whether there is nothing in it. A text alone always holds something.
    fn is_absent(&self) -> bool {
        self.0.value.get().map_or_else(|| self.0.text.get().is_none(), Value::is_null)
    }

    /// Whether both say the same, without a look at what they share.
    fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }

    fn text(&self) -> &str {
        self.0.text.get_or_init(|| self.0.value().to_string())
    }
}

impl std::ops::Deref for Part {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.0.value()
    }
}

/// When a deletion was asked for, and how long the pod may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deletion {
    /// `deletionTimestamp`: the request plus the grace, in whole seconds.
    pub at: Millis,
    /// `deletionGracePeriodSeconds`.
    pub grace: i64,
}

/// One entry of `ownerReferences`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner {
    /// `apps/v1`.
    pub api_version: String,
    /// `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: Arc<str>,
    /// Whether it is the one that manages the object.
    pub controller: bool,
}

/// `metadata`.
#[derive(Clone, Debug)]
pub struct Meta {
    /// Empty for what has none.
    pub namespace: Arc<str>,
    /// The name.
    pub name: Arc<str>,
    /// What the server made the name from, if it did.
    pub generate_name: Option<Arc<str>>,
    /// Differs between two objects of one name.
    pub uid: Arc<str>,
    /// When this version was written, in the count of all writes.
    pub resource_version: u64,
    /// `creationTimestamp`.
    pub created: Millis,
    /// Set once deletion was asked for.
    pub deletion: Option<Deletion>,
    /// The labels.
    pub labels: Labels,
    /// The annotations.
    pub annotations: Labels,
    /// What must happen before the object goes.
    pub finalizers: Arc<Vec<String>>,
    /// Who it belongs to.
    pub owners: Arc<Vec<Owner>>,
}

/// One version of one object.
#[derive(Clone, Debug)]
pub struct Object {
    /// What it is.
    pub kind: Kind,
    /// Its metadata.
    pub meta: Meta,
    /// `spec`, or null.
    pub spec: Part,
    /// `status`, or null.
    pub status: Part,
    /// Other fields at the top, as one JSON object, or null.
    pub rest: Part,
    known: Known,
}

/// What was once found out about a version: its text, and what everybody asks of a pod. A copy has none of it: it is
/// made to be changed.
#[derive(Debug, Default)]
struct Known {
    text: OnceLock<Box<[u8]>>,
    meta: OnceLock<Box<[u8]>>,
    ready: OnceLock<bool>,
    node: OnceLock<Option<Arc<str>>>,
}

impl Clone for Known {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Object {
    /// An object of this name without labels, owners, spec or status.
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        let meta = Meta {
            namespace: namespace.into(),
            name: name.into(),
            generate_name: None,
            uid: "".into(),
            resource_version: 0,
            created: 0,
            deletion: None,
            labels: Labels::default(),
            annotations: Labels::default(),
            finalizers: Arc::default(),
            owners: Arc::default(),
        };
        Self {
            kind,
            meta,
            spec: Part::default(),
            status: Part::default(),
            rest: Part::default(),
            known: Known::default(),
        }
    }

    /// Where it is kept.
    pub fn key(&self) -> Key {
        key(&self.meta.namespace, &self.meta.name)
    }

    /// The owner that manages it.
    pub fn controller(&self) -> Option<&Owner> {
        self.meta.owners.iter().find(|owner| owner.controller)
    }

    /// One label's value.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.meta.labels.get(name).map(String::as_str)
    }

    /// Changes the labels.
    pub fn labels_mut(&mut self) -> &mut BTreeMap<String, String> {
        Arc::make_mut(&mut self.meta.labels)
    }

    /// Forgets what was found out while it was still being changed.
    pub(crate) fn forget_known(&mut self) {
        self.known = Known::default();
    }

    /// Whether it says of itself that it is Ready. Not to be asked of a copy that is being changed.
    pub(crate) fn is_ready(&self) -> bool {
        *self.known.ready.get_or_init(|| self.condition_is("Ready", "True"))
    }

    /// The node that a pod is bound to. Not to be asked of a copy that is being changed.
    pub(crate) fn node(&self) -> Option<&Arc<str>> {
        let find = || self.spec["nodeName"].as_str().map(Arc::from);
        self.known.node.get_or_init(find).as_ref()
    }

    /// Whether a condition of its status has this status.
    pub fn condition_is(&self, kind: &str, status: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition["status"] == status)
    }

    /// A condition of its status.
    pub fn condition(&self, kind: &str) -> Option<&Value> {
        let conditions = self.status["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["type"] == kind)
    }

    /// Sets a condition; its transition time moves only with its status.
    pub fn set_condition(&mut self, now: Millis, kind: &str, status: &str, why: (&str, &str)) {
        let mut condition = serde_json::json!({"type": kind, "status": status});
        if !why.0.is_empty() {
            condition["reason"] = why.0.into();
        }
        if !why.1.is_empty() {
            condition["message"] = why.1.into();
        }
        let old = self.condition(kind);
        let since = old.filter(|old| old["status"] == status);
        condition["lastTransitionTime"] = match since {
            Some(old) => old["lastTransitionTime"].clone(),
            None => time(now).into(),
        };
        if old == Some(&condition) {
            return;
        }
        let conditions = &mut self.status.edit()["conditions"];
        if !conditions.is_array() {
            *conditions = Value::Array(Vec::new());
        }
        if let Value::Array(all) = conditions {
            match all.iter_mut().find(|one| one["type"] == kind) {
                Some(one) => *one = condition,
                None => all.push(condition),
            }
        }
    }

    /// The JSON text, with `kind` and `apiVersion`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let resource = self.kind.resource();
        out.extend_from_slice(b"{\"kind\":\"");
        out.extend_from_slice(resource.kind.as_bytes());
        out.extend_from_slice(b"\",\"apiVersion\":\"");
        out.extend_from_slice(self.kind.api_version().as_bytes());
        out.extend_from_slice(b"\",");
        out.extend_from_slice(self.fields());
    }

    /// The JSON text as in a list: built-in kinds go without `kind` and `apiVersion` there.
    pub fn write_item(&self, out: &mut Vec<u8>) {
        if self.kind.resource().custom {
            return self.write(out);
        }
        out.push(b'{');
        out.extend_from_slice(self.fields());
    }

    /// Its metadata alone, as in a list of PartialObjectMetadata.
    pub fn write_metadata(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(
            br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#,
        );
        out.extend_from_slice(self.known.meta.get_or_init(|| {
            let mut text = Vec::with_capacity(1024);
            self.meta.write(&mut text);
            text.into()
        }));
        out.push(b'}');
    }

    /// How many bytes its JSON text has, as in a list.
    pub fn size(&self) -> usize {
        self.fields().len() + 1
    }

    /// The whole object as one JSON value.
    pub fn to_value(&self) -> Value {
        let mut value = self.without_status();
        if !self.status.is_absent() {
            value["status"] = Value::clone(&self.status);
        }
        value
    }

    /// The same without its status, which most clients can't change.
    pub(crate) fn without_status(&self) -> Value {
        let rest = if self.rest.is_absent() { Value::Null } else { Value::clone(&self.rest) };
        let Value::Object(mut fields) = serde_json::json!({"kind": self.kind.resource().kind,
            "apiVersion": self.kind.api_version(), "metadata": self.meta.to_value()})
        else {
            return Value::Null;
        };
        if !self.spec.is_absent() {
            fields.insert("spec".to_owned(), Value::clone(&self.spec));
        }
        if let Value::Object(rest) = rest {
            fields.extend(rest);
        }
        Value::Object(fields)
    }

    /// This object with everything that a client may write taken from `value`.
    pub fn with(&self, value: &Value) -> Self {
        let mut new = self.clone();
        let meta = &value["metadata"];
        new.meta.labels = Arc::new(strings(&meta["labels"]));
        new.meta.annotations = Arc::new(strings(&meta["annotations"]));
        new.meta.finalizers = Arc::new(texts(&meta["finalizers"]));
        new.meta.owners = Arc::new(owners(&meta["ownerReferences"]));
        for (part, value) in [(&mut new.spec, &value["spec"]), (&mut new.status, &value["status"])]
        {
            if **part != *value {
                *part = Part::new(value.clone());
            }
        }
        if let Value::Object(fields) = value {
            let rest: Map<_, _> = fields
                .iter()
                .filter(|(name, _)| !FRAME.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            if !rest.is_empty() || !self.rest.is_null() {
                new.rest = Part::new(Value::Object(rest));
            }
        }
        new
    }

    /// Whether both say the same, apart from the version.
    pub fn same(&self, other: &Self) -> bool {
        let (mine, others) = (&self.meta, &other.meta);
        mine.labels == others.labels
            && mine.annotations == others.annotations
            && mine.finalizers == others.finalizers
            && mine.owners == others.owners
            && mine.deletion == others.deletion
            && self.spec.same(&other.spec)
            && self.status.same(&other.status)
            && self.rest.same(&other.rest)
    }

    fn fields(&self) -> &[u8] {
        self.known.text.get_or_init(|| {
            let mut text = Vec::with_capacity(2048);
            self.write_fields(&mut text);
            text.into()
        })
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"metadata\":");
        self.meta.write(out);
        for (name, part) in [("spec", &self.spec), ("status", &self.status)] {
            if !part.is_absent() {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                out.extend_from_slice(part.text().as_bytes());
            }
        }
        let rest = if self.rest.is_absent() { "{}" } else { self.rest.text() };
        if rest != "{}" {
            out.push(b',');
            out.extend_from_slice(rest.as_bytes().get(1..rest.len() - 1).unwrap_or_default());
        }
        out.push(b'}');
    }
}

/// The fields at the top that are not in `rest`.
const FRAME: [&str; 5] = ["kind", "apiVersion", "metadata", "spec", "status"];

impl Meta {
    fn to_value(&self) -> Value {
        let mut text = Vec::with_capacity(1024);
        self.write(&mut text);
        serde_json::from_slice(&text).expect("what we write is JSON")
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"name\":");
        write_text(out, &self.name);
        if !self.namespace.is_empty() {
            out.extend_from_slice(b",\"namespace\":");
            write_text(out, &self.namespace);
        }
        if let Some(name) = &self.generate_name {
            out.extend_from_slice(b",\"generateName\":");
            write_text(out, name);
        }
        out.extend_from_slice(b",\"uid\":");
        write_text(out, &self.uid);
        out.extend_from_slice(b",\"resourceVersion\":\"");
        out.extend_from_slice(self.resource_version.to_string().as_bytes());
        out.extend_from_slice(b"\",\"creationTimestamp\":");
        write_text(out, &time(self.created));
        if let Some(deletion) = self.deletion {
            out.extend_from_slice(b",\"deletionTimestamp\":");
            write_text(out, &time(deletion.at));
            out.extend_from_slice(b",\"deletionGracePeriodSeconds\":");
            out.extend_from_slice(deletion.grace.to_string().as_bytes());
        }
        for (name, map) in [("labels", &self.labels), ("annotations", &self.annotations)] {
            if !map.is_empty() {
                write_map(out, name, map);
            }
        }
        if !self.finalizers.is_empty() {
            out.extend_from_slice(b",\"finalizers\":");
            out.extend_from_slice(Value::from(self.finalizers.as_slice()).to_string().as_bytes());
        }
        if !self.owners.is_empty() {
            out.extend_from_slice(b",\"ownerReferences\":");
            let owners: Vec<Value> = self.owners.iter().map(Owner::to_value).collect();
            out.extend_from_slice(Value::Array(owners).to_string().as_bytes());
        }
        out.push(b'}');
    }
}

impl Owner {
    fn to_value(&self) -> Value {
        let mut value = serde_json::json!({"apiVersion": self.api_version, "kind": self.kind,
            "name": self.name, "uid": &*self.uid});
        if self.controller {
            value["controller"] = true.into();
            value["blockOwnerDeletion"] = true.into();
        }
        value
    }
}

/// `2026-11-22T10:00:00Z`: the API's times are whole seconds.
pub fn time(at: Millis) -> String {
    jiff::Timestamp::from_second(at.div_euclid(1000))
        .map_or_else(|_| at.to_string(), |time| time.to_string())
}

/// The strings of a JSON object; other values are left out.
pub fn strings(value: &Value) -> BTreeMap<String, String> {
    let pairs = value.as_object().into_iter().flatten();
    pairs.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn texts(value: &Value) -> Vec<String> {
    let all = value.as_array().into_iter().flatten();
    all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn owners(value: &Value) -> Vec<Owner> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let one = |value: &Value| Owner {
        api_version: text(&value["apiVersion"]),
        kind: text(&value["kind"]),
        name: text(&value["name"]),
        uid: text(&value["uid"]).into(),
        controller: value["controller"] == true,
    };
    value.as_array().into_iter().flatten().map(one).collect()
}

fn write_map(out: &mut Vec<u8>, name: &str, map: &BTreeMap<String, String>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    for (index, (key, value)) in map.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        write_text(out, key);
        out.push(b':');
        write_text(out, value);
    }
    out.push(b'}');
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        return serde_json::to_writer(out, text).expect("memory takes every write");
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}
