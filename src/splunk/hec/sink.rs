//! The event collector as a place where events go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};

use super::batch::{BATCH_BYTES, Batch, Envelope};
use super::collector::Collector;
use super::courier::{Consignment, Courier, News, OnRefused, Settled};
use crate::base::clock::Clock;
use crate::splunk::event::{
    CHECK_INTERVAL, Event, EventSink, Progress, Receipt, STALL_WARNING, Stall, Undelivered,
};
use crate::splunk::log::{Failure, Fields, Log};

/// Bytes of events that may wait for their acknowledgements at once. They are held compressed, in about an eighth of
/// the memory.
const MAX_BYTES_UNDER_WAY: u64 = 64 * 1024 * 1024;

/// Sends events to an event collector, and knows which of them are safe there.
pub struct HecWriter {
    envelope: Envelope,
    /// Events with a time, and those without.
    timed: Batch,
    untimed: Batch,
    consignments: Sender<Consignment>,
    news: Receiver<News>,
    /// As far as the news has been read.
    progress: Progress,
    stall: Stall,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    log: Log,
}

impl HecWriter {
    /// A writer to `collector`, which `stop` ends. `on_refused` is called for every event that is left out.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn new(
        collector: &Collector,
        stop: Arc<AtomicBool>,
        clock: Arc<dyn Clock>,
        log: Log,
        on_refused: OnRefused,
    ) -> Result<Self> {
        let (consignments, to_send) = channel();
        let (report, news) = channel();
        let courier = Courier::new(
            collector.clone(),
            report,
            Arc::clone(&clock),
            log.clone(),
            on_refused,
        );
        std::thread::Builder::new()
            .name("hec".to_owned())
            .spawn(move || courier.work(&to_send))
            .context("could not start a thread")?;
        Ok(Self {
            envelope: Envelope::new(&collector.settings)?,
            timed: Batch::default(),
            untimed: Batch::default(),
            consignments,
            news,
            progress: Progress {
                sent: 0,
                taken: 0,
                refused: 0,
                receipt: Receipt::Accepted,
            },
            stall: Stall::new(clock.elapsed()),
            stop,
            clock,
            log,
        })
    }

    /// Waits for news from the courier, but not longer than `at_most`.
    fn wait(&mut self, at_most: Duration) -> Result<(), Undelivered> {
        match self.news.recv_timeout(at_most) {
            Ok(news) => self.take_in(news),
            Err(RecvTimeoutError::Timeout) => self.check(),
            // The courier ends only after it has reported why.
            Err(RecvTimeoutError::Disconnected) => Err(Undelivered::Stopped),
        }
    }

    fn take_in(&mut self, news: News) -> Result<(), Undelivered> {
        let Settled {
            taken,
            refused,
            receipt,
        } = news?;
        self.progress = Progress {
            taken,
            refused,
            receipt,
            ..self.progress
        };
        Ok(())
    }

    /// Sends off a batch that is complete.
    fn send(&mut self, batch: Batch) -> Result<(), Undelivered> {
        if batch.is_empty() {
            return Ok(());
        }
        while self.progress.sent - self.progress.taken >= MAX_BYTES_UNDER_WAY {
            self.wait(CHECK_INTERVAL)?;
        }
        self.progress.sent += batch.bytes() as u64;
        let batch = batch.pack().map_err(|error| {
            Undelivered::Refused(Failure::of("send", &anyhow::Error::from(error)))
        })?;
        // The courier ends only after it has reported an error, which the next check finds.
        let _ = self.consignments.send(Consignment {
            batch,
            position: self.progress.sent,
        });
        Ok(())
    }
}

impl EventSink for HecWriter {
    fn write(&mut self, event: &Event<'_>) -> Result<(), Undelivered> {
        let size = event.data.len() + self.envelope.bytes();
        let batch = match event.time {
            Some(_) => &mut self.timed,
            None => &mut self.untimed,
        };
        let full = (batch.bytes() + size > BATCH_BYTES).then(|| std::mem::take(batch));
        batch.push(event, &self.envelope);
        match full {
            Some(full) => self.send(full),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), Undelivered> {
        for batch in [
            std::mem::take(&mut self.untimed),
            std::mem::take(&mut self.timed),
        ] {
            self.send(batch)?;
        }
        Ok(())
    }

    fn progress(&self) -> Progress {
        self.progress
    }

    /// What waits for its acknowledgement must not hold up the rest. What is only accepted waits for nothing, so one
    /// batch may be under way.
    fn has_room(&self, unsaved: u64, events: usize, data_bytes: usize) -> bool {
        let most = match self.progress.receipt {
            Receipt::Acknowledged => MAX_BYTES_UNDER_WAY,
            _ => BATCH_BYTES as u64,
        };
        let envelopes = events * self.envelope.bytes();
        unsaved + (data_bytes + envelopes) as u64 <= most
    }

    fn check(&mut self) -> Result<(), Undelivered> {
        while let Ok(news) = self.news.try_recv() {
            self.take_in(news)?;
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(Undelivered::Stopped);
        }
        if self.stall.is_due(self.progress, self.clock.elapsed()) {
            let Progress { sent, taken, .. } = self.progress;
            let fields = Fields::new()
                .with("action", "wait_for_splunk")
                .with("unconfirmed_bytes", sent - taken);
            let sentence = format!(
                "The event collector has confirmed nothing for {} seconds; its queues may be full. The input waits, and nothing is lost.",
                STALL_WARNING.as_secs()
            );
            self.log.warn(&fields, &sentence);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Undelivered> {
        self.flush()
    }
}
