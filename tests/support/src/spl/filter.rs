//! The conditions of the search command. They compare without case and with `*`, and OR binds before AND.

use std::collections::BTreeSet;

use super::cursor::{Cursor, Result, is_of_name};
use super::eval::as_number;
use super::{Row, Search};

#[derive(Clone, Debug)]
pub(super) enum Filter {
    And(Vec<Self>),
    Or(Vec<Self>),
    Not(Box<Self>),
    Compare {
        field: String,
        operator: &'static str,
        value: String,
    },
    In(String, Vec<String>),
    /// A word or phrase that stands in the event's text.
    Text(String),
    /// A search whose rows become conditions.
    Rows(Search),
}

/// Reads conditions up to the end or a closing parenthesis.
pub(super) fn conditions(cursor: &mut Cursor<'_>) -> Result<Filter> {
    let mut all = vec![];
    loop {
        let mut any = vec![condition(cursor)?];
        while cursor.keyword("OR") {
            any.push(condition(cursor)?);
        }
        all.push(if any.len() == 1 {
            any.remove(0)
        } else {
            Filter::Or(any)
        });
        if cursor.peek().is_none_or(|sign| sign == ')') {
            break;
        }
        cursor.keyword("AND");
    }
    Ok(if all.len() == 1 {
        all.remove(0)
    } else {
        Filter::And(all)
    })
}

fn condition(cursor: &mut Cursor<'_>) -> Result<Filter> {
    cursor.refuse_small(&["AND", "OR", "NOT", "IN"])?;
    if cursor.keyword("NOT") {
        return Ok(Filter::Not(Box::new(condition(cursor)?)));
    }
    match cursor.peek() {
        None => return Err("a condition is missing at the end".to_owned()),
        Some('(') => {
            cursor.expect("(")?;
            let inner = conditions(cursor)?;
            cursor.expect(")")?;
            return Ok(inner);
        }
        Some('[') => {
            let commands = super::parse::pipeline(cursor.bracketed()?.trim(), true)?;
            let macros = BTreeSet::new();
            return Ok(Filter::Rows(Search { commands, macros }));
        }
        Some('"') => return Ok(Filter::Text(cursor.quoted()?)),
        Some(_) => {}
    }
    let word = cursor
        .run(|sign| is_of_name(sign) || ".{}*:/@+%~#&;?$-".contains(sign))
        .to_owned();
    if word.is_empty() || ["AND", "OR", "IN"].contains(&word.as_str()) {
        return Err(format!(
            "a condition is missing before {word}{}",
            cursor.ahead()
        ));
    }
    cursor.refuse_small(&["IN"])?;
    if cursor.keyword("IN") {
        cursor.expect("(")?;
        let mut values = vec![];
        loop {
            values.push(value(cursor)?);
            if cursor.take(")") {
                return Ok(Filter::In(field(word)?, values));
            }
            cursor.expect(",")?;
        }
    }
    for operator in ["!=", "<=", ">=", "=", "<", ">"] {
        if cursor.take(operator) {
            if cursor.touches('=') {
                return Err(format!("`==` is no operator of search ({word}==)"));
            }
            let value = value(cursor)?;
            return Ok(Filter::Compare {
                field: field(word)?,
                operator,
                value,
            });
        }
    }
    Ok(Filter::Text(word))
}

fn field(word: String) -> Result<String> {
    if word.contains('*') || !word.starts_with(|first| is_of_name(first) || first == '{') {
        return Err(format!("{word} is no field"));
    }
    Ok(word)
}

fn value(cursor: &mut Cursor<'_>) -> Result<String> {
    if cursor.peek() == Some('"') {
        return cursor.quoted();
    }
    let value = cursor.run(|sign| !sign.is_whitespace() && !",()[]|\"=<>!".contains(sign));
    if value.is_empty() || ["AND", "OR", "NOT"].contains(&value) {
        return Err(format!(
            "a value is missing before {value}{}",
            cursor.ahead()
        ));
    }
    Ok(value.to_owned())
}

impl Filter {
    /// Calls with every field and the value it is compared with.
    pub(super) fn fields(&self, found: &mut Vec<(String, &'static str, String)>) {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.fields(found)),
            Self::Not(inner) => inner.fields(found),
            Self::Compare {
                field,
                operator,
                value,
            } => found.push((field.clone(), operator, value.clone())),
            Self::In(field, values) => {
                found.extend(
                    values
                        .iter()
                        .map(|value| (field.clone(), "=", value.clone())),
                );
            }
            Self::Text(_) | Self::Rows(_) => {}
        }
    }

    pub(super) fn searches<'a>(&'a self, found: &mut Vec<&'a Search>) {
        match self {
            Self::And(parts) | Self::Or(parts) => {
                parts.iter().for_each(|part| part.searches(found));
            }
            Self::Not(inner) => inner.searches(found),
            Self::Rows(search) => found.push(search),
            Self::Compare { .. } | Self::In(..) | Self::Text(_) => {}
        }
    }

    /// The values that this field must have one of, where that is beyond doubt.
    pub(super) fn required(&self, name: &str) -> Option<Vec<String>> {
        match self {
            Self::And(parts) => parts.iter().find_map(|part| part.required(name)),
            Self::Or(parts) => {
                let each: Option<Vec<_>> = parts.iter().map(|part| part.required(name)).collect();
                each.map(|values| values.concat())
            }
            Self::Compare {
                field,
                operator: "=",
                value,
            } if field == name => Some(vec![value.clone()]),
            Self::In(field, values) if field == name => Some(values.clone()),
            _ => None,
        }
    }

    /// Whether a row fulfils it. The rows of a search within are given by `rows`.
    pub(super) fn is_true<'a>(
        &self,
        row: &Row,
        rows: &dyn Fn(&Search) -> Result<&'a [Row]>,
    ) -> Result<bool> {
        match self {
            Self::And(parts) => {
                for part in parts {
                    if !part.is_true(row, rows)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(parts) => {
                for part in parts {
                    if part.is_true(row, rows)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Not(inner) => Ok(!inner.is_true(row, rows)?),
            Self::In(field, values) => {
                for value in values {
                    if compare(row, field, "=", value)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Self::Compare {
                field,
                operator,
                value,
            } => compare(row, field, operator, value),
            Self::Text(text) => {
                let raw = row.get("_raw").and_then(|values| values.first());
                let raw = raw.ok_or_else(|| format!("no _raw to find {text} in"))?;
                Ok(has_words(&raw.to_lowercase(), &text.to_lowercase()))
            }
            Self::Rows(search) => {
                for found in rows(search)? {
                    let mut fits = !found.is_empty();
                    for (field, values) in found {
                        let [value] = values.as_slice() else {
                            return Err(format!("{field} has several values in a subsearch"));
                        };
                        fits = fits
                            && match field.as_str() {
                                "earliest" => compare(row, "_time", ">=", value)?,
                                "latest" => compare(row, "_time", "<", value)?,
                                "search" => {
                                    conditions(&mut Cursor::new(value))?.is_true(row, rows)?
                                }
                                _ => compare(row, field, "=", value)?,
                            };
                    }
                    if fits {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

fn compare(row: &Row, field: &str, operator: &str, value: &str) -> Result<bool> {
    if ["earliest", "latest"].contains(&field) {
        return Err(format!("the tests do not know {field}= within a search"));
    }
    let Some(values) = row.get(field) else {
        return Ok(false);
    };
    let equals = |own: &String| match (as_number(own), as_number(value)) {
        (Some(own), Some(value)) => own.total_cmp(&value).is_eq(),
        _ => matches(&value.to_lowercase(), &own.to_lowercase()),
    };
    match (operator, values.as_slice()) {
        ("=", values) => Ok(values.iter().any(equals)),
        ("!=", [own]) => Ok(!equals(own)),
        (_, [own]) => {
            let (Some(own), Some(value)) = (as_number(own), as_number(value)) else {
                return Err(format!(
                    "{field}{operator}{value} with {own}, which is no number"
                ));
            };
            Ok(match operator {
                "<" => own < value,
                ">" => own > value,
                "<=" => own <= value,
                _ => own >= value,
            })
        }
        _ => Err(format!("{field}{operator}{value} with several values")),
    }
}

/// Whether a text, in lower case, fits a pattern, in lower case: `*` stands for any characters, or none.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    // The earliest place leaves the most for the parts behind it.
    while let Some((part, behind)) = rest.split_once('*') {
        let Some((_, tail)) = text.split_once(part) else {
            return false;
        };
        (text, rest) = (tail, behind);
    }
    text.ends_with(rest)
}

/// Words are found as a whole: `sent` is not in `absent`.
fn has_words(text: &str, words: &str) -> bool {
    let is_edge = |sign: Option<char>| !sign.is_some_and(is_of_name);
    if words.contains('*') {
        let mut own =
            text.split(|sign: char| sign.is_whitespace() || "[]<>(){}|!;,'\"=&".contains(sign));
        return own.any(|own| matches(words, own));
    }
    text.match_indices(words).any(|(at, found)| {
        is_edge(text[..at].chars().next_back()) && is_edge(text[at + found.len()..].chars().next())
    })
}
