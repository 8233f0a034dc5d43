//! What does an attribute expand to? The function is checked, and its body is wrapped in one call.
//!
//! The body moves into a closure whose return type is written out. So a `?` in it, or a mismatch at its end, is
//! reported against the type that the user wrote, in the user's own lines. The closure captures nothing; `move` is
//! there because the caller runs the closure on another stack.
//!
//! The body's return value is reported where it is made ([`std::process::Termination`]), on the coroutine, since it
//! need not be [`Send`] (`Box<dyn Error>` is not). An exit code leaves the runtime, and so the function returns that
//! instead.
//!
//! `light = unsafe` calls an unsafe function, in a block at the place where the user wrote the word. So a crate that
//! forbids `unsafe_code` gets the error at that word.
//!
//! An error replaces the function by `compile_error!`. For `main` an empty function stays. Otherwise the compiler would
//! add its own "`main` function not found" to the error message.

use crate::function::{Function, Signature};
use crate::options::Options;
use proc_macro2::{Delimiter, Group, TokenStream};
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Attribute, ReturnType, Type};

/// The attribute that is expanded.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Main,
    Test,
}

impl Kind {
    fn attribute(self) -> &'static str {
        match self {
            Kind::Main => "#[silken::main]",
            Kind::Test => "#[silken::test]",
        }
    }
}

/// Returns the function with its body in a runtime, or the errors that say why not.
pub(crate) fn expand(kind: Kind, options: TokenStream, item: TokenStream) -> TokenStream {
    expand_or_error(kind, options, item).unwrap_or_else(|error| {
        let error = error.to_compile_error();
        let rest = if kind == Kind::Main {
            quote!(
                fn main() {}
            )
        } else {
            TokenStream::new()
        };
        quote!(#error #rest)
    })
}

fn expand_or_error(kind: Kind, options: TokenStream, item: TokenStream) -> syn::Result<TokenStream> {
    let span = item.span();
    let function: Function = syn::parse2(item).map_err(|error| {
        let mut whole = syn::Error::new(span, format!("{} goes on a function with a body", kind.attribute()));
        whole.combine(error);
        whole
    })?;
    check_signature(kind, &function.signature)?;
    if kind == Kind::Test {
        check_no_second_test(&function.outer)?;
    }
    let options: Options = syn::parse2(options)?;
    if let (Kind::Main, Some(timeout)) = (kind, &options.timeout) {
        let message = "`timeout` is an option of `#[silken::test]`; in a program, call `silken::timeout`";
        return Err(syn::Error::new(timeout.key.span(), message));
    }
    Ok(wrap(kind, &options, &function))
}

fn wrap(kind: Kind, options: &Options, function: &Function) -> TokenStream {
    let Function {
        outer,
        visibility,
        signature,
        inner,
        body,
    } = function;
    let krate = options
        .krate
        .as_ref()
        .map_or_else(|| quote!(::silken), |path| quote!(#path));
    let builder = builder(&krate, options);
    let limit = limit(&krate, options, function);
    let test = (kind == Kind::Test).then(|| quote!(#[::core::prelude::v1::test]));
    let does = match signature.output {
        ReturnType::Default => "run",
        ReturnType::Type(..) => "report",
    };
    let run = match kind {
        Kind::Main => format_ident!("{does}_main"),
        Kind::Test if limit.is_some() => format_ident!("{does}_test_within"),
        Kind::Test => format_ident!("{does}_test"),
    };
    let returns = closure_return(&signature.output);
    // Nothing else is left of the signature: all else is refused.
    let Signature {
        fn_token,
        ident,
        arguments,
        output,
        ..
    } = signature;
    let output = match output {
        ReturnType::Default => None,
        ReturnType::Type(arrow, _) => Some(quote!(#arrow ::std::process::ExitCode)),
    };
    quote! {
        #test
        #(#outer)*
        #visibility #fn_token #ident #arguments #output {
            #(#inner)*
            #krate::__macros::#run(
                #limit
                #builder,
                move || #returns #body,
            )
        }
    }
}

/// The call that makes the `RuntimeBuilder` of these options.
fn builder(krate: &TokenStream, options: &Options) -> TokenStream {
    let workers = options.workers.map(|count| quote!(.workers(#count)));
    let stack_size = options.stack_size_bytes.map(|bytes| quote!(.stack_size(#bytes)));
    let name = options.name.as_ref().map(|name| quote!(.name(#name)));
    let grace = options
        .grace_ms
        .map(|ms| quote!(.grace(::core::time::Duration::from_millis(#ms))));
    let builder = quote!(#krate::Runtime::builder() #workers #stack_size #name #grace);
    let Some(word) = &options.light else { return builder };
    let mut block = Group::new(Delimiter::Brace, quote!(#builder.light()));
    // A lint does not check code that comes from another crate's macro. So the whole block counts as the user's, from
    // the word to the brace.
    block.set_span(word.span);
    // The user's note stands above the attribute, where clippy does not look.
    quote!({
        #[allow(clippy::undocumented_unsafe_blocks)]
        let light = #word #block;
        light
    })
}

/// The argument that says how long a test may take, what to call it, and whether it is one that has to panic.
fn limit(krate: &TokenStream, options: &Options, function: &Function) -> Option<TokenStream> {
    let duration = &options.timeout.as_ref()?.duration;
    let name = function.signature.ident.unraw().to_string();
    let is_to_panic = function
        .outer
        .iter()
        .any(|attribute| attribute.path().is_ident("should_panic"));
    Some(quote! {
        #krate::__macros::TestLimit {
            name: ::core::concat!(::core::module_path!(), "::", #name),
            duration: #duration,
            is_to_panic: #is_to_panic,
        },
    })
}

/// The closure's return type: the function's own, except `impl Trait`, which a closure cannot spell and therefore
/// infers.
fn closure_return(output: &ReturnType) -> Option<TokenStream> {
    match output {
        ReturnType::Default => Some(quote!(-> ())),
        ReturnType::Type(_, returned) if matches!(**returned, Type::ImplTrait(_)) => None,
        ReturnType::Type(arrow, returned) => Some(quote!(#arrow #returned)),
    }
}

/// Reports all mistakes in a signature at once.
fn check_signature(kind: Kind, signature: &Signature) -> syn::Result<()> {
    let attribute = kind.attribute();
    let mut faults: Vec<syn::Error> = Vec::new();
    let mut refuse = |span, message: String| faults.push(syn::Error::new(span, message));
    if let Some(word) = &signature.asyncness {
        let hint = "a coroutine blocks by calling blocking code; remove `async`";
        refuse(word.span, format!("{attribute} takes no `async fn`: {hint}"));
    }
    if let Some(word) = &signature.constness {
        refuse(word.span, format!("{attribute} takes no `const fn`"));
    }
    if let Some(word) = &signature.unsafety {
        refuse(
            word.span,
            format!("{attribute} takes no `unsafe fn`: nobody would be there to uphold its contract"),
        );
    }
    if let Some(abi) = &signature.abi {
        refuse(abi.span(), format!("{attribute} takes no `extern fn`"));
    }
    if !signature.generics.params.is_empty() {
        refuse(
            signature.generics.params.span(),
            format!("{attribute} takes no generic function"),
        );
    }
    if let Some(clause) = &signature.generics.where_clause {
        refuse(clause.span(), format!("{attribute} takes no `where` clause"));
    }
    if !signature.arguments.stream().is_empty() {
        refuse(
            signature.arguments.stream().span(),
            format!("{attribute} takes no function with arguments"),
        );
    }
    if kind == Kind::Main && signature.ident != "main" {
        refuse(
            signature.ident.span(),
            format!("{attribute} goes on `fn main`, not on `fn {}`", signature.ident),
        );
    }
    combine(faults)
}

fn check_no_second_test(attributes: &[Attribute]) -> syn::Result<()> {
    let is_test = |attribute: &&Attribute| {
        let path = attribute.path();
        let text: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        matches!(
            text.join("::").as_str(),
            "test" | "core::prelude::v1::test" | "std::prelude::v1::test" | "silken::test"
        )
    };
    match attributes.iter().find(is_test) {
        Some(second) => Err(syn::Error::new(
            second.span(),
            "a second test attribute: the test would run twice; #[silken::test] alone makes it a test",
        )),
        None => Ok(()),
    }
}

fn combine(faults: Vec<syn::Error>) -> syn::Result<()> {
    let mut faults = faults.into_iter();
    let Some(mut first) = faults.next() else { return Ok(()) };
    first.extend(faults);
    Err(first)
}
