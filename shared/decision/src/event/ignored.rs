//! Why a message is acknowledged without a look at the world.
//!
//! Each reason has a label of a closed set, to count by, and a text that names what was seen. What is not ours is
//! never an error: an account's whole stream of EC2 and Health events may arrive here.

use std::fmt;

/// A message that is not for us, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoredEvent {
    /// Why there is nothing to do.
    pub reason: Ignored,
}

/// Why a message is acknowledged without a look at the world. Texts from the event are shortened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// `autoscaling:TEST_NOTIFICATION`, sent when a hook is given a queue or a topic.
    TestNotification,
    /// An event of a known source with another `detail-type`: `EC2 Instance Launch Successful`, ….
    OtherDetailType(String),
    /// An EventBridge event of another `source`: `aws.cloudwatch`, one of a customer's own, ….
    OtherSource(String),
    /// A group's own notification, which carries no hook: `autoscaling:EC2_INSTANCE_TERMINATE`, ….
    OtherNotification(String),
    /// An SNS topic says that somebody subscribed or unsubscribed this queue.
    SubscriptionChange,
    /// A state-change to `pending`: the instance starts, and what it needs is `running`, or a launch hook.
    Starting,
    /// A Health event of another `service`.
    OtherService(String),
    /// A Health event about another region, as it is delivered to that region's backup. The region itself gets its own
    /// copy, and only there are the instances that it names.
    OtherRegion(String),
    /// A Health event whose category or code takes no instance away by itself: the code.
    Informational(String),
    /// A Health event that names no instance, but hosts, volumes or nothing: the code.
    NoInstance(String),
}

impl Ignored {
    /// The reason as one word of a closed set, for a metric's dimension.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TestNotification => "test_notification",
            Self::OtherDetailType(_) => "other_detail_type",
            Self::OtherSource(_) => "other_source",
            Self::OtherNotification(_) => "other_notification",
            Self::SubscriptionChange => "subscription_change",
            Self::Starting => "starting",
            Self::OtherService(_) => "other_service",
            Self::OtherRegion(_) => "other_region",
            Self::Informational(_) => "informational",
            Self::NoInstance(_) => "no_instance",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TestNotification => out.write_str("test notification of a lifecycle hook"),
            Self::OtherDetailType(name) => {
                write!(out, "detail-type `{name}` announces nothing that we act on")
            }
            Self::OtherSource(name) => {
                write!(out, "source `{name}` is not aws.autoscaling, aws.ec2 or aws.health")
            }
            Self::OtherNotification(name) => write!(out, "notification `{name}` carries no hook"),
            Self::SubscriptionChange => out.write_str("subscription message of an SNS topic"),
            Self::Starting => out.write_str("instance is pending: it starts"),
            Self::OtherService(name) => write!(out, "Health event of service `{name}`, not EC2"),
            Self::OtherRegion(region) => {
                write!(out, "Health event about region `{region}`, delivered to another one")
            }
            Self::Informational(code) => {
                write!(out, "Health event {code} takes no instance away by itself")
            }
            Self::NoInstance(code) => write!(out, "Health event {code} names no instance"),
        }
    }
}
