//! One collection of Splunk's KV store: documents of JSON by their `_key`, which splunkd keeps on every member of a
//! search head cluster.
//!
//! Only what a log needs: insert a new document, read the newest, delete old ones. Inserting a key that is there is no
//! error but an answer, and the one way by which several members agree. Format: Splunk's REST API reference,
//! `storage/collections/data`.

use std::fmt;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Map, Value, json};

use super::rest::{Rest, RestError};

/// Longest time for one call. A member passes a write on to the one that leads the KV store.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest document that the KV store takes.
const MAX_DOCUMENT_BYTES: usize = 16 * 1024 * 1024;

/// splunkd's answer to inserting a key that is there.
const KEY_EXISTS: u16 = 409;

/// The member of a document that names it.
const KEY: &str = "_key";

/// A document.
pub type Document = Map<String, Value>;

/// A collection of an app.
#[derive(Clone)]
pub struct Collection {
    splunkd: Rest,
    app: &'static str,
    name: &'static str,
}

/// What became of a document that was to be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is there now.
    Yes,
    /// A document with its key was there before, and stays as it was.
    KeyExists,
}

/// Why the KV store did not do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KvError {
    /// There is no splunkd here, and so no KV store.
    NoSplunkd,
    /// It cannot be reached or does not work at the moment. Whether a document was inserted is not known.
    Down(String),
    /// splunkd does not know the collection.
    NoCollection(&'static str),
    /// The session may not use the collection.
    Forbidden(&'static str, String),
    /// splunkd refuses the call or answers something else than documents.
    Refused(String),
}

impl KvError {
    /// Whether another attempt may succeed.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Down(_))
    }
}

impl fmt::Display for KvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSplunkd => f.write_str("there is no splunkd here, and so no KV store"),
            Self::Down(text) => write!(
                f,
                "Splunk's KV store does not answer: {text}. Look at its state with splunk show kvstore-status"
            ),
            Self::NoCollection(name) => write!(
                f,
                "splunkd does not know the collection {name} of the KV store: install the app on this instance again, or look for KV store in splunkd.log"
            ),
            Self::Forbidden(name, text) => write!(
                f,
                "the session of the input may not use the collection {name} of the KV store ({text}): see the permissions in metadata/local.meta"
            ),
            Self::Refused(text) => write!(f, "Splunk's KV store refuses the call: {text}"),
        }
    }
}

impl std::error::Error for KvError {}

impl Collection {
    /// The collection `name` of `app`, shared by all users.
    #[must_use]
    pub fn new(splunkd: Rest, app: &'static str, name: &'static str) -> Self {
        Self { splunkd, app, name }
    }

    /// The name, as it stands in `collections.conf`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Inserts a document under a key, unless there is one.
    ///
    /// # Errors
    /// The KV store does not answer or refuses; after [`KvError::Down`] the document may be there all the same.
    pub fn insert(&self, key: &str, mut document: Document) -> Result<Inserted, KvError> {
        document.insert(KEY.to_owned(), key.into());
        let json = Value::Object(document).to_string().into_bytes();
        if json.len() > MAX_DOCUMENT_BYTES {
            return Err(KvError::Refused(format!(
                "a document of {} bytes is longer than {MAX_DOCUMENT_BYTES}",
                json.len()
            )));
        }
        match self.call(Method::POST, &[], Some(json)) {
            Ok(_) => Ok(Inserted::Yes),
            Err(error) if error.status() == Some(KEY_EXISTS) => Ok(Inserted::KeyExists),
            Err(error) => Err(self.error(error)),
        }
    }

    /// The document with the greatest key from `from` on and before `before`; `None` where there is none.
    ///
    /// # Errors
    /// The KV store does not answer or refuses.
    pub fn newest(&self, from: &str, before: &str) -> Result<Option<Document>, KvError> {
        self.find(&range(from, before))
    }

    /// The document with this key; `None` where there is none.
    ///
    /// # Errors
    /// The KV store does not answer or refuses.
    pub fn get(&self, key: &str) -> Result<Option<Document>, KvError> {
        self.find(&json!({ KEY: key }))
    }

    fn find(&self, query: &Value) -> Result<Option<Document>, KvError> {
        let query = query.to_string();
        let query = [("query", &*query), ("sort", "_key:-1"), ("limit", "1")];
        let body = self.call(Method::GET, &query, None);
        let body = body.map_err(|error| self.error(error))?;
        let documents: Vec<Document> = serde_json::from_slice(&body)
            .map_err(|_| KvError::Refused("the answer is no list of documents".to_owned()))?;
        Ok(documents.into_iter().next())
    }

    /// Deletes the documents from the key `from` on and before `before` whose number in `field` is below `limit`.
    ///
    /// # Errors
    /// The KV store does not answer or refuses.
    pub fn delete(&self, from: &str, before: &str, field: &str, limit: i64) -> Result<(), KvError> {
        let below = json!({ field: { "$lt": limit } });
        self.delete_where(&json!({ "$and": [range(from, before), below] }))
    }

    /// Deletes the document with this key, if there is one.
    ///
    /// # Errors
    /// The KV store does not answer or refuses.
    pub fn remove(&self, key: &str) -> Result<(), KvError> {
        self.delete_where(&json!({ KEY: key }))
    }

    fn delete_where(&self, query: &Value) -> Result<(), KvError> {
        let query = query.to_string();
        self.call(Method::DELETE, &[("query", &query)], None)
            .map(drop)
            .map_err(|error| self.error(error))
    }

    fn call(
        &self,
        method: Method,
        query: &[(&str, &str)],
        json: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, RestError> {
        let path = [
            "servicesNS",
            "nobody",
            self.app,
            "storage",
            "collections",
            "data",
            self.name,
        ];
        // Without it splunkd tells an error as XML.
        let query: Vec<_> = query
            .iter()
            .copied()
            .chain([("output_mode", "json")])
            .collect();
        self.splunkd.call(method, &path, &query, json, CALL_TIMEOUT)
    }

    fn error(&self, error: RestError) -> KvError {
        match (&error, error.status()) {
            (RestError::NoSplunkd, _) => KvError::NoSplunkd,
            (_, Some(404)) => KvError::NoCollection(self.name),
            (_, Some(401 | 403)) => KvError::Forbidden(self.name, error.to_string()),
            (_, Some(408 | 429 | 500..) | None) => KvError::Down(error.to_string()),
            (_, Some(_)) => KvError::Refused(error.to_string()),
        }
    }
}

/// The documents whose keys lie in this range.
fn range(from: &str, before: &str) -> Value {
    json!({ "$and": [{ KEY: { "$gte": from } }, { KEY: { "$lt": before } }] })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{Collection, Document, KvError, MAX_DOCUMENT_BYTES};
    use crate::splunk::rest::Rest;

    #[test]
    fn a_document_that_is_too_long_for_the_kv_store_is_refused_before_it_is_sent() {
        let collection = Collection::new(Rest::none(), "app", "collection");
        let insert = |length: usize| {
            let text = Value::from("x".repeat(length));
            let document = Document::from_iter([("text".to_owned(), text)]);
            collection.insert("key", document).unwrap_err()
        };
        let around = r#"{"_key":"key","text":""}"#.len();
        assert_eq!(insert(MAX_DOCUMENT_BYTES - around), KvError::NoSplunkd);
        let refused = insert(MAX_DOCUMENT_BYTES - around + 1);
        assert!(matches!(refused, KvError::Refused(_)), "{refused}");
    }
}
