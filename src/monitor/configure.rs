//! The one door: from a stanza to checked settings, the key, and what was pasted, or to the one reason why not.
//!
//! A run, the test on saving, every command and the lookups come through [`configure`]. Its steps keep their order
//! here and cannot be called alone: only this file makes a `Complete` stanza, and only from one are settings made.

use std::fmt;
use std::path::Path;

use anyhow::{Result, anyhow};
use chrono::{DateTime, Utc};

use super::settings::{
    DS_MONITOR, PRIVATE_KEY, PRIVATE_KEY_PATH, PROXY_PASSWORD, PROXY_URL, PROXY_USER, Settings,
};
use crate::base::durable;
use crate::base::secret::Secret;
use crate::docusign::rsa_key::PrivateKey;
use crate::params;
use crate::splunk::conf_file;
use crate::splunk::input_definition::{MASK, Stanza};
use crate::splunk::rest::{Rest, RestError};
use crate::splunk::scheme::Argument;
use crate::splunk::secure_storage::{self, Secrets};

/// An input that can be used.
pub struct Configured {
    /// Its checked arguments.
    pub settings: Settings,
    /// The private key, ready to sign.
    pub key: PrivateKey,
    /// Where the key comes from.
    pub key_source: KeySource,
    /// The secrets that are in clear text in the stanza.
    pub pasted: Pasted,
    /// What is odd but keeps nobody from collecting, in sentences.
    pub notes: Vec<String>,
}

/// Where a private key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The stanza, in clear text.
    Pasted,
    /// Splunk's secure storage.
    Stored,
    /// The file that the stanza names.
    File,
}

/// Why an input cannot be used.
#[derive(Debug)]
pub enum NotConfigured {
    /// An argument is wrong: which one, and the form that is accepted.
    Argument(anyhow::Error),
    /// A secret is masked, but nothing is stored for it.
    NoSecret(anyhow::Error),
    /// A secret is masked, and secure storage cannot be read.
    Storage(RestError),
    /// The private key is missing or cannot sign.
    Key(anyhow::Error),
}

impl fmt::Display for NotConfigured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument(error) | Self::NoSecret(error) | Self::Key(error) => {
                write!(f, "{error:#}")
            }
            Self::Storage(error) => {
                write!(f, "the stored secrets of the input cannot be read: {error}")
            }
        }
    }
}

impl std::error::Error for NotConfigured {}

/// Secrets in clear text, and the stanza that holds them.
pub struct Pasted {
    stanza: Stanza,
    secrets: Secrets,
}

impl Pasted {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Moves them to Splunk's secure storage, and masks them in the saved stanza.
    ///
    /// # Errors
    /// A step failed. They are then still in `inputs.conf`, and moving them can be tried again.
    pub fn move_to_storage(&self, splunkd: &Rest) -> Result<()> {
        secure_storage::move_to_storage(splunkd, &DS_MONITOR, &self.stanza, &self.secrets)
    }
}

/// A stanza whose masks have been replaced by the stored secrets, as far as there are any.
pub(super) struct Complete(Stanza);

impl std::ops::Deref for Complete {
    type Target = Stanza;

    fn deref(&self) -> &Stanza {
        &self.0
    }
}

/// Reads, completes and checks the stanza of a `ds_monitor` input at the time `now`.
///
/// # Errors
/// The one reason why the input cannot be used. Wrong arguments come first, so that a caller that
/// continues without secure storage knows that they are good.
pub fn configure(
    mut stanza: Stanza,
    splunkd: &Rest,
    now: DateTime<Utc>,
) -> Result<Configured, NotConfigured> {
    prefer_key_file(&mut stanza);
    // Before the masks are replaced, what is not masked was pasted.
    let secrets = pasted(&stanza);
    let completed = replace_masks(&mut stanza, splunkd);
    let stanza = Complete(stanza);
    let settings = Settings::of(&stanza, now).map_err(NotConfigured::Argument)?;
    completed?;
    let key = private_key(&stanza).map_err(NotConfigured::Key)?;
    let key_source = if stanza.get(&PRIVATE_KEY).is_none() {
        KeySource::File
    } else if secrets.contains_key(PRIVATE_KEY.name) {
        KeySource::Pasted
    } else {
        KeySource::Stored
    };
    let key_file = stanza.get(&PRIVATE_KEY_PATH).map(Path::new);
    let exposed = key_file.filter(|path| durable::can_be_read_by_others(path));
    let note = |path: &Path| {
        format!(
            "Every user of this machine can read the private key in {}: chmod 600",
            path.display()
        )
    };
    let mut notes: Vec<_> = exposed.map(note).into_iter().collect();
    let for_proxy = [&PROXY_USER, &PROXY_PASSWORD];
    if stanza.get(&PROXY_URL).is_none() && for_proxy.iter().any(|it| stanza.get(it).is_some()) {
        notes.push(format!(
            "{} and {} have no effect without {}",
            PROXY_USER.name, PROXY_PASSWORD.name, PROXY_URL.name
        ));
    }
    Ok(Configured {
        settings,
        key,
        key_source,
        notes,
        pasted: Pasted {
            stanza: stanza.0,
            secrets,
        },
    })
}

/// Drops the mask of a key that was stored before a file took its place: the file counts.
fn prefer_key_file(stanza: &mut Stanza) {
    if stanza.get(&PRIVATE_KEY) == Some(MASK) && stanza.get(&PRIVATE_KEY_PATH).is_some() {
        stanza.set(&PRIVATE_KEY, "");
    }
}

fn pasted(stanza: &Stanza) -> Secrets {
    DS_MONITOR
        .secrets()
        .filter_map(|secret| Some((secret, stanza.get(secret)?)))
        .filter(|(_, value)| *value != MASK)
        .map(|(secret, value)| (secret.name.to_owned(), Secret::new(value.to_owned())))
        .collect()
}

/// Replaces the masks by the stored secrets.
fn replace_masks(stanza: &mut Stanza, splunkd: &Rest) -> Result<(), NotConfigured> {
    let masked = stanza.masked(&DS_MONITOR);
    let Some(first) = masked.first() else {
        return Ok(());
    };
    let stored = match secure_storage::load(splunkd, &DS_MONITOR, &stanza.name) {
        Ok(stored) => stored,
        Err(RestError::NoSplunkd) => {
            return Err(NotConfigured::NoSecret(anyhow!(
                "the parameter {} is masked, and there is no splunkd here that knows the secret: replace the mask by it, or set the environment variable {}",
                first.name,
                conf_file::variable(&DS_MONITOR, first)
            )));
        }
        Err(error) => return Err(NotConfigured::Storage(error)),
    };
    let mut missing = None;
    for argument in masked {
        match stored.get(argument.name) {
            Some(secret) => stanza.set(argument, secret.expose()),
            None => missing = missing.or(Some(argument)),
        }
    }
    missing.map_or(Ok(()), |argument| Err(not_stored(stanza, argument)))
}

fn not_stored(stanza: &Stanza, secret: &Argument) -> NotConfigured {
    let thing = match secret.name == PRIVATE_KEY.name {
        true => "the key",
        false => "it",
    };
    NotConfigured::NoSecret(anyhow!(
        "the parameter {} is masked, but none is stored: paste {thing} again for the input {}",
        secret.name,
        stanza.name
    ))
}

/// The private key, from its field or from the file that the stanza names.
fn private_key(stanza: &Complete) -> Result<PrivateKey> {
    let (field, path) = (PRIVATE_KEY.name, PRIVATE_KEY_PATH.name);
    match (stanza.get(&PRIVATE_KEY), stanza.get(&PRIVATE_KEY_PATH)) {
        (None, Some(file)) => PrivateKey::parse_file(&params::file(&PRIVATE_KEY_PATH, file)?)
            .map_err(|problem| anyhow!("the file {file}, named by {path}, {problem}")),
        (Some(text), None) => {
            PrivateKey::parse(text).map_err(|problem| anyhow!("the parameter {field} {problem}"))
        }
        (Some(_), Some(_)) => Err(anyhow!(
            "the parameters {field} and {path} are both set: clear one of them"
        )),
        (None, None) => Err(anyhow!(
            "the parameter {field} is missing: paste the RSA private key of the integration key, or set {path}"
        )),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use chrono::{DateTime, Utc};

    use super::{Configured, KeySource, NotConfigured, configure};
    use crate::splunk::input_definition::Stanza;
    use crate::splunk::rest::Rest;

    const KEY: &str = include_str!("../../tests/fixtures/test_only_rsa_pkcs1.pem");
    pub(in crate::monitor) const GUID: &str = "1B2C3D4E-0000-4abc-8def-0123456789ab";

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-23T10:00:00.5Z")
            .unwrap()
            .to_utc()
    }

    /// A good stanza with `changes`, without splunkd.
    pub(in crate::monitor) fn configured(
        changes: &[(&str, &str)],
    ) -> Result<Configured, NotConfigured> {
        let mut params = BTreeMap::from(
            [
                ("integration_key", GUID),
                ("user_id", GUID),
                ("private_key", KEY),
                ("unknown", "x"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        for (key, value) in changes {
            params.insert((*key).to_owned(), (*value).to_owned());
        }
        configure(
            Stanza::new("prod".to_owned(), None, params),
            &Rest::none(),
            now(),
        )
    }

    #[test]
    fn every_reason_has_a_type_of_its_own() {
        let reason = |changes: &[(&str, &str)]| configured(changes).err().unwrap();
        assert!(matches!(
            reason(&[("limit", "0")]),
            NotConfigured::Argument(_)
        ));
        assert!(matches!(
            reason(&[("private_key", "******")]),
            NotConfigured::NoSecret(_)
        ));
        assert!(matches!(
            reason(&[("private_key", "s3cret")]),
            NotConfigured::Key(_)
        ));
        // Wrong arguments come first.
        let both = [("private_key", "******"), ("limit", "0")];
        assert!(matches!(reason(&both), NotConfigured::Argument(_)));
    }

    #[test]
    fn the_key_comes_from_the_field_or_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        std::fs::write(&file, KEY).unwrap();
        let path = file.to_str().unwrap();
        let pasted = configured(&[]).unwrap();
        assert_eq!(pasted.key_source, KeySource::Pasted);
        assert!(!pasted.pasted.is_empty());
        let by_file = [("private_key", ""), ("private_key_path", path)];
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o604);
        std::fs::set_permissions(&file, readable).unwrap();
        let by_file_of_all = configured(&by_file).unwrap();
        assert_eq!(by_file_of_all.key_source, KeySource::File);
        assert!(by_file_of_all.notes[0].contains("chmod 600"));
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o640);
        std::fs::set_permissions(&file, private).unwrap();
        assert!(configured(&by_file).unwrap().notes.is_empty());
        let moved = [("private_key", "******"), ("private_key_path", path)];
        let moved = configured(&moved).unwrap();
        assert_eq!(moved.key_source, KeySource::File);
        assert!(moved.pasted.is_empty());
        assert!(configured(&[("private_key_path", path)]).is_err());
        let masked = configured(&[("private_key", "******")]).err().unwrap();
        assert!(
            masked.to_string().contains("DS_MONITOR_PRIVATE_KEY"),
            "{masked}"
        );
        std::fs::write(&file, "no key").unwrap();
        let error = configured(&by_file).err().unwrap().to_string();
        assert!(error.contains(path), "{error}");
    }
}
