//! How are the options in the parentheses of an attribute read? An example: `workers = 4, stack_size = "256KiB"`.
//!
//! Options keep the order of `Builder`'s calls, not the order in which they were written, so that one set of options
//! has one expansion. Sizes are converted here to a number of bytes, so the expansion shows the value that the runtime
//! gets. Units are powers of two, whether spelled `KiB` or `k`. `KB`, which means 1,000 to some users and 1,024 to
//! others, is an error instead of a guess.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::quote;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Expr, Lit, LitInt, LitStr, Path, Token};

/// Every option of both attributes, in the form in which the error about an unknown one lists them.
const KNOWN: &str = "`workers`, `stack_size`, `light`, `name`, `grace`, `crate`, and for tests `timeout`";

/// The user's options; `None` leaves the choice to `Builder`.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) workers: Option<usize>,
    pub(crate) stack_size_bytes: Option<usize>,
    /// The user's word `unsafe`, with its place in the source: errors about what it allows are reported there.
    pub(crate) light: Option<Token![unsafe]>,
    pub(crate) name: Option<LitStr>,
    pub(crate) grace_ms: Option<u64>,
    pub(crate) timeout: Option<Timeout>,
    pub(crate) krate: Option<Path>,
}

/// The limit of a test, and where it is set.
pub(crate) struct Timeout {
    pub(crate) key: Ident,
    /// An expression of type `Duration`.
    pub(crate) duration: TokenStream,
}

impl Parse for Options {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut options = Options::default();
        while !input.is_empty() {
            let key = input.call(Ident::parse_any)?;
            options.parse_one(&key, input)?;
            if input.is_empty() {
                break;
            }
            input.parse::<Token![,]>()?;
        }
        Ok(options)
    }
}

impl Options {
    fn parse_one(&mut self, key: &Ident, input: ParseStream) -> syn::Result<()> {
        // The key is checked before its value, so that the error for `worker(4)` names the key and not its parenthesis.
        match key.to_string().as_str() {
            "workers" => set(&mut self.workers, key, value(input, parse_workers)?),
            "stack_size" => set(&mut self.stack_size_bytes, key, value(input, parse_stack_size)?),
            "light" => set(&mut self.light, key, parse_light(key, input)?),
            "name" => set(&mut self.name, key, value(input, parse_name)?),
            "grace" => set(&mut self.grace_ms, key, value(input, parse_grace)?),
            "timeout" => {
                let duration = value(input, parse_timeout)?;
                let timeout = Timeout {
                    key: key.clone(),
                    duration,
                };
                set(&mut self.timeout, key, timeout)
            }
            "crate" => set(&mut self.krate, key, value(input, parse_crate)?),
            unknown => Err(syn::Error::new(
                key.span(),
                format!("unknown option `{unknown}`; the options are {KNOWN}"),
            )),
        }
    }
}

fn set<T>(slot: &mut Option<T>, key: &Ident, value: T) -> syn::Result<()> {
    if slot.replace(value).is_some() {
        return Err(syn::Error::new(key.span(), format!("option `{key}` is given twice")));
    }
    Ok(())
}

fn value<T>(input: ParseStream, parse: fn(ParseStream) -> syn::Result<T>) -> syn::Result<T> {
    input.parse::<Token![=]>()?;
    parse(input)
}

fn parse_workers(input: ParseStream) -> syn::Result<usize> {
    let message = "`workers` takes an integer literal of at least 1, as in `workers = 4`";
    let literal = literal(input, message)?;
    match &literal {
        Lit::Int(count) if matches!(count.suffix(), "" | "usize") => match count.base10_parse::<usize>() {
            Ok(count) if count > 0 => Ok(count),
            _ => Err(syn::Error::new(count.span(), message)),
        },
        other => Err(syn::Error::new(other.span(), message)),
    }
}

fn parse_stack_size(input: ParseStream) -> syn::Result<usize> {
    let message = "`stack_size` takes bytes, plain or with a unit, as in `262144`, `\"256KiB\"`, `\"256k\"`, `\"1MiB\"` or `\"1m\"`";
    let literal = literal(input, message)?;
    let bytes = match &literal {
        Lit::Int(number) => size_of_integer(number),
        Lit::Str(text) => size_of_text(text.value().trim()),
        _ => None,
    };
    match bytes {
        Some(bytes) if bytes > 0 => Ok(bytes),
        _ => Err(syn::Error::new(literal.span(), message)),
    }
}

/// `light = unsafe`, and nothing shorter: with this word the user vouches.
fn parse_light(key: &Ident, input: ParseStream) -> syn::Result<Token![unsafe]> {
    let message = "`light` is written `light = unsafe`: light coroutines share their worker's thread-locals, so whoever asks for them \
        vouches for all code that runs on them; the contract is that of `RuntimeBuilder::light`";
    if !input.peek(Token![=]) {
        return Err(syn::Error::new(key.span(), message));
    }
    input.parse::<Token![=]>()?;
    let span = if input.is_empty() { key.span() } else { input.span() };
    input.parse().map_err(|_| syn::Error::new(span, message))
}

fn parse_name(input: ParseStream) -> syn::Result<LitStr> {
    let message = "`name` takes a string literal without NUL, as in `name = \"ingest\"`";
    match literal(input, message)? {
        // A NUL in a thread name would make std's thread builder panic at start-up.
        Lit::Str(name) if !name.value().contains('\0') => Ok(name),
        other => Err(syn::Error::new(other.span(), message)),
    }
}

fn parse_grace(input: ParseStream) -> syn::Result<u64> {
    let message = "`grace` takes a time with its unit, as in `\"500ms\"` or `\"2s\"`";
    let literal = literal(input, message)?;
    let ms = match &literal {
        Lit::Str(text) => ms_of_text(text.value().trim()),
        _ => None,
    };
    ms.ok_or_else(|| syn::Error::new(literal.span(), message))
}

/// A time in a string, or an expression. An expression is not checked here: the compiler reports its type at its place.
fn parse_timeout(input: ParseStream) -> syn::Result<TokenStream> {
    let message = "`timeout` takes a time with its unit, as in `\"500ms\"`, `\"10s\"` or `\"2m\"`, or an expression of type `Duration`";
    if input.is_empty() || input.peek(Token![,]) {
        let span = if input.is_empty() {
            Span::call_site()
        } else {
            input.span()
        };
        return Err(syn::Error::new(span, message));
    }
    let Some(literal) = lone_literal(input)? else {
        return expression(input);
    };
    let ms = match &literal {
        Lit::Str(text) => ms_of_text(text.value().trim()).filter(|ms| *ms > 0),
        _ => None,
    };
    let ms = ms.ok_or_else(|| syn::Error::new(literal.span(), message))?;
    Ok(quote!(::core::time::Duration::from_millis(#ms)))
}

/// The value, if it is a literal and nothing more.
fn lone_literal(input: ParseStream) -> syn::Result<Option<Lit>> {
    let ahead = input.fork();
    match ahead.parse::<Lit>() {
        Ok(_) if ahead.is_empty() || ahead.peek(Token![,]) => input.parse().map(Some),
        _ => Ok(None),
    }
}

/// The tokens of an expression. What `syn` knows of expressions without its feature `full` tells a comma between
/// generic arguments from the one that ends the option. Any other expression (a block, an `if`) ends at a comma.
fn expression(input: ParseStream) -> syn::Result<TokenStream> {
    let ahead = input.fork();
    if ahead.parse::<Expr>().is_ok() && (ahead.is_empty() || ahead.peek(Token![,])) {
        let known: Expr = input.parse()?;
        return Ok(quote!(#known));
    }
    let mut tokens = TokenStream::new();
    while !input.is_empty() && !input.peek(Token![,]) {
        tokens.extend([input.parse::<TokenTree>()?]);
    }
    Ok(tokens)
}

fn ms_of_text(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let ms = match unit.trim_start() {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(ms)
}

fn parse_crate(input: ParseStream) -> syn::Result<Path> {
    if input.peek(LitStr) {
        let text: LitStr = input.parse()?;
        return text.parse_with(Path::parse_mod_style);
    }
    input.call(Path::parse_mod_style)
}

/// The next token as a literal; otherwise the error `message` at the token.
fn literal(input: ParseStream, message: &str) -> syn::Result<Lit> {
    let span = if input.is_empty() {
        Span::call_site()
    } else {
        input.span()
    };
    input.parse().map_err(|_| syn::Error::new(span, message))
}

/// `262144`, `0x4_0000`, and `256k` without quotes, which the lexer returns as a number with a suffix.
fn size_of_integer(number: &LitInt) -> Option<usize> {
    let count: usize = number.base10_digits().parse().ok()?;
    match number.suffix() {
        "usize" => Some(count),
        suffix => count.checked_mul(unit_bytes(suffix)?),
    }
}

fn size_of_text(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    count.parse::<usize>().ok()?.checked_mul(unit_bytes(unit.trim_start())?)
}

fn unit_bytes(unit: &str) -> Option<usize> {
    match unit.to_ascii_lowercase().as_str() {
        "" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        _ => None,
    }
}
