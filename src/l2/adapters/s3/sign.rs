//! AWS Signature Version 4 with an unsigned payload, as the AWS CRT signs for LMCache.

use std::time::{SystemTime, UNIX_EPOCH};

use ring::{digest, hmac};

use super::credentials::Credentials;

pub const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Percent-encodes for a path, where `/` stays.
pub fn encode_path(text: &str) -> String {
    encode(text, true)
}

/// Percent-encodes for a query, where nothing but unreserved characters stays.
pub fn encode_query(text: &str) -> String {
    encode(text, false)
}

fn encode(text: &str, keep_slash: bool) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if keep_slash => out.push('/'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `20130524T000000Z`.
pub fn timestamp(now: SystemTime) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// The date of a number of days since 1970. Years that begin in March have the leap day at their end.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// What is signed of a request.
pub struct Request<'a> {
    pub method: &'a str,
    /// Encoded once, as S3 wants it.
    pub path: &'a str,
    /// `name=value` pairs, encoded and sorted.
    pub query: &'a str,
    /// Lower-case names in alphabetical order, among them `host`, `x-amz-content-sha256` and `x-amz-date`.
    pub headers: &'a [(&'a str, String)],
}

/// The value of the Authorization header.
pub fn authorization(request: &Request<'_>, credentials: &Credentials, region: &str, timestamp: &str) -> String {
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
    let mut payload = UNSIGNED_PAYLOAD;
    for (name, value) in request.headers {
        canonical.push_str(&format!("{name}:{}\n", value.trim()));
        if *name == "x-amz-content-sha256" {
            payload = value;
        }
    }
    let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
    let signed = names.join(";");
    canonical.push_str(&format!("\n{signed}\n{payload}"));
    let date = timestamp.get(..8).unwrap_or_default();
    let scope = format!("{date}/{region}/s3/aws4_request");
    let digest = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("AWS4-HMAC-SHA256\n{timestamp}\n{scope}\n{digest}");
    let seed = format!("AWS4{}", credentials.secret_access_key.expose());
    let key = [date, region, "s3", "aws4_request"]
        .iter()
        .fold(signing_key(seed.as_bytes()), |key, part| {
            signing_key(hmac::sign(&key, part.as_bytes()).as_ref())
        });
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={}",
        credentials.access_key_id.expose(),
        hex(hmac::sign(&key, to_sign.as_bytes()).as_ref())
    )
}

fn signing_key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::l2::adapters::field::secret::Secret;

    #[test]
    fn the_published_example_is_signed_as_published() {
        // "GET Object" of the S3 documentation on authenticating with the Authorization header.
        let credentials = Credentials {
            access_key_id: Secret::new("AKIAIOSFODNN7EXAMPLE"),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let headers = [
            ("host", "examplebucket.s3.amazonaws.com".to_owned()),
            ("range", "bytes=0-9".to_owned()),
            ("x-amz-content-sha256", empty.to_owned()),
            ("x-amz-date", "20130524T000000Z".to_owned()),
        ];
        let request = Request {
            method: "GET",
            path: "/test.txt",
            query: "",
            headers: &headers,
        };
        assert_eq!(
            authorization(&request, &credentials, "us-east-1", "20130524T000000Z"),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, \
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }

    #[test]
    fn names_are_encoded_as_lmcache_does() {
        let name = "meta-llama/Llama-3.1-8B@02010201@3@deadbeef@tenant-a";
        assert_eq!(
            encode_path(name),
            "meta-llama/Llama-3.1-8B%4002010201%403%40deadbeef%40tenant-a"
        );
        assert_eq!(encode_query("a/b=é"), "a%2Fb%3D%C3%A9");
    }

    #[test]
    fn timestamps_are_utc() {
        let at = |seconds| timestamp(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(1_369_353_600), "20130524T000000Z");
        assert_eq!(at(951_827_696), "20000229T123456Z");
        assert_eq!(at(4_107_542_399), "21000228T235959Z");
    }
}
