//! How a connection wants messages and notices: its art, tags for a program, its line ends.

use crate::protocol::art::Art;
use crate::protocol::reply::PUSHED;

/// How a connection wants what others send it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rendering {
    /// How messages are drawn.
    pub art: Art,
    /// The connection has sent a request id: what is not a reply begins with an id of 0, and each message has a header.
    pub tagged: bool,
    /// The connection ends lines with CR LF, so the server does.
    pub crlf: bool,
}

impl Rendering {
    /// How many renderings there are.
    pub const COUNT: usize = Art::ALL.len() * 4;

    /// All of them.
    pub fn all() -> impl Iterator<Item = Rendering> {
        let rest = [(false, false), (false, true), (true, false), (true, true)];
        Art::ALL.into_iter().flat_map(move |art| rest.map(|(tagged, crlf)| Rendering { art, tagged, crlf }))
    }

    /// Its place among them.
    pub fn index(self) -> usize {
        self.art as usize * 4 + usize::from(self.tagged) * 2 + usize::from(self.crlf)
    }

    /// The rendering of a connection that has asked for an art only.
    pub fn of(art: Art) -> Self {
        Rendering { art, tagged: false, crlf: false }
    }

    /// What a line that is not a reply begins with.
    pub(super) fn tag(self) -> &'static str {
        if self.tagged { PUSHED } else { "" }
    }

    /// A line of the server's own, ended by LF, in this rendering.
    pub(super) fn server_line(self, line: &str) -> String {
        self.end_lines(format!("{}{line}", self.tag()))
    }

    /// `lines`, each ended by LF, with the line ends of this rendering.
    pub(super) fn end_lines(self, lines: String) -> String {
        if self.crlf { lines.replace('\n', "\r\n") } else { lines }
    }
}
