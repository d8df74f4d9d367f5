//! The `ds_monitor` input: the path from Docusign's pages to Splunk's events, and the promise that nothing on it is
//! lost.
//!
//! `drain` is that path. A cursor is saved only when every byte of its page has been taken: read from the pipe, or
//! confirmed by an event collector. A run that was cut off from splunkd starts again before the last page that held
//! records, because what splunkd had read but not indexed can be lost too. At any moment at most one page, or one pipe
//! or batch full of small pages, is sent and not saved, so that a cut-off costs at most two pages of duplicates.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use crate::clock::Clock;
use crate::diagnosis;
use crate::docusign::client::{ApiError, Client};
use crate::docusign::jwt_grant::JwtGrant;
use crate::docusign::monitor_api::{End, MonitorApi, Page, Record, Stream};
use crate::failures;
use crate::position::{Position, State, resume};
use crate::settings::{DS_MONITOR, Settings, prefer_key_file, private_key, require_unmasked};
use crate::splunk::checkpoint::CheckpointStore;
use crate::splunk::credentials::{self, Secrets};
use crate::splunk::event::{Event, EventSink, Receipt, Undelivered};
use crate::splunk::hec::{HecSettings, HecWriter, RefusedEvent};
use crate::splunk::input_definition::{InputDefinition, Stanza};
use crate::splunk::log::{Failure, Fields, Level, Log};
use crate::splunk::rest::Rest;
use crate::splunk::scheme::Scheme;
use crate::splunk::{Command, ModularInput, Session};

/// How long a wait for the next page goes on before the pipe is looked at again.
const PAGE_TICK: Duration = Duration::from_millis(10);

/// First and longest pause between two looks at what the reader has taken.
const TAKEN_TICKS: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(10));

/// The modular input `ds_monitor`.
pub struct DsMonitor;

impl ModularInput for DsMonitor {
    fn scheme(&self) -> &'static Scheme {
        &DS_MONITOR
    }

    fn validate(&self, definition: InputDefinition, session: &Session) -> Result<()> {
        diagnosis::validate(definition, session)
    }

    fn runs_alone(&self) -> bool {
        true
    }

    fn commands(&self) -> &'static [Command] {
        diagnosis::COMMANDS
    }

    fn command(
        &self,
        name: &str,
        arguments: &[String],
        definition: InputDefinition,
        session: &Session,
    ) -> Result<bool> {
        diagnosis::command(name, arguments, definition, session)
    }

    fn run(&self, mut definition: InputDefinition, session: &Session) -> Result<()> {
        let input = DS_MONITOR.input(&definition.stanza.name);
        let log = session.log.for_input(&input);
        let rest = Rest::new(&definition);
        prefer_key_file(&mut definition.stanza);
        let pasted = credentials::pasted(&DS_MONITOR, &definition.stanza);
        credentials::unmask_input(&rest, &DS_MONITOR, &mut definition)
            .and_then(|()| require_unmasked(&definition.stanza))
            .map_err(|error| Failure::of("configure", &error))?;
        let stanza = &definition.stanza;
        let settings = Settings::of(stanza, session.clock.now())
            .map_err(|error| Failure::of("configure", &error))?;
        let key = private_key(stanza).map_err(|error| Failure::of("configure", &error))?;

        let Some(store) = CheckpointStore::try_open(&definition.checkpoint_dir, &input)
            .map_err(|error| Failure::of("load_checkpoint", &error))?
        else {
            let fields = Fields::new().with("action", "skip");
            log.warn(
                &fields,
                "Another process is still collecting for this input; this one leaves it the work.",
            );
            return Ok(());
        };
        if !definition.standalone {
            secure(pasted, &rest, stanza, &log);
            warn_of_cluster(&rest, &log);
        }
        let position = resume(&store, &settings, &log, &*session.clock)
            .map_err(|error| Failure::of("load_checkpoint", &error))?;

        // Up to here a signal ends the process at once, which costs nothing.
        session.stop_on_signals()?;
        let started = session.clock.elapsed();
        let client = Client::new(
            settings.network.clone(),
            Arc::clone(&session.clock),
            failures::docusign_remedy,
            failures::log_retries(log.clone()),
        )
        .map_err(|error| Failure::of("configure", &error))?;
        let grant = JwtGrant::new(client.clone(), settings.identity.clone(), key);
        let api = MonitorApi::new(client, grant, settings.stream.clone());
        let events = sink(settings.hec, session, &log)?;
        let pages = Pages::fetch(Stream::after(api, position.cursor.clone()))?;
        let mut delivery = Delivery {
            events,
            store,
            position,
            sent: VecDeque::new(),
            saved_end: 0,
            untimed: 0,
            refused_told: 0,
            run: Summary::default(),
            clock: Arc::clone(&session.clock),
            log,
        };
        let end = drain(&pages, &mut delivery).map_err(|stop| delivery.give_up(stop))?;

        report(&input, session, &delivery, end, started);
        // Every event has been read and saved; the closing tag is a courtesy.
        let _ = delivery.events.finish();
        Ok(())
    }
}

/// Where the events go: to the event collector, if the input names one, else to the standard output.
fn sink(hec: Option<HecSettings>, session: &Session, log: &Log) -> Result<Box<dyn EventSink>> {
    let Some(hec) = hec else {
        return Ok(Box::new(session.event_writer()?));
    };
    let on_refused = {
        let log = log.clone();
        move |refused: &RefusedEvent| {
            let record = Record {
                json: &refused.data,
            };
            let fields = Fields::new()
                .with("action", "refuse_event")
                .with("status", refused.status)
                .with_some("code", refused.code)
                .with_some("event_id", record.event_id())
                .with_some("time", record.timestamp());
            let sentence = format!(
                "The event collector refuses this record with {}, so it is left out. An input without hec_url that starts before it would bring it",
                refused.answer
            );
            log.write(Level::Error, &fields, &sentence);
        }
    };
    let writer = HecWriter::new(
        &hec,
        Arc::clone(&session.stop),
        Arc::clone(&session.clock),
        log.clone(),
        Arc::new(on_refused),
    )
    .map_err(|error| Failure::of("configure", &error))?;
    Ok(Box::new(writer))
}

/// The path. Every step that can end a run leaves the checkpoint at a page whose records have been read.
fn drain(pages: &Pages, delivery: &mut Delivery) -> Result<End, Stop> {
    let end = loop {
        let page = match pages.next(|| delivery.settle())? {
            Fetched::Page(page) => page,
            Fetched::End(end) => break end,
            Fetched::Failed(error) => {
                // What has been sent is whole; only Docusign failed, so the delivery ends in good order.
                delivery.close()?;
                return Err(Stop::Docusign(error));
            }
        };
        delivery.make_room(&page)?;
        if !page.is_empty() {
            delivery.mark_open()?;
        }
        for record in page.records() {
            delivery.send(&event(record))?;
        }
        delivery.sent(&page)?;
        pages.give_back(page);
        delivery.settle()?;
    };
    delivery.close()?;
    Ok(end)
}

/// A record of Docusign's as an event of Splunk's.
fn event(record: Record<'_>) -> Event<'_> {
    Event {
        time: record.timestamp(),
        sourcetype: None,
        data: record.json,
    }
}

/// Pages, fetched one ahead by a thread of its own: while one is written, the next is on its way.
struct Pages {
    fetched: Receiver<Fetched>,
    /// Pages that have been sent, whose memory the next ones take over.
    spent: Sender<Page>,
}

/// What the fetching thread has.
enum Fetched {
    Page(Page),
    End(End),
    Failed(ApiError),
}

impl Pages {
    fn fetch(mut stream: Stream) -> Result<Self> {
        // Without room in the channel, the thread holds one page and fetches no other before that one is taken.
        let (give, fetched) = sync_channel(0);
        let (spent, returned) = channel::<Page>();
        let fetching = std::thread::Builder::new().name("fetch".to_owned());
        let started = fetching.spawn(move || {
            loop {
                if let Ok(page) = returned.try_recv() {
                    stream.reuse(page.into_buffer());
                }
                let (fetched, last) = match stream.next_page() {
                    Ok(Ok(page)) => (Fetched::Page(page), false),
                    Ok(Err(end)) => (Fetched::End(end), true),
                    Err(error) => (Fetched::Failed(error), true),
                };
                // Nobody takes it any more when the run has been stopped.
                if give.send(fetched).is_err() || last {
                    return;
                }
            }
        });
        started.context("could not start a thread")?;
        Ok(Self { fetched, spent })
    }

    fn give_back(&self, page: Page) {
        // After its last page the thread is gone, and with it the need.
        let _ = self.spent.send(page);
    }

    /// The next page; meanwhile `look_after` is called again and again, so that nothing goes unnoticed.
    fn next(&self, mut look_after: impl FnMut() -> Result<(), Stop>) -> Result<Fetched, Stop> {
        loop {
            match self.fetched.recv_timeout(PAGE_TICK) {
                Ok(fetched) => return Ok(fetched),
                Err(RecvTimeoutError::Timeout) => look_after()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Stop::Other(anyhow!("the fetching thread is gone")));
                }
            }
        }
    }
}

/// Why a run ends before it is caught up.
enum Stop {
    /// Docusign does not give a page.
    Docusign(ApiError),
    /// The other side does not take the events.
    Undelivered(Undelivered),
    /// The machine fails: the checkpoint cannot be saved.
    Other(anyhow::Error),
}

impl From<Undelivered> for Stop {
    fn from(undelivered: Undelivered) -> Self {
        Self::Undelivered(undelivered)
    }
}

impl Stop {
    fn into_failure(self) -> anyhow::Error {
        match self {
            Self::Docusign(error) => failures::failure(error).into(),
            Self::Undelivered(Undelivered::Refused(failure)) => failure.into(),
            Self::Undelivered(undelivered) => Failure {
                level: Level::Warn,
                fields: Fields::new().with("action", "stop"),
                sentence: format!(
                    "{undelivered}. What has been taken is saved; the next run goes on from there"
                ),
            }
            .into(),
            Self::Other(error) => Failure::of("deliver", &error).into(),
        }
    }
}

/// The way from events to checkpoints: which pages are on their way, and which have arrived.
struct Delivery {
    events: Box<dyn EventSink>,
    store: CheckpointStore,
    position: Position,
    sent: VecDeque<Sent>,
    /// The stream's position up to which everything is saved.
    saved_end: u64,
    /// Events of the page that is being sent that have no time.
    untimed: usize,
    /// Refused events that a page's line has told of.
    refused_told: u64,
    run: Summary,
    clock: Arc<dyn Clock>,
    log: Log,
}

/// A page whose events have been sent, but are not known to have been read.
struct Sent {
    /// The stream's position after the page's last byte.
    end: u64,
    /// What is saved when the reader is there; nothing if Docusign named no cursor.
    cursor: Option<String>,
    /// The cursor that was sent for the page, if it held records.
    cursor_before_records: Option<String>,
    /// What is logged when it is saved; nothing for a page without records and news.
    line: Option<Fields>,
}

/// What a run's last line tells.
#[derive(Default)]
struct Summary {
    events: usize,
    pages: usize,
    /// Time of the newest record, in seconds since the epoch.
    newest: Option<i64>,
}

impl Delivery {
    /// Waits until `page` may be sent: until nothing is on its way, or all that is fits together with it what the
    /// sink calls a small amount. Without this bound a cut-off could cost more than two pages of duplicates.
    fn make_room(&mut self, page: &Page) -> Result<(), Stop> {
        let (events, bytes) = (page.len(), page.bytes());
        self.settle_until(|delivery| {
            let unsaved = delivery.events.progress().sent - delivery.saved_end;
            delivery.sent.is_empty() || delivery.events.has_room(unsaved, events, bytes)
        })
    }

    /// Marks the checkpoint open, durably, before the first byte of the run's first page goes out. It need not be
    /// where nothing that has been taken can be lost: then a run that is cut off leaves nothing to repeat.
    fn mark_open(&mut self) -> Result<(), Stop> {
        match self.position.state {
            State::Closed if !self.events.progress().receipt.is_final() => self.save(State::Open),
            State::Open | State::Closed => Ok(()),
        }
    }

    fn send(&mut self, event: &Event<'_>) -> Result<(), Stop> {
        match event.time {
            Some(time) => self.run.newest = self.run.newest.max(Some(time.seconds())),
            None => self.untimed += 1,
        }
        Ok(self.events.write(event)?)
    }

    /// Sends off the rest of a page and takes note of it.
    fn sent(&mut self, page: &Page) -> Result<(), Stop> {
        self.events.flush()?;
        let untimed = std::mem::take(&mut self.untimed);
        if untimed > 0 {
            let fields = Fields::new()
                .with("action", "deliver_without_time")
                .with("n_events", untimed)
                .with("cursor_from", &page.cursor);
            self.log.warn(
                &fields,
                "Records without a usable timestamp were delivered; Splunk gives them the time of arrival.",
            );
        }
        self.run.events += page.len();
        self.run.pages += 1;
        let moves = page.end_cursor.as_ref() != Some(&page.cursor);
        self.sent.push_back(Sent {
            end: self.events.progress().sent,
            line: (moves || !page.is_empty()).then(|| page_line(page)),
            cursor_before_records: (!page.is_empty()).then(|| page.cursor.clone()),
            cursor: page.end_cursor.clone(),
        });
        Ok(())
    }

    /// Saves the position of what the reader has taken by now.
    ///
    /// # Errors
    /// The reader is gone or the run is to stop, after the saving; or the checkpoint cannot be saved.
    fn settle(&mut self) -> Result<(), Stop> {
        let alive = self.events.check();
        self.save_taken()?;
        Ok(alive?)
    }

    fn settle_until(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), Stop> {
        let (mut pause, longest) = TAKEN_TICKS;
        loop {
            self.settle()?;
            if done(self) {
                return Ok(());
            }
            self.clock.sleep(pause);
            pause = longest.min(pause * 2);
        }
    }

    fn save_taken(&mut self) -> Result<(), Stop> {
        let progress = self.events.progress();
        let mut lines = Vec::new();
        let mut moved = false;
        while let Some(page) = self.sent.pop_front_if(|page| page.end <= progress.taken) {
            self.saved_end = page.end;
            if let Some(cursor) = page.cursor {
                moved |= self.position.cursor != cursor || page.cursor_before_records.is_some();
                self.position.cursor = cursor;
            }
            if let Some(cursor) = page.cursor_before_records {
                self.position.cursor_before_last_records = cursor;
            }
            lines.extend(page.line);
        }
        if moved {
            let state = match progress.receipt.is_final() {
                true => State::Closed,
                false => self.position.state,
            };
            self.save(state)?;
        }
        for mut line in lines {
            if progress.refused > self.refused_told {
                line = line.with("n_refused", progress.refused - self.refused_told);
                self.refused_told = progress.refused;
            }
            self.log.info(&line, receipt_sentence(progress.receipt));
        }
        Ok(())
    }

    /// Waits until everything has been read, and marks the checkpoint closed.
    fn close(&mut self) -> Result<(), Stop> {
        self.settle_until(|delivery| delivery.sent.is_empty())?;
        match self.position.state {
            State::Open => self.save(State::Closed),
            State::Closed => Ok(()),
        }
    }

    fn save(&mut self, state: State) -> Result<(), Stop> {
        self.position.state = state;
        self.store
            .save(&self.position, self.clock.now())
            .map_err(Stop::Other)
    }

    /// Ends a run that cannot go on. What has been read by now is saved; the checkpoint stays open.
    fn give_up(&mut self, stop: Stop) -> anyhow::Error {
        match (&stop, self.save_taken()) {
            (Stop::Undelivered(_), Err(worse)) => worse.into_failure(),
            _ => stop.into_failure(),
        }
    }
}

fn receipt_sentence(receipt: Receipt) -> &'static str {
    match receipt {
        Receipt::ReadBySplunkd => "Splunk has read this page.",
        Receipt::Read => "This page has been read.",
        Receipt::Accepted => "The event collector has accepted this page.",
        Receipt::Acknowledged => "The indexers have acknowledged this page.",
    }
}

/// The line by which an auditor can prove that no page is missing: `cursor_to` is the next line's `cursor_from`.
fn page_line(page: &Page) -> Fields {
    Fields::new()
        .with("action", "page_ingested")
        .with("cursor_from", &page.cursor)
        .with_some("cursor_to", page.end_cursor.as_ref())
        .with("n_events", page.len())
        .with_some(
            "first_event_id",
            page.records().next().and_then(|record| record.event_id()),
        )
        .with_some(
            "last_event_id",
            page.records()
                .next_back()
                .and_then(|record| record.event_id()),
        )
        .with("bytes", page.bytes())
        .with("request_ms", page.request_time.as_millis())
}

/// The run's last line. A silent feed is one without it, so it is written for a run without events too.
fn report(input: &str, session: &Session, delivery: &Delivery, end: End, started: Duration) {
    let now = session.clock.now();
    let fields = |action: &str| Fields::new().with("action", action);
    match end {
        End::CaughtUp => {}
        End::NoCursor => delivery.log.warn(
            &fields("keep_cursor").with("cursor", &delivery.position.cursor),
            "Docusign answered without records and without a cursor, which is taken for the end of the stream; the position stays.",
        ),
        End::OnlyEmptyPages => delivery.log.warn(
            &fields("leave_rest").with("cursor", &delivery.position.cursor),
            "Docusign sent only empty pages for a while; the next run goes on from here.",
        ),
    }
    let run = &delivery.run;
    let refused = usize::try_from(delivery.events.progress().refused).unwrap_or_default();
    let line = fields("events_ingested")
        .with("modular_input_name", input)
        .with("sourcetype_ingested", DS_MONITOR.kind)
        .with("n_events", run.events.saturating_sub(refused))
        .with_some("n_refused", (refused > 0).then_some(refused))
        .with("pages", run.pages)
        .with("caught_up", end != End::OnlyEmptyPages)
        .with_some("lag_s", run.newest.map(|newest| now.timestamp() - newest))
        .with(
            "duration_ms",
            session.clock.elapsed().saturating_sub(started).as_millis(),
        );
    session.log.info(&line, "The run is complete.");
}

/// Moves pasted secrets to secure storage. Collecting goes on if that fails, because a key in clear text is no
/// reason to lose records.
fn secure(pasted: Secrets, rest: &Result<Rest>, stanza: &Stanza, log: &Log) {
    if pasted.is_empty() {
        return;
    }
    let remedy = if pasted.contains_key("private_key") {
        "; a key in a file, named by private_key_path, needs no secure storage"
    } else {
        ""
    };
    let moved = match rest {
        Ok(rest) => credentials::move_to_storage(rest, &DS_MONITOR, stanza, pasted),
        Err(error) => Err(anyhow!("{error:#}")),
    };
    let fields = Fields::new().with("action", "secure_secrets");
    match moved {
        Ok(()) => log.info(
            &fields,
            "The pasted secrets are in Splunk's secure storage now, and masked in inputs.conf.",
        ),
        Err(error) => log.warn(
            &fields,
            &format!(
                "A secret is still in clear text in inputs.conf: {error:#}. The next run tries again{remedy}"
            ),
        ),
    }
}

/// On a search head cluster every member would run the input.
fn warn_of_cluster(rest: &Result<Rest>, log: &Log) {
    let roles = rest.as_ref().ok().and_then(|rest| rest.server_roles().ok());
    if roles.is_some_and(|roles| roles.iter().any(|role| role.starts_with("shc_"))) {
        log.warn(
            &Fields::new().with("action", "configure"),
            "This is a member of a search head cluster, where every member runs the input and every event comes once a member: move the input to a forwarder.",
        );
    }
}
