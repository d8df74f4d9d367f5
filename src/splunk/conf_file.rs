//! An input without splunkd: its stanza from a plain `inputs.conf`, for cron, a systemd timer or a container.
//!
//! `[default]` and the stanza of the kind apply where the input's own stanza says nothing, as in Splunk. Secrets come
//! from the file or from the environment ([`variable`]), never from the command line, which every user of the machine
//! can read. Format: Splunk's manual "Admin", "How to edit a configuration file".

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};

use super::command_line::{CommandOption, Given, nearest};
use super::input_definition::{InputDefinition, MASK, Stanza};
use super::log::{Fields, Log};
use super::rest::Rest;
use super::scheme::{Argument, Scheme};
use crate::base::durable;

/// More than any hand-written configuration has.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// The longest key that a message repeats.
const MAX_KEY_CHARS: usize = 32;

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

/// The file with the stanzas.
pub const CONF: CommandOption = CommandOption {
    name: "conf",
    value: Some("FILE"),
    summary: "the file with the stanzas, an inputs.conf",
    ..CommandOption::SWITCH
};

/// Which stanza.
pub const INPUT: CommandOption = CommandOption {
    name: "input",
    value: Some("NAME"),
    summary: "the name of the input, with or without its kind; run takes several",
    repeats: true,
    ..CommandOption::SWITCH
};

/// All stanzas.
pub const ALL: CommandOption = CommandOption {
    name: "all",
    summary: "every input of the file that is not disabled",
    ..CommandOption::SWITCH
};

/// The folder with the positions.
pub const CHECKPOINT_DIR: CommandOption = CommandOption {
    name: "checkpoint-dir",
    value: Some("DIR"),
    summary: "the folder that keeps the positions; it must exist",
    ..CommandOption::SWITCH
};

/// The inputs of a file that a command line chooses.
#[derive(Debug)]
pub struct Selection {
    conf: PathBuf,
    /// Their names; all that are enabled, if there is none.
    inputs: Vec<String>,
    checkpoint_dir: PathBuf,
}

impl Selection {
    /// The options of a single input as messages show them.
    pub const USAGE: &str = "--conf FILE --input NAME --checkpoint-dir DIR";

    /// The one input with that name.
    #[must_use]
    pub fn single(conf: PathBuf, input: &str, checkpoint_dir: PathBuf) -> Self {
        Self {
            conf,
            inputs: vec![input.to_owned()],
            checkpoint_dir,
        }
    }

    /// What the options choose; `None` if there is none of them. `uses_folder` says whether the folder of the positions
    /// is needed.
    ///
    /// # Errors
    /// Some of the options are there and others are not, or two contradict each other.
    pub fn of(given: &Given, scheme: &Scheme, uses_folder: bool) -> Result<Option<Self>> {
        let conf = given.value(&CONF).map(PathBuf::from);
        let folder = given.value(&CHECKPOINT_DIR).map(PathBuf::from);
        let prefix = scheme.input("");
        let mut inputs = Vec::new();
        for name in given.values(&INPUT).filter_map(OsStr::to_str) {
            let name = name.strip_prefix(&prefix).unwrap_or(name);
            if inputs.iter().any(|other| other == name) {
                bail!("--input names the same input twice");
            }
            inputs.push(name.to_owned());
        }
        let all = given.has(&ALL);
        if conf.is_none() && folder.is_none() && inputs.is_empty() && !all {
            return Ok(None);
        }
        let missing = |option: &CommandOption| {
            anyhow!(
                "--{} is missing: without splunkd an input needs {}",
                option.name,
                Self::USAGE
            )
        };
        let conf = conf.ok_or_else(|| missing(&CONF))?;
        match (inputs.as_slice(), all) {
            ([], false) => bail!(
                "--input is missing: the file {} {}",
                conf.display(),
                existing(&stanzas_of(&conf)?, scheme)
            ),
            ([_, ..], true) => bail!("--all already takes every input: leave out --input"),
            _ => {}
        }
        if folder.is_none() && uses_folder {
            return Err(missing(&CHECKPOINT_DIR));
        }
        Ok(Some(Self {
            conf,
            inputs,
            checkpoint_dir: folder.unwrap_or_default(),
        }))
    }

    /// Whether it can be no more than one input.
    #[must_use]
    pub fn is_single(&self) -> bool {
        self.inputs.len() == 1
    }

    /// Reads the configurations of the inputs that were chosen.
    ///
    /// # Errors
    /// The file cannot be read, is not a configuration, or has no such stanza; no value is ever quoted.
    pub fn read(&self, scheme: &'static Scheme, log: &Log) -> Result<Vec<InputDefinition>> {
        // Made anew where a volume is not mounted, it would hide that the position is elsewhere.
        if !self.checkpoint_dir.as_os_str().is_empty() && !self.checkpoint_dir.is_dir() {
            bail!(
                "the folder {}, named by --checkpoint-dir, does not exist: create it where it outlives the process",
                self.checkpoint_dir.display()
            );
        }
        let path = &self.conf;
        let stanzas = stanzas_of(path)?;
        let names = match self.inputs.as_slice() {
            [] => enabled(&stanzas, scheme),
            names => names.to_vec(),
        };
        if names.is_empty() {
            bail!(
                "the file {} has no stanza [{}NAME] that is not disabled",
                path.display(),
                scheme.input("")
            );
        }
        let definition = |name: String| {
            let input = scheme.input(&name);
            if !stanzas.contains_key(&input) {
                bail!(
                    "the file {} has no stanza [{input}]: it {}",
                    path.display(),
                    existing(&stanzas, scheme)
                );
            }
            let params = params(&stanzas, scheme, &name);
            self.definition(name, params, scheme, &log.for_input(&input))
        };
        names.into_iter().map(definition).collect()
    }

    fn definition(
        &self,
        name: String,
        mut params: BTreeMap<String, String>,
        scheme: &'static Scheme,
        log: &Log,
    ) -> Result<InputDefinition> {
        let path = &self.conf;
        let warn = |sentence: &str| log.warn(&Fields::new().with("action", "configure"), sentence);
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
            checkpoint_dir: self.checkpoint_dir.clone(),
            stanza: Stanza::new(name, None, params),
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
            (key.as_str(), nearest(key, names))
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

/// The stanzas of a file, by their names in brackets.
type Stanzas = BTreeMap<String, BTreeMap<String, String>>;

fn stanzas_of(path: &Path) -> Result<Stanzas> {
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
    stanzas(&text).with_context(|| format!("the file {} is not a configuration", path.display()))
}

/// The parameters that hold for an input.
fn params(stanzas: &Stanzas, scheme: &Scheme, name: &str) -> BTreeMap<String, String> {
    let mut params = BTreeMap::new();
    for stanza in ["default", scheme.kind, &scheme.input(name)] {
        params.extend(stanzas.get(stanza).cloned().unwrap_or_default());
    }
    params
}

/// The names of the kind's inputs.
fn names(stanzas: &Stanzas, scheme: &Scheme) -> Vec<String> {
    let prefix = scheme.input("");
    let names = stanzas.keys().filter_map(|it| it.strip_prefix(&prefix));
    names.map(str::to_owned).collect()
}

/// The names of the kind's inputs that are not disabled.
fn enabled(stanzas: &Stanzas, scheme: &Scheme) -> Vec<String> {
    let mut names = names(stanzas, scheme);
    names.retain(|name| {
        let params = params(stanzas, scheme, name);
        let disabled = params.get("disabled").map(|it| it.to_ascii_lowercase());
        !matches!(disabled.as_deref(), Some("1" | "true" | "t" | "yes" | "y"))
    });
    names
}

/// Which inputs of the kind there are, as the end of a sentence about the file.
fn existing(stanzas: &Stanzas, scheme: &Scheme) -> String {
    let known = names(stanzas, scheme);
    let known: Vec<_> = known.iter().map(|name| scheme.input(name)).collect();
    match known.as_slice() {
        [] => format!("has no stanza [{}]", scheme.input("NAME")),
        known => format!("has [{}]", known.join("], [")),
    }
}

/// Splunk's syntax: stanzas in brackets, `key = value`, `#` comments, a backslash at the end that
/// continues with the next line. What precedes the first stanza belongs to `[default]`.
pub(super) fn stanzas(text: &str) -> Result<Stanzas> {
    let mut stanzas = Stanzas::new();
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
    use super::stanzas;

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
