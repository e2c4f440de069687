//! What sockperf prints at its end.

use anyhow::{Context, Result, ensure};

/// The number behind `label` in the first line that has it.
///
/// # Errors
///
/// When there is none.
pub fn number_after(text: &str, label: &str) -> Result<u64> {
    let rest = text
        .split_once(label)
        .with_context(|| format!("no {label:?} in:\n{text}"))?
        .1;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits
        .parse()
        .with_context(|| format!("no number behind {label:?} in:\n{text}"))
}

/// Did its client see nothing dropped, doubled or out of order?
///
/// # Errors
///
/// What it printed.
pub fn ensure_no_faults(output: &str) -> Result<()> {
    for fault in [
        "# dropped messages = ",
        "# duplicated messages = ",
        "# out-of-order messages = ",
    ] {
        ensure!(
            number_after(output, fault)? == 0,
            "sockperf reports faults:\n{output}"
        );
    }
    Ok(())
}
