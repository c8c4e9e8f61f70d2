//! EC2: instances by id or by capacity reservation, and which of them have an event scheduled.
//!
//! Requests are forms, answers are XML, which `xml` reads; `signed` has what lies between, and the
//! reason why EC2's SDK crate is not here.
//!
//! Instances are asked for by *filters*: with the parameter `InstanceId`, one id that EC2 no longer
//! knows fails the whole request. DescribeInstanceStatus has no filter for ids, so there the request is
//! made again without those that EC2 names.

use crate::autoscaling::more;
use crate::clients::Settings;
use crate::error::{Call, CloudError};
use crate::signed::{Service, Signed};
use decision::id::{InstanceId, ReservationId};
use decision::snapshot::aws::Instance;
use form_urlencoded::Serializer;
use std::collections::{BTreeMap, BTreeSet};

mod xml;

/// Values in one filter: what EC2 takes at most.
const FILTER_VALUES_MAX: usize = 200;

/// Ids in one DescribeInstanceStatus: what EC2 takes at most.
const STATUS_IDS_MAX: usize = 100;

/// Instances on one page: what EC2 gives at most. Without it there is one page of any size.
const PAGE_INSTANCES_MAX: &str = "1000";

/// Pages of one list. 200 ids fit into one, but EC2 may give half-empty ones, and a reservation holds
/// what was bought; the bound ends a list that never ends.
const PAGES_MAX: usize = 10;

/// The version of the EC2 API whose answers `xml` reads.
const API_VERSION: &str = "2016-11-15";

/// EC2 knows no such instance (any more), or takes its id for none at all.
const UNKNOWN: [&str; 2] = ["InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"];

/// What calls EC2.
#[derive(Clone, Debug)]
pub struct Ec2(Signed);

impl Ec2 {
    /// Builds the client; makes no call.
    pub fn new(settings: &Settings) -> Self {
        let service = Service {
            name: "ec2",
            endpoint: settings.endpoints.ec2.clone(),
            headers: &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
            refusal: |_, text| xml::refusal(text),
        };
        Self(Signed::new(settings, service))
    }

    /// All the pages of one list: the same form again, with the token of the page before.
    async fn list<T>(
        &self,
        call: &Call,
        form: &str,
        read: fn(&str) -> xml::Page<T>,
    ) -> Result<Vec<T>, CloudError> {
        let mut found = Vec::new();
        let mut body = form.to_owned();
        for page in 1.. {
            let answer = self.0.send(call, &body).await?;
            let (items, token) = read(&answer).map_err(|error| call.unreadable(error))?;
            found.extend(items);
            let token = more(token, page, PAGES_MAX).map_err(|error| call.unreadable(error))?;
            let Some(token) = token else { break };
            body = Serializer::new(form.to_owned()).append_pair("NextToken", &token).finish();
        }
        Ok(found)
    }
}

/// DescribeInstances: state, name, tags and start of each instance. Those that EC2 does not know (any
/// more) are not in the answer.
pub async fn instances(
    ec2: &Ec2,
    ids: &[InstanceId],
) -> Result<BTreeMap<InstanceId, Instance>, CloudError> {
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(FILTER_VALUES_MAX) {
        let call = Call::about("describe instances", chunk);
        let form = describe_instances("instance-id", chunk.iter().map(InstanceId::as_str));
        let described = ec2.list(&call, &form, xml::instances).await?;
        found.extend(described.into_iter().map(|instance| (instance.id.clone(), instance)));
    }
    Ok(found)
}

/// DescribeInstances by capacity reservation: the instances that were launched into it, in whichever
/// state. A reservation that EC2 does not know has none.
pub async fn reserved(ec2: &Ec2, reservation: &ReservationId) -> Result<Vec<Instance>, CloudError> {
    let call = Call::new("describe instances of", reservation);
    let form = describe_instances("capacity-reservation-id", [reservation.as_str()].into_iter());
    ec2.list(&call, &form, xml::instances).await
}

/// DescribeInstanceStatus: those of the instances, in whichever state, for which EC2 still has an event
/// scheduled (reboot, stop, retirement, maintenance) that is neither completed nor canceled. Those that
/// EC2 does not know (any more) have none.
pub async fn scheduled(ec2: &Ec2, ids: &[InstanceId]) -> Result<BTreeSet<InstanceId>, CloudError> {
    let mut found = BTreeSet::new();
    // Each refusal puts fewer ids back than it took, or the same ones alone, so this ends.
    let mut parts: Vec<Vec<InstanceId>> = ids.chunks(STATUS_IDS_MAX).map(<[_]>::to_vec).collect();
    while let Some(part) = parts.pop() {
        let call = Call::about("describe status of instances", &part);
        match ec2.list(&call, &describe_instance_status(&part), xml::scheduled).await {
            Ok(scheduled) => found.extend(scheduled),
            Err(error) => parts.extend(known(part, &error).ok_or(error)?),
        }
    }
    Ok(found)
}

/// What to ask for instead, when EC2 does not know some of these ids: the others, if its message names
/// those that it means; else each alone. `None`: the error is another one.
fn known(part: Vec<InstanceId>, error: &CloudError) -> Option<Vec<Vec<InstanceId>>> {
    let refusal = error.refusal().filter(|refusal| UNKNOWN.contains(&refusal.code.as_str()))?;
    let between = |character: char| character != '-' && !character.is_ascii_alphanumeric();
    let named: BTreeSet<&str> = refusal.message.split(between).collect();
    let is_named = |id: &InstanceId| named.contains(id.as_str());
    let parts = if part.len() <= 1 {
        Vec::new()
    } else if part.iter().any(is_named) {
        let others: Vec<InstanceId> = part.into_iter().filter(|id| !is_named(id)).collect();
        if others.is_empty() { Vec::new() } else { vec![others] }
    } else {
        part.into_iter().map(|id| vec![id]).collect()
    };
    Some(parts)
}

fn describe_instances<'a>(filter: &str, values: impl Iterator<Item = &'a str>) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("Action", "DescribeInstances");
    form.append_pair("Version", API_VERSION);
    form.append_pair("Filter.1.Name", filter);
    for (index, value) in values.enumerate() {
        form.append_pair(&format!("Filter.1.Value.{}", index + 1), value);
    }
    form.append_pair("MaxResults", PAGE_INSTANCES_MAX);
    form.finish()
}

/// Without `MaxResults`, which EC2 does not take together with ids.
fn describe_instance_status(ids: &[InstanceId]) -> String {
    let mut form = Serializer::new(String::new());
    form.append_pair("Action", "DescribeInstanceStatus");
    form.append_pair("Version", API_VERSION);
    form.append_pair("IncludeAllInstances", "true");
    for (index, id) in ids.iter().enumerate() {
        form.append_pair(&format!("InstanceId.{}", index + 1), id.as_str());
    }
    form.finish()
}
