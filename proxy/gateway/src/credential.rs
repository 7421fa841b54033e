//! Who calls: whatever of a request a provider may take for a key, hashed.
//!
//! Two callers must never be taken for one: what the provider said of the first would
//! then hold for the second. So all that is there counts, and not the first that is found.

use http::HeaderMap;
use understudy_call::Credential;
use understudy_tasks::HashKey;

/// The headers of the SDKs. A request with just one of them is named by its value alone,
/// as `rehearse --credential-env` names it and as the journals that there are do.
const USUAL: [&str; 4] = ["authorization", "x-api-key", "api-key", "x-goog-api-key"];

/// The headers of gateways, beside those or in their place. Not `proxy-authorization`: it
/// is for a proxy on the way, which may change it from call to call, and no provider's key.
const MORE: [&str; 4] =
    ["ocp-apim-subscription-key", "cf-aig-authorization", "x-portkey-api-key", "helicone-auth"];

const HEADERS: usize = USUAL.len() + MORE.len();

/// The query's parameters.
const PARAMETERS: [&str; 5] = ["key", "api_key", "api-key", "subscription-key", "access_token"];

/// Names the caller of a request with these headers and this target. A call without any
/// key counts as one caller of its own.
pub(crate) fn of(key: &HashKey, provider: &str, headers: &HeaderMap, target: &str) -> Credential {
    let mut found: Vec<Carrier<'_>> = headers
        .iter()
        .filter_map(|(name, value)| {
            let place = USUAL.iter().chain(&MORE).position(|known| *known == name.as_str())?;
            Some(Carrier { place, name: name.as_str(), value: value.as_bytes() })
        })
        .collect();
    let query = target.split_once('?').map_or("", |(_, query)| query);
    found.extend(query.split('&').filter_map(|pair| {
        let (said, value) = pair.split_once('=')?;
        let (place, name) =
            PARAMETERS.into_iter().enumerate().find(|(_, known)| said.eq_ignore_ascii_case(known))?;
        Some(Carrier { place: HEADERS + place, name, value: value.as_bytes() })
    }));
    match found.as_slice() {
        [] => key.credential(provider, b""),
        [one] if one.place < USUAL.len() => key.credential(provider, one.value),
        _ => {
            // In a fixed order; those of one name stay in theirs.
            found.sort_by_key(|carrier| carrier.place);
            // Neither a header nor a target has a zero in it, so it parts them, and no
            // single header is ever the same.
            let all: Vec<u8> = found
                .iter()
                .flat_map(|carrier| {
                    // A parameter may have a header's name.
                    let mark: &[u8] = if carrier.place < HEADERS { b"" } else { b"?" };
                    [mark, carrier.name.as_bytes(), b"\0", carrier.value, b"\0"].concat()
                })
                .collect();
            key.credential(provider, &all)
        }
    }
}

/// One place in which a key was found.
struct Carrier<'r> {
    /// Its place in the order of all.
    place: usize,
    name: &'r str,
    value: &'r [u8],
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn key() -> HashKey {
        HashKey::new([7; 32])
    }

    fn who(headers: &[(&'static str, &'static str)], target: &str) -> Credential {
        let mut all = HeaderMap::new();
        for &(name, value) in headers {
            all.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        of(&key(), "openai", &all, target)
    }

    #[test]
    fn a_key_in_one_usual_header_names_the_caller_as_it_always_did() {
        for name in USUAL {
            let said = who(&[("content-type", "a/b"), (name, "Bearer sk-1")], "/v1/x?a=b&model=key");
            assert_eq!(said, key().credential("openai", b"Bearer sk-1"), "{name}");
        }
        assert_eq!(who(&[], "/v1/x?api-version=1"), key().credential("openai", b""));
    }

    #[test]
    fn every_place_of_a_key_tells_callers_apart() {
        let mut all = vec![who(&[], "/v1/x"), who(&[("authorization", "a")], "/v1/x")];
        for name in USUAL.into_iter().skip(1).chain(MORE) {
            all.push(who(&[("authorization", "a"), (name, "b")], "/v1/x"));
            all.push(who(&[("authorization", "a"), (name, "c")], "/v1/x"));
        }
        for name in MORE {
            all.push(who(&[(name, "b")], "/v1/x"));
        }
        for name in PARAMETERS {
            all.push(who(&[], &format!("/v1/x?{name}=b")));
            all.push(who(&[], &format!("/v1/x?v=1&{name}=c")));
            all.push(who(&[("authorization", "a")], &format!("/v1/x?{name}=b")));
        }
        all.push(who(&[("authorization", "a"), ("authorization", "b")], "/v1/x"));
        let many = all.len();
        all.sort_by_key(|c| c.0);
        all.dedup();
        assert_eq!(all.len(), many);
    }

    #[test]
    fn a_proxys_password_tells_nobody_apart() {
        let (a, proxy) = (("authorization", "a"), ("proxy-authorization", "Basic b"));
        assert_eq!(who(&[a, proxy], "/v1/x"), who(&[a], "/v1/x"));
        assert_eq!(who(&[proxy], "/v1/x"), who(&[], "/v1/x"));
    }

    #[test]
    fn the_order_in_which_they_come_tells_nobody_apart() {
        let (a, b) = (("authorization", "a"), ("helicone-auth", "b"));
        assert_eq!(who(&[a, b], "/v1/x?key=c"), who(&[b, a], "/v1/x?v=1&KEY=c"));
    }
}
