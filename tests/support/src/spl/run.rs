//! What a search finds. Each command does what Splunk's manual says of it; where the manual leaves open what happens,
//! for example in which order rows of the same second are, it is an error and not a guess.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::commands::{Aggregation, Command, Operand};
use super::cursor::Result;
use super::eval::{Value, as_number, show_number};
use super::filter::{Filter, matches};
use super::{Row, Search, World, time};

pub(super) fn run(commands: &[Command], world: &World) -> Result<Vec<Row>> {
    let mut rows = vec![];
    if let Some(Command::Search(_)) = commands.first() {
        rows = events(world)?;
    }
    let runner = Runner { world };
    for command in commands {
        rows = runner.step(command, rows)?;
    }
    Ok(rows)
}

/// The events between the search's two times, the newest first.
fn events(world: &World) -> Result<Vec<Row>> {
    let bound = |text: &str| match text {
        "" => Ok(None),
        text => time::relative(world.now, text).map(Some),
    };
    let windows = [
        ("_time", bound(&world.earliest)?, bound(&world.latest)?),
        (
            "_indextime",
            bound(&world.index_earliest)?,
            bound(&world.index_latest)?,
        ),
    ];
    let mut found = vec![];
    for event in &world.events {
        let time = |field: &str| {
            let at = single(event, field)?.and_then(as_number);
            at.ok_or_else(|| format!("an event has no {field}"))
        };
        let mut inside = true;
        for (field, earliest, latest) in windows {
            #[expect(clippy::cast_precision_loss, reason = "times are small")]
            if earliest.is_some() || latest.is_some() {
                let at = time(field)?;
                inside = inside
                    && earliest.is_none_or(|bound| at >= bound as f64)
                    && latest.is_none_or(|bound| at < bound as f64);
            }
        }
        if inside {
            found.push((time("_time")?, event.clone()));
        }
    }
    found.sort_by(|(left, _), (right, _)| right.total_cmp(left));
    Ok(found.into_iter().map(|(_, event)| event).collect())
}

/// A field's one value.
fn single<'a>(row: &'a Row, field: &str) -> Result<Option<&'a str>> {
    match row.get(field).map(Vec::as_slice) {
        None | Some([]) => Ok(None),
        Some([value]) => Ok(Some(value)),
        Some(_) => Err(format!("{field} has several values")),
    }
}

fn set(row: &mut Row, field: &str, values: Vec<String>) {
    if values.is_empty() {
        row.remove(field);
    } else {
        row.insert(field.to_owned(), values);
    }
}

struct Runner<'a> {
    world: &'a World,
}

impl Runner<'_> {
    fn keep(&self, filter: &Filter, rows: Vec<Row>) -> Result<Vec<Row>> {
        let inner = |search: &Search| search.run(self.world);
        let mut kept = vec![];
        for row in rows {
            if filter.is_true(&row, &inner)? {
                kept.push(row);
            }
        }
        Ok(kept)
    }

    fn table(&self, name: &str) -> Result<&[Row]> {
        let rows = self.world.lookups.get(name);
        rows.map(Vec::as_slice)
            .ok_or_else(|| format!("the lookup {name} has no rows to run on"))
    }

    fn step(&self, command: &Command, mut rows: Vec<Row>) -> Result<Vec<Row>> {
        let now = self.world.now;
        match command {
            Command::Search(filter) => return self.keep(filter, rows),
            Command::Where(condition) => {
                let mut kept = vec![];
                for row in rows {
                    if condition
                        .is_true(&row, now)
                        .map_err(|what| format!("where: {what}"))?
                    {
                        kept.push(row);
                    }
                }
                return Ok(kept);
            }
            Command::Eval(assigned) => {
                for row in &mut rows {
                    for (field, expression) in assigned {
                        let value = expression.compute(row, now).and_then(Value::into_values);
                        let value = value.map_err(|what| format!("eval {field}: {what}"))?;
                        set(row, field, value);
                    }
                }
            }
            Command::Stats { aggregations, by } => return self.stats(aggregations, by, &rows),
            Command::Eventstats { aggregations, by } => {
                let mut results: BTreeMap<Vec<String>, Vec<(String, Vec<String>)>> =
                    BTreeMap::new();
                for (group, members) in groups(by, &rows)? {
                    results.insert(group, self.aggregate(aggregations, &members)?);
                }
                for row in &mut rows {
                    let Some(group) = group_of(by, row)? else {
                        continue;
                    };
                    for (name, values) in &results[&group] {
                        set(row, name, values.clone());
                    }
                }
            }
            Command::Streamstats {
                aggregations,
                by,
                window,
                time_window,
                current,
                global,
            } => {
                let before = rows.clone();
                if time_window.is_some() {
                    check_order(&before)?;
                }
                for (at, row) in rows.iter_mut().enumerate() {
                    let Some(group) = group_of(by, row)? else {
                        continue;
                    };
                    let mut members = vec![];
                    let end = at + usize::from(*current);
                    for (place, other) in before.iter().enumerate().take(end) {
                        let in_window = *window == 0 || !global || place + window >= end;
                        if in_window
                            && is_within(row, other, *time_window)?
                            && group_of(by, other)?.as_ref() == Some(&group)
                        {
                            members.push(other);
                        }
                    }
                    if *window > 0 && !global {
                        members.drain(..members.len().saturating_sub(*window));
                    }
                    for (name, values) in self.aggregate(aggregations, &members)? {
                        set(row, &name, values);
                    }
                }
            }
            Command::Bin { field, span, to } => {
                let span = span.filter(|_| field == "_time");
                let span = span.ok_or("the tests can only bin _time by a span")?;
                if span > 86400 {
                    return Err(
                        "the tests do not know where longer spans than a day begin".to_owned()
                    );
                }
                for row in &mut rows {
                    if let Some(at) = single(row, field)?.and_then(as_number) {
                        #[expect(clippy::cast_precision_loss, reason = "spans are small")]
                        let span = span as f64;
                        let start = (at / span).floor() * span;
                        set(row, to, vec![show_number(start)]);
                    }
                }
            }
            Command::Sort { limit, keys } => {
                sort(&mut rows, keys)?;
                rows.truncate(*limit);
            }
            Command::Head(count) => rows.truncate(*count),
            Command::Tail(count) => {
                rows.drain(..rows.len().saturating_sub(*count));
                rows.reverse();
            }
            Command::Reverse => rows.reverse(),
            Command::Dedup {
                count,
                fields,
                keep_empty,
            } => {
                let mut seen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
                let mut kept = vec![];
                for row in rows {
                    match group_of(fields, &row)? {
                        None if *keep_empty => kept.push(row),
                        None => {}
                        Some(key) => {
                            let times = seen.entry(key).or_default();
                            *times += 1;
                            if *times <= *count {
                                kept.push(row);
                            }
                        }
                    }
                }
                return Ok(kept);
            }
            Command::Table(names) => {
                let names: BTreeSet<&String> = names.iter().collect();
                rows.iter_mut()
                    .for_each(|row| row.retain(|name, _| names.contains(name)));
            }
            Command::Fields {
                keep,
                names,
                hidden,
            } => {
                for row in &mut rows {
                    row.retain(|name, _| {
                        let named = names.contains(name);
                        let own = name.starts_with('_');
                        if *keep {
                            named || own
                        } else {
                            !(named || own && *hidden)
                        }
                    });
                }
            }
            Command::Rename(pairs) => {
                for row in &mut rows {
                    for (from, to) in pairs {
                        // What had the new name is gone, also where the old name has no value.
                        let values = row.remove(from).unwrap_or_default();
                        set(row, to, values);
                    }
                }
            }
            Command::Fillnull { value, fields } => {
                for row in &mut rows {
                    for field in fields {
                        row.entry(field.clone())
                            .or_insert_with(|| vec![value.clone()]);
                    }
                }
            }
            Command::Filldown(fields) => {
                for at in 1..rows.len() {
                    for field in fields {
                        if let (None, Some(values)) = (rows[at].get(field), rows[at - 1].get(field))
                        {
                            let values = values.clone();
                            rows[at].insert(field.clone(), values);
                        }
                    }
                }
            }
            Command::Mvexpand(field) => {
                let mut expanded = vec![];
                for row in rows {
                    let Some(values) = row.get(field).filter(|values| values.len() > 1) else {
                        expanded.push(row);
                        continue;
                    };
                    for value in values {
                        let mut copy = row.clone();
                        copy.insert(field.clone(), vec![value.clone()]);
                        expanded.push(copy);
                    }
                }
                return Ok(expanded);
            }
            Command::Makemv { field, delimiter } => {
                for row in &mut rows {
                    if let Some(text) = single(row, field)? {
                        let parts = text.split(delimiter.as_str()).map(str::to_owned).collect();
                        set(row, field, parts);
                    }
                }
            }
            Command::Lookup {
                table,
                inputs,
                outputs,
                overwrites,
            } => {
                let outputs = outputs.as_ref().ok_or("lookup: the tests need OUTPUT")?;
                for row in &mut rows {
                    // Without a value to look for, a lookup does nothing.
                    if inputs.iter().any(|(_, field)| !row.contains_key(field)) {
                        continue;
                    }
                    let mut found = lookup_rows(table, self.table(table)?, inputs, row)?;
                    if !self.world.multiple.contains(table) {
                        found.truncate(1);
                    }
                    for (column, field) in outputs {
                        if !overwrites && row.contains_key(field) {
                            continue;
                        }
                        let cells = found.iter().filter_map(|found| found.get(column));
                        set(row, field, cells.flatten().cloned().collect());
                    }
                }
            }
            Command::Inputlookup {
                table,
                append: _,
                filter,
            } => {
                let mut found = self.table(table)?.to_vec();
                if let Some(filter) = filter {
                    found = self.keep(filter, found)?;
                }
                rows.extend(found);
            }
            Command::Append(search) => rows.extend(search.run(self.world)?),
            Command::Appendpipe(commands) => {
                let mut more = rows.clone();
                for command in commands {
                    more = self.step(command, more)?;
                }
                rows.extend(more);
            }
            Command::Ctime { format, fields } => {
                for row in &mut rows {
                    for (field, to) in fields {
                        let each =
                            row.get(field)
                                .cloned()
                                .unwrap_or_default()
                                .into_iter()
                                .map(|value| {
                                    let seconds = as_number(&value)
                                        .ok_or_else(|| format!("ctime({field}) of {value}"))?;
                                    time::format(seconds, format)
                                });
                        let values = each.collect::<Result<Vec<String>>>()?;
                        set(row, to, values);
                    }
                }
            }
            Command::Addtotals { made, fields } => {
                for row in &mut rows {
                    let mut total = 0.0;
                    for field in fields {
                        total += single(row, field)?.and_then(as_number).unwrap_or_default();
                    }
                    set(row, made, vec![show_number(total)]);
                }
            }
            Command::Makeresults(count) => {
                let row = Row::from([("_time".to_owned(), vec![now.to_string()])]);
                rows = vec![row; *count];
            }
            Command::Chart { .. } => {
                return Err("the tests cannot run chart and timechart".to_owned());
            }
            Command::Rex { .. } => return Err("the tests cannot run rex".to_owned()),
            Command::Rest(path) => rows = self.table(path)?.to_vec(),
            Command::Outputlookup { table, key } => {
                let mut written = self.world.written.borrow_mut();
                for row in &rows {
                    let mut row = row.clone();
                    if let Some(key) = key {
                        let key = single(&row, key)?.ok_or("outputlookup: a row has no key")?;
                        let key = vec![key.to_owned()];
                        row.insert("_key".to_owned(), key);
                    }
                    written.push((table.clone(), row));
                }
            }
            Command::Tstats { .. } => return Err("the tests cannot run tstats".to_owned()),
        }
        Ok(rows)
    }

    fn stats(&self, aggregations: &[Aggregation], by: &[String], rows: &[Row]) -> Result<Vec<Row>> {
        let mut found = vec![];
        let mut groups = groups(by, rows)?;
        if by.is_empty() && groups.is_empty() {
            groups.push((vec![], vec![]));
        }
        for (group, members) in groups {
            let mut row = Row::new();
            for (field, value) in by.iter().zip(group) {
                set(&mut row, field, vec![value]);
            }
            for (name, values) in self.aggregate(aggregations, &members)? {
                set(&mut row, &name, values);
            }
            found.push(row);
        }
        Ok(found)
    }

    fn aggregate(
        &self,
        aggregations: &[Aggregation],
        rows: &[&Row],
    ) -> Result<Vec<(String, Vec<String>)>> {
        let mut results = vec![];
        for aggregation in aggregations {
            let values = self.function(aggregation, rows);
            let values = values.map_err(|what| format!("{}: {what}", aggregation.name))?;
            results.push((aggregation.name.clone(), values));
        }
        Ok(results)
    }

    /// The values of the function's field in each row that has it, with the row.
    fn operands<'a>(&self, of: &Operand, rows: &[&'a Row]) -> Result<Vec<(&'a Row, Vec<String>)>> {
        let mut found = vec![];
        for row in rows {
            let values = match of {
                Operand::Field(field) => row.get(field).cloned().unwrap_or_default(),
                Operand::Eval(expression) => match expression.compute(row, self.world.now)? {
                    Value::Truth(true) => vec!["1".to_owned()],
                    Value::Truth(false) => vec![],
                    value => value.into_values()?,
                },
            };
            if !values.is_empty() {
                found.push((*row, values));
            }
        }
        Ok(found)
    }

    fn function(&self, aggregation: &Aggregation, rows: &[&Row]) -> Result<Vec<String>> {
        let Some(of) = &aggregation.of else {
            return Ok(vec![rows.len().to_string()]);
        };
        let operands = self.operands(of, rows)?;
        let function = aggregation.function.as_str();
        match function {
            "dc" | "values" => {
                let distinct: BTreeSet<&String> =
                    operands.iter().flat_map(|(_, values)| values).collect();
                return Ok(match function {
                    "dc" => vec![distinct.len().to_string()],
                    _ => distinct.into_iter().cloned().collect(),
                });
            }
            "list" => {
                let all = operands.into_iter().flat_map(|(_, values)| values);
                return Ok(all.take(100).collect());
            }
            _ => {}
        }
        let mut singles = vec![];
        for (row, mut values) in operands {
            if values.len() > 1 {
                return Err(format!("{function} of a field with several values"));
            }
            singles.extend(values.pop().map(|value| (row, value)));
        }
        match function {
            "count" => Ok(vec![singles.len().to_string()]),
            "first" => Ok(singles
                .first()
                .map(|(_, value)| value.clone())
                .into_iter()
                .collect()),
            "last" => Ok(singles
                .last()
                .map(|(_, value)| value.clone())
                .into_iter()
                .collect()),
            "earliest" | "latest" | "earliest_time" | "latest_time" => {
                at_an_end(function, &singles)
            }
            "min" | "max" => extreme(function, &singles),
            "sum" | "avg" | "range" | "sumsq" => {
                let numbers: Option<Vec<f64>> =
                    singles.iter().map(|(_, value)| as_number(value)).collect();
                let numbers = numbers.ok_or_else(|| format!("{function} of what is no number"))?;
                if numbers.is_empty() {
                    return Ok(vec![]);
                }
                let sum: f64 = numbers.iter().sum();
                #[expect(clippy::cast_precision_loss, reason = "counts are small")]
                let result = match function {
                    "sum" => sum,
                    "avg" => sum / numbers.len() as f64,
                    "sumsq" => numbers.iter().map(|number| number * number).sum(),
                    _ => {
                        let most = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                        most - numbers.iter().copied().fold(f64::INFINITY, f64::min)
                    }
                };
                Ok(vec![show_number(result)])
            }
            other => Err(format!("the tests cannot compute {other}")),
        }
    }
}

fn extreme(function: &str, singles: &[(&Row, String)]) -> Result<Vec<String>> {
    let numbers = singles
        .iter()
        .filter(|(_, value)| as_number(value).is_some())
        .count();
    if numbers != 0 && numbers != singles.len() {
        return Err(format!("{function} of numbers and texts"));
    }
    let mut values: Vec<&String> = singles.iter().map(|(_, value)| value).collect();
    values.sort_by(|left, right| order(left, right));
    let found = if function == "min" {
        values.first()
    } else {
        values.last()
    };
    Ok(found.map(|&value| value.clone()).into_iter().collect())
}

/// The value, or the time, of the oldest or the newest row that has the field.
fn at_an_end(function: &str, singles: &[(&Row, String)]) -> Result<Vec<String>> {
    let mut timed = vec![];
    for (row, value) in singles {
        let at = single(row, "_time")?
            .and_then(as_number)
            .ok_or("a row has no _time")?;
        timed.push((at, value));
    }
    timed.sort_by(|(left, _), (right, _)| left.total_cmp(right));
    if function.starts_with("latest") {
        timed.reverse();
    }
    let Some((at, value)) = timed.first() else {
        return Ok(vec![]);
    };
    if function.ends_with("_time") {
        return Ok(vec![show_number(*at)]);
    }
    if timed
        .iter()
        .any(|(other, own)| other.total_cmp(at).is_eq() && own != value)
    {
        return Err(format!("{function}: rows of the same time differ"));
    }
    Ok(vec![(*value).clone()])
}

/// The values of these fields; none if one is absent.
fn group_of(by: &[String], row: &Row) -> Result<Option<Vec<String>>> {
    let mut group = vec![];
    for field in by {
        let Some(value) = single(row, field)? else {
            return Ok(None);
        };
        group.push(value.to_owned());
    }
    Ok(Some(group))
}

type Group<'a> = (Vec<String>, Vec<&'a Row>);

/// The rows by the values of these fields, in their order. A row counts for each value of a field that has several,
/// and not at all if one of the fields is absent.
fn groups<'a>(by: &[String], rows: &'a [Row]) -> Result<Vec<Group<'a>>> {
    let mut found: Vec<Group<'a>> = vec![];
    for row in rows {
        let mut keys = vec![vec![]];
        for field in by {
            let values = row.get(field).map_or(&[][..], Vec::as_slice);
            let longer = keys.iter().flat_map(|key: &Vec<String>| {
                values.iter().map(move |value| {
                    let mut key = key.clone();
                    key.push(value.clone());
                    key
                })
            });
            keys = longer.collect();
        }
        for key in keys {
            match found.iter_mut().find(|(known, _)| *known == key) {
                Some((_, members)) => members.push(row),
                None => found.push((key, vec![row])),
            }
        }
    }
    found.sort_by(|(left, _), (right, _)| {
        let mut orders = left
            .iter()
            .zip(right)
            .map(|(left, right)| order(left, right));
        orders
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    Ok(found)
}

/// Numbers by their size, before texts; texts by their signs.
fn order(left: &str, right: &str) -> Ordering {
    match (as_number(left), as_number(right)) {
        (Some(left), Some(right)) => left.total_cmp(&right),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

fn sort(rows: &mut [Row], keys: &[(String, bool)]) -> Result<()> {
    for (field, _) in keys {
        let mut with = 0;
        for row in rows.iter() {
            with += usize::from(single(row, field)?.is_some());
        }
        if with != 0 && with != rows.len() {
            return Err(format!("sort: some rows have no {field}"));
        }
    }
    rows.sort_by(|left, right| {
        let orders = keys.iter().map(|(field, descending)| {
            let value = |row: &Row| row.get(field).and_then(|values| values.first().cloned());
            let order = order(
                &value(left).unwrap_or_default(),
                &value(right).unwrap_or_default(),
            );
            if *descending { order.reverse() } else { order }
        });
        orders
            .into_iter()
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    });
    Ok(())
}

fn time_of(row: &Row) -> Result<f64> {
    single(row, "_time")?
        .and_then(as_number)
        .ok_or("a row has no _time".to_owned())
}

/// A window of time needs rows in the order of time, in either direction.
fn check_order(rows: &[Row]) -> Result<()> {
    let times = rows.iter().map(time_of).collect::<Result<Vec<f64>>>()?;
    if times.is_sorted() || times.is_sorted_by(|left, right| left >= right) {
        return Ok(());
    }
    Err("streamstats: the rows are not in the order of time".to_owned())
}

fn is_within(row: &Row, other: &Row, time_window: Option<i64>) -> Result<bool> {
    let Some(window) = time_window else {
        return Ok(true);
    };
    #[expect(clippy::cast_precision_loss, reason = "windows are small")]
    let window = window as f64;
    let distance = (time_of(row)? - time_of(other)?).abs();
    if distance.total_cmp(&window).is_eq() {
        return Err("streamstats: a row is just as far away as the window is long".to_owned());
    }
    Ok(distance < window)
}

/// The first row of a lookup that fits. Every lookup of this app compares without case; the cells of ds_actions may be
/// patterns, those of lookups of addresses networks.
pub fn lookup_row<'a>(
    table: &str,
    rows: &'a [Row],
    inputs: &[(String, String)],
    row: &Row,
) -> Result<Option<&'a Row>> {
    Ok(fitting(table, rows, inputs, row)?.next())
}

fn lookup_rows(
    table: &str,
    rows: &[Row],
    inputs: &[(String, String)],
    row: &Row,
) -> Result<Vec<Row>> {
    Ok(fitting(table, rows, inputs, row)?.cloned().collect())
}

fn fitting<'a>(
    table: &str,
    rows: &'a [Row],
    inputs: &[(String, String)],
    row: &Row,
) -> Result<impl Iterator<Item = &'a Row>> {
    let mut wanted = vec![];
    for (column, field) in inputs {
        wanted.push((
            column.clone(),
            single(row, field)?.map(|value| value.to_lowercase()),
        ));
    }
    let has_patterns = table == "ds_actions";
    let has_networks = table.ends_with("_addresses");
    Ok(rows.iter().filter(move |cells| {
        wanted.iter().all(|(column, value)| {
            let cell = cells.get(column).and_then(|cell| cell.first());
            let (Some(cell), Some(value)) = (cell, value) else {
                return false;
            };
            if has_patterns && cell.contains('*') {
                cell == "*" || matches(&cell.to_lowercase(), value)
            } else if has_networks && cell.contains('/') {
                super::eval::cidr_match(cell, value).unwrap_or(false)
            } else if cell.is_ascii() {
                // Thousands of rows for every event: no copy of each cell.
                cell.eq_ignore_ascii_case(value)
            } else {
                cell.to_lowercase() == *value
            }
        })
    }))
}
