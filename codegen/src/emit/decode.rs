//! `read_fields`: the fields of one version, in wire order, then the tagged ones.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::groups::{Groups, Piece, question};
use super::{
    Context, fixed_method, flexible_argument, flexible_binding, is_option, parameter, value_type,
};
use crate::model::{Field, Fixed, Shape, Type};
use crate::names;
use crate::versions::{Condition, Versions};

pub(super) fn emit(known: &Context<'_>) -> TokenStream {
    let mut groups = Groups::default();
    for field in &known.of.fields {
        let versions = field.positional();
        if !versions.is_empty() {
            groups.push(versions, Some(positional(known, field, versions)), None);
        }
    }
    let fields = groups.render(known.of.versions, run);
    let tags = tags(known);
    let body = quote!(#fields #tags);
    let flexible = flexible_binding(known, &body);
    let r = parameter("r", &body);
    let version = parameter("version", &quote!(#flexible #body));
    quote! {
        fn read_fields(&mut self, #r: &mut FieldReader<'a>, #version: i16) {
            #flexible
            #body
        }
    }
}

/// Neighbouring fields of fixed size, read with one check.
fn run(fields: &[(Ident, Fixed)]) -> TokenStream {
    match fields {
        [(field, fixed)] => {
            let method = fixed_method(*fixed);
            quote!(self.#field = r.#method();)
        }
        _ => {
            let fields = fields.iter().map(|(field, _)| field);
            quote!((#(self.#fields),*) = r.run();)
        }
    }
}

fn positional(known: &Context<'_>, field: &Field, versions: Versions) -> Piece {
    let ident = names::ident(&field.rust_name);
    if let Shape::One(Type::Fixed(fixed)) = field.shape {
        return Piece::Fixed(ident, fixed);
    }
    let flexible = flexible_argument(field, versions);
    let in_place = matches!(field.shape, Shape::One(Type::Struct(_))) && !field.is_optional();
    if in_place {
        return Piece::Code(quote!(self.#ident.read_fields(r, version);));
    }
    let value = optional(known, field, &flexible, versions, false);
    Piece::Code(quote!(self.#ident = #value;))
}

/// An expression that reads the field in some of `versions`, as an option if it may be null in any version.
fn optional(
    known: &Context<'_>,
    field: &Field,
    flexible: &TokenStream,
    versions: Versions,
    in_tag: bool,
) -> TokenStream {
    let nullable = || value(known, field, flexible, true, in_tag);
    let required = || {
        let value = value(known, field, flexible, false, in_tag);
        if is_option(field) {
            quote!(Some(#value))
        } else {
            value
        }
    };
    match field.nullable.condition(versions) {
        Condition::Always => nullable(),
        Condition::Never => required(),
        mixed => {
            let question = question(mixed);
            let (nullable, required) = (nullable(), required());
            quote!(if #question { #nullable } else { #required })
        }
    }
}

/// An expression that reads the field, as an option if `nullable`.
fn value(
    known: &Context<'_>,
    field: &Field,
    flexible: &TokenStream,
    nullable: bool,
    in_tag: bool,
) -> TokenStream {
    let method = |plain: &str, may_be_null: &str| {
        let method = names::ident(if nullable { may_be_null } else { plain });
        quote!(r.#method)
    };
    match &field.shape {
        Shape::One(Type::Fixed(fixed)) => {
            let method = fixed_method(*fixed);
            quote!(r.#method())
        }
        Shape::One(Type::String) => {
            let method = method("string", "nullable_string");
            quote!(#method(#flexible))
        }
        Shape::One(Type::Bytes) => {
            let method = method("bytes", "nullable_bytes");
            quote!(#method(#flexible))
        }
        Shape::One(Type::Records) => {
            let method = method("records", "nullable_records");
            quote!(#method(#flexible))
        }
        Shape::One(Type::Struct(name)) => one_struct(name, nullable, in_tag),
        Shape::Many(Type::Fixed(_)) => {
            let method = method("ints", "nullable_ints");
            quote!(#method(#flexible))
        }
        Shape::Many(element) => {
            let method = method("array", "nullable_array");
            let (least, read) = element_reader(known, element, field, flexible);
            let element = value_type(element);
            quote!(#method(#flexible, #least, |it: &mut #element, r| #read))
        }
    }
}

fn one_struct(name: &str, nullable: bool, in_tag: bool) -> TokenStream {
    let name = names::ident(name);
    let read = quote! {
        let mut it = #name::default();
        it.read_fields(r, version);
    };
    if !nullable {
        return quote!({ #read it });
    }
    let presence = names::ident(if in_tag {
        "tagged_presence"
    } else {
        "presence"
    });
    quote! {
        if r.#presence() {
            #read
            Some(it)
        } else {
            None
        }
    }
}

/// The least size of an element, and an expression that reads one into `it`.
fn element_reader(
    known: &Context<'_>,
    element: &Type,
    field: &Field,
    flexible: &TokenStream,
) -> (TokenStream, TokenStream) {
    match element {
        Type::Struct(name) => {
            let inner = known.message.structs.iter().find(|it| it.name == *name);
            let least = proc_macro2::Literal::usize_unsuffixed(inner.map_or(1, |it| it.min_wire));
            (quote!(#least), quote!(it.read_fields(r, version)))
        }
        _ => {
            let least = if field.flexible.covers(field.positional()) || element == &Type::Bytes {
                quote!(1)
            } else {
                quote!(if #flexible { 1 } else { 2 })
            };
            let method = names::ident(if element == &Type::Bytes {
                "bytes"
            } else {
                "string"
            });
            (least, quote!(*it = r.#method(#flexible)))
        }
    }
}

fn tags(known: &Context<'_>) -> Option<TokenStream> {
    let flexible = known.message.flexible.condition(known.of.versions);
    if flexible == Condition::Never {
        return None;
    }
    let versions = known.message.flexible.intersect(known.of.versions);
    let mut tagged: Vec<_> = known
        .of
        .fields
        .iter()
        .filter_map(|field| Some((field.tagged?, field)))
        .collect();
    tagged.sort_by_key(|((tag, _), _)| *tag);
    let read = if tagged.is_empty() {
        quote!(self.unknown_tags = r.unknown_tags();)
    } else {
        let arms = tagged.iter().map(|((tag, range), field)| {
            let ident = names::ident(&field.rust_name);
            let tag = proc_macro2::Literal::u32_unsuffixed(*tag);
            let value = optional(known, field, &quote!(true), *range, true);
            let guard = question(range.condition(versions)).map(|question| quote!(if #question));
            quote!(#tag #guard => self.#ident = #value,)
        });
        quote! {
            self.unknown_tags = r.tags(|tag, r| {
                match tag {
                    #(#arms)*
                    _ => return false,
                }
                true
            });
        }
    };
    Some(if flexible == Condition::Always {
        read
    } else {
        quote!(if flexible { #read })
    })
}
