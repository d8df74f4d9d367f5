//! The grammar of expressions.

use std::collections::BTreeSet;

use super::{COMPARISONS, Expression, FUNCTIONS};
use crate::spl::cursor::{Cursor, Result, is_of_name};
use crate::spl::time;

/// Reads the expression that begins at the cursor, as far as it goes.
pub(in crate::spl) fn expression(cursor: &mut Cursor<'_>) -> Result<Expression> {
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
