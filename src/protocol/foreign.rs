//! Lines of other protocols.
//!
//! A web page can make a browser connect to any port and send a request whose body is lines of its choice; from a loopback
//! address these would count as the user's own. So a guest that speaks HTTP is refused at its first line, before anything
//! that it sends is executed.

/// Header fields that come early in a request, for one whose first line is not recognized. HTTP/1.1 demands `Host`.
#[rustfmt::skip]
const HEADERS: [&str; 12] = [
    "Host", "User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Connection", "Content-Length", "Content-Type",
    "Cookie", "Origin", "Referer", "Upgrade",
];

/// Whether a sanitized line is an HTTP request line of any method and version (RFC 9112 3), or a header field. Of a line that
/// is not `whole` the beginning decides.
pub fn is_http(line: &str, whole: bool) -> bool {
    let line = line.trim_matches(' ');
    let is_header = |name: &str| HEADERS.iter().any(|header| header.eq_ignore_ascii_case(name));
    is_request(line, whole) || line.split_once(':').is_some_and(|(name, _)| is_header(name))
}

/// `METHOD TARGET HTTP/1.1`.
fn is_request(line: &str, whole: bool) -> bool {
    let words = || line.split(' ').filter(|word| !word.is_empty());
    let is_version = |word: &str| word.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("HTTP/"));
    let ends_like_one = words().nth(2).is_some() && words().next_back().is_some_and(is_version);
    // A request id may precede the method.
    let is_url = |word: &str| word.starts_with('/') || word.contains("://");
    ends_like_one || !whole && words().skip(1).take(2).any(is_url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_any_method_and_version_is_http() {
        for line in [
            "POST /index.html?a=b HTTP/1.0",
            "CONNECT example.org:80 HTTP/1.1",
            "12 / HTTP/1.1",
            "  get  http://127.0.0.1:1337/  http/1.1 ",
        ] {
            assert!(is_http(line, true), "{line}");
        }
        for line in ["GET /", "POST http://example.org/a/long/path", "12 POST /a/long/path"] {
            assert!(is_http(line, false) && !is_http(line, true), "{line}");
        }
    }

    #[test]
    fn a_header_field_is_http_and_a_chat_line_is_not() {
        for line in ["Host: 127.0.0.1:1337", "host:x", "User-Agent: curl", "Content-Length: 12"] {
            assert!(is_http(line, true), "{line}");
        }
        for line in ["", "who", "login tux", "say tux http://x/", "tux: hi", "WHO /", "host", "HTTP/1.1", "12 cows"] {
            assert!(!is_http(line, true), "{line}");
        }
        assert!(!is_http("xxxxxxxxxxxxxxxxxxxxxxxxx", false) && !is_http("say tux http", false));
    }
}
