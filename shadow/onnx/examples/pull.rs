//! Pulls a model by name: `cargo run --release -p understudy-onnx --example pull -- NAME DIR [4|8] [LEVEL] [HEAD] [half]`.
#![expect(clippy::print_stderr, reason = "a command line")]

use std::path::Path;

use understudy_onnx::export::{Bits, Weights, pull, recipe};

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [name, dir, rest @ ..] = args.as_slice() else { anyhow::bail!("give NAME and DIR") };
    let recipe = recipe(name).ok_or_else(|| anyhow::anyhow!("no recipe named {name}"))?;
    let bits = |b: Option<&String>| match b.map(String::as_str) {
        Some("4") => Bits::Four,
        _ => Bits::Eight,
    };
    let weights = Weights {
        linear: bits(rest.first()),
        accuracy_level: rest.get(1).map_or(Ok(4), |l| l.parse())?,
        head: bits(rest.get(2)),
        half_attention: rest.get(3).is_some_and(|w| w == "half"),
    };
    let mut report = |p: understudy_onnx::export::Progress| {
        eprintln!("{} {}/{}", p.stage.label(), p.done, p.total);
    };
    let folder = pull(&recipe, Path::new(dir), weights, &mut report)?;
    eprintln!("{}", folder.display());
    Ok(())
}
