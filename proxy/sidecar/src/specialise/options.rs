//! The trainer's own options, which stand after `--`, and its remedies in the words
//! of this command line.

use crate::failure::Failure;

/// Those that are set from here, and what says the same.
const OURS: &[(&str, &str)] = &[
    ("--base", "the base is what model.chat was made of"),
    ("--out", "adapters lie in the state folder, which state.dir names"),
    ("--minutes", "it stands before the `--`"),
    ("--resume", "it stands before the `--`"),
    ("--licence", "the base's own counts"),
    ("--accept-licence", "model.allow_non_commercial = true says so"),
    ("--qlora", "the base is a GGUF file, which is not read in 4 bits"),
    ("--help", "`understudy specialise --help` lists those that help"),
    ("-h", "`understudy specialise --help` lists those that help"),
];

/// Lets the trainer's own options pass.
///
/// # Errors
/// One that is set from here, with what to do instead.
pub(super) fn check(options: &[String]) -> Result<(), Failure> {
    for option in options {
        let name = option.split('=').next().unwrap_or_default();
        // The trainer takes the beginning of a name for the whole.
        let is =
            |ours: &str| ours == name || (name.len() > 2 && name.starts_with("--") && ours.starts_with(name));
        if let Some((ours, instead)) = OURS.iter().find(|(ours, _)| is(ours)) {
            return Err(Failure::Usage(format!(
                "{option} is not allowed after `--`, for {ours} is no option of the trainer's own: {instead}"
            )));
        }
    }
    Ok(())
}

/// A remedy of the trainer's, as a person says it here.
pub(super) fn remedy(code: &str, remedy: &str) -> String {
    match code {
        "licence" => {
            return "choose another base, or set model.allow_non_commercial = true if your use is allowed"
                .to_owned();
        }
        "no_space" => {
            return remedy.replace("name another folder with --out", "set state.dir to another folder");
        }
        _ => {}
    }
    let is_ours = |word: &str| OURS.iter().any(|(ours, _)| *ours == word);
    let mut words = remedy.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    match words.find(|w| w.starts_with("--") && !is_ours(w)) {
        Some(option) => {
            format!(
                "{remedy} (the trainer's options stand after `--`: understudy specialise TASK -- {option} …)"
            )
        }
        None => remedy.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(options: &[&str]) -> Result<(), Failure> {
        check(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn the_trainers_own_options_pass_and_those_that_are_set_from_here_are_refused_by_name() {
        let own =
            ["--drop-long", "--context", "1024", "--rate=1e-4", "--min-rows", "40", "--micro-tokens", "512"];
        assert!(checked(&own).is_ok());
        for (given, name) in [
            ("--out", "--out"),
            ("--out=/tmp/x", "--out"),
            ("--minutes", "--minutes"),
            ("--resume", "--resume"),
            ("--res", "--resume"),
            ("--bas", "--base"),
            ("--accept-licence", "allow_non_commercial"),
            ("-h", "--help"),
        ] {
            let why = checked(&["--drop-long", given]).unwrap_err();
            assert!(matches!(why, Failure::Usage(_)) && why.to_string().contains(name), "{given}: {why}");
        }
    }

    #[test]
    fn a_remedy_says_where_its_option_goes() {
        let said =
            remedy("too_long", "leave them out with --drop-long, or choose a base with a longer context");
        assert!(said.ends_with("understudy specialise TASK -- --drop-long …)"), "{said}");
        assert_eq!(remedy("bad_checkpoint", "run again without --resume"), "run again without --resume");
        assert!(remedy("licence", "say --accept-licence X").contains("model.allow_non_commercial = true"));
        let said = remedy("no_space", "free some disk space or name another folder with --out");
        assert_eq!(said, "free some disk space or set state.dir to another folder");
    }
}
