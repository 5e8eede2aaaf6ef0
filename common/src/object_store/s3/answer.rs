//! What an error answer of a store says, and which [`ObjectError`] that is.

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::clock;
use crate::object_store::{MissingThing, ObjectAction, ObjectError, PinnedObject};

/// What was asked, for the texts of errors.
pub(super) struct Request<'a> {
    pub(super) action: ObjectAction,
    pub(super) place: String,
    /// The object that must still be there, for reads.
    pub(super) pinned: Option<&'a PinnedObject>,
}

/// An error answer: HTTP status, S3's code and text, and the ids that the store's operator asks for.
#[derive(Debug, Default)]
pub(super) struct ErrorAnswer {
    status: u16,
    code: String,
    message: String,
    request_id: Option<String>,
    extended_request_id: Option<String>,
    /// The bucket's own region, if the store names it.
    bucket_region: Option<String>,
    /// The endpoint to use in place of this one, if the store names it.
    endpoint: Option<String>,
    retry_after: Option<Duration>,
    /// The store's time is far from this machine's; the SDK knows it by now.
    clock_is_off: bool,
}

/// What an answer means to the one who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Missing(MissingThing),
    Denied,
    Credentials { expired: bool },
    Changed,
    WrongRegion,
    Archived,
    Throttled,
    NotNow,
    Refused,
}

impl<'a> Request<'a> {
    pub(super) fn new(action: ObjectAction, place: impl fmt::Display) -> Self {
        Self { action, place: place.to_string(), pinned: None }
    }

    /// A read of a pinned object.
    pub(super) fn read(object: &'a PinnedObject) -> Self {
        let action = if object.version_id.is_some() { ObjectAction::ReadVersion } else { ObjectAction::Read };
        Self { action, place: object.location.to_string(), pinned: Some(object) }
    }

    /// The error for a request that the SDK gave up.
    pub(super) fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> ObjectError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        match &error {
            SdkError::ServiceError(answered) => {
                self.answered(ErrorAnswer::new(answered.err(), answered.raw()))
            }
            _ => self.unanswered(&error),
        }
    }

    /// The answer came but does not fit; nothing of it may be used.
    pub(super) fn wrong_answer(&self, reason: impl Into<String>) -> ObjectError {
        ObjectError::WrongAnswer { action: self.action, place: self.place.clone(), reason: reason.into() }
    }

    /// The connection, not the store, ended the request.
    pub(super) fn interrupted(&self, reason: impl Into<String>) -> ObjectError {
        self.not_now(None, reason.into().into())
    }

    /// The pinned object is gone; another lies in its place.
    pub(super) fn changed(&self, seen: Option<String>) -> ObjectError {
        match self.pinned {
            Some(object) => {
                ObjectError::Changed { place: self.place.clone(), pinned: object.etag.clone(), seen }
            }
            None => self.invalid("the store reports a failed precondition, but none was set".to_owned()),
        }
    }

    fn unanswered<E>(&self, error: &SdkError<E, HttpResponse>) -> ObjectError
    where
        E: std::error::Error + 'static,
    {
        let text = DisplayErrorContext(error).to_string();
        if is_about_credentials(error) {
            return self.credentials(false, format!("none could be found or loaded ({text})"));
        }
        match error {
            SdkError::ConstructionFailure(_) => self.invalid(text),
            _ => self.not_now(None, text.into()),
        }
    }

    fn answered(&self, answer: ErrorAnswer) -> ObjectError {
        let place = self.place.clone();
        match answer.verdict() {
            Verdict::Missing(missing) => ObjectError::NotFound {
                missing,
                place: if missing == MissingThing::Bucket { self.bucket().to_owned() } else { place },
                detail: answer.to_string(),
            },
            Verdict::Denied => {
                ObjectError::AccessDenied { action: self.action, place, detail: answer.to_string() }
            }
            Verdict::Credentials { expired } => {
                self.credentials(expired, format!("{answer}{}", credentials_advice(&answer.code)))
            }
            Verdict::Changed => self.changed(None),
            Verdict::WrongRegion => self.invalid(answer.wrong_region_text()),
            Verdict::Archived => self.invalid(format!("it is archived, restore it first ({answer})")),
            Verdict::Throttled | Verdict::NotNow => self.not_now(answer.retry_after, Box::new(answer)),
            Verdict::Refused => self.invalid(format!("the store refuses to {} it ({answer})", self.action)),
        }
    }

    /// The bucket's place.
    fn bucket(&self) -> &str {
        let key = self.place.match_indices('/').nth(2).map_or(self.place.len(), |(at, _)| at);
        &self.place[..key]
    }

    fn credentials(&self, expired: bool, detail: String) -> ObjectError {
        ObjectError::Credentials { action: self.action, place: self.place.clone(), detail, expired }
    }

    fn invalid(&self, reason: String) -> ObjectError {
        ObjectError::Invalid { place: self.place.clone(), reason }
    }

    fn not_now(
        &self,
        after: Option<Duration>,
        source: Box<dyn std::error::Error + Send + Sync>,
    ) -> ObjectError {
        ObjectError::Unavailable { action: self.action, place: self.place.clone(), after, source }
    }
}

impl ErrorAnswer {
    fn new(error: &impl ProvideErrorMetadata, raw: &HttpResponse) -> Self {
        let header = |name| raw.headers().get(name).map(str::to_owned);
        let body = raw.body().bytes().and_then(|body| std::str::from_utf8(body).ok()).unwrap_or_default();
        let times = header(clock::SIGNED_AT).zip(header("date"));
        Self {
            status: raw.status().as_u16(),
            code: error.code().unwrap_or_default().to_owned(),
            message: error.message().unwrap_or_default().to_owned(),
            request_id: header("x-amz-request-id"),
            extended_request_id: header("x-amz-id-2"),
            bucket_region: header("x-amz-bucket-region").or_else(|| element(body, "Region")),
            endpoint: element(body, "Endpoint"),
            retry_after: header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs),
            clock_is_off: times.is_some_and(|(signed_at, date)| clock::are_far_apart(&signed_at, &date)),
        }
    }

    /// By code; where there is none (the answer to HEAD has no body) by status.
    fn verdict(&self) -> Verdict {
        match self.code.as_str() {
            "RequestTimeTooSkewed" => Verdict::NotNow,
            "" if self.status == 403 && self.clock_is_off => Verdict::NotNow,
            "NoSuchBucket" => Verdict::Missing(MissingThing::Bucket),
            "NoSuchKey" => Verdict::Missing(MissingThing::Object),
            "NoSuchVersion" => Verdict::Missing(MissingThing::Version),
            "NoSuchUpload" => Verdict::Missing(MissingThing::Upload),
            "AccessDenied" | "AllAccessDisabled" | "AccountProblem" => Verdict::Denied,
            "ExpiredToken" | "TokenRefreshRequired" => Verdict::Credentials { expired: true },
            "InvalidAccessKeyId"
            | "InvalidToken"
            | "SignatureDoesNotMatch"
            | "NotSignedUp"
            | "UnrecognizedClientException" => Verdict::Credentials { expired: false },
            "PreconditionFailed" | "InvalidRange" => Verdict::Changed,
            "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IllegalLocationConstraintException" => Verdict::WrongRegion,
            "InvalidObjectState" => Verdict::Archived,
            "SlowDown"
            | "ServiceUnavailable"
            | "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequests" => Verdict::Throttled,
            "InternalError" | "RequestTimeout" | "OperationAborted" => Verdict::NotNow,
            _ => verdict_by_status(self.status),
        }
    }

    fn wrong_region_text(&self) -> String {
        match (&self.bucket_region, &self.endpoint) {
            (Some(region), _) => {
                format!("the bucket lies in region {region}; set [s3] region to it ({self})")
            }
            (None, Some(endpoint)) => {
                format!(
                    "the bucket is served by {endpoint}; set [s3] region and endpoint_url to its own ({self})"
                )
            }
            (None, None) => {
                format!(
                    "the bucket lies in another region; set [s3] region and endpoint_url to its own ({self})"
                )
            }
        }
    }
}

/// Whether the store wants fewer requests.
pub(super) fn is_throttling(error: &ObjectError) -> bool {
    let ObjectError::Unavailable { source, .. } = error else { return false };
    source.downcast_ref::<ErrorAnswer>().is_some_and(|answer| answer.verdict() == Verdict::Throttled)
}

/// What to do about credentials that are not accepted.
fn credentials_advice(code: &str) -> &'static str {
    match code {
        "SignatureDoesNotMatch" => {
            "; the secret key does not belong to the access key, or something between here and the store changes requests"
        }
        "InvalidAccessKeyId" => {
            "; the store does not know the access key: check [s3] endpoint_url, and AWS_SESSION_TOKEN if the key is temporary"
        }
        "ExpiredToken" | "TokenRefreshRequired" => {
            "; they were loaded again and are still expired: renew what this process gets them from"
        }
        _ => "",
    }
}

/// The text of an element of an error's XML.
fn element(body: &str, name: &str) -> Option<String> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once('<')?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn verdict_by_status(status: u16) -> Verdict {
    match status {
        301 | 307 => Verdict::WrongRegion,
        401 => Verdict::Credentials { expired: false },
        403 => Verdict::Denied,
        404 => Verdict::Missing(MissingThing::Object),
        412 | 416 => Verdict::Changed,
        501 => Verdict::Refused,
        429 | 503 => Verdict::Throttled,
        408 | 500.. => Verdict::NotNow,
        _ => Verdict::Refused,
    }
}

/// The SDK wraps the failure to find credentials in several layers, none of them with a public type.
fn is_about_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source())
        .any(|layer| layer.to_string().to_lowercase().contains("credential"))
}

impl fmt::Display for ErrorAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() && self.message != self.code {
            write!(f, ": {}", self.message)?;
        }
        if let Some(id) = &self.request_id {
            write!(f, ", request id {id}")?;
        }
        if let Some(id) = &self.extended_request_id {
            write!(f, ", extended request id {id}")?;
        }
        if self.clock_is_off {
            write!(
                f,
                "; it was signed at a time far from the store's: this machine's clock is off, or was a moment ago"
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for ErrorAnswer {}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(status: u16, code: &str) -> Verdict {
        ErrorAnswer { status, code: code.to_owned(), ..ErrorAnswer::default() }.verdict()
    }

    #[test]
    fn codes_decide_before_the_status() {
        for (status, code, expected) in [
            (404, "NoSuchBucket", Verdict::Missing(MissingThing::Bucket)),
            (404, "NoSuchKey", Verdict::Missing(MissingThing::Object)),
            (404, "NotFound", Verdict::Missing(MissingThing::Object)),
            (404, "NoSuchVersion", Verdict::Missing(MissingThing::Version)),
            (400, "ExpiredToken", Verdict::Credentials { expired: true }),
            (403, "InvalidAccessKeyId", Verdict::Credentials { expired: false }),
            (403, "SignatureDoesNotMatch", Verdict::Credentials { expired: false }),
            (403, "AccessDenied", Verdict::Denied),
            (403, "InvalidObjectState", Verdict::Archived),
            (400, "RequestTimeout", Verdict::NotNow),
            (200, "SlowDown", Verdict::Throttled),
            (404, "NoSuchUpload", Verdict::Missing(MissingThing::Upload)),
            (400, "AuthorizationHeaderMalformed", Verdict::WrongRegion),
            (400, "KeyTooLongError", Verdict::Refused),
        ] {
            assert_eq!(verdict(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn the_status_decides_where_there_is_no_code() {
        for (status, expected) in [
            (301, Verdict::WrongRegion),
            (400, Verdict::Refused),
            (403, Verdict::Denied),
            (404, Verdict::Missing(MissingThing::Object)),
            (412, Verdict::Changed),
            (416, Verdict::Changed),
            (429, Verdict::Throttled),
            (500, Verdict::NotNow),
            (501, Verdict::Refused),
            (503, Verdict::Throttled),
        ] {
            assert_eq!(verdict(status, ""), expected, "{status}");
        }
    }
}
