//! The functions of several values: `mvappend` to `mvsort`.

use std::collections::BTreeSet;

use super::functions::number;
use super::{Expression, Value, number_of, text_of, values_of, whole};
use crate::spl::cursor::Result;
use crate::spl::{Row, regex};

/// The names of these functions.
pub(super) const NAMES: [&str; 9] = [
    "mvappend", "mvdedup", "mvsort", "mvcount", "mvjoin", "mvindex", "mvfind", "mvfilter", "mvmap",
];

/// Computes one of them.
pub(super) fn compute(name: &str, arguments: &[Expression], row: &Row, now: i64) -> Result<Value> {
    match (name, arguments) {
        ("mvappend", arguments) => {
            let mut all = vec![];
            for argument in arguments {
                all.extend(values_of(argument, row, now)?);
            }
            Ok(Value::from_values(all))
        }
        ("mvdedup", [values]) => {
            let mut kept: Vec<String> = vec![];
            for value in values_of(values, row, now)? {
                if !kept.contains(&value) {
                    kept.push(value);
                }
            }
            Ok(Value::from_values(kept))
        }
        ("mvsort", [values]) => {
            let mut values = values_of(values, row, now)?;
            values.sort();
            Ok(Value::from_values(values))
        }
        ("mvcount", [values]) => {
            let count = values_of(values, row, now)?.len();
            Ok(if count == 0 {
                Value::Null
            } else {
                number(count)
            })
        }
        ("mvjoin", [values, between]) => {
            let values = values_of(values, row, now)?;
            let between = text_of(between, row, now)?;
            Ok(match between {
                Some(between) if !values.is_empty() => Value::Text(values.join(&between)),
                _ => Value::Null,
            })
        }
        ("mvindex", [values, from, rest @ ..]) => between(values, from, rest, row, now),
        ("mvfind", [values, pattern]) => {
            let pattern = text_of(pattern, row, now)?.unwrap_or_default();
            for (at, value) in values_of(values, row, now)?.iter().enumerate() {
                if regex::is_match(&pattern, value)? {
                    return Ok(number(at));
                }
            }
            Ok(Value::Null)
        }
        ("mvfilter", [condition]) => filter(condition, row, now),
        ("mvmap", [over, to]) => map(over, to, row, now),
        _ => Err(format!("the tests cannot compute {name}")),
    }
}

/// `mvindex`: the values from one place to another, counted from 0, or from the end with negative numbers.
fn between(
    values: &Expression,
    from: &Expression,
    rest: &[Expression],
    row: &Row,
    now: i64,
) -> Result<Value> {
    let values = values_of(values, row, now)?;
    let from = number_of(from, row, now)?;
    let to = rest
        .first()
        .map_or(Ok(from), |to| number_of(to, row, now))?;
    let (Some(from), Some(to)) = (from, to) else {
        return Ok(Value::Null);
    };
    let at = |index: f64| {
        let index = whole(index);
        let from_end = i64::try_from(values.len()).unwrap_or_default() + index;
        usize::try_from(if index < 0 { from_end } else { index }).ok()
    };
    let (Some(from), Some(to)) = (at(from), at(to)) else {
        return Ok(Value::Null);
    };
    let found = values.get(from..=to).map(<[String]>::to_vec);
    Ok(Value::from_values(found.unwrap_or_default()))
}

/// `mvfilter`: the values for which the condition holds.
fn filter(condition: &Expression, row: &Row, now: i64) -> Result<Value> {
    let mut names = BTreeSet::new();
    condition.reads(&mut names);
    let field = names.pop_first().ok_or("mvfilter without a field")?;
    each_value(&field, row, |row, value| {
        Ok(condition
            .is_true(row, now)?
            .then(|| value.to_owned())
            .into_iter()
            .collect())
    })
}

/// `mvmap`: each value of the field in `over`, as `to` makes it.
fn map(over: &Expression, to: &Expression, row: &Row, now: i64) -> Result<Value> {
    let mut names = BTreeSet::new();
    over.reads(&mut names);
    let field = names.pop_first().ok_or("mvmap without a field")?;
    let mut row = row.clone();
    let values = values_of(over, &row, now)?;
    row.insert(field.clone(), values);
    each_value(&field, &row, |row, _| values_of(to, row, now))
}

/// Computes something with the field set to each of its values in turn, and collects what comes of it.
fn each_value(
    field: &str,
    row: &Row,
    compute: impl Fn(&Row, &str) -> Result<Vec<String>>,
) -> Result<Value> {
    let mut kept = vec![];
    let mut row = row.clone();
    for value in row.get(field).cloned().unwrap_or_default() {
        row.insert(field.to_owned(), vec![value.clone()]);
        kept.extend(compute(&row, &value)?);
    }
    Ok(Value::from_values(kept))
}
