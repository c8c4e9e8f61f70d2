//! A function that is apart: with a role, queues, rights in the cluster and a group of its own, beside all others in the same
//! account and cluster. What is taken from it is taken from nobody else.

use crate::stage::{Given, Stage};
use lambda::Mapping;
use sandbox::aws::autoscaling::Notification;
use sandbox::aws::elbv2::Elb;
use sandbox::aws::events::EventBridge;
use std::ops::Deref;
use system_tests::{Care, Deployment, Group, Machine, Registered, Right, Role};

/// A function that is apart, and what it looks after.
pub(crate) struct Apart {
    pub(crate) mapping: Mapping,
    pub(crate) role: Role,
    pub(crate) machines: Vec<Machine>,
    pub(crate) name: String,
    stage: Stage,
}

impl Deref for Apart {
    type Target = Stage;

    fn deref(&self) -> &Stage {
        &self.stage
    }
}

/// A function that is not there yet; its group is.
pub(crate) struct Wanted {
    pub(crate) stage: Stage,
    pub(crate) function: Deployment,
    pub(crate) machines: Vec<Machine>,
    role: Role,
    name: String,
}

impl Wanted {
    /// A function of this program, and its group with so many nodes and nothing on them.
    pub(crate) async fn new(
        stage: Stage,
        (program, name): (&'static str, &str),
        nodes: u32,
    ) -> Self {
        let mut function = Deployment::apart(program, name);
        function.settings.push(("EVENT_BUS".to_owned(), "default".to_owned()));
        let role = stage.system.let_apart(&function).await.unwrap_or_else(|why| panic!("{why}"));
        // What is put back is what nobody but us registers.
        let ours = program == "interruption";
        let registered = if ours { Registered::Named } else { Registered::Attached };
        if ours {
            let arn = stage.aws(|world| Elb::arn(world, name));
            function.settings.push(("TARGET_GROUPS".to_owned(), arn));
            stage.aws(|world| EventBridge::add_rule(world, name, &["AWS Health Event"]));
        }
        let group = Group {
            care: Care::Named,
            registered,
            // Straight to its queue: the rules of EventBridge do not tell groups apart.
            notification: Notification::Queue(name.to_owned()),
            ..Group::new(name)
        };
        let machines = stage.system.add_group(&group, nodes).await.unwrap();
        Self { stage, function, machines, role, name: name.to_owned() }
    }

    /// Takes one right out of its ClusterRole.
    pub(crate) async fn without(self, right: &Right) -> Self {
        self.role.put(&self.stage.api, Some(right)).await.unwrap();
        self
    }

    /// Denies it one action of AWS.
    pub(crate) fn denied(self, action: &str) -> Self {
        let denied = (self.name.clone(), action.to_owned());
        self.stage.aws(|world| world.aws.budgets.denied_to.insert(denied));
        self
    }

    /// Starts it.
    pub(crate) fn deploy(self, given: &Given) -> Apart {
        let Self { stage, function, machines, role, name } = self;
        let mapping = stage.system.deploy(&given.binaries, &function).unwrap();
        Apart { mapping, role, machines, name, stage }
    }
}

impl Apart {
    /// Waits until this right or action was refused, and until the function's log has one of these words.
    pub(crate) async fn named(&self, refused: &str, words: &[String]) {
        let what = format!("{refused} is published, but nothing misses it");
        self.until((&what, &self.name), || {
            self.system.refused(&self.name).contains(refused).then_some(())
        })
        .await;
        let what = format!("the log names {refused}");
        self.until((&what, &self.name), || {
            let logged = self.system.logged(&self.name);
            words.iter().any(|words| logged.contains(words)).then_some(())
        })
        .await;
        // What the cases of all signals end with names it, and nothing else.
        assert_eq!(self.system.refused(&self.name), [refused.to_owned()].into());
    }
}
