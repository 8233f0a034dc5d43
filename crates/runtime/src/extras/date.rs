//! How does a program read, write and calculate dates? [`Time`] has the methods of Go's `time.Time`, and uses jiff's
//! calendar and time zones.
//!
//! A `Time` is an instant, and the zone in which its fields are read. Comparisons and differences use the instant;
//! fields, formats and calendar arithmetic use the zone. Calendar arithmetic overflows as Go's does: a month after the
//! 31st of October is the 1st of December, not the 30th of November.

pub mod layout;

use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{Offset, TimeZone};
use jiff::{Span, Timestamp, Zoned, civil};
use layout::to_strftime;
use std::fmt;
use std::time::{Duration, SystemTime};

/// Seconds from Go's zero time, the 1st of January of the year 1, to the Unix epoch; [`Time::truncate`] counts from
/// there.
const ZERO_TO_UNIX_S: i128 = 62_135_596_800;
const NS_PER_S: i128 = 1_000_000_000;

/// An instant, and the zone in which it is read: Go's `time.Time`. The years range from -9999 to 9999.
///
/// # Examples
/// ```
/// use silken::time::{self, Month, Time, Weekday};
/// use std::time::Duration;
///
/// let landing = Time::parse(time::RFC3339, "1969-07-20T20:17:40Z").unwrap();
/// assert_eq!((landing.month(), landing.weekday()), (Month::July, Weekday::Sunday));
/// assert_eq!(landing.format("Mon, 2 Jan 2006 15:04"), "Sun, 20 Jul 1969 20:17");
/// assert_eq!(landing.format("%F"), "1969-07-20");
///
/// let later = landing.add(Duration::from_secs(3600));
/// assert!(later.after(&landing));
/// assert_eq!(later.since(&landing), Duration::from_secs(3600));
/// assert_eq!(landing.unix(), -14_182_940);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(Zoned);

/// The error for a text that does not fit its layout, and for an unknown zone.
#[derive(Clone, Debug)]
pub struct ParseTimeError(jiff::Error);

impl fmt::Display for ParseTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ParseTimeError {}

impl From<jiff::Error> for ParseTimeError {
    fn from(error: jiff::Error) -> Self {
        Self(error)
    }
}

macro_rules! names {
    ($(#[$attribute:meta])* $name:ident: $($variant:ident = $number:literal),+) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $(#[doc = concat!("Number ", stringify!($number), ".")] $variant = $number,)+
        }

        impl $name {
            fn from_number(number: i8) -> Self {
                match number {
                    $($number => Self::$variant,)+
                    _ => unreachable!("jiff's fields are in range"),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self {
                    $(Self::$variant => stringify!($variant),)+
                })
            }
        }
    };
}

names! {
    /// A month. `as i8` converts it to its number; `Display` shows its English name.
    ///
    /// # Examples
    /// ```
    /// use silken::time::Month;
    /// assert_eq!((Month::March as i8, Month::March.to_string()), (3, "March".to_string()));
    /// ```
    Month: January = 1, February = 2, March = 3, April = 4, May = 5, June = 6, July = 7, August = 8, September = 9, October = 10,
    November = 11, December = 12
}

names! {
    /// A day of the week. `as i8` converts it to its number, 0 for Sunday; `Display` shows its English name.
    ///
    /// # Examples
    /// ```
    /// use silken::time::Weekday;
    /// assert_eq!((Weekday::Monday as i8, Weekday::Monday.to_string()), (1, "Monday".to_string()));
    /// ```
    Weekday: Sunday = 0, Monday = 1, Tuesday = 2, Wednesday = 3, Thursday = 4, Friday = 5, Saturday = 6
}

impl Time {
    /// Returns the present time, in the local zone.
    ///
    /// # Blocking
    /// The first call, and one every few minutes, reads the system's zone from files.
    ///
    /// # Examples
    /// ```
    /// use silken::time::Time;
    ///
    /// let (before, after) = (Time::now(), Time::now());
    /// assert!(before <= after);
    /// ```
    pub fn now() -> Self {
        Self(Zoned::now())
    }

    /// Returns the present time, in UTC. Does not block.
    pub fn now_utc() -> Self {
        Self(Timestamp::now().to_zoned(TimeZone::UTC))
    }

    /// Makes a time in UTC from these fields. A value out of its field's range is carried, as in Go: the 32nd of
    /// January is the 1st of February.
    ///
    /// # Panics
    /// If the result is outside the years -9999 to 9999.
    ///
    /// # Examples
    /// ```
    /// use silken::time::{DATE, Time};
    /// assert_eq!(Time::date(2024, 1, 32, 0, 0, 0, 0).format(DATE), "2024-02-01");
    /// ```
    #[track_caller]
    pub fn date(year: i16, month: i32, day: i32, hour: i32, minute: i32, second: i32, nanosecond: i32) -> Self {
        let seconds = (i64::from(hour) * 60 + i64::from(minute)) * 60 + i64::from(second);
        let span = Span::new().seconds(seconds).nanoseconds(i64::from(nanosecond));
        let midnight = carried_date(i64::from(year), i64::from(month), i64::from(day));
        let time = midnight.and_then(|date| date.to_datetime(civil::Time::midnight()).checked_add(span));
        let zoned = time.and_then(|time| time.to_zoned(TimeZone::UTC));
        Self(in_range(zoned))
    }

    /// Makes the time in UTC that is this number of seconds and nanoseconds after the Unix epoch: Go's `time.Unix`.
    /// Both may be negative.
    ///
    /// # Panics
    /// If the result is outside the years -9999 to 9999.
    #[track_caller]
    pub fn from_unix(seconds: i64, nanoseconds: i64) -> Self {
        Self::from_unix_nano(i128::from(seconds) * NS_PER_S + i128::from(nanoseconds), TimeZone::UTC)
    }

    /// Makes the time in UTC that is this number of milliseconds after the Unix epoch.
    ///
    /// # Panics
    /// If the result is outside the years -9999 to 9999.
    #[track_caller]
    pub fn from_unix_milli(milliseconds: i64) -> Self {
        Self::from_unix_nano(i128::from(milliseconds) * 1_000_000, TimeZone::UTC)
    }

    #[track_caller]
    fn from_unix_nano(nanoseconds: i128, zone: TimeZone) -> Self {
        Self(in_range(Timestamp::from_nanosecond(nanoseconds)).to_zoned(zone))
    }

    /// Parses a time. The layout is Go's, that is, an example such as `2006-01-02 15:04:05 -0700`. A layout that
    /// contains a `%` is one of `strftime`. What the text does not say is filled in as in Go: without an offset the
    /// zone is UTC, without a date the date is the 1st of January of the year 1. The name of a zone (`MST`, `%Z`) is
    /// not understood.
    ///
    /// # Errors
    /// If the text does not fit the layout, or is no date.
    ///
    /// # Examples
    /// ```
    /// use silken::time::Time;
    /// let time = Time::parse("2006-01-02 15:04 -0700", "2024-02-29 12:30 +0200").unwrap();
    /// assert_eq!(time.utc().format("15:04"), "10:30");
    /// assert!(Time::parse("2006-01-02", "2023-02-29").is_err());
    /// ```
    pub fn parse(layout: &str, text: &str) -> Result<Self, ParseTimeError> {
        let read = |is_utc| BrokenDownTime::parse(to_strftime(layout, is_utc), text);
        // `Z07:00` is a Z or an offset; a layout without it is the same both ways.
        let fields = read(true).or_else(|_| read(false))?;
        if let Ok(timestamp) = fields.to_timestamp() {
            let zone = TimeZone::fixed(fields.offset().unwrap_or(Offset::UTC));
            return Ok(Self(timestamp.to_zoned(zone)));
        }
        let date = match (fields.year(), fields.month(), fields.day()) {
            (None, None, None) => civil::date(1, 1, 1),
            _ => fields.to_date()?,
        };
        let time = match fields.hour() {
            None => civil::Time::midnight(),
            Some(_) => fields.to_time()?,
        };
        let zone = TimeZone::fixed(fields.offset().unwrap_or(Offset::UTC));
        Ok(Self(date.to_datetime(time).to_zoned(zone)?))
    }

    /// Formats the time. The layout is Go's or `strftime`'s: see [`parse`](Self::parse). A `strftime` format with an
    /// unknown directive is written as it stands.
    pub fn format(&self, layout: &str) -> String {
        let format = to_strftime(layout, self.0.offset() == Offset::UTC);
        strtime::format(&format, &self.0).unwrap_or(format)
    }

    /// Returns the same instant, read in UTC.
    pub fn utc(&self) -> Self {
        Self(self.0.with_time_zone(TimeZone::UTC))
    }

    /// Returns the same instant, read in the local zone.
    pub fn local(&self) -> Self {
        Self(self.0.with_time_zone(TimeZone::system()))
    }

    /// Returns the same instant, read in the zone with this name, such as `Europe/Berlin`.
    ///
    /// # Errors
    /// If the system does not know the zone.
    pub fn in_zone(&self, name: &str) -> Result<Self, ParseTimeError> {
        Ok(Self(self.0.in_tz(name)?))
    }

    /// Returns how many seconds the zone is ahead of UTC at this instant.
    pub fn offset_seconds(&self) -> i32 {
        self.0.offset().seconds()
    }

    /// Returns the seconds since the Unix epoch, rounded down.
    pub fn unix(&self) -> i64 {
        self.since_epoch(NS_PER_S)
    }

    /// Returns the milliseconds since the Unix epoch, rounded down.
    pub fn unix_milli(&self) -> i64 {
        self.since_epoch(1_000_000)
    }

    /// Returns the microseconds since the Unix epoch, rounded down.
    pub fn unix_micro(&self) -> i64 {
        self.since_epoch(1_000)
    }

    /// Returns the nanoseconds since the Unix epoch.
    pub fn unix_nano(&self) -> i128 {
        self.0.timestamp().as_nanosecond()
    }

    fn since_epoch(&self, unit_ns: i128) -> i64 {
        // The years -9999 to 9999 in microseconds take 59 bits.
        self.unix_nano().div_euclid(unit_ns) as i64
    }

    /// Returns the time that is `duration` later.
    ///
    /// # Panics
    /// If the result is after the year 9999.
    #[track_caller]
    #[must_use]
    pub fn add(&self, duration: Duration) -> Self {
        Self(in_range(self.0.checked_add(duration)))
    }

    /// Returns the time that is `duration` earlier.
    ///
    /// # Panics
    /// If the result is before the year -9999.
    #[track_caller]
    #[must_use]
    pub fn sub(&self, duration: Duration) -> Self {
        Self(in_range(self.0.checked_sub(duration)))
    }

    /// Returns how much later this time is than `earlier`; zero if it is not later. Go's `Sub` of two times.
    pub fn since(&self, earlier: &Time) -> Duration {
        Duration::try_from(self.0.duration_since(&earlier.0)).unwrap_or(Duration::ZERO)
    }

    /// Returns the time that is this many years, months and days later on the calendar, or earlier if they are
    /// negative. This is Go's `AddDate`, with its overflow.
    ///
    /// # Panics
    /// If the result is outside the years -9999 to 9999.
    ///
    /// # Examples
    /// ```
    /// use silken::time::{DATE, Time};
    /// let end = Time::parse(DATE, "2023-10-31").unwrap();
    /// assert_eq!(end.add_date(0, 1, 0).format(DATE), "2023-12-01"); // the 31st of November
    /// ```
    #[track_caller]
    #[must_use]
    pub fn add_date(&self, years: i32, months: i32, days: i32) -> Self {
        let date = carried_date(
            i64::from(self.year()) + i64::from(years),
            i64::from(self.0.month()) + i64::from(months),
            i64::from(self.day()) + i64::from(days),
        );
        let zoned = date.and_then(|date| date.to_datetime(self.0.time()).to_zoned(self.0.time_zone().clone()));
        Self(in_range(zoned))
    }

    /// Whether this instant is earlier than `other`.
    pub fn before(&self, other: &Time) -> bool {
        self < other
    }

    /// Whether this instant is later than `other`.
    pub fn after(&self, other: &Time) -> bool {
        self > other
    }

    /// Whether both are the same instant, whatever their zones: the same as `==`.
    pub fn equal(&self, other: &Time) -> bool {
        self == other
    }

    /// Returns the last multiple of `duration`, counted from the beginning of the year 1 (UTC), that is not after this
    /// time. If `duration` is zero, returns this time.
    ///
    /// # Examples
    /// ```
    /// use silken::time::{RFC3339, Time};
    /// use std::time::Duration;
    /// let time = Time::parse(RFC3339, "2024-02-29T12:34:56Z").unwrap();
    /// assert_eq!(time.truncate(Duration::from_secs(3600)).to_string(), "2024-02-29T12:00:00Z");
    /// ```
    #[must_use]
    pub fn truncate(&self, duration: Duration) -> Self {
        let step_ns = i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
        if step_ns == 0 {
            return self.clone();
        }
        let since_zero_ns = self.unix_nano() + ZERO_TO_UNIX_S * NS_PER_S;
        let truncated_ns = self.unix_nano() - since_zero_ns.rem_euclid(step_ns);
        // A step longer than all of history leads before its beginning: then the result is the earliest time.
        let timestamp = Timestamp::from_nanosecond(truncated_ns).unwrap_or(Timestamp::MIN);
        Self(timestamp.to_zoned(self.0.time_zone().clone()))
    }

    /// Returns the year.
    pub fn year(&self) -> i16 {
        self.0.year()
    }

    /// Returns the month.
    pub fn month(&self) -> Month {
        Month::from_number(self.0.month())
    }

    /// Returns the day of the month, from 1.
    pub fn day(&self) -> i8 {
        self.0.day()
    }

    /// Returns the hour, from 0 to 23.
    pub fn hour(&self) -> i8 {
        self.0.hour()
    }

    /// Returns the minute, from 0 to 59.
    pub fn minute(&self) -> i8 {
        self.0.minute()
    }

    /// Returns the second, from 0 to 59.
    pub fn second(&self) -> i8 {
        self.0.second()
    }

    /// Returns the nanosecond within the second.
    pub fn nanosecond(&self) -> i32 {
        self.0.subsec_nanosecond()
    }

    /// Returns the day of the week.
    pub fn weekday(&self) -> Weekday {
        Weekday::from_number(self.0.weekday().to_sunday_zero_offset())
    }

    /// Returns the day of the year, from 1.
    pub fn year_day(&self) -> i16 {
        self.0.day_of_year()
    }

    /// Returns the year and the week to which ISO 8601 assigns this day.
    pub fn iso_week(&self) -> (i16, i8) {
        let week = self.0.date().iso_week_date();
        (week.year(), week.week())
    }
}

/// Makes a date from these numbers; months and days that are out of range are carried.
fn carried_date(year: i64, month: i64, day: i64) -> Result<civil::Date, jiff::Error> {
    let months = year * 12 + (month - 1);
    // A year that fits no i16 is refused by jiff as it would refuse this one.
    let year = i16::try_from(months.div_euclid(12)).unwrap_or(i16::MAX);
    let first = civil::Date::new(year, months.rem_euclid(12) as i8 + 1, 1)?;
    first.checked_add(Span::new().try_days(day - 1)?)
}

#[track_caller]
fn in_range<T>(time: Result<T, jiff::Error>) -> T {
    time.unwrap_or_else(|error| panic!("a time out of range: {error}"))
}

impl std::ops::Add<Duration> for Time {
    type Output = Time;

    fn add(self, duration: Duration) -> Time {
        Time::add(&self, duration)
    }
}

impl std::ops::Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, duration: Duration) -> Time {
        Time::sub(&self, duration)
    }
}

/// Writes the time in the form of RFC 3339.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.format(layout::RFC3339_NANO))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<SystemTime> for Time {
    /// Converts into a time in UTC.
    ///
    /// # Panics
    /// If the result is outside the years -9999 to 9999.
    fn from(time: SystemTime) -> Self {
        Self(in_range(Timestamp::try_from(time)).to_zoned(TimeZone::UTC))
    }
}

impl From<Time> for SystemTime {
    fn from(time: Time) -> Self {
        time.0.timestamp().into()
    }
}
