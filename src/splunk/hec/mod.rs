//! The HTTP Event Collector (HEC): the way into Splunk that confirms what it takes.
//!
//! [`HecWriter`] (`sink`) takes events as the standard output does. It cuts them into batches (`batch`), which a thread
//! of its own (`courier`) posts in order, over few channels (`channels`), through a client that judges the answers
//! (`collector`). A batch counts as taken once Splunk has confirmed it: where the token acknowledges, when the indexers
//! have the events; elsewhere, as in Splunk Cloud, when the event collector has accepted them. What is not confirmed in
//! time is sent again. A single event that Splunk refuses again and again, while it accepts others, is left out and
//! reported; a whole batch never is.
//!
//! Events without a time go in batches of their own: some event collectors (Vector) give such an event the time of the
//! one before it in the batch, instead of the time of its arrival.
//!
//! Format: Splunk's manual "Getting Data In", "Format events for HTTP Event Collector", "HTTP Event Collector indexer
//! acknowledgment", and "Troubleshoot HTTP Event Collector" for the codes.

mod batch;
mod channels;
mod collector;
mod courier;
mod sink;
#[cfg(test)]
mod writer_tests;

use std::fmt;

use reqwest::Url;

use crate::base::http::{self, Network, PlainHttp, UrlProblem};
use crate::base::secret::Secret;

pub use collector::{AckVerdict, Collector, HecAnswer, HecError, Verdict, probe};
pub use courier::{OnRefused, RefusedEvent};
pub use sink::HecWriter;

/// An event collector, the way to it, and what every event says about itself.
#[derive(Clone, Debug)]
pub struct HecSettings {
    /// Base address; `/services/collector/event` is appended.
    pub url: Url,
    /// The token.
    pub token: Secret,
    /// What messages call the settings that hold the two.
    pub names: SettingNames,
    /// The way to it.
    pub network: Network,
    /// `source` of every event: the input's full name.
    pub source: String,
    /// `sourcetype` of every event that names none.
    pub sourcetype: &'static str,
    /// `host` of every event; without one, Splunk sets its own.
    pub host: Option<String>,
    /// `index` of every event; without one, the token's default applies.
    pub index: Option<String>,
}

/// The names of the caller's settings, for the remedies in messages.
#[derive(Clone, Copy, Debug)]
pub struct SettingNames {
    /// The one that holds the address.
    pub url: &'static str,
    /// The one that holds the token.
    pub token: &'static str,
}

/// Why a text is not the base address of an event collector. Displayed as the end of a sentence that begins with the
/// name of the setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseUrlProblem {
    /// It is no base address at all.
    Url(UrlProblem),
    /// It has a path that is appended to base addresses.
    Endpoint,
}

impl fmt::Display for BaseUrlProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(UrlProblem::Form) => f.write_str(
                "must be the base address of an HTTP Event Collector, for example https://splunk.example.com:8088",
            ),
            Self::Url(problem) => problem.fmt(f),
            Self::Endpoint => f.write_str(
                "must be the base address of an HTTP Event Collector, without /services/collector",
            ),
        }
    }
}

/// Reads the base address of an event collector.
///
/// # Errors
/// What is wrong with it.
pub fn base_url(text: &str) -> Result<Url, BaseUrlProblem> {
    let url = http::base_url(text, PlainHttp::OnLoopback).map_err(BaseUrlProblem::Url)?;
    match url.path().contains("/services/collector") {
        true => Err(BaseUrlProblem::Endpoint),
        false => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::{BaseUrlProblem, base_url};
    use crate::base::http::UrlProblem;

    #[test]
    fn the_address_of_an_event_collector_is_a_base_address() {
        for text in [
            "https://splunk.example.com:8088",
            "https://http-inputs-acme.splunkcloud.com:443/",
            "https://gateway.example.com/splunk/services",
            "http://127.0.0.1:8088",
        ] {
            assert!(base_url(text).is_ok(), "{text}");
        }
        for (text, expected) in [
            (
                "splunk.example.com:8088",
                BaseUrlProblem::Url(UrlProblem::Form),
            ),
            (
                "http://splunk.example.com:8088",
                BaseUrlProblem::Url(UrlProblem::PlainHttp),
            ),
            (
                "https://splunk.example.com:8088/services/collector",
                BaseUrlProblem::Endpoint,
            ),
            (
                "https://splunk.example.com/services/collector/event/1.0",
                BaseUrlProblem::Endpoint,
            ),
        ] {
            assert_eq!(base_url(text), Err(expected), "{text}");
        }
    }
}
