//! Units that are OS threads and isolated coroutines in turn: both sides of each lock, channel and socket differ.

silken_conformance::suite!(mixed, silken_conformance::Kind::Mixed { workers: 2 });
