//! Changes to the fields of a head.

use weft_http::Fields;
use weft_model::HeaderEdits;

/// Makes `edits` in `fields`.
///
/// What is added stands behind a comma in the last field of that name, so that readers of one field
/// see it too; but in `Cookie`, where it is a semicolon, and in `Set-Cookie`, whose values stand in
/// fields of their own. Source: RFC 9110, section 5.3; RFC 6265, sections 3 and 4.2.1.
pub fn edit(edits: &HeaderEdits, fields: &mut Fields) {
    for (name, value) in edits.set() {
        fields.set(name.as_str(), value.as_str().as_bytes());
    }
    for (name, value) in edits.add() {
        let (name, value) = (name.as_str(), value.as_str().as_bytes());
        match name {
            "set-cookie" => fields.append(name, value),
            "cookie" => fields.join(name, b"; ", value),
            _ => fields.join(name, b",", value),
        }
    }
    for name in edits.remove() {
        fields.remove(name.as_str().as_bytes());
    }
}
