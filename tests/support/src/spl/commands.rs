//! What a pipeline is made of.

use super::Search;
use super::eval::Expression;
use super::filter::Filter;

#[derive(Clone, Debug)]
pub(super) enum Command {
    Search(Filter),
    Where(Expression),
    Eval(Vec<(String, Expression)>),
    Stats {
        aggregations: Vec<Aggregation>,
        by: Vec<String>,
    },
    Eventstats {
        aggregations: Vec<Aggregation>,
        by: Vec<String>,
    },
    Streamstats {
        aggregations: Vec<Aggregation>,
        by: Vec<String>,
        /// The last so many rows; 0 is all.
        window: usize,
        /// The rows of so many seconds.
        time_window: Option<i64>,
        /// Whether the row itself counts.
        current: bool,
        /// Whether rows of other groups take a place in the window.
        global: bool,
    },
    /// `chart … OVER row BY column`, and `timechart`, whose row is `_time`.
    Chart {
        aggregations: Vec<Aggregation>,
        row: String,
        column: Option<String>,
    },
    Bin {
        field: String,
        span: Option<i64>,
        to: String,
    },
    Sort {
        limit: usize,
        /// Each with whether it is descending.
        keys: Vec<(String, bool)>,
    },
    Head(usize),
    Tail(usize),
    Reverse,
    Dedup {
        count: usize,
        fields: Vec<String>,
        keep_empty: bool,
    },
    Table(Vec<String>),
    Fields {
        keep: bool,
        names: Vec<String>,
        /// `fields - _*` takes the hidden ones away.
        hidden: bool,
    },
    Rename(Vec<(String, String)>),
    Fillnull {
        value: String,
        fields: Vec<String>,
    },
    Filldown(Vec<String>),
    Mvexpand(String),
    Makemv {
        field: String,
        delimiter: String,
    },
    Lookup {
        table: String,
        /// Column and field.
        inputs: Vec<(String, String)>,
        /// None: every column that is no input.
        outputs: Option<Vec<(String, String)>>,
        overwrites: bool,
    },
    Inputlookup {
        table: String,
        append: bool,
        filter: Option<Filter>,
    },
    Outputlookup {
        table: String,
        /// The field that names the row to write, in a lookup of the KV store.
        key: Option<String>,
    },
    Append(Search),
    Appendpipe(Vec<Self>),
    /// `convert ctime(field) AS field`.
    Ctime {
        format: String,
        fields: Vec<(String, String)>,
    },
    Rex {
        field: String,
        made: Vec<String>,
    },
    Addtotals {
        made: String,
        fields: Vec<String>,
    },
    Rest(String),
    Tstats {
        datamodel: Option<String>,
        aggregations: Vec<Aggregation>,
        filter: Option<Filter>,
        by: Vec<String>,
        span: Option<i64>,
    },
    Makeresults(usize),
    /// The range of time that the search runs over, as fields of every row.
    Addinfo,
}

/// A function of stats and its name in the result.
#[derive(Clone, Debug)]
pub(super) struct Aggregation {
    pub function: String,
    pub of: Option<Operand>,
    pub name: String,
}

#[derive(Clone, Debug)]
pub(super) enum Operand {
    Field(String),
    /// `eval(...)`; a condition only in count.
    Eval(Expression),
}
