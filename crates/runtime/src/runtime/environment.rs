//! What do the variables of the environment say, and in which form?

use crate::sched;
use std::io;
use std::time::Duration;

/// The value of a variable of the environment. `wanted` describes the accepted values, for the error.
pub(super) fn from_environment<T>(
    variable: &str,
    wanted: &str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> io::Result<Option<T>> {
    let Ok(text) = std::env::var(variable) else {
        return Ok(None);
    };
    parse(text.trim()).map(Some).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the environment's {variable}={text} is not understood: {wanted}, or unset"),
        )
    })
}

pub(super) const A_SIZE: &str = "bytes, or with k, m or g, as in 256k";

/// Parses a number of bytes, perhaps with a suffix: `65536`, `64k`, `64KiB`, `1m`.
pub(super) fn parse_bytes(text: &str) -> Option<usize> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        _ => return None,
    };
    text[..digits]
        .parse::<usize>()
        .ok()?
        .checked_mul(unit)
        .filter(|bytes| *bytes > 0)
}

/// Parses how long a coroutine may run: a time, or `off`.
pub(super) fn parse_slice(text: &str) -> Option<Option<Duration>> {
    match text {
        "off" => Some(None),
        _ => parse_time(text).map(Some),
    }
}

/// Parses a time: `0`, `500ms`, `2s`.
pub(super) fn parse_time(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let count: u64 = text[..digits].parse().ok()?;
    match text[digits..].trim() {
        "us" => Some(Duration::from_micros(count)),
        "ms" => Some(Duration::from_millis(count)),
        "s" => Some(Duration::from_secs(count)),
        "" if count == 0 => Some(Duration::ZERO),
        _ => None,
    }
}

/// Far more OS threads than any machine runs at one time; a larger number is a mistake of the caller's.
pub(super) const WORKERS_MAX: usize = 1 << 14;

pub(super) const A_NUMBER_OF_THREADS: &str = "a number from 1 to 16384";

/// Parses a number of threads.
pub(super) fn parse_threads(text: &str) -> Option<usize> {
    text.parse().ok().filter(|threads| (1..=WORKERS_MAX).contains(threads))
}

pub(super) fn flag_from_environment(variable: &str) -> io::Result<Option<bool>> {
    from_environment(variable, "1 or 0", |text| match text {
        "1" | "true" | "yes" => Some(true),
        "0" | "false" | "no" | "" => Some(false),
        _ => None,
    })
}

/// Whether the environment asks for a report on the use of stacks.
pub(super) fn stack_report_from_environment() -> io::Result<bool> {
    Ok(flag_from_environment("SILKEN_STACK_REPORT")?.unwrap_or(false))
}

/// Whether the environment asks for a report on what a runtime has done.
pub(super) fn report_from_environment() -> io::Result<bool> {
    Ok(flag_from_environment("SILKEN_REPORT")?.unwrap_or(false))
}

/// Whether the environment asks for light coroutines. It is an error if it does and no code has vouched for them: a
/// user who sets a variable must not be left to believe that it has an effect.
pub(super) fn light_from_environment() -> io::Result<bool> {
    const VARIABLE: &str = "SILKEN_LIGHT";
    let wanted = flag_from_environment(VARIABLE)?;
    if wanted == Some(true) && !sched::is_light_allowed() {
        let value = std::env::var(VARIABLE).unwrap_or_default();
        return Err(sched::not_allowed(&format!("{VARIABLE}={value}")));
    }
    Ok(wanted == Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_understood() {
        assert_eq!(parse_bytes("65536"), Some(65536));
        assert_eq!(parse_bytes("64k"), Some(65536));
        assert_eq!(parse_bytes("64 KiB"), Some(65536));
        assert_eq!(parse_bytes("1m"), Some(1 << 20));
        assert_eq!(parse_bytes("0"), None);
        assert_eq!(parse_bytes("1x"), None);
        assert_eq!(parse_bytes(""), None);
    }

    #[test]
    fn times_are_understood() {
        assert_eq!(parse_time("0"), Some(Duration::ZERO));
        assert_eq!(parse_time("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(parse_time("3 s"), Some(Duration::from_secs(3)));
        assert_eq!(parse_slice("off"), Some(None));
        assert_eq!(parse_slice("100us"), Some(Some(Duration::from_micros(100))));
        assert_eq!(parse_slice("yes"), None);
        assert_eq!(parse_time("3"), None);
        assert_eq!(parse_time("3m"), None);
        assert_eq!(parse_time(""), None);
    }
}
