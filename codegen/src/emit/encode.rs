//! `write`: the fields of one version, in wire order, then the tagged ones. A value that the version cannot carry is an
//! error, unless the schema lets it be dropped.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::groups::{Groups, Piece, opposite, question};
use super::{
    Context, fixed_method, flexible_argument, flexible_binding, is_option, literal, parameter,
    tags_argument,
};
use crate::model::{DefaultValue, Field, Fixed, Shape, Type};
use crate::names;
use crate::versions::{Condition, Versions};

pub(super) fn emit(known: &Context<'_>) -> TokenStream {
    let mut groups = Groups::default();
    for field in &known.of.fields {
        let positional = field.positional();
        let carried = field.versions.condition(known.of.versions) == Condition::Always;
        let refusal = (!carried && !field.ignorable).then(|| refusal(known, field));
        if positional.is_empty() {
            groups.push(field.versions, None, refusal);
        } else if positional == field.versions {
            groups.push(positional, Some(piece(known, field, positional)), refusal);
        } else {
            groups.push(positional, Some(piece(known, field, positional)), None);
            groups.push(field.versions, None, refusal);
        }
    }
    let fields = groups.render(known.of.versions, run);
    let tags = tags(known);
    let body = quote!(#fields #tags);
    let flexible = flexible_binding(known, &body);
    let version = parameter("version", &quote!(#flexible #body));
    quote! {
        #[inline]
        fn write_fields(&self, w: &mut Writer, #version: i16) {
            #flexible
            #body
        }
    }
}

/// Neighbouring fields of fixed size, written at once.
fn run(fields: &[(Ident, Fixed)]) -> TokenStream {
    match fields {
        [(field, fixed)] => {
            let method = fixed_method(*fixed);
            quote!(w.#method(self.#field);)
        }
        _ => {
            let fields = fields.iter().map(|(field, _)| field);
            quote!(w.run((#(self.#fields),*));)
        }
    }
}

fn piece(known: &Context<'_>, field: &Field, versions: Versions) -> Piece {
    if let Shape::One(Type::Fixed(fixed)) = field.shape {
        return Piece::Fixed(names::ident(&field.rust_name), fixed);
    }
    let flexible = flexible_argument(field, versions);
    Piece::Code(optional(known, field, &flexible, versions, false))
}

/// Code that writes the field in some of `versions`.
fn optional(
    known: &Context<'_>,
    field: &Field,
    flexible: &TokenStream,
    versions: Versions,
    in_tag: bool,
) -> TokenStream {
    let ident = names::ident(&field.rust_name);
    let name = known.path(&field.name);
    let nullable = field.nullable.condition(versions);
    let write = |may_be_null| value(field, flexible, &name, may_be_null, in_tag);
    let has_marker = matches!(field.shape, Shape::One(Type::Struct(_)));
    match question(nullable) {
        None => write(true),
        Some(_) if nullable == Condition::Never && (has_marker || !is_option(field)) => {
            write(false)
        }
        Some(question) if has_marker => {
            let (nullable, required) = (write(true), write(false));
            quote!(if #question { #nullable } else { #required })
        }
        Some(_) => {
            let has_value = if is_option(field) {
                quote!(self.#ident.is_some())
            } else {
                quote!(!self.#ident.is_null())
            };
            let check = quote!(w.not_null(#has_value, #name););
            let check = match opposite(nullable) {
                Some(question) if nullable != Condition::Never => {
                    quote!(if #question { #check })
                }
                _ => check,
            };
            let write = write(true);
            quote!(#check #write)
        }
    }
}

/// Code that writes the field, and a null only if `nullable`.
fn value(
    field: &Field,
    flexible: &TokenStream,
    name: &str,
    nullable: bool,
    in_tag: bool,
) -> TokenStream {
    let ident = names::ident(&field.rust_name);
    let method =
        |plain: &str, may_be_null: &str| names::ident(if nullable { may_be_null } else { plain });
    let slice = if nullable {
        quote!(self.#ident.as_deref())
    } else {
        quote!(&self.#ident)
    };
    match &field.shape {
        Shape::One(Type::Fixed(fixed)) => {
            let method = fixed_method(*fixed);
            quote!(w.#method(self.#ident);)
        }
        Shape::One(Type::String) => {
            let method = method("string", "nullable_string");
            quote!(w.#method(#slice, #flexible, #name);)
        }
        Shape::One(Type::Bytes) => {
            let method = method("bytes", "nullable_bytes");
            quote!(w.#method(#slice, #flexible, #name);)
        }
        Shape::One(Type::Records) => {
            let method = method("records", "nullable_records");
            quote!(w.#method(&self.#ident, #flexible, #name);)
        }
        Shape::One(Type::Struct(_)) if nullable => {
            let method = names::ident(if in_tag {
                "tagged_structure"
            } else {
                "nullable_structure"
            });
            quote!(w.#method(self.#ident.as_ref(), version);)
        }
        Shape::One(Type::Struct(_)) if is_option(field) => {
            quote!(w.structure(self.#ident.as_ref(), version, #name);)
        }
        Shape::One(Type::Struct(_)) => quote!(self.#ident.write_fields(w, version);),
        Shape::Many(Type::Fixed(_)) if nullable => {
            quote!(w.nullable_ints(self.#ident.as_ref(), #flexible, #name);)
        }
        Shape::Many(Type::Fixed(_)) => quote!(w.ints(&self.#ident, #flexible, #name);),
        Shape::Many(_) => {
            let method = method("array", "nullable_array");
            quote!(w.#method(#slice, #flexible, version, #name);)
        }
    }
}

/// An expression that is true if the field does not hold its default.
fn is_set(field: &Field) -> TokenStream {
    let ident = names::ident(&field.rust_name);
    match (&field.default, &field.shape) {
        (_, Shape::One(Type::Records)) => quote!(!self.#ident.is_null()),
        (DefaultValue::Null, _) => quote!(self.#ident.is_some()),
        (DefaultValue::True, _) => quote!(!self.#ident),
        (DefaultValue::Int(number), _) => {
            let number = literal(*number);
            quote!(self.#ident != #number)
        }
        (DefaultValue::Float(number), _) => {
            let number = proc_macro2::Literal::f64_unsuffixed(*number);
            quote!(self.#ident != #number)
        }
        (DefaultValue::Text(text), _) if is_option(field) => {
            quote!(self.#ident.as_deref() != Some(#text))
        }
        (DefaultValue::Text(text), _) => quote!(self.#ident != #text),
        (DefaultValue::Implicit, Shape::One(Type::Fixed(fixed))) => match fixed {
            Fixed::Bool => quote!(self.#ident),
            Fixed::Float64 => quote!(self.#ident != 0.0),
            Fixed::Uuid => quote!(!self.#ident.is_nil()),
            _ => quote!(self.#ident != 0),
        },
        (DefaultValue::Implicit, Shape::One(Type::Struct(name))) => {
            let name = names::ident(name);
            if is_option(field) {
                quote!(self.#ident.as_ref() != Some(&#name::default()))
            } else {
                quote!(self.#ident != #name::default())
            }
        }
        (DefaultValue::Implicit, _) if is_option(field) => {
            quote!(self.#ident.as_ref().is_none_or(|it| !it.is_empty()))
        }
        (DefaultValue::Implicit, _) => quote!(!self.#ident.is_empty()),
    }
}

/// Code that fails if the field holds a value that the version cannot carry.
fn refusal(known: &Context<'_>, field: &Field) -> TokenStream {
    let is_set = is_set(field);
    let name = known.path(&field.name);
    quote!(w.absent(#is_set, #name);)
}

fn tags(known: &Context<'_>) -> TokenStream {
    let name = known.path("unknown_tags");
    let argument = tags_argument(known);
    let flexible = known.message.flexible.condition(known.of.versions);
    let mut tagged: Vec<_> = known
        .of
        .fields
        .iter()
        .filter_map(|field| Some((field.tagged?, field)))
        .collect();
    tagged.sort_by_key(|((tag, _), _)| *tag);
    if tagged.is_empty() || flexible == Condition::Never {
        return quote!(w.unknown_tags(&self.unknown_tags, #argument, #name););
    }
    let versions = known.message.flexible.intersect(known.of.versions);
    let fields = tagged.iter().map(|((tag, range), field)| {
        let tag = proc_macro2::Literal::u32_unsuffixed(*tag);
        let name = known.path(&field.name);
        let is_set = is_set(field);
        let write = optional(known, field, &quote!(true), *range, true);
        let field = quote!(tags.field(#tag, #name, #is_set, |w| { #write }););
        match question(range.condition(versions)) {
            Some(question) => quote!(if #question { #field }),
            None => field,
        }
    });
    let write = quote! {
        w.tags(&self.unknown_tags, #name, |tags| {
            #(#fields)*
        });
    };
    if flexible == Condition::Always {
        write
    } else {
        let refuse = quote!(w.unknown_tags(&self.unknown_tags, false, #name););
        quote!(if flexible { #write } else { #refuse })
    }
}
