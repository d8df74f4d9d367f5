//! How a program ends, for those who start it: a shell, cron, systemd, Kubernetes.
//!
//! Numbers: 2 is what shells and most programs use for wrong arguments; 75 and 78 are `EX_TEMPFAIL` and `EX_CONFIG` of
//! BSD's `sysexits.h`, which systemd knows by name. splunkd looks at zero or not zero only, so it gets 0 or 1.

use std::process::ExitCode;

/// How a program ends. Of several, the greatest counts: it needs a person most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// All is well.
    Done,
    /// It will probably pass by itself.
    TryAgain,
    /// A problem that is none of the others.
    Failed,
    /// A change of configuration is needed.
    Configuration,
    /// The arguments are wrong.
    Usage,
}

impl Status {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] = [
        Self::Done,
        Self::Failed,
        Self::Usage,
        Self::TryAgain,
        Self::Configuration,
    ];

    /// The exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::TryAgain => 75,
            Self::Configuration => 78,
        }
    }

    /// What it means, for the help.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Done => "all is well",
            Self::Failed => "a problem; the last line says what to do about it",
            Self::Usage => "the arguments are wrong",
            Self::TryAgain => {
                "a server did not answer or was busy: try again later, nothing is lost"
            }
            Self::Configuration => "the configuration, or what a server has on file, must change",
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}
