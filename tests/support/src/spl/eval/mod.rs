//! The expressions of eval and where, of `count(eval(...))`, and of the EVALs of props.conf.
//!
//! A field without a value makes what is computed from it absent as well. What Splunk's manual leaves open is an
//! error here, for example NOT of something absent, or a comparison of a multivalue field.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;

use super::Row;
use super::cursor::Result;

mod functions;
mod grammar;
mod multivalue;

pub(super) use grammar::expression;
pub use grammar::parse;

#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    Field(String),
    Text(String),
    Number(f64),
    Not(Box<Self>),
    Minus(Box<Self>),
    /// AND, OR, XOR, a comparison, LIKE, arithmetic, or `.`.
    Two(Box<Self>, String, Box<Self>),
    In(Box<Self>, Vec<Self>),
    Call(String, Vec<Self>),
}

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Truth(bool),
    Number(f64),
    Text(String),
    Many(Vec<String>),
}

/// The functions, each with its least and its greatest number of arguments.
const FUNCTIONS: &[(&str, usize, usize)] = &[
    ("abs", 1, 1),
    ("acos", 1, 1),
    ("asin", 1, 1),
    ("atan", 1, 1),
    ("atan2", 2, 2),
    ("case", 2, usize::MAX),
    ("ceiling", 1, 1),
    ("cidrmatch", 2, 2),
    ("coalesce", 1, usize::MAX),
    ("cos", 1, 1),
    ("exact", 1, 1),
    ("exp", 1, 1),
    ("false", 0, 0),
    ("floor", 1, 1),
    ("if", 3, 3),
    ("in", 2, usize::MAX),
    ("isnotnull", 1, 1),
    ("isnull", 1, 1),
    ("isnum", 1, 1),
    ("json_extract", 2, 2),
    ("len", 1, 1),
    ("like", 2, 2),
    ("ln", 1, 1),
    ("log", 1, 2),
    ("lower", 1, 1),
    ("ltrim", 1, 2),
    ("match", 2, 2),
    ("max", 1, usize::MAX),
    ("min", 1, usize::MAX),
    ("mvappend", 1, usize::MAX),
    ("mvcount", 1, 1),
    ("mvdedup", 1, 1),
    ("mvfilter", 1, 1),
    ("mvfind", 2, 2),
    ("mvindex", 2, 3),
    ("mvjoin", 2, 2),
    ("mvmap", 2, 2),
    ("mvsort", 1, 1),
    ("now", 0, 0),
    ("null", 0, 0),
    ("nullif", 2, 2),
    ("pi", 0, 0),
    ("pow", 2, 2),
    ("relative_time", 2, 2),
    ("replace", 3, 3),
    ("round", 1, 2),
    ("rtrim", 1, 2),
    ("sin", 1, 1),
    ("split", 2, 2),
    ("sqrt", 1, 1),
    ("strftime", 2, 2),
    ("strptime", 2, 2),
    ("substr", 2, 3),
    ("tan", 1, 1),
    ("time", 0, 0),
    ("tonumber", 1, 2),
    ("tostring", 1, 2),
    ("trim", 1, 2),
    ("true", 0, 0),
    ("upper", 1, 1),
    ("validate", 2, usize::MAX),
];

const TRUTHS: &[&str] = &[
    "cidrmatch",
    "false",
    "in",
    "isnotnull",
    "isnull",
    "isnum",
    "like",
    "match",
    "true",
];

const COMPARISONS: [&str; 7] = ["==", "!=", "<=", ">=", "=", "<", ">"];

impl Expression {
    fn is_truth(&self) -> bool {
        match self {
            Self::Not(_) | Self::In(..) => true,
            Self::Two(_, operator, _) => {
                COMPARISONS.contains(&operator.as_str())
                    || ["AND", "OR", "XOR", "LIKE"].contains(&operator.as_str())
            }
            Self::Call(name, arguments) => {
                TRUTHS.contains(&name.as_str())
                    || name == "if" && arguments[1].is_truth()
                    || name == "case" && arguments[1].is_truth()
            }
            Self::Field(_) | Self::Text(_) | Self::Number(_) | Self::Minus(_) => false,
        }
    }

    /// Splunk refuses a condition where it expects a value, and the other way round.
    pub fn check_value(&self) -> Result<()> {
        if self.is_truth() {
            return Err("a condition stands where a value is expected".to_owned());
        }
        self.check_parts()
    }

    pub fn check_condition(&self) -> Result<()> {
        if !self.is_truth() {
            return Err("a value stands where a condition is expected".to_owned());
        }
        self.check_parts()
    }

    fn check_parts(&self) -> Result<()> {
        match self {
            Self::Field(_) | Self::Text(_) | Self::Number(_) => Ok(()),
            Self::Not(inner) => inner.check_condition(),
            Self::Minus(inner) => inner.check_value(),
            Self::Two(left, operator, right) => {
                if ["AND", "OR", "XOR"].contains(&operator.as_str()) {
                    left.check_condition()?;
                    return right.check_condition();
                }
                left.check_value()?;
                right.check_value()
            }
            Self::In(left, values) => {
                left.check_value()?;
                values.iter().try_for_each(Self::check_value)
            }
            Self::Call(name, arguments) => match name.as_str() {
                "if" => {
                    arguments[0].check_condition()?;
                    let is_truth = arguments[1].is_truth();
                    if is_truth != arguments[2].is_truth() {
                        return Err("if with a condition and a value to choose from".to_owned());
                    }
                    arguments[1..].iter().try_for_each(Self::check_parts)
                }
                "case" | "validate" => {
                    let is_truth = arguments[1].is_truth();
                    for pair in arguments.chunks(2) {
                        pair[0].check_condition()?;
                        if pair[1].is_truth() != is_truth {
                            return Err(format!("{name} of conditions and values"));
                        }
                        pair[1].check_parts()?;
                    }
                    Ok(())
                }
                "mvfilter" => {
                    arguments[0].check_condition()?;
                    let mut names = BTreeSet::new();
                    arguments[0].reads(&mut names);
                    if names.len() != 1 {
                        return Err("mvfilter works on one field".to_owned());
                    }
                    Ok(())
                }
                "tostring" | "isnull" | "isnotnull" => {
                    arguments.iter().try_for_each(Self::check_parts)
                }
                "mvmap" => {
                    let (mut over, mut inside) = (BTreeSet::new(), BTreeSet::new());
                    arguments[0].reads(&mut over);
                    arguments[1].reads(&mut inside);
                    if over.len() != 1 || !inside.is_superset(&over) {
                        return Err(
                            "mvmap works on one field, which stands in both parts".to_owned()
                        );
                    }
                    arguments.iter().try_for_each(Self::check_value)
                }
                _ => arguments.iter().try_for_each(Self::check_value),
            },
        }
    }

    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Field(_) | Self::Text(_) | Self::Number(_) => vec![],
            Self::Not(inner) | Self::Minus(inner) => vec![inner],
            Self::Two(left, _, right) => vec![left, right],
            Self::In(left, values) => std::iter::once(&**left).chain(values).collect(),
            Self::Call(_, arguments) => arguments.iter().collect(),
        }
    }

    /// The names of the fields it reads.
    pub fn reads(&self, names: &mut BTreeSet<String>) {
        if let Self::Field(name) = self {
            names.insert(name.clone());
        }
        self.parts().iter().for_each(|part| part.reads(names));
    }

    /// The fields that are compared with a text for being equal or not, and the texts.
    pub fn compared(&self, found: &mut Vec<(String, String)>) {
        let pair = |left: &Self, right: &Self| match (left, right) {
            (Self::Field(name), Self::Text(text)) => Some((name.clone(), text.clone())),
            _ => None,
        };
        match self {
            Self::Two(left, operator, right) if ["=", "==", "!="].contains(&operator.as_str()) => {
                found.extend(pair(left, right));
            }
            Self::In(left, values) => {
                found.extend(values.iter().filter_map(|value| pair(left, value)))
            }
            Self::Call(name, arguments) if name == "in" => {
                found.extend(
                    arguments[1..]
                        .iter()
                        .filter_map(|value| pair(&arguments[0], value)),
                );
            }
            _ => {}
        }
        self.parts().iter().for_each(|part| part.compared(found));
    }

    /// Whether a row fulfils it. What is absent is not true.
    pub fn is_true(&self, row: &Row, now: i64) -> Result<bool> {
        match self.compute(row, now)? {
            Value::Truth(truth) => Ok(truth),
            Value::Null => Ok(false),
            other => Err(format!("{other:?} is no condition")),
        }
    }

    pub fn compute(&self, row: &Row, now: i64) -> Result<Value> {
        Ok(match self {
            Self::Text(text) => Value::Text(text.clone()),
            Self::Number(number) => Value::Number(*number),
            Self::Field(name) => match row.get(name).map(Vec::as_slice) {
                None | Some([]) => Value::Null,
                Some([value]) => Value::Text(value.clone()),
                Some(values) => Value::Many(values.to_vec()),
            },
            Self::Not(inner) => match inner.compute(row, now)? {
                Value::Truth(truth) => Value::Truth(!truth),
                _ => return Err("NOT of something absent: ask with isnull first".to_owned()),
            },
            Self::Minus(inner) => {
                number_of(inner, row, now)?.map_or(Value::Null, |it| Value::Number(-it))
            }
            Self::Two(left, operator, right) => operate(left, operator, right, row, now)?,
            Self::In(left, values) => is_in(left, values, row, now)?,
            Self::Call(name, arguments) => functions::call(name, arguments, row, now)?,
        })
    }
}

/// A text that Splunk takes for a number.
pub(super) fn as_number(text: &str) -> Option<f64> {
    let plain = text.starts_with(|sign: char| sign.is_ascii_digit() || "+-.".contains(sign))
        && text
            .chars()
            .all(|sign| sign.is_ascii_digit() || "+-.eE".contains(sign));
    plain.then(|| text.parse().ok()).flatten()
}

pub(super) fn show_number(number: f64) -> String {
    // A negative zero would show its sign.
    (number + 0.0).to_string()
}

impl Value {
    /// What becomes of the field that it is assigned to.
    pub fn into_values(self) -> Result<Vec<String>> {
        Ok(match self {
            Self::Null => vec![],
            Self::Truth(_) => return Err("a condition cannot be a field's value".to_owned()),
            Self::Number(number) => vec![show_number(number)],
            Self::Text(text) => vec![text],
            Self::Many(values) => values,
        })
    }

    fn from_values(mut values: Vec<String>) -> Self {
        match values.len() {
            0 => Self::Null,
            1 => Self::Text(values.remove(0)),
            _ => Self::Many(values),
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => as_number(text),
            _ => None,
        }
    }
}

/// Numbers are compared as numbers, also if they are written as texts; texts by their signs.
pub(super) fn compare(left: &Value, operator: &str, right: &Value) -> Result<Value> {
    let order = match (left, right) {
        (Value::Null, _) | (_, Value::Null) => return Ok(Value::Null),
        (Value::Many(_), _) | (_, Value::Many(_)) => {
            return Err(format!("`{operator}` compares a field with several values"));
        }
        _ => match (left.number(), right.number(), left, right) {
            (Some(left), Some(right), _, _) => left.partial_cmp(&right),
            (_, _, Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
            _ => {
                return Err(format!(
                    "{left:?} {operator} {right:?}: a text and a number"
                ));
            }
        },
    };
    let order = order.ok_or("a comparison with what is no number")?;
    Ok(Value::Truth(match operator {
        "=" | "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        ">" => order.is_gt(),
        "<=" => order.is_le(),
        ">=" => order.is_ge(),
        other => return Err(format!("the operator {other}")),
    }))
}

fn operate(
    left: &Expression,
    operator: &str,
    right: &Expression,
    row: &Row,
    now: i64,
) -> Result<Value> {
    if ["AND", "OR", "XOR"].contains(&operator) {
        let truth = |value| match value {
            Value::Truth(truth) => Ok(Some(truth)),
            Value::Null => Ok(None),
            other => Err(format!("{other:?} is no condition")),
        };
        let (left, right) = (
            truth(left.compute(row, now)?)?,
            truth(right.compute(row, now)?)?,
        );
        let truth = match (operator, left, right) {
            ("AND", Some(false), _) | ("AND", _, Some(false)) => Some(false),
            ("OR", Some(true), _) | ("OR", _, Some(true)) => Some(true),
            (_, None, _) | (_, _, None) => None,
            ("AND", ..) => Some(true),
            ("OR", ..) => Some(false),
            (_, left, right) => Some(left != right),
        };
        return Ok(truth.map_or(Value::Null, Value::Truth));
    }
    if operator == "LIKE" {
        let (text, pattern) = (text_of(left, row, now)?, text_of(right, row, now)?);
        let (Some(text), Some(pattern)) = (text, pattern) else {
            return Ok(Value::Null);
        };
        return Ok(Value::Truth(like(&pattern, &text)));
    }
    if COMPARISONS.contains(&operator) {
        return compare(
            &left.compute(row, now)?,
            operator,
            &right.compute(row, now)?,
        );
    }
    if operator == "." {
        let (left, right) = (text_of(left, row, now)?, text_of(right, row, now)?);
        return Ok(match (left, right) {
            (Some(left), Some(right)) => Value::Text(left.into_owned() + &right),
            _ => Value::Null,
        });
    }
    let (left, right) = (number_of(left, row, now)?, number_of(right, row, now)?);
    let (Some(left), Some(right)) = (left, right) else {
        return Ok(Value::Null);
    };
    Ok(finite(match operator {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "/" => left / right,
        "%" => left % right,
        other => return Err(format!("the operator {other}")),
    }))
}

/// Splunk has nothing to show for a division by zero.
fn finite(number: f64) -> Value {
    if number.is_finite() {
        Value::Number(number)
    } else {
        Value::Null
    }
}

fn is_in(left: &Expression, values: &[Expression], row: &Row, now: i64) -> Result<Value> {
    let left = left.compute(row, now)?;
    let mut found = Value::Truth(false);
    for value in values {
        match compare(&left, "=", &value.compute(row, now)?)? {
            Value::Truth(true) => return Ok(Value::Truth(true)),
            Value::Null => found = Value::Null,
            _ => {}
        }
    }
    Ok(found)
}

fn like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('%') => text
            .char_indices()
            .map(|(at, _)| at)
            .chain([text.len()])
            .any(|at| like(&pattern[1..], &text[at..])),
        Some(sign) => {
            let mut signs = text.chars();
            let first = signs.next();
            first.is_some_and(|first| sign == '_' || sign == first)
                && like(&pattern[sign.len_utf8()..], signs.as_str())
        }
    }
}

fn text_of<'a>(expression: &'a Expression, row: &'a Row, now: i64) -> Result<Option<Cow<'a, str>>> {
    match expression {
        Expression::Text(text) => return Ok(Some(text.into())),
        // An event's _raw is long, and calculated fields ask for it hundreds of times.
        Expression::Field(name) => {
            if let Some([text]) = row.get(name).map(Vec::as_slice) {
                return Ok(Some(text.into()));
            }
        }
        _ => {}
    }
    match expression.compute(row, now)? {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text.into())),
        Value::Number(number) => Ok(Some(show_number(number).into())),
        other => Err(format!("{other:?} is no single text")),
    }
}

fn number_of(expression: &Expression, row: &Row, now: i64) -> Result<Option<f64>> {
    let value = expression.compute(row, now)?;
    match value.number() {
        None if value != Value::Null => Err(format!("{value:?} is no number")),
        number => Ok(number),
    }
}

fn values_of(expression: &Expression, row: &Row, now: i64) -> Result<Vec<String>> {
    expression.compute(row, now)?.into_values()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "indexes and times are small"
)]
fn whole(number: f64) -> i64 {
    number as i64
}

/// What a path of names with dots between them leads to. What is no JSON, is not there or is null comes to nothing.
fn json_extract(json: &str, path: &str) -> Value {
    thread_local! {
        // The calculated fields of an event ask the same text for one path after the other.
        static LAST: RefCell<(String, serde_json::Value)> = RefCell::default();
    }
    LAST.with_borrow_mut(|(text, parsed)| {
        if text != json {
            *parsed = serde_json::from_str(json).unwrap_or_default();
            json.clone_into(text);
        }
        let found = path
            .split('.')
            .try_fold(&*parsed, |object, name| object.get(name));
        match found {
            None | Some(serde_json::Value::Null) => Value::Null,
            Some(serde_json::Value::String(text)) => Value::Text(text.clone()),
            Some(other) => Value::Text(other.to_string()),
        }
    })
}

pub(super) fn cidr_match(range: &str, address: &str) -> Result<bool> {
    let wrong = || format!("cidrmatch of {range} and {address}");
    let (network, bits) = range.split_once('/').ok_or_else(wrong)?;
    let network: std::net::Ipv4Addr = network.parse().map_err(|_| wrong())?;
    let bits: u32 = bits
        .parse()
        .ok()
        .filter(|bits| *bits <= 32)
        .ok_or_else(wrong)?;
    let Ok(address) = address.parse::<std::net::Ipv4Addr>() else {
        return Ok(false);
    };
    let differing = u32::from(network) ^ u32::from(address);
    Ok(bits == 0 || differing >> (32 - bits) == 0)
}
