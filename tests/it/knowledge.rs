//! The files of `default/` that Splunk reads, read the same way: stanzas, settings, continuation lines.
//!
//! Splunk ignores what it does not know and finds nothing for a name that is misspelled, both without a word. So
//! every name that a setting uses must be known here, and every search is read by the grammar of its commands
//! (`support::spl`): what it reads must be a field of the records, of the log lines, of a lookup, or made by the
//! search itself before, and what it compares with must be a value that can be there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use support::conf::{automatic_lookups, conf, conf_file, macros, read, setting, stanza, table};
use support::spl::{Knowledge, Search, matches, relative_time, span};

/// What a record of Docusign Monitor can hold, as Splunk names it.
pub(crate) const RAW_FIELDS: [&str; 50] = [
    "timestamp",
    "eventId",
    "site",
    "accountId",
    "organizationId",
    "userId",
    "integratorKey",
    "userAgent",
    "userAgentClientInfo.browser.family",
    "userAgentClientInfo.os.family",
    "userAgentClientInfo.device.family",
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

/// Settings that Splunk knows, as far as this app uses them; one that ends in `-` or `.` is the beginning of its name.
const SETTINGS: [(&str, &[&str]); 9] = [
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
            "external_type",
            "collection",
            "fields_list",
        ],
    ),
    ("macros", &["definition", "iseval", "args"]),
    ("eventtypes", &["search", "description"]),
    (
        "collections",
        &["replicate", "field.", "accelerated_fields."],
    ),
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
            "dispatch.index_earliest",
            "dispatch.index_latest",
            "counttype",
            "relation",
            "quantity",
            "alert.track",
            "alert.digest_mode",
            "alert.severity",
            "alert.suppress",
            "alert.suppress.fields",
            "alert.expires",
            "realtime_schedule",
            "alert.suppress.period",
            // Of Enterprise Security.
            "action.correlationsearch.enabled",
            "action.correlationsearch.detection_type",
            "action.correlationsearch.label",
            "action.correlationsearch.annotations",
            "action.risk.param._risk",
            "action.risk.param._risk_message",
            "action.risk.param._risk_score",
            "action.risk.param.verbose",
            "action.notable.param.rule_title",
            "action.notable.param.rule_description",
            "action.notable.param.security_domain",
            "action.notable.param.severity",
            "action.notable.param.nes_fields",
            "action.notable.param._entities",
            "action.notable.param.drilldown_searches",
            "action.notable.param.next_steps",
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
    ("web", &["pattern", "methods"]),
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
                let is_known = known
                    .iter()
                    .any(|known| match known.strip_suffix(['-', '.']) {
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
            "ds_monitor:profile",
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
        "savedsearches",
        "collections",
    ] {
        assert!(
            meta.contains(&format!("[{kind}]\nexport = system\n")),
            "{kind}"
        );
    }
}

/// What is known about people is for those who look after security, and so is every view, because most read it.
#[test]
fn what_is_known_about_people_is_not_for_everybody() {
    const OF_PEOPLE: [&str; 3] = ["ds_findings", "ds_seen", "ds_watched_people"];
    let meta = conf_file("metadata/default.meta");
    let access = |stanza_name: &str| {
        let settings = stanza(&meta, stanza_name);
        setting(&settings, "access").unwrap_or_default().to_owned()
    };
    let few = "read : [ admin, power, sc_admin ], write : [ admin, sc_admin ]";
    assert_eq!(access("views"), few);
    for collection in OF_PEOPLE {
        assert_eq!(access(&format!("collections/{collection}")), few);
    }
    for (lookup, settings) in conf("transforms") {
        let collection = setting(&settings, "collection").unwrap_or_default();
        if OF_PEOPLE.contains(&collection) {
            assert_eq!(access(&format!("transforms/{lookup}")), few);
        }
    }
    // The rest stays readable, because every search for events needs it.
    for kind in ["props", "transforms", "lookups", "macros"] {
        let settings = stanza(&meta, kind);
        assert_eq!(setting(&settings, "access"), None, "{kind}");
    }
    assert_eq!(access(""), "read : [ * ], write : [ admin, sc_admin ]");
}

/// An upgrade unpacks the files of the archive over those that are there, and leaves the KV store alone.
#[test]
fn an_upgrade_loses_no_row_that_somebody_wrote() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("lookups");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let text = read(&format!("lookups/{name}"));
        let header = text.lines().next().unwrap();
        assert!(
            !header.split(',').any(|column| column == "comment"),
            "{name}"
        );
    }
    let mut watchlists = 0;
    for (lookup, _) in conf("transforms") {
        let (columns, _) = table(&lookup);
        if columns.last().unwrap() != "comment" {
            continue;
        }
        // Searches read it beside the events, which is on the indexers; a number is a text, as in the events.
        let settings = stanza(&conf("collections"), &lookup);
        assert_eq!(setting(&settings, "replicate"), Some("true"), "{lookup}");
        for column in &columns[1..] {
            let kind = setting(&settings, &format!("field.{column}"));
            assert_eq!(kind, Some("string"), "{lookup}: {column}");
        }
        watchlists += 1;
    }
    assert_eq!(watchlists, 8);
}

#[test]
fn every_lookup_has_its_file_and_every_column_exists() {
    let transforms = conf("transforms");
    for (lookup, settings) in &transforms {
        let (columns, _) = table(lookup);
        let wildcards = setting(settings, "match_type").unwrap_or_default();
        for wildcard in wildcards.split(", ").filter(|text| !text.is_empty()) {
            let column = ["WILDCARD(", "CIDR("]
                .iter()
                .find_map(|kind| wildcard.strip_prefix(kind))
                .unwrap()
                .strip_suffix(')')
                .unwrap();
            assert!(
                columns.iter().any(|known| known == column),
                "{lookup}: {wildcard}"
            );
        }
        if setting(settings, "external_type") == Some("kvstore") {
            let collection = setting(settings, "collection").unwrap();
            stanza(&conf("collections"), collection);
            assert_eq!(columns[0], "_key", "{lookup}");
            continue;
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
        // What the record itself says is overwritten only on purpose, and what an EVAL says never: OUTPUT would clear it.
        for (_, field) in &lookup.outputs {
            assert!(
                !lookup.overwrites || !computed.contains(field.as_str()),
                "{field} of an EVAL would be cleared"
            );
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
    let mut seen: Vec<[String; 4]> = vec![];
    for row in &rows {
        let key =
            ["action", "object", "outcome", "property"].map(|column| row[column].to_lowercase());
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
        &["*", "*", "*", "*"].map(str::to_owned),
        "the last row takes everything"
    );
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
        // Words of the text before that: `cim` finds every row of the table with them.
        let fields = &rest[rest.find("data_model").unwrap()..];
        for term in fields.split(' ') {
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
        assert!(
            is_named.iter().any(|start| name.starts_with(start)),
            "{name}"
        );
        let get = |key| setting(&settings, key);
        assert!(
            get("description").is_some_and(|text| text.ends_with('.')),
            "{name}"
        );
        let time = |key| {
            let text = get(key).unwrap_or_else(|| panic!("{name} has no {key}"));
            relative_time(1_767_600_000, text)
                .unwrap_or_else(|what| panic!("{name}: {key}: {what}"))
        };
        assert!(
            time("dispatch.earliest_time") < time("dispatch.latest_time"),
            "{name}"
        );
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

#[test]
fn every_alert_says_when_it_is_raised_and_for_what_it_is_held_back() {
    for (name, settings) in conf("savedsearches") {
        let get = |key| setting(&settings, key);
        if get("alert.track").is_none() && get("counttype").is_none() {
            assert!(
                !settings.iter().any(|(key, _)| key.starts_with("alert.")),
                "{name}"
            );
            continue;
        }
        assert_eq!(get("enableSched"), Some("1"), "{name}");
        // Splunk's own default drops what was found after a day.
        assert_eq!(get("alert.expires"), Some("7d"), "{name}");
        assert_eq!(get("counttype"), Some("number of events"), "{name}");
        assert_eq!(get("relation"), Some("greater than"), "{name}");
        assert_eq!(get("quantity"), Some("0"), "{name}");
        assert!(
            matches!(
                get("alert.severity"),
                Some("1" | "2" | "3" | "4" | "5" | "6")
            ),
            "{name}"
        );
        if get("alert.suppress") == Some("1") {
            // An alert for every row, and held back by what the row is about.
            assert_eq!(get("alert.digest_mode"), Some("0"), "{name}");
            let period =
                get("alert.suppress.period").unwrap_or_else(|| panic!("{name}: no period"));
            assert!(span(period).is_ok(), "{name}: {period}");
            let search = Search::parse(get("search").unwrap_or_default(), &macros()).unwrap();
            let output = search.flow(Some(knowledge())).unwrap().output();
            let output = output.unwrap_or_else(|| panic!("{name}: it does not end with fields"));
            let fields =
                get("alert.suppress.fields").unwrap_or_else(|| panic!("{name}: no fields"));
            for field in fields.split(',').map(str::trim) {
                assert!(
                    output.iter().any(|known| known == field),
                    "{name}: {field} does not come out"
                );
            }
        }
    }
}

/// Every search that people or Splunk run: where it stands, and its text.
fn searches() -> Vec<(String, String)> {
    let mut searches = vec![];
    for (name, definition) in macros() {
        // A macro that is no search of its own is read where it is used.
        if definition.definition.contains("sourcetype=") {
            searches.push((format!("macros.conf [{name}]"), definition.definition));
        }
    }
    for (name, settings) in conf("savedsearches") {
        let search = setting(&settings, "search").unwrap();
        searches.push((format!("savedsearches.conf [{name}]"), search.to_owned()));
    }
    for (name, settings) in conf("eventtypes") {
        let search = setting(&settings, "search").unwrap();
        searches.push((format!("eventtypes.conf [{name}]"), search.to_owned()));
    }
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for entry in fs::read_dir(docs).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            searches.extend(searches_of_a_page(
                &name,
                &fs::read_to_string(path).unwrap(),
            ));
        }
    }
    searches
}

/// The searches of a page of text: in its blocks, a line that begins as a search does, with the indented lines
/// below it.
fn searches_of_a_page(name: &str, text: &str) -> Vec<(String, String)> {
    let mut searches: Vec<(String, String)> = vec![];
    for block in text.split("```").skip(1).step_by(2) {
        let mut in_search = false;
        // A block in a list is indented as a whole.
        let indent = block.rsplit('\n').next().unwrap_or_default();
        for line in block.lines().skip(1) {
            let line = line.strip_prefix(indent).unwrap_or(line);
            let begins = [
                "index=",
                "sourcetype=",
                "`ds_monitor",
                "| ",
                "eventtype=",
                "tag=",
            ];
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

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

/// What the sources write into the log as `name=value`: the names, and the values of `action`.
fn words_of_the_log() -> &'static (BTreeSet<String>, BTreeSet<String>) {
    static WORDS: OnceLock<(BTreeSet<String>, BTreeSet<String>)> = OnceLock::new();
    WORDS.get_or_init(read_words_of_the_log)
}

fn read_words_of_the_log() -> (BTreeSet<String>, BTreeSet<String>) {
    let mut files = vec![];
    files_below(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    let (mut names, mut actions) = (BTreeSet::new(), BTreeSet::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let words_after = |start: &str| {
            let words = text.split(start).skip(1).filter_map(|part| {
                let quoted = part.trim_start().strip_prefix('"')?;
                Some(quoted.split_once('"')?.0.to_owned())
            });
            words.collect::<Vec<String>>()
        };
        names.extend(
            [".with(", ".with_some("]
                .iter()
                .flat_map(|start| words_after(start)),
        );
        let makers = ["fields(", "action(", "with(\"action\","];
        actions.extend(makers.iter().flat_map(|start| words_after(start)));
        // What may fail has its word in a table or beside its error.
        actions.extend(
            text.split('"')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .filter(|word| {
                    let is_word = |part: &str| part.bytes().all(|sign| sign.is_ascii_lowercase());
                    word.contains('_') && word.split('_').all(is_word)
                }),
        );
    }
    (names, actions)
}

/// What Splunk gives every event.
const OF_EVERY_EVENT: [&str; 7] = [
    "_time",
    "_raw",
    "_indextime",
    "index",
    "sourcetype",
    "source",
    "host",
];

/// What splunkd and this app's REST endpoints give, as far as the searches use it.
const ENDPOINTS: &[(&str, &[&str])] = &[
    (
        "/data/inputs/ds_monitor",
        &[
            "title",
            "disabled",
            "interval",
            "index",
            "environment",
            "splunk_server",
        ],
    ),
    (
        "/data/inputs/ds_lookups",
        &[
            "title",
            "disabled",
            "interval",
            "index",
            "environment",
            "splunk_server",
        ],
    ),
    (
        "/saved/searches",
        &[
            "title",
            "disabled",
            "is_scheduled",
            "cron_schedule",
            "next_scheduled_time",
            "description",
            "search",
            "actions",
            "alert.severity",
            "alert.track",
            "triggered_alert_count",
            "eai:acl.app",
            "id",
        ],
    ),
    (
        "/alerts/fired_alerts/-",
        &[
            "title",
            "savedsearch_name",
            "severity",
            "trigger_time",
            "trigger_time_rendered",
            "expiration_time_rendered",
            "triggered_alerts",
            "sid",
            "eai:acl.app",
        ],
    ),
];

/// What the searches of this app can know, read once.
pub(crate) fn knowledge() -> &'static Knowledge {
    static KNOWLEDGE: OnceLock<Knowledge> = OnceLock::new();
    KNOWLEDGE.get_or_init(read_knowledge)
}

fn read_knowledge() -> Knowledge {
    let of_every_event = || OF_EVERY_EVENT.map(str::to_owned).into_iter();
    let mut of_records: BTreeSet<String> = RAW_FIELDS.map(str::to_owned).into();
    of_records.extend(of_every_event());
    of_records.extend(["eventtype", "tag"].map(str::to_owned));
    let settings = stanza(&conf("props"), "ds_monitor");
    let evals = settings
        .iter()
        .filter_map(|(key, _)| key.strip_prefix("EVAL-"));
    of_records.extend(evals.map(str::to_owned));
    for lookup in automatic_lookups(&settings) {
        of_records.extend(lookup.outputs.into_iter().map(|(_, field)| field));
    }
    let mut of_the_log = words_of_the_log().0.clone();
    of_the_log.extend(of_every_event());
    // splunkd takes these from the beginning of each of its lines.
    of_the_log.extend(["log_level", "component"].map(str::to_owned));
    let mut knowledge = Knowledge::default();
    for (lookup, _) in conf("transforms") {
        knowledge.lookups.insert(lookup.clone(), table(&lookup).0);
    }
    let with = |columns: &[String], more: &[&str]| {
        let columns = columns
            .iter()
            .cloned()
            .chain(more.iter().map(|&name| name.to_owned()));
        columns
            .chain(of_every_event())
            .collect::<BTreeSet<String>>()
    };
    let [users, accounts, profiles] =
        ["ds_users", "ds_accounts", "ds_profiles"].map(|name| &knowledge.lookups[name]);
    knowledge.sourcetypes = [
        ("ds_monitor", of_records),
        ("splunkd", of_the_log),
        ("ds_monitor:user", with(users, &["refresh_id"])),
        ("ds_monitor:account", with(accounts, &["refresh_id"])),
        ("ds_monitor:profile", with(profiles, &["refresh_id"])),
        (
            "ds_monitor:refresh",
            with(
                &[],
                &[
                    "refresh_id",
                    "monitor_input",
                    "n_users",
                    "n_accounts",
                    "n_profiles",
                ],
            ),
        ),
    ]
    .map(|(name, fields)| (name.to_owned(), fields))
    .into();
    for (name, _) in conf("eventtypes") {
        knowledge.event_types.insert(name, "ds_monitor".to_owned());
    }
    for tag in TAGS {
        knowledge
            .tags
            .insert((*tag).to_owned(), "ds_monitor".to_owned());
    }
    for (path, fields) in ENDPOINTS {
        let fields = fields.iter().map(|&field| field.to_owned()).collect();
        knowledge.endpoints.insert((*path).to_owned(), fields);
    }
    knowledge
}

/// The values that a field can have, for the fields whose values are a closed list.
fn values_of(field: &str) -> Option<BTreeSet<String>> {
    let column = match field {
        "signature" => "event_name",
        "ds_object" => "object",
        "ds_known" => "known",
        "ds_basis" => "basis",
        "action" => "cim_action",
        "data_model" | "data_model_node" | "event_name" | "status" | "change_type"
        | "object_category" | "type" | "severity" => field,
        _ => return None,
    };
    // Every search asks for some of these, and the table is large.
    static ROWS: OnceLock<Vec<BTreeMap<String, String>>> = OnceLock::new();
    let rows = ROWS.get_or_init(|| table("ds_actions").1);
    let mut values: BTreeSet<String> = rows.iter().map(|row| row[column].clone()).collect();
    values.retain(|value| !["", "*"].contains(&value.as_str()));
    if field == "severity" {
        // The table itself has no alert of these; a record can.
        values.extend(["critical", "high", "low"].map(str::to_owned));
    }
    Some(values)
}

/// Reads a search, follows its fields, and objects to a value that no event has. What the search puts out, if it ends
/// with fields, is the answer.
pub(crate) fn check_search(text: &str) -> Checked {
    // The views ask for the same searches again and again.
    static KNOWN: Mutex<BTreeMap<String, Checked>> = Mutex::new(BTreeMap::new());
    if let Some(known) = KNOWN.lock().unwrap().get(text) {
        return known.clone();
    }
    let checked = check_new_search(text);
    KNOWN
        .lock()
        .unwrap()
        .insert(text.to_owned(), checked.clone());
    checked
}

/// The fields that a search puts out, if it ends with fields; or what is wrong with it.
type Checked = Result<Option<Vec<String>>, String>;

fn check_new_search(text: &str) -> Checked {
    let flow = Search::parse(text, &macros())?.flow(Some(knowledge()))?;
    let of_the_log = flow.sourcetypes.contains("splunkd");
    if !of_the_log && !flow.sourcetypes.contains("ds_monitor") {
        return Ok(flow.output());
    }
    for (field, value) in &flow.compared {
        let values = match (of_the_log, field.as_str()) {
            (true, "action") => Some(words_of_the_log().1.clone()),
            (true, "log_level") => {
                Some(["INFO", "WARN", "ERROR", "FATAL"].map(str::to_owned).into())
            }
            (true, _) => None,
            (false, field) => values_of(field),
        };
        let can_be = |values: BTreeSet<String>| {
            // Either may be a pattern: what a search looks for, or the object of a row of the table.
            let takes = |known: &String| {
                known.contains('*') && matches(&known.to_lowercase(), &value.to_lowercase())
            };
            let fits = |known: &String| matches(value, known) || takes(known);
            value.is_empty() || values.iter().any(fits)
        };
        if !values.is_none_or(can_be) {
            return Err(format!("no {field} is {value}"));
        }
    }
    Ok(flow.output())
}

#[test]
fn every_search_can_be_read_and_every_field_in_it_can_be_there() {
    let mut wrong = vec![];
    for (place, search) in searches() {
        if let Err(what) = check_search(&search) {
            wrong.push(format!("{place}\n    {what}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The words of the log are found in the sources by how they are written there. This test fails when that changes.
#[test]
fn the_words_of_the_log_are_found_in_the_sources() {
    let (names, actions) = words_of_the_log();
    for name in [
        "input",
        "modular_input_name",
        "cursor_from",
        "cursor_to",
        "n_events",
        "lag_s",
        "request_ms",
    ] {
        assert!(names.contains(name), "{name}");
    }
    for action in [
        "page_ingested",
        "events_ingested",
        "lookups_refreshed",
        "first_run",
        "change_generation",
    ] {
        assert!(actions.contains(action), "{action}");
    }
    assert!(!names.contains("page_ingested"));
}

#[test]
fn a_value_that_no_event_has_is_refused() {
    let refusal = |search: &str| check_search(search).unwrap_err();
    assert_eq!(
        refusal("sourcetype=ds_monitor data_model=Alert"),
        "no data_model is Alert"
    );
    assert_eq!(
        refusal("sourcetype=ds_monitor | where event_name=\"Envelope Sent\""),
        "no event_name is Envelope Sent"
    );
    assert_eq!(
        refusal("sourcetype=ds_monitor ds_object=Envelop"),
        "no ds_object is Envelop"
    );
    assert!(check_search("sourcetype=ds_monitor ds_object=LoginPolicyRule").is_ok());
    assert_eq!(
        refusal("`ds_monitor_log` action=page_read"),
        "no action is page_read"
    );
    assert!(
        check_search("sourcetype=ds_monitor | eval action=\"own\" | where action=\"own\"").is_ok()
    );
}

#[test]
fn every_macro_is_used() {
    let mut used = BTreeSet::new();
    let mut texts = searches();
    texts.extend(crate::views::searches());
    for (_, search) in texts {
        // A search that cannot be read fails another test.
        if let Ok(search) = Search::parse(&search, &macros()) {
            used.extend(search.macros().iter().cloned());
        }
    }
    for name in macros().into_keys() {
        assert!(used.contains(&name), "nothing uses the macro {name}");
    }
    for required in ["ds_monitor_index", "ds_monitor_events", "ds_monitor_log"] {
        assert!(used.contains(required), "{required}");
    }
}
