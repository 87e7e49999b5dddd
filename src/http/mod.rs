//! What all clients of HTTP services share, whatever the service.

pub mod answer;
pub mod client;
pub mod encoding;
pub mod head;
pub mod prometheus;
pub mod said;
#[cfg(test)]
pub mod testing;
pub mod trust;
