//! Lists of rows as docker prints them: a default table, `table TEMPLATE`, a template a row, or JSON.

use serde_json::{Map, Value};

use super::table;
use super::template::Template;
use crate::error::Failure;

/// What a list can show: field names and their titles, and the template of its default table.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// Field and title.
    pub titles: &'static [(&'static str, &'static str)],
    /// Fields of the default table.
    pub default: &'static str,
}

/// How a list was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Form<'a> {
    /// `--format`
    pub format: Option<&'a str>,
    /// `--output`
    pub output: Option<&'a str>,
    /// The one field of `--quiet`.
    pub quiet: Option<&'a str>,
    /// The field of `--output name`.
    pub name: &'a str,
    /// Columns that the table may take.
    pub width: Option<usize>,
}

/// The text of a list.
pub fn render(columns: Columns, form: Form, rows: &[Value]) -> Result<String, Failure> {
    let only = |field: &str| rows.iter().fold(String::new(), |text, row| text + &cell(row, field) + "\n");
    if let Some(field) = form.quiet.filter(|_| form.format.is_none()) {
        return Ok(only(field));
    }
    match (form.format, form.output) {
        (Some("json"), _) => templated("{{json .}}", rows),
        (Some(format), _) => match format.strip_prefix("table") {
            Some("") => tabled(columns, columns.default, rows, form.width),
            Some(template) if template.starts_with(char::is_whitespace) => {
                tabled(columns, template.trim_start(), rows, None)
            }
            _ => templated(format, rows),
        },
        (None, Some("json")) => {
            let text = serde_json::to_string_pretty(rows).map_err(|e| Failure::because("cannot write the list", &e))?;
            Ok(text + "\n")
        }
        (None, Some("yaml")) => super::yaml(rows),
        (None, Some("name")) => Ok(only(form.name)),
        (None, Some("wide")) => tabled(columns, columns.default, rows, None),
        _ => tabled(columns, columns.default, rows, form.width),
    }
}

fn cell(row: &Value, field: &str) -> String {
    crate::error::printable(row.get(field).and_then(Value::as_str).unwrap_or_default())
}

/// Docker lets people write `\t` and `\n` in a template.
fn unescaped(template: &str) -> String {
    template.replace("\\t", "\t").replace("\\n", "\n")
}

fn templated(format: &str, rows: &[Value]) -> Result<String, Failure> {
    let text = unescaped(format);
    let template = Template::parse(&text).map_err(|error| error.into_failure(format))?;
    let mut out = String::new();
    for row in rows {
        out.push_str(&template.render(row).map_err(|error| error.into_failure(format))?);
        out.push('\n');
    }
    Ok(out)
}

fn tabled(columns: Columns, template: &str, rows: &[Value], width: Option<usize>) -> Result<String, Failure> {
    let text = unescaped(template);
    let parsed = Template::parse(&text).map_err(|error| error.into_failure(template))?;
    let mut titles: Map<String, Value> =
        columns.titles.iter().map(|(field, title)| ((*field).to_owned(), Value::from(*title))).collect();
    for field in parsed.fields() {
        let title = field.to_uppercase();
        titles.entry(field).or_insert_with(|| title.into());
    }
    let split = |line: String| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    // A title stands for the field itself, whatever the template does with the value.
    let header = Template::parse(&titles_only(&text)).map_err(|error| error.into_failure(template))?;
    let header = header.render(&Value::Object(titles)).map_err(|error| error.into_failure(template))?;
    let mut lines = vec![split(header)];
    for row in rows {
        lines.push(split(parsed.render(row).map_err(|error| error.into_failure(template))?));
    }
    Ok(table::render(&lines, width))
}

/// The template with each action replaced by its first field alone.
fn titles_only(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find("{{") {
        let Some(close) = rest[open..].find("}}").map(|at| open + at + 2) else { break };
        out.push_str(&rest[..open]);
        let action = &rest[open..close];
        match Template::parse(action).map(|action| action.fields()) {
            Ok(fields) => fields.first().into_iter().for_each(|field| out.push_str(&format!("{{{{.{field}}}}}"))),
            Err(_) => return template.to_owned(),
        }
        rest = &rest[close..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: Columns =
        Columns { titles: &[("ID", "CONTAINER ID"), ("Names", "NAMES")], default: "{{.ID}}\t{{.Names}}" };

    fn check(form: Form, expected: &str) {
        let rows = [json!({"ID": "a1", "Names": "web"}), json!({"ID": "b2", "Names": "db"})];
        assert_eq!(render(COLUMNS, form, &rows).as_deref(), Ok(expected), "{form:?}");
    }

    #[test]
    fn lists_take_dockers_forms() {
        check(Form::default(), "CONTAINER ID   NAMES\na1             web\nb2             db\n");
        check(Form { quiet: Some("ID"), ..Form::default() }, "a1\nb2\n");
        check(Form { format: Some("{{.Names}}\\t{{.ID}}"), ..Form::default() }, "web\ta1\ndb\tb2\n");
        check(
            Form { format: Some("table {{.Names}}\\t{{upper .ID}}"), ..Form::default() },
            "NAMES     CONTAINER ID\nweb       A1\ndb        B2\n",
        );
        check(
            Form { format: Some("json"), ..Form::default() },
            "{\"ID\":\"a1\",\"Names\":\"web\"}\n{\"ID\":\"b2\",\"Names\":\"db\"}\n",
        );
        check(Form { output: Some("name"), name: "Names", ..Form::default() }, "web\ndb\n");
        check(Form { output: Some("yaml"), ..Form::default() }, "- ID: a1\n  Names: web\n- ID: b2\n  Names: db\n");
        let rows = [json!({"ID": "a1"})];
        let failure = render(COLUMNS, Form { format: Some("{{.Nope}}"), ..Form::default() }, &rows).expect_err("nope");
        assert!(failure.render(false).contains("Nope"));
    }
}
