//! How are Go's layouts translated to `strftime` directives, which are what jiff knows?
//!
//! A layout is an example: Monday, the 2nd of January 2006, 15:04:05, seven hours behind UTC. Each known piece of that
//! example becomes a directive; everything else stands for itself. Where one piece begins another, the longer one is
//! tried first (`January` before `Jan`, `002` before `02`). As in Go, a fraction is a piece only behind the dot or
//! comma that follows the seconds.

/// The layout of `Mon Jan 2 15:04:05 2006`.
pub const ANSIC: &str = "Mon Jan _2 15:04:05 2006";
/// The layout of `02 Jan 06 15:04 -0700`.
pub const RFC822Z: &str = "02 Jan 06 15:04 -0700";
/// The layout of `Mon, 02 Jan 2006 15:04:05 -0700`.
pub const RFC1123Z: &str = "Mon, 02 Jan 2006 15:04:05 -0700";
/// The layout of `2006-01-02T15:04:05Z` and `2006-01-02T15:04:05-07:00`.
pub const RFC3339: &str = "2006-01-02T15:04:05Z07:00";
/// The layout [`RFC3339`] with a fraction of a second, as long as it is.
pub const RFC3339_NANO: &str = "2006-01-02T15:04:05.999999999Z07:00";
/// The layout of `3:04PM`.
pub const KITCHEN: &str = "3:04PM";
/// The layout of `2006-01-02`.
pub const DATE: &str = "2006-01-02";
/// The layout of `2006-01-02 15:04:05`.
pub const DATE_TIME: &str = "2006-01-02 15:04:05";

/// The pieces of a layout and their directives, longest first among those with a common beginning.
const PIECES: &[(&str, &str)] = &[
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("2006", "%Y"),
    ("-07:00", "%:z"),
    ("-0700", "%z"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("_2", "%e"),
    ("PM", "%p"),
    ("pm", "%P"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
    ("4", "%-M"),
    ("5", "%-S"),
    ("%", "%%"),
];

/// Go's offset, which is `Z` for UTC.
const ZULU: &[(&str, &str)] = &[("Z07:00", "%:z"), ("Z0700", "%z")];

/// Returns the `strftime` format of a layout; a layout with a `%` in it is such a format already. `is_utc` decides what
/// `Z07:00` writes.
pub(super) fn to_strftime(layout: &str, is_utc: bool) -> String {
    if layout.contains('%') {
        return layout.to_string();
    }
    let mut format = String::new();
    let mut rest = layout;
    while let Some(first) = rest.chars().next() {
        let zulu = ZULU.iter().find(|(piece, _)| rest.starts_with(piece));
        let (length, directive) = if let Some((piece, directive)) = zulu {
            (piece.len(), if is_utc { "Z" } else { directive }.to_string())
        } else if let Some((length, directive)) = fraction(rest, &format) {
            (length, directive)
        } else if let Some((piece, directive)) = PIECES.iter().find(|(piece, _)| rest.starts_with(piece)) {
            (piece.len(), (*directive).to_string())
        } else {
            (first.len_utf8(), first.to_string())
        };
        format.push_str(&directive);
        rest = &rest[length..];
    }
    format
}

/// `.000` (this number of digits) or `.999` (as many digits as there are), directly behind the seconds. A comma is
/// kept.
fn fraction(rest: &str, before: &str) -> Option<(usize, String)> {
    if !(before.ends_with("%S") || before.ends_with("%-S")) {
        return None;
    }
    let separator = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let kind = rest[1..].chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let digits = rest[1..].chars().take_while(|c| *c == kind).count();
    // The number of digits of a nanosecond. Go takes more for plain text.
    if digits > 9 {
        return None;
    }
    let directive = match (separator, kind) {
        ('.', '0') => format!("%.{digits}f"),
        ('.', _) => "%.f".to_string(),
        (_, _) => format!(",%{digits}f"),
    };
    Some((1 + digits, directive))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_become_directives() {
        assert_eq!(to_strftime(RFC3339, true), "%Y-%m-%dT%H:%M:%SZ");
        assert_eq!(to_strftime(RFC3339, false), "%Y-%m-%dT%H:%M:%S%:z");
        assert_eq!(to_strftime(ANSIC, true), "%a %b %e %H:%M:%S %Y");
        assert_eq!(to_strftime(KITCHEN, true), "%-I:%MPM".replace("PM", "%p"));
        assert_eq!(
            to_strftime("Monday, January 2 2006 (day 002)", true),
            "%A, %B %-d %Y (day %j)"
        );
    }

    #[test]
    fn fractions_stand_behind_seconds_only() {
        assert_eq!(to_strftime("15:04:05.000", true), "%H:%M:%S%.3f");
        assert_eq!(to_strftime("15:04:05.999999999Z07:00", true), "%H:%M:%S%.fZ");
        assert_eq!(to_strftime("15:04:05,000000", true), "%H:%M:%S,%6f");
        assert_eq!(to_strftime("v9.000", true), "v9.000");
    }

    #[test]
    fn a_strftime_format_stays_what_it_is() {
        assert_eq!(to_strftime("%F 2006", true), "%F 2006");
    }
}
