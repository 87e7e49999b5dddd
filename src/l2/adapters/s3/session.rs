//! What a worker does with the objects of a task: one request each, and for large objects parts that go over every connection
//! that is idle. A key counts as stored only after the service said so for the whole object.

use std::sync::Arc;
use std::time::Instant;

use super::answer;
use super::crew::{Crew, Member};
use super::refusal::Asked;
use super::requester::{Answer, Call, Requester, Sink, Trouble};
use super::sign;
use crate::http::said::said;
use crate::l2::adapter::{Item, Operation, Outcome};
use crate::l2::adapters::service::lap::Lap;
use crate::l2::adapters::service::pool::Session;

/// The AWS CRT's part size: larger objects are stored in parts, and loads ask for ranges of it.
pub const PART_BYTES: usize = 8 << 20;

pub struct S3Session {
    crew: Arc<Crew>,
}

impl S3Session {
    pub fn new(crew: &Arc<Crew>) -> S3Session {
        S3Session { crew: Arc::clone(crew) }
    }
}

fn path_of(requester: &Requester, item: &Item) -> String {
    format!("{}{}", requester.setup().root, sign::encode_path(&item.key.wire_name()))
}

/// Another connection's clock: what it costs is in the time that the object's own one waits.
fn own_clock() -> Lap {
    Lap::start(Instant::now())
}

fn store(member: &mut Member, path: &str, bytes: &[u8], lap: &mut Lap) -> Result<(), Trouble> {
    if bytes.len() > member.setup().put_bytes_max {
        return store_in_parts(member, path, bytes, lap);
    }
    member.put(Asked::Put, path, "", bytes, lap).map(drop)
}

/// Nothing is visible before the last request; a failed upload is taken back.
fn store_in_parts(member: &mut Member, path: &str, bytes: &[u8], lap: &mut Lap) -> Result<(), Trouble> {
    let begun = member.call(&bare(Asked::Begin, path, "uploads=", &[]), Sink::Text, lap)?;
    let id = sign::encode_query(&answer::element(&begun.text, "UploadId").unwrap_or_default());
    let whole_upload = format!("uploadId={id}");
    let outcome = send_parts(member, path, &id, bytes, lap).and_then(|tags| {
        let list = part_list(&tags);
        let call = bare(Asked::Complete, path, &whole_upload, list.as_bytes());
        member.call(&call, Sink::Text, lap).map(drop)
    });
    if outcome.is_err() {
        // The first error is the one to report.
        let _ = member.call(&bare(Asked::GiveUp, path, &whole_upload, &[]), Sink::Text, lap);
    }
    outcome
}

/// The entity tag of each part.
fn send_parts(member: &mut Member, path: &str, id: &str, bytes: &[u8], lap: &mut Lap) -> Result<Vec<String>, Trouble> {
    let tags = member.share(bytes.chunks(PART_BYTES).collect(), |requester, index, part| {
        let query = format!("partNumber={}&uploadId={id}", index + 1);
        let answer = requester.put(Asked::Part, path, &query, part, &mut own_clock())?;
        Ok(answer.head.header("etag").unwrap_or_default().to_owned())
    });
    lap.times.transfer_ns += lap.lap_ns();
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

fn lookup(member: &mut Member, path: &str, lap: &mut Lap) -> Result<Outcome, Trouble> {
    match member.call(&bare(Asked::Head, path, "", &[]), Sink::Text, lap) {
        // As LMCache: an empty object is none.
        Ok(answer) if answer.head.content_length().is_some_and(|len| len > 0) => Ok(Outcome::Found),
        Ok(_) => Ok(Outcome::Missing),
        Err(trouble) => missing_or(trouble),
    }
}

/// Bytes from `begin` on, one part of them, into `place`.
fn get(
    requester: &mut Requester,
    path: &str,
    begin: usize,
    place: &mut [u8],
    lap: &mut Lap,
) -> Result<Answer, Trouble> {
    let call = Call {
        asked: Asked::Get,
        path,
        query: "",
        headers: vec![("range", format!("bytes={begin}-{}", begin + PART_BYTES - 1))],
        body: &[],
    };
    requester.call(&call, Sink::Buffer(place), lap)
}

/// The first part says how long the object is; the others follow at once.
fn load(member: &mut Member, path: &str, slot: &mut [u8], lap: &mut Lap) -> Result<Outcome, Trouble> {
    let wanted = slot.len();
    let first = match get(member, path, 0, slot, lap) {
        Ok(answer) => answer,
        Err(trouble) => return missing_or(trouble),
    };
    let total = match (first.head.status, first.head.header("content-range")) {
        (206, Some(range)) => answer::total_of(range, 0, first.body_bytes).map_err(Trouble::Lost)?,
        // A server without ranges sends everything.
        (200, _) => first.body_bytes,
        _ => return Err(without_range()),
    };
    if total < wanted as u64 && first.head.is_page() {
        let place = usize::try_from(total).unwrap_or(0);
        return Err(Trouble::Lost(page(&slot[..place])));
    }
    if total > wanted as u64 {
        return Err(Trouble::Lost(answer::longer(total, wanted)));
    }
    let got = usize::try_from(first.body_bytes).unwrap_or(usize::MAX).min(wanted);
    if total < wanted as u64 || got == 0 {
        return Ok(Outcome::Short {
            held_bytes: total.min(got as u64),
        });
    }
    if got < wanted {
        let rest = slot[got..].chunks_mut(PART_BYTES).collect();
        let loaded = member.share(rest, |requester, index, place: &mut [u8]| {
            load_part(requester, path, got + index * PART_BYTES, place, wanted)
        });
        lap.times.transfer_ns += lap.lap_ns();
        if let Err(trouble) = loaded {
            return missing_or(trouble);
        }
    }
    Ok(Outcome::Loaded)
}

/// The object may have been replaced since its first part was read.
fn load_part(
    requester: &mut Requester,
    path: &str,
    begin: usize,
    place: &mut [u8],
    wanted: usize,
) -> Result<(), Trouble> {
    let part_bytes = place.len() as u64;
    let answer = get(requester, path, begin, place, &mut own_clock())?;
    let total = match (answer.head.status, answer.head.header("content-range")) {
        (206, Some(range)) => answer::total_of(range, begin as u64, answer.body_bytes).map_err(Trouble::Lost)?,
        (206, None) => return Err(without_range()),
        _ => {
            return Err(Trouble::Lost(
                "the answer to a later range is the whole object, though the first was not; let no proxy change the \
                 service's answers"
                    .to_owned(),
            ));
        }
    };
    if total != wanted as u64 || answer.body_bytes != part_bytes {
        return Err(Trouble::Lost(format!(
            "the part at {begin} came with {} bytes of an object of {total} instead of {part_bytes} of {wanted}; does \
             somebody else write this object, or a proxy change the answers?",
            answer.body_bytes
        )));
    }
    Ok(())
}

fn without_range() -> Trouble {
    Trouble::Lost(
        "the answer is 206 without a Content-Range, so how long the object is cannot be told; let no proxy change the \
         service's answers"
            .to_owned(),
    )
}

/// What a login or an error page with a good status says.
fn page(text: &[u8]) -> String {
    let said = said(text).unwrap_or_default();
    format!("the answer is a web page and no object (it says \"{said}\"); is s3_endpoint the S3 service itself?")
}

/// A request without headers of its own.
fn bare<'a>(asked: Asked, path: &'a str, query: &'a str, body: &'a [u8]) -> Call<'a> {
    Call {
        asked,
        path,
        query,
        headers: Vec::new(),
        body,
    }
}

/// No such object is an answer; no such bucket is a fault.
fn missing_or(trouble: Trouble) -> Result<Outcome, Trouble> {
    match trouble {
        Trouble::Refused(refusal) if refusal.is_missing_object() => Ok(Outcome::Missing),
        other => Err(other),
    }
}

impl Session for S3Session {
    fn run(&mut self, operation: Operation, items: &mut [Item], created: Instant) {
        let mut member = self.crew.take();
        for item in items {
            let mut lap = Lap::start(created);
            let path = path_of(&member, item);
            let result = match (operation, &mut item.slot) {
                (Operation::Store, Some(slot)) => {
                    store(&mut member, &path, slot.bytes(), &mut lap).map(|()| Outcome::Stored)
                }
                (Operation::Load, Some(slot)) => load(&mut member, &path, slot.bytes_mut(), &mut lap),
                (Operation::Lookup, _) => lookup(&mut member, &path, &mut lap),
                (_, None) => Err(Trouble::Lost("no buffer came with this key".to_owned())),
            };
            let failed = |why: String| {
                let action = answer::action(operation);
                Outcome::Failed(format!("could not {action} {}: {why}", member.setup().shown))
            };
            item.outcome = result.unwrap_or_else(|trouble| match trouble {
                Trouble::Refused(refusal) => failed(format!("{refusal}{}", refusal.advice())),
                Trouble::Lost(why) => failed(why),
            });
            item.times = lap.finish();
        }
    }
}
