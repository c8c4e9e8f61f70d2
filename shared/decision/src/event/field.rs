//! Reading fields out of JSON so that each error can name the path, the value and the form expected.

use serde_json::error::Category;
use serde_json::{Map, Value};

use super::EventError;
use crate::id::{IdError, shorten};

/// How many keys of an unknown object are named: enough to recognise who sent it.
const KEYS_SHOWN_MAX: usize = 5;

/// A JSON object and the path that leads to it, `` for the body itself.
pub(super) struct Object<'a> {
    fields: &'a Map<String, Value>,
    path: String,
}

/// Parses text as JSON; `path` says where the text stood.
pub(super) fn json(text: &str, path: &str) -> Result<Value, EventError> {
    serde_json::from_str(text).map_err(|error| {
        let byte = match error.classify() {
            Category::Eof => text.len(),
            Category::Io | Category::Syntax | Category::Data => offset(text, &error),
        };
        let whole = error.to_string();
        let problem = whole.split(" at line ").next().unwrap_or_default().to_owned();
        EventError::NotJson { path: path.to_owned(), byte, problem }
    })
}

impl<'a> Object<'a> {
    /// The object at `path`, which is empty for the body.
    pub(super) fn of(value: &'a Value, path: &str) -> Result<Self, EventError> {
        match value {
            Value::Object(fields) => Ok(Self { fields, path: path.to_owned() }),
            other => Err(EventError::Field {
                path: if path.is_empty() { "body".to_owned() } else { path.to_owned() },
                seen: kind(other).to_owned(),
                expected: "an object".to_owned(),
            }),
        }
    }

    /// The object in a field.
    pub(super) fn object(&self, key: &str) -> Result<Self, EventError> {
        match self.fields.get(key) {
            Some(value) => Self::of(value, &self.path_of(key)),
            None => Err(self.mismatch(key, "an object".to_owned())),
        }
    }

    /// Whether the field is there with a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(|value| !value.is_null())
    }

    /// Whether the field is there as a text, be it an empty one.
    pub(super) fn is_text(&self, key: &str) -> bool {
        self.fields.get(key).is_some_and(Value::is_string)
    }

    /// Whether this is what SNS sends to a queue: a message as text, and nothing of an event beside
    /// it. `Type` may be missing in what people paste.
    pub(super) fn is_sns(&self) -> bool {
        let event = ["detail-type", "detail_type", "source", "LifecycleTransition"];
        self.has("Message") && !event.iter().any(|key| self.has(key))
    }

    /// A text that nothing depends on: absent, empty and of another type are all the same.
    pub(super) fn loose(&self, key: &str) -> Option<&'a str> {
        self.fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// A text that may be absent (or null, or empty), but that must be a text if it is there.
    pub(super) fn optional(&self, key: &str) -> Result<Option<&'a str>, EventError> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(self.mismatch(key, "text".to_owned())),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, key: &str, expected: &str) -> Result<&'a str, EventError> {
        self.loose(key).ok_or_else(|| self.mismatch(key, expected.to_owned()))
    }

    /// The objects in a list that may be absent (or null), but that must be a list if it is there. What is no object in
    /// it is left out.
    pub(super) fn objects(&self, key: &str) -> Result<Vec<Self>, EventError> {
        match self.fields.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => {
                let path = self.path_of(key);
                Ok(items.iter().filter_map(|item| Self::of(item, &path).ok()).collect())
            }
            Some(_) => Err(self.mismatch(key, "a list".to_owned())),
        }
    }

    /// The texts in a list that nothing must depend on, or the one that stands there in its place.
    pub(super) fn texts(&self, key: &str) -> Vec<&'a str> {
        match self.fields.get(key) {
            Some(Value::String(text)) => vec![text.as_str()],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// An id that must be there and well formed. The value in the error is the one that the id's own
    /// parser shows, so that of a token nothing is seen.
    pub(super) fn id<T>(
        &self,
        key: &str,
        parse: fn(&str) -> Result<T, IdError>,
    ) -> Result<T, EventError> {
        let text = self.fields.get(key).and_then(Value::as_str);
        parse(text.unwrap_or_default()).map_err(|error| {
            let article = if error.what.starts_with(['i', 'A']) { "an" } else { "a" };
            EventError::Field {
                path: self.path_of(key),
                seen: match (text, self.fields.get(key)) {
                    (Some(_), _) => format!("`{}`", error.value),
                    (None, Some(other)) => kind(other).to_owned(),
                    (None, None) => "missing".to_owned(),
                },
                expected: format!("{article} {}, {}", error.what, error.expected),
            }
        })
    }

    /// The error for a field whose value, or absence, does not fit.
    pub(super) fn mismatch(&self, key: &str, expected: String) -> EventError {
        let seen = match self.fields.get(key) {
            None => "missing".to_owned(),
            Some(Value::String(text)) => format!("`{}`", shorten(text)),
            Some(other) => kind(other).to_owned(),
        };
        EventError::Field { path: self.path_of(key), seen, expected }
    }

    /// The error for an object that is no event that we know.
    pub(super) fn unrecognised(&self) -> EventError {
        let mut shown: Vec<String> = self
            .fields
            .keys()
            .take(KEYS_SHOWN_MAX)
            .map(|key| format!("`{}`", shorten(key)))
            .collect();
        if self.fields.len() > KEYS_SHOWN_MAX {
            shown.push("…".to_owned());
        }
        let seen = match shown[..] {
            [] => "an empty object".to_owned(),
            _ => format!("an object with {}", shown.join(", ")),
        };
        let path = if self.path.is_empty() { "body" } else { &self.path };
        EventError::Field {
            path: path.to_owned(),
            seen,
            expected: "an EventBridge event (`detail-type`) or a lifecycle message \
                       (`LifecycleTransition`)"
                .to_owned(),
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// What kind of JSON a value is. Not the value itself: a number or a list where a text belongs may be
/// anything, a token too.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The offset that serde_json's line and column (in bytes, from 1) stand for.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let before: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    (before + error.column().saturating_sub(1)).min(text.len())
}
