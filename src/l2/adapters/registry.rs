//! What an adapter type is: its name, its JSON fields, and a config that opens the adapter. The list of types is
//! `TYPES` in the parent module.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::TYPES;
use super::aesgcm::config::SerdeConfig;
use super::field::{Fields, common, given};
use crate::l2::adapter::{Adapter, Environment};
use crate::l2::warning::Warning;

/// A checked config of some adapter type.
pub type Config = Arc<dyn AdapterConfig>;

/// What the JSON of one adapter type means, and how its adapter is opened.
pub trait AdapterConfig: Any + fmt::Debug + Send + Sync {
    fn open(&self, environment: Environment) -> Result<Box<dyn Adapter>, String>;

    /// Whether this program has an adapter for it; otherwise the bridge runs LMCache's.
    fn is_native(&self) -> bool {
        true
    }

    /// Warnings about fields of specs inside this one.
    fn warnings(&self) -> Vec<Warning> {
        Vec::new()
    }
}

impl dyn AdapterConfig {
    #[cfg(any(test, fuzzing))]
    pub fn get<C: AdapterConfig>(&self) -> Option<&C> {
        (self as &dyn Any).downcast_ref()
    }
}

/// The config of every type that only LMCache can run.
#[derive(Debug)]
struct Bridged;

impl AdapterConfig for Bridged {
    fn open(&self, _environment: Environment) -> Result<Box<dyn Adapter>, String> {
        Err("only LMCache's own adapter can run this type; give --via lmcache".to_owned())
    }

    fn is_native(&self) -> bool {
        false
    }
}

pub fn bridged() -> Config {
    Arc::new(Bridged)
}

/// An adapter that was named on the command line.
#[derive(Clone, Debug)]
pub struct AdapterSpec {
    pub kind: Config,
    pub type_name: &'static str,
    /// As typed.
    pub raw: String,
    /// Its serde block, or why LMCache's server would refuse it.
    pub serde: Option<Result<SerdeConfig, String>>,
    /// As the report quotes it: passwords and keys are masked.
    pub shown: String,
}

/// A registered adapter type.
pub struct AdapterType {
    pub name: &'static str,
    /// Its own fields beside the common ones; `None` for a type that takes any.
    pub fields: Option<&'static [&'static str]>,
    /// Fields that are checked but change nothing in this program.
    pub idle: &'static [IdleField],
    /// The type's own checks, with LMCache's messages in LMCache's order.
    pub parse: fn(&Fields) -> Result<Config, String>,
}

/// A field without effect.
pub struct IdleField {
    pub name: &'static str,
    pub why: &'static str,
    /// Only when this field is given as well.
    pub beside: Option<&'static str>,
}

impl IdleField {
    pub const fn new(name: &'static str, why: &'static str) -> IdleField {
        IdleField {
            name,
            why,
            beside: None,
        }
    }
}

pub const LOOKUP_WORKERS: IdleField = IdleField::new(
    "num_lookup_workers",
    "a lookup reads a table in memory, on the caller's thread",
);

impl AdapterType {
    pub const fn new(
        name: &'static str,
        fields: &'static [&'static str],
        parse: fn(&Fields) -> Result<Config, String>,
    ) -> AdapterType {
        AdapterType {
            name,
            fields: Some(fields),
            idle: &[],
            parse,
        }
    }

    /// Fields that the type does not know, or that do nothing.
    pub fn field_warnings(&self, fields: &Fields) -> Vec<Warning> {
        let unknown = self.fields.map(|own| common::unknown(fields, own));
        let mut warnings = unknown.unwrap_or_default();
        let is_given = |name: &str| given(fields, name).is_some_and(|value| value.as_str() != Some(""));
        let idle = self
            .idle
            .iter()
            .filter(|field| is_given(field.name) && field.beside.is_none_or(is_given));
        warnings.extend(idle.map(|field| common::without_effect(field.name, field.why)));
        warnings
    }
}

pub fn find(name: &str) -> Option<&'static AdapterType> {
    TYPES.iter().find(|adapter_type| adapter_type.name == name)
}

/// For the message about an unknown type.
pub fn names() -> String {
    TYPES
        .iter()
        .map(|adapter_type| adapter_type.name)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_in_the_order_of_the_message() {
        assert!(TYPES.is_sorted_by_key(|adapter_type| adapter_type.name));
    }
}
