//! Pages: sizes, and tokens that only the call that issued them takes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use warifu_common::wire::InvalidRequest;

use super::ApiError;

/// Tokens of another form are refused instead of misread.
const VERSION: &str = "1";

/// How many entries a page holds: what was asked for, within what the method allows.
pub(super) fn page_size(asked: i32, default: usize, most: usize) -> Result<usize, ApiError> {
    match usize::try_from(asked) {
        Ok(0) => Ok(default),
        Ok(asked) => Ok(asked.min(most)),
        Err(_) => Err(InvalidRequest::one("page_size", format!("{asked} is negative")).into()),
    }
}

/// A token that continues after `cursor`. `arguments`: all that must not change from page to page.
pub(super) fn issue(cursor: &str, arguments: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{VERSION}.{:016x}.{cursor}", digest(arguments)))
}

/// The cursor of a token; `None` for the first page.
pub(super) fn cursor(token: &str, arguments: &str) -> Result<Option<String>, ApiError> {
    if token.is_empty() {
        return Ok(None);
    }
    let text = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let parts = text.as_deref().map(|text| text.splitn(3, '.').collect::<Vec<_>>());
    match parts.as_deref() {
        Some([VERSION, found, cursor]) if *found == format!("{:016x}", digest(arguments)) => {
            Ok(Some((*cursor).to_owned()))
        }
        _ => Err(ApiError::InvalidPageToken),
    }
}

/// FNV-1a: tells arguments apart, in any process and version. Tokens are no secrets.
fn digest(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_the_arguments_that_it_was_issued_for() {
        let token = issue("run-1.x", "failures a");
        assert_eq!(cursor(&token, "failures a").unwrap().as_deref(), Some("run-1.x"));
        assert_eq!(cursor("", "failures a").unwrap(), None);
        for (token, arguments) in
            [(token.as_str(), "failures b"), ("%%", "failures a"), ("AAAA", "failures a")]
        {
            assert!(matches!(cursor(token, arguments), Err(ApiError::InvalidPageToken)), "{token}");
        }
    }

    #[test]
    fn page_sizes_have_a_default_and_a_bound() {
        let sizes = [0, 7, 5_000].map(|asked| page_size(asked, 50, 1_000).unwrap());
        assert_eq!(sizes, [50, 7, 1_000]);
        assert!(page_size(-1, 50, 1_000).is_err());
    }
}
