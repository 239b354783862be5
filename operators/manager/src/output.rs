//! What commands print.

use std::io::{self, ErrorKind, Write as _};

/// Tells a person something, on stderr. If nobody reads that, nobody is told.
macro_rules! say {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "drover: {}", format_args!($($argument)*));
    }};
}

/// Prints a text. A reader that has seen enough, such as `head`, closes the pipe: that is no failure.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// A text without what plays with a terminal.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t')).collect()
}
