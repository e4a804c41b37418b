//! The struct of a message or of an array's elements, and its defaults.

use proc_macro2::TokenStream;
use quote::quote;

use super::{Context, is_option, literal, value_type};
use crate::model::{DefaultValue, Field, Fixed, Shape, Type};
use crate::names;
use crate::versions::Versions;

pub(super) fn emit(known: &Context<'_>) -> TokenStream {
    let name = known.ident();
    let doc = if known.is_top {
        format!(
            " `{}`, versions {}.",
            known.message.name, known.message.versions
        )
    } else {
        format!(" Part of [`{}`].", known.message.name)
    };
    let fields = known.of.fields.iter().map(|field| {
        let doc = field_doc(field, known.of.versions);
        let ident = names::ident(&field.rust_name);
        let kind = field_type(field);
        quote! {
            #doc
            pub #ident: #kind,
        }
    });
    let derive_default = known.of.fields.iter().all(is_derivable);
    let derives = if derive_default {
        quote!(#[derive(Debug, Clone, PartialEq, Default)])
    } else {
        quote!(#[derive(Debug, Clone, PartialEq)])
    };
    let default = (!derive_default).then(|| default_impl(known));
    quote! {
        #[doc = #doc]
        #derives
        pub struct #name<'a> {
            #(#fields)*
            /// Tagged fields that are not known here.
            pub unknown_tags: Tags<'a>,
        }
        #default
    }
}

/// Says which versions have the field, and in which it may be null.
fn field_doc(field: &Field, known: Versions) -> Option<TokenStream> {
    let mut facts = Vec::new();
    if !field.versions.covers(known) {
        facts.push(format!("Versions {}.", shown(field.versions, known)));
    }
    if field.is_optional() {
        facts.push(if field.nullable == field.versions {
            "Nullable.".to_owned()
        } else {
            format!("Nullable in {}.", shown(field.nullable, known))
        });
    }
    if let Some((tag, tagged)) = field.tagged {
        facts.push(format!("Tag {tag} in {}.", shown(tagged, known)));
    }
    if field.ignorable && !field.versions.covers(known) {
        facts.push("Dropped where absent.".to_owned());
    }
    (!facts.is_empty()).then(|| {
        let text = format!(" {}", facts.join(" "));
        quote!(#[doc = #text])
    })
}

/// The range as a schema would say it: open when it reaches the last version of the struct.
fn shown(versions: Versions, known: Versions) -> Versions {
    if versions.highest == known.highest {
        Versions {
            highest: i16::MAX,
            ..versions
        }
    } else {
        versions
    }
}

fn field_type(field: &Field) -> TokenStream {
    let plain = match &field.shape {
        Shape::One(of) => value_type(of),
        Shape::Many(of @ Type::Fixed(_)) => {
            let element = value_type(of);
            quote!(Ints<'a, #element>)
        }
        Shape::Many(of) => {
            let element = value_type(of);
            quote!(Vec<#element>)
        }
    };
    if is_option(field) {
        quote!(Option<#plain>)
    } else {
        plain
    }
}

/// Whether `Default` of the Rust type is the default of the field.
fn is_derivable(field: &Field) -> bool {
    match field.default {
        DefaultValue::Null => true,
        DefaultValue::Implicit => !is_option(field),
        DefaultValue::True
        | DefaultValue::Int(_)
        | DefaultValue::Float(_)
        | DefaultValue::Text(_) => false,
    }
}

fn default_impl(known: &Context<'_>) -> TokenStream {
    let name = known.ident();
    let fields = known.of.fields.iter().map(|field| {
        let ident = names::ident(&field.rust_name);
        let value = default_value(field);
        quote!(#ident: #value,)
    });
    quote! {
        impl Default for #name<'_> {
            #[inline]
            fn default() -> Self {
                Self {
                    #(#fields)*
                    unknown_tags: Tags::EMPTY,
                }
            }
        }
    }
}

fn default_value(field: &Field) -> TokenStream {
    let plain = match &field.default {
        DefaultValue::Null if is_option(field) => return quote!(None),
        DefaultValue::Null => quote!(Records::Null),
        DefaultValue::True => quote!(true),
        DefaultValue::Int(number) => {
            let number = literal(*number);
            quote!(#number)
        }
        DefaultValue::Float(number) => {
            let number = proc_macro2::Literal::f64_unsuffixed(*number);
            quote!(#number)
        }
        DefaultValue::Text(text) => quote!(Cow::Borrowed(#text)),
        DefaultValue::Implicit => implicit(&field.shape),
    };
    if is_option(field) {
        quote!(Some(#plain))
    } else {
        plain
    }
}

fn implicit(shape: &Shape) -> TokenStream {
    match shape {
        Shape::Many(Type::Fixed(_)) => quote!(Ints::EMPTY),
        Shape::Many(_) => quote!(Vec::new()),
        Shape::One(Type::Fixed(Fixed::Bool)) => quote!(false),
        Shape::One(Type::Fixed(Fixed::Float64)) => quote!(0.0),
        Shape::One(Type::Fixed(Fixed::Uuid)) => quote!(Uuid::nil()),
        Shape::One(Type::Fixed(_)) => quote!(0),
        Shape::One(Type::String) => quote!(Cow::Borrowed("")),
        Shape::One(Type::Bytes) => quote!(Cow::Borrowed(&[])),
        Shape::One(Type::Records) => quote!(Records::Null),
        Shape::One(Type::Struct(name)) => {
            let name = names::ident(name);
            quote!(#name::default())
        }
    }
}
