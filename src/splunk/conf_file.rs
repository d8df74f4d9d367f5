//! An input without splunkd: its stanza from a plain `inputs.conf`, for cron, a systemd timer or a container.
//!
//! `[default]` and the stanza of the kind apply where the input's own stanza says nothing, as in Splunk. Secrets come
//! from the file or from the environment ([`variable`]), never from the command line, which every user of the machine
//! can read. Format: Splunk's manual "Admin", "How to edit a configuration file".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::input_definition::{InputDefinition, MASK, Stanza};
use super::log::{Fields, Log};
use super::rest::Rest;
use super::scheme::{Argument, Scheme};
use crate::base::durable;

/// More than any hand-written configuration has.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The longest key that a message repeats.
const MAX_KEY_CHARS: usize = 32;

/// Letters that may be wrong, missing or swapped in the name of an argument.
const MAX_TYPOS: usize = 3;

/// Keys of every input in Splunk: the file may come from there. Source: inputs.conf.spec.
const SPLUNKS_OWN_KEYS: [&str; 17] = [
    "_TCP_ROUTING",
    "crcSalt",
    "disabled",
    "host",
    "index",
    "interval",
    "persistentQueueSize",
    "python.required",
    "python.version",
    "queue",
    "queueSize",
    "run_introspection",
    "run_only_one",
    "sendEventMaxSizeKB",
    "source",
    "sourcetype",
    "start_by_shell",
];

/// The command line of an input that runs without splunkd.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    conf: PathBuf,
    input: String,
    checkpoint_dir: PathBuf,
}

impl Options {
    /// The options as the help shows them.
    pub const USAGE: &str = "--conf FILE --input NAME --checkpoint-dir DIR";

    /// Takes the three options out of `arguments`; `None` if there is none of them.
    ///
    /// # Errors
    /// Some are there and others are not, or one has no value.
    pub fn take(arguments: &mut Vec<String>) -> Result<Option<Self>> {
        let mut take = |name: &str| -> Result<Option<String>> {
            let Some(at) = arguments.iter().position(|argument| argument == name) else {
                return Ok(None);
            };
            arguments.remove(at);
            if at == arguments.len() || arguments.iter().skip(at).any(|next| next == name) {
                bail!("{name} requires exactly one value");
            }
            Ok(Some(arguments.remove(at)).filter(|value| !value.is_empty()))
        };
        let options = ["--conf", "--input", "--checkpoint-dir"].map(|name| (name, take(name)));
        let mut values = Vec::new();
        let mut missing = None;
        for (name, value) in options {
            match value? {
                Some(value) => values.push(value),
                None => missing = missing.or(Some(name)),
            }
        }
        if values.is_empty() {
            return Ok(None);
        }
        let Ok([conf, input, checkpoint_dir]) = <[String; 3]>::try_from(values) else {
            bail!(
                "{} is missing: without splunkd an input needs {}",
                missing.unwrap_or_default(),
                Self::USAGE
            );
        };
        Ok(Some(Self {
            conf: conf.into(),
            input,
            checkpoint_dir: checkpoint_dir.into(),
        }))
    }

    /// Reads the configuration of the input that the options name.
    ///
    /// # Errors
    /// The file cannot be read, is not a configuration, or has no such stanza; no value is ever quoted.
    pub fn read(self, scheme: &'static Scheme, log: &Log) -> Result<InputDefinition> {
        // Made anew where a volume is not mounted, it would hide that the position is elsewhere.
        if !self.checkpoint_dir.is_dir() {
            bail!(
                "the folder {}, named by --checkpoint-dir, does not exist: create it where it outlives the process",
                self.checkpoint_dir.display()
            );
        }
        let prefix = scheme.input("");
        let name = self.input.strip_prefix(&prefix).unwrap_or(&self.input);
        let path = &self.conf;
        let mut params = params(path, scheme, name)?;
        let warn = |sentence: &str| {
            let fields = Fields::new()
                .with("input", scheme.input(name))
                .with("action", "configure");
            log.warn(&fields, sentence);
        };
        let is_clear = |value: &String| !value.is_empty() && value != MASK;
        let in_file = scheme
            .secrets()
            .any(|secret| params.get(secret.name).is_some_and(is_clear));
        if in_file && can_be_read_by_others(path) {
            warn(&format!(
                "The file {} contains a secret and can be read by other users of this machine: chmod 600, or move the secret to another file or to the environment",
                path.display()
            ));
        }
        for (key, meant) in misspelt(scheme, params.keys()) {
            warn(&format!(
                "The file {} sets {key}, which is no parameter of {} and is ignored{}",
                path.display(),
                scheme.kind,
                meant.map_or(String::new(), |meant| format!(". Did you mean {meant}?"))
            ));
        }
        for secret in scheme.secrets() {
            if let Some(value) = from_environment(scheme, secret)? {
                params.insert(secret.name.to_owned(), value);
            }
        }
        Ok(InputDefinition {
            splunkd: Rest::none(),
            checkpoint_dir: self.checkpoint_dir,
            stanza: Stanza::new(name.to_owned(), None, params),
        })
    }
}

/// The keys that are neither arguments nor Splunk's own, each with the argument that is most like it. What does not
/// look like a key is not named: it may be a piece of a secret.
fn misspelt<'a>(
    scheme: &'static Scheme,
    keys: impl Iterator<Item = &'a String>,
) -> impl Iterator<Item = (&'a str, Option<&'static str>)> {
    let is_key = |key: &&'a String| {
        key.len() <= MAX_KEY_CHARS
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
    };
    let is_known = |key: &&'a String| {
        SPLUNKS_OWN_KEYS.contains(&key.as_str())
            || scheme
                .arguments
                .iter()
                .any(|argument| argument.name == *key)
    };
    keys.filter(is_key)
        .filter(move |key| !is_known(key))
        .map(|key| {
            let names = scheme.arguments.iter().map(|argument| argument.name);
            let distances =
                names.map(|name| (strsim::osa_distance(&key.to_lowercase(), name), name));
            let nearest = distances
                .min()
                .filter(|(distance, _)| *distance <= MAX_TYPOS);
            (key.as_str(), nearest.map(|(_, name)| name))
        })
}

/// The environment variable that may hold a secret argument.
#[must_use]
pub fn variable(scheme: &Scheme, secret: &Argument) -> String {
    format!("{}_{}", scheme.kind, secret.name).to_ascii_uppercase()
}

fn from_environment(scheme: &Scheme, secret: &Argument) -> Result<Option<String>> {
    let name = variable(scheme, secret);
    match std::env::var(&name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.trim().is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            bail!("the environment variable {name} is not text")
        }
    }
}

/// The parameters that hold for an input.
fn params(path: &Path, scheme: &Scheme, name: &str) -> Result<BTreeMap<String, String>> {
    let bytes = durable::read(path, MAX_FILE_BYTES)
        .with_context(|| format!("the file {} cannot be read", path.display()))?
        .with_context(|| {
            format!(
                "the file {}, named by --conf, does not exist",
                path.display()
            )
        })?;
    let text = String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("the file {} is not text", path.display()))?;
    let stanzas = stanzas(&text)
        .with_context(|| format!("the file {} is not a configuration", path.display()))?;
    let input = scheme.input(name);
    if !stanzas.contains_key(&input) {
        let prefix = scheme.input("");
        let known: Vec<_> = stanzas
            .keys()
            .filter(|stanza| stanza.starts_with(&prefix))
            .map(|stanza| format!("[{stanza}]"))
            .collect();
        let there = match known.as_slice() {
            [] => format!("it has no stanza [{prefix}NAME]"),
            known => format!("it has {}", known.join(", ")),
        };
        bail!(
            "the file {} has no stanza [{input}]: {there}",
            path.display()
        );
    }
    let mut params = BTreeMap::new();
    for stanza in ["default", scheme.kind, &input] {
        params.extend(stanzas.get(stanza).cloned().unwrap_or_default());
    }
    Ok(params)
}

/// Splunk's syntax: stanzas in brackets, `key = value`, `#` comments, a backslash at the end that
/// continues with the next line. What precedes the first stanza belongs to `[default]`.
pub(super) fn stanzas(text: &str) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut stanzas: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut stanza = "default".to_owned();
    let mut lines = text.trim_start_matches('\u{FEFF}').lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let Some(name) = name.strip_suffix(']') else {
                bail!(
                    "line {} begins a stanza, but has no ] at its end",
                    number + 1
                );
            };
            name.trim().clone_into(&mut stanza);
            stanzas.entry(stanza.clone()).or_default();
            continue;
        }
        let key_and_value = line.split_once('=');
        let Some((key, value)) = key_and_value.filter(|(key, _)| !key.is_empty()) else {
            bail!("line {} is neither a stanza nor key = value", number + 1);
        };
        let mut value = value.trim().to_owned();
        while value.ends_with('\\') {
            value.pop();
            value.push('\n');
            value.push_str(lines.next().map_or("", |(_, line)| line.trim_end()));
        }
        let params = stanzas.entry(stanza.clone()).or_default();
        params.insert(key.trim().to_owned(), value);
    }
    Ok(stanzas)
}

#[cfg(unix)]
fn can_be_read_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn can_be_read_by_others(_: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::{Options, stanzas};

    fn take(arguments: &[&str]) -> (Result<Option<Options>, String>, Vec<String>) {
        let mut arguments: Vec<_> = arguments.iter().map(|&text| text.to_owned()).collect();
        let taken = Options::take(&mut arguments).map_err(|error| error.to_string());
        (taken, arguments)
    }

    #[test]
    fn the_three_options_come_together_in_any_order() {
        let (taken, rest) = take(&[
            "--to",
            "--input",
            "prod",
            "start",
            "--checkpoint-dir",
            "/c",
            "--conf",
            "/f",
        ]);
        let expected = Options {
            conf: "/f".into(),
            input: "prod".to_owned(),
            checkpoint_dir: "/c".into(),
        };
        assert_eq!(taken, Ok(Some(expected)));
        assert_eq!(rest, ["--to", "start"]);
        assert_eq!(take(&["--to", "start"]).0, Ok(None));
        for (arguments, expected) in [
            (
                &["--conf", "/f", "--input", "prod"][..],
                "--checkpoint-dir is missing",
            ),
            (
                &["--input", "prod", "--checkpoint-dir", "/c"],
                "--conf is missing",
            ),
            (&["--conf"], "--conf requires exactly one value"),
            (
                &["--conf", "/f", "--conf", "/g"],
                "--conf requires exactly one value",
            ),
            (
                &["--conf", "", "--input", "prod", "--checkpoint-dir", "/c"],
                "--conf is missing",
            ),
        ] {
            let error = take(arguments).0.unwrap_err();
            assert!(error.contains(expected), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn a_file_is_read_as_splunk_reads_it() {
        let text = "\u{FEFF}# comment\r\nlimit = 5\r\n\n[ ds_monitor://a b ]\n  user_id=x = y  \nprivate_key = one \\\n  two\\\nthree\n#limit = 7\n[ds_monitor://a b]\nempty =\n";
        let stanzas = stanzas(text).unwrap();
        assert_eq!(stanzas["default"]["limit"], "5");
        let stanza = &stanzas["ds_monitor://a b"];
        assert_eq!(stanza["user_id"], "x = y");
        assert_eq!(stanza["private_key"], "one \n  two\nthree");
        assert_eq!(stanza["empty"], "");
        assert_eq!(stanza.len(), 3);
    }

    #[test]
    fn what_is_not_a_configuration_is_named_by_its_line_and_not_quoted() {
        for (text, expected) in [
            ("[a]\n\nprivate_key s3cret", "line 3 is neither"),
            ("= s3cret", "line 1 is neither"),
            ("[s3cret", "line 1 begins a stanza"),
        ] {
            let error = stanzas(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
}
