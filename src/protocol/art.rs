//! The styles in which a connection can have messages drawn.

/// How a user wants messages drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Art {
    /// The sender's cow in colour.
    #[default]
    Color,
    /// The sender's cow in characters.
    Plain,
    /// The same little cow for everybody.
    Small,
    /// No picture: one line.
    Off,
}

impl Art {
    /// All of them, in the order in which usages name them.
    pub const ALL: [Art; 4] = [Art::Color, Art::Plain, Art::Small, Art::Off];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Art::Color => "color",
            Art::Plain => "plain",
            Art::Small => "small",
            Art::Off => "off",
        }
    }

    /// The art of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|art| art.name() == name)
    }
}
