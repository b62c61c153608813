//! Go's `text/template` as docker's users know it, over JSON values: fields, pipes, `range`, `if`, `with`, variables and
//! docker's functions.
//!
//! Owns the language. What the fields are, whoever makes the value says. Templates come from the command line, so they are
//! bounded: [`OUTPUT_MAX_BYTES`], [`DEPTH_MAX`].
//!
//! ```text
//! action   := "{{" ["-"] statement ["-"] "}}"
//! pipeline := command { "|" command }          command := operand { operand }
//! operand  := .Field.Field | $variable.Field | "text" | 1.5 | true | nil | ( pipeline ) | function
//! ```

mod evaluate;
mod function;
mod parse;
mod token;

use serde_json::Value;

/// Most bytes that one template may produce.
pub const OUTPUT_MAX_BYTES: usize = 64 << 20;
/// Deepest nesting of blocks and parentheses.
pub const DEPTH_MAX: usize = 64;

/// Why a template cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum TemplateError {
    /// It is not a template.
    Syntax {
        /// What is wrong.
        why: String,
        /// Byte at which it was noticed.
        at: usize,
    },
    /// It does not fit the value.
    Evaluation {
        /// The piece of template.
        piece: String,
        /// What is wrong.
        why: String,
        /// The fields that there are, where one was missing.
        known: Vec<String>,
    },
}

impl std::fmt::Display for TemplateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Syntax { why, at } => write!(f, "template: byte {}: {why}", at + 1),
            Self::Evaluation { piece, why, .. } => write!(f, "template: at <{piece}>: {why}"),
        }
    }
}

impl std::error::Error for TemplateError {}

impl TemplateError {
    /// The failure of `--format`.
    pub fn into_failure(self, template: &str) -> crate::error::Failure {
        let mut failure = crate::error::Failure::new(format!("cannot use `{template}` for --format"));
        failure.causes.push(self.to_string());
        match self {
            Self::Evaluation { known, .. } if !known.is_empty() => {
                failure.with_hint(format!("fields here are {}", known.join(", ")))
            }
            Self::Evaluation { .. } => failure,
            Self::Syntax { .. } => failure.with_hint("as in '{{.Id}}' or '{{json .}}'"),
        }
    }
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        parse::nodes(text).map(|nodes| Self { nodes })
    }

    /// Applies it to a value.
    pub fn render(&self, value: &Value) -> Result<String, TemplateError> {
        evaluate::render(&self.nodes, value)
    }

    /// The names of the first fields that it uses, in order: the columns of a `table` template.
    pub fn fields(&self) -> Vec<String> {
        let mut names = Vec::new();
        parse::visit_fields(&self.nodes, &mut |name| names.push(name.to_owned()));
        names
    }
}

#[cfg(test)]
mod tests;
