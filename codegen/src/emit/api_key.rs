//! The enum of all APIs, with what the schemas say of each.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};

use super::groups::question;
use super::literal;
use crate::model::Api;
use crate::versions::Versions;

pub(super) fn emit(apis: &[Api]) -> TokenStream {
    let variants: Vec<_> = apis.iter().map(variant).collect();
    let keys: Vec<_> = apis.iter().map(|api| literal(api.key)).collect();
    let names = apis.iter().map(|api| &api.name);
    let docs = apis
        .iter()
        .map(|api| format!(" Versions {}.", api.versions));
    let lowest = apis.iter().map(|api| literal(api.versions.lowest));
    let highest = apis.iter().map(|api| literal(api.versions.highest));
    let requests = apis.iter().map(|api| header_version(&api.request_headers));
    let responses = apis.iter().map(|api| header_version(&api.response_headers));
    let is_unstable = is_unstable(apis);
    quote! {
        /// The APIs of the protocol, by the key in the header of every request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            #(#[doc = #docs] #variants = #keys,)*
        }

        #[allow(clippy::too_many_lines, reason = "one line for each API")]
        impl ApiKey {
            /// Every API, by ascending key.
            pub const ALL: &[Self] = &[#(Self::#variants,)*];

            /// The API with this key.
            pub const fn from_i16(key: i16) -> Option<Self> {
                Some(match key {
                    #(#keys => Self::#variants,)*
                    _ => return None,
                })
            }

            /// Kafka's name for the API.
            pub const fn name(self) -> &'static str {
                match self {
                    #(Self::#variants => #names,)*
                }
            }

            /// The versions that the schemas describe, of the request and of the response.
            pub const fn request_versions(self) -> RangeInclusive<i16> {
                match self {
                    #(Self::#variants => #lowest..=#highest,)*
                }
            }

            /// The version of the header in front of a request of this version.
            pub const fn request_header_version(self, version: i16) -> i16 {
                match self {
                    #(Self::#variants => #requests,)*
                }
            }

            /// The version of the header in front of a response of this version.
            pub const fn response_header_version(self, version: i16) -> i16 {
                match self {
                    #(Self::#variants => #responses,)*
                }
            }

            /// Whether the last version may still change, so that it must not be advertised.
            pub const fn latest_version_unstable(self) -> bool {
                #is_unstable
            }
        }
    }
}

fn variant(api: &Api) -> Ident {
    format_ident!("{}", api.name)
}

/// Whether `self` is one of the APIs whose last version may still change.
fn is_unstable(apis: &[Api]) -> TokenStream {
    let unstable = apis.iter().filter(|api| api.latest_version_unstable);
    let unstable: Vec<_> = unstable.map(variant).collect();
    if unstable.is_empty() {
        quote!(false)
    } else {
        quote!(matches!(self, #(Self::#unstable)|*))
    }
}

/// `if version >= 9 { 2 } else { 1 }`; versions past the last known one have the last header.
fn header_version(headers: &[(Versions, i16)]) -> TokenStream {
    let mut code = TokenStream::new();
    for (index, (versions, header)) in headers.iter().enumerate() {
        let header = literal(*header);
        let asked = Versions {
            lowest: i16::MIN,
            ..*versions
        };
        let question = if index + 1 == headers.len() {
            None
        } else {
            question(asked.condition(Versions {
                lowest: i16::MIN,
                highest: i16::MAX,
            }))
        };
        code.extend(match question {
            Some(question) => quote!(if #question { #header } else),
            None if index == 0 => quote!(#header),
            None => quote!({ #header }),
        });
    }
    code
}
