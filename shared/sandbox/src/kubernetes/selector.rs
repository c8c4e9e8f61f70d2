//! Label selectors and field selectors, from query strings and from objects.

use crate::kubernetes::Response;
use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::Object;
use crate::kubernetes::status;
use serde_json::Value;
use std::collections::BTreeMap;

/// One requirement on a label.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// All of its requirements must hold; none at all select everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Selector(Vec<Requirement>);

impl Selector {
    /// `key=value` for each pair.
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let one =
            |(key, value): (&String, &String)| Requirement::In(key.clone(), vec![value.clone()]);
        Self(labels.iter().map(one).collect())
    }

    /// A label with its value that everything it selects has, if there is one.
    pub(crate) fn anchor(&self) -> Option<(&str, &str)> {
        self.0.iter().find_map(|requirement| match requirement {
            Requirement::In(key, values) => match values.as_slice() {
                [value] => Some((key.as_str(), value.as_str())),
                _ => None,
            },
            Requirement::NotIn(..) | Requirement::Exists(_) | Requirement::Absent(_) => None,
        })
    }

    /// A `LabelSelector` with `matchLabels` and `matchExpressions`.
    pub fn from_object(value: &Value) -> Self {
        let mut all = Self::of(&crate::kubernetes::object::strings(&value["matchLabels"])).0;
        for expression in value["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(|one| one.as_str().map(str::to_owned)).collect();
            all.push(match expression["operator"].as_str() {
                Some("In") => Requirement::In(key, values),
                Some("NotIn") => Requirement::NotIn(key, values),
                Some("Exists") => Requirement::Exists(key),
                _ => Requirement::Absent(key),
            });
        }
        Self(all)
    }

    /// A `labelSelector` of a query: `a=b,c!=d,e in (f,g),h,!i`.
    pub(crate) fn parse(text: &str) -> Result<Self, Response> {
        let terms = split_terms(text);
        terms
            .into_iter()
            .filter(|term| !term.is_empty())
            .map(parse_term)
            .collect::<Option<_>>()
            .map_or_else(
                || Err(status::bad_request(&format!("unable to parse requirement: {text}"))),
                |all| Ok(Self(all)),
            )
    }

    /// Whether it requires nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these labels fulfil it. As in the real one, an absent label fulfils `!=` and `notin`.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => {
                labels.get(key).is_some_and(|value| values.contains(value))
            }
            Requirement::NotIn(key, values) => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
        })
    }
}

/// Splits at the commas that are not between parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|letter: char| {
        match letter {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        letter == ',' && !inside
    })
    .map(str::trim)
    .collect()
}

fn parse_term(term: &str) -> Option<Requirement> {
    let word = |text: &str| {
        let text = text.trim();
        let fine = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
        fine.then(|| text.to_owned())
    };
    let name = |text: &str| word(text).filter(|text| !text.is_empty());
    if let Some((key, value)) = term.split_once("!=") {
        return Some(Requirement::NotIn(name(key)?, vec![word(value)?]));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Some(Requirement::In(name(key)?, vec![word(value)?]));
    }
    if let Some((head, values)) = term.strip_suffix(')').and_then(|term| term.split_once('(')) {
        let values = values.split(',').map(word).collect::<Option<Vec<_>>>()?;
        let (key, operator) = head.trim().split_once(' ')?;
        return match operator.trim() {
            "in" => Some(Requirement::In(name(key)?, values)),
            "notin" => Some(Requirement::NotIn(name(key)?, values)),
            _ => None,
        };
    }
    match term.strip_prefix('!') {
        Some(key) => Some(Requirement::Absent(name(key)?)),
        None => Some(Requirement::Exists(name(term)?)),
    }
}

/// A `fieldSelector`: pairs of a field and the value that it must (or must not) have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// Parses a selector, and refuses fields that the real server knows no index for.
    pub(crate) fn parse(kind: Kind, text: &str) -> Result<Self, Response> {
        let mut all = Vec::new();
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let split = match term.split_once("!=") {
                Some((field, value)) => Some((field, value, false)),
                None => term
                    .split_once("==")
                    .or_else(|| term.split_once('='))
                    .map(|(field, value)| (field, value, true)),
            };
            let Some((field, value, equal)) = split else {
                let message = format!("invalid selector: '{text}'; can't understand '{term}'");
                return Err(status::bad_request(&message));
            };
            supported(kind, field)?;
            all.push((field.to_owned(), value.to_owned(), equal));
        }
        Ok(Self(all))
    }

    /// Whether it requires nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The node that it asks for, if it does: a list then need not look at other nodes' pods.
    pub(crate) fn node(&self) -> Option<&str> {
        let node = |(field, _, equal): &&(String, String, bool)| *equal && field == "spec.nodeName";
        self.0.iter().find(node).map(|(_, value, _)| value.as_str())
    }

    /// Whether an index answers all of it: a pod's node alone, or unschedulable nodes alone.
    pub(crate) fn is_indexed(&self) -> bool {
        self.0.len() == 1 && (self.node().is_some_and(|node| !node.is_empty()) || self.cordoned())
    }

    /// Whether it asks for unschedulable nodes: a list then need not look at the others.
    pub(crate) fn cordoned(&self) -> bool {
        let cordoned = |(field, value, equal): &(String, String, bool)| {
            *equal && field == "spec.unschedulable" && value == "true"
        };
        self.0.iter().any(cordoned)
    }

    /// Whether the object fulfils it.
    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.0.iter().all(|(field, value, equal)| (read(object, field) == *value) == *equal)
    }
}

/// The fields of pods beside their names.
const POD_FIELDS: [&str; 8] = [
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

/// The fields of events beside their names.
const EVENT_FIELDS: [&str; 9] = [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "type",
];

fn supported(kind: Kind, field: &str) -> Result<(), Response> {
    let known = match (kind, field) {
        (Kind::Node, "spec.unschedulable" | "metadata.name") => true,
        (Kind::Node, _) => false,
        (_, "metadata.name" | "metadata.namespace") => true,
        (Kind::Pod, _) => POD_FIELDS.contains(&field),
        (Kind::Event, _) => EVENT_FIELDS.contains(&field),
        (Kind::Job, "status.successful") => true,
        _ => false,
    };
    if known {
        return Ok(());
    }
    Err(status::bad_request(&match kind {
        Kind::Node | Kind::Pod | Kind::Event | Kind::Job => {
            format!("field label not supported: {field}")
        }
        _ => format!(
            "\"{field}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        ),
    }))
}

fn read<'a>(object: &'a Object, field: &str) -> std::borrow::Cow<'a, str> {
    let mut path = field.split('.');
    let value = match path.next() {
        Some("metadata") if field == "metadata.name" => return (&*object.meta.name).into(),
        Some("metadata") => return (&*object.meta.namespace).into(),
        Some("spec") => path.next().map(|name| &object.spec[name]),
        Some("status") => path.next().map(|name| &object.status[name]),
        Some(first) => path
            .next()
            .map_or_else(|| Some(&object.rest[first]), |name| Some(&object.rest[first][name])),
        None => None,
    };
    match value {
        Some(Value::String(text)) => text.as_str().into(),
        Some(Value::Bool(true)) => "true".into(),
        // A boolean that is not written down is false; a string is empty.
        _ if field == "spec.unschedulable" || field == "spec.hostNetwork" => "false".into(),
        Some(Value::Number(number)) => number.to_string().into(),
        _ => "".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Selector, split_terms};
    use std::collections::BTreeMap;

    #[test]
    fn a_label_selector_means_what_it_means_to_the_real_server() {
        let labels: BTreeMap<String, String> =
            [("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "front".to_owned())].into();
        for (text, matches) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=db", false),
            ("app!=db", true),
            ("zone!=a", true),
            ("app in (db, web)", true),
            ("app in (db)", false),
            ("app notin (db,web)", false),
            ("zone notin (a)", true),
            ("app", true),
            ("zone", false),
            ("!zone", true),
            ("!app", false),
            ("app in (web,db),tier notin (back)", true),
        ] {
            let selector = Selector::parse(text).expect(text);
            assert_eq!(selector.matches(&labels), matches, "{text}");
        }
        for text in ["app in web", "a b", "=x", "app=we b", "app like (x)"] {
            assert_eq!(Selector::parse(text).expect_err(text).status, 400, "{text}");
        }
    }

    #[test]
    fn commas_between_parentheses_do_not_split() {
        assert_eq!(split_terms("a in (b,c),d=e"), ["a in (b,c)", "d=e"]);
    }
}
