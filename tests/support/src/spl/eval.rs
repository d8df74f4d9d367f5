//! The expressions of eval and where, of `count(eval(...))`, and of the EVALs of props.conf.
//!
//! A field without a value makes what is computed from it absent as well. What Splunk's manual leaves open is an
//! error here, for example NOT of something absent, or a comparison of a multivalue field.

use std::collections::BTreeSet;

use super::cursor::{Cursor, Result, is_of_name};
use super::{Row, regex, time};

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

/// Reads the expression that begins at the cursor, as far as it goes.
pub(super) fn expression(cursor: &mut Cursor<'_>) -> Result<Expression> {
    let left = conjunction(cursor)?;
    more(cursor, left, &["OR", "XOR"], conjunction)
}

/// The whole of a text, as an EVAL of props.conf has it.
pub fn parse(text: &str) -> Result<Expression> {
    let mut cursor = Cursor::new(text);
    let expression = expression(&mut cursor)?;
    cursor.end()?;
    expression.check_value()?;
    Ok(expression)
}

type Part = fn(&mut Cursor<'_>) -> Result<Expression>;

fn more(
    cursor: &mut Cursor<'_>,
    mut left: Expression,
    keywords: &[&str],
    part: Part,
) -> Result<Expression> {
    loop {
        cursor.refuse_small(&["AND", "OR", "XOR", "NOT", "AS", "BY"])?;
        let Some(keyword) = keywords.iter().find(|keyword| cursor.keyword(keyword)) else {
            return Ok(left);
        };
        left = two(left, keyword, part(cursor)?);
    }
}

fn two(left: Expression, operator: &str, right: Expression) -> Expression {
    Expression::Two(Box::new(left), operator.to_owned(), Box::new(right))
}

fn conjunction(cursor: &mut Cursor<'_>) -> Result<Expression> {
    let left = negation(cursor)?;
    more(cursor, left, &["AND"], negation)
}

fn negation(cursor: &mut Cursor<'_>) -> Result<Expression> {
    cursor.refuse_small(&["NOT"])?;
    if cursor.keyword("NOT") {
        return Ok(Expression::Not(Box::new(negation(cursor)?)));
    }
    comparison(cursor)
}

fn comparison(cursor: &mut Cursor<'_>) -> Result<Expression> {
    let left = sum(cursor)?;
    if cursor.keyword("IN") {
        cursor.expect("(")?;
        let values = arguments(cursor)?;
        if values.is_empty() {
            return Err("IN of nothing".to_owned());
        }
        return Ok(Expression::In(Box::new(left), values));
    }
    if cursor.keyword("LIKE") {
        return Ok(two(left, "LIKE", sum(cursor)?));
    }
    let Some(operator) = COMPARISONS.iter().find(|operator| cursor.take(operator)) else {
        return Ok(left);
    };
    let compared = two(left, operator, sum(cursor)?);
    if COMPARISONS.iter().any(|operator| cursor.take(operator)) {
        return Err("two comparisons in a row".to_owned());
    }
    Ok(compared)
}

fn sum(cursor: &mut Cursor<'_>) -> Result<Expression> {
    let mut left = product(cursor)?;
    let mut kinds = BTreeSet::new();
    while let Some(operator @ ('+' | '-' | '.')) = cursor.peek() {
        cursor.take(&operator.to_string());
        kinds.insert(operator == '.');
        if kinds.len() == 2 {
            return Err("`.` beside + or -: put one in parentheses".to_owned());
        }
        left = two(left, &operator.to_string(), product(cursor)?);
    }
    Ok(left)
}

fn product(cursor: &mut Cursor<'_>) -> Result<Expression> {
    let mut left = term(cursor)?;
    while let Some(operator @ ('*' | '/' | '%')) = cursor.peek() {
        cursor.take(&operator.to_string());
        left = two(left, &operator.to_string(), term(cursor)?);
    }
    Ok(left)
}

fn term(cursor: &mut Cursor<'_>) -> Result<Expression> {
    match cursor.peek() {
        Some('"') => Ok(Expression::Text(cursor.quoted()?)),
        Some('\'') => {
            cursor.expect("'")?;
            let name = cursor.run(|sign| sign != '\'').to_owned();
            if !cursor.take("'") {
                return Err("a single quotation mark is not closed".to_owned());
            }
            if name.is_empty() {
                return Err("a field's name is empty".to_owned());
            }
            Ok(Expression::Field(name))
        }
        Some('(') => {
            cursor.expect("(")?;
            let inner = expression(cursor)?;
            cursor.expect(")")?;
            Ok(inner)
        }
        Some('-') => {
            cursor.expect("-")?;
            Ok(Expression::Minus(Box::new(term(cursor)?)))
        }
        Some(first) if first.is_ascii_digit() => {
            let mut number = cursor.run(|sign| sign.is_ascii_digit()).to_owned();
            let rest = cursor.rest();
            if rest.starts_with('.') && rest[1..].starts_with(|sign: char| sign.is_ascii_digit()) {
                cursor.expect(".")?;
                number = format!("{number}.{}", cursor.run(|sign| sign.is_ascii_digit()));
            }
            if cursor.rest().starts_with(is_of_name) {
                return Err(format!("{number} and a name without a sign between"));
            }
            number
                .parse()
                .map(Expression::Number)
                .map_err(|_| format!("the number {number}"))
        }
        Some(first) if is_of_name(first) => {
            let name = cursor.run(is_of_name).to_owned();
            if cursor.peek() == Some('(') {
                cursor.expect("(")?;
                let arguments = arguments(cursor)?;
                return call(name, arguments);
            }
            if ["AND", "OR", "XOR", "NOT", "IN", "LIKE", "AS", "BY"].contains(&name.as_str()) {
                return Err(format!("{name} stands where a value is expected"));
            }
            Ok(Expression::Field(name))
        }
        _ => Err(format!("a value is missing before {}", cursor.ahead())),
    }
}

/// What follows an opening parenthesis, up to and with the closing one.
fn arguments(cursor: &mut Cursor<'_>) -> Result<Vec<Expression>> {
    let mut arguments = vec![];
    if cursor.take(")") {
        return Ok(arguments);
    }
    loop {
        arguments.push(expression(cursor)?);
        if cursor.take(")") {
            return Ok(arguments);
        }
        cursor.expect(",")?;
    }
}

fn call(name: String, arguments: Vec<Expression>) -> Result<Expression> {
    let Some((_, least, most)) = FUNCTIONS.iter().find(|(known, _, _)| *known == name) else {
        return Err(format!("the function {name} is not known"));
    };
    let pairs = ["case", "validate"].contains(&name.as_str());
    if !(*least..=*most).contains(&arguments.len()) || pairs && !arguments.len().is_multiple_of(2) {
        return Err(format!("{name} cannot have {} arguments", arguments.len()));
    }
    match (name.as_str(), arguments.get(1)) {
        ("strftime" | "strptime", Some(Expression::Text(format))) => time::check_format(format)?,
        ("relative_time", Some(Expression::Text(text))) => drop(time::relative(0, text)?),
        _ => {}
    }
    Ok(Expression::Call(name, arguments))
}

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
            Self::Call(name, arguments) => call_function(name, arguments, row, now)?,
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
            (Some(left), Some(right)) => Value::Text(left + &right),
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

fn text_of(expression: &Expression, row: &Row, now: i64) -> Result<Option<String>> {
    match expression.compute(row, now)? {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        Value::Number(number) => Ok(Some(show_number(number))),
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
    let Ok(json) = serde_json::from_str::<serde_json::Value>(json) else {
        return Value::Null;
    };
    let found = path
        .split('.')
        .try_fold(&json, |object, name| object.get(name));
    match found {
        None | Some(serde_json::Value::Null) => Value::Null,
        Some(serde_json::Value::String(text)) => Value::Text(text.clone()),
        Some(other) => Value::Text(other.to_string()),
    }
}

fn call_function(name: &str, arguments: &[Expression], row: &Row, now: i64) -> Result<Value> {
    // Those that look at what is absent, or choose what to compute.
    match (name, arguments) {
        ("if", [condition, then, otherwise]) => {
            let chosen = if condition.is_true(row, now)? {
                then
            } else {
                otherwise
            };
            return chosen.compute(row, now);
        }
        ("case", pairs) => {
            for pair in pairs.chunks(2) {
                if pair[0].is_true(row, now)? {
                    return pair[1].compute(row, now);
                }
            }
            return Ok(Value::Null);
        }
        ("coalesce", arguments) => {
            for argument in arguments {
                let value = argument.compute(row, now)?;
                if value != Value::Null {
                    return Ok(value);
                }
            }
            return Ok(Value::Null);
        }
        ("isnull", [value]) => return Ok(Value::Truth(value.compute(row, now)? == Value::Null)),
        ("isnotnull", [value]) => return Ok(Value::Truth(value.compute(row, now)? != Value::Null)),
        ("null", []) => return Ok(Value::Null),
        ("true", []) => return Ok(Value::Truth(true)),
        ("false", []) => return Ok(Value::Truth(false)),
        ("in", [left, values @ ..]) => return is_in(left, values, row, now),
        ("like", [text, pattern]) => return operate(text, "LIKE", pattern, row, now),
        ("json_extract", [json, path]) => {
            let (json, path) = (text_of(json, row, now)?, text_of(path, row, now)?);
            return Ok(match (json, path) {
                (Some(json), Some(path)) => json_extract(&json, &path),
                _ => Value::Null,
            });
        }
        ("mvappend", arguments) => {
            let mut all = vec![];
            for argument in arguments {
                all.extend(values_of(argument, row, now)?);
            }
            return Ok(Value::from_values(all));
        }
        ("mvdedup", [values]) => {
            let mut kept: Vec<String> = vec![];
            for value in values_of(values, row, now)? {
                if !kept.contains(&value) {
                    kept.push(value);
                }
            }
            return Ok(Value::from_values(kept));
        }
        ("mvsort", [values]) => {
            let mut values = values_of(values, row, now)?;
            values.sort();
            return Ok(Value::from_values(values));
        }
        ("mvcount", [values]) => {
            let count = values_of(values, row, now)?.len();
            return Ok(if count == 0 {
                Value::Null
            } else {
                number(count)
            });
        }
        ("mvjoin", [values, between]) => {
            let values = values_of(values, row, now)?;
            let between = text_of(between, row, now)?;
            return Ok(match between {
                Some(between) if !values.is_empty() => Value::Text(values.join(&between)),
                _ => Value::Null,
            });
        }
        ("mvindex", [values, from, rest @ ..]) => {
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
            return Ok(Value::from_values(found.unwrap_or_default()));
        }
        ("mvfind", [values, pattern]) => {
            let pattern = text_of(pattern, row, now)?.unwrap_or_default();
            for (at, value) in values_of(values, row, now)?.iter().enumerate() {
                if regex::is_match(&pattern, value)? {
                    return Ok(number(at));
                }
            }
            return Ok(Value::Null);
        }
        ("mvfilter", [condition]) => {
            let mut names = BTreeSet::new();
            condition.reads(&mut names);
            let field = names.pop_first().ok_or("mvfilter without a field")?;
            return each_value(&field, row, |row, value| {
                Ok(condition
                    .is_true(row, now)?
                    .then(|| value.to_owned())
                    .into_iter()
                    .collect())
            });
        }
        ("mvmap", [over, to]) => {
            let mut names = BTreeSet::new();
            over.reads(&mut names);
            let field = names.pop_first().ok_or("mvmap without a field")?;
            let mut row = row.clone();
            let values = values_of(over, &row, now)?;
            row.insert(field.clone(), values);
            return each_value(&field, &row, |row, _| values_of(to, row, now));
        }
        ("min" | "max", arguments) => {
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
            return Ok(best.map_or(Value::Null, Value::Number));
        }
        ("now" | "time", []) => return Ok(number(now)),
        ("pi", []) => return Ok(Value::Number(std::f64::consts::PI)),
        ("isnum", [value]) => {
            return Ok(Value::Truth(value.compute(row, now)?.number().is_some()));
        }
        ("tostring", [value, how @ ..]) => {
            let value = value.compute(row, now)?;
            return Ok(match (value, how) {
                (Value::Null, _) => Value::Null,
                (Value::Truth(truth), []) => {
                    Value::Text(if truth { "True" } else { "False" }.to_owned())
                }
                (Value::Text(text), []) => Value::Text(text),
                (Value::Number(number), []) => Value::Text(show_number(number)),
                _ => return Err("the tests cannot compute this tostring".to_owned()),
            });
        }
        _ => {}
    }
    // The others come to nothing if one of their arguments does.
    let mut values = vec![];
    for argument in arguments {
        match argument.compute(row, now)? {
            Value::Null => return Ok(Value::Null),
            Value::Many(_) => return Err(format!("{name} of several values")),
            value => values.push(value),
        }
    }
    let text = |at: usize| match &values[at] {
        Value::Text(text) => Ok(text.clone()),
        Value::Number(number) => Ok(show_number(*number)),
        other => Err(format!("{name} of {other:?}")),
    };
    let numeric = |at: usize| {
        let value = values.get(at).ok_or_else(|| format!("{name} needs more"))?;
        value
            .number()
            .ok_or_else(|| format!("{name}: {value:?} is no number"))
    };
    let of_text = |text: String| Ok(Value::Text(text));
    match name {
        "lower" => of_text(text(0)?.to_lowercase()),
        "upper" => of_text(text(0)?.to_uppercase()),
        "len" => Ok(number(text(0)?.chars().count())),
        "trim" if values.len() == 1 => of_text(text(0)?.trim().to_owned()),
        "ltrim" if values.len() == 1 => of_text(text(0)?.trim_start().to_owned()),
        "rtrim" if values.len() == 1 => of_text(text(0)?.trim_end().to_owned()),
        "substr" => {
            let (text, from) = (text(0)?, whole(numeric(1)?));
            let signs: Vec<char> = text.chars().collect();
            let count = i64::try_from(signs.len()).unwrap_or_default();
            let from = match from {
                1.. => from - 1,
                0 => return Err("substr counts from 1".to_owned()),
                _ => (count + from).max(0),
            };
            let length = if values.len() == 3 {
                whole(numeric(2)?)
            } else {
                count
            };
            let size = |number: i64| usize::try_from(number).unwrap_or_default();
            of_text(signs.iter().skip(size(from)).take(size(length)).collect())
        }
        "split" => {
            let (text, between) = (text(0)?, text(1)?);
            let parts = text.split(between.as_str()).map(str::to_owned).collect();
            Ok(Value::from_values(parts))
        }
        "match" => Ok(Value::Truth(regex::is_match(&text(1)?, &text(0)?)?)),
        "replace" => of_text(regex::replace(&text(1)?, &text(0)?, &text(2)?)?),
        "cidrmatch" => Ok(Value::Truth(cidr_match(&text(0)?, &text(1)?)?)),
        "nullif" => Ok(match compare(&values[0], "=", &values[1])? {
            Value::Truth(true) => Value::Null,
            _ => values[0].clone(),
        }),
        "abs" => Ok(Value::Number(numeric(0)?.abs())),
        "acos" => Ok(finite(numeric(0)?.acos())),
        "asin" => Ok(finite(numeric(0)?.asin())),
        "atan" => Ok(finite(numeric(0)?.atan())),
        "atan2" => Ok(finite(numeric(0)?.atan2(numeric(1)?))),
        "cos" => Ok(finite(numeric(0)?.cos())),
        "sin" => Ok(finite(numeric(0)?.sin())),
        "tan" => Ok(finite(numeric(0)?.tan())),
        "sqrt" => Ok(finite(numeric(0)?.sqrt())),
        "exp" => Ok(finite(numeric(0)?.exp())),
        "ln" => Ok(finite(numeric(0)?.ln())),
        "log" => {
            let base = if values.len() == 2 { numeric(1)? } else { 10.0 };
            Ok(finite(numeric(0)?.log(base)))
        }
        "pow" => Ok(finite(numeric(0)?.powf(numeric(1)?))),
        "exact" => Ok(Value::Number(numeric(0)?)),
        "floor" => Ok(Value::Number(numeric(0)?.floor())),
        "ceiling" => Ok(Value::Number(numeric(0)?.ceil())),
        "round" => {
            let digits = if values.len() == 2 {
                whole(numeric(1)?)
            } else {
                0
            };
            let digits = i32::try_from(digits).map_err(|_| "round to so many digits")?;
            let scale = 10_f64.powi(digits);
            let number = (numeric(0)? * scale).round() / scale;
            // Splunk keeps the digits that were asked for: round(2, 2) is 2.00.
            let digits = usize::try_from(digits).map_err(|_| "round to whole tens")?;
            of_text(format!("{number:.digits$}"))
        }
        "tonumber" if values.len() == 1 => {
            Ok(as_number(&text(0)?).map_or(Value::Null, Value::Number))
        }
        "strftime" => of_text(time::format(numeric(0)?, &text(1)?)?),
        "relative_time" => Ok(number(time::relative(whole(numeric(0)?), &text(1)?)?)),
        _ => Err(format!("the tests cannot compute {name}")),
    }
}

fn number<T>(count: T) -> Value
where
    i64: TryFrom<T>,
{
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "counts and times are small")]
    Value::Number(count as f64)
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
