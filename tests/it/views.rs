//! The dashboards, read as Dashboard Studio reads them: every name that one part uses is a name that another part has,
//! and every search in them can be read, ends with fields, and puts out what the panels show.
//!
//! What cannot be known here: which options a visualization has (Studio ignores others), how it looks, how long a
//! search takes, and whether the words on a panel are true. Conditions of visibility are only read for their tokens.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value, json};

use crate::knowledge::check_search;
use support::conf::{conf, macros, read, setting, stanza};
use support::search_time::SearchTime;
use support::spl::{Row, Search, World, relative_time};

/// The views of the app, each with its title.
const VIEWS: [(&str, &str); 10] = [
    ("docusign_overview", "Overview"),
    ("docusign_findings", "Findings"),
    ("docusign_logins", "Log-ins and locations"),
    ("docusign_administration", "Users and administration"),
    ("docusign_agreements", "Envelopes and templates"),
    ("docusign_alerts", "Alerts"),
    ("docusign_person", "Person"),
    ("docusign_envelope", "Envelope"),
    ("docusign_backtest", "Backtest"),
    ("docusign_health", "Collection health"),
];

/// The view that is no dashboard: it shows the page that is built from the folder `web`.
pub(crate) const SET_UP: &str = "docusign_set_up";

/// Pages that Splunk has in every app.
const PAGES_OF_SPLUNK: [&str; 6] = [
    "search",
    "reports",
    "report",
    "alerts",
    "alert",
    "dashboards",
];

/// What the definition, its parts and their options may be called, as far as this app uses it.
const ROOT_KEYS: &[&str] = &[
    "title",
    "description",
    "defaults",
    "inputs",
    "dataSources",
    "visualizations",
    "layout",
    "expressions",
    "applicationProperties",
];
const PANEL_KEYS: &[&str] = &[
    "type",
    "title",
    "description",
    "dataSources",
    "options",
    "context",
    "eventHandlers",
    "containerOptions",
    "showProgressBar",
    "showLastUpdated",
];
const DATA_SOURCE_KEYS: &[&str] = &["type", "name", "options"];
const DATA_SOURCE_OPTIONS: &[&str] = &[
    "query",
    "queryParameters",
    "extend",
    "ref",
    "app",
    "refresh",
    "refreshType",
    "enableSmartSources",
];

/// The functions of Studio's small language of columns, as far as this app uses them.
const FUNCTIONS: &[&str] = &[
    "seriesByName",
    "frameBySeriesNames",
    "frame",
    "firstPoint",
    "lastPoint",
    "delta",
    "max",
    "min",
    "rangeValue",
    "matchValue",
    "gradient",
    "formatByType",
    "multiFormat",
    "renameSeries",
    "prepend",
    "objects",
];

/// A view as its file has it.
struct View {
    id: String,
    theme: String,
    label: String,
    definition: Map<String, Value>,
    /// What the data sources put out, once it has been asked for.
    outputs: RefCell<BTreeMap<String, Result<Vec<String>, String>>>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// An element of a file: its name, its attributes, and the text in it.
type Element = (String, BTreeMap<String, String>, String);

/// The elements of a file in their order.
fn elements(xml: &str) -> Result<Vec<Element>, String> {
    let mut reader = Reader::from_str(xml);
    let mut found: Vec<Element> = vec![];
    let mut open: Vec<usize> = vec![];
    loop {
        let event = reader.read_event().map_err(|error| error.to_string())?;
        let is_start = matches!(event, Event::Start(_));
        match event {
            Event::Start(tag) | Event::Empty(tag) => {
                let mut attributes = BTreeMap::new();
                for attribute in tag.attributes() {
                    let attribute = attribute.map_err(|error| error.to_string())?;
                    let value = attribute.value.as_ref().to_owned();
                    attributes.insert(attribute.key.as_ref().to_owned(), value);
                }
                let name = tag.name().as_ref().to_owned();
                if is_start {
                    open.push(found.len());
                }
                found.push((name, attributes, String::new()));
            }
            Event::End(_) => drop(open.pop()),
            Event::Text(text) => {
                if let Some(&at) = open.last() {
                    found[at].2.push_str(&text);
                }
            }
            Event::CData(text) => {
                if let Some(&at) = open.last() {
                    found[at].2.push_str(&text);
                }
            }
            Event::GeneralRef(name) => {
                let sign = match &*name {
                    "amp" => '&',
                    "lt" => '<',
                    "gt" => '>',
                    "quot" => '"',
                    "apos" => '\'',
                    other => return Err(format!("&{other}; is not known")),
                };
                if let Some(&at) = open.last() {
                    found[at].2.push(sign);
                }
            }
            Event::Eof => {
                return if open.is_empty() {
                    Ok(found)
                } else {
                    Err("an element is not closed".to_owned())
                };
            }
            _ => {}
        }
    }
}

impl View {
    fn parse(id: &str, xml: &str) -> Result<Self, String> {
        let elements = elements(xml)?;
        let (name, attributes, _) = elements.first().ok_or("an empty file")?;
        if name != "dashboard" || attributes.get("version").map(String::as_str) != Some("2") {
            return Err("the root is no <dashboard version=\"2\">".to_owned());
        }
        let text = |name: &str| {
            let mut found = elements.iter().filter(|(known, _, _)| known == name);
            let text = found.next().map(|(_, _, text)| text.trim().to_owned());
            text.filter(|text| !text.is_empty() && found.next().is_none())
                .ok_or_else(|| format!("not one <{name}>"))
        };
        let definition = serde_json::from_str(&text("definition")?);
        text("description")?;
        Ok(Self {
            id: id.to_owned(),
            theme: attributes.get("theme").cloned().unwrap_or_default(),
            label: text("label")?,
            definition: definition.map_err(|error| format!("the definition: {error}"))?,
            outputs: RefCell::default(),
        })
    }

    fn part(&self, name: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.definition
            .get(name)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    }

    fn data_source(&self, id: &str) -> Option<&Value> {
        self.definition.get("dataSources")?.get(id)
    }

    /// The query of a data source as Splunk runs it, with that of what it extends before it, and with its tokens.
    fn query(&self, id: &str) -> Result<String, String> {
        let source = self
            .data_source(id)
            .ok_or_else(|| format!("the data source {id} does not exist"))?;
        let query = source["options"]["query"].as_str();
        let query = || {
            query
                .map(|query| query.trim().to_owned())
                .ok_or_else(|| format!("{id} has no query"))
        };
        match source["type"].as_str() {
            Some("ds.search") => query(),
            Some("ds.chain") => {
                let base = source["options"]["extend"].as_str().unwrap_or_default();
                let kind = self.data_source(base).map(|base| base["type"].clone());
                if kind != Some("ds.search".into()) {
                    return Err(format!(
                        "{id} extends {base}, which is no search of this view"
                    ));
                }
                let query = query()?;
                let query = query.strip_prefix('|').unwrap_or(&query);
                Ok(format!("{} | {query}", self.query(base)?))
            }
            Some("ds.savedSearch") => {
                let name = source["options"]["ref"].as_str().unwrap_or_default();
                let saved = conf("savedsearches");
                let found = saved.iter().find(|(known, _)| known == name);
                let (_, settings) =
                    found.ok_or_else(|| format!("{id}: the saved search {name} does not exist"))?;
                Ok(setting(settings, "search").unwrap_or_default().to_owned())
            }
            kind => Err(format!("{id} has the type {kind:?}")),
        }
    }

    /// The tokens of the inputs, each with its value as long as nobody changes it.
    fn tokens_of_inputs(&self) -> BTreeMap<String, String> {
        let mut tokens = BTreeMap::new();
        for (_, input) in self.part("inputs") {
            let options = &input["options"];
            let token = options["token"].as_str().unwrap_or_default();
            let default = match &options["defaultValue"] {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                other => other.to_string(),
            };
            if input["type"] == "input.timerange" {
                let (earliest, latest) = default.split_once(',').unwrap_or((&default, ""));
                tokens.insert(format!("{token}.earliest"), earliest.to_owned());
                tokens.insert(format!("{token}.latest"), latest.to_owned());
            } else {
                tokens.insert(token.to_owned(), default);
            }
        }
        tokens
    }

    /// The tokens that have a value from the start or are set by a click.
    fn other_tokens(&self) -> BTreeMap<String, String> {
        let mut tokens = BTreeMap::new();
        let defaults = self
            .definition
            .get("defaults")
            .map(|defaults| &defaults["tokens"]["default"]);
        for (name, token) in defaults.and_then(Value::as_object).into_iter().flatten() {
            tokens.insert(
                name.clone(),
                token["value"].as_str().unwrap_or_default().to_owned(),
            );
        }
        for (_, handler) in self.handlers() {
            for token in handler["options"]["tokens"]
                .as_array()
                .into_iter()
                .flatten()
            {
                if handler["type"] == "drilldown.setToken" {
                    let name = token["token"].as_str().unwrap_or_default();
                    tokens
                        .entry(name.to_owned())
                        .or_insert_with(|| "*".to_owned());
                }
            }
        }
        tokens
    }

    /// The event handlers, each with its panel's id.
    fn handlers(&self) -> impl Iterator<Item = (&String, &Value)> {
        let panels = self.part("visualizations").chain(self.part("inputs"));
        panels.flat_map(|(id, panel)| {
            let handlers = panel["eventHandlers"].as_array().into_iter().flatten();
            handlers.map(move |handler| (id, handler))
        })
    }

    /// A text with its tokens' values; what a row gives becomes `*`.
    fn with_tokens(&self, text: &str, chosen: Option<(&str, &str)>) -> String {
        let mut text = text.to_owned();
        for token in tokens(&text) {
            let (name, _) = token.split_once('|').unwrap_or((&token, ""));
            let value = match chosen {
                Some((own, value)) if own == name => value.to_owned(),
                _ if name.starts_with("row.") || ["name", "value"].contains(&name) => {
                    "*".to_owned()
                }
                _ => {
                    let known = self
                        .tokens_of_inputs()
                        .remove(name)
                        .or_else(|| self.other_tokens().remove(name));
                    known.unwrap_or_default()
                }
            };
            let value = if token.ends_with("|s") {
                format!("\"{value}\"")
            } else {
                value
            };
            text = text.replace(&format!("${token}$"), &value);
        }
        text
    }

    /// The fields that a data source puts out.
    fn output(&self, id: &str) -> Result<Vec<String>, String> {
        if let Some(known) = self.outputs.borrow().get(id) {
            return known.clone();
        }
        let output = self.query(id).and_then(|query| {
            check_search(&self.with_tokens(&query, None))?
                .ok_or_else(|| "it does not end with fields: raw events come out".to_owned())
        });
        self.outputs
            .borrow_mut()
            .insert(id.to_owned(), output.clone());
        output
    }
}

/// The tokens in a text: what stands between two dollar signs, if it can be a name.
fn tokens(text: &str) -> Vec<String> {
    let mut found = vec![];
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        rest = after;
        let Some((name, after)) = after.split_once('$') else {
            break;
        };
        if name.starts_with(|first: char| first.is_ascii_alphabetic())
            && !name.contains(['\n', '"'])
        {
            found.push(name.to_owned());
            rest = after;
        }
    }
    found
}

/// Calls with every text of a value.
fn texts(value: &Value, note: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => note(text),
        Value::Array(values) => values.iter().for_each(|value| texts(value, note)),
        Value::Object(members) => members.values().for_each(|value| texts(value, note)),
        _ => {}
    }
}

/// `"a"` and `'b'` of `seriesByName("a")` or `frameBySeriesNames('a', 'b')`.
fn quoted_names(text: &str) -> Vec<String> {
    let mut names = vec![];
    let mut rest = text;
    while let Some(start) = rest.find(['"', '\'']) {
        let quote = rest[start..].chars().next().unwrap_or('"');
        let after = &rest[start + 1..];
        let Some(length) = after.find(quote) else {
            break;
        };
        names.push(after[..length].to_owned());
        rest = &after[length + 1..];
    }
    names
}

fn has_field(fields: &[String], name: &str) -> bool {
    fields.iter().any(|field| field == name || field == "*")
}

/// Everything that is wrong with a view. `all` are the views that there are, `canned` its results for the pictures.
fn findings(view: &View, all: &[View], canned: Option<&Value>) -> Vec<String> {
    let mut found = vec![];
    let definition = &view.definition;
    let title = VIEWS
        .iter()
        .find(|(id, _)| *id == view.id)
        .map(|(_, title)| *title);
    if title != Some(view.label.as_str())
        || definition.get("title").and_then(Value::as_str) != title
    {
        found.push(format!("the title of {} is not {title:?}", view.id));
    }
    if !["light", "dark"].contains(&view.theme.as_str()) {
        found.push("it has no theme".to_owned());
    }
    for key in definition.keys() {
        if !ROOT_KEYS.contains(&key.as_str()) {
            found.push(format!("the key {key} is not known"));
        }
    }
    if definition
        .get("description")
        .and_then(Value::as_str)
        .is_none_or(|text| !text.ends_with('.'))
    {
        found.push("its description is no sentence".to_owned());
    }
    check_data_sources(view, &mut found);
    check_scans(view, &mut found);
    check_inputs(view, &mut found);
    check_tokens(view, &mut found);
    check_layout(view, &mut found);
    for (id, panel) in view.part("visualizations") {
        check_panel(view, all, id, panel, &mut found);
    }
    for (id, handler) in view.handlers() {
        check_handler(view, all, id, handler, &mut found);
    }
    match canned {
        None => found.push(format!("tests/it/views/{}.json is missing", view.id)),
        Some(canned) => check_canned(view, canned, &mut found),
    }
    found
}

fn check_keys(place: &str, value: &Value, known: &[&str], found: &mut Vec<String>) {
    for key in value.as_object().into_iter().flat_map(Map::keys) {
        if !known.contains(&key.as_str()) {
            found.push(format!("{place}: the key {key} is not known"));
        }
    }
}

fn check_data_sources(view: &View, found: &mut Vec<String>) {
    let is_snake = |id: &str| {
        id.bytes()
            .all(|sign| sign.is_ascii_lowercase() || sign.is_ascii_digit() || sign == b'_')
    };
    for (id, source) in view.part("dataSources") {
        check_keys(id, source, DATA_SOURCE_KEYS, found);
        check_keys(id, &source["options"], DATA_SOURCE_OPTIONS, found);
        if !is_snake(id) || source["name"].as_str().is_none_or(str::is_empty) {
            found.push(format!(
                "{id}: the id is not in lower_snake_case, or the name is missing"
            ));
        }
        let used_by_panel =
            view.part("visualizations")
                .chain(view.part("inputs"))
                .any(|(_, panel)| {
                    let roles = panel["dataSources"]
                        .as_object()
                        .into_iter()
                        .flat_map(Map::values);
                    roles.into_iter().any(|role| role == id.as_str())
                });
        let extended = view
            .part("dataSources")
            .any(|(_, other)| other["options"]["extend"] == id.as_str());
        if !used_by_panel && !extended {
            found.push(format!("{id}: nothing uses it"));
        }
        // Every choice of a dropdown must leave a search that can be read.
        let query = match view.query(id) {
            Ok(query) => query,
            Err(what) => {
                found.push(what);
                continue;
            }
        };
        if query.contains("cron_schedule AS ") {
            found.push(format!("{id}: a schedule is shown as cron"));
        }
        if query.contains("index=") {
            found.push(format!(
                "{id}: it names an index, which is the macros' business"
            ));
        }
        let begins = [
            "`ds_monitor_",
            "| inputlookup",
            "| rest",
            "| makeresults",
            "| tstats",
        ];
        let written = view.with_tokens(&query, None);
        if !begins.iter().any(|start| written.starts_with(start)) {
            found.push(format!("{id}: it does not begin with a macro of this app"));
        }
        if let Err(what) = view.output(id) {
            found.push(format!("{id}: {what}"));
        }
        let parameters = &source["options"]["queryParameters"];
        check_keys(id, parameters, &["earliest", "latest"], found);
        let default =
            &view.definition["defaults"]["dataSources"]["ds.search"]["options"]["queryParameters"];
        if source["type"] == "ds.search" {
            for key in ["earliest", "latest"] {
                let time = parameters
                    .get(key)
                    .or(default.get(key))
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                if let Err(what) = relative_time(0, &view.with_tokens(time, None)) {
                    found.push(format!("{id}: {key}: {what}"));
                }
            }
        }
    }
}

fn check_inputs(view: &View, found: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (id, input) in view.part("inputs") {
        check_keys(id, input, PANEL_KEYS, found);
        let options = &input["options"];
        if !id.starts_with("input_") || input["title"].as_str().is_none_or(str::is_empty) {
            found.push(format!(
                "{id}: the id does not begin with input_, or the title is missing"
            ));
        }
        if options["token"]
            .as_str()
            .is_none_or(|token| !seen.insert(token))
        {
            found.push(format!("{id}: its token is missing, or another input's"));
        }
        if options["defaultValue"].as_str().is_none_or(str::is_empty) {
            found.push(format!("{id}: it has no default"));
        }
        check_roles(view, id, input, found);
        check_columns(view, id, input, found);
    }
}

fn check_roles(view: &View, id: &str, panel: &Value, found: &mut Vec<String>) {
    for (role, source) in panel["dataSources"].as_object().into_iter().flatten() {
        if source
            .as_str()
            .and_then(|source| view.data_source(source))
            .is_none()
        {
            found.push(format!(
                "{id}: the data source {source} ({role}) does not exist"
            ));
        }
    }
}

/// The fields that a panel's first data source puts out; none if that cannot be said, which is a finding elsewhere.
fn fields_of(view: &View, panel: &Value, role: &str) -> Option<Vec<String>> {
    view.output(panel["dataSources"][role].as_str()?).ok()
}

/// The texts that begin with `>`: what they take columns from, the columns, and the names of settings in `context`.
fn check_columns(view: &View, id: &str, panel: &Value, found: &mut Vec<String>) {
    let is_known = |name: &str| {
        panel["dataSources"].get(name).is_some()
            || panel["context"].get(name).is_some()
            || panel["options"].get(name).is_some()
            || name == "table" && panel["type"] == "splunk.table"
    };
    let layers = panel["options"]["layers"].as_array().into_iter().flatten();
    let of_layers: BTreeSet<&String> = layers
        .filter_map(Value::as_object)
        .flat_map(Map::keys)
        .collect();
    let mut check = |text: &str| {
        let Some(pipe) = text.strip_prefix('>') else {
            return;
        };
        let mut role = "primary";
        for (at, step) in pipe.split('|').map(str::trim).enumerate() {
            let (name, arguments) = step.split_once('(').unwrap_or((step, ""));
            let arguments = arguments.trim_end_matches(')');
            if at == 0 && arguments.is_empty() {
                if panel["dataSources"].get(name).is_some() {
                    role = name;
                }
                if !is_known(name) && !of_layers.contains(&name.to_owned()) {
                    found.push(format!(
                        "{id}: {name} is nothing to take columns from: {text}"
                    ));
                }
                continue;
            }
            if !FUNCTIONS.contains(&name) {
                found.push(format!("{id}: the function {name} is not known: {text}"));
            }
            if ["seriesByName", "frameBySeriesNames"].contains(&name) {
                let names = quoted_names(arguments);
                if names.is_empty() {
                    found.push(format!("{id}: no column is named: {text}"));
                }
                let fields = fields_of(view, panel, role).unwrap_or_else(|| vec!["*".to_owned()]);
                for name in names.iter().filter(|name| !has_field(&fields, name)) {
                    found.push(format!(
                        "{id}: {name} does not come out of the search: {text}"
                    ));
                }
            } else if [
                "rangeValue",
                "matchValue",
                "formatByType",
                "prepend",
                "frame",
                "gradient",
            ]
            .contains(&name)
            {
                for name in arguments
                    .split(',')
                    .map(str::trim)
                    .filter(|name| !is_known(name))
                {
                    found.push(format!("{id}: {name} is not in the context: {text}"));
                }
            }
        }
    };
    texts(&panel["options"], &mut check);
    texts(&panel["context"], &mut check);
}

fn check_panel(view: &View, all: &[View], id: &str, panel: &Value, found: &mut Vec<String>) {
    check_keys(id, panel, PANEL_KEYS, found);
    if !id.starts_with("viz_") {
        found.push(format!("{id}: the id does not begin with viz_"));
    }
    check_roles(view, id, panel, found);
    check_columns(view, id, panel, found);
    let kind = panel["type"].as_str().unwrap_or_default();
    if ["splunk.markdown", "splunk.rectangle", "splunk.image"].contains(&kind) {
        let markdown = panel["options"]["markdown"].as_str().unwrap_or_default();
        check_links(view, all, id, markdown, found);
        return;
    }
    if panel["dataSources"].get("primary").is_none() {
        found.push(format!("{id}: it shows no data source"));
    }
    if panel["title"].as_str().is_none_or(str::is_empty) {
        found.push(format!("{id}: it has no title"));
    }
    // Studio writes only "No search results returned". A panel either goes when there is nothing (Splunk before 9.4
    // ignores that), or its search adds a row that says what to do.
    let source = panel["dataSources"]["primary"].as_str();
    let source = source.and_then(|source| view.data_source(source));
    let says_so = source
        .and_then(|source| source["options"]["query"].as_str())
        .is_some_and(says_that_it_is_empty);
    let is_hidden = panel["containerOptions"]["visibility"]["hideWhenNoData"] == true;
    if kind != "splunk.singlevalue" && says_so == is_hidden {
        found.push(format!(
            "{id}: when it is empty it must either go or say so"
        ));
    }
    let caption = panel["description"].as_str().unwrap_or_default();
    if caption.to_lowercase().contains("empty") {
        found.push(format!(
            "{id}: its caption speaks of emptiness while there is something"
        ));
    }
    if kind == "splunk.table" {
        check_widths(view, id, panel, found);
    }
    let Some(fields) = fields_of(view, panel, "primary") else {
        return;
    };
    let mut named = vec![];
    let options = &panel["options"];
    for key in ["columnFormat", "seriesColorsByField", "fieldColors"] {
        named.extend(
            options[key]
                .as_object()
                .into_iter()
                .flat_map(Map::keys)
                .cloned(),
        );
    }
    let layers = options["layers"].as_array().into_iter().flatten();
    for lists in layers
        .map(|layer| &layer["additionalTooltipFields"])
        .chain([&options["overlayFields"]])
    {
        let names = lists
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        named.extend(names.map(str::to_owned));
    }
    for name in named.iter().filter(|name| !has_field(&fields, name)) {
        found.push(format!("{id}: {name} does not come out of the search"));
    }
}

/// Whether a search adds a row when it finds nothing.
fn says_that_it_is_empty(query: &str) -> bool {
    query.contains("appendpipe [stats count AS _rows | where _rows=0 | eval ")
}

/// The narrowest window in which a view must be legible, and the width of a layout that fills it, in pixels.
const NARROW: i64 = 1100;
/// What a window has beside the layout, and a panel beside its table, in pixels.
const BESIDE_LAYOUT: i64 = 40;
const BESIDE_TABLE: i64 = 34;

/// A table's columns have room for their headers, and together they fit into a narrow window. One has no width: with
/// it, the others grow with the window.
fn check_widths(view: &View, id: &str, panel: &Value, found: &mut Vec<String>) {
    let Some(fields) = fields_of(view, panel, "primary") else {
        return;
    };
    let visible: Vec<&String> = fields
        .iter()
        .filter(|name| !name.starts_with('_'))
        .collect();
    let format = &panel["options"]["columnFormat"];
    if format
        .as_object()
        .into_iter()
        .flat_map(Map::values)
        .any(|column| !column["textOverflow"].is_null())
    {
        found.push(format!("{id}: a cell is cut"));
    }
    let widths: Vec<Option<i64>> = visible
        .iter()
        .map(|name| format[name.as_str()]["width"].as_i64())
        .collect();
    if widths.iter().filter(|width| width.is_none()).count() != 1 {
        found.push(format!("{id}: not one of its columns is without a width"));
    }
    // A sign of a header is 7 pixels wide, and the arrow and the margins take 34.
    let least = |name: &str| 7 * i64::try_from(name.chars().count()).unwrap_or_default() + 34;
    for (name, width) in visible.iter().zip(&widths) {
        if width.is_some_and(|width| width < least(name)) {
            found.push(format!("{id}: the header {name} does not fit"));
        }
        if width.is_some_and(|width| width < 120) && name.as_str() == "Address" {
            found.push(format!("{id}: an address does not fit"));
        }
    }
    let total: i64 = visible
        .iter()
        .zip(&widths)
        .map(|(name, width)| width.unwrap_or_else(|| least(name)))
        .sum();
    let layout = &view.definition["layout"]["options"]["width"];
    for structure in structures(view) {
        for item in structure
            .as_array()
            .into_iter()
            .flatten()
            .filter(|item| item["item"] == id)
        {
            let share =
                item["position"]["w"].as_i64().unwrap_or_default() * (NARROW - BESIDE_LAYOUT);
            let room = share / layout.as_i64().unwrap_or(1).max(1) - BESIDE_TABLE;
            if total > room {
                found.push(format!("{id}: its columns need {total} pixels of {room}"));
            }
        }
    }
}

/// How many searches of events or of the log a view may start when it opens, and over how many days.
const MOST_SCANS: usize = 4;
const MOST_DAYS: i64 = 60;

/// What a view costs when it is opened.
fn check_scans(view: &View, found: &mut Vec<String>) {
    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;
    let mut scans = 0;
    for (id, source) in view.part("dataSources") {
        if source["type"] != "ds.search" {
            continue;
        }
        let query = source["options"]["query"].as_str().unwrap_or_default();
        check_cost(id, query, found);
        let reads = [
            "`ds_monitor_index`",
            "`ds_monitor_log`",
            "`ds_monitor_events`",
            "| tstats",
        ];
        let times: usize = reads.iter().map(|name| query.matches(name).count()).sum();
        scans += times;
        if times == 0 {
            continue;
        }
        let default =
            &view.definition["defaults"]["dataSources"]["ds.search"]["options"]["queryParameters"];
        let own = source["options"]["queryParameters"].get("earliest");
        let earliest = own
            .or(default.get("earliest"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let Ok(mut earliest) = relative_time(NOW, &view.with_tokens(earliest, None)) else {
            continue;
        };
        // The period before the range, and the thirty days before it.
        if query.contains("earliest=max(0, floor(2*range_from-range_to))") {
            earliest -= NOW - earliest;
        } else if query.contains("earliest=max(0, floor(") {
            earliest -= 30 * DAY;
        }
        if NOW - earliest > (MOST_DAYS + 1) * DAY {
            found.push(format!(
                "{id}: it reads more than {MOST_DAYS} days when the view opens"
            ));
        }
    }
    if scans > MOST_SCANS {
        found.push(format!("{scans} scans of events when it opens"));
    }
    let says_so = view.part("visualizations").any(|(_, panel)| {
        let source = panel["dataSources"]["primary"].as_str();
        source
            .and_then(|source| view.query(source).ok())
            .is_some_and(|query| says_that_it_is_empty(&query))
    });
    if !says_so {
        found.push("nothing says what to do when nothing has arrived".to_owned());
    }
    // A range that begins in the middle of a day begins with a false fall.
    for (id, input) in view
        .part("inputs")
        .filter(|(_, input)| input["type"] == "input.timerange")
    {
        let default = input["options"]["defaultValue"]
            .as_str()
            .unwrap_or_default();
        let earliest = default.split(',').next().unwrap_or_default();
        let whole = if earliest.starts_with("-24h") {
            "@h"
        } else {
            "@d"
        };
        if !earliest.ends_with(whole) {
            found.push(format!("{id}: its range does not begin with a whole day"));
        }
    }
}

fn check_tokens(view: &View, found: &mut Vec<String>) {
    let mut known: BTreeSet<String> = view.tokens_of_inputs().into_keys().collect();
    known.extend(view.other_tokens().into_keys());
    let mut used = BTreeSet::new();
    texts(&Value::Object(view.definition.clone()), &mut |text| {
        let names = tokens(text);
        used.extend(
            names
                .iter()
                .map(|token| token.split('|').next().unwrap_or_default().to_owned()),
        );
        for token in names {
            if let Some((_, filter)) = token.split_once('|')
                && !["u", "s", "h", "n"].contains(&filter)
            {
                found.push(format!("${token}$: the filter {filter} is not known"));
            }
        }
    });
    // Those of a row are checked with the panel that is clicked.
    let predefined = ["row.", "click.", "trellis.", "env:"];
    for token in &used {
        let of_splunk = predefined.iter().any(|start| token.starts_with(start))
            || ["name", "value"].contains(&&**token);
        let of_result = token.split_once(":result.").is_some_and(|(name, field)| {
            view.part("dataSources").any(|(id, source)| {
                source["name"] == name
                    && source["options"]["enableSmartSources"] == true
                    && view
                        .output(id)
                        .is_ok_and(|fields| has_field(&fields, field))
            })
        });
        if !of_splunk && !of_result && !known.contains(token) {
            found.push(format!("${token}$: nothing sets it"));
        }
    }
    for token in known.difference(&used) {
        found.push(format!("${token}$: nothing uses it"));
    }
}

/// The structures of the layout: one, or one for each tab.
fn structures(view: &View) -> Vec<&Value> {
    let Some(layout) = view.definition.get("layout") else {
        return vec![];
    };
    match layout["layoutDefinitions"].as_object() {
        Some(tabs) => tabs.values().map(|tab| &tab["structure"]).collect(),
        None => vec![&layout["structure"]],
    }
}

fn check_layout(view: &View, found: &mut Vec<String>) {
    let panels: BTreeSet<&String> = view.part("visualizations").map(|(id, _)| id).collect();
    let inputs: BTreeSet<&String> = view.part("inputs").map(|(id, _)| id).collect();
    let mut placed = BTreeSet::new();
    let mut places: Vec<String> = vec![];
    if let Some(layout) = view.definition.get("layout") {
        let inputs = layout["globalInputs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        places.extend(inputs.map(str::to_owned));
    }
    for structure in structures(view) {
        let mut boxes: Vec<(&str, [i64; 4])> = vec![];
        let mut seen = BTreeSet::new();
        for item in structure.as_array().into_iter().flatten() {
            let id = item["item"].as_str().unwrap_or_default();
            if item["type"] == "input" {
                places.push(id.to_owned());
                continue;
            }
            if !panels.contains(&id.to_owned()) {
                found.push(format!("the layout has {id}, which does not exist"));
            }
            if !seen.insert(id) {
                found.push(format!("the layout has {id} twice"));
            }
            placed.insert(id.to_owned());
            let side = |name: &str| item["position"][name].as_i64().unwrap_or(-1);
            let own = ["x", "y", "w", "h"].map(side);
            if own.iter().any(|&number| number < 0) || own[2] == 0 || own[3] == 0 {
                found.push(format!("{id} has no place"));
            }
            let width = view.definition["layout"]["options"]["width"].as_i64();
            if width.is_some_and(|width| own[0] + own[2] > width) {
                found.push(format!("{id} is wider than the canvas"));
            }
            for (other, place) in &boxes {
                let apart = |at: usize| {
                    own[at] >= place[at] + place[at + 2] || place[at] >= own[at] + own[at + 2]
                };
                if !apart(0) && !apart(1) {
                    found.push(format!("{id} lies over {other}"));
                }
            }
            boxes.push((id, own));
        }
    }
    for id in panels.iter().filter(|id| !placed.contains(**id)) {
        found.push(format!("{id} is not in the layout"));
    }
    for id in &inputs {
        if places.iter().filter(|place| place == id).count() != 1 {
            found.push(format!("{id} is not once in the layout"));
        }
    }
    for place in places.iter().filter(|place| !inputs.contains(place)) {
        found.push(format!(
            "the layout has the input {place}, which does not exist"
        ));
    }
}

/// Whether every token of a row in a search stands in quotation marks or quotes itself, so that blanks do not end it.
fn row_tokens_are_quoted(query: &str) -> bool {
    let mut before = String::new();
    let mut rest = query;
    while let Some(at) = rest.find("$row.") {
        before.push_str(&rest[..at]);
        let token = rest[at + 1..].split('$').next().unwrap_or_default();
        let quotes = before.replace("\\\"", "").matches('"').count();
        if quotes.is_multiple_of(2) != token.ends_with("|s") {
            return false;
        }
        rest = &rest[at + 1 + token.len() + 1..];
    }
    true
}

/// What can be clicked in a table is one column, which Splunk colours; of a chart it is a bucket and a series. Splunk
/// before 10.0 does not know `fields` and takes every column for it, so a table has one place to go.
fn check_clickable(
    id: &str,
    panel: Option<&Value>,
    options: &Value,
    fields: &[String],
    found: &mut Vec<String>,
) {
    let Some(panel) = panel else {
        return;
    };
    let kind = panel["type"].as_str().unwrap_or_default();
    let named: Vec<&str> = options["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for name in &named {
        if !has_field(fields, name) {
            found.push(format!(
                "{id}: the column {name}, to be clicked, is not there"
            ));
        }
    }
    if kind == "splunk.table" {
        if named.len() != 1
            || panel["eventHandlers"]
                .as_array()
                .is_none_or(|all| all.len() != 1)
        {
            found.push(format!("{id}: not one column of the table can be clicked"));
        }
        let to_the_person = options["url"]
            .as_str()
            .is_some_and(|url| url.contains("docusign_person"));
        if has_field(fields, "_person") && !to_the_person {
            found.push(format!("{id}: it has a person, to whom it does not lead"));
        }
    }
    let query = options["query"].as_str().unwrap_or_default();
    if ["splunk.column", "splunk.bar", "splunk.line"].contains(&kind)
        && !query.is_empty()
        && !(query.contains("$row.") && query.contains("$name$") || query.contains("$row._time"))
    {
        found.push(format!("{id}: it forgets what was clicked"));
    }
}

/// Fields that lookups put out, or that only the table decides. Splunk finds none of them by a raw term.
const DECIDED_LATE: [&str; 9] = [
    "data_model",
    "event_name",
    "status",
    "severity",
    "change_type",
    "object_category",
    "actor_status",
    "actor",
    "user",
];

/// The parts of a search between its own pipes.
fn commands_of(query: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0, false, false);
    for sign in query.chars() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth -= 1,
            '|' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(sign);
        }
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// A search reads few events: raw terms first, what lookups decide after the pipe, every filter before `dedup`, and
/// no sorting of what comes newest first anyway.
fn check_cost(place: &str, query: &str, found: &mut Vec<String>) {
    let commands = commands_of(query);
    let first = commands.first().map_or("", String::as_str);
    if first.contains("`ds_monitor_events`") {
        found.push(format!(
            "{place}: it filters what is already without duplicates"
        ));
    }
    if first.starts_with("`ds_monitor_index`") {
        // The organization and the account are chosen by the user.
        let outside = first.split('[').next().unwrap_or_default();
        for name in DECIDED_LATE {
            let compares = |word: &str| {
                word.trim_start_matches('(')
                    .starts_with(&format!("{name}="))
            };
            if outside.split_whitespace().any(compares) {
                found.push(format!(
                    "{place}: {name} is decided by a lookup, after the pipe"
                ));
            }
        }
    }
    let dedup = commands
        .iter()
        .position(|part| part.starts_with("dedup eventId"));
    let later = |word: &str| {
        dedup.is_some_and(|at| commands[at..].iter().any(|part| part.starts_with(word)))
    };
    if query.starts_with('`') && (later("search ") || later("where ")) {
        found.push(format!("{place}: it filters after dedup"));
    }
    let plain = |part: &String| part.replace("sort 0 - ", "sort 0 -") == "sort 0 -_time";
    if commands
        .windows(2)
        .any(|pair| plain(&pair[0]) && pair[1].starts_with("head"))
    {
        found.push(format!("{place}: events come newest first"));
    }
}

/// A search that a click opens.
fn check_link(view: &View, id: &str, query: &str, found: &mut Vec<String>) {
    check_cost(&format!("{id}: the link to a search"), query, found);
    if let Err(what) = check_search(&view.with_tokens(query, None)) {
        found.push(format!("{id}: the link to a search: {what}"));
    }
    // What Splunk's index has as a term makes the search quick.
    let commands = commands_of(query);
    let terms = commands.first().map_or("", String::as_str);
    for field in ["eventId", "src", "integratorKey"] {
        let compared = format!(" {field}=\"$row.");
        let by_value = commands.iter().skip(1).any(|part| part.contains(&compared));
        if by_value && !terms.contains("\"$row.") {
            found.push(format!(
                "{id}: {field} is not among the raw terms of the link"
            ));
        }
    }
}

fn check_handler(view: &View, all: &[View], id: &str, handler: &Value, found: &mut Vec<String>) {
    let options = &handler["options"];
    let panel = view
        .part("visualizations")
        .find(|(known, _)| *known == id)
        .map(|(_, panel)| panel);
    // The row that is clicked is one of the first data source.
    let fields = panel
        .and_then(|panel| fields_of(view, panel, "primary"))
        .unwrap_or_else(|| vec!["*".to_owned()]);
    let mut named = vec![];
    texts(handler, &mut |text| {
        let keys = tokens(text).into_iter().chain([text.to_owned()]);
        for key in keys {
            let key = key.split('|').next().unwrap_or_default();
            let field = key
                .strip_prefix("row.")
                .and_then(|rest| rest.strip_suffix(".value"));
            named.extend(field.map(str::to_owned));
        }
    });
    for name in named.iter().filter(|name| !has_field(&fields, name)) {
        found.push(format!(
            "{id}: row.{name}.value does not come out of the search"
        ));
    }
    check_clickable(id, panel, options, &fields, found);
    match handler["type"].as_str().unwrap_or_default() {
        "drilldown.linkToSearch" => {
            check_keys(
                id,
                options,
                &["type", "query", "earliest", "latest", "newTab"],
                found,
            );
            let query = options["query"].as_str().unwrap_or_default();
            if !row_tokens_are_quoted(query) {
                found.push(format!(
                    "{id}: a value of the row stands without quotation marks: {query}"
                ));
            }
            if query.contains("index=") {
                found.push(format!("{id}: the link names an index"));
            }
            check_link(view, id, query, found);
            for key in ["earliest", "latest"] {
                let time = view.with_tokens(options[key].as_str().unwrap_or_default(), None);
                if let Err(what) = relative_time(0, &time) {
                    found.push(format!("{id}: {key} of the link: {what}"));
                }
            }
        }
        "drilldown.customUrl" => {
            check_keys(id, options, &["url", "newTab", "fields"], found);
            check_url(
                view,
                all,
                id,
                options["url"].as_str().unwrap_or_default(),
                found,
            );
        }
        "drilldown.linkToDashboard" => {
            check_keys(
                id,
                options,
                &["app", "dashboard", "tokens", "newTab"],
                found,
            );
            let target = options["dashboard"].as_str().unwrap_or_default();
            let tokens = options["tokens"].as_array().into_iter().flatten();
            let tokens = tokens
                .filter_map(|token| Some(token["token"].as_str()?.to_owned()))
                .collect();
            check_target(view, all, id, target, &tokens, found);
        }
        "drilldown.setToken" => {
            check_keys(id, options, &["tokens", "fields"], found);
            for token in options["tokens"].as_array().into_iter().flatten() {
                check_keys(id, token, &["token", "key", "value"], found);
            }
        }
        other => found.push(format!("{id}: the event handler {other} is not known")),
    }
    check_keys(id, handler, &["type", "options"], found);
}

/// `[words](/app/…)` in a text.
fn links(markdown: &str) -> Vec<&str> {
    let links = markdown.split("](").skip(1);
    links.filter_map(|rest| rest.split(')').next()).collect()
}

fn check_links(view: &View, all: &[View], id: &str, markdown: &str, found: &mut Vec<String>) {
    for link in links(markdown) {
        check_url(view, all, id, link, found);
    }
}

/// The field of a row that names the page in an address of this app.
fn page_of_row(url: &str) -> Option<&str> {
    let page = url.strip_prefix("/app/ds_monitor/$row.")?;
    let (field, query) = page.split_once(".value$")?;
    (query.starts_with('?')).then_some(field)
}

fn check_url(view: &View, all: &[View], id: &str, url: &str, found: &mut Vec<String>) {
    let Some(rest) = url.strip_prefix("/app/ds_monitor/") else {
        found.push(format!("{id}: {url} leaves the app"));
        return;
    };
    let (page, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A page that the row names is one of Splunk's own: the canned results are looked at for that.
    let is_page_of_splunk = PAGES_OF_SPLUNK.contains(&page) || page_of_row(url).is_some();
    let mut passed = BTreeSet::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if page == "search" && ["q", "earliest", "latest"].contains(&name) {
            let text = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            let text = text.replace("|u$", "$");
            if name == "q" {
                check_link(view, id, &text, found);
                if !row_tokens_are_quoted(&text) {
                    found.push(format!(
                        "{id}: a value of the row stands without quotation marks: {text}"
                    ));
                }
            } else if let Err(what) = relative_time(0, &view.with_tokens(&text, None)) {
                found.push(format!("{id}: {name} of the link: {what}"));
            }
        } else if let Some(token) = name.strip_prefix("form.") {
            passed.insert(token.to_owned());
        } else if name == "s" && is_page_of_splunk {
            check_saved(id, value, found);
        } else {
            found.push(format!("{id}: the parameter {name} is not known"));
        }
        for token in tokens(value) {
            if !token.ends_with("|u") {
                found.push(format!("{id}: ${token}$ in an address needs the filter |u"));
            }
            let name = token.split('|').next().unwrap_or_default();
            let target = passed.iter().any(|known| known == name);
            if page != "search" && !target && !name.starts_with("row.") {
                found.push(format!("{id}: {name} is passed on as {part}"));
            }
        }
    }
    if !is_page_of_splunk {
        check_target(view, all, id, page, &passed, found);
    } else if !passed.is_empty() {
        found.push(format!("{id}: {page} takes no tokens"));
    }
}

/// The name of a saved search at the end of its path, twice encoded as in Splunk's own links.
fn check_saved(id: &str, value: &str, found: &mut Vec<String>) {
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    let path = decode(value);
    let name = decode(path.rsplit('/').next().unwrap_or_default());
    if !path.starts_with("/servicesNS/nobody/ds_monitor/saved/searches/") {
        found.push(format!("{id}: {path} is no saved search of this app"));
    }
    // The name comes from the row that is clicked.
    if tokens(&name).len() == 1 && name.starts_with("$row.") {
        return;
    }
    if !conf("savedsearches")
        .iter()
        .any(|(known, _)| *known == name)
    {
        found.push(format!("{id}: the saved search {name} does not exist"));
    }
}

/// A link to a view passes on what both have, and nothing that the other has not.
fn check_target(
    view: &View,
    all: &[View],
    id: &str,
    page: &str,
    passed: &BTreeSet<String>,
    found: &mut Vec<String>,
) {
    if page == SET_UP {
        return;
    }
    let Some(target) = all.iter().find(|other| other.id == page) else {
        found.push(format!("{id}: the view {page} does not exist"));
        return;
    };
    let theirs: BTreeSet<String> = target.tokens_of_inputs().into_keys().collect();
    let ours: BTreeSet<String> = view.tokens_of_inputs().into_keys().collect();
    for token in passed.difference(&theirs) {
        found.push(format!("{id}: {page} has no token {token}"));
    }
    for token in theirs
        .intersection(&ours)
        .filter(|token| !passed.contains(*token))
    {
        found.push(format!("{id}: the link to {page} drops {token}"));
    }
}

/// The texts that canned results have in a column, in either form.
fn column(results: &Value, name: &str) -> Vec<String> {
    let fields = results["fields"].as_array().into_iter().flatten();
    let at = fields.into_iter().position(|field| field == name);
    let rows = results.as_array().or_else(|| results["rows"].as_array());
    let cells = rows.into_iter().flatten().filter_map(|row| match at {
        Some(at) => row[at].as_str(),
        None => row[name].as_str(),
    });
    cells.map(str::to_owned).collect()
}

/// The results for the pictures: one entry for each data source, with the fields that its search puts out.
fn check_canned(view: &View, canned: &Value, found: &mut Vec<String>) {
    let Some(canned) = canned.as_object() else {
        found.push("the canned results are no object".to_owned());
        return;
    };
    for id in canned.keys().filter(|id| view.data_source(id).is_none()) {
        found.push(format!("canned results for {id}, which does not exist"));
    }
    for (id, _) in view.part("dataSources") {
        let Some(results) = canned.get(id) else {
            found.push(format!("no canned results for {id}"));
            continue;
        };
        let Ok(output) = view.output(id) else {
            continue;
        };
        let fields: BTreeSet<String> = match results {
            Value::Array(rows) => rows
                .iter()
                .filter_map(Value::as_object)
                .flat_map(Map::keys)
                .cloned()
                .collect(),
            _ => {
                let fields = results["fields"].as_array().into_iter().flatten();
                fields
                    .filter_map(|field| Some(field.as_str()?.to_owned()))
                    .collect()
            }
        };
        let width = results["fields"].as_array().map(Vec::len);
        let rows = results["rows"].as_array().into_iter().flatten();
        if rows
            .into_iter()
            .any(|row| row.as_array().map(Vec::len) != width)
        {
            found.push(format!(
                "canned results of {id}: a row has not as many values as there are fields"
            ));
        }
        let expected: BTreeSet<String> = output
            .iter()
            .filter(|field| *field != "*")
            .cloned()
            .collect();
        let more: Vec<&String> = fields.difference(&expected).collect();
        let missing: Vec<&String> = expected.difference(&fields).collect();
        let by_value = output.iter().any(|field| field == "*");
        if !missing.is_empty() || !by_value && !more.is_empty() {
            found.push(format!(
                "canned results of {id}: missing {missing:?}, not from the search {more:?}"
            ));
        }
        // What a row names as a page must be one that Splunk has.
        for (panel, handler) in view.handlers() {
            let of_this =
                view.definition["visualizations"][panel]["dataSources"]["primary"] == id.as_str();
            let url = handler["options"]["url"].as_str().unwrap_or_default();
            let Some(field) = page_of_row(url).filter(|_| of_this) else {
                continue;
            };
            let pages = column(results, field);
            let unknown = |page: &&String| !PAGES_OF_SPLUNK.contains(&page.as_str());
            if let Some(page) = pages.iter().find(unknown) {
                found.push(format!(
                    "{panel}: a row leads to {page}, which is no page of Splunk's"
                ));
            }
            if pages.is_empty() {
                found.push(format!("{panel}: no row names a page in {field}"));
            }
        }
        // What a dropdown offers must be a condition that every search can take.
        let inputs = view
            .part("inputs")
            .filter(|(_, input)| input["dataSources"]["primary"] == id.as_str());
        for (input, definition) in inputs {
            let token = definition["options"]["token"].as_str().unwrap_or_default();
            for value in results
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|row| row["value"].as_str())
            {
                for (other, _) in view.part("dataSources") {
                    let query = view.query(other).unwrap_or_default();
                    if !query.contains(&format!("${token}$")) {
                        continue;
                    }
                    if let Err(what) = check_search(&view.with_tokens(&query, Some((token, value))))
                    {
                        found.push(format!("{input}={value}: {other}: {what}"));
                    }
                }
            }
        }
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else {
        return vec![];
    };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// Every view of the app.
fn views() -> Result<Vec<View>, String> {
    let dashboards = files("default/data/ui/views").into_iter().filter(|path| {
        assert!(
            path.extension().is_some_and(|extension| extension == "xml"),
            "{}",
            path.display()
        );
        !path.ends_with(format!("{SET_UP}.xml"))
    });
    let files = dashboards.map(|path| {
        let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
        View::parse(&id, &fs::read_to_string(&path).unwrap())
            .map_err(|what| format!("{id}: {what}"))
    });
    files.collect()
}

/// Every search in the views, with the tokens' defaults: where it stands, and its text.
pub(crate) fn searches() -> Vec<(String, String)> {
    let mut searches = vec![];
    for view in views().unwrap_or_default() {
        for (id, _) in view.part("dataSources") {
            if let Ok(query) = view.query(id) {
                searches.push((format!("{} {id}", view.id), view.with_tokens(&query, None)));
            }
        }
        for (id, handler) in view.handlers() {
            if let Some(query) = handler["options"]["query"].as_str() {
                searches.push((format!("{} {id}", view.id), view.with_tokens(query, None)));
            }
        }
    }
    searches
}

#[test]
fn every_view_is_in_order() {
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    let mut wrong = vec![];
    for view in &views {
        let canned =
            fs::read_to_string(root().join(format!("tests/it/views/{}.json", view.id))).ok();
        let canned = canned.map(|text| serde_json::from_str(&text).unwrap());
        let found = findings(view, &views, canned.as_ref());
        wrong.extend(found.into_iter().map(|what| format!("{}: {what}", view.id)));
    }
    for path in files("tests/it/views") {
        let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if !views.iter().any(|view| view.id == id) {
            wrong.push(format!("{}: there is no such view", path.display()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} findings\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Docusign lets an organization have any name, and the choice of it must find its events and no others.
#[test]
fn an_organization_can_be_chosen_whatever_its_name_is() {
    let names = [
        "Plain",
        "Grey \"Owl\" Ltd.",
        "\"Quoted\"",
        "North\\South",
        "Ends with \\",
        "Both \\\" of them",
        "(A) OR | B",
    ];
    let row = |cells: &[(&str, &str)]| -> Row {
        let cells = cells.iter();
        cells
            .map(|&(name, value)| (name.to_owned(), vec![value.to_owned()]))
            .collect()
    };
    let accounts = names.iter().map(|name| row(&[("organization_name", name)]));
    let events = names.iter().map(|name| {
        row(&[
            ("_time", "9000"),
            ("index", "main"),
            ("sourcetype", "ds_monitor"),
            ("eventId", name),
            ("organization_name", name),
        ])
    });
    let world = World {
        now: 10_000,
        events: events.collect(),
        lookups: [("ds_accounts".to_owned(), accounts.collect())].into(),
        ..World::default()
    };
    let run = |text: &str| {
        let found = Search::parse(text, &macros()).and_then(|search| search.run(&world));
        found.unwrap_or_else(|what| panic!("{text}: {what}"))
    };
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    let mut seen = 0;
    for view in views
        .iter()
        .filter(|view| view.data_source("organizations").is_some())
    {
        seen += 1;
        let choices = run(&view.query("organizations").unwrap());
        assert_eq!(choices.len(), names.len() + 1, "{}", view.id);
        for choice in choices {
            let (label, value) = (&choice["label"][0], &choice["value"][0]);
            let found = run(&format!(
                "`ds_monitor_index` sourcetype=ds_monitor ({value})"
            ));
            let found: BTreeSet<&str> = found
                .iter()
                .map(|event| event["eventId"][0].as_str())
                .collect();
            let expected: BTreeSet<&str> = match label.as_str() {
                "All organizations" => names.into(),
                name => [name].into(),
            };
            assert_eq!(found, expected, "{}: {value}", view.id);
        }
    }
    assert_eq!(seen, 5);
}

/// What is wrong with the navigation of an app that has these views and saved searches.
fn nav_findings(xml: &str, views: &[&str], saved: &[&str]) -> Result<Vec<String>, String> {
    let (mut found, mut named, mut defaults) = (vec![], vec![], 0);
    for (element, attributes, _) in &elements(xml)? {
        let get = |key: &str| attributes.get(key).map_or("", String::as_str);
        let name = get("name");
        match element.as_str() {
            "nav" | "collection" | "divider" => {}
            "view" => {
                defaults += usize::from(get("default") == "true");
                if !views.contains(&name) && !PAGES_OF_SPLUNK.contains(&name) {
                    found.push(format!("the view {name} does not exist"));
                }
                named.push(name.to_owned());
            }
            // All saved searches whose names contain a text, or the one of a name.
            "saved" if !get("source").is_empty() => {
                let text = get("match");
                let sources = ["all", "unclassified"];
                if !sources.contains(&get("source"))
                    || !saved.iter().any(|name| name.contains(text))
                {
                    found.push(format!("no saved search fits {text}"));
                }
            }
            "saved" if saved.contains(&name) => {}
            "saved" => found.push(format!("the saved search {name} does not exist")),
            other => found.push(format!("<{other}> is not known")),
        }
    }
    if defaults != 1 {
        found.push(format!("{defaults} views are the first to be shown"));
    }
    for view in views {
        let times = named.iter().filter(|name| name == view).count();
        if times != 1 {
            found.push(format!("{view} is there {times} times"));
        }
    }
    Ok(found)
}

#[test]
fn the_navigation_leads_to_every_view_once() {
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    if files("default/data/ui/nav").is_empty() {
        assert!(views.is_empty(), "there are views and no navigation");
        return;
    }
    assert!(!views.is_empty(), "there is a navigation and no view");
    let ids = views.iter().map(|view| view.id.as_str());
    let ids: Vec<&str> = ids.chain([SET_UP]).collect();
    let saved = conf("savedsearches");
    let saved: Vec<&str> = saved.iter().map(|(name, _)| name.as_str()).collect();
    let found = nav_findings(&read("default/data/ui/nav/default.xml"), &ids, &saved);
    assert_eq!(found, Ok(vec![]));
    let visible = setting(&stanza(&conf("app"), "ui"), "is_visible") == Some("true");
    assert!(visible, "an app with views is in the menu: is_visible");
}

#[test]
fn a_navigation_that_leads_nowhere_is_found() {
    let found = |inner: &str| {
        let xml = format!("<nav search_view=\"search\">{inner}</nav>");
        nav_findings(&xml, &["one", "two"], &["Docusign Monitor - Lag"]).unwrap()
    };
    let sound = "<view name=\"one\" default=\"true\"/><collection label=\"x\"><view name=\"two\"/></collection>";
    assert_eq!(found(sound), [""; 0]);
    let saved = "<saved source=\"unclassified\" match=\"Docusign Monitor\"/><saved name=\"Docusign Monitor - Lag\"/>";
    assert_eq!(
        found(&format!("{sound}{saved}<view name=\"search\"/>")),
        [""; 0]
    );
    for (more, words) in [
        ("<view name=\"three\"/>", "the view three does not exist"),
        ("<view name=\"two\"/>", "two is there 2 times"),
        (
            "<view name=\"search\" default=\"true\"/>",
            "2 views are the first to be shown",
        ),
        (
            "<saved name=\"Lag\"/>",
            "the saved search Lag does not exist",
        ),
        (
            "<saved source=\"all\" match=\"Docusign Detection\"/>",
            "no saved search fits Docusign Detection",
        ),
        ("<a href=\"https://example.com\"/>", "<a> is not known"),
    ] {
        assert_eq!(found(&format!("{sound}{more}")), [words]);
    }
    assert_eq!(
        found("<view name=\"one\" default=\"true\"/>"),
        ["two is there 0 times"]
    );
}

/// A small view with nothing wrong in it, and its results.
fn sound() -> (Value, Value) {
    let definition = serde_json::json!({
        "title": "Alerts",
        "description": "A view to try the checks on.",
        "defaults": {"dataSources": {"ds.search": {"options": {"queryParameters": {
            "earliest": "$global_time.earliest$", "latest": "$global_time.latest$",
        }}}}},
        "inputs": {
            "input_time": {
                "type": "input.timerange", "title": "Time range",
                "options": {"token": "global_time", "defaultValue": "-7d@d,now"},
            },
            "input_account": {
                "type": "input.dropdown", "title": "Account", "dataSources": {"primary": "accounts"},
                "options": {
                    "token": "account_filter", "defaultValue": "sourcetype=ds_monitor",
                    "items": ">frame(label, value) | objects()",
                },
                "context": {
                    "label": ">primary | seriesByName(\"label\")", "value": ">primary | seriesByName(\"value\")",
                },
            },
        },
        "dataSources": {
            "accounts": {"type": "ds.search", "name": "Accounts", "options": {
                "query": "| inputlookup ds_accounts | eval label=account_name, value=\"accountId=\".accountId | table label value",
            }},
            "alerts": {"type": "ds.search", "name": "Alerts", "options": {
                "query": "`ds_monitor_index` sourcetype=ds_monitor $account_filter$ | where data_model=\"Alerts\" | stats dc(eventId) AS count BY user severity | appendpipe [stats count AS _rows | where _rows=0 | eval user=\"Nobody is suspected.\" | fields user] | table user severity count",
            }},
            "severities": {"type": "ds.chain", "name": "Severities", "options": {
                "extend": "alerts", "query": "| stats sum(count) AS Alerts BY severity",
            }},
            "users": {"type": "ds.chain", "name": "Users", "options": {
                "extend": "alerts", "query": "| search user=\"$chosen$\" | stats dc(user) AS Users",
            }},
        },
        "visualizations": {
            "viz_header": {"type": "splunk.markdown", "options": {
                "markdown": "[Alerts](/app/ds_monitor/docusign_alerts?form.global_time.earliest=$global_time.earliest|u$&form.global_time.latest=$global_time.latest|u$&form.account_filter=$account_filter|u$)",
            }},
            "viz_alerts": {
                "type": "splunk.table", "title": "Alerts",
                "dataSources": {"primary": "alerts"},
                "options": {"columnFormat": {
                    "user": {"width": 200},
                    "severity": {"width": 110, "rowColors": "> table | seriesByName(\"severity\") | matchValue(colors)"},
                }},
                "context": {"colors": [{"match": "high", "value": "#C9302C"}]},
                "eventHandlers": [{"type": "drilldown.setToken", "options": {
                    "tokens": [{"token": "chosen", "key": "row.user.value"}], "fields": ["user"],
                }}],
            },
            "viz_severities": {
                "type": "splunk.bar", "title": "By severity", "dataSources": {"primary": "severities"},
                "options": {"x": "> primary | seriesByName('severity')", "y": "> primary | frameBySeriesNames('Alerts')"},
                "containerOptions": {"visibility": {"hideWhenNoData": true}},
                "eventHandlers": [{"type": "drilldown.linkToSearch", "options": {
                    "type": "custom", "earliest": "-1d", "latest": "now",
                    "query": "`ds_monitor_index` sourcetype=ds_monitor | eval kind=\"Alerts\" | search severity=\"$row.severity.value$\" kind=\"$name$\" | dedup eventId",
                }}],
            },
            "viz_users": {
                "type": "splunk.singlevalue", "title": "Users", "description": "Who is suspected.",
                "dataSources": {"primary": "users"},
                "options": {"majorValue": "> primary | seriesByName('Users') | lastPoint()"},
            },
        },
        "layout": {
            "type": "grid", "options": {"width": 1440, "height": 400}, "globalInputs": ["input_time", "input_account"],
            "structure": [
                {"item": "viz_header", "type": "block", "position": {"x": 0, "y": 0, "w": 1440, "h": 50}},
                {"item": "viz_alerts", "type": "block", "position": {"x": 0, "y": 50, "w": 1000, "h": 350}},
                {"item": "viz_users", "type": "block", "position": {"x": 1000, "y": 50, "w": 440, "h": 150}},
                {"item": "viz_severities", "type": "block", "position": {"x": 1000, "y": 200, "w": 440, "h": 200}},
            ],
        },
    });
    let canned = serde_json::json!({
        "accounts": [{"label": "Example", "value": "accountId=a4d80c6e-71f2-4b39-8e5d-0c9b2a1f6378"}],
        "alerts": [{"user": "ann@example.com", "severity": "high", "count": "2"}],
        "severities": [{"severity": "high", "Alerts": "2"}],
        "users": {"fields": ["Users"], "rows": [["1"]]},
    });
    (definition, canned)
}

fn findings_of(definition: &Value, canned: &Value) -> Vec<String> {
    let xml = format!(
        "<dashboard version=\"2\" theme=\"light\"><label>Alerts</label><description>Alerts.</description>\
         <definition><![CDATA[{definition}]]></definition></dashboard>"
    );
    let all = [View::parse("docusign_alerts", &xml).unwrap()];
    findings(&all[0], &all, Some(canned))
}

#[test]
fn a_view_in_which_every_name_fits_is_accepted() {
    let (definition, canned) = sound();
    assert_eq!(findings_of(&definition, &canned), [""; 0]);
}

const ALERTS: &str = "/visualizations/viz_alerts";
const QUERY: &str = "/dataSources/alerts/options/query";
const MARKDOWN: &str = "/visualizations/viz_header/options/markdown";
const EVENTS: &str = "`ds_monitor_index` sourcetype=ds_monitor $account_filter$";
const LINK: &str = "/visualizations/viz_severities/eventHandlers/0/options";

/// Puts a value at a place of the sound view, and expects a finding with these words.
fn expect(path: &str, value: impl Into<Value>, words: &str) {
    let (mut definition, canned) = sound();
    let (parent, name) = path.rsplit_once('/').unwrap();
    let value = value.into();
    match definition.pointer_mut(parent).unwrap() {
        Value::Array(values) => values[name.parse::<usize>().unwrap()] = value,
        parent => parent[name] = value,
    }
    let found = findings_of(&definition, &canned);
    assert!(
        found.iter().any(|what| what.contains(words)),
        "{path}\n  expected: {words}\n  found:    {found:?}"
    );
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The sound view's search with other commands at its end.
fn alerts_query(commands: &str) -> String {
    format!("{EVENTS} {commands}")
}

#[test]
fn names_and_keys_that_do_not_fit_are_found() {
    for (path, value, words) in [
        ("/title", "Alarms", "the title of docusign_alerts is not"),
        ("/description", "Alerts", "its description is no sentence"),
        (
            "/dataSources/alerts/options/querry",
            "x",
            "alerts: the key querry is not known",
        ),
        (
            "/visualizations/viz_alerts/title",
            "",
            "viz_alerts: it has no title",
        ),
        (
            "/visualizations/viz_alerts/descriptions",
            "x",
            "the key descriptions is not known",
        ),
    ] {
        expect(path, value, words);
    }
    expect(
        "/visualisations",
        json("{}"),
        "the key visualisations is not known",
    );
    expect(
        "/dataSources/spare",
        json(r#"{"type": "ds.search", "name": "x", "options": {"query": "| makeresults"}}"#),
        "spare: nothing uses it",
    );
}

#[test]
fn searches_that_cannot_be_read_are_found() {
    for (path, value, words) in [
        (
            "/dataSources/users/options/extend",
            "alarms",
            "users extends alarms, which is no search",
        ),
        (
            "/dataSources/users/options/query",
            "| stats dc(usr) AS Users",
            "users: stats: it reads usr, which table has not left",
        ),
    ] {
        expect(path, value, words);
    }
    for (commands, words) in [
        (
            "| stats count BY usr",
            "alerts: stats: it reads usr, which no event",
        ),
        (
            "| where data_model=\"Alert\" | stats count BY user severity",
            "no data_model is Alert",
        ),
        ("", "raw events come out"),
        ("| stats count BY user severity ]", "a `]` too many"),
    ] {
        expect(QUERY, alerts_query(commands), words);
    }
    for (query, words) in [
        (
            "index=docusign sourcetype=ds_monitor | stats count BY user severity",
            "it names an index",
        ),
        (
            "sourcetype=ds_monitor $account_filter$ | stats count BY user severity",
            "does not begin with a macro",
        ),
        (
            "`ds_monitor_index` sourcetype=ds_monitor $acount_filter$ | stats count BY user severity",
            "$acount_filter$: nothing sets it",
        ),
    ] {
        expect(QUERY, query, words);
    }
}

#[test]
fn a_search_that_reads_more_than_it_must_is_found() {
    for (commands, words) in [
        (
            "data_model=Alerts | stats count BY user severity",
            "data_model is decided by a lookup, after the pipe",
        ),
        (
            "(status=failure) | stats count BY user severity",
            "status is decided by a lookup, after the pipe",
        ),
        (
            "| dedup eventId | where data_model=\"Alerts\" | stats count BY user severity",
            "it filters after dedup",
        ),
        (
            "| sort 0 - _time | head 50 | stats count BY user severity",
            "events come newest first",
        ),
        (
            "| stats count BY user severity | append [search `ds_monitor_index` a | append [search `ds_monitor_index` b | append [search `ds_monitor_index` c | append [search `ds_monitor_log`]]]]",
            "5 scans of events when it opens",
        ),
    ] {
        expect(QUERY, alerts_query(commands), words);
    }
    expect(
        QUERY,
        "`ds_monitor_events` | stats count BY user severity",
        "it filters what is already without duplicates",
    );
    let source = |earliest: &str, query: &str| serde_json::json!({"query": query, "queryParameters": {"earliest": earliest, "latest": "now"}});
    let query = alerts_query("| stats count BY user severity");
    let before = query.replace(
        "$account_filter$",
        "[| makeresults | eval range_from=1, range_to=2, earliest=max(0, floor(2*range_from-range_to)) | table earliest]",
    );
    let words = "it reads more than 60 days when the view opens";
    expect(
        "/dataSources/alerts/options",
        source("-90d@d", &query),
        words,
    );
    expect(
        "/dataSources/alerts/options",
        source("-40d@d", &before),
        words,
    );
}

#[test]
fn a_view_that_says_nothing_when_nothing_has_arrived_is_found() {
    expect(
        QUERY,
        alerts_query("| stats count BY user severity"),
        "nothing says what to do when nothing has arrived",
    );
    expect(
        "/visualizations/viz_severities/containerOptions",
        json("{}"),
        "viz_severities: when it is empty it must either go or say so",
    );
    expect(
        "/visualizations/viz_alerts/description",
        "Empty if there was none",
        "its caption speaks of emptiness",
    );
    expect(
        "/inputs/input_time/options/defaultValue",
        "-7d@h,now",
        "its range does not begin with a whole day",
    );
    expect(
        QUERY,
        "| rest splunk_server=local /servicesNS/-/ds_monitor/saved/searches count=0 | rename title AS user cron_schedule AS severity | table user severity",
        "a schedule is shown as cron",
    );
}

#[test]
fn inputs_and_tokens_that_do_not_fit_are_found() {
    for (path, value, words) in [
        (
            "/inputs/input_account/options/defaultValue",
            "",
            "input_account: it has no default",
        ),
        (
            "/inputs/input_account/options/token",
            "global_time",
            "its token is missing, or another input's",
        ),
        (
            "/inputs/input_account/context/label",
            "> primary | seriesByName('name')",
            "name does not come out of the search",
        ),
        (
            "/inputs/input_account/options/items",
            ">frame(label, values) | objects()",
            "values is not in the context",
        ),
        (
            "/inputs/input_time/options/defaultValue",
            "-7x,now",
            "the time -7x is not understood",
        ),
    ] {
        expect(path, value, words);
    }
    let token = format!("{ALERTS}/eventHandlers/0/options/tokens/0/token");
    expect(&token, "choosen", "$chosen$: nothing sets it");
    expect(&token, "choosen", "$choosen$: nothing uses it");
}

#[test]
fn columns_that_a_panel_does_not_get_are_found() {
    for (path, value, words) in [
        (
            "/visualizations/viz_alerts/dataSources/primary",
            "alarms",
            "the data source \"alarms\" (primary) does not exist",
        ),
        (
            "/visualizations/viz_alerts/options/columnFormat/severity/rowColors",
            "> table | seriesByName('severity') | matchValue(colours)",
            "colours is not in the context",
        ),
        (
            "/visualizations/viz_alerts/options/columnFormat/severity/rowColors",
            "> tabel | seriesByName('severity')",
            "tabel is nothing to take columns from",
        ),
        (
            "/visualizations/viz_users/options/majorValue",
            "> primary | seriesByname('Users')",
            "the function seriesByname is not known",
        ),
        (
            "/visualizations/viz_users/options/majorValue",
            "> primary | seriesByName('users')",
            "users does not come out of the search",
        ),
        (
            "/visualizations/viz_alerts/eventHandlers/0/options/tokens/0/key",
            "row.usr.value",
            "row.usr.value does not come out",
        ),
    ] {
        expect(path, value, words);
    }
    expect(
        &format!("{ALERTS}/options/columnFormat/User"),
        json("{}"),
        "User does not come out of the search",
    );
}

#[test]
fn a_table_that_cannot_be_read_in_a_narrow_window_is_found() {
    let format = format!("{ALERTS}/options/columnFormat");
    for (columns, words) in [
        (
            r#"{"user": {"width": 200}}"#,
            "not one of its columns is without a width",
        ),
        (
            r#"{"user": {"width": 200}, "severity": {"width": 100}, "count": {"width": 80}}"#,
            "not one of its columns is without a width",
        ),
        (
            r#"{"user": {"width": 200}, "severity": {"width": 70}}"#,
            "the header severity does not fit",
        ),
        (
            r#"{"user": {"width": 600}, "severity": {"width": 110}}"#,
            "its columns need 779 pixels of 702",
        ),
        (
            r#"{"user": {"width": 200, "textOverflow": "ellipsis"}, "severity": {"width": 110}}"#,
            "a cell is cut",
        ),
    ] {
        expect(&format, json(columns), words);
    }
    expect(
        QUERY,
        alerts_query("| rename src AS Address | stats count BY user severity Address"),
        "not one of its columns is without a width",
    );
}

#[test]
fn a_click_that_leads_nowhere_is_found() {
    expect(
        &format!("{ALERTS}/eventHandlers/0/type"),
        "drilldown.setTokens",
        "the event handler drilldown.setTokens is not known",
    );
    let fields = format!("{ALERTS}/eventHandlers/0/options/fields");
    expect(
        &fields,
        json(r#"["User"]"#),
        "the column User, to be clicked, is not there",
    );
    expect(
        &fields,
        json("[]"),
        "not one column of the table can be clicked",
    );
    let events = "`ds_monitor_index` sourcetype=ds_monitor";
    for (query, words) in [
        (
            format!("{events} | search severity=\"$row.usr.value$\" user=\"$name$\""),
            "row.usr.value does not come out",
        ),
        (
            format!("{events} | search severity=$row.severity.value$ user=\"$name$\""),
            "stands without quotation marks",
        ),
        (
            format!("{events} | search usr=\"$row.severity.value$\" user=\"$name$\""),
            "the link to a search: search: it reads usr",
        ),
        (
            format!(
                "{events} | dedup eventId | search severity=\"$row.severity.value$\" user=\"$name$\""
            ),
            "it filters after dedup",
        ),
        (
            format!("{events} | search src=\"$row.severity.value$\" user=\"$name$\""),
            "src is not among the raw terms of the link",
        ),
        (
            format!("{events} | where data_model=\"Alerts\""),
            "it forgets what was clicked",
        ),
    ] {
        expect(&format!("{LINK}/query"), query, words);
    }
    expect(
        &format!("{LINK}/earliest"),
        "$time.earliest$",
        "earliest of the link",
    );
    expect(
        QUERY,
        alerts_query("| stats count BY user severity | eval _person=user"),
        "it has a person, to whom it does not lead",
    );
    expect(
        &format!("{ALERTS}/eventHandlers/0"),
        json(
            r#"{"type": "drilldown.customUrl", "options": {"url": "/app/ds_monitor/$row.severity.value$?s=%2FservicesNS%2Fnobody%2Fds_monitor%2Fsaved%2Fsearches%2F$row.user.value|u$"}}"#,
        ),
        "viz_alerts: a row leads to high, which is no page of Splunk's",
    );
    expect(
        &format!("{ALERTS}/eventHandlers/0"),
        json(
            r#"{"type": "drilldown.customUrl", "options": {"url": "/app/ds_monitor/search?q=%60ds_monitor_index%60%20sourcetype%3Dds_monitor%20%7C%20search%20usr%3D%22$row.user.value|u$%22&earliest=-1d&latest=now", "fields": ["user"]}}"#,
        ),
        "viz_alerts: the link to a search: search: it reads usr",
    );
}

#[test]
fn links_that_lead_nowhere_are_found() {
    for (markdown, words) in [
        ("[x](https://example.com/)", "leaves the app"),
        (
            "[x](/app/ds_monitor/docusign_alarms)",
            "the view docusign_alarms does not exist",
        ),
        (
            "[x](/app/ds_monitor/docusign_alerts?form.account_filter=$account_filter|u$)",
            "drops global_time.earliest",
        ),
        (
            "[x](/app/ds_monitor/docusign_alerts?form.account_filter=$account_filter$)",
            "needs the filter |u",
        ),
        (
            "[x](/app/ds_monitor/docusign_alerts?form.user=$chosen|u$)",
            "docusign_alerts has no token user",
        ),
        (
            "[x](/app/ds_monitor/report?s=%2FservicesNS%2Fnobody%2Fds_monitor%2Fsaved%2Fsearches%2FNone)",
            "the saved search None does not exist",
        ),
    ] {
        expect(MARKDOWN, markdown, words);
    }
}

#[test]
fn panels_without_a_place_of_their_own_are_found() {
    let item = "/layout/structure/2/item";
    expect(item, "viz_alerts", "the layout has viz_alerts twice");
    expect(item, "viz_alerts", "viz_users is not in the layout");
    expect(
        item,
        "viz_user",
        "the layout has viz_user, which does not exist",
    );
    expect(
        "/layout/globalInputs",
        json(r#"["input_time"]"#),
        "input_account is not once in the layout",
    );
    expect(
        "/layout/structure/2/position/x",
        900,
        "viz_users lies over viz_alerts",
    );
    expect(
        "/layout/structure/2/position/w",
        600,
        "viz_users is wider than the canvas",
    );
}

/// Backtest runs a detection without its last command, which keeps what was found.
#[test]
fn every_detection_can_be_tried_before_it_is_enabled() {
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    let view = views.iter().find(|view| view.id == "docusign_backtest");
    let query = view.unwrap().query("detections").unwrap();
    let tail = "(?s)[|]\\s*\\x60ds_monitor_finding.*$";
    assert!(query.contains(&format!("replace(search, \"{tail}\", \"\")")));
    let mut tried = 0;
    for (name, settings) in conf("savedsearches") {
        if !name.starts_with("Docusign Detection - ") {
            continue;
        }
        let search = setting(&settings, "search").unwrap_or_default();
        let search = search
            .split("| `ds_monitor_finding")
            .next()
            .unwrap_or_default();
        assert!(
            !search.contains("outputlookup"),
            "{name} would keep what it finds"
        );
        let fields = check_search(search).unwrap_or_else(|what| panic!("{name}: {what}"));
        let fields = fields.unwrap_or_else(|| panic!("{name} ends with raw events"));
        for field in ["_time", "severity", "actor", "user", "finding"] {
            assert!(has_field(&fields, field), "{name} has no {field}");
        }
        tried += 1;
    }
    assert!(tried >= 18, "{tried} detections");
}

/// The numbers of a view count every event once, compare with the period before, and leave out days that are not over.
#[test]
fn numbers_compare_with_the_period_before_and_charts_have_whole_days() {
    const DAY: i64 = 86_400;
    // Noon, so that the last day is not over.
    const NOW: i64 = 20_000 * DAY + DAY / 2;
    let event = |id: &str, days_ago: i64| -> Row {
        let time = (NOW - days_ago * DAY - 60).to_string();
        [
            ("_time", time.as_str()),
            ("index", "main"),
            ("sourcetype", "ds_monitor"),
            ("eventId", id),
            ("data_model", "Authentication"),
            ("status", "failure"),
        ]
        .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
        .into()
    };
    let world = World {
        now: NOW,
        events: vec![
            event("today", 0),
            event("yesterday", 1),
            event("yesterday", 1),
            event("a week ago", 7),
            event("before", 8),
            event("long ago", 20),
        ],
        ..World::default()
    };
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    let view = views
        .iter()
        .find(|view| view.id == "docusign_logins")
        .unwrap();
    let run = |source: &str| {
        let query = view.with_tokens(&view.query(source).unwrap(), None);
        // The range as Splunk hands it on when somebody has chosen it by hand.
        let from = relative_time(NOW, "-7d@d").unwrap();
        let query = query
            .replace("\"-7d@d\"", &format!("\"{from}\""))
            .replace("\"now\"", &format!("\"{NOW}\""));
        let found = Search::parse(&query, &macros()).and_then(|search| search.run(&world));
        found.unwrap_or_else(|what| panic!("{source}: {what}"))
    };
    let totals = run("totals");
    assert_eq!(totals.len(), 1);
    assert_eq!(
        (&*totals[0]["failed"][0], &*totals[0]["failed_change"][0]),
        ("3", "2")
    );
    let days: Vec<(i64, String)> = run("over_time")
        .iter()
        .map(|row| (row["_time"][0].parse().unwrap(), row["Failed"][0].clone()))
        .collect();
    let expected: Vec<(i64, String)> = (1..=7)
        .rev()
        .map(|ago| {
            let failed = if [1, 7].contains(&ago) { "1" } else { "0" };
            ((20_000 - ago) * DAY, failed.to_owned())
        })
        .collect();
    assert_eq!(days, expected);
}

/// Blocked addresses are networks, and an address may have no country that Docusign knows.
#[test]
fn log_ins_from_blocked_countries_and_addresses_are_listed_successes_first() {
    let row = |cells: &[(&str, &str)]| -> Row {
        let cells = cells.iter();
        cells
            .map(|&(name, value)| (name.to_owned(), vec![value.to_owned()]))
            .collect()
    };
    let log_in = |id: &str, who: &str, status: &str, src: &str, country: &str| {
        let mut event = row(&[
            ("_time", "9000"),
            ("index", "main"),
            ("sourcetype", "ds_monitor"),
            ("data_model", "Authentication"),
            ("eventId", id),
            ("actor_id", who),
            ("status", status),
            ("src", src),
        ]);
        if !country.is_empty() {
            event.insert("src_country".to_owned(), vec![country.to_owned()]);
        }
        event
    };
    let mut world = World {
        now: 10_000,
        events: vec![
            log_in("1", "at home", "success", "192.0.2.1", "germany"),
            log_in("2", "tries", "failure", "198.51.100.7", "atlantis"),
            log_in("2", "tries", "failure", "198.51.100.7", "atlantis"),
            log_in("3", "gets in", "success", "198.51.100.9", "atlantis"),
            log_in("4", "proxy", "failure", "203.0.113.5", ""),
        ],
        lookups: [
            ("ds_blocked_countries".to_owned(), vec![]),
            ("ds_blocked_addresses".to_owned(), vec![]),
        ]
        .into(),
        ..World::default()
    };
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    let view = views.iter().find(|view| view.id == "docusign_logins");
    let query = view.unwrap().query("blocked").unwrap();
    let query = view.unwrap().with_tokens(&query, None);
    let search = Search::parse(&query, &macros()).unwrap();

    let empty = search.run(&world).unwrap_or_else(|what| panic!("{what}"));
    assert_eq!(empty.len(), 1, "{empty:?}");
    assert!(
        empty[0]["Country"][0].contains("outputlookup append=true ds_blocked_countries"),
        "{empty:?}"
    );

    world.lookups = [
        (
            "ds_blocked_countries".to_owned(),
            vec![row(&[("country", "atlantis")])],
        ),
        (
            "ds_blocked_addresses".to_owned(),
            vec![row(&[("address", "203.0.113.0/24")])],
        ),
    ]
    .into();
    let found = search.run(&world).unwrap_or_else(|what| panic!("{what}"));
    let cell = |row: &Row, name: &str| row.get(name).map_or(String::new(), |cell| cell.join("; "));
    let found: Vec<Vec<String>> = found
        .iter()
        .map(|row| {
            [
                "_person", "Country", "Address", "Blocked", "Success", "Failed",
            ]
            .map(|name| cell(row, name))
            .to_vec()
        })
        .collect();
    assert_eq!(
        found[0],
        ["gets in", "Atlantis", "198.51.100.9", "Country", "1", "0"]
    );
    let failed: BTreeSet<&Vec<String>> = found[1..].iter().collect();
    let expected = [
        ["tries", "Atlantis", "198.51.100.7", "Country", "0", "1"],
        ["proxy", "Unknown", "203.0.113.5", "Address", "0", "1"],
    ]
    .map(|row| row.map(str::to_owned).to_vec());
    assert_eq!(failed, expected.iter().collect());
}

/// The state of an input is one search, so that two views never disagree.
#[test]
fn every_view_says_the_same_of_an_input() {
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    let state = |view: &str, source: &str| {
        let view = views.iter().find(|it| it.id == view).unwrap();
        let query = view.query(source).unwrap();
        let common = query.split("| appendpipe").next().unwrap().to_owned();
        let times = view.data_source(source).unwrap()["options"]["queryParameters"].clone();
        (common, times)
    };
    assert_eq!(
        state("docusign_overview", "feed"),
        state("docusign_health", "state")
    );
}

/// In a cluster every member starts the input and one collects. The others are neither silent nor missing.
#[test]
fn an_input_of_a_cluster_shows_who_collects_and_who_stands_by() {
    const NOW: i64 = 1_800_000_000;
    let line = |minutes_ago: i64, host: &str, cells: &[(&str, &str)]| -> Row {
        let time = (NOW - 60 * minutes_ago).to_string();
        let of_splunk = [
            ("_time", time.as_str()),
            ("host", host),
            ("index", "_internal"),
            ("sourcetype", "splunkd"),
            ("_raw", "ExecProcessor ds_monitor"),
        ];
        let cells = of_splunk.iter().chain(cells);
        cells
            .map(|&(name, value)| (name.to_owned(), vec![value.to_owned()]))
            .collect()
    };
    let run = |minutes_ago: i64, host: &str, input: &str, member: Option<&str>| {
        let mut cells = vec![("action", "events_ingested"), ("modular_input_name", input)];
        cells.extend(member.map(|member| ("member", member)));
        line(minutes_ago, host, &cells)
    };
    let skip = |minutes_ago: i64, host: &str, member: Option<&str>| {
        let mut cells = vec![("action", "skip"), ("input", "ds_monitor://shared")];
        cells.extend(member.map(|member| ("member", member)));
        line(minutes_ago, host, &cells)
    };
    let collects = "AAAAAAAA-0000-0000-0000-000000000000";
    let before = "BBBBBBBB-0000-0000-0000-000000000000";
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    let view = views
        .iter()
        .find(|view| view.id == "docusign_health")
        .unwrap();
    let query = view.with_tokens(&view.query("state").unwrap(), None);
    let retired = [("host", "fwd3"), ("input", "ds_monitor://shared")];
    let retired = retired.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
    let state = |events: Vec<Row>| -> Vec<[String; 4]> {
        let world = World {
            now: NOW,
            events,
            lookups: BTreeMap::from([(
                "ds_retired_inputs".to_owned(),
                vec![Row::from(retired.clone())],
            )]),
            ..World::default()
        };
        let found = Search::parse(&query, &macros()).and_then(|search| search.run(&world));
        let found = found.unwrap_or_else(|what| panic!("{what}"));
        let cell =
            |row: &Row, name: &str| row.get(name).map_or(String::new(), |cell| cell.join("; "));
        let cells = |row: &Row| ["State", "Input", "Host", "Member"].map(|name| cell(row, name));
        found.iter().map(cells).collect()
    };
    let expect = |events: Vec<Row>, expected: &[[&str; 4]]| {
        let expected: Vec<[String; 4]> =
            expected.iter().map(|row| row.map(str::to_owned)).collect();
        assert_eq!(state(events), expected);
    };
    expect(
        vec![
            run(1, "sh1", "ds_monitor://shared", Some(collects)),
            skip(1, "sh2", Some(collects)),
            run(300, "sh2", "ds_monitor://shared", Some(before)),
            run(9_000, "sh0", "ds_monitor://shared", Some(before)),
            skip(1, "sh3", Some(collects)),
        ],
        &[
            ["Up to date", "shared", "sh1", "AAAAAAAA"],
            ["Stands by", "shared", "sh2", "BBBBBBBB"],
            ["Stands by", "shared", "sh3", ""],
            ["Replaced", "shared", "sh0", "BBBBBBBB"],
        ],
    );
    // Nobody collects: then all of them are silent.
    expect(
        vec![
            run(90, "sh1", "ds_monitor://shared", Some(collects)),
            skip(1, "sh2", Some(collects)),
        ],
        &[
            ["Silent", "shared", "sh1", "AAAAAAAA"],
            ["Silent", "shared", "sh2", ""],
        ],
    );
    // Without a cluster a host stands for itself, and a run that finds another one at work says nothing.
    expect(
        vec![
            run(1, "fwd1", "ds_monitor://shared", None),
            run(90, "fwd2", "ds_monitor://shared", None),
            skip(1, "fwd2", None),
        ],
        &[
            ["Silent", "shared", "fwd2", ""],
            ["Up to date", "shared", "fwd1", ""],
        ],
    );
    // One that ds_retired_inputs names is not missed, but shown as what it is once it runs again.
    for (minutes_ago, is) in [(90, "Retired"), (1, "Up to date")] {
        expect(
            vec![run(minutes_ago, "fwd3", "ds_monitor://shared", None)],
            &[[is, "shared", "fwd3", ""]],
        );
    }
}

#[test]
fn a_changed_group_and_permission_profile_are_shown_by_name() {
    let row = |kind, name| {
        [
            ("kind", kind),
            ("id", "7"),
            ("accountId", "A1"),
            ("name", name),
        ]
    };
    let search_time = SearchTime::read()
        .with_row("ds_profiles", &row("group", "Everyone"))
        .with_row("ds_profiles", &row("permission_profile", "Sender"));
    let events = [
        ("GroupUpdated", "GroupId", "7"),
        ("PermissionProfileUpdated", "PermissionProfileId", "7"),
        // Nobody has told its name.
        ("GroupUpdated", "GroupId", "8"),
    ];
    let events = events.map(|(action, member, id)| {
        search_time.event(&json!({
            "timestamp": "2026-10-01T10:00:00Z", "eventId": format!("{action} {id}"), "object": "Account",
            "action": action, "userId": "U1", "accountId": "A1", "data": {member: id},
        }))
    });
    let world = World {
        now: 1_790_850_000,
        events: events.to_vec(),
        lookups: search_time.lookups(),
        ..World::default()
    };
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    for (view, source) in [
        ("docusign_administration", "list"),
        ("docusign_person", "line"),
    ] {
        let view = views.iter().find(|it| it.id == view).unwrap();
        let query = view.with_tokens(&view.query(source).unwrap(), Some(("person", "U1")));
        let found = Search::parse(&query, &macros()).and_then(|search| search.run(&world));
        let found = found.unwrap_or_else(|what| panic!("{what}"));
        let targets = found.iter().flat_map(|row| &row["Target"]);
        assert_eq!(
            targets.collect::<Vec<_>>(),
            ["Everyone", "Sender", "8"],
            "{}",
            view.id
        );
    }
}

/// The cells of the rows of canned results, as text.
fn canned_rows(results: &Value) -> Vec<Row> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields: Vec<&str> = results["fields"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let rows = results["rows"].as_array().into_iter().flatten();
    rows.map(|row| {
        let cells = row.as_array().into_iter().flatten().map(text);
        let cells = fields.iter().zip(cells);
        cells
            .map(|(field, cell)| ((*field).to_owned(), vec![cell]))
            .collect()
    })
    .collect()
}

/// Rows in the form of the files of canned results, with the fields in the order of the search.
fn as_canned(fields: &[String], rows: &[Row]) -> String {
    let cell = |row: &Row, field: &String| -> Value {
        let text = row.get(field).map_or(String::new(), |cell| cell.join(", "));
        match (field.as_str(), text.parse::<i64>()) {
            ("_time", Ok(seconds)) => chrono::DateTime::from_timestamp(seconds, 0)
                .map_or(text, |time| {
                    time.format("%Y-%m-%dT%H:%M:%S.000+00:00").to_string()
                })
                .into(),
            (_, Ok(number)) => number.into(),
            (_, Err(_)) => text.into(),
        }
    };
    let line = |values: Vec<Value>| {
        let values: Vec<String> = values.iter().map(Value::to_string).collect();
        format!("[{}]", values.join(", "))
    };
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            let row = fields.iter().map(|field| cell(row, field)).collect();
            format!("    {}", line(row))
        })
        .collect();
    let fields = line(fields.iter().map(|field| field.as_str().into()).collect());
    format!(
        "{{\"fields\": {fields}, \"rows\": [\n{}\n  ]}}",
        rows.join(",\n")
    )
}

/// What the pictures show of detections, schedules and findings comes from the searches that are shipped: only which
/// of them are on, and what they have found, is invented, and the invented findings are such as they can find.
#[test]
fn the_pictures_show_the_searches_that_are_shipped() {
    const DAY: i64 = 86_400;
    let views = views().unwrap_or_else(|what| panic!("{what}"));
    let view = |id: &str| views.iter().find(|view| view.id == id).unwrap();
    let canned = |id: &str| -> Value {
        serde_json::from_str(&read(&format!("tests/it/views/{id}.json"))).unwrap()
    };
    let row = |cells: &[(&str, &str)]| -> Row {
        let cells = cells.iter().filter(|(_, value)| !value.is_empty());
        cells
            .map(|&(name, value)| (name.to_owned(), vec![value.to_owned()]))
            .collect()
    };
    let saved = conf("savedsearches");

    // The findings that are invented, as the collection ds_findings has them.
    let invented = canned_rows(&canned("docusign_findings")["findings"]);
    let mut wrong = vec![];
    let mut kept = vec![];
    for found in &invented {
        let get = |name: &str| found[name][0].as_str();
        let clock = get("Time").split_once(' ').unwrap().1;
        let (hour, minute) = clock.split_once(':').unwrap();
        let minutes = hour.parse::<i64>().unwrap() * 60 + minute.parse::<i64>().unwrap();
        let time = get("day").parse::<i64>().unwrap() + minutes * 60;
        let name = format!("Docusign Detection - {}", get("Detection"));
        let detection = stanza(&saved, &name);
        let says = |key: &str| setting(&detection, key).unwrap_or_default();
        let severity = get("Severity").to_lowercase();
        let can_be = |text: &str| says("search").contains(&format!("\"{text}\""));
        let passed_on = get("Finding").contains(&format!("({severity})"));
        if !can_be(&severity) && !passed_on {
            wrong.push(format!("{name} finds nothing {severity}"));
        }
        if !can_be(get("Technique")) {
            wrong.push(format!("{name} has no technique {}", get("Technique")));
        }
        kept.push(row(&[
            ("time", &time.to_string()),
            ("severity", &severity),
            ("detection", get("Detection")),
            ("mitre_technique", get("Technique")),
            ("actor", get("Who")),
            ("actor_id", get("_person")),
            ("finding", get("Finding")),
        ]));
    }
    let newest = invented.iter().map(|found| found["day"][0].parse::<i64>());
    let now = newest
        .max_by_key(|day| day.clone().unwrap())
        .unwrap()
        .unwrap()
        + DAY
        - 1;

    let person = kept[0]["actor_id"][0].clone();
    for (id, derived, chosen) in [
        (
            "docusign_findings",
            &["findings", "totals", "list", "by_day", "detections"][..],
            None,
        ),
        ("docusign_overview", &["findings"], None),
        ("docusign_person", &["findings"], Some(("person", &*person))),
        (
            "docusign_backtest",
            &["detections", "rows", "by_day", "totals"],
            None,
        ),
        ("docusign_health", &["scheduled"], None),
    ] {
        let (view, canned) = (view(id), canned(id));
        // Which ones are on is taken from the picture.
        let shown: Vec<Row> = ["detections", "scheduled"]
            .iter()
            .flat_map(|source| canned_rows(&canned[*source]))
            .collect();
        let is_on = |title: &str| {
            let name = title.split_once(" - ").unwrap().1;
            shown.iter().any(|row| {
                let named = row.get("Detection").or(row.get("Search"));
                named.is_some_and(|cell| cell[0] == name) && row["State"][0] == "on"
            })
        };
        let of_splunk = saved.iter().map(|(title, settings)| {
            let get = |key: &str| setting(settings, key).unwrap_or_default();
            row(&[
                ("title", title),
                ("disabled", if is_on(title) { "0" } else { "1" }),
                ("is_scheduled", get("enableSched")),
                ("cron_schedule", get("cron_schedule")),
                ("description", get("description")),
                ("search", get("search")),
                ("alert.severity", get("alert.severity")),
                ("alert.track", get("alert.track")),
            ])
        });
        let world = World {
            now,
            lookups: [
                (
                    "/servicesNS/-/ds_monitor/saved/searches".to_owned(),
                    of_splunk.collect(),
                ),
                ("ds_findings".to_owned(), kept.clone()),
                ("ds_users".to_owned(), vec![]),
                ("would_be_found".to_owned(), canned_rows(&canned["found"])),
            ]
            .into(),
            ..World::default()
        };
        for source in derived {
            // What would be found is invented as the search puts it out. The range is as Splunk hands it on when somebody
            // has chosen it by hand.
            let own = &view.data_source(source).unwrap()["options"];
            let query = match own["extend"].as_str() {
                Some("found") => {
                    let chain = own["query"].as_str().unwrap();
                    format!("| inputlookup would_be_found {chain}")
                }
                _ => view.query(source).unwrap(),
            };
            let query = query
                .replace("$global_time.earliest$", &(now - 30 * DAY).to_string())
                .replace("$global_time.latest$", &now.to_string());
            let query = view.with_tokens(&query, chosen);
            let found = Search::parse(&query, &macros()).and_then(|search| search.run(&world));
            let found = found.unwrap_or_else(|what| panic!("{id} {source}: {what}"));
            let fields = view.output(source).unwrap();
            let expected = as_canned(&fields, &found);
            let expected_rows = canned_rows(&serde_json::from_str(&expected).unwrap());
            if expected_rows != canned_rows(&canned[*source]) {
                wrong.push(format!(
                    "tests/it/views/{id}.json: {source} must read:\n  \"{source}\": {expected}"
                ));
            }
            for schedule in found.iter().filter_map(|row| row.get("Schedule")) {
                if schedule[0].contains(['*', ',']) {
                    wrong.push(format!("{id} {source}: a schedule is shown as cron"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn results_for_the_pictures_have_the_fields_of_the_searches() {
    for (path, value, words) in [
        (
            "/alerts",
            serde_json::json!([{"user": "ann@example.com", "count": "2"}]),
            "missing [\"severity\"]",
        ),
        (
            "/alerts",
            serde_json::json!([{"user": "a", "severity": "low", "count": "2", "src": "x"}]),
            "not from the search [\"src\"]",
        ),
        (
            "/users",
            serde_json::json!({"fields": ["Users"], "rows": [["1", "2"]]}),
            "not as many values",
        ),
        (
            "/user",
            serde_json::json!([]),
            "canned results for user, which does not exist",
        ),
        (
            "/accounts",
            serde_json::json!([{"label": "x", "value": "account=1"}]),
            "input_account=account=1: alerts: search: it reads account",
        ),
        (
            "/accounts",
            serde_json::json!([{"label": "x", "value": "accountId=\"1"}]),
            "a quotation mark is not closed",
        ),
    ] {
        let (definition, mut canned) = sound();
        canned[path.trim_start_matches('/')] = value;
        let found = findings_of(&definition, &canned);
        assert!(
            found.iter().any(|what| what.contains(words)),
            "{words}: {found:?}"
        );
    }
    let (definition, mut canned) = sound();
    canned.as_object_mut().unwrap().remove("users");
    assert_eq!(
        findings_of(&definition, &canned),
        ["no canned results for users"]
    );
}

#[test]
fn a_file_that_is_no_view_is_refused() {
    for (xml, words) in [
        (
            "<dashboard version=\"1.1\"></dashboard>",
            "the root is no <dashboard version=\"2\">",
        ),
        (
            "<dashboard version=\"2\"><label>x</label></dashboard>",
            "not one <definition>",
        ),
        ("<dashboard version=\"2\"><label>x</label>", "not closed"),
        (
            "<dashboard version=\"2\"><definition>{</definition><description>x</description><label>x</label></dashboard>",
            "the definition:",
        ),
    ] {
        let refusal = View::parse("x", xml).err().unwrap_or_default();
        assert!(refusal.contains(words), "{xml}: {refusal}");
    }
}
