use super::*;

fn read(text: &str, env: &[(&str, &str)]) -> Result<Config, Vec<Mistake>> {
    parse(text, None, env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
}

fn mistakes(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    read(text, env).expect_err("it is wrong").iter().map(ToString::to_string).collect()
}

#[test]
fn without_any_configuration_it_works_for_openai() {
    let config = read("", &[]).unwrap();
    let openai = config.gateway.providers.iter().find(|p| p.name == "openai").unwrap();
    assert_eq!(openai.base_url, "https://api.openai.com/v1");
    assert!(openai.prefixes.contains(&"/v1".to_owned()));
    assert!(config.gateway.listen.iter().all(|a| a.ip().is_loopback()));
    assert!(config.train.is_empty());
    assert_eq!(config.policy, TaskPolicy::default());
    assert_eq!(config.gateway.problems(), []);
}

#[test]
fn all_mistakes_are_reported_at_once_with_key_value_and_rule() {
    let text = r#"
        [gateway]
        listen = ["0.0.0.0:4141"]
        connect = 10
        request_body = "lots"
        [providers.mistral]
        prefixes = ["mistral"]
        [policy]
        tau = 1.5
        alpha = "small"
        [engine]
        thread = 3
        [enigne]
        nice = 3
    "#;
    let said = mistakes(text, &[("UNDERSTUDY_WORKER_PAUSE_ABOVE", "many")]);
    let all = said.join("\n");
    for part in [
        "gateway.listen = 0.0.0.0:4141: is not loopback",
        "gateway.connect = 10: must be a duration with its unit",
        "gateway.request_body = \"lots\": must be a size",
        "providers.mistral.base_url: is required",
        "providers.mistral.prefixes = [\"mistral\"]: must be a list of path prefixes",
        "policy.tau: 1.5 is not allowed",
        "policy.alpha = \"small\": must be a share",
        "engine.thread = 3: no such key; did you mean threads?",
        "enigne.nice: no such section; did you mean engine?",
        "UNDERSTUDY_WORKER_PAUSE_ABOVE = \"many\": must be a whole number from 1 to 100000",
    ] {
        assert!(all.contains(part), "{part:?} is missing from:\n{all}");
    }
    assert_eq!(said.len(), 10, "each mistake is told once:\n{all}");
}

#[test]
fn a_file_that_is_not_toml_names_its_line() {
    let said = mistakes("[gateway]\nlisten = [", &[]);
    assert!(said[0].starts_with("the configuration, line 2: "), "{said:?}");
}

#[test]
fn directives_of_the_log_that_nobody_understands_are_a_mistake() {
    read("[telemetry]\nlog = \"warn,understudy_gateway=debug\"\n", &[]).unwrap();
    let said = mistakes("[telemetry]\nlog = \"info,understudy=loud\"\n", &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    let beginning = "telemetry.log = info,understudy=loud: must be a level or directives: ";
    assert!(said[0].starts_with(beginning), "{said:?}");
    assert_eq!(mistakes("", &[("UNDERSTUDY_TELEMETRY_LOG", "understudy=loud")]).len(), 1);
}

#[test]
fn variables_win_over_the_file() {
    let config = read(
        "[gateway]\nconnect = \"3s\"\naudits = 3\n",
        &[
            ("UNDERSTUDY_GATEWAY_CONNECT", "250ms"),
            ("UNDERSTUDY_GATEWAY_LISTEN", "127.0.0.1:1,127.0.0.1:2"),
            ("UNDERSTUDY_PROVIDERS_OPENAI_BASE_URL", "http://127.0.0.1:9/v1/"),
            ("UNDERSTUDY_PROVIDERS_MINE_BASE_URL", "https://mine.test"),
            ("UNDERSTUDY_POLICY_TAU", "0.9"),
            ("UNDERSTUDY_POLICY_APPROVAL", "never"),
            ("UNDERSTUDY_POLICY_STEPS", "[0.2, 0.6]"),
            ("UNDERSTUDY_TASKS_LOOKUP_ALPHA", "0.05"),
            ("UNDERSTUDY_CAPTURE_REDACT", "false"),
        ],
    )
    .unwrap();
    assert_eq!(config.gateway.limits.connect, Duration::from_millis(250));
    assert_eq!(config.gateway.audits, 3);
    assert_eq!(config.gateway.listen.len(), 2);
    let url = |name: &str| config.gateway.providers.iter().find(|p| p.name == name).unwrap().base_url.clone();
    assert_eq!(url("openai"), "http://127.0.0.1:9/v1");
    assert_eq!(url("mine"), "https://mine.test");
    assert_eq!((config.policy.tau, config.policy.steps.clone()), (0.9, vec![0.2, 0.6]));
    let lookup = &config.tasks["lookup"];
    assert_eq!((lookup.tau, lookup.alpha), (0.9, 0.05));
    assert!(!config.capture.journal.redact);
}

#[test]
fn a_name_in_a_variable_is_the_files_one_whose_hyphens_dots_and_spaces_it_has_lost() {
    let text = "[tasks.\"look up\"]\nalpha = 0.05\n[tasks.find-table]\nalpha = 0.05\n[tasks.\"Reply.All\"]\nalpha = 0.05\n";
    let config = read(
        text,
        &[
            ("UNDERSTUDY_TASKS_LOOK_UP_TAU", "0.81"),
            ("UNDERSTUDY_TASKS_FIND_TABLE_TAU", "0.82"),
            ("UNDERSTUDY_TASKS_REPLY_ALL_TAU", "0.83"),
            // It ends in `_MAX_STAGE`, too.
            ("UNDERSTUDY_TASKS_NEW_ONE_MULTI_TURN_MAX_STAGE", "shadowing"),
        ],
    )
    .unwrap();
    let tau: Vec<(&str, f64)> = config.tasks.iter().map(|(name, own)| (name.as_str(), own.tau)).collect();
    assert_eq!(tau, [("Reply.All", 0.83), ("find-table", 0.82), ("look up", 0.81), ("new_one", 0.95)]);
    assert_eq!(config.tasks["new_one"].multi_turn_max_stage, understudy_policy::Stage::Shadowing);
}

#[test]
fn a_list_in_a_variable_needs_no_brackets() {
    for (text, steps) in [("0.5", vec![0.5]), ("0.2, 0.6", vec![0.2, 0.6])] {
        assert_eq!(read("", &[("UNDERSTUDY_POLICY_STEPS", text)]).unwrap().policy.steps, steps);
    }
}

#[test]
fn execution_providers_keep_the_order_in_which_they_are_written() {
    use understudy_onnx::ExecutionProvider::{Cpu, Cuda, TensorRt};
    let found = |text: &str, env: &[(&str, &str)]| read(text, env).unwrap().engine.execution_providers;
    let variable = "UNDERSTUDY_ENGINE_EXECUTION_PROVIDERS";
    assert_eq!(found("", &[]), [TensorRt, Cuda, Cpu]);
    assert_eq!(found("[engine]\nexecution_providers = [\"cuda\", \"tensorrt\"]\n", &[]), [Cuda, TensorRt]);
    assert_eq!(found("", &[(variable, "cpu, cuda")]), [Cpu, Cuda]);
    assert_eq!(found("", &[(variable, "cuda")]), [Cuda]);
}

#[test]
fn an_execution_provider_that_nobody_knows_or_that_comes_twice_is_refused_and_so_is_a_list_of_none() {
    let rule = "must be a list of some of tensorrt, cuda, cpu, each once, the first choice first";
    for list in ["[\"rocm\"]", "[]", "[\"cuda\", \"cpu\", \"cuda\"]", "\"cuda\""] {
        let said = mistakes(&format!("[engine]\nexecution_providers = {list}\n"), &[]);
        assert_eq!(said, [format!("engine.execution_providers = {list}: {rule}")]);
    }
    let variable = "UNDERSTUDY_ENGINE_EXECUTION_PROVIDERS";
    for list in ["cuda,rocm", "", "cpu,cpu"] {
        assert_eq!(mistakes("", &[(variable, list)]), [format!("{variable} = \"{list}\": {rule}")]);
    }
}

#[test]
fn who_may_answer_is_a_list_of_kinds_and_whole_names() {
    let text = "[policy]\nmodels = [\"head\"]\n[tasks.route]\nmodels = [\"remote\", \"prompted-27b2d3ab4a8b\"]\n\
                [tasks.other]\ntau = 0.9\n";
    let config = read(text, &[]).unwrap();
    assert_eq!(config.policy.models, ["head"]);
    assert_eq!(config.tasks["route"].models, ["remote", "prompted-27b2d3ab4a8b"]);
    assert_eq!(config.tasks["other"].models, ["head"]);
    let variable = "UNDERSTUDY_POLICY_MODELS";
    assert_eq!(read("", &[(variable, "head, remote")]).unwrap().policy.models, ["head", "remote"]);
    assert_eq!(mistakes("[policy]\nmodels = \"head\"\n", &[]).len(), 1);
    let said = mistakes("[policy]\nmodels = [\"head\", \"specialized\"]\n", &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    let beginning = "policy.models: \"specialized\" is not allowed: each is a kind of understudy";
    assert!(said[0].starts_with(beginning), "{said:?}");
}

#[test]
fn a_task_inherits_what_it_does_not_say() {
    let config = read("[policy]\ntau = 0.97\n[tasks.\"look up\"]\nmax_stage = \"shadowing\"\n", &[]).unwrap();
    let task = &config.tasks["look up"];
    assert_eq!(task.tau, 0.97);
    assert_eq!(task.max_stage, understudy_policy::Stage::Shadowing);
}

#[test]
fn a_stage_that_is_a_table_is_read_from_a_variable_as_the_chart_writes_it() {
    let canary = "{\"canary\" = {\"step\" = 0}}";
    let env =
        [("UNDERSTUDY_POLICY_MAX_STAGE", canary), ("UNDERSTUDY_TASKS_NEW_MULTI_TURN_MAX_STAGE", canary)];
    let config = read("", &env).unwrap();
    let first = understudy_policy::Stage::Canary { step: 0 };
    assert_eq!((config.policy.max_stage, config.tasks["new"].multi_turn_max_stage), (first, first));
}

#[test]
fn a_section_of_which_nothing_is_written_is_no_mistake_and_one_that_nobody_knows_is() {
    let empty = "[worker]\n[providers.openai]\n# http2 = false\n[providers.openai.prices]\n[tasks.triage]\n[remote]\n";
    let config = read(empty, &[]).unwrap();
    assert_eq!(config.tasks["triage"], config.policy);
    let said = mistakes("[providers.openai.price]\n[tasks.triage.rules]\n", &[]);
    assert_eq!(said, ["providers.openai.price = {}: no such key", "tasks.triage.rules = {}: no such key"]);
    let said = mistakes("[providers.openai]\nprices = 3\n", &[]);
    assert_eq!(said, ["providers.openai.prices = 3: is a section: write [providers.openai.prices.NAME]"]);
}

#[test]
fn an_unknown_variable_of_a_section_is_refused_and_kubernetes_own_are_not() {
    let said = mistakes("", &[("UNDERSTUDY_GATEWAY_LISTN", "127.0.0.1:1")]);
    assert_eq!(
        said,
        ["UNDERSTUDY_GATEWAY_LISTN: no key has this variable; did you mean UNDERSTUDY_GATEWAY_LISTEN?"]
    );
    read(
        "",
        &[
            ("UNDERSTUDY_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("UNDERSTUDY_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("UNDERSTUDY_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
            ("UNDERSTUDY_TRAFFIC", "/somewhere"),
        ],
    )
    .unwrap();
}

#[test]
fn two_providers_may_not_share_a_prefix_and_https_needs_a_name() {
    let text = "[providers.a]\nbase_url = \"https://127.0.0.1\"\nprefixes = [\"/v1\"]\n";
    let all = mistakes(text, &[]).join("\n");
    assert!(all.contains("prefix") && all.contains("/v1"), "{all}");
    assert!(all.contains("providers.a.base_url = https://127.0.0.1"), "{all}");
}

#[test]
fn prices_are_found_by_the_longest_listed_name() {
    let text = "[providers.openai.prices.\"gpt-4.1-tuned\"]\ninput = 3\noutput = 12\ndated = \"2026-11\"\n";
    let config = read(text, &[]).unwrap();
    let price = |model: &str| config.prices.find("openai", model).cloned();
    assert_eq!(price("gpt-4o-mini-2024-07-18"), price("gpt-4o-mini"));
    assert_ne!(price("gpt-4o-mini"), price("gpt-4o"));
    assert_eq!(price("gpt-4o-audio-preview"), None);
    assert_eq!(config.prices.find("a proxy of ours", "gpt-4o").cloned(), price("gpt-4o"));
    let own = price("gpt-4.1-tuned").unwrap();
    assert_eq!((own.input, own.cached, own.dated.as_str()), (3.0, 3.0, "2026-11"));
    assert!((own.of(1_000_000, 0, 500_000) - 9.0).abs() < 1e-9);
}

#[test]
fn a_providers_own_price_counts_and_another_ones_never() {
    let of = |name: &str, model: &str, input: u32| {
        format!(
            "[providers.{name}]\nbase_url = \"https://{name}.test\"\nprefixes = [\"/{name}\"]\n[providers.{name}.prices.\"{model}\"]\ninput = {input}\noutput = {input}\n"
        )
    };
    let text = of("zeta", "gpt-4o", 7) + &of("alpha", "llama", 3);
    let prices = read(&text, &[]).unwrap().prices;
    let input = |provider: &str, model: &str| prices.find(provider, model).map(|p| p.input);
    assert_eq!(input("zeta", "gpt-4o"), Some(7.0));
    assert_eq!(input("alpha", "gpt-4o"), Some(2.5), "its maker's, whatever zeta takes");
    assert_eq!(input("alpha", "llama"), Some(3.0));
    assert_eq!(input("zeta", "llama"), None);
    // A limit in money holds all the same.
    assert_eq!(prices.at_most("a remote", "llama").map(|p| p.input), Some(3.0));
    assert_eq!(prices.at_most("zeta", "gpt-4o").map(|p| p.input), Some(7.0));
}

#[test]
fn a_model_is_priced_by_variables_alone() {
    let env = [
        ("UNDERSTUDY_PROVIDERS_OPENAI_PRICES_GPT_4_1_MINI_INPUT", "7"),
        ("UNDERSTUDY_PROVIDERS_OPENAI_PRICES_GPT_4_1_MINI_OUTPUT", "9"),
        ("UNDERSTUDY_PROVIDERS_MINE_BASE_URL", "https://mine.test"),
        ("UNDERSTUDY_PROVIDERS_MINE_PRICES_OUR_MODEL_2_5_INPUT", "3"),
        ("UNDERSTUDY_PROVIDERS_MINE_PRICES_OUR_MODEL_2_5_OUTPUT", "6"),
    ];
    let prices = read("", &env).unwrap().prices;
    let input = |provider: &str, model: &str| prices.find(provider, model).map(|p| p.input);
    assert_eq!(input("openai", "gpt-4.1-mini-2025-04-14"), Some(7.0));
    assert_eq!(input("openai", "gpt-4.1"), Some(2.0));
    assert_eq!(input("mine", "our-model-2.5"), Some(3.0));
    assert_eq!(input("mine", "our-model-2.5-latest"), Some(3.0));
    assert_eq!(input("mine", "our-model-2"), None);
    assert_eq!(prices.at_most("a remote", "our-model-2.5").map(|p| p.output), Some(6.0));
    // Half a price is told as it is in a file.
    let said = mistakes("", &env[..1]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("providers.openai.prices.gpt_4_1_mini.output: is required"), "{said:?}");
    // A name of the file's is the same.
    let text = "[providers.openai.prices.\"gpt-4.1-mini\"]\ninput = 1\noutput = 2\n";
    let prices = read(text, &env[..1]).unwrap().prices;
    assert_eq!(prices.find("openai", "gpt-4.1-mini").map(|p| (p.input, p.output)), Some((7.0, 2.0)));
}

#[test]
fn a_budget_in_money_needs_a_price() {
    let remote = |model: &str, budget: &str| {
        format!("[remote.small]\nbase_url = \"http://127.0.0.1:9/v1\"\nmodel = \"{model}\"\n{budget}\n")
    };
    let said = mistakes(&remote("our-model", "budget_usd = 2.5"), &[]);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("remote.small.budget_usd = 2.5: needs a price for our-model"), "{said:?}");
    let price = "[providers.openai.prices.\"our-model\"]\ninput = 1\noutput = 2\n";
    let config = read(&(remote("our-model", "budget_usd = 2.5") + price), &[]).unwrap();
    assert_eq!(config.remotes[0].budget_usd, 2.5);
    read(&remote("gpt-4o-mini", "budget_usd = 2.5"), &[]).unwrap();
    read(&remote("our-model", "budget_tokens = 1000"), &[]).unwrap();
}

#[test]
fn every_key_of_the_policy_is_explained_and_none_that_is_not_there() {
    let fields = policy::keys(&TaskPolicy::default());
    let texts: Vec<&str> = policy::TEXTS.iter().map(|(k, ..)| *k).collect();
    assert_eq!(fields, texts);
}

#[test]
fn every_key_is_in_the_document() {
    let text = document();
    for part in [
        "## [gateway]",
        "## [providers.NAME]",
        "## [tasks.NAME]",
        "## [remote.NAME]",
        "`request_body`",
        "UNDERSTUDY_GATEWAY_LISTEN",
    ] {
        assert!(text.contains(part), "{part} is missing");
    }
    assert!(!text.contains("the default itself is wrong"));
}

#[test]
fn the_document_is_the_one_in_the_folder() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == document(),
        "docs/configuration.md is not in step: run `understudy check --document > docs/configuration.md`"
    );
}

#[test]
fn durations_and_sizes_carry_their_unit() {
    use toml::Value;
    let d = kinds::duration(Duration::ZERO..=Duration::from_secs(86_400));
    let parse = |s: &str| (d.parse)(&Value::String(s.into()));
    assert_eq!(parse("250ms"), Some(Duration::from_millis(250)));
    assert_eq!(parse("1.5 h"), Some(Duration::from_secs(5400)));
    assert_eq!(parse("2d"), None);
    assert_eq!(parse("5"), None);
    assert_eq!(parse("5 parsecs"), None);
    let b = kinds::bytes(0..=u64::MAX);
    let parse = |s: &str| (b.parse)(&Value::String(s.into()));
    assert_eq!(parse("64 MiB"), Some(64 << 20));
    assert_eq!(parse("1kB"), Some(1000));
    assert_eq!(parse("12"), Some(12));
    assert_eq!(parse("12 apples"), None);
    assert_eq!(show_bytes(1536), "1.5 KiB");
}

#[test]
fn a_variable_of_the_agents_that_is_not_text_is_nobodys_mistake() {
    use std::os::unix::ffi::OsStringExt as _;
    let binary = || OsString::from_vec(vec![b'x', 0xff]);
    let found = readable([(binary(), "1".into()), ("THEIRS".into(), binary()), ("A".into(), "b".into())]);
    assert_eq!(found.unwrap(), [("A".to_owned(), "b".to_owned())]);
    let mistakes = readable([("UNDERSTUDY_STATE_DIR".into(), binary())]).unwrap_err();
    assert_eq!(
        (mistakes[0].key.as_str(), mistakes[0].rule.as_str()),
        ("UNDERSTUDY_STATE_DIR", "is not UTF-8")
    );
}
