//! Files of prompts in every form, and wrong ones.

use super::intake::Content;
use super::*;
use crate::engine::testing::{config, golden, workload_values};

/// What one reading gives, whatever the pieces.
fn read_as(text: &str, endpoint: Endpoint, max_tokens: Option<u64>) -> Result<Loaded, String> {
    let whole = read(text.as_bytes(), usize::MAX, endpoint, max_tokens);
    for piece in [1, 3, 64] {
        assert_eq!(
            read(text.as_bytes(), piece, endpoint, max_tokens),
            whole,
            "{piece} of {text:?}"
        );
    }
    whole
}

fn good(text: &str) -> Loaded {
    read_as(text, Endpoint::Chat, None).unwrap()
}

fn refused(text: &str) -> String {
    read_as(text, Endpoint::Chat, None).expect_err(text)
}

fn prompt(text: &str) -> Content {
    Content::Prompt(text.into())
}

#[test]
fn every_form_of_a_line_is_read() {
    for (line, content, max_tokens) in [
        (r#"{"prompt":"a\u00e9\n","max_tokens":7}"#, prompt("a\u{e9}\n"), 7),
        (
            r#"{"max_tokens":null,"prompt": "a" ,"output_tokens":1520.0}"#,
            prompt("a"),
            1520,
        ),
        (
            r#"{"text":"t","output_tokens_count":3,"prompt_tokens_count":9}"#,
            prompt("t"),
            3,
        ),
        (
            r#"{"text_input":"t","output_length":1,"input_length":2,"prompt":null}"#,
            prompt("t"),
            1,
        ),
        (r#"{"prompt_length":50,"output_length":4}"#, Content::Synthetic(40), 4),
        (
            r#"{"input_length":50,"max_completion_tokens":100000000}"#,
            Content::Synthetic(40),
            100_000_000,
        ),
        (
            r#"{"messages": [ {"role":"system","content":[{"type":"text","text":"p"}],"name":"n"}, {"role":"user"} ],"max_tokens":2}"#,
            Content::Messages(
                r#"[ {"role":"system","content":[{"type":"text","text":"p"}],"name":"n"}, {"role":"user"} ]"#.into(),
            ),
            2,
        ),
        (
            r#"{"conversations":[{"from":"gpt","value":"no"},{"from":"human","value":"q"},{"from":"system","value":"s"},{"from":"gpt","value":"one two three"},{"from":"gpt","value":"x"}]}"#,
            prompt("q"),
            3,
        ),
        (
            r#"{"conversations":[{"from":"user","value":"q"},{"from":"assistant","value":" "}]}"#,
            prompt("q"),
            1,
        ),
        (
            r#"{"conversations":[{"from":"user","value":"q"},{"from":"bing","value":"a b"}],"max_tokens":9}"#,
            prompt("q"),
            9,
        ),
    ] {
        let loaded = good(line);
        assert_eq!(loaded.items.len(), 1, "{line}");
        let item = &loaded.items[0];
        assert_eq!(
            (&item.content, item.max_tokens, item.place),
            (&content, max_tokens, 1),
            "{line}"
        );
        assert_eq!((item.session, item.delay_us, loaded.skipped), (None, 0, 0));
        // The same object in a list.
        let of_list = good(&format!("\n [{line}\n]\n"));
        assert_eq!((&of_list.items, of_list.is_list), (&loaded.items, true));
    }
}

#[test]
fn a_file_has_blank_lines_a_mark_and_any_line_ends() {
    let line = r#"{"prompt":"p","max_tokens":1}"#;
    let loaded = good(&format!("\u{feff}\r\n{line}\r\n\n  \n{line}"));
    let places: Vec<u64> = loaded.items.iter().map(|item| item.place).collect();
    assert_eq!((places, loaded.is_list), (vec![2, 5], false));
    for blank in ["", "\n", "\u{feff}", " \r\n\n", "[]", "\u{feff} [ ]"] {
        assert_eq!(good(blank).items, [], "{blank:?}");
    }
    let late = good(&format!("{}{line}\n", "\n".repeat(10_000)));
    assert_eq!(late.items[0].place, 10_001);
}

#[test]
fn sessions_delays_and_other_keys_are_taken() {
    let loaded = good(
        r#"{"prompt":"a","max_tokens":1,"session":"7","category":"c","delay_s":1.5}
{"prompt":"b","max_tokens":1,"session_id":7,"delay":250}
{"prompt":"c","max_tokens":1,"session":-1,"delay_ms":0.5,"timestamp":[{"a":1}]}
{"prompt":"d","max_tokens":1,"session":null,"delay":null}"#,
    );
    let of: Vec<(Option<u32>, u64)> = loaded.items.iter().map(|item| (item.session, item.delay_us)).collect();
    assert_eq!(
        of,
        [(Some(0), 1_500_000), (Some(0), 250_000), (Some(1), 500), (None, 0)]
    );
    assert_eq!(loaded.sessions, 2);
    assert!(
        loaded.ignored.iter().eq(["category", "timestamp"]),
        "{:?}",
        loaded.ignored
    );
}

/// The first eight that are met, and whether that is all.
#[test]
fn keys_without_effect_are_kept_up_to_some() {
    let line = |keys: std::ops::Range<u64>| {
        let keys: String = keys.map(|key| format!(r#""k{key}":0,"#)).collect();
        format!("{{{keys}\"prompt\":\"a\",\"max_tokens\":1}}\n")
    };
    let eight = good(&line(2..10).repeat(2));
    assert_eq!((eight.ignored.len(), eight.ignores_others), (8, false));
    let nine = good(&(line(2..10) + &line(1..3)));
    assert!(
        !nine.ignored.contains("k1") && nine.ignores_others,
        "{:?}",
        nine.ignored
    );
}

#[test]
fn a_default_length_is_for_lines_without_one() {
    let text = r#"{"prompt":"a"}
{"prompt":"b","max_tokens":3}"#;
    let loaded = read_as(text, Endpoint::Chat, Some(64)).unwrap();
    let lengths: Vec<u32> = loaded.items.iter().map(|item| item.max_tokens).collect();
    assert_eq!(lengths, [64, 3]);
    assert_eq!(
        refused(text),
        ", line 1: it has no length of the answer; give max_tokens in the line, or --custom-max-tokens for all lines \
         without it"
    );
}

/// Lines and what is wrong with them.
const BAD_LINES: &[(&str, &str)] = &[
    ("{\"prompt\":\"a\",}", "it is not JSON at column 15: trailing comma"),
    (
        "{\"prompt\":\"a\"",
        "it is not JSON at column 13: EOF while parsing an object",
    ),
    ("{} x", "it has no prompt; give prompt, messages or prompt_length"),
    (
        "{\"prompt\":\"a\",\"max_tokens\":1} {}",
        "it is not JSON at column 31: trailing characters",
    ),
    ("7", "invalid type: integer `7`, expected an object in braces"),
    ("{\"prompt\":\"\"}", "its prompt is empty"),
    (
        "{\"prompt\":7}",
        "'prompt': invalid type: integer `7`, expected a string",
    ),
    ("{\"prompt\":\"a\",\"prompt\":\"b\"}", "the key 'prompt' is there twice"),
    (
        "{\"prompt\":\"a\",\"max_tokens\":1,\"output_tokens\":1}",
        "'max_tokens' and 'output_tokens' say the same; keep one of them",
    ),
    ("{\"delay\":1,\"delay_s\":1}", "'delay' and 'delay_s' say the same"),
    (
        "{\"prompt\":\"a\",\"messages\":[]}",
        "it has more than one of prompt, messages and conversations",
    ),
    (
        "{\"prompt\":\"a\",\"max_tokens\":0}",
        "max_tokens must be from 1 to 100000000, got 0",
    ),
    ("{\"prompt\":\"a\",\"max_tokens\":100000001}", "got 100000001"),
    (
        "{\"prompt\":\"a\",\"max_tokens\":-1}",
        "'max_tokens': -1 is not a whole number from 0 on",
    ),
    (
        "{\"prompt\":\"a\",\"max_tokens\":1.5}",
        "'max_tokens': 1.5 is not a whole number from 0 on",
    ),
    (
        "{\"prompt\":\"a\",\"max_tokens\":\"7\"}",
        "'max_tokens': invalid type: string \"7\"",
    ),
    (
        "{\"prompt_length\":0,\"max_tokens\":1}",
        "prompt_length must be from 1 to 100000000, got 0",
    ),
    (
        "{\"prompt\":\"a\",\"max_tokens\":1,\"delay\":-1}",
        "'delay': a delay must be from 0 to 86400 s, got -0.001 s",
    ),
    ("{\"prompt\":\"a\",\"max_tokens\":1,\"delay_s\":86401}", "got 86401 s"),
    (
        "{\"session\":1.5}",
        "'session': invalid type: floating point `1.5`, expected a text or a whole number",
    ),
    ("{\"messages\":[]}", "messages: the list is empty"),
    (
        "{\"messages\":{}}",
        "messages: invalid type: map, expected a list of messages",
    ),
    ("{\"messages\":[{\"content\":\"a\"}]}", "messages: missing field `role`"),
    ("{\"messages\":[{\"role\":\"\"}]}", "messages: a role is empty"),
    (
        "{\"conversations\":[{\"from\":\"human\"}]}",
        "'conversations': missing field `value`",
    ),
];

#[test]
fn a_bad_line_is_named_with_its_cause() {
    for (line, cause) in BAD_LINES {
        let before = "{\"prompt\":\"p\",\"max_tokens\":1}\n\n";
        let refused = refused(&format!("{before}{line}\n{before}"));
        assert!(
            refused.starts_with(", line 3: ") && refused.contains(cause),
            "{line}: {refused}"
        );
    }
    let of_list = refused("[{\"prompt\":\"p\",\"max_tokens\":1},\n\n{\"prompt\":\"p\"}]");
    assert!(of_list.starts_with(", entry 2 (line 3): it has no length"), "{of_list}");
}

#[test]
fn what_is_no_utf_8_or_too_long_is_named() {
    let line = b"{\"prompt\":\"p\",\"max_tokens\":1}\n".as_slice();
    let reading = |text: &[u8]| read(text, 50, Endpoint::Chat, None).expect_err("a refusal");
    let latin = [line, b"{\"prompt\":\"\xe9\"}"].concat();
    assert_eq!(
        reading(&latin),
        ", line 2: it is not UTF-8 at byte 12; save the file as UTF-8"
    );
    let utf_16 = reading(b"\xff\xfe{\0");
    assert_eq!(utf_16, ", line 1: it is not UTF-8 at byte 1; save the file as UTF-8");
    let of_list = [b"[\n".as_slice(), b"\"\xe9\"]"].concat();
    assert_eq!(
        reading(&of_list),
        ": it is not UTF-8 at byte 2 in line 2; save the file as UTF-8"
    );
    for end in ["", "\n"] {
        let long = format!("\n{{\"prompt\":\"{}\"}}{end}", "x".repeat(16 << 20));
        let refused = read(long.as_bytes(), 65_536, Endpoint::Chat, Some(1)).expect_err("a refusal");
        assert_eq!(refused, ", line 2: it is longer than 16 MiB");
    }
}

#[test]
fn conversations_without_an_answer_are_left_out_and_counted() {
    let turn = |from: &str, value: &str| format!(r#"{{"from":"{from}","value":"{value}"}}"#);
    let of = |turns: &[String]| format!(r#"{{"id":"x","conversations":[{}]}}"#, turns.join(","));
    let list = [
        of(&[]),
        of(&[turn("human", "q")]),
        of(&[turn("gpt", "a"), turn("human", "q")]),
        of(&[turn("human", ""), turn("gpt", "a")]),
        of(&[turn("human", "q"), turn("gpt", "one two")]),
    ];
    let loaded = good(&format!("[{}]", list.join(",")));
    assert_eq!((loaded.items.len(), loaded.skipped, loaded.counted), (1, 4, 1));
    assert_eq!((loaded.items[0].place, loaded.items[0].max_tokens), (5, 2));
    let shown = warnings(&loaded, &Tokenizer::Words(Some("w".into())));
    let codes: Vec<&str> = shown.iter().map(|warning| warning.code).collect();
    assert_eq!(codes, ["prompt-lengths", "skipped-prompts"]);
    let local = Tokenizer::from_folder(&golden("words-tokenizer")).unwrap();
    assert_eq!(warnings(&loaded, &local).len(), 1, "counted in tokens");
}

#[test]
fn the_completions_endpoint_gets_joined_contents() {
    let text = r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u\n"}],"max_tokens":2}"#;
    let loaded = read_as(text, Endpoint::Completions, None).unwrap();
    assert_eq!(loaded.items[0].content, prompt("s\n\nu\n"));
    for content in ["[]", "null", "7"] {
        let text = format!(r#"{{"messages":[{{"role":"user","content":{content}}}],"max_tokens":2}}"#);
        let refused = read_as(&text, Endpoint::Completions, None).expect_err("no text");
        assert!(
            refused.contains("a content is no text, which --endpoint completions cannot send"),
            "{refused}"
        );
        assert!(read_as(&text, Endpoint::Chat, None).is_ok());
    }
}

#[test]
fn answers_are_counted_with_the_tokenizer() {
    let tokenizer = Tokenizer::from_folder(&golden("words-tokenizer")).unwrap();
    let answer = "xylophone xylophone";
    let rules = Rules {
        endpoint: Endpoint::Chat,
        max_tokens: None,
        lengths: Lengths::new(&tokenizer, false),
    };
    let text = format!(r#"{{"conversations":[{{"from":"human","value":"q"}},{{"from":"gpt","value":"{answer}"}}]}}"#);
    let loaded = file::read([text.as_bytes()].into_iter(), &rules).unwrap();
    let counted = tokenizer.count(answer).unwrap();
    assert!(counted > 2, "more tokens than words");
    assert_eq!(u64::from(loaded.items[0].max_tokens), counted);
}

#[test]
fn the_file_must_be_named_and_hold_prompts() {
    let resolved = |words: &[&str]| Custom::resolve(&workload_values(words), &Sizes::new(1.0, 0));
    let refusal = |words: &[&str]| resolved(words).err().expect("a refusal").to_string();
    assert!(refusal(&[]).contains("the workload custom needs --prompts PATH"));
    assert!(refusal(&["--prompts", ""]).contains("needs --prompts PATH"));
    let line = ["--prompts", "p"];
    let with = |more: &[&str]| refusal(&[&line[..], more].concat());
    assert_eq!(
        with(&["--custom-max-tokens", "0"]),
        "--custom-max-tokens must be at least 1, got 0"
    );
    assert!(with(&["--custom-num-inflight-requests", "0"]).contains("must be at least 1, got 0"));
    assert_eq!(resolved(&line).unwrap().max_tokens, None);
    for (path, why) in [
        ("/nowhere", "--prompts /nowhere: could not read it: No such file"),
        (
            "/dev/null",
            "--prompts /dev/null holds no prompt; give one JSON object per line",
        ),
        ("~/x.jsonl", "only a shell replaces ~"),
    ] {
        let config = config(&["--workload", "custom", "--prompts", path]);
        let error = super::super::create(&config, &Tokenizer::Words(None))
            .err()
            .expect("a refusal");
        assert!(error.to_string().contains(why), "{error}");
    }
}
