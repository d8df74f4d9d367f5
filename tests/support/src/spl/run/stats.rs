//! stats, eventstats and streamstats: what comes of groups of rows.

use std::collections::{BTreeMap, BTreeSet};

use super::{Runner, group_of, groups, is_within, order, set, single, times_in_order};
use crate::spl::Row;
use crate::spl::commands::{Aggregation, Operand};
use crate::spl::cursor::Result;
use crate::spl::eval::{Value, as_number, show_number};

/// Which rows before a row streamstats takes.
pub(super) struct Window {
    /// The last so many; 0 is all.
    pub(super) rows: usize,
    /// Those of so many seconds.
    pub(super) seconds: Option<i64>,
    /// Whether the row itself counts.
    pub(super) with_current: bool,
    /// Whether rows of other groups count for the number of rows.
    pub(super) is_global: bool,
}

impl Runner<'_> {
    pub(super) fn stats(
        &self,
        aggregations: &[Aggregation],
        by: &[String],
        rows: &[Row],
    ) -> Result<Vec<Row>> {
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

    pub(super) fn eventstats(
        &self,
        aggregations: &[Aggregation],
        by: &[String],
        mut rows: Vec<Row>,
    ) -> Result<Vec<Row>> {
        let mut results: BTreeMap<Vec<String>, Vec<(String, Vec<String>)>> = BTreeMap::new();
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
        Ok(rows)
    }

    pub(super) fn streamstats(
        &self,
        aggregations: &[Aggregation],
        by: &[String],
        window: &Window,
        mut rows: Vec<Row>,
    ) -> Result<Vec<Row>> {
        let groups = rows.iter().map(|row| group_of(by, row));
        let groups = groups.collect::<Result<Vec<_>>>()?;
        let times = match window.seconds {
            Some(_) => times_in_order(&rows)?,
            None => vec![],
        };
        let mut results = vec![];
        for (at, group) in groups.iter().enumerate() {
            if group.is_none() {
                results.push(vec![]);
                continue;
            }
            let end = at + usize::from(window.with_current);
            let start = match window.rows {
                rows if rows > 0 && window.is_global => end.saturating_sub(rows),
                _ => 0,
            };
            let mut members = vec![];
            for place in start..end {
                let in_window = match window.seconds {
                    Some(seconds) => is_within(times[at], times[place], seconds)?,
                    None => true,
                };
                if in_window && groups[place] == *group {
                    members.push(&rows[place]);
                }
            }
            if window.rows > 0 && !window.is_global {
                members.drain(..members.len().saturating_sub(window.rows));
            }
            results.push(self.aggregate(aggregations, &members)?);
        }
        for (row, values) in rows.iter_mut().zip(results) {
            for (name, values) in values {
                set(row, &name, values);
            }
        }
        Ok(rows)
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
