//! The credentials: the spec's keys when both are given, else the environment, else the shared credentials file. The rest
//! of boto3's chain needs other services. A key without its counterpart is warned about.

use std::env;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::config::S3Config;
use crate::l2::adapters::field::secret::Secret;
use crate::l2::warning::{SpecWarning, Warning};
use crate::python::json::without_mark;
use crate::sys::{limits, whole_file};

const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
}

/// The keys, and a warning where the spec has only one of them.
pub fn find(config: &S3Config) -> Result<(Credentials, Option<Warning>), String> {
    let variable = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
    find_with(config, &variable)
}

fn find_with(
    config: &S3Config,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(Credentials, Option<Warning>), String> {
    let filled = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.is_empty());
    let (id, secret) = ("aws_access_key_id", "aws_secret_access_key");
    let half = match (filled(&config.access_key_id), filled(&config.secret_access_key)) {
        (Some(access_key_id), Some(secret_access_key)) => {
            let credentials = Credentials {
                access_key_id,
                secret_access_key,
                session_token: None,
            };
            return Ok((credentials, None));
        }
        (Some(_), None) => Some((id, secret)),
        (None, Some(_)) => Some((secret, id)),
        (None, None) => None,
    };
    let elsewhere = from_environment(variable).and_then(|found| match found {
        Some(credentials) => Ok((credentials, "the environment")),
        None => from_file(variable).map(|credentials| (credentials, "the shared credentials file")),
    });
    match (elsewhere, half) {
        (Ok((credentials, _)), None) => Ok((credentials, None)),
        // As LMCache, which uses neither of them then.
        (Ok((credentials, source)), Some((given, missing))) => {
            let warning = SpecWarning::HalfCredentials {
                given: given.to_owned(),
                missing: missing.to_owned(),
                instead: format!("the keys are those of {source}"),
            };
            Ok((credentials, Some(Warning::Spec(warning))))
        }
        (Err(why), None) => Err(why),
        (Err(why), Some((given, missing))) => Err(format!(
            "the adapter JSON has {given} and no {missing}; give both (else: {why})"
        )),
    }
}

fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Option<Credentials>, String> {
    let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
    let half = |given: &str, missing: &str| Err(format!("{given} is set and {missing} is not; set both, or neither"));
    match (variable(id), variable(secret)) {
        (Some(id), Some(secret)) => Ok(Some(Credentials {
            access_key_id: Secret::new(id),
            secret_access_key: Secret::new(secret),
            session_token: variable("AWS_SESSION_TOKEN").map(Secret::new),
        })),
        (Some(_), None) => half(id, secret),
        (None, Some(_)) => half(secret, id),
        (None, None) => Ok(None),
    }
}

fn from_file(variable: &dyn Fn(&str) -> Option<String>) -> Result<Credentials, String> {
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    let nothing = |why: &str| {
        format!(
            "found no credentials{why}: give aws_access_key_id and aws_secret_access_key, or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, or write profile {profile} into the shared credentials file (container, web \
             identity and instance credentials are not read: `aws configure export-credentials --format env` exports \
             them)"
        )
    };
    let home = variable("HOME").map(PathBuf::from);
    let path = match (variable("AWS_SHARED_CREDENTIALS_FILE"), home) {
        // As boto3 reads it.
        (Some(path), Some(home)) if path.starts_with("~/") => home.join(&path[2..]),
        (Some(path), _) => PathBuf::from(path),
        (None, Some(home)) => home.join(".aws/credentials"),
        (None, None) => return Err(nothing("")),
    };
    let shown = path.display();
    let text = match read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(nothing("")),
        Err(error) => {
            let advice = limits::advice(&error).unwrap_or(
                "let this user read it, or name another with \
                                                           AWS_SHARED_CREDENTIALS_FILE",
            );
            return Err(format!(
                "could not read the shared credentials file {shown}: {error}; {advice}"
            ));
        }
    };
    let half = |given: &str, missing: &str| {
        Err(format!(
            "profile {profile} of {shown} has {given} and no {missing}; write both there"
        ))
    };
    match section(&text, &profile) {
        Some((Some(access_key_id), Some(secret_access_key), session_token)) => Ok(Credentials {
            access_key_id,
            secret_access_key,
            session_token,
        }),
        Some((Some(_), None, _)) => half("aws_access_key_id", "aws_secret_access_key"),
        Some((None, Some(_), _)) => half("aws_secret_access_key", "aws_access_key_id"),
        Some((None, None, _)) => Err(nothing(&format!(" in profile {profile} of {shown}"))),
        None => Err(nothing(&format!(", and {shown} has no profile {profile}"))),
    }
}

fn read(path: &Path) -> io::Result<String> {
    let bytes = whole_file::read(path, FILE_BYTES_MAX)?;
    Ok(String::from_utf8_lossy(without_mark(&bytes)).into_owned())
}

pub(crate) type Keys = (Option<Secret>, Option<Secret>, Option<Secret>);

/// The key, secret and session token of one profile of a credentials file.
pub(crate) fn section(text: &str, profile: &str) -> Option<Keys> {
    let (mut inside, mut found) = (false, None::<Keys>);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = name.trim() == profile;
            if inside {
                found.get_or_insert_default();
            }
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside) {
            let value = Some(Secret::new(value.trim())).filter(|secret| !secret.is_empty());
            let keys = found.get_or_insert_default();
            match name.trim() {
                "aws_access_key_id" => keys.0 = value,
                "aws_secret_access_key" => keys.1 = value,
                "aws_session_token" => keys.2 = value,
                _ => {}
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::config::config_for_test as s3_config_for_test;
    use super::*;
    use crate::result::warning::Warning as _;
    use crate::testing::temporary_path;

    const FILE: &str = "\u{feff}[default]\naws_access_key_id = A\n# note\n[ci]\naws_access_key_id=B\n\
                        aws_secret_access_key = s = 1\naws_session_token=t\n[none]\nregion=x\n";

    #[test]
    fn a_profile_is_read_from_its_own_section() {
        let (id, secret, token) = section(FILE, "ci").unwrap();
        let shown = [&id, &secret, &token].map(|key| key.clone().unwrap());
        assert_eq!(shown.each_ref().map(Secret::expose), ["B", "s = 1", "t"]);
        assert!(section(FILE, "other").is_none());
    }

    /// What is found with these keys in the spec and these variables, and a credentials file.
    fn found(keys: [&str; 2], variables: &[(&str, &str)], file: &str) -> Result<(String, Option<String>), String> {
        let path = temporary_path("keys");
        fs::write(&path, file).unwrap();
        let key = |text: &str| Some(Secret::new(text)).filter(|secret| !secret.is_empty());
        let config = S3Config {
            access_key_id: key(keys[0]),
            secret_access_key: key(keys[1]),
            ..s3_config_for_test()
        };
        let variable = |name: &str| {
            let given = variables.iter().find(|(known, _)| *known == name);
            let given = given.map(|(_, value)| (*value).to_owned());
            given.or_else(|| (name == "AWS_SHARED_CREDENTIALS_FILE").then(|| path.display().to_string()))
        };
        let found = find_with(&config, &variable);
        fs::remove_file(&path).unwrap();
        found.map(|(found, warning)| {
            (
                found.access_key_id.expose().to_owned(),
                warning.map(|warning| warning.text()),
            )
        })
    }

    #[test]
    fn the_first_whole_pair_is_taken() {
        let ci = [("AWS_PROFILE", "ci")];
        let both = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert_eq!(found(["S", "s"], &both, FILE), Ok(("S".to_owned(), None)));
        assert_eq!(found(["", ""], &both, FILE), Ok(("E".to_owned(), None)));
        // The byte order mark of the file is no part of its first section.
        assert_eq!(
            found(["", ""], &ci, FILE.split_once("# note\n").unwrap().1),
            Ok(("B".to_owned(), None))
        );
        let marked = FILE.replace("# note", "aws_secret_access_key=s");
        assert_eq!(found(["", ""], &[], &marked), Ok(("A".to_owned(), None)));
    }

    #[test]
    fn half_a_pair_is_told() {
        let (id, secret) = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY");
        let both = [(id, "E"), (secret, "s")];
        for (keys, given) in [(["S", ""], "aws_access_key_id"), (["", "S"], "aws_secret_access_key")] {
            let (key, warning) = found(keys, &both, "").unwrap();
            let warning = warning.unwrap();
            assert!(
                key == "E" && warning.contains(given) && warning.contains("those of the environment"),
                "{warning}"
            );
            let error = found(keys, &[], "").unwrap_err();
            assert!(
                error.starts_with(&format!("the adapter JSON has {given} and no ")),
                "{error}"
            );
        }
        for (variables, part) in [
            (
                &[(id, "E")][..],
                "AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not",
            ),
            (
                &[(secret, "E")],
                "AWS_SECRET_ACCESS_KEY is set and AWS_ACCESS_KEY_ID is not",
            ),
            (&[], "profile default of "),
            (&[("AWS_PROFILE", "none")], "in profile none of "),
            (&[("AWS_PROFILE", "gone")], "has no profile gone"),
            (
                &[("AWS_SHARED_CREDENTIALS_FILE", "/")],
                "could not read the shared credentials file /: ",
            ),
        ] {
            let error = found(["", ""], variables, FILE).unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
