//! A small S3 server that stores objects and records every request. A script can replace its responses.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use super::service_server::{Protocol, Requests, ServiceServer};

/// A request without its body.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path and query.
    pub target: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
}

#[derive(Default)]
pub struct S3 {
    objects: Mutex<HashMap<String, Vec<u8>>>,
    /// The parts of the current multipart upload, by number. There can be one upload at a time.
    parts: Mutex<BTreeMap<u32, Vec<u8>>>,
}

/// Its script returns a raw response. The connection is closed if that has `Connection: close`.
pub type S3Server = ServiceServer<S3>;

impl S3Server {
    /// A server that executes every request.
    pub fn obedient() -> S3Server {
        S3Server::scripted(|_, _| None)
    }

    pub fn scripted(script: impl Fn(&Request, usize) -> Option<String> + Send + Sync + 'static) -> S3Server {
        ServiceServer::start(S3::default(), script)
    }

    /// `path` is empty, or `/bucket` for path style.
    pub fn spec(&self, path: &str) -> String {
        format!(
            r#"{{"type":"s3","s3_endpoint":"127.0.0.1:{}{path}","s3_region":"eu-test-1","disable_tls":true,"s3_num_io_threads":2,"aws_access_key_id":"AKIDVISIBLE","aws_secret_access_key":"TOPSECRET"}}"#,
            self.port
        )
    }

    pub fn object(&self, path: &str) -> Option<Vec<u8>> {
        self.protocol().objects.lock().unwrap().get(path).cloned()
    }

    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.protocol().objects.lock().unwrap().insert(path.to_owned(), bytes);
    }

    pub fn forget(&self, path: &str) {
        self.protocol().objects.lock().unwrap().remove(path);
    }

    /// Number of parts of an upload that was neither completed nor aborted.
    pub fn parts_left(&self) -> usize {
        self.protocol().parts.lock().unwrap().len()
    }
}

fn request(link: &mut BufReader<TcpStream>) -> Option<(Request, Vec<u8>)> {
    let mut line = String::new();
    link.read_line(&mut line).ok().filter(|got| *got > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        link.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.to_owned()),
            None => break,
        };
    }
    let len = headers.get("content-length").map_or(0, |len| len.parse().unwrap());
    let mut body = vec![0; len];
    link.read_exact(&mut body).ok()?;
    let request = Request {
        method,
        target,
        headers,
    };
    Some((request, body))
}

impl Protocol for S3 {
    type Request = Request;
    type Instead = String;

    fn name(request: &Request) -> &str {
        &request.method
    }

    fn serve(&self, requests: &Requests<S3>, link: TcpStream) {
        let mut out = link.try_clone().unwrap();
        let mut link = BufReader::new(link);
        while let Some((request, body)) = request(&mut link) {
            let instead = requests.instead(&request);
            let answer = match &instead {
                Some(answer) => answer.clone().into_bytes(),
                None => self.execute(&request, body),
            };
            let closes = instead.is_some_and(|answer| answer.to_ascii_lowercase().contains("connection: close"));
            if out.write_all(&answer).is_err() || closes {
                return;
            }
        }
    }
}

impl S3 {
    fn execute(&self, request: &Request, body: Vec<u8>) -> Vec<u8> {
        let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
        let plain = |status: &str, more: &str, text: &str| {
            format!(
                "HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n{text}",
                text.len()
            )
            .into_bytes()
        };
        let mut objects = self.objects.lock().unwrap();
        match request.method.as_str() {
            "PUT" if !query.is_empty() => {
                let number = query.strip_prefix("partNumber=").and_then(|rest| rest.split_once('&'));
                let number: u32 = number.unwrap().0.parse().unwrap();
                self.parts.lock().unwrap().insert(number, body);
                plain("200 OK", &format!("ETag: \"e{number}\"\r\n"), "")
            }
            "PUT" => {
                objects.insert(path.to_owned(), body);
                plain("200 OK", "", "")
            }
            "POST" if query == "uploads=" => plain(
                "200 OK",
                "",
                "<InitiateMultipartUploadResult><UploadId>up/1</UploadId></InitiateMultipartUploadResult>",
            ),
            "POST" => {
                let parts = std::mem::take(&mut *self.parts.lock().unwrap());
                let tags = parts
                    .keys()
                    .map(|number| format!("<PartNumber>{number}</PartNumber><ETag>\"e{number}\"</ETag>"));
                let list = String::from_utf8_lossy(&body)
                    .replace("<Part>", "")
                    .replace("</Part>", "");
                if list
                    != format!(
                        "<CompleteMultipartUpload>{}</CompleteMultipartUpload>",
                        tags.collect::<String>()
                    )
                {
                    return plain("400 Bad Request", "", "<Error><Code>InvalidPart</Code></Error>");
                }
                objects.insert(path.to_owned(), parts.into_values().flatten().collect());
                plain(
                    "200 OK",
                    "",
                    "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>",
                )
            }
            "DELETE" => {
                self.parts.lock().unwrap().clear();
                plain("204 No Content", "", "")
            }
            method => match objects.get(path) {
                None if method == "HEAD" => plain("404 Not Found", "", ""),
                None => plain("404 Not Found", "", "<Error><Code>NoSuchKey</Code></Error>"),
                Some(bytes) if method == "HEAD" => {
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", bytes.len()).into_bytes()
                }
                Some(bytes) => {
                    let range = request.headers["range"].strip_prefix("bytes=").unwrap();
                    let (first, last) = range.split_once('-').unwrap();
                    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
                    let part = &bytes[first..bytes.len().min(last + 1)];
                    let range = format!("bytes {first}-{}/{}", first + part.len() - 1, bytes.len());
                    let head = format!(
                        "HTTP/1.1 206 Partial Content\r\nContent-Range: {range}\r\nContent-Length: {}\r\n\r\n",
                        part.len()
                    );
                    [head.as_bytes(), part].concat()
                }
            },
        }
    }
}
