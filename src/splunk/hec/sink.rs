//! The event collector as a place where events go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context, Result};

use super::HecSettings;
use super::batch::{BATCH_BYTES, Batch, Envelope};
use super::courier::{Courier, News, OnRefused, Settled};
use crate::base::clock::Clock;
use crate::splunk::event::{
    CHECK_INTERVAL, Event, EventSink, Progress, Receipt, STALL_WARNING, Stall, Undelivered,
};
use crate::splunk::log::{Fields, Log};

/// Bytes that may be under way at once, which bounds the memory they take.
const MAX_BYTES_UNDER_WAY: u64 = 8 * BATCH_BYTES as u64;

/// Sends events to an event collector, and knows which of them are safe there.
pub struct HecWriter {
    envelope: Envelope,
    batch: Batch,
    batches: Sender<Batch>,
    news: Receiver<News>,
    /// As far as the news has been read.
    progress: Progress,
    stall: Stall,
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    log: Log,
}

impl HecWriter {
    /// A writer to the event collector of `settings`, which `stop` ends. `on_refused` is called for every event that is
    /// left out.
    ///
    /// # Errors
    /// The proxy, the certificates or the token cannot be used, or the system starts no thread.
    pub fn new(
        settings: &HecSettings,
        stop: Arc<AtomicBool>,
        clock: Arc<dyn Clock>,
        log: Log,
        on_refused: OnRefused,
    ) -> Result<Self> {
        let (batches, to_send) = channel();
        let (report, news) = channel();
        let courier = Courier::new(
            settings,
            report,
            Arc::clone(&clock),
            log.clone(),
            on_refused,
        )?;
        std::thread::Builder::new()
            .name("hec".to_owned())
            .spawn(move || courier.work(&to_send))
            .context("could not start a thread")?;
        Ok(Self {
            envelope: Envelope::new(settings)?,
            batch: Batch::new(),
            batches,
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
}

impl EventSink for HecWriter {
    fn write(&mut self, event: &Event<'_>) -> Result<(), Undelivered> {
        let size = event.data.len() + self.envelope.bytes();
        if self.batch.bytes() + size > BATCH_BYTES {
            self.flush()?;
        }
        self.batch.push(event, &self.envelope);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Undelivered> {
        if self.batch.is_empty() {
            return Ok(());
        }
        while self.progress.sent - self.progress.taken >= MAX_BYTES_UNDER_WAY {
            self.wait(CHECK_INTERVAL)?;
        }
        let mut batch = std::mem::replace(&mut self.batch, Batch::new());
        self.progress.sent += batch.bytes() as u64;
        batch.position = self.progress.sent;
        // The courier ends only after it has reported an error, which the next check finds.
        let _ = self.batches.send(batch);
        Ok(())
    }

    fn progress(&self) -> Progress {
        self.progress
    }

    /// One batch may be under way.
    fn has_room(&self, unsaved: u64, events: usize, data_bytes: usize) -> bool {
        let envelopes = events * self.envelope.bytes();
        unsaved + (data_bytes + envelopes) as u64 <= BATCH_BYTES as u64
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
