//! The tokens file: who has which token, known by its digest only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use warifu_common::security::{FileProblem, Watched};

use super::Role;

/// Most tokens of a file.
const MAX_TOKENS: usize = 10_000;
/// Longest name: it stands in logs.
const MAX_NAME_BYTES: usize = 64;

/// SHA-256 of a token.
pub(crate) type Digest = [u8; 32];

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TokenOwner {
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
}

/// Tokens by their digests. Looking one up takes a time that depends on digests, which say nothing of tokens.
#[derive(Debug)]
pub(crate) struct Tokens(BTreeMap<Digest, TokenOwner>);

impl Tokens {
    /// Reads a file of tokens, and again when it changes.
    pub(crate) fn watch(file: PathBuf) -> Result<Watched<Self>, FileProblem> {
        let path = file.clone();
        Watched::open("the tokens file", vec![file], move |contents| Self::parse(&path, &contents[0]))
    }

    pub(crate) fn owner(&self, digest: &Digest) -> Option<&TokenOwner> {
        self.0.get(digest)
    }

    /// Messages say where and never what: a line may hold a token by mistake.
    fn parse(file: &Path, content: &[u8]) -> Result<Self, FileProblem> {
        let problem = |reason: String| FileProblem { file: file.to_owned(), reason };
        let text = str::from_utf8(content).map_err(|_| problem("is no UTF-8".to_owned()))?;
        let mut tokens = BTreeMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (digest, owner) =
                parse_line(line).map_err(|reason| problem(format!("line {number}: {reason}")))?;
            if tokens.insert(digest, owner).is_some() {
                return Err(problem(format!("line {number}: this token stands in an earlier line too")));
            }
            if tokens.len() > MAX_TOKENS {
                return Err(problem(format!("holds more than {MAX_TOKENS} tokens")));
            }
        }
        Ok(Self(tokens))
    }
}

fn parse_line(line: &str) -> Result<(Digest, TokenOwner), &'static str> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [name, digest, role] = words[..] else { return Err("write NAME SHA256 ROLE") };
    if name.len() > MAX_NAME_BYTES || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the name must be at most 64 printable ASCII characters");
    }
    let digest = digest_of(digest)
        .ok_or("the second word must be the token's SHA-256, 64 hexadecimal digits, never the token")?;
    let role = role.parse::<Role>().map_err(|()| "the role must be viewer, submitter, operator or worker")?;
    Ok((digest, TokenOwner { name: name.into(), role }))
}

fn digest_of(text: &str) -> Option<Digest> {
    let mut digest = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (i, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use warifu_common::security::sha256;

    use super::*;

    fn hex(digest: &Digest) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_token_is_known_by_its_digest() {
        let file = format!("# people\n\nann  {}\toperator\n", hex(&sha256(b"hunter2")));
        let tokens = Tokens::parse(Path::new("tokens"), file.as_bytes()).unwrap();
        let owner = tokens.owner(&sha256(b"hunter2")).unwrap();
        assert_eq!((&*owner.name, owner.role), ("ann", Role::Operator));
        assert!(tokens.owner(&sha256(b"hunter3")).is_none());
    }

    #[test]
    fn a_wrong_line_is_named_by_its_number_and_never_shown() {
        let digest = hex(&sha256(b"x"));
        for (file, reason) in [
            ("ann hunter2 operator".to_owned(), "line 1: the second word must be the token's SHA-256"),
            (format!("\nann {digest} root"), "line 2: the role must be"),
            ("ann hunter2".to_owned(), "line 1: write NAME SHA256 ROLE"),
            (format!("a {digest} viewer\nb {digest} viewer"), "line 2: this token stands in an earlier line"),
            (format!("é {digest} viewer"), "line 1: the name"),
        ] {
            let problem = Tokens::parse(Path::new("tokens"), file.as_bytes()).unwrap_err().to_string();
            assert!(problem.contains(reason) && !problem.contains("hunter2"), "{problem}");
        }
    }
}
