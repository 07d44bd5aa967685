//! Edge cases of the metadata section and of the schema sections.

use super::{Case, HOOKS, Module, append_section, metadata_of, schema_of};
use cc_lb_runtime_wasmtime::HookKind;

const PLAIN: &str = r#"{"name":"n","version":"1","description":"d","usage":"u","hooks":{"filter":{"wire_version":1,"description":"d","usage":"u"}}}"#;

/// A text of the valid metadata, and its replacement.
const EDITS: [(&str, &str); 91] = [
    ("{\"name\"", " \t\r\n{\"name\""),
    ("}}}", "}}} \n"),
    ("}}}", "}}}x"),
    ("}}}", "}}"),
    ("{\"name\"", "\u{feff}{\"name\""),
    ("{\"name\"", "\u{85}{\"name\""),
    ("{\"name\"", "\u{c}{\"name\""),
    ("}}}", "}}}\0"),
    ("\"name\":\"n\",", ""),
    ("\"version\":\"1\",", ""),
    (",\"description\":\"d\",\"usage\":\"u\",\"hooks\"", ",\"usage\":\"u\",\"hooks\""),
    ("\"usage\":\"u\",\"hooks\"", "\"hooks\""),
    (":\"n\"", ":\"\""),
    (":\"n\"", ":\" \""),
    (":\"n\"", ":\"\\t\\n\""),
    (":\"n\"", ":\"\u{85}\""),
    (":\"n\"", ":\"\\u0085\""),
    (":\"n\"", ":\"\u{feff}\""),
    (":\"n\"", ":\"\u{a0}\""),
    (":\"n\"", ":\"\u{200b}\""),
    (":\"n\"", ":\"\u{2028}\""),
    (":\"n\"", ":\"\u{3000}\""),
    (":\"n\"", ":\"\u{180e}\""),
    (":\"n\"", ":\"\u{1c}\""),
    (":\"n\"", ":\"\\u001c\""),
    (":\"n\"", ":\"\\u0000\""),
    (":\"n\"", ":\" n \""),
    (":\"n\"", ":1"),
    (":\"n\"", ":null"),
    (":\"n\"", ":[\"n\"]"),
    (":\"n\"", ":\"\\ud800\""),
    (":\"n\"", ":\"\\ud83e\\udd80\""),
    (":\"n\"", ":\"\\udd80\\ud83e\""),
    (":\"n\"", ":\"\\x\""),
    (":\"n\"", ":\"\\/\""),
    (":\"n\"", ":\"a\nb\""),
    (":\"n\"", ":\"\u{7f}\""),
    (":\"n\"", ":'n'"),
    (":\"n\",", ":\"n\",,"),
    (":\"n\",", ":\"n\",\"name\":\"n\","),
    (":\"n\",", ":\"n\",\"more\":1,\"more\":2,"),
    (":\"n\",", ":\"n\",\"more\":\"\\ud800\","),
    (":\"n\",", ":\"n\",\"more\":1e999,"),
    (":\"n\",", ":\"n\",\"more\":-0,"),
    (":\"n\",", ":\"n\",\"more\":01,"),
    (":\"n\",", ":\"n\",\"more\":.5,"),
    (":\"n\",", ":\"n\",\"more\":1.,"),
    (":\"n\",", ":\"n\",\"more\":NaN,"),
    (":\"n\",", ":\"n\",\"more\":{\"a\":[1,{}]},"),
    (":\"n\",", ":\"n\",\"\\u006eame\":\"m\","),
    ("\"name\"", "\"\\u006eame\""),
    ("\"name\"", "\"Name\""),
    (":\"n\",", ":\"n\",/* */"),
    (":\"1\"", ":\" \""),
    ("\"description\":\"d\",\"usage\":\"u\",\"hooks\"", "\"description\":\" \",\"usage\":\"u\",\"hooks\""),
    ("\"usage\":\"u\",\"hooks\"", "\"usage\":\"\",\"hooks\""),
    (",\"description\":\"d\",\"usage\":\"u\"}}}", ",\"description\":\" \",\"usage\":\"u\"}}}"),
    (",\"usage\":\"u\"}}}", ",\"usage\":\"\u{85}\"}}}"),
    (",\"usage\":\"u\"}}}", ",\"usage\":\"\u{feff}\"}}}"),
    (",\"usage\":\"u\"}}}", "}}}"),
    ("\"wire_version\":1,", ""),
    ("\"wire_version\":1", "\"wire_version\":1.0"),
    ("\"wire_version\":1", "\"wire_version\":1e0"),
    ("\"wire_version\":1", "\"wire_version\":256"),
    ("\"wire_version\":1", "\"wire_version\":257"),
    ("\"wire_version\":1", "\"wire_version\":255"),
    ("\"wire_version\":1", "\"wire_version\":0"),
    ("\"wire_version\":1", "\"wire_version\":-0"),
    ("\"wire_version\":1", "\"wire_version\":2"),
    ("\"wire_version\":1", "\"wire_version\":-1"),
    ("\"wire_version\":1", "\"wire_version\":01"),
    ("\"wire_version\":1", "\"wire_version\":\"1\""),
    ("\"wire_version\":1", "\"wire_version\":true"),
    ("\"wire_version\":1", "\"wire_version\":null"),
    ("\"wire_version\":1", "\"wire_version\":1,\"wire_version\":1"),
    ("\"wire_version\":1", "\"wire_version\":1,\"mode\":\"active\""),
    ("\"wire_version\":1", "\"wire_version\":1,\"mode\":\"noop\""),
    ("\"wire_version\":1", "\"wire_version\":1,\"mode\":\"\""),
    ("\"wire_version\":1", "\"wire_version\":1,\"mode\":7"),
    ("\"wire_version\":1", "\"wire_version\":1,\"wireVersion\":9"),
    ("\"hooks\":{", "\"hooks\":{\"filter\":{\"wire_version\":9,\"description\":\"d\",\"usage\":\"u\"},"),
    ("\"hooks\":{", "\"hooks\":{\"filter\":{\"wire_version\":9,\"description\":\" \",\"usage\":\"u\"},"),
    ("\"hooks\":{", "\"hooks\":{\"filter\":7,"),
    ("}}}", "},\"filter\":{\"wire_version\":9,\"description\":\"d\",\"usage\":\"u\"}}}"),
    ("}}}", "},\"route\":{\"wire_version\":1,\"description\":\"d\",\"usage\":\"u\"}}}"),
    ("}}}", "},\"Filter\":{\"wire_version\":1,\"description\":\"d\",\"usage\":\"u\"}}}"),
    ("}}}", "},\"shape\":{\"wire_version\":1,\"description\":\"d\",\"usage\":\"u\"}}}"),
    ("}}}", "}},\"hooks\":{}}"),
    ("\"filter\":{", "\"\\u0066ilter\":{"),
    ("}}}", "}},\"hooks2\":{}}"),
    (",\"hooks\":{\"filter\":{\"wire_version\":1,\"description\":\"d\",\"usage\":\"u\"}}", ",\"hooks\":{}"),
];

const WHOLE: [&str; 14] = [
    "",
    " ",
    "null",
    "{}",
    "[]",
    "\"text\"",
    "7",
    "{",
    "[\"n\",\"1\",\"d\",\"u\",{\"filter\":{\"wire_version\":1,\"description\":\"d\",\"usage\":\"u\"}}]",
    "[\"n\",\"1\",\"d\",\"u\",{\"filter\":[1,\"d\",\"u\"]}]",
    "[\"n\",\"1\",\"d\",\"u\"]",
    "[\"n\",\"1\",\"d\",\"u\",{\"filter\":[1,\"d\",\"u\"]},1]",
    "{\"name\":\"n\",\"version\":\"1\",\"description\":\"d\",\"usage\":\"u\"}",
    "{\"name\":\"n\",\"version\":\"1\",\"description\":\"d\",\"usage\":\"u\",\"hooks\":null}",
];

pub fn cases() -> Vec<Case> {
    let filter = HookKind::Filter;
    let mut cases = Vec::new();
    let with = |metadata: &[u8]| {
        let mut module = Module::of(filter);
        module.sections[0].1 = metadata.to_vec();
        module.bytes()
    };
    for (from, to) in EDITS {
        assert!(PLAIN.contains(from), "{from}");
        cases.push(Case::new(
            format!("metadata {from:?} as {to:?}"),
            filter,
            with(PLAIN.replacen(from, to, 1).as_bytes()),
        ));
    }
    for text in WHOLE {
        cases.push(Case::new(format!("metadata {text:?}"), filter, with(text.as_bytes())));
    }
    for depth in [126, 127, 128, 129, 10_000] {
        let nested = format!(":\"n\",\"more\":{}{},", "[".repeat(depth), "]".repeat(depth));
        cases.push(Case::new(
            format!("metadata nested {depth} deep"),
            filter,
            with(PLAIN.replacen(":\"n\",", &nested, 1).as_bytes()),
        ));
    }
    for invalid in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe6\x97"] {
        let at = PLAIN.find("\"n\"").expect("name") + 1;
        let name = [&PLAIN.as_bytes()[..at], invalid, &PLAIN.as_bytes()[at..]].concat();
        cases.push(Case::new(format!("metadata name with bytes {invalid:02x?}"), filter, with(&name)));
        let unknown = PLAIN.replacen(":\"n\",", ":\"n\",\"more\":\"@\",", 1);
        let (before, after) = unknown.split_once('@').expect("mark");
        let ignored = [before.as_bytes(), invalid, after.as_bytes()].concat();
        cases.push(Case::new(format!("metadata ignored text with bytes {invalid:02x?}"), filter, with(&ignored)));
    }
    cases.extend(sections());
    cases.extend(kinds());
    cases
}

/// Cases of the presence, number and order of sections.
fn sections() -> Vec<Case> {
    let hook = HookKind::Filter;
    let bare = Module { sections: Vec::new(), ..Module::of(hook) };
    let (metadata, schema) = (metadata_of(&[hook]), schema_of(hook));
    let other = (schema.0.clone(), schema_of(HookKind::Shape).1);
    let named = |name: &str, data: &[u8]| (name.to_owned(), data.to_vec());
    let broken = named("cc_lb.plugin.v1", b"{");
    let variants = [
        ("none", vec![]),
        ("schema before metadata", vec![schema.clone(), metadata.clone()]),
        ("metadata alone", vec![metadata.clone()]),
        ("schema alone", vec![schema.clone()]),
        ("metadata twice, last is broken", vec![metadata.clone(), broken.clone(), schema.clone()]),
        ("metadata twice, last is whole", vec![broken, metadata.clone(), schema.clone()]),
        ("schema of another hook", vec![metadata.clone(), other.clone()]),
        ("schema twice, last is right", vec![metadata.clone(), other.clone(), schema.clone()]),
        ("schema twice, last is wrong", vec![metadata.clone(), schema.clone(), other]),
        ("schema of zeros", vec![metadata.clone(), named("cc_lb.schema.filter.v1", &[0; 32])]),
        ("schema of 31 bytes", vec![metadata.clone(), named("cc_lb.schema.filter.v1", &[0; 31])]),
        ("schema of 33 bytes", vec![metadata.clone(), named("cc_lb.schema.filter.v1", &[0; 33])]),
        ("schema of no bytes", vec![metadata.clone(), named("cc_lb.schema.filter.v1", &[])]),
        (
            "short schema of an undeclared hook",
            vec![metadata.clone(), schema.clone(), named("cc_lb.schema.observe.v1", &[0; 8])],
        ),
        (
            "long schema of an undeclared hook",
            vec![metadata.clone(), schema.clone(), named("cc_lb.schema.observe.v1", &[0; 32])],
        ),
        ("short schema of no hook", vec![metadata.clone(), schema.clone(), named("cc_lb.schema.", b"x")]),
        ("short schema before broken metadata", vec![named("cc_lb.schema.x", b"x"), named("cc_lb.plugin.v1", b"{")]),
        ("schema version 2", vec![metadata.clone(), named("cc_lb.schema.filter.v2", &schema.1)]),
        ("name in upper case", vec![named("CC_LB.PLUGIN.V1", &metadata.1), schema.clone()]),
        ("metadata version 2", vec![named("cc_lb.plugin.v2", &metadata.1), schema.clone()]),
        (
            "others around",
            vec![
                named("", b"x"),
                metadata.clone(),
                named("name", b"\xff"),
                schema.clone(),
                named("cc_lb.schemax", b"x"),
            ],
        ),
    ];
    let mut cases: Vec<Case> = variants
        .into_iter()
        .map(|(name, sections)| {
            Case::new(format!("sections: {name}"), hook, Module { sections, ..bare.clone() }.bytes())
        })
        .collect();

    let mut first = b"\0asm\x01\0\0\0".to_vec();
    for (name, data) in [&metadata, &schema] {
        append_section(&mut first, name.as_bytes(), data);
    }
    first.extend(&bare.bytes()[8..]);
    cases.push(Case::new("sections: before the code", hook, first));
    let mut invalid = Module::of(hook).bytes();
    append_section(&mut invalid, b"\xff", b"x");
    cases.push(Case::new("sections: a name that is not UTF-8", hook, invalid));
    // An import section with a count of zero, before all other sections.
    let mut no_imports = b"\0asm\x01\0\0\0\x02\x01\x00".to_vec();
    no_imports.extend(&Module::with_text(hook, "(module)").bytes()[8..]);
    cases.push(Case::new("sections: an empty import section and nothing else", hook, no_imports));
    cases
}

/// Cases of declared hooks and the requested kind.
fn kinds() -> Vec<Case> {
    let mut cases = Vec::new();
    for declared in HOOKS {
        for kind in HOOKS {
            cases.push(Case::new(format!("a {declared} plugin as {kind}"), kind, Module::of(declared).bytes()));
        }
        let mut undeclared = Module::of(declared);
        undeclared.sections[0] = metadata_of(&HOOKS);
        cases.push(Case::new(format!("only {declared} exported, all declared"), declared, undeclared.bytes()));
        undeclared.sections.extend(HOOKS.map(schema_of));
        cases.push(Case::new(
            format!("only {declared} exported, all declared with schema"),
            declared,
            undeclared.bytes(),
        ));
    }
    cases
}
