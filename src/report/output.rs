//! Writes finished outputs to stdout and to files that are checked before the run. If a write fails, the error has advice and
//! a regular file keeps its earlier content.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::sys::ending::saving;
use crate::url::literal_path_advice;

/// Temporary names to try next to the target; files of earlier runs may use some.
const TEMP_NAMES: u32 = 16;

/// Writes the rendered report to standard output.
pub fn write_stdout(bytes: impl AsRef<[u8]>) -> Result<(), Error> {
    write_to(&mut io::stdout().lock(), bytes.as_ref())
}

fn write_to(out: &mut dyn Write, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|cause| {
        let advice = "use --output PATH to keep the report in a file";
        Error::Environment(format!(
            "could not write the report to standard output: {cause}; {advice}"
        ))
    })
}

/// An output file, checked before the run so that a long run does not end without its report.
#[derive(Debug)]
pub struct OutputFile {
    /// The flag that gave the path, and what is written there; for messages.
    flag: &'static str,
    content: &'static str,
    path: PathBuf,
    method: Method,
}

#[derive(Debug)]
enum Method {
    /// Stdout or stderr by another name: written at the current position of that stream.
    Stream(File),
    /// A regular file that exists or will be created: a temporary file is written next to it and renamed over it.
    Replace {
        target: PathBuf,
        permissions: Option<Permissions>,
    },
    /// A pipe or terminal, or a regular file in a folder where no files can be created.
    InPlace,
}

impl OutputFile {
    /// Checks that `path` can be written, and how. Changes nothing.
    pub fn check(path: &Path) -> Result<OutputFile, Error> {
        OutputFile::check_for("--output", "the report", path)
    }

    /// Like [`OutputFile::check`], for another flag. `content` names in messages what is written.
    pub fn check_for(flag: &'static str, content: &'static str, path: &Path) -> Result<OutputFile, Error> {
        let method = method(path).map_err(|cause| failure(flag, content, path, &cause))?;
        Ok(OutputFile {
            flag,
            content,
            path: path.to_owned(),
            method,
        })
    }

    /// Writes the whole output.
    pub fn write(&self, bytes: impl AsRef<[u8]>) -> Result<(), Error> {
        let bytes = bytes.as_ref();
        let written = match &self.method {
            Method::Stream(stream) => (&mut &*stream).write_all(bytes),
            Method::Replace { target, permissions } => {
                let _saving = saving();
                replace(target, permissions.as_ref(), bytes)
            }
            Method::InPlace => write_in_place(&self.path, bytes),
        };
        written.map_err(|cause| failure(self.flag, self.content, &self.path, &cause))
    }
}

fn failure(flag: &str, content: &str, path: &Path, cause: &io::Error) -> Error {
    let advice = literal_path_advice(path).unwrap_or_else(|| "name a file in a writable folder".to_owned());
    let path = path.display();
    Error::Environment(format!("could not write {content} to {flag} {path}: {cause}; {advice}"))
}

fn method(path: &Path) -> io::Result<Method> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return method_for_new_file(path),
        Err(cause) => return Err(cause),
    };
    let kind = found.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
    }
    if kind.is_block_device() || kind.is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is a block device or a socket",
        ));
    }
    if let Some(stream) = standard_stream(&found)? {
        return Ok(Method::Stream(stream));
    }
    // A pipe is not opened for the check: that would wait for its reader, and closing it again would end the reader.
    if !kind.is_file() {
        return Ok(Method::InPlace);
    }
    OpenOptions::new().write(true).open(path)?;
    let target = fs::canonicalize(path)?;
    match create_temp(&target) {
        Ok((temp, _)) => fs::remove_file(temp)?,
        Err(_) => return Ok(Method::InPlace),
    }
    Ok(Method::Replace {
        target,
        permissions: Some(found.permissions()),
    })
}

fn method_for_new_file(path: &Path) -> io::Result<Method> {
    if path.file_name().is_none() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it names no file"));
    }
    // A link whose target does not exist: a rename would replace the link instead of creating the target.
    if fs::symlink_metadata(path).is_ok() {
        return Ok(Method::InPlace);
    }
    let (temp, _) = create_temp(path)?;
    fs::remove_file(temp)?;
    Ok(Method::Replace {
        target: path.to_owned(),
        permissions: None,
    })
}

/// Stdout or stderr if it is this file: replacing the file would lose what was printed to it.
fn standard_stream(found: &fs::Metadata) -> io::Result<Option<File>> {
    for stream in [
        io::stdout().as_fd().try_clone_to_owned()?,
        io::stderr().as_fd().try_clone_to_owned()?,
    ] {
        let stream = File::from(stream);
        let here = stream.metadata()?;
        if (here.dev(), here.ino()) == (found.dev(), found.ino()) {
            return Ok(Some(stream));
        }
    }
    Ok(None)
}

fn create_temp(target: &Path) -> io::Result<(PathBuf, File)> {
    let process = std::process::id();
    let mut attempt = 0;
    loop {
        let temp = target.with_file_name(format!(".lmcache-bench.{process}.{attempt}.tmp"));
        match OpenOptions::new().write(true).create_new(true).open(&temp) {
            Ok(file) => return Ok((temp, file)),
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && attempt < TEMP_NAMES => attempt += 1,
            Err(cause) => return Err(cause),
        }
    }
}

fn replace(target: &Path, permissions: Option<&Permissions>, bytes: &[u8]) -> io::Result<()> {
    let (temp, file) = create_temp(target)?;
    let written = fill(&file, permissions, bytes).and_then(|()| fs::rename(&temp, target));
    if written.is_err() {
        // The cause of the failed write is reported, not that of a failed removal.
        let _ = fs::remove_file(&temp);
    }
    match written {
        // A bind-mounted file, as in containers, cannot be replaced by a rename.
        Err(cause) if cause.kind() == io::ErrorKind::ResourceBusy => write_in_place(target, bytes),
        written => written,
    }
}

fn fill(mut file: &File, permissions: Option<&Permissions>, bytes: &[u8]) -> io::Result<()> {
    if let Some(permissions) = permissions {
        file.set_permissions(permissions.clone())?;
    }
    file.write_all(bytes)?;
    // Network file systems may report a full disk only now.
    file.sync_all()
}

fn write_in_place(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.write_all(bytes)?;
    if file.metadata()?.is_file() {
        file.set_len(bytes.len() as u64)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// A temporary folder for one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Folder {
            let path = crate::testing::temporary_path(&format!("output-{name}"));
            fs::create_dir_all(&path).unwrap();
            Folder(path)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_new_file_appears_with_its_whole_content() {
        let folder = Folder::new("new");
        let path = folder.0.join("report.json");
        let output = OutputFile::check(&path).unwrap();
        assert_eq!(folder.names(), Vec::<String>::new());
        output.write("text").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "text");
        assert_eq!(folder.names(), ["report.json"]);
    }

    #[test]
    fn the_check_leaves_an_earlier_file_alone_and_the_write_replaces_it() {
        let folder = Folder::new("replace");
        let path = folder.0.join("report.json");
        fs::write(&path, "a longer text from before").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let link = folder.0.join("link.json");
        symlink("report.json", &link).unwrap();
        let output = OutputFile::check(&link).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a longer text from before");
        output.write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(folder.names(), ["link.json", "report.json"]);
    }

    #[test]
    fn a_link_to_a_file_that_does_not_exist_is_followed() {
        let folder = Folder::new("dangling");
        let link = folder.0.join("link.json");
        symlink("report.json", &link).unwrap();
        OutputFile::check(&link).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(folder.0.join("report.json")).unwrap(), "new");
    }

    #[test]
    fn writing_in_place_truncates_the_earlier_text() {
        let folder = Folder::new("place");
        let path = folder.0.join("report.json");
        fs::write(&path, "a longer text from before").unwrap();
        write_in_place(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn paths_that_cannot_be_written_are_refused_by_the_check() {
        let folder = Folder::new("refused");
        for path in [
            folder.0.clone(),
            folder.0.join("missing/report.json"),
            PathBuf::from("/"),
            PathBuf::from(""),
        ] {
            let text = OutputFile::check(&path).unwrap_err().to_string();
            assert!(
                text.starts_with(&format!("could not write the report to --output {}: ", path.display())),
                "{text}"
            );
        }
    }

    #[test]
    fn devices_are_written_directly_and_a_full_one_is_an_error() {
        OutputFile::check(Path::new("/dev/null"))
            .unwrap()
            .write("text")
            .unwrap();
        let text = OutputFile::check(Path::new("/dev/full"))
            .unwrap()
            .write("text")
            .unwrap_err()
            .to_string();
        assert!(text.contains("--output /dev/full"), "{text}");
    }

    #[test]
    fn a_closed_reader_is_an_error_with_advice() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        // A child that another test is starting may have inherited the reader.
        while writer.write_all(b"text").is_ok() {}
        let text = write_to(&mut writer, b"text").unwrap_err().to_string();
        assert!(
            text.starts_with("could not write the report to standard output: "),
            "{text}"
        );
        assert!(
            text.ends_with("use --output PATH to keep the report in a file"),
            "{text}"
        );
    }
}
