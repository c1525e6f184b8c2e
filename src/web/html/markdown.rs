//! Writes text as Markdown, one word after the other, and never looks back further than a link.

use super::super::text::is_invisible;
use super::tags::Tag;

/// Deepest list and quote that is shown as such: what is deeper stands at this depth.
const DEEP: usize = 8;
/// Most text, in bytes.
pub(super) const MOST: usize = 4 << 20;

/// What is due before the next word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Gap {
    #[default]
    None,
    Space,
    Line,
    Paragraph,
}

/// A link or code that is open.
#[derive(Debug, Default)]
enum Open<T> {
    #[default]
    No,
    /// Nothing of it was written so far.
    Ahead(T),
    Begun(T),
}

/// Text that is being written.
#[derive(Debug, Default)]
pub(super) struct Markdown {
    out: String,
    gap: Gap,
    /// What begins the next line: `## `, `- `.
    marker: String,
    /// The lists that are open: the number of the last item, if they are counted. Never longer
    /// than [`DEEP`]; how many more are open is in `deeper`.
    lists: Vec<Option<u64>>,
    deeper: usize,
    quotes: usize,
    pre: usize,
    link: Open<Option<String>>,
    code: Open<()>,
    /// The line holds a cell already.
    row: bool,
}

impl Markdown {
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.out.len() > MOST
    }

    pub(super) fn into_text(mut self) -> String {
        if let Open::Begun(()) = self.code {
            self.out.push('`');
        }
        self.out.truncate(self.out.trim_end().len());
        self.out
    }

    pub(super) fn open(&mut self, tag: Tag) {
        match tag {
            Tag::Paragraph | Tag::Main => self.due(Gap::Paragraph),
            Tag::Line | Tag::Break => self.due(Gap::Line),
            Tag::Row => {
                self.due(Gap::Line);
                self.row = false;
            }
            Tag::Rule => {
                self.due(Gap::Paragraph);
                self.text("---");
                self.due(Gap::Paragraph);
            }
            Tag::Heading(level) => {
                self.due(Gap::Paragraph);
                self.marker = "#".repeat(usize::from(level)) + " ";
            }
            Tag::List | Tag::Numbered => {
                self.due(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
                if self.lists.len() < DEEP {
                    self.lists.push((tag == Tag::Numbered).then_some(0));
                } else {
                    self.deeper += 1;
                }
            }
            Tag::Item => {
                self.due(Gap::Line);
                self.marker = match self.lists.last_mut() {
                    Some(Some(count)) => {
                        *count += 1;
                        format!("{count}. ")
                    }
                    _ => "- ".to_owned(),
                };
            }
            Tag::Description => {
                self.due(Gap::Line);
                ": ".clone_into(&mut self.marker);
            }
            Tag::Quote => {
                self.due(Gap::Paragraph);
                self.quotes += 1;
            }
            Tag::Pre => {
                self.due(Gap::Paragraph);
                if self.pre == 0 {
                    self.fence();
                }
                self.pre += 1;
            }
            Tag::Code if self.pre == 0 && matches!(self.code, Open::No) => self.code = Open::Ahead(()),
            Tag::Cell => {
                if self.row && !self.at_line_start() {
                    self.due(Gap::Space);
                    self.text("|");
                    self.due(Gap::Space);
                }
                self.row = true;
            }
            _ => {}
        }
    }

    pub(super) fn close(&mut self, tag: Tag) {
        match tag {
            Tag::Paragraph | Tag::Main | Tag::Heading(_) => {
                self.due(Gap::Paragraph);
                self.marker.clear();
            }
            Tag::Line | Tag::Row | Tag::Item | Tag::Description => self.due(Gap::Line),
            Tag::List | Tag::Numbered => {
                if self.deeper > 0 {
                    self.deeper -= 1;
                } else {
                    self.lists.pop();
                }
                self.due(if self.lists.is_empty() { Gap::Paragraph } else { Gap::Line });
                self.marker.clear();
            }
            Tag::Quote => {
                self.due(Gap::Paragraph);
                self.quotes = self.quotes.saturating_sub(1);
            }
            Tag::Pre if self.pre > 0 => {
                if self.pre == 1 {
                    self.fence();
                    self.due(Gap::Paragraph);
                }
                self.pre -= 1;
            }
            Tag::Code => {
                if let Open::Begun(()) = std::mem::take(&mut self.code) {
                    self.out.push('`');
                }
            }
            _ => {}
        }
    }

    /// Opens a link; none: it leads nowhere, and only its text is shown.
    pub(super) fn open_link(&mut self, href: Option<String>) {
        self.close_link();
        self.link = Open::Ahead(href);
    }

    pub(super) fn close_link(&mut self) {
        if let Open::Begun(Some(href)) = std::mem::take(&mut self.link) {
            self.out.push_str("](");
            self.out.push_str(&href);
            self.out.push(')');
        }
    }

    /// What stands for a picture.
    pub(super) fn image(&mut self, alt: &str) {
        let alt = alt.trim();
        if !alt.is_empty() {
            self.text("![");
            self.text(alt);
            self.text("]");
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        if self.pre > 0 {
            return self.verbatim(text);
        }
        for c in text.chars() {
            if self.is_full() {
                return;
            }
            if c.is_whitespace() {
                self.due(Gap::Space);
            } else if !c.is_control() && !is_invisible(c) {
                if self.gap != Gap::None || self.out.is_empty() || !matches!(self.link, Open::No) {
                    self.begin();
                }
                self.begin_code();
                self.out.push(c);
            }
        }
    }

    fn verbatim(&mut self, text: &str) {
        for c in text.chars() {
            if self.is_full() {
                return;
            }
            match c {
                '\n' => self.out.push('\n'),
                '\t' => self.out.push('\t'),
                c if c.is_control() || is_invisible(c) => {}
                c => {
                    if self.out.ends_with('\n') {
                        self.indent();
                    }
                    self.out.push(c);
                }
            }
        }
    }

    fn due(&mut self, gap: Gap) {
        let gap = match gap {
            // A link stays on its line, and a list together.
            _ if matches!(self.link, Open::Begun(Some(_))) => Gap::Space,
            Gap::Paragraph if !self.lists.is_empty() => Gap::Line,
            gap => gap,
        };
        self.gap = self.gap.max(gap);
    }

    fn at_line_start(&self) -> bool {
        self.gap >= Gap::Line || self.out.is_empty() || self.out.ends_with('\n')
    }

    /// Writes what is due, and the beginning of a link.
    fn begin(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        match gap {
            _ if self.out.is_empty() => self.start_line(),
            Gap::None => {}
            Gap::Space if self.out.ends_with('\n') => {}
            Gap::Space => self.out.push(' '),
            Gap::Line | Gap::Paragraph => {
                if let Open::Begun(()) = self.code {
                    self.out.push('`');
                    self.code = Open::Ahead(());
                }
                self.end_line(gap);
                self.start_line();
            }
        }
        if let Open::Ahead(href) = &mut self.link {
            let href = href.take();
            if href.is_some() {
                self.out.push('[');
            }
            self.link = Open::Begun(href);
        }
    }

    fn begin_code(&mut self) {
        if let Open::Ahead(()) = self.code {
            self.out.push('`');
            self.code = Open::Begun(());
        }
    }

    fn end_line(&mut self, gap: Gap) {
        if !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        if gap == Gap::Paragraph {
            self.out.push('\n');
        }
    }

    fn start_line(&mut self) {
        self.indent();
        let marker = std::mem::take(&mut self.marker);
        self.out.push_str(&marker);
    }

    fn indent(&mut self) {
        for _ in 0..self.quotes.min(DEEP) {
            self.out.push_str("> ");
        }
        for _ in 1..self.lists.len() {
            self.out.push_str("  ");
        }
    }

    /// A line that begins or ends text that is as it is.
    fn fence(&mut self) {
        let gap = std::mem::take(&mut self.gap);
        if !self.out.is_empty() {
            self.end_line(if self.pre == 0 { gap } else { Gap::Line });
        }
        self.start_line();
        self.out.push_str("```\n");
    }
}
