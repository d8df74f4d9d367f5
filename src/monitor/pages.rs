//! Pages, fetched one ahead by another thread: while one is being written, the next is on its way.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::delivery::Stop;
use crate::docusign::client::ApiError;
use crate::docusign::monitor_api::{Next, Page, Stream};

/// How long a wait for the next page lasts before the pipe is looked at again.
const PAGE_TICK: Duration = Duration::from_millis(10);

/// The pages of a stream.
pub(super) struct Pages {
    fetched: Receiver<Result<Next, ApiError>>,
    /// Pages that have been sent, whose memory the next ones take over.
    spent: Sender<Page>,
}

impl Pages {
    pub(super) fn fetch(mut stream: Stream) -> Result<Self> {
        // Without room in the channel, the thread holds one page and fetches no other before that one is taken.
        let (give, fetched) = sync_channel(0);
        let (spent, returned) = channel::<Page>();
        let fetching = std::thread::Builder::new().name("fetch".to_owned());
        let started = fetching.spawn(move || {
            loop {
                if let Ok(page) = returned.try_recv() {
                    stream.reuse(page.into_buffer());
                }
                let next = stream.next_page();
                let is_last = !matches!(next, Ok(Next::Page(_)));
                // Nobody takes it any more once the run has been stopped.
                if give.send(next).is_err() || is_last {
                    return;
                }
            }
        });
        started.context("could not start a thread")?;
        Ok(Self { fetched, spent })
    }

    pub(super) fn give_back(&self, page: Page) {
        // After its last page the thread is gone, and with it the need.
        let _ = self.spent.send(page);
    }

    /// What comes next in the stream; meanwhile `look_after` is called again and again, so that nothing goes unnoticed.
    pub(super) fn next(
        &self,
        mut look_after: impl FnMut() -> Result<(), Stop>,
    ) -> Result<Next, Stop> {
        loop {
            match self.fetched.recv_timeout(PAGE_TICK) {
                Ok(next) => return next.map_err(Stop::Docusign),
                Err(RecvTimeoutError::Timeout) => look_after()?,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Stop::Other(anyhow!("the fetching thread is gone")));
                }
            }
        }
    }
}
