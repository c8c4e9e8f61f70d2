//! The ways of an instance into service and out of it.
//!
//! Out: attached target groups are deregistered and drain *first*, then the hooks wait, then EC2 acts. In: EC2
//! starts, the hooks wait, and only then are the attached target groups told. Without a hook it goes straight on.

use super::{Autoscaling, Capacity, LifecycleState, Member, Retention, Step, Verdict, Way};
use crate::aws::AwsEvent;
use crate::aws::ec2::{Ec2, State};
use crate::aws::elbv2::Elb;
use crate::aws::events::{EventBridge, Notice};
use crate::aws::protocol::iso;
use crate::aws::uuid;
use crate::world::{Event, Millis, World};
use serde_json::json;

/// Launches that fail one after the other come at most this far apart.
const LAUNCH_BACKOFF_MS_MAX: Millis = 600_000;

impl Autoscaling {
    /// Ends an instance as a scale-in, an instance refresh or a health check does.
    pub fn terminate(world: &mut World, instance: &str, capacity: Capacity) {
        if world.aws.autoscaling.state(instance) == Some(LifecycleState::TerminatingRetained) {
            Self::set_state(world, instance, LifecycleState::TerminatingProceed);
            Self::end(world, instance);
            return;
        }
        Self::decrement(world, instance, capacity);
        Self::leave(world, instance, Way::Terminate);
    }

    /// Replaces the root volume of an instance: the same instance reboots on a new one.
    pub fn replace_root_volume(world: &mut World, instance: &str) {
        Self::leave(world, instance, Way::ReplaceRootVolume);
    }

    /// Scales in by returning an instance to the warm pool, where it is stopped.
    pub fn to_warm_pool(world: &mut World, instance: &str) {
        Self::decrement(world, instance, Capacity::Decrement);
        Self::leave(world, instance, Way::ToWarmPool);
    }

    /// Scales out with an instance of the warm pool: it is started, with a new boot.
    pub fn from_warm_pool(world: &mut World, instance: &str) {
        if world.aws.autoscaling.state(instance) != Some(LifecycleState::WarmedStopped) {
            return;
        }
        Self::begin(world, instance, Way::FromWarmPool);
        let autoscaling = &mut world.aws.autoscaling;
        let name = autoscaling.group_of.get(instance);
        if let Some(group) = name.and_then(|name| autoscaling.groups.get_mut(name)) {
            group.spec.desired += 1;
        }
        Ec2::start(world, instance);
    }

    /// Scales out by one at once, and returns the new instance.
    pub fn launch(world: &mut World, group: &str, zone: &str) -> String {
        if let Some(group) = world.aws.autoscaling.groups.get_mut(group) {
            group.spec.desired += 1;
        }
        Self::launch_as(world, group, zone, Way::Launch)
    }

    /// Launches an instance into the warm pool.
    pub fn launch_warm(world: &mut World, group: &str, zone: &str) -> String {
        Self::launch_as(world, group, zone, Way::LaunchWarm)
    }

    pub(crate) fn happen(world: &mut World, step: Step) {
        match step {
            Step::Launch { group, zone } => {
                let Some(known) = world.aws.autoscaling.groups.get_mut(&group) else { return };
                known.launches = known.launches.saturating_sub(1);
                Self::launch_as(world, &group, &zone, Way::Launch);
            }
            Step::Drained { instance, cycle } => {
                if Self::is_current(world, &instance, cycle) {
                    Self::wait(world, &instance);
                }
            }
            Step::Timeout { action } => Self::time_out(world, action),
            Step::Proceed { instance, cycle, verdict } => {
                if Self::is_current(world, &instance, cycle) {
                    Self::proceed(world, &instance, verdict);
                }
            }
            Step::Noticed { instance, cycle } => {
                let group = world.aws.autoscaling.group_of(&instance);
                let suspended = group.is_some_and(|group| group.spec.suspended);
                if Self::is_current(world, &instance, cycle) && !suspended {
                    if let Some(member) = world.aws.autoscaling.member_mut(&instance) {
                        member.healthy = false;
                    }
                    Self::leave(world, &instance, Way::Terminate);
                }
            }
        }
    }

    /// EC2 tells that an instance entered a state.
    pub(crate) fn instance_changed(world: &mut World, instance: &str, state: State) {
        let Some(member) = world.aws.autoscaling.member(instance) else { return };
        let (way, now, cycle) = (member.way, member.state, member.cycle);
        match state {
            State::Running
                if now == LifecycleState::Pending || now == LifecycleState::WarmedPending =>
            {
                Self::wait(world, instance);
            }
            State::Stopped if now == LifecycleState::WarmedPendingProceed => {
                Self::set_state(world, instance, LifecycleState::WarmedStopped);
            }
            State::Terminated
                if way == Way::Terminate && now == LifecycleState::TerminatingProceed =>
            {
                Self::forget(world, instance);
            }
            // An instance that ends on its own (Spot, a person) is noticed by a health check.
            State::ShuttingDown | State::Stopping
                if way != Way::Terminate && now != LifecycleState::WarmedPendingProceed =>
            {
                let notice = world.rng.i64(world.aws.autoscaling.pace.notice_ms.clone());
                let instance = instance.to_owned();
                Self::plan(world, notice, Step::Noticed { instance, cycle });
            }
            _ => {}
        }
    }

    /// EC2's status checks tell that a host is lost although its instance runs.
    pub(crate) fn host_lost(world: &mut World, instance: &str) {
        let Some(member) = world.aws.autoscaling.member(instance) else { return };
        let cycle = member.cycle;
        let delay = world.rng.i64(world.aws.autoscaling.pace.impaired_ms.clone());
        Self::plan(world, delay, Step::Noticed { instance: instance.to_owned(), cycle });
    }

    /// EC2 tells that a host is back on its new root volume.
    pub(crate) fn rebooted(world: &mut World, instance: &str) {
        let Some(member) = world.aws.autoscaling.member(instance) else { return };
        if member.state == LifecycleState::ReplacingRootVolumeProceed {
            Self::begin(world, instance, Way::RootVolumeReplaced);
            Self::wait(world, instance);
        }
    }

    fn decrement(world: &mut World, instance: &str, capacity: Capacity) {
        let autoscaling = &mut world.aws.autoscaling;
        let serves = autoscaling.state(instance).is_some_and(LifecycleState::counts);
        if !serves || capacity == Capacity::Keep {
            return;
        }
        let name = autoscaling.group_of.get(instance);
        if let Some(group) = name.and_then(|name| autoscaling.groups.get_mut(name)) {
            group.spec.desired = group.spec.desired.saturating_sub(1);
        }
    }

    fn launch_as(world: &mut World, group: &str, zone: &str, way: Way) -> String {
        let id = Ec2::launch(world, zone);
        Self::adopt(world, group, &id, zone, (way.states()[0], way));
        id
    }

    /// Takes an instance out of service: attached target groups first, hooks when those have drained.
    pub(super) fn leave(world: &mut World, instance: &str, way: Way) {
        let Some(group) = world.aws.autoscaling.group_of(instance) else { return };
        let Some(member) = group.members.get(instance) else { return };
        let (name, target_groups) = (group.spec.name.clone(), group.spec.target_groups.clone());
        let leaves = member.way == Way::Terminate && member.state != LifecycleState::InService;
        let serves = member.state == LifecycleState::InService;
        if leaves || (way != Way::Terminate && !serves) {
            return;
        }
        if let Some(group) = world.aws.autoscaling.groups.get_mut(&name) {
            group.doomed.remove(instance);
        }
        let cycle = Self::begin(world, instance, way);
        for arn in &target_groups {
            let Some(port) = world.aws.elb.groups.get(arn).map(|group| group.spec.port) else {
                continue;
            };
            Elb::deregister(world, arn, instance, port);
        }
        if way == Way::Terminate {
            Self::balance(world, &name);
        }
        match world.aws.elb.drains_until(&target_groups, instance) {
            None => Self::wait(world, instance),
            Some(until) => {
                let step = Step::Drained { instance: instance.to_owned(), cycle };
                Self::plan(world, until - world.now, step);
            }
        }
    }

    /// Begins a way, which ends whatever was going on.
    fn begin(world: &mut World, instance: &str, way: Way) -> u32 {
        Self::drop_actions(world, instance);
        let Some(member) = world.aws.autoscaling.member_mut(instance) else { return 0 };
        member.cycle += 1;
        member.way = way;
        let cycle = member.cycle;
        Self::set_state(world, instance, way.states()[0]);
        cycle
    }

    /// Starts the hooks of the way, or goes straight on without any.
    fn wait(world: &mut World, instance: &str) {
        let Some(member) = world.aws.autoscaling.member(instance) else { return };
        let way = member.way;
        if Self::start_actions(world, instance, way) == 0 {
            Self::proceed(world, instance, Verdict::Continue);
        } else {
            Self::set_state(world, instance, way.states()[1]);
        }
    }

    /// All hooks of a way have spoken: its state is `…:Proceed`, and the act follows in a moment.
    pub(super) fn answered(world: &mut World, instance: &str, verdict: Verdict) {
        let Some(member) = world.aws.autoscaling.member(instance) else { return };
        let (cycle, way) = (member.cycle, member.way);
        Self::set_state(world, instance, way.states()[2]);
        let delay = world.rng.i64(world.aws.autoscaling.pace.proceed_ms.clone());
        let step = Step::Proceed { instance: instance.to_owned(), cycle, verdict };
        Self::plan(world, delay, step);
    }

    fn proceed(world: &mut World, instance: &str, verdict: Verdict) {
        let Some(group) = world.aws.autoscaling.group_of(instance) else { return };
        let retention = group.spec.retention;
        let Some(member) = group.members.get(instance) else { return };
        let way = member.way;
        Self::set_state(world, instance, way.states()[2]);
        match (way, verdict) {
            (Way::Terminate, Verdict::Abandon) if retention == Retention::Retain => {
                Self::set_state(world, instance, LifecycleState::TerminatingRetained);
            }
            (Way::Terminate, _) => Self::end(world, instance),
            (Way::ReplaceRootVolume, _) => Ec2::reboot(world, instance),
            (Way::LaunchWarm | Way::ToWarmPool, Verdict::Continue) => {
                Ec2::stop(world, instance, "Client.UserInitiatedShutdown");
            }
            (Way::Launch | Way::FromWarmPool | Way::RootVolumeReplaced, Verdict::Continue) => {
                Self::serve(world, instance, way);
            }
            // A failed launch is terminated without more hooks, and replaced.
            (_, Verdict::Abandon) => Self::abandon(world, instance),
        }
    }

    /// Registers an instance in the attached target groups and puts it into service.
    fn serve(world: &mut World, instance: &str, way: Way) {
        let Some(group) = world.aws.autoscaling.group_of(instance) else { return };
        let (name, target_groups) = (group.spec.name.clone(), group.spec.target_groups.clone());
        for arn in &target_groups {
            let Some(port) = world.aws.elb.groups.get(arn).map(|group| group.spec.port) else {
                continue;
            };
            Elb::register(world, arn, instance, port);
        }
        if way == Way::RootVolumeReplaced {
            Self::set_state(world, instance, LifecycleState::RootVolumeReplaced);
        }
        Self::set_state(world, instance, LifecycleState::InService);
        if let Some(group) = world.aws.autoscaling.groups.get_mut(&name) {
            group.abandoned = 0;
        }
        Self::tell_success(world, (&name, instance), "EC2 Instance Launch Successful", way);
        Self::replaced(world, &name);
    }

    fn abandon(world: &mut World, instance: &str) {
        let autoscaling = &mut world.aws.autoscaling;
        let Some(name) = autoscaling.group_of.get(instance).cloned() else { return };
        if let Some(group) = autoscaling.groups.get_mut(&name) {
            group.abandoned += 1;
        }
        Self::begin(world, instance, Way::Terminate);
        Self::set_state(world, instance, LifecycleState::TerminatingProceed);
        Self::balance(world, &name);
        Self::end(world, instance);
    }

    fn end(world: &mut World, instance: &str) {
        if world.aws.ec2.state(instance) == Some(State::Terminated) {
            Self::forget(world, instance);
        } else {
            Ec2::terminate(world, instance, "Client.UserInitiatedShutdown");
        }
    }

    fn forget(world: &mut World, instance: &str) {
        let autoscaling = &mut world.aws.autoscaling;
        let Some(name) = autoscaling.group_of.remove(instance) else { return };
        if let Some(group) = autoscaling.groups.get_mut(&name) {
            group.members.remove(instance);
            group.doomed.remove(instance);
        }
        let title = "EC2 Instance Terminate Successful";
        Self::tell_success(world, (&name, instance), title, Way::Terminate);
    }

    /// Plans the launches that the desired capacity asks for.
    pub(super) fn balance(world: &mut World, name: &str) {
        let pace = world.aws.autoscaling.pace.launch_ms.clone();
        let Some(group) = world.aws.autoscaling.groups.get_mut(name) else { return };
        let stays = |(id, member): &(&String, &Member)| {
            member.state.counts() && !group.doomed.contains(*id)
        };
        let serving = group.members.iter().filter(stays).count();
        let missing = group.spec.desired.saturating_sub(serving + group.launches);
        group.launches += missing;
        let factor = 1_i64 << group.abandoned.min(10);
        let zones = if group.spec.zones.is_empty() {
            let leaving = group.members.values().filter(|member| !member.state.counts());
            leaving.map(|member| member.zone.clone()).collect()
        } else {
            group.spec.zones.clone()
        };
        for index in 0..missing {
            let delay = (world.rng.i64(pace.clone()) * factor).min(LAUNCH_BACKOFF_MS_MAX);
            let zone = zones.get(index % zones.len().max(1)).cloned().unwrap_or_default();
            Self::plan(world, delay, Step::Launch { group: name.to_owned(), zone });
        }
    }

    fn is_current(world: &World, instance: &str, cycle: u32) -> bool {
        world.aws.autoscaling.member(instance).is_some_and(|member| member.cycle == cycle)
    }

    fn set_state(world: &mut World, instance: &str, state: LifecycleState) {
        let Some(member) = world.aws.autoscaling.member_mut(instance) else { return };
        if std::mem::replace(&mut member.state, state) != state {
            world.tell(format!("{instance} is {}", state.name()));
        }
    }

    pub(super) fn plan(world: &mut World, delay: Millis, step: Step) {
        world.after(delay, Event::Aws(AwsEvent::Autoscaling(step)));
    }

    fn tell_success(world: &mut World, (name, instance): (&str, &str), title: &str, way: Way) {
        let Some(group) = world.aws.autoscaling.groups.get(name) else { return };
        let resources = vec![group.arn.clone(), EventBridge::instance_arn(world, instance)];
        let zone = world.aws.ec2.instances.get(instance).map(|known| known.zone.clone());
        let (origin, destination) = way.ends();
        let (activity, request) = (uuid(&mut world.rng), uuid(&mut world.rng));
        let detail = json!({
            "StatusCode": "InProgress",
            "Description": format!("{}: {instance}", title.trim_end_matches(" Successful")),
            "AutoScalingGroupName": name,
            "ActivityId": activity,
            "Details": { "Availability Zone": zone, "Subnet ID": "subnet-0a1b2c3d" },
            "RequestId": request,
            "StatusMessage": "",
            "StartTime": iso(world.now),
            "EndTime": iso(world.now),
            "EC2InstanceId": instance,
            "Cause": "",
            "Origin": origin,
            "Destination": destination,
        });
        let source = "aws.autoscaling";
        EventBridge::emit(world, &Notice { source, detail_type: title, resources, detail });
    }
}
