//! The stand-in Splunk Web: the page Set up as a browser gets it, and splunkd behind `/<locale>/splunkd/__raw`.
//!
//! It has a session, a form key that every write must bring along, and a user with capabilities. Saving an input runs
//! the real binary with `--validate-arguments`; enabled inputs run on their interval, and what they write is kept: the
//! events, and the lines of the log. Searches are not interpreted: the few that the page makes are known by the words
//! in them and answered from what is kept. `/stand-in/…` is for tests alone: the script and the record of what came.
//!
//! What only a real Splunk has is not modelled: its frame around a view, its style sheet, its list of exposed endpoints.

#![expect(
    clippy::disallowed_methods,
    reason = "a stand-in waits by the machine's own clock"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::conf::{conf, read};
use super::docusign::{Docusign, Door};
use super::http::{Reply, Request, Server};
use super::input::{DEADLINE, Input, LogLine, Outcome};
use super::splunkd::{SESSION_KEY, Splunkd};

const APP: &str = "ds_monitor";
const LOCALE: &str = "en-US";
const USER: &str = "admin";
/// The view that shows the page.
pub const VIEW: &str = "docusign_set_up";
/// Where the built page lies, from the root of the checkout.
pub const BUILT: &str = "web/target/static";

/// What an administrator may do, as far as it is asked for here.
const CAPABILITIES: [&str; 8] = [
    "admin_all_objects",
    "edit_storage_passwords",
    "indexes_list_all",
    "list_inputs",
    "list_settings",
    "list_storage_passwords",
    "schedule_search",
    "search",
];

/// How often it is looked for inputs that are due.
const TICK: Duration = Duration::from_millis(100);
/// The interval of an input with a cron schedule, which is not read here.
const CRON: Duration = Duration::from_secs(3600);
/// Events that are kept of all inputs together.
const KEPT_EVENTS: usize = 20_000;
/// What splunkd puts in front of what a validation said.
const REFUSAL: &str = "Encountered the following error while trying to save: ";

type Params = BTreeMap<String, String>;
/// Kind and name.
type Key = (String, String);
/// Status and text.
type Refusal = (u16, String);
type Answer = Result<Reply, Refusal>;

/// What came of a run of an input.
pub struct Ran {
    /// `ds_monitor://<name>`.
    pub input: String,
    /// The text of each event.
    pub events: Vec<String>,
    pub log: Vec<LogLine>,
}

/// A running stand-in. When it is dropped, its inputs are ended and its files are removed.
pub struct SplunkWeb {
    web: Arc<Web>,
    server: Server,
    scheduler: Option<JoinHandle<()>>,
}

struct Web {
    splunkd: Splunkd,
    docusign: Docusign,
    /// The folder of the real binaries.
    programs: PathBuf,
    /// `SPLUNK_HOME`, with the app's lookups and the checkpoints.
    home: TempDir,
    port: u16,
    stopping: AtomicBool,
    /// How many processes of inputs there are.
    processes: Mutex<usize>,
    process_ended: Condvar,
    ran: Sender<Ran>,
    state: Mutex<State>,
}

/// A process of an input, from before its start until nothing of it is left.
struct Process<'a>(&'a Web);

impl Drop for Process<'_> {
    fn drop(&mut self) {
        *self.0.processes.lock().unwrap() -= 1;
        self.0.process_ended.notify_all();
    }
}

struct State {
    sessions: u32,
    is_logged_out: bool,
    theme: String,
    /// Where inputs find Docusign.
    docusign_url: String,
    capabilities: BTreeSet<String>,
    refusals: BTreeMap<String, Refusal>,
    macros: BTreeMap<String, Params>,
    searches: BTreeMap<String, Params>,
    indexes: BTreeSet<String>,
    due: BTreeMap<Key, Due>,
    events: Vec<Event>,
    log: Vec<Line>,
    requests: Vec<Value>,
    /// Every text with which a request was refused.
    refused: Vec<String>,
    /// Every form in which a stanza has ever been saved.
    stanzas: Vec<Value>,
}

struct Due {
    at: Instant,
    is_running: bool,
}

struct Event {
    time: f64,
    index: String,
    source: String,
    sourcetype: String,
    raw: String,
}

struct Line {
    time: f64,
    input: String,
    text: String,
}

impl SplunkWeb {
    /// Serves the page on `listener`; `programs` is the folder of the real binaries, inputs collect from `docusign`, and
    /// `ran` is told of every run.
    pub fn start(
        listener: TcpListener,
        programs: &Path,
        docusign: &Docusign,
        ran: Sender<Ran>,
    ) -> Self {
        let port = listener.local_addr().unwrap().port();
        let home = TempDir::new().unwrap();
        let lookups = home.path().join("etc/apps/ds_monitor/lookups");
        fs::create_dir_all(&lookups).unwrap();
        for table in ["ds_users.csv", "ds_accounts.csv", "ds_profiles.csv"] {
            fs::write(lookups.join(table), read(&format!("lookups/{table}"))).unwrap();
        }
        let stanzas = |name: &str| {
            let stanzas = conf(name).into_iter();
            stanzas
                .map(|(name, settings)| (name, settings.into_iter().collect()))
                .collect()
        };
        let web = Arc::new(Web {
            splunkd: Splunkd::start(),
            docusign: docusign.clone(),
            programs: programs.to_owned(),
            home,
            port,
            stopping: AtomicBool::new(false),
            processes: Mutex::default(),
            process_ended: Condvar::new(),
            ran,
            state: Mutex::new(State {
                sessions: 0,
                is_logged_out: false,
                theme: "light".to_owned(),
                docusign_url: docusign.url(),
                capabilities: CAPABILITIES.map(str::to_owned).into(),
                refusals: BTreeMap::new(),
                macros: stanzas("macros"),
                searches: stanzas("savedsearches"),
                indexes: ["docusign", "history", "main", "summary"]
                    .map(str::to_owned)
                    .into(),
                due: BTreeMap::new(),
                events: vec![],
                log: vec![],
                requests: vec![],
                refused: vec![],
                stanzas: vec![],
            }),
        });
        let server = Server::on(listener, {
            let web = web.clone();
            move |request| web.answer(request)
        });
        let scheduler = thread::spawn({
            let web = web.clone();
            move || web.keep_schedule()
        });
        Self {
            web,
            server,
            scheduler: Some(scheduler),
        }
    }

    /// The address of the page.
    pub fn url(&self) -> String {
        format!("{}/{LOCALE}/app/{APP}/{VIEW}", self.server.url())
    }

    /// Whether the page has been built; without it there is nothing to be seen.
    pub fn is_built() -> bool {
        built("set_up.js").is_file()
    }
}

impl Drop for SplunkWeb {
    fn drop(&mut self) {
        self.web.end_processes();
        if let Some(scheduler) = self.scheduler.take() {
            let _ = scheduler.join();
        }
        // An open connection of a browser may hold on to the rest for longer than the process lives.
        let _ = fs::remove_dir_all(self.web.home.path());
    }
}

fn built(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(BUILT).join(file)
}

impl Web {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn answer(&self, request: &Request) -> Reply {
        let segments = request.segments();
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let reply = match path.as_slice() {
            [] | [LOCALE] => redirect(&format!("/{LOCALE}/app/{APP}/{VIEW}")),
            [LOCALE, "account", "login"] => self.log_in(request),
            [LOCALE, "app", APP] => redirect(&format!("/{LOCALE}/app/{APP}/{VIEW}")),
            [LOCALE, "app", APP, view] if self.is_logged_in(request) => self.view(view, request),
            [LOCALE, "app", ..] => redirect(&format!(
                "/{LOCALE}/account/login?return_to={}",
                request.target
            )),
            [LOCALE, "static", rest @ ..] => self.file(rest),
            [LOCALE, "splunkd", "__raw", rest @ ..] => self.raw(request, rest),
            ["stand-in", word] => self.script(word, request),
            _ => Reply::text(404, "text/plain", "There is nothing here."),
        };
        reply.header("Cache-Control", "no-store")
    }

    // ---- the session ----

    fn session(&self) -> String {
        format!("stand-in-session-{}", self.state().sessions)
    }

    fn form_key(&self) -> String {
        format!("stand-in-form-key-{}", self.state().sessions)
    }

    fn is_logged_in(&self, request: &Request) -> bool {
        let cookie = request.header("cookie").unwrap_or_default();
        let wanted = format!("splunkd_{}={}", self.port, self.session());
        !self.state().is_logged_out && cookie.split("; ").any(|one| one == wanted)
    }

    /// Nobody is asked for a password here.
    fn log_in(&self, request: &Request) -> Reply {
        {
            let mut state = self.state();
            state.is_logged_out = false;
            state.sessions += 1;
        }
        let back = request.query("return_to").filter(|to| to.starts_with('/'));
        let (port, session, form_key) = (self.port, self.session(), self.form_key());
        redirect(back.unwrap_or("/"))
            .header(
                "Set-Cookie",
                format!("splunkd_{port}={session}; Path=/; HttpOnly"),
            )
            .header(
                "Set-Cookie",
                format!("splunkweb_csrf_token_{port}={form_key}; Path=/"),
            )
    }

    // ---- pages ----

    /// A view of the app: Set up as it is, and of the others what can be shown without Splunk.
    fn view(&self, view: &str, request: &Request) -> Reply {
        let title = "Docusign Monitor for Splunk";
        let (head, body) = if view == VIEW {
            self.set_up()
        } else if view == "search" {
            (String::new(), self.events_table())
        } else {
            let text = "<p>This view needs a real Splunk.</p>";
            (String::new(), text.to_owned())
        };
        if let Some(theme @ ("light" | "dark")) = request.query("theme") {
            theme.clone_into(&mut self.state().theme);
        }
        let dark = self.state().theme == "dark";
        let (background, color) = if dark {
            ("#0b0c0e", "#d5d6d8")
        } else {
            ("#ffffff", "#33343b")
        };
        let other = if dark { "light" } else { "dark" };
        let page = format!(
            "<!doctype html><html lang=\"{LOCALE}\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <link rel=\"icon\" href=\"data:,\"><style>body{{margin:0;font:14px sans-serif;background:{background};color:{color}}}\
             nav{{background:#123f54;padding:10px 20px}}nav a{{color:#fff;margin-right:20px}}\
             .plain{{padding:20px}}td,th{{text-align:left;padding:4px 12px;vertical-align:top}}</style></head><body>\
             <nav aria-label=\"App\"><a href=\"/{LOCALE}/app/{APP}/{VIEW}\">Set up</a>\
             <a href=\"/{LOCALE}/app/{APP}/search\">Search</a>\
             <a href=\"?theme={other}\">{other}</a></nav>{head}<main>{body}</main></body></html>"
        );
        Reply::text(200, "text/html; charset=utf-8", page)
    }

    /// What Splunk Web makes of the Simple XML view: its `<html>`, its script, and around them the configuration and a
    /// loader of modules, which takes whatever calls `define` for one of its own.
    fn set_up(&self) -> (String, String) {
        let xml = read(&format!("default/data/ui/views/{VIEW}.xml"));
        let between = |from: &str, to: &str| {
            let (_, rest) = xml.split_once(from).expect("the view has it");
            rest.split_once(to).expect("the view has its end").0
        };
        let script = between("script=\"", "\"");
        let html = between("<html>", "</html>");
        if !Self::is_built(script) {
            let how = "<p class=\"plain\">The page has not been built. In the folder web: npm ci, then npm run build.</p>";
            return (String::new(), how.to_owned());
        }
        let config = json!({
            "APP_BUILD": "1", "BUILD_NUMBER": "0123456789ab", "LOCALE": LOCALE,
            "MRSPARKLE_PORT_NUMBER": self.port, "MRSPARKLE_ROOT_PATH": "", "SPLUNKD_PATH": format!("/{LOCALE}/splunkd/__raw"),
            "USERNAME": USER, "VERSION_LABEL": "9.4.1",
        });
        let define = "throw new Error('Mismatched anonymous define() module')";
        let head = format!(
            "<script>window.$C = {config};\
             window.define = function () {{ {define}; }}; window.define.amd = {{}};</script>"
        );
        let address = format!("/{LOCALE}/static/@0123456789ab:1/app/{APP}/{script}");
        // The content of the view comes after the script, as it may in Splunk Web.
        let later = format!(
            "document.querySelector('main').insertAdjacentHTML('afterbegin', {})",
            json!(html)
        );
        let body = format!(
            "<script src=\"{address}\"></script><script>setTimeout(() => {later})</script>"
        );
        (head, body)
    }

    fn is_built(script: &str) -> bool {
        built(script).is_file()
    }

    /// The newest events, for a person who wants to see what came.
    fn events_table(&self) -> String {
        let state = self.state();
        let rows: String = state
            .events
            .iter()
            .rev()
            .take(200)
            .map(|event| {
                let cells = [&iso(event.time), &event.source, &event.index, &event.raw];
                let cells = cells.map(|cell| format!("<td>{}</td>", escape(cell)));
                format!("<tr>{}</tr>", cells.concat())
            })
            .collect();
        format!(
            "<div class=\"plain\"><h1>Events</h1><table><tr><th>Time<th>Source<th>Index<th>Event</tr>{rows}</table></div>"
        )
    }

    fn file(&self, segments: &[&str]) -> Reply {
        // A cache buster may stand in front.
        let segments = match segments {
            [first, rest @ ..] if first.starts_with('@') => rest,
            all => all,
        };
        match segments {
            ["build", "api", "get_theme.js"] => {
                let theme = self.state().theme.clone();
                Reply::text(
                    200,
                    "application/javascript",
                    format!(
                        "window.__get_theme__ = {{ getTheme: () => Promise.resolve('{theme}') }};"
                    ),
                )
            }
            ["app", APP, name] if !name.contains("..") => match fs::read(built(name)) {
                Ok(bytes) => Reply::text(200, "application/javascript; charset=utf-8", bytes),
                Err(_) => Reply::text(404, "text/plain", "There is no such file."),
            },
            _ => Reply::text(404, "text/plain", "There is no such file."),
        }
    }

    // ---- splunkd ----

    fn raw(&self, request: &Request, rest: &[&str]) -> Reply {
        let form: Params = request.form().into_iter().collect();
        self.state().requests.push(json!({
            "method": request.method, "target": request.target, "path": rest.join("/"), "form": form,
        }));
        let answer = self
            .admit(request, rest)
            .and_then(|()| self.endpoint(request, rest, form));
        answer.unwrap_or_else(|(status, text)| {
            self.state().refused.push(text.clone());
            let kind = if status == 401 { "WARN" } else { "ERROR" };
            let message = json!({"type": kind, "text": text});
            Reply::json(status, json!({ "messages": [message] }))
        })
    }

    /// Session, form key, capability, script: in that order.
    fn admit(&self, request: &Request, rest: &[&str]) -> Result<(), Refusal> {
        if !self.is_logged_in(request) {
            return Err((401, "call not properly authenticated".to_owned()));
        }
        let writes = request.method != "GET";
        let form_key = request.header("x-splunk-form-key");
        if writes && form_key != Some(&self.form_key()) {
            return Err((
                403,
                "Splunk cannot authenticate the request. CSRF validation failed.".to_owned(),
            ));
        }
        let path = rest.join("/");
        let state = self.state();
        let needs = |part: &str| path.contains(part);
        let wanted: &[&str] = match (writes, ()) {
            (false, ()) if needs("storage/passwords") => &["list_storage_passwords"],
            (true, ()) if needs("storage/passwords") => {
                &["edit_storage_passwords", "admin_all_objects"]
            }
            (false, ()) if needs("data/inputs") => &["list_inputs"],
            (true, ()) if needs("data/inputs") => &["admin_all_objects"],
            (true, ()) if needs("configs/conf-") => &["admin_all_objects"],
            (true, ()) if needs("saved/searches") => &["schedule_search"],
            (_, ()) if needs("search/jobs") => &["search"],
            _ => &[],
        };
        if !wanted.is_empty() && !wanted.iter().any(|one| state.capabilities.contains(*one)) {
            return Err((
                403,
                format!(
                    "You (user={USER}) do not have permission to perform this operation (requires capability: {}).",
                    wanted[0]
                ),
            ));
        }
        let what = format!("{} {path}", request.method);
        let mut refusals = state.refusals.iter();
        match refusals.find(|(part, _)| what.contains(part.as_str())) {
            Some((_, refusal)) => Err(refusal.clone()),
            None => Ok(()),
        }
    }

    fn endpoint(&self, request: &Request, rest: &[&str], mut form: Params) -> Answer {
        form.remove("output_mode");
        let path = match rest {
            ["services", path @ ..] | ["servicesNS", _, _, path @ ..] => path,
            _ => return Err((404, "Not Found".to_owned())),
        };
        match (request.method.as_str(), path) {
            ("GET", ["authentication", "current-context"]) => {
                let capabilities = &self.state().capabilities;
                let content = json!({"username": USER, "realname": "Administrator", "roles": ["admin"], "capabilities": capabilities});
                Ok(entries(vec![entry("context", content)]))
            }
            ("GET", ["data", "indexes"]) => {
                let state = self.state();
                let indexes = state.indexes.iter();
                let content = json!({"isInternal": false, "disabled": false, "datatype": "event"});
                Ok(entries(
                    indexes
                        .map(|name| entry(name, content.clone()))
                        .chain([entry("_internal", json!({"isInternal": true}))])
                        .collect(),
                ))
            }
            (method, ["configs", "conf-macros", name]) => self.setting(method, name, form, true),
            (method, ["saved", "searches", name]) => self.setting(method, name, form, false),
            ("GET", ["saved", "searches"]) => {
                let state = self.state();
                let searches = state.searches.iter();
                let searches = searches.map(|(name, params)| entry(name, typed(params)));
                Ok(entries(searches.collect()))
            }
            ("POST", ["search", "jobs"]) => Ok(self.search(&form)),
            ("GET", ["server", "info"]) | (_, ["storage", "passwords", ..]) => {
                Ok(self.pass_on(request, rest))
            }
            ("GET", ["data", "inputs", kind]) => {
                let splunkd = self.splunkd.inputs(kind).into_iter();
                let inputs = splunkd.map(|(name, app)| self.input_entry(kind, &name, &app));
                let mut body =
                    json!({"entry": inputs.collect::<Vec<_>>(), "messages": [], "links": {}});
                if self.state().capabilities.contains("admin_all_objects") {
                    body["links"] = json!({"create": format!("/servicesNS/nobody/{APP}/data/inputs/{kind}/_new")});
                }
                Ok(Reply::json(200, body))
            }
            ("GET", ["data", "inputs", kind, "_new"]) => {
                Ok(entries(vec![entry("_new", typed(&self.defaults(kind)))]))
            }
            ("GET", ["data", "inputs", kind, name]) => {
                let (app, _) = self.known(kind, name)?;
                Ok(entries(vec![self.input_entry(kind, name, &app)]))
            }
            ("POST", ["data", "inputs", kind]) => self.create(kind, form),
            ("POST", ["data", "inputs", kind, name]) => self.edit(kind, name, form),
            ("POST", ["data", "inputs", kind, name, word @ ("enable" | "disable")]) => {
                let (app, mut params) = self.known(kind, name)?;
                let disabled = if *word == "disable" { "1" } else { "0" };
                params.insert("disabled".to_owned(), disabled.to_owned());
                self.save(kind, name, &app, params);
                Ok(entries(vec![self.input_entry(kind, name, &app)]))
            }
            ("DELETE", ["data", "inputs", kind, name]) => {
                self.known(kind, name)?;
                self.splunkd.remove_input(kind, name);
                let key = ((*kind).to_owned(), (*name).to_owned());
                self.state().due.remove(&key);
                Ok(entries(vec![]))
            }
            _ => Err((404, "Not Found".to_owned())),
        }
    }

    /// Secure storage and what splunkd says of itself are the other stand-in's.
    fn pass_on(&self, request: &Request, rest: &[&str]) -> Reply {
        let local = request
            .target
            .split_once("__raw")
            .map_or("", |(_, rest)| rest);
        let authorization = ("Authorization".to_owned(), format!("Splunk {SESSION_KEY}"));
        self.splunkd.answer(&Request {
            target: local.to_owned(),
            path: format!("/{}", rest.join("/")),
            headers: vec![authorization],
            ..request.clone()
        })
    }

    /// A stanza of macros.conf or savedsearches.conf: read, or some of its settings written.
    fn setting(&self, method: &str, name: &str, form: Params, is_macro: bool) -> Answer {
        let mut state = self.state();
        let stanzas = if is_macro {
            &mut state.macros
        } else {
            &mut state.searches
        };
        let Some(params) = stanzas.get_mut(name) else {
            return Err((404, format!("{name} does not exist")));
        };
        if method == "POST" {
            params.extend(form);
        }
        Ok(entries(vec![entry(name, typed(params))]))
    }

    // ---- inputs ----

    /// What holds for every input of a kind: the app's own file, and where this instance's Docusign is.
    fn defaults(&self, kind: &str) -> Params {
        let mut params: Params = conf("inputs")
            .into_iter()
            .filter(|(stanza, _)| stanza == kind)
            .flat_map(|(_, settings)| settings)
            .collect();
        let mut set = |key: &str, value: &str| params.insert(key.to_owned(), value.to_owned());
        set("host", "$decideOnStartup");
        set("index", "default");
        if kind == "ds_monitor" {
            let url = self.state().docusign_url.clone();
            set("auth_url", &url);
            set("monitor_url", &url);
            set("admin_url", &format!("{url}/management"));
        }
        params
    }

    fn known(&self, kind: &str, name: &str) -> Result<(String, Params), Refusal> {
        let params = self.splunkd.input(kind, name);
        let app = self.splunkd.inputs(kind).into_iter();
        let app = app.clone().find(|(known, _)| known == name);
        match (app, params) {
            (Some((_, app)), Some(params)) => Ok((app, params)),
            _ => Err((404, format!("Could not find object id={name}"))),
        }
    }

    fn input_entry(&self, kind: &str, name: &str, app: &str) -> Value {
        let params = self.splunkd.input(kind, name).unwrap_or_default();
        let mut entry = entry(name, typed(&params));
        entry["acl"]["app"] = app.into();
        entry
    }

    fn create(&self, kind: &str, mut form: Params) -> Answer {
        let name = form.remove("name").unwrap_or_default();
        if name.is_empty() {
            return Err((
                400,
                "The following required arguments are missing: name".to_owned(),
            ));
        }
        if self.splunkd.input(kind, &name).is_some() {
            return Err((409, format!("An object with name={name} already exists")));
        }
        let mut params = self.defaults(kind);
        params.extend(form);
        self.validate(kind, &name, &params)?;
        self.save(kind, &name, APP, params);
        let entry = self.input_entry(kind, &name, APP);
        let paging = json!({"total": 1, "perPage": 30, "offset": 0});
        Ok(Reply::json(
            201,
            json!({"entry": [entry], "messages": [], "paging": paging}),
        ))
    }

    /// What is not sent of the scheme's arguments is gone, as splunkd may have it; Splunk's own settings stay.
    fn edit(&self, kind: &str, name: &str, form: Params) -> Answer {
        let (app, before) = self.known(kind, name)?;
        let own = [
            "disabled",
            "host",
            "index",
            "interval",
            "sourcetype",
            "start_by_shell",
        ];
        let mut params = self.defaults(kind);
        params.extend(
            before
                .into_iter()
                .filter(|(key, _)| own.contains(&key.as_str())),
        );
        params.extend(form);
        self.validate(kind, name, &params)?;
        self.save(kind, name, &app, params);
        Ok(entries(vec![self.input_entry(kind, name, &app)]))
    }

    fn save(&self, kind: &str, name: &str, app: &str, params: Params) {
        self.splunkd.set_input(kind, name, app, params.clone());
        let mut state = self.state();
        let stanza = json!({"kind": kind, "name": name, "params": params});
        state.stanzas.push(stanza);
        let due = Due {
            at: Instant::now(),
            is_running: false,
        };
        let key = (kind.to_owned(), name.to_owned());
        state.due.insert(key, due);
    }

    fn input(&self, kind: &str, name: &str, params: &Params) -> Input {
        let modinputs = self.home.path().join("var/lib/splunk/modinputs").join(kind);
        fs::create_dir_all(&modinputs).unwrap();
        let input = match kind {
            "ds_lookups" => Input::ds_lookups(name),
            _ => Input::ds_monitor(name),
        };
        let input = params
            .iter()
            .fold(input, |input, (key, value)| input.param(key, value));
        input
            .app(APP)
            .splunkd(&self.splunkd)
            .checkpoint_dir(&modinputs)
            .env("SPLUNK_HOME", self.home.path().to_string_lossy())
    }

    /// The real binary has the word; splunkd only puts something in front of what it says.
    fn validate(&self, kind: &str, name: &str, params: &Params) -> Result<(), Refusal> {
        let Some(_process) = self.process() else {
            return Err((503, "splunkd is stopping".to_owned()));
        };
        let outcome = self
            .input(kind, name, params)
            .start_validation(&self.programs.join(kind))
            .finish_unless(DEADLINE, || self.is_stopping());
        if outcome.status.success() {
            return Ok(());
        }
        let stdout = String::from_utf8_lossy(&outcome.stdout);
        let message = stdout
            .split_once("<message>")
            .and_then(|(_, rest)| rest.split_once("</message>"))
            .map_or("script running failed", |(message, _)| message);
        let message = [
            ("&lt;", "<"),
            ("&gt;", ">"),
            ("&quot;", "\""),
            ("&apos;", "'"),
            ("&amp;", "&"),
        ]
        .iter()
        .fold(message.to_owned(), |text, (entity, sign)| {
            text.replace(entity, sign)
        });
        Err((400, format!("{REFUSAL}{message}")))
    }

    // ---- runs ----

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Leave to start a process, which is given until everything stops.
    fn process(&self) -> Option<Process<'_>> {
        let mut processes = self.processes.lock().unwrap();
        (!self.is_stopping()).then(|| {
            *processes += 1;
            Process(self)
        })
    }

    /// Starts no process any more, and waits for those that there are, which are being ended.
    fn end_processes(&self) {
        let processes = self.processes.lock().unwrap();
        self.stopping.store(true, Ordering::SeqCst);
        drop(self.process_ended.wait_while(processes, |n| *n > 0));
    }

    fn keep_schedule(self: Arc<Self>) {
        let mut runs: Vec<JoinHandle<()>> = vec![];
        while !self.is_stopping() {
            for (kind, name) in self.take_due() {
                let web = self.clone();
                runs.push(thread::spawn(move || web.run(&kind, &name)));
            }
            runs.retain(|run| !run.is_finished());
            thread::sleep(TICK);
        }
        for run in runs {
            let _ = run.join();
        }
    }

    fn take_due(&self) -> Vec<Key> {
        let mut state = self.state();
        let now = Instant::now();
        let due = state.due.iter_mut();
        due.filter(|(_, due)| due.at <= now && !due.is_running)
            .map(|(key, due)| {
                due.is_running = true;
                key.clone()
            })
            .collect()
    }

    fn run(&self, kind: &str, name: &str) {
        let (Some(params), Some(_process)) = (self.splunkd.input(kind, name), self.process())
        else {
            return;
        };
        if params.get("disabled").map(String::as_str) != Some("1") {
            let input = self.input(kind, name, &params);
            let mut running = input.spawn(&self.programs.join(kind));
            running.stdin = None;
            let outcome = running.finish_unless(DEADLINE, || self.is_stopping());
            self.keep(kind, name, &params, &outcome);
        }
        let interval = params.get("interval").map(String::as_str);
        let interval = interval.unwrap_or_default().parse();
        let interval = interval.map_or(CRON, Duration::from_secs);
        let mut state = self.state();
        if let Some(due) = state.due.get_mut(&(kind.to_owned(), name.to_owned())) {
            due.is_running = false;
            due.at = Instant::now() + interval;
        }
    }

    fn keep(&self, kind: &str, name: &str, params: &Params, outcome: &Outcome) {
        let input = format!("{kind}://{name}");
        let index = match params.get("index").map(String::as_str) {
            None | Some("default") => "main",
            Some(index) => index,
        };
        let text = |key: &str| params.get(key).cloned();
        let events = outcome.events();
        // Nobody may want to know.
        let _ = self.ran.send(Ran {
            input: input.clone(),
            events: events.iter().map(|event| event.data.clone()).collect(),
            log: outcome.log_lines(),
        });
        let mut state = self.state();
        state.events.extend(events.into_iter().map(|event| {
            Event {
                time: event
                    .time
                    .and_then(|time| time.parse().ok())
                    .unwrap_or_else(now),
                index: index.to_owned(),
                source: event.source.unwrap_or_else(|| input.clone()),
                sourcetype: event
                    .sourcetype
                    .or_else(|| text("sourcetype"))
                    .unwrap_or_default(),
                raw: event.data,
            }
        }));
        let excess = state.events.len().saturating_sub(KEPT_EVENTS);
        state.events.drain(..excess);
        let lines = outcome.stderr.lines().map(|line| Line {
            time: now(),
            input: input.clone(),
            text: line.to_owned(),
        });
        state.log.extend(lines);
        let excess = state.log.len().saturating_sub(KEPT_EVENTS);
        state.log.drain(..excess);
    }

    // ---- searches ----

    fn search(&self, form: &Params) -> Reply {
        let search = form.get("search").map_or("", String::as_str);
        let state = self.state();
        let results = if search.contains("`ds_monitor_log`") {
            state.newest_lines()
        } else if search.contains("inputlookup ds_users") {
            self.lookups()
        } else if search.contains("tstats") {
            state.feeds()
        } else {
            state.newest_events(search)
        };
        Reply::json(200, json!({"results": results, "messages": []}))
    }

    fn lookups(&self) -> Vec<Value> {
        let folder = self.home.path().join("etc/apps/ds_monitor/lookups");
        ["ds_users", "ds_accounts", "ds_profiles"]
            .map(|lookup| {
                let text = fs::read_to_string(folder.join(format!("{lookup}.csv")));
                let text = text.unwrap_or_default();
                let rows: Vec<&str> = text.lines().skip(1).collect();
                let seen = rows.iter().filter_map(|row| row.rsplit(',').next()).max();
                json!({"lookup": lookup, "rows": rows.len().to_string(), "refreshed": seen})
            })
            .into()
    }

    // ---- the script and the record, for tests ----

    fn script(&self, word: &str, request: &Request) -> Reply {
        let form: Params = request.form().into_iter().collect();
        let get = |key: &str| form.get(key).map_or("", String::as_str);
        let list = |key: &str| {
            get(key)
                .split(' ')
                .filter(|one| !one.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        match word {
            "record" => return Reply::json(200, self.record()),
            "log-out" => self.state().is_logged_out = true,
            "theme" => get("theme").clone_into(&mut self.state().theme),
            "docusign-at" => get("url").clone_into(&mut self.state().docusign_url),
            "capabilities" => self.state().capabilities = list("names").into_iter().collect(),
            "refuse" => {
                let status = get("status").parse().unwrap();
                let refusal = (status, get("text").to_owned());
                self.state()
                    .refusals
                    .insert(get("part").to_owned(), refusal);
            }
            "accept" => self.state().refusals.clear(),
            "roles" => {
                let roles = list("names");
                let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
                self.splunkd.server_roles(&roles);
            }
            "consented" => {
                let scopes = list("scopes");
                let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
                self.docusign.consented_scopes(&scopes);
            }
            "next-stream" => {
                let next = self.docusign.count(Door::Stream) + 1;
                let reply = match get("status") {
                    // Docusign says nothing at all.
                    "" => Reply::stall(),
                    status => Reply::json(status.parse().unwrap(), get("body")),
                };
                self.docusign.fault(next, reply);
            }
            _ => return Reply::text(404, "text/plain", "no such word"),
        }
        Reply::json(200, json!({}))
    }

    fn record(&self) -> Value {
        let mut inputs = vec![];
        for kind in ["ds_monitor", "ds_lookups"] {
            for (name, app) in self.splunkd.inputs(kind) {
                let params = self.splunkd.input(kind, &name);
                inputs.push(json!({"kind": kind, "name": name, "app": app, "params": params}));
            }
        }
        let state = self.state();
        json!({
            "requests": state.requests,
            "refusals": state.refused,
            "stanzas": state.stanzas,
            "inputs": inputs,
            "secrets": self.splunkd.secrets(),
            "macros": state.macros,
            "searches": state.searches,
            "events": state.events.len(),
        })
    }
}

impl State {
    /// Of every input the newest line of each kind, as the search of the page groups them.
    fn newest_lines(&self) -> Vec<Value> {
        let mut seen = BTreeSet::new();
        let mut rows = vec![];
        for line in self.log.iter().rev() {
            let level = line.text.split(' ').next().unwrap_or_default();
            let is = |action: &str| line.text.contains(&format!("action={action} "));
            let group = match level {
                "ERROR" | "FATAL" => "problem",
                _ if is("events_ingested") || is("lookups_refreshed") => "run",
                _ if is("page_ingested") => "page",
                _ => continue,
            };
            if seen.insert((&line.input, group)) {
                rows.push(json!({
                    "input": line.input, "group": group, "_time": iso(line.time), "time": format!("{:.3}", line.time),
                    "host": "stand-in", "line": line.text,
                }));
            }
        }
        rows
    }

    /// Where events are, and how many.
    fn feeds(&self) -> Vec<Value> {
        let mut feeds: BTreeMap<(&str, &str), (usize, f64)> = BTreeMap::new();
        for event in self.events.iter().filter(|event| event.sourcetype == APP) {
            let feed = feeds.entry((&event.index, &event.source)).or_default();
            feed.0 += 1;
            feed.1 = feed.1.max(event.time);
        }
        feeds
            .into_iter()
            .map(|((index, source), (count, newest))| {
                json!({"index": index, "source": source, "host": "stand-in", "count": count.to_string(), "newest": format!("{newest:.3}")})
            })
            .collect()
    }

    fn newest_events(&self, search: &str) -> Vec<Value> {
        let source = search
            .split_once("source=\"")
            .and_then(|(_, rest)| rest.split_once('"'));
        let source = source.map_or("", |(source, _)| source);
        let mut events: Vec<&Event> = self
            .events
            .iter()
            .filter(|event| event.source == source)
            .collect();
        events.sort_by(|a, b| b.time.total_cmp(&a.time));
        let events = events.into_iter().take(10);
        events
            .map(|event| json!({"_time": iso(event.time), "_raw": event.raw, "host": "stand-in"}))
            .collect()
    }
}

/// splunkd knows the type of this one; every other setting is text here.
fn typed(params: &Params) -> Value {
    let mut content = json!(params);
    if let Some(disabled) = params.get("disabled") {
        content["disabled"] = (disabled == "1").into();
    }
    content
}

fn entry(name: &str, content: Value) -> Value {
    let acl = json!({"app": APP, "owner": "nobody", "sharing": "app", "can_write": true});
    json!({"name": name, "acl": acl, "content": content})
}

fn entries(entries: Vec<Value>) -> Reply {
    let paging = json!({"total": entries.len(), "perPage": entries.len(), "offset": 0});
    let body = json!({"entry": entries, "paging": paging, "messages": []});
    Reply::json(200, body)
}

fn redirect(to: &str) -> Reply {
    Reply::text(303, "text/plain", "").header("Location", to)
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
fn now() -> f64 {
    Utc::now().timestamp_millis() as f64 / 1000.0
}

#[expect(clippy::cast_possible_truncation, reason = "times of this century fit")]
fn iso(seconds: f64) -> String {
    let time = DateTime::from_timestamp_millis((seconds * 1000.0) as i64).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}
