//! Decompresses an answer's body as it arrives, so that an event has the stamp of the read that brought its last byte.

use ureq::Body;
use ureq::http::Response;
use ureq::http::header::CONTENT_ENCODING;

use crate::engine::failure::Failure;
use crate::http::encoding::{Encoding, Gunzip, of_header};

#[derive(Debug)]
pub struct Unpack {
    gunzip: Option<Gunzip>,
    inflated: Vec<u8>,
}

impl Unpack {
    /// Fails for an encoding that is not supported.
    pub fn of(response: &Response<Body>) -> Result<Unpack, Failure> {
        let header = response.headers().get(CONTENT_ENCODING);
        let encoding = of_header(header.map(|value| value.to_str().unwrap_or("?"))).map_err(Failure::protocol)?;
        Ok(Unpack {
            gunzip: (encoding == Encoding::Gzip).then(Gunzip::default),
            inflated: Vec::new(),
        })
    }

    /// The next piece of the body, decompressed as far as possible.
    pub fn take<'a>(&'a mut self, piece: &'a [u8]) -> Result<&'a [u8], Failure> {
        let Some(gunzip) = &mut self.gunzip else {
            return Ok(piece);
        };
        self.inflated.clear();
        gunzip.feed(piece, &mut self.inflated).map_err(Failure::protocol)?;
        Ok(&self.inflated)
    }
}
