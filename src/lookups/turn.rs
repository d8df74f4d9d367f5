//! Whose turn a refresh is, where several members have the input: the one that gets the lease, by the same log in the
//! KV store as that of a position.

use std::sync::Arc;

use anyhow::Result;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::monitor::position_store::{Place, leave};
use crate::splunk::Session;
use crate::splunk::checkpoint::State;
use crate::splunk::lease::{Keeper, Loss, Newest, Standing};
use crate::splunk::log::{Failure, Fields, Log};
use crate::splunk::rest::Rest;

/// Members start the same schedule at slightly different times. A refresh of another one that ended so recently is this
/// one, too.
const SAME_REFRESH: TimeDelta = TimeDelta::hours(1);

/// What to do about a document that cannot be understood.
const DOCUMENT_LOST: &str = "Make a new input, which has documents of its own";

/// What the log says of a refresh.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Refreshing {
    state: State,
}

/// The right to refresh. Where positions are in files, nobody else has it.
pub(super) struct Turn(Option<Keeper<Refreshing>>);

impl Turn {
    /// Takes the turn; `None` if it is another member's, or that one has just had it.
    ///
    /// # Errors
    /// The KV store does not answer.
    pub(super) fn take(
        place: &Place,
        input: &str,
        splunkd: &Rest,
        session: &Session,
        log: &Log,
    ) -> Result<Option<Self>> {
        let Some(mut shared) = place.shared_log(input, splunkd, &session.clock) else {
            return Ok(Some(Self(None)));
        };
        let now = session.clock.now();
        let newest: Option<Newest<Refreshing>> = shared.read(DOCUMENT_LOST)?;
        if let Some(newest) = newest {
            let is_others = newest.holder.member != shared.member();
            let has_been = match newest.standing(shared.member(), now) {
                Standing::Held => true,
                Standing::Free => is_others && now - newest.saved.at < SAME_REFRESH,
                Standing::CutOff => false,
            };
            if has_been {
                leave(Loss::Taken(Some(newest.holder)), log)?;
                return Ok(None);
            }
        }
        let refreshing = Refreshing { state: State::Open };
        if let Err(loss) = shared.begin(&refreshing) {
            leave(loss, log)?;
            return Ok(None);
        }
        let keeper = Keeper::start(shared, refreshing, Arc::clone(&session.stop))?;
        Ok(Some(Self(Some(keeper))))
    }

    /// Ends the turn after a refresh with this result. One that has failed is left to the next run of any member.
    ///
    /// # Errors
    /// Those of the refresh, unless it ended because another member has taken over.
    pub(super) fn end(self, refreshed: Result<()>, log: &Log) -> Result<()> {
        let Some(keeper) = self.0 else {
            return refreshed;
        };
        let kept = match refreshed {
            Ok(()) => keeper.end(Refreshing {
                state: State::Closed,
            }),
            Err(_) => keeper.check(),
        };
        let fields = Fields::new().with("action", "lose_lease");
        match kept {
            Ok(()) => refreshed,
            Err(Loss::Unanswered(error)) => refreshed.and(Err(Failure::temporary(
                fields,
                &format!("The refresh could not be noted: {error}"),
            )
            .into())),
            Err(loss) => {
                log.warn(
                    &fields,
                    &format!("{loss}. The refresh is that member's now; this one exits."),
                );
                Ok(())
            }
        }
    }
}
