//! From words to a tree.

use super::token::{Piece, Token, pieces};
use super::{DEPTH_MAX, TemplateError};

/// One node of a template.
#[derive(Debug)]
pub enum Node {
    /// Text.
    Text(String),
    /// `{{pipeline}}`
    Print(Pipeline),
    /// `{{$x := pipeline}}` and `{{$x = pipeline}}`
    Set {
        /// Whether the variable is new.
        declare: bool,
        /// Its name.
        name: String,
        /// Its value.
        pipeline: Pipeline,
    },
    /// `{{if}}` and `{{with}}`
    If {
        /// Whether the dot becomes the value.
        with: bool,
        /// The condition, and the variable that it sets.
        condition: (Option<String>, Pipeline),
        /// Where it holds.
        then: Vec<Node>,
        /// Where it does not.
        other: Vec<Node>,
    },
    /// `{{range}}`
    Range {
        /// Variables of key and value.
        variables: (Option<String>, Option<String>),
        /// What is gone through.
        pipeline: Pipeline,
        /// For each.
        body: Vec<Node>,
        /// Where there is nothing.
        other: Vec<Node>,
    },
    /// `{{break}}`
    Break,
    /// `{{continue}}`
    Continue,
}

/// Commands, each handing its result to the next.
#[derive(Debug)]
pub struct Pipeline {
    /// The commands.
    pub commands: Vec<Vec<Operand>>,
    /// Its source, for messages.
    pub source: String,
}

/// One operand of a command.
#[derive(Debug)]
pub enum Operand {
    /// A chain from the dot.
    Field(Vec<String>),
    /// A chain from a variable.
    Variable(String, Vec<String>),
    /// A function.
    Function(String),
    /// A constant.
    Constant(serde_json::Value),
    /// A pipeline in parentheses, and a chain behind it.
    Group(Pipeline, Vec<String>),
}

fn error<T>(why: impl Into<String>, at: usize) -> Result<T, TemplateError> {
    Err(TemplateError::Syntax { why: why.into(), at })
}

/// How a block ended.
enum End {
    Text,
    Keyword,
    Else(Vec<Token>, String, usize),
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
    loops: usize,
    length: usize,
}

/// Parses a whole template.
pub fn nodes(text: &str) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { pieces: pieces(text)?.into_iter(), depth: 0, loops: 0, length: text.len() };
    let mut nodes = Vec::new();
    match parser.block(&mut nodes)? {
        End::Text => Ok(nodes),
        End::Keyword => error("{{end}} without a block", text.len()),
        End::Else(_, _, at) => error("{{else}} without a block", at),
    }
}

impl Parser {
    fn block(&mut self, nodes: &mut Vec<Node>) -> Result<End, TemplateError> {
        while let Some(piece) = self.pieces.next() {
            let (tokens, at, source) = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Action { tokens, at, source } => (tokens, at, source),
            };
            let keyword = match tokens.first() {
                Some(Token::Word(word)) => word.clone(),
                Some(_) => String::new(),
                None => return error("an action is empty", at),
            };
            match keyword.as_str() {
                "end" => return Ok(End::Keyword),
                "else" => return Ok(End::Else(tokens[1..].to_vec(), source, at)),
                "if" | "with" => nodes.push(self.condition(keyword == "with", &tokens[1..], source, at)?),
                "range" => nodes.push(self.range(&tokens[1..], source, at)?),
                "break" | "continue" if self.loops == 0 => {
                    return error(format!("{{{{{keyword}}}}} outside a range"), at);
                }
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "define" | "template" | "block" => return error(format!("{keyword} is not supported"), at),
                _ => nodes.push(self.statement(&tokens, source, at)?),
            }
        }
        Ok(End::Text)
    }

    fn nested(&mut self, at: usize) -> Result<(Vec<Node>, End), TemplateError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return error(format!("blocks are nested deeper than {DEPTH_MAX}"), at);
        }
        let mut body = Vec::new();
        let end = self.block(&mut body)?;
        self.depth -= 1;
        match end {
            End::Text => error("a block is not closed by {{end}}", self.length),
            end => Ok((body, end)),
        }
    }

    fn statement(&mut self, tokens: &[Token], source: String, at: usize) -> Result<Node, TemplateError> {
        if let [Token::Variable(name, chain), Token::Mark(mark @ (":=" | "=")), rest @ ..] = tokens {
            if !chain.is_empty() || name.is_empty() {
                return error("only a variable can be set", at);
            }
            let pipeline = pipeline(rest, source, at)?;
            return Ok(Node::Set { declare: *mark == ":=", name: name.clone(), pipeline });
        }
        pipeline(tokens, source, at).map(Node::Print)
    }

    fn condition(&mut self, with: bool, tokens: &[Token], source: String, at: usize) -> Result<Node, TemplateError> {
        let (variable, rest) = match tokens {
            [Token::Variable(name, _), Token::Mark(":="), rest @ ..] => (Some(name.clone()), rest),
            _ => (None, tokens),
        };
        let condition = (variable, pipeline(rest, source, at)?);
        let (then, end) = self.nested(at)?;
        let other = match end {
            End::Else(tokens, source, at) => self.otherwise(&tokens, source, at)?,
            _ => Vec::new(),
        };
        Ok(Node::If { with, condition, then, other })
    }

    /// The part behind `{{else}}`, `{{else if …}}` included.
    fn otherwise(&mut self, tokens: &[Token], source: String, at: usize) -> Result<Vec<Node>, TemplateError> {
        match tokens {
            [] => match self.nested(at)? {
                (body, End::Keyword) => Ok(body),
                _ => error("a second {{else}} in one block", at),
            },
            [Token::Word(word), rest @ ..] if word == "if" || word == "with" => {
                self.depth += 1;
                if self.depth > DEPTH_MAX {
                    return error(format!("blocks are nested deeper than {DEPTH_MAX}"), at);
                }
                let node = self.condition(word == "with", rest, source, at);
                self.depth -= 1;
                Ok(vec![node?])
            }
            _ => error("only if may follow else", at),
        }
    }

    fn range(&mut self, tokens: &[Token], source: String, at: usize) -> Result<Node, TemplateError> {
        let (variables, rest) = match tokens {
            [Token::Variable(key, _), Token::Mark(","), Token::Variable(value, _), Token::Mark(":="), rest @ ..] => {
                ((Some(key.clone()), Some(value.clone())), rest)
            }
            [Token::Variable(value, _), Token::Mark(":="), rest @ ..] => ((None, Some(value.clone())), rest),
            _ => ((None, None), tokens),
        };
        let pipeline = pipeline(rest, source, at)?;
        self.loops += 1;
        let (body, end) = self.nested(at)?;
        self.loops -= 1;
        let other = match end {
            End::Else(tokens, source, at) => self.otherwise(&tokens, source, at)?,
            _ => Vec::new(),
        };
        Ok(Node::Range { variables, pipeline, body, other })
    }
}

fn pipeline(tokens: &[Token], source: String, at: usize) -> Result<Pipeline, TemplateError> {
    let mut rest = tokens;
    let pipeline = commands(&mut rest, source, at, 0)?;
    if rest.is_empty() { Ok(pipeline) } else { error("unexpected )", at) }
}

fn commands(tokens: &mut &[Token], source: String, at: usize, depth: usize) -> Result<Pipeline, TemplateError> {
    if depth > DEPTH_MAX {
        return error(format!("parentheses are nested deeper than {DEPTH_MAX}"), at);
    }
    let mut list = vec![Vec::new()];
    while let Some((token, rest)) = tokens.split_first() {
        if *token == Token::Mark(")") {
            break;
        }
        *tokens = rest;
        let operand = match token {
            Token::Mark("|") => {
                list.push(Vec::new());
                continue;
            }
            Token::Mark("(") => {
                let inner = commands(tokens, source.clone(), at, depth + 1)?;
                let Some((Token::Mark(")"), rest)) = tokens.split_first() else { return error("( is not closed", at) };
                *tokens = rest;
                match tokens.split_first() {
                    Some((Token::Chain(chain), rest)) => {
                        *tokens = rest;
                        Operand::Group(inner, chain.clone())
                    }
                    _ => Operand::Group(inner, Vec::new()),
                }
            }
            token => operand(token, at)?,
        };
        if let Some(command) = list.last_mut() {
            command.push(operand);
        }
    }
    if list.iter().any(Vec::is_empty) {
        return error("a command is missing", at);
    }
    Ok(Pipeline { commands: list, source })
}

fn operand(token: &Token, at: usize) -> Result<Operand, TemplateError> {
    Ok(match token {
        Token::Field(chain) => Operand::Field(chain.clone()),
        Token::Variable(name, chain) => Operand::Variable(name.clone(), chain.clone()),
        Token::Word(word) => match word.as_str() {
            "true" => Operand::Constant(true.into()),
            "false" => Operand::Constant(false.into()),
            "nil" => Operand::Constant(serde_json::Value::Null),
            name if super::function::exists(name) => Operand::Function(name.to_owned()),
            name => return error(format!("function \"{name}\" not defined"), at),
        },
        Token::Text(text) => Operand::Constant(text.clone().into()),
        Token::Integer(number) => Operand::Constant((*number).into()),
        Token::Float(number) => Operand::Constant((*number).into()),
        Token::Mark(mark) => return error(format!("unexpected {mark}"), at),
        Token::Chain(_) => return error("unexpected field", at),
    })
}

/// Calls `visit` with the first name of every chain that starts at the dot.
pub fn visit_fields(nodes: &[Node], visit: &mut dyn FnMut(&str)) {
    for node in nodes {
        match node {
            Node::Print(pipeline) | Node::Set { pipeline, .. } => visit_pipeline(pipeline, visit),
            Node::If { condition, then, other, .. } => {
                visit_pipeline(&condition.1, visit);
                visit_fields(then, visit);
                visit_fields(other, visit);
            }
            Node::Range { pipeline, body, other, .. } => {
                visit_pipeline(pipeline, visit);
                visit_fields(body, visit);
                visit_fields(other, visit);
            }
            Node::Text(_) | Node::Break | Node::Continue => {}
        }
    }
}

fn visit_pipeline(pipeline: &Pipeline, visit: &mut dyn FnMut(&str)) {
    for operand in pipeline.commands.iter().flatten() {
        match operand {
            Operand::Field(chain) => {
                if let Some(first) = chain.first() {
                    visit(first);
                }
            }
            Operand::Group(inner, _) => visit_pipeline(inner, visit),
            _ => {}
        }
    }
}
