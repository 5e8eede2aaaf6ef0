//! The names of functions and activities, and the names of handlers that are made of them.

/// Longest name of a handler.
const MAX_HANDLER_BYTES: usize = 128;

/// The name of the Lambda function or activity in an ARN.
pub(super) fn name_in_arn(arn: &str) -> Option<&str> {
    let mut parts = arn.strip_prefix("arn:")?.splitn(5, ':').skip(1);
    let (service, resource) = (parts.next()?, parts.nth(2)?);
    let (kind, rest) = resource.split_once(':')?;
    let name = rest.split(':').next().filter(|name| !name.is_empty())?;
    matches!((service, kind), ("lambda", "function") | ("states", "activity")).then_some(name)
}

/// The name in whatever `lambda:invoke` takes: an ARN, a part of one, `name:alias`, a name, `${Placeholder.Arn}`.
pub(super) fn name_of_function(text: &str) -> &str {
    if let Some(placeholder) = text.strip_prefix("${").and_then(|text| text.strip_suffix('}')) {
        return placeholder.strip_suffix(".Arn").unwrap_or(placeholder);
    }
    let whole = name_in_arn(text).or_else(|| {
        let (_, after) = text.split_once(":function:")?;
        after.split(':').next()
    });
    whole.unwrap_or_else(|| text.split(':').next().unwrap_or(text))
}

/// A name that workers can configure: other characters than letters, digits, `-`, `_` and `.` become `-`.
pub(super) fn handler_name(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let words = text.split(|c| !allowed(c)).filter(|word| !word.is_empty());
    let mut name = words.collect::<Vec<_>>().join("-");
    name.truncate(MAX_HANDLER_BYTES);
    if name.is_empty() { "handler".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_in_many_ways() {
        let table = [
            ("arn:aws:lambda:eu-west-1:123456789012:function:user-stats", "user-stats"),
            ("arn:aws:lambda:eu-west-1:123456789012:function:user-stats:live", "user-stats"),
            ("arn:aws-cn:lambda:cn-north-1:123456789012:function:user-stats:$LATEST", "user-stats"),
            ("123456789012:function:user-stats:7", "user-stats"),
            ("user-stats:live", "user-stats"),
            ("user-stats", "user-stats"),
            ("${UserStatsFunction.Arn}", "UserStatsFunction"),
            ("${UserStatsFunctionArn}", "UserStatsFunctionArn"),
        ];
        for (text, name) in table {
            assert_eq!(name_of_function(text), name, "{text}");
        }
    }

    #[test]
    fn only_functions_and_activities_are_handlers_by_their_arn() {
        assert_eq!(name_in_arn("arn:aws:states:eu-west-1:123456789012:activity:approve"), Some("approve"));
        for arn in [
            "arn:aws:states:::lambda:invoke",
            "arn:aws:sqs:eu-west-1:123456789012:queue",
            "user-stats",
            "arn:aws:lambda:x:y:function:",
        ] {
            assert_eq!(name_in_arn(arn), None, "{arn}");
        }
    }

    #[test]
    fn any_text_gives_a_name_that_workers_can_configure() {
        for (text, name) in [
            ("Process rows!", "Process-rows"),
            ("ユーザー", "handler"),
            ("", "handler"),
            ("a.b_c-1", "a.b_c-1"),
        ] {
            assert_eq!(handler_name(text), name);
        }
        assert_eq!(handler_name(&"x".repeat(500)).len(), MAX_HANDLER_BYTES);
    }
}
