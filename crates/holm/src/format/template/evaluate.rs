//! From a tree and a value to text.

use serde_json::Value;

use super::function;
use super::parse::{Node, Operand, Pipeline};
use super::{OUTPUT_MAX_BYTES, TemplateError};

/// Maps that users fill: a missing key is nothing instead of a mistake. *Source*: the `map` fields of docker's API types.
const FREE_MAPS: &[&str] = &[
    "Labels",
    "Annotations",
    "Sysctls",
    "Options",
    "ExposedPorts",
    "Volumes",
    "Ports",
    "Networks",
    "Tmpfs",
    "DriverOpts",
    "Attributes",
    "LogOpts",
    "Config.LogConfig",
    "ExtraHosts",
];

/// Lists and maps that are `null` when empty, as Go prints them.
const NULL_LISTS: &[&str] = &[
    "Entrypoint",
    "Cmd",
    "Env",
    "Binds",
    "CapAdd",
    "CapDrop",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "SecurityOpt",
    "Devices",
    "DeviceCgroupRules",
    "Ulimits",
    "OnBuild",
    "ExecIDs",
    "VolumesFrom",
    "Shell",
    "RepoTags",
    "RepoDigests",
    "MaskedPaths",
    "ReadonlyPaths",
    "Mounts",
];

/// Fields that an object may lack: then they are nil. *Source*: the pointers with `omitempty` of docker's API types.
const OPTIONAL: &[&str] = &["Health", "Machine", "SizeRw", "SizeRootFs", "Annotations"];

/// A value and the name of the field that it came from.
#[derive(Clone, Debug)]
pub struct Item {
    /// The value.
    pub value: Value,
    /// The last field name.
    pub field: Option<String>,
}

impl From<Value> for Item {
    fn from(value: Value) -> Self {
        Self { value, field: None }
    }
}

enum Flow {
    On,
    Break,
    Continue,
}

struct Evaluator {
    out: String,
    variables: Vec<(String, Item)>,
}

/// Renders nodes with `value` as the dot.
pub fn render(nodes: &[Node], value: &Value) -> Result<String, TemplateError> {
    let root: Item = value.clone().into();
    let mut evaluator = Evaluator { out: String::new(), variables: vec![(String::new(), root.clone())] };
    evaluator.nodes(nodes, &root)?;
    Ok(evaluator.out)
}

fn error<T>(pipeline: &Pipeline, why: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError::Evaluation { piece: pipeline.source.clone(), why: why.into(), known: Vec::new() })
}

impl Evaluator {
    fn nodes(&mut self, nodes: &[Node], dot: &Item) -> Result<Flow, TemplateError> {
        for node in nodes {
            match self.node(node, dot)? {
                Flow::On => {}
                other => return Ok(other),
            }
        }
        Ok(Flow::On)
    }

    fn node(&mut self, node: &Node, dot: &Item) -> Result<Flow, TemplateError> {
        match node {
            Node::Text(text) => self.out.push_str(text),
            Node::Print(pipeline) => {
                let item = self.pipeline(pipeline, dot)?;
                self.out.push_str(&printed(&item));
                if self.out.len() > OUTPUT_MAX_BYTES {
                    return error(pipeline, format!("the output is larger than {OUTPUT_MAX_BYTES} bytes"));
                }
            }
            Node::Set { declare, name, pipeline } => {
                let item = self.pipeline(pipeline, dot)?;
                if *declare {
                    self.variables.push((name.clone(), item));
                } else {
                    match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                        Some((_, old)) => *old = item,
                        None => return error(pipeline, format!("undefined variable \"${name}\"")),
                    }
                }
            }
            Node::If { with, condition: (variable, pipeline), then, other } => {
                let scope = self.variables.len();
                let item = self.pipeline(pipeline, dot)?;
                if let Some(name) = variable {
                    self.variables.push((name.clone(), item.clone()));
                }
                let flow = match truth(&item.value) {
                    true => self.nodes(then, if *with { &item } else { dot })?,
                    false => self.nodes(other, dot)?,
                };
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::Range { variables, pipeline, body, other } => {
                return self.range(variables, pipeline, body, other, dot);
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::On)
    }

    fn range(
        &mut self,
        (key, value): &(Option<String>, Option<String>),
        pipeline: &Pipeline,
        body: &[Node],
        other: &[Node],
        dot: &Item,
    ) -> Result<Flow, TemplateError> {
        let item = self.pipeline(pipeline, dot)?;
        let pairs: Vec<(Value, Value)> = match item.value {
            Value::Array(list) => list.into_iter().enumerate().map(|(n, v)| (n.into(), v)).collect(),
            Value::Object(map) => {
                let mut pairs: Vec<(String, Value)> = map.into_iter().collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                pairs.into_iter().map(|(k, v)| (k.into(), v)).collect()
            }
            Value::Null => Vec::new(),
            Value::Number(n) if n.as_u64().is_some_and(|n| n <= 1_000_000) => {
                (0..n.as_u64().unwrap_or(0)).map(|n| (n.into(), n.into())).collect()
            }
            _ => return error(pipeline, "range can't iterate over this"),
        };
        if pairs.is_empty() {
            return self.nodes(other, dot);
        }
        for (k, v) in pairs {
            let scope = self.variables.len();
            for (name, value) in [(key, &k), (value, &v)] {
                if let Some(name) = name {
                    self.variables.push((name.clone(), value.clone().into()));
                }
            }
            let flow = self.nodes(body, &v.into())?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(Flow::On)
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Item) -> Result<Item, TemplateError> {
        let mut last: Option<Item> = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, last, pipeline, dot)?);
        }
        last.map_or_else(|| error(pipeline, "missing value"), Ok)
    }

    fn command(
        &self,
        command: &[Operand],
        piped: Option<Item>,
        pipeline: &Pipeline,
        dot: &Item,
    ) -> Result<Item, TemplateError> {
        let Some((first, rest)) = command.split_first() else { return error(pipeline, "missing command") };
        if let Operand::Function(name) = first {
            if matches!(name.as_str(), "and" | "or") {
                return self.short_circuit(name == "and", rest, piped, pipeline, dot);
            }
            let mut arguments = rest.iter().map(|o| self.operand(o, pipeline, dot)).collect::<Result<Vec<_>, _>>()?;
            arguments.extend(piped);
            let values: Vec<Value> = arguments.iter().map(|item| item.value.clone()).collect();
            return match function::call(name, &arguments, &values) {
                Ok(value) => Ok(value.into()),
                Err(why) => error(pipeline, format!("error calling {name}: {why}")),
            };
        }
        if rest.is_empty() && piped.is_none() {
            return self.operand(first, pipeline, dot);
        }
        // The one method with an argument that docker's lists have.
        if let (Operand::Field(chain), [argument], None) = (first, rest, &piped)
            && chain.len() == 1
            && chain[0] == "Label"
        {
            let key = self.operand(argument, pipeline, dot)?;
            return Ok(label(&dot.value, key.value.as_str().unwrap_or_default()).into());
        }
        error(pipeline, "can't give argument to non-function")
    }

    fn short_circuit(
        &self,
        and: bool,
        operands: &[Operand],
        piped: Option<Item>,
        pipeline: &Pipeline,
        dot: &Item,
    ) -> Result<Item, TemplateError> {
        let mut last = None;
        for operand in operands {
            let item = self.operand(operand, pipeline, dot)?;
            if truth(&item.value) != and {
                return Ok(item);
            }
            last = Some(item);
        }
        piped.or(last).map_or_else(|| error(pipeline, "wrong number of args"), Ok)
    }

    fn operand(&self, operand: &Operand, pipeline: &Pipeline, dot: &Item) -> Result<Item, TemplateError> {
        match operand {
            Operand::Field(chain) => walk(dot.clone(), chain, pipeline),
            Operand::Variable(name, chain) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, item)) => walk(item.clone(), chain, pipeline),
                None => error(pipeline, format!("undefined variable \"${name}\"")),
            },
            Operand::Function(name) => match function::call(name, &[], &[]) {
                Ok(value) => Ok(value.into()),
                Err(why) => error(pipeline, format!("error calling {name}: {why}")),
            },
            Operand::Constant(value) => Ok(value.clone().into()),
            Operand::Group(inner, chain) => walk(self.pipeline(inner, dot)?, chain, pipeline),
        }
    }
}

/// Follows a chain of fields.
fn walk(mut item: Item, chain: &[String], pipeline: &Pipeline) -> Result<Item, TemplateError> {
    for name in chain {
        let free = item.field.as_deref().is_some_and(|field| FREE_MAPS.contains(&field));
        let value = match item.value {
            Value::Object(mut map) => match map.remove(name) {
                Some(value) => value,
                None if free => Value::String("<no value>".to_owned()),
                None if OPTIONAL.contains(&name.as_str()) => Value::Null,
                None => {
                    let known: Vec<String> = map.keys().cloned().collect();
                    let why = format!("map has no entry for key \"{name}\"");
                    return Err(TemplateError::Evaluation { piece: pipeline.source.clone(), why, known });
                }
            },
            Value::Null => return error(pipeline, format!("nil pointer evaluating {name}")),
            other => return error(pipeline, format!("can't evaluate field {name} in {}", kind(&other))),
        };
        item = Item { value, field: Some(name.clone()) };
    }
    Ok(item)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nil",
        Value::Bool(_) => "type bool",
        Value::Number(_) => "type number",
        Value::String(_) => "type string",
        Value::Array(_) => "type list",
        Value::Object(_) => "type map",
    }
}

/// The label `key` of a row of a list, whose `Labels` is `a=b,c=d`, or a map.
fn label(row: &Value, key: &str) -> Value {
    let found = match row.get("Labels") {
        Some(Value::Object(map)) => map.get(key).and_then(Value::as_str),
        Some(Value::String(text)) => {
            text.split(',').find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key).map(|(_, value)| value))
        }
        _ => None,
    };
    found.unwrap_or_default().into()
}

/// Go's truth: not false, 0, nil or empty.
pub fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(truth) => *truth,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it.
pub fn printed(item: &Item) -> String {
    match &item.value {
        Value::Null if item.field.as_deref().is_some_and(|field| NULL_LISTS.contains(&field)) => "[]".to_owned(),
        Value::Null if item.field.as_deref().is_some_and(|field| FREE_MAPS.contains(&field)) => "map[]".to_owned(),
        Value::Null if item.field.is_some() => "<nil>".to_owned(),
        Value::Null => "<no value>".to_owned(),
        value => plain(value),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(plain).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<(&String, &Value)> = map.iter().collect();
            pairs.sort_by_key(|(key, _)| key.as_str());
            let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}:{}", plain(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}
