//! `read_fields`: the fields of one version, in wire order, then the tagged ones.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::groups::{Groups, Piece, question};
use super::{
    Context, fixed_method, flexible_argument, flexible_binding, is_option, parameter, tags_argument,
};
use crate::model::{Field, Fixed, Shape, Type};
use crate::names;
use crate::versions::{Condition, Versions};

pub(super) fn emit(known: &Context<'_>) -> TokenStream {
    let mut groups = Groups::default();
    for field in &known.of.fields {
        let versions = field.positional();
        if !versions.is_empty() {
            groups.push(versions, Some(positional(field, versions)), None);
        }
    }
    let fields = groups.render(known.of.versions, run);
    let tags = tags(known);
    let body = quote!(#fields #tags);
    let flexible = flexible_binding(known, &body);
    let r = parameter("r", &body);
    let version = parameter("version", &quote!(#flexible #body));
    quote! {
        #[inline]
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

fn positional(field: &Field, versions: Versions) -> Piece {
    let ident = names::ident(&field.rust_name);
    if let Shape::One(Type::Fixed(fixed)) = field.shape {
        return Piece::Fixed(ident, fixed);
    }
    let flexible = flexible_argument(field, versions);
    let in_place = matches!(field.shape, Shape::One(Type::Struct(_))) && !field.is_optional();
    if in_place {
        return Piece::Code(quote!(self.#ident.read_fields(r, version);));
    }
    let value = optional(field, &flexible, versions, false);
    Piece::Code(quote!(self.#ident = #value;))
}

/// An expression that reads the field in some of `versions`, as an option if it may be null in any version.
fn optional(
    field: &Field,
    flexible: &TokenStream,
    versions: Versions,
    in_tag: bool,
) -> TokenStream {
    let nullable = || value(field, flexible, true, in_tag);
    let required = || {
        let value = value(field, flexible, false, in_tag);
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
fn value(field: &Field, flexible: &TokenStream, nullable: bool, in_tag: bool) -> TokenStream {
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
        Shape::One(Type::Struct(_)) => {
            let method = method(
                "structure",
                if in_tag {
                    "tagged_structure"
                } else {
                    "nullable_structure"
                },
            );
            quote!(#method(version))
        }
        Shape::Many(Type::Fixed(_)) => {
            let method = method("ints", "nullable_ints");
            quote!(#method(#flexible))
        }
        Shape::Many(_) => {
            let method = method("array", "nullable_array");
            quote!(#method(#flexible, version))
        }
    }
}

fn tags(known: &Context<'_>) -> Option<TokenStream> {
    let argument = tags_argument(known);
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
    if tagged.is_empty() {
        return Some(quote!(self.unknown_tags = r.unknown_tags(#argument);));
    }
    let arms = tagged.iter().map(|((tag, range), field)| {
        let ident = names::ident(&field.rust_name);
        let tag = proc_macro2::Literal::u32_unsuffixed(*tag);
        let value = optional(field, &quote!(true), *range, true);
        let guard = question(range.condition(versions)).map(|question| quote!(if #question));
        quote!(#tag #guard => self.#ident = #value,)
    });
    let read = quote! {
        self.unknown_tags = r.tags(|tag, r| {
            match tag {
                #(#arms)*
                _ => return false,
            }
            true
        });
    };
    Some(if flexible == Condition::Always {
        read
    } else {
        quote!(if flexible { #read })
    })
}
