//! L2 adapters that speak to a service: resp, valkey, s3.
