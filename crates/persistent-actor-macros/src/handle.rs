//! Expands the handle of an `#[actor]` block: the caller's side of its methods.

use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::{Attribute, Expr, Ident, Lit, Meta, Path, Type, Visibility};

use crate::config::{Config, Method};
use crate::expand::{own, private, private_at};
use crate::types::{Output, without_self};

/// The handle of an `#[actor]` block.
///
/// The struct itself is `pub` in a module that nobody can name, and the handle an alias with
/// the visibility of the methods: so neither a private type with `pub` methods nor a `pub` type
/// with private ones is an error ("private type in public interface").
pub(crate) fn handle(config: &Config) -> TokenStream {
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
    let values = quote_spanned!(ident.span()=> (#(#names,)*));
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
    let (this, place) = (own("self"), private_at(ident.span()));
    // The arguments go before the wait begins: they may be large.
    let body = quote_spanned! {ident.span()=>
        let reply = #place::Handle::call(&#this.0, #index, &#values);
        reply.await
    };
    quote! {
        #(#[cfg(#cfgs)])*
        #(#attrs)*
        #docs
        #vis async fn #ident(&self, #(#names: #types),*) -> ::core::result::Result<#returns> {
            #body
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

#[cfg(test)]
mod tests {
    use syn::ItemImpl;

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
