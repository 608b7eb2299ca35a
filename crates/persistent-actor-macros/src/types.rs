//! What the macro needs to know of types: what can be sent, what a `Result` is made of.

use proc_macro2::{Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::visit::Visit;
use syn::{
    Error, GenericArgument, Path, PathArguments, ReturnType, Type, TypeImplTrait, TypeReference,
};

/// What a method returns.
#[derive(Clone)]
pub(crate) enum Output {
    /// A value.
    Plain(TokenStream),
    /// `Result<ok, err>`.
    Fallible { ok: TokenStream, err: TokenStream },
}

/// Takes a return type apart.
pub(crate) fn output(ty: &ReturnType) -> Result<Output, Error> {
    let ReturnType::Type(_, ty) = ty else {
        return Ok(Output::Plain(quote::quote!(())));
    };
    check_sendable(ty, "the returned value crosses a process boundary; return")?;
    match unwrapped(ty) {
        Type::Never(_) => {
            let text = "a method that never returns cannot reply; leave `-> !` out";
            Err(Error::new_spanned(ty, text))
        }
        Type::Path(path) => match result_arguments(&path.path)? {
            Some((ok, err)) => {
                Ok(Output::Fallible { ok: ok.to_token_stream(), err: err.to_token_stream() })
            }
            None => Ok(Output::Plain(ty.to_token_stream())),
        },
        _ => Ok(Output::Plain(ty.to_token_stream())),
    }
}

/// `T` and `E` of a `Result<T, E>`; `None` for any other type.
fn result_arguments(path: &Path) -> Result<Option<(&Type, &Type)>, Error> {
    let Some(last) = path.segments.last().filter(|last| last.ident == "Result") else {
        return Ok(None);
    };
    if let PathArguments::AngleBracketed(arguments) = &last.arguments {
        let mut arguments = arguments.args.iter();
        if let (Some(GenericArgument::Type(ok)), Some(GenericArgument::Type(err)), None) =
            (arguments.next(), arguments.next(), arguments.next())
        {
            return Ok(Some((ok, err)));
        }
    }
    let text = "this alias of `Result` hides the type of the error; write it out, as in \
                `Result<u64, Overdrawn>`";
    Err(Error::new_spanned(path, text))
}

/// The type inside parentheses and the invisible groups of `macro_rules`.
fn unwrapped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => unwrapped(&group.elem),
        Type::Paren(paren) => unwrapped(&paren.elem),
        _ => ty,
    }
}

/// Refuses references and `impl Trait`, which cannot be decoded in another process.
///
/// `advice` begins the message: what crosses the boundary, and the verb for what to do instead.
pub(crate) fn check_sendable(ty: &Type, advice: &'static str) -> Result<(), Error> {
    let mut check = Unsendable { advice, error: None };
    check.visit_type(ty);
    check.error.map_or(Ok(()), Err)
}

struct Unsendable {
    advice: &'static str,
    error: Option<Error>,
}

impl Unsendable {
    fn refuse(&mut self, tokens: impl ToTokens, instead: &str) {
        let error = Error::new_spanned(tokens, format!("{} {instead}", self.advice));
        match &mut self.error {
            Some(first) => first.combine(error),
            None => self.error = Some(error),
        }
    }
}

impl<'ast> Visit<'ast> for Unsendable {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        let instead = match unwrapped(&reference.elem) {
            Type::Path(path) if path.path.is_ident("str") => "`String`",
            Type::Slice(_) => "a `Vec`",
            _ => "the value itself",
        };
        self.refuse(reference, instead);
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast TypeImplTrait) {
        self.refuse(ty, "a concrete type");
    }
}

/// Replaces `Self`, which means another type in the handle's methods.
pub(crate) fn without_self(tokens: TokenStream, actor: &Path) -> TokenStream {
    let replace = |token| match token {
        TokenTree::Ident(ident) if ident == "Self" => {
            let span = ident.span();
            let actor = actor.to_token_stream().into_iter();
            actor.map(|mut token| (token.set_span(span), token).1).collect()
        }
        TokenTree::Group(group) => {
            let mut inner = Group::new(group.delimiter(), without_self(group.stream(), actor));
            inner.set_span(group.span());
            TokenTree::Group(inner).into()
        }
        token => TokenStream::from(token),
    };
    tokens.into_iter().flat_map(replace).collect()
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::parse_quote;

    use super::*;

    fn described(ty: ReturnType) -> String {
        match output(&ty) {
            Ok(Output::Plain(ty)) => ty.to_string(),
            Ok(Output::Fallible { ok, err }) => format!("{ok} or {err}"),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn a_result_is_told_by_its_name_and_its_two_parameters() {
        assert_eq!(described(parse_quote!()), "()");
        assert_eq!(described(parse_quote!(-> Vec<u8>)), "Vec < u8 >");
        assert_eq!(described(parse_quote!(-> Result<(), E>)), "() or E");
        assert_eq!(described(parse_quote!(-> (::std::result::Result<A, B>))), "A or B");
        assert_eq!(described(parse_quote!(-> Option<Result<A, B>>)), "Option < Result < A , B > >");
        for alias in [parse_quote!(-> io::Result<A>), parse_quote!(-> fmt::Result)] {
            assert!(described(alias).contains("alias"));
        }
    }

    #[test]
    fn references_are_found_at_any_depth_with_advice_for_each() {
        let check = |ty: Type| {
            let error = check_sendable(&ty, "take").err();
            error.into_iter().flatten().map(|error| error.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(check(parse_quote!(Vec<(String, u8)>)), Vec::<String>::new());
        assert_eq!(check(parse_quote!(&(u8, u8))), ["take the value itself"]);
        assert_eq!(
            check(parse_quote!((Option<&str>, [&[u8]; 2], impl Fn()))),
            ["take `String`", "take a `Vec`", "take a concrete type"],
        );
    }

    #[test]
    fn self_becomes_the_actors_type_at_any_depth() {
        let tokens = quote!((Vec<Self>, [u8; { Self::N }], Selfish));
        let replaced = without_self(tokens, &parse_quote!(a::Counter));
        let expected = quote!((Vec<a::Counter>, [u8; { a::Counter::N }], Selfish));
        assert_eq!(replaced.to_string(), expected.to_string());
    }
}
