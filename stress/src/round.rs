//! One round: waves of coroutines that wait, those who interrupt them, the release, and the reckoning.
//!
//! In a *still* round everybody waits before anything happens; what would let them go on earlier waits for a gate. Then
//! they are hit, before the gate opens or while it does. In the others the hits fall while the waves still begin. A
//! target's station is stirred around some of the hits, so that a wake and a cancellation meet; deadlines fall where
//! they fall.

use crate::ledger::Ledger;
use crate::plan::{Bounds, Hit, Plan, Rng, Station};
use crate::waits::{Counted, Kind, Part, Wait};
use crate::watch::Board;
use silken::channel::{self, Receiver, Sender};
use silken::{Coroutine, JoinHandle};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a round has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Coroutines at stations.
    pub coroutines: usize,
    /// How many were alive before anything happened, in a still round.
    pub waited_at_once: usize,
    /// How many were unwound by a cancellation.
    pub cancelled: usize,
    /// How many ran out of their time.
    pub timed_out: usize,
    /// Tokens made.
    pub tokens: u64,
}

/// A station with its coroutines.
struct Manned {
    kind: usize,
    wait: Arc<dyn Wait>,
    members: Vec<(JoinHandle<bool>, Hit)>,
}

struct Round<'a> {
    kinds: &'a [&'static Kind],
    board: &'a Arc<Board>,
    ledger: Arc<Ledger>,
    plan: Plan,
    gate: (Option<Sender<()>>, Receiver<()>),
    begun: Arc<AtomicUsize>,
    stations: Vec<Manned>,
    cancellers: Vec<JoinHandle<()>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Counts its coroutine as begun when its body begins, or when it is dropped without that.
struct Ticket {
    begun: Arc<AtomicUsize>,
    _alive: Counted,
    used: bool,
}

impl Ticket {
    fn begin(&mut self) {
        self.used = true;
        self.begun.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.used {
            self.begin();
        }
    }
}

/// A coroutine to cancel, and its station to stir.
type Target = (Coroutine, Arc<dyn Wait>);

/// Stations whose targets one canceller gets, in rounds that are not still.
const STATIONS_PER_CANCELLER: usize = 64;

/// Plays a round. On a coroutine.
///
/// # Errors
/// The first thing that did not hold.
pub fn play(
    mut rng: Rng,
    coroutines: usize,
    still: bool,
    kinds: &[&'static Kind],
    board: &Arc<Board>,
) -> Result<Figures, String> {
    let bounds: Vec<Bounds> = kinds.iter().map(|kind| kind.bounds).collect();
    let plan = Plan::draw(&mut rng, coroutines, still, &bounds);
    let (gate_tx, gate_rx) = channel::bounded(0);
    let mut round = Round {
        kinds,
        board,
        ledger: Arc::default(),
        plan,
        gate: (still.then_some(gate_tx), gate_rx),
        begun: Arc::default(),
        stations: Vec::new(),
        cancellers: Vec::new(),
        threads: Vec::new(),
    };
    let mut figures = Figures::default();
    board.note("spawn");
    let stations = std::mem::take(&mut round.plan.stations);
    round.man(stations, &mut rng);
    if still {
        figures.waited_at_once = round.settle(coroutines, &bounds, &mut rng);
    }
    board.note("hit");
    round.hit(&mut rng);
    board.note("release");
    round.release();
    board.note("join");
    round.join(&mut figures)?;
    board.note("check");
    round.check()?;
    figures.tokens = round.ledger.made();
    Ok(figures)
}

impl Round<'_> {
    /// Starts the coroutines, and in rounds that are not still their cancellers.
    fn man(&mut self, stations: Vec<Station>, rng: &mut Rng) {
        for stations in chunks(stations, STATIONS_PER_CANCELLER) {
            let first = self.stations.len();
            for station in stations {
                let manned = self.start(station);
                self.stations.push(manned);
            }
            if !self.plan.still {
                self.start_canceller(first, rng);
                silken::yield_now();
            }
        }
    }

    fn start(&self, mut station: Station) -> Manned {
        let wait = (self.kinds[station.kind].make)(&mut station.rng, &self.ledger);
        let members = std::mem::take(&mut station.hits).into_iter().enumerate();
        let members = members.map(|(index, (hit, rng))| {
            let handle = self.spawn(station.kind, wait.clone(), index, hit, rng);
            if hit == Hit::BeforeStart {
                handle.cancel();
            }
            (handle, hit)
        });
        Manned {
            kind: station.kind,
            members: members.collect(),
            wait,
        }
    }

    /// A coroutine; its result says whether its time was up.
    fn spawn(&self, kind: usize, wait: Arc<dyn Wait>, index: usize, hit: Hit, rng: Rng) -> JoinHandle<bool> {
        let mut ticket = Ticket {
            begun: self.begun.clone(),
            _alive: Counted::new(&self.board.alive[kind]),
            used: false,
        };
        let (ledger, children, gate) = (self.ledger.clone(), self.board.children.clone(), self.gate.1.clone());
        let (settle, pace) = (self.plan.settle, self.plan.pace);
        silken::spawn(move || {
            ticket.begin();
            use_stack();
            let mut part = Part {
                index,
                rng,
                ledger: &ledger,
                children: &children,
                gate: &gate,
                settle,
                pace,
            };
            match hit.deadline() {
                Some(deadline) => silken::timeout(deadline, || wait.part(&mut part)).is_err(),
                None => {
                    wait.part(&mut part);
                    false
                }
            }
        })
    }

    /// Waits until everybody has begun, and adds some until as many wait as are wanted. How many do.
    fn settle(&mut self, coroutines: usize, bounds: &[Bounds], rng: &mut Rng) -> usize {
        const PASSES: usize = 4;
        for _ in 0..PASSES {
            let spawned: usize = self.stations.iter().map(|station| station.members.len()).sum();
            while self.begun.load(Ordering::Relaxed) < spawned {
                silken::sleep(Duration::from_millis(1));
            }
            let missing = coroutines.saturating_sub(self.board.alive());
            if missing == 0 {
                break;
            }
            let more = Plan::draw(rng, missing + missing / 2, true, bounds);
            self.man(more.stations, rng);
        }
        silken::sleep(Duration::from_millis(1));
        self.board.alive()
    }

    fn start_canceller(&mut self, first: usize, rng: &mut Rng) {
        let mut targets = Vec::new();
        for station in &self.stations[first..] {
            let hit = station.members.iter().filter(|(_, hit)| hit.is_cancelled_later());
            targets.extend(hit.map(|(handle, _)| (handle.coroutine(), station.wait.clone())));
        }
        rng.shuffle(&mut targets);
        let mut rng = rng.fork();
        if rng.chance(30) {
            let thread = std::thread::spawn(move || cancel_all(targets, &mut rng));
            self.threads.push(thread);
        } else {
            self.cancellers
                .push(silken::spawn(move || cancel_all(targets, &mut rng)));
        }
    }

    /// Everything that happens to those who wait.
    fn hit(&mut self, rng: &mut Rng) {
        let gate = self.gate.0.take();
        let opens_first = rng.chance(50);
        if self.plan.still {
            if opens_first {
                let _ = gate.as_ref().map(Sender::close);
            }
            let share = self.stations.len().div_ceil(4).max(1);
            for first in (0..self.stations.len()).step_by(share) {
                self.start_canceller_of(first..(first + share).min(self.stations.len()), rng);
            }
        }
        for _ in 0..self.stations.len() * 2 {
            let station = &self.stations[rng.below(self.stations.len())];
            station.wait.stir(rng);
            match rng.below(256) {
                0 => silken::sleep(Duration::from_micros(rng.below(300) as u64)),
                1..=32 => silken::yield_now(),
                _ => {}
            }
        }
        for canceller in std::mem::take(&mut self.cancellers) {
            canceller.join().expect("a canceller does not panic");
        }
        for thread in std::mem::take(&mut self.threads) {
            thread.join().expect("a canceller does not panic");
        }
        let _ = gate.as_ref().map(Sender::close);
        silken::sleep(rng.moment(self.plan.pace));
    }

    fn start_canceller_of(&mut self, stations: std::ops::Range<usize>, rng: &mut Rng) {
        let later = self.stations.split_off(stations.end);
        self.start_canceller(stations.start, rng);
        self.stations.extend(later);
    }

    fn release(&self) {
        for station in &self.stations {
            station.wait.release();
            if station.wait.ends_by_cancel() {
                station.members.iter().for_each(|(handle, _)| handle.cancel());
            }
        }
    }

    fn join(&mut self, figures: &mut Figures) -> Result<(), String> {
        for station in &mut self.stations {
            let all_cancelled = station.wait.ends_by_cancel();
            let name = self.kinds[station.kind].name;
            for (index, (handle, hit)) in station.members.drain(..).enumerate() {
                figures.coroutines += 1;
                let may_be_cancelled = all_cancelled || hit == Hit::BeforeStart || hit.is_cancelled_later();
                match handle.join() {
                    Ok(timed_out) => figures.timed_out += usize::from(timed_out),
                    Err(error) if error.is_cancelled() && may_be_cancelled => figures.cancelled += 1,
                    Err(error) => return Err(format!("{name}: coroutine {index}, {hit:?}: {error}")),
                }
            }
        }
        while self.board.children.load(Ordering::Relaxed) > 0 {
            silken::sleep(Duration::from_micros(200));
        }
        match self.board.alive() {
            0 => Ok(()),
            alive => Err(format!("{alive} bodies are alive though all coroutines were joined")),
        }
    }

    fn check(&mut self) -> Result<(), String> {
        for station in self.stations.drain(..) {
            let name = self.kinds[station.kind].name;
            self.board.note(name);
            station.wait.check().map_err(|error| format!("{name}: {error}"))?;
        }
        self.ledger.check()
    }
}

/// Uses as much stack as any wait and its unwinding do. Stacks keep the memory that was touched, and which stack meets
/// the deepest wait is chance: the process would grow slowly, to a limit, for hundreds of rounds, and a leak could hide
/// in that.
#[inline(never)]
fn use_stack() {
    const BYTES: usize = 12 * 1024;
    std::hint::black_box(&mut [0u8; BYTES]);
}

fn chunks(mut stations: Vec<Station>, size: usize) -> impl Iterator<Item = Vec<Station>> {
    std::iter::from_fn(move || {
        let rest = stations.split_off(size.min(stations.len()));
        let chunk = std::mem::replace(&mut stations, rest);
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// Cancels one after the other, at random moments. On a coroutine or an OS thread.
fn cancel_all(targets: Vec<Target>, rng: &mut Rng) {
    for (coroutine, wait) in targets {
        match rng.below(16) {
            0 | 1 => wait.stir(rng),
            2 if rng.chance(10) => silken::sleep(Duration::from_micros(rng.below(500) as u64)),
            3 => silken::yield_now(),
            _ => {}
        }
        coroutine.cancel();
        if rng.chance(10) {
            wait.stir(rng);
        }
    }
}
