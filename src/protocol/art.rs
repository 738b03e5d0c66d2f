//! The picture styles: how a client can have messages drawn.

/// A picture style.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Art {
    /// The sender's cow in colour.
    #[default]
    Color,
    /// The sender's cow in colour at half its width and height, by block characters.
    Half,
    /// The sender's cow in characters.
    Plain,
    /// The same little cow for every sender.
    Small,
    /// No picture: one line.
    Off,
}

impl Art {
    /// All styles, in the order of the usage.
    pub const ALL: [Art; 5] = [Art::Color, Art::Half, Art::Plain, Art::Small, Art::Off];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Art::Color => "color",
            Art::Half => "half",
            Art::Plain => "plain",
            Art::Small => "small",
            Art::Off => "off",
        }
    }

    /// The style of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|art| art.name() == name)
    }
}
