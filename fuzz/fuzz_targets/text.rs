//! Texts that people and directories give: call ids, names of actors, names of files, levels of
//! durability. What is accepted is read back from what is written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persistent_actor::store::{fuzzing, is_state_file};
use persistent_actor::{CallId, Durability, Integer, escape_name, unescape_name};

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<CallId>() {
        assert_eq!(id.to_string(), text, "one call has one name");
    }
    if let Ok(durability) = text.parse::<Durability>() {
        assert_eq!(durability.to_string().parse::<Durability>().ok(), Some(durability));
    }
    if let Ok(integer) = text.parse::<Integer>() {
        assert_eq!(integer.to_string().parse::<Integer>().ok(), Some(integer));
    }
    let written = fuzzing::file_name(text);
    assert_eq!(written.is_some(), is_state_file(text));
    assert!(written.is_none_or(|written| written == text), "one file has one name");
    if let Some(name) = unescape_name(text) {
        assert_eq!(escape_name(&name).as_deref(), Ok(text), "one actor has one directory");
    }
    if let Ok(escaped) = escape_name(text) {
        assert!(!escaped.is_empty() && !escaped.contains(['/', '.', '\0']));
        assert_eq!(unescape_name(&escaped).as_deref(), Some(text));
    }
});
