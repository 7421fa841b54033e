//! `docs/configuration.md`, written from the declarations of the keys.

use super::sections;
use super::written::{KeyText, Written, variable};

const HEAD: &str = "\
# Configuration

<!-- Written by `understudy check --document`; `make check` compares. Do not edit. -->

Without any configuration Understudy works for OpenAI, Anthropic and Google, and answers nothing itself until a task \
has earned it. A file is named with `--config FILE` or `UNDERSTUDY_CONFIG`; else `understudy/understudy.toml` in the \
user's configuration folder (`$XDG_CONFIG_HOME`, by default `~/.config`) is read where it exists. A file in the working \
folder is never read by itself: it may belong to whoever wrote the agent.

Each key has a variable, `UNDERSTUDY_SECTION_KEY`, that wins over the file; lists are separated by commas there. A NAME \
has `_` there for each `-`, `.` and space: `UNDERSTUDY_TASKS_LOOK_UP_TAU` is `tau` of the task `look-up`. \
`understudy check` reports every mistake at once, each with key, value and rule, and exits with 64; unknown keys are \
refused. Durations and sizes carry their unit.
";

/// The document.
pub(crate) fn document() -> String {
    let written = Written::default();
    // First, so that what is free to be named is listed as it is for any name.
    sections::explain_named(&written);
    sections::read(&written, None);
    let keys = written.keys();
    let mut out = HEAD.to_owned();
    for (section, title) in sections::TITLES {
        let own: Vec<&KeyText> = keys.iter().filter(|k| k.section == *section).collect();
        if own.is_empty() {
            continue;
        }
        out.push_str(&format!(
            "\n## [{section}]\n\n{title}\n\n| key | must be | default | |\n| --- | --- | --- | --- |\n"
        ));
        for key in own {
            let text = key.text.replace('|', "\\|");
            out.push_str(&format!("| `{}` | {} | {} | {text} |\n", key.key, key.kind, code(&key.default)));
        }
        if let Some(first) = keys.iter().find(|k| k.section == *section) {
            let path: Vec<String> =
                first.section.split('.').chain([first.key.as_str()]).map(str::to_owned).collect();
            out.push_str(&format!("\nVariables: `{}` and so on.\n", variable(&path)));
        }
    }
    out
}

fn code(default: &str) -> String {
    if default == "-" || default == "(required)" { default.to_owned() } else { format!("`{default}`") }
}
