//! Which fields there are after each command, and whether every one that is read can be there.

use std::collections::{BTreeMap, BTreeSet};

use super::commands::{Aggregation, Command, Operand};
use super::cursor::Result;
use super::eval::Expression;
use super::filter::{Filter, matches};

/// What the app and Splunk have, for the searches that use it.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// The fields of each sourcetype's events.
    pub sourcetypes: BTreeMap<String, BTreeSet<String>>,
    /// The columns of each lookup.
    pub lookups: BTreeMap<String, Vec<String>>,
    /// The sourcetype of each event type.
    pub event_types: BTreeMap<String, String>,
    /// The sourcetype of each tag.
    pub tags: BTreeMap<String, String>,
    /// The fields of each REST endpoint, by the end of its path.
    pub endpoints: BTreeMap<String, Vec<String>>,
}

/// What Splunk keeps of every event in its index files, so that tstats knows it.
const INDEXED: [&str; 6] = [
    "_time",
    "index",
    "sourcetype",
    "source",
    "host",
    "splunk_server",
];

/// What is known at the end of a search.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// Whether these are raw events, with whatever fields they have.
    is_open: bool,
    /// What raw events can have; none if everything.
    possible: Option<BTreeSet<String>>,
    /// The fields in order, or those that the search has added to raw events.
    names: Vec<String>,
    /// Taken away from raw events.
    removed: BTreeSet<String>,
    /// Whether there are columns that are named by values.
    has_value_columns: bool,
    /// What has left the fields as they are, for messages.
    since: String,
    made: BTreeSet<String>,
    /// Every field that is read before the search itself has made it.
    pub reads: BTreeSet<String>,
    /// Every text that such a field is compared with.
    pub compared: BTreeSet<(String, String)>,
    /// The lookups that it names, the event types, and the kinds of events that it begins with.
    pub lookups: BTreeSet<String>,
    pub event_types: BTreeSet<String>,
    pub sourcetypes: BTreeSet<String>,
}

/// What addinfo adds to every row.
const ADDED_INFO: [&str; 4] = [
    "info_min_time",
    "info_max_time",
    "info_search_time",
    "info_sid",
];

pub(super) fn follow(commands: &[Command], knowledge: Option<&Knowledge>) -> Result<Flow> {
    let mut flow = Flow::default();
    flow.begin(commands, knowledge)?;
    for command in commands {
        flow.step(command, knowledge)
            .map_err(|what| format!("{}: {what}", name_of(command)))?;
    }
    Ok(flow)
}

fn name_of(command: &Command) -> &'static str {
    match command {
        Command::Search(_) => "search",
        Command::Where(_) => "where",
        Command::Eval(_) => "eval",
        Command::Stats { .. } => "stats",
        Command::Eventstats { .. } => "eventstats",
        Command::Streamstats { .. } => "streamstats",
        Command::Chart { row, .. } if row == "_time" => "timechart",
        Command::Chart { .. } => "chart",
        Command::Bin { .. } => "bin",
        Command::Sort { .. } => "sort",
        Command::Head(_) => "head",
        Command::Tail(_) => "tail",
        Command::Reverse => "reverse",
        Command::Dedup { .. } => "dedup",
        Command::Table(_) => "table",
        Command::Fields { .. } => "fields",
        Command::Rename(_) => "rename",
        Command::Fillnull { .. } => "fillnull",
        Command::Filldown(_) => "filldown",
        Command::Mvexpand(_) => "mvexpand",
        Command::Makemv { .. } => "makemv",
        Command::Lookup { .. } => "lookup",
        Command::Inputlookup { .. } => "inputlookup",
        Command::Outputlookup { .. } => "outputlookup",
        Command::Append(_) => "append",
        Command::Appendpipe(_) => "appendpipe",
        Command::Ctime { .. } => "convert",
        Command::Rex { .. } => "rex",
        Command::Addtotals { .. } => "addtotals",
        Command::Rest(_) => "rest",
        Command::Tstats { .. } => "tstats",
        Command::Makeresults(_) => "makeresults",
        Command::Addinfo => "addinfo",
    }
}

impl Flow {
    pub fn output(&self) -> Option<Vec<String>> {
        if self.is_open {
            return None;
        }
        let mut names = self.names.clone();
        if self.has_value_columns {
            names.push("*".to_owned());
        }
        Some(names)
    }

    pub fn has(&self, name: &str) -> bool {
        let of_events = self.is_open
            && !self.removed.contains(name)
            && self
                .possible
                .as_ref()
                .is_none_or(|fields| fields.contains(name));
        of_events || self.has_value_columns || self.names.iter().any(|known| known == name)
    }

    fn begin(&mut self, commands: &[Command], knowledge: Option<&Knowledge>) -> Result<()> {
        let Some(Command::Search(_)) = commands.first() else {
            return Ok(());
        };
        self.is_open = true;
        let Some(knowledge) = knowledge else {
            return Ok(());
        };
        let filters: Vec<Filter> = commands
            .iter()
            .map_while(|command| match command {
                Command::Search(filter) => Some(filter.clone()),
                _ => None,
            })
            .collect();
        let filter = Filter::And(filters);
        let via = |field: &str, table: &BTreeMap<String, String>| {
            let names = filter.required(field)?;
            let found = names.iter().map(|name| table.get(name).cloned());
            found.collect::<Option<Vec<String>>>()
        };
        let sourcetypes = filter
            .required("sourcetype")
            .or_else(|| via("eventtype", &knowledge.event_types))
            .or_else(|| via("tag", &knowledge.tags));
        let sourcetypes = sourcetypes.ok_or("search: it does not say of which sourcetype")?;
        let mut possible = BTreeSet::new();
        for pattern in sourcetypes {
            let fitting = knowledge
                .sourcetypes
                .iter()
                .filter(|(name, _)| matches(&pattern, name));
            let before = self.sourcetypes.len();
            for (name, fields) in fitting {
                self.sourcetypes.insert(name.clone());
                possible.extend(fields.iter().cloned());
            }
            if self.sourcetypes.len() == before {
                return Err(format!("search: the sourcetype {pattern} is not known"));
            }
        }
        self.possible = Some(possible);
        self.since = format!(
            "no event of {} has",
            self.sourcetypes
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        );
        Ok(())
    }

    fn read(&mut self, name: &str) -> Result<()> {
        if !self.has(name) {
            return Err(format!("it reads {name}, which {}", self.since));
        }
        if self.is_origin(name) {
            self.reads.insert(name.to_owned());
        }
        Ok(())
    }

    fn is_origin(&self, name: &str) -> bool {
        !self.made.contains(name)
    }

    fn read_all<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) -> Result<()> {
        names.into_iter().try_for_each(|name| self.read(name))
    }

    fn make(&mut self, name: &str) {
        self.made.insert(name.to_owned());
        self.add(name);
    }

    fn add(&mut self, name: &str) {
        self.removed.remove(name);
        if !self.names.iter().any(|known| known == name) {
            self.names.push(name.to_owned());
        }
    }

    fn remove(&mut self, name: &str) {
        self.names.retain(|known| known != name);
        self.removed.insert(name.to_owned());
    }

    /// From here on there are only these.
    fn close(&mut self, names: Vec<String>, command: &str) {
        self.is_open = false;
        self.has_value_columns = false;
        self.names = names;
        self.since = format!("{command} has not left");
    }

    fn evaluate(&mut self, expression: &Expression) -> Result<()> {
        let mut names = BTreeSet::new();
        expression.reads(&mut names);
        self.read_all(&names)?;
        let mut compared = vec![];
        expression.compared(&mut compared);
        let of_origin = compared
            .into_iter()
            .filter(|(field, _)| !self.made.contains(field));
        self.compared.extend(of_origin);
        Ok(())
    }

    fn filter(&mut self, filter: &Filter, knowledge: Option<&Knowledge>) -> Result<()> {
        let mut found = vec![];
        filter.fields(&mut found);
        for (field, operator, value) in found {
            if ["earliest", "latest"].contains(&field.as_str()) {
                super::time::relative(0, &value)?;
                continue;
            }
            self.read(&field)?;
            if ["=", "!="].contains(&operator) && self.is_origin(&field) {
                self.compared.insert((field.clone(), value.clone()));
            }
            if field == "eventtype" {
                if knowledge.is_some_and(|it| !it.event_types.contains_key(&value)) {
                    return Err(format!("the event type {value} is not known"));
                }
                self.event_types.insert(value);
            } else if field == "tag" && knowledge.is_some_and(|it| !it.tags.contains_key(&value)) {
                return Err(format!("the tag {value} is not known"));
            }
        }
        let mut searches = vec![];
        filter.searches(&mut searches);
        for search in searches {
            let inner = follow(&search.commands, knowledge).map_err(|what| format!("[{what}]"))?;
            let names = inner
                .output()
                .ok_or("the subsearch does not end with fields")?;
            // These become the range of time, and the text of the search.
            let is_field =
                |name: &&String| !["earliest", "latest", "search"].contains(&name.as_str());
            let names: Vec<String> = names.iter().filter(is_field).cloned().collect();
            self.read_all(&names)?;
            self.take_notes(inner);
        }
        Ok(())
    }

    fn take_notes(&mut self, other: Self) {
        self.reads.extend(other.reads);
        self.compared.extend(other.compared);
        self.lookups.extend(other.lookups);
        self.event_types.extend(other.event_types);
        self.sourcetypes.extend(other.sourcetypes);
    }

    fn aggregate(&mut self, aggregations: &[Aggregation]) -> Result<()> {
        for aggregation in aggregations {
            match &aggregation.of {
                None => {}
                Some(Operand::Field(field)) => self.read(field)?,
                Some(Operand::Eval(expression)) => self.evaluate(expression)?,
            }
            if ["earliest", "latest", "earliest_time", "latest_time"]
                .contains(&&*aggregation.function)
            {
                self.read("_time")?;
            }
        }
        Ok(())
    }

    fn table(&mut self, table: &str, knowledge: Option<&Knowledge>) -> Result<Option<Vec<String>>> {
        self.lookups.insert(table.to_owned());
        let Some(knowledge) = knowledge else {
            return Ok(None);
        };
        let columns = knowledge.lookups.get(table);
        Ok(Some(
            columns
                .ok_or_else(|| format!("the lookup {table} is not known"))?
                .clone(),
        ))
    }

    fn step(&mut self, command: &Command, knowledge: Option<&Knowledge>) -> Result<()> {
        match command {
            Command::Search(filter) => self.filter(filter, knowledge),
            Command::Where(condition) => self.evaluate(condition),
            Command::Lookup {
                table,
                inputs,
                outputs,
                ..
            } => self.lookup(table, inputs, outputs.as_deref(), knowledge),
            Command::Inputlookup {
                table,
                append,
                filter,
            } => self.inputlookup(table, *append, filter.as_ref(), knowledge),
            Command::Outputlookup { table, key } => {
                self.outputlookup(table, key.as_deref(), knowledge)
            }
            Command::Append(search) => {
                let inner = follow(&search.commands, knowledge);
                self.append(inner.map_err(|what| format!("[{what}]"))?);
                Ok(())
            }
            Command::Appendpipe(commands) => {
                let mut inner = self.clone();
                for command in commands {
                    inner
                        .step(command, knowledge)
                        .map_err(|what| format!("[{}: {what}]", name_of(command)))?;
                }
                self.made.extend(inner.made.iter().cloned());
                self.append(inner);
                Ok(())
            }
            Command::Rest(path) => self.rest(path, knowledge),
            Command::Tstats {
                datamodel: Some(datamodel),
                ..
            } => Err(format!(
                "the fields of the data model {datamodel} are not known"
            )),
            Command::Tstats {
                aggregations,
                filter,
                by,
                ..
            } => self.tstats(aggregations, filter.as_ref(), by, knowledge),
            other => self.shape(other),
        }
    }

    /// The commands that need nothing but the fields that are there.
    fn shape(&mut self, command: &Command) -> Result<()> {
        match command {
            Command::Eval(assigned) => {
                for (field, value) in assigned {
                    self.evaluate(value)
                        .map_err(|what| format!("{field}: {what}"))?;
                    self.make(field);
                }
            }
            Command::Stats { aggregations, by } => self.stats(aggregations, by)?,
            Command::Eventstats { aggregations, by } => {
                self.aggregate(aggregations)?;
                self.read_all(by)?;
                aggregations.iter().for_each(|it| self.make(&it.name));
            }
            Command::Streamstats {
                aggregations,
                by,
                time_window,
                ..
            } => {
                self.aggregate(aggregations)?;
                self.read_all(by)?;
                if time_window.is_some() {
                    self.read("_time")?;
                }
                aggregations.iter().for_each(|it| self.make(&it.name));
            }
            Command::Chart {
                aggregations,
                row,
                column,
            } => self.chart(aggregations, row, column.as_ref(), name_of(command))?,
            Command::Bin { field, to, .. } => {
                self.read(field)?;
                self.make(to);
            }
            Command::Sort { keys, .. } => self.read_all(keys.iter().map(|(field, _)| field))?,
            Command::Head(_) | Command::Tail(_) | Command::Reverse => {}
            Command::Dedup { fields, .. } => self.read_all(fields)?,
            Command::Table(fields) => {
                self.read_all(fields)?;
                self.close(fields.clone(), "table");
            }
            Command::Fields {
                keep,
                names,
                hidden,
            } => self.fields(*keep, names, *hidden)?,
            Command::Rename(pairs) => self.rename(pairs)?,
            Command::Fillnull { fields, .. } => {
                // It makes a field that is not there, which hides a misspelled name.
                self.read_all(fields)?;
                fields.iter().for_each(|field| self.add(field));
            }
            Command::Filldown(fields) => self.read_all(fields)?,
            Command::Mvexpand(field) | Command::Makemv { field, .. } => self.read(field)?,
            Command::Ctime { fields, .. } => {
                self.read_all(fields.iter().map(|(field, _)| field))?;
                fields.iter().for_each(|(_, to)| self.make(to));
            }
            Command::Rex { field, made } => {
                self.read(field)?;
                made.iter().for_each(|field| self.make(field));
            }
            Command::Addtotals { made, fields } => {
                self.read_all(fields)?;
                self.make(made);
            }
            Command::Addinfo => ADDED_INFO.iter().for_each(|field| self.make(field)),
            Command::Makeresults(_) => {
                self.close(vec![], "makeresults");
                self.make("_time");
            }
            Command::Search(_)
            | Command::Where(_)
            | Command::Lookup { .. }
            | Command::Inputlookup { .. }
            | Command::Outputlookup { .. }
            | Command::Append(_)
            | Command::Appendpipe(_)
            | Command::Rest(_)
            | Command::Tstats { .. } => {
                return Err(format!("{} needs more than fields", name_of(command)));
            }
        }
        Ok(())
    }

    /// fields: what is kept, or taken away.
    fn fields(&mut self, keep: bool, names: &[String], hidden: bool) -> Result<()> {
        self.read_all(names)?;
        if keep {
            // The hidden ones stay until they are taken away by name.
            let mut kept = names.to_vec();
            for name in ["_time", "_raw"] {
                if self.has(name) && !self.has_value_columns && !names.iter().any(|it| it == name) {
                    kept.push(name.to_owned());
                }
            }
            self.close(kept, "fields");
        } else {
            names.iter().for_each(|name| self.remove(name));
            if hidden {
                let of_splunk: Vec<String> = self
                    .names
                    .iter()
                    .filter(|name| name.starts_with('_'))
                    .cloned()
                    .collect();
                of_splunk.iter().for_each(|name| self.remove(name));
                ["_time", "_raw"].iter().for_each(|name| self.remove(name));
            }
        }
        Ok(())
    }

    fn rename(&mut self, pairs: &[(String, String)]) -> Result<()> {
        self.read_all(pairs.iter().map(|(from, _)| from))?;
        for (from, to) in pairs {
            let is_named = self.names.contains(from);
            // What had the new name is gone.
            self.names.retain(|name| name != to);
            for name in self.names.iter_mut().filter(|name| *name == from) {
                name.clone_from(to);
            }
            if !is_named {
                self.names.push(to.clone());
            }
            self.made.insert(to.clone());
            self.removed.insert(from.clone());
            self.removed.remove(to);
        }
        Ok(())
    }

    fn lookup(
        &mut self,
        table: &str,
        inputs: &[(String, String)],
        outputs: Option<&[(String, String)]>,
        knowledge: Option<&Knowledge>,
    ) -> Result<()> {
        self.read_all(inputs.iter().map(|(_, field)| field))?;
        let columns = self.table(table, knowledge)?;
        let named = outputs.into_iter().flatten();
        if let Some(columns) = &columns {
            for (column, _) in inputs.iter().chain(named) {
                if !columns.contains(column) {
                    return Err(format!("{table} has no column {column}"));
                }
            }
        }
        match outputs {
            Some(outputs) => outputs.iter().for_each(|(_, field)| self.make(field)),
            None => {
                let columns = columns.ok_or("OUTPUT is missing")?;
                columns.iter().for_each(|column| self.make(column));
            }
        }
        Ok(())
    }

    fn inputlookup(
        &mut self,
        table: &str,
        append: bool,
        filter: Option<&Filter>,
        knowledge: Option<&Knowledge>,
    ) -> Result<()> {
        let columns = self.table(table, knowledge)?;
        let mut rows = Self {
            is_open: columns.is_none(),
            names: columns.unwrap_or_default(),
            since: format!("the lookup {table} has not"),
            ..Self::default()
        };
        if let Some(filter) = filter {
            rows.filter(filter, knowledge)?;
        }
        if append {
            self.append(rows);
        } else {
            rows.lookups.insert(table.to_owned());
            *self = rows;
        }
        Ok(())
    }

    fn outputlookup(
        &mut self,
        table: &str,
        key: Option<&str>,
        knowledge: Option<&Knowledge>,
    ) -> Result<()> {
        if let Some(mut columns) = self.table(table, knowledge)? {
            let output = self.output().ok_or("raw events cannot be a lookup")?;
            if let Some(key) = key {
                self.read(key)?;
                columns.retain(|column| column != "_key");
            }
            for name in &output {
                // The KV store keeps the columns that it knows, and leaves the others to the search.
                if key.is_none() && !columns.contains(name) {
                    return Err(format!("{table} has no column {name}"));
                }
            }
            for column in &columns {
                if !output.contains(column) {
                    return Err(format!("{table} would lose its column {column}"));
                }
            }
        }
        Ok(())
    }

    fn rest(&mut self, path: &str, knowledge: Option<&Knowledge>) -> Result<()> {
        self.since = format!("{path} is not known to give");
        match knowledge {
            None => self.is_open = true,
            Some(knowledge) => {
                let endpoint = knowledge
                    .endpoints
                    .iter()
                    .find(|(end, _)| path.ends_with(*end));
                let (_, fields) =
                    endpoint.ok_or_else(|| format!("the endpoint {path} is not known"))?;
                self.names.clone_from(fields);
            }
        }
        Ok(())
    }

    fn chart(
        &mut self,
        aggregations: &[Aggregation],
        row: &str,
        column: Option<&String>,
        command: &str,
    ) -> Result<()> {
        self.aggregate(aggregations)?;
        self.read(row)?;
        self.read_all(column)?;
        self.close(vec![row.to_owned()], command);
        if column.is_some() {
            self.has_value_columns = true;
        } else {
            aggregations.iter().for_each(|it| self.make(&it.name));
        }
        Ok(())
    }

    fn stats(&mut self, aggregations: &[Aggregation], by: &[String]) -> Result<()> {
        self.aggregate(aggregations)?;
        self.read_all(by)?;
        self.close(by.to_vec(), "stats");
        for aggregation in aggregations {
            if by.contains(&aggregation.name) {
                return Err(format!("{} is made twice", aggregation.name));
            }
            self.make(&aggregation.name);
        }
        Ok(())
    }

    fn tstats(
        &mut self,
        aggregations: &[Aggregation],
        filter: Option<&Filter>,
        by: &[String],
        knowledge: Option<&Knowledge>,
    ) -> Result<()> {
        self.names = INDEXED.map(str::to_owned).into();
        self.since = "is no indexed field".to_owned();
        if let Some(filter) = filter {
            self.filter(filter, knowledge)?;
        }
        self.aggregate(aggregations)?;
        self.read_all(by)?;
        self.close(by.to_vec(), "tstats");
        aggregations.iter().for_each(|it| self.make(&it.name));
        Ok(())
    }

    /// Rows of other kinds come behind; a field of either can be read from now on.
    fn append(&mut self, mut rows: Self) {
        self.is_open |= rows.is_open;
        self.has_value_columns |= rows.has_value_columns;
        if rows.is_open {
            let possible = rows.possible.take();
            self.possible = match (self.possible.take(), possible) {
                (Some(mut own), Some(other)) => {
                    own.extend(other);
                    Some(own)
                }
                _ => None,
            };
        }
        let names = std::mem::take(&mut rows.names);
        names.iter().for_each(|name| self.add(name));
        self.take_notes(rows);
    }
}
