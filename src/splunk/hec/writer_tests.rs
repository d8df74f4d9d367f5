//! The writer against the stand-in event collector, on a clock that jumps: what takes minutes of waiting.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use support::hec::{self, Fault, Hec};
use support::http::Reply;
use support::input::DEADLINE;

use super::{Collector, HecSettings, HecWriter, RefusedEvent, SettingNames, base_url};
use crate::base::clock::{Clock, SystemClock};
use crate::base::http::Network;
use crate::base::retry::Patience;
use crate::base::secret::Secret;
use crate::splunk::event::{Event, EventSink, Progress, Undelivered};
use crate::splunk::log::{Level, Log};

/// A clock on which a pause passes at once.
#[derive(Default)]
struct Jumping {
    elapsed: Mutex<Duration>,
}

impl Clock for Jumping {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + self.elapsed()
    }

    fn elapsed(&self) -> Duration {
        *self.elapsed.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) {
        *self.elapsed.lock().unwrap() += duration;
    }
}

/// A log that can be read.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A writer to the stand-in, through the library, on a clock that jumps.
struct Writer {
    writer: HecWriter,
    clock: Arc<Jumping>,
    paper: Paper,
}

impl Writer {
    fn to(hec: &Hec) -> Self {
        let network = Network {
            user_agent: concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")),
            remedy: |_| "",
            proxy: None,
            ca_certificates: vec![],
            no_proxy: false,
            tls: false,
            patience: Patience::RUN,
        };
        let settings = HecSettings {
            url: base_url(&hec.url()).unwrap(),
            token: Secret::new(hec::TOKEN.to_owned()),
            names: SettingNames {
                url: "address",
                token: "token",
            },
            network,
            source: "kind://name".to_owned(),
            sourcetype: "kind",
            host: None,
            index: None,
        };
        let (clock, paper) = (Arc::<Jumping>::default(), Paper::default());
        let log = Log::new(Box::new(paper.clone()));
        let stop = Arc::new(AtomicBool::new(false));
        let refused = Arc::new(|event: &RefusedEvent| panic!("{} is refused", event.data));
        let collector = Collector::new(&settings).unwrap();
        let writer = HecWriter::new(&collector, stop, Arc::clone(&clock) as _, log, refused);
        Self {
            writer: writer.unwrap(),
            clock,
            paper,
        }
    }

    /// Sends a batch of one event.
    fn send(&mut self, data: &str) -> Result<(), Undelivered> {
        let (time, sourcetype) = (None, None);
        self.writer.write(&Event {
            time,
            sourcetype,
            data,
            is_json: true,
        })?;
        self.writer.flush()
    }

    fn progress(&self) -> Progress {
        self.writer.progress()
    }

    /// Waits until everything is taken, or an error ends the wait.
    fn settle(&mut self) -> Result<(), Undelivered> {
        eventually(|| {
            let is_taken = self.progress().taken == self.progress().sent;
            let looked = self.writer.check();
            (is_taken || looked.is_err()).then_some(looked)
        })
    }

    /// Lines of the log about batches that are sent again.
    fn resends(&self) -> usize {
        let log = String::from_utf8(self.paper.0.lock().unwrap().clone()).unwrap();
        log.matches("WARN action=resend").count()
    }
}

/// Looks until there is what is waited for.
fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let clock = SystemClock::new();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.elapsed() < DEADLINE, "nothing within {DEADLINE:?}");
        clock.sleep(Duration::from_millis(1));
    }
}

const FIVE_MINUTES: Duration = Duration::from_secs(300);

#[test]
fn an_acknowledgement_that_is_lost_is_waited_for_five_minutes_and_then_only_its_batch_is_sent_again()
 {
    let hec = Hec::new().acknowledge(true);
    let mut writer = Writer::to(&hec);
    writer.send("1").unwrap();
    writer.settle().unwrap();
    assert!(writer.clock.elapsed() < Duration::from_secs(5));

    // The answer that the batch is safe does not arrive, and is not given twice.
    hec.fault_on_ack(hec.polls() + 1, Fault::lost_reply());
    let (polls, before) = (hec.polls(), writer.clock.elapsed());
    writer.send("2").unwrap();
    writer.settle().unwrap();
    let waited = writer.clock.elapsed() - before;
    let expected = FIVE_MINUTES..FIVE_MINUTES + Duration::from_secs(30);
    assert!(expected.contains(&waited), "{waited:?}");
    assert_eq!(hec.events(), ["1", "2", "2"]);
    assert_eq!(writer.resends(), 1);
    let channels = hec.batches();
    assert_ne!(channels[1].channel, channels[2].channel);
    // Often at first, then at most every 10 s.
    let polls = hec.polls() - polls;
    assert!((30..=60).contains(&polls), "{polls} polls");

    writer.send("3").unwrap();
    writer.settle().unwrap();
    assert_eq!(hec.events(), ["1", "2", "2", "3"]);
    assert!(hec.batches().last().unwrap().confirmed);
}

#[test]
fn the_acknowledgement_of_a_batch_whose_reply_got_lost_is_not_taken_for_that_of_another() {
    let hec = Hec::new().acknowledge(true).withhold_acks(0);
    let mut writer = Writer::to(&hec);
    writer.send("1").unwrap();
    hec.wait_for_posts(1, DEADLINE);
    // The indexer loses the first batch and counts from 0 again. It takes the second twice, because the first reply to
    // that gets lost.
    hec.restart().withhold_acks(None);
    hec.fault(2, Fault::lost_reply());
    writer.send("2").unwrap();
    writer.settle().unwrap();
    let after_the_restart = hec.events().split_off(1);
    assert!(
        after_the_restart.contains(&"1".to_owned()),
        "{after_the_restart:?}"
    );
}

#[test]
fn what_was_acknowledged_before_is_taken_as_far_as_nothing_is_missing() {
    let hec = Hec::new().acknowledge(true).withhold_acks(0);
    let mut writer = Writer::to(&hec);
    let mut ends = vec![];
    for data in ["1", "2", "3"] {
        writer.send(data).unwrap();
        ends.push(writer.progress().sent);
    }
    hec.wait_for_posts(3, DEADLINE);
    assert_eq!(writer.progress().taken, 0);
    // The first two are acknowledged from now on.
    hec.withhold_acks(2);
    eventually(|| {
        writer.writer.check().unwrap();
        (writer.progress().taken >= ends[1]).then_some(())
    });
    assert_eq!(writer.progress().taken, ends[1]);
    hec.withhold_acks(None);
    writer.settle().unwrap();
    assert_eq!(writer.progress().taken, ends[2]);
}

#[test]
fn what_is_never_acknowledged_is_sent_four_times_and_ends_in_an_error() {
    let hec = Hec::new().acknowledge(true).withhold_acks(0);
    let mut writer = Writer::to(&hec);
    writer.send("1").unwrap();
    let Err(Undelivered::Refused(failure)) = writer.settle() else {
        panic!("an error is expected");
    };
    assert_eq!(failure.level, Level::Error);
    assert!(
        failure.sentence.contains("confirms no events"),
        "{failure:?}"
    );
    assert!(writer.clock.elapsed() >= 4 * FIVE_MINUTES);
    assert_eq!(writer.progress().taken, 0);
    assert_eq!(writer.resends(), 3);
    assert_eq!(hec.events(), ["1"; 4]);
    let channels: HashSet<_> = hec.batches().into_iter().map(|it| it.channel).collect();
    assert_eq!(channels.len(), 4);
}

#[test]
fn acknowledgements_that_are_asked_for_in_vain_for_a_while_are_asked_for_again() {
    let hec = Hec::new().acknowledge(true);
    for nth in 1..=12 {
        let fault = match nth % 3 {
            0 => Fault::busy(),
            1 => Fault::HangUp,
            _ => Fault::Instead(Reply::text(200, "text/html", "<html>x</html>")),
        };
        hec.fault_on_ack(nth, fault);
    }
    let mut writer = Writer::to(&hec);
    writer.send("1").unwrap();
    writer.settle().unwrap();
    assert!(writer.clock.elapsed() < FIVE_MINUTES);
    assert_eq!((hec.events().len(), writer.resends()), (1, 0));
}

#[test]
fn an_answer_about_acknowledgements_that_no_event_collector_gives_is_not_trusted() {
    for body in [
        "OK",
        "",
        r#"{"acks":[0]}"#,
        r#"{"text":"Success","code":0}"#,
    ] {
        let hec = Hec::new().acknowledge(true);
        for nth in 1..100 {
            hec.fault_on_ack(nth, Fault::Instead(Reply::text(200, "text/plain", body)));
        }
        let mut writer = Writer::to(&hec);
        writer.send("1").unwrap();
        let Err(Undelivered::Refused(failure)) = writer.settle() else {
            panic!("an error is expected");
        };
        assert!(failure.sentence.contains(body), "{body}: {failure:?}");
        assert_eq!(hec.events(), ["1"]);
    }
}
