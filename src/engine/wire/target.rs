//! The destination of requests: the address, looked up once, and the headers. They hold the API key, so the type has no
//! accessor for them and its `Debug` leaves them out.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ureq::SendBody;
use ureq::config::Config;
use ureq::http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use ureq::http::{HeaderValue, Request, Uri};
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

use super::buffers::INPUT_BYTES_MAX;
use super::outgoing::Outgoing;
use crate::engine::args::Endpoint;
use crate::engine::failure::Failure;
use crate::error::Error;
use crate::http::api_key::ApiKey;
use crate::http::encoding;
use crate::http::trust::Authorities;
use crate::sys::deadline::Deadline;
use crate::sys::detached::resolve;
use crate::sys::limits;

/// TLS keeps a buffer of this size each way for every connection.
const TLS_BUFFER_BYTES: usize = 16 << 10;
/// A request's head besides the key and the path, with room to spare.
const HEAD_BYTES: usize = 512;
/// How long the engine's name may be looked up.
const RESOLVE_MAX: Duration = Duration::from_secs(30);
/// ureq keeps at most this many addresses of a name.
const ADDRESSES_MAX: usize = 16;

/// The engine's endpoint.
pub struct Target {
    endpoint: Endpoint,
    uri: Uri,
    addresses: Vec<SocketAddr>,
    authorization: HeaderValue,
    key: ApiKey,
    tls: TlsConfig,
}

impl Target {
    /// `base` ends in `/v1`; `key` goes into the authorization header. Looks the name up, sends nothing.
    pub fn new(base: &str, endpoint: Endpoint, key: &ApiKey) -> Result<Target, Error> {
        let unusable = |cause: String| {
            Error::Usage(format!(
                "--engine-url {base} cannot be used: {cause}; give one as in http://host:8000"
            ))
        };
        let uri: Uri = format!("{base}{}", endpoint.path())
            .parse()
            .map_err(|error| unusable(format!("{error}")))?;
        let host = uri.host().ok_or_else(|| unusable("it has no host".into()))?;
        let is_https = uri.scheme_str() == Some("https");
        let default_port = if is_https { 443 } else { 80 };
        let port = uri.port_u16().unwrap_or(default_port);
        let addresses = addresses(host, port).map_err(|cause| {
            let advice = if limits::has_advice(&cause) {
                ""
            } else {
                "; check the name, and that this machine can look up names"
            };
            Error::Environment(format!(
                "could not find the host of --engine-url {base}: {cause}{advice}"
            ))
        })?;
        let tls = match is_https {
            true => Authorities::from_environment().map_err(Error::Environment)?.for_ureq(),
            false => TlsConfig::default(),
        };
        if let Some(problem) = key.problem() {
            return Err(Error::Usage(problem));
        }
        let mut authorization = HeaderValue::from_str(&key.bearer())
            .map_err(|error| Error::Internal(format!("a key without a problem is no header: {error}")))?;
        authorization.set_sensitive(true);
        Ok(Target {
            endpoint,
            addresses,
            uri,
            authorization,
            key: key.clone(),
            tls,
        })
    }

    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Scheme, host and port, for messages.
    pub fn address(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        format!("{scheme}://{}", authority.rsplit('@').next().unwrap_or(""))
    }

    pub fn request(&self, body: Arc<Vec<u8>>) -> Request<SendBody<'static>> {
        let length = body.len();
        let mut request = Request::new(SendBody::from_owned_reader(Outgoing::new(body)));
        *request.method_mut() = ureq::http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding::ACCEPT));
        // With a length the body goes out as it is, not in chunks.
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        request
    }

    /// What a request with such a body has, head included; a little more does no harm.
    pub fn request_bytes(&self, body_bytes: usize) -> usize {
        let varying = self.uri.path().len() + self.uri.authority().map_or(0, |part| part.as_str().len());
        body_bytes + HEAD_BYTES + varying + self.authorization.len()
    }

    /// Takes the key out of a failure, which may quote the engine.
    pub fn without_key(&self, failure: Failure) -> Failure {
        Failure {
            text: self.key.hidden_in(failure.text),
            ..failure
        }
    }

    /// ureq's settings for every connection: no proxy, redirects, pool or timeouts. `Line` has the timeouts and keeps the
    /// connection.
    pub fn http_config(&self) -> Config {
        Config::builder()
            .tls_config(self.tls.clone())
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .max_response_header_size(INPUT_BYTES_MAX)
            .input_buffer_size(TLS_BUFFER_BYTES)
            .output_buffer_size(TLS_BUFFER_BYTES)
            .user_agent(concat!("lmcache-bench/", env!("CARGO_PKG_VERSION")))
            .accept("application/json")
            .build()
    }

    pub fn resolver(self: &Arc<Target>) -> FixedAddresses {
        FixedAddresses(Arc::clone(self))
    }
}

fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = resolve(host, port, &Deadline::after(RESOLVE_MAX)).map_err(|error| limits::with_advice(&error))?;
    Ok(found.into_iter().take(ADDRESSES_MAX).collect())
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// Name look-ups inside the clock would be measured; these were made before it.
#[derive(Clone, Debug)]
pub struct FixedAddresses(Arc<Target>);

impl Resolver for FixedAddresses {
    fn resolve(&self, _: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        for address in &self.0.addresses {
            addresses.push(*address);
        }
        Ok(addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::api_key::engine_key;

    fn key(text: &str) -> ApiKey {
        engine_key(text.to_owned())
    }

    #[test]
    fn the_address_is_looked_up_and_the_key_stays_inside() {
        let target = Target::new("http://127.0.0.1:8123/v1", Endpoint::Chat, &key("sk-secret")).unwrap();
        assert_eq!(target.uri().path(), "/v1/chat/completions");
        assert_eq!(target.address(), "http://127.0.0.1:8123");
        let failure = target.without_key(Failure::protocol("bad key sk-secret!"));
        assert_eq!(failure.text, "bad key ***!");
        let request = target.request(Arc::new(b"{}".to_vec()));
        assert_eq!(request.headers()["authorization"], "Bearer sk-secret");
        assert_eq!(request.headers()["accept-encoding"], "identity");
        for text in [format!("{target:?}"), format!("{:?}", request.headers())] {
            assert!(!text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_an_address_is_a_sentence() {
        for base in ["http:///v1", "http://a b/v1"] {
            let text = Target::new(base, Endpoint::Chat, &key("k")).unwrap_err().to_string();
            assert!(text.starts_with("--engine-url http:"), "{text}");
        }
        assert!(matches!(
            Target::new("http://127.0.0.1/v1", Endpoint::Chat, &key("a\nb")),
            Err(Error::Usage(_))
        ));
    }

    #[test]
    fn an_ipv6_address_loses_its_brackets() {
        let target = Target::new("http://[::1]:9/v1", Endpoint::Completions, &key("k")).unwrap();
        assert_eq!(target.uri().path(), "/v1/completions");
        assert_eq!(target.addresses, ["[::1]:9".parse().unwrap()]);
    }
}
