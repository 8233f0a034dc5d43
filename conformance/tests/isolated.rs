//! Every case on isolated coroutines: one worker (nothing runs beside a parked coroutine), two (migration), and eight
//! (more than the processors of a small machine, so workers are preempted at bad moments).

mod workers_1 {
    silken_conformance::suite!(isolated, silken_conformance::Kind::Isolated { workers: 1 });
}

mod workers_2 {
    silken_conformance::suite!(isolated, silken_conformance::Kind::Isolated { workers: 2 });
}

mod workers_8 {
    silken_conformance::suite!(isolated, silken_conformance::Kind::Isolated { workers: 8 });
}
