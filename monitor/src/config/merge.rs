//! Laying one file over another.
//!
//! Tables are merged key by key. A list of tables (`[[group]]`) grows by the later file's; every
//! other value is replaced, also one of another type, so that reading the result reports it where
//! it stands.

use super::tree::{Node, Table, Value};

/// Lays `over` on `base`.
pub(super) fn merge(base: &mut Table, over: Table) {
    for entry in over.entries {
        match base.entries.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => {
                merge_node(&mut known.node, entry.node);
                known.key_span = entry.key_span;
            }
            None => base.entries.push(entry),
        }
    }
}

fn merge_node(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Value::Table(base), Value::Table(over)) => merge(base, over),
        (Value::Array(base), Value::Array(over)) if are_tables(base) && are_tables(&over) => {
            base.extend(over);
        }
        (_, value) => {
            *base = Node {
                span: over.span,
                value,
            }
        }
    }
}

fn are_tables(items: &[Node]) -> bool {
    !items.is_empty()
        && items
            .iter()
            .all(|item| matches!(item.value, Value::Table(_)))
}
