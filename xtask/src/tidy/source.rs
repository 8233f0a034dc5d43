//! A Rust file as the rules see it: per line, what is code and what is comment.
//!
//! Rules that looked at raw text would trip over their own names in strings and over examples in doc comments. So one
//! pass splits each line: `code` has comments and the content of literals blanked (columns stay where they were),
//! `comment` has the comment text. A second pass marks the lines of `#[cfg(test)]` items. Nothing here parses Rust:
//! a lexer and a count of braces answer every question the rules ask, and the file that defeats them has yet to be
//! written. Rejected: syn, since it drops ordinary comments, which half of the rules are about.

/// One line, split.
#[derive(Debug, Default, Clone)]
pub struct Line {
    /// The line with comments and the inside of literals as blanks.
    pub code: String,
    /// The comment text of the line, `//!` and `//` included.
    pub comment: String,
    /// The line as it is.
    pub raw: String,
    /// The line belongs to a `#[cfg(test)]` item, or the whole file is a test file.
    pub test: bool,
}

/// One file, split.
#[derive(Debug)]
pub struct Source {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    /// The lines, first line first.
    pub lines: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Code,
    LineComment,
    BlockComment { depth: u32 },
    Text,
    RawText { hashes: usize },
}

impl Source {
    /// Splits `text`.
    pub fn new(path: &str, text: &str) -> Self {
        let mut lines = split(text);
        if is_test_path(path) {
            lines.iter_mut().for_each(|line| line.test = true);
        } else {
            mark_test_items(&mut lines);
        }
        Source {
            path: path.to_string(),
            lines,
        }
    }

    /// All code, joined with newlines: for patterns that may span lines.
    pub fn code(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(|line| line.code.as_str()).collect();
        lines.join("\n")
    }

    /// The line, counted from 0, of a byte offset into [`code`](Self::code).
    pub fn line_of(code: &str, offset: usize) -> usize {
        code[..offset].matches('\n').count()
    }
}

/// Files that hold nothing but tests.
pub fn is_test_path(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(name, "tests.rs" | "loom_tests.rs") || path.split('/').any(|folder| folder == "tests")
}

/// The members of `a, b::{c, d}, e}`: what commas outside inner braces separate, up to the closing brace.
pub fn group_members(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let mut cuts = vec![0];
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                cuts.push(at + 1);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => cuts.push(at + 1),
            _ => {}
        }
    }
    let pairs: Vec<(usize, usize)> = cuts.windows(2).map(|pair| (pair[0], pair[1] - 1)).collect();
    pairs.into_iter().map(|(from, to)| &group[from..to])
}

/// The byte offsets at which `word` stands alone in `code`.
pub fn find_words(code: &str, word: &str) -> Vec<usize> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = code.as_bytes();
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|&at| at == 0 || !is_word(bytes[at - 1]) || !is_word(bytes[at]))
        .filter(|&at| {
            let end = at + word.len();
            end == bytes.len() || !is_word(bytes[end]) || !is_word(bytes[end - 1])
        })
        .collect()
}

fn split(text: &str) -> Vec<Line> {
    let mut state = State::Code;
    text.lines()
        .map(|raw| {
            let mut line = Line {
                raw: raw.to_string(),
                ..Line::default()
            };
            state = split_line(raw, state, &mut line);
            line
        })
        .collect()
}

fn split_line(raw: &str, mut state: State, line: &mut Line) -> State {
    let chars: Vec<char> = raw.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let (next, length) = step(state, rest, at > 0 && is_identifier(chars[at - 1]));
        let in_comment = matches!(state, State::LineComment | State::BlockComment { .. })
            || matches!(next, State::LineComment | State::BlockComment { .. });
        for &character in &rest[..length] {
            // A literal keeps its delimiters, so that `"x"` is still seen to be something.
            let delimits = state != next || state == State::Code && length == 1;
            line.code.push(if !in_comment && delimits { character } else { ' ' });
            if in_comment {
                line.comment.push(character);
            }
        }
        state = next;
        at += length;
    }
    if state == State::LineComment {
        State::Code
    } else {
        state
    }
}

/// The state after the next token of `rest`, and the token's length in characters.
fn step(state: State, rest: &[char], after_identifier: bool) -> (State, usize) {
    let next = rest.get(1).copied();
    match state {
        State::Code => step_code(rest, after_identifier),
        State::LineComment => (State::LineComment, rest.len()),
        State::BlockComment { depth } => match (rest[0], next) {
            ('*', Some('/')) if depth == 1 => (State::Code, 2),
            ('*', Some('/')) => (State::BlockComment { depth: depth - 1 }, 2),
            ('/', Some('*')) => (State::BlockComment { depth: depth + 1 }, 2),
            _ => (state, 1),
        },
        State::Text => match rest[0] {
            '\\' => (State::Text, rest.len().min(2)),
            '"' => (State::Code, 1),
            _ => (State::Text, 1),
        },
        State::RawText { hashes } => {
            let closes = rest[0] == '"' && rest[1..].iter().take_while(|&&c| c == '#').count() >= hashes;
            if closes { (State::Code, 1 + hashes) } else { (state, 1) }
        }
    }
}

fn step_code(rest: &[char], after_identifier: bool) -> (State, usize) {
    match (rest[0], rest.get(1).copied()) {
        ('/', Some('/')) => (State::LineComment, rest.len()),
        ('/', Some('*')) => (State::BlockComment { depth: 1 }, 2),
        ('"', _) => (State::Text, 1),
        ('r', Some('"' | '#')) if !after_identifier => raw_text(rest, 1),
        ('b' | 'c', Some('r')) if !after_identifier && matches!(rest.get(2), Some('"' | '#')) => raw_text(rest, 2),
        ('\'', _) => (State::Code, character_literal(rest).unwrap_or(1)),
        _ => (State::Code, 1),
    }
}

/// `r"`, `br##"`; an `r#identifier` is no literal.
fn raw_text(rest: &[char], prefix: usize) -> (State, usize) {
    let hashes = rest[prefix..].iter().take_while(|&&c| c == '#').count();
    if rest.get(prefix + hashes) == Some(&'"') {
        (State::RawText { hashes }, prefix + hashes + 1)
    } else {
        (State::Code, 1)
    }
}

/// The length of `'x'` or `'\n'`; a lifetime has none.
fn character_literal(rest: &[char]) -> Option<usize> {
    if rest.get(1) == Some(&'\\') {
        let close = rest.iter().skip(3).position(|&c| c == '\'')?;
        return Some(close + 4);
    }
    (rest.get(2) == Some(&'\'')).then_some(3)
}

fn is_identifier(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// Marks the lines from each `#[cfg(test)]` (or `#[cfg(all(test, …))]`, `#[test]`) to the end of its item.
fn mark_test_items(lines: &mut [Line]) {
    let mut at = 0;
    while at < lines.len() {
        if starts_test_item(&lines[at].code) {
            let end = item_end(lines, at);
            lines[at..=end].iter_mut().for_each(|line| line.test = true);
            at = end;
        }
        at += 1;
    }
}

fn starts_test_item(code: &str) -> bool {
    let code = code.trim_start();
    code.starts_with("#[test]") || code.starts_with("#[cfg(test") || code.starts_with("#[cfg(all(test")
}

/// The last line of the item whose first attribute is on line `start`: at its closing brace, or at a `;` before any.
fn item_end(lines: &[Line], start: usize) -> usize {
    let mut braces = 0usize;
    let mut parens = 0usize;
    for (number, line) in lines.iter().enumerate().skip(start) {
        for byte in line.code.bytes() {
            match byte {
                b'(' | b'[' => parens += 1,
                b')' | b']' => parens = parens.saturating_sub(1),
                b'{' => braces += 1,
                b'}' => {
                    braces = braces.saturating_sub(1);
                    if braces == 0 {
                        return number;
                    }
                }
                b';' if braces == 0 && parens == 0 => return number,
                _ => {}
            }
        }
    }
    lines.len() - 1
}
