//! Parses an `#[actor]` block into what its expansion needs, or into every error in it.

use proc_macro2::TokenStream;
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, Meta, Pat, PatType, Path,
    Receiver, ReceiverKind, Result, Safety, Signature, Token, Type, Visibility,
};

use crate::safe_state::{self, Attr};
use crate::types::{self, Output};

/// How many arguments a method can have: serde implements its traits for tuples of this size.
const MAX_ARGS: usize = 16;

/// An `#[actor]` block.
pub(crate) struct Config {
    /// The type, as the block names it.
    pub(crate) actor: Path,
    /// The last part of its name.
    pub(crate) name: Ident,
    /// The durable attributes, in order of first appearance.
    pub(crate) attributes: Vec<Attr>,
    /// The methods that can be called.
    pub(crate) methods: Vec<Method>,
}

/// A method that can be called.
pub(crate) struct Method {
    pub(crate) ident: Ident,
    pub(crate) vis: Visibility,
    /// Its documentation.
    pub(crate) docs: Vec<Attribute>,
    /// Other attributes that the handle's method has, too.
    pub(crate) attrs: Vec<Attribute>,
    /// The conditions under which the method exists.
    pub(crate) cfgs: Vec<TokenStream>,
    /// What a call commits, as indices into [`Config::attributes`].
    pub(crate) saves: Option<Vec<usize>>,
    pub(crate) args: Vec<(Ident, Type)>,
    pub(crate) output: Output,
}

/// Collects errors, so that all are reported at once.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }
}

impl Config {
    /// Reads the block, and marks each `#[safe_state]` in it as read.
    pub(crate) fn parse(args: &TokenStream, item: &mut ItemImpl) -> Result<Self> {
        let mut errors = Errors::default();
        if !args.is_empty() {
            errors.push(Error::new_spanned(args, "`#[actor]` takes no options"));
        }
        let actor = errors.take(actor_type(item));
        let mut attributes = Vec::new();
        let mut methods = Vec::new();
        for item in &mut item.items {
            match item {
                ImplItem::Fn(function) => {
                    let method = parse_function(function, &mut attributes);
                    methods.extend(errors.take(method).flatten());
                }
                other => errors.take(no_safe_state(other)).unwrap_or_default(),
            }
        }
        match (errors.0, actor) {
            (None, Some((actor, name))) => Ok(Self { actor, name, attributes, methods }),
            (error, _) => Err(error.unwrap_or_else(|| Error::new_spanned(item, "no type"))),
        }
    }
}

/// The type of an inherent block without parameters.
fn actor_type(item: &ItemImpl) -> Result<(Path, Ident)> {
    if let Some((path, _)) = &item.trait_ {
        let text = "`#[actor]` goes on the type's own `impl` block, not on that of a trait";
        return Err(Error::new_spanned(path, text));
    }
    let generic = "an actor's type cannot be generic: another process must know it by its name";
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(&item.generics, generic));
    }
    if let Some(clause) = &item.generics.where_clause {
        return Err(Error::new_spanned(clause, generic));
    }
    let Type::Path(ty) = &*item.self_ty else {
        return Err(Error::new_spanned(&item.self_ty, "an actor is a struct or an enum"));
    };
    let Some(last) = ty.path.segments.last().filter(|_| ty.qself.is_none()) else {
        return Err(Error::new_spanned(ty, "name the actor's type plainly"));
    };
    if ty.path.segments.iter().any(|segment| !segment.arguments.is_none()) {
        return Err(Error::new_spanned(ty, generic));
    }
    Ok((ty.path.clone(), last.ident.clone()))
}

/// Constants and types have nothing to save.
fn no_safe_state(item: &mut ImplItem) -> Result<()> {
    let attrs = match item {
        ImplItem::Const(item) => &mut item.attrs,
        ImplItem::Type(item) => &mut item.attrs,
        ImplItem::Macro(item) => &mut item.attrs,
        _ => return Ok(()),
    };
    let Some(attr) = attrs.iter_mut().find(|attr| safe_state::is_safe_state(attr)) else {
        return Ok(());
    };
    let error = Error::new_spanned(&*attr, "`#[safe_state]` goes on a method");
    safe_state::mark_seen(attr);
    Err(error)
}

/// Reads one function; `None` when it has no `self` and is left alone.
fn parse_function(function: &mut ImplItemFn, attributes: &mut Vec<Attr>) -> Result<Option<Method>> {
    let mut errors = Errors::default();
    let saves = errors.take(parse_safe_state(&mut function.attrs, attributes)).flatten();
    errors.take(check_cfg_attr(&function.attrs));
    let sig = &function.sig;
    let Some(receiver) = sig.receiver() else {
        if saves.is_some() {
            let text = "a `#[safe_state]` method takes `&mut self`: this function has no state \
                        to save";
            errors.push(Error::new_spanned(&sig.ident, text));
        }
        return errors.0.map_or(Ok(None), Err);
    };
    errors.take(check_receiver(receiver, saves.is_some()));
    errors.take(check_signature(sig));
    let args = errors.take(parse_args(sig));
    let output = errors.take(types::output(&sig.output));
    match (errors.0, args, output) {
        (None, Some(args), Some(output)) => Ok(Some(Method {
            ident: sig.ident.clone(),
            vis: function.vis.clone(),
            docs: attributes_named(function, &["doc"]),
            attrs: attributes_named(function, &["deprecated"]),
            cfgs: conditions(&function.attrs)?,
            saves,
            args,
            output,
        })),
        (error, ..) => Err(error.unwrap_or_else(|| Error::new_spanned(sig, "not a method"))),
    }
}

/// The indices of the attributes that a function saves.
fn parse_safe_state(
    attrs: &mut [Attribute],
    attributes: &mut Vec<Attr>,
) -> Result<Option<Vec<usize>>> {
    let mut saves = None;
    for attr in attrs.iter_mut().filter(|attr| safe_state::is_safe_state(attr)) {
        let parsed = safe_state::parse(attr);
        let again = Error::new_spanned(&*attr, "one `#[safe_state]` names all the fields");
        safe_state::mark_seen(attr);
        if saves.is_some() {
            return Err(again);
        }
        let indices = parsed?.into_iter().map(|attr| index_of(attributes, attr)).collect();
        saves = Some(indices);
    }
    Ok(saves)
}

fn index_of(attributes: &mut Vec<Attr>, attr: Attr) -> usize {
    attributes.iter().position(|known| known.name == attr.name).unwrap_or_else(|| {
        attributes.push(attr);
        attributes.len() - 1
    })
}

fn check_receiver(receiver: &Receiver, saves: bool) -> Result<()> {
    match &receiver.kind {
        ReceiverKind::Reference(_, None, Some(_)) => Ok(()),
        ReceiverKind::Reference(_, None, None) if saves => {
            let text = "this method takes `&self` and cannot change what `#[safe_state]` saves; \
                        take `&mut self`";
            Err(Error::new_spanned(receiver, text))
        }
        ReceiverKind::Reference(_, None, None) => Ok(()),
        ReceiverKind::Value => {
            let text = "an actor lives on after a call; take `&self` or `&mut self`";
            Err(Error::new_spanned(receiver, text))
        }
        _ => Err(Error::new_spanned(receiver, "write `&self` or `&mut self`")),
    }
}

fn check_signature(sig: &Signature) -> Result<()> {
    let mut errors = Errors::default();
    if let Some(token) = &sig.asyncness {
        let text = "an actor's method runs from start to end before the next one; it cannot be \
                    `async`";
        errors.push(Error::new_spanned(token, text));
    }
    if let Safety::Unsafe(token) = &sig.safety {
        let text = "any process with a handle may call it; it cannot be `unsafe`";
        errors.push(Error::new_spanned(token, text));
    }
    if let Some(abi) = &sig.abi {
        errors.push(Error::new_spanned(abi, "an actor's method cannot be `extern`"));
    }
    let generic = "an actor's method cannot be generic: it is called by number from another \
                   process";
    if !sig.generics.params.is_empty() {
        errors.push(Error::new_spanned(&sig.generics, generic));
    } else if let Some(clause) = &sig.generics.where_clause {
        errors.push(Error::new_spanned(clause, generic));
    }
    errors.0.map_or(Ok(()), Err)
}

fn parse_args(sig: &Signature) -> Result<Vec<(Ident, Type)>> {
    let mut errors = Errors::default();
    let mut args = Vec::new();
    for arg in &sig.inputs {
        if let FnArg::Typed(arg) = arg {
            args.extend(errors.take(parse_arg(arg)));
        }
    }
    if args.len() > MAX_ARGS {
        let text = format!("a method has at most {MAX_ARGS} arguments; group them in a struct");
        errors.push(Error::new_spanned(&sig.inputs, text));
    }
    errors.0.map_or(Ok(args), Err)
}

fn parse_arg(arg: &PatType) -> Result<(Ident, Type)> {
    if let Some(attr) = arg.attrs.iter().find(|attr| is_cfg(attr.path())) {
        let text = "an argument cannot depend on a `cfg`; put it on the whole method";
        return Err(Error::new_spanned(attr, text));
    }
    types::check_sendable(&arg.ty, "arguments cross a process boundary; take")?;
    match &*arg.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.subpat.is_none() => {
            Ok((pat.ident.clone(), (*arg.ty).clone()))
        }
        pat => {
            let text = "an argument needs a name, which the handle's method has, too; take a \
                        pattern apart in the body";
            Err(Error::new_spanned(pat, text))
        }
    }
}

fn attributes_named(function: &ImplItemFn, names: &[&str]) -> Vec<Attribute> {
    let named = |attr: &&Attribute| names.iter().any(|name| attr.path().is_ident(name));
    function.attrs.iter().filter(named).cloned().collect()
}

fn is_cfg(path: &Path) -> bool {
    path.is_ident("cfg") || path.is_ident("cfg_attr")
}

/// What stands in each `#[cfg(…)]`.
fn conditions(attrs: &[Attribute]) -> Result<Vec<TokenStream>> {
    let cfgs = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    cfgs.map(|attr| attr.meta.require_list().map(|list| list.tokens.clone())).collect()
}

/// Refuses a `#[cfg_attr]` that would add what this macro must know before it is expanded.
fn check_cfg_attr(attrs: &[Attribute]) -> Result<()> {
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("cfg_attr")) {
        let metas = attr.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
        for meta in metas.iter().skip(1) {
            let last = meta.path().segments.last();
            if is_cfg(meta.path()) || last.is_some_and(|last| last.ident == "safe_state") {
                let text = "`#[actor]` cannot see inside `cfg_attr`; write two methods, each \
                            with a `#[cfg]`";
                return Err(Error::new_spanned(meta, text));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use quote::{ToTokens, quote};

    use super::*;

    fn parse(block: TokenStream) -> (Result<Config>, ItemImpl) {
        let mut block = syn::parse2(block).unwrap();
        (Config::parse(&TokenStream::new(), &mut block), block)
    }

    fn errors(block: TokenStream) -> Vec<String> {
        let error = parse(block).0.err().expect("wrong use");
        error.into_iter().map(|error| error.to_string()).collect()
    }

    #[test]
    fn attributes_are_collected_in_the_order_of_their_first_appearance() {
        let (config, _) = parse(quote! {
            impl some::Counter {
                #[safe_state("b", "a",)] fn one(&mut self) {}
                fn two(&self) {}
                #[persistent_actor_runtime::safe_state("a", "c")] fn three(&mut self) {}
            }
        });
        let config = config.unwrap();
        let names: Vec<_> = config.attributes.iter().map(|attr| attr.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "c"]);
        let saves: Vec<_> = config.methods.iter().map(|method| method.saves.clone()).collect();
        assert_eq!(saves, [Some(vec![0, 1]), None, Some(vec![1, 2])]);
        assert_eq!(config.name, "Counter");
    }

    #[test]
    fn a_name_may_be_a_number_or_a_keyword() {
        let (config, _) = parse(quote! {
            impl Counter { #[safe_state("0", "type", "r#fn")] fn one(&mut self) {} }
        });
        let attributes = config.unwrap().attributes;
        let fields = attributes.iter().map(|attr| attr.field.to_token_stream().to_string());
        assert_eq!(fields.collect::<Vec<_>>(), ["0", "r#type", "r#fn"]);
        let names: Vec<_> = attributes.iter().map(|attr| attr.name.as_str()).collect();
        assert_eq!(names, ["0", "type", "fn"]);
    }

    #[test]
    fn only_functions_with_self_are_methods_and_nothing_else_changes() {
        let block = quote! {
            impl Counter {
                const LIMIT: u64 = 1;
                fn new(limit: &str) -> Self { todo!() }
                #[cfg(unix)] #[cfg(feature = "x")] pub fn get(&self) -> u64 { 0 }
            }
        };
        let (config, left) = parse(block.clone());
        assert_eq!(left.to_token_stream().to_string(), block.to_string());
        let methods = config.unwrap().methods;
        assert_eq!(methods.len(), 1);
        let cfgs: Vec<_> = methods[0].cfgs.iter().map(ToString::to_string).collect();
        assert_eq!(cfgs, ["unix", "feature = \"x\""]);
    }

    #[test]
    fn all_errors_are_reported_at_once_and_every_safe_state_is_marked_as_read() {
        let block = quote! {
            impl<T> Counter {
                #[safe_state(a)] async fn one(self, b: &str) -> io::Result<()> {}
                #[safe_state] fn two() {}
            }
        };
        let found = errors(block.clone());
        let expected =
            ["generic", "string literal", "lives on", "`async`", "`String`", "alias", "name the"];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.contains(expected), "{found:?} should say {expected:?}");
        }
        let left = parse(block).1.to_token_stream().to_string();
        assert_eq!(left.matches("safe_state (__seen_by_actor)").count(), 2, "{left}");
    }

    #[test]
    fn a_method_has_at_most_sixteen_arguments() {
        let args = |count| (0..count).map(|i| quote::format_ident!("a{i}"));
        let (sixteen, seventeen) = (args(16), args(17));
        assert!(parse(quote!(impl C { fn f(&self, #(#sixteen: u8),*) {} })).0.is_ok());
        let found = errors(quote!(impl C { fn f(&self, #(#seventeen: u8),*) {} }));
        assert_eq!(found, ["a method has at most 16 arguments; group them in a struct"]);
    }
}
