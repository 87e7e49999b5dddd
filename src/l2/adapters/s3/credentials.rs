//! Who signs the requests: the spec's keys when both are given, else the environment, else the shared credentials file. The
//! rest of boto3's chain needs services that a benchmark should not have to ask.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::l2::spec::{S3Config, Secret};

const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key_id: Secret,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
}

pub fn find(config: &S3Config) -> Result<Credentials, String> {
    let filled = |secret: &Option<Secret>| secret.clone().filter(|secret| !secret.is_empty());
    if let (Some(access_key_id), Some(secret_access_key)) =
        (filled(&config.access_key_id), filled(&config.secret_access_key))
    {
        return Ok(Credentials {
            access_key_id,
            secret_access_key,
            session_token: None,
        });
    }
    let variable = |name: &str| env::var(name).ok().filter(|text| !text.is_empty());
    if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        return Ok(Credentials {
            access_key_id: Secret::new(id),
            secret_access_key: Secret::new(secret),
            session_token: variable("AWS_SESSION_TOKEN").map(Secret::new),
        });
    }
    let profile = variable("AWS_PROFILE").unwrap_or_else(|| "default".to_owned());
    from_file(&profile).ok_or_else(|| {
        format!(
            "found no credentials: give aws_access_key_id and aws_secret_access_key, or set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY, or write profile {profile} into the shared credentials file (container, web \
             identity and instance credentials are not read: `aws configure export-credentials --format env` exports \
             them)"
        )
    })
}

fn from_file(profile: &str) -> Option<Credentials> {
    let path = match env::var_os("AWS_SHARED_CREDENTIALS_FILE") {
        Some(path) => PathBuf::from(path),
        None => PathBuf::from(env::var_os("HOME")?).join(".aws/credentials"),
    };
    let small = fs::metadata(&path).is_ok_and(|file| file.len() <= FILE_BYTES_MAX);
    let text = if small {
        fs::read_to_string(&path).ok()?
    } else {
        return None;
    };
    section(&text, profile)
}

/// One profile of a credentials file.
fn section(text: &str, profile: &str) -> Option<Credentials> {
    let (mut inside, mut id, mut secret, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = name.trim() == profile;
        } else if let Some((name, value)) = line.split_once('=').filter(|_| inside) {
            let value = Some(Secret::new(value.trim()));
            match name.trim() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(Credentials {
        access_key_id: id?,
        secret_access_key: secret?,
        session_token: token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_read_from_its_own_section() {
        let text = "[default]\naws_access_key_id = A\n# note\n[ci]\naws_access_key_id=B\naws_secret_access_key = s = 1\n\
                    aws_session_token=t\n";
        let found = section(text, "ci").unwrap();
        let shown = [&found.access_key_id, &found.secret_access_key].map(Secret::expose);
        assert_eq!(shown, ["B", "s = 1"]);
        assert_eq!(found.session_token, Some(Secret::new("t")));
        assert!(section(text, "default").is_none(), "a profile without a secret is none");
    }
}
