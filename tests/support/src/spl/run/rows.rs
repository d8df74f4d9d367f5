//! The commands that need nothing but the rows: each does to them what Splunk's manual says.

use std::collections::{BTreeMap, BTreeSet};

use super::{group_of, set, single};
use crate::spl::cursor::Result;
use crate::spl::eval::{Expression, Value, as_number, show_number};
use crate::spl::{Row, time};

/// where: the rows for which the condition holds.
pub(super) fn keep(condition: &Expression, now: i64, rows: Vec<Row>) -> Result<Vec<Row>> {
    let mut kept = vec![];
    for row in rows {
        if condition
            .is_true(&row, now)
            .map_err(|what| format!("where: {what}"))?
        {
            kept.push(row);
        }
    }
    Ok(kept)
}

/// eval: fields that are computed, one after the other.
pub(super) fn eval(
    assigned: &[(String, Expression)],
    now: i64,
    mut rows: Vec<Row>,
) -> Result<Vec<Row>> {
    for row in &mut rows {
        for (field, expression) in assigned {
            let value = expression.compute(row, now).and_then(Value::into_values);
            let value = value.map_err(|what| format!("eval {field}: {what}"))?;
            set(row, field, value);
        }
    }
    Ok(rows)
}

/// bin: times at the beginning of their span, in seconds.
pub(super) fn bin(
    field: &str,
    span: Option<i64>,
    to: &str,
    mut rows: Vec<Row>,
) -> Result<Vec<Row>> {
    let span = span.filter(|_| field == "_time");
    let span = span.ok_or("the tests can only bin _time by a span")?;
    if span > 86400 {
        return Err("the tests do not know where longer spans than a day begin".to_owned());
    }
    for row in &mut rows {
        if let Some(at) = single(row, field)?.and_then(as_number) {
            #[expect(clippy::cast_precision_loss, reason = "spans are small")]
            let span = span as f64;
            let start = (at / span).floor() * span;
            set(row, to, vec![show_number(start)]);
        }
    }
    Ok(rows)
}

/// dedup: the first rows of each combination of values.
pub(super) fn dedup(
    count: usize,
    fields: &[String],
    keep_empty: bool,
    rows: Vec<Row>,
) -> Result<Vec<Row>> {
    let mut seen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    let mut kept = vec![];
    for row in rows {
        match group_of(fields, &row)? {
            None if keep_empty => kept.push(row),
            None => {}
            Some(key) => {
                let times = seen.entry(key).or_default();
                *times += 1;
                if *times <= count {
                    kept.push(row);
                }
            }
        }
    }
    Ok(kept)
}

/// table: these fields and no other.
pub(super) fn table(names: &[String], mut rows: Vec<Row>) -> Result<Vec<Row>> {
    let names: BTreeSet<&String> = names.iter().collect();
    rows.iter_mut()
        .for_each(|row| row.retain(|name, _| names.contains(name)));
    Ok(rows)
}

/// fields: what is kept or left out; hidden fields stay unless they are meant too.
pub(super) fn fields(
    keep: bool,
    names: &[String],
    hidden: bool,
    mut rows: Vec<Row>,
) -> Result<Vec<Row>> {
    for row in &mut rows {
        row.retain(|name, _| {
            let named = names.contains(name);
            let own = name.starts_with('_');
            if keep {
                named || own
            } else {
                !(named || own && hidden)
            }
        });
    }
    Ok(rows)
}

/// rename.
pub(super) fn rename(pairs: &[(String, String)], mut rows: Vec<Row>) -> Result<Vec<Row>> {
    for row in &mut rows {
        for (from, to) in pairs {
            // What had the new name is gone, also where the old name has no value.
            let values = row.remove(from).unwrap_or_default();
            set(row, to, values);
        }
    }
    Ok(rows)
}

/// fillnull: a value where there is none.
pub(super) fn fillnull(value: &str, fields: &[String], mut rows: Vec<Row>) -> Result<Vec<Row>> {
    for row in &mut rows {
        for field in fields {
            row.entry(field.clone())
                .or_insert_with(|| vec![value.to_owned()]);
        }
    }
    Ok(rows)
}

/// filldown: the value of the row before where there is none.
pub(super) fn filldown(fields: &[String], mut rows: Vec<Row>) -> Result<Vec<Row>> {
    for at in 1..rows.len() {
        for field in fields {
            if let (None, Some(values)) = (rows[at].get(field), rows[at - 1].get(field)) {
                let values = values.clone();
                rows[at].insert(field.clone(), values);
            }
        }
    }
    Ok(rows)
}

/// mvexpand: a row for each value.
pub(super) fn mvexpand(field: &str, rows: Vec<Row>) -> Result<Vec<Row>> {
    let mut expanded = vec![];
    for row in rows {
        let Some(values) = row.get(field).filter(|values| values.len() > 1) else {
            expanded.push(row);
            continue;
        };
        for value in values {
            let mut copy = row.clone();
            copy.insert(field.to_owned(), vec![value.clone()]);
            expanded.push(copy);
        }
    }
    Ok(expanded)
}

/// makemv: a text cut into values.
pub(super) fn makemv(field: &str, delimiter: &str, mut rows: Vec<Row>) -> Result<Vec<Row>> {
    for row in &mut rows {
        if let Some(text) = single(row, field)? {
            let parts = text.split(delimiter).map(str::to_owned).collect();
            set(row, field, parts);
        }
    }
    Ok(rows)
}

/// convert ctime: times as text.
pub(super) fn ctime(
    format: &str,
    fields: &[(String, String)],
    mut rows: Vec<Row>,
) -> Result<Vec<Row>> {
    for row in &mut rows {
        for (field, to) in fields {
            let each = row
                .get(field)
                .cloned()
                .unwrap_or_default()
                .into_iter()
                .map(|value| {
                    let seconds =
                        as_number(&value).ok_or_else(|| format!("ctime({field}) of {value}"))?;
                    time::format(seconds, format)
                });
            let values = each.collect::<Result<Vec<String>>>()?;
            set(row, to, values);
        }
    }
    Ok(rows)
}

/// addtotals: the sum of fields.
pub(super) fn addtotals(made: &str, fields: &[String], mut rows: Vec<Row>) -> Result<Vec<Row>> {
    for row in &mut rows {
        let mut total = 0.0;
        for field in fields {
            total += single(row, field)?.and_then(as_number).unwrap_or_default();
        }
        set(row, made, vec![show_number(total)]);
    }
    Ok(rows)
}
