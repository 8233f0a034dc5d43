//! The oracle: every case on OS threads, so that a case that fails elsewhere is known to be a true statement.

silken_conformance::suite!(threads, silken_conformance::Kind::Threads);

/// A name that is listed twice or a table that shrank would pass unnoticed otherwise.
#[test]
fn the_table_is_whole() {
    let mut names: Vec<_> = silken_conformance::all_cases()
        .map(|case| (case.topic, case.name))
        .collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), silken_conformance::all_cases().count());
    assert!(names.len() >= 600, "only {} cases", names.len());
}
