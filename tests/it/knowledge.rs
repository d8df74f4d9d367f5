//! The files of `default/` that Splunk reads, read the same way: stanzas, settings, continuation lines.
//!
//! Splunk ignores what it does not know and finds nothing for a name that is misspelled, both without a word. So
//! every name that a setting or a search uses must be known here: a word that is neither SPL nor a field of the
//! records, of the log lines, of a lookup, or made by the search itself fails the test.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::conf::{automatic_lookups, conf, read, setting, stanza, table};
use crate::support::spl::matches;

/// What a record of Docusign Monitor can hold, as Splunk names it.
pub(crate) const RAW_FIELDS: [&str; 47] = [
    "timestamp",
    "eventId",
    "site",
    "accountId",
    "organizationId",
    "userId",
    "integratorKey",
    "userAgent",
    "ipAddress",
    "ipAddressLocation.latitude",
    "ipAddressLocation.longitude",
    "ipAddressLocation.country",
    "ipAddressLocation.state",
    "ipAddressLocation.city",
    "object",
    "action",
    "property",
    "field",
    "result",
    "source",
    "isUserMemberOfDomain",
    "referencedUserIsMemberOfDomain",
    "referencedUserId",
    "proxyStatus",
    "proxyType",
    "proxyLevel",
    "latitude",
    "longitude",
    "city",
    "state",
    "country",
    "device",
    "browser",
    "os",
    "affectedUserId",
    "affectedUserIsMemberOfDomain",
    "data.AffectedUserId",
    "data.AffectedMembershipId",
    "data.PermissionProfileId",
    "data.EnvelopeId",
    "data.TemplateId",
    "data.GroupId",
    "data.SettingsKey",
    "data.EventIds{}",
    "data.Count",
    "data.Severity",
    "data.SignerIp",
];

/// Settings that Splunk knows, as far as this app uses them; one that ends in `-` is the beginning of its name.
const SETTINGS: [(&str, &[&str]); 7] = [
    (
        "props",
        &[
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
            "KV_MODE",
            "EVAL-",
            "LOOKUP-",
        ],
    ),
    (
        "transforms",
        &[
            "filename",
            "match_type",
            "case_sensitive_match",
            "max_matches",
        ],
    ),
    ("macros", &["definition", "iseval", "args"]),
    ("eventtypes", &["search", "description"]),
    ("tags", TAGS),
    (
        "savedsearches",
        &[
            "search",
            "description",
            "disabled",
            "enableSched",
            "cron_schedule",
            "dispatch.earliest_time",
            "dispatch.latest_time",
            "counttype",
            "relation",
            "quantity",
            "alert.track",
            "alert.digest_mode",
            "alert.severity",
            "alert.suppress",
            "alert.suppress.fields",
            "alert.suppress.period",
        ],
    ),
    (
        "app",
        &[
            "is_configured",
            "is_visible",
            "label",
            "author",
            "description",
            "version",
            "id",
            "check_for_updates",
            "name",
            "state_change_requires_restart",
            "build",
        ],
    ),
];

/// The tags by which CIM's data models find events.
const TAGS: &[&str] = &[
    "authentication",
    "change",
    "account",
    "audit",
    "alert",
    "data",
    "access",
];

#[test]
fn every_setting_is_one_that_splunk_knows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("default");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let conf = conf(name);
        if name == "inputs" {
            // Its settings are compared with the declaration of the arguments in `tidy`.
            continue;
        }
        let (_, known) = SETTINGS
            .iter()
            .find(|(conf, _)| *conf == name)
            .unwrap_or_else(|| panic!("{name}.conf is not known"));
        for (stanza, settings) in &conf {
            assert_ne!(stanza, "default", "{name}.conf");
            assert!(!settings.is_empty(), "{name}.conf [{stanza}] is empty");
            for (key, value) in settings {
                let is_known = known.iter().any(|known| match known.strip_suffix('-') {
                    Some(class) => key.strip_prefix(class).is_some_and(|rest| rest.len() > 1),
                    None => key == known,
                });
                assert!(is_known, "{name}.conf [{stanza}] {key}");
                assert!(!value.is_empty(), "{name}.conf [{stanza}] {key} is empty");
            }
        }
    }
    let sourcetypes: Vec<String> = conf("props")
        .into_iter()
        .map(|(stanza, _)| stanza)
        .collect();
    assert_eq!(
        sourcetypes,
        [
            "ds_monitor",
            "ds_monitor:user",
            "ds_monitor:account",
            "ds_monitor:refresh"
        ]
    );
}

#[test]
fn every_kind_of_knowledge_is_exported() {
    let meta = read("metadata/default.meta");
    for kind in [
        "props",
        "transforms",
        "lookups",
        "eventtypes",
        "tags",
        "macros",
    ] {
        assert!(
            meta.contains(&format!("[{kind}]\nexport = system\n")),
            "{kind}"
        );
    }
    assert!(!meta.contains("[savedsearches]"));
}

#[test]
fn every_lookup_has_its_file_and_every_column_exists() {
    let transforms = conf("transforms");
    for (lookup, settings) in &transforms {
        let (columns, _) = table(lookup);
        let wildcards = setting(settings, "match_type").unwrap_or_default();
        for wildcard in wildcards.split(", ").filter(|text| !text.is_empty()) {
            let column = wildcard
                .strip_prefix("WILDCARD(")
                .unwrap()
                .strip_suffix(')')
                .unwrap();
            assert!(
                columns.iter().any(|known| known == column),
                "{lookup}: {wildcard}"
            );
        }
        assert_eq!(setting(settings, "max_matches"), Some("1"), "{lookup}");
        assert_eq!(
            setting(settings, "case_sensitive_match"),
            Some("false"),
            "{lookup}"
        );
    }
    for (_, settings) in conf("props") {
        for lookup in automatic_lookups(&settings) {
            let (columns, _) = table(&lookup.table);
            for (column, _) in lookup.inputs.iter().chain(&lookup.outputs) {
                assert!(columns.contains(column), "{} has no {column}", lookup.table);
            }
        }
    }
}

/// EVALs run side by side and see raw fields only; lookups see what EVALs have computed, and nothing of each other.
#[test]
fn no_lookup_feeds_another_and_each_reads_a_field_that_is_there() {
    let props = conf("props");
    let settings = stanza(&props, "ds_monitor");
    let lookups = automatic_lookups(&settings);
    let found: HashSet<&String> = lookups
        .iter()
        .flat_map(|lookup| lookup.outputs.iter().map(|(_, field)| field))
        .collect();
    let computed: HashSet<&str> = settings
        .iter()
        .filter_map(|(key, _)| key.strip_prefix("EVAL-"))
        .collect();
    for lookup in &lookups {
        for (_, field) in &lookup.inputs {
            assert!(
                !found.contains(field),
                "{field} comes from a lookup and feeds {}",
                lookup.table
            );
            assert!(
                computed.contains(field.as_str()) || RAW_FIELDS.contains(&field.as_str()),
                "{} reads {field}, which nothing makes",
                lookup.table
            );
        }
        // What the record itself or an EVAL says is overwritten only on purpose.
        for (_, field) in &lookup.outputs {
            let raw = RAW_FIELDS.contains(&field.as_str()) && !computed.contains(field.as_str());
            assert!(
                !raw || lookup.overwrites,
                "{field} of the record would stay"
            );
        }
    }
}

#[test]
fn the_table_of_events_is_in_order_and_complete() {
    let (columns, rows) = table("ds_actions");
    let allowed: [(&str, &[&str]); 8] = [
        ("outcome", &["success", "failure", "*"]),
        (
            "data_model",
            &["Authentication", "Change", "Alerts", "Data_Access", "none"],
        ),
        ("data_model_node", &["", "Account_Management", "Auditing"]),
        ("status", &["success", "failure", ""]),
        ("type", &["alert", ""]),
        (
            "severity",
            &["critical", "high", "medium", "low", "informational"],
        ),
        ("known", &["yes", "no"]),
        ("basis", &["verified", "inferred"]),
    ];
    let mut seen: Vec<[String; 3]> = vec![];
    for row in &rows {
        let key = ["object", "action", "outcome"].map(|column| row[column].to_lowercase());
        assert!(!seen.contains(&key), "{key:?} comes twice");
        // A pattern hides what comes after it, so nothing may stand behind one that covers it.
        for earlier in &seen {
            let hidden = earlier
                .iter()
                .zip(&key)
                .all(|(pattern, text)| matches(pattern, text));
            assert!(!hidden, "{key:?} is hidden by {earlier:?}");
        }
        seen.push(key.clone());
        for (column, values) in allowed {
            assert!(values.contains(&row[column].as_str()), "{key:?} {column}");
        }
        for column in ["event_name", "cim_action", "object_category", "meaning"] {
            assert!(!row[column].is_empty(), "{key:?} {column}");
        }
        assert!(row["meaning"].ends_with('.'), "{key:?}");
        let exact = !key[..2].iter().any(|text| text.contains('*'));
        assert!(
            exact || row["basis"] == "inferred",
            "{key:?}: a pattern has not been seen"
        );
        let change = row["data_model"] == "Change";
        assert_eq!(
            change,
            !row["change_type"].is_empty(),
            "{key:?} change_type"
        );
        assert!(
            !change || !row["object_attrs"].is_empty(),
            "{key:?} object_attrs"
        );
        assert!(
            change || row["data_model_node"].is_empty(),
            "{key:?} data_model_node"
        );
        assert_eq!(
            row["data_model"] == "Alerts",
            row["type"] == "alert",
            "{key:?} type"
        );
        assert!(columns.len() == row.len());
    }
    let last = seen.last().unwrap();
    assert_eq!(
        last,
        &["*", "*", "*"].map(str::to_owned),
        "the last row takes everything"
    );
}

/// What reference material has seen as tokens, in Docusign's own samples or in the queries of other integrations.
#[test]
fn every_pair_that_has_been_seen_has_a_row_of_its_own() {
    let seen = [
        "Account/UserAdded",
        "Account/AddAdministrator",
        "Account/Created",
        "Account/Updated",
        "Account/Deleted",
        "Envelope/Created",
        "Envelope/Sent",
        "Envelope/Updated",
        "Envelope/Deleted",
        "Template/Created",
        "Template/Updated",
        "Template/Deleted",
        "Group/Deleted",
        "Alert/SameSenderAndSigner",
        "Alert/IpAddressOutsideAllowedRanges",
        "Alert/TooManyLoginFailures",
        "Alert/CredentialLeakDetected",
    ];
    let (_, rows) = table("ds_actions");
    let verified = rows.iter().filter(|row| row["basis"] == "verified");
    let verified: BTreeSet<String> = verified
        .map(|row| format!("{}/{}", row["object"], row["action"]))
        .collect();
    assert_eq!(verified, seen.map(str::to_owned).into());
}

#[test]
fn every_event_type_begins_with_the_sourcetype_and_has_tags() {
    let types = conf("eventtypes");
    let tags = conf("tags");
    let (columns, rows) = table("ds_actions");
    for (name, settings) in &types {
        let search = setting(settings, "search").unwrap();
        assert!(name.starts_with("ds_monitor_"), "{name}");
        let rest = search.strip_prefix("sourcetype=ds_monitor ");
        let rest = rest.unwrap_or_else(|| panic!("{name}: {search}"));
        assert!(!search.contains(['|', '[', '`']), "{name}: {search}");
        for term in rest.split(' ') {
            let (field, value) = term
                .split_once('=')
                .unwrap_or_else(|| panic!("{name}: {term}"));
            assert!(
                columns.iter().any(|column| column == field),
                "{name}: {field}"
            );
            assert!(
                rows.iter().any(|row| row[field] == value),
                "{name}: no row has {term}"
            );
        }
        stanza(&tags, &format!("eventtype={name}"));
    }
    for (tagged, values) in &tags {
        let name = tagged.strip_prefix("eventtype=").unwrap();
        stanza(&types, name);
        assert!(values.iter().all(|(_, value)| value == "enabled"), "{name}");
    }
}

#[test]
fn every_saved_search_is_off_and_bounded() {
    for (name, settings) in conf("savedsearches") {
        let is_named = ["Docusign Monitor - ", "Docusign Detection - "];
        assert!(is_named.iter().any(|start| name.starts_with(start)), "{name}");
        let get = |key| setting(&settings, key);
        assert!(
            get("description").is_some_and(|text| text.ends_with('.')),
            "{name}"
        );
        assert!(get("dispatch.earliest_time").is_some(), "{name}");
        assert!(get("dispatch.latest_time").is_some(), "{name}");
        assert_eq!(
            get("enableSched").is_some(),
            get("cron_schedule").is_some(),
            "{name}"
        );
        let Some(cron) = get("cron_schedule") else {
            continue;
        };
        assert_eq!(get("disabled"), Some("1"), "{name}");
        let parts: Vec<&str> = cron.split(' ').collect();
        assert_eq!(parts.len(), 5, "{name}: {cron}");
        for (part, most) in parts.iter().zip([59, 23, 31, 12, 7]) {
            for number in part.split(',').filter(|&number| number != "*") {
                assert!(number.parse::<u32>().unwrap() <= most, "{name}: {cron}");
            }
        }
        let runs = parts[0].split(',').count();
        assert!(parts[0] != "*" && runs <= 12, "{name}: {cron}");
    }
}

/// Every search that people or Splunk run: where it stands, and its text.
fn searches() -> Vec<(String, String)> {
    let mut searches = vec![];
    for (name, settings) in conf("macros") {
        let definition = setting(&settings, "definition").unwrap();
        searches.push((format!("macros.conf [{name}]"), definition.to_owned()));
    }
    for (name, settings) in conf("savedsearches") {
        let search = setting(&settings, "search").unwrap();
        searches.push((format!("savedsearches.conf [{name}]"), search.to_owned()));
    }
    for (name, settings) in conf("eventtypes") {
        let search = setting(&settings, "search").unwrap();
        searches.push((format!("eventtypes.conf [{name}]"), search.to_owned()));
    }
    searches.extend(searches_of_a_page("README.md", &read("README.md")));
    searches
}

/// The searches of a page of text: in its blocks, a line that begins with an index or a macro, with the indented
/// lines below it.
fn searches_of_a_page(name: &str, text: &str) -> Vec<(String, String)> {
    let mut searches: Vec<(String, String)> = vec![];
    for block in text.split("\n```").skip(1).step_by(2) {
        let mut in_search = false;
        for line in block.lines().skip(1) {
            let begins = ["index=", "`ds_monitor", "| tstats", "eventtype=", "tag="];
            if begins.iter().any(|start| line.starts_with(start)) {
                searches.push((format!("{name}: {line}"), line.to_owned()));
                in_search = true;
            } else if in_search && line.starts_with(' ') {
                let (_, search) = searches.last_mut().unwrap();
                search.push_str(line);
            } else {
                in_search = false;
            }
        }
    }
    searches
}

fn page_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            page_files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn every_macro_exists() {
    let macros = conf("macros");
    let mut texts = searches();
    let mut pages = vec![];
    page_files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("default/data"),
        &mut pages,
    );
    for page in pages {
        texts.push((
            page.display().to_string(),
            fs::read_to_string(&page).unwrap(),
        ));
    }
    let mut used = HashSet::new();
    for (place, text) in &texts {
        let quoted: Vec<&str> = text.split('`').collect();
        assert!(quoted.len() % 2 == 1, "{place}: a single backtick");
        for name in quoted.iter().skip(1).step_by(2) {
            let (name, _) = name.split_once('(').unwrap_or((name, ""));
            assert!(
                macros.iter().any(|(known, _)| known == name),
                "{place}: {name}"
            );
            used.insert(name.to_owned());
        }
    }
    for required in ["ds_monitor_index", "ds_monitor_events", "ds_monitor_log"] {
        stanza(&macros, required);
    }
}

/// Words of SPL: commands, their options, functions, clauses and what Splunk itself puts into every event.
const SPL: &[&str] = &[
    // Commands.
    "append",
    "convert",
    "dedup",
    "eval",
    "eventstats",
    "fields",
    "fieldformat",
    "fillnull",
    "inputlookup",
    "lookup",
    "mvexpand",
    "outputlookup",
    "rename",
    "rest",
    "search",
    "sort",
    "stats",
    "table",
    "timechart",
    "top",
    "where",
    "tstats",
    "head",
    "join",
    // Options and clauses.
    "AS",
    "BY",
    "AND",
    "OR",
    "NOT",
    "IN",
    "OUTPUT",
    "keepempty",
    "value",
    "splunk_server",
    "local",
    "override_if_empty",
    "span",
    "limit",
    "true",
    "false",
    "summariesonly",
    "from",
    "datamodel",
    "type",
    "left",
    "useother",
    // Functions.
    "case",
    "coalesce",
    "count",
    "ctime",
    "dc",
    "if",
    "isnotnull",
    "isnull",
    "latest",
    "max",
    "min",
    "mvappend",
    "mvdedup",
    "now",
    "null",
    "relative_time",
    "strftime",
    "sum",
    "values",
    "round",
    // Values and what only a search of events begins with.
    "_internal",
    "splunkd",
    "log_level",
    "eventtype",
    "tag",
    // Words in splunkd's log.
    "ExecProcessor",
    "ModularInputs",
    "WARN",
    "ERROR",
    "FATAL",
];

/// The fields of the log lines and the values of `action` in them, as the sources write them.
fn words_of_the_log() -> HashSet<String> {
    let mut files = vec![];
    page_files(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    let mut words = HashSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let mut note = |after: &str| {
            for part in text.split(after).skip(1) {
                let part = part.trim_start();
                let word = part.strip_prefix('"').and_then(|part| part.split_once('"'));
                words.extend(word.map(|(word, _)| word.to_owned()));
            }
        };
        for after in [
            ".with(",
            ".with_some(",
            "with(\"action\",",
            "fields(",
            "action(",
        ] {
            note(after);
        }
    }
    words
}

/// The words of a search: names, quoted texts, and single signs.
fn words(search: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![];
    let mut rest = search;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' | '`' | '\'' => {
                2 + rest[1..]
                    .find(first)
                    .unwrap_or_else(|| panic!("{first} is not closed: {search}"))
            }
            c if c.is_alphanumeric() || c == '_' || c == '/' => rest
                .find(|c: char| !(c.is_alphanumeric() || "_.{}:/-".contains(c)))
                .unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        if !word.trim().is_empty() {
            words.push(word.to_owned());
        }
        rest = after;
    }
    words
}

/// Reads a search from left to right, with the fields that exist at each place.
struct Reader<'a> {
    place: &'a str,
    words: &'a [String],
    /// What a search of events or log lines begins with.
    origin: &'a HashSet<String>,
    values: &'a HashSet<String>,
    /// The columns of every lookup.
    tables: &'a BTreeMap<String, Vec<String>>,
}

impl Reader<'_> {
    /// Reads until the end of the search or of the subsearch, and returns what fields are left, and where it ends.
    fn read(&self, mut at: usize) -> (HashSet<String>, usize) {
        let mut fields = self.origin.clone();
        let mut command = "search";
        let mut made = HashSet::new();
        let (mut depth, mut assigns, mut after_by, mut in_list) = (0_usize, false, false, false);
        loop {
            let word = self.words.get(at).map_or("]", String::as_str);
            let next = self.words.get(at + 1).map_or("", String::as_str);
            let previous = at
                .checked_sub(1)
                .map_or("", |before| self.words[before].as_str());
            match word {
                "]" | "|" => {
                    // These leave nothing but what they name.
                    if ["stats", "table"].contains(&command) {
                        fields = std::mem::take(&mut made);
                    }
                    if word == "]" {
                        return (fields, at);
                    }
                    (command, made, assigns, after_by, depth) =
                        (next, HashSet::new(), next == "eval", false, 0);
                    assert!(
                        SPL.contains(&command),
                        "{}: the command {command}",
                        self.place
                    );
                    at += 1;
                }
                "[" => {
                    let from = at + 1 + usize::from(next == "|");
                    assert!(SPL.contains(&self.words[from].as_str()), "{}", self.place);
                    let (more, end) = self.read(from);
                    fields.extend(more);
                    at = end;
                }
                "(" => depth += 1,
                ")" => {
                    depth = depth.checked_sub(1).unwrap();
                    in_list = false;
                }
                "IN" => in_list = true,
                "," => assigns = command == "eval" && depth == 0,
                "BY" => after_by = true,
                _ if previous == "AS" || assigns => {
                    assert!(!assigns || next == "=", "{}: eval {word}", self.place);
                    assigns = false;
                    fields.insert(word.to_owned());
                    made.insert(word.to_owned());
                }
                _ if command == "inputlookup" && self.tables.contains_key(word) => {
                    fields.extend(self.tables[word].iter().cloned());
                }
                _ if command.ends_with("lookup") && self.tables.contains_key(word) => {}
                _ if is_name(word) => {
                    if word == "rest" {
                        fields.extend(["title", "disabled"].map(str::to_owned));
                    }
                    let name = word.trim_matches('\'').trim_end_matches('.');
                    let is_index = previous == "=" && self.words[at - 2] == "index";
                    let is_value =
                        is_index || (previous == "=" || in_list) && self.values.contains(name);
                    let is_known = SPL.contains(&name) || fields.contains(name) || is_value;
                    assert!(is_known, "{}: {name} is not known in {command}", self.place);
                    if after_by || command == "table" || (next != "(" && depth == 0) {
                        made.insert(name.to_owned());
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_alphabetic() || "_\'".contains(first))
}

#[test]
fn every_word_of_every_search_is_known() {
    let of_splunk = ["_time", "_raw", "index", "sourcetype", "host"];
    let mut known: HashSet<String> = RAW_FIELDS
        .iter()
        .chain(&of_splunk)
        .map(|&word| word.to_owned())
        .collect();
    let props = conf("props");
    let settings = stanza(&props, "ds_monitor");
    known.extend(
        settings
            .iter()
            .filter_map(|(key, _)| Some(key.strip_prefix("EVAL-")?.to_owned())),
    );
    for lookup in automatic_lookups(&settings) {
        known.extend(lookup.outputs.into_iter().map(|(_, field)| field));
    }
    let mut directory = HashSet::new();
    let mut tables = BTreeMap::new();
    for (lookup, _) in conf("transforms") {
        tables.insert(lookup.clone(), table(&lookup).0);
        if lookup != "ds_actions" {
            directory.extend(table(&lookup).0);
        }
    }
    let mut values: HashSet<String> = table("ds_actions")
        .1
        .iter()
        .flat_map(|row| row.values().cloned())
        .collect();
    // The table itself has no alert of these; a record can.
    values.extend(["critical", "high", "low"].map(str::to_owned));
    for name in ["props", "eventtypes"] {
        values.extend(conf(name).into_iter().map(|(stanza, _)| stanza));
    }
    let log = words_of_the_log();
    for field in [
        "input",
        "cursor_from",
        "cursor_to",
        "n_events",
        "lag_s",
        "page_ingested",
        "events_ingested",
    ] {
        assert!(log.contains(field), "the log has no {field}");
    }
    for (place, search) in searches() {
        let mut origin = known.clone();
        if search.contains("_internal") || search.contains("ds_monitor_log") {
            origin.extend(log.iter().cloned());
        }
        if search.contains("ds_monitor:") {
            origin.extend(directory.iter().cloned());
            origin.extend(["refresh_id", "n_users", "n_accounts"].map(str::to_owned));
        }
        let words = words(&search);
        let reader = Reader {
            place: &place,
            words: &words,
            origin: &origin,
            values: &values,
            tables: &tables,
        };
        let (_, end) = reader.read(0);
        assert_eq!(end, words.len(), "{place}: a bracket too many");
    }
}

#[test]
fn every_lookup_and_event_type_that_a_search_names_exists() {
    let transforms = conf("transforms");
    let types = conf("eventtypes");
    for (place, search) in searches() {
        let words = words(&search);
        for (at, word) in words.iter().enumerate() {
            let next = || {
                words[at + 1..]
                    .iter()
                    .find(|word| transforms.iter().any(|(name, _)| name == *word))
            };
            match word.as_str() {
                "inputlookup" | "outputlookup" | "lookup" => {
                    let segment = words[at + 1..].iter().take_while(|word| *word != "|");
                    let named = next().is_some_and(|name| segment.clone().any(|word| word == name));
                    assert!(named, "{place}: {word} names no lookup");
                }
                "eventtype" if words.get(at + 1).is_some_and(|sign| sign == "=") => {
                    stanza(&types, words[at + 2].trim_matches('"'));
                }
                "tag" if words.get(at + 1).is_some_and(|sign| sign == "=") => {
                    assert!(
                        TAGS.contains(&words[at + 2].as_str()),
                        "{place}: {}",
                        words[at + 2]
                    );
                }
                _ => {}
            }
        }
    }
}
