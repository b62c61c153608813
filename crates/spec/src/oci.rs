//! Documents of the Open Container Initiative as serde types: the image format and the runtime bundle.
//!
//! Owns their shape. Reading, verifying and acting on them is for `image` and `container`.

pub mod image;
pub mod runtime;
