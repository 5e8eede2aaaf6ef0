//! The bearer token that a client shows with each call.

use std::path::PathBuf;

use tonic::metadata::{Ascii, MetadataValue};

use super::{FileProblem, Watched};
use crate::config::Secret;

/// A token that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is empty or holds characters that no token has")]
pub struct TokenProblem;

/// The bearer token of a client.
#[derive(Debug, Default)]
pub enum BearerToken {
    /// None: the coordinator asks for none.
    #[default]
    None,
    /// One that stays.
    Fixed(Secret),
    /// What is in a file now.
    File(Watched<Secret>),
}

impl BearerToken {
    /// A token as it is.
    pub fn fixed(token: &str) -> Result<Self, TokenProblem> {
        checked(token).map(Self::Fixed)
    }

    /// The token in a file, which is read again when it changes.
    pub fn file(file: PathBuf) -> Result<Self, FileProblem> {
        let build = {
            let file = file.clone();
            move |contents: &[Vec<u8>]| {
                let token = str::from_utf8(&contents[0]).map_err(|_| TokenProblem).and_then(checked);
                token.map_err(|problem| FileProblem::new(&file, problem))
            }
        };
        Watched::open("the token", vec![file], build).map(Self::File)
    }

    /// The value of `authorization`, if there is a token.
    pub fn authorization(&self) -> Option<MetadataValue<Ascii>> {
        match self {
            Self::None => None,
            Self::Fixed(token) => Some(header(token)),
            Self::File(file) => Some(header(&file.current())),
        }
    }
}

fn checked(token: &str) -> Result<Secret, TokenProblem> {
    let token = token.trim();
    let fine = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if fine { Ok(Secret::new(token)) } else { Err(TokenProblem) }
}

fn header(token: &Secret) -> MetadataValue<Ascii> {
    let value = format!("Bearer {}", token.expose()).parse();
    let mut value: MetadataValue<Ascii> = value.expect("a token was checked to be printable ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_but_never_shown() {
        let token = BearerToken::fixed(" hunter2\n").unwrap();
        let header = token.authorization().unwrap();
        assert_eq!(header.to_str().unwrap(), "Bearer hunter2");
        let shown = format!("{token:?} {header:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        for wrong in ["", " ", "a b", "é"] {
            assert!(BearerToken::fixed(wrong).is_err(), "{wrong:?}");
        }
    }
}
