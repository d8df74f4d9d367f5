//! The stand-in splunkd: the REST endpoints that the inputs use, with splunkd's JSON and its habits.
//!
//! Secure storage belongs to the app `ds_monitor`; an edit of an input replaces all its parameters by those that
//! were sent; without `output_mode=json` the answer is XML; lists stop at 30 entries unless `count` says otherwise.
//! Capabilities, sharing between apps and the `search` parameter are not modelled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Map, Value, json};

use super::http::{Reply, Request, Server};
use super::kv_store::KvStore;

/// The only session key that is let in.
pub const SESSION_KEY: &str = "stand-in-session-key-4cb7e07f9d5e4fb3";

const APP: &str = "ds_monitor";

/// The GUID of an instance that is no member of anything.
const GUID: &str = "5C1E0A7B-3A3D-4F07-9D0C-6E1F2A3B4C5D";

/// A running stand-in, which stops when it is dropped.
pub struct Splunkd {
    state: Arc<Mutex<State>>,
    server: Server,
}

/// Parameters of an input, or the fields of a form.
type Params = BTreeMap<String, String>;

/// Entries of an answer, or status and text of a refusal.
type Answer = Result<Vec<Value>, (u16, &'static str)>;

#[derive(Default)]
struct State {
    /// Secrets by realm and user name.
    passwords: BTreeMap<(String, String), String>,
    /// App and parameters by kind and name.
    inputs: BTreeMap<(String, String), (String, Params)>,
    server_roles: Vec<String>,
    guid: String,
    is_cloud: bool,
    refusals: BTreeMap<String, u16>,
    is_cut_off: bool,
    kv_store: KvStore,
    /// Seconds that the clock of this instance is ahead of the others'.
    clock_ahead: i64,
}

impl Splunkd {
    /// A stand-in without inputs and secrets, in the role of a plain indexer.
    pub fn start() -> Self {
        let state = Arc::<Mutex<State>>::default();
        let server = Server::start({
            let state = state.clone();
            move |request| state.lock().unwrap().answer(request)
        });
        let splunkd = Self { state, server };
        splunkd.server_roles(&["indexer", "license_master"]);
        GUID.clone_into(&mut splunkd.state().guid);
        splunkd
    }

    /// A member of a search head cluster, which shares its KV store with the others.
    pub fn member(guid: &str, kv_store: &KvStore) -> Self {
        let splunkd = Self::start();
        splunkd.server_roles(&["search_head", "shc_member"]);
        guid.clone_into(&mut splunkd.state().guid);
        splunkd.state().kv_store = kv_store.clone();
        splunkd
    }

    /// Makes it an instance of Splunk Cloud.
    pub fn in_cloud(self) -> Self {
        self.state().is_cloud = true;
        self
    }

    /// The KV store.
    pub fn kv_store(&self) -> KvStore {
        self.state().kv_store.clone()
    }

    /// The clock of this instance is so many seconds ahead of the others'.
    pub fn clock_ahead(&self, seconds: i64) {
        self.state().clock_ahead = seconds;
    }

    /// Resets every connection, or takes them again.
    pub fn cut_off(&self, is_cut_off: bool) {
        self.state().is_cut_off = is_cut_off;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The stanza `[kind://name]` in that app's inputs.conf.
    pub fn set_input<K: Into<String>, V: Into<String>>(
        &self,
        kind: &str,
        name: &str,
        app: &str,
        params: impl IntoIterator<Item = (K, V)>,
    ) {
        let params = params
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()));
        let input = (app.to_owned(), params.collect());
        self.state()
            .inputs
            .insert((kind.to_owned(), name.to_owned()), input);
    }

    /// Takes the stanza out of its inputs.conf.
    pub fn remove_input(&self, kind: &str, name: &str) {
        let key = (kind.to_owned(), name.to_owned());
        self.state().inputs.remove(&key);
    }

    /// The names of the inputs of a kind, each with its app.
    pub fn inputs(&self, kind: &str) -> Vec<(String, String)> {
        let state = self.state();
        let inputs = state.inputs.iter().filter(|((is, _), _)| is == kind);
        inputs
            .map(|((_, name), (app, _))| (name.clone(), app.clone()))
            .collect()
    }

    /// What splunkd answers to a request that came another way than through its own port, and is let in.
    pub fn answer(&self, request: &Request) -> Reply {
        self.state().answer(request)
    }

    /// The parameters that an input has now.
    pub fn input(&self, kind: &str, name: &str) -> Option<BTreeMap<String, String>> {
        let state = self.state();
        let input = state.inputs.get(&(kind.to_owned(), name.to_owned()));
        input.map(|(_, params)| params.clone())
    }

    /// Realm, user name and secret of everything in secure storage.
    pub fn secrets(&self) -> Vec<(String, String, String)> {
        let passwords = self.state().passwords.clone();
        passwords
            .into_iter()
            .map(|((realm, user), secret)| (realm, user, secret))
            .collect()
    }

    /// Puts a secret into storage, or takes it out again.
    pub fn set_secret(&self, realm: &str, username: &str, secret: Option<&str>) {
        let key = (realm.to_owned(), username.to_owned());
        match secret {
            Some(secret) => self.state().passwords.insert(key, secret.to_owned()),
            None => self.state().passwords.remove(&key),
        };
    }

    /// What `server/info` says this instance is, for example `shc_member`.
    pub fn server_roles(&self, roles: &[&str]) {
        self.state().server_roles = roles.iter().map(|&role| role.to_owned()).collect();
    }

    /// Answers every request whose target contains `path_part` with `status`; 200 lifts it.
    pub fn refuse(&self, path_part: &str, status: u16) {
        self.state().refusals.insert(path_part.to_owned(), status);
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every request so far, refused ones included.
    pub fn requests(&self) -> Vec<Request> {
        self.server.requests()
    }

    /// [`Server::wait_for_requests`].
    #[track_caller]
    pub fn wait_for_requests(&self, n: usize, deadline: std::time::Duration) {
        self.server.wait_for_requests(n, deadline);
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Reply {
        if self.is_cut_off {
            return Reply::reset();
        }
        let segments = request.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        if let [
            "servicesNS",
            "nobody",
            APP,
            "storage",
            "collections",
            "data",
            name,
        ] = path[..]
        {
            return match self.refusal(request) {
                Some((status, text)) => refused(status, text),
                None => self.kv_store.answer(request, name, self.clock_ahead),
            };
        }
        let mut form: Params = request.form().into_iter().collect();
        let mode = form.remove("output_mode");
        if request.query("output_mode").or(mode.as_deref()) != Some("json") {
            return Reply::text(200, "text/xml; charset=UTF-8", "<feed></feed>");
        }
        let creates = request.method == "POST" && form.contains_key("name");
        match self.entries(request, form) {
            Ok(mut entries) => {
                let total = entries.len();
                match request.query("count").map_or(Ok(30), str::parse) {
                    Ok(count) if count > 0 => entries.truncate(count),
                    _ => {}
                }
                let paging = json!({"total": total, "perPage": entries.len(), "offset": 0});
                let body = json!({"entry": entries, "paging": paging, "messages": []});
                Reply::json(if creates { 201 } else { 200 }, body)
            }
            Err((status, text)) => refused(status, text),
        }
    }

    /// Why the request is not even looked at.
    fn refusal(&self, request: &Request) -> Option<(u16, &'static str)> {
        if request.header("authorization") != Some(&format!("Splunk {SESSION_KEY}")) {
            return Some((401, "call not properly authenticated"));
        }
        let mut refusals = self.refusals.iter();
        refusals
            .find(|(part, status)| **status != 200 && request.target.contains(*part))
            .map(|(_, status)| (*status, "The script says so."))
    }

    fn entries(&mut self, request: &Request, form: Params) -> Answer {
        if let Some(refusal) = self.refusal(request) {
            return Err(refusal);
        }
        let segments = request.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["services", "server", "info"] | ["servicesNS", _, _, "server", "info"]) => {
                let mut content = json!({
                    "server_roles": self.server_roles,
                    "guid": self.guid,
                    "version": "9.4.1",
                });
                if self.is_cloud {
                    content["instance_type"] = "cloud".into();
                }
                Ok(vec![entry("server-info", "", content)])
            }
            ("GET", ["servicesNS", "nobody", APP, "storage", "passwords"]) => Ok(self.passwords()),
            ("POST", ["servicesNS", "nobody", APP, "storage", "passwords"]) => {
                self.create_password(&form)
            }
            (method, ["servicesNS", "nobody", APP, "storage", "passwords", name]) => {
                self.one_password(method, name, &form)
            }
            ("GET", ["servicesNS", _, app, "data", "inputs", kind]) => {
                Ok(self.inputs(app, kind, None))
            }
            ("GET", ["servicesNS", _, app, "data", "inputs", kind, name]) => {
                let inputs = self.inputs(app, kind, Some(name));
                if inputs.is_empty() {
                    not_found()
                } else {
                    Ok(inputs)
                }
            }
            ("POST", ["servicesNS", "nobody", app, "data", "inputs", kind, name]) => {
                let key = ((*kind).to_owned(), (*name).to_owned());
                match self.inputs.get_mut(&key).filter(|(is_in, _)| is_in == app) {
                    Some((_, params)) => *params = form,
                    None => return not_found(),
                }
                Ok(self.inputs(app, kind, Some(name)))
            }
            _ => Err((404, "Not Found")),
        }
    }

    fn inputs(&self, app: &str, kind: &str, name: Option<&str>) -> Vec<Value> {
        let mut inputs = vec![];
        for ((is_kind, is_name), (is_app, params)) in &self.inputs {
            let is_wanted = is_kind == kind && name.is_none_or(|name| name == is_name);
            if is_wanted && (app == "-" || app == is_app) {
                let text = |(key, text): (&String, &String)| (key.clone(), text.as_str().into());
                let mut content: Map<String, Value> = params.iter().map(text).collect();
                // splunkd knows the type of this one; every other parameter is text to it.
                let is_disabled = params.get("disabled").is_some_and(|text| text == "1");
                content.insert("disabled".to_owned(), is_disabled.into());
                inputs.push(entry(is_name, is_app, content.into()));
            }
        }
        inputs
    }

    fn passwords(&self) -> Vec<Value> {
        self.passwords
            .keys()
            .map(|key| self.password(key))
            .collect()
    }

    fn password(&self, key: &(String, String)) -> Value {
        let content = json!({
            "realm": key.0,
            "username": key.1,
            "password": "********",
            "clear_password": self.passwords[key],
            "encr_password": "$7$c3RhbmQtaW4=",
        });
        entry(&password_name(key), APP, content)
    }

    fn create_password(&mut self, form: &Params) -> Answer {
        let (Some(user), Some(secret)) = (form.get("name"), form.get("password")) else {
            return Err((400, "The arguments name and password are required."));
        };
        let key = (form.get("realm").cloned().unwrap_or_default(), user.clone());
        if self.passwords.contains_key(&key) {
            return Err((409, "An object with this name already exists."));
        }
        self.passwords.insert(key.clone(), secret.clone());
        Ok(vec![self.password(&key)])
    }

    fn one_password(&mut self, method: &str, name: &str, form: &Params) -> Answer {
        let mut keys = self.passwords.keys();
        let Some(key) = keys.find(|key| password_name(key) == name).cloned() else {
            return not_found();
        };
        match (method, form.get("password")) {
            ("GET", _) => Ok(vec![self.password(&key)]),
            ("POST", Some(secret)) if form.len() == 1 => {
                self.passwords.insert(key.clone(), secret.clone());
                Ok(vec![self.password(&key)])
            }
            ("POST", _) => Err((400, "An update takes the argument password and no other.")),
            ("DELETE", _) => {
                self.passwords.remove(&key);
                Ok(self.passwords())
            }
            _ => Err((405, "Method Not Allowed")),
        }
    }
}

fn refused(status: u16, text: &str) -> Reply {
    let message = json!({"type": "ERROR", "text": text});
    Reply::json(status, json!({ "messages": [message] }))
}

fn not_found() -> Answer {
    Err((404, "Could not find object."))
}

/// `realm:user:`, in which splunkd escapes what would look like a separator.
fn password_name((realm, user): &(String, String)) -> String {
    let escape = |part: &str| part.replace('\\', "\\\\").replace(':', "\\:");
    format!("{}:{}:", escape(realm), escape(user))
}

fn entry(name: &str, app: &str, content: Value) -> Value {
    let acl = json!({"app": app, "owner": "nobody", "sharing": "app"});
    json!({"name": name, "acl": acl, "content": content})
}
