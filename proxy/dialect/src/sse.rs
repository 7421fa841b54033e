//! Server-sent events out of bytes that come in pieces of any size
//! (WHATWG HTML, section 9.2.6): lines end with LF, CR or CRLF, several `data`
//! lines are joined by LF, comments and unknown fields are skipped.

/// Splits bytes into events. Holds one unfinished line and one unfinished event.
#[derive(Debug, Default)]
pub struct Events {
    line: Vec<u8>,
    name: String,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    begun: bool,
}

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name; empty where none was given.
    pub name: &'a str,
    /// Its data.
    pub data: &'a [u8],
}

impl Events {
    /// Takes the next bytes and hands each event that they complete to `each`.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        while !bytes.is_empty() {
            if std::mem::take(&mut self.after_cr)
                && let Some(rest) = bytes.strip_prefix(b"\n")
            {
                bytes = rest;
                continue;
            }
            let Some((line, rest)) = split_line(bytes) else {
                self.line.extend_from_slice(bytes);
                return;
            };
            self.after_cr = bytes.get(line.len()) == Some(&b'\r');
            bytes = rest;
            if self.line.is_empty() {
                self.take_line(line, &mut each);
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                self.take_line(&whole, &mut each);
                whole.clear();
                self.line = whole;
            }
        }
    }

    /// Hands over what the end of the body left without its blank line.
    /// Browsers drop it; here whoever reads decides whether it is whole.
    pub fn finish(mut self, mut each: impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, &mut each);
        }
        self.take_line(b"", &mut each);
    }

    fn take_line(&mut self, mut line: &[u8], each: &mut impl FnMut(Event<'_>)) {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            if self.has_data {
                each(Event { name: &self.name, data: &self.data });
            }
            self.name.clear();
            self.data.clear();
            self.has_data = false;
            return;
        }
        let (field, value) = match line.iter().position(|b| *b == b':') {
            Some(at) => {
                let (field, rest) = line.split_at(at);
                let value = rest.strip_prefix(b":").unwrap_or(rest);
                (field, value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.name = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
}

/// The bytes before the first line end and those after its first byte.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|b| matches!(b, b'\n' | b'\r'))?;
    Some((bytes.get(..at)?, bytes.get(at.saturating_add(1)..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        let mut e = Events::default();
        for p in pieces {
            e.push(p, |e| all.push((e.name.to_owned(), e.data.to_owned())));
        }
        e.finish(|e| all.push((e.name.to_owned(), e.data.to_owned())));
        all
    }

    #[test]
    fn every_line_end_and_every_split_gives_the_same_events() {
        let body = b"\xef\xbb\xbf: hello\r\n\r\ndata: a\rdata:b\n\nevent: error\r\ndata:  c\r\nid: 7\r\n\r\nretry\n\ndata\n\ndata: last";
        let whole = events(&[body]);
        let expected: Vec<(String, Vec<u8>)> = [("", "a\nb"), ("error", " c"), ("", ""), ("", "last")]
            .map(|(n, d)| (n.to_owned(), d.as_bytes().to_owned()))
            .to_vec();
        assert_eq!(whole, expected);
        for at in 0..=body.len() {
            let (a, b) = body.split_at(at);
            assert_eq!(events(&[a, b]), whole, "split at {at}");
        }
        let singly: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(events(&singly), whole);
    }
}
