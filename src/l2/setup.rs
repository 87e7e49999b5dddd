//! Setup of a run before its first round: adapter spec, bridge to LMCache's own adapter, encryption, L1 buffers, adapter.

use std::env;
use std::sync::Arc;

use crate::error::Error;
use crate::l2::adapter::{Adapter, Environment, IoEngine, Operation};
use crate::l2::adapters;
use crate::l2::adapters::bridge::BridgeRequest;
use crate::l2::config::RunConfig;
use crate::l2::flags::{L2Args, Via};
use crate::l2::spec::{AdapterSpec, AesGcmConfig, SerdeConfig};
use crate::sys::arena::{Arena, Slot};
use crate::sys::limits;
use crate::units::bytes_text;

/// The adapter specs of the command line, or else the one in `L2_ADAPTER_JSON`.
pub fn given_specs(args: &L2Args) -> Vec<String> {
    if !args.l2_adapter.is_empty() {
        return args.l2_adapter.clone();
    }
    let of_environment = env::var("L2_ADAPTER_JSON").ok();
    of_environment.filter(|json| !json.is_empty()).into_iter().collect()
}

/// The L1 buffers: one store slot and one load slot for each key of a round, each only if its operation runs.
pub struct Slots {
    arena: Arc<Arena>,
    pub store: Vec<Slot>,
    pub load: Vec<Slot>,
}

impl Slots {
    /// `shared` allocates shared memory, for a helper process.
    pub fn allocate(config: &RunConfig, shared: bool) -> Result<Slots, Error> {
        let bytes = config.buffer_bytes();
        let make = if shared { Arena::shared } else { Arena::new };
        let arena = make(bytes, config.align_bytes, config.huge_pages).map_err(|error| {
            let advice = limits::advice(&error).unwrap_or(if config.huge_pages {
                "--l1-use-hugepages needs free 2 MiB pages: raise the sysctl vm.nr_hugepages"
            } else {
                "lower --num-keys, --in-flight or --data-size-kb"
            });
            Error::Environment(format!(
                "could not allocate {} of L1 buffers: {error}; {advice}",
                bytes_text(bytes as u64)
            ))
        })?;
        let (arena, mut store) = arena.into_slots(config.object_bytes);
        let stored = if config.runs(Operation::Store) {
            config.keys_per_round()
        } else {
            0
        };
        let load = store.split_off(stored);
        Ok(Slots { arena, store, load })
    }
}

/// The settings of the bridge, if LMCache's own adapter is measured.
pub fn bridge_request(config: &RunConfig, spec: &AdapterSpec) -> Result<Option<BridgeRequest>, Error> {
    let native = spec.kind.is_native();
    let request = || BridgeRequest {
        python: config.python.clone(),
        keys_per_submit: config.keys_per_submit(),
        align_bytes: config.align_bytes,
        create_timeout: config.timeout(Operation::Store),
    };
    let bridged = config.via == Some(Via::Lmcache) || !native;
    let native_only = [
        ("--io-engine", config.io_engine != IoEngine::Auto),
        ("--io-depth", config.io_depth > 0),
        ("--fdatasync", config.fdatasync),
        ("--recycle", config.recycle),
        ("--probe", config.probe),
    ];
    if let (true, Some((flag, _))) = (bridged, native_only.iter().find(|(_, given)| *given)) {
        return Err(Error::Usage(format!(
            "{flag} is for the native adapters, LMCache's own have nothing like it; leave it out with --via lmcache"
        )));
    }
    match config.via {
        Some(Via::Native) if !native => Err(Error::Usage(format!(
            "--via native: this program has no adapter of its own for type '{}'; leave the flag out, and LMCache's is \
             run through its Python",
            spec.type_name
        ))),
        _ if bridged => Ok(Some(request())),
        _ => Ok(None),
    }
}

/// The encryption settings, with `--apply-serde`.
pub fn encryption<'a>(config: &RunConfig, spec: &'a AdapterSpec) -> Result<Option<&'a AesGcmConfig>, Error> {
    let refused = |why: String| Err(Error::Usage(format!("--apply-serde: {why}")));
    match &spec.serde {
        _ if !config.apply_serde => Ok(None),
        _ if config.probe => {
            refused("--probe compares with whole blocks, which encrypted objects are not; drop one".into())
        }
        None => refused("the adapter JSON has no serde block; give one of type aesgcm or leave the flag out".into()),
        Some(Err(message)) => refused(format!("{message}; mend the serde block of the adapter JSON")),
        Some(Ok(SerdeConfig::Other(name))) => refused(format!("type '{name}' cannot be applied here, only aesgcm can")),
        Some(Ok(SerdeConfig::AesGcm(aesgcm))) => Ok(Some(aesgcm)),
    }
}

pub fn create_adapter(
    spec: &AdapterSpec,
    config: &RunConfig,
    slots: &Slots,
    bridge: Option<&BridgeRequest>,
    encryption: Option<&AesGcmConfig>,
) -> Result<Box<dyn Adapter>, Error> {
    let environment = Environment {
        arena: Arc::clone(&slots.arena),
        object_bytes: config.object_bytes,
        align_bytes: config.align_bytes,
        run_objects: config.plan.total_rounds() * config.plan.keys_per_round(),
        io_engine: config.io_engine,
        io_depth: config.io_depth,
        fdatasync: config.fdatasync,
        recycle_files: config.recycle_files(),
        stores: config.runs(Operation::Store),
    };
    let objects = config.keys_per_round();
    let encryption = encryption.map(|config| (config, objects));
    adapters::create(spec, environment, bridge, encryption)
}
