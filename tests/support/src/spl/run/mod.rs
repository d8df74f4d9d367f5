//! What a search finds. Each command does what Splunk's manual says of it; where the manual leaves open what happens,
//! for example in which order rows of the same second are, it is an error and not a guess.

use std::borrow::Borrow;
use std::cmp::Ordering;

use super::commands::Command;
use super::cursor::Result;
use super::eval::as_number;
use super::filter::{Filter, matches};
use super::{Row, Search, World, time};

mod rows;
mod stats;

use stats::Window;

pub(super) fn run(commands: &[Command], world: &World) -> Result<Vec<Row>> {
    let runner = Runner { world };
    let mut rows = vec![];
    let mut rest = commands;
    if let [Command::Search(filter), others @ ..] = commands {
        // Of many events few are taken, so only these are copied.
        let taken = runner.taken(filter, events(world)?)?;
        rows = taken.into_iter().cloned().collect();
        rest = others;
    }
    for command in rest {
        rows = runner.step(command, rows)?;
    }
    Ok(rows)
}

/// The events between the search's two times, the newest first.
fn events(world: &World) -> Result<Vec<&Row>> {
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
            found.push((time("_time")?, event));
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
    /// The rows that fulfil the conditions of a search.
    fn taken<R: Borrow<Row>>(&self, filter: &Filter, rows: Vec<R>) -> Result<Vec<R>> {
        // A search within runs first, and once: it does not depend on the row.
        let mut within = vec![];
        filter.searches(&mut within);
        let mut known: Vec<(&Search, Vec<Row>)> = vec![];
        for search in within {
            known.push((search, search.run(self.world)?));
        }
        let inner = |search: &Search| {
            let found = known.iter().find(|(own, _)| std::ptr::eq(*own, search));
            found
                .map(|(_, rows)| rows.as_slice())
                .ok_or_else(|| "a search within a condition that a search gave".to_owned())
        };
        let mut kept = vec![];
        for row in rows {
            if filter.is_true(row.borrow(), &inner)? {
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
            Command::Search(filter) => self.taken(filter, rows),
            Command::Where(condition) => rows::keep(condition, now, rows),
            Command::Eval(assigned) => rows::eval(assigned, now, rows),
            Command::Stats { aggregations, by } => self.stats(aggregations, by, &rows),
            Command::Eventstats { aggregations, by } => self.eventstats(aggregations, by, rows),
            Command::Streamstats {
                aggregations,
                by,
                window,
                time_window,
                current,
                global,
            } => {
                let window = Window {
                    rows: *window,
                    seconds: *time_window,
                    with_current: *current,
                    is_global: *global,
                };
                self.streamstats(aggregations, by, &window, rows)
            }
            Command::Bin { field, span, to } => rows::bin(field, *span, to, rows),
            Command::Sort { limit, keys } => {
                sort(&mut rows, keys)?;
                rows.truncate(*limit);
                Ok(rows)
            }
            Command::Head(count) => Ok(rows.into_iter().take(*count).collect()),
            Command::Tail(count) => Ok(rows.into_iter().rev().take(*count).collect()),
            Command::Reverse => Ok(rows.into_iter().rev().collect()),
            Command::Dedup {
                count,
                fields,
                keep_empty,
            } => rows::dedup(*count, fields, *keep_empty, rows),
            Command::Table(names) => rows::table(names, rows),
            Command::Fields {
                keep,
                names,
                hidden,
            } => rows::fields(*keep, names, *hidden, rows),
            Command::Rename(pairs) => rows::rename(pairs, rows),
            Command::Fillnull { value, fields } => rows::fillnull(value, fields, rows),
            Command::Filldown(fields) => rows::filldown(fields, rows),
            Command::Mvexpand(field) => rows::mvexpand(field, rows),
            Command::Makemv { field, delimiter } => rows::makemv(field, delimiter, rows),
            Command::Ctime { format, fields } => rows::ctime(format, fields, rows),
            Command::Addtotals { made, fields } => rows::addtotals(made, fields, rows),
            other => self.bring(other, rows),
        }
    }

    /// The commands that bring rows from elsewhere, or take them there.
    fn bring(&self, command: &Command, mut rows: Vec<Row>) -> Result<Vec<Row>> {
        match command {
            Command::Lookup {
                table,
                inputs,
                outputs,
                overwrites,
            } => {
                let outputs = outputs.as_ref().ok_or("lookup: the tests need OUTPUT")?;
                self.lookup(table, inputs, outputs, *overwrites, rows)
            }
            Command::Inputlookup {
                table,
                append: _,
                filter,
            } => {
                let mut found: Vec<&Row> = self.table(table)?.iter().collect();
                if let Some(filter) = filter {
                    found = self.taken(filter, found)?;
                }
                rows.extend(found.into_iter().cloned());
                Ok(rows)
            }
            Command::Append(search) => {
                rows.extend(search.run(self.world)?);
                Ok(rows)
            }
            Command::Appendpipe(commands) => {
                let mut more = rows.clone();
                for command in commands {
                    more = self.step(command, more)?;
                }
                rows.extend(more);
                Ok(rows)
            }
            Command::Makeresults(count) => {
                let now = self.world.now.to_string();
                let row = Row::from([("_time".to_owned(), vec![now])]);
                Ok(vec![row; *count])
            }
            Command::Addinfo => {
                let (earliest, latest) = (&self.world.earliest, &self.world.latest);
                // Without a bound, a search is over all time.
                let bounds = [
                    ("info_min_time", earliest, "0"),
                    ("info_max_time", latest, "+Infinity"),
                ];
                for (field, bound, unbounded) in bounds {
                    let value = match bound.as_str() {
                        "" => unbounded.to_owned(),
                        bound => time::relative(self.world.now, bound)?.to_string(),
                    };
                    for row in &mut rows {
                        set(row, field, vec![value.clone()]);
                    }
                }
                Ok(rows)
            }
            Command::Rest(path) => Ok(self.table(path)?.to_vec()),
            Command::Outputlookup { table, key } => {
                self.outputlookup(table, key.as_deref(), &rows)?;
                Ok(rows)
            }
            Command::Chart { .. } => Err("the tests cannot run chart and timechart".to_owned()),
            Command::Rex { .. } => Err("the tests cannot run rex".to_owned()),
            Command::Tstats {
                datamodel: None,
                aggregations,
                filter,
                by,
                span,
            } => {
                let found = events(self.world)?;
                let found = match filter {
                    Some(filter) => self.taken(filter, found)?,
                    None => found,
                };
                let mut found: Vec<Row> = found.into_iter().cloned().collect();
                if span.is_some() {
                    found = rows::bin("_time", *span, "_time", found)?;
                }
                self.stats(aggregations, by, &found)
            }
            Command::Tstats { .. } => Err("the tests have no data model".to_owned()),
            other => Err(format!("the tests cannot run {other:?}")),
        }
    }

    fn lookup(
        &self,
        table: &str,
        inputs: &[(String, String)],
        outputs: &[(String, String)],
        overwrites: bool,
        mut rows: Vec<Row>,
    ) -> Result<Vec<Row>> {
        for row in &mut rows {
            // Without a value to look for, a lookup does nothing.
            if inputs.iter().any(|(_, field)| !row.contains_key(field)) {
                continue;
            }
            let mut found = lookup_rows(table, self.table(table)?, inputs, row)?;
            if self.world.exact.contains(table) {
                found.retain(|cells| {
                    inputs.iter().all(|(column, field)| {
                        let is_network = cells[column].iter().any(|cell| cell.contains('/'));
                        is_network || cells[column] == row[field]
                    })
                });
            }
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
        Ok(rows)
    }

    fn outputlookup(&self, table: &str, key: Option<&str>, rows: &[Row]) -> Result<()> {
        let mut written = self.world.written.borrow_mut();
        for row in rows {
            let mut row = row.clone();
            if let Some(key) = key {
                let key = single(&row, key)?.ok_or("outputlookup: a row has no key")?;
                let key = vec![key.to_owned()];
                row.insert("_key".to_owned(), key);
            }
            written.push((table.to_owned(), row));
        }
        Ok(())
    }
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

/// The times of the rows. A window of time needs them in the order of time, in either direction.
fn times_in_order(rows: &[Row]) -> Result<Vec<f64>> {
    let times = rows.iter().map(time_of).collect::<Result<Vec<f64>>>()?;
    if times.is_sorted() || times.is_sorted_by(|left, right| left >= right) {
        return Ok(times);
    }
    Err("streamstats: the rows are not in the order of time".to_owned())
}

fn is_within(at: f64, other: f64, seconds: i64) -> Result<bool> {
    #[expect(clippy::cast_precision_loss, reason = "windows are small")]
    let window = seconds as f64;
    let distance = (at - other).abs();
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
