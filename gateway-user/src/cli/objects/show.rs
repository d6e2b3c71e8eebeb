//! Objects for people: a table of many, the fields of one.

use serde_json::Value;

use super::{Kind, finish};
use crate::cli::exit::Exit;
use crate::cli::print_json;
use crate::cli::table::line;

/// A table; a column that is empty everywhere is left out.
pub(super) fn table(objects: &[Value], columns: &[(&str, &str)]) -> String {
    if objects.is_empty() {
        return "there are none\n".to_owned();
    }
    let column = |&(head, pointer): &(&str, &str)| {
        let cells = objects
            .iter()
            .map(|object| object.pointer(pointer).map(text).unwrap_or_default());
        let cells: Vec<_> = std::iter::once(head.to_owned()).chain(cells).collect();
        let empty = cells.iter().skip(1).all(String::is_empty);
        let width = cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
        (!empty).then_some((cells, width))
    };
    let columns: Vec<_> = columns.iter().filter_map(column).collect();
    let mut out = String::new();
    for row in 0..=objects.len() {
        let cells = columns.iter().map(|(cells, width)| {
            let cell = cells.get(row).map(String::as_str).unwrap_or_default();
            format!("{cell:width$}")
        });
        line(
            &mut out,
            format_args!("{}", cells.collect::<Vec<_>>().join("  ").trim_end()),
        );
    }
    out
}

/// The fields of an object, one a line; what is inside of a field is indented.
pub(super) fn fields(object: &Value) -> String {
    let mut out = String::new();
    write_fields(object, 0, &mut out);
    out
}

fn write_fields(object: &Value, indent: usize, out: &mut String) {
    let Some(fields) = object.as_object() else { return };
    let given = || fields.iter().filter(|(_, value)| !is_empty(value));
    let width = given().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in given() {
        match value {
            Value::Object(_) => {
                line(out, format_args!("{:indent$}{name}", ""));
                write_fields(value, indent + 2, out);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                line(out, format_args!("{:indent$}{name}", ""));
                for item in items {
                    write_fields(item, indent + 2, out);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                line(out, format_args!("{:indent$}{name:width$}  {}", "", text(value)));
            }
        }
    }
}

/// Tells what was made: its id alone is what a script wants to read.
pub(super) fn created(object: Option<&Value>, kind: &Kind, json: bool) -> Result<(), Exit> {
    let Some(object) = object else {
        eprintln!("the agent answered something else than was asked");
        return Err(Exit::Failure);
    };
    if json {
        return finish(print_json(object));
    }
    println!("{}", object.get(kind.id).map(text).unwrap_or_default());
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// A value in a cell. Names come from other people: control characters are shown, not sent to the terminal.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text
            .chars()
            .flat_map(|c| {
                let shown = if c.is_control() {
                    c.escape_default().to_string()
                } else {
                    c.to_string()
                };
                shown.chars().collect::<Vec<_>>()
            })
            .collect(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let objects = [
            json!({ "Id": "a", "In": { "Side": 5 }, "Error": "" }),
            json!({ "Id": "longer", "In": { "Side": 100 }, "Error": "" }),
        ];
        let columns = [("ID", "/Id"), ("SIDE", "/In/Side"), ("ERROR", "/Error")];
        assert_eq!(
            table(&objects, &columns),
            "ID      SIDE\na       5\nlonger  100\n"
        );
        assert_eq!(table(&[], &columns), "there are none\n");
    }

    #[test]
    fn fields_are_told_with_what_is_inside() {
        let object = json!({ "Id": "a", "None": null, "Rules": [{ "Local": "10.0.0.0/24", "Peer": ["x", "y"] }], "Up": true });
        assert_eq!(
            fields(&object),
            "Id     a\nRules\n  Local  10.0.0.0/24\n  Peer   x, y\nUp     yes\n"
        );
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(text(&json!("a\u{1b}[2Jb")), "a\\u{1b}[2Jb");
    }
}
