//! The stand-in of Splunk's KV store, which the stand-in splunkds of several members can share.
//!
//! Documents by unique keys, queries with the usual operators, `sort` and `limit`, as splunkd's REST interface has
//! them; reads that are behind, outages, and answers that get lost on their way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};

use super::http::{Reply, Request};

/// The collections of the app.
const COLLECTIONS: [&str; 1] = ["ds_monitor_positions"];

/// Every write keeps the state before it, so that reads can be behind.
const MAX_BEHIND: usize = 8;

type Documents = BTreeMap<String, Map<String, Value>>;

/// A KV store; clones are the same one.
#[derive(Clone, Default)]
pub struct KvStore(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    documents: Documents,
    /// What was there before the last writes, the latest first.
    before: Vec<Documents>,
    /// Every key that was ever inserted, in order, with the document.
    inserted: Vec<Map<String, Value>>,
    behind: usize,
    outage: Outage,
    lose_answers: usize,
}

/// How the KV store fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outage {
    /// It does not.
    #[default]
    None,
    /// splunkd answers that it is not there.
    Down,
    /// splunkd does not answer.
    Silent,
}

impl KvStore {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// All documents, in the order of their keys.
    pub fn documents(&self) -> Vec<Value> {
        let state = self.state();
        state.documents.values().cloned().map(Value::from).collect()
    }

    /// The document with the greatest key.
    pub fn newest(&self) -> Option<Value> {
        self.documents().pop()
    }

    /// Every document that was ever inserted, in order, also those that have been deleted.
    pub fn inserted(&self) -> Vec<Value> {
        let state = self.state();
        state.inserted.iter().cloned().map(Value::from).collect()
    }

    /// Changes the document with the greatest key, as if its lease had ended, for example.
    pub fn change_newest(&self, change: impl FnOnce(&mut Map<String, Value>)) {
        let mut state = self.state();
        let mut newest = state.documents.last_entry().expect("there is a document");
        change(newest.get_mut());
    }

    /// Puts a document there, whatever was.
    pub fn put(&self, document: Value) {
        let Value::Object(document) = document else {
            panic!("{document} is no document");
        };
        let key = document["_key"].as_str().unwrap().to_owned();
        self.state().documents.insert(key, document);
    }

    /// Deletes everything.
    pub fn clean(&self) {
        self.state().documents.clear();
    }

    /// From now on reads show what was there so many writes ago.
    pub fn read_behind(&self, writes: usize) {
        assert!(writes <= MAX_BEHIND);
        self.state().behind = writes;
    }

    /// From now on it fails that way.
    pub fn fail(&self, outage: Outage) {
        self.state().outage = outage;
    }

    /// The next inserts are made, but nobody learns of it.
    pub fn lose_answers(&self, n: usize) {
        self.state().lose_answers = n;
    }

    /// The answer to a request below `storage/collections/data` by a member whose clock is ahead by so many seconds:
    /// the ends of leases look that much earlier to it.
    pub fn answer(&self, request: &Request, collection: &str, clock_ahead: i64) -> Reply {
        let mut state = self.state();
        match state.outage {
            Outage::None => {}
            Outage::Down => return refusal(503, "KV Store is not ready. Please check its status."),
            Outage::Silent => return Reply::stall(),
        }
        if !COLLECTIONS.contains(&collection) {
            return refusal(404, "Could not find object.");
        }
        let query = request.query("query").unwrap_or("{}");
        let query: Value = serde_json::from_str(query).expect("the query is JSON");
        match request.method.as_str() {
            "GET" => Reply::json(200, state.find(request, &query, clock_ahead)),
            "POST" => state.insert(request, clock_ahead),
            "DELETE" => {
                if state.documents.values().any(|it| matches(it, &query)) {
                    state.write(|documents| documents.retain(|_, it| !matches(it, &query)));
                }
                Reply::text(200, "text/plain", "")
            }
            _ => refusal(405, "Method Not Allowed"),
        }
    }
}

fn refusal(status: u16, text: &str) -> Reply {
    Reply::json(
        status,
        json!({"messages": [{"type": "ERROR", "text": text}]}),
    )
}

impl State {
    fn write(&mut self, change: impl FnOnce(&mut Documents)) {
        self.before.insert(0, self.documents.clone());
        self.before.truncate(MAX_BEHIND);
        change(&mut self.documents);
    }

    fn find(&self, request: &Request, query: &Value, clock_ahead: i64) -> Value {
        let behind = self.behind.min(self.before.len());
        let documents = match behind.checked_sub(1) {
            Some(n) => &self.before[n],
            None => &self.documents,
        };
        let mut found: Vec<_> = documents.values().filter(|it| matches(it, query)).collect();
        match request.query("sort") {
            None | Some("_key") => {}
            Some("_key:-1") => found.reverse(),
            Some(other) => panic!("the stand-in does not sort by {other}"),
        }
        let limit = request.query("limit").unwrap_or("0").parse().unwrap();
        let limit = if limit == 0 { found.len() } else { limit };
        let shown = |document: &Map<String, Value>| {
            let mut document = document.clone();
            document.insert("_user".to_owned(), "nobody".into());
            shift(&mut document, -clock_ahead);
            Value::Object(document)
        };
        found.into_iter().take(limit).map(shown).collect()
    }

    fn insert(&mut self, request: &Request, clock_ahead: i64) -> Reply {
        let is_json = request
            .header("content-type")
            .is_some_and(|it| it.starts_with("application/json"));
        let document = serde_json::from_slice::<Map<String, Value>>(&request.body);
        let Some(mut document) = document.ok().filter(|_| is_json) else {
            return refusal(400, "Must supply valid JSON.");
        };
        let key = document["_key"].as_str().expect("a key").to_owned();
        if self.documents.contains_key(&key) {
            return refusal(409, "A document with the same key and user already exists.");
        }
        shift(&mut document, clock_ahead);
        self.inserted.push(document.clone());
        self.write(|documents| {
            documents.insert(key.clone(), document);
        });
        if self.lose_answers > 0 {
            self.lose_answers -= 1;
            return Reply::reset();
        }
        Reply::json(201, json!({ "_key": key }))
    }
}

fn shift(document: &mut Map<String, Value>, seconds: i64) {
    if let Some(until) = document.get_mut("until") {
        *until = (until.as_i64().expect("whole seconds") + seconds).into();
    }
}

/// Whether a document is one that the query asks for.
fn matches(document: &Map<String, Value>, query: &Value) -> bool {
    let conditions = query.as_object().expect("a query is an object");
    conditions.iter().all(|(name, condition)| {
        let all = || condition.as_array().expect("a list of queries").iter();
        match name.as_str() {
            "$and" => all().all(|query| matches(document, query)),
            "$or" => all().any(|query| matches(document, query)),
            field => is(document.get(field), condition),
        }
    })
}

fn is(value: Option<&Value>, condition: &Value) -> bool {
    let Value::Object(operators) = condition else {
        return value == Some(condition);
    };
    operators.iter().all(|(operator, other)| {
        let Some(order) = value.and_then(|value| compare(value, other)) else {
            return false;
        };
        match operator.as_str() {
            "$gt" => order.is_gt(),
            "$gte" => order.is_ge(),
            "$lt" => order.is_lt(),
            "$lte" => order.is_le(),
            "$ne" => order.is_ne(),
            _ => panic!("the stand-in does not know {operator}"),
        }
    })
}

/// Values of different kinds do not compare.
fn compare(a: &Value, b: &Value) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        _ => None,
    }
}
