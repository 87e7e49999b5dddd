//! What all clients of HTTP services share, whatever the service.

pub mod said;
