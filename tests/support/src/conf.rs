//! The files of `default/` that Splunk reads, read the same way: stanzas, settings, continuation lines; and the lookups.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use super::spl::{Macro, Macros, Row};

/// A conf file: its stanzas in order, each with its settings in order.
pub type Conf = Vec<(String, Vec<(String, String)>)>;

pub fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A conf file as Splunk reads it: a backslash at the end of a line continues it.
pub fn conf(name: &str) -> Conf {
    conf_file(&format!("default/{name}.conf"))
}

/// The same, wherever it lies.
pub fn conf_file(name: &str) -> Conf {
    // Read once for a process: the tests ask for the same few files thousands of times.
    static KNOWN: Mutex<BTreeMap<String, Conf>> = Mutex::new(BTreeMap::new());
    let known = KNOWN.lock().unwrap().get(name).cloned();
    known.unwrap_or_else(|| {
        let conf = parse(name, &read(name));
        KNOWN.lock().unwrap().insert(name.to_owned(), conf.clone());
        conf
    })
}

fn parse(name: &str, text: &str) -> Conf {
    let mut conf: Conf = vec![];
    for line in text.lines() {
        let blanks = line.strip_suffix(|c: char| c.is_whitespace());
        assert!(blanks.is_none(), "{name}: blanks at the end: {line}");
    }
    for line in text
        .replace("\\\n", "\n\u{1}")
        .replace("\n\u{1}", " ")
        .lines()
    {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(stanza) = line.strip_prefix('[') {
            let stanza = stanza.strip_suffix(']').unwrap().to_owned();
            assert!(conf.iter().all(|(known, _)| *known != stanza), "[{stanza}]");
            conf.push((stanza, vec![]));
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .unwrap_or_else(|| panic!("{name}: {line}"));
        let (_, settings) = conf
            .last_mut()
            .unwrap_or_else(|| panic!("{name}: outside of a stanza: {line}"));
        let key = key.trim().to_owned();
        assert!(settings.iter().all(|(known, _)| *known != key), "{key}");
        settings.push((key, value.trim().to_owned()));
    }
    conf
}

/// The settings of one stanza.
pub fn stanza(conf: &Conf, name: &str) -> Vec<(String, String)> {
    let found = conf.iter().find(|(stanza, _)| stanza == name);
    found
        .unwrap_or_else(|| panic!("[{name}] is missing"))
        .1
        .clone()
}

pub fn setting<'a>(settings: &'a [(String, String)], key: &str) -> Option<&'a str> {
    let found = settings.iter().find(|(known, _)| known == key);
    found.map(|(_, value)| value.as_str())
}

/// A `LOOKUP-` setting.
pub struct AutomaticLookup {
    pub table: String,
    /// Column and field.
    pub inputs: Vec<(String, String)>,
    pub overwrites: bool,
    pub outputs: Vec<(String, String)>,
}

impl AutomaticLookup {
    pub fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split_whitespace().collect();
        let at = words.iter().position(|word| word.starts_with("OUTPUT"));
        let at = at.unwrap_or_else(|| panic!("OUTPUT or OUTPUTNEW is missing: {text}"));
        assert!(["OUTPUT", "OUTPUTNEW"].contains(&words[at]), "{text}");
        Self {
            table: words[0].to_owned(),
            inputs: pairs(&words[1..at]),
            overwrites: words[at] == "OUTPUT",
            outputs: pairs(&words[at + 1..]),
        }
    }
}

/// `column AS field` or only `column`, any number of times.
fn pairs(words: &[&str]) -> Vec<(String, String)> {
    let mut pairs = vec![];
    let mut rest = words;
    loop {
        rest = match rest {
            [] => return pairs,
            [column, "AS", field, rest @ ..] => {
                pairs.push(((*column).to_owned(), (*field).to_owned()));
                rest
            }
            [column, rest @ ..] => {
                pairs.push(((*column).to_owned(), (*column).to_owned()));
                rest
            }
        };
    }
}

pub fn automatic_lookups(settings: &[(String, String)]) -> Vec<AutomaticLookup> {
    let lookups = settings
        .iter()
        .filter(|(key, _)| key.starts_with("LOOKUP-"));
    lookups
        .map(|(_, value)| AutomaticLookup::parse(value))
        .collect()
}

/// A lookup's file: its columns and rows.
pub fn table(lookup: &str) -> (Vec<String>, Vec<BTreeMap<String, String>>) {
    let transforms = conf("transforms");
    let settings = stanza(&transforms, lookup);
    let Some(file) = setting(&settings, "filename") else {
        // A collection of the KV store is empty as shipped.
        let columns = setting(&settings, "fields_list").unwrap().split(", ");
        return (columns.map(str::to_owned).collect(), vec![]);
    };
    let text = read(&format!("lookups/{file}"));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        columns
            .iter()
            .cloned()
            .zip(row.iter().map(str::to_owned))
            .collect()
    });
    let rows = rows.collect();
    (columns, rows)
}

/// The lookups that are collections of the KV store.
pub fn collections() -> BTreeSet<String> {
    let transforms = conf("transforms").into_iter();
    let found =
        transforms.filter(|(_, settings)| setting(settings, "external_type") == Some("kvstore"));
    found.map(|(lookup, _)| lookup).collect()
}

/// The macros of macros.conf.
pub fn macros() -> Macros {
    let found = conf("macros").into_iter().map(|(name, settings)| {
        let arguments = setting(&settings, "args").unwrap_or_default();
        let arguments = arguments
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty());
        let arguments: Vec<String> = arguments.map(str::to_owned).collect();
        if let Some((_, count)) = name.split_once('(') {
            assert_eq!(count, format!("{})", arguments.len()), "[{name}]");
        } else {
            assert!(arguments.is_empty(), "[{name}] has args");
        }
        assert_eq!(setting(&settings, "iseval").unwrap_or("0"), "0", "[{name}]");
        let definition = setting(&settings, "definition").unwrap().to_owned();
        (
            name,
            Macro {
                arguments,
                definition,
            },
        )
    });
    found.collect()
}

/// The rows of a lookup as a search finds them: an empty cell is no value.
pub fn rows(lookup: &str) -> Vec<Row> {
    let rows = table(lookup).1.into_iter().map(|row| {
        let filled = row.into_iter().filter(|(_, cell)| !cell.is_empty());
        filled.map(|(column, cell)| (column, vec![cell])).collect()
    });
    rows.collect()
}
