//! The thread that sends: batches in order, each until it is taken.
//!
//! The sink hears from it over one channel: how far everything is settled, and at last why it ended. A batch that is
//! under way is either done or waits for its acknowledgement; positions are settled strictly in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use anyhow::Result;
use uuid::Uuid;

use super::HecSettings;
use super::batch::Batch;
use super::collector::{AckVerdict, Collector, HecAnswer, HecError, Verdict};
use crate::base::clock::Clock;
use crate::base::http::NetworkProblem;
use crate::base::retry::{Failed, asked_wait, repeat};
use crate::splunk::event::{Receipt, Undelivered};
use crate::splunk::log::{Failure, Fields, Log};

/// How long the indexers may take to acknowledge a batch before it is sent again.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(300);

/// First pause between two questions for acknowledgements: an idle indexer answers the first or second.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// Longest pause between two such questions, as Splunk's manual recommends.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a batch that arrives between two such questions may have to wait.
const TICK: Duration = Duration::from_millis(10);

/// How often in a row batches are sent again because their acknowledgements are missing.
const MAX_RESENDS: u32 = 3;

/// More refused events than this in a row, with none accepted between them, are not the fault of the events.
const MAX_REFUSALS: u32 = 20;

const SEND: &str = "send";
const ACKNOWLEDGE: &str = "acknowledge";

/// Called for every event that is left out.
pub type OnRefused = Arc<dyn Fn(&RefusedEvent) + Send + Sync>;

/// An event that Splunk refuses, and why.
pub struct RefusedEvent {
    /// The text of the event.
    pub data: String,
    /// The status of the answer.
    pub status: u16,
    /// The event collector's code, if it gave one.
    pub code: Option<u32>,
    /// The answer in words.
    pub answer: String,
}

/// How far everything has been taken or left out, or why the courier has ended.
pub(super) type News = Result<Settled, Undelivered>;

/// How far everything has been taken or left out.
#[derive(Clone, Copy)]
pub(super) struct Settled {
    /// The position up to which this holds.
    pub(super) taken: u64,
    /// How many events have been left out.
    pub(super) refused: u64,
    /// Who has confirmed it.
    pub(super) receipt: Receipt,
}

/// How the event collector received a batch.
enum Reception {
    /// It has accepted the batch, and will acknowledge it under this id if the token acknowledges.
    Accepted { ack: Option<u64> },
    /// It objects to the contents: to this event, if it says which.
    Objected {
        bad: Option<usize>,
        answer: Box<HecAnswer>,
    },
}

/// A batch that has been sent.
struct Posted {
    batch: Batch,
    proof: Proof,
}

/// What is known about a batch that has been sent.
enum Proof {
    /// It is safe.
    Done,
    /// The indexers have yet to acknowledge it, under this id, since then.
    Awaited { ack: u64, since: Duration },
}

/// When to ask for acknowledgements.
struct Polling {
    due: Duration,
    /// The pause after the next question.
    pause: Duration,
    /// Why the last question was not answered.
    unanswered: Option<String>,
}

/// The sending thread's state.
pub(super) struct Courier {
    collector: Collector,
    report: Sender<News>,
    clock: Arc<dyn Clock>,
    log: Log,
    on_refused: OnRefused,
    under_way: VecDeque<Posted>,
    settled: Settled,
    /// Whether the token acknowledges, once an event of this run has been accepted.
    acknowledges: Option<bool>,
    polling: Polling,
    /// How often in a row batches have been sent again.
    resends: u32,
    /// Events that were refused since one was accepted.
    refusals: u32,
}

impl Courier {
    pub(super) fn new(
        settings: &HecSettings,
        report: Sender<News>,
        clock: Arc<dyn Clock>,
        log: Log,
        on_refused: OnRefused,
    ) -> Result<Self> {
        Ok(Self {
            collector: Collector::new(settings)?,
            report,
            clock,
            log,
            on_refused,
            under_way: VecDeque::new(),
            settled: Settled {
                taken: 0,
                refused: 0,
                receipt: Receipt::Accepted,
            },
            acknowledges: None,
            polling: Polling {
                due: Duration::ZERO,
                pause: FIRST_PAUSE,
                unanswered: None,
            },
            resends: 0,
            refusals: 0,
        })
    }

    /// Sends what arrives, and asks for acknowledgements, until the first error or the end of the run.
    pub(super) fn work(mut self, batches: &Receiver<Batch>) {
        loop {
            let next = if self.under_way.is_empty() {
                batches.recv().map_err(|_| TryRecvError::Disconnected)
            } else {
                batches.try_recv()
            };
            let done = match next {
                Ok(batch) => self.deliver(batch),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) if self.clock.elapsed() < self.polling.due => {
                    self.clock.sleep(TICK);
                    continue;
                }
                Err(TryRecvError::Empty) => self.poll(),
            };
            if let Err(undelivered) = done {
                // Nobody listens any more when the run has been stopped.
                let _ = self.report.send(Err(undelivered));
                return;
            }
        }
    }

    /// Sends a batch, without those of its events that the event collector refuses.
    fn deliver(&mut self, batch: Batch) -> Result<(), Undelivered> {
        let mut refused = Vec::new();
        let mut batches = vec![batch];
        while let Some(batch) = batches.pop() {
            let (bad, answer) = match self.send(&batch)? {
                Reception::Accepted { ack } => {
                    self.note_acceptance(batch, ack);
                    continue;
                }
                Reception::Objected { bad, answer } => (bad, answer),
            };
            // The number in a refusal, and what it says about the events before, is only a hint where to cut: event
            // collectors differ in both. An event is left out only when it was refused alone.
            if batch.len() == 1 {
                refused.push(self.leave_out(&batch, &answer)?);
                self.under_way.push_back(Posted {
                    batch,
                    proof: Proof::Done,
                });
            } else {
                let parts = batch.cut(bad, self.position_before());
                batches.extend(parts.into_iter().rev());
            }
        }
        for event in &refused {
            if self.acknowledges.is_none() {
                return Err(self.refuses_everything(event));
            }
            (self.on_refused)(event);
            self.settled.refused += 1;
        }
        self.settle();
        Ok(())
    }

    /// The position up to which everything has been sent.
    fn position_before(&self) -> u64 {
        match self.under_way.back() {
            Some(posted) => posted.batch.position,
            None => self.settled.taken,
        }
    }

    /// Makes a request until the event collector accepts it or objects to its contents, or until patience runs out.
    fn send(&self, batch: &Batch) -> Result<Reception, Undelivered> {
        let packed = batch
            .pack()
            .map_err(|error| Undelivered::Refused(Failure::of(SEND, &error.into())))?;
        repeat(
            self.collector.patience(),
            &*self.clock,
            || {
                let answer = self.collector.send(batch, packed.clone());
                let answer = answer.map_err(|problem| {
                    let error = self.collector.unreachable(&problem);
                    match problem.kind.is_permanent() {
                        true => Failed::ForGood(error),
                        false => Failed::for_now(error),
                    }
                })?;
                match answer.verdict() {
                    Verdict::Accepted => Ok(Reception::Accepted {
                        ack: answer.ack_id(),
                    }),
                    Verdict::BadEvent(bad) => Ok(Reception::Objected {
                        bad,
                        answer: Box::new(answer),
                    }),
                    Verdict::TooLarge => Ok(Reception::Objected {
                        bad: None,
                        answer: Box::new(answer),
                    }),
                    Verdict::Later => Err(Failed::ForNow {
                        error: self.collector.error(&answer),
                        asked: asked_wait(&answer.headers, self.clock.now()),
                    }),
                    Verdict::Refused => Err(Failed::ForGood(self.collector.error(&answer))),
                }
            },
            |error, retry| {
                self.log
                    .warn_of_retry(error.fields(SEND), retry, &error.sentence);
            },
        )
        .map_err(|error| error.into_undelivered(SEND))
    }

    /// Takes note of an event that is to be left out, unless too many are.
    fn leave_out(
        &mut self,
        batch: &Batch,
        answer: &HecAnswer,
    ) -> Result<RefusedEvent, Undelivered> {
        let event = RefusedEvent {
            data: batch.first_data().to_owned(),
            status: answer.status,
            code: answer.code(),
            answer: answer.to_string(),
        };
        self.refusals += 1;
        match self.refusals > MAX_REFUSALS {
            true => Err(self.refuses_everything(&event)),
            false => Ok(event),
        }
    }

    /// Where no event is accepted, none is left out.
    fn refuses_everything(&self, last: &RefusedEvent) -> Undelivered {
        let error = HecError {
            definite: false,
            status: Some(last.status),
            code: last.code,
            sentence: format!(
                "The event collector ({}) refuses every event, most recently with {}. The events are hardly to blame: look for a proxy or gateway that changes requests on the way",
                self.collector.base, last.answer
            ),
        };
        error.into_undelivered(SEND)
    }

    fn note_acceptance(&mut self, batch: Batch, ack: Option<u64>) {
        self.refusals = 0;
        if self.acknowledges.is_none() {
            self.announce(ack.is_some());
        }
        let proof = match ack {
            None => Proof::Done,
            Some(ack) => {
                let since = self.clock.elapsed();
                if self.under_way.is_empty() {
                    self.polling.due = since + FIRST_PAUSE;
                    self.polling.pause = FIRST_PAUSE;
                }
                Proof::Awaited { ack, since }
            }
        };
        self.under_way.push_back(Posted { batch, proof });
    }

    fn announce(&mut self, acknowledges: bool) {
        self.acknowledges = Some(acknowledges);
        let (receipt, sentence) = match acknowledges {
            true => (
                Receipt::Acknowledged,
                "The token acknowledges: a page counts as safe once the indexers have acknowledged it.",
            ),
            false => (
                Receipt::Accepted,
                "The token does not acknowledge: a page counts as safe once the event collector has accepted it.",
            ),
        };
        self.settled.receipt = receipt;
        let fields = Fields::new()
            .with("action", "hec_delivery")
            .with("acknowledged", acknowledges);
        self.log.info(&fields, sentence);
    }

    /// Reports how far everything is safe.
    fn settle(&mut self) {
        while let Some(safe) = self
            .under_way
            .pop_front_if(|posted| matches!(posted.proof, Proof::Done))
        {
            self.settled.taken = safe.batch.position;
            let _ = self.report.send(Ok(self.settled));
        }
    }

    /// Asks for the acknowledgement of the oldest batch, which all others have to wait for.
    fn poll(&mut self) -> Result<(), Undelivered> {
        let Some(Posted {
            batch: Batch { channel, .. },
            proof: Proof::Awaited { ack, since },
        }) = self.under_way.front()
        else {
            return Ok(());
        };
        let (channel, ack, since) = (*channel, *ack, *since);
        let now = self.clock.elapsed();
        let pause = self.polling.pause;
        self.polling = Polling {
            due: now + pause,
            pause: LONGEST_PAUSE.min(pause * 2),
            unanswered: None,
        };
        match self.collector.ask_for_ack(channel, ack) {
            Ok(answer) => match answer.ack_verdict(ack) {
                AckVerdict::Acknowledged => self.acknowledge(now, |other| other == channel),
                AckVerdict::Pending => {}
                AckVerdict::Disabled => {
                    // The events have been accepted; no stronger guarantee is available.
                    if self.acknowledges == Some(true) {
                        self.announce(false);
                    }
                    self.acknowledge(now, |_| true);
                }
                AckVerdict::Forgotten => {
                    return self.resend("it no longer knows the channel");
                }
                AckVerdict::Refused => {
                    let error = self.collector.error(&answer);
                    return Err(error.into_undelivered(ACKNOWLEDGE));
                }
                AckVerdict::Unclear => {
                    self.polling.unanswered = Some(format!("it answered {answer}"));
                }
            },
            Err(problem) if problem.kind.is_permanent() => {
                let error = self.collector.unreachable(&problem);
                return Err(error.into_undelivered(ACKNOWLEDGE));
            }
            Err(NetworkProblem { text, .. }) => {
                self.polling.unanswered = Some(format!("it cannot be asked: {text}"));
            }
        }
        self.settle();
        if now.saturating_sub(since) >= ACKNOWLEDGE_LIMIT && !self.under_way.is_empty() {
            let reason = self.polling.unanswered.take().unwrap_or_else(|| {
                format!(
                    "it has not acknowledged them within {} minutes",
                    ACKNOWLEDGE_LIMIT.as_secs() / 60
                )
            });
            return self.resend(&reason);
        }
        Ok(())
    }

    fn acknowledge(&mut self, now: Duration, is_safe: impl Fn(Uuid) -> bool) {
        for posted in &mut self.under_way {
            if is_safe(posted.batch.channel) {
                posted.proof = Proof::Done;
            }
        }
        self.resends = 0;
        self.polling.due = now;
        self.polling.pause = FIRST_PAUSE;
    }

    /// Sends everything again that is not acknowledged, over new channels.
    fn resend(&mut self, reason: &str) -> Result<(), Undelivered> {
        self.resends += 1;
        let sentence = format!(
            "The event collector ({}) confirms no events: {reason}. A load balancer in front of several indexers needs sticky sessions by cookie",
            self.collector.base
        );
        if self.resends > MAX_RESENDS {
            return Err(HecError::without_answer(sentence).into_undelivered(ACKNOWLEDGE));
        }
        let fields = Fields::new()
            .with("action", "resend")
            .with("batches", self.under_way.len());
        self.log
            .warn(&fields, &format!("{sentence}. The events are sent again"));
        for Posted { mut batch, proof } in std::mem::take(&mut self.under_way) {
            match proof {
                Proof::Done => self.under_way.push_back(Posted { batch, proof }),
                Proof::Awaited { .. } => {
                    batch.channel = Uuid::new_v4();
                    self.deliver(batch)?;
                }
            }
        }
        Ok(())
    }
}
