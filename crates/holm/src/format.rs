//! How results are written: templates, tables, sizes and times. Owns no result: commands hand it JSON values.

pub mod container;
pub mod image;
pub mod inspect;
pub mod list;
pub mod network;
pub mod path;
pub mod port;
pub mod quantity;
pub mod table;
pub mod template;
pub mod time;
pub mod vm;

use serde::Serialize;

use crate::error::Failure;

/// Anything as YAML, with the names that it has as JSON.
pub fn yaml(value: &(impl Serialize + ?Sized)) -> Result<String, Failure> {
    let text = serde_saphyr::to_string(&value).map_err(|e| Failure::because("cannot write YAML", &e))?;
    Ok(if text.ends_with('\n') { text } else { text + "\n" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_that_look_like_something_else_are_quoted() {
        for text in
            ["true", "No", "null", "~", "1e3", "0x10", "2026-01-31", "", " a", "a: b", "- a", "#", "&a", "\u{1b}[2J"]
        {
            let line = yaml(&serde_json::json!({ "k": text })).expect("yaml");
            let value = line.trim_end().strip_prefix("k: ").unwrap_or_default();
            assert!(value.starts_with(['"', '\'']) && !value.contains('\u{1b}'), "{text:?}: {line:?}");
        }
    }
}
