//! What the clients ask over HTTP: the server's release, and its own digests of their memory.

use std::time::Duration;

use crate::error::Error;
use crate::http::api_key::ApiKey;
use crate::server::config::RunConfig;
use crate::server::http::{ChecksumRequest, HttpApi};
use crate::server::rpc::{Client, Generation};
use crate::server::runner::ServerChecksums;
use crate::server::warning::Warning;

/// Long enough for a server to digest the chunks of a whole request in one reply.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);

/// The server's HTTP API and the release that it reports; both `None` when it does not answer.
pub struct Http {
    pub api: Option<HttpApi>,
    pub release: Option<String>,
    key: Option<ApiKey>,
}

impl Http {
    /// Asks for the release, which `client` may need to know.
    pub fn new(
        config: &RunConfig,
        key: Option<ApiKey>,
        client: &mut Client,
        warnings: &mut Vec<Warning>,
    ) -> Result<Http, Error> {
        let Some(api) = api(config, key.clone())? else {
            return Ok(Http::absent());
        };
        match api.release() {
            Ok(release) => {
                client.set_release_is_0_5_0(release == "0.5.0");
                if Generation::is_newer(&release) {
                    warnings.push(Warning::NewerRelease {
                        release: release.clone(),
                        spoken: client.server().generation.label,
                    });
                }
                Ok(Http {
                    api: Some(api),
                    release: Some(release),
                    key,
                })
            }
            Err(reason) => {
                warnings.push(Warning::NoHttp { reason });
                Ok(Http::absent())
            }
        }
    }

    fn absent() -> Http {
        Http {
            api: None,
            release: None,
            key: None,
        }
    }

    /// The API for another client, if the server answered the first one and its digests are compared.
    pub fn another(&self, config: &RunConfig) -> Result<Option<HttpApi>, Error> {
        match self.release {
            Some(_) if config.compares_with_server() => api(config, self.key.clone()),
            _ => Ok(None),
        }
    }
}

fn api(config: &RunConfig, key: Option<ApiKey>) -> Result<Option<HttpApi>, Error> {
    let Some(url) = &config.http_url else { return Ok(None) };
    let api = HttpApi::new(url, HTTP_TIMEOUT).map_err(Error::Usage)?;
    Ok(Some(api.with_key(key).avoiding(config.rpc_url.addresses())))
}

/// The server's own digests of its memory, by HTTP.
pub struct Digests<'a>(pub &'a HttpApi);

impl ServerChecksums for Digests<'_> {
    fn digests(&mut self, instance_id: u64, blocks: &[u64], chunk_blocks: usize) -> Result<Vec<String>, String> {
        let request = ChecksumRequest {
            instance_id,
            block_ids: blocks.to_vec(),
            chunk_blocks: chunk_blocks as u64,
        };
        self.0.checksums(&request).map_err(|error| error.to_string())
    }
}
