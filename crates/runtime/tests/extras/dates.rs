//! `time::Time`, held against what Go's `time` package documents.

use silken::time::{self, Month, Time, Weekday};
use std::time::{Duration, SystemTime};

fn at(text: &str) -> Time {
    Time::parse(time::RFC3339_NANO, text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn fields_are_those_of_the_zone() {
    let time = at("2024-02-29T23:30:15.123456789-03:30");
    assert_eq!((time.year(), time.month(), time.day()), (2024, Month::February, 29));
    assert_eq!(
        (time.hour(), time.minute(), time.second(), time.nanosecond()),
        (23, 30, 15, 123_456_789)
    );
    assert_eq!(
        (time.weekday(), time.year_day(), time.iso_week()),
        (Weekday::Thursday, 60, (2024, 9))
    );
    assert_eq!(time.offset_seconds(), -12_600);
    let utc = time.utc();
    assert_eq!((utc.month(), utc.day(), utc.hour()), (Month::March, 1, 3));
    assert!(utc.equal(&time) && utc == time && !utc.before(&time) && !utc.after(&time));
    assert_eq!((Month::March as i8, Weekday::Sunday as i8), (3, 0));
}

#[test]
fn formats_and_parses_are_inverse() {
    let time = at("2006-01-02T15:04:05-07:00");
    for (layout, text) in [
        (time::ANSIC, "Mon Jan  2 15:04:05 2006"),
        (time::RFC822Z, "02 Jan 06 15:04 -0700"),
        (time::RFC1123Z, "Mon, 02 Jan 2006 15:04:05 -0700"),
        (time::RFC3339, "2006-01-02T15:04:05-07:00"),
        (time::KITCHEN, "3:04PM"),
        (time::DATE, "2006-01-02"),
        (time::DATE_TIME, "2006-01-02 15:04:05"),
        ("2006-01-02 15:04:05.000", "2006-01-02 15:04:05.000"),
        ("%d/%m/%Y %H:%M", "02/01/2006 15:04"),
    ] {
        assert_eq!(time.format(layout), text, "{layout}");
        let parsed = Time::parse(layout, text).unwrap_or_else(|error| panic!("{layout}: {error}"));
        assert_eq!(parsed.format(layout), text, "{layout}");
    }
}

#[test]
fn parsing_fills_in_what_is_missing_as_go_does() {
    let time = Time::parse(time::KITCHEN, "3:04PM").unwrap();
    assert_eq!(time.to_string(), "0001-01-01T15:04:00Z");
    assert_eq!(
        Time::parse(time::DATE_TIME, "2024-05-06 07:08:09").unwrap().unix(),
        1_714_979_289
    );
    assert_eq!(
        Time::parse(time::RFC3339, "2024-05-06T07:08:09Z").unwrap().to_string(),
        "2024-05-06T07:08:09Z"
    );
    assert!(Time::parse(time::DATE, "2024-02-30").is_err());
    let error = Time::parse(time::DATE, "yesterday").unwrap_err();
    assert!(error.to_string().contains("%Y"), "{error}");
}

#[test]
fn instants_have_their_numbers() {
    let time = Time::from_unix(-1, 999_999_999);
    assert_eq!(
        (time.unix(), time.unix_milli(), time.unix_micro(), time.unix_nano()),
        (-1, -1, -1, -1)
    );
    assert_eq!(Time::from_unix_milli(1_500).format("15:04:05.000"), "00:00:01.500");
    let now = SystemTime::now();
    assert_eq!(SystemTime::from(Time::from(now)), now);
    let before = Time::now();
    let after = Time::now_utc();
    assert!(!after.before(&before) && after.since(&before) < Duration::from_secs(60));
    assert_eq!(before.since(&after.add(Duration::from_secs(1))), Duration::ZERO);
    assert_eq!(before.local().utc(), before);
}

#[test]
fn arithmetic_carries_as_in_go() {
    // Go's documentation of AddDate and Date.
    assert_eq!(at("2011-10-31T00:00:00Z").add_date(0, 1, 0), at("2011-12-01T00:00:00Z"));
    assert_eq!(
        at("2011-01-01T00:00:00Z").add_date(-1, 2, 3),
        at("2010-03-04T00:00:00Z")
    );
    assert_eq!(Time::date(2024, 1, 32, 25, -1, 61, 0), at("2024-02-02T01:00:01Z"));
    assert_eq!(
        Time::date(2024, 14, 0, 0, 0, 0, 5),
        at("2025-01-31T00:00:00.000000005Z")
    );
    let time = at("2024-12-31T23:59:59Z");
    assert_eq!(time.add(Duration::from_secs(1)), at("2025-01-01T00:00:00Z"));
    assert_eq!(
        (time.clone() + Duration::from_secs(1)).sub(Duration::from_secs(1)),
        time
    );
}

#[test]
fn truncation_counts_from_the_year_one() {
    // Go's example of Truncate.
    let time = at("2012-12-07T12:15:30.918273645Z");
    for (step, text) in [
        (Duration::from_millis(1), "12:15:30.918"),
        (Duration::from_secs(1), "12:15:30.000"),
        (Duration::from_secs(120), "12:14:00.000"),
        (Duration::from_secs(600), "12:10:00.000"),
    ] {
        assert_eq!(time.truncate(step).format("15:04:05.000"), text);
    }
    // Weeks begin on Mondays, since the 1st of January of the year 1 is one.
    assert_eq!(
        time.truncate(Duration::from_secs(7 * 86_400)).weekday(),
        Weekday::Monday
    );
    assert_eq!(time.truncate(Duration::ZERO), time);
}
