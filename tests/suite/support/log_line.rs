//! A line of a server's stderr, read as logfmt.

/// An event with its fields, or a line that is none.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// As it was written.
    pub text: String,
    fields: Vec<(String, String)>,
}

impl LogLine {
    /// Reads a line. The level becomes a field, too.
    pub fn new(text: String) -> LogLine {
        let mut fields = Vec::new();
        if let Some((begin, mut rest)) = text.split_once(" event=").map(|(begin, _)| (begin, &text[begin.len() + 1..]))
        {
            fields.push(("level".to_owned(), begin.rsplit(' ').next().unwrap_or_default().to_owned()));
            while let Some((name, value)) = rest.split_once('=') {
                let (value, end) = value_of(value);
                fields.push((name.to_owned(), value));
                rest = end.trim_start();
            }
        }
        LogLine { text, fields }
    }

    /// A field's value, or nothing.
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Whether it is an event of this key with these fields.
    pub fn is(&self, key: &str, fields: &[(&str, &str)]) -> bool {
        self.field("event") == key && fields.iter().all(|(name, value)| self.field(name) == *value)
    }
}

/// The value that `text` begins with, and what comes after it. In quotes it is a JSON string.
fn value_of(text: &str) -> (String, &str) {
    if text.starts_with('"') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<String>();
        if let Some(Ok(value)) = values.next() {
            return (value, &text[values.byte_offset()..]);
        }
    }
    let (value, end) = text.split_once(' ').unwrap_or((text, ""));
    (value.to_owned(), end)
}

#[test]
fn a_line_of_the_log_is_read_back() {
    let line = LogLine::new(r#"2026-01-01T00:00:00Z  WARN event=x a=1 b="two \"2\" \\ = \u000aé" c=d"#.to_owned());
    let b = "two \"2\" \\ = \né";
    assert!(line.is("x", &[("level", "WARN"), ("a", "1"), ("b", b), ("c", "d")]), "{line:?}");
    assert!(!line.is("y", &[]) && !line.is("x", &[("a", "2")]));
    assert_eq!(LogLine::new("cowchat: a=1".to_owned()).field("a"), "");
}
