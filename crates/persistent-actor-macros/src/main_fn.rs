//! `#[main]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemFn, Result, Signature};

/// Expands `#[main]`.
pub(crate) fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    match parse(args, &item) {
        Ok(function) => expand(function),
        Err(error) => refuse(&error, &item),
    }
}

/// The error; a `main` that is there is kept, or the compiler would complain of its absence too.
fn refuse(error: &Error, item: &TokenStream) -> TokenStream {
    let error = error.to_compile_error();
    let is_main = syn::parse2::<ItemFn>(item.clone()).is_ok_and(|item| item.sig.ident == "main");
    let main = is_main.then(|| {
        quote!(
            fn main() {}
        )
    });
    quote!(#error #main)
}

fn parse(args: TokenStream, item: &TokenStream) -> Result<ItemFn> {
    if !args.is_empty() {
        return Err(Error::new_spanned(args, "`#[main]` takes no options"));
    }
    let function: ItemFn = syn::parse2(item.clone())
        .map_err(|_| Error::new_spanned(item, "`#[main]` goes on `async fn main()`"))?;
    check(&function.sig)?;
    Ok(function)
}

fn check(sig: &Signature) -> Result<()> {
    if sig.ident != "main" {
        let text = "`#[main]` goes on the function `main`: it decides first of all whether this \
                    process is an actor";
        return Err(Error::new_spanned(&sig.ident, text));
    }
    if sig.asyncness.is_none() {
        let text = "`#[main]` goes on an `async fn`; in another one, call \
                    `persistent_actor_runtime::init()` first";
        return Err(Error::new_spanned(sig.fn_token, text));
    }
    if !sig.inputs.is_empty() {
        let text = "`main` takes no arguments; those of the program are in `std::env::args()`";
        return Err(Error::new_spanned(&sig.inputs, text));
    }
    if !sig.generics.params.is_empty() {
        return Err(Error::new_spanned(&sig.generics, "`main` cannot be generic"));
    }
    Ok(())
}

/// The user's function moves inside as it is, so that the compiler judges it as written.
fn expand(mut function: ItemFn) -> TokenStream {
    let attrs = std::mem::take(&mut function.attrs);
    let vis = std::mem::replace(&mut function.vis, syn::Visibility::Inherited);
    let output = &function.sig.output;
    quote! {
        #(#attrs)*
        #vis fn main() #output {
            #function
            ::persistent_actor_runtime::init();
            ::persistent_actor_runtime::__private::block_on(main())
        }
    }
}
