//! GET and LIST: one object, or those that selectors choose, page by page.

use crate::kubernetes::api::{Request, Response, Target};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::object::{Key, Object};
use crate::kubernetes::selector::{Fields, Selector};
use crate::kubernetes::status;
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a list or a watch is limited to.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) kind: Kind,
    namespace: String,
    pub(super) fields: Fields,
    labels: Selector,
}

impl Choice {
    /// Reads the selectors of a request.
    pub(super) fn parse(target: &Target, request: &Request) -> Result<Self, Response> {
        let fields = Fields::parse(target.kind, request.parameter("fieldSelector"))?;
        let labels = Selector::parse(request.parameter("labelSelector"))?;
        Ok(Self { kind: target.kind, namespace: target.namespace.clone(), fields, labels })
    }

    /// Whether an object is among them.
    pub(super) fn takes(&self, object: &Object) -> bool {
        (self.namespace.is_empty() || *object.meta.namespace == *self.namespace)
            && self.labels.matches(&object.meta.labels)
            && self.fields.matches(object)
    }

    /// The objects that are among them, in the order of their keys.
    pub(super) fn all<'a>(
        &'a self,
        world: &'a World,
    ) -> Box<dyn Iterator<Item = (&'a Key, &'a Arc<Object>)> + 'a> {
        let store = &world.kubernetes.store;
        let node = self.fields.node().filter(|node| self.kind == Kind::Pod && !node.is_empty());
        // What an index chooses need not be asked again; there is one for nodes and one for pods.
        let indexed = self.fields.is_indexed() && matches!(self.kind, Kind::Node | Kind::Pod);
        let whole = indexed && self.namespace.is_empty() && self.labels.is_empty();
        let chosen = move |entry: &(&Key, &Arc<Object>)| whole || self.takes(entry.1);
        match node {
            Some(node) => {
                let keys = store.pods_on(node);
                let pods = keys.filter_map(|key| Some((key, store.get(Kind::Pod, key)?)));
                Box::new(pods.filter(chosen))
            }
            None if self.kind == Kind::Node && self.fields.cordoned() => {
                let keys = store.cordoned();
                let nodes = keys.filter_map(|key| Some((key, store.get(Kind::Node, key)?)));
                Box::new(nodes.filter(chosen))
            }
            None if self.namespace.is_empty() => Box::new(store.all(self.kind).filter(chosen)),
            None => Box::new(store.within(self.kind, &self.namespace).filter(chosen)),
        }
    }
}

/// Answers `GET` of one object.
pub(super) fn get(world: &World, target: &Target) -> Result<Response, Response> {
    let Some(object) = world.kubernetes.store.get(target.kind, &target.key()) else {
        return Err(status::not_found(target.kind, &target.name));
    };
    let mut body = Vec::with_capacity(2048);
    object.write(&mut body);
    Ok(Response::new(200, body))
}

/// Lists as they were last written, each with the version of its kind that it shows.
#[derive(Debug, Default)]
pub(super) struct Lists(BTreeMap<String, (u64, Arc<[u8]>)>);

/// So many lists are kept. More would cost memory, fewer would be written anew for each of a storm's processes.
const LISTS_MAX: usize = 64;

/// Answers `GET` of a list. Of pods there are too many that change too often for it to be kept.
pub(super) fn list(
    world: &mut World,
    target: &Target,
    request: &Request,
) -> Result<Response, Response> {
    let whole = request.parameter("limit").is_empty() && request.parameter("continue").is_empty();
    if !whole || target.kind == Kind::Pod {
        return list_anew(world, target, request);
    }
    let [fields, labels] = ["fieldSelector", "labelSelector"].map(|name| request.parameter(name));
    let form = if request.wants_metadata() { "metadata" } else { "" };
    let name = format!("{}?{fields}&{labels}&{form}", request.path);
    let latest = world.kubernetes.store.latest(target.kind, None);
    let version = world.kubernetes.store.resource_version();
    let head = head(kinds(target, request), version, None);
    if let Some((_, items)) = world.kubernetes.lists.0.get(&name).filter(|(at, _)| *at == latest) {
        let body = [head.as_bytes(), items].concat();
        return Ok(Response::new(200, body));
    }
    let response = list_anew(world, target, request)?;
    let lists = &mut world.kubernetes.lists.0;
    if lists.len() >= LISTS_MAX {
        lists.clear();
    }
    lists.insert(name, (latest, response.body.get(head.len()..).unwrap_or_default().into()));
    Ok(response)
}

fn list_anew(world: &World, target: &Target, request: &Request) -> Result<Response, Response> {
    let choice = Choice::parse(target, request)?;
    let limit: usize = match request.parameter("limit") {
        "" | "0" => usize::MAX,
        text => text.parse().map_err(|_| status::bad_request("invalid limit"))?,
    };
    let (version, after) = match request.parameter("continue") {
        "" => (world.kubernetes.store.resource_version(), None),
        token => {
            let (version, key) = read_token(token)?;
            if version < world.kubernetes.store.compacted() {
                return Err(status::expired(EXPIRED));
            }
            (version, Some(key))
        }
    };
    let mut chosen: Vec<(&Key, &Arc<Object>)> = Vec::new();
    let mut rest = 0;
    let past = after.as_ref().map(|_| since(world, target.kind, version)).unwrap_or_default();
    let entries: Box<dyn Iterator<Item = (&Key, &Arc<Object>)>> = if past.is_empty() {
        choice.all(world)
    } else {
        Box::new(as_it_was(world, &choice, &past).into_iter())
    };
    for (key, object) in entries {
        if after.as_ref().is_some_and(|after| **key <= **after) {
            continue;
        }
        if chosen.len() == limit {
            rest += 1;
            continue;
        }
        chosen.push((key, object));
    }
    let last = chosen.last().map(|(key, _)| *key);
    // The real server counts what remains only when nothing is filtered.
    let counted = choice.labels.is_empty() && choice.fields.is_empty();
    let more = last.filter(|_| rest > 0);
    let more = more.map(|key| (token(version, key), counted.then_some(rest)));
    let head = head(kinds(target, request), version, more);
    let size = |object: &Object| if request.wants_metadata() { 1024 } else { object.size() + 1 };
    let size: usize = chosen.iter().map(|(_, object)| size(object)).sum();
    let mut body = Vec::with_capacity(head.len() + size + 2);
    body.extend_from_slice(head.as_bytes());
    for (index, (_, object)) in chosen.into_iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        if request.wants_metadata() {
            object.write_metadata(&mut body);
        } else {
            object.write_item(&mut body);
        }
    }
    body.extend_from_slice(b"]}");
    Ok(Response::new(200, body))
}

/// What was written since a version: each object as it was then, or nothing if there was none.
type Past = BTreeMap<Key, Option<Arc<Object>>>;

fn since(world: &World, kind: Kind, version: u64) -> Past {
    let mut past = Past::new();
    for change in world.kubernetes.store.since(version).filter(|change| change.kind == kind) {
        if let Some(object) = change.object() {
            past.entry(object.key()).or_insert_with(|| change.before.clone());
        }
    }
    past
}

/// The chosen objects before all that: later pages of a list belong to its first one.
fn as_it_was<'a>(
    world: &'a World,
    choice: &'a Choice,
    past: &'a Past,
) -> BTreeMap<&'a Key, &'a Arc<Object>> {
    let unchanged = choice.all(world).filter(|(key, _)| !past.contains_key(*key));
    let before = past.iter().filter_map(|(key, object)| Some((key, object.as_ref()?)));
    unchanged.chain(before.filter(|(_, object)| choice.takes(object))).collect()
}

/// What a list says that was not asked on in time.
const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Kind and API version of what is listed.
fn kinds(target: &Target, request: &Request) -> (&'static str, &'static str) {
    if request.wants_metadata() {
        return ("PartialObjectMetadata", "meta.k8s.io/v1");
    }
    (target.kind.resource().kind, target.kind.api_version())
}

/// A list up to its items.
fn head((kind, api): (&str, &str), version: u64, more: Option<(String, Option<usize>)>) -> String {
    let mut head = format!(
        "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{api}\",\"metadata\":{{\"resourceVersion\":\"{version}\""
    );
    if let Some((token, rest)) = more {
        head.push_str(",\"continue\":\"");
        head.push_str(&token);
        head.push('"');
        if let Some(rest) = rest {
            head.push_str(",\"remainingItemCount\":");
            head.push_str(&rest.to_string());
        }
    }
    head.push_str("},\"items\":[");
    head
}

/// Where a list goes on, opaque to clients: the version, and the last key in hexadecimal.
fn token(version: u64, key: &str) -> String {
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
    let key: String = key.bytes().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    format!("{version}-{key}")
}

fn read_token(token: &str) -> Result<(u64, String), Response> {
    let read = || {
        let (version, key) = token.split_once('-')?;
        let digit =
            |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = key.as_bytes().chunks_exact(2);
        let bytes = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?));
        let key = String::from_utf8(bytes.collect::<Option<_>>()?).ok()?;
        Some((version.parse().ok()?, key))
    };
    read().ok_or_else(|| status::bad_request("invalid continue token: continue key is not valid: illegal base64 data at input byte 0"))
}

#[cfg(test)]
mod tests {
    use super::{read_token, token};

    #[test]
    fn a_token_leads_back_to_where_it_was_given() {
        let (version, key) = read_token(&token(7, "shop/web-1")).expect("it is ours");
        assert_eq!((version, key.as_str()), (7, "shop/web-1"));
        assert_eq!(read_token("7-zz").expect_err("not hexadecimal").status, 400);
    }
}
