//! The states of an instance in its group, and the ways that lead through them.

use super::Transition;

/// The lifecycle state of an instance.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LifecycleState {
    /// `Pending`
    Pending,
    /// `Pending:Wait`
    PendingWait,
    /// `Pending:Proceed`
    PendingProceed,
    /// `InService`
    InService,
    /// `Terminating`
    Terminating,
    /// `Terminating:Wait`
    TerminatingWait,
    /// `Terminating:Proceed`
    TerminatingProceed,
    /// `Terminating:Retained`
    TerminatingRetained,
    /// `ReplacingRootVolume`
    ReplacingRootVolume,
    /// `ReplacingRootVolume:Wait`
    ReplacingRootVolumeWait,
    /// `ReplacingRootVolume:Proceed`
    ReplacingRootVolumeProceed,
    /// `RootVolumeReplaced`
    RootVolumeReplaced,
    /// `Warmed:Pending`
    WarmedPending,
    /// `Warmed:Pending:Wait`
    WarmedPendingWait,
    /// `Warmed:Pending:Proceed`
    WarmedPendingProceed,
    /// `Warmed:Stopped`
    WarmedStopped,
}

impl LifecycleState {
    /// Auto Scaling's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::PendingWait => "Pending:Wait",
            Self::PendingProceed => "Pending:Proceed",
            Self::InService => "InService",
            Self::Terminating => "Terminating",
            Self::TerminatingWait => "Terminating:Wait",
            Self::TerminatingProceed => "Terminating:Proceed",
            Self::TerminatingRetained => "Terminating:Retained",
            Self::ReplacingRootVolume => "ReplacingRootVolume",
            Self::ReplacingRootVolumeWait => "ReplacingRootVolume:Wait",
            Self::ReplacingRootVolumeProceed => "ReplacingRootVolume:Proceed",
            Self::RootVolumeReplaced => "RootVolumeReplaced",
            Self::WarmedPending => "Warmed:Pending",
            Self::WarmedPendingWait => "Warmed:Pending:Wait",
            Self::WarmedPendingProceed => "Warmed:Pending:Proceed",
            Self::WarmedStopped => "Warmed:Stopped",
        }
    }

    /// Whether it counts towards the desired capacity.
    pub(super) fn counts(self) -> bool {
        match self {
            Self::Pending
            | Self::PendingWait
            | Self::PendingProceed
            | Self::InService
            | Self::ReplacingRootVolume
            | Self::ReplacingRootVolumeWait
            | Self::ReplacingRootVolumeProceed
            | Self::RootVolumeReplaced => true,
            Self::Terminating
            | Self::TerminatingWait
            | Self::TerminatingProceed
            | Self::TerminatingRetained => false,
            Self::WarmedPending
            | Self::WarmedPendingWait
            | Self::WarmedPendingProceed
            | Self::WarmedStopped => false,
        }
    }

    pub(super) fn is_warmed(self) -> bool {
        self.name().starts_with("Warmed:")
    }
}

/// Where an instance is going.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// New, into service.
    Launch,
    /// New, into the warm pool.
    LaunchWarm,
    /// From the warm pool into service.
    FromWarmPool,
    /// Back into service on its new root volume.
    RootVolumeReplaced,
    /// Away for good.
    Terminate,
    /// Out of service for a new root volume.
    ReplaceRootVolume,
    /// Out of service, into the warm pool.
    ToWarmPool,
}

impl Way {
    /// The transition whose hooks hold it.
    pub fn transition(self) -> Transition {
        match self {
            Self::Launch | Self::LaunchWarm | Self::FromWarmPool | Self::RootVolumeReplaced => {
                Transition::Launching
            }
            Self::Terminate | Self::ReplaceRootVolume | Self::ToWarmPool => Transition::Terminating,
        }
    }

    /// `Origin` and `Destination` of its event.
    pub(super) fn ends(self) -> (&'static str, &'static str) {
        match self {
            Self::Launch => ("EC2", "AutoScalingGroup"),
            Self::LaunchWarm => ("EC2", "WarmPool"),
            Self::FromWarmPool => ("WarmPool", "AutoScalingGroup"),
            Self::Terminate => ("AutoScalingGroup", "EC2"),
            Self::ToWarmPool => ("AutoScalingGroup", "WarmPool"),
            Self::ReplaceRootVolume | Self::RootVolumeReplaced => {
                ("AutoScalingGroup", "AutoScalingGroup")
            }
        }
    }

    /// The states before, during and after the hooks.
    pub(super) fn states(self) -> [LifecycleState; 3] {
        use LifecycleState as S;
        match self {
            Self::Launch | Self::FromWarmPool => [S::Pending, S::PendingWait, S::PendingProceed],
            Self::LaunchWarm | Self::ToWarmPool => {
                [S::WarmedPending, S::WarmedPendingWait, S::WarmedPendingProceed]
            }
            Self::Terminate => [S::Terminating, S::TerminatingWait, S::TerminatingProceed],
            Self::ReplaceRootVolume | Self::RootVolumeReplaced => {
                [S::ReplacingRootVolume, S::ReplacingRootVolumeWait, S::ReplacingRootVolumeProceed]
            }
        }
    }
}
