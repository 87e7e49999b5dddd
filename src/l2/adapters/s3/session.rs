//! Stores, lookups and loads of objects: one request each, and for large objects parts that use every idle connection. A
//! key counts as stored only after the service confirmed the whole object.

use std::sync::Arc;
use std::time::Instant;

use super::answer;
use super::connections::{Connections, Lease};
use super::refusal::RequestKind;
use super::requester::{Answer, Call, RequestError, Requester, Sink};
use super::sign;
use crate::http::error_body::error_message;
use crate::l2::adapter::{Item, Operation, Outcome};
use crate::l2::adapters::service::session::Session;
use crate::l2::adapters::step_timer::StepTimer;

/// The AWS CRT's part size: larger objects are stored in parts, and loads ask for ranges of it.
pub const PART_BYTES: usize = 8 << 20;

pub struct S3Session {
    connections: Arc<Connections>,
}

impl S3Session {
    pub fn new(connections: &Arc<Connections>) -> S3Session {
        S3Session {
            connections: Arc::clone(connections),
        }
    }
}

fn path_of(requester: &Requester, item: &Item) -> String {
    format!("{}{}", requester.setup().root, sign::encode_path(&item.key.wire_name()))
}

/// The clock of a part on another connection; its time is not added, because the object's own connection waits for it.
fn own_clock() -> StepTimer {
    StepTimer::start(Instant::now())
}

fn store(lease: &mut Lease, path: &str, bytes: &[u8], timer: &mut StepTimer) -> Result<(), RequestError> {
    if bytes.len() > lease.setup().put_bytes_max {
        return store_in_parts(lease, path, bytes, timer);
    }
    lease.put(RequestKind::Put, path, "", bytes, timer).map(drop)
}

/// The object becomes visible with the last request; a failed upload is aborted.
fn store_in_parts(lease: &mut Lease, path: &str, bytes: &[u8], timer: &mut StepTimer) -> Result<(), RequestError> {
    let begun = lease.call(&bare(RequestKind::Create, path, "uploads=", &[]), Sink::Text, timer)?;
    let id = sign::encode_query(&answer::element(&begun.text, "UploadId").unwrap_or_default());
    let whole_upload = format!("uploadId={id}");
    let outcome = send_parts(lease, path, &id, bytes, timer).and_then(|tags| {
        let list = part_list(&tags);
        let call = bare(RequestKind::Complete, path, &whole_upload, list.as_bytes());
        lease.call(&call, Sink::Text, timer).map(drop)
    });
    if outcome.is_err() {
        // The first error is the one to report.
        let _ = lease.call(&bare(RequestKind::Abort, path, &whole_upload, &[]), Sink::Text, timer);
    }
    outcome
}

/// The entity tag of each part.
fn send_parts(
    lease: &mut Lease,
    path: &str,
    id: &str,
    bytes: &[u8],
    timer: &mut StepTimer,
) -> Result<Vec<String>, RequestError> {
    let tags = lease.run_parts(bytes.chunks(PART_BYTES).collect(), |requester, index, part| {
        let query = format!("partNumber={}&uploadId={id}", index + 1);
        let answer = requester.put(RequestKind::Part, path, &query, part, &mut own_clock())?;
        Ok(answer.head.header("etag").unwrap_or_default().to_owned())
    });
    timer.times.transfer_ns += timer.step_ns();
    tags
}

fn part_list(tags: &[String]) -> String {
    let mut list = String::from("<CompleteMultipartUpload>");
    for (index, tag) in tags.iter().enumerate() {
        let number = index + 1;
        list.push_str(&format!(
            "<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
        ));
    }
    list.push_str("</CompleteMultipartUpload>");
    list
}

fn lookup(lease: &mut Lease, path: &str, timer: &mut StepTimer) -> Result<Outcome, RequestError> {
    match lease.call(&bare(RequestKind::Head, path, "", &[]), Sink::Text, timer) {
        // As LMCache: an empty object counts as missing.
        Ok(answer) if answer.head.content_length().is_some_and(|len| len > 0) => Ok(Outcome::Found),
        Ok(_) => Ok(Outcome::Missing),
        Err(error) => missing_or(error),
    }
}

/// Bytes from `begin` on, one part of them, into `place`.
fn get(
    requester: &mut Requester,
    path: &str,
    begin: usize,
    place: &mut [u8],
    timer: &mut StepTimer,
) -> Result<Answer, RequestError> {
    let call = Call {
        kind: RequestKind::Get,
        path,
        query: "",
        headers: vec![("range", format!("bytes={begin}-{}", begin + PART_BYTES - 1))],
        body: &[],
    };
    requester.call(&call, Sink::Buffer(place), timer)
}

/// The first part contains the length of the object; the other parts follow in parallel.
fn load(lease: &mut Lease, path: &str, slot: &mut [u8], timer: &mut StepTimer) -> Result<Outcome, RequestError> {
    let wanted = slot.len();
    let first = match get(lease, path, 0, slot, timer) {
        Ok(answer) => answer,
        Err(error) => return missing_or(error),
    };
    let total = match (first.head.status, first.head.header("content-range")) {
        (206, Some(range)) => answer::total_of(range, 0, first.body_bytes).map_err(RequestError::Lost)?,
        // A server without ranges sends everything.
        (200, _) => first.body_bytes,
        _ => return Err(without_range()),
    };
    if total < wanted as u64 && first.head.is_page() {
        let place = usize::try_from(total).unwrap_or(0);
        return Err(RequestError::Lost(page(&slot[..place])));
    }
    if total > wanted as u64 {
        return Err(RequestError::Lost(answer::longer(total, wanted)));
    }
    let got = usize::try_from(first.body_bytes).unwrap_or(usize::MAX).min(wanted);
    if total < wanted as u64 || got == 0 {
        return Ok(Outcome::Short {
            held_bytes: total.min(got as u64),
        });
    }
    if got < wanted {
        let rest = slot[got..].chunks_mut(PART_BYTES).collect();
        let loaded = lease.run_parts(rest, |requester, index, place: &mut [u8]| {
            load_part(requester, path, got + index * PART_BYTES, place, wanted)
        });
        timer.times.transfer_ns += timer.step_ns();
        if let Err(error) = loaded {
            return missing_or(error);
        }
    }
    Ok(Outcome::Loaded)
}

/// Checks each part, because the object may have been replaced since its first part was read.
fn load_part(
    requester: &mut Requester,
    path: &str,
    begin: usize,
    place: &mut [u8],
    wanted: usize,
) -> Result<(), RequestError> {
    let part_bytes = place.len() as u64;
    let answer = get(requester, path, begin, place, &mut own_clock())?;
    let total = match (answer.head.status, answer.head.header("content-range")) {
        (206, Some(range)) => answer::total_of(range, begin as u64, answer.body_bytes).map_err(RequestError::Lost)?,
        (206, None) => return Err(without_range()),
        _ => {
            return Err(RequestError::Lost(
                "the answer to a later range is the whole object, though the first was not; let no proxy change the \
                 service's answers"
                    .to_owned(),
            ));
        }
    };
    if total != wanted as u64 || answer.body_bytes != part_bytes {
        return Err(RequestError::Lost(format!(
            "the part at {begin} came with {} bytes of an object of {total} instead of {part_bytes} of {wanted}; does \
             somebody else write this object, or a proxy change the answers?",
            answer.body_bytes
        )));
    }
    Ok(())
}

fn without_range() -> RequestError {
    RequestError::Lost(
        "the answer is 206 without a Content-Range, so how long the object is cannot be told; let no proxy change the \
         service's answers"
            .to_owned(),
    )
}

/// The sentence about a login or error page with a good status.
fn page(text: &[u8]) -> String {
    let said = error_message(text).unwrap_or_default();
    format!("the answer is a web page and no object (it says \"{said}\"); is s3_endpoint the S3 service itself?")
}

/// A request without headers of its own.
fn bare<'a>(kind: RequestKind, path: &'a str, query: &'a str, body: &'a [u8]) -> Call<'a> {
    Call {
        kind,
        path,
        query,
        headers: Vec::new(),
        body,
    }
}

/// A missing object is an outcome; a missing bucket is an error.
fn missing_or(error: RequestError) -> Result<Outcome, RequestError> {
    match error {
        RequestError::Refused(refusal) if refusal.is_missing_object() => Ok(Outcome::Missing),
        other => Err(other),
    }
}

impl Session for S3Session {
    fn run(&mut self, operation: Operation, items: &mut [Item], created: Instant) {
        let mut lease = self.connections.take();
        for item in items {
            let mut timer = StepTimer::start(created);
            let path = path_of(&lease, item);
            let result = match (operation, &mut item.slot) {
                (Operation::Store, Some(slot)) => {
                    store(&mut lease, &path, slot.bytes(), &mut timer).map(|()| Outcome::Stored)
                }
                (Operation::Load, Some(slot)) => load(&mut lease, &path, slot.bytes_mut(), &mut timer),
                (Operation::Lookup, _) => lookup(&mut lease, &path, &mut timer),
                (_, None) => Err(RequestError::Lost("no buffer came with this key".to_owned())),
            };
            let failed = |why: String| {
                let action = answer::action(operation);
                Outcome::Failed(format!("could not {action} {}: {why}", lease.setup().shown))
            };
            item.outcome = result.unwrap_or_else(|error| match error {
                RequestError::Refused(refusal) => failed(format!("{refusal}{}", refusal.advice())),
                RequestError::Lost(why) => failed(why),
            });
            item.times = timer.finish();
        }
    }
}
