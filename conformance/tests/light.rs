//! The cases that do not depend on thread identity, on light coroutines.

mod workers_1 {
    silken_conformance::suite!(light, silken_conformance::Kind::Light { workers: 1 });
}

mod workers_2 {
    silken_conformance::suite!(light, silken_conformance::Kind::Light { workers: 2 });
}
