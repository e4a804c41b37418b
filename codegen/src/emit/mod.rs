//! From the model to Rust text, one file per message. Everything goes through `quote` and `prettyplease`.

mod api_key;
mod decode;
mod descriptor;
mod encode;
mod groups;
mod types;

use std::collections::HashSet;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{format_ident, quote};

use self::groups::question;
use crate::Error;
use crate::model::{Field, Fixed, Message, Model, Shape, Struct, Type};
use crate::names;
use crate::schema::Kind;
use crate::versions::{Condition, Versions};

/// A file to be written: its name and its text.
pub(crate) type File = (String, String);

/// Every generated file. `messages.rs` includes the others.
pub(crate) fn files(model: &Model) -> Result<Vec<File>, Error> {
    let mut files = Vec::with_capacity(model.messages.len() + 2);
    for it in &model.messages {
        files.push((format!("{}.rs", it.module), message(it)?));
    }
    files.push((
        "api_key.rs".to_owned(),
        print("ApiKey", api_key::emit(&model.apis))?,
    ));
    let descriptors = print("descriptors", descriptor::list(model))?;
    files.push(("descriptors.rs".to_owned(), descriptors));
    files.push(("messages.rs".to_owned(), print("messages", modules(model))?));
    Ok(files)
}

/// The text of one message's module.
pub(crate) fn message(it: &Message) -> Result<String, Error> {
    let mut code = TokenStream::new();
    for (index, each) in it.structs.iter().enumerate() {
        let known = Context {
            message: it,
            of: each,
            is_top: index == 0,
        };
        code.extend(types::emit(&known));
        code.extend(codec(&known));
    }
    code.extend(descriptor::emit(it));
    let uses = imports(&code);
    print(&it.name, quote!(#uses #code))
}

/// The struct that code is emitted for.
pub(crate) struct Context<'m> {
    pub(crate) message: &'m Message,
    pub(crate) of: &'m Struct,
    pub(crate) is_top: bool,
}

impl Context<'_> {
    /// The field as errors name it: with its struct, unless that is the message.
    pub(crate) fn path(&self, field: &str) -> String {
        if self.is_top {
            field.to_owned()
        } else {
            format!("{}.{field}", self.of.name)
        }
    }

    pub(crate) fn ident(&self) -> Ident {
        names::ident(&self.of.name)
    }
}

/// What the struct is on the wire, and what more the message is.
fn codec(known: &Context<'_>) -> TokenStream {
    let name = known.ident();
    let least = proc_macro2::Literal::usize_unsuffixed(known.of.min_wire);
    let read = decode::emit(known);
    let write = encode::emit(known);
    let message = known.is_top.then(|| message_impl(known.message, &name));
    quote! {
        impl<'a> Struct<'a> for #name<'a> {
            const BYTES_MIN: usize = #least;
            #read
            #write
        }
        #message
    }
}

fn message_impl(message: &Message, name: &Ident) -> TokenStream {
    let text = &message.name;
    let Versions { lowest, highest } = message.versions;
    let (lowest, highest) = (literal(lowest), literal(highest));
    let flexible = if message.flexible.is_empty() {
        quote!(None)
    } else {
        let first = literal(message.flexible.lowest);
        quote!(Some(#first))
    };
    let api = api_impl(message, name);
    quote! {
        impl<'a> Message<'a> for #name<'a> {
            const NAME: &'static str = #text;
            const VERSIONS: RangeInclusive<i16> = #lowest..=#highest;
            const FLEXIBLE: Option<i16> = #flexible;
        }
        #api
    }
}

fn api_impl(message: &Message, name: &Ident) -> Option<TokenStream> {
    let (_, api) = message.api.as_ref()?;
    let key = names::ident(api);
    let role = match message.kind {
        Kind::Request => quote!(Request),
        Kind::Response => quote!(Response),
        Kind::Header | Kind::Data => return None,
    };
    Some(quote! {
        impl<'a> #role<'a> for #name<'a> {
            const API_KEY: ApiKey = ApiKey::#key;
        }
    })
}

/// The modules of all messages, and their top structs.
fn modules(model: &Model) -> TokenStream {
    let modules = model.messages.iter().map(|message| {
        let module = format_ident!("{}", message.module);
        let top = names::ident(&message.structs[0].name);
        let path = format!("/{}.rs", message.module);
        let doc = format!(" {}, versions {}.", message.name, message.versions);
        quote! {
            #[doc = #doc]
            pub mod #module {
                include!(concat!(env!("OUT_DIR"), #path));
            }
            pub use #module::#top;
        }
    });
    quote!(#(#modules)*)
}

/// The `use` lines for those names the code needs.
fn imports(code: &TokenStream) -> TokenStream {
    let used = identifiers(code);
    let pick = |names: &[&str]| {
        let names = names
            .iter()
            .filter(|name| used.iter().any(|used| used == *name));
        names
            .map(|name| format_ident!("{}", name))
            .collect::<Vec<_>>()
    };
    let std_uses = [
        ("borrow", pick(&["Cow"])),
        ("ops", pick(&["RangeInclusive"])),
    ]
    .into_iter()
    .filter(|(_, names)| !names.is_empty())
    .map(|(module, names)| {
        let module = format_ident!("{module}");
        quote!(use std::#module::{#(#names),*};)
    });
    let own = pick(&["ApiKey", "Message", "Request", "Response"]);
    let wire = pick(&["FieldReader", "Ints", "Records", "Struct", "Tags", "Writer"]);
    let view = pick(&[
        "DefaultValue",
        "Kind",
        "Many",
        "MessageDescriptor",
        "One",
        "StructDescriptor",
        "Type",
        "Versions",
        "field",
    ]);
    let uuid = pick(&["Uuid"])
        .into_iter()
        .map(|uuid| quote!(use uuid::#uuid;));
    quote! {
        #(#std_uses)*
        #(#uuid)*
        use crate::{#(#own),*};
        use crate::view::{#(#view),*};
        use crate::wire::{#(#wire),*};
    }
}

/// All identifiers of the code; fields and methods with the dot in front of them.
fn identifiers(code: &TokenStream) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut streams = vec![code.clone()];
    while let Some(stream) = streams.pop() {
        let mut after_dot = false;
        for tree in stream {
            let is_dot = matches!(&tree, TokenTree::Punct(punct) if punct.as_char() == '.');
            match tree {
                TokenTree::Group(group) => streams.push(group.stream()),
                TokenTree::Ident(ident) if after_dot => {
                    found.insert(format!(".{ident}"));
                }
                TokenTree::Ident(ident) => {
                    found.insert(ident.to_string());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
            after_dot = is_dot;
        }
    }
    found
}

fn print(message: &str, code: TokenStream) -> Result<String, Error> {
    let file = syn::parse2(code).map_err(|source| Error::Emit {
        message: message.to_owned(),
        source,
    })?;
    Ok(spaced(&prettyplease::unparse(&file)))
}

/// The same code with an empty line before each item that stands outermost.
fn spaced(code: &str) -> String {
    let starts = |line: &str, words: &[&str]| words.iter().any(|word| line.starts_with(word));
    let mut text = String::with_capacity(code.len() + code.len() / 32);
    let mut last = "";
    for line in code.lines() {
        let is_item = starts(line, &["///", "#[", "pub ", "impl"]);
        // Not between an item and what is said of it, nor between lines such as `pub mod …;`.
        let is_within = last.is_empty() || starts(last, &["///", "#["]);
        let is_list = starts(line, &["pub use"]) || starts(last, &["pub use"]);
        if is_item && !is_within && !is_list {
            text.push('\n');
        }
        text.push_str(line);
        text.push('\n');
        last = line;
    }
    text
}

/// A number without a type suffix.
pub(crate) fn literal(number: impl Into<i64>) -> proc_macro2::Literal {
    proc_macro2::Literal::i64_unsuffixed(number.into())
}

/// The argument that says whether lengths are compact, for a version in `known`.
pub(crate) fn flexible_argument(field: &Field, known: Versions) -> TokenStream {
    match field.flexible.condition(known) {
        Condition::Always => quote!(true),
        Condition::Never => quote!(false),
        _ => quote!(flexible),
    }
}

/// The argument that says whether the struct ends in tagged fields.
pub(crate) fn tags_argument(known: &Context<'_>) -> TokenStream {
    match known.message.flexible.condition(known.of.versions) {
        Condition::Always => quote!(true),
        Condition::Never => quote!(false),
        _ => quote!(flexible),
    }
}

/// `let flexible = …;` if the code uses it.
pub(crate) fn flexible_binding(known: &Context<'_>, code: &TokenStream) -> Option<TokenStream> {
    let question = question(known.message.flexible.condition(known.of.versions))?;
    identifiers(code)
        .contains("flexible")
        .then(|| quote!(let flexible = #question;))
}

/// A parameter, with an underscore in front if the code does not use it.
pub(crate) fn parameter(name: &str, code: &TokenStream) -> Ident {
    if identifiers(code).contains(name) {
        format_ident!("{name}")
    } else {
        format_ident!("_{name}")
    }
}

/// The method of `Reader` and `Writer` for a type of fixed size, which is also the name of its Rust type.
pub(crate) fn fixed_method(fixed: Fixed) -> Ident {
    format_ident!(
        "{}",
        match fixed {
            Fixed::Bool => "bool",
            Fixed::Int8 => "i8",
            Fixed::Int16 => "i16",
            Fixed::Uint16 => "u16",
            Fixed::Int32 => "i32",
            Fixed::Uint32 => "u32",
            Fixed::Int64 => "i64",
            Fixed::Float64 => "f64",
            Fixed::Uuid => "uuid",
        }
    )
}

/// The Rust type of a value of this type.
pub(crate) fn value_type(of: &Type) -> TokenStream {
    match of {
        Type::Fixed(Fixed::Uuid) => quote!(Uuid),
        Type::Fixed(fixed) => {
            let name = fixed_method(*fixed);
            quote!(#name)
        }
        Type::String => quote!(Cow<'a, str>),
        Type::Bytes => quote!(Cow<'a, [u8]>),
        Type::Records => quote!(Records<'a>),
        Type::Struct(name) => {
            let name = names::ident(name);
            quote!(#name<'a>)
        }
    }
}

/// Whether null is `None`; records have a null of their own.
pub(crate) fn is_option(field: &Field) -> bool {
    field.is_optional() && field.shape != Shape::One(Type::Records)
}
