//! The test on saving an input.
//!
//! It gets a token from Docusign, asks for one record, and asks an event collector whether it accepts its token, all
//! within the time that a form may take. A definite no refuses the save. Where somebody cannot be reached, a new input
//! or a new key is refused, but no edit of an input whose key is known: an outage must not prevent anybody from
//! changing an index.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::configure::{Configured, KeySource, NotConfigured, configure};
use super::settings::{DS_MONITOR, HEC_TOKEN, HEC_URL, PROXY_PASSWORD, PROXY_URL, Settings};
use super::start_from::StartFrom;
use crate::base::clock::Clock;
use crate::base::retry::Patience;
use crate::docusign::client::{ApiError, Client};
use crate::docusign::jwt_grant::JwtGrant;
use crate::docusign::monitor_api::{MonitorApi, StreamSettings};
use crate::docusign::rsa_key::PrivateKey;
use crate::failures;
use crate::splunk::Session;
use crate::splunk::hec::{self, HecError, HecSettings};
use crate::splunk::input_definition::{InputDefinition, MASK, Stanza};
use crate::splunk::log::Fields;
use crate::splunk::rest::{Entry, Rest};
use crate::splunk::scheme::Argument;
use crate::splunk::secure_storage;

/// How long the test may take altogether; splunkd's form waits for it.
const LIMIT: Duration = Duration::from_secs(8);

/// Checks an input before Splunk saves it: the arguments first, then the connections.
///
/// # Errors
/// The message for the form: what is wrong and what to do.
pub(super) fn validate(definition: InputDefinition, session: &Session) -> Result<()> {
    let now = session.clock.now();
    let InputDefinition {
        splunkd, stanza, ..
    } = definition;
    let input = DS_MONITOR.input(&stanza.name);
    let warn_untested = |problem: &str| {
        session.log.for_input(&input).warn(
            &Fields::new().with("action", "validate"),
            &format!("The edit was accepted, but the connection was not tested: {problem}"),
        );
        Ok(())
    };

    let saved = splunkd
        .input(DS_MONITOR.kind, &stanza.name)
        .unwrap_or_default();
    if saved
        .as_ref()
        .is_some_and(|saved| only_masks(saved, &stanza))
    {
        return Ok(());
    }
    require_secrets_of_new_destinations(saved.as_ref(), &stanza, &splunkd)?;
    let configured = match configure(stanza, &splunkd, now) {
        Ok(configured) => configured,
        // The arguments are good, and the key cannot have changed.
        Err(reason @ NotConfigured::Storage(_)) => return warn_untested(&reason.to_string()),
        Err(reason) => return Err(reason.into()),
    };
    let key_is_known = match configured.key_source {
        KeySource::Pasted => false,
        // Whether the storage or the file holds another key than before cannot be seen. The set-up page stores a key
        // before there is an input, so its mask is that of a new key.
        KeySource::Stored | KeySource::File => saved.is_some(),
    };
    // An input that exists has its position; only a new one begins at start_from.
    let cursor = match saved {
        Some(_) => StartFrom::SevenDaysAgo.cursor(now),
        None => configured.settings.start_from.cursor(now),
    };
    match test_connections(configured, cursor, &session.clock) {
        Ok(()) => Ok(()),
        Err(Untested::Unreached(problem)) if key_is_known => warn_untested(&problem),
        Err(Untested::Unreached(problem)) => Err(anyhow!(
            "{problem}. The input was not saved, because it could not be tested"
        )),
        Err(Untested::Refused(problem)) => Err(anyhow!(problem)),
    }
}

/// Whether the edit only replaces clear secrets of the saved input by masks. A run makes this edit right after it has
/// stored the secrets; by hand nobody does.
fn only_masks(saved: &Entry, edited: &Stanza) -> bool {
    let mut masks_one = false;
    let unchanged = DS_MONITOR.arguments.iter().all(|argument| {
        let before = saved.text(argument.name);
        let before = before
            .as_deref()
            .map(str::trim)
            .filter(|text| !text.is_empty());
        let after = edited.get(argument);
        let masks = argument.secret && after == Some(MASK) && before.is_some_and(|it| it != MASK);
        masks_one |= masks;
        // The mask of a key that a file has replaced is not repeated.
        let drops_mask = argument.secret && before == Some(MASK) && after.is_none();
        masks || drops_mask || before == after
    });
    masks_one && unchanged
}

/// A stored secret is for the address that it was entered for: whoever may edit the input, but not read its secrets,
/// must not have them sent elsewhere.
///
/// The set-up page stores a secret before it writes the stanza, so that it comes with the mask although it has just been
/// entered. It stores the address beside the secret, under the name of that parameter.
fn require_secrets_of_new_destinations(
    saved: Option<&Entry>,
    edited: &Stanza,
    splunkd: &Rest,
) -> Result<()> {
    let was_entered_for = |destination: &Argument, address: &str| {
        secure_storage::load(splunkd, &DS_MONITOR, &edited.name)
            .unwrap_or_default()
            .get(destination.name)
            .is_some_and(|stored| stored.expose().trim_end_matches('/') == address)
    };
    for (secret, destination) in [(&HEC_TOKEN, &HEC_URL), (&PROXY_PASSWORD, &PROXY_URL)] {
        let before = saved.and_then(|saved| saved.text(destination.name));
        let before = before.as_deref().unwrap_or_default().trim();
        let after = edited.get(destination).unwrap_or_default();
        let after = after.trim_end_matches('/');
        let is_new = before.trim_end_matches('/') != after && !after.is_empty();
        if is_new && edited.get(secret) == Some(MASK) && !was_entered_for(destination, after) {
            bail!(
                "the parameter {} is masked, but {} has changed, and a stored secret is not sent to another address: enter {} again",
                secret.name,
                destination.name,
                secret.name
            );
        }
    }
    Ok(())
}

/// Why a test did not pass.
enum Untested {
    /// Docusign or the event collector itself said no.
    Refused(String),
    /// One of them could not be reached.
    Unreached(String),
}

impl From<ApiError> for Untested {
    fn from(error: ApiError) -> Self {
        match error.definite {
            true => Self::Refused(error.sentence),
            false => Self::Unreached(error.sentence),
        }
    }
}

impl From<HecError> for Untested {
    fn from(error: HecError) -> Self {
        match error.definite {
            true => Self::Refused(error.sentence),
            false => Self::Unreached(error.sentence),
        }
    }
}

/// Gets a token, asks Monitor for one record and an event collector for nothing, within [`LIMIT`].
fn test_connections(
    configured: Configured,
    cursor: String,
    clock: &Arc<dyn Clock>,
) -> Result<(), Untested> {
    let (answer, answered) = channel();
    let clock = Arc::clone(clock);
    // In another thread, because resolving a name, for one, takes no time limit.
    std::thread::spawn(move || {
        let _ = answer.send(ask(configured, &cursor, &clock));
    });
    answered.recv_timeout(LIMIT).unwrap_or_else(|_| {
        Err(Untested::Unreached(format!(
            "the test of the connections did not end within {} seconds",
            LIMIT.as_secs()
        )))
    })
}

fn ask(configured: Configured, cursor: &str, clock: &Arc<dyn Clock>) -> Result<(), Untested> {
    let Configured { settings, key, .. } = configured;
    let client =
        client(&settings, clock).map_err(|error| Untested::Unreached(format!("{error:#}")))?;
    monitor_api(client, &settings, key).get_stream(cursor)?;
    if let Some(hec) = settings.hec {
        probe(hec)?;
    }
    Ok(())
}

/// The way to Docusign for a person who waits.
pub(crate) fn client(settings: &Settings, clock: &Arc<dyn Clock>) -> Result<Client> {
    let mut network = settings.network.clone();
    network.patience = Patience::INTERACTIVE;
    Client::new(
        network,
        Arc::clone(clock),
        failures::docusign_remedy,
        Arc::new(|_| {}),
    )
}

/// The Monitor API, asked for one record at a time.
pub(super) fn monitor_api(client: Client, settings: &Settings, key: PrivateKey) -> MonitorApi {
    let grant = JwtGrant::new(client.clone(), settings.identity.clone(), key);
    let one_record = StreamSettings {
        limit: 1,
        ..settings.stream.clone()
    };
    MonitorApi::new(client, grant, one_record)
}

/// Asks an event collector whether it accepts its token, and returns what it said.
pub(super) fn probe(mut hec: HecSettings) -> Result<String, HecError> {
    hec.network.patience = Patience::INTERACTIVE;
    hec::probe(&hec)
}
