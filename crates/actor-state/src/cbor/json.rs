//! CBOR as JSON, nothing left out.
//!
//! | CBOR | JSON |
//! | --- | --- |
//! | integer, of any size | number, all digits |
//! | text, boolean, null | the same |
//! | float | number; `{"$float": "NaN"}`, `"Infinity"`, `"-Infinity"` |
//! | byte string | `{"$bytes": "base64"}` |
//! | array | array |
//! | map whose keys are texts, none beginning with `$`, none twice | object |
//! | any other map | `{"$map": [[key, value], …]}` |
//! | tag | `{"$tag": number, "$value": …}` |
//! | other simple value | `{"$simple": number}`; `undefined` is 23 |

use std::collections::HashSet;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Item, bignum};

/// The value as JSON text, without line breaks.
pub(crate) fn to_json(item: &Item<'_>) -> String {
    let mut out = String::new();
    put(&mut out, item);
    out
}

fn put(out: &mut String, item: &Item<'_>) {
    match item {
        Item::Integer(number) => put_display(out, number),
        Item::Text(text) => put_text(out, text),
        Item::Bytes(bytes) => {
            *out += r#"{"$bytes":""#;
            STANDARD.encode_string(bytes, out);
            *out += r#""}"#;
        }
        Item::Array(items) => put_list(out, items, put),
        Item::Map(entries) => put_map(out, entries),
        Item::Tag(tag, content) => match bignum(*tag, content) {
            Some(number) => put_display(out, number),
            None => {
                put_display(out, format_args!(r#"{{"$tag":{tag},"$value":"#));
                put(out, content);
                out.push('}');
            }
        },
        Item::Float(number) if number.is_nan() => *out += r#"{"$float":"NaN"}"#,
        Item::Float(number) if number.is_infinite() => {
            let sign = if *number < 0.0 { "-" } else { "" };
            put_display(out, format_args!(r#"{{"$float":"{sign}Infinity"}}"#));
        }
        // Rust's shortest exact form is valid JSON.
        Item::Float(number) => put_display(out, format_args!("{number:?}")),
        Item::Simple(20) => *out += "false",
        Item::Simple(21) => *out += "true",
        Item::Simple(22) => *out += "null",
        Item::Simple(number) => put_display(out, format_args!(r#"{{"$simple":{number}}}"#)),
    }
}

fn put_display(out: &mut String, value: impl std::fmt::Display) {
    // Writing to a string does not fail.
    let _ = write!(out, "{value}");
}

fn put_text(out: &mut String, text: &str) {
    *out += &serde_json::Value::from(text).to_string();
}

fn put_list<T>(out: &mut String, items: &[T], put_item: impl Fn(&mut String, &T)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        *out += if index == 0 { "" } else { "," };
        put_item(out, item);
    }
    out.push(']');
}

fn put_map(out: &mut String, entries: &[(Item<'_>, Item<'_>)]) {
    let mut seen = HashSet::new();
    let plain = entries.iter().all(|(key, _)| match key {
        Item::Text(key) => !key.starts_with('$') && seen.insert(key),
        _ => false,
    });
    if !plain {
        *out += r#"{"$map":"#;
        put_list(out, entries, |out, (key, value)| {
            out.push('[');
            put(out, key);
            out.push(',');
            put(out, value);
            out.push(']');
        });
        out.push('}');
        return;
    }
    out.push('{');
    for (index, (key, value)) in entries.iter().enumerate() {
        *out += if index == 0 { "" } else { "," };
        put(out, key);
        out.push(':');
        put(out, value);
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use persistent_actor::{Bytes, Integer, codec};

    use super::super::{parse, parse_plain};
    use super::*;

    fn json<T: serde::Serialize>(value: &T) -> String {
        let value = codec::encode(value).unwrap();
        to_json(&parse(&value).unwrap())
    }

    #[test]
    fn nothing_is_lost_in_json() {
        let bignum: Integer = "-340282366920938463463374607431768211456".parse().unwrap();
        assert_eq!(json(&bignum), "-340282366920938463463374607431768211456");
        assert_eq!(json(&(1u8, "a\"\n", 0.5, None::<u8>)), r#"[1,"a\"\n",0.5,null]"#);
        assert_eq!(json(&Bytes::from(vec![1, 2, 3])), r#"{"$bytes":"AQID"}"#);
        assert_eq!(json(&f64::NEG_INFINITY), r#"{"$float":"-Infinity"}"#);
        assert_eq!(json(&1e300), "1e300");
        assert_eq!(json(&BTreeMap::from([("a", 1), ("b", 2)])), r#"{"a":1,"b":2}"#);
        assert_eq!(json(&BTreeMap::from([(1, 2)])), r#"{"$map":[[1,2]]}"#);
        assert_eq!(
            to_json(&parse_plain(&[0xc1, 0xf7]).unwrap()),
            r#"{"$tag":1,"$value":{"$simple":23}}"#
        );
    }

    #[test]
    fn a_map_that_looks_like_our_notation_cannot_be_taken_for_it() {
        assert_eq!(json(&BTreeMap::from([("$bytes", 1)])), r#"{"$map":[["$bytes",1]]}"#);
        let twice = [0xa2, 0x61, b'a', 1, 0x61, b'a', 2];
        assert_eq!(to_json(&parse_plain(&twice).unwrap()), r#"{"$map":[["a",1],["a",2]]}"#);
    }

    #[test]
    fn the_output_is_json() {
        let value = (Bytes::from(vec![7; 100]), BTreeMap::from([(1, f64::NAN)]), "\u{7f}\u{0}");
        let parsed: serde_json::Value = serde_json::from_str(&json(&value)).unwrap();
        assert_eq!(parsed[2], "\u{7f}\u{0}");
    }
}
