//! How is the function under an attribute read? It is split into the parts that the expansion needs.
//!
//! `syn` parses whole functions only with its feature `full`, which doubles the time that it takes to build, and every
//! program that uses silken builds it. The body is not looked into, so its tokens suffice: what is wrong in it, the
//! compiler reports.

use proc_macro2::{Delimiter, Group, Ident, TokenStream};
use syn::parse::{Parse, ParseStream, Parser};
use syn::{Abi, Attribute, Generics, ReturnType, Token, Visibility, token};

/// A function with a body.
pub(crate) struct Function {
    pub(crate) outer: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    /// The attributes at the beginning of the body.
    pub(crate) inner: Vec<Attribute>,
    /// The body without them, in its braces.
    pub(crate) body: Group,
}

/// What precedes the body.
pub(crate) struct Signature {
    pub(crate) constness: Option<Token![const]>,
    pub(crate) asyncness: Option<Token![async]>,
    pub(crate) unsafety: Option<Token![unsafe]>,
    pub(crate) abi: Option<Abi>,
    pub(crate) fn_token: Token![fn],
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    /// The arguments in their parentheses.
    pub(crate) arguments: Group,
    pub(crate) output: ReturnType,
}

impl Parse for Function {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let outer = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let signature = input.parse()?;
        let body = delimited(input, Delimiter::Brace)?;
        let split = |content: ParseStream| Ok((content.call(Attribute::parse_inner)?, content.parse::<TokenStream>()?));
        let (inner, rest) = split.parse2(body.stream())?;
        let body = if inner.is_empty() {
            body
        } else {
            let mut without = Group::new(Delimiter::Brace, rest);
            without.set_span(body.span());
            without
        };
        Ok(Self {
            outer,
            visibility,
            signature,
            inner,
            body,
        })
    }
}

impl Parse for Signature {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let (constness, asyncness, unsafety, abi) = (input.parse()?, input.parse()?, input.parse()?, input.parse()?);
        let (fn_token, ident) = (input.parse()?, input.parse()?);
        let mut generics: Generics = input.parse()?;
        let arguments = delimited(input, Delimiter::Parenthesis)?;
        let output = input.parse()?;
        generics.where_clause = input.parse()?;
        Ok(Self {
            constness,
            asyncness,
            unsafety,
            abi,
            fn_token,
            ident,
            generics,
            arguments,
            output,
        })
    }
}

/// The next group, which must have these delimiters.
fn delimited(input: ParseStream, delimiter: Delimiter) -> syn::Result<Group> {
    let (is_there, expected) = match delimiter {
        Delimiter::Brace => (input.peek(token::Brace), "expected curly braces"),
        _ => (input.peek(token::Paren), "expected parentheses"),
    };
    if is_there {
        input.parse()
    } else {
        Err(input.error(expected))
    }
}
