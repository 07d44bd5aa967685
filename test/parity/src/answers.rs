//! Answers of the guest `puppet`, which returns the bytes of the request's body: a case for each rule of the adapters.

use crate::requests::{body, uuid};
use crate::rng::Rng;
use cc_lb_plugin_wire::{FilterResponse, Header, PerCandidateReason, ShapeResponse};
use rkyv::rancor::Error;
use serde_json::{Value, json};

fn case(hook: &str, name: String, config: Value, answer: &[u8]) -> Value {
    let repeats = answer.len() > 300 && answer.iter().all(|byte| *byte == answer[0]);
    let mut case = json!({
        "name": format!("{hook} puppet {name}"),
        "plugin": "puppet",
        "hook": hook,
        "config": config,
        "ctx": {
            "requestId": "req", "method": "POST", "path": "/v1/messages", "headers": [],
            "body": if repeats { body(&answer[..1], answer.len()) } else { body(answer, 1) },
        },
        "principal": { "id": "p", "kind": "api_key", "claims": { "puppet": true } },
    });
    match hook {
        "filter" => case["candidates"] = json!([]),
        _ => case["upstream"] = json!({ "kind": "anthropic_direct", "baseUrl": "https://api.anthropic.com/" }),
    }
    case
}

fn reasons(results: &[(&str, &str, &str)]) -> Vec<u8> {
    let result = |&(id, decision, reason): &(&str, &str, &str)| PerCandidateReason {
        upstream_id: id.into(),
        decision: decision.into(),
        reason: reason.into(),
    };
    rkyv::to_bytes::<Error>(&FilterResponse { results: results.iter().map(result).collect() })
        .expect("archive")
        .to_vec()
}

pub fn filter(rng: &mut Rng) -> Vec<Value> {
    let mut cases = Vec::new();
    let ids: Vec<String> = (0..4).map(|_| uuid(rng)).collect();
    let id = ids[0].as_str();
    let mut add =
        |name: &str, config: Value, answer: &[u8]| cases.push(case("filter", name.to_owned(), config, answer));

    for decision in [
        "accept",
        "Accept",
        "ACCEPT",
        "accept ",
        "",
        "reject",
        "rate_limit",
        "rate-limit",
        "RATE-LIMITED",
        "x-Rate-Limit-y",
        "quota",
        "Insufficient-Quota",
        "rate_limit_quota",
        "quota_unhealthy",
        "UNHEALTHY",
        "un-healthy",
        "rate__limit",
        "rate-_limit",
        "ＲＡＴＥ_LIMIT",
        "rate_lİmit",
        "\u{212a}uota",
        "unhealthy\0",
        "🦀",
    ] {
        add(&format!("decision {decision:?}"), json!({}), &reasons(&[(id, decision, "text")]));
        add(&format!("decision {decision:?} without reason"), json!({}), &reasons(&[(id, decision, "")]));
    }
    let simple = id.replace('-', "");
    for spelling in [
        id.to_uppercase(),
        simple.clone(),
        simple.to_uppercase(),
        format!("{{{id}}}"),
        format!("{{{simple}}}"),
        format!("urn:uuid:{id}"),
        format!("URN:UUID:{id}"),
        format!("urn:uuid:{simple}"),
        format!("urn:uuid:{{{id}}}"),
        format!(" {id}"),
        format!("{id} "),
        format!("{id}0"),
        id[..35].to_owned(),
        String::new(),
        "not-a-uuid".to_owned(),
        "00000000-0000-0000-0000-000000000000".to_owned(),
        "ffffffff-ffff-ffff-ffff-ffffffffffff".to_owned(),
        id.replacen('-', "", 1),
        id.replace('-', "_"),
        format!("{{{id}"),
        format!("{id}}}"),
        "g".repeat(32),
        id.replace(&id[3..4], "é"),
        "(00000000-0000-0000-0000-000000000000)".to_owned(),
        "0000000-00000-0000-0000-000000000000".to_owned(),
    ] {
        add(&format!("id {spelling:?}"), json!({}), &reasons(&[(&spelling, "accept", "as written")]));
    }
    add("bad id of a rejected result", json!({}), &reasons(&[(id, "accept", ""), ("nonsense", "reject", "")]));
    add("bad id after a good one", json!({}), &reasons(&[(id, "accept", "fine"), ("nonsense", "accept", "")]));
    add("same id twice", json!({}), &reasons(&[(id, "accept", "one"), (id, "accept", "two")]));
    add("kept and rejected", json!({}), &reasons(&[(id, "accept", "one"), (id, "reject", "two")]));
    add("no results", json!({}), &reasons(&[]));
    let many: Vec<_> =
        ids.iter().flat_map(|id| [(id.as_str(), "accept", "a"), (id.as_str(), "quota", "b; c")]).collect();
    add("many results", json!({}), &reasons(&many));

    for cap in [0, 1, 2, 3, 4, 5, 255, 256, 257] {
        for text in ["aé日🦀", "🦀", "plain text"] {
            let config = json!({ "wireBounds": { "reasonBytes": cap } });
            add(
                &format!("reason {text} cut to {cap}"),
                config,
                &reasons(&[(id, "reject", text), (id, "accept", text)]),
            );
        }
    }
    for length in [255, 256, 257, 400] {
        add(&format!("reason of {length} bytes"), json!({}), &reasons(&[(id, "reject", &"r".repeat(length))]));
        add(
            &format!("reason around {length} bytes"),
            json!({}),
            &reasons(&[(id, "reject", &"日".repeat(length / 3 + 1))]),
        );
    }

    let whole = reasons(&[(id, "accept", "bounded")]);
    for bound in [0, 1, whole.len() - 1, whole.len(), whole.len() + 1] {
        let config = json!({ "wireBounds": { "outputBodyBytes": bound } });
        add(&format!("{} bytes against a bound of {bound}", whole.len()), config, &whole);
    }
    add("four bytes before the archive", json!({}), &[&[0xaa; 4], &whole[..]].concat());
    add("sixteen bytes before the archive", json!({}), &[&[0xaa; 16], &whole[..]].concat());
    add("one byte before the archive", json!({}), &[&[0], &whole[..]].concat());
    add("one byte after the archive", json!({}), &[&whole[..], &[0]].concat());
    add("four bytes after the archive", json!({}), &[&whole[..], &[0; 4]].concat());
    add("last byte missing", json!({}), &whole[..whole.len() - 1]);
    for position in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[position] ^= 0x80;
        add(&format!("byte {position} flipped"), json!({}), &flipped);
    }
    cases
}

fn shaped(url: &str, method: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Vec<u8> {
    let header = |&(name, value): &(&str, &[u8])| Header { name: name.into(), value: value.into() };
    let headers = headers.iter().map(header).collect();
    let response = ShapeResponse { url: url.into(), method: method.into(), headers, body: body.into() };
    rkyv::to_bytes::<Error>(&response).expect("archive").to_vec()
}

const URL: &str = "https://api.anthropic.com/v1/messages";

const URLS: [&str; 66] = [
    "https://api.anthropic.com",
    "https://api.anthropic.com:443/x",
    "https://api.anthropic.com:444/x",
    "http://api.anthropic.com/",
    "HTTPS://API.ANTHROPIC.COM/",
    "https://api.anthropic.com./",
    "https://user@api.anthropic.com/",
    "https://user:pw@api.anthropic.com/",
    "https://api.anthropic.com@evil.example/",
    "https://api.anthropic.com\\@evil.example/",
    "https:/api.anthropic.com/",
    "https:api.anthropic.com",
    "https:///api.anthropic.com/",
    "https:\\\\api.anthropic.com\\v1",
    " https://api.anthropic.com/ ",
    "\thttps://api.anthropic.com/\n",
    "https://api.anthropic.com/a b",
    "https://api.anthropic.com/a\tb\nc",
    "https://api.anthropic.com/\u{0}",
    "https://api.anthropic.com/é?é#é",
    "https://api.anthropic.com/%zz%",
    "https://api.anthropic.com/a/../../b/./c",
    "https://api.anthropic.com/%2e%2E/x",
    "https://api.anthropic.com?q",
    "https://api.anthropic.com#f",
    "https://api.anthropic.com/?a='b'\"c\"<d>`e`{f}|g|",
    "https://api.anthropic.com/'\"<>`{}|^[]",
    "",
    "/v1/messages",
    "v1/messages",
    "//api.anthropic.com/",
    "https://",
    "https://?",
    "https://:443/",
    "https://a b/",
    "https://a%20b/",
    "https://ex%61mple.com/",
    "https://exa_mple.com/",
    "https://xn--/",
    "https://bücher.example/",
    "https://日本.example/",
    "https://ＡＰＩ.anthropic.com/",
    "https://faß.example/",
    "https://1.2.3.4/",
    "https://1.2.3/",
    "https://0x7f.1/",
    "https://256.256.256.256/",
    "https://1.2.3.4.5/",
    "https://[::1]/",
    "https://[::ffff:1.2.3.4]/",
    "https://[::1/",
    "https://[1:2:3]/",
    "https://host:0/",
    "https://host:65535/",
    "https://host:65536/",
    "https://host:x/",
    "file:///etc/passwd",
    "file://host/x",
    "data:text/plain,x",
    "mailto:a@b",
    "javascript:alert(1)",
    "blob:https://api.anthropic.com/id",
    "wss://api.anthropic.com/",
    "ftp://api.anthropic.com/",
    "custom://host/a/../b",
    "null",
];

const METHOD_WORDS: [&str; 20] = [
    "GET",
    "get",
    "Post",
    "PURGE",
    "M-SEARCH",
    "!#$%&'*+-.^_`|~09az",
    "",
    " ",
    "GET ",
    "G T",
    "GE\tT",
    "GET\r\n",
    "GÉT",
    "GET/1",
    "GET,POST",
    "(GET)",
    "\"GET\"",
    "{}",
    "CONNECT",
    "🦀",
];

const NAMES: [&str; 37] = [
    "x-a",
    "X-Mixed-Case",
    "!#$%&'*+-.^_`|~09az",
    "",
    " ",
    "x a",
    "x:a",
    "x-é",
    "x\u{0}",
    "x\n",
    "(x)",
    "x,y",
    "x/y",
    "\"x\"",
    "x@y",
    "x[",
    "x{",
    "🦀",
    "connection",
    "Connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "TE",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "host",
    "content-length",
    "authorization",
    "x-api-key",
    "X-Anthropic-Anything",
    "x-anthropic",
    "proxy-connection",
    "\u{212a}eep-alive",
];

pub fn shape(rng: &mut Rng) -> Vec<Value> {
    let mut cases = Vec::new();
    let mut add = |name: String, config: Value, answer: &[u8]| cases.push(case("shape", name, config, answer));
    let selected = || json!({ "shapeOriginPolicy": "selected-upstream-origin" });

    for url in URLS {
        add(format!("url {url:?}"), json!({}), &shaped(url, "POST", &[], b""));
        add(format!("url {url:?} under selected-upstream-origin"), selected(), &shaped(url, "POST", &[], b""));
    }
    for method in METHOD_WORDS {
        add(format!("method {method:?}"), json!({}), &shaped(URL, method, &[], b"b"));
    }
    for name in NAMES {
        add(format!("header name {name:?}"), json!({}), &shaped(URL, "POST", &[(name, b"v"), ("x-after", b"w")], b""));
    }
    for byte in (0..=255).step_by(3).chain([9, 10, 13, 31, 32, 127, 128, 255]) {
        add(
            format!("header value with byte {byte}"),
            json!({}),
            &shaped(URL, "POST", &[("x-v", &[b'a', byte, b'b'])], b""),
        );
    }
    let order: [(&str, &[u8]); 6] = [("b", b"1"), ("a", b"2"), ("B", b"3"), ("host", b"no"), ("c", b""), ("A", b" 5 ")];
    add("headers repeat".to_owned(), json!({}), &shaped(URL, "POST", &order, b""));

    let long_name = "n".repeat(65_535);
    add("header name of 65535 bytes".to_owned(), json!({}), &shaped(URL, "POST", &[(&long_name, b"v")], b""));
    add(
        "header name of 65536 bytes".to_owned(),
        json!({}),
        &shaped(URL, "POST", &[(&format!("{long_name}n"), b"v")], b""),
    );
    for length in [8191, 8192, 8193] {
        let value = vec![b'v'; length];
        add(format!("header value of {length} bytes"), json!({}), &shaped(URL, "POST", &[("x-v", &value)], b""));
        add(
            format!("dropped header value of {length} bytes"),
            json!({}),
            &shaped(URL, "POST", &[("host", &value)], b""),
        );
    }
    let bounds = json!({ "wireBounds": { "maxHeaders": 2, "maxHeaderValueBytes": 3 } });
    for count in [1, 2, 3] {
        let kept: Vec<(&str, &[u8])> = vec![("x-v", b"v"); count];
        let dropped: Vec<(&str, &[u8])> = vec![("host", b"v"); count];
        add(format!("{count} headers of 2"), bounds.clone(), &shaped(URL, "POST", &kept, b""));
        add(format!("{count} dropped headers of 2"), bounds.clone(), &shaped(URL, "POST", &dropped, b""));
    }
    for value in ["", "abc", "abcd"] {
        add(
            format!("header value {value:?} of 3"),
            bounds.clone(),
            &shaped(URL, "POST", &[("x-v", value.as_bytes())], b""),
        );
    }
    for count in [100, 101] {
        let many: Vec<(&str, &[u8])> = vec![("x", b""); count];
        add(format!("{count} headers of 100"), json!({}), &shaped(URL, "POST", &many, b""));
    }

    // Determines which of two problems is reported.
    let faults: [(&str, &str, &str, &str, &[u8]); 6] = [
        ("url before method", "nonsense", "B D", "x-a", b"v"),
        ("url before header", "nonsense", "POST", "x a", b"v"),
        ("origin before method", "https://evil.example/", "B D", "x-a", b"v"),
        ("method before header", URL, "B D", "x a", b"v"),
        ("value length before name", URL, "POST", "x a", &[b'v'; 8193]),
        ("name before value", URL, "POST", "x a", b"\n"),
    ];
    for (name, url, method, header, value) in faults {
        add(name.to_owned(), selected(), &shaped(url, method, &[(header, value)], b""));
    }
    let three: Vec<(&str, &[u8])> = vec![("x", b"v"); 3];
    add("header count before url".to_owned(), bounds, &shaped("nonsense", "POST", &three, b""));

    let whole = shaped(URL, "POST", &[("x-a", b"v")], &rng.bytes(40));
    for bound in [whole.len() - 1, whole.len()] {
        let config = json!({ "wireBounds": { "outputBodyBytes": bound } });
        add(format!("{} bytes against a bound of {bound}", whole.len()), config, &whole);
    }
    add("four bytes before the archive".to_owned(), json!({}), &[&[0xaa; 4], &whole[..]].concat());
    add("one byte after the archive".to_owned(), json!({}), &[&whole[..], &[0]].concat());
    for position in (0..whole.len()).step_by(2) {
        let mut flipped = whole.clone();
        flipped[position] ^= 1 << (position % 8);
        add(format!("byte {position} changed"), json!({}), &flipped);
    }
    cases
}
