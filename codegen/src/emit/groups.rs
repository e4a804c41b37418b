//! Conditions on the version, and the merging of neighbours that stand under the same one.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::literal;
use crate::model::Fixed;
use crate::versions::{Condition, Versions};

/// Pieces of code, each for a range of versions; neighbours with the same range become one.
#[derive(Default)]
pub(crate) struct Groups(Vec<Group>);

pub(crate) struct Group {
    pub(crate) versions: Versions,
    pub(crate) pieces: Vec<Piece>,
    /// What to do in the other versions.
    pub(crate) otherwise: Vec<TokenStream>,
}

/// A piece of code for a field.
pub(crate) enum Piece {
    /// The field is of fixed size: it can be read and written together with its neighbours.
    Fixed(Ident, Fixed),
    /// Any other code.
    Code(TokenStream),
}

impl Groups {
    /// Adds code for `versions` and what to do in all others.
    pub(crate) fn push(
        &mut self,
        versions: Versions,
        piece: Option<Piece>,
        otherwise: Option<TokenStream>,
    ) {
        if piece.is_none() && otherwise.is_none() {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.versions == versions => {
                last.pieces.extend(piece);
                last.otherwise.extend(otherwise);
            }
            _ => self.0.push(Group {
                versions,
                pieces: piece.into_iter().collect(),
                otherwise: otherwise.into_iter().collect(),
            }),
        }
    }

    /// The code of all groups; `render` makes code of neighbouring fields of fixed size.
    pub(crate) fn render(
        self,
        known: Versions,
        render: impl Fn(&[(Ident, Fixed)]) -> TokenStream,
    ) -> TokenStream {
        let groups = self.0.into_iter().map(|group| {
            let condition = group.versions.condition(known);
            let is_empty = group.pieces.is_empty();
            let body = render_pieces(group.pieces, &render);
            let otherwise = &group.otherwise;
            match (question(condition), is_empty, otherwise.is_empty()) {
                (None, ..) => body,
                (Some(question), _, true) => quote!(if #question { #body }),
                (Some(question), false, _) => {
                    quote!(if #question { #body } else { #(#otherwise)* })
                }
                (Some(_), true, _) => {
                    let question = opposite(condition);
                    quote!(if #question { #(#otherwise)* })
                }
            }
        });
        quote!(#(#groups)*)
    }
}

/// The longest run that the primitives take at once.
const RUN_FIELDS_MAX: usize = 12;

fn render_pieces(
    pieces: Vec<Piece>,
    render: impl Fn(&[(Ident, Fixed)]) -> TokenStream,
) -> TokenStream {
    let mut code = TokenStream::new();
    let mut run = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Fixed(ident, fixed) => {
                run.push((ident, fixed));
                if run.len() == RUN_FIELDS_MAX {
                    code.extend(render(&run));
                    run.clear();
                }
            }
            Piece::Code(tokens) => {
                if !run.is_empty() {
                    code.extend(render(&run));
                    run.clear();
                }
                code.extend(tokens);
            }
        }
    }
    if !run.is_empty() {
        code.extend(render(&run));
    }
    code
}

/// What is left to ask about the version; `None` for nothing.
pub(crate) fn question(condition: Condition) -> Option<TokenStream> {
    Some(match condition {
        Condition::Always => return None,
        Condition::Never => quote!(false),
        Condition::Exactly(version) => {
            let version = literal(version);
            quote!(version == #version)
        }
        Condition::AtLeast(version) => {
            let version = literal(version);
            quote!(version >= #version)
        }
        Condition::AtMost(version) => {
            let version = literal(version);
            quote!(version <= #version)
        }
        Condition::Between(lowest, highest) => {
            let (lowest, highest) = (literal(lowest), literal(highest));
            quote!((#lowest..=#highest).contains(&version))
        }
    })
}

/// The opposite question; `None` if the answer is always no.
pub(crate) fn opposite(condition: Condition) -> Option<TokenStream> {
    Some(match condition {
        Condition::Always => return None,
        Condition::Never => quote!(true),
        Condition::Exactly(version) => {
            let version = literal(version);
            quote!(version != #version)
        }
        Condition::AtLeast(version) => {
            let version = literal(version);
            quote!(version < #version)
        }
        Condition::AtMost(version) => {
            let version = literal(version);
            quote!(version > #version)
        }
        Condition::Between(lowest, highest) => {
            let (lowest, highest) = (literal(lowest), literal(highest));
            quote!(!(#lowest..=#highest).contains(&version))
        }
    })
}
