//! Expands an `#[actor]` block: the table of its methods, by which a worker process runs them.
//!
//! All names are absolute, so that nothing the user has in scope can change their meaning. Code
//! that fails to compile when a type cannot be sent or a field does not exist has the place of
//! the method's or the field's name, but the expansion's own variables: the name may come out of
//! a `macro_rules`, where they would be unknown.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Error, Ident, ItemImpl};

use crate::config::{Config, Method};
use crate::handle::handle;
use crate::safe_state::Attr;
use crate::types::Output;

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

/// Decodes the arguments.
fn decode_args(method: &Method) -> TokenStream {
    let span = method.ident.span();
    let private = private_at(span);
    let args = own("args");
    let types = method.args.iter().map(|(_, ty)| ty);
    match arg_names(method).as_slice() {
        [] => quote!(#private::decode::<()>(args)?;),
        names => {
            let decode = quote_spanned!(span=> #private::decode::<(#(#types,)*)>(#args));
            quote!(let (#(#names,)*) = #decode?;)
        }
    }
}

/// Runs the method and encodes what came of it.
fn outcome(method: &Method) -> TokenStream {
    let (ident, args, actor) = (&method.ident, arg_names(method), own("actor"));
    let call = quote_spanned!(ident.span()=> Self::#ident(#actor, #(#args),*));
    let private = private_at(ident.span());
    let encode = |value| quote_spanned!(ident.span()=> #private::encode(&#value)?);
    let private = self::private();
    match method.output {
        Output::Plain(_) => {
            let encode = encode(call);
            quote!(#private::Outcome::Returned(#encode))
        }
        Output::Fallible { .. } => {
            let (value, error) = (own("value"), own("error"));
            let encode_value = encode(value.to_token_stream());
            let encode_error = encode(error.to_token_stream());
            quote! {
                match #call {
                    ::core::result::Result::Ok(#value) => {
                        #private::Outcome::Returned(#encode_value)
                    }
                    ::core::result::Result::Err(#error) => {
                        #private::Outcome::Failed(#encode_error)
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
        let this = own("self");
        let private = private_at(attr.span());
        let encode = quote_spanned!(attr.span()=> #private::encode(&(*#this).#field));
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
        let value = own("value");
        let private = private_at(attr.span());
        let decode = quote_spanned!(attr.span()=> #private::decode(#value));
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

/// The path of what the expansion refers to.
pub(crate) fn private() -> TokenStream {
    private_at(Span::call_site())
}

pub(crate) fn private_at(span: Span) -> TokenStream {
    quote_spanned!(span=> ::persistent_actor_runtime::__private)
}

/// A variable of the expansion's own.
pub(crate) fn own(name: &str) -> Ident {
    Ident::new(name, Span::call_site())
}
