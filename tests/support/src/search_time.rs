//! What becomes of a record at search time, in Splunk's documented order: JSON extraction, calculated fields, lookups,
//! event types, tags.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::conf::{self, AutomaticLookup, conf, stanza};
use super::spl::{Expression, Row, Search, World, lookup_row, parse_eval};

/// Splunk's `KV_MODE = json`: members of objects by their path, elements of arrays under a name with `{}`.
pub fn extract(fields: &mut Row, path: &str, value: &Value) {
    let text = match value {
        Value::Null => return,
        Value::Object(members) => {
            for (name, member) in members {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                extract(fields, &path, member);
            }
            return;
        }
        Value::Array(elements) => {
            for element in elements {
                extract(fields, &format!("{path}{{}}"), element);
            }
            return;
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    fields.entry(path.to_owned()).or_default().push(text);
}

/// Splunk's default for `extraction_cutoff` in limits.conf, in bytes: members that begin behind it are not extracted.
const EXTRACTION_CUTOFF: usize = 5000;

/// The search-time settings of the sourcetype, ready to be applied.
pub struct SearchTime {
    pub evals: Vec<(String, Expression)>,
    lookups: Vec<AutomaticLookup>,
    tables: BTreeMap<String, Vec<Row>>,
    /// Each with its search and its tags.
    event_types: Vec<(String, Search, Vec<String>)>,
}

/// An event as a search finds it.
pub struct Found {
    pub fields: Row,
    pub tags: BTreeSet<String>,
}

impl Found {
    /// The field's one value; nothing if it is absent.
    pub fn get(&self, field: &str) -> &str {
        match self.fields.get(field).map(Vec::as_slice) {
            None => "",
            Some([value]) => value,
            Some(values) => panic!("{field} has several values: {values:?}"),
        }
    }
}

impl SearchTime {
    pub fn read() -> Self {
        let mut evals = vec![];
        let mut lookups = vec![];
        let mut settings = stanza(&conf("props"), "ds_monitor");
        // Splunk applies the settings of a kind by name.
        settings.sort();
        for (key, value) in settings {
            let parsing = [
                "category",
                "description",
                "pulldown_type",
                "CHARSET",
                "SHOULD_LINEMERGE",
                "LINE_BREAKER",
                "TRUNCATE",
                "DATETIME_CONFIG",
                "EVENT_BREAKER_ENABLE",
                "EVENT_BREAKER",
            ];
            match key.split_once('-') {
                Some(("EVAL", field)) => {
                    let eval = parse_eval(&value).unwrap_or_else(|what| panic!("{key}: {what}"));
                    evals.push((field.to_owned(), eval));
                }
                Some(("LOOKUP", _)) => lookups.push(AutomaticLookup::parse(&value)),
                None if key == "KV_MODE" => assert_eq!(value, "json"),
                _ => assert!(
                    parsing.contains(&key.as_str()),
                    "the tests cannot apply {key}"
                ),
            }
        }
        let tables = conf("transforms").into_iter().map(|(name, _)| {
            let rows = conf::rows(&name);
            (name, rows)
        });
        let macros = conf::macros();
        let tags = conf("tags");
        let event_types = conf("eventtypes").into_iter().map(|(name, settings)| {
            let search = conf::setting(&settings, "search").unwrap();
            let search =
                Search::parse(search, &macros).unwrap_or_else(|what| panic!("{name}: {what}"));
            let tags = stanza(&tags, &format!("eventtype={name}"));
            let tags = tags.into_iter().map(|(tag, _)| tag).collect();
            (name, search, tags)
        });
        Self {
            tables: tables.collect(),
            event_types: event_types.collect(),
            evals,
            lookups,
        }
    }

    /// With one more row at the end of a lookup.
    pub fn with_row(mut self, lookup: &str, cells: &[(&str, &str)]) -> Self {
        let row = cells
            .iter()
            .map(|&(column, cell)| (column.to_owned(), vec![cell.to_owned()]));
        self.tables.get_mut(lookup).unwrap().push(row.collect());
        self
    }

    /// The rows of the lookups, as searches find them too.
    pub fn lookups(&self) -> BTreeMap<String, Vec<Row>> {
        self.tables.clone()
    }

    /// The same without one that is large and that no search at hand asks.
    pub fn lookups_without(&self, table: &str) -> BTreeMap<String, Vec<Row>> {
        let others = self.tables.iter().filter(|(name, _)| *name != table);
        others
            .map(|(name, rows)| (name.clone(), rows.clone()))
            .collect()
    }

    /// A record's fields and tags at search time.
    pub fn find(&self, record: &Value) -> Found {
        let mut fields = Row::new();
        let mut end = 0;
        for (name, member) in record.as_object().into_iter().flatten() {
            if end > EXTRACTION_CUTOFF {
                break;
            }
            extract(&mut fields, name, member);
            end += name.len() + member.to_string().len();
        }
        fields.insert("_raw".to_owned(), vec![record.to_string()]);
        fields.insert("sourcetype".to_owned(), vec!["ds_monitor".to_owned()]);

        // Calculated fields do not see each other. One that comes to nothing leaves nothing of a raw field.
        let computed: Vec<_> = self
            .evals
            .iter()
            .map(|(field, eval)| {
                let values = eval
                    .compute(&fields, 0)
                    .and_then(super::spl::Value::into_values);
                (
                    field,
                    values.unwrap_or_else(|what| panic!("EVAL-{field}: {what}")),
                )
            })
            .collect();
        for (field, values) in computed {
            if values.is_empty() {
                fields.remove(field);
            } else {
                fields.insert(field.clone(), values);
            }
        }

        // Nor do lookups.
        let before = fields.clone();
        // Two of them may ask the same of a table of thousands of rows.
        let mut found = BTreeMap::new();
        for lookup in &self.lookups {
            let rows = &self.tables[&lookup.table];
            let key = (&lookup.table, &lookup.inputs);
            let row = *found
                .entry(key)
                .or_insert_with(|| lookup_row(key.0, rows, key.1, &before).unwrap());
            let asked = lookup
                .inputs
                .iter()
                .all(|(_, field)| before.contains_key(field));
            for (column, field) in &lookup.outputs {
                let cell = row.and_then(|row| row.get(column));
                // The specification: OUTPUT clears what an event without a matching row had there.
                if asked && lookup.overwrites && cell.is_none() {
                    fields.remove(field);
                }
                if let Some(cell) = cell
                    && (lookup.overwrites || !fields.contains_key(field))
                {
                    fields.insert(field.clone(), cell.clone());
                }
            }
        }

        let (mut tags, mut names) = (BTreeSet::new(), vec![]);
        let mut world = World {
            events: vec![fields.clone()],
            ..World::default()
        };
        // A search runs on events with a time, which no event type looks at.
        world.events[0].insert("_time".to_owned(), vec!["0".to_owned()]);
        for (name, search, own_tags) in &self.event_types {
            if !search.run(&world).unwrap().is_empty() {
                tags.extend(own_tags.iter().cloned());
                names.push(name.clone());
            }
        }
        for (field, values) in [
            ("eventtype", names),
            ("tag", tags.iter().cloned().collect()),
        ] {
            if !values.is_empty() {
                fields.insert(field.to_owned(), values);
            }
        }
        Found { fields, tags }
    }

    /// A record as an event that searches run on: with the time, the text and the index that Splunk gives it.
    pub fn event(&self, record: &Value) -> Row {
        let mut fields = self.find(record).fields;
        let time = record["timestamp"]
            .as_str()
            .unwrap_or_else(|| panic!("no timestamp: {record}"));
        let time = chrono::DateTime::parse_from_rfc3339(time);
        let time = time.unwrap_or_else(|error| panic!("{error}: {record}"));
        // Splunk keeps milliseconds of the time that the input gives.
        let text = match time.timestamp_subsec_millis() {
            0 => time.timestamp().to_string(),
            millis => format!("{}.{millis:03}", time.timestamp()),
        };
        for (name, value) in [
            ("_time", text),
            ("_raw", record.to_string()),
            ("index", "docusign".to_owned()),
        ] {
            fields.insert(name.to_owned(), vec![value]);
        }
        fields
    }
}
