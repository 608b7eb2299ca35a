//! `#[safe_state("a", "b")]`: its arguments, and its meaning outside an `#[actor]` block.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, Ident, LitStr, Member, Meta, Result, Token, parse_quote};

/// What `#[actor]` leaves of an attribute that it has read: the name is then used, so that its
/// import is not reported as superfluous, and expands to nothing.
const SEEN: &str = "__seen_by_actor";

/// One name in a `#[safe_state]`.
#[derive(Clone)]
pub(crate) struct Attr {
    /// The durable attribute's name.
    pub(crate) name: String,
    /// The field, spanned where the name was written.
    pub(crate) field: Member,
}

impl Attr {
    /// Where the name was written.
    pub(crate) fn span(&self) -> Span {
        match &self.field {
            Member::Named(field) => field.span(),
            Member::Unnamed(index) => index.span,
        }
    }
}

/// Whether this is a `#[safe_state]`, under any path.
pub(crate) fn is_safe_state(attr: &Attribute) -> bool {
    attr.path().segments.last().is_some_and(|segment| segment.ident == "safe_state")
}

/// Marks an attribute as read.
pub(crate) fn mark_seen(attr: &mut Attribute) {
    let path = attr.path().clone();
    let seen = Ident::new(SEEN, Span::call_site());
    attr.meta = parse_quote!(#path(#seen));
}

/// The names in a `#[safe_state]`.
pub(crate) fn parse(attr: &Attribute) -> Result<Vec<Attr>> {
    let names = match &attr.meta {
        Meta::List(list) => parse_names.parse2(list.tokens.clone())?,
        Meta::NameValue(_) => {
            return Err(Error::new_spanned(attr, "write `#[safe_state(\"counter\")]`"));
        }
        Meta::Path(_) => Vec::new(),
    };
    if names.is_empty() {
        let text = "name the fields that a call commits, as in `#[safe_state(\"counter\")]`";
        return Err(Error::new_spanned(attr, text));
    }
    let mut seen = Vec::new();
    for attr in &names {
        if seen.contains(&&attr.name) {
            return Err(Error::new(attr.span(), format!("`{}` is named twice", attr.name)));
        }
        seen.push(&attr.name);
    }
    Ok(names)
}

fn parse_names(input: ParseStream<'_>) -> Result<Vec<Attr>> {
    let mut names = Vec::new();
    while !input.is_empty() {
        names.push(parse_name(input)?);
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(names)
}

fn parse_name(input: ParseStream<'_>) -> Result<Attr> {
    if !input.peek(LitStr) {
        let found: TokenTree = input.parse()?;
        let text = "a field is named by a string literal, as in `#[safe_state(\"counter\")]`";
        return Err(Error::new(found.span(), text));
    }
    let literal: LitStr = input.parse()?;
    let name = literal.value();
    // A field may be called like a keyword: `r#type`.
    let raw = LitStr::new(&format!("r#{name}"), literal.span());
    let field = literal.parse::<Member>().or_else(|_| raw.parse::<Ident>().map(Member::Named));
    match field {
        Ok(Member::Named(field)) => {
            Ok(Attr { name: field.unraw().to_string(), field: Member::Named(field) })
        }
        Ok(Member::Unnamed(index)) => {
            Ok(Attr { name: index.index.to_string(), field: Member::Unnamed(index) })
        }
        Err(_) => Err(Error::new(literal.span(), format!("{name:?} cannot be a field's name"))),
    }
}

/// The attribute where the compiler expands it: after `#[actor]` has read it, or alone.
pub(crate) fn alone(args: TokenStream, item: TokenStream) -> TokenStream {
    if syn::parse2::<Ident>(args).is_ok_and(|ident| ident == SEEN) {
        return item;
    }
    let text = "`#[safe_state]` works on the methods of an `impl` block that is an `#[actor]`";
    let error = Error::new(Span::call_site(), text).to_compile_error();
    quote!(#error #item).into_token_stream()
}
