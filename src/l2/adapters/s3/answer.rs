//! Parts of S3 responses: elements of the small XML documents, and content ranges.

use crate::l2::adapter::Operation;
use crate::units::decimal;

/// The name at the start of a tag's text, without its namespace's prefix.
fn tag_name(tag: &str) -> &str {
    let end = tag.find(|c: char| c.is_whitespace() || c == '>' || c == '/');
    let name = &tag[..end.unwrap_or(tag.len())];
    name.rsplit(':').next().unwrap_or(name)
}

/// The name of a document's root element. White space may precede it, which services send to keep a connection alive, and
/// so may the declaration and comments.
pub fn root(xml: &str) -> Option<&str> {
    let mut rest = xml.trim_start_matches('\u{feff}').trim_start();
    loop {
        let tag = rest.strip_prefix('<')?;
        let end = match tag.as_bytes().first()? {
            b'?' => "?>",
            b'!' if tag.starts_with("!--") => "-->",
            b'!' => ">",
            _ => return Some(tag_name(tag)).filter(|name| !name.is_empty()),
        };
        rest = tag.split_once(end)?.1.trim_start();
    }
}

/// The text of the first element of this name. S3's documents are flat enough for that.
pub fn element(xml: &str, name: &str) -> Option<String> {
    let mut rest = xml;
    let text = loop {
        let tag = &rest[rest.find('<')? + 1..];
        // A tag does not contain `<`, so every byte is looked at once.
        let own = &tag[..tag.find('<').unwrap_or(tag.len())];
        match own.find('>') {
            Some(end) if tag_name(own) == name && !own[..end].ends_with('/') => break &tag[end + 1..],
            _ => rest = &tag[own.len()..],
        }
    };
    let text = &text[..text.find("</")?];
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

/// The same, if the element is not empty.
pub fn filled(xml: &str, name: &str) -> Option<String> {
    element(xml, name).filter(|text| !text.trim().is_empty())
}

/// For "could not <action> <address>".
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

/// The size of the whole object from `bytes 0-99/1234`. The range must start at `begin` and match the length of the body.
pub fn total_of(range: &str, begin: u64, body_bytes: u64) -> Result<u64, String> {
    const LET_BE: &str = "let no proxy change the service's answers";
    let parts = range.strip_prefix("bytes ").and_then(|range| range.split_once('/'));
    let parts = parts.and_then(|(span, total)| {
        let (first, last) = span.split_once('-')?;
        Some((decimal::<u64>(first)?, decimal::<u64>(last)?, total))
    });
    let parts = parts.filter(|(first, last, _)| *first == begin && last >= first);
    match parts.map(|(first, last, total)| (last - first, total, decimal(total).filter(|total| *total > last))) {
        Some((span, _, Some(total))) if body_bytes.checked_sub(1) == Some(span) => Ok(total),
        Some((_, _, Some(_))) => Err(format!(
            "the answer brings {body_bytes} bytes with the Content-Range {range:?}; {LET_BE}"
        )),
        Some((_, "*", _)) => Err(format!(
            "the answer's Content-Range {range:?} does not say how long the object is, so a whole one cannot be told from a \
             part; {LET_BE}"
        )),
        _ => Err(format!(
            "the answer's Content-Range {range:?} is not what was asked for, bytes from {begin} on; {LET_BE}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_unescaped() {
        let xml =
            "<?xml?><R xmlns=\"x\"><UploadId>a&amp;b</UploadId><ns:ETag a=\"1\">&quot;e&quot;</ns:ETag><Key/></R>";
        assert_eq!(element(xml, "UploadId").as_deref(), Some("a&b"));
        assert_eq!(element(xml, "ETag").as_deref(), Some("\"e\""));
        assert_eq!((element(xml, "Nothing"), element(xml, "Key")), (None, None));
        assert_eq!(element("<Code>cut", "Code"), None);
        assert_eq!(element("a < b <<Code>x</Code>", "Code").as_deref(), Some("x"));
        assert_eq!(element(&"<".repeat(64 << 10), "Code"), None);
        assert_eq!(filled("<ETag> </ETag>", "ETag"), None);
    }

    #[test]
    fn the_outermost_element_is_found_behind_what_may_precede_it() {
        for (xml, name) in [
            ("<Error><Code>x</Code></Error>", Some("Error")),
            (" \r\n <?xml version=\"1.0\"?>\n\n<!-- a > b --><Error>", Some("Error")),
            ("<ns2:Done xmlns:ns2=\"u\"/>", Some("Done")),
            ("\u{feff}<!DOCTYPE html><html>", Some("html")),
            ("<Done/>", Some("Done")),
            ("", None),
            ("  ", None),
            ("Error", None),
            ("{\"Error\": 1}", None),
            ("<", None),
            ("<?xml", None),
        ] {
            assert_eq!(root(xml), name, "{xml}");
        }
    }

    #[test]
    fn ranges_must_begin_where_asked_and_be_all_there() {
        assert_eq!(total_of("bytes 0-99/1234", 0, 100), Ok(1234));
        assert_eq!(total_of("bytes 7-7/8", 7, 1), Ok(8));
        for (bad, body_bytes) in [
            ("bytes 1-99/1234", 99),
            ("bytes 0-99/*", 100),
            ("0-99/1234", 100),
            ("bytes 0", 1),
            ("bytes 0-1/x", 2),
            ("bytes 0-1/+9", 2),
            ("bytes +0-1/9", 2),
            ("bytes 0-99/50", 100),
            ("bytes 0-99/1234", 99),
            ("bytes 0-99/1234", u64::MAX),
            ("bytes 0-18446744073709551615/18446744073709551615", 0),
        ] {
            assert!(total_of(bad, 0, body_bytes).is_err(), "{bad}");
        }
    }
}
