//! How are numbers shown to people? In columns, with units, thousands apart.

use std::fmt::Write as _;

/// Rows of text under a heading; the first column is left-aligned, the others right-aligned.
pub struct Table {
    columns: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with its heading.
    pub fn new(heading: &[&str]) -> Table {
        Table {
            columns: heading.len(),
            rows: vec![heading.iter().map(|&title| title.to_owned()).collect()],
        }
    }

    /// Adds a row. One that is shorter than the heading has a last cell that runs on.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text, a rule under its heading.
    pub fn render(&self) -> String {
        let full = || self.rows.iter().filter(|row| row.len() == self.columns);
        let widths: Vec<usize> = (0..self.columns)
            .map(|column| full().map(|row| row[column].chars().count()).max().unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let width = widths[column];
                let runs_on = row.len() < self.columns && column + 1 == row.len();
                let written = match (column, runs_on) {
                    (0, _) => write!(line, "{cell:<width$}"),
                    (_, true) => write!(line, "  {cell}"),
                    (_, false) => write!(line, "  {cell:>width$}"),
                };
                written.expect("writing into a String does not fail");
            }
            text.push_str(line.trim_end());
            text.push('\n');
            if number == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                text.push_str(&rule.join("  "));
                text.push('\n');
            }
        }
        text
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A time with three digits and the unit that suits it.
pub fn duration(time_ns: u64) -> String {
    let (value, unit) = match time_ns {
        0..1_000 => (time_ns as f64, "ns"),
        1_000..1_000_000 => (time_ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (time_ns as f64 / 1e6, "ms"),
        _ => (time_ns as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.decimals$} {unit}")
}

/// A size in MiB.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_a_short_row_runs_on() {
        let mut table = Table::new(&["engine", "n", "rate"]);
        table.row(vec!["threads".to_owned(), "100".to_owned(), "9".to_owned()]);
        table.row(vec!["x".to_owned(), "n/a: a long reason".to_owned()]);
        let expected = "engine     n  rate\n-------  ---  ----\nthreads  100     9\nx        n/a: a long reason\n";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [12, 1_500, 45_600_000, 2_000_000_000].map(duration),
            ["12.0 ns", "1.50 µs", "45.6 ms", "2.00 s"]
        );
        assert_eq!(mebibytes(3 << 19), "1.5 MiB");
    }
}
