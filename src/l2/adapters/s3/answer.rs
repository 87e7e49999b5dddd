//! What an S3 service said: elements of its small XML documents, content ranges, and refusals as sentences.

use std::fmt;

use crate::l2::adapter::Operation;

const SHOWN_CHARS_MAX: usize = 200;

/// The text of the first element of this name. S3's documents are flat enough for that.
pub fn element(xml: &str, name: &str) -> Option<String> {
    let begin = xml.find(&format!("<{name}>"))? + name.len() + 2;
    let len = xml[begin..].find(&format!("</{name}>"))?;
    let text = &xml[begin..begin + len];
    let plain = [
        ("&quot;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&#34;", "\""),
        ("&amp;", "&"),
    ];
    Some(
        plain
            .iter()
            .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain)),
    )
}

/// An answer other than success.
#[derive(Debug)]
pub struct Refusal {
    status: u16,
    code: String,
    message: String,
}

impl Refusal {
    /// HEAD and proxies give no document; then the reason of the status line has to do.
    pub fn new(status: u16, reason: &str, xml: &str) -> Refusal {
        let printable = |text: String| text.chars().filter(|c| !c.is_control()).take(SHOWN_CHARS_MAX).collect();
        Refusal {
            status,
            code: printable(element(xml, "Code").unwrap_or_else(|| reason.to_owned())),
            message: printable(element(xml, "Message").unwrap_or_default()),
        }
    }

    /// Whether the same request may succeed in a moment.
    pub fn is_passing(&self) -> bool {
        matches!(self.status, 429 | 500 | 502 | 503 | 504)
    }

    pub fn is_missing_object(&self) -> bool {
        self.status == 404 && self.code != "NoSuchBucket"
    }

    pub fn advice(&self) -> &'static str {
        match (self.status, self.code.as_str()) {
            (_, "NoSuchBucket" | "InvalidBucketName") => "; make the bucket, or correct s3_endpoint",
            (_, "RequestTimeTooSkewed") => "; set this machine's clock",
            (301 | 307 | 308, _) => "; name the bucket's own region in s3_endpoint and s3_region",
            (400 | 401 | 403, _) => "; check the access key, its rights on this bucket, and s3_region",
            (404, _) => "; does the bucket exist, and is s3_endpoint bucket.host or host/bucket?",
            (429 | 500..=504, _) => "; the service is overloaded, lower --in-flight or look at it",
            (507, _) => "; the service is full",
            _ => "; see the service's log",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.message.is_empty() {
            write!(f, ", {}", self.message)?;
        }
        Ok(())
    }
}

/// Behind "could not", before the address.
pub fn action(operation: Operation) -> &'static str {
    match operation {
        Operation::Store => "store to",
        Operation::Lookup => "look up at",
        Operation::Load => "load from",
    }
}

pub fn longer(len: u64, wanted: usize) -> String {
    format!("the object is {len} bytes long instead of {wanted}; give the --data-size-kb it was stored with")
}

/// The size of the object from `bytes 0-99/1234`, which must begin where it was asked to.
pub fn total_of(range: &str, begin: u64) -> Result<u64, String> {
    let parts = range
        .strip_prefix("bytes ")
        .and_then(|range| range.split_once('/'))
        .and_then(|(span, total)| Some((span.split_once('-')?.0.parse::<u64>().ok()?, total.parse().ok()?)));
    match parts {
        Some((first, total)) if first == begin => Ok(total),
        _ => Err(format!(
            "the answer's Content-Range {range:?} is not what was asked for"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_unescaped() {
        let xml = "<?xml?><R xmlns=\"x\"><UploadId>a&amp;b</UploadId><ETag>&quot;e&quot;</ETag></R>";
        assert_eq!(element(xml, "UploadId").as_deref(), Some("a&b"));
        assert_eq!(element(xml, "ETag").as_deref(), Some("\"e\""));
        assert_eq!(element(xml, "Nothing"), None);
        assert_eq!(element("<Code>cut", "Code"), None);
    }

    #[test]
    fn ranges_must_begin_where_asked() {
        assert_eq!(total_of("bytes 0-99/1234", 0), Ok(1234));
        for bad in ["bytes 1-99/1234", "bytes 0-99/*", "0-99/1234", "bytes 0"] {
            assert!(total_of(bad, 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn refusals_say_what_the_service_said() {
        let xml = "<Error><Code>SlowDown</Code><Message>Reduce your\nrate</Message></Error>";
        let refusal = Refusal::new(503, "Service Unavailable", xml);
        assert_eq!(
            (refusal.to_string().as_str(), refusal.is_passing()),
            ("503 SlowDown, Reduce yourrate", true)
        );
        let bucket = Refusal::new(404, "Not Found", "<Code>NoSuchBucket</Code>");
        assert!(!bucket.is_missing_object() && Refusal::new(404, "Not Found", "").is_missing_object());
    }
}
