//! Docusign's troubles in Splunk's log: a failed call as the failure of a run, a repeated one as a warning.

use std::sync::Arc;

use crate::docusign::client::{ApiError, OnRetry, RetryNotice};
use crate::splunk::log::{Failure, Fields, Level, Log, sentence};

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
    Failure {
        level: Level::Error,
        fields: fields(&error),
        sentence: if error.definite {
            error.sentence
        } else {
            let problem = sentence(&error.sentence);
            format!("{problem} Nothing is lost: the next run tries again")
        },
    }
}

/// Warns of every call that will be made again.
#[must_use]
pub fn log_retries(log: Log) -> OnRetry {
    Arc::new(move |retry: &RetryNotice<'_>| {
        let fields = Fields::new()
            .with("action", retry.action)
            .with_some("status", retry.status)
            .with("attempt", retry.attempt)
            .with("retry_in_ms", retry.wait.as_millis());
        let sentence = format!("{}. The call will be repeated", retry.problem);
        log.warn(&fields, &sentence);
    })
}
