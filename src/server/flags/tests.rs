//! Defaults, the field of every flag, and that LMCache's abbreviations keep their meaning.

use super::*;
use crate::cli::{Format, table_rules};

fn typed(words: &[&str]) -> ServerArgs {
    table_rules::typed(&TABLE, TABLE.presets(), words)
}

#[test]
fn defaults_are_the_references() {
    let args = typed(&[]);
    assert_eq!(args, TABLE.presets());
    assert_eq!(
        (args.rpc_url.as_str(), args.url.as_str()),
        ("tcp://localhost:5555", "http://localhost:8080")
    );
    assert_eq!((args.mode, args.transfer_mode), (Mode::Gpu, TransferMode::Auto));
    assert_eq!((args.tp_size, args.use_mla, args.num_tokens), (1, false, 512));
    assert_eq!(
        (args.kvcache_shape_spec, args.num_blocks, args.block_size),
        (None, None, None)
    );
    assert_eq!((args.start, args.end, args.interval), (0, None, 0.5));
    assert_eq!(
        (args.concurrency, args.block_allocation),
        (1, BlockAllocation::Sequential)
    );
    assert_eq!(args.output, OutputArgs::default());
    assert_eq!((args.salt, args.checksum, args.seed), (true, Checksum::Auto, 42));
    assert_eq!(args.wire, WireKind::Native);
    assert_eq!((args.connect_timeout_s, args.rpc_timeout_s), (2.0, 10.0));
}

#[test]
fn every_flag_reaches_its_field() {
    let words = "--rpc-url tcp://h:1 --url http://h:2 --mode cpu --transfer-mode lmcache_driven --tp-size 2 --use-mla \
                 --num-tokens 3 --kvcache-shape-spec (1,2,3,4,5):uint8:6 --num-blocks 7 --block-size 8 --start 9 --end 10 \
                 --interval 0.25 --concurrency 12 --block-allocation random \
                 --format json --output out.json -q --save result=a --save csv=b \
                 --no-salt --device 3 --checksum md5 --wire libzmq --seed 11 \
                 --connect-timeout-s 1.5 --rpc-timeout-s 2.5";
    let expected = ServerArgs {
        rpc_url: "tcp://h:1".into(),
        url: "http://h:2".into(),
        mode: Mode::Cpu,
        device: 3,
        transfer_mode: TransferMode::LmcacheDriven,
        tp_size: 2,
        use_mla: true,
        num_tokens: 3,
        kvcache_shape_spec: Some("(1,2,3,4,5):uint8:6".into()),
        num_blocks: Some(7),
        block_size: Some(8),
        start: 9,
        end: Some(10),
        interval: 0.25,
        concurrency: 12,
        block_allocation: BlockAllocation::Random,
        output: OutputArgs {
            format: Format::Json,
            quiet: true,
            report_path: Some("out.json".into()),
            saves: vec!["result=a".into(), "csv=b".into()],
            tables: &[],
        },
        salt: false,
        checksum: Checksum::Md5,
        wire: WireKind::Libzmq,
        seed: 11,
        connect_timeout_s: 1.5,
        rpc_timeout_s: 2.5,
    };
    assert_eq!(typed(&words.split_whitespace().collect::<Vec<_>>()), expected);
}

#[test]
fn the_table_follows_the_common_rules() {
    table_rules::choices_are_taken_and_differ(&TABLE);
    table_rules::rows_are_complete(&TABLE);
    table_rules::our_flags_leave_abbreviations_alone(&TABLE, "save");
}
