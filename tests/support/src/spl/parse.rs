//! The grammar of the pipeline and of each command.

use super::Search;
use super::commands::{Aggregation, Command, Operand};
use super::cursor::{Cursor, Result, is_of_name, length_until};
use super::{eval, filter, time};

/// The functions of stats that take a field.
const OF_A_FIELD: &[&str] = &[
    "avg",
    "count",
    "dc",
    "distinct_count",
    "earliest",
    "earliest_time",
    "estdc",
    "first",
    "last",
    "latest",
    "latest_time",
    "list",
    "max",
    "mean",
    "median",
    "min",
    "mode",
    "range",
    "stdev",
    "stdevp",
    "sum",
    "sumsq",
    "values",
    "var",
    "varp",
];

/// Reads a whole pipeline. Its first command may do without a `|` and is `search` then.
pub(super) fn pipeline(text: &str, whole: bool) -> Result<Vec<Command>> {
    let mut commands = vec![];
    let mut rest = text;
    let mut may_be_search = whole;
    if rest.trim().is_empty() {
        return Err("the search is empty".to_owned());
    }
    if let Some(after) = rest.trim_start().strip_prefix('|') {
        rest = after;
        may_be_search = false;
    }
    loop {
        let length = length_until(rest, |sign, brackets| sign == '|' && brackets == 0)?;
        let part = rest[..length.unwrap_or(rest.len())].trim();
        commands.push(if may_be_search {
            let part = part.strip_prefix("search ").unwrap_or(part);
            searching(part)?
        } else {
            command(part, commands.is_empty())?
        });
        may_be_search = false;
        match length {
            Some(length) => rest = &rest[length + 1..],
            None => return Ok(commands),
        }
    }
}

fn searching(text: &str) -> Result<Command> {
    let mut cursor = Cursor::new(text);
    let filter = filter::conditions(&mut cursor).and_then(|filter| {
        cursor.end()?;
        Ok(filter)
    });
    filter
        .map(Command::Search)
        .map_err(|what| format!("search: {what}"))
}

fn command(text: &str, is_first: bool) -> Result<Command> {
    let mut cursor = Cursor::new(text);
    let name = cursor.run(is_of_name).to_owned();
    if name.is_empty() {
        return Err(format!("a command is missing before {}", cursor.ahead()));
    }
    if name == "search" {
        return searching(cursor.rest());
    }
    let command = arguments(&name, &mut cursor, is_first).and_then(|command| {
        cursor.end()?;
        Ok(command)
    });
    command.map_err(|what| format!("{name}: {what}"))
}

/// Only these may begin a pipeline.
const GENERATING: &[&str] = &["inputlookup", "makeresults", "rest", "tstats"];

/// The commands that are read here, besides those that begin a search.
const FOLLOWING: [&str; 29] = [
    "where",
    "eval",
    "stats",
    "eventstats",
    "streamstats",
    "chart",
    "timechart",
    "bin",
    "bucket",
    "sort",
    "head",
    "tail",
    "reverse",
    "addinfo",
    "dedup",
    "table",
    "fields",
    "rename",
    "fillnull",
    "filldown",
    "mvexpand",
    "makemv",
    "lookup",
    "outputlookup",
    "append",
    "appendpipe",
    "convert",
    "rex",
    "addtotals",
];

fn arguments(name: &str, cursor: &mut Cursor<'_>, is_first: bool) -> Result<Command> {
    if !FOLLOWING.contains(&name) && !GENERATING.contains(&name) {
        return Err("the command is not known".to_owned());
    }
    if is_first && !GENERATING.contains(&name) {
        return Err("a search cannot begin with this command".to_owned());
    }
    if !is_first && ["makeresults", "rest", "tstats"].contains(&name) {
        return Err("the command must be the first".to_owned());
    }
    match name {
        "where" => filter_by(cursor),
        "eval" => assignments(cursor).map(Command::Eval),
        "stats" | "eventstats" => stats(name, cursor),
        "streamstats" => streamstats(cursor),
        "chart" | "timechart" => chart(name, cursor),
        "bin" | "bucket" => bin(cursor),
        "sort" => sort(cursor),
        "head" | "tail" => head(name, cursor),
        "reverse" => Ok(Command::Reverse),
        "addinfo" => Ok(Command::Addinfo),
        "dedup" => dedup(cursor),
        "table" => cursor.fields().map(Command::Table),
        "fields" => fields(cursor),
        "rename" => renamed(cursor, true).map(Command::Rename),
        "fillnull" => fillnull(cursor),
        "filldown" => cursor.fields().map(Command::Filldown),
        "mvexpand" => mvexpand(cursor),
        "makemv" => makemv(cursor),
        "lookup" => lookup(cursor),
        "inputlookup" => inputlookup(cursor, is_first),
        "outputlookup" => outputlookup(cursor),
        "append" => {
            let commands = pipeline(cursor.bracketed()?.trim(), true)?;
            let macros = std::collections::BTreeSet::new();
            Ok(Command::Append(Search { commands, macros }))
        }
        "appendpipe" => appendpipe(cursor),
        "convert" => convert(cursor),
        "rex" => rex(cursor),
        "addtotals" => addtotals(cursor),
        "rest" => rest(cursor),
        "tstats" => tstats(cursor),
        _ => makeresults(cursor),
    }
}

fn filter_by(cursor: &mut Cursor<'_>) -> Result<Command> {
    let condition = eval::expression(cursor)?;
    cursor.end()?;
    condition.check_condition()?;
    Ok(Command::Where(condition))
}

fn fillnull(cursor: &mut Cursor<'_>) -> Result<Command> {
    let value = cursor
        .option(&["value"])?
        .map_or("0".to_owned(), |(_, value)| value);
    if cursor.is_at_end() {
        return Err("name the fields to fill".to_owned());
    }
    let fields = cursor.fields()?;
    Ok(Command::Fillnull { value, fields })
}

fn mvexpand(cursor: &mut Cursor<'_>) -> Result<Command> {
    let field = cursor.field()?;
    if let Some((name, value)) = cursor.option(&["limit"])? {
        return Err(format!("the tests do not know {name}={value}"));
    }
    Ok(Command::Mvexpand(field))
}

fn makemv(cursor: &mut Cursor<'_>) -> Result<Command> {
    let delimiter = cursor
        .option(&["delim"])?
        .map_or(" ".to_owned(), |(_, value)| value);
    let field = cursor.field()?;
    Ok(Command::Makemv { field, delimiter })
}

fn outputlookup(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut key = None;
    let options = ["append", "create_empty", "override_if_empty", "key_field"];
    while let Some((name, value)) = cursor.option(&options)? {
        if name == "key_field" {
            key = Some(value);
        } else {
            truth(&value).map_err(|what| format!("{name}: {what}"))?;
        }
    }
    let table = cursor.field()?;
    Ok(Command::Outputlookup { table, key })
}

fn appendpipe(cursor: &mut Cursor<'_>) -> Result<Command> {
    let inner = cursor.bracketed()?.trim();
    let inner = inner.strip_prefix('|').unwrap_or(inner);
    // The commands go on with the rows that are there, so none of them begins a search.
    let mut commands = vec![];
    let mut rest = inner;
    loop {
        let length = length_until(rest, |sign, brackets| sign == '|' && brackets == 0)?;
        commands.push(command(rest[..length.unwrap_or(rest.len())].trim(), false)?);
        match length {
            Some(length) => rest = &rest[length + 1..],
            None => return Ok(Command::Appendpipe(commands)),
        }
    }
}

fn addtotals(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut made = "Total".to_owned();
    while let Some((name, value)) = cursor.option(&["row", "col", "fieldname"])? {
        match (name.as_str(), value.as_str()) {
            ("fieldname", _) => made = value,
            ("row", "true" | "t") | ("col", "false" | "f") => {}
            _ => return Err(format!("the tests do not know {name}={value}")),
        }
    }
    let fields = cursor.fields()?;
    Ok(Command::Addtotals { made, fields })
}

fn rest(cursor: &mut Cursor<'_>) -> Result<Command> {
    let options = ["splunk_server", "count", "timeout", "f"];
    let mut path = None;
    while !cursor.is_at_end() {
        if cursor.peek() == Some('/') {
            let text = cursor.run(|sign| !sign.is_whitespace());
            if path.replace(text.to_owned()).is_some() {
                return Err("two paths".to_owned());
            }
        } else if cursor.option(&options)?.is_none() {
            return Err(format!("{} is not understood", cursor.ahead()));
        }
    }
    path.map(Command::Rest)
        .ok_or("a path is missing".to_owned())
}

fn makeresults(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut count = 1;
    while let Some((name, value)) = cursor.option(&["count"])? {
        count = value.parse().map_err(|_| format!("{name}={value}"))?;
    }
    Ok(Command::Makeresults(count))
}

fn stats(name: &str, cursor: &mut Cursor<'_>) -> Result<Command> {
    cursor.option(&["allnum", "delim", "partitions", "dedup_splitvals"])?;
    let aggregations = aggregations(cursor, &[])?;
    let by = by(cursor)?;
    Ok(if name == "stats" {
        Command::Stats { aggregations, by }
    } else {
        Command::Eventstats { aggregations, by }
    })
}

fn head(name: &str, cursor: &mut Cursor<'_>) -> Result<Command> {
    let count = if cursor.is_at_end() {
        10
    } else {
        number(cursor)?
    };
    Ok(if name == "head" {
        Command::Head(count)
    } else {
        Command::Tail(count)
    })
}

fn number(cursor: &mut Cursor<'_>) -> Result<usize> {
    cursor.blanks();
    if let Some((_, value)) = cursor.option(&["limit"])? {
        return value.parse().map_err(|_| format!("{value} is no number"));
    }
    let digits = cursor.run(|sign| sign.is_ascii_digit());
    digits
        .parse()
        .map_err(|_| format!("a number is missing before {}", cursor.ahead()))
}

fn truth(text: &str) -> Result<bool> {
    match text {
        "t" | "true" | "1" => Ok(true),
        "f" | "false" | "0" => Ok(false),
        _ => Err(format!("{text} is neither true nor false")),
    }
}

fn assignments(cursor: &mut Cursor<'_>) -> Result<Vec<(String, eval::Expression)>> {
    let mut assigned = vec![];
    loop {
        let field = match cursor.peek() {
            Some('\'') => {
                cursor.expect("'")?;
                let name = cursor.run(|sign| sign != '\'').to_owned();
                cursor.expect("'")?;
                name
            }
            Some('"') => cursor.quoted()?,
            _ => cursor
                .run(|sign| is_of_name(sign) || sign == '.')
                .to_owned(),
        };
        if field.is_empty() || field.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(format!(
                "a field to assign to is missing before {}",
                cursor.ahead()
            ));
        }
        cursor.expect("=")?;
        let value = eval::expression(cursor).map_err(|what| format!("{field}: {what}"))?;
        value
            .check_value()
            .map_err(|what| format!("{field}: {what}"))?;
        assigned.push((field, value));
        if !cursor.take(",") {
            return Ok(assigned);
        }
    }
}

/// `count dc(field) AS name …`, up to BY, OVER, the end, or one of these words.
fn aggregations(cursor: &mut Cursor<'_>, until: &[&str]) -> Result<Vec<Aggregation>> {
    let mut found: Vec<Aggregation> = vec![];
    loop {
        let begins = cursor.peek().is_some_and(is_of_name);
        cursor.refuse_small(&["BY", "AS", "OVER"])?;
        let rest = cursor.rest();
        let word = rest
            .split(|sign| !is_of_name(sign))
            .next()
            .unwrap_or_default();
        if !begins || ["BY", "OVER"].contains(&word) || until.contains(&word) {
            break;
        }
        let aggregation = aggregation(cursor)?;
        if found.iter().any(|other| other.name == aggregation.name) {
            return Err(format!("{} is made twice", aggregation.name));
        }
        found.push(aggregation);
        cursor.take(",");
    }
    if found.is_empty() {
        return Err(format!("a function is missing before {}", cursor.ahead()));
    }
    Ok(found)
}

fn aggregation(cursor: &mut Cursor<'_>) -> Result<Aggregation> {
    let function = cursor.run(is_of_name).to_owned();
    let percentile = ["perc", "p", "exactperc", "upperperc"].iter().any(|start| {
        let number = function.strip_prefix(start);
        number.is_some_and(|number| number.parse::<u8>().is_ok_and(|number| number < 100))
    });
    if function == "AS" {
        return Err("AS without a function before it".to_owned());
    }
    if !percentile
        && !["c", "eval"].contains(&function.as_str())
        && !OF_A_FIELD.contains(&function.as_str())
    {
        return Err(format!("the function {function} is not known"));
    }
    if ["c", "eval"].contains(&function.as_str()) {
        return Err(format!("the function {function}: write count"));
    }
    let of = if cursor.take("(") {
        cursor.blanks();
        let is_eval = cursor.rest().strip_prefix("eval");
        let operand = if is_eval.is_some_and(|rest| rest.trim_start().starts_with('(')) {
            cursor.keyword("eval");
            cursor.expect("(")?;
            let expression = eval::expression(cursor)?;
            cursor.expect(")")?;
            if function == "count" {
                // A value counts where it is there, a condition where it is true.
                expression
                    .check_condition()
                    .or_else(|_| expression.check_value())?;
            } else {
                expression.check_value()?;
            }
            Operand::Eval(expression)
        } else if cursor.peek() == Some(')') {
            return Err(format!("{function}() has no field"));
        } else {
            Operand::Field(cursor.field()?)
        };
        cursor.expect(")")?;
        Some(operand)
    } else {
        None
    };
    if of.is_none() && function != "count" {
        return Err(format!("{function} has no field"));
    }
    let name = if cursor.keyword("AS") {
        cursor.field()?
    } else {
        cursor.refuse_small(&["AS"])?;
        match &of {
            None => "count".to_owned(),
            Some(Operand::Field(field)) => format!("{function}({field})"),
            Some(Operand::Eval(_)) => {
                return Err(format!("{function}(eval(...)) needs a name: AS"));
            }
        }
    };
    let function = match function.as_str() {
        "distinct_count" => "dc",
        "mean" => "avg",
        other => other,
    };
    Ok(Aggregation {
        function: function.to_owned(),
        of,
        name,
    })
}

fn by(cursor: &mut Cursor<'_>) -> Result<Vec<String>> {
    if !cursor.keyword("BY") {
        return Ok(vec![]);
    }
    let fields = cursor.fields()?;
    cursor.refuse_small(&["AS"])?;
    if cursor.keyword("AS") {
        return Err("AS after BY".to_owned());
    }
    Ok(fields)
}

fn streamstats(cursor: &mut Cursor<'_>) -> Result<Command> {
    let (mut window, mut time_window, mut current, mut global) = (0, None, true, true);
    while let Some((name, value)) =
        cursor.option(&["window", "time_window", "current", "global"])?
    {
        match name.as_str() {
            "window" => window = value.parse().map_err(|_| format!("window={value}"))?,
            "time_window" => time_window = Some(time::span(&value)?),
            "current" => current = truth(&value)?,
            _ => global = truth(&value)?,
        }
    }
    if window > 0 && time_window.is_some() {
        return Err("the tests do not know window beside time_window".to_owned());
    }
    let aggregations = aggregations(cursor, &[])?;
    Ok(Command::Streamstats {
        aggregations,
        by: by(cursor)?,
        window,
        time_window,
        current,
        global,
    })
}

fn chart(name: &str, cursor: &mut Cursor<'_>) -> Result<Command> {
    let options = [
        "span", "limit", "useother", "usenull", "cont", "partial", "minspan", "bins", "otherstr",
        "nullstr",
    ];
    let option = |cursor: &mut Cursor<'_>| -> Result<bool> {
        let Some((name, value)) = cursor.option(&options)? else {
            return Ok(false);
        };
        match name.as_str() {
            "span" | "minspan" if !value.ends_with("mon") => time::span(&value).map(drop)?,
            "limit" | "bins" => drop(
                value
                    .parse::<u32>()
                    .map_err(|_| format!("{name}={value}"))?,
            ),
            "useother" | "usenull" | "cont" | "partial" => drop(truth(&value)?),
            _ => {}
        }
        Ok(true)
    };
    while option(cursor)? {}
    let aggregations = aggregations(cursor, &[])?;
    let (row, column) = if name == "timechart" {
        let column = if cursor.keyword("BY") {
            Some(cursor.field()?)
        } else {
            None
        };
        ("_time".to_owned(), column)
    } else if cursor.keyword("OVER") {
        let row = cursor.field()?;
        let column = if cursor.keyword("BY") {
            Some(cursor.field()?)
        } else {
            None
        };
        (row, column)
    } else if cursor.keyword("BY") {
        let mut fields = cursor.fields()?.into_iter();
        let row = fields.next().unwrap_or_default();
        let column = fields.next();
        if fields.next().is_some() {
            return Err("BY takes two fields".to_owned());
        }
        (row, column)
    } else {
        return Err("OVER or BY is missing".to_owned());
    };
    while option(cursor)? {}
    Ok(Command::Chart {
        aggregations,
        row,
        column,
    })
}

fn bin(cursor: &mut Cursor<'_>) -> Result<Command> {
    let (mut width, mut field) = (None, None);
    loop {
        if let Some((name, value)) = cursor.option(&["span", "bins", "minspan", "aligntime"])? {
            match name.as_str() {
                "span" => width = Some(time::span(&value)?),
                "aligntime" => return Err("the tests do not know aligntime".to_owned()),
                _ => {}
            }
        } else if cursor.keyword("AS") {
            let to = cursor.field()?;
            let field = field.ok_or("AS before the field")?;
            return Ok(Command::Bin {
                field,
                span: width,
                to,
            });
        } else if cursor.is_at_end() {
            let field: String = field.ok_or("a field is missing")?;
            let to = field.clone();
            return Ok(Command::Bin {
                field,
                span: width,
                to,
            });
        } else if field.replace(cursor.field()?).is_some() {
            return Err("two fields".to_owned());
        }
    }
}

fn sort(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut limit = 10_000;
    if cursor.peek().is_some_and(|sign| sign.is_ascii_digit()) {
        limit = number(cursor)?;
    }
    let (mut keys, mut loose, mut unsigned): (Vec<(String, bool)>, bool, bool) =
        (vec![], false, false);
    while !cursor.is_at_end() {
        let descending = cursor.take("-");
        let signed = descending || cursor.take("+");
        loose = loose || signed && cursor.touches(' ');
        unsigned = unsigned || !signed && !keys.is_empty();
        let field = cursor.field()?;
        if cursor.peek() == Some('(') {
            return Err(format!("the tests do not know {field}(…)"));
        }
        if keys.iter().any(|(known, _)| *known == field) {
            return Err(format!("{field} is named twice"));
        }
        keys.push((field, descending));
        if cursor.take(",") && cursor.is_at_end() {
            return Err("ends with a comma".to_owned());
        }
    }
    if keys.is_empty() {
        return Err("a field is missing".to_owned());
    }
    if loose && unsigned {
        return Err(
            "a sign with a blank after it may hold for all fields: write -field for each"
                .to_owned(),
        );
    }
    Ok(Command::Sort {
        limit: if limit == 0 { usize::MAX } else { limit },
        keys,
    })
}

fn dedup(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut count = 1;
    if cursor.peek().is_some_and(|sign| sign.is_ascii_digit()) {
        count = number(cursor)?;
    }
    let (mut fields, mut keep_empty) = (vec![], false);
    while !cursor.is_at_end() {
        if let Some((name, value)) = cursor.option(&["keepempty", "keepevents", "consecutive"])? {
            match (name.as_str(), truth(&value)?) {
                ("keepempty", value) => keep_empty = value,
                (_, false) => {}
                _ => return Err(format!("the tests do not know {name}")),
            }
            continue;
        }
        fields.push(cursor.field()?);
        cursor.take(",");
    }
    if fields.is_empty() || count == 0 {
        return Err("a field is missing".to_owned());
    }
    if fields.iter().any(|field| field == "sortby") {
        return Err("the tests do not know sortby".to_owned());
    }
    Ok(Command::Dedup {
        count,
        fields,
        keep_empty,
    })
}

fn fields(cursor: &mut Cursor<'_>) -> Result<Command> {
    let keep = !cursor.take("-");
    if keep {
        cursor.take("+");
    }
    let hidden = !keep && cursor.take("_*");
    cursor.take(",");
    let names = if hidden && cursor.is_at_end() {
        vec![]
    } else {
        cursor.fields()?
    };
    Ok(Command::Fields {
        keep,
        names,
        hidden,
    })
}

/// `from AS to`, any number of times; without `required`, the second name may be left out.
fn renamed(cursor: &mut Cursor<'_>, required: bool) -> Result<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = vec![];
    loop {
        let from = cursor.field()?;
        cursor.refuse_small(&["AS"])?;
        let to = if cursor.keyword("AS") {
            cursor.field()?
        } else if required {
            return Err(format!("AS is missing after {from}"));
        } else {
            from.clone()
        };
        if pairs.iter().any(|(_, known)| *known == to) {
            return Err(format!("{to} is named twice"));
        }
        pairs.push((from, to));
        cursor.take(",");
        let rest = cursor.rest().trim_start();
        if !rest.starts_with(|sign| is_of_name(sign) || sign == '"') || rest.starts_with("OUTPUT") {
            return Ok(pairs);
        }
    }
}

fn lookup(cursor: &mut Cursor<'_>) -> Result<Command> {
    if let Some((name, value)) = cursor.option(&["local", "update"])? {
        truth(&value).map_err(|what| format!("{name}: {what}"))?;
    }
    let table = cursor.field()?;
    let inputs = renamed(cursor, false)?;
    let overwrites = cursor.keyword("OUTPUT");
    let outputs = if overwrites || cursor.keyword("OUTPUTNEW") {
        Some(renamed(cursor, false)?)
    } else {
        None
    };
    Ok(Command::Lookup {
        table,
        inputs,
        overwrites: overwrites || outputs.is_none(),
        outputs,
    })
}

fn inputlookup(cursor: &mut Cursor<'_>, is_first: bool) -> Result<Command> {
    let mut append = false;
    while let Some((name, value)) = cursor.option(&["append", "strict"])? {
        let value = truth(&value)?;
        append = append || name == "append" && value;
    }
    if append == is_first {
        return Err(if append {
            "append=true has nothing to append to".to_owned()
        } else {
            "without append=true it must be the first command".to_owned()
        });
    }
    let table = cursor.field()?;
    cursor.refuse_small(&["AS"])?;
    let filter = if cursor.keyword("where") || cursor.keyword("WHERE") {
        Some(filter::conditions(cursor)?)
    } else {
        None
    };
    Ok(Command::Inputlookup {
        table,
        append,
        filter,
    })
}

fn convert(cursor: &mut Cursor<'_>) -> Result<Command> {
    let format = cursor.option(&["timeformat"])?;
    let format = format.map_or("%m/%d/%Y %H:%M:%S".to_owned(), |(_, format)| format);
    time::check_format(&format)?;
    let mut fields = vec![];
    while !cursor.is_at_end() {
        let function = cursor.run(is_of_name).to_owned();
        if function != "ctime" {
            return Err(format!("the function {function} is not known"));
        }
        cursor.expect("(")?;
        let field = cursor.field()?;
        cursor.expect(")")?;
        cursor.refuse_small(&["AS"])?;
        let to = if cursor.keyword("AS") {
            cursor.field()?
        } else {
            field.clone()
        };
        fields.push((field, to));
        cursor.take(",");
    }
    if fields.is_empty() {
        return Err("a function is missing".to_owned());
    }
    Ok(Command::Ctime { format, fields })
}

fn rex(cursor: &mut Cursor<'_>) -> Result<Command> {
    let mut field = "_raw".to_owned();
    while let Some((name, value)) = cursor.option(&["field", "max_match"])? {
        if name == "field" {
            field = value;
        }
    }
    let pattern = cursor.quoted()?;
    let mut made = vec![];
    for group in pattern.split("(?").skip(1) {
        let group = group.strip_prefix('P').unwrap_or(group);
        let name = group
            .strip_prefix('<')
            .and_then(|rest| rest.split_once('>'));
        made.extend(name.map(|(name, _)| name.to_owned()));
    }
    if made.is_empty() {
        return Err("the pattern names no group".to_owned());
    }
    Ok(Command::Rex { field, made })
}

fn tstats(cursor: &mut Cursor<'_>) -> Result<Command> {
    let options = [
        "summariesonly",
        "prestats",
        "allow_old_summaries",
        "local",
        "chunk_size",
    ];
    while let Some((name, value)) = cursor.option(&options)? {
        if name == "prestats" && truth(&value)? {
            return Err("the tests do not know prestats".to_owned());
        }
    }
    let aggregations = aggregations(cursor, &["FROM", "from", "WHERE", "where"])?;
    let mut datamodel = None;
    if cursor.keyword("FROM") || cursor.keyword("from") {
        datamodel = cursor.option(&["datamodel"])?.map(|(_, model)| model);
        if datamodel.is_none() {
            return Err("FROM names no datamodel".to_owned());
        }
    }
    let filter = if cursor.keyword("WHERE") || cursor.keyword("where") {
        let rest = cursor.rest();
        let length = rest.find(" BY ").unwrap_or(rest.len());
        let mut inner = Cursor::new(&rest[..length]);
        let filter = filter::conditions(&mut inner)?;
        inner.end()?;
        cursor.skip(length);
        Some(filter)
    } else {
        None
    };
    let by = by(cursor)?;
    let span = match cursor.option(&["span"])? {
        Some((_, value)) => Some(time::span(&value)?),
        None => None,
    };
    Ok(Command::Tstats {
        datamodel,
        aggregations,
        filter,
        by,
        span,
    })
}
