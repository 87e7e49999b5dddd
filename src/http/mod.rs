//! What all clients of HTTP services share, whatever the service.

pub mod encoding;
pub mod said;
