//! What an element does to the text.

/// An element, by what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// A paragraph or something like it: an empty line around it.
    Paragraph,
    /// A line of its own.
    Line,
    /// `br`.
    Break,
    /// `hr`.
    Rule,
    /// `h1` to `h6`.
    Heading(u8),
    /// `ul`, and others whose items have no numbers.
    List,
    /// `ol`.
    Numbered,
    /// `li`.
    Item,
    /// `dd`, a line under its term.
    Description,
    Quote,
    /// Text as it is.
    Pre,
    Code,
    Link,
    Image,
    Row,
    Cell,
    Main,
    Title,
    Base,
    /// Left out, with all that is in it.
    Dropped,
    /// The same; of another language, in which `/>` ends an element.
    Foreign,
    /// Stands in the line, or does nothing.
    Other,
    /// The same, and may be left out where it is hidden: its end is always written.
    Box,
}

impl Tag {
    pub(super) fn of(name: &[u8]) -> Self {
        match name {
            b"p" | b"fieldset" | b"figure" | b"table" | b"dl" | b"details" => Self::Paragraph,
            b"div" | b"section" | b"article" | b"header" | b"footer" | b"nav" | b"aside" | b"form"
            | b"address" | b"figcaption" | b"hgroup" | b"caption" | b"summary" | b"dialog" | b"legend" => {
                Self::Line
            }
            b"dt" | b"center" | b"option" | b"thead" | b"tbody" | b"tfoot" => Self::Line,
            b"br" => Self::Break,
            b"hr" => Self::Rule,
            b"h1" => Self::Heading(1),
            b"h2" => Self::Heading(2),
            b"h3" => Self::Heading(3),
            b"h4" => Self::Heading(4),
            b"h5" => Self::Heading(5),
            b"h6" => Self::Heading(6),
            b"ul" | b"menu" | b"dir" => Self::List,
            b"ol" => Self::Numbered,
            b"li" => Self::Item,
            b"dd" => Self::Description,
            b"blockquote" => Self::Quote,
            b"pre" | b"xmp" | b"listing" | b"plaintext" => Self::Pre,
            b"code" | b"kbd" | b"samp" | b"tt" => Self::Code,
            b"a" => Self::Link,
            b"img" => Self::Image,
            b"tr" => Self::Row,
            b"td" | b"th" => Self::Cell,
            b"main" => Self::Main,
            b"title" => Self::Title,
            b"base" => Self::Base,
            b"script" | b"style" | b"template" | b"iframe" | b"object" | b"noscript" | b"noembed"
            | b"noframes" | b"textarea" | b"select" | b"datalist" | b"audio" | b"video" | b"canvas"
            | b"map" => Self::Dropped,
            b"svg" | b"math" => Self::Foreign,
            b"span" | b"button" | b"i" | b"b" | b"small" | b"label" => Self::Box,
            _ => Self::Other,
        }
    }

    pub(super) fn is_left_out(self) -> bool {
        matches!(self, Self::Dropped | Self::Foreign)
    }

    pub(super) fn is_foreign(self) -> bool {
        self == Self::Foreign
    }

    /// Its end tag may not be left out, so that what is inside is known.
    pub(super) fn always_ends(self) -> bool {
        matches!(self, Self::Line | Self::List | Self::Numbered | Self::Link | Self::Box | Self::Heading(_))
    }
}
