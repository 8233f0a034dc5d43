//! Where does the compiler point when an arm of a `select!` is wrong, and what does it say?
//!
//! `select!` is a `macro_rules!` macro, in crate `silken`. Such a macro can only report errors about all of itself. Two
//! procedural macros help it. It calls [`error`] with the tokens at which its rules end, and gets a `compile_error!` at
//! the arm. It passes code to [`at`], which the compiler then takes for code at the place of the user's expression: so
//! an error of types (a receiver of std's, a handle that is no arm) is reported there.
//!
//! A select that compiles calls `at` twice per arm, and never `error`. The first word of an operand gives the place: a
//! procedural macro cannot join places yet.

use proc_macro2::{Delimiter, Group, Spacing, Span, TokenStream, TokenTree};

/// The forms of an arm, for what resembles none of them.
const FORMS: &str = "expected an arm of select!: `recv(rx) -> pattern => body`, `send(tx, message) -> pattern => body`, \
    `on(arm) -> pattern => body`, `pattern = recv(rx) => body`, or one `default => body` or `default(duration) => body`";

const ELSE: &str = "`else(pattern) => body` belongs behind an arm of the form `pattern = recv(rx) => body`, for results that do not match; \
    what happens when no arm is ready is `default => body`";

/// The code of `(operand) code…`, at the place of the operand.
pub(crate) fn at(input: TokenStream) -> TokenStream {
    let mut tokens = input.into_iter();
    let Some(TokenTree::Group(operand)) = tokens.next() else {
        return tokens.collect();
    };
    match flat(operand.stream()).first() {
        Some(first) => relocate(tokens.collect(), first.span()),
        None => tokens.collect(),
    }
}

/// Names mean what they meant; only the place changes.
fn relocate(tokens: TokenStream, place: Span) -> TokenStream {
    let relocated = tokens.into_iter().map(|token| {
        let span = token.span().located_at(place);
        let mut token = match token {
            TokenTree::Group(group) => TokenTree::Group(Group::new(group.delimiter(), relocate(group.stream(), place))),
            token => token,
        };
        token.set_span(span);
        token
    });
    relocated.collect()
}

/// The error about an arm that no rule of `select!` matches, or about the body of one: `arm (tokens)`, with the rest of
/// the select from that arm on, or `body (tokens of the arm) (tokens)`, with the rest from that body on.
pub(crate) fn error(input: TokenStream) -> TokenStream {
    let mut is_body = false;
    let mut groups = Vec::new();
    for token in input {
        match token {
            TokenTree::Group(group) => groups.push(group.stream()),
            token => is_body = token.to_string() == "body",
        }
    }
    let rest: Vec<TokenTree> = groups.pop().into_iter().flatten().collect();
    let error = if is_body {
        wrong_body(&flat(groups.pop().unwrap_or_default()), &rest)
    } else {
        wrong_arm(&rest)
    };
    error.to_compile_error()
}

/// An error at all of these tokens.
fn mark(tokens: &[TokenTree], message: impl std::fmt::Display) -> syn::Error {
    syn::Error::new_spanned(tokens.iter().cloned().collect::<TokenStream>(), message)
}

/// The tokens without the groups around them.
fn flat(tokens: TokenStream) -> Vec<TokenTree> {
    let inside = tokens.into_iter().flat_map(|token| match token {
        TokenTree::Group(group) => flat(group.stream()),
        token => vec![token],
    });
    inside.collect()
}

fn word(token: Option<&TokenTree>) -> Option<String> {
    match token {
        Some(TokenTree::Ident(word)) => Some(word.to_string()),
        _ => None,
    }
}

fn operands(token: Option<&TokenTree>) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => Some(group),
        _ => None,
    }
}

/// Whether `=>` or `->` begins here.
fn is_arrow(tokens: &[TokenTree], first: char) -> bool {
    matches!(tokens, [TokenTree::Punct(a), TokenTree::Punct(b), ..]
        if a.as_char() == first && a.spacing() == Spacing::Joint && b.as_char() == '>')
}

/// The place of the first token for which `is_it` holds of it and what follows.
fn find(tokens: &[TokenTree], is_it: impl Fn(&[TokenTree]) -> bool) -> Option<usize> {
    (0..tokens.len()).find(|place| is_it(&tokens[*place..]))
}

/// The number of parts between commas.
fn count_parts(group: &Group) -> usize {
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',');
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    tokens.split(is_comma).filter(|part| !part.is_empty()).count()
}

fn wrong_arm(tokens: &[TokenTree]) -> syn::Error {
    // The head of the arm: what comes before its body.
    let end = find(tokens, |rest| is_arrow(rest, '=')).or_else(|| {
        find(
            tokens,
            |rest| matches!(rest[0], TokenTree::Punct(ref comma) if comma.as_char() == ','),
        )
    });
    let (head, rest) = tokens.split_at(end.unwrap_or(tokens.len()));
    if head.is_empty() {
        return mark(&tokens[..tokens.len().min(1)], FORMS);
    }
    let operation = word(head.first()).unwrap_or_default();
    match (operation.as_str(), operands(head.get(1))) {
        ("else", _) => mark(head, ELSE),
        ("default", None) if head.len() == 1 => mark(
            head,
            "a second `default`: a select! has one, as its last arm or elsewhere",
        ),
        ("default" | "timeout", Some(_)) if head.len() == 2 => mark(
            head,
            "a second `default`: a select! has one, with or without a duration",
        ),
        ("recv" | "on", Some(inside)) if count_parts(inside) != 1 => {
            mark(&head[..2], format!("`{operation}(…)` takes one operand"))
        }
        ("send", Some(inside)) if count_parts(inside) != 2 => mark(
            &head[..2],
            "`send(…)` takes a sender and a message: `send(tx, message) -> result => body`",
        ),
        ("recv" | "send" | "on", Some(_)) => incomplete(&operation, head, rest),
        _ => other(head),
    }
}

/// An operation that is right, with something missing behind it.
fn incomplete(operation: &str, head: &[TokenTree], rest: &[TokenTree]) -> syn::Error {
    let has_pattern = is_arrow(&head[2..], '-');
    match (has_pattern, is_arrow(rest, '=')) {
        (false, _) => mark(
            &head[..2],
            format!(
                "this arm has no pattern for its result: `{operation}(…) -> pattern => body`; for one without use, write `-> _`"
            ),
        ),
        (true, false) => mark(
            head,
            format!("this arm has no body: `{operation}(…) -> pattern => body`"),
        ),
        (true, true) => mark(head, FORMS),
    }
}

/// An arm that begins with no operation.
fn other(head: &[TokenTree]) -> syn::Error {
    let is_sign = |rest: &[TokenTree]| matches!(rest, [TokenTree::Punct(sign), ..] if sign.as_char() == '=' && sign.spacing() == Spacing::Alone);
    match find(head, is_sign).map(|place| &head[place + 1..]) {
        Some(source) if !source.is_empty() => mark(
            source,
            "behind `pattern =` an arm of select! has an operation: `recv(rx)`, `send(tx, message)` or `on(arm)`",
        ),
        _ if matches!(head[0], TokenTree::Punct(_)) => mark(
            head,
            "the body of the arm before ends at its closing brace: put parentheses around the whole expression, or a comma behind the brace",
        ),
        _ => mark(head, FORMS),
    }
}

/// A body that is none, or is not followed by a comma.
fn wrong_body(operands: &[TokenTree], tokens: &[TokenTree]) -> syn::Error {
    if tokens.is_empty() {
        return mark(operands, "the arm has no body behind its `=>`");
    }
    let begins_an_arm = |rest: &[TokenTree]| {
        let behind = length_of_head(rest).map_or(&[][..], |length| &rest[length..]);
        is_arrow(behind, '-') || is_arrow(behind, '=')
    };
    match find(tokens, begins_an_arm) {
        Some(place) if place > 0 => mark(
            &tokens[place..(place + 2).min(tokens.len())],
            "a comma is missing before this arm: only a body in braces needs none",
        ),
        _ => mark(
            tokens,
            "expected the body of an arm: an expression, and a comma behind it",
        ),
    }
}

/// How many tokens an arm's operation has, if one begins here.
fn length_of_head(tokens: &[TokenTree]) -> Option<usize> {
    let name = word(tokens.first())?;
    match (name.as_str(), operands(tokens.get(1))) {
        ("recv" | "send" | "on" | "default" | "timeout" | "else", Some(_)) => Some(2),
        ("default", None) => Some(1),
        _ => None,
    }
}
