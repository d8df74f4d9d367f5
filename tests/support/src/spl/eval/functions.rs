//! The functions of eval: what each comes to, of the values of its arguments.

use super::multivalue;
use super::{
    Expression, Value, as_number, cidr_match, compare, finite, is_in, json_extract, number_of,
    operate, show_number, text_of, whole,
};
use crate::spl::cursor::Result;
use crate::spl::{Row, regex, time};

/// Computes a function.
pub(super) fn call(name: &str, arguments: &[Expression], row: &Row, now: i64) -> Result<Value> {
    if multivalue::NAMES.contains(&name) {
        multivalue::compute(name, arguments, row, now)
    } else if CHOOSING.contains(&name) {
        choose(name, arguments, row, now)
    } else {
        of_values(name, arguments, row, now)
    }
}

/// The functions that look at what is absent, or choose what to compute.
const CHOOSING: [&str; 18] = [
    "if",
    "case",
    "coalesce",
    "isnull",
    "isnotnull",
    "null",
    "true",
    "false",
    "in",
    "like",
    "json_extract",
    "min",
    "max",
    "now",
    "time",
    "pi",
    "isnum",
    "tostring",
];

fn choose(name: &str, arguments: &[Expression], row: &Row, now: i64) -> Result<Value> {
    match (name, arguments) {
        ("if", [condition, then, otherwise]) => {
            let chosen = if condition.is_true(row, now)? {
                then
            } else {
                otherwise
            };
            chosen.compute(row, now)
        }
        ("case", pairs) => {
            for pair in pairs.chunks(2) {
                if pair[0].is_true(row, now)? {
                    return pair[1].compute(row, now);
                }
            }
            Ok(Value::Null)
        }
        ("coalesce", arguments) => {
            for argument in arguments {
                let value = argument.compute(row, now)?;
                if value != Value::Null {
                    return Ok(value);
                }
            }
            Ok(Value::Null)
        }
        ("isnull", [value]) => Ok(Value::Truth(value.compute(row, now)? == Value::Null)),
        ("isnotnull", [value]) => Ok(Value::Truth(value.compute(row, now)? != Value::Null)),
        ("null", []) => Ok(Value::Null),
        ("true", []) => Ok(Value::Truth(true)),
        ("false", []) => Ok(Value::Truth(false)),
        ("in", [left, values @ ..]) => is_in(left, values, row, now),
        ("like", [text, pattern]) => operate(text, "LIKE", pattern, row, now),
        ("json_extract", [json, path]) => {
            let (json, path) = (text_of(json, row, now)?, text_of(path, row, now)?);
            Ok(match (json, path) {
                (Some(json), Some(path)) => json_extract(&json, &path),
                _ => Value::Null,
            })
        }
        ("min" | "max", arguments) => best(name, arguments, row, now),
        ("now" | "time", []) => Ok(number(now)),
        ("pi", []) => Ok(Value::Number(std::f64::consts::PI)),
        ("isnum", [value]) => Ok(Value::Truth(value.compute(row, now)?.number().is_some())),
        ("tostring", [value]) => to_string(value.compute(row, now)?),
        _ => Err(format!("the tests cannot compute this {name}")),
    }
}

/// `tostring` without a format.
fn to_string(value: Value) -> Result<Value> {
    Ok(match value {
        Value::Null => Value::Null,
        Value::Truth(truth) => Value::Text(if truth { "True" } else { "False" }.to_owned()),
        Value::Text(text) => Value::Text(text),
        Value::Number(number) => Value::Text(show_number(number)),
        Value::Many(_) => return Err("the tests cannot compute this tostring".to_owned()),
    })
}

/// `min` and `max`.
fn best(name: &str, arguments: &[Expression], row: &Row, now: i64) -> Result<Value> {
    let mut best: Option<f64> = None;
    for argument in arguments {
        // A text would count as greater than any number.
        if let Some(number) = number_of(argument, row, now)? {
            let better = |old: f64| {
                if name == "min" {
                    old.min(number)
                } else {
                    old.max(number)
                }
            };
            best = Some(best.map_or(number, better));
        }
    }
    Ok(best.map_or(Value::Null, Value::Number))
}

/// The values of the arguments of a function that comes to nothing if one of them does.
struct Values<'a> {
    name: &'a str,
    all: Vec<Value>,
}

impl Values<'_> {
    fn count(&self) -> usize {
        self.all.len()
    }

    fn text(&self, at: usize) -> Result<String> {
        match &self.all[at] {
            Value::Text(text) => Ok(text.clone()),
            Value::Number(number) => Ok(show_number(*number)),
            other => Err(format!("{} of {other:?}", self.name)),
        }
    }

    fn numeric(&self, at: usize) -> Result<f64> {
        let value = self.all.get(at);
        let value = value.ok_or_else(|| format!("{} needs more", self.name))?;
        let number = value.number();
        number.ok_or_else(|| format!("{}: {value:?} is no number", self.name))
    }
}

fn of_values(name: &str, arguments: &[Expression], row: &Row, now: i64) -> Result<Value> {
    let mut all = vec![];
    for argument in arguments {
        match argument.compute(row, now)? {
            Value::Null => return Ok(Value::Null),
            Value::Many(_) => return Err(format!("{name} of several values")),
            value => all.push(value),
        }
    }
    let values = Values { name, all };
    match of_texts(&values)? {
        Some(value) => Ok(value),
        None => of_numbers(&values),
    }
}

fn of_text(text: String) -> Result<Value> {
    Ok(Value::Text(text))
}

/// The functions of texts and times; `None` for another.
fn of_texts(values: &Values<'_>) -> Result<Option<Value>> {
    let value = match values.name {
        "lower" => of_text(values.text(0)?.to_lowercase()),
        "upper" => of_text(values.text(0)?.to_uppercase()),
        "len" => Ok(number(values.text(0)?.chars().count())),
        "trim" if values.count() == 1 => of_text(values.text(0)?.trim().to_owned()),
        "ltrim" if values.count() == 1 => of_text(values.text(0)?.trim_start().to_owned()),
        "rtrim" if values.count() == 1 => of_text(values.text(0)?.trim_end().to_owned()),
        "substr" => part(values),
        "split" => {
            let (text, between) = (values.text(0)?, values.text(1)?);
            let parts = text.split(between.as_str()).map(str::to_owned).collect();
            Ok(Value::from_values(parts))
        }
        "match" => Ok(Value::Truth(regex::is_match(
            &values.text(1)?,
            &values.text(0)?,
        )?)),
        "replace" => of_text(regex::replace(
            &values.text(1)?,
            &values.text(0)?,
            &values.text(2)?,
        )?),
        "cidrmatch" => Ok(Value::Truth(cidr_match(
            &values.text(0)?,
            &values.text(1)?,
        )?)),
        "nullif" => Ok(match compare(&values.all[0], "=", &values.all[1])? {
            Value::Truth(true) => Value::Null,
            _ => values.all[0].clone(),
        }),
        "tonumber" if values.count() == 1 => {
            Ok(as_number(&values.text(0)?).map_or(Value::Null, Value::Number))
        }
        "strftime" => of_text(time::format(values.numeric(0)?, &values.text(1)?)?),
        "relative_time" => Ok(number(time::relative(
            whole(values.numeric(0)?),
            &values.text(1)?,
        )?)),
        _ => return Ok(None),
    };
    value.map(Some)
}

/// `substr`: a part of a text, counted from 1, or from the end with a negative number.
fn part(values: &Values<'_>) -> Result<Value> {
    let (text, from) = (values.text(0)?, whole(values.numeric(1)?));
    let signs: Vec<char> = text.chars().collect();
    let count = i64::try_from(signs.len()).unwrap_or_default();
    let from = match from {
        1.. => from - 1,
        0 => return Err("substr counts from 1".to_owned()),
        _ => (count + from).max(0),
    };
    let length = if values.count() == 3 {
        whole(values.numeric(2)?)
    } else {
        count
    };
    let size = |number: i64| usize::try_from(number).unwrap_or_default();
    of_text(signs.iter().skip(size(from)).take(size(length)).collect())
}

/// The functions of numbers.
fn of_numbers(values: &Values<'_>) -> Result<Value> {
    let name = values.name;
    match name {
        "abs" => Ok(Value::Number(values.numeric(0)?.abs())),
        "acos" => Ok(finite(values.numeric(0)?.acos())),
        "asin" => Ok(finite(values.numeric(0)?.asin())),
        "atan" => Ok(finite(values.numeric(0)?.atan())),
        "atan2" => Ok(finite(values.numeric(0)?.atan2(values.numeric(1)?))),
        "cos" => Ok(finite(values.numeric(0)?.cos())),
        "sin" => Ok(finite(values.numeric(0)?.sin())),
        "tan" => Ok(finite(values.numeric(0)?.tan())),
        "sqrt" => Ok(finite(values.numeric(0)?.sqrt())),
        "exp" => Ok(finite(values.numeric(0)?.exp())),
        "ln" => Ok(finite(values.numeric(0)?.ln())),
        "log" => {
            let base = if values.count() == 2 {
                values.numeric(1)?
            } else {
                10.0
            };
            Ok(finite(values.numeric(0)?.log(base)))
        }
        "pow" => Ok(finite(values.numeric(0)?.powf(values.numeric(1)?))),
        "exact" => Ok(Value::Number(values.numeric(0)?)),
        "floor" => Ok(Value::Number(values.numeric(0)?.floor())),
        "ceiling" => Ok(Value::Number(values.numeric(0)?.ceil())),
        "round" => round(values),
        _ => Err(format!("the tests cannot compute {name}")),
    }
}

/// `round`, which keeps the digits that were asked for: `round(2, 2)` is 2.00.
fn round(values: &Values<'_>) -> Result<Value> {
    let digits = if values.count() == 2 {
        whole(values.numeric(1)?)
    } else {
        0
    };
    let digits = i32::try_from(digits).map_err(|_| "round to so many digits")?;
    let scale = 10_f64.powi(digits);
    let number = (values.numeric(0)? * scale).round() / scale;
    let digits = usize::try_from(digits).map_err(|_| "round to whole tens")?;
    of_text(format!("{number:.digits$}"))
}

pub(super) fn number<T>(count: T) -> Value
where
    i64: TryFrom<T>,
{
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "counts and times are small")]
    Value::Number(count as f64)
}
