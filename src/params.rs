//! The forms that arguments share: GUIDs, base addresses, files and times.
//!
//! Every error names the parameter and the form that is accepted; none repeats the value, which could be a secret in
//! the wrong field.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, SecondsFormat, Utc};

use crate::base::durable;
use crate::docusign::{BaseUrl, is_guid};
use crate::splunk::input_definition::Stanza;
use crate::splunk::scheme::Argument;

/// A file that a parameter names holds a key or certificates.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

const GUID_FORM: &str = "a GUID, for example 1b2c3d4e-0000-4abc-8def-0123456789ab";

/// A GUID in lower case.
///
/// # Errors
/// It is absent, or is no GUID.
pub fn guid(stanza: &Stanza, argument: &Argument) -> Result<String> {
    optional_guid(stanza, argument)?.with_context(|| {
        format!(
            "the parameter {} is missing: enter {GUID_FORM}",
            argument.name
        )
    })
}

/// A GUID in lower case, if there is one.
///
/// # Errors
/// It is no GUID.
pub fn optional_guid(stanza: &Stanza, argument: &Argument) -> Result<Option<String>> {
    let Some(text) = stanza.get(argument) else {
        return Ok(None);
    };
    // Copied from a page, a GUID may bring characters of no width along.
    let guid: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    if !is_guid(&guid) {
        bail!("the parameter {} must be {GUID_FORM}", argument.name);
    }
    Ok(Some(guid.to_ascii_lowercase()))
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}')
}

/// The address of a Docusign server whose paths are all known, or `default` where the parameter is absent.
///
/// # Errors
/// It is not an address that may be called, or has a path.
pub fn docusign_server(stanza: &Stanza, argument: &Argument, default: &str) -> Result<BaseUrl> {
    let server = docusign_url(stanza, argument, default)?;
    if server.has_path() {
        bail!(
            "the parameter {} must be an address without a path, for example {default}",
            argument.name
        );
    }
    Ok(server)
}

/// A base address of Docusign's, or `default` where the parameter is absent.
///
/// # Errors
/// It is not an address that may be called.
pub fn docusign_url(stanza: &Stanza, argument: &Argument, default: &str) -> Result<BaseUrl> {
    let text = stanza.get(argument).unwrap_or(default);
    BaseUrl::parse(text).map_err(|problem| anyhow!("the parameter {} {problem}", argument.name))
}

/// The content of the file that a parameter names.
///
/// # Errors
/// The path is relative, or the file cannot be read.
pub fn file(argument: &Argument, path: &str) -> Result<Vec<u8>> {
    let (path, param) = (Path::new(path), argument.name);
    if !path.is_absolute() {
        bail!(
            "the parameter {param} must be an absolute path: Splunk does not say in which folder it starts inputs"
        );
    }
    durable::read(path, MAX_FILE_BYTES)
        .with_context(|| {
            format!("the file named by {param} cannot be used by the user that Splunk runs as")
        })?
        .with_context(|| {
            format!(
                "the parameter {param} names {}, which does not exist",
                path.display()
            )
        })
}

/// A time as Docusign takes and writes it, for example `2026-01-31T00:00:00Z`.
#[must_use]
pub fn iso(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
