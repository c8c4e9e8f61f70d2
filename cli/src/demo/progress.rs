//! What is told while the worlds run: one line on standard error, overwritten where that is a terminal.

use std::io::{IsTerminal as _, Write as _};

/// The progress of the runs.
#[derive(Debug)]
pub(crate) struct Progress {
    overwrites: bool,
    title: &'static str,
    broken: bool,
}

impl Progress {
    /// Nothing is told yet.
    pub(crate) fn new() -> Self {
        Self { overwrites: std::io::stderr().is_terminal(), title: "", broken: false }
    }

    /// The next world begins.
    pub(crate) fn begin(&mut self, title: &'static str) {
        self.title = title;
        if !self.overwrites {
            self.write(&format!("simulating {title}\n"));
        }
    }

    /// So many simulated milliseconds have passed, so many requests were dropped.
    pub(crate) fn tell(&mut self, at: i64, dropped: u64) {
        self.say(&format!("{} s, {dropped} requests dropped", at / 1_000));
    }

    /// How far it is.
    pub(crate) fn say(&mut self, text: &str) {
        if self.overwrites {
            let line = format!("\r\x1b[Ksimulating {}: {text}", self.title);
            self.write(&line);
        }
    }

    /// All is told: the line goes.
    pub(crate) fn end(&mut self) {
        if self.overwrites {
            self.write("\r\x1b[K");
        }
    }

    /// Progress that can't be told stops nothing.
    fn write(&mut self, text: &str) {
        if !self.broken {
            let mut stream = std::io::stderr().lock();
            self.broken = stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).is_err();
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
