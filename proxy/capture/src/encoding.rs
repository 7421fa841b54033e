//! The reply's bytes as the provider meant them. SDKs accept gzip, deflate, br and
//! zstd, and the bytes that passed are not changed on the call's path; they are
//! read here, off it.

use std::borrow::Cow;
use std::io::Read;

/// Undoes a content encoding (RFC 9110, 8.4.1). `None` for one that is not known,
/// for bytes that are not of it, and where more than `limit` bytes would come of it:
/// a few kilobytes can be made to swell to gigabytes.
#[must_use]
pub fn plain<'b>(encoding: &str, bytes: &'b [u8], limit: usize) -> Option<Cow<'b, [u8]>> {
    let encoding = encoding.trim();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Some(Cow::Borrowed(bytes));
    }
    let out = match encoding.to_ascii_lowercase().as_str() {
        "gzip" | "x-gzip" => bounded(flate2::read::MultiGzDecoder::new(bytes), limit),
        // Meant to be zlib's format; some send the bare stream.
        "deflate" => bounded(flate2::read::ZlibDecoder::new(bytes), limit)
            .or_else(|| bounded(flate2::read::DeflateDecoder::new(bytes), limit)),
        "br" => bounded(brotli::Decompressor::new(bytes, 4096), limit),
        "zstd" => bounded(zstd::stream::read::Decoder::new(bytes).ok()?, limit),
        _ => None,
    };
    out.map(Cow::Owned)
}

fn bounded(from: impl Read, limit: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    from.take(limit as u64 + 1).read_to_end(&mut out).ok()?;
    (out.len() <= limit).then_some(out)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]
    use std::io::Write;

    use super::*;

    fn encoded(encoding: &str, plain: &[u8]) -> Vec<u8> {
        use flate2::Compression;
        match encoding {
            "gzip" => {
                let mut w = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
                w.write_all(plain).unwrap();
                w.finish().unwrap()
            }
            "deflate" => {
                let mut w = flate2::write::ZlibEncoder::new(Vec::new(), Compression::fast());
                w.write_all(plain).unwrap();
                w.finish().unwrap()
            }
            "br" => {
                let mut out = Vec::new();
                brotli::CompressorWriter::new(&mut out, 4096, 5, 20).write_all(plain).unwrap();
                out
            }
            "zstd" => zstd::encode_all(plain, 1).unwrap(),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn each_encoding_that_an_sdk_accepts_is_undone() {
        let body = b"{\"choices\": []}".repeat(100);
        for encoding in ["gzip", "deflate", "br", "zstd"] {
            let wire = encoded(encoding, &body);
            assert_eq!(plain(encoding, &wire, 1 << 20).unwrap(), body, "{encoding}");
            assert_eq!(plain(encoding, &wire, body.len() - 1), None, "{encoding} is bounded");
            assert_eq!(plain(encoding, &wire[..wire.len() / 2], 1 << 20), None, "{encoding} cut short");
        }
        assert_eq!(plain("", &body, 1).unwrap(), body);
        assert_eq!(plain("snappy", &body, 1 << 20), None);
    }
}
