//! The thread that sends: batches in order, each until it is safe.
//!
//! The sink hears from it over one channel: how far everything is settled, and at last why it ended. Many batches may
//! wait for their acknowledgements at once; positions are settled strictly in order.
//!
//! An event that Splunk refuses is left out, but a refusal alone proves little: event collectors that are overloaded
//! refuse good events in the same words. So it is left out only if it has been refused alone three times, with waits
//! between and another event accepted after the first, and if nothing that was refused in this run was accepted later.
//! Otherwise the run ends with an error, and the position stays.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::Duration;

use anyhow::Result;
use uuid::Uuid;

use super::batch::Packed;
use super::channels::Channels;
use super::collector::{AckVerdict, Collector, HecAnswer, HecError, Verdict};
use crate::base::clock::Clock;
use crate::base::http::{NetworkProblem, ProblemKind};
use crate::base::retry::{Failed, asked_wait, repeat};
use crate::splunk::event::{Receipt, Undelivered};
use crate::splunk::log::{Failure, Fields, Log};

/// How long the indexers may take to acknowledge a batch before it is sent again.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_secs(300);

/// First pause between two questions about a batch: an idle indexer answers the first or second.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// So much longer is each pause than the one before. Two seconds, as busy indexers take, cost four questions.
const PAUSE_FACTOR: u32 = 4;

/// Longest pause between two such questions, as Splunk's manual recommends.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The first question about a batch waits for as long as others took, but not longer than this.
const LONGEST_EXPECTATION: Duration = Duration::from_secs(5);

/// After an answer that leaves nothing to wait for, the next expectation is shorter by this part.
const EXPECTATION_STEP: u32 = 16;

/// After so many questions about the oldest batch on a channel the others are asked about with it again: perhaps its
/// acknowledgement alone is lost.
const ASKED_ALONE: u32 = 5;

/// How long a batch that arrives between two such questions may have to wait.
const TICK: Duration = Duration::from_millis(10);

/// How often in a row batches are sent again because their acknowledgements are missing.
const MAX_RESENDS: u32 = 3;

/// After so many attempts without an answer a batch is halved: it may be larger than the server can take.
const MAX_UNANSWERED: u32 = 3;

/// No batch is made smaller than this beforehand: a server that does not answer for a while seems to take nothing.
const SMALLEST_LIMIT: usize = 64 * 1024;

/// After so many answers in a row that no event collector gives, the run ends: the events may have been accepted each
/// time.
const MAX_UNCLEAR: u32 = 2;

/// More refused events than this in a row, with none accepted between them, are not the fault of the events.
const MAX_REFUSALS: u32 = 20;

/// An event that has been refused alone so often is left out.
const REFUSALS_OF_A_BAD_EVENT: u32 = 3;

/// How often an event is sent alone where refusals prove nothing.
const MAX_REFUSALS_OF_ONE: u32 = 6;

/// The wait before a refused event is sent again; the next one is longer by as much.
const REFUSED_PAUSE: Duration = Duration::from_secs(2);

/// How long a refused event waits for another event to be accepted.
const WITNESS_LIMIT: Duration = Duration::from_secs(10);

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

/// A batch of the sink's.
pub(super) struct Consignment {
    pub(super) batch: Packed,
    /// The position of the sink after its last event.
    pub(super) position: u64,
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

/// A consignment that is not settled.
struct Open {
    position: u64,
    /// How many of its pieces are neither safe nor left out.
    pieces: usize,
}

/// A consignment, or a part of one that was cut.
struct Piece {
    /// The number of its consignment.
    of: u64,
    batch: Packed,
}

/// How the event collector received a batch.
enum Reception {
    /// It has accepted the batch, and will acknowledge it under this id if the token acknowledges.
    Accepted { channel: Uuid, ack: Option<u64> },
    /// It objects to the contents: to this event, if it says which.
    Objected {
        bad: Option<usize>,
        answer: Box<HecAnswer>,
    },
    /// It does not answer when it gets a batch of this size.
    Unanswered,
}

/// A piece that waits for its acknowledgement.
struct Awaited {
    piece: Piece,
    channel: Uuid,
    ack: u64,
    since: Duration,
    /// How often it was asked about, and the time of the last question.
    asked: u32,
    last_asked: Duration,
}

/// An event that was refused when it was sent alone.
struct Suspect {
    piece: Piece,
    answer: Box<HecAnswer>,
    refusals: u32,
    /// How many batches had been accepted when it was refused first, and when that was.
    accepted_before: u64,
    since: Duration,
    /// When to send it again.
    due: Duration,
}

/// When to ask for acknowledgements.
struct Polling {
    /// The time of the last question.
    last: Duration,
    /// The pause after it, which grows while no question is answered.
    pause: Duration,
    /// How long a batch is waited for before the first question about it: somewhat less than others took.
    expected: Duration,
    /// Why the last question was not answered.
    unanswered: Option<String>,
    /// Whether that was an answer that no event collector gives.
    unclear: Option<HecError>,
}

/// The sending thread's state.
pub(super) struct Courier {
    collector: Collector,
    report: Sender<News>,
    clock: Arc<dyn Clock>,
    log: Log,
    on_refused: OnRefused,
    channels: Channels,
    /// Consignments that are not settled, the first of them with this number.
    open: VecDeque<Open>,
    first_open: u64,
    /// What is to be sent next, the last one first.
    to_send: Vec<Piece>,
    awaited: Vec<Awaited>,
    suspects: Vec<Suspect>,
    settled: Settled,
    /// Whether the token acknowledges, once an event of this run has been accepted.
    acknowledges: Option<bool>,
    polling: Polling,
    /// How often in a row batches have been sent again.
    resends: u32,
    /// Batches that have been accepted.
    accepted: u64,
    /// Events that were refused since a batch was accepted.
    refusals: u32,
    /// Whether an event was accepted that had been refused, so that refusals say nothing about events.
    refuses_good_events: bool,
    /// Most bytes of a batch, unpacked, once a larger one was too large for the server.
    most_bytes: usize,
}

impl Courier {
    pub(super) fn new(
        collector: Collector,
        report: Sender<News>,
        clock: Arc<dyn Clock>,
        log: Log,
        on_refused: OnRefused,
    ) -> Self {
        Self {
            collector,
            report,
            clock,
            log,
            on_refused,
            channels: Channels::new(),
            open: VecDeque::new(),
            first_open: 0,
            to_send: Vec::new(),
            awaited: Vec::new(),
            suspects: Vec::new(),
            settled: Settled {
                taken: 0,
                refused: 0,
                receipt: Receipt::Accepted,
            },
            acknowledges: None,
            polling: Polling {
                last: Duration::ZERO,
                pause: FIRST_PAUSE,
                expected: FIRST_PAUSE,
                unanswered: None,
                unclear: None,
            },
            resends: 0,
            accepted: 0,
            refusals: 0,
            refuses_good_events: false,
            most_bytes: usize::MAX,
        }
    }

    /// Sends what arrives, and asks for acknowledgements, until the first error or the end of the run.
    pub(super) fn work(mut self, consignments: &Receiver<Consignment>) {
        loop {
            let now = self.clock.elapsed();
            let done = if self.suspects.iter().any(|suspect| suspect.due <= now) {
                self.examine()
            } else if let Some((due, channel)) = self.next_question()
                && due <= now
            {
                self.poll(channel)
            } else {
                let next = if self.awaited.is_empty() && self.suspects.is_empty() {
                    consignments.recv().map_err(|_| TryRecvError::Disconnected)
                } else {
                    consignments.try_recv()
                };
                match next {
                    Ok(consignment) => self.deliver(consignment),
                    Err(TryRecvError::Disconnected) => return,
                    Err(TryRecvError::Empty) => {
                        self.clock.sleep(TICK);
                        continue;
                    }
                }
            };
            if let Err(undelivered) = done {
                // Nobody listens any more when the run has been stopped.
                let _ = self.report.send(Err(undelivered));
                return;
            }
        }
    }

    fn deliver(&mut self, consignment: Consignment) -> Result<(), Undelivered> {
        let Consignment { batch, position } = consignment;
        let of = self.first_open + self.open.len() as u64;
        self.open.push_back(Open {
            position,
            pieces: 1,
        });
        self.to_send.push(Piece { of, batch });
        self.send_all()
    }

    /// Sends everything there is to send. Events that are refused become suspects.
    fn send_all(&mut self) -> Result<(), Undelivered> {
        while let Some(piece) = self.to_send.pop() {
            let is_single = piece.batch.len() == 1;
            if piece.batch.bytes() > self.most_bytes && !is_single {
                self.halve(&piece)?;
                continue;
            }
            match self.send(&piece.batch)? {
                Reception::Accepted { channel, ack } => self.note_acceptance(piece, channel, ack),
                Reception::Objected { answer, .. } if is_single => self.suspect(piece, answer)?,
                Reception::Objected { bad, answer } if answer.verdict() != Verdict::TooLarge => {
                    // The number in a refusal, and what it says about the events before, is only a hint where to cut:
                    // event collectors differ in both.
                    let is_last = self.to_send.is_empty();
                    self.cut(&piece, bad, is_last)?;
                }
                Reception::Objected { .. } | Reception::Unanswered => {
                    let half = (piece.batch.bytes() / 2).max(SMALLEST_LIMIT);
                    self.most_bytes = self.most_bytes.min(half);
                    self.halve(&piece)?;
                }
            }
        }
        self.settle();
        Ok(())
    }

    fn halve(&mut self, piece: &Piece) -> Result<(), Undelivered> {
        self.cut(piece, None, false)
    }

    fn cut(&mut self, piece: &Piece, bad: Option<usize>, is_last: bool) -> Result<(), Undelivered> {
        let parts = piece.batch.cut(bad, is_last).map_err(not_packed)?;
        if let Some(open) = self.open_of(piece.of) {
            open.pieces += parts.len();
        }
        self.done(piece.of);
        let of = piece.of;
        let parts = parts.into_iter().rev().map(|batch| Piece { of, batch });
        self.to_send.extend(parts);
        Ok(())
    }

    fn open_of(&mut self, number: u64) -> Option<&mut Open> {
        let index = usize::try_from(number.checked_sub(self.first_open)?).ok()?;
        self.open.get_mut(index)
    }

    /// A piece of this consignment needs nothing more.
    fn done(&mut self, of: u64) {
        if let Some(open) = self.open_of(of) {
            open.pieces = open.pieces.saturating_sub(1);
        }
    }

    /// Makes a request until the event collector accepts it or objects to its contents, or until patience runs out.
    fn send(&mut self, batch: &Packed) -> Result<Reception, Undelivered> {
        let (mut unanswered, mut unclear) = (0, 0);
        let mut doubtful = Vec::new();
        let (collector, clock, log) = (&self.collector, &self.clock, &self.log);
        let channels = &mut self.channels;
        let received = repeat(
            collector.patience(),
            &**clock,
            || {
                let channel = channels.next();
                // Whatever may have been accepted without a word has a number on this channel that nobody knows.
                let mut doubt = || {
                    channels.abandon(channel);
                    doubtful.push(channel);
                };
                let answer = match collector.send(batch, channel) {
                    Ok(answer) => answer,
                    Err(problem) => {
                        let error = collector.unreachable(&problem);
                        if problem.kind.is_permanent() {
                            return Err(Failed::ForGood(error));
                        }
                        if problem.kind == ProblemKind::NoAnswer {
                            doubt();
                            unanswered += 1;
                            if unanswered >= MAX_UNANSWERED && batch.len() > 1 {
                                return Ok(Reception::Unanswered);
                            }
                        }
                        return Err(Failed::for_now(error));
                    }
                };
                let verdict = answer.verdict();
                if verdict != Verdict::Accepted && !answer.is_untouched() {
                    doubt();
                }
                match verdict {
                    Verdict::Accepted => Ok(Reception::Accepted {
                        channel,
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
                        error: collector.error(&answer),
                        asked: asked_wait(&answer.headers, clock.now()),
                    }),
                    Verdict::Unclear => {
                        unclear += 1;
                        let error = collector.error(&answer);
                        Err(match unclear >= MAX_UNCLEAR {
                            true => Failed::ForGood(error),
                            false => Failed::for_now(error),
                        })
                    }
                    Verdict::Refused => Err(Failed::ForGood(collector.error(&answer))),
                }
            },
            |error, retry| {
                log.warn_of_retry(error.fields(SEND), retry, &error.sentence);
            },
        );
        for channel in doubtful {
            self.send_again(channel);
        }
        received.map_err(|error| error.into_undelivered(SEND))
    }

    /// What waits on a channel that is in doubt is to be sent again: an acknowledgement there could be another batch's.
    fn send_again(&mut self, channel: Uuid) {
        self.channels.abandon(channel);
        let on_it = |awaited: &mut Awaited| awaited.channel == channel;
        let pieces: Vec<_> = self.awaited.extract_if(.., on_it).collect();
        let pieces = pieces.into_iter().rev().map(|awaited| awaited.piece);
        self.to_send.extend(pieces);
    }

    fn note_acceptance(&mut self, piece: Piece, channel: Uuid, ack: Option<u64>) {
        self.accepted += 1;
        self.refusals = 0;
        if self.acknowledges.is_none() {
            self.announce(ack.is_some());
        }
        let Some(ack) = ack else {
            return self.done(piece.of);
        };
        let is_same = |awaited: &Awaited| awaited.channel == channel && awaited.ack == ack;
        if self.awaited.iter().any(is_same) {
            let on_it = self.awaited.iter().filter(|it| it.channel == channel);
            let sentence = format!(
                "The event collector ({}) numbers acknowledgements anew: an indexer was started again, or a load balancer in front of several indexers lacks sticky sessions by cookie",
                self.collector.base
            );
            self.warn_of_resend(on_it.count() + 1, &sentence);
            self.to_send.push(piece);
            return self.send_again(channel);
        }
        self.channels.add(channel);
        let now = self.clock.elapsed();
        self.awaited.push(Awaited {
            piece,
            channel,
            ack,
            since: now,
            asked: 0,
            last_asked: now,
        });
    }

    /// Takes note of an event that was refused alone, unless too many were.
    fn suspect(&mut self, piece: Piece, answer: Box<HecAnswer>) -> Result<(), Undelivered> {
        self.refusals += 1;
        if self.refusals > MAX_REFUSALS {
            return Err(self.refuses_everything(&answer));
        }
        let now = self.clock.elapsed();
        self.suspects.push(Suspect {
            piece,
            answer,
            refusals: 1,
            accepted_before: self.accepted,
            since: now,
            due: now + REFUSED_PAUSE,
        });
        Ok(())
    }

    /// Sends the suspects again, each alone, and leaves out those that are refused again and again.
    fn examine(&mut self) -> Result<(), Undelivered> {
        for mut suspect in std::mem::take(&mut self.suspects) {
            let now = self.clock.elapsed();
            let has_witness = self.accepted > suspect.accepted_before;
            if !has_witness && now.saturating_sub(suspect.since) >= WITNESS_LIMIT {
                return Err(self.refuses_everything(&suspect.answer));
            }
            if !has_witness || now < suspect.due {
                if suspect.due <= now {
                    suspect.due = now + TICK;
                }
                self.suspects.push(suspect);
                continue;
            }
            match self.send(&suspect.piece.batch)? {
                Reception::Accepted { channel, ack } => {
                    self.refuses_good_events = true;
                    self.note_acceptance(suspect.piece, channel, ack);
                }
                Reception::Objected { answer, .. } => {
                    suspect.answer = answer;
                    suspect.refusals += 1;
                    suspect.due = self.clock.elapsed() + REFUSED_PAUSE * suspect.refusals;
                    self.suspects.push(suspect);
                }
                Reception::Unanswered => self.suspects.push(suspect),
            }
        }
        // Decided when all have been sent again, because what is accepted now speaks for the others.
        if self.refuses_good_events {
            let mut suspects = self.suspects.iter();
            if let Some(last) = suspects.find(|it| it.refusals >= MAX_REFUSALS_OF_ONE) {
                return Err(self.refuses_good_events(&last.answer));
            }
        } else {
            let is_bad = |suspect: &mut Suspect| suspect.refusals >= REFUSALS_OF_A_BAD_EVENT;
            let bad: Vec<_> = self.suspects.extract_if(.., is_bad).collect();
            for suspect in bad {
                self.leave_out(&suspect)?;
            }
        }
        self.send_all()
    }

    fn leave_out(&mut self, suspect: &Suspect) -> Result<(), Undelivered> {
        let Suspect { piece, answer, .. } = suspect;
        (self.on_refused)(&RefusedEvent {
            data: piece.batch.first_data().map_err(not_packed)?,
            status: answer.status,
            code: answer.code(),
            answer: answer.to_string(),
        });
        self.settled.refused += 1;
        self.done(piece.of);
        Ok(())
    }

    /// Where no event is accepted, none is left out.
    fn refuses_everything(&self, last: &HecAnswer) -> Undelivered {
        self.distrust(last, "refuses every event, most recently with")
    }

    /// Where what was refused is accepted later, none is left out either.
    fn refuses_good_events(&self, last: &HecAnswer) -> Undelivered {
        self.distrust(
            last,
            "refuses events that it accepts at other times; it may be overloaded. Most recently it answered",
        )
    }

    fn distrust(&self, last: &HecAnswer, what: &str) -> Undelivered {
        let error = HecError {
            definite: false,
            status: Some(last.status),
            code: last.code(),
            sentence: format!(
                "The event collector ({}) {what} {last}. The events are hardly to blame, so none is left out: check its queues and memory, and look for a proxy or gateway that changes requests on the way",
                self.collector.base
            ),
        };
        error.into_undelivered(SEND)
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
        // The sink sends more at once where acknowledgements take their time.
        let _ = self.report.send(Ok(self.settled));
    }

    /// Reports how far everything is safe.
    fn settle(&mut self) {
        while let Some(safe) = self.open.pop_front_if(|open| open.pieces == 0) {
            self.first_open += 1;
            self.settled.taken = safe.position;
            let _ = self.report.send(Ok(self.settled));
        }
    }

    /// When to ask about the oldest piece on a channel next. The more pieces wait, the sooner: together all are asked
    /// about as often as one alone.
    fn due(&self, oldest: &Awaited) -> Duration {
        if oldest.asked == 0 {
            return oldest.since + self.polling.expected;
        }
        let pause = FIRST_PAUSE.saturating_mul(PAUSE_FACTOR.saturating_pow(oldest.asked));
        let waiting = u32::try_from(self.awaited.len()).unwrap_or(u32::MAX).max(1);
        oldest.last_asked + (pause.min(LONGEST_PAUSE) / waiting).max(FIRST_PAUSE)
    }

    /// The channel to ask about next, and when.
    fn next_question(&self) -> Option<(Duration, Uuid)> {
        let mut seen = Vec::new();
        let oldest = self.awaited.iter().filter(|awaited| {
            let is_first = !seen.contains(&awaited.channel);
            seen.push(awaited.channel);
            is_first
        });
        let (due, channel) = oldest.map(|it| (self.due(it), it.channel)).min()?;
        Some((due.max(self.polling.last + self.polling.pause), channel))
    }

    /// Asks about the oldest batch on a channel, and with it about all others that may be safe too. As long as that one
    /// is not, they will hardly be.
    fn poll(&mut self, channel: Uuid) -> Result<(), Undelivered> {
        let now = self.clock.elapsed();
        let expected = self.polling.expected;
        let mut on_it = self.awaited.iter().filter(|it| it.channel == channel);
        let Some(oldest) = on_it.next() else {
            return Ok(());
        };
        let alone = (1..ASKED_ALONE).contains(&oldest.asked);
        let others = on_it.filter(|it| !alone && now.saturating_sub(it.since) >= expected);
        let acks: Vec<_> = std::iter::once(oldest)
            .chain(others)
            .map(|it| it.ack)
            .collect();
        let polling = &mut self.polling;
        polling.last = now;
        polling.pause = LONGEST_PAUSE.min(polling.pause * 2);
        polling.unanswered = None;
        polling.unclear = None;
        match self.collector.ask_for_acks(channel, &acks) {
            Ok(answer) => match answer.ack_verdict() {
                AckVerdict::Told => self.hear(channel, &acks, &answer, now),
                AckVerdict::Disabled => {
                    // The events have been accepted; no stronger guarantee is available.
                    if self.acknowledges == Some(true) {
                        self.announce(false);
                    }
                    for awaited in std::mem::take(&mut self.awaited) {
                        self.acknowledged(&awaited);
                    }
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
                    if (200..=299).contains(&answer.status) {
                        self.polling.unclear = Some(self.collector.unclear(&answer));
                    }
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
        let mut awaited = self.awaited.iter();
        if awaited.any(|it| now.saturating_sub(it.since) >= ACKNOWLEDGE_LIMIT) {
            // Who answers like this would get the events again and again.
            if let Some(error) = self.polling.unclear.take() {
                return Err(error.into_undelivered(ACKNOWLEDGE));
            }
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

    /// Takes in what an answer says about the batches that were asked about.
    fn hear(&mut self, channel: Uuid, acks: &[u64], answer: &HecAnswer, now: Duration) {
        let is_asked = |it: &Awaited| it.channel == channel && acks.contains(&it.ack);
        for awaited in self.awaited.iter_mut().filter(|it| is_asked(it)) {
            awaited.asked = awaited.asked.saturating_add(1);
            awaited.last_asked = now;
        }
        self.polling.pause = FIRST_PAUSE;
        let is_safe = |it: &mut Awaited| is_asked(it) && answer.acknowledges(it.ack);
        let safe: Vec<_> = self.awaited.extract_if(.., is_safe).collect();
        // The next batches will take longer than one that still waits, or perhaps less than these took.
        let waiting = self.awaited.iter().filter(|it| is_asked(it));
        let longest = waiting.map(|it| now.saturating_sub(it.since)).max();
        let expected = &mut self.polling.expected;
        *expected = match longest {
            Some(longest) => longest.max(*expected).min(LONGEST_EXPECTATION),
            None => *expected - *expected / EXPECTATION_STEP,
        };
        if !safe.is_empty() {
            let on_it = |it: &&mut Awaited| it.channel == channel;
            self.awaited
                .iter_mut()
                .filter(on_it)
                .for_each(|it| it.asked = 0);
        }
        for awaited in safe {
            self.acknowledged(&awaited);
        }
    }

    fn acknowledged(&mut self, awaited: &Awaited) {
        self.channels.remove(awaited.channel);
        self.done(awaited.piece.of);
        self.resends = 0;
    }

    /// Logs that so many batches are sent again, and why.
    fn warn_of_resend(&self, batches: usize, reason: &str) {
        let fields = Fields::new()
            .with("action", "resend")
            .with("batches", batches);
        self.log
            .warn(&fields, &format!("{reason}. The events are sent again"));
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
        self.warn_of_resend(self.awaited.len(), &sentence);
        for awaited in std::mem::take(&mut self.awaited).into_iter().rev() {
            self.channels.abandon(awaited.channel);
            self.to_send.push(awaited.piece);
        }
        self.send_all()
    }
}

fn not_packed(error: io::Error) -> Undelivered {
    Undelivered::Refused(Failure::of(SEND, &error.into()))
}
