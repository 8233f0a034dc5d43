//! What is a Rust file, as the rules see it? Lines, each split into code and comment, and what `syntax` finds in it.
//!
//! syn drops ordinary comments, and half of the rules are about them: notes on `unsafe`, partners of orderings, widths.
//! So one pass splits each line: `code` has comments and the content of literals blanked (columns stay where they
//! were), `comment` has the comment text. Everything that is a question about Rust itself is put to [`Syntax`].

use super::syntax::Syntax;

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
    /// What the file says.
    pub syntax: Syntax,
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
    /// Splits and parses `text`.
    pub fn new(path: &str, text: &str) -> Self {
        let mut lines = split(text);
        let syntax = Syntax::of(text);
        let is_test = |index: usize| is_test_path(path) || syntax.tests.iter().any(|lines| lines.contains(&index));
        for (index, line) in lines.iter_mut().enumerate() {
            line.test = is_test(index);
        }
        Source {
            path: path.to_string(),
            lines,
            syntax,
        }
    }

    /// Whether the line belongs to a test; one past the end does not.
    pub fn is_test(&self, index: usize) -> bool {
        self.lines.get(index).is_some_and(|line| line.test)
    }

    /// All code, joined with newlines.
    #[cfg(test)]
    pub fn code(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(|line| line.code.as_str()).collect();
        lines.join("\n")
    }
}

/// Files that hold nothing but tests.
pub fn is_test_path(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(name, "tests.rs" | "loom_tests.rs") || path.split('/').any(|folder| folder == "tests")
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
