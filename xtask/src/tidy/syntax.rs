//! What does a file say, as Rust? Its paths, functions, types, attributes and `unsafe`s, each with its line.
//!
//! Two readers share the work. *syn* parses the file into items: how long a function is, what belongs to a test, which
//! types there are. To syn a macro's body is a list of tokens, and the rules hold inside macros too. So words and paths
//! are looked for in the *tokens* of the whole file, as proc-macro2 reads them: neither comments nor the inside of
//! literals are tokens, and brackets are closed already. A `use` among the tokens is parsed by syn, so that a tree of
//! any depth becomes a list of paths.
//!
//! Comments are in neither; they stay with `source`. Lines are counted from 0, as there.

use proc_macro2::{Delimiter, Ident, Spacing, Span, TokenStream, TokenTree};
use std::ops::RangeInclusive;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, UseTree};

/// What a file says.
#[derive(Debug, Default)]
pub struct Syntax {
    /// Why the file is no Rust, and where.
    pub error: Option<(usize, String)>,
    /// Paths of two names or more, imports, and the names of macros that are called.
    pub paths: Vec<Named>,
    /// Every `unsafe`.
    pub unsafes: Vec<Unsafe>,
    /// Every `cfg`, `cfg!` and `cfg_attr` that names a target.
    pub cfgs: Vec<Cfg>,
    /// Each function with a body.
    pub functions: Vec<Function>,
    /// Structs, enums, unions and traits of the file's own level, with their lines.
    pub types: Vec<(String, usize)>,
    /// Modules that are excused from being used, by the line of the attribute.
    pub dead_modules: Vec<usize>,
    /// The lines of test items.
    pub tests: Vec<RangeInclusive<usize>>,
}

/// A path that is named somewhere.
#[derive(Debug, Clone)]
pub struct Named {
    /// `a::b::c`; the end of a glob import is `*`.
    pub path: Vec<String>,
    /// The line of its first name, of an import the line of the tree's first name.
    pub line: usize,
    /// How it is named.
    pub role: Role,
    /// Nothing precedes the first name: no `::` and no `$`.
    pub is_head: bool,
    /// The modules of this file that it stands in, outermost first.
    pub inside: Vec<String>,
}

/// How a path is named.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    /// In an expression, a type, an attribute.
    Mentioned,
    /// With a `!` behind it.
    Called,
    /// By `use`.
    Imported {
        /// The name that it has here.
        name: String,
    },
}

/// An `unsafe`.
#[derive(Debug, Clone, Copy)]
pub struct Unsafe {
    /// Where.
    pub line: usize,
    /// It claims that a duty is met: a block or an impl, and not a declaration.
    pub claims: bool,
}

/// A condition that names a target.
#[derive(Debug, Clone, Copy)]
pub struct Cfg {
    /// Where.
    pub line: usize,
    /// What it lets stand or fall is a `compile_error!`.
    pub refuses: bool,
}

/// A function with a body.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The line of `fn`.
    pub line: usize,
    /// How many lines from there to the closing brace.
    pub lines: usize,
}

impl Syntax {
    /// Reads a file. A text that is none may be the inside of a function, as an example is.
    pub fn of(text: &str) -> Self {
        match parse(text).or_else(|error| parse(&format!("fn example() {{{text}\n}}")).map_err(|_| error)) {
            Ok((tokens, file)) => {
                let mut found = Syntax::default();
                Words {
                    found: &mut found,
                    inside: Vec::new(),
                    refuses: false,
                }
                .walk(tokens);
                let mut items = Items { found: &mut found };
                items.visit_file(&file);
                items.types(&file);
                found
            }
            Err(error) => Syntax {
                error: Some((line(error.span()), error.to_string())),
                ..Syntax::default()
            },
        }
    }

    /// The paths that `wanted` is a part of.
    pub fn naming<'s>(&'s self, wanted: &'s [&'s str]) -> impl Iterator<Item = &'s Named> + 's {
        self.paths
            .iter()
            .filter(move |named| named.path.windows(wanted.len()).any(|part| part == wanted))
    }
}

fn parse(text: &str) -> syn::Result<(TokenStream, syn::File)> {
    let tokens: TokenStream = text.parse()?;
    syn::parse2(tokens.clone()).map(|file| (tokens, file))
}

fn line(span: Span) -> usize {
    span.start().line.saturating_sub(1)
}

/// Finds words and paths in tokens.
struct Words<'f> {
    found: &'f mut Syntax,
    /// The modules around.
    inside: Vec<String>,
    /// The attribute around belongs to a `compile_error!`.
    refuses: bool,
}

impl Words<'_> {
    fn walk(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at += self.step(&tokens, at);
        }
    }

    /// Reads what begins at `at`; how many tokens it is.
    fn step(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        match &tokens[at] {
            TokenTree::Group(group) => self.walk(group.stream()),
            TokenTree::Punct(punct) if punct.as_char() == '#' => return self.attribute(tokens, at),
            TokenTree::Ident(ident) => return self.word(ident, tokens, at),
            _ => {}
        }
        1
    }

    /// `#[…]`, `#![…]`; what follows decides what it is for.
    fn attribute(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let inner = usize::from(is_punct(tokens.get(at + 1), '!'));
        let Some(TokenTree::Group(group)) = tokens.get(at + 1 + inner) else {
            return 1;
        };
        let next = at + 2 + inner;
        let around = self.refuses;
        self.refuses = is_word(tokens.get(next), "compile_error") && is_punct(tokens.get(next + 1), '!');
        self.walk(group.stream());
        self.refuses = around;
        2 + inner
    }

    fn word(&mut self, ident: &Ident, tokens: &[TokenTree], at: usize) -> usize {
        let (word, next) = (ident.to_string(), tokens.get(at + 1));
        match word.as_str() {
            "unsafe" => {
                let claims = brace(next).is_some() || is_word(next, "impl");
                let line = line(ident.span());
                self.found.unsafes.push(Unsafe { line, claims });
                1
            }
            "use" => self.import(tokens, at).unwrap_or(1),
            "extern" => match (is_word(next, "crate"), tokens.get(at + 2)) {
                (true, Some(TokenTree::Ident(name))) => {
                    let name = name.to_string();
                    self.push(vec![name.clone()], ident.span(), Role::Imported { name }, true);
                    3
                }
                _ => 1,
            },
            "mod" => match (next, brace(tokens.get(at + 2))) {
                (Some(TokenTree::Ident(name)), Some(body)) => {
                    self.inside.push(name.to_string());
                    self.walk(body);
                    self.inside.pop();
                    3
                }
                _ => 1,
            },
            _ => {
                if matches!(word.as_str(), "cfg" | "cfg_attr") {
                    self.condition(ident, tokens, at);
                }
                self.path(word, ident, tokens, at)
            }
        }
    }

    /// `cfg(…)`, `cfg!(…)`, `cfg_attr(…)`. The group is walked by the caller.
    fn condition(&mut self, ident: &Ident, tokens: &[TokenTree], at: usize) {
        let called = usize::from(is_punct(tokens.get(at + 1), '!'));
        let Some(TokenTree::Group(group)) = tokens.get(at + 1 + called) else {
            return;
        };
        if names_target(group.stream()) {
            self.found.cfgs.push(Cfg {
                line: line(ident.span()),
                refuses: self.refuses,
            });
        }
    }

    /// The path that begins with the word at `at`; how many tokens it is.
    fn path(&mut self, first: String, ident: &Ident, tokens: &[TokenTree], at: usize) -> usize {
        let mut path = vec![first];
        let mut length = 1;
        while is_colons(tokens, at + length)
            && let Some(TokenTree::Ident(name)) = tokens.get(at + length + 2)
        {
            path.push(name.to_string());
            length += 3;
        }
        let calls =
            is_punct(tokens.get(at + length), '!') && matches!(tokens.get(at + length + 1), Some(TokenTree::Group(_)));
        if path.len() > 1 || calls {
            let role = if calls { Role::Called } else { Role::Mentioned };
            self.push(path, ident.span(), role, is_head(tokens, at));
        }
        length
    }

    /// `use a::{b, c::*};`; how many tokens it is, or none if syn takes it for something else.
    fn import(&mut self, tokens: &[TokenTree], at: usize) -> Option<usize> {
        let length = 1 + tokens[at..].iter().position(|token| is_punct(Some(token), ';'))?;
        let item: TokenStream = tokens[at..at + length].iter().cloned().collect();
        let item: syn::ItemUse = syn::parse2(item).ok()?;
        let is_head = item.leading_colon.is_none();
        for (path, name) in leaves(&item.tree) {
            self.push(path, item.tree.span(), Role::Imported { name }, is_head);
        }
        Some(length)
    }

    fn push(&mut self, path: Vec<String>, span: Span, role: Role, is_head: bool) {
        self.found.paths.push(Named {
            path,
            line: line(span),
            role,
            is_head,
            inside: self.inside.clone(),
        });
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_word(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(ident)) if ident == wanted)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    let joint = matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.spacing() == Spacing::Joint);
    joint && is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

/// Whether a path may begin at `at`.
fn is_head(tokens: &[TokenTree], at: usize) -> bool {
    let before = tokens[..at].last();
    let is_reached = is_punct(before, '$') || at > 1 && is_colons(tokens, at - 2);
    !is_reached
}

fn brace(token: Option<&TokenTree>) -> Option<TokenStream> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => Some(group.stream()),
        _ => None,
    }
}

fn names_target(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident.to_string().starts_with("target_"),
        TokenTree::Group(group) => names_target(group.stream()),
        _ => false,
    })
}

/// The paths of a use tree, each with the name that it gets.
fn leaves(tree: &UseTree) -> Vec<(Vec<String>, String)> {
    let leaf = |word: String, name: String| vec![(vec![word], name)];
    match tree {
        UseTree::Name(name) => leaf(name.ident.to_string(), name.ident.to_string()),
        UseTree::Rename(rename) => leaf(rename.ident.to_string(), rename.rename.to_string()),
        UseTree::Glob(_) => leaf("*".to_string(), "*".to_string()),
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
        UseTree::Path(path) => {
            let mut below = leaves(&path.tree);
            for (names, name) in &mut below {
                // `a::{self}` names `a` itself.
                if names[..] == ["self"] {
                    names.clear();
                    if name == "self" {
                        *name = path.ident.to_string();
                    }
                }
                names.insert(0, path.ident.to_string());
            }
            below
        }
    }
}

/// Finds functions, types and test items in the parsed file.
struct Items<'f> {
    found: &'f mut Syntax,
}

impl Items<'_> {
    fn types(&mut self, file: &syn::File) {
        for item in &file.items {
            let ident = match item {
                syn::Item::Struct(item) => &item.ident,
                syn::Item::Enum(item) => &item.ident,
                syn::Item::Union(item) => &item.ident,
                syn::Item::Trait(item) => &item.ident,
                _ => continue,
            };
            self.found.types.push((ident.to_string(), line(ident.span())));
        }
    }

    fn function(&mut self, name: String, start: Span, end: Span) {
        let (first, last) = (line(start), end.end().line.saturating_sub(1));
        self.found.functions.push(Function {
            name,
            line: first,
            lines: last - first + 1,
        });
    }

    fn note_test(&mut self, attributes: &[Attribute], whole: &impl Spanned) {
        if attributes.iter().any(is_test) {
            let span = whole.span();
            self.found.tests.push(line(span)..=span.end().line.saturating_sub(1));
        }
    }

    fn note_dead(&mut self, attributes: &[Attribute]) {
        let dead = attributes.iter().filter(|attribute| allows_dead_code(attribute));
        self.found
            .dead_modules
            .extend(dead.map(|attribute| line(attribute.span())));
    }

    /// Functions in a macro's tokens: `fn`, a name, and the next braces before a `;`.
    fn in_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Group(group) => self.in_tokens(group.stream()),
                TokenTree::Ident(ident) if ident == "fn" => {
                    let by_parameter = usize::from(is_punct(tokens.get(at + 1), '$'));
                    let Some(TokenTree::Ident(name)) = tokens.get(at + 1 + by_parameter) else {
                        continue;
                    };
                    let end = tokens[at..]
                        .iter()
                        .take_while(|token| !is_punct(Some(token), ';'))
                        .find(|token| brace(Some(token)).is_some());
                    if let Some(end) = end {
                        let mark = if by_parameter == 1 { "$" } else { "" };
                        self.function(format!("{mark}{name}"), ident.span(), end.span());
                    }
                }
                _ => {}
            }
        }
    }
}

/// `#[test]`, or a `cfg` that holds in tests only.
fn is_test(attribute: &Attribute) -> bool {
    let meta = &attribute.meta;
    match meta {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) if list.path.is_ident("cfg") => list
            .parse_args::<syn::Meta>()
            .is_ok_and(|condition| needs_test(&condition)),
        _ => false,
    }
}

fn needs_test(condition: &syn::Meta) -> bool {
    match condition {
        syn::Meta::Path(path) => path.is_ident("test"),
        syn::Meta::List(list) => {
            let parts =
                list.parse_args_with(syn::punctuated::Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated);
            parts.is_ok_and(
                |parts| match list.path.get_ident().map(ToString::to_string).as_deref() {
                    Some("all") => parts.iter().any(needs_test),
                    Some("any") => !parts.is_empty() && parts.iter().all(needs_test),
                    _ => false,
                },
            )
        }
        syn::Meta::NameValue(_) => false,
    }
}

fn allows_dead_code(attribute: &Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else {
        return false;
    };
    let excuses = list.path.is_ident("allow") || list.path.is_ident("expect");
    let mut lints = list.tokens.clone().into_iter();
    excuses && lints.any(|token| is_word(Some(&token), "dead_code") || is_word(Some(&token), "unused"))
}

/// The attributes of a node of one of these kinds.
macro_rules! attributes {
    ($node:expr, $kind:ident: $($variant:ident)*) => {
        match $node {
            $(syn::$kind::$variant(node) => &node.attrs[..],)*
            _ => &[],
        }
    };
}

impl<'ast> Visit<'ast> for Items<'_> {
    fn visit_file(&mut self, file: &'ast syn::File) {
        self.note_dead(&file.attrs);
        visit::visit_file(self, file);
    }

    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = attributes!(item, Item: Const Enum ExternCrate Fn ForeignMod Impl Macro Mod Static Struct Trait
            TraitAlias Type Union Use);
        self.note_test(attributes, item);
        match item {
            syn::Item::Mod(item) => self.note_dead(&item.attrs),
            syn::Item::Verbatim(tokens) => self.in_tokens(tokens.clone()),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        self.note_test(attributes!(item, ImplItem: Const Fn Type Macro), item);
        visit::visit_impl_item(self, item);
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        self.note_test(attributes!(item, TraitItem: Const Fn Type Macro), item);
        visit::visit_trait_item(self, item);
    }

    fn visit_stmt(&mut self, statement: &'ast syn::Stmt) {
        self.note_test(attributes!(statement, Stmt: Local Macro), statement);
        visit::visit_stmt(self, statement);
    }

    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        let attributes = attributes!(expression, Expr: Assign Block Call If Loop Macro Match MethodCall Unsafe While);
        self.note_test(attributes, expression);
        visit::visit_expr(self, expression);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        self.note_test(&field.attrs, field);
        visit::visit_field(self, field);
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        self.note_test(&field.attrs, field);
        visit::visit_field_value(self, field);
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.note_test(&variant.attrs, variant);
        visit::visit_variant(self, variant);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        self.note_test(&arm.attrs, arm);
        visit::visit_arm(self, arm);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let end = item.block.brace_token.span.close();
        self.function(item.sig.ident.to_string(), item.sig.fn_token.span, end);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        let end = item.block.brace_token.span.close();
        self.function(item.sig.ident.to_string(), item.sig.fn_token.span, end);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            let end = body.brace_token.span.close();
            self.function(item.sig.ident.to_string(), item.sig.fn_token.span, end);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.in_tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }
}
