//! `write`: the fields of one version, in wire order, then the tagged ones. A value that the version cannot carry is an
//! error, unless the schema lets it be dropped.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::groups::{Groups, Piece, question};
use super::{
    Context, fixed_method, flexible_argument, flexible_binding, is_option, literal, parameter,
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
        fn write(&self, w: &mut Writer, #version: i16) -> Result<(), EncodeError> {
            #flexible
            #body
            Ok(())
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
    let nullable = || nullable(known, field, flexible, in_tag);
    let required = || required(known, field, flexible);
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

/// Code that writes the field where it may be null.
fn nullable(
    known: &Context<'_>,
    field: &Field,
    flexible: &TokenStream,
    in_tag: bool,
) -> TokenStream {
    let ident = names::ident(&field.rust_name);
    let of = known.place(&field.name);
    match &field.shape {
        Shape::One(Type::Fixed(_)) => required(known, field, flexible),
        Shape::One(Type::String) => {
            quote!(w.nullable_string(self.#ident.as_deref(), #flexible) #of;)
        }
        Shape::One(Type::Bytes) => quote!(w.nullable_bytes(self.#ident.as_deref(), #flexible) #of;),
        Shape::One(Type::Records) => quote!(w.nullable_records(&self.#ident, #flexible) #of;),
        Shape::One(Type::Struct(_)) => {
            let presence = names::ident(if in_tag {
                "tagged_presence"
            } else {
                "presence"
            });
            quote! {
                w.#presence(self.#ident.is_some());
                if let Some(it) = &self.#ident {
                    it.write(w, version)?;
                }
            }
        }
        Shape::Many(Type::Fixed(_)) => {
            quote!(w.nullable_ints(self.#ident.as_ref(), #flexible) #of;)
        }
        Shape::Many(element) => {
            let write = element_writer(known, field, element, flexible);
            quote! {
                w.array_length(self.#ident.as_ref().map(Vec::len), #flexible) #of;
                for it in self.#ident.iter().flatten() {
                    #write
                }
            }
        }
    }
}

/// Code that writes the field where it must not be null.
fn required(known: &Context<'_>, field: &Field, flexible: &TokenStream) -> TokenStream {
    let ident = names::ident(&field.rust_name);
    let of = known.place(&field.name);
    let option = is_option(field);
    let by_reference = |method: &str| {
        let method = names::ident(method);
        if option {
            quote!(required(self.#ident.as_deref()).and_then(|it| w.#method(it, #flexible)) #of;)
        } else {
            quote!(w.#method(&self.#ident, #flexible) #of;)
        }
    };
    match &field.shape {
        Shape::One(Type::Fixed(fixed)) => {
            let method = fixed_method(*fixed);
            quote!(w.#method(self.#ident);)
        }
        Shape::One(Type::String) => by_reference("string"),
        Shape::One(Type::Bytes) => by_reference("bytes"),
        Shape::One(Type::Records) => quote!(w.records(&self.#ident, #flexible) #of;),
        Shape::One(Type::Struct(_)) if option => {
            quote!(required(self.#ident.as_ref()) #of.write(w, version)?;)
        }
        Shape::One(Type::Struct(_)) => quote!(self.#ident.write(w, version)?;),
        Shape::Many(Type::Fixed(_)) if option => {
            quote!(required(self.#ident.as_ref()).and_then(|it| w.ints(it, #flexible)) #of;)
        }
        Shape::Many(Type::Fixed(_)) => quote!(w.ints(&self.#ident, #flexible) #of;),
        Shape::Many(element) => {
            let write = element_writer(known, field, element, flexible);
            let list = if option {
                quote!(required(self.#ident.as_ref()) #of)
            } else {
                quote!(&self.#ident)
            };
            quote! {
                let list = #list;
                w.array_length(Some(list.len()), #flexible) #of;
                for it in list {
                    #write
                }
            }
        }
    }
}

/// Code that writes the element `it`.
fn element_writer(
    known: &Context<'_>,
    field: &Field,
    element: &Type,
    flexible: &TokenStream,
) -> TokenStream {
    let of = known.place(&field.name);
    match element {
        Type::Struct(_) => quote!(it.write(w, version)?;),
        Type::Bytes => quote!(w.bytes(it, #flexible) #of;),
        _ => quote!(w.string(it, #flexible) #of;),
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
    let of = known.place(&field.name);
    quote!(absent(#is_set) #of;)
}

fn tags(known: &Context<'_>) -> TokenStream {
    let message = &known.message.name;
    let flexible = known.message.flexible.condition(known.of.versions);
    let of = known.place("unknown_tags");
    let refuse = quote!(w.no_tags(&self.unknown_tags) #of;);
    if flexible == Condition::Never {
        return refuse;
    }
    let versions = known.message.flexible.intersect(known.of.versions);
    let mut tagged: Vec<_> = known
        .of
        .fields
        .iter()
        .filter_map(|field| Some((field.tagged?, field)))
        .collect();
    tagged.sort_by_key(|((tag, _), _)| *tag);
    let write = if tagged.is_empty() {
        quote!(w.unknown_tags(&self.unknown_tags, #message, version)?;)
    } else {
        let fields = tagged.iter().map(|((tag, range), field)| {
            let tag = proc_macro2::Literal::u32_unsuffixed(*tag);
            let name = known.path(&field.name);
            let is_set = is_set(field);
            let write = optional(known, field, &quote!(true), *range, true);
            let field = quote! {
                tags.field(#tag, #name, #is_set, |w| {
                    #write
                    Ok(())
                })?;
            };
            match question(range.condition(versions)) {
                Some(question) => quote!(if #question { #field }),
                None => field,
            }
        });
        quote! {
            w.tags(&self.unknown_tags, #message, version, |tags| {
                #(#fields)*
                Ok(())
            })?;
        }
    };
    if flexible == Condition::Always {
        write
    } else {
        quote!(if flexible { #write } else { #refuse })
    }
}
