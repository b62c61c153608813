//! How results are written: templates, tables, sizes and times. Owns no result: commands hand it JSON values.

pub mod container;
pub mod image;
pub mod inspect;
pub mod list;
pub mod quantity;
pub mod table;
pub mod template;
pub mod time;
