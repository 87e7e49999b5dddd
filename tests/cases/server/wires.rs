//! `--wire libzmq` at a limit of the system. What both wires share is tested over each of them elsewhere.

use lmcache_bench::server::rpc::WireKind;

use crate::support::mock_server::MockServer;
use crate::support::stderr;

/// libzmq ends the process when it cannot open a descriptor, which must not happen.
#[test]
fn too_few_descriptors_for_libzmq_are_an_error_with_advice() {
    if !WireKind::Libzmq.is_built() {
        return;
    }
    let server = MockServer::start(&[]);
    for limit in 7..20 {
        let client = server.client_by(WireKind::Libzmq);
        let mut command = std::process::Command::new("sh");
        command
            .arg("-c")
            .arg(format!("ulimit -n {limit}; exec \"$@\""))
            .arg("sh");
        command.arg(client.get_program()).args(client.get_args());
        let output = command.output().unwrap();
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{limit}: {text}");
        assert!(text.contains("(ulimit -n)"), "{limit}: {text}");
    }
}
