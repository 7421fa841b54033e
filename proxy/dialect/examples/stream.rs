//! Reads a whole reply (a chat completion's JSON) from standard input and
//! writes it as the provider would stream it.

use std::io::{Error, Read, Write};

use understudy_call::Dialect;
use understudy_dialect::{parse_reply, render_stream};

fn main() -> Result<(), Error> {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body)?;
    let reply = parse_reply(Dialect::OpenaiChat, 200, "application/json", &body).map_err(Error::other)?;
    let mut out = std::io::stdout().lock();
    render_stream(Dialect::OpenaiChat, &reply, true).iter().try_for_each(|event| out.write_all(event))
}
