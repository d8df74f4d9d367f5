//! Secrets of an input: out of `inputs.conf` and into Splunk's secure storage, `storage/passwords`.
//!
//! One entry holds all secrets of an input, as a JSON object by parameter. A pasted secret is stored, read back and
//! compared, and only then replaced by the mask in its stanza: that edit makes splunkd restart the very process that
//! makes it, so it comes last. Nothing ever moves the other way. Format: Splunk's REST API reference.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use zeroize::Zeroizing;

use super::checkpoint::file_stem;
use super::input_definition::{MASK, Stanza};
use super::rest::{Rest, RestError};
use super::scheme::Scheme;
use crate::base::secret::Secret;

/// Secrets by the name of their parameter.
pub type Secrets = BTreeMap<String, Secret>;

/// The stored secrets of an input; none if nothing is stored for it.
///
/// # Errors
/// Secure storage cannot be read.
pub fn load(splunkd: &Rest, scheme: &Scheme, name: &str) -> Result<Secrets, RestError> {
    let Some(entry) = splunkd.get_one(&entry_path(scheme, &entry_name(scheme, name)))? else {
        return Ok(Secrets::new());
    };
    let Some(text) = entry.text("clear_password") else {
        return Err(RestError::Unusable(
            "the entry of this input in secure storage is there, but splunkd does not show its secret"
                .to_owned(),
        ));
    };
    // What is not what we wrote must not be taken for nothing: the next save would write over it.
    let stored: BTreeMap<String, String> = serde_json::from_str(&text).map_err(|_| {
        RestError::Unusable(
            "the entry of this input in secure storage is unreadable: delete it there and paste the secrets again"
                .to_owned(),
        )
    })?;
    Ok(stored
        .into_iter()
        .map(|(param, secret)| (param, Secret::new(secret)))
        .collect())
}

/// Moves `pasted` secrets to secure storage and masks them in the saved stanza.
///
/// # Errors
/// A step failed. The secrets are then still in `inputs.conf`, and moving them can be tried again.
pub fn move_to_storage(
    splunkd: &Rest,
    scheme: &Scheme,
    stanza: &Stanza,
    pasted: &Secrets,
) -> Result<()> {
    let stored = load(splunkd, scheme, &stanza.name).context("could not read secure storage")?;
    let mut all = stored.clone();
    all.extend(pasted.clone());
    if all != stored {
        save(splunkd, scheme, &stanza.name, &all)?;
    }
    mask(splunkd, scheme, stanza).context("could not mask it in the stanza")
}

fn save(splunkd: &Rest, scheme: &Scheme, name: &str, secrets: &Secrets) -> Result<()> {
    let exposed: BTreeMap<_, _> = secrets
        .iter()
        .map(|(param, secret)| (param, secret.expose()))
        .collect();
    let json = Zeroizing::new(serde_json::to_string(&exposed)?);
    let user = file_stem(&scheme.input(name));
    let create = [
        ("name", user.as_str()),
        ("realm", scheme.app),
        ("password", json.as_str()),
    ];
    match splunkd.post(&storage_path(scheme), &create) {
        Err(error) if error.status() == Some(ALREADY_THERE) => splunkd.post(
            &entry_path(scheme, &entry_name(scheme, name)),
            &[("password", json.as_str())],
        ),
        other => other,
    }
    .context("could not write to secure storage")?;
    if load(splunkd, scheme, name).context("could not read secure storage")? != *secrets {
        bail!("secure storage does not return what was written to it");
    }
    Ok(())
}

/// splunkd's answer to creating what exists.
const ALREADY_THERE: u16 = 409;

/// Replaces every secret by the mask. All other arguments go along, because splunkd may take an absent one for an
/// empty one.
fn mask(splunkd: &Rest, scheme: &Scheme, stanza: &Stanza) -> Result<(), RestError> {
    let form: Vec<_> = scheme
        .arguments
        .iter()
        .filter_map(|argument| {
            let value = stanza.get(argument)?;
            Some((argument.name, if argument.secret { MASK } else { value }))
        })
        .collect();
    let app = stanza.app.as_deref().unwrap_or(scheme.app);
    let path = ["servicesNS", "nobody", app, "data", "inputs"];
    let [a, b, c, d, e] = path;
    splunkd.post(&[a, b, c, d, e, scheme.kind, &stanza.name], &form)
}

fn storage_path(scheme: &Scheme) -> [&str; 5] {
    ["servicesNS", "nobody", scheme.app, "storage", "passwords"]
}

fn entry_path<'a>(scheme: &'a Scheme, entry: &'a str) -> [&'a str; 6] {
    let [a, b, c, d, e] = storage_path(scheme);
    [a, b, c, d, e, entry]
}

/// `realm:user:`, made only of characters that splunkd need not escape.
fn entry_name(scheme: &Scheme, name: &str) -> String {
    format!("{}:{}:", scheme.app, file_stem(&scheme.input(name)))
}
