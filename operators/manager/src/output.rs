//! What commands print.

use std::io::{self, ErrorKind, Write as _};

/// Prints a text. A reader that has seen enough, such as `head`, closes the pipe: that is no failure.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}
