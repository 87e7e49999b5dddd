//! Heads of HTTP/1.1 requests, within bounds, for what serves HTTP itself.

/// Header lines of one head.
const HEADERS_MAX: usize = 64;
const END: &[u8] = b"\r\n\r\n";

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// More bytes or header lines than are read.
    TooLong,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The first line is not METHOD TARGET VERSION.
    FirstLine,
    /// A header line has no name or no colon, or control characters in its value.
    HeaderLine,
}

/// A request's head.
#[derive(Debug)]
pub struct RequestHead<'a> {
    pub method: &'a str,
    pub target: &'a str,
    pub is_http_1_1: bool,
    /// Names and values in order, values without the blanks around them.
    pub headers: Vec<(&'a str, &'a str)>,
    /// Up to the body.
    pub bytes: usize,
}

/// The head that `input` begins with; `None` until all of it is there.
pub fn request(input: &[u8], bytes_max: usize) -> Result<Option<RequestHead<'_>>, Fault> {
    let window = &input[..input.len().min(bytes_max)];
    let Some(end) = window.windows(END.len()).position(|four| four == END) else {
        return if input.len() >= bytes_max {
            Err(Fault::TooLong)
        } else {
            Ok(None)
        };
    };
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let parse = parsed.parse(&window[..end + END.len()]).map_err(|error| match error {
        httparse::Error::TooManyHeaders => Fault::TooLong,
        httparse::Error::Version => Fault::Version,
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Fault::HeaderLine,
        _ => Fault::FirstLine,
    })?;
    // Lines may end with a line feed alone, so the head can end before the first CR LF CR LF.
    let httparse::Status::Complete(bytes) = parse else {
        return Err(Fault::FirstLine);
    };
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Fault::FirstLine);
    };
    let mut lines = Vec::with_capacity(parsed.headers.len());
    for header in parsed.headers.iter() {
        let value = std::str::from_utf8(header.value).map_err(|_| Fault::HeaderLine)?;
        lines.push((header.name, value.trim()));
    }
    Ok(Some(RequestHead {
        method,
        target,
        is_http_1_1: version == 1,
        headers: lines,
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let text = b"GET /a?b HTTP/1.1\r\nHost:  x \r\n\r\nrest";
        let whole = text.len() - 4;
        for end in 0..whole {
            assert!(request(&text[..end], 100).unwrap().is_none(), "{end}");
        }
        let head = request(text, 100).unwrap().unwrap();
        assert_eq!(
            (head.method, head.target, head.is_http_1_1, head.bytes),
            ("GET", "/a?b", true, whole)
        );
        assert_eq!(head.headers, [("Host", "x")]);
    }

    #[test]
    fn the_body_begins_where_the_parser_ends_the_head() {
        let text = b"POST / HTTP/1.1\nContent-Length: 9\n\nbody\r\n\r\n!";
        let head = request(text, 100).unwrap().unwrap();
        assert_eq!(&text[head.bytes..], b"body\r\n\r\n!");
        assert_eq!(head.headers, [("Content-Length", "9")]);
    }

    #[test]
    fn what_is_no_head_is_refused_by_its_cause() {
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        for (text, fault) in [
            ("x".repeat(100).as_str(), Fault::TooLong),
            (&many, Fault::TooLong),
            ("GET / HTTP/2\r\n\r\n", Fault::Version),
            ("GET /\r\n\r\n", Fault::FirstLine),
            ("GET / HTTP/1.1\r\nnonsense\r\n\r\n", Fault::HeaderLine),
        ] {
            let bytes_max = text.len().max(100);
            assert_eq!(request(text.as_bytes(), bytes_max).unwrap_err(), fault, "{text:.40}");
        }
    }
}
