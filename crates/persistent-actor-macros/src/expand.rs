//! Expands an `#[actor]` block.
//!
//! All names are absolute, so that nothing the user has in scope can change their meaning.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Attribute, Error, Expr, Ident, ItemImpl, Lit, Meta, Path, Type, Visibility};

use crate::config::{Config, Method};
use crate::safe_state::{Attr, code_span};
use crate::types::{Output, without_self};

/// Expands `#[actor]`.
pub(crate) fn actor(args: TokenStream, item: TokenStream) -> TokenStream {
    let Ok(mut block) = syn::parse2::<ItemImpl>(item.clone()) else {
        let text = "`#[actor]` goes on the `impl` block that has the actor's methods";
        let error = Error::new_spanned(&item, text).to_compile_error();
        return quote!(#error #item);
    };
    match Config::parse(&args, &mut block) {
        Ok(config) => expand(&config, &block),
        Err(error) => {
            // The block stays, so that other code does not miss its functions.
            let error = error.to_compile_error();
            quote!(#error #block)
        }
    }
}

fn expand(config: &Config, block: &ItemImpl) -> TokenStream {
    let actor = actor_impl(config);
    let handle = handle(config);
    let ty = &config.actor;
    quote! {
        #block
        #actor
        #handle
        ::persistent_actor_runtime::__private::inventory::submit! {
            ::persistent_actor_runtime::__private::ActorType::of::<#ty>()
        }
    }
}

/// `impl Actor for Counter`: what a worker process needs.
fn actor_impl(config: &Config) -> TokenStream {
    let private = private();
    let ty = &config.actor;
    let name = config.name.unraw().to_string();
    let names = config.attributes.iter().map(|attr| &attr.name);
    let methods = config.methods.iter().map(method_entry);
    let save = save(&config.attributes);
    let load = load(&config.attributes);
    quote! {
        #[automatically_derived]
        #[allow(deprecated, clippy::all, clippy::pedantic)]
        impl #private::Actor for #ty {
            const NAME: &'static ::core::primitive::str = #name;
            const ATTRIBUTES: &'static [&'static ::core::primitive::str] = &[#(#names),*];
            const METHODS: &'static [#private::Method<Self>] = &[#(#methods),*];
            #save
            #load
        }
    }
}

/// One entry of `METHODS`.
fn method_entry(method: &Method) -> TokenStream {
    let private = private();
    let cfgs = &method.cfgs;
    let name = method.ident.unraw().to_string();
    let saves = match &method.saves {
        Some(saves) => quote!(::core::option::Option::Some(&[#(#saves),*])),
        None => quote!(::core::option::Option::None),
    };
    let decode = decode_args(method);
    let outcome = outcome(method);
    quote! {
        #(#[cfg(#cfgs)])*
        #private::Method {
            name: #name,
            saves: #saves,
            run: |actor: &mut Self, args: &#private::Encoded| {
                #decode
                ::core::result::Result::Ok(#outcome)
            },
        }
    }
}

/// The names that the arguments of a call have in the expansion.
fn arg_names(method: &Method) -> Vec<Ident> {
    (0..method.args.len()).map(|i| format_ident!("arg{i}")).collect()
}

/// Decodes the arguments; if their types cannot be decoded, the error points at the method.
fn decode_args(method: &Method) -> TokenStream {
    let private = private();
    let span = code_span(method.ident.span());
    let types = method.args.iter().map(|(_, ty)| ty);
    match arg_names(method).as_slice() {
        [] => quote!(#private::decode::<()>(args)?;),
        names => {
            let decode = quote_spanned!(span=> #private::decode::<(#(#types,)*)>(args));
            quote!(let (#(#names,)*) = #decode?;)
        }
    }
}

/// Runs the method and encodes what came of it.
fn outcome(method: &Method) -> TokenStream {
    let private = private();
    let (ident, args) = (&method.ident, arg_names(method));
    let span = code_span(ident.span());
    let call = quote!(Self::#ident(actor, #(#args),*));
    let encode = |value| quote_spanned!(span=> #private::encode(&#value));
    match method.output {
        Output::Plain(_) => {
            let encode = encode(call);
            quote!(#private::Outcome::Returned(#encode?))
        }
        Output::Fallible { .. } => {
            let (encode_ok, encode_err) = (encode(quote!(value)), encode(quote!(error)));
            quote! {
                match #call {
                    ::core::result::Result::Ok(value) => {
                        #private::Outcome::Returned(#encode_ok?)
                    }
                    ::core::result::Result::Err(error) => {
                        #private::Outcome::Failed(#encode_err?)
                    }
                }
            }
        }
    }
}

fn save(attributes: &[Attr]) -> TokenStream {
    let private = private();
    let arms = attributes.iter().enumerate().map(|(index, attr)| {
        let field = &attr.field;
        // Both methods say `(*self)`: the compiler then reports a name that is no field once.
        let encode = quote_spanned!(attr.code_span()=> #private::encode(&(*self).#field));
        quote!(#index => #encode,)
    });
    quote! {
        fn save(
            &self,
            index: ::core::primitive::usize,
        ) -> ::core::result::Result<#private::Encoded, #private::CodecError> {
            match index {
                #(#arms)*
                _ => ::core::result::Result::Err(#private::CodecError::Encode {
                    type_name: <Self as #private::Actor>::NAME,
                    reason: ::std::format!("there is no attribute number {index}"),
                }),
            }
        }
    }
}

fn load(attributes: &[Attr]) -> TokenStream {
    let private = private();
    let arms = attributes.iter().enumerate().map(|(index, attr)| {
        let field = &attr.field;
        let decode = quote_spanned!(attr.code_span()=> #private::decode(value));
        quote! {
            #index => {
                (*self).#field = #decode?;
                ::core::result::Result::Ok(())
            }
        }
    });
    quote! {
        fn load(
            &mut self,
            index: ::core::primitive::usize,
            value: &#private::Encoded,
        ) -> ::core::result::Result<(), #private::CodecError> {
            match index {
                #(#arms)*
                _ => ::core::result::Result::Err(#private::CodecError::Decode {
                    type_name: <Self as #private::Actor>::NAME,
                    bytes: value.inline.len(),
                    reason: ::std::format!("there is no attribute number {index}"),
                }),
            }
        }
    }
}

/// `CounterHandle`.
///
/// The struct itself is `pub` in a module that nobody can name, and the handle an alias with
/// the visibility of the methods: so neither a private type with `pub` methods nor a `pub` type
/// with private ones is an error ("private type in public interface").
fn handle(config: &Config) -> TokenStream {
    let private = private();
    let ty = &config.actor;
    let name = config.name.unraw();
    let handle = format_ident!("{name}Handle", span = config.name.span());
    let module = format_ident!("__{handle}");
    let vis = widest(config.methods.iter().map(|method| &method.vis));
    let doc = format!(
        "A handle to an actor of type `{name}`: its methods, as calls.\n\nClones of a handle \
         call the same actor."
    );
    let methods = (0..config.methods.len()).map(|index| handle_method(config, index));
    quote! {
        #[doc(hidden)]
        #[allow(non_snake_case, unnameable_types, unreachable_pub)]
        mod #module {
            #[derive(::core::clone::Clone, ::core::fmt::Debug)]
            pub struct #handle<H>(pub(super) H);
        }
        #[doc = #doc]
        #[allow(dead_code, private_interfaces)]
        #vis type #handle = #module::#handle<#private::Handle<#ty>>;
        #[automatically_derived]
        impl #private::Remote for #ty {
            type Handle = #handle;
        }
        #[automatically_derived]
        impl ::core::convert::From<#private::Handle<#ty>> for #handle {
            fn from(handle: #private::Handle<#ty>) -> Self {
                #module::#handle(handle)
            }
        }
        #[automatically_derived]
        impl ::core::ops::Deref for #handle {
            type Target = #private::Handle<#ty>;
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
        #[allow(dead_code, private_interfaces, clippy::all, clippy::pedantic)]
        impl #handle {
            #(#methods)*
        }
    }
}

/// The handle's method for `config.methods[position]`.
fn handle_method(config: &Config, position: usize) -> TokenStream {
    let private = private();
    let method = &config.methods[position];
    let Method { ident, vis, attrs, cfgs, .. } = method;
    let docs = docs(config, method);
    let index = index(&config.methods[..position]);
    let names: Vec<&Ident> = method.args.iter().map(|(name, _)| name).collect();
    let types = method.args.iter().map(|(_, ty)| for_handle(ty, &config.actor));
    let span = code_span(ident.span());
    let values = if names.is_empty() { quote!(()) } else { quote!((#(#names,)*)) };
    let call = quote_spanned!(span=> self.0.call(#index, &#values));
    let returns = match &method.output {
        Output::Plain(ty) => {
            let ty = without_self(ty.clone(), &config.actor);
            quote!(#ty, #private::CallError)
        }
        Output::Fallible { ok, err } => {
            let ok = without_self(ok.clone(), &config.actor);
            let err = without_self(err.clone(), &config.actor);
            quote!(#ok, #private::CallError<#err>)
        }
    };
    quote! {
        #(#[cfg(#cfgs)])*
        #(#attrs)*
        #docs
        #vis async fn #ident(&self, #(#names: #types),*) -> ::core::result::Result<#returns> {
            // The arguments go before the wait begins: they may be large.
            let reply = #call;
            reply.await
        }
    }
}

fn for_handle(ty: &Type, actor: &Path) -> TokenStream {
    without_self(quote!(#ty), actor)
}

/// The documentation of the method, or a sentence, and what the errors are.
fn docs(config: &Config, method: &Method) -> TokenStream {
    let docs = &method.docs;
    let default = docs.is_empty().then(|| {
        let (actor, method) = (config.name.unraw(), method.ident.unraw());
        let text = format!("Calls `{actor}::{method}` in the actor's process.");
        quote!(#[doc = #text])
    });
    let errors = (!docs.iter().any(has_errors_section)).then(|| {
        quote! {
            #[doc = ""]
            #[doc = "# Errors"]
            #[doc = "A `CallError`, which says what became of the call."]
        }
    });
    quote!(#(#docs)* #default #errors)
}

fn has_errors_section(doc: &Attribute) -> bool {
    let Meta::NameValue(doc) = &doc.meta else { return false };
    let Expr::Lit(value) = &doc.value else { return false };
    matches!(&value.lit, Lit::Str(text) if text.value().contains("# Errors"))
}

/// The position of a method in `METHODS`, given those before it: some may not exist.
fn index(before: &[Method]) -> TokenStream {
    let certain = before.iter().filter(|method| method.cfgs.is_empty()).count();
    let conditional = before.iter().filter(|method| !method.cfgs.is_empty()).map(|method| {
        let cfgs = &method.cfgs;
        quote!(+ ::core::cfg!(all(#(#cfgs),*)) as ::core::primitive::usize)
    });
    quote!(#certain #(#conditional)*)
}

/// The most visible of the methods' visibilities.
fn widest<'a>(all: impl Iterator<Item = &'a Visibility>) -> Visibility {
    let rank = |vis: &Visibility| match vis {
        Visibility::Public(_) => 4,
        Visibility::Restricted(vis) if vis.path.is_ident("crate") => 3,
        Visibility::Restricted(vis) if vis.in_token.is_some() => 2,
        Visibility::Restricted(vis) if vis.path.is_ident("super") => 1,
        _ => 0,
    };
    all.max_by_key(|vis| rank(vis)).cloned().unwrap_or(Visibility::Inherited)
}

fn private() -> TokenStream {
    quote!(::persistent_actor_runtime::__private)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(methods: TokenStream) -> Config {
        let mut block: ItemImpl = syn::parse2(quote!(impl Counter { #methods })).unwrap();
        Config::parse(&TokenStream::new(), &mut block).unwrap()
    }

    #[test]
    fn the_most_visible_method_decides_the_visibility_of_the_handle() {
        let widest = |methods| {
            let config = config(methods);
            let vis = widest(config.methods.iter().map(|method| &method.vis));
            quote!(#vis).to_string()
        };
        assert_eq!(widest(quote!()), "");
        assert_eq!(
            widest(quote!(
                fn a(&self) {}
            )),
            ""
        );
        assert_eq!(
            widest(quote!(
                pub(super) fn a(&self) {}
                fn b(&self) {}
            )),
            "pub (super)"
        );
        assert_eq!(
            widest(quote!(
                pub(in a::b) fn a(&self) {}
                pub(super) fn b(&self) {}
            )),
            "pub (in a :: b)",
        );
        assert_eq!(
            widest(quote!(
                pub(crate) fn a(&self) {}
                pub(in a::b) fn b(&self) {}
            )),
            "pub (crate)",
        );
        assert_eq!(
            widest(quote!(
                pub(crate) fn a(&self) {}
                pub fn b(&self) {}
            )),
            "pub"
        );
    }

    #[test]
    fn the_position_of_a_method_counts_the_conditional_ones_before_it() {
        let config = config(quote! {
            fn a(&self) {}
            #[cfg(x)] #[cfg(y)] fn b(&self) {}
            fn c(&self) {}
        });
        assert_eq!(index(&config.methods[..1]).to_string(), "1usize");
        let expected = quote!(1usize + ::core::cfg!(all(x, y)) as ::core::primitive::usize);
        assert_eq!(index(&config.methods[..2]).to_string(), expected.to_string());
    }

    #[test]
    fn the_handle_documents_its_methods_even_where_the_user_did_not() {
        let text = |methods| {
            let config = config(methods);
            docs(&config, &config.methods[0]).to_string()
        };
        let bare = text(quote!(
            fn r#type(&self) {}
        ));
        assert!(bare.contains("Calls `Counter::type` in the actor's process."), "{bare}");
        assert!(bare.contains("# Errors"), "{bare}");
        let documented = text(quote! {
            /// Takes.
            ///
            /// # Errors
            /// If there is nothing.
            fn take(&mut self) {}
        });
        assert_eq!(documented.matches("# Errors").count(), 1, "{documented}");
        assert!(!documented.contains("Calls"), "{documented}");
    }
}
