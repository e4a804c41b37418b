//! What the schema says, as constant data for the interpreter in `protocol::view`.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use super::literal;
use crate::model::{DefaultValue, Field, Fixed, Message, Model, Shape, Type};
use crate::names;
use crate::versions::Versions;

pub(super) fn emit(message: &Message) -> TokenStream {
    let top = names::ident(&message.structs[0].name);
    let name = &message.name;
    let kind = format_ident!("{}", format!("{:?}", message.kind));
    let api_key = match &message.api {
        Some((_, name)) => {
            let key = names::ident(name);
            quote!(Some(ApiKey::#key))
        }
        None => quote!(None),
    };
    let versions = range(message.versions);
    let flexible = range(message.flexible);
    let structs = message.structs.iter().map(|it| {
        let name = &it.name;
        let fields = it
            .fields
            .iter()
            .map(|field| emit_field(message, field, it.versions));
        let ident = names::ident(name);
        let wire_bytes_min = Literal::usize_unsuffixed(it.min_wire);
        quote!(StructDescriptor {
            name: #name,
            wire_bytes_min: #wire_bytes_min,
            memory_bytes: size_of::<#ident<'_>>(),
            fields: &[#(#fields),*],
        })
    });
    quote! {
        /// What the schema says of the message.
        pub static DESCRIPTOR: MessageDescriptor = MessageDescriptor {
            name: #name,
            kind: Kind::#kind,
            api_key: #api_key,
            versions: Versions(#versions),
            flexible: Versions(#flexible),
            structs: &[#(#structs),*],
            #[cfg(feature = "codec-table")]
            decode: |reader, version| crate::view::decode::<#top<'_>>(reader, version),
            #[cfg(feature = "codec-table")]
            recode: |bytes, version| crate::view::recode::<#top<'_>>(bytes, version),
        };
    }
}

/// The list of all descriptors.
pub(super) fn list(model: &Model) -> TokenStream {
    let modules = model
        .messages
        .iter()
        .map(|message| format_ident!("{}", message.module));
    quote! {
        /// Every message, by name.
        pub static MESSAGES: &[&MessageDescriptor] = &[#(&messages::#modules::DESCRIPTOR),*];
    }
}

fn emit_field(message: &Message, field: &Field, known: Versions) -> TokenStream {
    let name = &field.name;
    let shape = match &field.shape {
        Shape::One(of) => {
            let of = type_name(message, of);
            quote!(One(#of))
        }
        Shape::Many(of) => {
            let of = type_name(message, of);
            quote!(Many(#of))
        }
    };
    let versions = range(field.versions);
    let nullable = field.is_optional().then(|| {
        let nullable = range(field.nullable);
        quote!(.nullable(#nullable))
    });
    let rigid = (field.flexible.is_empty() && !message.flexible.intersect(known).is_empty())
        .then(|| quote!(.rigid()));
    let tagged = field.tagged.map(|(tag, tagged)| {
        let (tag, tagged) = (Literal::u32_unsuffixed(tag), range(tagged));
        quote!(.tagged(#tag, #tagged))
    });
    let ignorable = field.ignorable.then(|| quote!(.ignorable()));
    let default = match &field.default {
        DefaultValue::Implicit => None,
        DefaultValue::Null => Some(quote!(Null)),
        DefaultValue::True => Some(quote!(True)),
        DefaultValue::Int(number) => {
            let number = literal(*number);
            Some(quote!(Int(#number)))
        }
        DefaultValue::Float(number) => {
            let number = Literal::f64_unsuffixed(*number);
            Some(quote!(Float(#number)))
        }
        DefaultValue::Text(text) => Some(quote!(Text(#text))),
    };
    let default = default.map(|value| quote!(.default(DefaultValue::#value)));
    quote!(field(#name, #shape, #versions)#nullable #rigid #tagged #ignorable #default)
}

fn range(versions: Versions) -> TokenStream {
    let (lowest, highest) = (literal(versions.lowest), literal(versions.highest));
    quote!(#lowest, #highest)
}

fn type_name(message: &Message, of: &Type) -> TokenStream {
    let name = match of {
        Type::Fixed(Fixed::Bool) => "Bool",
        Type::Fixed(Fixed::Int8) => "Int8",
        Type::Fixed(Fixed::Int16) => "Int16",
        Type::Fixed(Fixed::Uint16) => "Uint16",
        Type::Fixed(Fixed::Int32) => "Int32",
        Type::Fixed(Fixed::Uint32) => "Uint32",
        Type::Fixed(Fixed::Int64) => "Int64",
        Type::Fixed(Fixed::Float64) => "Float64",
        Type::Fixed(Fixed::Uuid) => "Uuid",
        Type::String => "String",
        Type::Bytes => "Bytes",
        Type::Records => "Records",
        Type::Struct(name) => {
            let index = message.structs.iter().position(|it| it.name == *name);
            let index = Literal::usize_unsuffixed(index.unwrap_or_default());
            return quote!(Type::Struct(#index));
        }
    };
    let name = format_ident!("{name}");
    quote!(Type::#name)
}
