use serde_json::{Value, json};

use super::*;
use crate::quantity::positive;
use crate::skip::Skip;

const MIB: u64 = 1 << 20;

fn ask(annotations: &Value) -> Ask {
    let pod = json!({"metadata": {"annotations": annotations}, "spec": {"volumes": [{"name": "own"}]}});
    Ask::of(&pod).unwrap()
}

/// What the sidecar is told to keep, the size of a volume, and what stays free.
fn sizes(settings: &Settings, annotations: &Value) -> [Option<u64>; 3] {
    let all = variables(&ask(annotations), settings);
    ["KEEP", "VOLUME", "FREE_FLOOR"].map(|word| {
        let name = format!("UNDERSTUDY_CAPTURE_{word}_BYTES");
        all.iter().find(|(n, _)| *n == name).map(|(_, bytes)| *bytes)
    })
}

fn mib(sizes: [u64; 2]) -> [Option<u64>; 3] {
    let [keep, volume] = sizes.map(|n| Some(n * MIB));
    [keep, volume, None]
}

#[test]
fn a_small_journal_has_small_volumes() {
    let sized = |size: &str| sizes(&Settings::default(), &json!({"understudy.dev/journal-size": size}));
    assert_eq!(sizes(&Settings::default(), &json!({})), mib([768, 64]));
    assert_eq!(sized("256Mi"), mib([192, 24]));
    assert_eq!(sized(LEAST), mib([48, 6]));
    // No more than the configuration takes.
    assert_eq!(sized("200Ti"), mib([MOST / MIB, 64]));
}

#[test]
fn a_volume_is_no_larger_than_the_chart_s_and_always_fits() {
    let name = "UNDERSTUDY_CAPTURE_VOLUME_BYTES";
    let written = |text: &str| Settings {
        environment: [(name.to_owned(), text.to_owned())].into(),
        ..Settings::default()
    };
    // The chart writes numbers without units.
    assert_eq!(sizes(&written("1073741824"), &json!({})), mib([768, 96]));
    assert_eq!(sizes(&written("16 MiB"), &json!({})), mib([768, 16]));
    let of = |variable: Value| Settings { env: vec![variable], ..written("16 MiB") };
    assert_eq!(sizes(&of(json!({"name": name, "value": "8 MiB"})), &json!({})), mib([768, 8]));
    let secret = json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}});
    assert_eq!(sizes(&of(secret), &json!({})), mib([768, 64]));
    for size in ["64Mi", "65Mi", "86Mi", "1Gi", "1T", "999999Ti"] {
        for volume in ["1048576", "67108864", "68719476736", "lots"] {
            let annotations = json!({"understudy.dev/journal-size": size});
            let [keep, volume, _] = sizes(&written(volume), &annotations).map(Option::unwrap_or_default);
            assert!(volume >= MIB && volume <= keep && keep <= MOST, "{size}: {keep}, {volume}");
            let room = positive(size).unwrap();
            assert!((keep + volume) as f64 <= room / 32.0 * 27.0, "{size}: {keep}, {volume}");
        }
    }
}

#[test]
fn a_claim_is_filled_as_far_as_was_said() {
    for place in [("journal-claim", "mine"), ("journal-volume", "own")] {
        let with = |settings: &Settings, size: Option<&str>| {
            let mut annotations = json!({});
            annotations[format!("understudy.dev/{}", place.0)] = json!(place.1);
            if let Some(size) = size {
                annotations["understudy.dev/journal-size"] = json!(size);
            }
            sizes(settings, &annotations)
        };
        let plain = Settings::default();
        // The chart's size is for what the sidecar brings itself.
        assert_eq!(with(&plain, None), [None; 3]);
        assert_eq!(with(&plain, Some("1Gi")), mib([768, 64]));
        // All of it is used before the disk is as full as a journal of 4 GiB leaves it.
        assert_eq!(with(&plain, Some("256Mi")), [192, 24, 16].map(|n| Some(n * MIB)));
        let name = "UNDERSTUDY_CAPTURE_FREE_FLOOR_BYTES".to_owned();
        let own = Settings { environment: [(name, "1 GiB".to_owned())].into(), ..plain };
        assert_eq!(with(&own, Some("256Mi")), mib([192, 24]));
    }
}

#[test]
fn too_little_room_is_a_reason() {
    let reason = |size: &str, annotations: Value| {
        let settings = Settings { journal_size: size.to_owned(), ..Settings::default() };
        too_small(&ask(&annotations), &settings).map(|size| Skip::JournalSize(size).text())
    };
    assert_eq!(reason(LEAST, json!({})), None);
    let said = reason("32Mi", json!({})).unwrap();
    assert!(said.contains("32Mi of room, which is less than the 64Mi"), "{said}");
    assert_eq!(reason("32Mi", json!({"understudy.dev/journal-size": "1Gi"})), None);
    assert_eq!(reason("32Mi", json!({"understudy.dev/journal-claim": "mine"})), None);
    let claim = json!({"understudy.dev/journal-claim": "mine", "understudy.dev/journal-size": "1Mi"});
    assert!(reason("1Gi", claim).unwrap().contains("1Mi of room"));
}

#[test]
fn what_is_known_of_the_configuration_and_of_the_chart_is_so() {
    let page = include_str!("../../../../docs/configuration.md");
    let row = |key: &str| page.lines().find(|line| line.starts_with(&format!("| `{key}` |"))).unwrap();
    for (key, default, size) in [("volume_bytes", "64 MiB", VOLUME), ("free_floor_bytes", "32 MiB", FLOOR)] {
        assert!(row(key).contains(&format!("| `\"{default}\"` |")), "{}", row(key));
        assert_eq!(configured(default), Some(size));
    }
    assert!(row("keep_bytes").contains("to 64 TiB |"));
    assert_eq!(configured("64 TiB"), Some(MOST));
    let chart = include_str!("../../../../helm/understudy/templates/injector/settings.yaml");
    let least = format!("include \"understudy.number\" \"{LEAST}\"");
    assert!(chart.contains(&least), "the chart has another least size");
}
