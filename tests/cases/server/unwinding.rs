//! A panic during a pass: the session releases everything that it holds at the server while the stack unwinds.

use std::panic::{AssertUnwindSafe, catch_unwind};

use lmcache_bench::server::clients::http::Http;
use lmcache_bench::server::clients::{Clients, Setup};
use lmcache_bench::server::config::{Machine, RunConfig};
use lmcache_bench::server::flags::{Mode, ServerArgs, TABLE, TransferMode};
use lmcache_bench::server::plan::{Identity, Plan};
use lmcache_bench::server::rpc::WireKind;
use lmcache_bench::server::runner::{Event, Runner};
use lmcache_bench::server::samples::Measured;
use lmcache_bench::server::session::Session;
use lmcache_bench::server::share::Common;

use super::{assert_nothing_left, shared_memory_of};
use crate::support::mock_server::{MockServer, SHAPE, of_release, releases_and_wires};

fn config(server: &MockServer, wire: WireKind, transfer_mode: TransferMode) -> RunConfig {
    let args = ServerArgs {
        rpc_url: server.rpc_url.clone(),
        url: server.http_url.clone(),
        mode: Mode::Cpu,
        wire,
        transfer_mode,
        num_tokens: 40,
        kvcache_shape_spec: Some(SHAPE.into()),
        end: Some(2),
        interval: 0.0,
        ..TABLE.presets()
    };
    RunConfig::resolve(&args, Machine::default()).unwrap()
}

/// Panics at the first event that matches `stop`.
fn panicking_run(server: &MockServer, config: &RunConfig, identity: Identity, stop: fn(&Event) -> bool) {
    let client = server.connect_by(config.wire);
    let (chunk_tokens, generation) = (client.server().chunk_size as usize, client.server().generation);
    let plan = Plan::new(config, chunk_tokens, generation).unwrap();
    let mut session = Session::open(client, config, plan, identity, None).unwrap();
    let mut on_event = |_, event: Event| {
        if stop(&event) {
            let status = server.status();
            assert_ne!(status["active_sessions"], 0, "there is something to release");
            panic!("on purpose");
        }
    };
    let common = Common::new(1);
    Runner::new(&mut session, config, common.share(0), None, &mut on_event).run();
}

#[test]
fn a_panic_leaves_nothing_at_the_server() {
    let modes = [TransferMode::EngineDriven, TransferMode::LmcacheDriven];
    let pairs = releases_and_wires().into_iter();
    for ((release, wire), transfer_mode) in pairs.flat_map(|pair| modes.map(|mode| (pair, mode))) {
        let server = MockServer::start(&of_release(release, &[]));
        let stops: [fn(&Event) -> bool; 3] = [
            |event| matches!(event, Event::Store { .. }),
            // All chunks of the request are locked at this point.
            |event| matches!(event, Event::Lookup { hits: 2, .. }),
            |event| matches!(event, Event::Retrieve { .. }),
        ];
        for stop in stops {
            let (config, identity) = (config(&server, wire, transfer_mode), Identity::new(true));
            let run_id = format!("{}-{}-", std::process::id(), identity.run_id);
            let run = AssertUnwindSafe(|| panicking_run(&server, &config, identity, stop));
            let panic = catch_unwind(run).expect_err("the run reaches the event");
            assert_eq!(panic.downcast_ref(), Some(&"on purpose"));
            assert_nothing_left(&server);
            assert_eq!(shared_memory_of(&run_id), Vec::<String>::new());
        }
    }
}

/// The other clients go on, and what they measured is kept. (In the program, a panic then ends all of them like a signal.)
#[test]
fn a_panic_of_one_client_loses_nothing_of_the_others() {
    let modes = [TransferMode::EngineDriven, TransferMode::LmcacheDriven];
    let pairs = releases_and_wires().into_iter();
    for ((release, wire), transfer_mode) in pairs.flat_map(|pair| modes.map(|mode| (pair, mode))) {
        let server = MockServer::start(&of_release(release, &[]));
        let config = RunConfig {
            clients: 3,
            end: Some(9),
            ..config(&server, wire, transfer_mode)
        };
        let mut client = server.connect_by(wire);
        let (chunk_tokens, generation) = (client.server().chunk_size as usize, client.server().generation);
        let setup = Setup {
            config: &config,
            plan: Plan::new(&config, chunk_tokens, generation).unwrap(),
            identity: Identity::new(true),
            gpu: None,
        };
        let mut http = Http::new(&config, None, &mut client, &mut Vec::new()).unwrap();
        let mut clients = Clients::open(client, &setup, &mut http).unwrap();
        let outcome = clients.run_with(&config, &|sequence, event| {
            let stops = sequence == 4 && matches!(event, Event::Store { .. });
            assert!(!stops, "on purpose");
        });
        // The client of sequences 1, 4 and 7 stops in its second one.
        let tally = &outcome.samples.tally;
        assert_eq!((tally.passed, tally.failed), (7, 0), "{tally:?}");
        let stores = outcome.samples.of(Measured::ColdStore).latency.count();
        let retrieves = outcome.samples.of(Measured::WarmRetrieve).latency.count();
        assert_eq!((stores, retrieves, outcome.problems.len()), (8, 7, 0));
        assert_nothing_left(&server);
    }
}
