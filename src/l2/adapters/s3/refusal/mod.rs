//! Which responses of an S3 service are successes, and what the others mean: an object counts as stored only after a
//! response in the form that the protocol has for it.

use std::fmt;

use super::answer::{filled, root};
use super::http::Head;
use crate::http::error_body::{error_message, one_line};

/// Error codes of requests that may succeed when retried, whatever the status: CompleteMultipartUpload sends 200 before it
/// knows.
const PASSING_CODES: [&str; 8] = [
    "InternalError",
    "SlowDown",
    "SlowDownRead",
    "SlowDownWrite",
    "ServiceUnavailable",
    "RequestTimeout",
    "Throttling",
    "TooManyRequests",
];

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    Put,
    /// A multipart upload, step by step.
    Create,
    Part,
    Complete,
    Abort,
    Head,
    Get,
}

impl RequestKind {
    pub fn method(self) -> &'static str {
        match self {
            RequestKind::Put | RequestKind::Part => "PUT",
            RequestKind::Create | RequestKind::Complete => "POST",
            RequestKind::Abort => "DELETE",
            RequestKind::Head => "HEAD",
            RequestKind::Get => "GET",
        }
    }

    fn is_upload(self) -> bool {
        matches!(self, RequestKind::Create | RequestKind::Part | RequestKind::Complete)
    }

    fn accepts(self, status: u16) -> bool {
        match self {
            RequestKind::Put | RequestKind::Part => matches!(status, 200 | 201 | 204),
            RequestKind::Abort => matches!(status, 200 | 204),
            RequestKind::Get => matches!(status, 200 | 206),
            RequestKind::Create | RequestKind::Complete | RequestKind::Head => status == 200,
        }
    }

    /// What is wrong with a response of good status, if anything.
    fn defect(self, head: &Head, text: &str) -> Option<Defect> {
        match self {
            // S3's own response is empty. Test servers (moto) have sent a result document.
            RequestKind::Put | RequestKind::Part if !text.trim().is_empty() && !is_of("PutObject", text) => {
                Some(Defect::Form("is not the empty one that S3 gives for stored bytes"))
            }
            RequestKind::Part if head.header("etag").unwrap_or_default().is_empty() => {
                Some(Defect::Form("has no ETag, without which an upload cannot be completed"))
            }
            RequestKind::Create if !is_of("InitiateMultipartUpload", text) || filled(text, "UploadId").is_none() => {
                Some(Defect::Form("is no InitiateMultipartUploadResult with an UploadId"))
            }
            RequestKind::Complete if !is_of("CompleteMultipartUpload", text) || filled(text, "ETag").is_none() => {
                Some(Defect::Form("is no CompleteMultipartUploadResult with an ETag"))
            }
            RequestKind::Head | RequestKind::Get => match head.compression() {
                Some(encoding) => Some(Defect::Compressed(encoding.to_owned())),
                None => {
                    (self == RequestKind::Head && head.is_page()).then_some(Defect::Form("is a web page and no object"))
                }
            },
            _ => None,
        }
    }

    /// Whether the response is a success.
    pub fn check(self, head: &Head, text: &str) -> Result<(), Box<Refusal>> {
        // A response of good status may contain an error document.
        if !self.accepts(head.status) || root(text) == Some("Error") {
            return Err(Box::new(Refusal::new(self, head, text)));
        }
        match self.defect(head, text) {
            None => Ok(()),
            Some(defect) => Err(Box::new(Refusal {
                defect: Some(defect),
                ..Refusal::new(self, head, text)
            })),
        }
    }
}

/// Whether a document is the result of this operation: S3 calls it `...Result`, and moto from 5.2 on `...Response`.
fn is_of(operation: &str, text: &str) -> bool {
    let rest = root(text).and_then(|name| name.strip_prefix(operation));
    matches!(rest, Some("Result" | "Response"))
}

/// Why a response of good status is not a success.
#[derive(Debug)]
enum Defect {
    /// Continues "the answer ...".
    Form(&'static str),
    /// By this encoding.
    Compressed(String),
}

/// A response that is not a success.
#[derive(Debug)]
pub struct Refusal {
    kind: RequestKind,
    status: u16,
    /// The service's, or the reason of the status line where there is no document.
    code: String,
    message: String,
    /// Whether the response had an S3 error document.
    is_s3: bool,
    /// The region of the bucket and the endpoint for it, where the service names them.
    region: Option<String>,
    endpoint: Option<String>,
    defect: Option<Defect>,
}

impl Refusal {
    fn new(kind: RequestKind, head: &Head, text: &str) -> Refusal {
        let code = filled(text, "Code");
        let region = head.header("x-amz-bucket-region").map(str::to_owned);
        let region = region.or_else(|| filled(text, "Region"));
        Refusal {
            kind,
            status: head.status,
            is_s3: code.is_some(),
            message: match &code {
                Some(_) => one_line(filled(text, "Message").unwrap_or_default().trim_end_matches('.')),
                None => error_message(text.as_bytes()).unwrap_or_default(),
            },
            code: one_line(&code.unwrap_or_else(|| head.reason.clone())),
            region: region.map(|region| one_line(&region)),
            endpoint: filled(text, "Endpoint").map(|endpoint| one_line(&endpoint)),
            defect: None,
        }
    }

    /// Whether the request may succeed when retried.
    pub fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 500 | 502 | 503 | 504) || PASSING_CODES.contains(&self.code.as_str())
    }

    pub fn is_missing_object(&self) -> bool {
        self.status == 404 && self.code != "NoSuchBucket"
    }

    /// Advice, after a semicolon.
    pub fn advice(&self) -> String {
        let elsewhere = matches!(self.status, 301 | 307 | 308 | 400);
        match (&self.region, &self.endpoint) {
            (Some(region), _) if elsewhere => {
                format!("; the bucket is in region {region}: name it in s3_region, and its endpoint in s3_endpoint")
            }
            (None, Some(endpoint)) if elsewhere => {
                format!("; the bucket is at {endpoint}: name that in s3_endpoint, and its region in s3_region")
            }
            _ => self.fixed_advice().to_owned(),
        }
    }

    fn fixed_advice(&self) -> &'static str {
        match (self.status, self.code.as_str()) {
            _ if matches!(self.defect, Some(Defect::Compressed(_))) => {
                "; switch compression off in the proxy before the service"
            }
            _ if self.defect.is_some() => {
                "; nothing proves that the service did it: is s3_endpoint the S3 service itself and no proxy's or login page?"
            }
            (_, "NoSuchBucket" | "InvalidBucketName") => "; make the bucket, or correct s3_endpoint",
            (_, "RequestTimeTooSkewed") => "; set this machine's clock",
            (_, "NoSuchUpload") => {
                "; the service has given the upload up: look at its log and at the bucket's rules for incomplete uploads"
            }
            (_, "EntityTooLarge") if self.kind == RequestKind::Put => {
                "; it takes no PUT of this size: lower --data-size-kb"
            }
            (_, "ExpiredToken" | "InvalidToken") => "; renew the session token (AWS_SESSION_TOKEN) and its keys",
            (_, "RequestTimeout") => "; the request's body came too slowly: lower --in-flight, or look at the network",
            (501, _) | (_, "NotImplemented") | (405, _) if self.kind.is_upload() => {
                "; this service has no multipart upload: store each object in one PUT (up to 5 GiB) with \
                 \"disable_multipart\": true in the adapter JSON"
            }
            (501, _) | (405, _) => "; the service does not have this request: is s3_endpoint an S3 service?",
            (301 | 307 | 308, _) => "; name the bucket's own region in s3_endpoint and s3_region",
            (400..=499, _) if self.status != 429 => self.client_advice(),
            (502 | 504, _) if !self.is_s3 => "; a proxy before the service answered: look at the service behind it",
            (500, _) | (_, "InternalError") => "; the service failed inside: look at its log",
            (507, _) => "; the service is full",
            _ if self.is_passing() => "; the service is overloaded, lower --in-flight or look at it",
            _ => "; see the service's log",
        }
    }

    fn client_advice(&self) -> &'static str {
        match (self.status, self.code.as_str()) {
            (403, _) if self.kind == RequestKind::Head => {
                "; a HEAD's answer does not say why: where the access key has no s3:ListBucket on the bucket, S3 answers 403 \
                 for every object that is not there; else check the keys, s3:GetObject, s3_region and this machine's clock"
            }
            (403, "AccessDenied") if self.kind == RequestKind::Get => {
                "; allow the access key s3:GetObject on the objects and s3:ListBucket on the bucket (without that S3 answers so \
                 for every object that is not there), and check s3_region"
            }
            (403, "AccessDenied") => {
                "; check the access key and s3_region, and allow it s3:PutObject on the bucket's objects"
            }
            (404, _) => "; does the bucket exist, and is s3_endpoint bucket.host or host/bucket?",
            (400 | 401 | 403, _) if self.is_s3 || self.message.is_empty() => {
                "; check the access key, its rights on this bucket, and s3_region"
            }
            _ if !self.is_s3 => {
                "; this is no error document of S3's: is s3_endpoint the S3 service itself, or did a proxy or firewall answer?"
            }
            _ => "; see the service's log",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.kind.method();
        match (&self.defect, self.message.as_str()) {
            (None, _) => {}
            (Some(Defect::Compressed(encoding)), _) => {
                let encoding = one_line(encoding);
                return write!(
                    f,
                    "the answer to the {method} is compressed (Content-Encoding: {encoding})"
                );
            }
            (Some(Defect::Form(defect)), message) => {
                let shown = match message {
                    "" if self.kind == RequestKind::Head => String::new(),
                    "" => " (it is empty)".to_owned(),
                    message => format!(" (it says \"{message}\")"),
                };
                return write!(f, "the answer {} to the {method} {defect}{shown}", self.status);
            }
        }
        if self.kind.accepts(self.status) {
            write!(f, "an error inside the answer {}:", self.status)?;
        } else {
            write!(f, "{}", self.status)?;
        }
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ", {}", self.message)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
