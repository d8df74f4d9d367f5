//! Secrets of an input: out of `inputs.conf` and into Splunk's secure storage, `storage/passwords`.
//!
//! All secrets of an input lie in one entry, a JSON object by parameter. A pasted secret is stored, read back and
//! compared, and only then replaced by the mask in its stanza; that edit makes splunkd restart the very process that
//! makes it, so it comes last. Nothing is ever moved the other way. Format: Splunk's REST API reference.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, bail};

use super::checkpoint::file_stem;
use super::conf;
use super::input_definition::{InputDefinition, MASK, Stanza};
use super::rest::{Rest, RestError};
use super::scheme::Scheme;
use crate::secret::Secret;

/// The app that owns the entries, and their realm.
const APP: &str = "ds_monitor";

/// Secrets by the name of their parameter.
pub type Secrets = BTreeMap<String, Secret>;

/// [`unmask`] for the stanza of a run, which without splunkd must have no mask.
///
/// # Errors
/// There is a mask, but nothing that could be put in its place.
pub fn unmask_input(
    rest: &Result<Rest>,
    scheme: &Scheme,
    definition: &mut InputDefinition,
) -> Result<()> {
    if definition.standalone {
        return conf::require_secrets(scheme, &definition.stanza);
    }
    unmask(rest, scheme, &mut definition.stanza)
}

/// Puts the stored secrets in the place of the masks in `stanza`. Masks without a stored secret stay.
///
/// # Errors
/// There is a mask, but secure storage cannot be read.
pub fn unmask(rest: &Result<Rest>, scheme: &Scheme, stanza: &mut Stanza) -> Result<()> {
    let masked = stanza.masked(scheme);
    if masked.is_empty() {
        return Ok(());
    }
    let stored = match rest {
        Ok(rest) => load(rest, &scheme.input(&stanza.name)).map_err(anyhow::Error::new),
        Err(error) => Err(anyhow!("{error:#}")),
    }
    .context("the stored secrets of the input cannot be read")?;
    for param in masked {
        if let Some(secret) = stored.get(param) {
            stanza.set(param, secret.expose());
        }
    }
    Ok(())
}

/// The secrets that stand in `stanza` in clear text. Asked for before [`unmask`] adds others.
#[must_use]
pub fn pasted(scheme: &Scheme, stanza: &Stanza) -> Secrets {
    scheme
        .secrets()
        .filter_map(|param| Some((param, stanza.get(param)?)))
        .filter(|(_, value)| *value != MASK)
        .map(|(param, value)| (param.to_owned(), Secret::new(value.to_owned())))
        .collect()
}

/// Moves `pasted` secrets to secure storage and masks them in the saved stanza; `stanza` itself keeps them for this
/// run.
///
/// # Errors
/// A step failed. The secrets then still stand in `inputs.conf`, and the next run tries again.
pub fn move_to_storage(
    rest: &Rest,
    scheme: &Scheme,
    stanza: &Stanza,
    pasted: Secrets,
) -> Result<()> {
    let input = scheme.input(&stanza.name);
    let stored = load(rest, &input).context("could not read secure storage")?;
    let mut all = stored.clone();
    all.extend(pasted);
    if all != stored {
        save(rest, &input, &all)?;
    }
    mask(rest, scheme, stanza).context("could not mask it in the stanza")
}

fn load(rest: &Rest, input: &str) -> Result<Secrets, RestError> {
    let Some(entry) = rest.get_one(&entry_path(&entry_name(input)))? else {
        return Ok(Secrets::new());
    };
    let Some(text) = entry.text("clear_password") else {
        return Err(RestError::of(
            "the entry of this input in secure storage is there, but splunkd does not show its secret",
        ));
    };
    let stored: BTreeMap<String, String> = serde_json::from_str(&text).unwrap_or_default();
    Ok(stored
        .into_iter()
        .map(|(param, secret)| (param, Secret::new(secret)))
        .collect())
}

fn save(rest: &Rest, input: &str, secrets: &Secrets) -> Result<()> {
    let exposed: BTreeMap<_, _> = secrets
        .iter()
        .map(|(param, secret)| (param, secret.expose()))
        .collect();
    let json = Secret::new(serde_json::to_string(&exposed)?);
    let user = file_stem(input);
    let create = [
        ("name", user.as_str()),
        ("realm", APP),
        ("password", json.expose()),
    ];
    match rest.post(&STORAGE, &create) {
        Err(error) if error.status == Some(409) => rest.post(
            &entry_path(&entry_name(input)),
            &[("password", json.expose())],
        ),
        other => other,
    }
    .context("could not write to secure storage")?;
    if load(rest, input).context("could not read secure storage")? != *secrets {
        bail!("secure storage does not give back what was written to it");
    }
    Ok(())
}

/// Shows the mask in the place of every secret. All other arguments are sent along, because splunkd may take an
/// absent one for an empty one.
fn mask(rest: &Rest, scheme: &Scheme, stanza: &Stanza) -> Result<(), RestError> {
    let form: Vec<_> = scheme
        .arguments
        .iter()
        .filter_map(|argument| {
            let value = stanza.get(argument.name)?;
            Some((argument.name, if argument.secret { MASK } else { value }))
        })
        .collect();
    let app = stanza.app.as_deref().unwrap_or(APP);
    rest.post(
        &[
            "servicesNS",
            "nobody",
            app,
            "data",
            "inputs",
            scheme.kind,
            &stanza.name,
        ],
        &form,
    )
}

const STORAGE: [&str; 5] = ["servicesNS", "nobody", APP, "storage", "passwords"];

fn entry_path(name: &str) -> [&str; 6] {
    let [a, b, c, d, e] = STORAGE;
    [a, b, c, d, e, name]
}

/// `realm:user:`, of characters only that splunkd need not escape.
fn entry_name(input: &str) -> String {
    format!("{APP}:{}:", file_stem(input))
}
