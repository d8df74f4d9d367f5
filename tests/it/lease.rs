use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use ds_monitor::base::clock::{Clock, SystemClock};
use ds_monitor::base::secret::Secret;
use ds_monitor::splunk::checkpoint::State;
use ds_monitor::splunk::kv_store::Collection;
use ds_monitor::splunk::lease::{APPEND_EVERY, Keeper, LEASE, Loss, SharedLog, Standing};
use ds_monitor::splunk::rest::Rest;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::properties::{Random, with_random};
use support::input::DEADLINE;
use support::kv_store::{KvStore, Outage};
use support::splunkd::{SESSION_KEY, Splunkd};

const INPUT: &str = "ds_monitor://prod";

/// The most that the clocks of two members may differ by, in seconds.
const MAX_SKEW: i64 = 10;

/// How long nobody may collect after a run has died, in seconds.
const TAKEOVER: i64 = 90;

/// Records of a page.
const PAGE: usize = 3;

/// A clock that passes when the test says so, and shows the time of one member.
#[derive(Clone, Default)]
struct Hands {
    /// Seconds since the start, for all.
    passed: Arc<AtomicI64>,
    /// How far this member is ahead.
    ahead: i64,
}

impl Hands {
    fn seconds(&self) -> i64 {
        self.passed.load(Ordering::SeqCst)
    }

    fn pass(&self, seconds: i64) {
        self.passed.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + self.seconds() + self.ahead, 0).unwrap()
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.seconds()).unwrap())
    }

    fn sleep(&self, _: Duration) {
        SystemClock::new().sleep(Duration::from_millis(1));
    }
}

/// What a log of the tests holds: a position that is a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    state: State,
    cursor: usize,
    before: usize,
}

impl Place {
    fn open(cursor: usize, before: usize) -> Self {
        Self {
            state: State::Open,
            cursor,
            before,
        }
    }

    fn closed(cursor: usize) -> Self {
        Self {
            state: State::Closed,
            cursor,
            before: cursor,
        }
    }
}

/// An instance that may run the input.
struct Member {
    splunkd: Splunkd,
    guid: String,
    clock: Hands,
}

impl Member {
    fn new(n: usize, kv_store: &KvStore, clock: &Hands, ahead: i64) -> Self {
        let guid = format!("{n:08}-0000-4000-8000-000000000000");
        Self {
            splunkd: Splunkd::member(&guid, kv_store),
            guid,
            clock: Hands {
                ahead,
                ..clock.clone()
            },
        }
    }

    fn log(&self) -> SharedLog {
        let splunkd = Rest::new(&self.splunkd.url(), Secret::new(SESSION_KEY.to_owned()));
        let collection = Collection::new(splunkd, "ds_monitor", "ds_monitor_positions");
        SharedLog::new(collection, INPUT, &self.guid, Arc::new(self.clock.clone()))
    }

    /// Begins a run where the log says, if it is this member's turn.
    fn begin(&self) -> Option<(SharedLog, Place)> {
        let mut log = self.log();
        let newest = log.read::<Place>("").ok()?;
        let start = match &newest {
            None => 0,
            Some(newest) => match newest.standing(&self.guid, self.clock.now()) {
                Standing::Held => return None,
                Standing::CutOff => newest.saved.checkpoint.before,
                Standing::Free => newest.saved.checkpoint.cursor,
            },
        };
        let place = Place::open(start, start);
        log.begin(&place).ok()?;
        Some((log, place))
    }
}

#[test]
fn a_dead_runs_lease_is_taken_over_within_the_time_that_is_promised() {
    for (first, second) in [(0, 0), (MAX_SKEW, 0), (0, MAX_SKEW)] {
        let (kv_store, clock) = (KvStore::default(), Hands::default());
        let dead = Member::new(1, &kv_store, &clock, first);
        let other = Member::new(2, &kv_store, &clock, second);
        let (log, _) = dead.begin().unwrap();
        let died = clock.seconds();
        while other.begin().is_none() {
            clock.pass(1);
        }
        assert!(!log.holds(), "two leases at once");
        let waited = clock.seconds() - died;
        let least = i64::try_from(LEASE.as_secs()).unwrap();
        assert!((least..TAKEOVER).contains(&waited), "{waited} s");
    }
}

#[test]
fn a_number_that_has_become_free_again_is_not_inserted_by_a_run_that_was_frozen() {
    let (kv_store, clock) = (KvStore::default(), Hands::default());
    let frozen = Member::new(1, &kv_store, &clock, 0);
    let other = Member::new(2, &kv_store, &clock, 0);
    let (mut log, place) = frozen.begin().unwrap();
    for pause in [100, 1, 1, 7200] {
        clock.pass(pause);
        let (mut log, place) = other.begin().unwrap();
        log.end(&Place::closed(place.cursor + PAGE)).unwrap();
    }
    let before = kv_store.documents();
    let numbers: Vec<_> = before.iter().map(|it| it["_key"].clone()).collect();
    assert_eq!(numbers.len(), 3, "{numbers:?}");
    assert!(!numbers[0].as_str().unwrap().ends_with("#0000000002"));
    assert_eq!(log.append(&place), Err(Loss::Expired));
    assert_eq!(log.end(&Place::closed(9)), Err(Loss::Expired));
    assert_eq!(kv_store.documents(), before);
}

#[test]
fn a_log_that_was_read_long_ago_is_not_begun() {
    let (kv_store, clock) = (KvStore::default(), Hands::default());
    let member = Member::new(1, &kv_store, &clock, 0);
    for (minutes, begun) in [(29, Ok(())), (31, Err(Loss::Expired))] {
        kv_store.clean();
        let mut log = member.log();
        assert_eq!(log.read::<Place>("").unwrap(), None);
        clock.pass(minutes * 60);
        assert_eq!(log.begin(&Place::open(0, 0)), begun);
    }
}

#[test]
fn of_two_members_that_begin_together_one_is_told_so() {
    let (kv_store, clock) = (KvStore::default(), Hands::default());
    let members = [1, 2].map(|n| Member::new(n, &kv_store, &clock, 0));
    let mut logs = members.each_ref().map(Member::log);
    for log in &mut logs {
        assert_eq!(log.read::<Place>("").unwrap(), None);
    }
    let [first, second] = &mut logs;
    assert_eq!(first.begin(&Place::open(0, 0)), Ok(()));
    let Err(Loss::Taken(Some(holder))) = second.begin(&Place::open(0, 0)) else {
        panic!("both have begun");
    };
    assert_eq!(holder.member, members[0].guid);
}

#[test]
fn a_document_whose_answer_was_lost_is_recognized_and_what_was_saved_since_follows_it() {
    let (kv_store, clock) = (KvStore::default(), Hands::default());
    let member = Member::new(1, &kv_store, &clock, 0);
    let (mut log, _) = member.begin().unwrap();
    kv_store.lose_answers(1);
    let lost = log.append(&Place::open(PAGE, 0));
    assert!(matches!(lost, Err(Loss::Unanswered(_))), "{lost:?}");
    clock.pass(1);
    log.append(&Place::open(2 * PAGE, PAGE)).unwrap();
    let cursors: Vec<_> = kv_store.documents();
    let cursors: Vec<_> = cursors.iter().map(|it| it["cursor"].clone()).collect();
    assert_eq!(cursors, [json!(0), json!(PAGE), json!(2 * PAGE)]);
}

/// What a member of the model does.
struct Actor {
    member: Member,
    run: Option<Run>,
    frozen_until: i64,
    cut_off_until: i64,
}

/// A run of the model. It saves as a delivery does, and appends as a keeper does.
struct Run {
    id: usize,
    log: SharedLog,
    saved: Place,
    is_appended: bool,
    /// What is saved is overdue, so that nothing more is sent before it is appended.
    waits: bool,
    appended_at: i64,
    ends_at: i64,
    is_ending: bool,
}

impl Run {
    /// What the keeper does. False where the lease is lost.
    fn keep(&mut self, world: &World) -> bool {
        let now = world.clock.seconds();
        let age = now - self.appended_at;
        if age < 10 || (self.is_appended && age < 30) {
            return true;
        }
        match self.log.append(&self.saved) {
            Ok(()) => {
                world.note_save(self.id);
                (self.is_appended, self.appended_at) = (true, now);
                true
            }
            Err(Loss::Unanswered(_)) => self.log.holds(),
            Err(_) => false,
        }
    }

    /// What the delivery does: a page is sent, read and saved. False where the run is at its end.
    fn deliver(&mut self, world: &mut World, random: &mut Random) -> bool {
        if (self.waits && !self.is_appended) || random.chance(20) {
            return true;
        }
        let cursor = self.saved.cursor;
        if !self.log.holds() {
            return false;
        }
        world.send(cursor);
        // Killed when it was sent, and not read yet.
        if random.chance(1) {
            world.lose(cursor);
            return false;
        }
        world.note_save(self.id);
        self.saved = Place::open(cursor + PAGE, cursor);
        self.is_appended = false;
        self.waits = world.clock.seconds() - self.appended_at >= 10;
        true
    }
}

/// The world of the model.
struct World {
    clock: Hands,
    kv_store: KvStore,
    /// How often each record has been indexed.
    indexed: Vec<usize>,
    /// Which run has begun last.
    newest_run: usize,
    /// What the newest run has sent up to.
    sent: usize,
}

impl World {
    /// A run saves. No other may have begun since.
    #[track_caller]
    fn note_save(&self, run: usize) {
        assert_eq!(run, self.newest_run, "two runs save");
    }

    /// A run sends a page from `cursor` on.
    fn send(&mut self, cursor: usize) {
        let end = cursor + PAGE;
        self.indexed.resize(self.indexed.len().max(end), 0);
        self.indexed[cursor..end].iter_mut().for_each(|it| *it += 1);
        self.sent = end;
    }

    /// What splunkd had read of the last page dies with it.
    fn lose(&mut self, page: usize) {
        let end = self.indexed.len().min(page + PAGE);
        for record in &mut self.indexed[page.min(end)..end] {
            *record = record.saturating_sub(1);
        }
    }
}

impl Actor {
    fn step(&mut self, world: &mut World, random: &mut Random) {
        let now = world.clock.seconds();
        self.member.splunkd.cut_off(now < self.cut_off_until);
        if now < self.frozen_until {
            return;
        }
        match self.run.take() {
            Some(run) => self.run = Self::go_on(run, world, random),
            None if random.chance(20) => self.begin(world, random),
            None => {}
        }
        match random.below(300) {
            0 => self.die(world, random),
            1 => self.frozen_until = now + random.below(150) as i64,
            // About as long as a lease.
            2 | 3 => self.frozen_until = now + 45 + random.below(20) as i64,
            4 => self.cut_off_until = now + random.below(100) as i64,
            _ => {}
        }
    }

    fn begin(&mut self, world: &mut World, random: &mut Random) {
        let Some((log, place)) = self.member.begin() else {
            return;
        };
        // What a takeover costs: ten seconds of pages, the step back, and what was under way.
        let repeated = world.sent.saturating_sub(place.cursor);
        let most = PAGE * (usize::try_from(APPEND_EVERY.as_secs()).unwrap() + 4);
        assert!(repeated <= most, "{repeated} records are repeated");
        world.newest_run += 1;
        let now = world.clock.seconds();
        self.run = Some(Run {
            id: world.newest_run,
            log,
            saved: place,
            is_appended: true,
            waits: false,
            appended_at: now,
            ends_at: now + 2 + random.below(200) as i64,
            is_ending: false,
        });
    }

    /// One second of a run; nothing is left of it where it has ended.
    fn go_on(mut run: Run, world: &mut World, random: &mut Random) -> Option<Run> {
        let now = world.clock.seconds();
        if now >= run.ends_at {
            // The last document may be there already, and what splunkd loses after a run that has ended is not ours.
            run.is_ending = true;
            return match run.log.end(&Place::closed(run.saved.cursor)) {
                Ok(()) => {
                    world.note_save(run.id);
                    None
                }
                Err(Loss::Unanswered(_)) if run.log.holds() => Some(run),
                Err(_) => None,
            };
        }
        // Two threads, of which either may be the quicker one.
        let delivers_first = random.chance(50);
        for delivers in [delivers_first, !delivers_first] {
            let goes_on = match delivers {
                true => run.deliver(world, random),
                false => run.keep(world),
            };
            if !goes_on {
                return None;
            }
        }
        Some(run)
    }

    /// The process is killed, or its whole splunkd.
    fn die(&mut self, world: &mut World, random: &mut Random) {
        if let Some(run) = self.run.take()
            && run.id == world.newest_run
            && !run.is_ending
            && random.chance(50)
        {
            world.lose(run.saved.before);
        }
    }
}

#[test]
fn whatever_happens_to_members_and_kv_store_no_two_runs_save_and_no_record_is_missing() {
    with_random(|random| {
        for _ in 0..3 {
            let (kv_store, clock) = (KvStore::default(), Hands::default());
            let ahead = [0, MAX_SKEW / 2, MAX_SKEW];
            let mut actors: Vec<_> = (0..3)
                .map(|n| Actor {
                    member: Member::new(n, &kv_store, &clock, ahead[n]),
                    run: None,
                    frozen_until: 0,
                    cut_off_until: 0,
                })
                .collect();
            let mut world = World {
                clock,
                kv_store,
                indexed: vec![],
                newest_run: 0,
                sent: 0,
            };
            let mut down_until = 0;
            for now in 0..1500 {
                if random.below(200) == 0 {
                    down_until = now + random.below(120) as i64;
                }
                world.kv_store.fail(match now < down_until {
                    true => Outage::Down,
                    false => Outage::None,
                });
                match random.below(40) {
                    0 => world.kv_store.lose_answers(1),
                    1 => world.kv_store.read_behind(random.below(4)),
                    2..8 => world.kv_store.read_behind(0),
                    _ => {}
                }
                for actor in &mut actors {
                    actor.step(&mut world, random);
                }
                world.clock.pass(1);
            }
            settle(&mut world, &actors[0].member);
        }
    });
}

/// One member goes on alone, without any trouble, and everything must have come by then.
fn settle(world: &mut World, member: &Member) {
    world.kv_store.fail(Outage::None);
    world.kv_store.lose_answers(0);
    world.kv_store.read_behind(0);
    member.splunkd.cut_off(false);
    let (mut log, place) = loop {
        match member.begin() {
            Some(begun) => break begun,
            None => world.clock.pass(1),
        }
    };
    let end = world.indexed.len();
    for record in &mut world.indexed[place.cursor.min(end)..end] {
        *record += 1;
    }
    log.end(&Place::closed(end)).unwrap();
    let missing = world.indexed.iter().filter(|count| **count == 0).count();
    assert_eq!(missing, 0, "of {end} records");
    assert!(end > 300, "only {end} records: the model does nothing");
    // The log has no gap and no number twice.
    let inserted = world.kv_store.inserted();
    let numbers: BTreeSet<_> = inserted.iter().map(|it| it["_key"].to_string()).collect();
    assert_eq!(numbers.len(), inserted.len());
    assert!(world.newest_run > 5, "{} runs", world.newest_run);
}

/// A keeper with its lease, and what a test of it needs.
struct Kept {
    keeper: Keeper<Place>,
    member: Member,
    kv_store: KvStore,
    clock: Hands,
    stop: Arc<AtomicBool>,
}

impl Kept {
    fn new() -> Self {
        let (kv_store, clock) = (KvStore::default(), Hands::default());
        let member = Member::new(1, &kv_store, &clock, 0);
        let (log, place) = member.begin().unwrap();
        let stop = Arc::<AtomicBool>::default();
        let keeper = Keeper::start(log, place, Arc::clone(&stop)).unwrap();
        Self {
            keeper,
            member,
            kv_store,
            clock,
            stop,
        }
    }

    /// Returns when so many more requests have come.
    fn wait_for_requests(&self, more: usize) {
        let splunkd = &self.member.splunkd;
        splunkd.wait_for_requests(splunkd.requests().len() + more, DEADLINE);
    }

    fn cursors(&self) -> Vec<usize> {
        let inserted = self.kv_store.inserted();
        let cursors = inserted.iter().map(|it| it["cursor"].as_u64().unwrap());
        cursors.map(|it| usize::try_from(it).unwrap()).collect()
    }
}

#[test]
fn what_is_saved_is_appended_every_ten_seconds_and_a_silent_run_renews_its_lease() {
    let kept = Kept::new();
    kept.keeper.save(Place::open(1, 0)).unwrap();
    kept.keeper.save(Place::open(2, 1)).unwrap();
    assert_eq!(kept.cursors(), [0]);
    kept.clock.pass(10);
    // It is due now, so that this one waits for it.
    kept.keeper.save(Place::open(3, 2)).unwrap();
    assert!(kept.cursors().ends_with(&[3]), "{:?}", kept.cursors());
    let before = kept.cursors().len();
    let asked = kept.member.splunkd.requests().len();
    kept.clock.pass(31);
    kept.member.splunkd.wait_for_requests(asked + 1, DEADLINE);
    kept.clock.pass(31);
    kept.member.splunkd.wait_for_requests(asked + 2, DEADLINE);
    assert_eq!(kept.keeper.check(), Ok(()));
    let kv_store = kept.kv_store.clone();
    kept.keeper.end(Place::closed(3)).unwrap();
    let renewed = &kv_store.inserted()[before..];
    let states: Vec<_> = renewed.iter().map(|it| it["state"].clone()).collect();
    assert_eq!(states, ["open", "open", "closed"]);
    assert!(!kept.stop.load(Ordering::SeqCst));
}

#[test]
fn a_lease_that_another_run_has_taken_stops_the_run() {
    let kept = Kept::new();
    let mut other = kept.kv_store.newest().unwrap();
    let key = other["_key"]
        .as_str()
        .unwrap()
        .replace("#0000000001", "#0000000002");
    other["_key"] = key.into();
    other["run"] = "another".into();
    other["member"] = "M2".into();
    kept.kv_store.put(other);
    let before = kept.kv_store.documents();
    let Err(Loss::Taken(Some(holder))) = kept.keeper.end(Place::closed(9)) else {
        panic!("it was not noticed");
    };
    assert_eq!(holder.member, "M2");
    assert!(kept.stop.load(Ordering::SeqCst));
    assert_eq!(kept.kv_store.documents(), before);
}

#[test]
fn a_run_that_was_frozen_for_longer_than_its_lease_may_save_nothing() {
    let kept = Kept::new();
    kept.keeper.save(Place::open(1, 0)).unwrap();
    kept.clock.pass(i64::try_from(LEASE.as_secs()).unwrap());
    assert_eq!(kept.keeper.check(), Err(Loss::Expired));
    assert_eq!(kept.keeper.save(Place::open(2, 1)), Err(Loss::Expired));
    assert_eq!(kept.cursors(), [0]);
}

#[test]
fn in_an_outage_a_run_waits_until_its_lease_ends_and_then_says_why() {
    let kept = Kept::new();
    kept.kv_store.fail(Outage::Down);
    kept.clock.pass(10);
    std::thread::scope(|scope| {
        // What is overdue holds up what would be repeated.
        let saving = scope.spawn(|| kept.keeper.save(Place::open(1, 0)));
        kept.wait_for_requests(2);
        assert!(!saving.is_finished());
        kept.kv_store.fail(Outage::None);
        assert_eq!(saving.join().unwrap(), Ok(()));
        assert_eq!(kept.cursors(), [0, 1]);

        kept.kv_store.fail(Outage::Down);
        kept.clock.pass(10);
        let saving = scope.spawn(|| kept.keeper.save(Place::open(2, 1)));
        kept.wait_for_requests(2);
        kept.clock.pass(51);
        let loss = saving.join().unwrap().unwrap_err();
        assert!(matches!(loss, Loss::Unanswered(_)), "{loss:?}");
        assert!(loss.to_string().contains("kvstore-status"), "{loss}");
    });
}
