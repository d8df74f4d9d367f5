//! Failures as lines of Splunk's log: what to do about them in the words of our own parameters and commands, which the
//! layers below do not know.

use std::sync::Arc;
use std::time::Duration;

use crate::base::http::ProblemKind;
use crate::docusign::client::{ApiError, OnTrouble, Suspect, Trouble};
use crate::splunk::log::{Failure, Fields, Level, Log};
use crate::splunk::status::Status;

/// Pauses that are shorter are not worth a line each.
const LEAST_LOGGED_PAUSE: Duration = Duration::from_secs(10);

/// What to do when Docusign cannot be reached.
#[must_use]
pub fn docusign_network_remedy(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::TooLong => {
            "If it is a page of records, set a lower limit; otherwise a proxy or gateway may have answered"
        }
        kind => network_remedy(kind),
    }
}

/// What to do when the event collector cannot be reached.
#[must_use]
pub fn hec_network_remedy(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::TooLong => "Check hec_url: a proxy or gateway may have answered instead",
        kind => network_remedy(kind),
    }
}

fn network_remedy(kind: ProblemKind) -> &'static str {
    match kind {
        ProblemKind::Name => "Check name resolution on this machine, or set proxy_url",
        ProblemKind::Certificate => {
            "Set ca_file to the certificate of the CA that signed it, for example that of a proxy that inspects TLS"
        }
        ProblemKind::NotTls => "Did you mean http://, in this address or in proxy_url?",
        ProblemKind::ProxyCredentials => "Check proxy_user and proxy_password",
        ProblemKind::Tunnel => "Check that the proxy allows connections to it",
        ProblemKind::TooLong => "A proxy or gateway may have answered instead",
        ProblemKind::OpenFiles => {
            "Raise the limit of open files for the user that runs Splunk (ulimit -n; LimitNOFILE in a systemd unit)"
        }
        ProblemKind::Connection | ProblemKind::NoAnswer => "Check the firewall and proxy_url",
    }
}

/// What to change when a refusal of Docusign's points at a part of the configuration.
#[must_use]
pub fn docusign_remedy(suspect: Suspect) -> &'static str {
    match suspect {
        Suspect::Cursor => {
            "For a new input, correct start_from; for an existing one, use the command reset to set the position to a date shortly before the newest event in Splunk"
        }
        Suspect::Page => {
            "If it stays so, send the cursor to Docusign's support, and go on behind the page with the command reset: set the position to a date-time shortly after the newest event in Splunk; records in between will be missing"
        }
        Suspect::Hosts => "Check that auth_url and monitor_url belong to the same environment",
        Suspect::Stream => "Check environment, monitor_url and organization_id",
        Suspect::Credentials => "Check environment, integration_key, user_id and private_key",
        Suspect::AccountServer => "Check environment and auth_url",
        Suspect::AdminServer => "Check environment and admin_url",
        Suspect::WayToAccountServer => "Check auth_url and proxy_url",
        Suspect::WayToMonitorServer => "Check monitor_url and proxy_url",
    }
}

/// The fields by which a search finds a failed call.
#[must_use]
pub fn fields(error: &ApiError) -> Fields {
    Fields::new()
        .with("action", error.action)
        .with_some("status", error.status)
        .with_some("code", error.code.as_ref())
        .with_some("trace_token", error.trace_token.as_ref())
}

/// A failed call as the failure of the run that made it.
#[must_use]
pub fn failure(error: ApiError) -> Failure {
    let fields = fields(&error);
    if error.is_of_budget() {
        // The calls are renewed within the hour.
        Failure {
            status: Status::TryAgain,
            level: Level::Info,
            ..Failure::definite(fields, error.sentence)
        }
    } else if error.definite {
        Failure::definite(fields, error.sentence)
    } else {
        Failure::temporary(fields, &error.sentence)
    }
}

/// Warns before each retry of a call, and of an answer that arrives slowly.
#[must_use]
pub fn log_trouble(log: Log) -> OnTrouble {
    Arc::new(move |trouble: &Trouble<'_>| {
        match trouble {
        Trouble::Retry {
            action,
            status,
            retry,
            problem,
        } => {
            let fields = Fields::new()
                .with("action", action)
                .with_some("status", *status);
            log.warn_of_retry(fields, *retry, problem);
        }
        Trouble::ScarceBudget { budget, wait } => {
            let fields = Fields::new()
                .with("action", "wait_for_budget")
                .with("calls_left", budget.left)
                .with("calls_per_period", budget.limit);
            match wait {
                // Short pauses come with every call.
                Some(wait) if *wait < LEAST_LOGGED_PAUSE => {}
                Some(wait) => log.info(
                    &fields.with("wait_s", wait.as_secs()),
                    "Few of the calls are left that Docusign allows this account. Waiting, so that the account's other integrations can go on.",
                ),
                None => log.info(
                    &fields.with("renewed_in_s", budget.renewed_in.as_secs()),
                    "Few of the calls are left that Docusign allows this account, and they are left to its other integrations. This run ends; collecting goes on when the calls are renewed.",
                ),
            }
        }
        Trouble::SlowAnswer { action, bytes } => log.warn(
            &Fields::new().with("action", action).with("bytes", bytes),
            "Docusign's answer arrives slowly. Still waiting for the rest; if this happens often, check the network and the proxy.",
        ),
    }
    })
}
