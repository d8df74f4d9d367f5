//! The dashboards, read as Dashboard Studio reads them: every name that one part uses is a name that another part has,
//! and every search in them can be read, ends with fields, and puts out what the panels show.
//!
//! What cannot be known here: which options a visualization has (Studio ignores others), how it looks, how long a
//! search takes, and whether the words on a panel are true. Conditions of visibility are only read for their tokens.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value};

use crate::knowledge::check_search;
use support::conf::{conf, macros, read, setting, stanza};
use support::spl::{Row, Search, World, relative_time};

/// The views of the app, each with its title.
const VIEWS: [(&str, &str); 6] = [
    ("docusign_overview", "Overview"),
    ("docusign_logins", "Log-ins and locations"),
    ("docusign_administration", "Users and administration"),
    ("docusign_agreements", "Envelopes and templates"),
    ("docusign_alerts", "Alerts"),
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
        let query = self.with_tokens(&self.query(id)?, None);
        check_search(&query)?
            .ok_or_else(|| "it does not end with fields: raw events come out".to_owned())
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
        if !begins.iter().any(|start| query.starts_with(start)) {
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
    // Studio writes only "No search results returned". What that means stands in the description, or in a row that
    // the search adds when there is nothing.
    let query = panel["dataSources"]["primary"]
        .as_str()
        .and_then(|source| view.query(source).ok());
    let says_so = query.is_some_and(|query| query.contains("appendpipe [") && query.contains("=0"));
    let is_hidden = panel["containerOptions"]["visibility"]["hideWhenNoData"] == true;
    if !says_so && !is_hidden && panel["description"].as_str().is_none_or(str::is_empty) {
        found.push(format!("{id}: nothing says what it means when it is empty"));
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
            if let Err(what) = check_search(&view.with_tokens(query, None)) {
                found.push(format!("{id}: the link to a search: {what}"));
            }
            for key in ["earliest", "latest"] {
                let time = view.with_tokens(options[key].as_str().unwrap_or_default(), None);
                if let Err(what) = relative_time(0, &time) {
                    found.push(format!("{id}: {key} of the link: {what}"));
                }
            }
        }
        "drilldown.customUrl" => {
            check_keys(id, options, &["url", "newTab"], found);
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
            check_keys(id, options, &["tokens"], found);
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
        if let Some(token) = name.strip_prefix("form.") {
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
            if !target && !name.starts_with("row.") {
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
                "options": {"token": "global_time", "defaultValue": "-7d@h,now"},
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
                "query": "`ds_monitor_events` | search $account_filter$ data_model=Alerts | stats count BY user severity",
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
                "type": "splunk.table", "title": "Alerts", "description": "Empty: nobody is suspected.",
                "dataSources": {"primary": "alerts"},
                "options": {"columnFormat": {"severity": {
                    "rowColors": "> table | seriesByName(\"severity\") | matchValue(colors)",
                }}},
                "context": {"colors": [{"match": "high", "value": "#C9302C"}]},
                "eventHandlers": [
                    {"type": "drilldown.setToken", "options": {"tokens": [{"token": "chosen", "key": "row.user.value"}]}},
                    {"type": "drilldown.linkToSearch", "options": {
                        "type": "custom", "earliest": "-1d", "latest": "now",
                        "query": "`ds_monitor_events` | search data_model=Alerts user=\"$row.user.value$\"",
                    }},
                ],
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
                {"item": "viz_users", "type": "block", "position": {"x": 1000, "y": 50, "w": 440, "h": 350}},
            ],
        },
    });
    let canned = serde_json::json!({
        "accounts": [{"label": "Example", "value": "accountId=a4d80c6e-71f2-4b39-8e5d-0c9b2a1f6378"}],
        "alerts": [{"user": "ann@example.com", "severity": "high", "count": "2"}],
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

#[test]
fn whatever_does_not_fit_in_a_view_is_found() {
    const ALERTS: &str = "/visualizations/viz_alerts";
    const QUERY: &str = "/dataSources/alerts/options/query";
    const EVENTS: &str = "`ds_monitor_events` | search $account_filter$";
    let link = format!("{ALERTS}/eventHandlers/1/options");
    let markdown = "/visualizations/viz_header/options/markdown";
    let set = |path: &str, value: &str| (path.to_owned(), Value::from(value));
    let json = |path: &str, text: &str| {
        (
            path.to_owned(),
            serde_json::from_str::<Value>(text).unwrap(),
        )
    };
    let cases = [
        (
            set("/title", "Alarms"),
            "the title of docusign_alerts is not",
        ),
        (
            set("/description", "Alerts"),
            "its description is no sentence",
        ),
        (
            json("/visualisations", "{}"),
            "the key visualisations is not known",
        ),
        (
            json(
                "/dataSources/spare",
                r#"{"type": "ds.search", "name": "x", "options": {"query": "| makeresults"}}"#,
            ),
            "spare: nothing uses it",
        ),
        (
            set("/dataSources/alerts/options/querry", "x"),
            "alerts: the key querry is not known",
        ),
        (
            set("/dataSources/users/options/extend", "alarms"),
            "users extends alarms, which is no search",
        ),
        (
            set(
                "/dataSources/users/options/query",
                "| stats dc(usr) AS Users",
            ),
            "users: stats: it reads usr, which stats has not left",
        ),
        (
            set(QUERY, &format!("{EVENTS} | stats count BY usr")),
            "alerts: stats: it reads usr, which no event",
        ),
        (
            set(
                QUERY,
                &format!("{EVENTS} data_model=Alert | stats count BY user severity"),
            ),
            "no data_model is Alert",
        ),
        (set(QUERY, EVENTS), "raw events come out"),
        (
            set(QUERY, &format!("{EVENTS} | stats count BY user severity ]")),
            "a `]` too many",
        ),
        (
            set(
                QUERY,
                "index=docusign sourcetype=ds_monitor | stats count BY user severity",
            ),
            "it names an index",
        ),
        (
            set(
                QUERY,
                "sourcetype=ds_monitor $account_filter$ | stats count BY user severity",
            ),
            "does not begin with a macro",
        ),
        (
            set(
                QUERY,
                "`ds_monitor_events` | search $acount_filter$ | stats count BY user severity",
            ),
            "$acount_filter$: nothing sets it",
        ),
        (
            set("/inputs/input_account/options/defaultValue", ""),
            "input_account: it has no default",
        ),
        (
            set("/inputs/input_account/options/token", "global_time"),
            "its token is missing, or another input's",
        ),
        (
            set(
                "/inputs/input_account/context/label",
                "> primary | seriesByName('name')",
            ),
            "name does not come out of the search",
        ),
        (
            set(
                "/inputs/input_account/options/items",
                ">frame(label, values) | objects()",
            ),
            "values is not in the context",
        ),
        (
            set("/inputs/input_time/options/defaultValue", "-7x,now"),
            "the time -7x is not understood",
        ),
        (
            set(&format!("{ALERTS}/dataSources/primary"), "alarms"),
            "the data source \"alarms\" (primary) does not exist",
        ),
        (
            set(&format!("{ALERTS}/title"), ""),
            "viz_alerts: it has no title",
        ),
        (
            set(&format!("{ALERTS}/description"), ""),
            "nothing says what it means when it is empty",
        ),
        (
            set(&format!("{ALERTS}/descriptions"), "x"),
            "the key descriptions is not known",
        ),
        (
            json(&format!("{ALERTS}/options/columnFormat/User"), "{}"),
            "User does not come out of the search",
        ),
        (
            set(
                &format!("{ALERTS}/options/columnFormat/severity/rowColors"),
                "> table | seriesByName('severity') | matchValue(colours)",
            ),
            "colours is not in the context",
        ),
        (
            set(
                &format!("{ALERTS}/options/columnFormat/severity/rowColors"),
                "> tabel | seriesByName('severity')",
            ),
            "tabel is nothing to take columns from",
        ),
        (
            set(
                "/visualizations/viz_users/options/majorValue",
                "> primary | seriesByname('Users')",
            ),
            "the function seriesByname is not known",
        ),
        (
            set(
                "/visualizations/viz_users/options/majorValue",
                "> primary | seriesByName('users')",
            ),
            "users does not come out of the search",
        ),
        (
            set(
                &format!("{ALERTS}/eventHandlers/0/options/tokens/0/key"),
                "row.usr.value",
            ),
            "row.usr.value does not come out",
        ),
        (
            set(
                &format!("{ALERTS}/eventHandlers/0/options/tokens/0/token"),
                "choosen",
            ),
            "$chosen$: nothing sets it",
        ),
        (
            set(
                &format!("{ALERTS}/eventHandlers/0/options/tokens/0/token"),
                "choosen",
            ),
            "$choosen$: nothing uses it",
        ),
        (
            set(
                &format!("{ALERTS}/eventHandlers/0/type"),
                "drilldown.setTokens",
            ),
            "the event handler drilldown.setTokens is not known",
        ),
        (
            set(
                &format!("{link}/query"),
                "`ds_monitor_events` | search user=\"$row.usr.value$\"",
            ),
            "row.usr.value does not come out",
        ),
        (
            set(
                &format!("{link}/query"),
                "`ds_monitor_events` | search user=$row.user.value$",
            ),
            "stands without quotation marks",
        ),
        (
            set(
                &format!("{link}/query"),
                "`ds_monitor_events` | search usr=\"$row.user.value$\"",
            ),
            "the link to a search: search: it reads usr",
        ),
        (
            set(&format!("{link}/earliest"), "$time.earliest$"),
            "earliest of the link",
        ),
        (set(markdown, "[x](https://example.com/)"), "leaves the app"),
        (
            set(markdown, "[x](/app/ds_monitor/docusign_alarms)"),
            "the view docusign_alarms does not exist",
        ),
        (
            set(
                markdown,
                "[x](/app/ds_monitor/docusign_alerts?form.account_filter=$account_filter|u$)",
            ),
            "drops global_time.earliest",
        ),
        (
            set(
                markdown,
                "[x](/app/ds_monitor/docusign_alerts?form.account_filter=$account_filter$)",
            ),
            "needs the filter |u",
        ),
        (
            set(
                markdown,
                "[x](/app/ds_monitor/docusign_alerts?form.user=$chosen|u$)",
            ),
            "docusign_alerts has no token user",
        ),
        (
            set(
                markdown,
                "[x](/app/ds_monitor/report?s=%2FservicesNS%2Fnobody%2Fds_monitor%2Fsaved%2Fsearches%2FNone)",
            ),
            "the saved search None does not exist",
        ),
        (
            json(
                &format!("{ALERTS}/eventHandlers/1"),
                r#"{"type": "drilldown.customUrl", "options": {"url": "/app/ds_monitor/$row.severity.value$?s=%2FservicesNS%2Fnobody%2Fds_monitor%2Fsaved%2Fsearches%2F$row.user.value|u$"}}"#,
            ),
            "viz_alerts: a row leads to high, which is no page of Splunk's",
        ),
        (
            json("/layout/globalInputs", r#"["input_time"]"#),
            "input_account is not once in the layout",
        ),
        (
            set("/layout/structure/2/item", "viz_alerts"),
            "the layout has viz_alerts twice",
        ),
        (
            set("/layout/structure/2/item", "viz_alerts"),
            "viz_users is not in the layout",
        ),
        (
            set("/layout/structure/2/item", "viz_user"),
            "the layout has viz_user, which does not exist",
        ),
        (
            json("/layout/structure/2/position/x", "900"),
            "viz_users lies over viz_alerts",
        ),
        (
            json("/layout/structure/2/position/w", "600"),
            "viz_users is wider than the canvas",
        ),
    ];
    let mut missed = vec![];
    for ((path, value), words) in cases {
        let (mut definition, canned) = sound();
        let (parent, name) = path.rsplit_once('/').unwrap();
        match definition.pointer_mut(parent).unwrap() {
            Value::Array(values) => values[name.parse::<usize>().unwrap()] = value,
            parent => parent[name] = value,
        }
        let found = findings_of(&definition, &canned);
        if !found.iter().any(|what| what.contains(words)) {
            missed.push(format!(
                "{path}\n  expected: {words}\n  found:    {found:?}"
            ));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
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
