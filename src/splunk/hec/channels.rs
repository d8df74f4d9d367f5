//! The channels of a run: few, because event collectors keep every channel that they have seen.
//!
//! An acknowledgement names its batch by channel and number alone, and the numbers begin at 0 again after a restart and
//! at every indexer behind a load balancer. So a channel carries a few batches, then rests until nothing is under way on
//! it; and once it is not certain which numbers on it belong to which batches, it is not used any more, and what waits
//! on it is sent again.

use uuid::Uuid;

/// Most batches that a channel carries before it rests. They are asked about in one question.
const MAX_BATCHES: usize = 16;

/// The channels that may be used.
pub(super) struct Channels {
    channels: Vec<Channel>,
    /// Most batches that one carries before it rests.
    most: usize,
}

struct Channel {
    id: Uuid,
    /// Batches under way on it.
    under_way: usize,
    /// Batches since nothing was under way on it.
    carried: usize,
}

impl Channels {
    pub(super) fn new() -> Self {
        Self {
            channels: Vec::new(),
            most: MAX_BATCHES,
        }
    }

    /// The channel for the next batch.
    pub(super) fn next(&mut self) -> Uuid {
        let most = self.most;
        let mut channels = self.channels.iter();
        if let Some(channel) = channels.find(|channel| channel.carried < most) {
            return channel.id;
        }
        let id = Uuid::new_v4();
        self.channels.push(Channel {
            id,
            under_way: 0,
            carried: 0,
        });
        id
    }

    /// A batch on `id` waits for its acknowledgement from now on.
    pub(super) fn add(&mut self, id: Uuid) {
        if let Some(channel) = self.channels.iter_mut().find(|it| it.id == id) {
            channel.under_way += 1;
            channel.carried += 1;
        }
    }

    /// A batch on `id` waits no longer.
    pub(super) fn remove(&mut self, id: Uuid) {
        if let Some(channel) = self.channels.iter_mut().find(|it| it.id == id) {
            channel.under_way = channel.under_way.saturating_sub(1);
            if channel.under_way == 0 {
                channel.carried = 0;
            }
        }
    }

    /// What waits on `id` is in doubt. A channel carries one batch at a time from now on, so that the next doubt costs
    /// no other batch.
    pub(super) fn abandon(&mut self, id: Uuid) {
        self.channels.retain(|channel| channel.id != id);
        self.most = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::{Channels, MAX_BATCHES};

    #[test]
    fn a_channel_is_used_again_once_nothing_is_under_way_on_it() {
        let mut channels = Channels::new();
        let first = channels.next();
        for _ in 0..MAX_BATCHES {
            assert_eq!(channels.next(), first);
            channels.add(first);
        }
        let second = channels.next();
        assert_ne!(second, first);
        channels.add(second);
        for _ in 1..MAX_BATCHES {
            channels.remove(first);
            assert_eq!(channels.next(), second);
        }
        channels.remove(first);
        assert_eq!(channels.next(), first);
    }

    #[test]
    fn after_a_doubt_a_channel_is_not_used_again_and_the_others_carry_one_batch_at_a_time() {
        let mut channels = Channels::new();
        let first = channels.next();
        channels.add(first);
        channels.abandon(first);
        let second = channels.next();
        channels.add(second);
        let third = channels.next();
        channels.add(third);
        channels.remove(second);
        assert_eq!(channels.next(), second);
        let all = std::collections::HashSet::from([first, second, third]);
        assert_eq!(all.len(), 3);
    }
}
